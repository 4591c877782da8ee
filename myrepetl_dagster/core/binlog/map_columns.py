"""A table map: the columns of a table as one event in the log describes them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from ..model.tables import Column, TableName
from ..values.column_types import LABEL_TYPES, PRINTED_TYPES


class Type(IntEnum):
    """Column types by their numbers in the log (`enum_field_types` of the servers)."""

    TINY = 1
    SHORT = 2
    LONG = 3
    FLOAT = 4
    DOUBLE = 5
    TIMESTAMP = 7
    LONGLONG = 8
    INT24 = 9
    DATE = 10
    TIME = 11
    DATETIME = 12
    YEAR = 13
    NEWDATE = 14
    VARCHAR = 15
    BIT = 16
    TIMESTAMP2 = 17
    DATETIME2 = 18
    TIME2 = 19
    BLOB_COMPRESSED = 140  # MariaDB
    VARCHAR_COMPRESSED = 141  # MariaDB
    VECTOR = 242
    JSON = 245
    NEWDECIMAL = 246
    ENUM = 247
    SET = 248
    TINY_BLOB = 249
    MEDIUM_BLOB = 250
    LONG_BLOB = 251
    BLOB = 252
    VAR_STRING = 253
    STRING = 254
    GEOMETRY = 255


BLOBS = frozenset({Type.TINY_BLOB, Type.MEDIUM_BLOB, Type.LONG_BLOB, Type.BLOB, Type.BLOB_COMPRESSED})
MEMBERS = frozenset({Type.ENUM, Type.SET})
NUMERIC = frozenset({Type.TINY, Type.SHORT, Type.INT24, Type.LONG, Type.LONGLONG})
NUMERIC |= {Type.NEWDECIMAL, Type.FLOAT, Type.DOUBLE}
# MariaDB's mysql56_temporal_format=OFF: a value's length depends on fraction digits, which the log does not hold.
OLD_TEMPORAL = frozenset({Type.TIME, Type.DATETIME, Type.TIMESTAMP})
TEXT = BLOBS | {Type.STRING, Type.VAR_STRING, Type.VARCHAR, Type.VARCHAR_COMPRESSED}


@dataclass(frozen=True, slots=True)
class MapColumn:
    """One column of a table map. None: neither the log nor a description has said it.

    `type` is the real type (ENUM or SET, which the log sends as STRING). `meta` is the type's number: the length in
    bytes of CHAR and VARCHAR, the number of length bytes of BLOB-like types, the bits of BIT, the bytes of ENUM and
    SET, the fraction digits of times, precision * 256 + scale of DECIMAL. `hint` is the type's name from a description,
    if there was one: the log does not distinguish a UUID from a BINARY(16).
    """

    type: Type
    meta: int
    nullable: bool
    unsigned: bool | None = None
    name: str | None = None
    charset: str | None = None
    members: tuple[bytes, ...] | None = None
    hint: str = ""

    @property
    def gap(self) -> str:
        """The metadata without which this column's values cannot be decoded, in words; '' if nothing is missing."""
        if self.type in NUMERIC and self.unsigned is None:
            return "its signedness"
        if self.charset is None and (self.type in TEXT or self.type in MEMBERS):
            return "its character set"
        if self.type in OLD_TEMPORAL and not self.hint:
            return "its fraction digits"
        return "its labels" if self.type in MEMBERS and self.members is None else ""


@dataclass(frozen=True, slots=True)
class TableMap:
    """A table as one event describes it.

    `raw`: the event's bytes after the table id and the flags. Equal bytes are an equal table, whatever its id. But each
    id has an object of its own, so that a new one shows that the server has opened the table anew. `named`: whether the
    log itself names the columns.
    """

    name: TableName
    columns: tuple[MapColumn, ...]
    raw: bytes
    named: bool = True

    @property
    def complete(self) -> bool:
        """Whether all names, signedness, character sets and labels are known, as with `binlog_row_metadata=FULL`."""
        return all(column.name is not None and not column.gap for column in self.columns)


_TYPE_NAMES = {
    Type.TINY: "tinyint", Type.SHORT: "smallint", Type.INT24: "mediumint", Type.LONG: "int", Type.LONGLONG: "bigint",
    Type.YEAR: "year", Type.BIT: "bit", Type.FLOAT: "float", Type.DOUBLE: "double", Type.NEWDECIMAL: "decimal",
    Type.DATE: "date", Type.NEWDATE: "date", Type.TIME: "time", Type.TIME2: "time", Type.DATETIME: "datetime",
    Type.DATETIME2: "datetime", Type.TIMESTAMP: "timestamp", Type.TIMESTAMP2: "timestamp", Type.JSON: "json",
    Type.ENUM: "enum", Type.SET: "set", Type.GEOMETRY: "geometry", Type.VECTOR: "vector",
}  # fmt: skip
_WITH_CHARSET = LABEL_TYPES | {"text", "blob", "json", "geometry", "vector"}


def layout_of(table_map: TableMap) -> tuple[Column, ...]:
    """The columns of the rows under this table map, with types that stand for the kinds of their cells."""
    return tuple(_layout_column(column) for column in table_map.columns)


def _layout_column(column: MapColumn) -> Column:
    kind = _TYPE_NAMES.get(column.type) or ("blob" if column.charset == "binary" else "text")
    charset = column.charset if kind in _WITH_CHARSET else None
    if kind == "json" or column.hint in PRINTED_TYPES:  # their cells are text
        kind, charset = ("json" if kind == "json" else "text"), "utf8mb4"
    elif kind in ("geometry", "vector"):
        charset = "binary"
    return Column(column.name or "", kind, unsigned=bool(column.unsigned), charset=charset)
