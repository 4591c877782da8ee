"""Errors that a run meets only under rare settings, from a real server through a whole run: what it says, what mends it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipelines import pair_of
from server_farm import Servers
from servers import Flavour, Server

from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.model.errors import PrerequisiteError, TargetLost


@pytest.mark.parametrize("side", ["sources", "targets"])
def test_too_big_a_select(servers: Servers, flavour: Flavour, side: str) -> None:
    """1104: a server's own max_join_size does not reach our sessions (`test_global_settings.py`), but init_command does.

    The run ends at once, and the hint names both. Without the command it goes on.
    """
    world = pair_of(servers.get("source", flavour), servers.get("target", flavour))
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, v INT)", "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)")
    config = world.config({"a.t": {"target_table": "b.t"}})
    (endpoint,) = config[side].values()
    endpoint["init_command"] = "SET sql_big_selects=0, max_join_size=1"
    error = world.error(from_dict(config, "."))
    assert type(error) is PrerequisiteError
    assert error.code == 1104
    assert "ER_TOO_BIG_SELECT" in str(error)
    assert error.hint == "Raise max_join_size, or leave sql_big_selects out of init_command."
    assert str(error).startswith("source 'a'" if side == "sources" else "target 'b'")
    del endpoint["init_command"]
    world.run(from_dict(config, "."))
    world.assert_same("t")


@pytest.mark.parametrize("version", ["10.5", None])
def test_a_function_that_the_target_lacks(servers: Servers, version: str | None) -> None:
    """1901: MariaDB 11.8 logs no generated columns, so that a created table computes them; an older target may lack the
    function. The error names it, and the other mappings go on. By hand the table is made without the column.
    """
    world = pair_of(servers.get("source", "mariadb", version="11.8"), servers.get("target", "mariadb", version=version))
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(99), g TEXT AS (JSON_ARRAY_INTERSECT(a, a)) VIRTUAL)",
        "INSERT INTO t (id, a) VALUES (1, '[1]')",
        "CREATE TABLE other (id INT PRIMARY KEY)",
        "INSERT INTO other VALUES (1)",
    )
    pipeline = world.pipeline("t other")
    results = world.try_run(pipeline)
    error = results["a.t"].error
    assert type(error) is PrerequisiteError
    assert error.code == 1901
    assert "creating" in str(error)
    assert "json_array_intersect" in str(error)
    assert "create it by hand" in error.hint
    assert results["a.other"].error is None
    world.assert_same("other")
    columns = {"id": "id", "a": "a"}
    mapping = {"a.t": {"target_table": "b.t", "primary_key": "id", "column_mapping": columns}}
    world.run(mapping)
    world.assert_same("t", columns="id, a")


def test_no_expression_reaches_a_mysql_target(servers: Servers) -> None:
    """3763 is MySQL's number for the same, and no run can meet it: a table that it creates or alters in MySQL has
    ordinary columns, and defaults of no function. What MySQL refuses in a definition arrives as a value.
    """
    world = pair_of(servers.get("source", "mariadb"), servers.get("target", "mysql"))
    world.target.execute(f"GRANT ALTER ON `{world.target_schema}`.* TO '{world.writer}'@'%'")
    refused = "CREATE TABLE refused (id INT PRIMARY KEY, r DOUBLE AS (id + UNIX_TIMESTAMP()) VIRTUAL)"
    with world.target_session() as session, session.cursor() as cursor, pytest.raises(Exception, match="3763"):
        cursor.execute(refused)
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, v DOUBLE DEFAULT (RAND()), b VARCHAR(64) DEFAULT (UUID()),"
        " r DOUBLE AS (id * 0 + (UNIX_TIMESTAMP() > 0)) VIRTUAL)",
        "INSERT INTO t (id) VALUES (1), (2)",
    )
    mapping = {"a.t": {"target_table": "b.t", "schema_policy": "evolve"}}
    world.run(mapping)
    world.on_source("INSERT INTO t (id) VALUES (3)")
    world.run(mapping)
    world.on_source(
        "ALTER TABLE t ADD w VARCHAR(64) DEFAULT (UUID()), ADD q DOUBLE AS (id * 0 + (UNIX_TIMESTAMP() > 0)) VIRTUAL",
        "INSERT INTO t (id) VALUES (4)",
    )
    world.run(mapping)
    world.assert_same("t")
    (definition,) = world.on_target("SHOW CREATE TABLE t")
    assert "GENERATED" not in definition[1]
    assert not {"uuid", "rand"} & set(definition[1].lower().replace("(", " ").split())


def test_an_engine_that_takes_no_writes(servers: Servers, flavour: Flavour, tmp_path: Path) -> None:
    """1015 of MySQL and 1036 of MariaDB, where the checkpoint is claimed; 1836 and 1005, where its table is created.

    Each is a failover: the run asks again which server is the primary, and goes on once there is one.
    """
    source = servers.get("source", flavour)
    options = {"innodb_use_native_aio": "OFF"} if flavour == "mysql" else {}
    with Server(flavour, tmp_path / "server", options) as target:
        first, later = pair_of(source, target), pair_of(source, target)
        for world in (first, later):
            world.on_source("CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)")
            world.limits["attempts_max"] = 1
        later.run("t")
        later.on_source("INSERT INTO t VALUES (2)")
    with Server(flavour, tmp_path / "server", {**options, "innodb_read_only": "ON"}) as target:
        for world, codes in ((first, (1836, 1005)), (later, (1015, 1036))):
            world.target = target
            error = world.error("t")
            assert type(error) is TargetLost
            assert error.code == codes[flavour == "mariadb"]
            assert error.retryable
            assert "is it the primary?" in error.hint
    with Server(flavour, tmp_path / "server", options) as target:
        for world in (first, later):
            world.target = target
            world.run("t")
            world.assert_same("t")
