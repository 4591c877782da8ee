"""The columns that a table map announces, as the rest of the core describes columns."""

from __future__ import annotations

from .binlog.map_columns import MapColumn, TableMap, Type
from .model.tables import Column

_TYPE_NAMES = {
    Type.TINY: "tinyint", Type.SHORT: "smallint", Type.INT24: "mediumint", Type.LONG: "int", Type.LONGLONG: "bigint",
    Type.YEAR: "year", Type.BIT: "bit", Type.FLOAT: "float", Type.DOUBLE: "double", Type.NEWDECIMAL: "decimal",
    Type.DATE: "date", Type.NEWDATE: "date", Type.TIME: "time", Type.TIME2: "time", Type.DATETIME: "datetime",
    Type.DATETIME2: "datetime", Type.TIMESTAMP: "timestamp", Type.TIMESTAMP2: "timestamp", Type.JSON: "json",
    Type.ENUM: "enum", Type.SET: "set", Type.GEOMETRY: "geometry", Type.VECTOR: "vector",
}  # fmt: skip
_WITH_CHARSET = frozenset({"text", "blob", "enum", "set", "json", "geometry", "vector"})


def layout_of(table_map: TableMap) -> tuple[Column, ...]:
    """The columns of the rows that a table map announces."""
    return tuple(_layout_column(column) for column in table_map.columns)


def _layout_column(column: MapColumn) -> Column:
    kind = _TYPE_NAMES.get(column.type) or ("blob" if column.charset == "binary" else "text")
    charset = column.charset if kind in _WITH_CHARSET else None
    if kind == "json" or column.hint in ("uuid", "inet4", "inet6"):  # text, whatever they are stored as
        kind, charset = ("json" if kind == "json" else "text"), "utf8mb4"
    elif kind in ("geometry", "vector"):
        charset = "binary"
    return Column(column.name or "", kind, unsigned=bool(column.unsigned), charset=charset)
