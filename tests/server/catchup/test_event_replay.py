"""Rows that a target takes as events of a binary log (`event_replay.py`): the same rows arrive, or statements are used."""

from __future__ import annotations

import logging
import os
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from decode_log import kind_of
from pipelines import REPLAY, REPLAY_GRANTS, Pair, Route, pair, pair_of
from server_farm import Servers
from servers import Flavour
from type_matrix import change_in_every_way, differences, fill, packed, tables

from myrepetl_dagster.core.binlog.events import KnownTable, RowsRead
from myrepetl_dagster.core.model.errors import RowRejected, TargetLost
from myrepetl_dagster.core.model.tables import TableName
from myrepetl_dagster.core.mysql import bulk_connection
from myrepetl_dagster.core.mysql.bulk_connection import BulkConnection
from myrepetl_dagster.core.plan.table_plan import TablePlan
from myrepetl_dagster.core.rows.event_encoder import RowChanges
from myrepetl_dagster.core.rows.writable_rows import WritableRows
from myrepetl_dagster.core.source.mysql_source import MySQLSource
from myrepetl_dagster.core.target.apply_connection import MySQLApplyConnection
from myrepetl_dagster.core.target.event_replay import EventSupport
from myrepetl_dagster.core.target.mysql_target import MySQLTarget

pytestmark = pytest.mark.versions_in_soak

ROUTES = [Route("mysql", True, "mysql"), Route("mariadb", True, "mariadb")]


GTIDS = {"mysql": "gtid_executed", "mariadb": "gtid_binlog_pos"}

SEED = int(os.environ.get("MYREPETL_TEST_SEED", "20250101"))


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Rows that were written as events, by table."""
    counts: Counter[str] = Counter()
    write = MySQLApplyConnection.write

    def spy(self: MySQLApplyConnection, plan: TablePlan, rows: WritableRows) -> None:
        write(self, plan, rows)
        if isinstance(rows, RowChanges):
            counts[plan.target.name.table] += len(rows.last_images)

    monkeypatch.setattr(MySQLApplyConnection, "write", spy)
    return counts


def replaying(servers: Servers, route: Route) -> Pair:
    made = pair(servers, route)
    made.replays = True
    return made


@pytest.fixture(params=ROUTES, ids=str)
def world(request: pytest.FixtureRequest, servers: Servers) -> Pair:
    return replaying(servers, request.param)


def started(world: Pair, columns: str = "id INT PRIMARY KEY, a INT", rows: int = 200) -> None:
    """A table `t` that is copied, and a log after it."""
    values = ", ".join(f"({n}, {n})" for n in range(rows))
    world.on_source(f"CREATE TABLE t ({columns})", f"INSERT INTO t (id, a) VALUES {values}")
    world.run("t")


def change(world: Pair) -> None:
    world.on_source(
        "INSERT INTO t (id, a) VALUES (1000, 1), (1001, 2), (1002, 3)", "UPDATE t SET a = a + 1 WHERE id < 50",
        "DELETE FROM t WHERE id BETWEEN 40 AND 60", "UPDATE t SET id = id + 5000 WHERE id < 10",
    )  # fmt: skip


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_type_as_events(servers: Servers, route: Route, replayed: Counter[str]) -> None:
    """Each value of each type arrives byte for byte, inserted, updated, moved to another key or deleted, by events;
    all but geometries, vectors, UUIDs and addresses. (Some compressed columns and labels go as statements, too.)
    """
    world = replaying(servers, route)
    matrix = tables(route.source, world.source)
    columns = [t for table in matrix if table.name.startswith("plain") for t in table.columns]
    # One type to a table, so that each shows whether it goes as events.
    wide = tuple(one for n, column in enumerate(columns) for one in packed(f"c{n}", [column]))
    fill(world.source, world.source_schema, wide)
    names = " ".join(table.name for table in wide)
    world.run(names)
    change_in_every_way(world, wide)
    for table in wide:
        world.on_source(f"DELETE FROM {table.name} WHERE id = 1005")
    world.run(names)
    assert differences(world, wide) == []
    kinds = {table.name: kind_of(table.columns[0][0]) for table in wide}
    by_statement = {kind for name, kind in kinds.items() if not replayed[name]}
    print(f"{len(replayed)} of {len(wide)} tables by events; by statement: {sorted(by_statement)}")
    assert by_statement - {kinds[name] for name in replayed} <= NOT_AS_EVENTS, (
        "a type that should go as events does not"
    )


NOT_AS_EVENTS = {
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection",
    "geomcollection", "vector", "uuid", "inet4", "inet6",
}  # fmt: skip


def test_a_log_with_all_kinds_of_changes(world: Pair, replayed: Counter[str]) -> None:
    """Inserts, updates, deletes and moved keys, over several batches and runs: the same rows, all of them by events."""
    world.limits["batch_rows_max"] = 20
    started(world)
    change(world)
    world.run("t")
    world.assert_same("t")
    assert replayed["t"] > 70
    world.on_source(
        "DELETE FROM t WHERE id = 1000", "INSERT INTO t VALUES (1000, 9), (7, 7)", "DELETE FROM t WHERE id = 7"
    )
    world.run("t")
    world.assert_same("t")


def test_a_transaction_in_parts(world: Pair, replayed: Counter[str]) -> None:
    """One too big to hold is written in parts, by events, and seen at once."""
    world.limits["batch_rows_max"] = 100
    started(world)
    world.on_source("CREATE TABLE u (id INT PRIMARY KEY, a INT)")
    world.run("t u")
    values = ", ".join(f"({n}, {n})" for n in range(1000, 3000))
    changes = [f"INSERT INTO t VALUES {values}", "UPDATE t SET a = -a", "DELETE FROM t WHERE id % 3 = 0"]
    changes.append("INSERT INTO t SELECT id, 1 FROM u")
    between = (
        f"INSERT INTO u VALUES {values}",
        "UPDATE u SET id = -id",
        "DELETE FROM u WHERE id % 3 <> 0",
        "DELETE FROM u",
    )
    both = [statement for pair in zip(changes, between, strict=True) for statement in pair]
    world.on_source("BEGIN", *both, "COMMIT")
    world.run("t u")
    world.assert_same("t")
    world.assert_same("u")
    assert replayed["t"] > 5000, "each part by itself"
    assert replayed["u"] > 5000


def test_few_rows_are_written_as_statements(world: Pair, replayed: Counter[str]) -> None:
    """Below `event_rows_min` nothing is asked of the target."""
    started(world)
    world.limits["event_rows_min"] = 100
    world.on_source("UPDATE t SET a = 5 WHERE id < 99")
    world.run("t")
    assert not replayed
    world.on_source("UPDATE t SET a = 6 WHERE id < 100")
    world.run("t")
    assert replayed["t"] == 100
    world.assert_same("t")


@pytest.mark.skipif(REPLAY, reason="here every account may")
def test_without_the_grant(world: Pair, replayed: Counter[str]) -> None:
    """An account that may not do it writes statements, and nobody is told of an error."""
    started(world)
    world.replays = False
    world.limits["event_rows_min"] = 1
    change(world)
    (result,) = world.run("t").values()
    assert not replayed
    assert result.error is None
    world.assert_same("t")


def test_without_a_sight_of_triggers(world: Pair, replayed: Counter[str]) -> None:
    """Without TRIGGER on the table nobody can say that it has none."""
    started(world)
    world.target.execute(f"REVOKE TRIGGER ON {world.target_schema}.* FROM '{world.writer}'@'%'")
    change(world)
    world.run("t")
    assert not replayed
    world.assert_same("t")


def test_triggers_are_started(world: Pair, replayed: Counter[str]) -> None:
    """A table with a trigger gets statements, since events would start none."""
    started(world)
    world.target.execute("SET GLOBAL log_bin_trust_function_creators = 1")
    world.on_target(
        "CREATE TABLE seen (id INT)",
        "CREATE TRIGGER one BEFORE INSERT ON t FOR EACH ROW INSERT INTO seen VALUES (NEW.id)",
    )
    change(world)
    world.run("t")
    assert not replayed
    assert {row[0] for row in world.on_target("SELECT id FROM seen")} >= {1000, 1001, 1002}


def test_checks_are_made(world: Pair, replayed: Counter[str]) -> None:
    """A table with a CHECK gets statements: MariaDB looks at none when it applies events."""
    started(world)
    world.on_target("ALTER TABLE t ADD CONSTRAINT small CHECK (a < 5000)")
    world.on_source("INSERT INTO t VALUES (1000, 6000)")
    error = world.error("t")
    assert isinstance(error, RowRejected)
    assert "id=1000" in str(error)
    assert not replayed


@pytest.mark.parametrize(
    "tampering",
    ["DELETE FROM t WHERE id = 20", "INSERT INTO t VALUES (1001, 77)", "DELETE FROM t WHERE id = 45"],
    ids=["a row to change is gone", "a row to insert is there", "a row to delete is gone"],
)
def test_a_target_that_was_tampered_with(
    world: Pair, replayed: Counter[str], tampering: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the target refuses an event, the run starts again with statements, which put the row right, and says so."""
    started(world)
    world.on_target(tampering)
    change(world)
    with caplog.at_level(logging.WARNING):
        world.run("t")
    assert "did not take rows as events" in caplog.text
    world.assert_same("t")
    replayed.clear()
    world.on_source("UPDATE t SET a = 7")
    world.run("t")
    assert replayed["t"] > 100, "the next run tries again"
    world.assert_same("t")


@pytest.mark.parametrize(
    "alteration",
    [
        "ALTER TABLE t ADD extra INT FIRST", "ALTER TABLE t ADD extra INT DEFAULT 3 AFTER id",
        "ALTER TABLE t MODIFY a BIGINT", "ALTER TABLE t RENAME COLUMN a TO b, RENAME COLUMN b TO a",
    ],
    ids=["a column before", "a column between", "another type", "columns that change names"],
)  # fmt: skip
def test_a_table_that_is_altered_meanwhile(
    world: Pair, replayed: Counter[str], monkeypatch: pytest.MonkeyPatch, alteration: str
) -> None:
    """Somebody alters the target's table between two batches: no image is put into columns of other meaning."""
    world.limits["batch_rows_max"] = 20
    started(world, "id INT PRIMARY KEY, a INT, b INT DEFAULT 5")
    begin = MySQLApplyConnection._begin
    altered: list[str] = []

    def altering(self: MySQLApplyConnection, *args: Any, **more: Any) -> None:
        if replayed["t"] > 40 and not altered:
            altered.append(alteration)
            world.target.execute("SET GLOBAL lock_wait_timeout = 5")
            with closing(world.target.connect(database=world.target_schema)) as other, other.cursor() as cursor:
                cursor.execute("SET SESSION lock_wait_timeout = 1")
                try:
                    cursor.execute(alteration)
                except Exception:  # another transaction holds the table: at the next one
                    altered.clear()
        begin(self, *args, **more)

    monkeypatch.setattr(MySQLApplyConnection, "_begin", altering)
    world.on_source(*(f"UPDATE t SET a = {n} WHERE id BETWEEN {n} AND {n + 30}" for n in range(0, 170, 5)))
    world.on_source("UPDATE t SET a = id + 7, b = id + 9")
    world.run("t")
    assert altered, "the table was never free"
    assert world.target_rows("t", "id, a, b") == world.source_rows("t", "id, a, b")


@pytest.mark.parametrize("kind", ["DATETIME", "TIME", "TIMESTAMP"])
@pytest.mark.parametrize("text", ["ab\x03xyz", "abcdef"])  # the former would still be a row if three bytes were lost
def test_images_of_an_earlier_definition(world: Pair, replayed: Counter[str], kind: str, text: str) -> None:
    """The target was given fraction digits first, the source later, and the log has rows from before: they are not read
    as if they had any, which the servers do not notice.
    """
    mapping = {"t": {"source_table": "a.t", "target_table": "b.t", "schema_policy": "ignore"}}
    world.on_source(
        f"CREATE TABLE t (id INT PRIMARY KEY, d {kind} NULL, v VARCHAR(30))", "INSERT INTO t (id) VALUES (1)"
    )
    world.run(mapping)
    value = "10:20:30" if kind == "TIME" else "2024-01-02 03:04:05"
    world.on_source(f"UPDATE t SET d = '{value}', v = '{text}'")
    for alter in (world.on_target, world.on_source):
        alter(f"ALTER TABLE t MODIFY d {kind}(6) NULL")
    world.run(mapping)
    world.assert_same("t")
    assert not replayed
    world.on_source("UPDATE t SET v = 'new'")
    world.run(mapping)
    world.assert_same("t")
    assert replayed["t"] == 1


def test_an_event_that_the_server_finds_corrupt(
    world: Pair, replayed: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever number the refusal has, also one that would be worth a retry elsewhere: the next attempt uses statements."""
    started(world)
    events = RowChanges.events

    def torn(self: RowChanges, *args: Any, **kwargs: Any) -> Any:
        shorter = replace(self, last_images={key: image and image[:-1] for key, image in self.last_images.items()})
        return events(shorter, *args, **kwargs)

    monkeypatch.setattr(RowChanges, "events", torn)
    world.limits["attempts_max"] = 2
    change(world)
    world.run("t")
    assert not replayed
    world.assert_same("t")


def test_a_grant_that_is_taken_away_meanwhile(
    servers: Servers, replayed: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the question and the first event: the run goes on with statements. (MariaDB asks once a connection.)"""
    world = replaying(servers, ROUTES[0])
    started(world)
    takes = EventSupport.takes

    def taken(self: EventSupport, *args: Any, **kwargs: Any) -> bool:
        answer = takes(self, *args, **kwargs)
        world.target.execute(f"REVOKE {REPLAY_GRANTS[world.target.flavour]} ON *.* FROM '{world.writer}'@'%'")
        return answer

    monkeypatch.setattr(EventSupport, "takes", taken)
    change(world)
    world.run("t")
    assert not replayed
    world.assert_same("t")


def test_a_target_taken_as_it_is(world: Pair, replayed: Counter[str], caplog: pytest.LogCaptureFixture) -> None:
    """Where rows may be missing by intention, nothing is tried that they would refuse."""
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, a INT)", "INSERT INTO t VALUES (1, 1), (2, 2)")
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY, a INT)", "INSERT INTO t VALUES (2, 2)")
    mapping = {"t": {"source_table": "a.t", "target_table": "b.t", "init_if_table_empty": True}}
    world.run(mapping)
    world.on_source("UPDATE t SET a = 9")
    with caplog.at_level(logging.WARNING):
        world.run(mapping)
    assert not replayed
    assert "events" not in caplog.text
    assert world.target_rows("t") == [(1, 9), (2, 9)]


def test_a_transaction_whose_connection_is_gone(world: Pair) -> None:
    """What is written on another connection than the one that the transaction was begun on is not committed."""
    started(world)
    pipeline = world.pipeline("t")
    target = MySQLTarget(pipeline.targets["b"], pipeline.limits)
    with closing(target):
        target.apply.begin_unfenced()
        target.discard_transactions()
        with pytest.raises(TargetLost):
            target.apply.commit([])


def test_a_table_that_the_run_alters(world: Pair, replayed: Counter[str]) -> None:
    """A column that the target follows, in the middle of a log: events before it and after it."""
    world.target.execute(f"GRANT ALTER ON {world.target_schema}.* TO '{world.writer}'@'%'")
    mapping = {"t": {"source_table": "a.t", "target_table": "b.t", "schema_policy": "evolve"}}
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, a INT)", "INSERT INTO t VALUES (1, 1)")
    world.run(mapping)
    world.on_source(
        "INSERT INTO t VALUES (2, 2)", "ALTER TABLE t ADD b VARCHAR(9) FIRST", "INSERT INTO t VALUES ('x', 3, 3)"
    )
    world.run(mapping)
    assert world.target_rows("t", "id, a, b") == [(1, 1, None), (2, 2, None), (3, 3, "x")]
    assert replayed["t"] == 1, "the target's new column is its last one"


def test_the_targets_own_log_has_every_row(servers: Servers, replayed: Counter[str]) -> None:
    """Rows that came as events are in the target's binary log under its own identity, for its own replicas."""
    for route in ROUTES:
        world = replaying(servers, route)
        started(world)
        back = pair_of(world.target, world.target)  # the target as a source
        world.target.execute(f"GRANT SELECT ON {world.target_schema}.* TO 'reader'@'%'")
        table = TableName(world.target_schema, "t")
        pipeline = back.pipeline("t")
        source = MySQLSource(pipeline.sources["a"], pipeline.limits)
        try:
            start = source.head()
            gtids = world.target.execute(f"SELECT @@global.{GTIDS[route.target]}")
            known = {table: KnownTable(source.columns(table))}
            change(world)
            world.run("t")
            with closing(source.read_log(start, known)) as events:
                logged = [change for e in events if isinstance(e, RowsRead) for change in e.changes]
        finally:
            source.close()
        assert replayed["t"] > 50
        replayed.clear()
        gone = {before[0] for before, after in logged if before is not None and after is None}
        assert gone == {*range(41, 61), 40, *range(10)}
        assert {after[0] for before, after in logged if before is None and after is not None} == {
            1000, 1001, 1002, *range(5000, 5010)
        }  # fmt: skip
        assert gtids != world.target.execute(f"SELECT @@global.{GTIDS[route.target]}")


@pytest.mark.parametrize(
    ("flavour", "setting", "value"),
    [
        ("mysql", "replica_type_conversions", "ALL_LOSSY"), ("mariadb", "slave_type_conversions", "ALL_LOSSY"),
        ("mariadb", "slave_exec_mode", "IDEMPOTENT"),
    ],
)  # fmt: skip
def test_a_target_that_applies_laxly(
    servers: Servers, flavour: Flavour, setting: str, value: str, replayed: Counter[str]
) -> None:
    """A target that would cut values, or pass over rows that it lacks, in silence: it gets statements."""
    world = replaying(servers, Route(flavour, True, flavour))
    started(world)
    world.on_target("DELETE FROM t WHERE id = 20")
    before = world.target.execute(f"SELECT @@global.{setting}")[0][0]
    world.target.execute(f"SET GLOBAL {setting} = '{value}'")
    try:
        change(world)
        world.run("t")
    finally:
        world.target.execute(f"SET GLOBAL {setting} = '{before}'")
    assert not replayed
    world.assert_same("t")


@pytest.mark.parametrize(
    ("flavour", "setting", "value"),
    [("mysql", "replica_type_conversions", "ALL_LOSSY"), ("mariadb", "slave_exec_mode", "IDEMPOTENT")],
)
def test_a_target_that_is_made_lax_meanwhile(
    servers: Servers,
    flavour: Flavour,
    setting: str,
    value: str,
    replayed: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Told between two batches to convert or pass over what does not fit: the rest goes as statements."""
    world = replaying(servers, Route(flavour, True, flavour))
    world.limits["batch_rows_max"] = 20
    started(world)
    before = world.target.execute(f"SELECT @@global.{setting}")[0][0]
    begin = MySQLApplyConnection._begin

    def lax(self: MySQLApplyConnection, *args: Any, **more: Any) -> None:
        if replayed["t"] > 40:
            world.target.execute(f"SET GLOBAL {setting} = '{value}'")
        begin(self, *args, **more)

    world.on_source(*(f"UPDATE t SET a = {n} WHERE id BETWEEN {n} AND {n + 30}" for n in range(0, 170, 5)))
    monkeypatch.setattr(MySQLApplyConnection, "_begin", lax)
    try:
        world.run("t")
    finally:
        world.target.execute(f"SET GLOBAL {setting} = '{before}'")
    assert 40 < replayed["t"] < 150, "all of it as events, or none"
    world.assert_same("t")


@pytest.mark.parametrize("flavour", ["mysql", "mariadb"])
def test_a_target_that_skips_errors(servers: Servers, flavour: Flavour, replayed: Counter[str]) -> None:
    """The same of a server that was started with errors to skip."""
    target = servers.get("skipping", flavour, slave_skip_errors="1032")
    world = pair_of(servers.get("source", flavour), target)
    world.replays = True
    started(world)
    world.on_target("DELETE FROM t WHERE id = 20")
    change(world)
    world.run("t")
    assert not replayed
    world.assert_same("t")


def test_several_tables_and_a_renamed_one(world: Pair, replayed: Counter[str]) -> None:
    """Tables with and without what events take, in the same transactions: each its own way, all exact. A filter decides
    which rows are events, a transform makes others of them.
    """
    world.limits["batch_rows_max"] = 30
    columns = {"id": "id", "a": {"column": "a", "transform": "transform.trim"}}
    mapping: dict[str, Any] = {
        "plain": {"source_table": "a.plain", "target_table": "b.plain"},
        "renamed": {
            "source_table": "a.renamed", "target_table": "b.andere", "primary_key": "nr",
            "column_mapping": {"id": "nr", "a": "wert"},
        },
        "filtered": {"source_table": "a.filtered", "target_table": "b.filtered", "filter": {"a": {"gt": 10}}},
        "text": {"source_table": "a.text", "target_table": "b.text"},
        "shaped": {
            "source_table": "a.shaped", "target_table": "b.shaped", "primary_key": "id", "column_mapping": columns,
        },
    }  # fmt: skip
    for name in ("plain", "renamed", "filtered", "shaped"):
        world.on_source(f"CREATE TABLE {name} (id INT PRIMARY KEY, a INT)")
    world.on_source("CREATE TABLE text (id VARCHAR(9) PRIMARY KEY, a INT)")
    world.run(mapping)
    for n in range(100):
        world.on_source("BEGIN", *(f"INSERT INTO {t} VALUES ({n}, {n})" for t in mapping), "COMMIT")
    world.on_source("BEGIN", *(f"DELETE FROM {t} WHERE a % 3 = 0" for t in mapping), "COMMIT")
    world.run(mapping)
    assert set(replayed) == {"plain", "andere", "filtered"}
    for name in ("plain", "text", "shaped"):
        world.assert_same(name)
    assert world.target_rows("andere", "nr, wert") == world.source_rows("renamed", "id, a")
    world.assert_same("filtered", where="a > 10")


def test_rows_that_enter_and_leave_a_filter(world: Pair, replayed: Counter[str]) -> None:
    """As events, too: what enters is inserted, what leaves is deleted, also where its key changes at the same time; what
    never was in the target is neither.
    """
    mapping = {"a.t": {"target_table": "b.t", "filter": {"or": [{"a": {"gte": 10}}, {"b": "x"}]}}}
    rng = random.Random(SEED)
    print(f"MYREPETL_TEST_SEED={SEED}")
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(3) CHARACTER SET latin1)",
        "INSERT INTO t VALUES " + ", ".join(f"({n}, {n % 20}, NULL)" for n in range(300)),
    )
    world.run(mapping)
    for _ in range(4):
        for _ in range(60):
            low = rng.randrange(0, 3000)
            where = f"id BETWEEN {low} AND {low + 400}"
            statement = rng.choice([
                f"UPDATE t SET a = {rng.randrange(20)} WHERE {where} AND id % 3 = {rng.randrange(3)}",
                f"UPDATE t SET b = IF(id % 2, 'x', NULL), a = a - 3 WHERE {where}",
                f"UPDATE IGNORE t SET id = id + {rng.randrange(500)}, a = {rng.randrange(20)} WHERE {where} ORDER BY id DESC",
                f"DELETE FROM t WHERE {where} AND id % 7 = 0",
                f"INSERT IGNORE INTO t VALUES ({low}, {rng.randrange(20)}, 'x'), ({low + 1}, {rng.randrange(20)}, 'y')",
            ])  # fmt: skip
            world.on_source(statement)
        result = world.run(mapping)["a.t"]
        assert result.rows_filtered
        world.assert_same("t", where="a >= 10 OR b = 'x'")
    assert set(replayed) == {"t"}


def test_events_of_every_length_as_a_parameter(servers: Servers, replayed: Counter[str]) -> None:
    """MariaDB gets events as a parameter, of 300 bytes or of half a megabyte; what they hold arrives, and the variables that
    held them are empty afterwards.
    """
    world = replaying(servers, ROUTES[1])
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, a LONGTEXT)")
    world.run("t")
    executed: list[int] = []
    execute = BulkConnection.execute

    def spy(self: BulkConnection, sql: bytes, values: Sequence[bytes]) -> None:
        execute(self, sql, values)
        executed.append(sum(map(len, values)))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(BulkConnection, "execute", spy)
        for size in (1, 90, 120, 160, 200, 48_900, 49_000, 49_100, 49_200, 400_000, 900_000):
            row = f"REPEAT('{size % 10}', {size})"
            world.on_source(f"INSERT INTO t VALUES ({size}, {row})")
            world.run("t")
    assert replayed["t"] == len(executed) == 11
    assert min(executed) < 250 < max(executed)
    assert max(executed) > 2**16
    world.assert_same("t", columns="id, SHA2(a, 256)")
    with closing(MySQLTarget(world.pipeline("t").targets["b"], world.pipeline("t").limits)) as target:
        connection = target.apply._session.connection
        assert isinstance(connection, BulkConnection)
        with connection.cursor() as cursor:
            for size in (0, 250, 251, 252, 65_535, 65_536, 70_000):
                connection.execute(b"SET @a = ?, @b = ?", (b"'" * size, b""))
                cursor.execute("SELECT LENGTH(@a), LENGTH(REPLACE(@a, '\\'', '')), LENGTH(@b)")
                ((length, others, beside),) = cursor.fetchall()
                assert (int(length), int(others), int(beside)) == (size, 0, 0)


def test_events_for_a_server_without_bulk_execution(
    servers: Servers, replayed: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a MariaDB server does not offer it (a proxy), events are the text of a statement."""
    world = replaying(servers, ROUTES[1])
    monkeypatch.setattr(bulk_connection, "_offers_bulk", lambda greeting: False)
    started(world)
    change(world)
    world.run("t")
    assert replayed["t"]
    world.assert_same("t")
