"""Every type under every `binlog_row_metadata`: what the log leaves out, the table's columns tell."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from key_matrix import key_differences, keyed_by_each_type
from pipelines import Pair, pair_of
from server_farm import Servers
from servers import Flavour
from type_matrix import (
    METADATA_LEVELS,
    change_in_every_way,
    differences,
    fill,
    own_types,
    tables,
)

from myrepetl_dagster.core.model.errors import UnsupportedEvent

pytestmark = pytest.mark.versions


@dataclass(frozen=True)
class Way:
    """From a source with this metadata in its log, to a target that takes its rows as statements or as events."""

    source: Flavour
    metadata: str
    target: Flavour
    replays: bool = False

    def __str__(self) -> str:
        return f"{self.source}-{self.metadata}-to-{self.target}{'-as-events' if self.replays else ''}"

    def pair(self, servers: Servers) -> Pair:
        source = servers.get("source", self.source, binlog_row_metadata=self.metadata)
        world = pair_of(source, servers.get("target", self.target))
        world.replays = world.replays or self.replays
        return world


WAYS = [
    Way(source, metadata, target, replays)
    for source, levels in METADATA_LEVELS.items()
    for metadata in levels
    for target in METADATA_LEVELS
    for replays in ((False, True) if source == target else (False,))
]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_every_type_with_less_metadata(servers: Servers, way: Way) -> None:
    """A value arrives by the log as by the snapshot, whatever the log leaves out of its table maps."""
    world = way.pair(servers)
    wide = tables(way.source, world.source, common=way.source != way.target)
    if way.source != way.target:
        wide += own_types(way.source, world.source)
    fill(world.source, world.source_schema, wide)
    names = " ".join(table.name for table in wide)
    world.run(names)
    assert differences(world, wide) == []
    change_in_every_way(world, wide)
    results = world.run(names)
    assert not any(result.rows_snapshotted for result in results.values())
    assert differences(world, wide) == []
    world.on_source(*(f"DELETE FROM {table.name} WHERE id % 2 = 1" for table in wide))
    world.run(names)
    assert differences(world, wide) == []


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_every_type_as_key_with_less_metadata(servers: Servers, way: Way) -> None:
    """A row is found by its key as the log has it: updated, moved to another key, deleted."""
    world = way.pair(servers)
    keyed = keyed_by_each_type(way.source, world.source, common=way.source != way.target)
    world.on_source(*(statement for table in keyed for statement in table.statements))
    names = " ".join(table.name for table in keyed)
    world.run(names)
    world.on_source(*(statement for table in keyed for statement in table.changes))
    results = world.run(names)
    assert not any(result.rows_snapshotted for result in results.values())
    assert key_differences(world, keyed) == []


@pytest.mark.parametrize("way", [way for way in WAYS if way.source == way.target and not way.replays], ids=str)
def test_labels_that_a_server_prints_wrong(servers: Servers, way: Way) -> None:
    """A server describes characters beyond the BMP as '?'. If the log has no labels, their rows are refused, not guessed;
    other tables go on.
    """
    world = way.pair(servers)
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, e ENUM('😀','?','a'), s SET('x','😀?')) CHARACTER SET utf8mb4",
        "INSERT INTO t VALUES (1, '😀', 'x')",
        "CREATE TABLE u (id INT PRIMARY KEY, e ENUM('é','a?') CHARACTER SET latin1)",
    )
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY, e VARCHAR(9), s VARCHAR(9)) CHARACTER SET utf8mb4")
    world.run("t u")
    world.assert_same("t")
    world.on_source(
        "INSERT INTO t VALUES (2, '😀', 'x'), (3, '?', 'x,😀?'), (4, 'a', '')",
        "INSERT INTO u VALUES (1, 'é'), (2, 'a?')",
    )
    results = world.try_run("t u")
    world.assert_same("u")
    error = results["a.t"].error
    if way.metadata == "FULL":
        assert error is None
        world.assert_same("t")
    else:
        assert isinstance(error, UnsupportedEvent)
        assert "labels of `e`" in error.message
        assert "binlog_row_metadata=FULL" in error.hint
        assert world.target_rows("t", "id") == [(1,)]
