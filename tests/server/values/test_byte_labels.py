"""Labels of an ENUM or SET that are bytes (CHARACTER SET binary): MySQL names no character set for them."""

from __future__ import annotations

import pytest
from pipelines import Pair, Route, pair
from server_farm import Servers
from servers import Flavour
from type_matrix import METADATA_LEVELS

pytestmark = pytest.mark.versions

SHOWN = "id, HEX(e), e + 0"
LEVELS = [(flavour, level) for flavour, levels in METADATA_LEVELS.items() for level in levels]


@pytest.fixture(params=["mysql", "mariadb"])
def target(request: pytest.FixtureRequest) -> Flavour:
    flavour: Flavour = request.param
    return flavour


def copied_and_followed(world: Pair, tables: dict[str, str]) -> None:
    mapping = {f"{a}-{b}": {"source_table": f"a.{a}", "target_table": f"b.{b}"} for b, a in tables.items()}
    world.run(mapping)
    for table in set(tables.values()):
        world.on_source("SET sql_mode=''", f"INSERT INTO {table} (id, e) SELECT id + 100, e FROM {table}")
    world.run(mapping)


@pytest.mark.parametrize(("source", "level"), LEVELS)
def test_in_a_table_of_bytes(servers: Servers, source: Flavour, level: str, target: Flavour) -> None:
    """They arrive byte for byte, the error value too, in a created table and in one that holds bytes."""
    world = pair(servers, Route(source, True, target), binlog_row_metadata=level)
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, e ENUM('é','b','')) CHARACTER SET binary",
        "CREATE TABLE s (id INT PRIMARY KEY, e SET('é','b')) CHARACTER SET binary",
        "SET sql_mode=''",
        "INSERT INTO t VALUES (1, 'é'), (2, 'b'), (3, ''), (4, 'none'), (5, NULL)",
        "INSERT INTO s VALUES (1, 'é'), (2, 'b,é'), (3, ''), (5, NULL)",
    )
    world.on_target("CREATE TABLE bytes (id INT PRIMARY KEY, e VARBINARY(9))")
    copied_and_followed(world, {"t": "t", "s": "s", "bytes": "t"})
    world.assert_same("t", columns=SHOWN)
    world.assert_same("s", columns=SHOWN)
    world.assert_same("t", "bytes", "id, HEX(e)")


@pytest.mark.parametrize("level", METADATA_LEVELS["mysql"])
def test_labels_that_are_no_text(servers: Servers, level: str, target: Flavour) -> None:
    """MySQL shows them as x'ff', which no label is whose text is ff."""
    world = pair(servers, Route("mysql", True, target), binlog_row_metadata=level)
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, e ENUM('ff',x'ff','é',x'a9b1')) CHARACTER SET binary",
        "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3), (4, 4)",
    )
    world.on_target("CREATE TABLE bytes (id INT PRIMARY KEY, e VARBINARY(9))")
    copied_and_followed(world, {"t": "t", "bytes": "t"})
    world.assert_same("t", columns=SHOWN)
    world.assert_same("t", "bytes", "id, HEX(e)")


@pytest.mark.parametrize("source", ["mysql", "mariadb"])
def test_a_column_that_is_added_is_followed(servers: Servers, source: Flavour, target: Flavour) -> None:
    """In a table of bytes an ENUM or SET without a character set is one of bytes: nothing is copied again."""
    world = pair(servers, Route(source, True, target))
    world.target.execute(f"GRANT ALTER ON `{world.target_schema}`.* TO '{world.writer}'@'%'")
    mapping = {"a.t": {"target_table": "b.t", "schema_policy": "evolve"}}
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY) CHARACTER SET binary", "INSERT INTO t VALUES (1)")
    world.run(mapping)
    world.on_source(
        "ALTER TABLE t ADD e ENUM('é','b'), ADD s SET('é','b')", "INSERT INTO t VALUES (2, 'é', 'b,é')",
        "ALTER TABLE t MODIFY e ENUM('é','b','c')", "INSERT INTO t VALUES (3, 'c', '')",
    )  # fmt: skip
    results = world.run(mapping)
    assert results["a.t"].rows_snapshotted == 0
    world.assert_same("t", columns=f"{SHOWN}, HEX(s)")
