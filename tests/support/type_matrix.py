"""Every column type with its edge values, in few wide tables, and how two servers' bytes are compared."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from decode_log import MODE, kind_of
from pipelines import Pair
from servers import Flavour, Server
from type_values import ANY, BYTES, own_of

from myrepetl_dagster.core.values.column_types import PRINTED_TYPES

Typed = tuple[str, Sequence[str]]

# What `binlog_row_metadata` may be, from the least to all.
METADATA_LEVELS: dict[Flavour, tuple[str, ...]] = {
    "mysql": ("MINIMAL", "FULL"),
    "mariadb": ("NO_LOG", "MINIMAL", "FULL"),
}

ALL_BYTES = "0x" + bytes(range(256)).hex()
HOSTILE_LABELS = "'it''s','\"','\\\\','`','a b','()','漢字','%s','--',';','/*','null','1','0',' x'"
HOSTILE = [
    "'''; DROP TABLE t; --'", "'\\\\'", "'\\\\\\''", "'\\0\\Z\\n\\r\\b\\t'", "'%s %(a)s {x} `'", "'NULL'", "'_binary'",
    "REPEAT('''', 100)", "REPEAT('\\\\', 101)",
]  # fmt: skip

COMMON: list[Typed] = [
    *ANY,
    ("TINYINT(3) UNSIGNED ZEROFILL", ["0", "7", "255"]),
    ("BIGINT ZEROFILL", ["0", "7", "18446744073709551615"]),
    ("DECIMAL(10,2) ZEROFILL", ["0", "0.5", "7", "99999999.99"]),
    ("DECIMAL(65,30) ZEROFILL", ["0", "0.5", "7", "9" * 35 + "." + "9" * 30]),
    ("FLOAT", ["'-0'", "-1.234567e-30"]),
    ("DOUBLE", ["'-0'", "-1.2345678901234567e-100", "-1.2345678901234567e-10", "-1.7976931348623157e308"]),
    ("DOUBLE(53,30)", ["-1.2345678901234567e-10", "'-0'"]),
    ("FLOAT ZEROFILL", ["0", "0.1", "16777217"]),
    ("DOUBLE(10,3) ZEROFILL", ["0", "0.1", "1234567.891"]),
    ("DOUBLE(53,30)", ["0", "0.1", "-1.25e-20", "1e22"]),
    ("FLOAT(53)", ["0.1", "-0e0", "1.7976931348623157e308", "4.9e-324", "-2.2250738585072009e-308"]),
    *((f"BIT({n})", ["0", "1", str((1 << n) - 1), str(1 << n - 1)]) for n in range(1, 65)),
    ("VARCHAR(300) CHARACTER SET utf8mb4", HOSTILE),
    ("VARCHAR(300) CHARACTER SET latin1", HOSTILE),
    ("TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", HOSTILE),
    ("VARBINARY(300)", [ALL_BYTES, *BYTES]),
    ("BLOB", [ALL_BYTES, f"REPEAT({ALL_BYTES}, 200)"]),
    ("BINARY(1)", ["0x00", "0x20", "0x27", "0x5C", "0xFF"]),
    ("BINARY(0)", ["''"]),
    (f"ENUM({HOSTILE_LABELS})", [str(n) for n in range(16)]),
    (f"SET({HOSTILE_LABELS})", [str(1 << n) for n in range(15)] + ["0", "32767"]),
    (f"ENUM({HOSTILE_LABELS}) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", ["0", "14", "7"]),
    ("ENUM('','b')", ["0", "1", "2", "''"]),
    ("ENUM('漢字','ソ表','\\\\') CHARACTER SET sjis", ["0", "1", "2", "3"]),
    ("ENUM('漢字','ソ表') CHARACTER SET cp932", ["0", "1", "2"]),
    ("ENUM('漢字','b') CHARACTER SET gbk", ["0", "1", "2"]),
    ("ENUM('жук','b') CHARACTER SET koi8r", ["0", "1", "2"]),
    ("ENUM('€','b') CHARACTER SET latin1", ["0", "1", "2"]),
    ("SET('漢字','ソ表','b') CHARACTER SET sjis", ["0", "1", "7"]),
    ("SET('Ω','b') CHARACTER SET utf32", ["0", "1", "3"]),
    ("SET('0','1','2')", ["0", "1", "2", "7"]),
    ("MULTIPOLYGON", ["ST_GeomFromText('MULTIPOLYGON(((0 0,0 1,1 1,0 0)))')"]),
    ("POLYGON", ["ST_GeomFromText('POLYGON((0 0,0 1,1 1,0 0))', 4326)"]),
    ("MULTIPOINT", ["ST_GeomFromText('MULTIPOINT(1 1,2 2)', 3857)"]),
    ("LINESTRING", ["ST_GeomFromText('LINESTRING(1 1,2 2.5)')"]),
]  # fmt: skip

# MariaDB's longest TIME has a fraction, MySQL's none.
LONGER_TIMES: list[Typed] = [("TIME(6)", ["'838:59:59.999999'", "'-838:59:59.999999'"])]

# Bytes of a character set that no other one can express, or that look like SQL: kept only if nothing converts.
RAW = {
    "sjis": ["815C", "8160", "835C", "955C", "B1", "FC4B"],
    "cp932": ["FA4A", "8790", "ED40", "815C", "835C", "F040"],
    "gbk": ["A1AA", "8140", "FE5C", "815C27"],
    "gb2312": ["A1AA", "F7FE"],
    "big5": ["A15C", "A3E1", "F9D5"],
    "euckr": ["A1AD", "C8FE"],
    "ujis": ["8EB1", "8FA2EB", "A1C0"],
    "eucjpms": ["8EB1", "ADA1", "A1C0", "8FF3F3"],
    "gb18030": ["8130D330", "FE50", "A6D9", "84318236"],
    "ucs2": ["D800", "0027", "005C", "FFFF", "0000"],
    "utf16": ["0027", "005C", "D83DDE00", "FFFF"],
    "utf16le": ["2700", "5C00", "3DD800DE"],
    "utf32": ["00000027", "0000005C", "0010FFFF"],
    "utf8mb3": ["27", "EFBFBF", "E383BD"],
    "utf8mb4": ["27", "F09F9880", "F48FBFBF"],
    "ascii": [bytes(range(128)).hex()],
    "tis620": ["A1", "DF", "FF"],
}


def charset_columns(server: Server) -> list[Typed]:
    """VARCHAR, CHAR, TEXT and ENUM in every character set that the server has."""
    found: list[Typed] = []
    for name, *_ in sorted(server.execute("SHOW CHARACTER SET")):
        if name == "binary":
            continue
        raw = RAW.get("utf8mb3" if name == "utf8" else name) or [bytes(range(256)).hex(), "80", "FF", "27", "5C"]
        values = [f"_{name} x'{data}'" for data in raw]
        values += [f"CONVERT('{text}' USING {name})" for text in ("", "a  ", "a\\'b\\\\", "é€жΩ漢字ソ表")]
        found += [
            (f"VARCHAR(300) CHARACTER SET {name}", values),
            (f"CHAR(255) CHARACTER SET {name}", values),
            (f"TEXT CHARACTER SET {name} COLLATE {name}_bin", values),
            (f"ENUM('x','CONVERTED') CHARACTER SET {name}", ["0", "1", "2"]),
        ]
    return found


@dataclass(frozen=True)
class Wide:
    """A table of many columns: `id`, `keep` (1), then `c0`, `c1`, …, one for each type."""

    name: str
    columns: tuple[Typed, ...]
    rows: int  # one for each value of the longest list, and one of NULLs

    def create(self, name: str = "") -> str:
        columns = ", ".join(f"c{i} {_nullable(definition)}" for i, (definition, _) in enumerate(self.columns))
        return (
            f"CREATE TABLE {name or self.name} (id INT PRIMARY KEY, keep INT NOT NULL DEFAULT 1, {columns})"
            " CHARACTER SET utf8mb4"
        )

    def inserts(self) -> Iterator[str]:
        for row in range(self.rows - 1):
            values = ", ".join(values[row % len(values)] for _, values in self.columns)
            yield f"INSERT IGNORE INTO {self.name} VALUES ({row}, 1, {values})"
        yield f"INSERT INTO {self.name} (id) VALUES ({self.rows - 1})"

    @property
    def names(self) -> list[str]:
        return [f"c{i}" for i in range(len(self.columns))]

    def shown(self) -> str:
        """What is compared: id, keep, and each column by its bytes."""
        return ", ".join(["id", "keep", *(shown(f"c{i}", d) for i, (d, _) in enumerate(self.columns))])

    def definition(self, index: int) -> str:
        """For messages: of the index-th shown value."""
        return ("id", "keep", *(d for d, _ in self.columns))[index]


def _nullable(definition: str) -> str:
    return definition if definition.endswith(" NULL") else f"{definition} NULL"


def shown(name: str, definition: str) -> str:
    """An expression of a value that two servers print alike only where it is the same, byte for byte."""
    kind = kind_of(definition)
    if definition == "YEAR(2)":  # it prints two digits; 0000 is 1900 to this function, and 0 if it is in a YEAR
        return f"EXTRACT(YEAR FROM {name}) % 1900"
    if kind in ("float", "double"):
        return f"{name} * 1e0"  # CONCAT would cut it, CAST is not exact either
    if kind == "json":
        return f"HEX(CAST({name} AS CHAR))"
    if kind in ("enum", "set"):
        return f"CONCAT(HEX(CAST({name} AS BINARY)), ' ', CAST({name} AS UNSIGNED))"
    if kind in GEOMETRIES:
        return f"HEX({name})"
    if kind in PRINTED_TYPES:
        return f"CAST({name} AS CHAR)"  # the other flavour has it as text
    return f"HEX(CAST({name} AS BINARY))"


GEOMETRIES = {"geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon"}
GEOMETRIES |= {"geometrycollection", "vector"}


@functools.cache
def tables(flavour: Flavour, server: Server, *, common: bool = False) -> tuple[Wide, ...]:
    """The matrix of a flavour; `common`: only what both have. One value that needs Python has a table of its own."""
    columns = [*COMMON, *charset_columns(server)]
    if common:
        columns = [typed for typed in columns if "gb18030" not in typed[0]]
    else:
        columns += own_of(flavour, server.version)
        columns += LONGER_TIMES if flavour == "mariadb" else []
    return packed_apart(columns)


ALONE = ("VECTOR", "gb18030", "to 2106")  # no table of the other flavour holds these


def own_types(flavour: Flavour, server: Server) -> tuple[Wide, ...]:
    """The types of one flavour that a table of the other one can hold, if under another name."""
    own = own_of(flavour, server.version)
    return packed_apart([typed for typed in own if not any(name in typed[0] for name in ALONE)], "own")


def packed_apart(columns: Sequence[Typed], prefix: str = "") -> tuple[Wide, ...]:
    """Tables of these columns; values that only Python writes are in tables of their own."""
    plain: list[Typed] = []
    odd: list[Typed] = []
    for definition, values in columns:
        strange = [value for value in values if _needs_python(definition, value)]
        if strange:
            odd.append((definition, values))
        if ordinary := [value for value in values if value not in strange]:
            plain.append((definition, ordinary))
    plain.sort(key=lambda typed: len(typed[1]))
    return (*packed(f"{prefix}plain", plain), *packed(f"{prefix}odd", odd))


def _needs_python(definition: str, value: str) -> bool:
    """Whether only Python writes it: an ENUM's error value, a DECIMAL in a JSON."""
    kind = kind_of(definition)
    if kind == "enum":
        labels = definition.partition("(")[2]
        return value == "0" or (value == "''" and not labels.startswith("''") and ",''" not in labels)
    return kind == "json" and ("DECIMAL" in value or "-12345678901234567890.123" in value)


def packed(name: str, columns: Sequence[Typed]) -> Iterator[Wide]:
    """As many columns in a table as its row holds (65,535 bytes, and about 8,000 of them inside the page)."""
    rest = list(columns)
    number = 0
    while rest:
        taken: list[Typed] = []
        size = 0
        while rest and len(taken) < 40 and size + _size(rest[0][0]) < 45_000:
            size += _size(rest[0][0])
            taken.append(rest.pop(0))
        yield Wide(f"{name}{number}", tuple(taken), max(len(values) for _, values in taken) + 1)
        number += 1


def _size(definition: str) -> int:
    kind = kind_of(definition)
    if kind in ("char", "varchar", "binary", "varbinary"):
        return 4 * int(definition.partition("(")[2].partition(")")[0]) + 2
    return 64


def fill(server: Server, schema: str, wide: Sequence[Wide]) -> None:
    """The source tables with their rows."""
    statements = [s for table in wide for s in (table.create(), *table.inserts())]
    server.execute(f"USE `{schema}`", MODE, *statements)


def change_in_every_way(world: Pair, wide: Sequence[Wide]) -> None:
    """Each value is inserted, updated into a row of NULLs, and moved to another key."""
    for table in wide:
        names = ", ".join(["keep", *table.names])
        sets = ", ".join(f"t.{name} = s.{name}" for name in table.names)
        world.on_source(
            MODE,
            f"INSERT INTO {table.name} (id, {names}) SELECT id + 1000, {names} FROM {table.name} WHERE id < 1000",
            f"INSERT INTO {table.name} (id) SELECT id + 2000 FROM {table.name} WHERE id < 1000",
            f"UPDATE {table.name} t JOIN {table.name} s ON t.id = s.id + 2000 SET {sets}",
            f"UPDATE {table.name} SET id = id + 8000 WHERE id BETWEEN 1000 AND 1003",
        )


def differences(world: Pair, wide: tuple[Wide, ...]) -> list[str]:
    """Each value of a target table that is not the source's, by its type."""
    found = []
    for table in wide:
        read = f"SELECT {table.shown()} FROM {table.name}"
        expected, got = ({row[0]: row for row in ask(read)} for ask in (world.on_source, world.on_target))
        if got.keys() != expected.keys():
            found.append(f"{table.name}: rows {sorted(got.keys() ^ expected.keys())}")
        for key in expected.keys() & got.keys():
            for i, (one, other) in enumerate(zip(expected[key], got[key], strict=True)):
                if repr(one) != repr(other) and not one == other == 0.0:  # MariaDB stores no -0.0
                    found.append(f"{table.name} {table.definition(i)} row {key}: {one} != {other}")
    return found
