"""Servers that refuse for a while: locks, deadlocks, no space, no connections, read only, idle, small packets."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from faults.harness import BY_TCP, LIMITS, OTHER, Run, World, fault_pair, meanwhile, retries, scaled, world_of
from pipelines import Pair, pair_of
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.model.errors import PositionLost, ReplicationError, RowRejected
from myrepetl_dagster.core.replication.result import Progress


def codes(run: Run) -> list[int]:
    """The numbers of the errors that the run has retried."""
    return [e["code"] for e in run.events if e["event"] == "log" and "attempt" in e]


# ---- locks ---------------------------------------------------------------------------------------------
@contextlib.contextmanager
def locking(world: World, *statements: str) -> Iterator[Any]:
    """A session on the target that holds locks.

    The run has several transactions open and goes through a table from either end: whoever locks all of its
    rows may be the one that a deadlock rolls back, and asks again, as any user of the target has to.
    """
    connection = world.pair.target.connect(
        **BY_TCP, database=world.pair.target_schema, autocommit=False, read_timeout=30
    )
    try:
        with connection.cursor() as cursor:
            while True:
                try:
                    for statement in statements:
                        cursor.execute(statement)
                    break
                except pymysql.err.OperationalError as error:
                    if error.args[0] != 1213:
                        raise
                    world.counts["locker rolled back by a deadlock"] += 1
            yield cursor
    finally:
        connection.rollback()
        connection.close()


def lock_waits(world: World, times: int) -> None:
    """Rows, the checkpoint and whole tables locked for longer than lock_wait_timeout_s (2 s, here 1 s)."""
    statements = ("SELECT * FROM plain FOR UPDATE", "SELECT * FROM _myrepetl_checkpoint FOR UPDATE")
    with world.run(pace_s=0.002) as run:
        run.wait("commit")
        for number in range(times):
            seen = len(codes(run))
            with locking(world, statements[number % len(statements)]):
                deadline = time.monotonic() + 30
                while len(codes(run)) == seen:
                    assert time.monotonic() < deadline, run.story()
                    time.sleep(0.02)
            world.counts["lock waits"] += 1
            world.check_with(run)
        assert run.finish() == 0, run.story()
        assert set(codes(run)) <= {1205, 1213}, codes(run)  # 1213: see locking
        world.counts["1205 retried"] += codes(run).count(1205)
    world.check()
    world.report(f"lock waits, {world.pair.target.flavour} target")


def deadlocks(world: World, times: int) -> None:
    """The run holds its checkpoint and waits for a row whose owner then asks for the checkpoint."""
    with world.run(pace_s=0.002) as run:
        run.wait("commit")
        for _ in range(times):
            # Heavier than the run's transaction, so that the run's is the one that is rolled back.
            weight = "UPDATE uni SET log=CONCAT(log, 'x')"
            with locking(world, weight, "SELECT * FROM plain FOR UPDATE") as cursor:
                until_blocked(world)
                try:
                    cursor.execute("SELECT * FROM _myrepetl_checkpoint FOR UPDATE")
                except pymysql.err.OperationalError as error:
                    world.counts[f"injector got {error.args[0]}"] += 1  # the victim after all
            world.counts["deadlocks"] += 1
            world.check_with(run)
        assert run.finish() == 0, run.story()
        assert set(codes(run)) <= {1205, 1213}, codes(run)
        world.counts["1213 retried"] += codes(run).count(1213)
    world.check()
    world.report(f"deadlocks, {world.pair.target.flavour} target")
    assert world.counts["1213 retried"] > 0


def until_blocked(world: World) -> None:
    """Until a transaction on the target waits for a lock."""
    waiting = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state='LOCK WAIT'"
    deadline = time.monotonic() + 30
    while not world.pair.target.execute(waiting)[0][0]:
        assert time.monotonic() < deadline, "the run never came to the locked rows"
        time.sleep(0.15)  # asked more often than each 0.1 s, InnoDB shows what it showed before


def test_lock_waits_are_retried(servers: Servers, flavour: Flavour, tmp_path: Path) -> None:
    """Locks on the target's rows or on the checkpoint are waited out; the same run goes on."""
    with world_of(servers, OTHER[flavour], tmp_path, lock_wait_timeout_s=1) as world:
        lock_waits(world, 2)


def test_deadlocks_are_retried(servers: Servers, flavour: Flavour, tmp_path: Path) -> None:
    """A transaction that a deadlock rolled back is replayed from the checkpoint."""
    with world_of(servers, OTHER[flavour], tmp_path, lock_wait_timeout_s=5) as world:
        deadlocks(world, 2)


@pytest.mark.soak
def test_locks_many_times(servers: Servers, flavour: Flavour, tmp_path: Path) -> None:
    """30 lock waits and 30 deadlocks on each flavour."""
    (tmp_path / "1").mkdir()
    with world_of(servers, OTHER[flavour], tmp_path, lock_wait_timeout_s=1) as world:
        lock_waits(world, scaled(30))
    with world_of(servers, OTHER[flavour], tmp_path / "1", lock_wait_timeout_s=5) as world:
        deadlocks(world, scaled(30))


# ---- servers that refuse -------------------------------------------------------------------------------
@pytest.fixture
def pair(servers: Servers, flavour: Flavour) -> Pair:
    """To this flavour, from the other."""
    made = fault_pair(servers, OTHER[flavour])
    made.limits = dict(LIMITS)
    made.on_source("CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT)", "INSERT INTO t VALUES (1, 'one'), (2, 'two')")
    return made


def test_a_target_without_connections_is_waited_for(pair: Pair) -> None:
    """max_connections reached is retried until there is room again."""
    held: list[pymysql.Connection[Any]] = []

    def use_up() -> None:
        pair.target.execute("SET GLOBAL max_connections=12")
        with contextlib.suppress(pymysql.err.OperationalError):
            while len(held) < 40:
                held.append(
                    pymysql.connect(
                        host=pair.target.host, port=pair.target.port, user="writer", password="least", ssl_disabled=True
                    )
                )

    def give_back() -> None:
        for connection in held:
            connection.close()

    try:
        assert set(meanwhile(pair, "t", use_up, give_back)) == {1040}
    finally:
        pair.target.execute("SET GLOBAL max_connections=200")
    pair.assert_same("t")


def test_a_target_that_is_read_only_for_a_while_is_waited_for(pair: Pair) -> None:
    """A target that takes no writes now (a failover under way) is tried again."""
    pair.run("t")
    pair.on_source("UPDATE t SET v='changed' WHERE id=1")
    seen = meanwhile(
        pair, "t",
        lambda: pair.target.execute("SET GLOBAL read_only=1"), lambda: pair.target.execute("SET GLOBAL read_only=0"),
    )  # fmt: skip

    assert set(seen) == {1290}
    pair.assert_same("t")


def test_a_full_target_is_waited_for(servers: Servers, flavour: Flavour) -> None:
    """No space for a row (ER_RECORD_FILE_FULL) is no fault of the row: the run goes on once there is room."""
    full = servers.get(
        "small", flavour, innodb_data_file_path="ibdata1:24M:autoextend:max:48M", innodb_file_per_table="OFF"
    )
    pair = pair_of(servers.get("faults", OTHER[flavour]), full)
    pair.limits = dict(LIMITS)
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT)")
    pair.on_source("INSERT INTO t VALUES (0, 'small')")
    pair.run("t")
    pair.on_source(*[f"INSERT INTO t VALUES ({i}, REPEAT('x', 900000))" for i in range(1, 4)])

    def fill() -> None:
        # A large table grows by megabytes, and may leave the last ones to a small table, such as ours.
        for name in ("large", "small"):
            pair.on_target(f"CREATE TABLE {name} (id INT PRIMARY KEY AUTO_INCREMENT, v LONGBLOB)")
        for name, size_bytes in (("large", 700_000), ("small", 60_000), ("small", 60_000)):
            if flavour == "mariadb":
                pair.on_target("SET GLOBAL innodb_max_purge_lag_wait=0")  # what is purged later is room again
            code = 0
            for _ in range(200):  # whatever else a slow machine fails with is not that it is full
                try:
                    pair.on_target(f"INSERT INTO {name} (v) VALUES (REPEAT('f', {size_bytes}))")
                except pymysql.MySQLError as error:
                    code = error.args[0]
                if code == 1114:
                    break
            assert code == 1114, code

    def make_room() -> None:
        if flavour == "mysql":
            pair.on_target("DROP TABLE large, small")
            return
        full.kill()  # MariaDB has no room left even for a DROP
        full.options["innodb-data-file-path"] = "ibdata1:24M:autoextend:max:96M"
        full.start()

    seen = meanwhile(pair, "t", fill, make_room)

    assert 1114 in seen
    assert set(seen) <= {1114, 2003, 2006, 2013}
    pair.assert_same("t", columns="id, LENGTH(v)")


def test_idleness_beyond_every_wait_timeout_is_outlived(pair: Pair) -> None:
    """A run that stands still for longer than the servers' and its own wait_timeout goes on."""
    pair.limits = {**pair.limits, "copy_window_rows": 1, "apply_timeout_s": 0.5}  # its own wait_timeout: 1 s
    for server in (pair.source, pair.target):
        server.execute("SET GLOBAL wait_timeout=1")
    commits = []

    def stand_still(_: Progress) -> None:
        commits.append(1)
        if len(commits) == 2:
            time.sleep(2.5)

    try:
        with retries() as seen:
            pair.run("t", on_progress=stand_still)
    finally:
        for server in (pair.source, pair.target):
            server.execute("SET GLOBAL wait_timeout=28800")

    assert len(commits) > 2
    assert len(seen) == 1
    assert set(seen) <= {2006, 2013, 4031}
    pair.assert_same("t")


def test_a_killed_connection_is_outlived(pair: Pair) -> None:
    """KILL CONNECTION on every session of ours, in the middle of a run, costs a retry and nothing else."""
    pair.limits = {**pair.limits, "chunk_rows_max": 1}
    pair.run("t")
    pair.limits = {**pair.limits, "batch_rows_max": 1, "joined_batches_max": 1}
    pair.on_source(*[f"INSERT INTO t VALUES ({i}, 'more')" for i in range(3, 20)])
    commits = []

    def kill(_: Progress) -> None:
        commits.append(1)
        if len(commits) in (2, 5, 8):
            for server, user in ((pair.source, "reader"), (pair.target, "writer")):
                for row in server.execute(f"SELECT id FROM information_schema.processlist WHERE user='{user}'"):
                    with contextlib.suppress(pymysql.MySQLError):
                        server.execute(f"KILL {row[0]}")

    with retries() as seen:
        pair.run("t", on_progress=kill)

    assert len(seen) == 3
    pair.assert_same("t")


# ---- packets smaller than a row ------------------------------------------------------------------------
def test_a_row_that_the_target_cannot_take_names_itself(pair: Pair) -> None:
    """A row longer than the target's max_allowed_packet is refused at once, by key; rows before it are there."""
    pair.run("t")
    pair.target.execute("SET GLOBAL max_allowed_packet=1048576")
    try:
        pair.on_source("INSERT INTO t VALUES (3, 'three')")
        pair.run("t")
        pair.on_source("INSERT INTO t VALUES (4, REPEAT('x', 2000000))")
        with retries() as seen:
            error = pair.error("t")
    finally:
        pair.target.execute("SET GLOBAL max_allowed_packet=67108864")

    assert isinstance(error, RowRejected)
    assert error.code == 1153
    assert "max_allowed_packet" in str(error)
    assert not seen, "it is not worth a retry"
    assert pair.target_rows("t", "id") == [(1,), (2,), (3,)]
    pair.run("t")  # with the larger packet it goes on from there
    pair.assert_same("t", columns="id, LENGTH(v)")


@pytest.mark.parametrize("phase", ["copying", "catching up"])
def test_a_row_that_the_source_cannot_send_is_never_skipped(pair: Pair, phase: str) -> None:
    """A source whose max_allowed_packet is smaller than its own row: the row arrives, or an error says why not."""
    pair.limits = {**pair.limits, "attempts_max": 3}
    pair.source.execute("FLUSH BINARY LOGS")
    if phase == "catching up":
        pair.run("t")
    pair.on_source("INSERT INTO t VALUES (3, REPEAT('x', 3000000))")
    errors: list[ReplicationError | None]
    with small_packets(pair):
        try:
            errors = [result.error for result in pair.try_run("t").values()]
        except ReplicationError as whole:
            errors = [whole]

    for error in errors:
        if error is not None:
            assert not isinstance(error, PositionLost), "the log is not lost, it is too long for a packet"
            assert "packet" in str(error).lower(), error
            pair.run("t")
    pair.assert_same("t", columns="id, LENGTH(v)")


@pytest.mark.parametrize("kind", ["LONGBLOB", "LONGTEXT", "JSON"])
def test_a_value_that_outgrows_a_packet_when_it_is_rendered_is_copied_whole(pair: Pair, kind: str) -> None:
    """A value shorter than the source's max_allowed_packet whose SQL text is longer is not taken for a NULL."""
    value = """REPEAT('"', 800000)"""
    if kind == "JSON":
        value = """CONCAT('["', REPEAT('x', 600000), REPEAT('\\\\"', 150000), '"]')"""
    pair.on_source(f"CREATE TABLE grows (id INT PRIMARY KEY, v {kind}, w INT)")
    pair.on_source(f"INSERT INTO grows VALUES (1, {value}, 7)")
    with small_packets(pair):
        pair.run("grows")

    pair.assert_same("grows", columns="id, LENGTH(v), SHA2(v, 256), w")


@contextlib.contextmanager
def small_packets(pair: Pair) -> Iterator[None]:
    pair.source.execute("SET GLOBAL max_allowed_packet=1048576")
    try:
        yield
    finally:
        pair.source.execute("SET GLOBAL max_allowed_packet=67108864")


def test_an_event_longer_than_a_packet_does_not_look_like_a_lost_log(pair: Pair) -> None:
    """A MariaDB source cannot tell the GTID of a place after such an event (an UPDATE of a big row): that is all."""
    pair.source.execute("FLUSH BINARY LOGS")
    pair.on_source("INSERT INTO t VALUES (3, REPEAT('x', 900000))")
    pair.on_source("UPDATE t SET v=REPEAT('y', 900000) WHERE id=3")
    pair.run("t")
    pair.on_source("INSERT INTO t VALUES (4, 'four')")
    with small_packets(pair):
        results = pair.run("t")

    assert results["a.t"].rows_snapshotted == 0
    pair.assert_same("t", columns="id, LENGTH(v)")
