"""Passwords and row values stay where they belong, whatever fails; nothing from a source becomes SQL."""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from faults.proxy import Proxy
from pipelines import PASSWORD, Pair, pair_of
from server_farm import Servers
from servers import Flavour, Server

from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.config.pipeline import Pipeline
from myrepetl_dagster.core.diagnostics.status import status
from myrepetl_dagster.core.model.errors import ReplicationError, SourceLost
from myrepetl_dagster.core.model.limits import Limits
from myrepetl_dagster.core.mysql.connect import parameters
from myrepetl_dagster.core.mysql.session import Use
from myrepetl_dagster.core.source.mysql_source import MySQLSource

ROOT = Path(__file__).resolve().parents[3]
READER, WRITER = "reader-pass-7f3a", "writer-pass-9c1e"  # what must never be seen
VALUE = "row-value-5d2b"
QUICK: dict[str, float] = {"attempts_max": 2, "backoff_max_s": 0.05, "connect_timeout_s": 2, "stream_timeout_s": 3}


@pytest.fixture
def pair(servers: Servers, flavour: Flavour) -> Iterator[Pair]:
    """Accounts with passwords of their own; the account of other tests is put back."""
    made = pair_of(servers.get("source", flavour), servers.get("target", flavour))
    _set_passwords(made, READER, WRITER)
    made.limits = dict(QUICK)
    yield made
    _set_passwords(made, PASSWORD, PASSWORD)


def _set_passwords(pair: Pair, reader: str, writer: str) -> None:
    pair.source.execute(f"ALTER USER 'reader'@'%' IDENTIFIED BY '{reader}'")
    pair.target.execute(f"ALTER USER 'writer'@'%' IDENTIFIED BY '{writer}'")


def config(pair: Pair, mapping: dict[str, Any], **more: Any) -> dict[str, Any]:
    made = pair.config(mapping, **more)
    made["sources"]["a"]["password"] = "${READER_PASSWORD}"
    made["targets"]["b"]["password"] = "${WRITER_PASSWORD}"
    return made


def pipeline(pair: Pair, mapping: dict[str, Any], base_dir: Path = Path("."), **more: Any) -> Pipeline:
    environ = {"READER_PASSWORD": READER, "WRITER_PASSWORD": WRITER}
    return from_dict(config(pair, mapping, **more), base_dir, environ)


def assert_clean(text: str) -> None:
    for secret in (READER, WRITER, VALUE):
        assert secret not in text, text[max(0, text.index(secret) - 300) : text.index(secret) + 50]


# ---- failures ------------------------------------------------------------------------------------------
PLAIN = {"a.t": {"target_table": "b.t"}}
TRANSFORMS = """
def bad(value):
    raise ValueError(f"cannot convert {value}")

def worse(value):
    return object()
"""
COLUMNS = {
    "id": {"column": "id", "primary_key": True},
    "v": {"column": "v", "transform": "secret_transforms.bad"},
}
WORSE = {**COLUMNS, "v": {"column": "v", "transform": "secret_transforms.worse"}}

FAILURES: dict[str, tuple[tuple[str, ...], tuple[str, ...], dict[str, Any]]] = {
    # name: statements on the source, on the target, mapping
    "duplicate key": (
        (f"INSERT INTO t VALUES (1, '{VALUE}')",),
        ("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(99) UNIQUE)", f"INSERT INTO t VALUES (9, '{VALUE}')"),
        {"a.t": {"target_table": "b.t", "init_if_table_empty": False}},
    ),
    "value too long": ((f"INSERT INTO t VALUES (1, '{VALUE}')",), ("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(3))",), PLAIN),
    "value of another type": ((f"INSERT INTO t VALUES (1, '{VALUE}')",), ("CREATE TABLE t (id INT PRIMARY KEY, v INT)",), PLAIN),
    "value that is no date": ((f"INSERT INTO t VALUES (1, '{VALUE}')",), ("CREATE TABLE t (id INT PRIMARY KEY, v DATE)",), PLAIN),
    "check constraint": (
        (f"INSERT INTO t VALUES (1, '{VALUE}')",),
        ("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(99), CHECK (v <> CONCAT('row-value', '-5d2b')))",),
        PLAIN,
    ),
    "transform that raises": (
        (f"INSERT INTO t VALUES (1, '{VALUE}')",), (), {"a.t": {"target_table": "b.t", "column_mapping": COLUMNS, "primary_key": "id"}},
    ),
    "transform that returns nonsense": (
        (f"INSERT INTO t VALUES (1, '{VALUE}')",), (), {"a.t": {"target_table": "b.t", "column_mapping": WORSE, "primary_key": "id"}},
    ),
    "init query that fails": (
        (f"INSERT INTO t VALUES (1, '{VALUE}')",), (), {"a.t": {"target_table": "b.t", "init_query": "SELECT id, v, 1 + nothing FROM t"}},
    ),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the pipeline file and the user's transforms lie."""
    (tmp_path / "secret_transforms.py").write_text(TRANSFORMS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("phase", ["copying", "catching up"])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failing_row_shows_in_no_error_traceback_log_or_table(
    pair: Pair, folder: Path, failure: str, phase: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Errors with their whole chains, logs, and the last error kept in the target name the row, not its values."""
    on_source, on_target, mapping = FAILURES[failure]
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(99))")
    pair.on_target(*on_target or ["SELECT 1"])
    made = pipeline(pair, mapping, folder)
    if phase == "catching up" and failure not in ("duplicate key", "init query that fails"):
        pair.run(made)
    elif phase == "catching up":
        return
    pair.on_source(*on_source)
    with caplog.at_level(logging.DEBUG):
        error = pair.error(made)

    assert_clean("".join(traceback.format_exception(error)))
    assert_clean(repr(error) + str(error) + error.hint)
    assert_clean(caplog.text + "".join(str(record.__dict__) for record in caplog.records))
    assert_clean(str(pair.on_target("SELECT mapping, last_error FROM _myrepetl_checkpoint")))
    assert_clean(str(status(made).as_json()))
    assert failure == "init query that fails" or "t" in str(error)


def test_a_password_shows_in_no_error_log_or_repr(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """Wrong and right passwords alike, in every text that can be made of what holds them."""
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY)")
    made = pipeline(pair, PLAIN)
    wrong = replace(made, sources={"a": replace(made.sources["a"], user="nobody")})
    with caplog.at_level(logging.DEBUG):
        error = pair.error(wrong)

    assert error.code == 1045
    assert_clean("".join(traceback.format_exception(error)))
    assert_clean(caplog.text)
    assert_clean(f"{made!r} {made} {made.sources!r} {made.targets['b']!r}")
    assert_clean(repr(MySQLSource(made.sources["a"], made.limits).get_connection_status()))
    assert WRITER in parameters(made.targets["b"], Use.APPLY, Limits()).values()  # so it was there to be shown


def test_retries_are_logged_without_secrets(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """What is logged on a lost connection holds the facts and no password."""
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY)")
    made = pipeline(pair, PLAIN)
    with Proxy(pair.source.host, pair.source.port) as proxy:
        through = replace(made, sources={"a": replace(made.sources["a"], port=proxy.port)})
        with proxy.stopped(), caplog.at_level(logging.DEBUG), pytest.raises(SourceLost) as caught:
            pair.try_run(through)

    assert "attempt 1 failed" in caplog.text
    assert_clean(caplog.text)
    assert_clean("".join(traceback.format_exception(caught.value)))


def test_secrets_are_not_pickled_into_text(pair: Pair) -> None:
    """JSON of the pipeline is not possible by accident."""
    made = pipeline(pair, PLAIN)
    with pytest.raises(TypeError):
        json.dumps(made.sources["a"].password)
    assert pickle.loads(pickle.dumps(made)).sources["a"].password.reveal() == READER  # for worker processes


# ---- the command line ----------------------------------------------------------------------------------
def command(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    code = "import sys; from myrepetl_dagster.cli.main import main; sys.exit(main())"
    environ = {**os.environ, "READER_PASSWORD": READER, "WRITER_PASSWORD": WRITER, "PYTHONPATH": f"{ROOT}:{folder}"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=environ, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.parametrize("failure", ["value too long", "transform that raises", "wrong password"])
def test_the_command_line_shows_no_secrets(pair: Pair, folder: Path, failure: str) -> None:
    """`myrepetl --debug run`, `status` and `test-connection` on a failing pipeline, all output read."""
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(99))")
    mapping = PLAIN
    if failure != "wrong password":
        on_source, on_target, mapping = FAILURES[failure]
        pair.on_source(*on_source)
        pair.on_target(*on_target or ["SELECT 1"])
    data = config(pair, mapping)
    if failure == "wrong password":
        data["sources"]["a"]["password"] = f"{WRITER}-mistaken"
    (folder / "pipeline.json").write_text(json.dumps(data))
    seen = ""
    for arguments in (["--debug", "run"], ["status"], ["test-connection"]):
        process = command(folder, *arguments, "pipeline.json")
        cmdline = Path(f"/proc/{process.pid}/cmdline").read_text()
        output, _ = process.communicate(timeout=120)
        seen += output
        assert_clean(output)
        assert_clean(cmdline)
    assert "Access denied" in seen or failure != "wrong password"
    assert "t" in seen


def test_the_servers_process_lists_show_no_password(pair: Pair) -> None:
    """What a server lists of our sessions holds no password."""
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    listed: list[str] = []

    def look(_: object) -> None:
        listed.extend(str(server.execute("SHOW FULL PROCESSLIST")) for server in (pair.source, pair.target))

    pair.run(pipeline(pair, PLAIN), on_progress=look)
    assert any("writer" in text for text in listed)
    assert_clean("".join(listed))


# ---- nothing becomes SQL -------------------------------------------------------------------------------
HOSTILE = (
    "'); DROP TABLE victim; -- ",
    "\\'); DROP TABLE victim; -- ",
    '"; DROP TABLE victim; #',
    "`; DROP TABLE victim; `",
    "\\",
    "\\\\'",
    "'",
    "''",
    "%s %(id)s %% {0} ${HOME}",
    "\x00\x1a\n\r\t\b",
    "a\x00'); DROP TABLE victim; -- ",
    "\u02bc\u2019\uff07",  # look like quotes, and become some in other character sets
    "é日本😀",
    "/*! DROP TABLE victim */",
    "_binary x'27'",
    "NULL",
    "",
)


@pytest.mark.parametrize("charset", ["utf8mb4", "latin1", "gbk", "sjis", "big5", "ucs2", "binary"])
def test_values_never_become_sql(pair: Pair, charset: str) -> None:
    """Quotes, backslashes, zero bytes, comments, half characters: written as they are, by copy and by log."""
    kind = "VARBINARY(200)" if charset == "binary" else f"VARCHAR(200) CHARACTER SET {charset}"
    pair.on_target("CREATE TABLE victim (id INT)")
    pair.on_source(f"CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v {kind}, k {kind})")
    with pair.source_session() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode=''")
        for value in HOSTILE:
            cursor.execute("INSERT INTO t (v, k) VALUES (%s, %s)", (value, value))
        if charset in ("gbk", "sjis", "big5", "binary"):  # a lead byte that could swallow a backslash or a quote
            for raw in (b"\xbf\x27", b"\xbf\x5c\x27", b"\x83\x5c", b"\xa5\x5c"):
                cursor.execute(f"INSERT IGNORE INTO t (v) VALUES (_binary x'{raw.hex()}')")
        pair.run(pipeline(pair, PLAIN))
        pair.assert_same("t", "t", "id, HEX(v), HEX(k)")
        cursor.execute("UPDATE t SET k=v, id=id + 1000")
    pair.run(pipeline(pair, PLAIN))

    pair.assert_same("t", "t", "id, HEX(v), HEX(k)")
    assert pair.on_target("SELECT COUNT(*) FROM victim") == ((0,),)


def test_labels_and_keys_never_become_sql(pair: Pair) -> None:
    """Labels of ENUM and SET, and text keys, with quotes, backslashes and marks of formats in them."""
    labels = ("it''s", "a\\\\b", "%s", "`tick`", '"', "'' OR 1=1 -- ", "é", "{0}", "$(id)")
    listed = ", ".join(f"'{label}'" for label in labels)
    pair.on_target("CREATE TABLE victim (id INT)")
    pair.on_source(
        f"CREATE TABLE t (k VARCHAR(60), e ENUM({listed}), s SET({listed}), PRIMARY KEY (k, e))",
        *[f"INSERT INTO t VALUES ('{label}', {n}, {2**n - 1})" for n, label in enumerate(labels, 1)],
    )
    pair.run(pipeline(pair, PLAIN))
    pair.assert_same("t", "t", "HEX(k), e + 0, HEX(e), s + 0, HEX(s)")
    pair.on_source(
        "UPDATE t SET k=CONCAT(k, '''); DROP TABLE victim; -- '), s=s ^ 3", "DELETE FROM t WHERE e=2",
    )  # fmt: skip
    pair.run(pipeline(pair, PLAIN))

    pair.assert_same("t", "t", "HEX(k), e + 0, HEX(e), s + 0, HEX(s)")
    assert pair.on_target("SELECT COUNT(*) FROM victim") == ((0,),)


# ---- the least grants ----------------------------------------------------------------------------------
def test_the_tests_run_as_accounts_with_the_least_grants(pair: Pair) -> None:
    """The accounts that these tests use may do what the README says, and nothing else."""
    reader = _grants(pair.source, "reader", pair.source_schema)
    writer = _grants(pair.target, "writer", pair.target_schema)

    client = "BINLOG MONITOR" if pair.source.flavour == "mariadb" else "REPLICATION CLIENT"
    assert reader == {("*", "REPLICATION SLAVE"), ("*", client), ("own", "SELECT")}
    assert writer == {("own", right) for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE")}


def _grants(server: Server, user: str, schema: str) -> set[tuple[str, str]]:
    found = set()
    for (text,) in server.execute(f"SHOW GRANTS FOR '{user}'@'%'"):
        rights, _, rest = str(text).removeprefix("GRANT ").partition(" ON ")
        place = rest.partition(" TO ")[0].replace("\\", "")
        where = "*" if place == "*.*" else "own" if place == f"`{schema}`.*" else ""
        found |= {(where, right.strip()) for right in rights.split(",") if where and right.strip() != "USAGE"}
    return found


def test_an_account_that_lacks_a_right_is_told_which(pair: Pair) -> None:
    """Without the right to read the table, the error is one of configuration and says what to grant."""
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY)")
    pair.source.execute(f"REVOKE SELECT ON {pair.source_schema}.* FROM 'reader'@'%'")
    error = pair.error(pipeline(pair, PLAIN))

    assert isinstance(error, ReplicationError)
    assert not error.retryable
    time.sleep(0)
