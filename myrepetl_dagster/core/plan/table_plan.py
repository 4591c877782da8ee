"""What has to be done, decided before anything is done. Pure: no connection, no clock, no logging.

`plan_table` joins a mapping with the source's and the target's tables; every name is resolved here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from ..config.pipeline import TableMapping
from ..model.errors import PrerequisiteError, SchemaDrift
from ..model.tables import Column, Table
from ..transforms.filter_codec import fingerprint_text
from ..transforms.filters import columns as filter_columns
from ..transforms.functions import Transform
from ..values.column_types import WHOLE_NUMBER_TYPES
from ..values.key_safety import require_kept_apart, require_mapped_key, require_unique_key


class UniqueKeys(StrEnum):
    """What unique keys the target has beside the one that the mapping writes by.

    NONE: a row can only collide with its own former self. MIRRORED: the source holds the same keys, so a
    collision can only be with a row that the log will rewrite. FOREIGN: the target is stricter than the
    source; a collision is an error.
    """

    NONE = "none"
    MIRRORED = "mirrored"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class PlannedColumn:
    """One column that the mapping writes: from a source column, or a fixed value (source is None)."""

    target: str
    source: str | None
    transform: Transform | None = None
    value: Any = None


@dataclass(frozen=True, slots=True)
class TablePlan:
    """A mapping with every name resolved. `key` are target columns; so are the indexes' subjects."""

    mapping: TableMapping
    source: Table
    target: Table
    columns: tuple[PlannedColumn, ...]
    key: tuple[str, ...]
    unique_keys: UniqueKeys = UniqueKeys.NONE
    other_unique_keys: tuple[tuple[str, ...], ...] = ()
    every_column: bool = False
    fixed: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.mapping.name

    @property
    def key_indexes(self) -> tuple[int, ...]:
        names = [c.target for c in self.columns]
        return tuple(names.index(name) for name in self.key)

    @property
    def distinct_keys(self) -> bool:
        """Whether keys that differ in the source are different rows to the target, whatever the collations: numbers."""
        for i in self.key_indexes:
            planned = self.columns[i]
            if planned.source is None:
                continue
            ends = (self.source.column(planned.source), self.target.column(planned.target))
            if planned.transform is not None:
                return False
            if any(end is None or end.nullable or end.type not in WHOLE_NUMBER_TYPES for end in ends):
                return False
        return True

    @property
    def enum_indexes(self) -> tuple[int, ...]:
        """The columns that are an ENUM on both sides: they alone can hold its error value."""
        return tuple(
            i
            for i, planned in enumerate(self.columns)
            if planned.source is not None
            and planned.transform is None
            and (column := self.target.column(planned.target)) is not None
            and column.type == "enum"
        )

    @property
    def needed_source_columns(self) -> frozenset[str]:
        """Source columns without which a row cannot be shaped."""
        named = {c.source for c in self.columns if c.source is not None}
        return filter_columns(self.mapping.filter) | named

    def for_layout(self, layout: Sequence[Column]) -> TablePlan:
        """The plan for rows of these columns: of a mapping of every column, those that the target has as well."""
        if not self.every_column:
            return self
        ordinary = {c.name for c in self.target.columns if not c.generated}
        columns = tuple(PlannedColumn(c.name, c.name) for c in layout if c.name in ordinary)
        return self if columns == self.columns else replace(self, columns=columns)

    @property
    def fingerprint(self) -> str:
        """Changes when the same source row would become another target row.

        The checkpoint keeps it, and a mapping with another one than its checkpoint has to be copied again. So the
        text below is a format. The source table's own key does not count: the log tells when it becomes another.
        """
        parts = [str(self.source.name), str(self.target.name), ",".join(self.mapping.primary_key)]
        if not self.every_column:
            parts += [
                f"{c.target}<-{c.source}|{c.transform.spec if c.transform else ''}|{c.value!r}" for c in self.columns
            ]
        parts += [fingerprint_text(self.mapping.filter), self.mapping.init_query or ""]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def plan_table(
    mapping: TableMapping,
    source: Table,
    target: Table,
    shared_with: Sequence[TableMapping],
    past_key: tuple[str, ...] = (),
) -> TablePlan:
    """Resolve a mapping against both tables.

    Args:
        shared_with: the other mappings into the same target table.
        past_key: what told rows apart at the checkpoint; the source may have got another key since, which
            counts from the place on where the log says so.

    Raises:
        SchemaDrift: a column that the mapping names is in neither table.
        PrerequisiteError: the key does not tell rows apart in the target.
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
        # What the target lacks it will get when the log comes to the place where the source got it.
        columns = tuple(c for c in columns if c.target in held)
    columns = tuple(c for c in columns if not _computed_by_target(target, c.target))
    if past_key and not mapping.primary_key:
        key, columns = _earlier_key(past_key, mapping, source, target, columns)
    else:
        key = planned_key(mapping, source, columns)
    _require_columns(mapping, source, target, columns, key)
    require_unique_key(mapping.name, target, key)
    require_kept_apart(mapping.name, _copied_columns(source, target, (c for c in columns if c.target in key)))
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
    )


def planned_columns(mapping: TableMapping, source: Table) -> tuple[PlannedColumn, ...]:
    """The columns that the mapping writes, in order."""
    if mapping.columns is None:
        return tuple(PlannedColumn(c.name, c.name) for c in source.columns)
    return tuple(
        PlannedColumn(c.target, None, value=c.value) if c.has_value else PlannedColumn(c.target, c.source, c.transform)
        for c in mapping.columns
    )


def planned_key(mapping: TableMapping, source: Table, columns: Sequence[PlannedColumn]) -> tuple[str, ...]:
    """The target columns that tell rows apart: the mapping's, or the source table's own key."""
    if mapping.primary_key:
        return mapping.primary_key
    own = source.primary_key or next(iter(not_null_keys(source)), ())
    if not own:
        raise PrerequisiteError(
            f"mapping {mapping.name!r}: {source.name} has no primary key and the mapping names none",
            hint="Add `primary_key` to the mapping, or a primary key to the table.",
        )
    by_source = {c.source: c.target for c in columns if c.source and not c.transform}
    return tuple(by_source.get(name, name) for name in own)


def _earlier_key(
    past: tuple[str, ...],
    mapping: TableMapping,
    source: Table,
    target: Table,
    columns: tuple[PlannedColumn, ...],
) -> tuple[tuple[str, ...], tuple[PlannedColumn, ...]]:
    """The key before a change that lies ahead in the log (its columns may be called otherwise by now)."""
    held = set(target.column_names)
    key = past
    if not held.issuperset(past):  # renamed already in the target, by a run that was interrupted
        own = planned_key(mapping, source, columns)
        key = next((key for key in (own, target.primary_key) if key and held.issuperset(key)), own)
    named = {c.target for c in columns}
    return key, (*columns, *(PlannedColumn(name, name) for name in key if name not in named and name in held))


def not_null_keys(table: Table) -> list[tuple[str, ...]]:
    """Unique keys all of whose columns are NOT NULL: each tells every row apart."""
    nullable = {c.name for c in table.columns if c.nullable}
    names = set(table.column_names)
    return [key for key in table.unique_keys if not nullable & set(key) and set(key) <= names]


def _computed_by_target(target: Table, name: str) -> bool:
    column = target.column(name)
    return column is not None and column.generated


def _own_number_only(target: Table, key: tuple[str, ...], columns: Sequence[PlannedColumn]) -> bool:
    """A surrogate key that only the target fills (AUTO_INCREMENT) never collides."""
    written = {c.target for c in columns}
    column = target.column(key[0]) if len(key) == 1 else None
    return column is not None and column.auto_increment and column.name not in written


def _copied_columns(source: Table, target: Table, columns: Iterable[PlannedColumn]) -> list[tuple[Column, Column]]:
    """The source's and the target's column of each that is copied as it is."""
    ends = ((source.column(c.source), target.column(c.target)) for c in columns if c.source and not c.transform)
    return [(theirs, ours) for theirs, ours in ends if theirs is not None and ours is not None]


def _require_columns(
    mapping: TableMapping, source: Table, target: Table, columns: Sequence[PlannedColumn], key: tuple[str, ...]
) -> None:
    where = f"mapping {mapping.name!r}"
    if not mapping.init_query:
        past = key if mapping.columns is None else ()  # the log will say what became of it
        missing = [c.source for c in columns if c.source and source.column(c.source) is None and c.source not in past]
        missing += [name for name in filter_columns(mapping.filter) if source.column(name) is None]
        if missing:
            hint = f"{source.name} has: {', '.join(source.column_names)}."
            raise SchemaDrift(f"{where}: {source.name} has no column {', '.join(map(str, missing))}", hint=hint)
    if mapping.columns is not None or mapping.schema_policy == "fail":
        absent = [c.target for c in columns if target.column(c.target) is None]
        if absent:
            hint = f"{target.name} has: {', '.join(target.column_names)}."
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
    source_keys = [set(k) for k in (source.primary_key, *source.unique_keys) if k]
    for other in others:
        own = {plain[name] for name in other if name in plain}
        known = all(name in plain or name in fixed for name in other)
        same_collation = all(_same_collation(source, target, plain, name) for name in other)
        covered = any(k <= own for k in source_keys)
        alone = not shared_with or bool(fixed & set(other))
        if not (known and same_collation and covered and alone):
            return UniqueKeys.FOREIGN
    return UniqueKeys.MIRRORED


def _same_collation(source: Table, target: Table, plain: dict[str, str], name: str) -> bool:
    if name not in plain:
        return True
    theirs, ours = source.column(plain[name]), target.column(name)
    return theirs is not None and ours is not None and theirs.collation == ours.collation
