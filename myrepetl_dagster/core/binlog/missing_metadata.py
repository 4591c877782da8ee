"""Completes table maps from descriptions of their tables. Pure.

Without `binlog_row_metadata=FULL` the log leaves names, signedness, character sets and labels out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from ..model.errors import SchemaDrift, UnsupportedEvent
from ..model.tables import Column, TableName
from ..values.column_types import (
    FRACTION_TYPES,
    GEOMETRY_TYPES,
    LOB_LENGTH_BYTES,
    PRINTED_TYPES,
    TEXT_TYPES,
    decimal_digits,
    fraction_digits,
    labels,
    type_numbers,
)
from .map_columns import BLOBS, MEMBERS, NUMERIC, TEXT, MapColumn, TableMap, Type

# Character sets of which utf8mb3 has every character.
_PRINTED_WHOLE = frozenset({"ascii", "latin1", "utf8mb3", "binary"})
_METADATA_HINT = "Set binlog_row_metadata=FULL on the source, so that each event describes its own columns."

_BLOB_LENGTH_BYTES = LOB_LENGTH_BYTES | {"json": 4}
_TYPE_NAMES: dict[Type, Collection[str]] = {
    Type.TINY: {"tinyint", "bool", "boolean"},
    Type.SHORT: {"smallint"},
    Type.INT24: {"mediumint"},
    Type.LONG: {"int", "integer"},
    Type.LONGLONG: {"bigint"},
    Type.FLOAT: {"float"},
    Type.DOUBLE: {"double", "real"},
    Type.NEWDECIMAL: {"decimal", "numeric"},
    Type.BIT: {"bit"},
    Type.YEAR: {"year"},
    Type.DATE: {"date"},
    Type.NEWDATE: {"date"},
    Type.TIME: {"time"},
    Type.TIME2: {"time"},
    Type.DATETIME: {"datetime"},
    Type.DATETIME2: {"datetime"},
    Type.TIMESTAMP: {"timestamp"},
    Type.TIMESTAMP2: {"timestamp"},
    Type.VARCHAR: {"varchar", "varbinary", "vector"},  # MariaDB's VECTOR is a VARBINARY in the log
    Type.VARCHAR_COMPRESSED: {"varchar", "varbinary"},
    Type.VAR_STRING: {"varchar", "varbinary"},
    Type.STRING: {"char", "binary", *PRINTED_TYPES},
    Type.ENUM: {"enum"},
    Type.SET: {"set"},
    Type.JSON: {"json"},
    Type.GEOMETRY: GEOMETRY_TYPES,
    Type.VECTOR: {"vector"},
}


def overlay(table_map: TableMap, columns: Sequence[Column], hashes_max: int = 0) -> TableMap:
    """The table map with the metadata that the log left out, from a description of the same table.

    A complete map takes hints only, by column name, since the description may be newer than the event. An incomplete
    map must have exactly the described columns, and perhaps up to `hashes_max` hashes of unique keys behind them.

    Raises:
        SchemaDrift: an incomplete map has others.
        UnsupportedEvent: neither the log nor the description tells a column's labels.
    """
    if table_map.complete:
        described = {column.name: column for column in columns}
        hinted = (_hinted(column, described.get(column.name or "")) for column in table_map.columns)
        return replace(table_map, columns=tuple(hinted))
    hashes = table_map.columns[len(columns) :]
    if len(hashes) <= hashes_max and all(column.type is Type.LONGLONG for column in hashes):
        columns = [*columns, *(Column(f"DB_ROW_HASH_{n}", "bigint", unsigned=True) for n, _ in enumerate(hashes, 1))]
    if len(columns) != len(table_map.columns):
        raise SchemaDrift(
            f"{table_map.name}: {len(table_map.columns)} columns in the log, {len(columns)} in the table",
            hint=_METADATA_HINT,
        )
    pairs = zip(table_map.columns, columns, strict=True)
    return replace(table_map, columns=tuple(_filled(table_map.name, *pair) for pair in pairs))


def _hinted(column: MapColumn, described: Column | None) -> MapColumn:
    if described is None or not fits(column, described):
        return column
    return replace(column, hint=_hint(described))


def _hint(described: Column) -> str:
    """The type's name, with the fraction digits, which the log lacks for old temporal types."""
    digits = fraction_digits(described.column_type) if described.type in FRACTION_TYPES else 0
    return f"{described.type}({digits})" if digits else described.type


def _filled(table: TableName, column: MapColumn, described: Column) -> MapColumn:
    if not fits(column, described) or column.name not in (None, described.name):
        raise SchemaDrift(
            f"{table}.{described.name} is {described.column_type or described.type} in the table, in the log "
            f"its type is {column.type.name}, metadata {column.meta}",
            hint=_METADATA_HINT,
        )
    unsigned = described.unsigned if column.unsigned is None and column.type in NUMERIC else column.unsigned
    charset = column.charset
    if charset is None and (column.type in TEXT or column.type in MEMBERS):
        printed = described.type in PRINTED_TYPES  # as text; the log has their bytes
        charset = "binary" if printed else described.charset or "binary"
    members = column.members
    if members is None and column.type in MEMBERS:
        members = _printed_labels(table, described)
    return replace(
        column,
        name=described.name,
        unsigned=unsigned,
        charset=charset,
        members=members,
        hint=_hint(described),
    )


def _printed_labels(table: TableName, described: Column) -> tuple[bytes, ...]:
    """The labels as the server prints them, which is in utf8mb3: other characters become a question mark."""
    if described.charset not in _PRINTED_WHOLE and any("?" in label for label in labels(described.column_type)):
        raise UnsupportedEvent(
            f"{table}: labels of `{described.name}` are printed with a '?', which may stand for a character that the"
            " server cannot print, and the log does not hold them",
            hint=_METADATA_HINT,
        )
    return described.members


def is_type_of(column: MapColumn, described: Column) -> bool:
    """Whether a column of a complete table map has the type of the described one. Sizes of strings may differ."""
    text = column.type in TEXT or column.type in MEMBERS
    return (
        fits(column, described)
        and (column.type not in NUMERIC or column.unsigned == described.unsigned)
        and (not text or described.type not in TEXT_TYPES or column.charset == described.charset)
        and (column.nullable or not described.nullable)
    )


def fits(column: MapColumn, described: Column) -> bool:
    """Whether the described column can be this one of a table map, by its type, precision and fraction digits."""
    if column.type in BLOBS:
        return _BLOB_LENGTH_BYTES.get(described.type) == column.meta
    if described.type not in _TYPE_NAMES[column.type]:
        return False
    if not described.column_type:
        return True
    if column.type is Type.NEWDECIMAL:
        precision, scale = decimal_digits(described.column_type)
        return column.meta == precision << 8 | scale
    if column.type in (Type.TIME2, Type.DATETIME2, Type.TIMESTAMP2):
        return column.meta == fraction_digits(described.column_type)
    return column.type is not Type.BIT or column.meta == (*type_numbers(described.column_type), 1)[0]
