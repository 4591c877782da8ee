"""The definition of a target table that does not exist yet. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ..model.tables import Column, TableName
from ..transforms.functions import Transform
from ..values.column_types import PRINTED_TYPES, TEXT_TYPES
from ..values.sql import quote_name

_GEOMETRIES = ("geomcollection", "geometrycollection")  # MySQL's name and MariaDB's


def as_defined(column: Column, *, collations: frozenset[str], mariadb: bool, keep_generated: bool) -> Column:
    """The column that the target has once it is created by `column_definition`."""
    kind, definition = column.type, re.sub(r"\s+/\*.*?\*/", "", column.column_type)
    if kind in _GEOMETRIES:
        kind = definition = _GEOMETRIES[mariadb]
    elif kind in PRINTED_TYPES and not mariadb:
        definition = PRINTED_TYPES[kind]
        kind = definition.partition("(")[0]
    generated = column.generated and keep_generated
    column = replace(column, type=kind, column_type=definition, generated=generated)
    if column.charset and column.type in TEXT_TYPES:
        return replace(column, collation=_collation(column, collations))
    return column


def create_table_sql(name: TableName, columns: Sequence[tuple[str, str, bool]], key: Sequence[str]) -> str:
    """CREATE TABLE with these (column, type, nullable) and this primary key."""
    lines = []
    for column, definition, nullable in columns:
        null = "NULL" if nullable and column not in key else "NOT NULL"
        generated = " AS (" in definition  # a generated column takes no NULL clause on MariaDB
        lines.append(f"  {quote_name(column)} {definition}" + ("" if generated else f" {null}"))
    lines.append("  PRIMARY KEY (" + ", ".join(quote_name(column) for column in key) + ")")
    body = ",\n".join(lines)
    return f"CREATE TABLE IF NOT EXISTS {quote_name(name.schema)}.{quote_name(name.table)} (\n{body}\n) ENGINE=InnoDB"


def column_definition(column: Column, *, collations: frozenset[str], mariadb: bool, keep_generated: bool) -> str:
    """A source column's type as the target understands it; `collations` are those the target knows."""
    column = as_defined(column, collations=collations, mariadb=mariadb, keep_generated=keep_generated)
    kind = column.column_type
    if column.charset and column.type in TEXT_TYPES:
        kind += f" CHARACTER SET {column.charset} COLLATE {column.collation}"
    if column.srid is not None:
        kind += f" REF_SYSTEM_ID={column.srid}" if mariadb else f" SRID {column.srid}"
    if column.generated:
        kind += f" AS ({column.generation_expression}) STORED"
    return kind


def _collation(column: Column, collations: frozenset[str]) -> str:
    if column.collation in collations:
        return str(column.collation)
    # A collation that the target lacks: one that tells all strings apart, so that no two rows of the
    # source can become one. Without padding first, since a padding one takes 'a' and 'a ' for equal.
    for candidate in ("_0900_bin", "_nopad_bin", "_bin"):
        if f"{column.charset}{candidate}" in collations:
            return f"{column.charset}{candidate}"
    return f"{column.charset}_bin"


def _fixed_type(value: object) -> str:
    match value:
        case bool() | int():
            return "BIGINT"
        case float():
            return "DOUBLE"
    return "VARCHAR(255)"


_ANNOTATED = {
    "str": "LONGTEXT", "int": "BIGINT", "float": "DOUBLE", "bool": "TINYINT(1)", "bytes": "LONGBLOB",
    "Decimal": "DECIMAL(65,30)", "date": "DATE", "datetime": "DATETIME(6)", "timedelta": "TIME(6)",
    "time": "TIME(6)", "dict": "LONGTEXT", "list": "LONGTEXT",
}  # fmt: skip


def _result_type(transform: Transform, column: Column | None, collations: frozenset[str], mariadb: bool) -> str:
    """A column for a transform's results: by its annotated return type, else the source column's own."""
    if transform.builtin == "length":
        return "BIGINT"
    annotated = getattr(transform.function, "__annotations__", {}).get("return")
    name = getattr(annotated, "__name__", str(annotated)).rpartition(".")[2].split("[")[0]
    if transform.builtin is None and name in _ANNOTATED:
        return _ANNOTATED[name]
    if column is None:
        return "LONGTEXT"
    return column_definition(column, collations=collations, mariadb=mariadb, keep_generated=False)
