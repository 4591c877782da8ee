"""`replication.log_file` and `log_pos`: where the log is read from for a target that is taken as it is."""

from __future__ import annotations

import pytest
from pipelines import SOURCES, Pair, pair, pair_of
from server_farm import Servers
from servers import Flavour
from type_matrix import METADATA_LEVELS

from myrepetl_dagster.core.model.errors import SchemaDrift

MAPPING = {"a.t": {"target_table": "b.t", "init_if_table_empty": True}}


@pytest.fixture(params=SOURCES, ids=str)
def world(request: pytest.FixtureRequest, servers: Servers) -> Pair:
    return pair(servers, request.param)


def _end_of_log(world: Pair) -> tuple[str, int]:
    statement = "SHOW BINARY LOG STATUS" if world.source.flavour == "mysql" else "SHOW MASTER STATUS"
    file, offset = world.on_source(statement)[0][:2]
    return str(file), int(offset)


def test_the_log_is_read_from_the_given_place(world: Pair) -> None:
    """Changes after `log_file` and `log_pos` reach a target that was filled by other means up to there."""
    table = "CREATE TABLE t (id INT PRIMARY KEY, v INT)"
    world.on_source(table, "INSERT INTO t VALUES (1,1),(2,2)")
    world.on_target(table, "INSERT INTO t VALUES (1,1),(2,2)")
    world.on_source("FLUSH BINARY LOGS", "CREATE TABLE other (id INT PRIMARY KEY)")
    file, offset = _end_of_log(world)
    world.on_source("UPDATE t SET v=20 WHERE id=2", "INSERT INTO t VALUES (3,3)")
    world.replication |= {"log_file": file, "log_pos": offset}

    result = world.run(MAPPING)["a.t"]

    assert (result.rows_snapshotted, result.changes_applied) == (0, 2)
    world.assert_same("t")


def test_a_place_that_the_log_does_not_have_stops(world: Pair) -> None:
    """A `log_file` that the source does not have stops the mapping instead of starting from now."""
    table = "CREATE TABLE t (id INT PRIMARY KEY, v INT)"
    world.on_source(table)
    world.on_target(table, "INSERT INTO t VALUES (1,1)")
    world.replication |= {"log_file": "binlog.999999", "log_pos": 4}

    result = world.try_run(MAPPING)["a.t"]

    assert "binlog.999999" in str(result.error)


def test_gtids_that_no_file_holds_count_as_read(servers: Servers) -> None:
    """A GTID that was only ever declared purged does not make the place a lost one."""
    world = pair_of(servers.get("log start", "mysql"), servers.get("target", "mysql"))
    table = "CREATE TABLE t (id INT PRIMARY KEY, v INT)"
    world.on_source(table, "INSERT INTO t VALUES (1,1)")
    world.on_target(table, "INSERT INTO t VALUES (1,1)")
    file, offset = _end_of_log(world)
    uuid = world.on_source("SELECT @@server_uuid")[0][0]
    world.on_source(f"SET GLOBAL gtid_purged='+{uuid}:900000'", "INSERT INTO t VALUES (2,2)")
    world.replication |= {"log_file": file, "log_pos": offset}

    assert world.run(MAPPING)["a.t"].changes_applied == 1
    world.assert_same("t")


@pytest.mark.parametrize("policy", ["evolve", "ignore"])
@pytest.mark.parametrize("metadata", ["NO_LOG", "MINIMAL", "FULL"])
def test_a_table_that_was_altered_after_the_place(
    servers: Servers, flavour: Flavour, metadata: str, policy: str
) -> None:
    """Rows from before the ALTER are not read as those of the columns of today: they arrive, or the mapping stops."""
    if metadata not in METADATA_LEVELS[flavour]:
        pytest.skip("MariaDB only")
    source = servers.get("source", flavour, binlog_row_metadata=metadata)
    world = pair_of(source, servers.get("target", flavour))
    world.target.execute(f"GRANT ALTER ON {world.target_schema}.* TO 'writer'@'%'")
    table = "CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT)"
    world.on_source(table, "INSERT INTO t VALUES (1, 10, 20)")
    world.on_target(table, "INSERT INTO t VALUES (1, 10, 20)")
    file, offset = _end_of_log(world)
    world.on_source("INSERT INTO t VALUES (2, 11, 21)", "ALTER TABLE t MODIFY a INT AFTER b, ADD INDEX (a)")
    world.replication |= {"log_file": file, "log_pos": offset}

    result = world.try_run(world.pipeline({"a.t": {**MAPPING["a.t"], "schema_policy": policy}}))["a.t"]

    if metadata == "FULL" or policy == "evolve":
        assert result.error is None
        world.assert_same("t", columns="id, a, b")
        assert bool(result.rows_snapshotted) == (metadata != "FULL")
    else:
        assert isinstance(result.error, SchemaDrift)
        assert "binlog_row_metadata=FULL" in result.error.hint
        assert world.target_rows("t") == [(1, 10, 20)]
