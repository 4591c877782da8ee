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
from pipelines import SOURCES, Pair, Route, call_at, pair_of
from server_farm import Servers, private
from servers import Server

from myrepetl_dagster.core.config.pipeline import Pipeline
from myrepetl_dagster.core.model.errors import PositionLost, SchemaDrift
from myrepetl_dagster.core.model.limits import Limits
from myrepetl_dagster.core.model.tables import TableName
from myrepetl_dagster.core.replication.result import MappingResult
from myrepetl_dagster.core.source.mysql_source import MySQLSource

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
    reset_and_grow(pair)
    assert_lost(pair)


def reset_and_grow(pair: Pair) -> None:
    """RESET, then as many transactions and bytes as the checkpoint has seen, and more."""
    stored = pair.checkpoint("a.t")
    reset(pair)
    number = 10
    while not grown(pair, stored):
        pair.on_source(*(f"INSERT INTO t VALUES ({number + n}, 'new')" for n in range(10)))
        number += 10


def grown(pair: Pair, stored: dict[str, Any]) -> bool:
    if int(pair.source.execute("SHOW BINARY LOGS")[-1][1]) <= int(stored["log_offset_bytes"]) + 1000:
        return False
    if stored["gtid_set"] is None:
        return True
    return bool(pair.source.execute(f"SELECT GTID_SUBSET('{stored['gtid_set']}', @@global.gtid_executed)")[0][0])


def begun_in_the_same_second(pair: Pair) -> None:
    """Make the checkpoint say that its file was begun in the second in which the source's present one was."""
    source = MySQLSource(pair.pipeline("t").sources["a"], Limits())
    try:
        birth_unix_s = source.safe_watermark([TableName(pair.source_schema, "t")]).birth_unix_s
    finally:
        source.close()
    details = f"JSON_SET(details, '$.birth_unix_s', {birth_unix_s})"
    assert birth_unix_s > 0
    pair.on_target(f"UPDATE _myrepetl_checkpoint SET details={details}")


@pytest.mark.parametrize("after", ["a copy", "a catch-up", "a new file"])
def test_a_log_that_was_reset_within_the_second_in_which_it_was_begun_is_noticed(pair: Pair, after: str) -> None:
    """The same file name, the same second, the same GTIDs, more bytes: the last transaction is another one."""
    reset(pair)
    pair.on_source("INSERT INTO t VALUES (7, 'first in its log')")
    pair.run(resnapshot(pair))
    if after != "a copy":
        pair.on_source("UPDATE t SET v='seen' WHERE id=2")
        pair.run("t")
    if after == "a new file":
        pair.source.execute("FLUSH BINARY LOGS")
        pair.run("t")
        stored = pair.checkpoint("a.t")["log_file"]
        assert stored.endswith("2")
    reset_and_grow(pair)
    if after == "a new file":
        pair.source.execute("FLUSH BINARY LOGS")
        pair.on_source("INSERT INTO t VALUES (8, 'in the second file')")
    begun_in_the_same_second(pair)

    assert_lost(pair)
    assert "is not the file that it was" in str(pair.error("t"))


def test_a_checkpoint_from_before_there_were_marks_is_resumed(pair: Pair) -> None:
    """It knows its file by the second alone; the next commit gives it a mark."""
    pair.run("t")
    pair.on_target("UPDATE _myrepetl_checkpoint SET details=JSON_REMOVE(details, '$.mark')")
    pair.on_source("UPDATE t SET v='later' WHERE id=3")
    pair.run("t")

    pair.assert_same("t")
    assert '"mark": {' in pair.checkpoint("a.t")["details"]


def test_a_log_that_goes_on_is_resumed(pair: Pair) -> None:
    """Restarted, rotated, checksums on or off, and purged up to the checkpoint: it is the same log."""
    pair.source.kill()
    pair.source.start()
    pair.run("t")
    for checksum in ("NONE", "CRC32"):
        pair.source.execute(f"SET GLOBAL binlog_checksum={checksum}")
        pair.on_source(f"UPDATE t SET v='{checksum}' WHERE id=1")
        pair.run("t")
        pair.on_source(f"UPDATE t SET v='{checksum}' WHERE id=2")
        pair.run("t")
    pair.source.execute("FLUSH BINARY LOGS")
    pair.run("t")
    newest = pair.source.execute("SHOW BINARY LOGS")[-1][0]
    pair.source.execute(f"PURGE BINARY LOGS TO '{newest}'")
    pair.on_source("UPDATE t SET v='z' WHERE id=3")
    pair.run("t")
    pair.assert_same("t")


def test_a_restored_server_is_noticed(pair: Pair, tmp_path: Path) -> None:
    """A source set back to an older copy of its own datadir does not hold what the checkpoint has seen."""
    back_up(pair, tmp_path / "backup")
    pair.on_source("INSERT INTO t VALUES (4, 'after the backup')")
    pair.run("t")
    set_back(pair, tmp_path / "backup")
    pair.on_source("INSERT INTO t VALUES (5, 'another history')")

    assert_lost(pair)


def back_up(pair: Pair, backup: Path) -> None:
    pair.source.stop()
    shutil.copytree(pair.source.datadir, backup)
    pair.source.start()


def set_back(pair: Pair, backup: Path) -> None:
    pair.source.kill()
    shutil.rmtree(pair.source.datadir)
    shutil.copytree(backup, pair.source.datadir)
    pair.source.start()


def test_a_restored_server_that_holds_all_that_was_applied_goes_on(pair: Pair, tmp_path: Path) -> None:
    """A source set back to a copy of later than the checkpoint: nothing is lost, and nothing is refused."""
    pair.run("t")
    back_up(pair, tmp_path / "backup")
    pair.on_source("INSERT INTO t VALUES (4, 'never applied')")
    set_back(pair, tmp_path / "backup")
    pair.on_source("INSERT INTO t VALUES (5, 'after')")
    pair.run("t")
    pair.assert_same("t")


@pytest.mark.parametrize("route", [MYSQL_GTID], ids=str)
def test_a_restored_server_that_has_given_the_same_gtids_again_is_noticed(pair: Pair, tmp_path: Path) -> None:
    """Set back to an older copy, and the checkpoint's file is gone: the last GTID leads to its new transaction."""
    back_up(pair, tmp_path / "backup")
    pair.on_source("INSERT INTO t VALUES (4, 'after the backup')")
    pair.run("t")
    held = pair.checkpoint("a.t")
    set_back(pair, tmp_path / "backup")
    pair.source.execute("FLUSH BINARY LOGS")
    purge(pair)
    for number in range(10, 15):
        pair.on_source(f"INSERT INTO t VALUES ({number}, 'another history')")
    assert held["log_file"] not in {row[0] for row in pair.source.execute("SHOW BINARY LOGS")}

    assert_lost(pair)
    assert "has given the same GTIDs to other transactions" in str(pair.error("t"))


def test_a_replaced_server_is_noticed(pair: Pair, route: Route, tmp_path: Path) -> None:
    """Another server at the same address, with the same tables: none of its log is applied."""
    pair.source.kill()
    other = private(route.source, tmp_path / "other", {"port": str(pair.source.port)}, gtid=route.gtid)
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


def lost_on_the_way(pair: Pair, mapping: dict[str, Any], *statements: str) -> dict[str, MappingResult]:
    """A run with two tables that are replicated and one that is new, which loses its place in the log while it copies
    that one: the stream tells, of no mapping in particular.
    """
    pair.on_source("CREATE TABLE u (id INT PRIMARY KEY)", "INSERT INTO u VALUES (1)")
    pair.run("t u")
    pair.on_source("UPDATE t SET v='after' WHERE id=3", "INSERT INTO u VALUES (2)", "DELETE FROM t WHERE id=2")
    pair.on_source("CREATE TABLE new (id INT PRIMARY KEY)", "INSERT INTO new VALUES (1)")

    def lose() -> None:
        pair.on_source(*statements)
        purge(pair)

    return pair.try_run(pair.pipeline(mapping), call_at(1, lose))


def test_a_mapping_that_cannot_be_copied_again_holds_up_no_other(pair: Pair) -> None:
    """The log is lost in the middle of a run, and with it a source table: its mapping stops, the others are copied
    again.
    """
    mapping = {
        f"a.{name}": {"target_table": f"b.{name}", "on_position_lost": "resnapshot"} for name in ("t", "u", "new")
    }
    results = lost_on_the_way(pair, mapping, "DROP TABLE u")

    assert {name: type(result.error) for name, result in results.items()} == {
        "a.t": type(None), "a.u": SchemaDrift, "a.new": type(None),
    }  # fmt: skip
    assert "has no table" in str(results["a.u"].error)
    assert "has no table" in str(pair.checkpoint("a.u")["last_error"])
    pair.assert_same("t")
    pair.assert_same("new")


def test_each_mapping_has_its_own_answer_to_a_lost_position(pair: Pair) -> None:
    """Where the log is lost for all, those with `resnapshot` are copied again, those with `fail` stop with the error
    and are left as they are.
    """
    mapping = {
        "a.t": {"target_table": "b.t", "on_position_lost": "resnapshot"},
        "a.u": {"target_table": "b.u"},
        "a.new": {"target_table": "b.new", "on_position_lost": "resnapshot"},
    }
    results = lost_on_the_way(pair, mapping)

    assert {name: type(result.error) for name, result in results.items()} == {
        "a.t": type(None), "a.u": PositionLost, "a.new": type(None),
    }  # fmt: skip
    assert pair.checkpoint("a.u")["last_error"]
    assert pair.target_rows("u") == [(1,)]
    pair.assert_same("t")
    pair.assert_same("new")


def test_a_lost_position_stops_every_mapping_that_may_not_be_copied_again(pair: Pair) -> None:
    """Without `resnapshot` all stop with the error, which each checkpoint keeps."""
    results = lost_on_the_way(pair, {f"a.{name}": {"target_table": f"b.{name}"} for name in ("t", "u", "new")})

    assert {type(result.error) for result in results.values()} == {PositionLost}
    assert all(pair.checkpoint(name)["last_error"] for name in results)


# ---- a switched primary --------------------------------------------------------------------------------
@pytest.fixture
def primaries(servers: Servers, tmp_path: Path) -> Iterator[tuple[Pair, Pair]]:
    """A MySQL primary with GTIDs and a replica of it, and a pair for each, with one target."""
    first, second = private("mysql", tmp_path / "first"), private("mysql", tmp_path / "second")
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
