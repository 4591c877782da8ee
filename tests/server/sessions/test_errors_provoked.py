"""Every class of error that a real server can give, provoked on both; each becomes the right one of ours.

What no server can be made to say (closed files, broken pipes, odd packets) comes from the driver or a proxy.
"""

from __future__ import annotations

import contextlib
import gc
import socket
import ssl
import struct
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pymysql
import pytest
from faults.proxy import Proxy
from pipelines import PASSWORD, Pair, pair_of
from pymysqlreplication import BinLogStreamReader
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.config.pipeline import Endpoint, Secret
from myrepetl_dagster.core.model.errors import (
    PositionLost,
    PrerequisiteError,
    ReplicationError,
    RowRejected,
    SchemaDrift,
    SourceLost,
    TargetBusy,
    TargetLost,
)
from myrepetl_dagster.core.model.limits import Limits
from myrepetl_dagster.core.model.position import Position
from myrepetl_dagster.core.mysql.connect import close_quietly, connect, parameters, query
from myrepetl_dagster.core.mysql.error_codes import ERROR_CODES, ErrorClass, classify
from myrepetl_dagster.core.mysql.errors import translate, translated
from myrepetl_dagster.core.mysql.session import Use
from myrepetl_dagster.core.source.binlog_stream import LogStream
from myrepetl_dagster.core.source.mysql_source import MySQLSource

pytestmark = pytest.mark.versions_in_soak

LIMITS = Limits(connect_timeout_s=2, control_timeout_s=5, apply_timeout_s=10, lock_wait_timeout_s=1)
SECRET = "zyxw-secret-value"


@pytest.fixture
def pair(servers: Servers, flavour: Flavour) -> Pair:
    made = pair_of(servers.get("source", flavour), servers.get("target", flavour))
    made.on_target(
        "CREATE TABLE t (id INT PRIMARY KEY, n TINYINT NOT NULL, v VARCHAR(40) UNIQUE, d DATETIME,"
        " e ENUM('x'), CHECK (n < 50)) ENGINE=InnoDB",
        "CREATE TABLE child (id INT PRIMARY KEY, t_id INT, FOREIGN KEY (t_id) REFERENCES t (id)) ENGINE=InnoDB",
        f"INSERT INTO t VALUES (1, 1, '{SECRET}', NULL, 'x'), (2, 2, 'two', NULL, 'x')",
        "CREATE TABLE parts (id INT PRIMARY KEY) PARTITION BY LIST (id) (PARTITION p VALUES IN (1, 2))",
        "CREATE TABLE made (id INT PRIMARY KEY, g INT AS (id + 1) STORED)",
    )
    made.target.execute(f"GRANT CREATE, DROP, ALTER ON {made.target_schema}.* TO 'writer'@'%'")
    return made


def reader(pair: Pair, **more: Any) -> Endpoint:
    made = Endpoint(
        "a", "source", host="127.0.0.1", port=pair.source.port, user="reader", password=Secret(PASSWORD),
        database=pair.source_schema, ssl_disabled=True,
    )  # fmt: skip
    return replace(made, **more)


def writer(pair: Pair, **more: Any) -> Endpoint:
    made = Endpoint(
        "b", "target", host="127.0.0.1", port=pair.target.port, user="writer", password=Secret(PASSWORD),
        database=pair.target_schema, ssl_disabled=True,
    )  # fmt: skip
    return replace(made, **more)


# ---- statements ----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Case:
    """A statement on an apply connection and what it comes to; numbers differ between the flavours."""

    name: str
    sql: str
    codes: tuple[int, ...]
    kind: type[ReplicationError]
    only: str = ""  # a flavour, where the other takes the statement


SLOW = f"SELECT COUNT(*) FROM {', '.join(f'information_schema.collations c{i}' for i in range(5))}"
CASES = (
    # data
    Case("duplicate key", f"INSERT INTO t VALUES (3, 3, '{SECRET}', NULL, 'x')", (1062,), RowRejected),
    Case("null", "INSERT INTO t VALUES (3, NULL, 'v', NULL, 'x')", (1048,), RowRejected),
    Case("no default", "INSERT INTO t (id) VALUES (3)", (1364,), RowRejected),
    Case("out of range", "INSERT INTO t VALUES (3, 300, 'v', NULL, 'x')", (1264,), RowRejected),
    Case("too long", f"INSERT INTO t VALUES (3, 3, REPEAT('{SECRET}', 9), NULL, 'x')", (1406,), RowRejected),
    Case("no date", f"INSERT INTO t VALUES (3, 3, 'v', '{SECRET}', 'x')", (1292,), RowRejected),
    Case("no number", f"INSERT INTO t VALUES (3, '{SECRET}', 'v', NULL, 'x')", (1366, 1265), RowRejected),
    Case("no label", f"INSERT INTO t VALUES (3, 3, 'v', NULL, '{SECRET}')", (1265,), RowRejected),
    Case("bytes that are no text", "INSERT INTO t VALUES (3, 3, x'FF00C3', NULL, 'x')", (1366,), RowRejected),
    Case("check constraint", "INSERT INTO t VALUES (3, 99, 'v', NULL, 'x')", (3819, 4025), RowRejected),
    Case("foreign key", "SET foreign_key_checks=1; INSERT INTO child VALUES (1, 77)", (1452,), RowRejected),
    Case(
        "parent row", "SET foreign_key_checks=1; INSERT INTO child VALUES (1, 1); DELETE FROM t", (1451,), RowRejected
    ),
    Case("no partition", "INSERT INTO parts VALUES (3)", (1526,), RowRejected),
    Case("generated column", "INSERT INTO made (id, g) VALUES (1, 9)", (3105, 1906), RowRejected),
    Case("json", "CREATE TABLE j (d JSON); INSERT INTO j VALUES ('{')", (3140, 4025), RowRejected),
    Case("geometry", f"CREATE TABLE g (p POINT); INSERT INTO g VALUES ('{SECRET}')", (1416,), RowRejected),
    Case("overflow", "SELECT 18446744073709551615 + id FROM t", (1690,), RowRejected),
    # schema
    Case("no table", "INSERT INTO nowhere VALUES (1)", (1146,), SchemaDrift),
    Case("no column", "INSERT INTO t (nothing) VALUES (1)", (1054,), SchemaDrift),
    Case("column count", "INSERT INTO t VALUES (3)", (1136,), SchemaDrift),
    Case("table exists", "CREATE TABLE t (id INT)", (1050,), SchemaDrift),
    Case("column exists", "ALTER TABLE t ADD COLUMN n INT", (1060,), SchemaDrift),
    Case("nothing to drop", "ALTER TABLE t DROP COLUMN nothing", (1091,), SchemaDrift),
    Case("no table to drop", "DROP TABLE nowhere", (1051,), SchemaDrift),
    # configuration
    Case("syntax", f"INSERT INTOO t VALUES ('{SECRET}')", (1064,), PrerequisiteError),
    Case("no database", "SELECT * FROM nowhere_db.t", (1142, 1044, 1049), PrerequisiteError),
    Case("no right to a table", "SELECT * FROM mysql.user", (1142,), PrerequisiteError),
    Case("no right to a setting", "SET GLOBAL max_connections=5", (1227,), PrerequisiteError),
    Case("unknown variable", "SET SESSION no_such_variable=1", (1193,), PrerequisiteError),
    Case("wrong value of a variable", "SET SESSION sql_mode='NONSENSE'", (1231,), PrerequisiteError),
    Case("unknown time zone", "SET time_zone='Nowhere/Town'", (1298,), PrerequisiteError),
    Case("unknown character set", "SET NAMES nonsense", (1115,), PrerequisiteError),
    Case("unknown collation", "SELECT 'a' COLLATE nonsense_ci", (1273,), PrerequisiteError),
    Case("no function", "SELECT nowhere_at_all()", (1305, 1370), PrerequisiteError),
    Case("large join", "SET sql_big_selects=0, max_join_size=1; SELECT * FROM t a, t b", (1104,), PrerequisiteError),
    # definitions
    Case("long key", "CREATE TABLE k (k VARCHAR(3000) CHARACTER SET utf8mb4 PRIMARY KEY)", (1071,), PrerequisiteError),
    Case("key of any length", "CREATE TABLE k (k TEXT PRIMARY KEY)", (1170,), PrerequisiteError),
    Case("long name", f"CREATE TABLE {'k' * 65} (k INT)", (1059, 1103), PrerequisiteError),
    Case("long column", "CREATE TABLE k (k VARCHAR(60000) CHARACTER SET utf8mb4)", (1074,), PrerequisiteError, "mysql"),
    Case(
        "many columns",
        f"CREATE TABLE k ({', '.join(f'c{i} INT' for i in range(1100))})",
        (1117, 1005),
        PrerequisiteError,
    ),
    Case("short year", "CREATE TABLE k (k YEAR(2))", (1818,), PrerequisiteError, "mysql"),
    Case("unknown type", "CREATE TABLE k (k ABSENT(3))", (4161,), PrerequisiteError, "mariadb"),
    Case("by chance", "CREATE TABLE k (a INT, b DOUBLE AS (RAND()) STORED)", (3763, 1901), PrerequisiteError),
    Case(
        "long row",
        f"CREATE TABLE k ({', '.join(f'c{i} BINARY(250)' for i in range(40))})",
        (1118,),
        RowRejected,
        "mysql",
    ),
    # a server that takes no writes
    Case("read only transaction", "SET SESSION TRANSACTION READ ONLY; DELETE FROM t", (1792,), TargetLost),
    # limits of time
    Case("too slow", f"SET SESSION max_execution_time=50; {SLOW}", (3024,), TargetBusy, "mysql"),
    Case("too slow", "SET SESSION max_statement_time=0.05; SELECT SLEEP(2) FROM t", (1969,), TargetBusy, "mariadb"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name} {case.only}".strip())
def test_statement(pair: Pair, case: Case) -> None:
    """A refused statement becomes the right error, with its number, and without a value of the row."""
    if case.only not in ("", pair.target.flavour):
        pytest.skip(f"as {case.only} says it")
    error = provoke(pair, *case.sql.split("; "))

    assert error.code in case.codes, error
    assert type(error) is case.kind
    assert classify(error.code).symbol in str(error)
    assert SECRET not in str(error)
    if case.kind is RowRejected or case.codes == (1064,):
        assert error.__cause__ is None, "the driver's own text would be in the traceback"


def provoke(pair: Pair, *statements: str, **more: Any) -> ReplicationError:
    connection = connect(writer(pair, **more), Use.APPLY, LIMITS)
    try:
        with pytest.raises(ReplicationError) as caught, translated(writer(pair), "provoking"):
            for statement in statements:
                query(connection, statement)
        return caught.value
    finally:
        close_quietly(connection)


def test_a_refused_row_names_its_column(pair: Pair) -> None:
    """The column is the part of the server's text that is kept."""
    assert "'n'" in str(provoke(pair, "INSERT INTO t VALUES (3, 300, 'v', NULL, 'x')"))


# ---- locks ---------------------------------------------------------------------------------------------
def test_lock_wait_and_deadlock(pair: Pair) -> None:
    """Both leave a usable connection and say so: the target is busy."""
    with pair.target_session(autocommit=False) as other, other.cursor() as cursor:
        cursor.execute("SELECT * FROM t WHERE id=1 FOR UPDATE")
        error = provoke(pair, "DELETE FROM t WHERE id=1")
        assert isinstance(error, TargetBusy)
        assert error.code == 1205

    with pair.target_session(autocommit=False) as other, other.cursor() as cursor:
        cursor.execute("INSERT INTO child VALUES (100, NULL), (101, NULL), (102, NULL), (103, NULL)")  # the heavier
        cursor.execute("SELECT * FROM t WHERE id=1 FOR UPDATE")
        ours = connect(writer(pair), Use.APPLY, replace(LIMITS, lock_wait_timeout_s=10))
        query(ours, "SELECT * FROM t WHERE id=2 FOR UPDATE")
        seen: list[ReplicationError] = []

        def wait() -> None:
            try:
                with translated(writer(pair)):
                    query(ours, "SELECT * FROM t WHERE id=1 FOR UPDATE")
            except ReplicationError as error:
                seen.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        cursor.execute("SELECT SLEEP(0.3)")
        cursor.execute("SELECT * FROM t WHERE id=2 FOR UPDATE")
        thread.join(10)
        close_quietly(ours)
        assert [(type(e), e.code) for e in seen] == [(TargetBusy, 1213)]


# ---- ended from outside --------------------------------------------------------------------------------
@contextlib.contextmanager
def sleeping(pair: Pair) -> Iterator[tuple[int, list[ReplicationError], threading.Thread]]:
    """A session of ours in the middle of a statement."""
    connection = connect(writer(pair), Use.APPLY, LIMITS)
    seen: list[ReplicationError] = []

    def work() -> None:
        try:
            with translated(writer(pair)):
                query(connection, "SELECT COUNT(*) FROM t WHERE SLEEP(5)")
        except ReplicationError as error:
            seen.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield connection.thread_id(), seen, thread
    finally:
        thread.join(10)
        close_quietly(connection)


def test_kill_query(pair: Pair) -> None:
    """KILL QUERY interrupts the statement: busy, to be replayed."""
    with sleeping(pair) as (session, seen, thread):
        pair.on_target("SELECT SLEEP(0.3)", f"KILL QUERY {session}")
        thread.join(10)
    assert [(type(e), e.code) for e in seen] == [(TargetBusy, 1317)] or not seen  # SLEEP may also return 1


def test_kill_connection(pair: Pair) -> None:
    """KILL ends the session: lost, the outcome of what was under way unknown."""
    with sleeping(pair) as (session, seen, thread):
        pair.on_target("SELECT SLEEP(0.3)", f"KILL CONNECTION {session}")
        thread.join(10)
    assert [type(e) for e in seen] == [TargetLost]
    assert seen[0].code in (1317, 1927, 2013)
    assert classify(2013).error_class is ErrorClass.AMBIGUOUS_COMMIT


def test_idle_beyond_wait_timeout(pair: Pair) -> None:
    """The server says why it has closed an idle session, or only closes it."""
    connection = connect(writer(pair), Use.APPLY, LIMITS)
    try:
        query(connection, "SET SESSION wait_timeout=1")
        time.sleep(2.2)
        with pytest.raises(TargetLost) as caught, translated(writer(pair)):
            query(connection, "SELECT 1")
    finally:
        close_quietly(connection)
    assert caught.value.code in (4031, 2006, 2013)


# ---- getting in ----------------------------------------------------------------------------------------
def refused(to: Endpoint) -> ReplicationError:
    connection = None
    try:
        with pytest.raises(ReplicationError) as caught:
            connection = connect(to, Use.CONTROL, LIMITS)
            with translated(to):
                query(connection, "SELECT 1")  # MariaDB lets in whose password has expired, and then refuses this
    finally:
        close_quietly(connection)
    return caught.value


ACCOUNTS: tuple[tuple[str, Callable[[Pair], object], dict[str, Any], tuple[int, ...], type[ReplicationError]], ...] = (
    ("wrong password", lambda p: None, {"password": Secret("wrong")}, (1045,), PrerequisiteError),
    ("unknown user", lambda p: None, {"user": "nobody"}, (1045,), PrerequisiteError),
    ("unknown database", lambda p: None, {"database": "nowhere"}, (1049, 1044), PrerequisiteError),
    ("locked account", lambda p: alter(p, "ACCOUNT LOCK"), {"user": "odd"}, (3118, 4151), PrerequisiteError),
    ("expired password", lambda p: alter(p, "PASSWORD EXPIRE"), {"user": "odd"}, (1820, 1862), PrerequisiteError),
    (
        "no more connections",
        lambda p: alter(p, "WITH MAX_USER_CONNECTIONS 1"),
        {"user": "odd"},
        (1226, 1203),
        TargetLost,
    ),
    ("wrong host", lambda p: elsewhere(p), {"user": "distant"}, (1130, 1045), PrerequisiteError),
)


def alter(pair: Pair, what: str) -> None:
    pair.target.execute(
        "DROP USER IF EXISTS 'odd'@'%'",
        f"CREATE USER 'odd'@'%' IDENTIFIED BY '{PASSWORD}'",
        f"GRANT ALL ON {pair.target_schema}.* TO 'odd'@'%'",
        f"ALTER USER 'odd'@'%' {what}",
    )


def elsewhere(pair: Pair) -> None:
    pair.target.execute(
        "DROP USER IF EXISTS 'distant'@'192.0.2.1'", f"CREATE USER 'distant'@'192.0.2.1' IDENTIFIED BY '{PASSWORD}'"
    )


@pytest.mark.parametrize(("name", "prepare", "settings", "codes", "kind"), ACCOUNTS, ids=[a[0] for a in ACCOUNTS])
def test_getting_in(
    pair: Pair,
    name: str,
    prepare: Callable[[Pair], object],
    settings: dict[str, Any],
    codes: tuple[int, ...],
    kind: type[ReplicationError],
) -> None:
    """Who is not let in learns why, and whether trying again helps; the password is in no text."""
    prepare(pair)
    to = writer(pair, **settings)
    held = connect(to, Use.CONTROL, LIMITS) if name == "no more connections" else None
    try:
        error = refused(to)
    finally:
        close_quietly(held)

    assert error.code in codes, error
    assert type(error) is kind
    assert PASSWORD not in str(error)
    assert "wrong" not in str(error)


def test_nobody_there(pair: Pair) -> None:
    """No server, no socket, no such host: to be tried again."""
    assert (refused(writer(pair, port=1)).code, type(refused(writer(pair, port=1)))) == (2003, TargetLost)
    assert refused(writer(pair, host="nowhere.invalid")).code == 2005
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # PyMySQL leaves a unix socket open that does not connect
        code, kind = _facts(refused(writer(pair, unix_socket="/nowhere/sock")))
        gc.collect()
    assert (code, kind) == (2003, TargetLost)


def _facts(error: ReplicationError) -> tuple[int | None, type[ReplicationError]]:
    return error.code, type(error)


def test_who_is_not_there_is_named(pair: Pair) -> None:
    """Host and port, or the socket, are in the error, so that a mistyped one is seen."""
    error = refused(writer(pair, host="127.0.0.1", port=1))
    assert "connecting to 127.0.0.1:1:" in str(error)
    assert (error.operation, error.unreached) == ("connecting to 127.0.0.1:1", "target 'b'")
    assert "connecting to nowhere.invalid:" in str(refused(writer(pair, host="nowhere.invalid")))


def test_a_server_that_takes_no_writes(pair: Pair) -> None:
    """1290 where the server is read only: a failover, to be tried again, perhaps elsewhere."""
    pair.target.execute("SET GLOBAL read_only=1")
    try:
        error = provoke(pair, "DELETE FROM t WHERE id=1")
    finally:
        pair.target.execute("SET GLOBAL read_only=0")
    assert (type(error), error.code) == (TargetLost, 1290)
    assert classify(1290, str(error)).error_class is ErrorClass.FAILOVER


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ("3, NULL, 'v', NULL, 'x'", "n"),
        ("3, 300, 'v', NULL, 'x'", "n"),
        (f"3, 'zz for column ''{SECRET}'' at row 1', 'v', NULL, 'x'", "n"),
        (f"3, 3, 'v', 'for column ''{SECRET}', 'x'", "d"),
        (f"3, 3, 'v', 'for column `{SECRET}`.`{SECRET}` at row 1', 'x'", "d"),
        ("3, 3, REPEAT('v', 41), NULL, 'x'", "v"),
        ("3, 3, 'v', NULL, 'y'", "e"),
        ("3, 3, x'FF00C3', NULL, 'x'", "v"),
    ],
)
def test_the_column_of_a_refused_row(pair: Pair, values: str, column: str) -> None:
    """The error names the column where the server does, and no value that looks like one."""
    error = provoke(pair, f"INSERT INTO t VALUES ({values})")
    assert f"(column '{column}')" in str(error)
    assert SECRET not in str(error)


# ---- the log -------------------------------------------------------------------------------------------
def read_log(pair: Pair, position: Position, server_id: int = 77001) -> ReplicationError:
    source = MySQLSource(reader(pair), LIMITS)
    try:
        info = source.info
    finally:
        source.close()
    with (
        pytest.raises(ReplicationError) as caught,
        LogStream(reader(pair), info, LIMITS, position, server_id) as stream,
    ):
        for _ in stream.events():
            pass
    return caught.value


def test_a_file_that_is_not_there(pair: Pair) -> None:
    """1236: the position is lost."""
    error = read_log(pair, Position("binlog.999999", 4))
    assert (type(error), error.code) == (PositionLost, 1236)


def test_a_place_beyond_the_end(pair: Pair) -> None:
    """1236 again."""
    newest = pair.source.execute("SHOW BINARY LOGS")[-1]
    error = read_log(pair, Position(newest[0], int(newest[1]) + 100_000))
    assert (type(error), error.code) == (PositionLost, 1236)


def test_another_reader_of_our_server_id(pair: Pair) -> None:
    """A replica with our number takes over; we are told to choose another one, and do not fight for it."""
    source = MySQLSource(reader(pair), LIMITS)
    try:
        head, info = source.head(), source.info
    finally:
        source.close()
    with LogStream(reader(pair), info, LIMITS, head, 77002, follow=True) as ours:
        events = ours.events()
        next(events)
        other = BinLogStreamReader(
            parameters(reader(pair), Use.STREAM, LIMITS), 77002, log_file=head.file, log_pos=head.offset_bytes,
            resume_stream=True, blocking=False,
        )  # fmt: skip
        other.fetchone()
        with pytest.raises(ReplicationError) as caught:
            while True:
                next(events)
        other.close()
    assert (type(caught.value), caught.value.code) in {(PrerequisiteError, 1236), (PrerequisiteError, 4052)}
    assert "server_id" in caught.value.hint


def test_two_streams_of_ours_never_throw_each_other_out(pair: Pair) -> None:
    """With one chosen number for both, the second reads under another one; and a third, when the first has ended, and
    the server has not noticed yet.
    """
    source = MySQLSource(reader(pair), LIMITS)
    try:
        head, info = source.head(), source.info
    finally:
        source.close()
    streams = [LogStream(reader(pair), info, LIMITS, head, 77004, follow=True) for _ in range(3)]
    with contextlib.ExitStack() as stack:
        events = []
        for stream in streams:
            events.append(stack.enter_context(stream).events())
            next(events[-1])
        pair.on_source("CREATE TABLE seen (id INT)")
        for one in events:
            while not any(b"CREATE TABLE seen" in event for event in next(one)):
                pass


def test_no_right_to_read_the_log(pair: Pair) -> None:
    """Without REPLICATION SLAVE the source refuses: a configuration error."""
    pair.source.execute(
        "DROP USER IF EXISTS 'poor'@'%'", f"CREATE USER 'poor'@'%' IDENTIFIED BY '{PASSWORD}'",
        f"GRANT SELECT ON {pair.source_schema}.* TO 'poor'@'%'",
    )  # fmt: skip
    source = MySQLSource(reader(pair), LIMITS)
    try:
        head, info = source.head(), source.info
    finally:
        source.close()
    with (
        pytest.raises(PrerequisiteError) as caught,
        LogStream(reader(pair, user="poor"), info, LIMITS, head, 77003) as stream,
    ):
        next(stream.events())
    assert caught.value.code in (1227, 1045)


# ---- what the driver and the network say ---------------------------------------------------------------
ENDPOINTS = (Endpoint("a", "source"), Endpoint("b", "target"))
LOST = {"source": SourceLost, "target": TargetLost}


def through_driver(error: BaseException) -> Callable[[], None]:
    """The error, raised from a file of the driver's, as the real ones are."""
    code = compile("def fail(error):\n    raise error", pymysql.connections.__file__, "exec")
    names: dict[str, Any] = {}
    exec(code, names)
    return lambda: names["fail"](error)


DRIVER_ERRORS = (
    pymysql.err.InterfaceError(0, ""),
    pymysql.err.InternalError("Packet sequence number wrong - got 3 expected 1"),
    pymysql.err.Error("Already closed"),
    pymysql.err.OperationalError(2006, "MySQL server has gone away (BrokenPipeError(32, 'Broken pipe'))"),
    pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query"),
    pymysql.err.OperationalError(2014, "Command Out of Sync"),
    pymysql.err.OperationalError(2027, "Malformed packet"),
    ValueError("read of closed file"),
    AttributeError("'NoneType' object has no attribute 'settimeout'"),
    OSError(9, "Bad file descriptor"),
    BrokenPipeError(32, "Broken pipe"),
    ConnectionResetError(104, "Connection reset by peer"),
    TimeoutError("timed out"),
    EOFError("end of file"),
    IndexError("index out of range"),
    AssertionError("Result length not requested length:\nExpected=4.  Actual=1"),
    struct.error("unpack requires a buffer of 4 bytes"),
    ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: e.role)
@pytest.mark.parametrize("error", DRIVER_ERRORS, ids=lambda e: f"{type(e).__name__} {e.args[:1]}")
def test_broken_connections_are_lost_connections(endpoint: Endpoint, error: Exception) -> None:
    """Whatever the driver calls it: the connection is of no use, and the run starts again at the checkpoint."""
    with pytest.raises(ReplicationError) as caught, translated(endpoint, "working"):
        through_driver(error)()
    assert type(caught.value) is LOST[endpoint.role]
    assert caught.value.retryable
    assert caught.value.operation == "working"


MISTAKES = (
    pymysql.err.ProgrammingError("Cursor closed"),
    pymysql.err.ProgrammingError("execute() first"),
    pymysql.err.ProgrammingError("nan can not be used with MySQL"),
    pymysql.err.NotSupportedError("fetch all rows first"),
    pymysql.err.InternalError(SECRET),
    pymysql.err.OperationalError("received unknown auth switch request"),
    UnicodeDecodeError("utf-8", SECRET.encode() + b"\xff", 17, 18, "invalid start byte"),
    UnicodeEncodeError("latin-1", SECRET + "€", 17, 18, "ordinal not in range(256)"),
    TypeError("not all arguments converted during string formatting"),
    KeyError("utf9"),
    LookupError("unknown encoding: utf9"),
    ValueError("Did not specify a username"),
    AttributeError("'Connection' object has no attribute 'nothing'"),
    struct.error("'I' format requires 0 <= number <= 4294967295"),
    RuntimeError("anything else"),
)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: e.role)
@pytest.mark.parametrize("error", MISTAKES, ids=lambda e: f"{type(e).__name__}-{len(str(e))}")
def test_what_no_new_connection_mends_is_not_retried(endpoint: Endpoint, error: Exception) -> None:
    """The driver was asked wrongly, or cannot do what it is asked: an error at once, which quotes nothing."""
    with pytest.raises(PrerequisiteError) as caught, translated(endpoint, "working"):
        through_driver(error)()
    assert not caught.value.retryable
    assert caught.value.hint
    assert type(error).__name__ in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_closed_cursor_is_a_mistake_and_a_closed_connection_a_lost_one(pair: Pair) -> None:
    """What PyMySQL itself raises in both cases, without a number."""
    connection = connect(writer(pair), Use.CONTROL, LIMITS)
    cursor = connection.cursor()
    cursor.close()
    with pytest.raises(PrerequisiteError), translated(writer(pair)):
        cursor.execute("SELECT 1")
    connection._force_close()
    with pytest.raises(TargetLost), translated(writer(pair)):
        query(connection, "SELECT 1")


def test_an_errno_is_not_taken_for_a_number_of_the_table() -> None:
    """OSError(104) is no server's error 104."""
    assert translate(OSError(1062, "not a duplicate key"), ENDPOINTS[1]).code is None


@pytest.mark.parametrize(
    "error", [ssl.SSLCertVerificationError(1, "certificate verify failed"), ssl.SSLError(1, "WRONG_VERSION_NUMBER")]
)
def test_refused_tls_is_a_configuration_error(error: ssl.SSLError) -> None:
    """PyMySQL calls it 2003, as any failure to connect; no retry would mend it."""
    raised = pymysql.err.OperationalError(2003, "Can't connect")
    raised.original_exception = error
    with pytest.raises(PrerequisiteError) as caught, translated(ENDPOINTS[0]):
        raise raised
    assert caught.value.code == 2026


def test_a_password_that_cannot_be_sent_safely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package `cryptography`, caching_sha2_password over plain TCP is a configuration error."""
    with pytest.raises(PrerequisiteError, match="cryptography"), translated(ENDPOINTS[0]):
        through_driver(RuntimeError("'cryptography' package is required for sha256_password"))()


@pytest.mark.parametrize("kind", [ValueError, TypeError, KeyError, AssertionError])
def test_our_own_mistakes_are_not_translated(kind: type[Exception]) -> None:
    """What the driver did not raise is a bug, and looks like one."""
    with pytest.raises(kind, match="ours"), translated(ENDPOINTS[0]):
        raise kind("ours")


def test_what_is_not_a_server_is_a_lost_connection() -> None:
    """A port where something else answers."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        def answer() -> None:
            client, _ = other.accept()
            with client:
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        to = Endpoint("a", "source", host="127.0.0.1", port=port, user="u", ssl_disabled=True)
        assert type(refused(to)) is SourceLost
        thread.join(5)


@pytest.mark.parametrize("after_bytes", [0, 3, 4, 5, 8, 10])
def test_a_commit_whose_answer_is_cut(pair: Pair, after_bytes: int) -> None:
    """Cut anywhere in the OK of COMMIT: the target is lost, and the row is there."""
    with Proxy(pair.target.host, pair.target.port) as proxy:
        to = writer(pair, port=proxy.port)
        connection = connect(to, Use.APPLY, LIMITS)
        query(connection, f"INSERT INTO t VALUES ({10 + after_bytes}, 1, 'c{after_bytes}', NULL, 'x')")
        proxy.lose_commit_reply(after_bytes)
        with pytest.raises(TargetLost) as caught, translated(to):
            connection.commit()
        close_quietly(connection)

    assert classify(caught.value.code or 0).error_class is ErrorClass.AMBIGUOUS_COMMIT
    assert pair.on_target(f"SELECT COUNT(*) FROM t WHERE id={10 + after_bytes}") == ((1,),)


# ---- every class is provoked by a real server --------------------------------------------------------
PROVOKED_BY = {
    ErrorClass.TRANSIENT: test_lock_wait_and_deadlock,
    ErrorClass.NEW_CONNECTION: test_nobody_there,  # 1040 in tests/faults/test_pressure.py
    ErrorClass.AMBIGUOUS_COMMIT: test_a_commit_whose_answer_is_cut,
    ErrorClass.FAILOVER: test_a_server_that_takes_no_writes,
    ErrorClass.POSITION_LOST: test_a_file_that_is_not_there,
    ErrorClass.DATA: test_statement,
    ErrorClass.SCHEMA: test_statement,
    ErrorClass.CONFIGURATION: test_getting_in,
}


def test_no_class_is_left_out() -> None:
    """Each class has a test above against a real server."""
    assert set(PROVOKED_BY) == set(ErrorClass)


# ---- the table itself ----------------------------------------------------------------------------------
KINDS = {
    ErrorClass.TRANSIENT: (SourceLost, TargetBusy),
    ErrorClass.NEW_CONNECTION: (SourceLost, TargetLost),
    ErrorClass.AMBIGUOUS_COMMIT: (SourceLost, TargetLost),
    ErrorClass.FAILOVER: (SourceLost, TargetLost),
    ErrorClass.POSITION_LOST: (PositionLost, PositionLost),
    ErrorClass.DATA: (RowRejected, RowRejected),
    ErrorClass.SCHEMA: (SchemaDrift, SchemaDrift),
    ErrorClass.CONFIGURATION: (PrerequisiteError, PrerequisiteError),
}


@pytest.mark.parametrize("code", sorted(ERROR_CODES))
def test_every_number_becomes_the_error_of_its_class(code: int) -> None:
    """The class alone decides, and refused rows never show the server's text."""
    text = f"read-only {SECRET}"
    for endpoint, kind in zip(ENDPOINTS, KINDS[classify(code, text).error_class], strict=True):
        error = translate(pymysql.err.OperationalError(code, text), endpoint)
        assert type(error) is kind
        assert error.code == code
        assert ERROR_CODES[code].symbol in str(error)
        assert (SECRET in str(error)) == (
            kind is not RowRejected and not (code in (1064, 1149) and endpoint.role == "target")
        )


def test_a_number_that_nobody_knows_is_not_retried() -> None:
    """Only what is known to pass is tried again."""
    error = translate(pymysql.err.OperationalError(65001, "?"), ENDPOINTS[0])
    assert type(error) is PrerequisiteError
    assert "65001" in str(error)


@pytest.mark.parametrize(
    ("text", "error_class"),
    [
        ("Could not find first log file name in binary log index file", ErrorClass.POSITION_LOST),
        ("Client requested source to start replication from position > file size", ErrorClass.POSITION_LOST),
        ("the source has purged binary logs containing GTIDs that the replica requires", ErrorClass.POSITION_LOST),
        ("A replica with the same server_uuid/server_id as this replica has connected", ErrorClass.CONFIGURATION),
        ("log event entry exceeded max_allowed_packet; Increase it on source", ErrorClass.CONFIGURATION),
        ("Binary log is not open", ErrorClass.CONFIGURATION),
        ("Misconfigured master - server_id was not set", ErrorClass.CONFIGURATION),
        ("Could not open log file", ErrorClass.NEW_CONNECTION),
        ("event read from binlog did not pass checksum algorithm check", ErrorClass.NEW_CONNECTION),
    ],
)
def test_1236_is_told_apart_by_its_text(text: str, error_class: ErrorClass) -> None:
    """One number with many meanings."""
    assert classify(1236, text).error_class is error_class


def test_1290_is_a_failover_only_where_it_says_read_only() -> None:
    """The same number for any server option that forbids a statement."""
    assert classify(1290, "running with the --read-only option").error_class is ErrorClass.FAILOVER
    assert classify(1290, "running with the --super-read-only option").error_class is ErrorClass.FAILOVER
    assert classify(1290, "running with the --secure-file-priv option").error_class is ErrorClass.CONFIGURATION
