"""Whole tables decoded from a real server's log: settings, NULLs, generated columns, documents, descriptions."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from decode_log import MODE, ROWS, TABLE_MAP, Change, Log, cell_of, decode_rows_event, kind_of, printed, same
from server_farm import Servers
from servers import Server

from myrepetl_dagster.core.binlog.partial_rows import Absent
from myrepetl_dagster.core.binlog.row_images import Decoder, compile_decoder
from myrepetl_dagster.core.binlog.table_map import overlay, parse_table_map
from myrepetl_dagster.core.model.errors import UnsupportedEvent
from myrepetl_dagster.core.model.tables import Column
from myrepetl_dagster.core.values.collations import charset_of

pytestmark = pytest.mark.versions


def prepare(server: Server, *sql: str) -> None:
    server.execute("CREATE DATABASE IF NOT EXISTS types", "USE types", "DROP TABLE IF EXISTS t", MODE, *sql)


def run(server: Server, *sql: str) -> None:
    server.execute(MODE, "USE types", *sql)


def test_every_collation_id_has_its_charset(source_server: Server) -> None:
    """All ids of both flavours, from the servers' own list."""
    every = source_server.flavour == "mysql" or source_server.version == "10.5"  # newer ones have some without a set
    table = "collations" if every else "collation_character_set_applicability"
    rows = source_server.execute(f"SELECT id, character_set_name FROM information_schema.{table}")
    assert len(rows) > 200
    described = {number: "utf8mb3" if charset == "utf8" else charset for number, charset in rows}
    assert {number: charset_of(number) for number, _ in rows} == described


def test_generated_and_invisible_columns_are_in_every_image(source_server: Server) -> None:
    """Virtual, stored and invisible columns come with their values; a functional index adds none."""
    index = ", KEY k ((b + 1))" if source_server.flavour == "mysql" else ""
    columns = "id INT PRIMARY KEY, b INT, v INT AS (b * 2) VIRTUAL, s INT AS (b * 3) STORED, i INT INVISIBLE DEFAULT 7"
    prepare(source_server, f"CREATE TABLE t ({columns}{index})")
    log = Log(source_server)
    run(source_server, "INSERT INTO t (id, b) VALUES (1, 2)", "UPDATE t SET b = 3", "DELETE FROM t")
    before: tuple[int, ...] = (1, 2, 4, 6, 7)
    after: tuple[int, ...] = (1, 3, 6, 9, 7)
    logged = log.changes()
    assert [column.name for column in log.tables[0].columns] == ["id", "b", "v", "s", "i"]
    if source_server.version == "11.8":  # leaves out what is computed, but for inserts
        before, after = (1, 2, 7), (1, 3, 7)
    assert logged[1:] == [(before, after), (after, None)]
    assert logged[0] == (None, (1, 2, 4, 6, 7))
    assert log.tables[0].complete


@pytest.mark.parametrize(
    "kind",
    [
        "YEAR", "BIT(9)", "ENUM('a')", "SET('a')", "DATE", "TIME(3)", "DATETIME", "TIMESTAMP NULL", "CHAR(3)",
        "VARBINARY(3)", "TEXT", "JSON", "POINT", "DECIMAL(5,2)", "FLOAT", "DOUBLE UNSIGNED", "BOOLEAN", "BIGINT",
    ],
)  # fmt: skip
def test_signs_after_a_column_of_any_type(source_server: Server, kind: str) -> None:
    """Which columns the log gives a bit of signedness: those after one of any type are as signed as they are."""
    numbers = "d INT, c TINYINT UNSIGNED, e BIGINT, f SMALLINT UNSIGNED, g MEDIUMINT"
    prepare(source_server, f"CREATE TABLE t (id INT PRIMARY KEY, x {kind}, {numbers})")
    log = Log(source_server)
    run(source_server, "INSERT INTO t VALUES (1, NULL, -1, 240, -2, 65535, -3)")
    assert log.changes() == [(None, (1, None, -1, 240, -2, 65535, -3))]


@pytest.mark.parametrize("image", ["MINIMAL", "NOBLOB"])
def test_partial_row_images(source_server: Server, image: str) -> None:
    """A session's own binlog_row_image is seen at the event: a mark stands in the place of what is not in the log."""
    prepare(source_server, "CREATE TABLE t (id INT PRIMARY KEY, b INT, c BLOB)", "INSERT INTO t VALUES (1, 2, 'x')")
    log = Log(source_server)
    run(source_server, f"SET binlog_row_image={image}", "UPDATE t SET b = 3", "UPDATE t SET c = 'y'", "DELETE FROM t")
    none = Absent.NO_CELL
    expected: list[Any]
    if image == "MINIMAL":
        expected = [((1, none, none), (none, 3, none)), ((1, none, none), (none, none, b"y")), ((1,), None)]
    else:
        expected = [((1, 2), (1, 3)), ((1, 3, none), (1, 3, b"y")), ((1, 3), None)]
    assert log.changes() == expected


def test_partial_json_updates(servers: Servers) -> None:
    """Differences become the document that the server prints; where the document is in no image, a mark says so."""
    server = servers.get("source", "mysql")
    prepare(server, "CREATE TABLE t (id INT PRIMARY KEY, v INT, j JSON, k JSON)", f"INSERT INTO t VALUES {DOCUMENTS}")
    log = Log(server)
    session = "SET binlog_row_value_options=PARTIAL_JSON"
    rng = random.Random(11)
    expected = []
    for change in (*JSON_CHANGES, *(random_json_change(rng) for _ in range(300))):
        run(server, session, f"UPDATE t SET v = v + 1, {change}")
        (row,) = printed(server, "SELECT j, k FROM types.t")
        expected.append(row)
    found = log.changes()
    assert [after and after[2:] for _, after in found] == expected
    assert sum(kind == 39 for kind, _ in Log.events(log)) > 200
    run(server, "DELETE FROM t", f"INSERT INTO t VALUES {DOCUMENTS}")
    log = Log(server)
    run(server, session, "SET binlog_row_image=MINIMAL", "UPDATE t SET v = 5", "UPDATE t SET j = JSON_SET(j, '$.a', 9)")
    afters = [after for _, after in log.changes()]
    assert afters == [
        (Absent.NO_CELL, 5, *[Absent.NO_CELL] * 2),
        (*[Absent.NO_CELL] * 2, Absent.CHANGED, Absent.NO_CELL),
    ]


def random_json_change(rng: random.Random) -> str:
    legs = [".a", ".b", ".c", "[0]", "[1]", "[7]", '."x y"', "[last]"]
    pairs = []
    for _ in range(rng.randint(1, 3)):
        path = "$" + "".join(rng.choice(legs) for _ in range(rng.randint(1, 3)))
        value = rng.choice(
            ["1", "'text'", "NULL", "1.25", "true", "CAST('{\"a\": [1, 2]}' AS JSON)", "JSON_ARRAY(1, 'é')"]
        )
        pairs.append((path, value))
    name = rng.choice("jk")
    how = rng.choice(["JSON_SET", "JSON_SET", "JSON_REPLACE", "JSON_REMOVE"])
    if how == "JSON_REMOVE":
        return f"{name} = JSON_REMOVE({name}, {', '.join(repr(path) for path, _ in pairs)})"
    return f"{name} = {how}({name}, {', '.join(f'{path!r}, {value}' for path, value in pairs)})"


DOCUMENTS = """(1, 1, '{"a": 1, "b": "long long long long", "c": [1, 2, {"d\\\\"é": 1.50}], "é": null}', '["long long long long"]')"""
JSON_CHANGES = [
    "j = JSON_SET(j, '$.a', 2)",
    "j = JSON_SET(j, '$.b', 'it''s \"é\" \\\\ now', '$.a', 1e3)",
    "j = JSON_REMOVE(j, '$.c[0]')",
    "k = JSON_SET(k, '$[0]', CAST('[1, {\"x\": true}]' AS JSON)), j = JSON_REPLACE(j, '$.\"é\"', 'no')",
    """j = JSON_SET(j, '$.c[1]."d\\\\"é"', CAST(1.5 AS DECIMAL(5,2)))""",
    "j = JSON_REMOVE(j, '$.b', '$.a')",
    "j = JSON_SET(j, '$.zz', 'new', '$.y', CAST('2020-01-01' AS DATE))",
    "j = JSON_ARRAY_INSERT(j, '$.c[0]', 'first'), k = JSON_ARRAY_APPEND(k, '$', 18446744073709551615)",
    "j = j",
    "j = JSON_SET(j, '$.c[9]', -0.5, '$.c[0]', 'f')",
]


PLAIN = (
    "id INT UNSIGNED PRIMARY KEY, a TINYINT UNSIGNED, b VARCHAR(20) CHARACTER SET latin1,"
    " c ENUM('é','b') CHARACTER SET latin1,"
    " d SET('x','y'), e BINARY(4), f DECIMAL(10,2), g TIME(2), h BIT(9), i MEDIUMTEXT CHARACTER SET utf8mb4"
)
DESCRIBED = [
    Column("id", "int", "int unsigned", unsigned=True),
    Column("a", "tinyint", "tinyint unsigned", unsigned=True),
    Column("b", "varchar", "varchar(20)", charset="latin1"),
    Column("c", "enum", "enum('é','b')", charset="latin1", members=("é".encode("latin-1"), b"b")),
    Column("d", "set", "set('x','y')", charset="latin1", members=(b"x", b"y")),
    Column("e", "binary", "binary(4)"),
    Column("f", "decimal", "decimal(10,2)"),
    Column("g", "time", "time(2)"),
    Column("h", "bit", "bit(9)"),
    Column("i", "mediumtext", "mediumtext", charset="utf8mb4"),
]


def test_metadata_that_is_not_full_needs_a_description(source_server: Server) -> None:
    """Without one the table is refused; with one the cells are those of FULL metadata."""
    row = "(4294967295, 200, 'é', 'é', 'y,x', 'a', -1.5, '-00:00:00.25', 511, '漢')"
    prepare(source_server, f"CREATE TABLE t ({PLAIN})")
    least = "MINIMAL" if source_server.flavour == "mysql" else "NO_LOG"
    log = Log(source_server, lambda table: overlay(table, DESCRIBED))
    source_server.execute(f"SET GLOBAL binlog_row_metadata={least}")
    try:
        run(source_server, f"INSERT INTO t VALUES {row}")
    finally:
        source_server.execute("SET GLOBAL binlog_row_metadata=FULL")
    expected = (4294967295, 200, b"\xe9", b"\xe9", b"x,y", b"a\0\0\0", "-1.50", "-00:00:00.25", 511, "漢".encode())
    assert log.changes() == [(None, expected)]
    assert log.tables[0].complete
    log.describe = lambda table: table
    with pytest.raises(UnsupportedEvent, match="binlog_row_metadata"):
        log.changes()


def test_old_temporal_format_is_decoded_or_refused(servers: Servers) -> None:
    """Its fraction digits are never logged: a description must say that there are none."""
    server = servers.get("source", "mariadb")
    columns = ("a TIME, b DATETIME, c TIMESTAMP NULL", "a TIME(3), b DATETIME, c TIMESTAMP NULL")
    for digits, definition in enumerate(columns):
        server.execute("SET GLOBAL mysql56_temporal_format=0")
        prepare(server, f"CREATE TABLE t (id INT PRIMARY KEY, {definition})")
        server.execute("SET GLOBAL mysql56_temporal_format=1")
        kinds = [("id", "int"), ("a", "time(3)" if digits else "time"), ("b", "datetime"), ("c", "timestamp")]
        described = [Column(name, kind.split("(")[0], kind) for name, kind in kinds]
        log = Log(server, partial(overlay, columns=described))
        run(server, "INSERT INTO t VALUES (1, '-838:59:58', '2020-00-31 23:59:58', '2024-02-29 01:02:03')")
        if digits:
            with pytest.raises(UnsupportedEvent, match="mysql56_temporal_format"):
                log.changes()
        else:
            assert log.changes() == [(None, (1, "-838:59:58", "2020-00-31 23:59:58", "2024-02-29 01:02:03"))]
        log.describe = lambda table: table
        with pytest.raises(UnsupportedEvent, match="fraction digits"):
            log.changes()


MANY: list[tuple[str, Callable[[random.Random], str]]] = [
    ("BIGINT", lambda r: str(r.randrange(-(1 << 63), 1 << 63))),
    ("MEDIUMINT UNSIGNED", lambda r: str(r.randrange(1 << 24))),
    ("DECIMAL(38,11)", lambda r: f"{r.randrange(-(10**37), 10**37)}e-11"),
    ("DECIMAL(12,4)", lambda r: f"{r.randrange(-(10**12), 10**12)}e-4"),
    (
        "DATETIME(6)",
        lambda r: f"'{r.randrange(1000, 9999)}-{r.randrange(13)}-{r.randrange(32)} 1:2:{r.random() * 59:f}'",
    ),
    ("TIME(4)", lambda r: f"SEC_TO_TIME({r.randrange(-3020399, 3020399)}.{r.randrange(10000)})"),
    ("TIMESTAMP(3) NULL", lambda r: f"FROM_UNIXTIME({r.randrange(1, (1 << 31) - 1)}.{r.randrange(1000):03d})"),
    ("VARCHAR(300) CHARACTER SET utf8mb4", lambda r: f"REPEAT('é', {r.randrange(300)})"),
    ("DOUBLE", lambda r: repr(r.uniform(-1, 1) * 10.0 ** r.randrange(-300, 300))),
    ("MEDIUMBLOB", lambda r: f"x'{r.randbytes(r.randrange(300)).hex()}'"),
    ("BIT(20)", lambda r: str(r.randrange(1 << 20))),
    ("SET('a','b','c','d','e','f','g','h','i')", lambda r: str(r.randrange(1 << 9))),
    ("CHAR(20) CHARACTER SET utf8mb4", lambda r: f"'{r.choice('aé漢😀 ') * r.randrange(20)}'"),
    ("DATE", lambda r: f"'{r.randrange(10000):04d}-{r.randrange(13)}-{r.randrange(32)}'"),
]


@pytest.mark.parametrize("nulls", [0.0, 0.1, 0.5])
def test_many_rows_with_any_nulls(source_server: Server, nulls: float) -> None:
    """Each function that the decoder chooses, for rows of one pattern of NULLs and for all others, agrees."""
    rng = random.Random(nulls)
    columns = [MANY[n % len(MANY)] for n in range(30)]
    definition = ", ".join(f"c{n} {kind}" for n, (kind, _) in enumerate(columns))
    prepare(source_server, f"CREATE TABLE t (id INT PRIMARY KEY, {definition})")
    log = Log(source_server)
    for start in range(0, 600, 100):
        rows = [",".join("NULL" if rng.random() < nulls else make(rng) for _, make in columns) for _ in range(100)]
        run(
            source_server,
            "INSERT IGNORE INTO t VALUES " + ",".join(f"({start + n},{row})" for n, row in enumerate(rows)),
        )
    shown = printed(source_server, "SELECT * FROM types.t ORDER BY id")
    changes = log.changes()
    assert len(changes) == len(shown) == 600
    kinds = ["int", *(kind_of(kind) for kind, _ in columns)]
    for (_, row), texts in zip(changes, shown, strict=True):
        assert row is not None
        for cell, kind, text in zip(row, kinds, texts, strict=True):
            assert same(cell, cell_of(kind, text)), f"{kind}: {cell!r} != {text!r}"


def document(rng: random.Random, depth: int) -> Any:
    """A random JSON value with strings, numbers and keys of all lengths and forms."""
    pick = rng.randrange(9 if depth else 7)
    if pick == 0:
        return rng.choice([None, True, False])
    if pick == 1:
        return rng.randrange(-(1 << 63), 1 << 64) >> rng.randrange(64)
    if pick == 2:
        return rng.choice(
            [rng.random(), rng.uniform(-1, 1) * 10.0 ** rng.randrange(-320, 308), float(rng.randrange(1000))]
        )
    if pick < 7:
        characters = "ab\"\\/\b\f\n\r\t\0\x01\x1f\x7fé漢😀%{}' "
        return "".join(rng.choices(characters, k=rng.choice([0, 1, 5, 30, 200])))
    size = rng.choice([0, 1, 3, 8, 70])
    if pick == 7:
        return [document(rng, depth - 1) for _ in range(size)]
    return {str(document(rng, 0)): document(rng, depth - 1) for _ in range(size)}


def test_random_json_documents(servers: Servers) -> None:
    """Thousands of random documents, some beyond 64 KiB, print as the server prints them."""
    server = servers.get("source", "mysql")
    prepare(server, "CREATE TABLE t (id INT PRIMARY KEY, j JSON)")
    log = Log(server)
    rng = random.Random(5)
    documents = [json.dumps(document(rng, 4), ensure_ascii=False) for _ in range(1500)]
    documents += [json.dumps([document(rng, 1) for _ in range(3000)]) for _ in range(3)]
    documents.append(json.dumps({f"k{n}": [n << 20, -n << 12, "v" * 20, {}, n << 40] for n in range(3000)}))
    documents.append(json.dumps({f"k{n}": -n << 12 for n in range(9000)} | {f"u{n}": n << 18 for n in range(9000)}))
    with contextlib.closing(server.connect(database="types")) as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO t VALUES (%s, %s)", list(enumerate(documents)))
    shown = printed(server, "SELECT id, j FROM types.t ORDER BY id")
    changes = log.changes()
    assert len(changes) == len(shown) == len(documents)
    assert max(len(text or b"") for _, text in shown) > 200_000
    for (_, row), (_, text) in zip(changes, shown, strict=True):
        assert row is not None
        assert row[1] == text


def test_json_after_partial_updates_in_the_engine(servers: Servers) -> None:
    """A document that was changed in place, with holes in it, prints as the server prints it."""
    server = servers.get("source", "mysql")
    prepare(server, "CREATE TABLE t (id INT PRIMARY KEY, j JSON)")
    value = json.dumps({"a": "x" * 50, "b": [1, 2, {"c": "y" * 30}], "%s": 1.5, "d": None})
    run(server, f"INSERT INTO t VALUES (1, '{value}')")
    log = Log(server)
    steps = (
        "JSON_SET(j, '$.a', 'short')",
        "JSON_REMOVE(j, '$.b[0]')",
        "JSON_REMOVE(j, '$.d')",
        "JSON_REPLACE(j, '$.\"%s\"', 7)",
    )
    shown = []
    for step in steps:
        run(server, f"UPDATE t SET j = {step}")
        shown.append(printed(server, "SELECT j FROM types.t")[0][0])
    assert [after[1] for _, after in log.changes() if after] == shown


def test_unwanted_columns_are_skipped(source_server: Server) -> None:
    """They come as None, and cannot stop the decoding of the others."""
    prepare(source_server, f"CREATE TABLE t ({PLAIN})")
    log = Log(source_server)
    rows = ",".join(f"({n}, 200, 'b', 'b', 'x', 'a', 1, '1:2:3', 5, REPEAT('z', {n}))" for n in range(100))
    run(source_server, f"INSERT INTO t VALUES {rows}", "INSERT INTO t (id) VALUES (100)")
    decoders: dict[int, Decoder] = {}
    changes: list[Change] = []
    for kind, body in log.events():
        if kind == TABLE_MAP:
            number, table = parse_table_map(body)
            decoders[number] = compile_decoder(table, frozenset({0, 9}))
        elif kind in ROWS:
            changes += decode_rows_event(body, kind, decoders.__getitem__)
    empty = (None,) * 8
    assert changes == [*((None, (n, *empty, b"z" * n)) for n in range(100)), (None, (100, *empty, None))]
