"""A server's global settings and our sessions: a pipeline does the same whatever a server has for new sessions.

Every session variable of a server is set for the whole server to unusual values; then a small pipeline copies its tables
and follows the log. The target is what it is without them, or the run ends with an error that names the variable.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pymysql
import pytest
from global_settings import Setting, Settings
from pipelines import Pair, pair_of
from server_farm import Servers
from servers import FLAVOURS, Flavour

from myrepetl_dagster.core.diagnostics.connection_test import diagnose
from myrepetl_dagster.core.diagnostics.status import status
from myrepetl_dagster.core.model.errors import ReplicationError, RowRejected
from myrepetl_dagster.core.replication.source_runs import replicate

pytestmark = pytest.mark.long

# How many are set at a time. If a run differs, each of them is tried by itself.
_AT_ONCE = 20
SEED = int(os.environ.get("MYREPETL_TEST_SEED", "20261201"))
_OURS = (
    "SET NAMES utf8mb4, sql_mode='ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO', time_zone='+00:00', timestamp=1600000000"
)
_TABLES = (
    """CREATE TABLE t (
      a INT, b VARCHAR(10) CHARACTER SET latin1, c DATE, ts TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE
      CURRENT_TIMESTAMP, dt DATETIME(6), de DECIMAL(30,10), f FLOAT, d DOUBLE, tx TEXT, ch CHAR(5), bi BINARY(4), bl BLOB,
      e ENUM('x','y',''), s SET('a','b'), bt BIT(9), y YEAR, ti TIME(3), j JSON, n BIGINT UNSIGNED NOT NULL DEFAULT 7,
      ci VARCHAR(9) COLLATE utf8mb4_unicode_520_ci, g INT AS (a+1) VIRTUAL, PRIMARY KEY (a,b,c), UNIQUE KEY (n))""",
    "CREATE TABLE u (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(20), k INT, w DECIMAL(5,2))",
    "INSERT INTO u VALUES (0,'zero',1,1.5),(1,'a',NULL,2),(2,'b ',3,NULL),(3,NULL,3,0),(4,'',3,0),(2000,'x',1,1)",
    "CREATE TABLE v (id INT PRIMARY KEY, name VARCHAR(20), r FLOAT, d DATE)",
    "INSERT INTO v VALUES (1,'a',0.1,'2024-01-07'),(2,'B',1e10,'0000-00-00'),(3,'ç',3,NULL),(4,'d',4,'2024-12-30')",
    "CREATE TABLE w (id INT NOT NULL, x VARCHAR(5) NOT NULL, KEY(x))",
    "INSERT INTO w VALUES (1,'a'),(2,'b'),(3,'c')",
)
_COLUMNS = "a, b, c, ts, dt, de, f, d, tx, ch, bi, bl, e, s, bt, y, ti, j, n, ci"


def _row(i: int) -> str:
    zero = "'0000-00-00'" if i % 4 == 3 else f"'20{i + 10}-01-1{i % 9}'"
    return (
        f"({i // 3}, 'k{i % 3}é', {zero}, '2020-01-0{i % 9 + 1} 01:00:00', '1999-12-31 23:59:59.99999{i % 9}',"
        f" {i}12345678901234567.0123456789, {i}.1, {i}.1e-{i * 7}, 'a\\\\b''\"%_\\n日本{i}', 'x{' ' * (i % 2)}',"
        f" X'0001{i % 10}0', X'00ff27225c{i:02x}', {i % 4}, {i % 4}, {i * 37 % 512}, {1970 + i}, '-12:34:5{i % 10}.123',"
        f' \'{{"a": {i}.50, "b": [1, "é"]}}\', {18446744073709551615 - i}, \'Straße{i}\')'
    )


def _insert(first: int, end: int) -> str:
    return f"INSERT INTO t ({_COLUMNS}) VALUES " + ", ".join(_row(i) for i in range(first, end))


_CHANGES = (
    _insert(10, 16),
    "UPDATE t SET f=f+1, dt=dt + INTERVAL 1 DAY WHERE a<2",
    "UPDATE t SET c='2001-01-01', b=CONCAT(b,'!') WHERE a=2",
    "DELETE FROM t WHERE a=0",
    "ALTER TABLE t ADD COLUMN added VARCHAR(7) NOT NULL DEFAULT 'é''', ADD COLUMN at TIMESTAMP NULL",
    "UPDATE t SET at='2010-01-01 00:00:00' WHERE a=1",
    _insert(20, 22),
    "UPDATE u SET id=id+10, name='up' WHERE id<3",
    "INSERT INTO u VALUES (500,'n',5,5)",
    "DELETE FROM u WHERE id=3",
    "UPDATE u SET k=NULL WHERE id=4",
    "INSERT INTO v VALUES (6,'f',6.5,'2024-02-29')",
    "DELETE FROM v WHERE id=2",
    "UPDATE v SET name='neu' WHERE id=1",
    "DELETE FROM w WHERE id=1",
    "UPDATE w SET x='z' WHERE id=2",
    "XA START 'x'", "INSERT INTO w VALUES (9,'xa')", "XA END 'x'", "XA PREPARE 'x'", "XA COMMIT 'x'",
)  # fmt: skip
_MAPPING: dict[str, Any] = {
    "a.t": {"target_table": "b.t"},
    "a.u": {
        "target_table": "b.u",
        "primary_key": "id",
        "column_mapping": {"id": "id", "name": {"column": "name", "transform": "code.up"}, "k": "k", "w": "w"},
        "filter": {"k": {"not": None}, "id": {"lt": 1000}},
    },
    "by_query": {
        "source_table": "a.v",
        "target_table": "b.v",
        "init_query": "SELECT v.id, LENGTH(GROUP_CONCAT(v.name, REPEAT('x', 100) ORDER BY u.id)) AS name, 1/3 AS r,"
        " CONCAT(DATE_FORMAT(v.d, '%Y-%m-'), 1 + WEEK(v.d) MOD 28) AS d FROM v JOIN u ON u.id<3"
        " WHERE DAYNAME('2024-01-01')='Monday' GROUP BY v.id, v.d",
    },
    "w": {"source_table": "a.w", "target_table": "b.w", "primary_key": "id"},
}


class World:
    """A source and a target, two pipelines between them (rows as statements, and as events), and sessions of the test.

    The test's own sessions are older than any setting, so that none reaches into them.
    """

    def __init__(self, servers: Servers, source: Flavour, target: Flavour, folder: Path) -> None:
        self.pair = pair_of(servers.get("set-source", source), servers.get("set-target", target))
        self.servers = {"source": Settings(self.pair.source), "target": Settings(self.pair.target)}
        self.pair.limits |= {
            "chunk_rows_max": 3, "copy_window_rows": 4, "attempts_max": 2, "backoff_first_s": 0.01, "backoff_max_s": 0.02,
            "control_timeout_s": 10, "first_contact_time_s_max": 0.2, "lock_wait_timeout_s": 2,
        }  # fmt: skip
        (folder / "code.py").write_text("def up(value):\n    return value and value.upper()\n")
        for account in ("writer", "replayer"):
            self.pair.target.execute(f"GRANT ALTER, TRIGGER ON `{self.pair.target_schema}`.* TO '{account}'@'%'")
        self.pipelines = []
        for self.pair.replays in (False, True):
            self.pipelines.append(self.pair.pipeline(_MAPPING, base_dir=str(folder)))
        self._source = self.pair.source.connect(database=self.pair.source_schema, conv={})
        self._target = self.pair.target.connect(database=self.pair.target_schema, conv={})
        _run(self._source, _OURS)
        _run(self._target, _OURS)
        self.runs = 0
        self.usual = [self.outcome(pipeline) for pipeline in (0, 1)]
        assert self.usual[0] == self.usual[1]
        assert self.usual[0]["as the source"] == self.usual[0]["t"] != []

    def close(self) -> None:
        self._source.close()
        self._target.close()
        for server in self.servers.values():
            server.close()

    def outcome(self, pipeline: int) -> dict[str, Any]:
        """What the target holds after a copy and after changes, and what is said of the mappings.

        Raises:
            ReplicationError: the run fails.
        """
        self.runs += 1
        _run(self._source, "DROP TABLE IF EXISTS t, u, v, w", *_TABLES, _insert(0, 10))
        _run(self._target, "DROP TABLE IF EXISTS t, u, v, w, _myrepetl_checkpoint, _myrepetl_prepared")
        self._replicate(pipeline)
        copied = self._held()
        _run(self._source, *_CHANGES)
        self._replicate(pipeline)
        found = status(self.pipelines[pipeline])
        reports = list(diagnose(self.pipelines[pipeline]))
        return {
            **self._held(),
            "copied": copied,
            "as the source": _run(self._source, "SELECT * FROM t ORDER BY a, b, c"),
            "status": [(one.mapping, one.phase, one.last_error) for one in found.mappings],
            "connections": [one.connected for one in found.connections],
            "reports": len(reports),
        }

    def _replicate(self, pipeline: int) -> None:
        for result in list(replicate(self.pipelines[pipeline])):
            if result.error is not None:
                raise result.error

    def _held(self) -> dict[str, Any]:
        tables = "table_schema=DATABASE() AND table_name<>'_myrepetl_checkpoint' ORDER BY table_name"
        columns = "table_name, column_name, column_type, collation_name, is_nullable, column_default, extra"
        return {
            "t": _run(self._target, "SELECT * FROM t ORDER BY a, b, c"),
            "u": _run(self._target, "SELECT * FROM u ORDER BY id"),
            "v": _run(self._target, "SELECT * FROM v ORDER BY id"),
            "w": _run(self._target, "SELECT * FROM w ORDER BY id"),
            "engines": _run(self._target, "SELECT DISTINCT engine FROM information_schema.tables WHERE"
                            " table_schema=DATABASE()"),
            "columns": _run(self._target, f"SELECT {columns} FROM information_schema.columns WHERE {tables}, column_name"),
            "keys": _run(self._target, "SELECT table_name, index_name, column_name FROM information_schema.statistics"
                         f" WHERE {tables}, index_name, seq_in_index"),
        }  # fmt: skip

    def trial(self, roles: Sequence[str], settings: Sequence[Setting], pipeline: int) -> str:
        """How a run under these settings of the servers in these roles differs from the usual one; "" if it does not.

        An error that names the only setting is as good.
        """
        with contextlib.ExitStack() as stack:
            for role in roles:
                stack.enter_context(self.servers[role].set(settings))
            try:
                outcome = self.outcome(pipeline)
            except ReplicationError as error:
                return "" if len(roles) == len(settings) == 1 and _names(error, settings[0]) else _text(error)
            except Exception as error:
                return _text(error)
        usual = self.usual[pipeline]
        return ", ".join(key for key in usual if outcome[key] != usual[key])

    def wrong(self, roles: Sequence[str], settings: Sequence[Setting], pipeline: int) -> list[str]:
        """What is wrong under these settings, for each of them."""
        if not (together := self.trial(roles, settings, pipeline)):
            return []
        if len(settings) > 1:
            half = len(settings) // 2
            return self.wrong(roles, settings[:half], pipeline) + self.wrong(roles, settings[half:], pipeline)
        if len(roles) > 1:  # an error of the source hides what the target does
            return [text for role in roles for text in self.wrong([role], settings, pipeline)]
        return [f"{settings[0]} at the {roles[0]}: {together}"]


def _run(connection: pymysql.Connection[Any], *statements: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall())


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


# Where the server's own message does not have the variable's name.
_SAID_AS = {"sort_buffer_size": "sort buffer size", "tmp_disk_table_size": "(temporary)"}


def _names(error: ReplicationError, setting: Setting) -> bool:
    return _SAID_AS.get(setting.name, setting.name) in str(error).replace("-", "_").lower()


# What ends a run, or makes it slow, so that others beside it would not be tried. Each is tried by itself.
_ALONE = {
    "binlog_format", "binlog_row_image", "binlog_row_value_options", "enforce_storage_engine", "init_connect",
    "max_allowed_packet", "max_session_mem_used", "max_user_connections", "max_prepared_stmt_count", "read_only",
    "transaction_read_only", "tx_read_only",
}  # fmt: skip


def _groups(settings: list[Setting], at_once: int) -> Iterator[list[Setting]]:
    """The settings in groups, each variable at most once in a group."""
    random.Random(SEED).shuffle(settings)
    while settings:
        group: dict[str, Setting] = {}
        for setting in settings:
            if len(group) < (1 if group.keys() & _ALONE else at_once) and not (group and setting.name in _ALONE):
                group.setdefault(setting.name, setting)
        settings = [setting for setting in settings if group.get(setting.name) is not setting]
        yield list(group.values())


@pytest.fixture
def world(servers: Servers, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    source, target = request.param
    made = World(servers, source, target, tmp_path)
    yield made
    made.close()


def _try_all(world: World, at_once: int, pipelines: Sequence[Sequence[int]]) -> None:
    same = world.pair.source.flavour == world.pair.target.flavour
    for roles in [("source", "target")] if same else [("source",), ("target",)]:
        settings = list(world.servers[roles[0]].all())
        print(f"MYREPETL_TEST_SEED={SEED}: {len(settings)} values of {len({one.name for one in settings})} variables")
        wrong = []
        for number, group in enumerate(_groups(settings, at_once)):
            for pipeline in pipelines[number % len(pipelines)]:
                wrong += world.wrong(roles, group, pipeline)
        print(f"{world.runs} runs")
        assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("world", [("mysql", "mysql"), ("mariadb", "mariadb")], indirect=True, ids=lambda p: p[0])
def test_no_global_setting_reaches_our_sessions(world: World) -> None:
    """Each value of each session variable, several at a time: the target is as ever, or an error names the variable."""
    _try_all(world, _AT_ONCE, [[0], [1]])


@pytest.mark.soak
@pytest.mark.parametrize("world", [(a, b) for a in FLAVOURS for b in FLAVOURS], indirect=True, ids="-to-".join)
def test_no_global_setting_reaches_our_sessions_soak(world: World) -> None:
    """Each value of each session variable by itself, for rows as statements and as events."""
    _try_all(world, 1, [[0, 1]])


# ---- what the pipelines above have not -----------------------------------------------------------------
@pytest.fixture
def pair(servers: Servers, flavour: Flavour) -> Iterator[Pair]:
    """Servers whose settings are set back."""
    made = pair_of(servers.get("set-source", flavour), servers.get("set-target", flavour))
    both = [Settings(made.source), Settings(made.target)]
    with both[0].set([]), both[1].set([]):
        yield made
    for one in both:
        one.close()


def _copied_and_followed(pair: Pair, setting: str, **mapping: Any) -> None:
    """Copy the table t of the source under a setting of it, change it, and compare."""
    pair.source.execute(f"SET GLOBAL {setting}")
    pipeline = pair.pipeline({"a.t": {"target_table": "b.t", **mapping}})
    pair.run(pipeline)
    assert pair.target_rows("t", "id, x") == [(1, 2), (2, 2)]
    pair.on_source("INSERT INTO t (id, x) VALUES (3, 3)", "DELETE FROM t WHERE id=1")
    pair.run(pipeline)
    assert pair.target_rows("t", "id, x") == [(2, 2), (3, 3)]


def test_rows_of_another_time(pair: Pair) -> None:
    """MariaDB's system_versioning_asof would have an init_query read the rows of a past day."""
    if pair.source.flavour == "mysql":
        pytest.skip("MySQL has no versioned tables")
    pair.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, x INT)", "INSERT INTO t VALUES (1,2),(2,2)", "SET timestamp=1500000000",
        "CREATE TABLE h (id INT PRIMARY KEY, x INT) WITH SYSTEM VERSIONING", "INSERT INTO h VALUES (1,1),(2,1)",
        "SET timestamp=1600000000", "UPDATE h SET x=2",
    )  # fmt: skip
    query = "SELECT t.id, h.x FROM t JOIN h USING (id)"
    _copied_and_followed(pair, "system_versioning_asof='2018-01-01 00:00:00'", init_query=query, primary_key="id")


def test_a_hidden_key(pair: Pair) -> None:
    """MySQL's generated key is in the log, also where show_gipk_in_create_table_and_information_schema hides it."""
    if pair.source.flavour == "mariadb":
        pytest.skip("MariaDB generates no keys")
    pair.on_source(
        "SET sql_generate_invisible_primary_key=1", "CREATE TABLE t (id INT NOT NULL UNIQUE, x INT)",
        "INSERT INTO t VALUES (1,2),(2,2)",
    )  # fmt: skip
    _copied_and_followed(pair, "show_gipk_in_create_table_and_information_schema=OFF")


@pytest.mark.parametrize("way", ["copied", "followed"])
@pytest.mark.parametrize("number", [0, 1])
def test_warnings_that_a_server_does_not_keep(pair: Pair, way: str, number: int) -> None:
    """A value that is cut beside an ENUM's error value stops the mapping, however few warnings the target keeps."""
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY, e ENUM('a'), v VARCHAR(10))")
    pair.on_target("CREATE TABLE t (id INT PRIMARY KEY, e ENUM('a'), v VARCHAR(3))")
    pair.target.execute(f"SET GLOBAL max_error_count={number}")
    if way == "followed":
        pair.run("t")
    pair.on_source("SET sql_mode=''", "INSERT INTO t VALUES (1,'wrong','longer')")
    assert isinstance(pair.error("t"), RowRejected)
    assert pair.target_rows("t") == []


# ---- to a target of the other flavour, with a table without a key ----------------------------------------
SETTINGS = ("sql_select_limit=1", "max_join_size=1", "sql_safe_updates=1", "sql_quote_show_create=0")


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("role", ["source", "target"])
def test_a_setting_that_cuts_or_refuses(servers: Servers, flavour: Flavour, role: str, setting: str) -> None:
    """A table without a key, read by one statement, arrives whole; so do one with a key, changes, and new copies."""
    other: Flavour = "mariadb" if flavour == "mysql" else "mysql"
    ends = {"source": servers.get("source", other), "target": servers.get("target", other)}
    ends[role] = servers.get(f"{role} with settings", flavour)
    world = pair_of(ends["source"], ends["target"])
    world.on_source(
        "CREATE TABLE plain (a INT, b INT)",
        "INSERT INTO plain VALUES (1, 1), (2, 2), (3, 3)",
        "CREATE TABLE keyed (a INT PRIMARY KEY, b VARCHAR(9), c INT UNIQUE)",
        "INSERT INTO keyed VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)",
    )
    mapping = {"a.plain": {"target_table": "b.plain", "primary_key": "a"}, "a.keyed": {"target_table": "b.keyed"}}
    name = setting.partition("=")[0]
    before = ends[role].execute(f"SELECT @@GLOBAL.{name}")[0][0]
    ends[role].execute(f"SET GLOBAL {setting}")
    try:
        world.run(mapping)
        world.on_source("SET sql_safe_updates=0", "UPDATE keyed SET c=c+10", "UPDATE plain SET b=b+1")
        world.run(mapping)
        world.on_source("SET sql_safe_updates=0, sql_log_bin=0", "DELETE FROM keyed WHERE a=2")
        world.run(mapping, copy_again=True)
    finally:
        ends[role].execute(f"SET GLOBAL {name}={before}")
    world.assert_same("plain")
    world.assert_same("keyed")
