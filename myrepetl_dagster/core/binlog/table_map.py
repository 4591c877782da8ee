"""TABLE_MAP events: the log's own description of a table's columns.

`parse_table_map` reads the event's bytes; `overlay` adds what the server did not log. Values in, values out: no I/O,
and no guess about a column that neither the log nor a description settles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from ..model.errors import UnsupportedEvent
from ..model.tables import TableName
from ..values.collations import charset_of
from ..values.length_encoding import length_at
from .map_columns import BLOBS, MEMBERS, NUMERIC, TEXT, MapColumn, TableMap, Type
from .missing_metadata import overlay

__all__ = ["MapColumn", "TableMap", "Type", "overlay", "parse_table_map"]

_META_1 = BLOBS | {Type.FLOAT, Type.DOUBLE, Type.JSON, Type.GEOMETRY, Type.VECTOR}
_META_1 |= {Type.TIMESTAMP2, Type.DATETIME2, Type.TIME2}
_META_2 = frozenset({Type.VARCHAR, Type.VARCHAR_COMPRESSED, Type.BIT, Type.NEWDECIMAL})
_META_2 |= {Type.STRING, Type.VAR_STRING, Type.ENUM, Type.SET}


class _Reader:
    """Reads bytes forward and refuses to read past their end."""

    __slots__ = ("data", "pos")

    def __init__(self, data: bytes, pos: int = 0) -> None:
        self.data = data
        self.pos = pos

    def take(self, size: int) -> bytes:
        start, self.pos = self.pos, self.pos + size
        if self.pos > len(self.data):
            raise UnsupportedEvent("a table map event ends too early")
        return self.data[start : self.pos]

    def number(self) -> int:
        """A length-encoded integer."""
        number, self.pos = length_at(self.data, self.pos)
        return number

    def string(self) -> bytes:
        return self.take(self.number())

    def numbers(self) -> Iterator[int]:
        while self.pos < len(self.data):
            yield self.number()


def parse_table_map(body: bytes, *, mariadb: bool = False) -> tuple[int, TableMap]:
    """The table id and the table of a TABLE_MAP event, from its bytes after the header, without the checksum.

    Args:
        mariadb: MariaDB wrote the log. The flavours count different columns as text.
    """
    try:
        return int.from_bytes(body[:6], "little"), _table(body, _MARIADB_FIELDS if mariadb else _FIELDS)
    except (IndexError, ValueError):
        raise UnsupportedEvent("a table map event is malformed") from None


def _table(body: bytes, fields: Mapping[int, Callable[[list[MapColumn], _Reader], None]]) -> TableMap:
    reader = _Reader(body, 8)
    schema = reader.take(reader.take(1)[0] + 1)[:-1].decode()
    name = TableName(schema, reader.take(reader.take(1)[0] + 1)[:-1].decode())
    codes = reader.take(reader.number())
    metadata = _Reader(reader.string())
    bitmap = int.from_bytes(reader.take((len(codes) + 7) // 8), "little")
    columns = [
        _column(name, ordinal, code, metadata, nullable=bool(bitmap >> ordinal & 1))
        for ordinal, code in enumerate(codes)
    ]
    while reader.pos < len(body):
        field, value = reader.take(1)[0], _Reader(reader.string())
        if field in fields:
            fields[field](columns, value)
    return TableMap(name, tuple(columns), body[8:], named=all(column.name is not None for column in columns))


def _column(table: TableName, ordinal: int, code: int, metadata: _Reader, *, nullable: bool) -> MapColumn:
    try:
        kind = Type(code)
    except ValueError:
        message = f"{table}: column {ordinal + 1} has the type {code} in the log, which is not known"
        raise UnsupportedEvent(message, hint="Leave the table out of the mappings, or change the column.") from None
    if kind in _META_1:
        return MapColumn(kind, metadata.take(1)[0], nullable)
    if kind not in _META_2:
        return MapColumn(kind, 0, nullable)
    first, second = metadata.take(2)
    if kind in (Type.VARCHAR, Type.VARCHAR_COMPRESSED, Type.VAR_STRING):
        return MapColumn(kind, first | second << 8, nullable)
    if kind is Type.BIT:  # loose bits, then whole bytes
        return MapColumn(kind, second * 8 + first, nullable)
    if kind is Type.NEWDECIMAL:
        return MapColumn(kind, first << 8 | second, nullable)
    if first in MEMBERS:
        return MapColumn(Type(first), second, nullable)
    # A CHAR of more than 255 bytes keeps the two high bits of its length, inverted, in the type byte.
    return MapColumn(kind, second | ((first & 0x30) ^ 0x30) << 4, nullable)


# --- optional metadata ------------------------------------------------------------------------------------


def _of(columns: list[MapColumn], types: frozenset[Type]) -> list[int]:
    return [index for index, column in enumerate(columns) if column.type in types]


def _signedness(columns: list[MapColumn], value: _Reader) -> None:
    for nth, index in enumerate(_of(columns, NUMERIC | {Type.YEAR})):  # both servers give a YEAR a bit, too
        if columns[index].type in NUMERIC:
            unsigned = bool(value.data[nth // 8] & 0x80 >> nth % 8)
            columns[index] = replace(columns[index], unsigned=unsigned)


def _collate(column: MapColumn, collation_id: int) -> MapColumn:
    if column.type in (Type.VECTOR, Type.GEOMETRY):  # counted as text, but bytes
        return column
    return replace(column, charset=charset_of(collation_id))


def _default_charset(types: frozenset[Type]) -> Callable[[list[MapColumn], _Reader], None]:
    """A default, then pairs of (which character column, its own collation)."""

    def fill(columns: list[MapColumn], value: _Reader) -> None:
        default, *pairs = value.numbers()
        own = dict(zip(pairs[::2], pairs[1::2], strict=True))
        for nth, index in enumerate(_of(columns, types)):
            columns[index] = _collate(columns[index], own.get(nth, default))

    return fill


def _column_charset(types: frozenset[Type]) -> Callable[[list[MapColumn], _Reader], None]:
    def fill(columns: list[MapColumn], value: _Reader) -> None:
        for index, collation_id in zip(_of(columns, types), value.numbers(), strict=True):
            columns[index] = _collate(columns[index], collation_id)

    return fill


def _names(columns: list[MapColumn], value: _Reader) -> None:
    for index, column in enumerate(columns):
        columns[index] = replace(column, name=value.string().decode())


def _labels(kind: Type) -> Callable[[list[MapColumn], _Reader], None]:
    def fill(columns: list[MapColumn], value: _Reader) -> None:
        for index in _of(columns, frozenset({kind})):
            members = tuple(value.string() for _ in range(value.number()))
            columns[index] = replace(columns[index], members=members)

    return fill


# The others say nothing that is needed: the primary key, visibility, and what kind of geometry or vector it is.
_FIELDS: dict[int, Callable[[list[MapColumn], _Reader], None]] = {
    1: _signedness,
    2: _default_charset(TEXT | {Type.VECTOR}),
    3: _column_charset(TEXT | {Type.VECTOR}),
    4: _names,
    5: _labels(Type.SET),
    6: _labels(Type.ENUM),
    10: _default_charset(MEMBERS),
    11: _column_charset(MEMBERS),
}
_MARIADB_FIELDS = _FIELDS | {
    2: _default_charset(TEXT | {Type.GEOMETRY}),
    3: _column_charset(TEXT | {Type.GEOMETRY}),
}
