"""Rows to what the target has to do: filter, map, transform. Pure, and the same for snapshots and the log.

From here on a value is SQL text. `row_writer.py` looks for nothing in it but an ENUM's error value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from operator import itemgetter
from typing import Any

from ..model.errors import ReplicationError, SchemaDrift
from ..model.tables import Column, Row
from ..plan.table_plan import PlannedColumn, TablePlan
from ..transforms.filters import columns as filter_columns
from ..transforms.filters import compile_filter
from ..values.literals import any_literal, literal_for
from ..values.python_values import from_python, to_python
from .current_rows import only_current
from .literal_codegen import LiteralKey, LiteralRow, LiteralSource, Transformed, Writer, row_writer
from .pending_rows import PendingRows
from .value_transforms import filter_failed, made_of, needs_own_value_only, transform_failed

Change = tuple[Row | None, Row | None]


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
        self._row_ends = [name for name in plan.row_ends if name in self._index]
        self.filtered_by = filter_columns(plan.mapping.filter).union(self._row_ends)  # the columns that `passes` sees
        writers, at = self.column_writers()
        keys = plan.key_indexes
        self.row = row_writer(writers, at)
        self.key_of_row = row_writer([writers[i] for i in keys], [at[i] for i in keys])
        self.key_of: Callable[[LiteralRow], LiteralKey] = key_getter(keys)
        self._passes = self.passes()

    def shape(self, changes: Iterable[Change], into: PendingRows) -> None:
        """Add what the changes mean for the target.

        Raises:
            RowRejected: a transform or the filter failed.
        """
        into.to_mutations()
        add = into.mutations.append
        passes, row_of, key_of, old_key_of = self._passes, self.row, self.key_of, self.key_of_row
        for before, after in changes:
            into.rows_read += 1
            # Nothing but the key of a before image counts.
            old = None if before is None or (passes and not passes(before)) else old_key_of(before)
            if after is not None and (passes is None or passes(after)):
                row = row_of(after)
                key = key_of(row)
                # The row has another key now, and has to leave its old one.
                if old is not None and old != key:
                    add((old, None))
                add((key, row))
                into.rows_upserted += 1
            elif old is not None:
                add((old, None))
                into.rows_deleted += 1
            else:
                into.rows_filtered += 1

    def passes(self, ordinals: Sequence[int] | None = None) -> Callable[[Row], bool] | None:
        """The mapping's filter: for whole rows, or for rows that hold nothing but the cells of these columns.

        History of a system-versioned table does not pass. It raises RowRejected where it fails. Only a whole row tells
        which row that is.
        """
        expression = self.plan.mapping.filter
        at = range(len(self._layout)) if ordinals is None else {ordinal: i for i, ordinal in enumerate(ordinals)}
        ends = [at[self._index[name]] for name in self._row_ends]
        if expression is None:
            return only_current(ends, None)
        passes = compile_filter(expression)
        columns = [(name, at[self._index[name]], self._python[name]) for name in filter_columns(expression)]

        def check(row: Row) -> bool:
            try:
                return passes({name: convert(row[i]) for name, i, convert in columns})
            except ReplicationError as error:  # names the column
                error.mapping = self.plan.name
                raise
            except Exception as error:
                where = f", row with {self.described_key(row)}" if ordinals is None else ""
                raise filter_failed(self.plan, error, where) from None

        return only_current(ends, check)

    def literal_sources(self) -> list[LiteralSource] | None:
        """What each literal is made from; None if a transform looks at the whole row."""
        if not all(map(needs_own_value_only, self.plan.columns)):
            return None
        sources: list[LiteralSource] = []
        for planned in self.plan.columns:
            if planned.source is None:
                sources.append(any_literal(from_python(planned.value)))
                continue
            if planned.transform is not None:
                made = partial(made_of, self.plan, planned, self._python[planned.source])
                sources.append(Transformed(made(from_python), made(lambda value: any_literal(from_python(value)))))
                continue
            column = self._layout[self._index[planned.source]]
            sources.append(literal_for(column, self.plan.target.column(planned.target)) or column)
        return sources

    def key_writers(self, ordinals: Sequence[int]) -> list[Column | Writer]:
        """Writers of the key's literals, for rows that hold nothing but the cells of these columns.

        This is for mappings whose key has no transform.
        """
        at = {ordinal: i for i, ordinal in enumerate(ordinals)}
        return [self._writer(self.plan.columns[i], at) for i in self.plan.key_indexes]

    def column_writers(self) -> tuple[list[Column | Writer], list[int]]:
        """What each literal is made from, and where in the row its column is."""
        return (
            [self._writer(planned) for planned in self.plan.columns],
            [self._index.get(planned.source or "", 0) for planned in self.plan.columns],
        )

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
            try:
                data = self.python_row(row) if needs_row else no_row
                return any_literal(from_python(transform.call(convert(row[index]), data, source_table)))
            except Exception as error:
                raise transform_failed(self.plan, planned, error, f", row with {self.described_key(row)}") from None

        return write

    def python_row(self, row: Row) -> dict[str, Any]:
        """A row as transforms see it: column name to Python value."""
        return {name: self._python[name](row[i]) for name, i in self._index.items()}

    def described_key(self, row: Row) -> str:
        """The row's key by its source columns, for messages."""
        named = []
        for name in self.plan.key:
            planned = next(c for c in self.plan.columns if c.target == name)
            if planned.source is not None:
                cell: object = row[self._index[planned.source]]
                with suppress(ValueError, TypeError, AttributeError):  # what is no value is shown as it is
                    cell = self._python[planned.source](cell)
                named.append(f"{planned.source}={cell!r}")
        return ", ".join(named) or "no key column of the source"
