"""Which init queries are read chunk by chunk: those over the mapped table itself, by its own key, as the server sees it."""

from __future__ import annotations

from typing import Any

import pytest
from pipelines import Pair, Route, pair, pair_of
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.config.pipeline import Pipeline
from myrepetl_dagster.core.source.mysql_source import MySQLSource

ORDERS = "(id INT PRIMARY KEY, k INT NOT NULL, v VARCHAR(20))"


@pytest.fixture
def world(servers: Servers, flavour: Flavour) -> Pair:
    return with_archive(pair(servers, Route(flavour, True, flavour)))


def with_archive(world: Pair) -> Pair:
    """A table `orders`, and in another database one of that name whose `id` tells nothing apart."""
    archive = f"{world.source_schema}_archive"
    world.on_source(
        f"CREATE TABLE orders {ORDERS}",
        "INSERT INTO orders VALUES " + ", ".join(f"({n}, {n}, 'own')" for n in range(1, 10)),
        f"CREATE DATABASE {archive}",
        f"CREATE TABLE {archive}.orders (id INT, k INT NOT NULL, v VARCHAR(20))",
        f"INSERT INTO {archive}.orders VALUES " + ", ".join(f"(1, {n}, 'archived')" for n in range(1, 10)),
        f"GRANT SELECT ON {archive}.* TO reader@'%'",
    )
    world.chunks_of(2)
    return world


def queried(world: Pair, query: str, **more: Any) -> Pipeline:
    """A mapping of `orders`, whose rows are told apart by `k`."""
    query = query.format(own=world.source_schema, archive=f"{world.source_schema}_archive")
    columns = {"id": "id", "k": "k", "v": "v"}
    return world.pipeline(
        {
            "a.orders": {
                "target_table": "b.orders",
                "primary_key": "k",
                "column_mapping": columns,
                "init_query": query,
                **more,
            }
        }
    )


def chunked(world: Pair, pipeline: Pipeline) -> bool:
    """Whether a run, which succeeds, reads the query by key."""
    plan = world.run(pipeline)["a.orders"].plan
    assert plan is not None
    source = MySQLSource(pipeline.sources["a"], pipeline.limits)
    try:
        return source.chunked(plan)
    finally:
        source.close()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM orders",
        "SELECT * FROM {own}.orders",
        "SELECT * FROM `{own}` . `orders` AS archive WHERE archive.k > 0 ORDER BY v",
        "SELECT o.v, o.k + 0 AS k, o.id -- FROM {archive}.orders\n FROM orders o",
        "SELECT `id`, k, \"' UNION '\" AS v FROM orders",
    ],
)
def test_the_mapped_table_is_read_in_chunks(world: Pair, query: str) -> None:
    """However it is written."""
    assert chunked(world, queried(world, query))
    assert [key for (key,) in world.target_rows("orders", "k")] == list(range(1, 10))


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM {archive}.orders",
        "SELECT * FROM `{archive}`.`orders` AS orders",
        "SELECT * FROM (SELECT * FROM {archive}.orders) AS orders",
        "WITH orders AS (SELECT * FROM {archive}.orders) SELECT * FROM orders",
        "SELECT * FROM /* {own}.orders */ {archive}.orders -- FROM orders",
        "SELECT id DIV 10 AS id, k, v FROM orders",
        "SELECT id AS x, k DIV 10 AS id, k, v FROM orders",
        'SELECT * FROM orders WHERE v = "\'" UNION ALL SELECT * FROM {archive}.orders WHERE v <> "\'"',
        "SELECT a.* FROM orders o JOIN {archive}.orders a ON a.k = o.k",
    ],
)
def test_anything_else_is_one_consistent_read(world: Pair, query: str) -> None:
    """Another database's table of the same name, what only goes by that name, and results in which another column goes
    by the key's name: by the key's chunks rows would be lost.
    """
    assert not chunked(world, queried(world, query))
    assert [key for (key,) in world.target_rows("orders", "k")] == list(range(1, 10))


@pytest.mark.parametrize("algorithm", ["MERGE", "TEMPTABLE"])
def test_a_view_of_the_same_name(world: Pair, algorithm: str) -> None:
    """A view in another database, whose rows come from the mapped table and from others, is no mapped table, whatever
    the server says that its columns are.
    """
    own, archive = world.source_schema, f"{world.source_schema}_archive"
    world.on_source(
        f"DROP TABLE {archive}.orders",
        f"CREATE TABLE {archive}.times (k INT PRIMARY KEY)", f"INSERT INTO {archive}.times VALUES (1),(2),(3)",
        f"CREATE ALGORITHM={algorithm} VIEW {archive}.orders AS SELECT o.id, o.id * 10 + t.k AS k, o.v FROM {own}.orders o"
        f" JOIN {archive}.times t",
    )  # fmt: skip

    assert not chunked(world, queried(world, "SELECT * FROM {archive}.orders"))
    assert len(world.target_rows("orders")) == 27


def test_a_name_with_a_dot(world: Pair) -> None:
    """One quoted name with a dot in it is a table's, not a database's and a table's."""
    dotted = f"{world.source_schema}.orders"
    world.on_source(
        f"CREATE TABLE `{dotted}` (id INT, k INT NOT NULL, v VARCHAR(20))",
        f"INSERT INTO `{dotted}` VALUES (1,1,'a'),(1,2,'b'),(1,3,'c'),(1,4,'d')",
    )

    assert not chunked(world, queried(world, "SELECT * FROM `{own}.orders`"))
    assert len(world.target_rows("orders")) == 4


def test_the_default_database_decides(world: Pair) -> None:
    """A name without a database is of the connection's, also where the mapped table is in another one."""
    archive = f"{world.source_schema}_archive"
    world.on_source(f"DROP TABLE {archive}.orders", f"CREATE TABLE {archive}.orders {ORDERS}")
    table = {"source_table": f"a.{archive}.orders"}

    assert not chunked(world, queried(world, "SELECT * FROM orders", **table))
    assert len(world.target_rows("orders")) == 9
    world.on_target("DROP TABLE orders", "DELETE FROM _myrepetl_checkpoint")
    assert chunked(world, queried(world, "SELECT * FROM {archive}.orders", **table))
    assert world.target_rows("orders") == []


@pytest.mark.parametrize("name", ["orders", "Orders"])
def test_names_are_compared_as_the_server_does(servers: Servers, flavour: Flavour, name: str) -> None:
    """With lower_case_table_names the mapped table is the same in any letters."""
    source = servers.get("source", flavour, lower_case_table_names="1")
    world = with_archive(pair_of(source, servers.get("target", flavour)))
    table = {"source_table": f"a.{world.source_schema}.{name}"}
    for query in ("SELECT * FROM ORDERS", f"SELECT * FROM `{world.source_schema.upper()}`.OrderS"):
        assert chunked(world, queried(world, query, **table))
        assert len(world.target_rows("orders")) == 9
        world.on_target("DROP TABLE orders", "DELETE FROM _myrepetl_checkpoint")
