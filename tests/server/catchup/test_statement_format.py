"""Data changes in statement format: those of unmapped tables are passed over, and others stop whom they may concern."""

from __future__ import annotations

import os
import subprocess

import pytest
from pipelines import SOURCES, Pair, call_at, pair, pair_of
from server_farm import Servers
from servers import FLAVOURS
from tools import servers_dir, tools

from myrepetl_dagster.core.config.pipeline import Pipeline
from myrepetl_dagster.core.diagnostics.status import status
from myrepetl_dagster.core.model.errors import UnsupportedEvent

pytestmark = pytest.mark.versions_in_soak

STATEMENT = "SET SESSION binlog_format=STATEMENT"
ACCOUNT = "'reader'@'%'"


@pytest.fixture(params=SOURCES, ids=str)
def world(request: pytest.FixtureRequest, servers: Servers) -> Pair:
    made = pair(servers, request.param)
    made.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, w VARCHAR(20))", "INSERT INTO t VALUES (1,1,'a'),(2,2,'b')",
        "CREATE TABLE u (id INT PRIMARY KEY)",
    )  # fmt: skip
    tool = tool_of(made)
    made.source.execute(
        f"CREATE DATABASE {tool}",
        f"CREATE TABLE {tool}.checksums (db CHAR(64), tbl CHAR(64), chunk INT, this_cnt INT NOT NULL, this_crc CHAR(40),"
        " PRIMARY KEY (db, tbl, chunk))",
    )
    return made


def tool_of(world: Pair) -> str:
    return f"percona_{world.source_schema}"


def pipeline_of(world: Pair) -> Pipeline:
    return world.pipeline("t u")


def grant(world: Pair) -> None:
    world.source.execute(f"GRANT TRIGGER ON {tool_of(world)}.* TO {ACCOUNT}")


def checksum(world: Pair) -> None:
    """What pt-table-checksum does, in words of our own: checksums of a table are written in statement format."""
    tool = tool_of(world)
    world.on_source(
        STATEMENT, f"DELETE FROM {tool}.checksums WHERE db='shop' AND tbl='t'",
        f"REPLACE INTO {tool}.checksums (db, tbl, chunk, this_cnt, this_crc) SELECT 'shop', 't', 1, COUNT(*) AS n,"
        " COALESCE(LOWER(CONV(BIT_XOR(CAST(CRC32(CONCAT_WS('#', id, v, CONCAT(ISNULL(v)))) AS UNSIGNED)), 10, 16)), 0)"
        f" FROM {world.source_schema}.t FORCE INDEX (PRIMARY) WHERE ((id >= '0'))",
        f"UPDATE {tool}.checksums SET this_crc='0' WHERE tbl='t'",
    )  # fmt: skip


def test_checksums(world: Pair) -> None:
    """A tool that reads mapped tables and writes a table of its own stops nobody: in catch-up, and while a copy runs."""
    grant(world)
    world.chunks_of(1)
    world.run(pipeline_of(world), call_at(2, lambda: checksum(world)))
    world.on_source("UPDATE t SET v=v+1")
    checksum(world)
    world.on_source("UPDATE t SET v=v+1 WHERE id=2", "INSERT INTO u VALUES (1)")
    world.run(pipeline_of(world))
    world.assert_same("t")
    world.assert_same("u")


def test_a_right_that_shows_triggers(world: Pair) -> None:
    """Without the right to see triggers all mappings stop. It is named, and once it is granted they go on."""
    pipeline = pipeline_of(world)
    world.run(pipeline)
    world.on_source("UPDATE t SET v=7")
    checksum(world)
    before = world.source_rows("t")
    world.on_source("UPDATE t SET v=8")
    for _ in range(2):
        error = world.error(pipeline)
        assert isinstance(error, UnsupportedEvent)
        assert world.target_rows("t") == before
        assert all(one.stopped and one.last_error == str(error) for one in status(pipeline).mappings)
    statement = error.hint.partition(":")[0].replace("the source's account", ACCOUNT)
    world.source.execute(statement)
    assert world.run(pipeline)["a.t"].rows_snapshotted == 0
    world.assert_same("t")


def test_a_mapped_table(world: Pair) -> None:
    """A written table stops its own mapping only, if no trigger may have written others."""
    pipeline = pipeline_of(world)
    world.run(pipeline)
    world.source.execute(f"GRANT TRIGGER ON {world.source_schema}.* TO {ACCOUNT}")
    world.on_source("UPDATE t SET v=7")
    held = world.source_rows("t")
    world.on_source(STATEMENT, "UPDATE t, u SET t.v=9 WHERE t.id=u.id")
    world.on_source("INSERT INTO t VALUES (5,5,'e')")
    error = world.error(pipeline)
    assert isinstance(error, UnsupportedEvent)
    world.run(world.pipeline("t"), copy_again=True)
    world.assert_same("t")
    assert held != world.source_rows("t")
    results = world.try_run(pipeline)
    assert results["a.t"].error is None
    assert isinstance(results["a.u"].error, UnsupportedEvent)
    world.on_source(STATEMENT, "DELETE FROM t WHERE id=1")
    world.run(world.pipeline("u"), copy_again=True)
    world.on_source("INSERT INTO u VALUES (3)")
    results = world.try_run(pipeline)
    assert isinstance(results["a.t"].error, UnsupportedEvent)
    assert results["a.u"].error is None
    world.assert_same("u")


@pytest.mark.parametrize("effect", ["trigger", "view", "view that is read", "dropped", "function"])
def test_what_may_write_more(world: Pair, effect: str) -> None:
    """A trigger, a view, a stored function, or a written table that is gone stops all mappings, with the reason."""
    pipeline = pipeline_of(world)
    grant(world)
    own, tool = world.source_schema, tool_of(world)
    world.source.execute("SET GLOBAL log_bin_trust_function_creators=1")
    world.on_source("CREATE FUNCTION f() RETURNS INT BEGIN UPDATE t SET v=v+1; RETURN 1; END")
    world.on_source(f"CREATE TABLE {tool}.x (id INT, v INT)", f"CREATE VIEW {tool}.seen AS SELECT id, v FROM {tool}.x")
    world.source.execute(f"CREATE VIEW {tool}.calls AS SELECT {own}.f() AS n")
    world.run(pipeline)
    statements = {
        "trigger": [
            f"CREATE TRIGGER {tool}.g AFTER INSERT ON {tool}.x FOR EACH ROW UPDATE {own}.t SET v=99",
            f"INSERT INTO {tool}.x VALUES (1,1)",
        ],
        "view": [f"INSERT INTO {tool}.seen VALUES (1,1)"],
        "view that is read": [f"INSERT INTO {tool}.x SELECT n, n FROM {tool}.calls"],
        "dropped": [f"INSERT INTO {tool}.x VALUES (1,1)", f"DROP TABLE {tool}.x"],
        "function": [f"INSERT INTO {tool}.x VALUES (1, f())"],
    }[effect]
    held = world.target_rows("t")
    world.on_source(STATEMENT, *statements)
    reason = {"trigger": "has triggers", "view": "not an ordinary table", "view that is read": "names the view",
              "dropped": "not there any more", "function": "any table"}[effect]  # fmt: skip
    for _ in range(2):
        error = world.error(pipeline)
        assert isinstance(error, UnsupportedEvent)
        assert reason in str(error)
        assert world.target_rows("t") == held
    world.run(pipeline, copy_again=True)
    world.assert_same("t")


def pt_table_checksum(world: Pair, schema: str) -> None:
    """Run the tool on all tables of the source's schema. It writes its checksums into another one."""
    found = tools("percona-toolkit")
    if found is None:
        pytest.skip("percona-toolkit is not to be had")
    folder = servers_dir() / "tools" / "percona-toolkit/usr"
    libraries = next(folder.glob("lib/*/libmariadb3")).parent
    modules = [*libraries.glob("perl*/5*"), *libraries.glob("perl/5*"), *folder.glob("share/perl*")]
    environment = {
        **os.environ,
        "PERL5LIB": ":".join(map(str, [*modules, *folder.glob("share/perl/5*")])),
        "LD_LIBRARY_PATH": "",
        "MARIADB_PLUGIN_DIR": str(libraries / "libmariadb3/plugin"),
    }
    command = [
        *found["perl"], str(folder / "bin/pt-table-checksum"), f"h={world.source.host},P={world.source.port},u=checker,p=pw",
        "--databases", world.source_schema, "--replicate", f"{schema}.checksums", "--recursion-method", "none",
        "--no-check-plan", "--chunk-size", "100",
    ]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert f"{world.source_schema}.t" in done.stdout, done.stderr
    assert (schema, "checksums") in {tuple(row) for row in world.on_source(
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_name='checksums'")}  # fmt: skip


def test_pt_table_checksum(servers: Servers) -> None:
    """The real tool stops the mappings once, until the account may see that its table has no triggers. From then on it
    stops nobody, neither in catch-up nor beside a copy.
    """
    for flavour in FLAVOURS:
        world = pair_of(servers.get("source", flavour), servers.get("target", flavour))
        schema = f"percona_{world.source_schema}"
        world.source.execute("CREATE USER 'checker'@'%' IDENTIFIED BY 'pw'", "GRANT ALL ON *.* TO 'checker'@'%'")
        world.on_source("CREATE TABLE t (id INT PRIMARY KEY, v INT, words VARCHAR(20), f FLOAT, d DATETIME)")
        world.on_source("CREATE TABLE u (id INT PRIMARY KEY)", "INSERT INTO u VALUES (1)")
        numbers = ", ".join(f"({n}, {n}, 'row {n}', {n} / 3, '2026-01-01')" for n in range(1000))
        world.on_source(f"INSERT INTO t VALUES {numbers}")
        pipeline = pipeline_of(world)
        world.run(pipeline)
        pt_table_checksum(world, schema)
        world.on_source("UPDATE t SET v=v+1 WHERE id < 10")
        error = world.error(pipeline)
        assert f"GRANT TRIGGER ON `{schema}`.*" in error.hint
        world.source.execute(f"GRANT TRIGGER ON `{schema}`.* TO {ACCOUNT}")
        assert world.run(pipeline)["a.t"].rows_snapshotted == 0
        world.assert_same("t")
        world.chunks_of(100)
        world.run(world.pipeline("t u"), call_at(3, lambda: pt_table_checksum(world, schema)), copy_again=True)  # noqa: B023
        pt_table_checksum(world, schema)
        world.on_source("UPDATE t SET v=v+1 WHERE id < 10")
        world.run(pipeline)
        world.assert_same("t")
        world.assert_same("u")
