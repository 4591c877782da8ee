"""A Galera cluster of two nodes as source, whose nodes number and place what they log each for itself, and as target."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from galera import cluster
from pipelines import Pair, pair_of
from server_farm import Servers
from servers import Server

from myrepetl_dagster.core.model.errors import PositionLost

pytestmark = pytest.mark.soak

# Galera's manual wants one server_id on all nodes; then its GTIDs are the same on each.
CLUSTER_GTIDS = {"wsrep_gtid_mode": "ON", "wsrep_gtid_domain_id": "7", "gtid_domain_id": "9", "server_id": "4711"}


@pytest.fixture(params=[{}, CLUSTER_GTIDS], ids=["a server_id each", "one server_id"])
def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    with cluster(tmp_path, **request.param) as made:
        yield made


def wait_until_equal(one: Server, other: Server, sql: str) -> None:
    """Until a node has applied what the other one has committed."""
    for _ in range(200):
        if one.execute(sql) == other.execute(sql):
            return
        time.sleep(0.05)
    raise AssertionError("the nodes do not agree")


def at(world: Pair, source: Server | None = None, target: Server | None = None) -> Pair:
    """The same schemas at another node."""
    return Pair(
        source or world.source, target or world.target, world.source_schema, world.target_schema,
        world.limits, world.replication, world.replays,
    )  # fmt: skip


WRITES = (
    "INSERT INTO t (id, v) VALUES ({0}, 'new'), ({0} + 1, 'changed'), ({0} + 2, 'gone')",
    "UPDATE t SET v = CONCAT(v, '!') WHERE id = {0} + 1",
    "DELETE FROM t WHERE id = {0} + 2",
)


@pytest.mark.parametrize("target", ["mysql", "mariadb"])
def test_a_node_as_source(servers: Servers, nodes: tuple[Server, Server], target: str) -> None:
    """What is written at either node arrives from the log of one, with a change of the table between them."""
    first, second = nodes
    world = pair_of(first, servers.get("target", "mysql" if target == "mysql" else "mariadb"))
    world.target.execute(f"GRANT ALTER ON {world.target_schema}.* TO 'writer'@'%'")
    elsewhere = at(world, source=second)
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(40))", "INSERT INTO t VALUES (1, 'one')")
    world.run("t")
    for number, node in enumerate((world, elsewhere) * 2):
        node.on_source(*(statement.format(100 * (number + 1)) for statement in WRITES))
        if number == 1:
            node.on_source("ALTER TABLE t ADD w INT DEFAULT 5", "UPDATE t SET w=6 WHERE id=1")
    wait_until_equal(first, second, f"SELECT * FROM {world.source_schema}.t ORDER BY id")
    assert world.run("t")["a.t"].rows_snapshotted == 0
    world.assert_same("t")


def test_failover_to_another_node(servers: Servers, nodes: tuple[Server, Server]) -> None:
    """The other node's log is another one: the run says so and changes nothing, though both may have one server_id and
    the same GTIDs. With `on_position_lost: resnapshot` the tables are copied again, and followed there.
    """
    first, second = nodes
    world = pair_of(first, servers.get("target", "mysql"))
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(40))", "INSERT INTO t VALUES (1, 'one')")
    world.run("t")
    world.on_source(*(statement.format(100) for statement in WRITES))
    world.run("t")
    wait_until_equal(first, second, f"SELECT * FROM {world.source_schema}.t ORDER BY id")
    first.kill()
    moved = at(world, source=second)
    moved.on_source(*(statement.format(200) for statement in WRITES), "DELETE FROM t WHERE id = 100")
    before = moved.target_rows("t")
    assert isinstance(moved.error("t"), PositionLost)
    assert moved.target_rows("t") == before
    again = {"a.t": {"target_table": "b.t", "on_position_lost": "resnapshot"}}
    assert moved.run(again)["a.t"].rows_snapshotted
    moved.assert_same("t")
    moved.on_source(*(statement.format(300) for statement in WRITES))
    assert moved.run(again)["a.t"].rows_snapshotted == 0
    moved.assert_same("t")


@pytest.mark.parametrize("source", ["mysql", "mariadb"])
def test_a_cluster_as_target(servers: Servers, nodes: tuple[Server, Server], source: str) -> None:
    """Rows and checkpoint are in one transaction of the cluster: at the other node the next run goes on where the last one
    at the first node ended. The account may write rows as events, which a cluster is not given (`event_replay.py`).
    """
    first, second = nodes
    world = pair_of(servers.get("source", "mysql" if source == "mysql" else "mariadb"), first)
    world.replays = True
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(40))", "INSERT INTO t VALUES (1, 'one')")
    world.run("t")
    world.on_source(*(statement.format(100) for statement in WRITES))
    world.run("t")
    world.assert_same("t")
    sql = f"SELECT * FROM {world.target_schema}._myrepetl_checkpoint"
    wait_until_equal(first, second, sql)
    first.kill()
    moved = at(world, target=second)
    moved.on_source(*(statement.format(200) for statement in WRITES))
    assert moved.run("t")["a.t"].rows_snapshotted == 0
    moved.assert_same("t")
