"""Rows that the source renders as SQL tuples, beside the same rows written through Python."""

from __future__ import annotations

from typing import Any

import pytest
from pipelines import ROUTES, Pair, Route, pair
from server_farm import Servers

from myrepetl_dagster.core.plan.table_plan import TablePlan
from myrepetl_dagster.core.replication.snapshot import window_copy
from myrepetl_dagster.core.rows.writable_rows import SqlTuples, WritableRows
from myrepetl_dagster.core.target.apply_connection import MySQLApplyConnection
from myrepetl_dagster.core.values.bulk_parameters import BulkRows

pytestmark = pytest.mark.versions_in_soak

HOSTILE = ["back`tick", "quo'te", 'dou"ble', "per%s", "sp ace", "üñí", "sel;ect", "a\\b", "-- c", "/*x*/", "{b}", "`"]
TEXTS = ["''", "'it''s'", "'a\\\\b'", "'\\0\\n'", "'é😀'", "NULL", "REPEAT('''', 99)", "'),('", "'_utf8mb4'"]


@pytest.fixture(params=ROUTES, ids=str)
def world(request: pytest.FixtureRequest, servers: Servers) -> Pair:
    return pair(servers, request.param)


@pytest.fixture(params=["as tuples", "as parameters"])
def rendered(request: pytest.FixtureRequest, world: Pair, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The mapping of each list of rows that was written as the source rendered it."""
    names: list[str] = []
    bulk = request.param == "as parameters"
    if bulk and world.target.flavour != "mariadb":
        pytest.skip("only MariaDB takes parameters in bulk")
    write = MySQLApplyConnection.write

    def spy(connection: MySQLApplyConnection, plan: TablePlan, rows: WritableRows) -> None:
        write(connection, plan, rows)
        if isinstance(rows, BulkRows if bulk else SqlTuples):
            names.append(plan.name)

    monkeypatch.setattr(MySQLApplyConnection, "write", spy)
    if not bulk:
        monkeypatch.setattr(window_copy, "bulk_select", lambda *_: None)
    return names


def through_python(world: Pair, monkeypatch: pytest.MonkeyPatch, mapping: dict[str, Any] | str) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(window_copy, "tuple_select", lambda *_: None)
        patch.setattr(window_copy, "bulk_select", lambda *_: None)
        world.run(mapping)


def both(world: Pair, monkeypatch: pytest.MonkeyPatch, rendered: list[str], mapping: dict[str, Any]) -> None:
    """Copies into `sql` as the source renders, into `python` through Python, and compares."""
    world.run({"m-sql": {**mapping, "target_table": "b.sql"}})
    assert rendered, "nothing was rendered"
    rendered.clear()
    through_python(world, monkeypatch, {"m-python": {**mapping, "target_table": "b.python"}})
    assert not rendered
    assert world.target_rows("`sql`")
    assert world.target_rows("`sql`") == world.target_rows("`python`")


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def test_static_values_and_renames(world: Pair, monkeypatch: pytest.MonkeyPatch, rendered: list[str]) -> None:
    """Fixed values of each kind and renamed columns stand where Python would put them."""
    rows = ", ".join(f"({n}, {text})" for n, text in enumerate(TEXTS))
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(200)) CHARACTER SET utf8mb4", f"INSERT INTO t VALUES {rows}"
    )
    columns = {
        "id": {"column": "key id", "primary_key": True},
        "v": "re`named",
        "s1": {"column": "s1", "value": "it's \\ \"x\" `é` %s, ('"},
        "s2": {"column": "s2", "value": -5},
        "s3": {"column": "s3", "value": 1.5},
        "s4": {"column": "s4", "value": "NULL"},
    }
    both(world, monkeypatch, rendered, {"source_table": "a.t", "column_mapping": columns})
    held = world.target_rows("`sql`")
    assert {row[2:] for row in held} == {(columns["s1"]["value"], -5, 1.5, "NULL")}  # type: ignore[index]
    assert sorted(map(str, (row[1] for row in held))) == sorted(map(str, (r[0] for r in world.source_rows("t", "v"))))


def test_hostile_column_names(world: Pair, monkeypatch: pytest.MonkeyPatch, rendered: list[str]) -> None:
    """A column's name is a name, whatever it looks like; a table's too."""
    columns = ", ".join(f"{quoted(name)} TEXT" for name in HOSTILE)
    values = ", ".join(TEXTS[n % len(TEXTS)] for n in range(len(HOSTILE)))
    table = "ta`b'le \\ é"
    world.on_source(
        f"CREATE TABLE {quoted(table)} (`i``d` INT PRIMARY KEY, {columns}) CHARACTER SET utf8mb4",
        f"INSERT INTO {quoted(table)} VALUES (1, {values}), (2, {values})",
    )
    both(world, monkeypatch, rendered, {"source_table": f"a.{table}"})
    assert world.target_rows("`sql`") == world.source_rows(quoted(table))


@pytest.mark.parametrize("rendered", ["as tuples"], indirect=True)
def test_collations_mixed_in_a_row(world: Pair, monkeypatch: pytest.MonkeyPatch, rendered: list[str]) -> None:
    """Columns of collations and character sets that SQL would not join stand side by side in one tuple."""
    charsets = [
        "utf8mb4 COLLATE utf8mb4_bin",
        "utf8mb4 COLLATE utf8mb4_unicode_ci",
        "latin1",
        "latin1 COLLATE latin1_bin",
    ]
    charsets += ["ascii", "utf8mb3", "sjis", "utf16", "ucs2", "cp1251", "gbk", "koi8r", "latin2", "binary"]
    columns = ", ".join(f"c{n} VARCHAR(20) CHARACTER SET {name}" for n, name in enumerate(charsets))
    world.on_source(
        f"CREATE TABLE t (id INT PRIMARY KEY, {columns}) CHARACTER SET utf8mb4",
        f"INSERT INTO t VALUES (1, {', '.join(['CHAR(97,39,92,32)'] * len(charsets))})",
        f"INSERT INTO t VALUES (2, {', '.join(['NULL'] * len(charsets))})",
        "INSERT INTO t (id, c0, c2, c6, c7, c9, c11) VALUES (3, '😀', 'é€', 'ソ表', '😀', 'жук', 'жук')",
    )
    both(world, monkeypatch, rendered, {"source_table": "a.t"})
    hexes = ", ".join(f"HEX(CAST(c{n} AS BINARY))" for n in range(len(charsets)))
    assert world.target_rows("`sql`", hexes) == world.source_rows("t", hexes)


@pytest.mark.parametrize("route", [ROUTES[0], ROUTES[3]], ids=str)
def test_a_row_longer_than_max_allowed_packet(servers: Servers, route: Route) -> None:
    """The source cannot render it, so it goes through Python; nothing is lost or left out, NULLs stay NULL."""
    world = pair(servers, route, max_allowed_packet="1M")
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, a LONGTEXT, n INT, b LONGBLOB, c LONGTEXT) CHARACTER SET utf8mb4",
        "INSERT INTO t VALUES (1, 'a', NULL, 'b', NULL), (2, REPEAT('''', 700000), 2, NULL, 'x')",
        "INSERT INTO t VALUES (3, 'a', NULL, REPEAT(0x00, 600000), NULL), (5, NULL, NULL, NULL, NULL)",
        "INSERT INTO t VALUES (4, REPEAT('x', 400000), 4, NULL, REPEAT('y', 400000))",
        "UPDATE t SET b = REPEAT(0xFF, 400000) WHERE id = 4",
    )
    world.run("t")
    columns = "id, n, LENGTH(a), CRC32(a), LENGTH(b), CRC32(b), LENGTH(c), CRC32(c)"
    world.assert_same("t", columns=columns)
    assert len(world.target_rows("t", "id")) == 5


def test_doubles_keep_every_digit(world: Pair, monkeypatch: pytest.MonkeyPatch, rendered: list[str]) -> None:
    """Texts of 23 and 24 characters, which MySQL cuts in an expression: a sign, 17 digits and an exponent."""
    doubles = ["-1.2345678901234567e-10", "-1.2345678901234567e-100", "-1.7976931348623157e308", "0.1", "1e15", "NULL"]
    values = ", ".join(f"({n}, {v}, {v}, {v}, -1.234567e-30)" for n, v in enumerate(doubles))
    world.on_source(
        "SET sql_mode=''",
        "CREATE TABLE t (id INT PRIMARY KEY, d DOUBLE, u DOUBLE(60,30), n DOUBLE NOT NULL, f FLOAT)",
        f"INSERT IGNORE INTO t VALUES {values}",
    )
    columns = "id, d * 1e0, u * 1e0, n * 1e0, f * 1e0"
    both(world, monkeypatch, rendered, {"source_table": "a.t"})
    assert repr(world.target_rows("`sql`", columns)) == repr(world.source_rows("t", columns))
    query = {"source_table": "a.t", "init_query": "SELECT id, d * 1e0 AS d, u, n, f FROM t"}
    world.run({"m-query": {**query, "target_table": "b.q"}})
    assert repr(world.target_rows("q", columns)) == repr(world.source_rows("t", columns))


def test_unrenderable_rows_go_through_python(world: Pair) -> None:
    """An ENUM's error value and a JSON number that text cannot keep: the copy goes on in Python and is exact."""
    mode = "SET sql_mode=''"
    json = "JSON_OBJECT('p', CAST('1.50' AS DECIMAL(5,2)), 'a', JSON_ARRAY(12345678901234567890.123), 'k\"\\'', 1.10)"
    world.on_source(
        mode,
        "CREATE TABLE t (id INT PRIMARY KEY, e ENUM('a','') NOT NULL, f ENUM('a'), s VARCHAR(9), j JSON)"
        " CHARACTER SET utf8mb4",
        f"INSERT INTO t VALUES (1, 'a', 'a', 'x', '{{}}'), (2, 0, 0, 'x', {json}), (3, '', 'nope', NULL, NULL)",
    )
    world.run("t")
    columns = "id, e, e + 0, f, f + 0, s, HEX(CAST(j AS CHAR))"
    world.assert_same("t", columns=columns)
    world.on_source(mode, f"INSERT INTO t VALUES (4, 0, 'a', 'y', {json})", "UPDATE t SET e = 0, f = 0 WHERE id = 1")
    world.run("t")
    world.assert_same("t", columns=columns)
    world.on_target("CREATE TABLE words (id INT PRIMARY KEY, e VARCHAR(9), f VARCHAR(9))")
    columns = {"id": {"column": "id", "primary_key": True}, "e": "e", "f": "f"}  # type: ignore[assignment]
    world.run({"m-words": {"source_table": "a.t", "target_table": "b.words", "column_mapping": columns}})
    world.assert_same("t", "words", columns="id, CAST(e AS CHAR), CAST(f AS CHAR)")


def test_an_enum_error_value_lets_nothing_else_pass(world: Pair) -> None:
    """Of a row with an ENUM's error value, another value that the target cannot hold is refused as ever."""
    world.on_source(
        "SET sql_mode=''",
        "CREATE TABLE t (id INT PRIMARY KEY, e ENUM('a'), s VARCHAR(9))",
        "INSERT INTO t VALUES (1, 0, 'too long')",
    )
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY, e ENUM('a'), s VARCHAR(3))")
    error = world.error("t")
    assert "error value" in error.message
    assert world.target_rows("t") == []
