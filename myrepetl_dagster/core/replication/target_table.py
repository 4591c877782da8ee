"""The definition of a target table that does not exist yet. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from ..config.pipeline import TableMapping
from ..model.errors import PrerequisiteError, SchemaDrift
from ..model.tables import Column, Table, TableName
from ..plan.resolution import key_lengths, planned_key
from ..plan.table_plan import PlannedColumn
from ..transforms.functions import Transform
from ..values.collations import of_one_meaning
from ..values.column_types import PRINTED_TYPES, TEXT_TYPES, is_short_year
from ..values.key_safety import require_mapped_key
from ..values.sql import charset_sql, quote_name

_GEOMETRIES = ("geomcollection", "geometrycollection")  # MySQL's name and MariaDB's


def new_table(
    mapping: TableMapping,
    source: Table,
    columns: Sequence[PlannedColumn],
    *,
    collations: frozenset[str],
    mariadb: bool,
    computed: Collection[str] = (),
) -> tuple[str, Table]:
    """The statement that creates a mapping's target table, and the new table as far as a plan looks at it.

    Args:
        collations: those that the target knows.
        computed: the source's columns that the target computes itself.

    Raises:
        SchemaDrift, PrerequisiteError: the table cannot be defined.
    """
    key = planned_key(mapping, source, columns)
    require_mapped_key(mapping.name, [c.target for c in columns], key)
    # A collation of the same name may take two rows for one on the other flavour.
    of_key = collations if source.mariadb in (mariadb, None) else of_one_meaning(collations)
    lines = []
    created = []
    for planned in columns:
        own_collations = of_key if planned.target in key else collations
        column = source.column(planned.source) if planned.source else None
        if planned.source and column is None and not mapping.init_query:
            raise SchemaDrift(
                f"mapping {mapping.name!r}: {source.name} has no column {planned.source}",
                hint=f"{source.name} has: {', '.join(source.column_names)}.",
            )
        if column is not None and is_short_year(column) and (planned.target in key or planned.transform is not None):
            column = replace(column, column_type="year")  # `require_exact` refuses a YEAR(2) there
        nullable = planned.target not in key
        if planned.transform is not None:
            definition = _result_type(planned.transform, column, own_collations, mariadb)
            described = _plain_column(planned.target, definition, nullable=nullable)
        elif column is None:
            definition = _fixed_type(planned.value)
            nullable = nullable and planned.value is None
            described = _plain_column(planned.target, definition, nullable=nullable)
        else:
            definition = column_definition(column, collations=own_collations, mariadb=mariadb)
            nullable = nullable and column.nullable
            described = as_defined(column, collations=own_collations, mariadb=mariadb)
            described = replace(described, name=planned.target, nullable=nullable, auto_increment=False)
            if column.name in computed:
                definition, described = computed_column(column, definition, described)
        lines.append((planned.target, definition, nullable))
        created.append(described)
    lengths = key_lengths(source, columns, key)
    parts = tuple(f"{name}({lengths[name]})" if name in lengths else name for name in key)
    table = Table(mapping.target_name, tuple(created), parts, mariadb=mariadb)
    _require_bounded_key(mapping, table)
    return _create_table_sql(mapping.target_name, lines, [(name, lengths.get(name)) for name in key]), table


def _plain_column(name: str, definition: str, *, nullable: bool) -> Column:
    return Column(name, re.split(r"\W", definition.lower())[0], definition.lower(), nullable=nullable)


_UNBOUNDED = re.compile(r"(tiny|medium|long)?(text|blob)|json|geom.*|(multi)?(point|linestring|polygon)|vector")


def _require_bounded_key(mapping: TableMapping, table: Table) -> None:
    """Refuse a key column of unbounded length, since no server makes a primary key of that."""
    for column in table.columns:
        if column.name in table.primary_key and _UNBOUNDED.fullmatch(column.type):
            raise PrerequisiteError(
                f"mapping {mapping.name!r}: the key column {column.name} would be {column.type} in {table.name}: no"
                " server can make a primary key of that",
                hint="Create the table with a key column of a bounded type, such as VARCHAR(190), or correct "
                "primary_key.",
            )


def as_defined(column: Column, *, collations: frozenset[str], mariadb: bool) -> Column:
    """The column that the target has after it was created with `column_definition`.

    A generated column becomes an ordinary one, which gets the source's values. The target might compute others, since
    an expression's value depends on the session that writes (time zone, sql_mode) and on the server.
    """
    kind, definition = column.type, re.sub(r"\s+/\*.*?\*/", "", column.column_type)
    if kind in _GEOMETRIES:
        kind = definition = _GEOMETRIES[mariadb]
    elif kind in PRINTED_TYPES and not mariadb:
        definition = PRINTED_TYPES[kind]
        kind = definition.partition("(")[0]
    elif is_short_year(column) and not mariadb:
        definition = "year"
    elif column.is_row_end:  # of a current row it is 2106 to MariaDB 11.8, which others have no TIMESTAMP for
        kind, definition = "datetime", "datetime(6)"
    column = replace(column, type=kind, column_type=definition, generated=False, generation_expression="")
    if column.charset and column.type in TEXT_TYPES:
        return replace(column, collation=_collation(column, collations))
    return column


def as_held(column: Column, *, mariadb: bool) -> Column:
    """A source column as the target's own list of columns names its type, which may be another name."""
    if column.type == "json" and mariadb:
        return replace(column, type="longtext", column_type="longtext", charset="utf8mb4", collation="utf8mb4_bin")
    defined = as_defined(column, collations=frozenset(), mariadb=mariadb)
    return replace(column, type=defined.type, column_type=defined.column_type)


def computed_column(column: Column, definition: str, described: Column) -> tuple[str, Column]:
    """The definition and the column of the target that computes itself what the source does."""
    expression = column.generation_expression
    return f"{definition} AS ({expression}) VIRTUAL", replace(
        described, generated=True, generation_expression=expression
    )


def _create_table_sql(
    name: TableName, columns: Sequence[tuple[str, str, bool]], key: Sequence[tuple[str, int | None]]
) -> str:
    """CREATE TABLE with these (column, type, nullable) and this primary key of (column, how much of it)."""
    lines = []
    for column, definition, nullable in columns:
        null = "" if definition.endswith(" VIRTUAL") else " NULL" if nullable else " NOT NULL"
        lines.append(f"  {quote_name(column)} {definition}{null}")
    parts = [quote_name(column) + (f"({length})" if length else "") for column, length in key]
    lines.append(f"  PRIMARY KEY ({', '.join(parts)})")
    body = ",\n".join(lines)
    table = f"{quote_name(name.schema)}.{quote_name(name.table)}"
    # The row format takes the longest keys and rows, whatever is the server's default.
    return f"CREATE TABLE IF NOT EXISTS {table} (\n{body}\n) ENGINE=InnoDB ROW_FORMAT=DYNAMIC"


def column_definition(column: Column, *, collations: frozenset[str], mariadb: bool) -> str:
    """A source column's definition in the target's terms. `collations` are those that the target knows."""
    column = as_defined(column, collations=collations, mariadb=mariadb)
    kind = column.column_type
    if column.charset and column.type in TEXT_TYPES:
        kind += charset_sql(column.charset, column.collation)
    if column.srid is not None:
        kind += f" REF_SYSTEM_ID={column.srid}" if mariadb else f" SRID {column.srid}"
    return kind


def _collation(column: Column, collations: frozenset[str]) -> str:
    if column.collation in collations:
        return str(column.collation)
    # The target lacks this collation. A binary one takes its place, so that no two keys of the source become equal.
    # One without padding comes first, since a padding one takes 'a' and 'a ' for equal.
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
    """The type of a column for a transform's results: by its annotated return type, else the source column's type."""
    if transform.builtin == "length":
        return "BIGINT"
    annotated = getattr(transform.function, "__annotations__", {}).get("return")
    name = getattr(annotated, "__name__", str(annotated)).rpartition(".")[2].split("[")[0]
    if transform.builtin is None and name in _ANNOTATED:
        return _ANNOTATED[name]
    if column is None:
        return "LONGTEXT"
    return column_definition(column, collations=collations, mariadb=mariadb)
