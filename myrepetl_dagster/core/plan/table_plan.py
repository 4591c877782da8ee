"""A table's plan: its mapping with every name resolved. Every room from here on works by it. Pure.

`resolution.py` makes plans of a mapping and its tables.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from ..config.pipeline import TableMapping
from ..model.tables import Column, Table
from ..transforms.filter_codec import fingerprint_text
from ..transforms.filters import columns as filter_columns
from ..transforms.functions import Transform
from ..values.column_types import WHOLE_NUMBER_TYPES


class UniqueKeys(StrEnum):
    """The unique keys of the target besides the one by which the mapping finds rows.

    NONE: there are none, so a row can collide only with its own former state. MIRRORED: the source has the same keys,
    so a row can also collide with one that the log is about to change. FOREIGN: the source lacks one of the keys, so a
    collision is an error.
    """

    NONE = "none"
    MIRRORED = "mirrored"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class PlannedColumn:
    """A column that the mapping writes: from a source column, or with a fixed value (`source` is None)."""

    target: str
    source: str | None
    transform: Transform | None = None
    value: Any = None


@dataclass(frozen=True, slots=True)
class TablePlan:
    """A mapping with every name resolved.

    `columns`: the columns that the mapping writes, in order. `key`: the target columns by which rows are found.
    `other_unique_keys`: the target's other unique keys that can collide, and `unique_keys` their kind. `every_column`:
    the mapping lists no columns. `fixed`: target columns with a fixed value. `past_columns`: the source's at the
    checkpoint, as far as they differ from those of now. `row_ends`: source columns by which the log tells current rows
    of a system-versioned table from its history, now or at the checkpoint.
    """

    mapping: TableMapping
    source: Table
    target: Table
    columns: tuple[PlannedColumn, ...]
    key: tuple[str, ...]
    unique_keys: UniqueKeys = UniqueKeys.NONE
    other_unique_keys: tuple[tuple[str, ...], ...] = ()
    every_column: bool = False
    fixed: dict[str, Any] = field(default_factory=dict)
    past_columns: tuple[Column, ...] = ()
    row_ends: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.mapping.name

    @property
    def key_indexes(self) -> tuple[int, ...]:
        """The places of the key's columns in `columns`."""
        names = [c.target for c in self.columns]
        return tuple(names.index(name) for name in self.key)

    @property
    def distinct_keys(self) -> bool:
        """Whether keys that differ at the source differ in the target by their bytes, too: they are whole numbers."""
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
        """The places in `columns` of those that are an ENUM on both sides: they alone can hold its error value."""
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
        """The source columns that are written or that the filter looks at."""
        named = {c.source for c in self.columns if c.source is not None}
        return filter_columns(self.mapping.filter) | named

    def for_layout(self, layout: Sequence[Column]) -> TablePlan:
        """The plan for rows of these columns. A mapping of every column writes those that the target has, too."""
        if not self.every_column:
            return self
        ordinary = {c.name for c in self.target.columns if not c.generated}
        ordinary -= {c.name for c in self.source.columns if c.hidden}
        columns = tuple(PlannedColumn(c.name, c.name) for c in layout if c.name in ordinary)
        return self if columns == self.columns else replace(self, columns=columns)

    @property
    def fingerprint(self) -> str:
        """Changes when the same source row would become another target row.

        The checkpoint keeps it, and a mapping with another fingerprint must be copied again. So the text below is a
        format. The source table's own key does not count: the log says when it changes.
        """
        parts = [str(self.source.name), str(self.target.name), ",".join(self.mapping.primary_key)]
        if not self.every_column:
            parts += [
                f"{c.target}<-{c.source}|{c.transform.spec if c.transform else ''}|{c.value!r}" for c in self.columns
            ]
        parts += [fingerprint_text(self.mapping.filter), self.mapping.init_query or ""]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
