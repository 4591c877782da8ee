"""Names of tables in other letters than the server's: one name where the server takes them for one, else another one."""

from __future__ import annotations

import pytest
from pipelines import Pair, Route, pair, pair_of
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.config.pipeline import Pipeline
from myrepetl_dagster.core.diagnostics.pending_changes import pending_changes
from myrepetl_dagster.core.model.errors import PrerequisiteError, ReplicationError, SchemaDrift, UnsupportedEvent


@pytest.fixture
def folding(servers: Servers, flavour: Flavour) -> Pair:
    """A source with lower_case_table_names=1 and a table of three rows."""
    source = servers.get("source", flavour, lower_case_table_names="1")
    world = pair_of(source, servers.get("target", flavour))
    world.on_source("CREATE TABLE orders (id INT PRIMARY KEY, v INT)", "INSERT INTO orders VALUES (1,1),(2,2),(3,3)")
    return world


def mapped(world: Pair, schema: str, table: str, **more: object) -> Pipeline:
    return world.pipeline({"a.orders": {"source_table": f"a.{schema}.{table}", "target_table": "b.orders", **more}})


@pytest.mark.parametrize("upper", [False, True])
def test_changes_arrive_in_whatever_letters(folding: Pair, upper: bool) -> None:
    """However the file and the statements spell the table: rows, TRUNCATE, ALTER and new rows arrive, the sensor sees
    them, and there is nothing to do afterwards.
    """
    schema = folding.source_schema
    pipeline = mapped(folding, schema.upper(), "Orders") if upper else mapped(folding, schema, "orders")
    folding.run(pipeline)
    for statements in (
        ["UPDATE orders SET v=9 WHERE id=1"],
        ["TRUNCATE TABLE ORDERS", "INSERT INTO Orders VALUES (4,4)"],
        [f"TRUNCATE TABLE {schema.upper()}.oRdErS", "INSERT INTO Orders VALUES (5,5)"],
        ["INSERT INTO ORDERS VALUES (6,6)"],
    ):
        folding.on_source(*statements)
        assert [one.due for one in pending_changes(pipeline, pipeline.mappings)] == [True]
        folding.run(pipeline)
        folding.assert_same("orders")
        assert [one.due for one in pending_changes(pipeline, pipeline.mappings)] == [False]
    folding.target.execute(f"GRANT ALTER ON {folding.target_schema}.* TO writer@'%', replayer@'%'")
    folding.on_source("ALTER TABLE ORDERS ADD c INT", "INSERT INTO orders VALUES (7,7,7)")
    folding.run(pipeline)
    folding.assert_same("orders")
    folding.run(pipeline, copy_again=True)
    folding.assert_same("orders")


@pytest.mark.parametrize(
    ("statements", "error"),
    [
        (["DROP TABLE ORDERS", "CREATE TABLE orders (id INT PRIMARY KEY, v INT)"], SchemaDrift),
        (["RENAME TABLE Orders TO gone", "CREATE TABLE orders (id INT PRIMARY KEY, v INT)"], SchemaDrift),
        (
            ["SET SESSION binlog_format=STATEMENT", "USE information_schema", "UPDATE {}.ORDERS SET v=8"],
            UnsupportedEvent,
        ),
    ],
)
def test_stops_in_whatever_letters(folding: Pair, statements: list[str], error: type[ReplicationError]) -> None:
    """What stops a mapping stops it in any letters."""
    pipeline = mapped(folding, folding.source_schema, "orders", schema_policy="fail")
    folding.run(pipeline)
    folding.on_source(*(statement.format(folding.source_schema.upper()) for statement in statements))

    assert isinstance(folding.error(pipeline), error)
    assert len(folding.target_rows("orders")) == 3


def test_another_name_is_another_table(servers: Servers, flavour: Flavour) -> None:
    """Where the server tells letters apart, a table in other letters is not there, also where nothing is to be copied."""
    world = pair(servers, Route(flavour, True, flavour))
    world.on_source("CREATE TABLE orders (id INT PRIMARY KEY)")
    world.on_target("CREATE TABLE orders (id INT PRIMARY KEY)", "INSERT INTO orders VALUES (1)")

    for schema, table in ((world.source_schema, "Orders"), (world.source_schema.upper(), "orders")):
        error = world.error(mapped(world, schema, table, init_if_table_empty=True))
        assert isinstance(error, SchemaDrift)
        assert "has no table" in str(error)


def test_one_table_in_two_spellings(folding: Pair) -> None:
    """Two mappings that spell one target table in different letters would delete each other's rows, and a table that is
    its own target would be written for ever: both are refused before anything is written.
    """
    world = pair_of(folding.source, folding.source)
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY)", "CREATE TABLE u (id INT PRIMARY KEY)")
    own = world.target_schema
    two = {"a.t": {"target_table": "b.both"}, "a.u": {"target_table": "b.Both"}}
    results = world.try_run(world.pipeline(two))
    for name in two:
        error = results[name].error
        assert isinstance(error, PrerequisiteError)
        assert f"{own}.Both and {own}.both are one table" in str(error)
    assert world.on_target("SHOW TABLES LIKE 'both'") == ()

    world.target.execute(f"GRANT SELECT ON {own}.* TO reader@'%'")
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    error = world.error({"m": {"source_table": f"a.{own}.T", "target_table": "b.t"}})
    assert isinstance(error, PrerequisiteError)
    assert "the source table itself" in str(error)


@pytest.mark.parametrize("replays", [False, True])
def test_a_target_that_takes_letters_for_one(servers: Servers, flavour: Flavour, replays: bool) -> None:
    """A target with lower_case_table_names=1: the table is created, found, written and altered however it is spelled."""
    target = servers.get("target", flavour, lower_case_table_names="1")
    world = pair_of(servers.get("source", flavour), target)
    world.replays = replays
    world.target.execute(f"GRANT ALTER ON {world.target_schema}.* TO writer@'%', replayer@'%'")
    world.on_source("CREATE TABLE Orders (id INT PRIMARY KEY, v INT)", "INSERT INTO Orders VALUES (1,1), (2,2)")
    pipeline = world.pipeline({"a.Orders": {"target_table": "b.ORDERS"}})
    world.run(pipeline)
    for statement in (
        "INSERT INTO Orders VALUES (3,3), (4,4)",
        "UPDATE Orders SET v=9",
        "DELETE FROM Orders WHERE id=1",
    ):
        world.on_source(statement)
        world.run(pipeline)
    world.on_source("ALTER TABLE Orders ADD c INT", "INSERT INTO Orders VALUES (5,5,5)")
    world.run(pipeline)
    held = world.on_target("SELECT * FROM orders ORDER BY id")
    assert held == world.on_source("SELECT * FROM Orders ORDER BY id")
    world.on_source("TRUNCATE Orders")
    world.run(pipeline)
    assert world.on_target("SELECT * FROM orders") == ()


def test_an_init_query_in_other_letters(folding: Pair) -> None:
    """It reads the mapped table in whatever letters, so it is read in chunks by that table's key."""
    folding.chunks_of(2)
    schema = folding.source_schema
    query = f"SELECT * FROM {schema.upper()}.ORDERS"
    result = folding.run(mapped(folding, schema, "Orders", init_query=query))["a.orders"]
    assert result.rows_snapshotted == 3
    folding.assert_same("orders")
    folding.on_source("UPDATE orders SET v=7")
    folding.run(mapped(folding, schema, "Orders", init_query=query))
    folding.assert_same("orders")
