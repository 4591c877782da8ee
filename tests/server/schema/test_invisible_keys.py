"""MySQL's generated invisible primary keys (`sql_generate_invisible_primary_key`), at the source and at the target."""

from __future__ import annotations

import pytest
from pipelines import pair_of
from server_farm import Servers
from servers import FLAVOURS, Flavour, Server


@pytest.fixture(params=["ON", "OFF"])
def shown(request: pytest.FixtureRequest) -> str:
    """Whether other sessions see such keys in descriptions."""
    return str(request.param)


def generating(servers: Servers, role: str, shown: str) -> Server:
    return servers.get(
        role,
        "mysql",
        sql_generate_invisible_primary_key="ON",
        show_gipk_in_create_table_and_information_schema=shown,
    )


@pytest.mark.parametrize("target", FLAVOURS)
def test_at_the_source(servers: Servers, target: Flavour, shown: str) -> None:
    """Rows are found by the generated key, also where the server hides it from descriptions."""
    world = pair_of(generating(servers, "source", shown), servers.get("target", target))
    world.on_source("CREATE TABLE t (v INT)", "INSERT INTO t VALUES (1), (1), (2)")
    world.run("t")
    world.assert_same("t", columns="my_row_id, v")
    world.on_source("UPDATE t SET v=5 WHERE v=1 LIMIT 1", "DELETE FROM t WHERE v=2", "INSERT INTO t VALUES (1), (7)")
    world.run("t")
    world.assert_same("t", columns="my_row_id, v")


@pytest.mark.parametrize("replays", [False, True])
@pytest.mark.parametrize("source", FLAVOURS)
def test_at_the_target(servers: Servers, source: Flavour, shown: str, replays: bool) -> None:
    """A table whose key the target generates is filled by the mapping's own key; one that the run creates has none."""
    world = pair_of(servers.get("source", source), generating(servers, "target", shown))
    world.replays = replays
    world.on_source("CREATE TABLE t (id INT NOT NULL PRIMARY KEY, v INT)", "INSERT INTO t VALUES (1, 1), (2, 2)")
    world.on_target("CREATE TABLE t (id INT NOT NULL UNIQUE, v INT)")
    mapping = {"a.t": {"target_table": "b.t"}, "made": {"source_table": "a.t", "target_table": "b.made"}}
    world.run(mapping)
    world.on_source("UPDATE t SET v=v+1", "INSERT INTO t VALUES (3, 3)", "DELETE FROM t WHERE id=1")
    for again in (False, True):
        world.run(mapping, copy_again=again)
        world.assert_same("t")
        world.assert_same("t", "made")
