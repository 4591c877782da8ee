"""What cannot be applied exactly stops a run with the place and the reason, and nothing after it is applied."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Any

import pytest
from pipelines import PASSWORD, SOURCES, Pair, pair, pair_of
from server_farm import Servers

from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.model.errors import (
    PositionLost,
    PrerequisiteError,
    ReplicationError,
    SchemaDrift,
    UnsupportedEvent,
)

pytestmark = pytest.mark.versions_in_soak

TABLE = "CREATE TABLE t (id INT PRIMARY KEY, v INT, w VARCHAR(20))"


@pytest.fixture(params=SOURCES, ids=str)
def world(request: pytest.FixtureRequest, servers: Servers) -> Pair:
    made = pair(servers, request.param)
    made.on_source(TABLE, "INSERT INTO t VALUES (1,1,'a'),(2,2,'b')")
    return made


def explicit(**more: Any) -> dict[str, Any]:
    columns = {"id": "id", "v": "v"}
    return {"a.t": {"target_table": "b.t", "primary_key": "id", "column_mapping": columns, **more}}


def stops(world: Pair, mapping: Any, *statements: str) -> ReplicationError:
    """Run statements after an ordinary change; the change arrives or not, what comes after them does not."""
    world.run(mapping)
    world.on_source("UPDATE t SET v=v+1")
    held = (world.target_rows("t", "id, v"), world.source_rows("t", "id, v"))
    world.on_source(
        *statements, "SET SESSION binlog_format=ROW", f"INSERT INTO {world.source_schema}.t (id, v) VALUES (77,77)"
    )
    error = world.error(mapping)
    assert world.target_rows("t", "id, v") in held
    again = world.error(mapping)
    assert type(again) is type(error)
    return error


def elsewhere(world: Pair) -> str:
    name = f"elsewhere_{world.source_schema}"
    world.source.execute(
        f"CREATE DATABASE {name}", f"CREATE TABLE {name}.x (id INT, v INT)", f"INSERT INTO {name}.x VALUES (1,1)"
    )
    return name


@pytest.mark.parametrize(
    "how", ["plain", "from another schema", "several tables", "with a comment", "function", "replace"]
)
def test_statement_format(world: Pair, how: str) -> None:
    """A change in statement format of what may be a mapped table stops with its place and the setting; one of another
    table without triggers does not.
    """
    other = elsewhere(world)
    world.source.execute(f"GRANT TRIGGER ON {other}.* TO 'reader'@'%'")
    own = world.source_schema
    world.source.execute("SET GLOBAL log_bin_trust_function_creators=1")
    world.on_source("CREATE FUNCTION f() RETURNS INT BEGIN UPDATE t SET v=v+1; RETURN 1; END")
    world.run("t")
    world.on_source(
        "SET SESSION binlog_format=STATEMENT", f"USE {other}", f"UPDATE {other}.x SET v=2", "INSERT INTO x VALUES (2,2)"
    )
    world.run("t")
    statements = {
        "plain": ["UPDATE t SET v=9"],
        "from another schema": [f"USE {other}", f"UPDATE `{own}`.`t` SET v=9"],
        "several tables": [f"USE {other}", f"UPDATE x,{own}.t SET t.v=9"],
        "with a comment": [f"USE {other}", f"UPDATE/**/{own}.t SET v=9"],
        "function": ["SELECT f()"],
        "replace": ["REPLACE INTO t VALUES (9,9,'x')"],
    }[how]
    error = stops(world, "t", "SET SESSION binlog_format=STATEMENT", *statements)
    assert isinstance(error, UnsupportedEvent)
    assert "binlog.0" in str(error)
    assert "statement" in str(error)


def test_row_images_without_all_columns(world: Pair) -> None:
    """A session that writes minimal row images is stopped at, or its rows arrive exactly."""
    world.run("t")
    world.on_source("SET SESSION binlog_row_image=MINIMAL", "UPDATE t SET v=5 WHERE id=1", "DELETE FROM t WHERE id=2")
    try:
        world.run("t")
    except (UnsupportedEvent, AssertionError):
        error = world.error("t")
        assert isinstance(error, UnsupportedEvent)
        assert "binlog.0" in str(error)
        assert "binlog_row_image" in str(error)
    else:
        world.assert_same("t")


def test_compressed_transactions(world: Pair) -> None:
    """Compressed transactions are either read exactly or stopped at; they are never passed over."""
    world.run("t")
    flavour = world.source.flavour
    if flavour == "mysql":
        world.on_source(
            "SET SESSION binlog_transaction_compression=ON",
            "UPDATE t SET w=REPEAT('c',20)",
            "INSERT INTO t VALUES (5,5,'e')",
        )
    else:
        world.source.execute("SET GLOBAL log_bin_compress=ON", "SET GLOBAL log_bin_compress_min_len=10")
        world.on_source("UPDATE t SET w=REPEAT('c',20)", "INSERT INTO t VALUES (5,5,'e')")
        world.source.execute("SET GLOBAL log_bin_compress=OFF")
    try:
        world.run("t")
    except UnsupportedEvent as error:
        assert "compress" in str(error)
        assert world.target_rows("t") == [(1, 1, "a"), (2, 2, "b")]
    else:
        world.assert_same("t")


@pytest.mark.parametrize(
    "statements",
    [
        ["DROP TABLE t", TABLE],
        ["RENAME TABLE t TO t_old", TABLE],
        ["ALTER TABLE t RENAME TO t_old", TABLE],
        ["CREATE OR REPLACE"],
    ],
    ids=lambda s: s[0],
)
def test_table_that_goes_away(world: Pair, statements: list[str]) -> None:
    """Where nothing may be followed, DROP, RENAME and CREATE OR REPLACE of a mapped table stop it, and its rows stay."""
    if statements == ["CREATE OR REPLACE"]:
        if world.source.flavour == "mysql":
            pytest.skip("MariaDB only")
        statements = [TABLE.replace("CREATE", "CREATE OR REPLACE")]
    error = stops(world, {"a.t": {"target_table": "b.t", "schema_policy": "fail"}}, *statements)
    assert isinstance(error, SchemaDrift)
    assert len(world.target_rows("t")) == 2


def test_alter_with_a_column_list(world: Pair) -> None:
    """With an explicit column list, columns that it does not name come, move and go without a stop."""
    mapping = explicit()
    world.run(mapping)
    world.on_source(
        "ALTER TABLE t ADD COLUMN first INT DEFAULT 3 FIRST", "UPDATE t SET v=10",
        "ALTER TABLE t DROP COLUMN w, ADD COLUMN z TEXT AFTER id",
        "INSERT INTO t (id, v, z) VALUES (3,3,'z')", "ALTER TABLE t MODIFY COLUMN v INT AFTER first",
        "UPDATE t SET v=11 WHERE id=2",
    )  # fmt: skip
    world.run(mapping)
    world.assert_same("t", columns="id, v")


@pytest.mark.parametrize("metadata", ["MINIMAL", "NO_LOG"])
def test_little_metadata_in_the_log(servers: Servers, metadata: str) -> None:
    """Without names and signs in the log, the known columns serve; after an ALTER the mapping stops, never guesses."""
    flavour = "mariadb" if metadata == "NO_LOG" else "mysql"
    source = servers.get("source", "mariadb" if flavour == "mariadb" else "mysql", binlog_row_metadata=metadata)
    world = pair_of(source, servers.get("target", "mysql"))
    world.on_source(
        "CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, v INT, w ENUM('x','y''z'), s SET('p','q'), l"
        " VARCHAR(9) CHARACTER SET latin1)",
        "INSERT INTO t VALUES (18446744073709551615,-1,'x','p,q','é'),(2,2,NULL,'','b')",
    )
    mapping = {"a.t": {"target_table": "b.t", "schema_policy": "fail"}}
    world.run(mapping)
    world.on_source("UPDATE t SET w='y''z', l='ÿ', id=id-1", "INSERT INTO t VALUES (3,4294967,'x','q',NULL)")
    world.run(mapping)
    world.assert_same("t")
    held = world.target_rows("t")
    world.on_source("ALTER TABLE t MODIFY v BIGINT FIRST", "ALTER TABLE t RENAME COLUMN l TO m", "UPDATE t SET v=7")
    error = world.error(mapping)
    assert isinstance(error, SchemaDrift)
    assert world.target_rows("t") == held


def test_log_is_gone(world: Pair) -> None:
    """A purged log is noticed before a row is applied, by every mapping that needs it."""
    world.run("t")
    held = world.target_rows("t")
    world.on_source("UPDATE t SET v=5", "FLUSH BINARY LOGS", "UPDATE t SET v=6", "FLUSH BINARY LOGS")
    status = "SHOW BINARY LOG STATUS" if world.source.flavour == "mysql" else "SHOW MASTER STATUS"
    newest = world.on_source(status)[0][0]
    for _ in range(100):  # a dump that has just ended may still hold its file
        world.on_source(f"PURGE BINARY LOGS TO '{newest}'")
        if len(world.on_source("SHOW BINARY LOGS")) == 1:
            break
        time.sleep(0.05)
    error = world.error("t")
    assert isinstance(error, PositionLost)
    assert world.target_rows("t") == held
    world.run("t", copy_again=True)
    world.assert_same("t")


@pytest.mark.parametrize("longer", [False, True], ids=["shorter", "longer"])
def test_log_was_reset(world: Pair, longer: bool) -> None:
    """A log that was begun anew, with less in it than before or with more, is no success with nothing to do."""
    reset = "RESET BINARY LOGS AND GTIDS" if world.source.flavour == "mysql" else "RESET MASTER"
    world.on_source(reset, *(f"INSERT INTO t VALUES ({i},1,'a')" for i in range(10, 30)))
    world.run("t")
    held = world.target_rows("t")
    time.sleep(1.1)  # a file is told from another by the second in which it was begun
    world.on_source(reset, *(f"INSERT INTO t VALUES ({i},1,'b')" for i in range(100, 160 if longer else 101)))
    error = world.error("t")
    assert isinstance(error, PositionLost)
    assert world.target_rows("t") == held


def test_what_is_no_ordinary_table(world: Pair) -> None:
    """Views, and MariaDB's sequences, are refused: the log does not hold their rows."""
    world.on_source("CREATE VIEW w AS SELECT * FROM t")
    refused = ["w"]
    if world.source.flavour == "mariadb":
        world.on_source("CREATE SEQUENCE sq")
        refused.append("sq")
    for name in refused:
        error = world.error({f"a.{name}": {"target_table": f"b.{name}", "primary_key": "id"}})
        assert isinstance(error, ReplicationError), name
        assert not error.retryable


def test_foreign_keys_that_write(world: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """Rows that ON DELETE CASCADE removes arrive where the server logs them; elsewhere a warning names the key."""
    world.on_source(
        "CREATE TABLE parent (id INT PRIMARY KEY)",
        "CREATE TABLE child (id INT PRIMARY KEY, p INT, CONSTRAINT fk_p FOREIGN KEY (p) REFERENCES parent (id)"
        " ON DELETE CASCADE)",
        "INSERT INTO parent VALUES (1),(2)", "INSERT INTO child VALUES (1,1),(2,2)",
    )  # fmt: skip
    with caplog.at_level(logging.WARNING):
        world.run("child")
    world.on_source("DELETE FROM parent WHERE id=1")
    world.run("child")
    if world.source.flavour == "mysql":
        world.assert_same("child")
    else:
        assert "fk_p" in caplog.text


def test_exchanged_partition(world: Pair) -> None:
    """A table whose rows are exchanged with a partition of an unmapped one is copied again, or stops the mapping."""
    world.on_source(
        "CREATE TABLE p (id INT PRIMARY KEY, v INT, w VARCHAR(20)) PARTITION BY RANGE (id) (PARTITION p0 VALUES"
        " LESS THAN (100))",
        "INSERT INTO p VALUES (50,50,'p')",
    )
    world.run("t")
    world.on_source("ALTER TABLE p EXCHANGE PARTITION p0 WITH TABLE t")
    world.run("t")
    world.assert_same("t")
    mapping = {"fixed": {**explicit(schema_policy="fail")["a.t"], "source_table": "a.t", "target_table": "b.t2"}}
    world.run(mapping)
    world.on_source("ALTER TABLE p EXCHANGE PARTITION p0 WITH TABLE t")
    assert isinstance(world.error(mapping), SchemaDrift)


@pytest.mark.parametrize("missing", ["SELECT", "REPLICATION SLAVE", "position", "INSERT"])
def test_missing_grants(world: Pair, missing: str) -> None:
    """Each of the least grants is needed: without it a run stops at once, not retried, with nothing written."""
    position = "REPLICATION CLIENT" if world.source.flavour == "mysql" else "BINLOG MONITOR"
    grants = {"REPLICATION SLAVE", position} - {missing, position if missing == "position" else ""}
    account = f"'poor{world.source_schema}'@'%'"
    world.source.execute(
        f"CREATE USER {account} IDENTIFIED BY '{PASSWORD}'", f"GRANT {', '.join(grants)} ON *.* TO {account}"
    )
    locks = ", LOCK TABLES" if world.source.flavour == "mysql" and not world.gtid else ""
    if missing != "SELECT":
        world.source.execute(f"GRANT SELECT{locks} ON {world.source_schema}.* TO {account}")
    config = world.config({"a.t": {"target_table": "b.t"}})
    config["sources"]["a"]["user"] = account.split("'")[1]
    if missing == "INSERT":
        world.target.execute(
            f"CREATE USER {account} IDENTIFIED BY '{PASSWORD}'",
            f"GRANT SELECT, UPDATE, DELETE, CREATE ON {world.target_schema}.* TO {account}",
        )
        config["targets"]["b"]["user"] = account.split("'")[1]
    if missing == "REPLICATION SLAVE":  # asked for when there is something to read
        with contextlib.suppress(ReplicationError):
            world.try_run(from_dict(config))
        world.on_source("UPDATE t SET v=9")
    error = world.error(from_dict(config))
    assert not error.retryable
    assert isinstance(error, (PrerequisiteError, SchemaDrift))
    tables = [row[0] for row in world.on_target("SHOW TABLES")]
    assert "t" not in tables or world.target_rows("t") == [] or missing == "REPLICATION SLAVE"


@pytest.mark.parametrize("world", SOURCES[1:2], indirect=True, ids=str)
def test_a_table_that_may_not_be_locked_holds_up_no_other(world: Pair) -> None:
    """Without GTIDs a copy begins under a lock: a table for which it is refused stops its own mapping, at a run's start
    and among tables that are replicated already.
    """
    other = elsewhere(world)
    world.source.execute(f"GRANT SELECT ON {other}.* TO 'reader'@'%'")
    mapping = {
        "t": {"source_table": "a.t", "target_table": "b.t"},
        "x": {"source_table": f"a.{other}.x", "target_table": "b.x", "primary_key": "id"},
    }
    for _ in range(2):
        world.on_source("UPDATE t SET v=v+1")
        results = world.try_run(mapping)
        assert results["t"].error is None
        assert isinstance(results["x"].error, PrerequisiteError)
        assert results["x"].error.mapping == "x"
        world.assert_same("t")
