"""Session settings of a pipeline file, as the servers see them in the sessions of each use, and what they do to rows."""

from __future__ import annotations

import time
from typing import Any

import pytest
from faults.proxy import Proxy, Way
from pipelines import ORIGINAL_DATABASE, Pair, pair_of
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.config.pipeline import Endpoint, Pipeline
from myrepetl_dagster.core.model.errors import PrerequisiteError, RowRejected, SourceLost
from myrepetl_dagster.core.model.limits import Limits
from myrepetl_dagster.core.mysql.connect import close_quietly, connect, query
from myrepetl_dagster.core.mysql.session import Use
from myrepetl_dagster.core.source.binlog_stream import LogStream
from myrepetl_dagster.core.source.mysql_source import MySQLSource
from myrepetl_dagster.core.target.control import TargetControl

TABLE = {"a.t": {"target_table": "b.t"}}


@pytest.fixture
def world(servers: Servers, flavour: Flavour) -> Pair:
    return pair_of(servers.get("source", flavour), servers.get("target", flavour))


def given(
    world: Pair,
    source: dict[str, Any] | None = None,
    target: dict[str, Any] | None = None,
    mapping: dict[str, Any] | None = None,
    **database: Any,
) -> Pipeline:
    data = world.config(mapping or TABLE, database=database)
    data["sources"]["a"] |= source or {}
    data["targets"]["b"] |= target or {}
    return from_dict(data, ".")


def session(endpoint: Endpoint, use: Use, *names: str) -> dict[str, Any]:
    """What the server says of a session of that use."""
    connection = connect(endpoint, use, Limits())
    try:
        row = query(connection, "SELECT " + ", ".join(f"@@session.{name}" for name in names))[0]
    finally:
        close_quietly(connection)
    values = [value.decode() if isinstance(value, bytes) else value for value in row]
    return {
        name: int(value) if isinstance(value, str) and value.isdigit() else value
        for name, value in zip(names, values, strict=True)
    }


def modes(endpoint: Endpoint, use: Use) -> set[str]:
    return set(session(endpoint, use, "sql_mode")["sql_mode"].split(",")) - {""}


TRADITIONAL = {"TRADITIONAL", "NO_ZERO_DATE", "NO_ZERO_IN_DATE", "ERROR_FOR_DIVISION_BY_ZERO", "STRICT_TRANS_TABLES"}
NEEDED = {"STRICT_ALL_TABLES", "NO_AUTO_VALUE_ON_ZERO", "ALLOW_INVALID_DATES", "NO_ENGINE_SUBSTITUTION"}
USES = [("source", Use.CONTROL), ("source", Use.SNAPSHOT), ("source", Use.STREAM), ("target", Use.CONTROL),
        ("target", Use.APPLY)]  # fmt: skip


# ---- what the sessions have ------------------------------------------------------------------------------
@pytest.mark.parametrize(("role", "use"), USES)
@pytest.mark.parametrize("where", ["database", "endpoint"])
def test_an_init_command_is_followed_in_every_session(world: Pair, role: str, use: Use, where: str) -> None:
    """Its variables have the file's values, over our own ones, and what exactness needs is as ever."""
    command = "SET SESSION net_read_timeout=77, net_write_timeout=78, group_concat_max_len=1024*64, wait_timeout=99"
    setting: dict[str, Any] = {"init_command": command}
    found = given(world, init_command=command) if where == "database" else given(world, setting, setting)
    endpoint = found.sources["a"] if role == "source" else found.targets["b"]

    held = session(endpoint, use, "net_read_timeout", "net_write_timeout", "group_concat_max_len", "wait_timeout")
    assert held == {"net_read_timeout": 77, "net_write_timeout": 78, "group_concat_max_len": 65536, "wait_timeout": 99}
    assert session(endpoint, use, "time_zone")["time_zone"] == "+00:00"


@pytest.mark.parametrize(("role", "use"), USES)
def test_the_originals_defaults_in_every_session(world: Pair, role: str, use: Use) -> None:
    """Spelled out, each is in force where it loses nothing: not as an idle transaction of hours."""
    found = given(world, **ORIGINAL_DATABASE)
    endpoint = found.sources["a"] if role == "source" else found.targets["b"]

    held = session(endpoint, use, "wait_timeout", "interactive_timeout", "autocommit", "character_set_client")
    applies = use is Use.APPLY
    assert held == {
        "wait_timeout": 600 if applies else 28800,
        "interactive_timeout": 28800,
        "autocommit": 1,
        "character_set_client": "utf8mb4",
    }
    if applies:
        assert modes(endpoint, use) >= TRADITIONAL | NEEDED
    else:
        assert modes(endpoint, use) == (set() if use is Use.SNAPSHOT else {"NO_ENGINE_SUBSTITUTION"})
    connection = connect(endpoint, use, Limits())
    try:
        assert (connection._read_timeout, connection._write_timeout) == (30.0, 30.0)
    finally:
        close_quietly(connection)


def test_a_targets_modes_are_added(world: Pair) -> None:
    """The session that writes has the file's modes and those that exactness needs."""
    target = given(world, target={"sql_mode": "STRICT_TRANS_TABLES,NO_ZERO_DATE"}).targets["b"]
    assert modes(target, Use.APPLY) == NEEDED | {"STRICT_TRANS_TABLES", "NO_ZERO_DATE"}
    assert modes(target, Use.CONTROL) == {"NO_ENGINE_SUBSTITUTION"}


def test_a_sources_modes_are_those_of_its_init_query(world: Pair) -> None:
    """ANSI_QUOTES and PIPES_AS_CONCAT in the file: an init_query may be written so, in chunks and in one read."""
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(20))", "INSERT INTO t VALUES (1,'x'),(2,'y'),(3,'z')"
    )
    for table, query_ in (
        ("t", 'SELECT "id", "name" || \'!\' AS "name" FROM t'),
        ("u", 'SELECT DISTINCT "id", "name" || \'!\' AS "name" FROM "t"'),
    ):
        world.chunks_of(2)
        mapping = {table: {"source_table": "a.t", "target_table": f"b.{table}", "init_query": query_}}
        found = given(world, {"sql_mode": "ANSI_QUOTES,PIPES_AS_CONCAT"}, mapping=mapping)

        assert modes(found.sources["a"], Use.SNAPSHOT) == {"ANSI_QUOTES", "PIPES_AS_CONCAT"}
        world.run(found)
        assert world.target_rows(table) == [(1, "x!"), (2, "y!"), (3, "z!")]


def test_lock_waits_of_the_file_count(world: Pair) -> None:
    """In the session that writes, and in the one that claims."""
    command = "SET innodb_lock_wait_timeout=7, lock_wait_timeout=8"
    target = given(world, target={"init_command": command}).targets["b"]
    names = ("innodb_lock_wait_timeout", "lock_wait_timeout")

    assert session(target, Use.APPLY, *names) == {"innodb_lock_wait_timeout": 7, "lock_wait_timeout": 8}
    server = TargetControl(target, Limits())
    try:
        server.create_checkpoint_table()
        server.claim(["m"])
        assert query(server.control, "SELECT @@innodb_lock_wait_timeout, @@lock_wait_timeout") == [(7, 8)]
    finally:
        server.close()


# ---- errors of the server --------------------------------------------------------------------------------
@pytest.mark.parametrize("command", ["SET no_such_variable=1", "SET max_connections=5", "SET net_read_timeout='x'"])
def test_what_the_server_refuses_names_the_setting(world: Pair, command: str) -> None:
    """A variable that this server does not have, or not for a session, stops the run at once, and names init_command."""
    variable = command.split()[1].split("=")[0]
    for role, use in USES:
        found = given(world, init_command=command)
        endpoint = found.sources["a"] if role == "source" else found.targets["b"]
        with pytest.raises(PrerequisiteError, match="init_command") as caught:
            connect(endpoint, use, Limits())
        assert variable in str(caught.value)
        assert not caught.value.retryable


# ---- what they do to rows --------------------------------------------------------------------------------
def test_a_file_with_the_originals_defaults_replicates(world: Pair) -> None:
    """Copy and log, with everything spelled out that the original sets by itself."""
    world.on_source(
        "SET sql_mode=''",
        "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, d DATE, n VARCHAR(9), e ENUM('a','b'))",
        "SET sql_mode='NO_AUTO_VALUE_ON_ZERO'",
        "INSERT INTO t VALUES (0,'2020-01-02','x','a'),(5,NULL,'','wrong')",  # the ENUM's error value
    )
    found = given(world, **ORIGINAL_DATABASE)
    world.run(found)
    world.assert_same("t", columns="id, d, n, e+0")
    world.on_source(
        "SET sql_mode=''",
        "INSERT INTO t VALUES (7,'2021-01-02','y','wrong')",
        "UPDATE t SET n='z'",
        "DELETE FROM t WHERE id=5",
    )
    world.run(found)
    world.assert_same("t", columns="id, d, n, e+0")


def test_with_autocommit_rows_and_checkpoint_are_still_one(world: Pair) -> None:
    """`autocommit: true` is in force, and of a batch that fails in its last statement nothing stays."""
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, d DATE, x MEDIUMTEXT)", "INSERT INTO t VALUES (1,NULL,'a')")
    found = given(world, target={"autocommit": True, "sql_mode": "TRADITIONAL"})
    assert session(found.targets["b"], Use.APPLY, "autocommit") == {"autocommit": 1}
    world.run(found)
    # Longer than a statement is made, so that the refused row is alone in one.
    world.on_source(
        "SET sql_mode=''",
        "INSERT INTO t VALUES (2,NULL,REPEAT('x',200000)),(3,NULL,REPEAT('y',200000)),(4,'0000-00-00','z')",
    )

    assert isinstance(world.error(found), RowRejected)
    assert world.target_rows("t", "id") == [(1,)]
    world.run(given(world, target={"autocommit": True}))
    world.assert_same("t")


@pytest.mark.parametrize("value", ["0000-00-00", "2020-00-00"])
@pytest.mark.parametrize("when", ["copied", "changed"])
def test_what_traditional_refuses_stops_the_run(world: Pair, value: str, when: str) -> None:
    """A value that the file's own sql_mode forbids is an error with table, key and that hint; without it, it arrives."""
    world.on_source(
        "SET sql_mode=''", "CREATE TABLE t (id INT PRIMARY KEY, d DATE)", "INSERT INTO t VALUES (1,'2020-01-01')"
    )
    found = given(world, target={"sql_mode": "TRADITIONAL"})
    if when == "changed":
        world.run(found)
    world.on_source("SET sql_mode=''", f"UPDATE t SET d='{value}'")

    error = world.error(found)
    assert isinstance(error, RowRejected)
    assert error.code == 1292
    assert "sql_mode" in error.hint
    held = world.target_rows("t", "id, CAST(d AS CHAR)")
    assert held == ([(1, "2020-01-01")] if when == "changed" else [])

    world.run(given(world))
    world.assert_same("t", columns="id, CAST(d AS CHAR)")


@pytest.mark.parametrize("value", ["0000-00-00", "2020-00-00"])
@pytest.mark.parametrize("change", ["DELETE FROM t", "UPDATE t SET n=2", "UPDATE t SET d='2020-02-02'"])
def test_traditional_given_later_misses_no_key(world: Pair, value: str, change: str) -> None:
    """A row whose key the mode forbids, and that the target holds already, is changed or the run stops: never missed."""
    world.on_source(
        "SET sql_mode=''", "CREATE TABLE t (d DATE PRIMARY KEY, n INT)", f"INSERT INTO t VALUES ('{value}',1)"
    )
    world.run(given(world))
    world.on_source("SET sql_mode=''", change)

    (result,) = world.try_run(given(world, target={"sql_mode": "TRADITIONAL"})).values()
    if result.error is None:
        world.assert_same("t", columns="CAST(d AS CHAR), n")
    else:
        assert isinstance(result.error, RowRejected), result.error
        world.run(given(world))
        world.assert_same("t", columns="CAST(d AS CHAR), n")


def test_a_zero_date_mode_would_change_what_is_read(world: Pair) -> None:
    """Why NO_ZERO_DATE is not set on a source: with it, the same SELECT gives NULL for a zero date."""
    question = "SELECT CAST(CAST('0000-00-00' AS DATE) AS CHAR)"
    assert world.on_source("SET sql_mode=''", question) == (("0000-00-00",),)
    assert world.on_source("SET sql_mode='TRADITIONAL'", question) == ((None,),)
    source = given(world, {"sql_mode": "TRADITIONAL"}).sources["a"]
    connection = connect(source, Use.SNAPSHOT, Limits())
    try:
        assert query(connection, question) == [(b"0000-00-00",)]
    finally:
        close_quietly(connection)


# ---- time-outs -------------------------------------------------------------------------------------------
def test_read_timeout_ends_a_snapshot_that_stalls(world: Pair) -> None:
    """The file's read_timeout counts for a chunk that does not come, and the error says what to raise."""
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    with Proxy(world.source.host, world.source.port) as proxy:
        endpoint = given(world, {"read_timeout": 0.5, "port": proxy.port}).sources["a"]
        source = MySQLSource(endpoint, Limits())
        try:
            source.head()
            connection = source.snapshot_connection
            with proxy.stalled(Way.TO_CLIENT):
                began_s = time.monotonic()
                with pytest.raises(SourceLost) as caught, source.doing("reading"):
                    query(connection, "SELECT * FROM t")
            assert 0.4 < time.monotonic() - began_s < 4
            assert "read_timeout" in caught.value.hint
        finally:
            source.close()


def test_a_quiet_source_outlives_a_short_read_timeout(world: Pair) -> None:
    """Heartbeats come often enough for the file's read_timeout: a stream without events stays open."""
    endpoint = given(world, {"read_timeout": 0.9}).sources["a"]
    source = MySQLSource(endpoint, Limits())
    try:
        start = source.head()
        with LogStream(endpoint, source.info, Limits(), start, None, follow=True) as stream:
            began_s = time.monotonic()
            events = stream.events()
            while time.monotonic() - began_s < 2.5:
                next(events)
    finally:
        source.close()
