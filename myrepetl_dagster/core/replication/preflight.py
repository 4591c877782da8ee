"""What servers and tables must offer, found out before a row is read; every line was somebody's silent loss.

`check_source` looks at the server, `define` and `resolve` at the tables of one mapping: the target table is created
where there is none, then the mapping is planned.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ..config.pipeline import TableMapping
from ..model.errors import PrerequisiteError, SchemaDrift
from ..model.tables import Column, Table, TableName
from ..plan.exactness import require_exact
from ..plan.resolution import plan_table, planned_columns, planned_key
from ..plan.table_plan import PlannedColumn, TablePlan
from ..source.mysql_source import MySQLSource
from ..source.source_settings import ROW_VALUE_OPTIONS, source_role, source_settings
from ..target.control import TargetControl
from ..transforms.filters import check_types
from ..transforms.filters import columns as filter_columns
from ..values.key_safety import require_mapped_key
from ..values.python_values import sample_of
from .schema_evolution import conform
from .target_table import _fixed_type, _result_type, as_defined, column_definition, create_table_sql


def check_source(source: MySQLSource) -> None:
    """Refuse a server whose log cannot be applied exactly.

    Raises:
        PrerequisiteError: names the variable, its value and the statement that sets it.
    """
    for found in (*source_settings(source), source_role(source)):
        found.require()


def define(
    mapping: TableMapping,
    source: MySQLSource,
    target: TargetControl,
    table: Table | None,
    held: Table | None,
    *,
    copying: bool,
) -> Table:
    """Look at the source table, and create the target table if there is none.

    Args:
        table: the source table as it is; `held`: the target table.

    Returns:
        The source table.

    Raises:
        SchemaDrift, PrerequisiteError: what is missing where.
    """
    if table is None:
        raise SchemaDrift(
            f"mapping {mapping.name!r}: source {mapping.source!r} has no table {mapping.source_name}",
            hint="Correct source_table, or grant SELECT on it.",
        )
    _require_logged(mapping, table, source)
    _require_whole_json(mapping, table, source)
    columns = planned_columns(mapping, table)
    if held is None and not copying:  # made anew it would lack every row that was copied
        raise SchemaDrift(
            f"mapping {mapping.name!r}: target {mapping.target!r} has no table {mapping.target_name} any more",
            hint="Was it dropped? Run the `snapshot` job for this mapping, to copy it again.",
        )
    if held is None:
        target.create_table(*_new_table(mapping, table, columns, target))
    return table


def resolve(
    mapping: TableMapping,
    target: TargetControl,
    shared_with: Sequence[TableMapping],
    table: Table,
    held: Table,
    *,
    copying: bool,
    known: Sequence[Column] = (),
    past_key: tuple[str, ...] = (),
) -> TablePlan:
    """Plan a mapping by its tables.

    Args:
        table: the source table, `held`: the target table, as they are.
        copying: the table is to be copied, so that the target needs all the columns that the source has now
            (`evolve`); else it gets them where the log says so.
        known: the source's columns when it was copied last.
        past_key: the key at the checkpoint.

    Raises:
        SchemaDrift, PrerequisiteError: what is missing where.
    """
    follows = copying and mapping.columns is None and mapping.schema_policy == "evolve"
    if follows and conform(target, mapping.name, held, table, known):
        held = target.describe(mapping.target_name) or held
    plan = plan_table(mapping, table, held, shared_with, () if copying else past_key)
    _require_comparable(mapping, table)
    if copying:  # later changes of the source are judged where the log brings them
        require_exact(plan)
    return plan


def require_own_table(
    mapping: TableMapping, mappings: Sequence[TableMapping], source: MySQLSource, target: TargetControl
) -> None:
    """Refuse what the pipeline file's check of names cannot see: that the target takes two of them for one table.

    Raises:
        PrerequisiteError: another mapping spells the target table otherwise, or the source table is the target table.
    """
    if not target.info.names_without_case:
        return
    own = mapping.target_name.in_lower_case()
    names = {m.target_name for m in mappings if m.target == mapping.target and m.target_name.in_lower_case() == own}
    one_server = source.endpoint.address == target.endpoint.address
    if len(names) > 1:
        raise PrerequisiteError(
            f"mapping {mapping.name!r}: {' and '.join(map(str, sorted(names)))} are one table to target"
            f" {mapping.target!r} (lower_case_table_names)",
            hint="Write target_table in the same letters in each of its mappings.",
        )
    if one_server and mapping.source_name.in_lower_case() == own:
        raise PrerequisiteError(
            f"mapping {mapping.name!r}: target_table {mapping.target_name} is the source table itself"
            " (lower_case_table_names)",
            hint="Its own writes would come back for ever: name another target_table.",
        )


_NOT_A_TABLE = {
    "VIEW": "a view: the log holds changes of its tables only",
    "SYSTEM VIEW": "a view of the server's own",
    "SEQUENCE": "a sequence, not a table",
    "SYSTEM VERSIONED": "system-versioned: the log holds its history as rows with the same key",
}
_WRITING_FOREIGN_KEY = re.compile(
    r"^\s*CONSTRAINT (`(?:[^`]|``)*`) FOREIGN KEY.* ON (?:DELETE|UPDATE) (?:CASCADE|SET)", re.M
)


def _require_logged(mapping: TableMapping, table: Table, source: MySQLSource) -> None:
    """Whether every change of the table's rows is in the log.

    Raises:
        PrerequisiteError: it is no ordinary table, or the server keeps its schema out of the log.
    """
    name = table.name
    problem, hint = _NOT_A_TABLE.get(source.table_kind(name), ""), "Map a table whose changes are in the binary log."
    if not problem and not source.logs(name.schema):
        problem = "kept out of the binary log (binlog_do_db or binlog_ignore_db)"
        hint = f"Remove binlog_do_db and binlog_ignore_db for {name.schema} from my.cnf and restart the server."
    if problem:
        raise PrerequisiteError(f"mapping {mapping.name!r}: {name} is {problem}", hint=hint)


def unlogged_changes(source: MySQLSource, name: TableName) -> list[str]:
    """Sentences about changes of a table's rows that the server makes by itself, and keeps out of its log."""
    if source.logs_foreign_key_actions:
        return []
    keys = _WRITING_FOREIGN_KEY.findall(source.definition(name))
    does = "changes or deletes by itself are not in the log"
    return [f"rows of {name} that its foreign key {key} {does}" for key in keys]


def _require_whole_json(mapping: TableMapping, table: Table, source: MySQLSource) -> None:
    """Refuse a server that logs JSON documents by their changes only, where a table has any."""
    documents = [c.name for c in table.columns if c.type == "json"]
    for found in source_settings(source, [ROW_VALUE_OPTIONS]) if documents else ():
        if found.problem:
            raise PrerequisiteError(
                f"mapping {mapping.name!r}: source {mapping.source!r} has {found.name}={found.value}, and"
                f" {table.name} the JSON column {', '.join(documents)}",
                hint=found.remedy,
            )


def _require_comparable(mapping: TableMapping, table: Table) -> None:
    """A filter that would fail at the first row fails now. Columns that only init_query has are not known yet."""
    samples = {c.name: sample_of(c) for c in table.columns}
    if filter_columns(mapping.filter) <= samples.keys():
        for problem in check_types(mapping.filter, samples):
            problem.mapping = mapping.name
            problem.message = f"mapping {mapping.name!r}: {problem.message}"
            raise problem


def _new_table(
    mapping: TableMapping, source: Table, columns: Sequence[PlannedColumn], target: TargetControl
) -> tuple[str, Table]:
    """The statement that creates a mapping's target table, and what it makes, as far as a plan looks at it."""
    collations = target.collations()
    mariadb = target.info.is_mariadb
    own_names = mapping.columns is None
    key = planned_key(mapping, source, columns)
    require_mapped_key(mapping.name, [c.target for c in columns], key)
    lines = []
    made = []
    for planned in columns:
        column = source.column(planned.source) if planned.source else None
        if planned.source and column is None and not mapping.init_query:
            raise SchemaDrift(
                f"mapping {mapping.name!r}: {source.name} has no column {planned.source}",
                hint=f"{source.name} has: {', '.join(source.column_names)}.",
            )
        nullable = planned.target not in key
        if planned.transform is not None:
            definition = _result_type(planned.transform, column, collations, mariadb)
            described = _plain_column(planned.target, definition, nullable=nullable)
        elif column is None:
            definition = _fixed_type(planned.value)
            nullable = nullable and planned.value is None
            described = _plain_column(planned.target, definition, nullable=nullable)
        else:
            definition = column_definition(column, collations=collations, mariadb=mariadb, keep_generated=own_names)
            nullable = nullable and column.nullable
            described = as_defined(column, collations=collations, mariadb=mariadb, keep_generated=own_names)
            described = replace(described, name=planned.target, nullable=nullable, auto_increment=False)
        lines.append((planned.target, definition, nullable))
        made.append(described)
    table = Table(mapping.target_name, tuple(made), key)
    _require_bounded_key(mapping, table)
    return create_table_sql(mapping.target_name, lines, key), table


def _plain_column(name: str, definition: str, *, nullable: bool) -> Column:
    return Column(name, re.split(r"\W", definition.lower())[0], definition.lower(), nullable=nullable)


_UNBOUNDED = re.compile(r"(tiny|medium|long)?(text|blob)|json|geom.*|(multi)?(point|linestring|polygon)|vector")


def _require_bounded_key(mapping: TableMapping, table: Table) -> None:
    """No server makes a primary key of whole values that may be of any length."""
    for column in table.columns:
        if column.name in table.primary_key and _UNBOUNDED.fullmatch(column.type):
            raise PrerequisiteError(
                f"mapping {mapping.name!r}: the key column {column.name} would be {column.type} in {table.name}: no"
                " server can make a primary key of that",
                hint="Create the table with a key column of a bounded type, as VARCHAR(190), or correct primary_key.",
            )
