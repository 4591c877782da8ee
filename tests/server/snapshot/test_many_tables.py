"""Several tables copied at once: by connections that they share, each with a checkpoint and an end of its own."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from pipelines import ROUTES, SOURCES, Interrupted, Pair, call_at, interrupt, pair, pair_of
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.model.checkpoint import Phase
from myrepetl_dagster.core.model.errors import RowRejected, StaleRun
from myrepetl_dagster.core.model.limits import Limits
from myrepetl_dagster.core.replication.result import Progress
from myrepetl_dagster.core.replication.snapshot import writer_pool

NAMES = [f"t{n}" for n in range(8)]
TABLES = " ".join(NAMES)
PLAIN = "CREATE TABLE {} (id INT PRIMARY KEY, u VARCHAR(9), v INT) COLLATE utf8mb4_bin"
UNIQUE = "CREATE TABLE {} (id INT PRIMARY KEY, u VARCHAR(9), v INT, UNIQUE KEY (u)) COLLATE utf8mb4_bin"
KEYLESS = "CREATE TABLE {} (id BIT(12) PRIMARY KEY, u VARCHAR(9), v INT) COLLATE utf8mb4_bin"  # read in one go


def fill(name: str, rows: int) -> str:
    numbers = f"WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i+1 FROM n WHERE i < {rows})"
    return f"INSERT INTO {name} {numbers} SELECT i, CONCAT('u',i), 0 FROM n"


@pytest.fixture(params=SOURCES, ids=str)
def world(request: pytest.FixtureRequest, servers: Servers) -> Pair:
    return made(servers, request.param)


def made(servers: Servers, route: Any) -> Pair:
    """Eight tables of all kinds, of 0 to 70 rows, copied by windows of 20."""
    world = pair(servers, route)
    world.chunks_of(20)
    for n, name in enumerate(NAMES):
        kind = UNIQUE if n == 3 else KEYLESS if n == 5 else PLAIN
        world.on_source(kind.format(name), *([fill(name, n * 10)] if n else []))
    world.on_target(UNIQUE.format("t3"))
    return world


def assert_all_same(world: Pair, *without: str) -> None:
    for name in NAMES:
        if name not in without:
            world.assert_same(name)


@contextlib.contextmanager
def churned(world: Pair) -> Iterator[None]:
    """Somebody changes all tables until the block ends, several of them in each transaction."""
    stop = threading.Event()

    def run() -> None:
        chance = random.Random(1)
        with world.source_session(autocommit=False) as connection, connection.cursor() as cursor:
            while not stop.wait(0.002):
                a, b = chance.randint(1, 99), chance.randint(1, 99)
                try:
                    for name in chance.sample(NAMES, 3):
                        cursor.execute(f"INSERT IGNORE INTO {name} VALUES (%s,%s,0)", (a, f"u{b}"))
                        cursor.execute(f"UPDATE {name} SET v=v+1 WHERE id BETWEEN %s AND %s", (a, a + 9))
                        cursor.execute(f"UPDATE IGNORE {name} SET id=%s WHERE id=%s", (b, a))
                        cursor.execute(f"DELETE FROM {name} WHERE id=%s", (b + 1,))
                    connection.commit()
                except pymysql.MySQLError as error:
                    connection.rollback()
                    if error.args[0] not in (1213, 1205, 1062):
                        raise

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_tables_are_copied_at_once_under_load(servers: Servers, route: Any) -> None:
    """Tables with and without a unique key, with a key to go by and without, empty and not, are equal after the next
    runs, whatever changes while they are copied, over an empty target and over a full one.
    """
    world = made(servers, route)
    world.limits["snapshot_slice_s"] = 0.05  # the log is applied in between
    with churned(world):
        for again in range(4):
            world.run(TABLES, copy_again=again > 0)
    world.run(TABLES)
    assert_all_same(world)


def test_an_interrupted_copy_of_tables_resumes(world: Pair) -> None:
    """What was stored is not copied again, however often the copy of several tables is interrupted."""
    world.limits["copy_writers_max"] = 1
    copied = 0
    for at in (1, 2, 3, 2, 4):
        with pytest.raises(Interrupted):
            world.run(TABLES, call_at(at, interrupt))
        done = [name for name in NAMES if world.checkpoint(f"a.{name}")["phase"] != "copying"]
        world.on_source(*(f"UPDATE {name} SET v=v+{at}" for name in NAMES), f"DELETE FROM t7 WHERE id={at}")
        counts = [int(world.checkpoint(f"a.{name}")["rows_snapshotted"]) for name in NAMES]
        assert sum(counts) >= copied
        copied = sum(counts)
    assert done
    results = world.run(TABLES)
    assert all(results[f"a.{name}"].rows_snapshotted == 0 for name in done)
    assert_all_same(world)


def test_a_killed_copy_of_tables_resumes(world: Pair, tmp_path: Path) -> None:
    """A process killed (SIGKILL) while it copies several tables leaves checkpoints from which another one goes on."""
    world.chunks_of(2)
    program = tmp_path / "program.py"
    mapping = {f"a.{name}": {"target_table": f"b.{name}"} for name in NAMES}
    program.write_text(
        "import time\n"
        "from myrepetl_dagster.core import from_dict, replicate\n"
        "def slow(p): print(p.mapping, flush=True); time.sleep(0.02)\n"
        f"replicate(from_dict({world.config(mapping)!r}), on_progress=slow)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        while process.stdout.readline() not in ("a.t4\n", ""):
            pass
        os.kill(process.pid, signal.SIGKILL)
    phases = {name: world.checkpoint(f"a.{name}")["phase"] for name in NAMES}
    assert phases["t1"] == "settling"
    assert phases["t7"] == "copying"
    world.on_source("UPDATE t1 SET v=5", "DELETE FROM t4 WHERE id < 9", "UPDATE t7 SET v=7")
    assert world.run(TABLES)["a.t1"].rows_snapshotted == 0
    assert_all_same(world)


def test_tables_share_a_bounded_number_of_connections(world: Pair) -> None:
    """However many tables are copied, a target has `copy_writers_max` connections beside the run's own two, and a
    source three; none is left afterwards.
    """
    world.chunks_of(2)
    most, stop = {"reader": 0, "writer": 0}, threading.Event()

    def count(server: Any, user: str) -> int:
        rows = server.execute(f"SELECT id FROM information_schema.processlist WHERE user='{user}'")
        return len(rows)

    def watch() -> None:
        while not stop.wait(0.002):
            for server, user in ((world.source, "reader"), (world.target, "writer")):
                most[user] = max(most[user], count(server, user))

    before = {"reader": count(world.source, "reader"), "writer": count(world.target, "writer")}
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        world.run(TABLES, lambda _: time.sleep(0.005))
    finally:
        stop.set()
        thread.join()
    assert before == {"reader": 0, "writer": 0}
    assert 3 <= most["writer"] <= Limits().copy_writers_max + 2
    assert most["reader"] <= 3
    deadline_s = time.monotonic() + 5
    while count(world.source, "reader") or count(world.target, "writer"):
        assert time.monotonic() < deadline_s, "a session was left"
        time.sleep(0.05)


def test_the_bytes_that_wait_are_bounded_over_all_tables(world: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are read and not yet written hold no more than `PENDING_BYTES_MAX`, of whatever tables they are."""
    monkeypatch.setattr(writer_pool, "PENDING_BYTES_MAX", 900)  # a window of 20 rows has about 600 bytes
    held: list[int] = []
    submit = writer_pool.WriterPool.submit

    def noted(self: writer_pool.WriterPool, *args: Any) -> Any:
        future = submit(self, *args)
        held.append(self._bytes_held())
        return future

    monkeypatch.setattr(writer_pool.WriterPool, "submit", noted)
    world.run(TABLES)
    assert_all_same(world)
    assert len(held) > len(NAMES)
    assert 0 < max(held) <= 900


def test_a_table_with_a_refused_row_names_itself_and_the_others_are_copied(world: Pair) -> None:
    """A row that the target refuses fails its own mapping, with its key; the other tables are equal after this run."""
    world.on_target("CREATE TABLE t2 (id INT PRIMARY KEY, u VARCHAR(2), v INT) COLLATE utf8mb4_bin")
    results = world.try_run(TABLES)
    error = results["a.t2"].error
    assert isinstance(error, RowRejected)
    assert error.mapping == "a.t2"
    assert "id=10" in str(error)
    for name in set(NAMES) - {"t2"}:
        assert results[f"a.{name}"].error is None
        assert results[f"a.{name}"].phase is Phase.REPLICATING
    assert_all_same(world, "t2")
    assert world.checkpoint("a.t2")["last_error"]
    world.on_target("DROP TABLE t2")
    world.run(TABLES, copy_again=True)
    assert_all_same(world)


def test_a_table_that_cannot_be_written_names_itself_and_the_others_are_copied(world: Pair) -> None:
    """A target table that is dropped while the tables are copied fails its own mapping."""
    world.limits["copy_writers_max"] = 1
    results = world.try_run(TABLES, call_at(2, lambda: world.on_target("DROP TABLE t6")))
    error = results["a.t6"].error
    assert error is not None
    assert error.mapping == "a.t6"
    assert [m for m, result in results.items() if result.error is not None] == ["a.t6"]
    assert_all_same(world, "t6")


def test_a_table_that_is_held_up_holds_up_no_other(world: Pair) -> None:
    """While a window waits for a lock in the target, its table's checkpoint names no window after it, though they are
    written; the other tables' copies are stored to their ends.
    """
    world.on_target(PLAIN.format("t4"))
    thread = threading.Thread(target=world.run, args=(TABLES,))
    with world.target_session(autocommit=False) as other, other.cursor() as cursor:
        cursor.execute("INSERT INTO t4 VALUES (1, 'x', 9)")  # nobody sees it, and its key is locked
        thread.start()
        deadline_s = time.monotonic() + 20
        while not world.on_target("SHOW TABLES LIKE '_myrepetl_checkpoint'") or "settling" not in {
            row[0] for row in world.on_target("SELECT phase FROM _myrepetl_checkpoint WHERE mapping = 'a.t7'")
        }:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        held = world.checkpoint("a.t4")
        assert (held["phase"], held["rows_snapshotted"]) == ("copying", 0)
        assert world.target_rows("t4", "COUNT(*)", "id BETWEEN 21 AND 40") == [(20,)]
        assert world.checkpoint("a.t6")["phase"] == "settling"
        other.rollback()
    thread.join()
    assert_all_same(world)


def test_a_mapping_that_another_run_takes_over_holds_up_no_other(world: Pair) -> None:
    """A run that copies one of the tables meanwhile has it; the others are copied, and equal."""
    world.chunks_of(2)

    def other_run() -> None:
        world.run("t7")

    results = world.try_run(TABLES, call_at(3, other_run))
    failed = {mapping: result.error for mapping, result in results.items() if result.error is not None}
    assert list(failed) == ["a.t7"]
    assert isinstance(failed["a.t7"], StaleRun)
    assert_all_same(world)


class Told(BaseException):
    """What a signal's handler raises, as Dagster's and the command line's do."""


def test_a_signal_ends_the_copy_of_tables(world: Pair) -> None:
    """A signal ends a run whose writers wait for locks of several tables: no session of it is left on either server,
    and the next run completes.
    """
    for name in ("t1", "t2", "t4"):
        world.on_target(PLAIN.format(name))

    def told(*_: object) -> None:
        raise Told

    def sessions() -> int:
        pairs = ((world.source, "reader"), (world.target, "writer"))
        return sum(
            len(server.execute(f"SELECT id FROM information_schema.processlist WHERE user='{user}'"))
            for server, user in pairs
        )

    before = signal.signal(signal.SIGALRM, told)
    try:
        with world.target_session(autocommit=False) as other, other.cursor() as cursor:
            for name in ("t1", "t2", "t4"):
                cursor.execute(f"INSERT INTO {name} VALUES (1, 'x', 9)")  # nobody sees it, and its key is locked
            signal.setitimer(signal.ITIMER_REAL, 2)
            began_s = time.monotonic()
            with pytest.raises(Told):
                world.run(TABLES)
            assert time.monotonic() - began_s < 0.6 * Limits().lock_wait_timeout_s, "it waited for the locks"
            deadline_s = time.monotonic() + 5
            while sessions():
                assert time.monotonic() < deadline_s, "a session was left"
                time.sleep(0.1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    world.run(TABLES)
    assert_all_same(world)


def test_progress_is_told_for_each_table(world: Pair) -> None:
    """Each table's last report of its copy has all of its rows."""
    told: dict[str, int] = {}

    def note(progress: Progress) -> None:
        told[progress.mapping] = max(told.get(progress.mapping, 0), progress.rows_snapshotted)

    world.run(TABLES, note)
    assert told == {f"a.{name}": n * 10 for n, name in enumerate(NAMES)}


@pytest.mark.parametrize("flavour", ["mysql", "mariadb"])
def test_names_that_differ_in_case_only(servers: Servers, flavour: Flavour) -> None:
    """Each of two such tables is described by its own columns, whichever is mapped."""
    world = pair_of(servers.get("source", flavour), servers.get("target", flavour))
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, a INT)", "CREATE TABLE T (id INT PRIMARY KEY, b INT, c INT)")
    world.on_source("INSERT INTO t VALUES (1, 2)", "INSERT INTO T VALUES (1, 2, 3)")
    world.run("t")
    assert world.target_rows("t") == [(1, 2)]
    world.run("t T")
    assert world.target_rows("T") == [(1, 2, 3)]
