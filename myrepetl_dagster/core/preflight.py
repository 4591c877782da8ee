"""What servers and tables must offer, found out before a row is read; every line was somebody's silent loss.

`check_source` looks at the server, `prepare` at the tables of one mapping: it creates the target table where
there is none and returns the mapping's plan.
"""

from __future__ import annotations

from collections.abc import Sequence

from .apply import MySQLTarget
from .connect import query, translated
from .errors import PrerequisiteError, SchemaDrift
from .evolve import add_columns
from .filters import check_types
from .model import Column, Table
from .pipeline import TableMapping
from .plan import PlannedColumn, TablePlan, plan_table, planned_columns, planned_key
from .schema import column_definition, create_table_sql
from .source import MySQLSource
from .transforms import Transform
from .values import sample_of

# (variable, values that are fine, what to do); a variable that a server does not have is fine.
_REQUIRED = (
    ("log_bin", {"ON", "1"}, "start the server with --log-bin"),
    ("binlog_format", {"ROW"}, "SET PERSIST binlog_format=ROW (MariaDB: SET GLOBAL, and my.cnf)"),
    ("binlog_row_image", {"FULL"}, "SET PERSIST binlog_row_image=FULL (MariaDB: SET GLOBAL, and my.cnf)"),
)


def check_source(source: MySQLSource) -> None:
    """Refuse a server whose log cannot be applied exactly.

    Raises:
        PrerequisiteError: names the variable, its value and what to do.
    """
    names = ", ".join(f"'{name}'" for name, _, _ in _REQUIRED)
    with translated(source.endpoint, "checking its settings"):
        found = dict(query(source.control, f"SHOW GLOBAL VARIABLES WHERE variable_name IN ({names})"))
    for name, fine, what in _REQUIRED:
        value = str(found.get(name, "")).upper()
        if value and value not in fine:
            raise PrerequisiteError(
                f"source {source.endpoint.name!r}: {name} is {value}, and must be {' or '.join(sorted(fine))}",
                hint=f"On the source: {what}.",
            )


def prepare(
    mapping: TableMapping,
    source: MySQLSource,
    target: MySQLTarget,
    shared_with: Sequence[TableMapping],
    *,
    copying: bool = True,
) -> TablePlan:
    """Resolve a mapping against both servers, creating its target table if there is none.

    Args:
        copying: the table is to be copied, so that the target needs all the columns that the source has now
            (`evolve`); else it gets them where the log says so.

    Raises:
        SchemaDrift, PrerequisiteError: what is missing where.
    """
    table = source.describe(mapping.source_name)
    if table is None:
        raise SchemaDrift(
            f"mapping {mapping.name!r}: source {mapping.source!r} has no table {mapping.source_name}",
            hint="Correct source_table, or grant SELECT on it.",
        )
    columns = planned_columns(mapping, table)
    held = target.describe(mapping.target_name)
    if held is None:
        target.define(_definition(mapping, table, columns, target))
        held = target.describe(mapping.target_name)
        assert held is not None, "the table was just created"
    if copying and mapping.columns is None and mapping.schema_policy == "evolve":
        present = set(held.column_names)
        missing = [c for c in table.columns if c.name not in present]
        if missing:
            add_columns(target, held, missing)
            held = target.describe(mapping.target_name) or held
    samples = {c.name: sample_of(c) for c in table.columns}
    for problem in check_types(mapping.filter, samples):
        problem.mapping = mapping.name
        raise problem
    return plan_table(mapping, table, held, shared_with)


def _definition(mapping: TableMapping, source: Table, columns: Sequence[PlannedColumn], target: MySQLTarget) -> str:
    collations = target.collations()
    mariadb = target.info.is_mariadb
    own_names = mapping.columns is None
    key = planned_key(mapping, source, columns)
    lines = []
    for planned in columns:
        column = source.column(planned.source) if planned.source else None
        if planned.source and column is None and not mapping.init_query:
            raise SchemaDrift(
                f"mapping {mapping.name!r}: {source.name} has no column {planned.source}",
                hint=f"{source.name} has: {', '.join(source.column_names)}.",
            )
        if planned.transform is not None:
            lines.append((planned.target, _result_type(planned.transform, column, collations, mariadb), True))
        elif column is None:
            lines.append((planned.target, _fixed_type(planned.value), planned.value is None))
        else:
            definition = column_definition(column, collations=collations, mariadb=mariadb, keep_generated=own_names)
            lines.append((planned.target, definition, column.nullable))
    return create_table_sql(mapping.target_name, lines, key)


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
