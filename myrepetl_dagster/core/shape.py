"""Row images into what the target has to do: filter, map, transform. Pure, and the same for both readers.

A mutation is (key, row): the key's literals and all the mapped columns' literals, or None for a row that has
to go. From here on a value is SQL text; `apply.py` never looks into it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Protocol, TypeVar

from .bulk_rows import BulkRows
from .errors import SchemaDrift
from .filters import columns as filter_columns
from .filters import compile_filter
from .literal_code import Form, Writer, row_writer
from .literal_code import LiteralRow as LiteralRow
from .model import Column, Row
from .plan import PlannedColumn, TablePlan
from .python_columns import transform_failed
from .row_events import RowChanges
from .values import any_literal, from_python, literal_for, to_python

LiteralKey = tuple[str, ...]
Mutation = tuple[LiteralKey, LiteralRow | None]
Change = tuple[Row | None, Row | None]


# The cells of a key, and the last image of its row; None for a row that went.
LastImages = dict[Row, bytes | None]


@dataclass(frozen=True, slots=True)
class Rendered:
    """Rows ready to be written: keys that go, and of those that stay their SQL tuples, or their parameters for
    a target that takes rows in bulk; `mutations` tells both row by row.
    """

    gone: list[LiteralKey]
    tuples: list[str]
    mutations: Callable[[], list[Mutation]]
    bulk: BulkRows | None = None


# What is written as it is: all of it as SQL, or as the log's own images.
Ready = Rendered | RowChanges
_Made = TypeVar("_Made")


class Images(Protocol):
    """Whoever put images among shaped rows, and can tell what they mean (`images.ImageShaper`)."""

    def mutations(self, last: LastImages) -> list[Mutation]: ...
    def rendered(self, last: LastImages) -> Rendered | None: ...
    def changes(self, last: LastImages, fresh: Collection[Row]) -> RowChanges | None: ...


@dataclass(slots=True)
class Shaped:
    """What is to be done, and where every row read went.

    First the mutations, in the order of the changes; then the last images of rows that came after them, each key
    once, which `settle` makes mutations of. `fresh` are those of their keys whose rows were not there before.
    """

    mutations: list[Mutation] = field(default_factory=list)
    rows_read: int = 0
    rows_upserted: int = 0
    rows_deleted: int = 0
    rows_filtered: int = 0
    last: LastImages = field(default_factory=dict)
    fresh: set[Row] = field(default_factory=set)
    images: Images | None = None

    @property
    def rows_pending(self) -> int:
        """How many rows there are to write."""
        return len(self.mutations) + len(self.last)

    def images_of(self, images: Images) -> LastImages:
        """Where these images go."""
        if images is not self.images:
            self.settle()
            self.images = images
        return self.last

    def settle(self) -> list[Mutation]:
        """Everything as mutations.

        Raises:
            UnsupportedEvent: an image holds what no value of its column can be.
        """
        if self.images is not None and self.last:
            self.mutations += self.images.mutations(self.last)
            self.last, self.fresh = {}, set()
        return self.mutations

    def ready(self, *, as_changes: bool) -> Ready | None:
        """Everything, if it can be written as it is.

        Args:
            as_changes: as images, where they can be; else rendered.
        """
        if self.mutations or self.images is None or not self.last:
            return None
        changes = self.images.changes(self.last, self.fresh) if as_changes else None
        return changes or self.images.rendered(self.last)

    def ready_apart(
        self, taken: Sequence[Shaped], *, distinct_keys: bool, as_changes: bool
    ) -> tuple[Ready | None, Ready | None] | None:
        """Everything in two parts: rows of keys that none has `taken`, and the rest, with all that goes; None where
        it cannot be written so.

        Args:
            distinct_keys: keys that differ are different rows to the target. Else a row that goes may be one that stays
                under another spelling, and there is no first part.
        """
        if self.mutations or any(one.mutations for one in taken):
            return None
        if not self.last:
            return None, None
        if self.images is None or any(one.last and one.images is not self.images for one in taken):
            return None
        held = set[Row]().union(*(one.last for one in taken))
        if as_changes and (changes := self._changes_apart(self.images, held)) is not None:
            return changes
        whole = not distinct_keys and None in self.last.values()
        early: LastImages = {}
        late = self.last
        if not whole:
            early = {key: row for key, row in self.last.items() if row is not None and key not in held}
        if early:
            late = {key: row for key, row in self.last.items() if row is None or key in held}
        return _both(self.images.rendered, early, late)

    def _changes_apart(self, images: Images, held: set[Row]) -> tuple[RowChanges | None, RowChanges | None] | None:
        # What goes is there, or the target says so: it need not wait for what others write.
        late = {key: row for key, row in self.last.items() if key in held}
        early = {key: row for key, row in self.last.items() if key not in held} if late else self.last
        return _both(lambda part: images.changes(part, self.fresh), early, late)

    def mutations_apart(
        self, taken: Sequence[Shaped], *, distinct_keys: bool
    ) -> tuple[list[Mutation], list[Mutation]] | None:
        """The same of mutations, of which only the last one of each key counts."""
        if any(one.last for one in taken):
            return None
        last = dict(self.settle())
        if not distinct_keys and None in last.values():
            return [], list(last.items())
        held = {key for one in taken for key, _ in one.mutations}
        early: list[Mutation] = [(key, row) for key, row in last.items() if row is not None and key not in held]
        return early, [(key, row) for key, row in last.items() if row is None or key in held]

    def drop(self) -> None:
        """Forget what is to be done."""
        self.mutations, self.last, self.fresh = [], {}, set()

    def take(self, other: Shaped) -> None:
        """Add what comes after."""
        if other.mutations:
            self.settle()
            self.mutations += other.mutations
        if other.images is not None and other.last:
            last = self.images_of(other.images)
            self.fresh |= other.fresh.difference(last)
            last.update(other.last)
        self.rows_read += other.rows_read
        self.rows_upserted += other.rows_upserted
        self.rows_deleted += other.rows_deleted
        self.rows_filtered += other.rows_filtered

    def check(self) -> None:
        assert self.rows_read == self.rows_upserted + self.rows_deleted + self.rows_filtered, "a row went missing"


def _both(
    make: Callable[[LastImages], _Made | None], early: LastImages, late: LastImages
) -> tuple[_Made | None, _Made | None] | None:
    """What is made of each part, if there is anything in it; None where one cannot be made."""
    parts = [make(part) if part else None for part in (early, late)]
    if any(part and made is None for part, made in zip((early, late), parts, strict=True)):
        return None
    return parts[0], parts[1]


def key_getter(indexes: Sequence[int]) -> Callable[[LiteralRow], LiteralKey]:
    """Picks a key's literals from a row's."""
    if len(indexes) == 1:
        at = indexes[0]
        return lambda row: (row[at],)
    return itemgetter(*indexes)


class Shaper:
    """Shapes rows of one layout (the columns of a table map or of a query's result, in order).

    Raises:
        SchemaDrift: the layout lacks a column that the mapping needs.
    """

    def __init__(self, plan: TablePlan, layout: Sequence[Column]) -> None:
        self.plan = plan = plan.for_layout(layout)
        self._index = {column.name: i for i, column in enumerate(layout)}
        needed = plan.needed_source_columns | (set(plan.key) if plan.every_column else set())
        missing = sorted(name for name in needed if name not in self._index)
        if missing:
            raise SchemaDrift(
                f"mapping {plan.name!r}: the rows of {plan.source.name} have no column {', '.join(missing)}",
                hint="The source table or init_query changed: correct the mapping, then run the `snapshot` job for it.",
            )
        self._python = {column.name: to_python(column) for column in layout}
        self._layout = layout
        writers = [self._writer(planned) for planned in plan.columns]
        at = [self._index.get(planned.source or "", 0) for planned in plan.columns]
        keys = plan.key_indexes
        self.row = row_writer(writers, at)
        self._key = row_writer([writers[i] for i in keys], [at[i] for i in keys])
        self._key_of: Callable[[LiteralRow], LiteralKey] = key_getter(keys)
        self._passes = self._filter()

    def shape(self, changes: Iterable[Change], into: Shaped) -> None:
        """Add what the changes mean for the target.

        Raises:
            RowRejected: a transform failed.
        """
        into.settle()
        add = into.mutations.append
        passes, row_of, key_of, old_key_of = self._passes, self.row, self._key_of, self._key
        for before, after in changes:
            into.rows_read += 1
            # Of a before image only the key counts.
            old = None if before is None or (passes and not passes(before)) else old_key_of(before)
            if after is not None and (passes is None or passes(after)):
                row = row_of(after)
                key = key_of(row)
                # A row that moved to another key has to leave its old one.
                if old is not None and old != key:
                    add((old, None))
                add((key, row))
                into.rows_upserted += 1
            elif old is not None:
                add((old, None))
                into.rows_deleted += 1
            else:
                into.rows_filtered += 1

    def _filter(self) -> Callable[[Row], bool] | None:
        expression = self.plan.mapping.filter
        if expression is None:
            return None
        passes = compile_filter(expression)
        columns = [(name, self._index[name], self._python[name]) for name in filter_columns(expression)]

        def check(row: Row) -> bool:
            return passes({name: convert(row[i]) for name, i, convert in columns})

        return check

    def forms(self) -> list[Form]:
        """How each literal is made: from a column, by a function of its cell, or always the same.

        Of a mapping without transforms.
        """
        forms: list[Form] = []
        for planned in self.plan.columns:
            if planned.source is None:
                forms.append(any_literal(from_python(planned.value)))
                continue
            column = self._layout[self._index[planned.source]]
            forms.append(literal_for(column, self.plan.target.column(planned.target)) or column)
        return forms

    def key_writers(self, ordinals: Sequence[int]) -> list[Column | Writer]:
        """Writers of the key's literals, for rows that hold only the cells of these columns of the layout.

        Of a mapping whose key has no transform.
        """
        at = {ordinal: i for i, ordinal in enumerate(ordinals)}
        return [self._writer(self.plan.columns[i], at) for i in self.plan.key_indexes]

    def _writer(self, planned: PlannedColumn, at: Mapping[int, int] | None = None) -> Column | Writer:
        """How a column's literal is made. `at`: where in the row a column of the layout is."""
        if planned.source is None:
            fixed = any_literal(from_python(planned.value))
            return lambda row: fixed
        index = self._index[planned.source]
        if planned.transform is None:
            column, place = self._layout[index], index if at is None else at[index]
            literal = literal_for(column, self.plan.target.column(planned.target))
            return column if literal is None else lambda row: literal(row[place])
        return self._transformed(planned, index)

    def _transformed(self, planned: PlannedColumn, index: int) -> Writer:
        transform = planned.transform
        assert transform is not None
        assert planned.source is not None
        convert = self._python[planned.source]
        source_table = f"{self.plan.mapping.source}.{self.plan.mapping.source_table}"
        no_row: Mapping[str, Any] = {}
        needs_row = transform.needs_row

        def write(row: Row) -> str:
            data = self.python_row(row) if needs_row else no_row
            try:
                return any_literal(from_python(transform.call(convert(row[index]), data, source_table)))
            except Exception as error:
                raise transform_failed(self.plan, planned, error, f", row with {self.described_key(row)}") from None

        return write

    def python_row(self, row: Row) -> dict[str, Any]:
        """A row as transforms see it: column name to Python value."""
        return {name: self._python[name](row[i]) for name, i in self._index.items()}

    def described_key(self, row: Row) -> str:
        """The row's key by its source columns, for messages."""
        parts = []
        for name in self.plan.key:
            planned = next(c for c in self.plan.columns if c.target == name)
            if planned.source is not None:
                parts.append(f"{planned.source}={self._python[planned.source](row[self._index[planned.source]])!r}")
        return ", ".join(parts) or "no key column of the source"
