"""Resolves a mapping against its tables: which columns are written, and by which key rows are found. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..config.pipeline import TableMapping
from ..model.errors import PrerequisiteError, SchemaDrift
from ..model.tables import Column, Table
from ..transforms.filters import columns as filter_columns
from ..values.collations import is_one_collation
from ..values.key_safety import require_kept_apart, require_mapped_key, require_unique_key
from .table_plan import PlannedColumn, TablePlan, UniqueKeys


def plan_table(
    mapping: TableMapping,
    source: Table,
    target: Table,
    shared_with: Sequence[TableMapping],
    past_key: tuple[str, ...] = (),
    past_columns: Sequence[Column] = (),
) -> TablePlan:
    """The plan of a mapping by both of its tables.

    Args:
        source, target: the tables as they are now.
        shared_with: the other mappings into the same target table.
        past_key: the key at the checkpoint. The source may have another one by now, which counts from the place on at
            which the log says so. Empty for a copy.
        past_columns: the source's columns at the checkpoint, likewise.

    Raises:
        SchemaDrift: a table lacks a column that the mapping needs.
        PrerequisiteError: the target cannot find rows by the key, or would make one row of two.
    """
    columns = planned_columns(mapping, source)
    if mapping.columns is None:
        held = set(target.column_names)
        missing = [c.target for c in columns if c.target not in held]
        if missing and mapping.schema_policy == "fail" and not past_key:
            raise SchemaDrift(
                f"mapping {mapping.name!r}: {target.name} has no column {', '.join(missing)}",
                hint="Add it to the target, or set schema_policy: evolve.",
            )
        # The target gets a column that it lacks when the log comes to the place where the source got it.
        columns = tuple(c for c in columns if c.target in held)
    columns = tuple(c for c in columns if not _computed_by_target(target, c.target))
    if past_key and not mapping.primary_key:
        key, columns = _earlier_key(past_key, mapping, source, target, columns)
    else:
        key = planned_key(mapping, source, columns)
    _require_columns(mapping, source, target, columns, key)
    lengths = key_lengths(source, columns, key)
    require_unique_key(mapping.name, target, key, lengths, of_source=not mapping.primary_key)
    past = replace(source, columns=tuple({c.name: c for c in (*source.columns, *past_columns)}.values()))
    copied = _copied_columns(past, target, (c for c in columns if c.target in key))
    require_kept_apart(mapping.name, copied, one_flavour=source.mariadb == target.mariadb)
    row_ends = tuple(dict.fromkeys(c.name for c in (*source.columns, *past_columns) if c.is_row_end))
    others = tuple(
        other
        for other in (*((target.primary_key,) if target.primary_key else ()), *target.unique_keys)
        if set(other) != set(key) and not _own_number_only(target, other, columns)
    )
    return TablePlan(
        mapping=mapping,
        source=source,
        target=target,
        columns=columns,
        key=key,
        other_unique_keys=others,
        every_column=mapping.columns is None,
        unique_keys=_unique_keys(source, target, columns, others, shared_with),
        fixed={c.target: c.value for c in columns if c.source is None},
        past_columns=tuple(past_columns),
        row_ends=row_ends,
    )


def planned_columns(mapping: TableMapping, source: Table) -> tuple[PlannedColumn, ...]:
    """The columns that the mapping writes, in order."""
    if mapping.columns is None:
        return tuple(PlannedColumn(c.name, c.name) for c in source.columns if not c.hidden)
    return tuple(
        PlannedColumn(c.target, None, value=c.value) if c.has_value else PlannedColumn(c.target, c.source, c.transform)
        for c in mapping.columns
    )


def planned_key(mapping: TableMapping, source: Table, columns: Sequence[PlannedColumn]) -> tuple[str, ...]:
    """The target columns by which rows are found: the mapping's key, or else the source table's own."""
    if mapping.primary_key:
        return mapping.primary_key
    own = source.primary_key or next(iter(not_null_keys(source)), ())
    if not own:
        raise PrerequisiteError(
            f"mapping {mapping.name!r}: {source.name} has no primary key and the mapping names none",
            hint="Add `primary_key` to the mapping, or a primary key to the table.",
        )
    by_source = {c.source: c.target for c in columns if c.source and not c.transform}
    # Rows that differ at a column's beginning differ as a whole, too.
    return tuple(by_source.get(name, name) for name in source.key_columns(own))


def key_lengths(source: Table, columns: Sequence[PlannedColumn], key: Sequence[str]) -> dict[str, int]:
    """The key columns whose beginning alone tells the source's rows apart, and how much of each, by its primary key."""
    parts = dict(map(source.key_part, source.primary_key))
    plain = {c.target: c.source for c in columns if c.source and not c.transform and c.target in key}
    if not parts.keys() <= set(plain.values()):
        return {}
    return {target: length for target, name in plain.items() if name and (length := parts.get(name)) is not None}


def _earlier_key(
    past: tuple[str, ...],
    mapping: TableMapping,
    source: Table,
    target: Table,
    columns: tuple[PlannedColumn, ...],
) -> tuple[tuple[str, ...], tuple[PlannedColumn, ...]]:
    """(The key before a change that the log has not told yet, the columns with those of that key).

    The target's columns may have their new names already, if the run that renamed them was interrupted.
    """
    held = set(target.column_names)
    key = past
    if not held.issuperset(past):
        own = planned_key(mapping, source, columns)
        key = next((key for key in (own, target.primary_key) if key and held.issuperset(key)), own)
    named = {c.target for c in columns}
    return key, (*columns, *(PlannedColumn(name, name) for name in key if name not in named and name in held))


def has_key_of_now(source: Table, target: Table, past_key: tuple[str, ...]) -> bool:
    """Whether the target has been given the source's present key in place of the key at the checkpoint.

    By that one no row is found any more. If its columns have other names, that is a change that the log tells of.
    """
    own = source.primary_key or next(iter(not_null_keys(source)), ())
    keys = [set(key) for key in (target.primary_key, *target.unique_keys)]
    return set(past_key) <= set(target.column_names) and set(past_key) not in keys and set(own) in keys


def not_null_keys(table: Table) -> list[tuple[str, ...]]:
    """The unique keys whose columns are all NOT NULL: no two rows are equal by one of them."""
    nullable = {c.name for c in table.columns if c.nullable}
    names = set(table.column_names)
    return [key for key in table.unique_keys if not nullable & set(key) and set(key) <= names]


def _computed_by_target(target: Table, name: str) -> bool:
    column = target.column(name)
    return column is not None and column.generated


def _own_number_only(target: Table, key: tuple[str, ...], columns: Sequence[PlannedColumn]) -> bool:
    """Whether only the target fills the key, by AUTO_INCREMENT: such a key never collides."""
    written = {c.target for c in columns}
    column = target.column(key[0]) if len(key) == 1 else None
    return column is not None and column.auto_increment and column.name not in written


def _copied_columns(source: Table, target: Table, columns: Iterable[PlannedColumn]) -> list[tuple[Column, Column]]:
    """(Source column, target column) of each column that is copied as it is."""
    ends = ((source.column(c.source), target.column(c.target)) for c in columns if c.source and not c.transform)
    return [(theirs, ours) for theirs, ours in ends if theirs is not None and ours is not None]


def _require_columns(
    mapping: TableMapping, source: Table, target: Table, columns: Sequence[PlannedColumn], key: tuple[str, ...]
) -> None:
    where = f"mapping {mapping.name!r}"
    if not mapping.init_query:
        past = key if mapping.columns is None else ()  # the source may lack these by now: the log will say so
        missing = [c.source for c in columns if c.source and source.column(c.source) is None and c.source not in past]
        asked = [name for name in filter_columns(mapping.filter) if source.column(name) is None]
        if missing or asked:
            hint = f"{source.name} has: {', '.join(source.column_names)}."
            names = ", ".join(dict.fromkeys([*map(str, missing), *(f"{name} (of the filter)" for name in asked)]))
            raise SchemaDrift(f"{where}: {source.name} has no column {names}", hint=hint)
    if mapping.columns is not None or mapping.schema_policy == "fail":
        absent = [c.target for c in columns if target.column(c.target) is None]
        if absent:
            hint = (
                f"{target.name} has: {', '.join(target.column_names)}. Add it by ALTER TABLE; if the table was copied "
                "before, run the snapshot job, too."
            )
            raise SchemaDrift(f"{where}: {target.name} has no column {', '.join(absent)}", hint=hint)
    require_mapped_key(mapping.name, [c.target for c in columns], key)


def _unique_keys(
    source: Table,
    target: Table,
    columns: Sequence[PlannedColumn],
    others: Sequence[tuple[str, ...]],
    shared_with: Sequence[TableMapping],
) -> UniqueKeys:
    if not others:
        return UniqueKeys.NONE
    plain = {c.target: c.source for c in columns if c.source and not c.transform}
    fixed = {c.target for c in columns if c.source is None}
    source_keys = [dict(map(source.key_part, k)) for k in (source.primary_key, *source.unique_keys) if k]
    for other in others:
        parts = dict(map(target.key_part, other))
        own = {plain[name]: length for name, length in parts.items() if name in plain}
        known = all(name in plain or name in fixed for name in parts)
        same_collation = all(_same_collation(source, target, plain, name) for name in parts)
        covered = any(_covers(k, own) for k in source_keys)
        alone = not shared_with or bool(fixed & set(parts))
        if not (known and same_collation and covered and alone):
            return UniqueKeys.FOREIGN
    return UniqueKeys.MIRRORED


def _covers(key: dict[str, int | None], other: dict[str, int | None]) -> bool:
    """Whether rows that differ in the other key differ in the key, too. Both: how much of each column counts."""

    def within(length: int | None, others: int | None) -> bool:
        return others is None or (length is not None and length <= others)

    return key.keys() <= other.keys() and all(within(length, other[name]) for name, length in key.items())


def _same_collation(source: Table, target: Table, plain: dict[str, str], name: str) -> bool:
    if name not in plain:
        return True
    theirs, ours = source.column(plain[name]), target.column(name)
    if theirs is None or ours is None:
        return False
    return is_one_collation(theirs.collation, ours.collation, one_flavour=source.mariadb == target.mariadb)
