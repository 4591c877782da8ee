"""Logs that were purged, reset or restored, servers replaced, primaries switched: noticed before a row is applied."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from faults.harness import LIMITS
from pipelines import SOURCES, Pair, Route, pair_of
from server_farm import Servers
from servers import Server

from myrepetl_dagster.core.errors import PositionLost
from myrepetl_dagster.core.pipeline import Pipeline

MYSQL_GTID, MYSQL_FILE, MARIADB = SOURCES


@pytest.fixture(params=SOURCES, ids=str)
def route(request: pytest.FixtureRequest) -> Route:
    made: Route = request.param
    return made


class _Killed:
    """A server that is killed at the end: nobody needs its data any more."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def close(self) -> None:
        self.server.kill()


@pytest.fixture
def source(servers: Servers, route: Route) -> Server:
    """A source for these tests alone: its log is purged and reset, and what it holds is set back."""
    return servers.get("positions", route.source, route.gtid)


@pytest.fixture
def pair(servers: Servers, route: Route, source: Server) -> Pair:
    """A table with three rows, replicated; one more change is not."""
    made = pair_of(source, servers.get("target", route.target))
    made.limits = dict(LIMITS)
    made.on_source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))", "INSERT INTO t VALUES (1,'a'),(2,'b'),(3,'c')")
    made.run("t")
    made.on_source("UPDATE t SET v='unseen' WHERE id=1")
    return made


def resnapshot(pair: Pair) -> Pipeline:
    return pair.pipeline({"a.t": {"target_table": "b.t", "on_position_lost": "resnapshot"}})


def assert_lost(pair: Pair) -> None:
    """A run says that the position is lost and leaves the target as it was; so does the next one."""
    before = pair.target_rows("t"), pair.checkpoint("a.t")["log_file"], pair.checkpoint("a.t")["log_offset_bytes"]
    for _ in range(2):
        error = pair.error("t")
        assert isinstance(error, PositionLost), repr(error)
        assert not error.retryable
        assert "snapshot" in error.hint
    stored = pair.checkpoint("a.t")
    assert (pair.target_rows("t"), stored["log_file"], stored["log_offset_bytes"]) == before
    assert "cannot be read" in str(stored["last_error"]) or "lost" in str(stored["last_error"]).lower()


def purge(pair: Pair) -> None:
    """Everything that the checkpoint has not seen is gone from the log."""
    pair.source.execute("FLUSH BINARY LOGS")
    newest = pair.source.execute("SHOW BINARY LOGS")[-1][0]
    pair.source.execute(f"PURGE BINARY LOGS TO '{newest}'")
    deadline = time.monotonic() + 10
    while len(pair.source.execute("SHOW BINARY LOGS")) > 1:  # MariaDB keeps a file until its checkpoint is written
        assert time.monotonic() < deadline
        time.sleep(0.05)
        pair.source.execute(f"PURGE BINARY LOGS TO '{newest}'")


def reset(pair: Pair) -> None:
    pair.source.execute("RESET BINARY LOGS AND GTIDS" if pair.source.flavour == "mysql" else "RESET MASTER")


def test_a_purged_log_is_noticed(pair: Pair) -> None:
    """PURGE BINARY LOGS past the checkpoint: an error, never a run that succeeds with nothing read."""
    purge(pair)
    assert_lost(pair)


def test_a_reset_log_is_noticed(pair: Pair) -> None:
    """RESET: an error, although the first file has the same name again."""
    reset(pair)
    pair.on_source("INSERT INTO t VALUES (4, 'new')")
    assert_lost(pair)


def test_a_reset_log_that_has_grown_past_the_checkpoint_is_noticed(pair: Pair) -> None:
    """RESET, and then so much is written that the checkpoint's place in the file of that name exists again."""
    before = int(pair.checkpoint("a.t")["log_offset_bytes"])
    time.sleep(1.1)  # files are told apart by the second in which they were begun
    reset(pair)
    number = 10
    while int(pair.source.execute("SHOW BINARY LOGS")[-1][1]) <= before + 1000:
        pair.on_source(f"INSERT INTO t VALUES ({number}, 'new')")
        number += 1
    assert_lost(pair)


def test_a_restored_server_is_noticed(pair: Pair, tmp_path: Path) -> None:
    """A source set back to an older copy of its own datadir does not hold what the checkpoint has seen."""
    pair.source.stop()
    shutil.copytree(pair.source.datadir, tmp_path / "backup")
    pair.source.start()
    pair.on_source("INSERT INTO t VALUES (4, 'after the backup')")
    pair.run("t")
    pair.source.kill()
    shutil.rmtree(pair.source.datadir)
    shutil.copytree(tmp_path / "backup", pair.source.datadir)
    pair.source.start()
    pair.on_source("INSERT INTO t VALUES (5, 'another history')")

    assert_lost(pair)


def test_a_replaced_server_is_noticed(pair: Pair, route: Route, tmp_path: Path) -> None:
    """Another server at the same address, with the same tables: none of its log is applied."""
    pair.source.kill()
    other = Server(route.source, tmp_path / "other", {"port": str(pair.source.port)}, gtid=route.gtid)
    other.port = pair.source.port
    with contextlib.closing(_Killed(other)):
        other.start()
        replaced = replace(pair_of(other, pair.target), target_schema=pair.target_schema, limits=pair.limits)
        other.execute(f"CREATE DATABASE {pair.source_schema}")
        replaced.source_schema = pair.source_schema
        other.execute(f"GRANT SELECT, LOCK TABLES ON {pair.source_schema}.* TO 'reader'@'%'")
        replaced.on_source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))", "INSERT INTO t VALUES (9,'other')")
        if route.source == "mariadb":
            other.execute(f"SET GLOBAL server_id={pair.source.port}")  # by that alone the two are one
        assert_lost(replaced)


def test_the_policy_resnapshot_copies_again(pair: Pair) -> None:
    """on_position_lost: resnapshot copies the table again; rows that vanished in between are deleted."""
    pair.run(resnapshot(pair))
    pair.on_source("DELETE FROM t WHERE id=2", "INSERT INTO t VALUES (4, 'new')")
    purge(pair)
    pair.on_source("UPDATE t SET v='after' WHERE id=3")
    results = pair.run(resnapshot(pair))

    assert results["a.t"].rows_snapshotted == 3
    pair.assert_same("t")
    pair.on_source("DELETE FROM t WHERE id=3")
    pair.run(resnapshot(pair))
    pair.assert_same("t")


def test_the_policy_resnapshot_after_a_reset(pair: Pair) -> None:
    """The same after RESET."""
    pair.run(resnapshot(pair))
    pair.on_source("DELETE FROM t WHERE id=2")
    reset(pair)
    pair.on_source("INSERT INTO t VALUES (4, 'new')")
    pair.run(resnapshot(pair))

    pair.assert_same("t")


# ---- a switched primary --------------------------------------------------------------------------------
@pytest.fixture
def primaries(servers: Servers, tmp_path: Path) -> Iterator[tuple[Pair, Pair]]:
    """A MySQL primary with GTIDs and a replica of it, and a pair for each, with one target."""
    first, second = Server("mysql", tmp_path / "first"), Server("mysql", tmp_path / "second")
    with contextlib.closing(_Killed(first)), contextlib.closing(_Killed(second)):
        first.start()
        second.start()
        first.execute("CREATE USER 'repl'@'%' IDENTIFIED BY 'repl'", "GRANT REPLICATION SLAVE ON *.* TO 'repl'@'%'")
        second.execute("RESET BINARY LOGS AND GTIDS")
        second.execute(
            f"CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={first.port}, SOURCE_USER='repl',"
            " SOURCE_PASSWORD='repl', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1",
            "START REPLICA",
        )
        old = pair_of(first, servers.get("target", "mariadb"))
        old.limits = dict(LIMITS)
        old.on_source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))", "INSERT INTO t VALUES (1,'a'),(2,'b')")
        yield old, replace(old, source=second)


def wait_for_replica(primaries: tuple[Pair, Pair]) -> None:
    executed = primaries[0].source.execute("SELECT @@global.gtid_executed")[0][0]
    assert primaries[1].source.execute(f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{executed}', 30)")[0][0] == 0


def test_a_gtid_source_goes_on_at_the_new_primary(primaries: tuple[Pair, Pair]) -> None:
    """After a failover the pipeline's host changes, nothing else: the GTIDs find the place in the other log."""
    old, new = primaries
    old.run("t")
    old.on_source("INSERT INTO t VALUES (3, 'before the switch')")
    wait_for_replica(primaries)
    old.source.kill()
    new.source.execute("STOP REPLICA", "RESET REPLICA ALL")
    new.on_source("INSERT INTO t VALUES (4, 'after the switch')", "UPDATE t SET v='x' WHERE id=1")
    results = new.run("t")

    assert results["a.t"].rows_snapshotted == 0
    assert results["a.t"].changes_applied == 3
    new.assert_same("t")


def test_a_new_primary_that_lacks_what_was_applied_is_refused(primaries: tuple[Pair, Pair]) -> None:
    """A replica that was behind when it became the primary: its log contradicts the target, so nothing is applied."""
    old, new = primaries
    wait_for_replica(primaries)
    new.source.execute("STOP REPLICA")
    old.on_source("INSERT INTO t VALUES (3, 'never replicated')")
    old.run("t")
    old.source.kill()
    new.source.execute("RESET REPLICA ALL")
    new.on_source("INSERT INTO t VALUES (3, 'another')")

    error = new.error("t")
    assert isinstance(error, PositionLost)
    assert (3, "never replicated") in new.target_rows("t")
    pipeline: Any = new.pipeline({"a.t": {"target_table": "b.t", "on_position_lost": "resnapshot"}})
    new.try_run(pipeline)
