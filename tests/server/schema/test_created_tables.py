"""Tables that the run creates, on servers with settings that leave less room than the defaults."""

from __future__ import annotations

import pytest
from pipelines import Pair, Route, pair, pair_of
from server_farm import Servers
from servers import FLAVOURS, Flavour, Server

from myrepetl_dagster.core.model.errors import PrerequisiteError, RowRejected

pytestmark = pytest.mark.versions

WIDE = ", ".join(f"c{i} BINARY(250)" for i in range(40))  # 10,000 bytes; a page takes 8,126
SMALL = ({"innodb_page_size": "4096"}, {"innodb_default_row_format": "redundant"}, {"default_storage_engine": "MyISAM"})


def with_wide_table(servers: Servers, route: Route) -> Pair:
    world = pair(servers, route)
    world.on_source(
        "SET SESSION innodb_strict_mode=0",
        f"CREATE TABLE wide (id INT PRIMARY KEY, {WIDE})",
        "INSERT INTO wide (id, c0) VALUES (1, 'a')",
    )
    return world


@pytest.mark.parametrize("source", FLAVOURS)
def test_a_table_that_only_lax_mode_allows(servers: Servers, source: Flavour, flavour: Flavour) -> None:
    """A table whose longest rows fit no page is created as the source has it, if the account may do that; of its rows,
    one that does not fit the target is refused by its key.
    """
    world = with_wide_table(servers, Route(source, True, flavour))
    strictly = world.target.execute("SELECT @@GLOBAL.innodb_strict_mode")[0][0]
    world.target.execute("SET GLOBAL innodb_strict_mode=1")
    try:
        if flavour == "mysql":
            error = world.error("wide")
            assert isinstance(error, PrerequisiteError)
            assert f"creating {world.target_schema}.wide" in str(error)
            assert "SESSION_VARIABLES_ADMIN" in error.hint
            world.target.execute("GRANT SESSION_VARIABLES_ADMIN ON *.* TO 'writer'@'%', 'replayer'@'%'")
        world.run("wide")
    finally:
        world.target.execute(f"SET GLOBAL innodb_strict_mode={strictly}")
        if flavour == "mysql":
            world.target.execute("REVOKE SESSION_VARIABLES_ADMIN ON *.* FROM 'writer'@'%', 'replayer'@'%'")
    world.on_source("UPDATE wide SET c1='b'", "INSERT INTO wide (id, c2) VALUES (2, 'c')")
    world.run("wide")
    world.assert_same("wide")
    world.on_target(
        "SET SESSION innodb_strict_mode=0",
        "ALTER TABLE wide ADD COLUMN x BINARY(250) NOT NULL DEFAULT 'x', ALGORITHM=COPY",
    )
    most = ", ".join(f"c{i}='x'" for i in range(32))
    world.on_source(f"UPDATE wide SET {most} WHERE id=2")
    error = world.error("wide")
    assert (type(error), error.code) == (RowRejected, 1118)
    assert "id=2" in str(error)


@pytest.fixture(params=SMALL, ids=str)
def small(request: pytest.FixtureRequest, servers: Servers, flavour: Flavour) -> Server:
    """A target of little room."""
    return servers.get("target", flavour, **request.param)


def test_the_checkpoints_find_room(servers: Servers, small: Server) -> None:
    """The tables of checkpoints and of prepared rows are made on any server; a name that has no room there is refused."""
    world = pair_of(servers.get("source", "mysql"), small)
    long = {"m" * 190: {"source_table": "a.t", "target_table": "b.t"}}
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(150))", "INSERT INTO t VALUES (1, 'a')")
    world.run(long)
    xa = f"'{world.source_schema}'"
    world.on_source(f"XA START {xa}", "INSERT INTO t VALUES (3, 'c')", f"XA END {xa}", f"XA PREPARE {xa}")
    world.on_source("INSERT INTO t VALUES (2, 'b')")
    world.run(long)
    world.assert_same("t")
    world.on_source(f"XA COMMIT {xa}")
    world.run(long)
    world.assert_same("t")

    room = world.on_target("SHOW COLUMNS FROM _myrepetl_checkpoint LIKE 'mapping'")[0][1]
    longer = {"n" * 256: {"source_table": "a.t", "target_table": "b.u"}}
    error = world.error(longer)
    assert isinstance(error, PrerequisiteError)
    assert f"has room for {room[8:-1]}" in str(error)


def test_an_account_that_may_not_create_the_checkpoints(servers: Servers, flavour: Flavour) -> None:
    """The error names the table of checkpoints."""
    world = pair(servers, Route(flavour, True, flavour))
    world.target.execute(f"REVOKE CREATE ON {world.target_schema}.* FROM 'writer'@'%'")
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY)")
    assert f"creating {world.target_schema}._myrepetl_checkpoint" in str(world.error("t"))
