"""Rows whose images lack columns to what the target has to do. Pure.

A column that an after image lacks has kept its value: the target's row keeps it, too. That is exact for a row that the
target holds as it was before. `docs/paths.md` (Partial images) says when that is so, and what cannot be applied. The
mapping then stops with an error; the others go on.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..binlog.events import RowsRead
from ..binlog.map_columns import TableMap
from ..binlog.partial_rows import Absent, PartialRow
from ..model.errors import UnsupportedEvent
from ..model.tables import Row
from ..plan.table_plan import PlannedColumn, TablePlan
from .literal_codegen import LiteralKey, LiteralRow, row_writer
from .pending_rows import PendingRows
from .shaper import Shaper
from .value_transforms import needs_own_value_only
from .writable_rows import KEPT

_WHOLE_ROWS = (
    "Set binlog_row_image=FULL on the source (and binlog_row_value_options='' on MySQL), also in sessions that set it"
    " for themselves, then run the `snapshot` job for this mapping."
)
_NO_VALUE = (
    "The log does not hold that value: leave the column out of the mapping, or make the target's a generated one. Then"
    " run the `snapshot` job for this mapping."
)
_ENTERS = "an UPDATE by which a row enters the mapping's filter"


class PartialRowsShaper:
    """Shapes the images of one table map that lack columns which the mapping needs.

    Args:
        shaper: for whole rows of the table.
    """

    def __init__(self, shaper: Shaper, table_map: TableMap) -> None:
        self.plan = plan = shaper.plan
        self._shaper = shaper
        self._names = [column.name or "" for column in (table_map.whole or table_map).columns]
        self._places: list[int | None] | None = None  # of the table's columns in the images
        if not table_map.uneven:
            place_of = {column.name: place for place, column in enumerate(table_map.columns)}
            self._places = [place_of.get(name) for name in self._names]
        self._reads = [self._read_by(planned) for planned in plan.columns]
        self._needed = sorted({ordinal for reads in self._reads for ordinal in reads})
        self._key = sorted({ordinal for i in plan.key_indexes for ordinal in self._reads[i]})
        self._filter = [i for i, name in enumerate(self._names) if name in shaper.filtered_by]
        self._passes = shaper.passes()
        self._computed = frozenset(i for i, name in enumerate(self._names) if _may_be_computed(plan, name))
        self._unique = [i for i, name in enumerate(self._names) if i in self._key or _may_be_unique(plan, name)]
        self._may_reset = table_map.mariadb
        self._writers = [row_writer([writer], [at]) for writer, at in zip(*shaper.column_writers(), strict=True)]

    def _read_by(self, planned: PlannedColumn) -> Sequence[int]:
        """The ordinals of the columns from which a value of the target is made."""
        if planned.source is None:
            return ()
        return (self._names.index(planned.source),) if needs_own_value_only(planned) else range(len(self._names))

    def shape(self, event: RowsRead, into: PendingRows) -> None:
        """Add what the images mean for the target.

        Raises:
            UnsupportedEvent: a column is missing without which the target's row is not exact. Names the mapping.
            RowRejected: a transform or the filter failed.
        """
        into.to_mutations()
        try:
            changes = event.partial_changes
        except UnsupportedEvent as error:
            error.mapping = self.plan.name  # the other mappings go on
            raise
        try:
            for before, after in changes:
                self._shape(self._spread(before), self._spread(after), into)
        except UnsupportedEvent as error:
            located = error.at(event.place)
            located.mapping = self.plan.name
            raise located from None

    def _spread(self, row: PartialRow | None) -> PartialRow | None:
        """A row with a place for each of the table's columns."""
        if row is None or self._places is None:
            return row
        return tuple(Absent.NO_CELL if place is None else row[place] for place in self._places)

    def _shape(self, before: PartialRow | None, after: PartialRow | None, into: PendingRows) -> None:
        into.rows_read += 1
        old: LiteralKey | None = None
        if before is not None:
            known = self._whole(before, self._key, "an UPDATE or DELETE without the mapping's key")
            old = self._shaper.key_of_row(known) if self._is_in(before) else None
        row = after if after is None or before is None else self._merged(before, after)
        if row is not None and self._is_in(row):
            self._add(old, None if before is None else after, row, into)
            into.rows_upserted += 1
        elif old is not None:
            into.mutations.append((old, None))
            into.rows_deleted += 1
        else:
            into.rows_filtered += 1

    def _add(self, old: LiteralKey | None, image: PartialRow | None, row: PartialRow, into: PendingRows) -> None:
        """Add a row that the target has from now on.

        Args:
            old: the key under which the target has it so far.
            image: what an update's image after it holds; None for an insert.
        """
        if image is not None and old is not None and self._lacks(row, self._needed):
            self._update(old, image, row, into)
            return
        what = _ENTERS if image is not None else "an INSERT without the columns that it left to their defaults"
        written = self._shaper.row(self._whole(row, self._needed, what))
        key = self._shaper.key_of(written)
        if old is not None and old != key:
            into.mutations.append((old, None))
        into.mutations.append((key, written))

    def _is_in(self, row: PartialRow) -> bool:
        if self._passes is None:
            return True
        return self._passes(self._whole(row, self._filter, "a change without the columns of the mapping's filter"))

    def _merged(self, before: PartialRow, after: PartialRow) -> PartialRow:
        """The row after an update. A generated column may change without being in the log."""
        return tuple(
            old if cell is Absent.NO_CELL and ordinal not in self._computed else cell
            for ordinal, (old, cell) in enumerate(zip(before, after, strict=True))
        )

    def _update(self, old: LiteralKey, image: PartialRow, after: PartialRow, into: PendingRows) -> None:
        """Add an update of the columns that are there. `after`: the row of which `image` holds what has changed."""
        lacking = self._lacks(after, self._needed)
        for ordinal in lacking:
            if ordinal in self._computed:
                raise self._error("an UPDATE without a generated column", [ordinal], _NO_VALUE)
            if after[ordinal] is Absent.CHANGED:
                raise self._error("an UPDATE with a part of a JSON document", [ordinal])
        if self._may_reset and any(not isinstance(image[ordinal], Absent) for ordinal in self._unique):
            # MariaDB logs a REPLACE of a row like this, without the columns that it sets to their defaults.
            raise self._error("an UPDATE that may be a REPLACE", lacking)
        literals: list[str] = []
        for reads, write in zip(self._reads, self._writers, strict=True):
            missing = self._lacks(after, reads)
            if len(missing) and len(reads) > 1:
                raise self._error("an UPDATE without columns that a transform looks at", missing)
            literals.append(KEPT if missing else write(after)[0])  # type: ignore[arg-type]
        row: LiteralRow = tuple(literals)
        into.mutations.append((old, row))
        into.has_updates = True

    # ---- what is missing ----
    def _lacks(self, row: PartialRow, ordinals: Sequence[int]) -> list[int]:
        return [ordinal for ordinal in ordinals if isinstance(row[ordinal], Absent)]

    def _whole(self, row: PartialRow, ordinals: Sequence[int], what: str) -> Row:
        """The row, of which nothing but these columns is looked at.

        Raises:
            UnsupportedEvent: one of them is missing.
        """
        if lacking := self._lacks(row, ordinals):
            raise self._error(what, lacking)
        return row  # type: ignore[return-value]

    def _error(self, what: str, lacking: Sequence[int], hint: str = _WHOLE_ROWS) -> UnsupportedEvent:
        names = ", ".join(self._names[ordinal] for ordinal in lacking)
        message = f"mapping {self.plan.name!r}, {self.plan.source.name}: the log holds {what} (missing: {names})"
        return UnsupportedEvent(message, hint=hint)


def _may_be_computed(plan: TablePlan, name: str) -> bool:
    """Whether a column was a generated one when the log was written. The table may have been altered since."""
    described = (*plan.source.columns, *plan.past_columns)
    computed = {column.name for column in described if column.generated and not column.of_period}
    return name in computed or (bool(computed) and all(column.name != name for column in described))


def _may_be_unique(plan: TablePlan, name: str) -> bool:
    """Whether a column was part of a unique key of the source's when the log was written."""
    # Of a key of prefixes a name is followed by the length.
    unique = {part for key in (plan.source.primary_key, *plan.source.unique_keys) for part in key}
    gone = bool(plan.mapping.primary_key) and plan.source.column(name) is None  # it may have another name by now
    return gone or any(f"{part}(".startswith(f"{name}(") for part in unique)


def lacks_columns(plan: TablePlan, table_map: TableMap) -> bool:
    """Whether the images may lack a column that the mapping needs."""
    if table_map.uneven or table_map.whole is None:
        return table_map.uneven
    if not all(map(needs_own_value_only, plan.columns)):
        return True
    ordinary = {c.name for c in plan.target.columns if not c.generated}
    needed = plan.needed_source_columns | (ordinary if plan.every_column else set())
    held = {column.name for column in table_map.columns}
    return any(column.name in needed for column in table_map.whole.columns if column.name not in held)
