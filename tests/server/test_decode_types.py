"""Every type's cells, decoded from a real server's log, beside what that server prints for the same rows."""

from __future__ import annotations

import contextlib
import json
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pymysql
import pytest
from conftest import Servers
from servers import Flavour, Server

from myrepetl_dagster.core.collations import charset_of
from myrepetl_dagster.core.errors import UnsupportedEvent
from myrepetl_dagster.core.model import Cell, Column, Row
from myrepetl_dagster.core.rowimage import Decoder, compile_decoder, decode_rows_event
from myrepetl_dagster.core.tablemap import TableMap, overlay, parse_table_map

COM_BINLOG_DUMP = 0x12
TABLE_MAP = 19
ROWS = {23, 24, 25, 30, 31, 32, 39}
MODE = "SET sql_mode='ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION', time_zone='+00:00'"

Change = tuple[Row | None, Row | None]


class Log:
    """A server's log from where it stood when this was made; rows come decoded."""

    def __init__(self, server: Server, describe: Callable[[TableMap], TableMap] = lambda table: table) -> None:
        self.server = server
        self.describe = describe
        self.tables: list[TableMap] = []
        show = "SHOW BINARY LOG STATUS" if server.flavour == "mysql" else "SHOW MASTER STATUS"
        self.file, self.position = server.execute(show)[0][:2]

    def events(self) -> Iterator[tuple[int, bytes]]:
        """(type, bytes between header and checksum) of each event up to the end of the log."""
        with contextlib.closing(self.server.connect()) as connection:
            with connection.cursor() as cursor:
                cursor.execute("SET @master_binlog_checksum='CRC32', @source_binlog_checksum='CRC32'")
                cursor.execute("SET @mariadb_slave_capability=4")
            arguments = struct.pack("<IHI", self.position, 1, random.randrange(1 << 20, 1 << 31))
            connection._execute_command(COM_BINLOG_DUMP, arguments + self.file.encode())  # type: ignore[no-untyped-call]
            while not (packet := connection._read_packet()).is_eof_packet():
                data = packet.get_all_data()[1:]
                yield data[4], data[19:-4]

    def changes(self) -> list[Change]:
        decoders: dict[int, Decoder] = {}
        changes: list[Change] = []
        for kind, body in self.events():
            if kind == TABLE_MAP:
                table_id, table = parse_table_map(body)
                table = self.describe(table)
                self.tables.append(table)
                decoders[table_id] = compile_decoder(table)
            elif kind in ROWS:
                changes += decode_rows_event(body, kind, decoders.__getitem__)
        return changes


def printed(server: Server, sql: str) -> list[tuple[bytes | None, ...]]:
    """The rows of a query as the server prints them, in each column's own character set."""
    connection = server.connect(conv={0: None}, use_unicode=False, database="types")
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("SET character_set_results=NULL, time_zone='+00:00'")
        cursor.execute(sql)
        return list(cursor.fetchall())


def cell_of(kind: str, text: bytes | None) -> Cell:
    """A printed value in the form that `model.py` gives its type."""
    if text is None:
        return None
    if kind == "bit":
        return int.from_bytes(text, "big")
    if kind in ("tinyint", "smallint", "mediumint", "int", "bigint", "year"):
        return int(text)
    if kind in ("float", "double"):
        return float(text)
    return text.decode("ascii") if kind in ("decimal", "date", "time", "datetime", "timestamp") else text


def same(left: Cell, right: Cell) -> bool:
    """Equal in type and value; 0.0 is not -0.0."""
    return type(left) is type(right) and repr(left) == repr(right)


def integers(bits: int) -> list[str]:
    top = 1 << bits - 1
    return [str(n) for n in (0, 1, -1, 127, top - 1, -top, -top + 1, top // 3, -top // 3)]


def naturals(bits: int) -> list[str]:
    return [str(n) for n in (0, 1, (1 << bits) - 1, 1 << bits - 1, (1 << bits - 1) - 1)]


def fractions(*values: str) -> list[str]:
    return [f"'{value}'" for value in values]


DATES = fractions(
    "0000-00-00",
    "2020-00-00",
    "2020-12-00",
    "0000-01-01",
    "2021-02-31",
    "1000-01-01",
    "9999-12-31",
    "2024-02-29",
)
TIMES = fractions(
    "00:00:00", "-00:00:01", "00:00:00.000001", "-00:00:00.000001", "-00:00:00.01", "-00:00:00.5", "-1:00:00.25",
    "838:59:59", "-838:59:59", "12:34:56.789012", "-12:34:56.789012", "-00:59:59.999999", "100:00:00.1",
)  # fmt: skip
MOMENTS = fractions(
    "0000-00-00 00:00:00", "2020-00-00 01:02:03", "2021-02-31 23:59:59.999999", "1000-01-01 00:00:00",
    "9999-12-31 23:59:59", "2024-02-29 12:34:56.789012", "0000-01-01 00:00:00.000001", "0001-01-01 00:00:00.1",
)  # fmt: skip
STAMPS = fractions(
    "0000-00-00 00:00:00", "1970-01-01 00:00:01", "1970-01-01 23:59:59.999999", "2001-09-09 01:46:40.123456",
    "2038-01-19 03:14:07", "2024-02-29 12:34:56.000001", "2024-12-31 23:59:59.9",
)  # fmt: skip
FLOATS = [
    "0",
    "-0e0",
    "1",
    "-1.5",
    "0.1",
    "3.4028234e38",
    "-3.4028234e38",
    "1.17549435e-38",
    "1e-45",
    "16777217",
]
DOUBLES = [
    "0",
    "-0e0",
    "1",
    "-1.5",
    "0.1",
    "1.7976931348623157e308",
    "5e-324",
    "2.2250738585072014e-308",
    "1e15",
    "123456789012345678",
]
TEXTS = [
    "''",
    "' '",
    "'a '",
    "'a\\tb\\0c '",
    "'\\''",
    "'é'",
    "'Ωж漢字'",
    "'😀'",
    "REPEAT('x', 255)",
    "REPEAT('ÿ', 256)",
]
LATIN = ["''", "'a '", "'é€'", "REPEAT('ü', 250)"]
BYTES = ["''", "0x00", "0x0001", "0x616200", "0x202000", "0xFF20", "REPEAT(0x00, 16)", "0x8D0A5C27"]
CHARS = ["''", "'a'", "'a '", "'😀'", "REPEAT('é', 60)", "'  b'"]
BIG = ["''", "REPEAT('a', 255)", "REPEAT('b', 256)", "REPEAT('c', 65535)", "REPEAT('d', 65536)", "0x00FF"]

ANY: list[tuple[str, Sequence[str]]] = [
    ("TINYINT", integers(8)),
    ("SMALLINT", integers(16)),
    ("MEDIUMINT", integers(24)),
    ("INT", integers(32)),
    ("BIGINT", integers(64)),
    ("TINYINT UNSIGNED", naturals(8)),
    ("SMALLINT UNSIGNED", naturals(16)),
    ("MEDIUMINT UNSIGNED", naturals(24)),
    ("INT UNSIGNED", naturals(32)),
    ("BIGINT UNSIGNED", naturals(64)),
    ("INT(5) UNSIGNED ZEROFILL", naturals(16)),
    ("BOOLEAN", ["TRUE", "FALSE"]),
    ("YEAR", ["0", "1901", "2155", "2024", "'00'"]),
    ("DECIMAL(1,0)", ["0", "9", "-9"]),
    ("DECIMAL(5,5)", ["0", "0.12345", "-0.99999", "0.00001"]),
    ("DECIMAL(9,3)", ["0", "1.5", "-1.005", "999999.999", "-0.001"]),
    ("DECIMAL(10,2)", ["0", "0.5", "-0.5", "12345678.90", "-12345678.09", "99999999.99"]),
    ("DECIMAL(10,2) UNSIGNED", ["0", "0.5", "99999999.99"]),
    ("DECIMAL(18,9)", ["0", "123456789.000000001", "-123456789.987654321", "0.000000001"]),
    ("DECIMAL(20,0)", ["0", "12345678901234567890", "-99999999999999999999", "1000000000", "1000000000000000000"]),
    ("DECIMAL(30,10)", ["0", "-1.0000000001", "12345678901234567890.0123456789"]),
    ("DECIMAL(65,0)", ["0", "9" * 65, "-" + "9" * 65, "1" + "0" * 64]),
    ("DECIMAL(65,30)", ["0", "9" * 35 + "." + "9" * 30, "-" + "1" * 35 + "." + "0" * 29 + "1", "-0." + "0" * 29 + "1"]),
    ("FLOAT", FLOATS),
    ("FLOAT UNSIGNED", ["0", "0.1", "3.4028234e38"]),
    ("FLOAT(7,2)", ["0", "12345.67", "-0.1"]),
    ("DOUBLE", DOUBLES),
    ("DOUBLE(10,3)", ["0", "1234567.891", "-0.1"]),
    *((f"BIT({n})", ["0", "1", f"(1 << {n}) - 1" if n < 64 else "~0", str(1 << n - 1)]) for n in (1, 7, 8, 9, 16, 31, 33, 63, 64)),
    ("DATE", DATES),
    *((f"TIME({n})", TIMES) for n in range(7)),
    *((f"DATETIME({n})", MOMENTS) for n in range(7)),
    *((f"TIMESTAMP({n}) NULL", STAMPS) for n in range(7)),
    ("CHAR(0)", ["''"]),
    ("CHAR(63) CHARACTER SET utf8mb4", CHARS),
    ("CHAR(64) CHARACTER SET utf8mb4", CHARS),
    ("CHAR(255) CHARACTER SET utf8mb4", CHARS + ["REPEAT('é', 255)", "REPEAT('😀', 255)"]),
    ("CHAR(255) CHARACTER SET latin1", LATIN),
    ("CHAR(9) CHARACTER SET utf16", ["''", "'a '", "'Ω'", "'😀'"]),
    ("CHAR(9) CHARACTER SET utf16le", ["''", "'a '", "'Ω'", "'😀'"]),
    ("CHAR(9) CHARACTER SET ucs2", ["''", "'a '", "'Ω'"]),
    ("CHAR(9) CHARACTER SET utf32", ["''", "'a '", "'Ω'", "'😀'"]),
    ("BINARY(16)", BYTES),
    ("BINARY(255)", BYTES),
    ("VARBINARY(16)", BYTES),
    ("VARBINARY(300)", BYTES),
    ("VARCHAR(255) CHARACTER SET latin1", LATIN),
    ("VARCHAR(256) CHARACTER SET latin1", LATIN),
    ("VARCHAR(63) CHARACTER SET utf8mb4", CHARS),
    ("VARCHAR(300) CHARACTER SET utf8mb4", TEXTS),
    ("VARCHAR(63) CHARACTER SET cp1251", ["''", "'жук'", "'a '"]),
    ("VARCHAR(63) CHARACTER SET sjis", ["''", "'漢字 ソ'", "'a '"]),
    ("VARCHAR(63) CHARACTER SET gbk", ["''", "'漢字'", "'a '"]),
    ("VARCHAR(63) CHARACTER SET utf16", ["''", "'Ω漢😀'", "'a '"]),
    ("VARCHAR(63) CHARACTER SET ascii COLLATE ascii_bin", ["''", "'a '", "'~'"]),
    ("TINYTEXT", ["''", "REPEAT('a', 255)", "'é'"]),
    ("TEXT CHARACTER SET utf8mb4", TEXTS),
    ("MEDIUMTEXT", BIG[:-1]),
    ("LONGTEXT", BIG[:-1]),
    ("TINYBLOB", BYTES),
    ("BLOB", BYTES + BIG[:4]),
    ("MEDIUMBLOB", BIG),
    ("LONGBLOB", BIG),
    ("ENUM('a','B b','')", ["'a'", "'B b'", "''", "0"]),
    ("ENUM('é','漢') CHARACTER SET utf8mb4", ["'é'", "'漢'"]),
    ("ENUM('é','ü') CHARACTER SET latin1", ["'é'", "'ü'"]),
    ("ENUM('Ω','b') CHARACTER SET utf16", ["'Ω'", "'b'"]),
    ("ENUM(" + ",".join(f"'e{n}'" for n in range(300)) + ")", ["'e0'", "'e255'", "'e299'"]),
    ("SET('a','b','c')", ["''", "'a'", "'c,a'", "'a,b,c'"]),
    ("SET('é','ü') CHARACTER SET latin1", ["''", "'ü,é'"]),
    ("SET('Ω','b') CHARACTER SET utf16", ["''", "'b,Ω'"]),
    *((f"SET({','.join(repr(f's{i}') for i in range(n))})", ["0", "1", f"{(1 << n) - 1}", f"{1 << n - 1}"]) for n in (8, 9, 17, 25, 33, 64)),
    ("GEOMETRY", ["ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('LINESTRING(0 0,1 1)', 4326)"]),
    ("POINT", ["POINT(1, -2.5)"]),
    ("GEOMETRYCOLLECTION", ["ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1))')"]),
]  # fmt: skip
JSON_TEXTS = [
    "'null'", "'true'", "'0'", "'-1'", "'32767'", "'-32768'", "'65535'", "'2147483648'", "'-2147483649'",
    "'18446744073709551615'", "'1.0'", "'-0.0'", "'1e20'", "'0.1'", "'[]'", "'{}'", "'\"\"'",
    "'{\"b\": 1, \"a\": [1, -2, null, {\"k\": \"v\"}], \"long key\": 1.5}'",
    "'\"a\\\\\"b\\\\\\\\c\\\\n\\\\t\\\\u0001\\\\u001f\\\\u007f/é😀\"'",
    "CAST(REPEAT('1', 3) AS JSON)", "JSON_ARRAY(REPEAT('x', 127), REPEAT('y', 128), REPEAT('z', 70000))",
    "JSON_OBJECT('d', CAST('1.50' AS DECIMAL(10,2)), 'n', -12345678901234567890.123)",
    "JSON_ARRAY(CAST('-0.001' AS DECIMAL(9,3)), CAST(0 AS DECIMAL(5,0)), CAST('12' AS DECIMAL(65,30)))",
    "JSON_ARRAY(DATE'2024-02-29', TIME'-12:34:56.5', TIMESTAMP'2024-02-29 01:02:03.000004', TIME'838:59:59')",
    "JSON_ARRAY(DATE'0000-00-00', CAST('0000-00-00 00:00:00' AS DATETIME))",
    "JSON_ARRAY(x'00FF10', CAST(REPEAT('q', 100) AS BINARY), b'101', CAST('' AS BINARY))",
    "JSON_ARRAY(CAST('2024' AS YEAR), ST_GeomFromText('POINT(1 2)'))",
]  # fmt: skip
MYSQL: list[tuple[str, Sequence[str]]] = [
    ("JSON", JSON_TEXTS),
    ("VARCHAR(63) CHARACTER SET gb18030", ["''", "'漢字😀'", "'a '"]),
    ("VECTOR(3)", ["TO_VECTOR('[1,-2.5,1e10]')", "TO_VECTOR('[1]')"]),
    ("POINT SRID 4326", ["ST_GeomFromText('POINT(1 2)', 4326)"]),
]
MARIADB: list[tuple[str, Sequence[str]]] = [
    ("JSON", ["'{\"b\": 1,   \"a\":[1.50]}'", "'[]'", "'\"\\\\u00e9\"'"]),
    ("UUID", ["'00000000-0000-0000-0000-000000000000'", "'12334567-8888-9999-aaaa-000000000000'", "UUID()"]),
    ("INET6", ["'::'", "'::1'", "'2001:db8::ff00:42:8329'", "'::ffff:192.0.2.1'", "'1:0:0:2:0:0:0:3'", "'::1.2.3.4'", "'1:0:2:3:4:5:6:7'", "'fe80::'", "'::1:0'", "'0:0:1::'"]),
    ("INET4", ["'0.0.0.0'", "'255.255.255.255'", "'10.0.0.0'"]),
    ("VARCHAR(254) CHARACTER SET latin1 COMPRESSED", ["''", "'a'", "REPEAT('ab', 127)"]),
    ("VARCHAR(255) CHARACTER SET latin1 COMPRESSED", ["''", "'a'", "REPEAT('ab', 127)"]),
    ("VARCHAR(256) CHARACTER SET latin1 COMPRESSED", ["''", "'a'", "REPEAT('ab', 128)"]),
    ("VARBINARY(5000) COMPRESSED", ["''", "0x00", "REPEAT(0x00, 5000)"]),
    ("TINYTEXT COMPRESSED", ["''", "'a'", "REPEAT('ab', 100)"]),
    ("TEXT CHARACTER SET utf8mb4 COMPRESSED", ["''", "REPEAT('é', 3000)", "'é'"]),
    ("LONGBLOB COMPRESSED", ["''", "REPEAT(0x00FF, 40000)", "0x00"]),
    ("VARCHAR(63) COLLATE utf8mb4_uca1400_ai_ci", CHARS),
    ("VARCHAR(63) CHARACTER SET latin1 COLLATE latin1_swedish_nopad_ci", LATIN[:3]),
]  # fmt: skip

PARAMETERS = [
    pytest.param(flavour, definition, values, id=f"{flavour}-{definition[:40]}")
    for flavour, more in (("mysql", MYSQL), ("mariadb", MARIADB))
    for definition, values in [*ANY, *more]
]


def kind_of(definition: str) -> str:
    kind = definition.split("(")[0].split()[0].lower()
    return {"boolean": "tinyint"}.get(kind, kind)


def described(definition: str) -> Callable[[TableMap], TableMap]:
    """Lays the type's name over the table map, as a run does with the columns that it read from the server."""
    columns = [Column("id", "int"), Column("v", kind_of(definition))]
    return lambda table: overlay(table, columns)


@pytest.mark.parametrize(("flavour", "definition", "values"), PARAMETERS)
def test_cells_are_what_the_server_prints(
    servers: Servers, flavour: Flavour, definition: str, values: Sequence[str]
) -> None:
    """Insert event, before image, after image and delete event all hold the printed value."""
    server = servers.get("source", flavour)
    kind = kind_of(definition)
    create = f"CREATE TABLE types.t (id INT PRIMARY KEY, v {definition}) CHARACTER SET utf8mb4"
    server.execute("CREATE DATABASE IF NOT EXISTS types", "DROP TABLE IF EXISTS types.t", MODE, create)
    log = Log(server, described(definition))
    rows = [f"INSERT IGNORE INTO types.t VALUES ({n}, {value})" for n, value in enumerate([*values, "NULL"])]
    server.execute(MODE, *rows)
    # FLOAT prints 6 digits only, DOUBLE(M,D) rounds to D of them: the log has the stored value.
    rounded = kind == "float" or definition.startswith("DOUBLE(")
    column = "CAST(v AS DOUBLE)" if rounded else "v"
    shown = printed(server, f"SELECT id, {column} FROM types.t ORDER BY id")
    server.execute(MODE, "UPDATE types.t SET id = id + 1000 ORDER BY id", "DELETE FROM types.t ORDER BY id")

    changes = log.changes()

    count = len(values) + 1
    assert len(shown) == count
    images = [
        *(after for _, after in changes[:count]),
        *(before for before, _ in changes[count : 2 * count]),
        *(after for _, after in changes[count : 2 * count]),
        *(before for before, _ in changes[2 * count :]),
    ]
    assert len(images) == 4 * count
    for n, image in enumerate(images):
        assert image is not None
        expected = cell_of(kind, shown[n % count][1])
        assert same(image[1], expected), f"{definition} {([*values, 'NULL'])[n % count]}: {image[1]!r} != {expected!r}"


# --- whole tables -----------------------------------------------------------------------------------------


def prepare(server: Server, *sql: str) -> None:
    server.execute("CREATE DATABASE IF NOT EXISTS types", "USE types", "DROP TABLE IF EXISTS t", MODE, *sql)


def run(server: Server, *sql: str) -> None:
    server.execute(MODE, "USE types", *sql)


def test_every_collation_id_has_its_charset(source_server: Server) -> None:
    """All ids of both flavours, from the servers' own list."""
    table = "collations" if source_server.flavour == "mysql" else "collation_character_set_applicability"
    rows = source_server.execute(f"SELECT id, character_set_name FROM information_schema.{table}")
    assert len(rows) > 200
    assert {number: charset_of(number) for number, _ in rows} == dict(rows)


def test_generated_and_invisible_columns_are_in_every_image(source_server: Server) -> None:
    """Virtual, stored and invisible columns come with their values; a functional index adds none."""
    index = ", KEY k ((b + 1))" if source_server.flavour == "mysql" else ""
    columns = "id INT PRIMARY KEY, b INT, v INT AS (b * 2) VIRTUAL, s INT AS (b * 3) STORED, i INT INVISIBLE DEFAULT 7"
    prepare(source_server, f"CREATE TABLE t ({columns}{index})")
    log = Log(source_server)
    run(source_server, "INSERT INTO t (id, b) VALUES (1, 2)", "UPDATE t SET b = 3", "DELETE FROM t")
    before, after = (1, 2, 4, 6, 7), (1, 3, 6, 9, 7)
    assert log.changes() == [(None, before), (before, after), (after, None)]
    assert [column.name for column in log.tables[0].columns] == ["id", "b", "v", "s", "i"]
    assert log.tables[0].primary_key == (0,)
    assert log.tables[0].complete
    if source_server.flavour == "mysql":
        assert [column.visible for column in log.tables[0].columns] == [True] * 4 + [False]


@pytest.mark.parametrize("image", ["MINIMAL", "NOBLOB"])
def test_partial_row_images_are_refused(source_server: Server, image: str) -> None:
    """A session's own binlog_row_image is seen at the event, whatever the server's setting says."""
    prepare(source_server, "CREATE TABLE t (id INT PRIMARY KEY, b INT, c BLOB)")
    log = Log(source_server)
    run(source_server, f"SET binlog_row_image={image}", "INSERT INTO t VALUES (1, 2, 'x')", "UPDATE t SET b = 3")
    with pytest.raises(UnsupportedEvent, match="binlog_row_image"):
        log.changes()


def test_partial_json_updates_are_refused(servers: Servers) -> None:
    """A JSON difference is no value: the setting is named."""
    server = servers.get("source", "mysql")
    prepare(
        server, "CREATE TABLE t (id INT PRIMARY KEY, j JSON)", """INSERT INTO t VALUES (1, '{"a": "long enough"}')"""
    )
    log = Log(server)
    run(server, "SET binlog_row_value_options=PARTIAL_JSON", "UPDATE t SET j = JSON_SET(j, '$.a', 'short')")
    with pytest.raises(UnsupportedEvent, match="binlog_row_value_options"):
        log.changes()


PLAIN = (
    "id INT UNSIGNED PRIMARY KEY, a TINYINT UNSIGNED, b VARCHAR(20) CHARACTER SET latin1, c ENUM('é','b') CHARACTER SET latin1,"
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
        log = Log(server, lambda table, columns=described: overlay(table, columns))  # type: ignore[misc]
        run(server, "INSERT INTO t VALUES (1, '-838:59:58', '2020-00-31 23:59:58', '2024-02-29 01:02:03')")
        if digits:
            with pytest.raises(UnsupportedEvent, match="mysql56_temporal_format"):
                log.changes()
        else:
            assert log.changes() == [(None, (1, "-838:59:58", "2020-00-31 23:59:58", "2024-02-29 01:02:03"))]
        log.describe = lambda table: table
        with pytest.raises(UnsupportedEvent, match="fraction digits"):
            log.changes()


MANY = [
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
]  # type: list[tuple[str, Callable[[random.Random], str]]]


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
