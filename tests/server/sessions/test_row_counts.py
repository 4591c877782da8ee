"""Rows are counted in bounded time, for `status` and for Dagster's metadata, and harm nothing where they are not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from pipelines import Pair, Route, pair
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.diagnostics.row_counts import RowCounter
from myrepetl_dagster.core.diagnostics.status import status
from myrepetl_dagster.core.model.errors import SchemaDrift
from myrepetl_dagster.core.model.tables import TableName
from myrepetl_dagster.core.target.control import TargetControl

TABLES = [f"t{n}" for n in range(6)]


@pytest.fixture
def world(servers: Servers, flavour: Flavour) -> Pair:
    made = pair(servers, Route(flavour, True, flavour))
    for name in TABLES:
        made.on_source(
            f"CREATE TABLE {name} (id INT PRIMARY KEY, v INT)", f"INSERT INTO {name} VALUES (1,1),(2,2),(3,1)"
        )
    made.run(" ".join(TABLES))
    return made


@contextmanager
def slow(world: Pair, *tables: str) -> Iterator[None]:
    """Nobody can count these tables: somebody has locked them."""
    with world.target_session() as connection, connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLES {', '.join(f'{name} WRITE' for name in tables)}")
        yield


@pytest.fixture
def counting(world: Pair) -> Iterator[tuple[RowCounter, TargetControl]]:
    pipeline = world.pipeline("t0")
    target = TargetControl(pipeline.targets["b"], pipeline.limits)
    with closing(RowCounter()) as counter, closing(target):
        yield counter, target


def test_rows_are_counted(world: Pair, counting: tuple[RowCounter, TargetControl]) -> None:
    """All rows, or those with fixed values; no table has no number, and a column that is not there is an error."""
    counter, target = counting
    name = TableName(world.target_schema, "t0")

    assert counter.count(target, name, {}) == 3
    assert counter.count(target, name, {"v": 1}) == 2
    assert counter.count(target, TableName(world.target_schema, "nowhere"), {}) is None
    world.target.execute(f"GRANT SELECT ON {world.target_schema}_nowhere.* TO writer@'%'")
    assert counter.count(target, TableName(f"{world.target_schema}_nowhere", "t0"), {}) is None
    with pytest.raises(SchemaDrift, match="nothing"):
        counter.count(target, name, {"nothing": 1})
    assert counter.count(target, name, {}) == 3


def test_a_table_that_takes_too_long(world: Pair, counting: tuple[RowCounter, TargetControl]) -> None:
    """It has no number after a second, the next one is counted, and after three seconds none is counted any more."""
    counter, target = counting
    names = [TableName(world.target_schema, name) for name in TABLES]
    with slow(world, *TABLES[:5]):
        began_s = time.monotonic()
        assert counter.count(target, names[0], {}) is None
        assert 0.9 < time.monotonic() - began_s < 2.5
        assert counter.count(target, names[5], {}) == 3

        assert [counter.count(target, name, {}) for name in names[:5]] == [None] * 5
        assert time.monotonic() - began_s < 6
        assert counter.count(target, names[5], {}) is None


def test_a_connection_that_breaks_while_it_counts(world: Pair, counting: tuple[RowCounter, TargetControl]) -> None:
    """The table has no number, and the next one is counted by another connection."""
    counter, target = counting
    name = TableName(world.target_schema, "t0")
    counter.count(target, name, {})
    world.target.execute(f"KILL {next(iter(counter._connections.values())).thread_id()}")

    assert counter.count(target, name, {}) is None
    assert counter.count(target, name, {}) == 3
    assert target.is_connected()


@pytest.mark.parametrize("read_timeout", [None, 1])
def test_status_of_tables_that_cannot_be_counted_in_time(world: Pair, read_timeout: int | None) -> None:
    """Their checkpoints are shown and the connection is up, however soon it gives up waiting; the others are counted."""
    mapping = {f"a.{name}": {"target_table": f"b.{name}"} for name in TABLES}
    config = world.config(mapping)
    if read_timeout is not None:
        config["targets"]["b"]["read_timeout"] = read_timeout
    with slow(world, "t0", "t1"):
        began_s = time.monotonic()
        found = status(from_dict(config))
        took_s = time.monotonic() - began_s

    assert [(one.rows, one.phase, one.last_error) for one in found.mappings] == [
        *[(None, "replicating", None)] * 2, *[(3, "replicating", None)] * 4,
    ]  # fmt: skip
    assert all(one.position and one.lag_s == 0.0 for one in found.mappings)
    assert found.connected
    assert took_s < 6
