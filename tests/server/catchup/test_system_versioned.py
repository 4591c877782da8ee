"""System-versioned tables of MariaDB: as a source their current rows arrive, and as a target they keep a history."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable
from typing import Any

import pymysql
import pytest
from pipelines import Pair, pair_of
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.model.errors import PrerequisiteError, SchemaDrift
from myrepetl_dagster.core.plan.table_plan import TablePlan
from myrepetl_dagster.core.rows.event_encoder import RowChanges
from myrepetl_dagster.core.rows.writable_rows import WritableRows
from myrepetl_dagster.core.target.apply_connection import MySQLApplyConnection

pytestmark = pytest.mark.versions

PERIOD = (
    "since TIMESTAMP(6) GENERATED ALWAYS AS ROW START{0}, until TIMESTAMP(6) GENERATED ALWAYS AS ROW END{0},"
    " PERIOD FOR SYSTEM_TIME (since, until)"
)
ORDINARY = "(id INT PRIMARY KEY, v VARCHAR(20), n INT)"
COLUMNS = "id INT PRIMARY KEY, v VARCHAR(20), n INT WITHOUT SYSTEM VERSIONING"
TABLES = {
    "implicit": f"({COLUMNS}) WITH SYSTEM VERSIONING",
    "explicit": f"({COLUMNS}, {PERIOD.format('')}) WITH SYSTEM VERSIONING",
    "invisible": f"({COLUMNS}, {PERIOD.format(' INVISIBLE')}) WITH SYSTEM VERSIONING",
    "partitioned": f"({COLUMNS}) WITH SYSTEM VERSIONING PARTITION BY SYSTEM_TIME (PARTITION p0 HISTORY, PARTITION pn"
    " CURRENT)",
    "few_columns": "(id INT PRIMARY KEY, v VARCHAR(20) WITH SYSTEM VERSIONING, n INT)",
    "unique_key": f"({COLUMNS}, UNIQUE KEY (v, id)) WITH SYSTEM VERSIONING",
    "nullable_key": "(id INT, v VARCHAR(20), n INT, UNIQUE KEY (id)) WITH SYSTEM VERSIONING",
}
KEYS_MAX = 12
CHANGES = 100


@pytest.fixture(params=["FULL", "NO_LOG"], ids="from-mariadb-{}".format)
def world(servers: Servers, flavour: Flavour, request: pytest.FixtureRequest) -> Pair:
    """From MariaDB, with and without metadata in its log, to either flavour. Rows are written as statements."""
    source = servers.get("source", "mariadb", binlog_row_metadata=request.param)
    return pair_of(source, servers.get("target", flavour))


def seeded(seed: str) -> random.Random:
    seed = os.environ.get("MYREPETL_SEED", seed)
    print("seed", seed)
    return random.Random(seed)


def change(world: Pair, chance: random.Random, history: str = "DELETE HISTORY FROM t") -> None:
    """Random changes of rows, by every statement that makes history. Errors of one are part of it."""
    with world.source_session() as connection, connection.cursor() as cursor:
        for _ in range(CHANGES):
            key, other, v = chance.randrange(KEYS_MAX), chance.randrange(KEYS_MAX), chance.randrange(100)
            statement = chance.choice([
                f"INSERT INTO t (id,v,n) VALUES ({key},{v},{v})",
                f"INSERT INTO t (id,v,n) VALUES ({key},{v},{v}),({other},{v},0) ON DUPLICATE KEY UPDATE v=n+1",
                f"REPLACE INTO t (id,v,n) VALUES ({key},{v},NULL),({other},{v},1)",
                f"UPDATE t SET v={v} WHERE id={key}",
                f"UPDATE t SET v={v} WHERE id>{key} LIMIT 3",
                f"UPDATE t SET n={v} WHERE id={key}",
                f"UPDATE t SET id={other} WHERE id={key}",
                f"UPDATE t SET id=id+{KEYS_MAX} WHERE id<{key} ORDER BY id DESC",
                f"UPDATE t SET id=id-{KEYS_MAX} WHERE id>={KEYS_MAX}",
                f"DELETE FROM t WHERE id={key}",
                f"DELETE FROM t WHERE id BETWEEN {key} AND {other} LIMIT 2",
                history or "DO 1",
                "BEGIN", "COMMIT", "ROLLBACK",
            ])  # fmt: skip
            with contextlib.suppress(pymysql.err.IntegrityError, pymysql.err.OperationalError):
                cursor.execute(statement)
        connection.commit()


def run_through_changes(world: Pair, chance: random.Random, mapping: dict[str, Any], check: Callable[[], None]) -> None:
    """A copy, then the log with each kind of row image."""
    change(world, chance)
    world.run(mapping)
    check()
    for image in ("FULL", "MINIMAL", "NOBLOB"):
        world.on_source(f"SET GLOBAL binlog_row_image={image}")
        try:
            change(world, chance)
        finally:
            world.on_source("SET GLOBAL binlog_row_image=FULL")
        world.run(mapping)
        check()


@pytest.mark.parametrize("kind", TABLES)
def test_current_rows_arrive(world: Pair, kind: str) -> None:
    """Whatever statements changed them, the target holds the current rows, and none of the history."""
    key = {"primary_key": "id"} if kind == "nullable_key" else {}
    world.on_source(f"CREATE TABLE t {TABLES[kind]}")
    mapping = {"a.t": {"target_table": "b.t", **key}}
    run_through_changes(world, seeded(kind), mapping, lambda: world.assert_same("t"))


@pytest.mark.parametrize("kind", ["implicit", "explicit"])
def test_rows_that_are_looked_at_one_by_one(world: Pair, kind: str) -> None:
    """A filter, a transform of the whole row, another unique key of the target: history still does not arrive."""
    world.on_source(f"CREATE TABLE t {TABLES[kind]}")
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20), n INT, UNIQUE KEY (v, id))")
    columns = {"id": "id", "v": "v", "n": "n"}
    mapping = {
        "a.t": {"target_table": "b.t", "primary_key": "id", "filter": {"id": {"gt": 3}}, "column_mapping": columns}
    }
    run_through_changes(world, seeded(kind), mapping, lambda: world.assert_same("t", columns="id,v,n", where="id > 3"))


@pytest.mark.parametrize("kind", ["implicit", "invisible"])
def test_hidden_columns_that_are_named(world: Pair, kind: str) -> None:
    """Since when a row is current arrives if the mapping names the hidden column."""
    since = "row_start" if kind == "implicit" else "since"
    world.on_source(f"CREATE TABLE t {TABLES[kind]}")
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY, since DATETIME(6))")
    columns = {"id": "id", since: "since"}
    mapping = {"a.t": {"target_table": "b.t", "primary_key": "id", "column_mapping": columns}}

    def check() -> None:
        assert world.target_rows("t") == world.source_rows("t", f"id, {since}")

    run_through_changes(world, seeded(kind), mapping, check)


def test_rows_as_events(world: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of current rows may go to an ordinary table as they are, in one that was made by hand like the source."""
    world.replays = True
    kinds: set[type] = set()
    write = MySQLApplyConnection.write

    def spy(self: MySQLApplyConnection, plan: TablePlan, rows: WritableRows) -> None:
        kinds.add(type(rows))
        write(self, plan, rows)

    monkeypatch.setattr(MySQLApplyConnection, "write", spy)
    key = "(id INT PRIMARY KEY, v VARCHAR(20), n INT"
    period = PERIOD.format("")
    world.on_source(f"CREATE TABLE t {key}, {period}) WITH SYSTEM VERSIONING")
    until = "DATETIME(6)" if world.source.version != world.target.version else "TIMESTAMP(6) NULL"
    world.on_target(f"CREATE TABLE t {key}, since TIMESTAMP(6) NULL, until {until})")
    run_through_changes(world, seeded("events"), {"a.t": {"target_table": "b.t"}}, lambda: world.assert_same("t"))
    assert (RowChanges in kinds) == (world.target.flavour == "mariadb")


@pytest.mark.parametrize("kind", ["implicit", "explicit"])
def test_init_query(world: Pair, kind: str) -> None:
    """A query of current rows is followed. One of the history is refused."""
    world.on_source(f"CREATE TABLE t {TABLES[kind]}")
    columns = {"id": "id", "v": "v", "n": "n"}
    mapping = {"target_table": "b.t", "primary_key": "id", "column_mapping": columns}
    query = "SELECT id, v, n FROM t"
    asking = {"a.t": {**mapping, "init_query": f"{query} FOR system_time ALL"}}
    assert isinstance(world.error(asking), PrerequisiteError)
    run_through_changes(
        world,
        seeded(kind),
        {"a.t": {**mapping, "init_query": query}},
        lambda: world.assert_same("t", columns="id,v,n"),
    )


def test_history_that_is_written_by_hand(world: Pair) -> None:
    """A row that system_versioning_insert_history puts into the history is not applied, and counted as filtered."""
    if world.source.execute("SHOW VARIABLES LIKE 'system_versioning_insert_history'") == ():
        pytest.skip("the server lacks it")
    world.on_source(f"CREATE TABLE t {TABLES['implicit']}", "INSERT INTO t VALUES (1,'a',1)")
    world.run("t")
    world.on_source(
        "SET system_versioning_insert_history=1",
        "INSERT INTO t (id,v,row_start,row_end) VALUES (1,'old','2020-01-01','2021-01-01'),(9,'old','2020-01-01',"
        "'2021-01-01')",
        "INSERT INTO t (id,v) VALUES (2,'b')",
    )
    assert world.run("t")["a.t"].rows_filtered == 2
    world.assert_same("t")


def test_clock_that_is_set_back(world: Pair) -> None:
    """Sessions that write at other times than now leave the current rows as exact."""
    world.on_source(f"CREATE TABLE t {TABLES['explicit']}", "INSERT INTO t (id,v) VALUES (1,'a'),(2,'b'),(3,'c')")
    world.run("t")
    world.on_source("SET timestamp=1000000", "UPDATE t SET v='x' WHERE id=1", "DELETE FROM t WHERE id=2")
    world.on_source("SET timestamp=2000000000", "UPDATE t SET v='y'", "INSERT INTO t (id,v) VALUES (2,'z')")
    world.run("t")
    world.assert_same("t")


def test_versions_by_number_of_transaction(world: Pair) -> None:
    """A table whose changes the server logs as statements, whatever the format, is refused before the first row."""
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, s BIGINT UNSIGNED GENERATED ALWAYS AS ROW START, e BIGINT UNSIGNED"
        " GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (s, e)) WITH SYSTEM VERSIONING ENGINE=InnoDB"
    )
    error = world.error("t")
    assert isinstance(error, PrerequisiteError)
    assert "numbers of transactions" in error.message


@pytest.mark.parametrize("policy", ["evolve", "fail"])
@pytest.mark.parametrize("kind", ["", "implicit", "explicit"])
def test_versioning_comes_and_goes(world: Pair, kind: str, policy: str) -> None:
    """Rows from before and after it arrive, or the mapping stops at the statement with what came before it."""
    statement = "DROP SYSTEM VERSIONING" if kind else "ADD SYSTEM VERSIONING"
    if kind == "explicit":
        statement += ", DROP COLUMN since, DROP COLUMN until, DROP PERIOD FOR SYSTEM_TIME"
    if policy == "evolve":
        world.target.execute(f"GRANT ALTER ON {world.target_schema}.* TO '{world.writer}'@'%'")
    world.on_source(f"CREATE TABLE t {TABLES[kind] if kind else ORDINARY}")
    mapping = {"a.t": {"target_table": "b.t", "schema_policy": policy}}
    change(world, seeded(kind), history="")
    world.run(mapping)
    for key in (1, 2, 3):
        world.on_source(f"REPLACE INTO t (id,v) VALUES ({key},7)", f"UPDATE t SET v=8 WHERE id={key}")
    world.on_source("DELETE FROM t WHERE id=2")
    before = world.source_rows("t")
    keep = "SET STATEMENT system_versioning_alter_history=KEEP FOR"
    world.on_source(f"{keep} ALTER TABLE t {statement}", "UPDATE t SET v=9", "DELETE FROM t WHERE id=3")
    if policy == "fail":
        assert isinstance(world.error(mapping), SchemaDrift)
        assert world.target_rows("t") == before
    else:
        world.run(mapping)
        world.assert_same("t", columns="id,v,n")


def test_columns_come_and_go(world: Pair) -> None:
    """ALTER TABLE of a versioned table (system_versioning_alter_history=KEEP) is followed as of any other."""
    keep = "SET system_versioning_alter_history=KEEP"
    world.target.execute(f"GRANT ALTER ON {world.target_schema}.* TO '{world.writer}'@'%'")
    world.on_source(f"CREATE TABLE t {TABLES['implicit']}", "INSERT INTO t VALUES (1,'a',1),(2,'b',2)")
    world.run("t")
    world.on_source(keep, "ALTER TABLE t ADD COLUMN w INT", "UPDATE t SET w=1", "DELETE FROM t WHERE id=2")
    world.on_source(keep, "ALTER TABLE t MODIFY v VARCHAR(40)", "UPDATE t SET v='longer'")
    world.run("t")
    world.assert_same("t")
    world.on_source(keep, "ALTER TABLE t DROP COLUMN n", "UPDATE t SET w=2", "INSERT INTO t VALUES (3,'c',3)")
    world.run("t")
    world.assert_same("t", columns="id,v,w")


def test_a_period_of_the_application(world: Pair) -> None:
    """What FOR PORTION OF makes of a row arrives: the log holds it as rows."""
    world.on_source(
        "CREATE TABLE t (id INT, b DATE, e DATE, v INT, PERIOD FOR p (b, e), PRIMARY KEY (id, p WITHOUT OVERLAPS))",
        "INSERT INTO t VALUES (1,'2020-01-01','2021-01-01',1),(2,'2020-01-01','2021-01-01',2)",
    )
    world.run("t")
    world.on_source(
        "DELETE FROM t FOR PORTION OF p FROM '2020-03-01' TO '2020-04-01' WHERE id=1",
        "UPDATE t FOR PORTION OF p FROM '2020-05-01' TO '2020-06-01' SET v=5",
    )
    world.run("t")
    world.assert_same("t")


# ---- as targets ----
@pytest.mark.parametrize("replays", [False, True], ids=["statements", "events"])
@pytest.mark.parametrize("kind", [kind for kind in TABLES if kind != "nullable_key"])
def test_a_target_keeps_its_history(servers: Servers, flavour: Flavour, kind: str, replays: bool) -> None:
    """The current rows of a system-versioned target are the source's, and it keeps those that were before."""
    world = pair_of(servers.get("source", flavour), servers.get("target", "mariadb"))
    world.replays = replays
    chance = seeded(kind)
    world.on_target(f"CREATE TABLE t {TABLES[kind]}")
    world.on_source(f"CREATE TABLE t {ORDINARY}")
    change(world, chance, history="")
    for _ in range(3):
        world.run("t")
        world.assert_same("t", columns="id,v,n")
        change(world, chance, history="")
    world.run("t", copy_again=True)
    world.assert_same("t", columns="id,v,n")
    assert len(world.target_rows("t FOR SYSTEM_TIME ALL", "id")) > len(world.target_rows("t", "id"))
