"""The checks before a row is read: servers and tables under which rows would be lost in silence are refused.

`check_source` looks at the source's server. `define` and `resolve` look at the tables of one mapping: `define` creates
a missing target table, `resolve` plans the mapping.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from ..config.pipeline import TableMapping
from ..model.errors import PrerequisiteError, SchemaDrift
from ..model.tables import Column, Table, TableName
from ..plan.exactness import require_exact
from ..plan.resolution import not_null_keys, plan_table, planned_columns
from ..plan.session_columns import session_columns
from ..plan.table_plan import TablePlan
from ..source.mysql_source import MySQLSource
from ..source.source_settings import ROW_IMAGE, ROW_VALUE_OPTIONS, source_role, source_settings
from ..target.control import TargetControl
from ..transforms.filters import check_types
from ..transforms.filters import columns as filter_columns
from ..values.python_values import sample_of
from ..values.widening import family
from .conforming import conform
from .target_table import new_table


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
    source_table: Table | None,
    target_table: Table | None,
    *,
    copying: bool,
) -> Table:
    """Check the source table, and create the target table if there is none.

    Args:
        source_table, target_table: the tables as they are now; None: there is none.

    Returns:
        The source table.

    Raises:
        SchemaDrift, PrerequisiteError: a table cannot be replicated from or to.
    """
    if source_table is None:
        raise SchemaDrift(
            f"mapping {mapping.name!r}: source {mapping.source!r} has no table {mapping.source_name}",
            hint="Correct source_table, or grant SELECT on it. A table that was dropped is copied again once it is made"
            " again (schema_policy: evolve). If it is gone for good, remove the mapping from the pipeline file: the"
            " target table stays as it is.",
        )
    _require_logged(mapping, source_table, source)
    _require_whole_json(mapping, source_table, source)
    _require_whole_rows(mapping, source_table, source)
    columns = planned_columns(mapping, source_table)
    if target_table is None and not copying:  # a new table would lack the rows that were copied before
        raise SchemaDrift(
            f"mapping {mapping.name!r}: target {mapping.target!r} has no table {mapping.target_name} any more",
            hint="Was it dropped, or is target_table new? Run the `snapshot` job for this mapping, to copy it again.",
        )
    if target_table is None:
        collations, mariadb = target.collations(), target.info.is_mariadb
        own = computed_columns(mapping, source, source_table, target)
        created = new_table(mapping, source_table, columns, collations=collations, mariadb=mariadb, computed=own)
        target.create_table(*created)
    return source_table


def resolve(
    mapping: TableMapping,
    target: TargetControl,
    shared_with: Sequence[TableMapping],
    source_table: Table,
    target_table: Table,
    *,
    copying: bool,
    known: Sequence[Column] = (),
    past_key: tuple[str, ...] = (),
    change_is_ahead: bool = False,
    computed: Collection[str] = (),
) -> TablePlan:
    """Plan a mapping.

    Args:
        source_table, target_table: the tables as they are now.
        copying: the table is to be copied. With `evolve` the target then gets all of the source's present columns
            here; otherwise it gets them when the log comes to their change.
        known: the source's columns when it was copied last.
        past_key: the key at the checkpoint.
        change_is_ahead: the log has yet to tell what has changed since the checkpoint. Until then the key's columns are
            those that are known.
        computed: the source's columns that the target has to compute itself.

    Raises:
        SchemaDrift, PrerequisiteError: the tables do not fit each other, or the mapping.
    """
    follows = copying and mapping.columns is None and mapping.schema_policy == "evolve"
    if follows and conform(target, mapping.name, target_table, source_table, known, computed):
        target_table = target.describe(mapping.target_name) or target_table
    past_columns = () if copying else _past_columns(known, source_table, change_is_ahead=change_is_ahead)
    plan = plan_table(mapping, source_table, target_table, shared_with, () if copying else past_key, past_columns)
    _require_comparable(mapping, source_table)
    if copying:  # otherwise a change of the source is judged when the log comes to it
        require_exact(plan)
    return plan


def _past_columns(known: Sequence[Column], source: Table, *, change_is_ahead: bool) -> list[Column]:
    """Those of the known columns that count for the rows to come.

    The log may have more changes ahead once one was followed. Of these only one of kind would be refused too early.
    What was computed counts until the next copy, since the log may lack its values.
    """
    now = {c.name: c for c in source.columns}
    return [c for c in known if change_is_ahead or c.generated or c.name not in now or family(c) != family(now[c.name])]


def require_own_table(
    mapping: TableMapping, mappings: Sequence[TableMapping], source: MySQLSource, target: TargetControl
) -> None:
    """Refuse two names that the target takes for one table. The check of the pipeline file cannot know that.

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
            hint="The target's rows would be replicated into themselves for ever: name another target_table.",
        )


_NOT_A_TABLE = {
    "VIEW": "a view: the log holds changes of its tables only",
    "SYSTEM VIEW": "a view of the server's own",
    "SEQUENCE": "a sequence, not a table",
    "MERGED": "part of a MERGE table: rows that are written through that one are logged as its own",
}
_OF_HISTORY = re.compile(r"\bSYSTEM_TIME\b", re.I)
_WRITING_FOREIGN_KEY = re.compile(
    r"^\s*CONSTRAINT (`(?:[^`]|``)*`) FOREIGN KEY.* ON (?:DELETE|UPDATE) (?:CASCADE|SET)", re.M
)


def _require_logged(mapping: TableMapping, table: Table, source: MySQLSource) -> None:
    """Refuse a table whose changes are not all in the log.

    Raises:
        PrerequisiteError: it is not an ordinary table, or the server keeps its schema out of the log.
    """
    name = table.name
    problem, hint = _NOT_A_TABLE.get(source.table_kind(name), ""), "Map a table whose changes are in the binary log."
    if not problem and not source.logs(name.schema):
        problem = "kept out of the binary log (binlog_do_db or binlog_ignore_db)"
        hint = f"Remove binlog_do_db and binlog_ignore_db for {name.schema} from my.cnf and restart the server."
    if not problem and any(c.is_row_end and c.type != "timestamp" for c in table.columns):
        problem = "system-versioned by numbers of transactions: the server logs its changes as statements"
        hint = f"Make row start and row end of {name} TIMESTAMP(6), of which the log holds rows."
    if not problem and any(c.is_row_end for c in table.columns) and _OF_HISTORY.search(mapping.init_query or ""):
        problem, hint = "system-versioned, and init_query asks for its history", "Leave SYSTEM_TIME out of init_query."
    if problem:
        raise PrerequisiteError(f"mapping {mapping.name!r}: {name} is {problem}", hint=hint)


def unlogged_changes(source: MySQLSource, name: TableName) -> list[str]:
    """Warnings about changes of a table's rows that the server makes by itself and does not log."""
    if source.logs_foreign_key_actions:
        return []
    keys = _WRITING_FOREIGN_KEY.findall(source.definition(name))
    does = "changes or deletes by itself are not in the log"
    return [f"rows of {name} that its foreign key {key} {does}" for key in keys]


def varying_columns(mapping: TableMapping, source: MySQLSource, table: Table) -> list[str]:
    """Warnings about columns that have no value of their own: each session that reads them may see another."""
    if not any(c.generated and not c.of_period for c in table.columns):
        return []
    read = {c.source for c in planned_columns(mapping, table)}
    varying = [name for name in session_columns(source.definition(table.name), table) if name in read]
    said = "depends on who reads it: it arrives as the session that wrote the row saw it, or as the snapshot does"
    return [f"the value of VIRTUAL column {name} of {table.name} {said}" for name in varying]


def computed_columns(mapping: TableMapping, source: MySQLSource, table: Table, target: TargetControl) -> frozenset[str]:
    """The generated columns that a created table computes itself, since the source's log does not hold them.

    Those whose value depends on the session are not among them: the target would compute another one.
    """
    # A created table has no defaults, so that DEFAULT(column) would be another value there.
    named = {c.name for c in table.columns if "default(" in c.generation_expression.lower()}
    names = {c.name for c in table.columns if c.generated and not c.of_period} - named
    if not names or mapping.columns is not None or source.logs_generated_columns or not target.info.is_mariadb:
        return frozenset()
    return frozenset(names.difference(session_columns(source.definition(table.name), table, stored=True)))


def _require_whole_json(mapping: TableMapping, table: Table, source: MySQLSource) -> None:
    """Refuse a table with JSON columns if the server logs only the changed parts of its documents."""
    documents = [c.name for c in table.columns if c.type == "json"]
    for found in source_settings(source, [ROW_VALUE_OPTIONS]) if documents else ():
        if found.problem:
            raise PrerequisiteError(
                f"mapping {mapping.name!r}: source {mapping.source!r} has {found.name}={found.value}, and"
                f" {table.name} the JSON column {', '.join(documents)}",
                hint=found.remedy,
            )


def _require_whole_rows(mapping: TableMapping, table: Table, source: MySQLSource) -> None:
    """Refuse a mapping that needs more than a row's key before each change, if the server logs no more."""
    key = table.primary_key or next(iter(not_null_keys(table)), ())
    if not key:  # then the server logs all columns
        return
    columns = mapping.columns or ()
    by_target = {c.target: c.source for c in columns} or {name: name for name in mapping.primary_key}
    other_key = [name for target in mapping.primary_key if (name := by_target.get(target)) and name not in key]
    if sorted(filter_columns(mapping.filter) - set(key)):
        what = f"its filter looks at {', '.join(sorted(filter_columns(mapping.filter) - set(key)))}"
    elif other_key:
        what = f"its key has {', '.join(other_key)}"
    elif any(c.transform is not None and c.transform.needs_row for c in columns):
        what = "a transform looks at the whole row"
    else:
        return
    (image,) = source_settings(source, [ROW_IMAGE])
    if image.value == "MINIMAL":
        raise PrerequisiteError(
            f"mapping {mapping.name!r}: source {mapping.source!r} has {image.name}={image.value}, and {what}",
            hint=image.remedy,
        )


def _require_comparable(mapping: TableMapping, table: Table) -> None:
    """Refuse a filter that would fail at the first row. Columns that only init_query has are not known yet."""
    samples = {c.name: sample_of(c) for c in table.columns}
    if filter_columns(mapping.filter) <= samples.keys():
        for problem in check_types(mapping.filter, samples):
            problem.mapping = mapping.name
            problem.message = f"mapping {mapping.name!r}: {problem.message}"
            raise problem
