"""Column types with edge values as SQL, for every flavour and for each alone."""

from __future__ import annotations

from collections.abc import Sequence

from servers import Flavour


def integers(bits: int) -> list[str]:
    top = 1 << bits - 1
    return [str(n) for n in (0, 1, -1, 127, top - 1, -top, -top + 1, top // 3, -top // 3)]


def naturals(bits: int) -> list[str]:
    return [str(n) for n in (0, 1, (1 << bits) - 1, 1 << bits - 1, (1 << bits - 1) - 1)]


def quoted(*values: str) -> list[str]:
    return [f"'{value}'" for value in values]


DATES = quoted(
    "0000-00-00",
    "2020-00-00",
    "2020-12-00",
    "0000-01-01",
    "2021-02-31",
    "1000-01-01",
    "9999-12-31",
    "2024-02-29",
)
TIMES = quoted(
    "00:00:00", "-00:00:01", "00:00:00.000001", "-00:00:00.000001", "-00:00:00.01", "-00:00:00.5", "-1:00:00.25",
    "838:59:59", "-838:59:59", "12:34:56.789012", "-12:34:56.789012", "-00:59:59.999999", "100:00:00.1",
)  # fmt: skip
MOMENTS = quoted(
    "0000-00-00 00:00:00", "2020-00-00 01:02:03", "2021-02-31 23:59:59.999999", "1000-01-01 00:00:00",
    "9999-12-31 23:59:59", "2024-02-29 12:34:56.789012", "0000-01-01 00:00:00.000001", "0001-01-01 00:00:00.1",
)  # fmt: skip
STAMPS = quoted(
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


def set_of(members: int) -> str:
    return f"SET({','.join(repr(f's{n}') for n in range(members))})"


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
    *((f"BIT({n})", ["0", "1", str((1 << n) - 1), str(1 << n - 1)]) for n in (1, 7, 8, 9, 16, 31, 33, 63, 64)),
    ("DATE", DATES),
    *((f"TIME({n})", TIMES) for n in range(7)),
    *((f"DATETIME({n})", MOMENTS) for n in range(7)),
    *((f"TIMESTAMP({n}) NULL", STAMPS) for n in range(7)),
    ("CHAR(0)", ["''"]),
    ("CHAR(63) CHARACTER SET utf8mb4", CHARS),
    ("CHAR(64) CHARACTER SET utf8mb4", CHARS),
    ("CHAR(255) CHARACTER SET utf8mb4", [*CHARS, "REPEAT('é', 255)", "REPEAT('😀', 255)"]),
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
    ("ENUM('é','b') CHARACTER SET binary", ["'é'", "'b'", "0"]),
    ("SET('é','b') CHARACTER SET binary", ["''", "'b'", "'é,b'"]),
    ("SET('a','b','c')", ["''", "'a'", "'c,a'", "'a,b,c'"]),
    ("SET('é','ü') CHARACTER SET latin1", ["''", "'ü,é'"]),
    ("SET('Ω','b') CHARACTER SET utf16", ["''", "'b,Ω'"]),
    *((set_of(n), ["0", "1", str((1 << n) - 1), str(1 << n - 1)]) for n in (8, 9, 17, 25, 33, 64)),
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
    ("INET6", quoted("::", "::1", "2001:db8::ff00:42:8329", "::ffff:192.0.2.1", "1:0:0:2:0:0:0:3", "::1.2.3.4")),
    ("INET6", quoted("1:0:2:3:4:5:6:7", "::1:0", "fe80::", "0:0:1::", "ff00:1:2:3:4:5:6:0")),
    ("YEAR(2)", ["2001", "1901", "'0000'", "2000", "2155", "1970", "2069", "1969", "1999", "2099"]),
    ("INET4", ["'0.0.0.0'", "'255.255.255.255'", "'10.0.0.0'"]),
    ("VARCHAR(254) COMPRESSED CHARACTER SET latin1", ["''", "'a'", "REPEAT('ab', 127)"]),
    ("VARCHAR(255) COMPRESSED CHARACTER SET latin1", ["''", "'a'", "REPEAT('ab', 127)"]),
    ("VARCHAR(256) COMPRESSED CHARACTER SET latin1", ["''", "'a'", "REPEAT('ab', 128)"]),
    ("VARBINARY(5000) COMPRESSED", ["''", "0x00", "REPEAT(0x00, 5000)"]),
    ("TINYTEXT COMPRESSED", ["''", "'a'", "REPEAT('ab', 100)"]),
    ("TEXT COMPRESSED CHARACTER SET utf8mb4", ["''", "REPEAT('é', 3000)", "'é'"]),
    ("LONGBLOB COMPRESSED", ["''", "REPEAT(0x00FF, 40000)", "0x00"]),
    ("VARCHAR(63) COLLATE utf8mb4_uca1400_ai_ci", CHARS),
    ("VARCHAR(63) CHARACTER SET latin1 COLLATE latin1_swedish_nopad_ci", LATIN[:3]),
]  # fmt: skip
# Types and collations that came with a version of MariaDB.
_SINCE = {"UUID": (10, 7), "INET4": (10, 10), "uca1400": (10, 10), "VECTOR": (11, 7), "to 2106": (11, 5)}
_NEWER: list[tuple[str, Sequence[str]]] = [
    ("VECTOR(3)", ["VEC_FromText('[1,-2.5,1e10]')", "VEC_FromText('[0,0,0]')"]),
    ("TIMESTAMP(6) /* to 2106 */", ["'2038-01-19 03:14:08.000001'", "'2106-02-07 06:28:15'"]),
]


def own_of(flavour: Flavour, version: str | None = None) -> list[tuple[str, Sequence[str]]]:
    """The types of one flavour that the other does not have. `version`: of MariaDB; None: the machine's own, 10.11."""
    if flavour == "mysql":
        return MYSQL
    return [typed for typed in [*MARIADB, *_NEWER] if offered(typed[0], version)]


def offered(definition: str, version: str | None) -> bool:
    """Whether MariaDB of this version has the type. None: the machine's own, 10.11."""
    numbers = tuple(map(int, (version or "10.11").split(".")))
    return all(numbers >= since for name, since in _SINCE.items() if name in definition)
