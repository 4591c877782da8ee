"""What has to be done, decided before anything is done. Pure: no connection, no clock, no logging.

`plan_table` joins a mapping with the source's and the target's tables; every name is resolved here.
`next_step` says what a mapping needs, from its checkpoint alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from .checkpoint import Checkpoint
from .errors import PrerequisiteError, SchemaDrift
from .filters import columns as filter_columns
from .model import Column, Phase, Table
from .pipeline import TableMapping
from .transforms import Transform

_WHOLE_NUMBERS = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"})


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
            if any(end is None or end.nullable or end.type not in _WHOLE_NUMBERS for end in ends):
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

        The source table's own key does not count: the log tells when it becomes another.
        """
        parts = [str(self.source.name), str(self.target.name), ",".join(self.mapping.primary_key)]
        if not self.every_column:
            parts += [
                f"{c.target}<-{c.source}|{c.transform.spec if c.transform else ''}|{c.value!r}" for c in self.columns
            ]
        parts += [repr(self.mapping.filter), self.mapping.init_query or ""]
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
    _require_unique_key(mapping, target, key)
    _require_collations(mapping, source, target, columns, key)
    _require_key_types(mapping, source, target, columns, key)
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
    unmapped = [name for name in key if name not in {c.target for c in columns}]
    if unmapped:
        raise PrerequisiteError(f"{where}: the key column {', '.join(unmapped)} is not among the mapped columns")


def _require_unique_key(mapping: TableMapping, target: Table, key: tuple[str, ...]) -> None:
    keys = [target.primary_key, *target.unique_keys]
    if any(set(k) == set(key) for k in keys if k):
        nullable = [name for name in key if (column := target.column(name)) is not None and column.nullable]
        if not nullable:
            return
        raise PrerequisiteError(
            f"mapping {mapping.name!r}: the key column {', '.join(nullable)} of {target.name} may be NULL, and a"
            " unique key takes any number of NULLs",
            hint="Make the column NOT NULL in the target, or correct primary_key.",
        )
    columns = ", ".join(f"`{name}`" for name in key)
    # A primary key on fewer columns would still take rows of two sources for one.
    narrow = bool(target.primary_key) and set(target.primary_key) < set(key)
    what = f"DROP PRIMARY KEY, ADD PRIMARY KEY ({columns})" if narrow else f"ADD UNIQUE KEY ({columns})"
    raise PrerequisiteError(
        f"mapping {mapping.name!r}: {target.name} has no unique key on ({', '.join(key)}), so rows cannot be found",
        hint=f"ALTER TABLE `{target.name.schema}`.`{target.name.table}` {what}, or correct primary_key.",
    )


def _require_collations(
    mapping: TableMapping, source: Table, target: Table, columns: Sequence[PlannedColumn], key: tuple[str, ...]
) -> None:
    """Two source rows must never be one row to the target's collation."""
    for column in columns:
        if column.target not in key or column.source is None or column.transform:
            continue
        theirs, ours = source.column(column.source), target.column(column.target)
        if theirs is None or ours is None or not ours.collation or ours.collation == theirs.collation:
            continue
        if theirs.charset is None or tells_all_apart(ours.collation, theirs.collation or ""):
            continue  # the texts of numbers and times differ in more than letter case
        raise PrerequisiteError(
            f"mapping {mapping.name!r}: key column {column.target} has collation {ours.collation} in the target"
            f" and {theirs.collation or theirs.type} in the source: different source rows could become one",
            hint=f"Give the target's column the source's collation, or {ours.charset}_bin.",
        )


# What a key column's values may become in the target without two of them becoming one.
_KEY_KINDS = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint", "year", "bit"), "whole number"),
    **dict.fromkeys(("float", "double"), "float"),
    **dict.fromkeys(("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"), "text"),
    **dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"), "bytes"),
    **dict.fromkeys(("datetime", "timestamp"), "datetime"),
}


def _require_key_types(
    mapping: TableMapping, source: Table, target: Table, columns: Sequence[PlannedColumn], key: tuple[str, ...]
) -> None:
    """Nor must the target's type make one row of two: '01' and '1' are one number."""
    for column in columns:
        if column.target not in key or column.source is None or column.transform:
            continue
        theirs, ours = source.column(column.source), target.column(column.target)
        if theirs is None or ours is None or _keeps_apart(theirs, ours):
            continue
        raise PrerequisiteError(
            f"mapping {mapping.name!r}: key column {column.target} is {ours.column_type} in the target and"
            f" {theirs.column_type} in the source: different source rows could become one",
            hint=f"Give the target's column the type {theirs.column_type}.",
        )


def _keeps_apart(theirs: Column, ours: Column) -> bool:
    kinds = [_KEY_KINDS.get(c.type, c.type) for c in (theirs, ours)]
    if ours.type == "year" or (ours.type == "binary" and kinds[0] in ("text", "bytes")):
        return theirs.type == ours.type  # 1 and 2001 are one YEAR; BINARY pads x'01' to what x'0100' is
    if kinds[1] == "text" and _loses_spaces(theirs, ours):
        return False
    if kinds == ["bytes", "text"]:
        return tells_all_apart(ours.collation or "", "")
    if "text" in kinds[1:] or kinds[1] == "bytes":
        return kinds[0] != "float"  # any value's text is its own; a value that is too long is refused
    if kinds[0] == "whole number" and kinds[1] == "decimal":
        return True
    if kinds[0] == "date" and kinds[1] == "datetime":
        return True
    if kinds[0] != kinds[1] or kinds[0] == "float":
        return kinds[0] == kinds[1] and (theirs.type == ours.type or ours.type == "double")
    return _fraction_digits(ours) >= _fraction_digits(theirs)


_TRIMMED = ("char", "enum", "set")  # hold no spaces at the end
_LOB_BYTES = {"tiny": 2**8 - 1, "": 2**16 - 1, "medium": 2**24 - 1, "long": 2**32 - 1}
_CHARACTER_BYTES_MAX = 4


def _loses_spaces(theirs: Column, ours: Column) -> bool:
    """Whether the source tells 'a ' from 'a' and the target does not keep the space.

    Where it has no room, a server drops spaces at the end of a text without an error, in any sql_mode.
    """
    if theirs.charset is not None and (theirs.type in _TRIMMED or not _is_no_pad(theirs.collation or "")):
        return False  # no spaces there, or two texts that differ in them only are one key at the source too
    if _KEY_KINDS.get(theirs.type) not in ("text", "bytes"):
        return False
    if (theirs.type, theirs.charset) == (ours.type, ours.charset) and ours.type.endswith("text"):
        return False
    room = _length(ours) // (_CHARACTER_BYTES_MAX if ours.type.endswith("text") else 1)
    return ours.type in _TRIMMED or room < _length(theirs)


def _length(column: Column) -> int:
    """How long a value of a text or bytes column may be: in characters, in bytes for TEXT and BLOB."""
    numbers = re.findall(r"\((\d+)\)", column.column_type)
    return int(numbers[0]) if numbers else _LOB_BYTES.get(re.sub("(text|blob)$", "", column.type), 1)


def _fraction_digits(column: Column) -> int:
    """Digits after the point; what exceeds them is rounded away without an error."""
    numbers = re.findall(r"\d+", column.column_type.partition("(")[2].partition(")")[0])
    if column.type == "decimal":
        return int(numbers[1]) if len(numbers) > 1 else 0
    return int(numbers[0]) if numbers and column.type in ("time", "datetime", "timestamp") else 0


def tells_all_apart(target_collation: str, source_collation: str) -> bool:
    """Whether strings that differ to the source's collation differ to the target's too.

    A binary collation tells all apart but 'a' from 'a ', which it pads (PAD SPACE) unless it is one of
    the NO PAD ones; so it serves where the source's pads as well.
    """
    if target_collation.endswith(("_0900_bin", "_nopad_bin")):
        return True
    return target_collation.endswith("_bin") and bool(source_collation) and not _is_no_pad(source_collation)


def _is_no_pad(collation: str) -> bool:
    return "_0900_" in collation or "nopad" in collation


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


# ---- what a mapping needs now ------------------------------------------------------------------------------
class Step(StrEnum):
    START_COPY = "start copying"  # no checkpoint: take the low watermark, then copy
    RESUME_COPY = "resume copying"
    START_AT_HEAD = "start at head"  # the target is to be taken as it is
    CATCH_UP = "catch up"


def next_step(checkpoint: Checkpoint | None, *, init_if_table_empty: bool, target_is_empty: bool) -> Step:
    """What a run has to do for a mapping."""
    match checkpoint:
        case None if init_if_table_empty and not target_is_empty:
            return Step.START_AT_HEAD
        case None:
            return Step.START_COPY
        case Checkpoint(phase=Phase.COPYING):
            return Step.RESUME_COPY
    return Step.CATCH_UP


def changed_columns(known: Sequence[Column], now: Sequence[Column]) -> bool:
    """Whether the columns of a source table are other than those a checkpoint was made with."""
    return [(c.name, c.column_type) for c in known] != [(c.name, c.column_type) for c in now]
