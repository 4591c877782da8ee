"""What one mapping writes in one commit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ...model.errors import ReplicationError, UnsupportedEvent
from ...model.position import Position
from ...plan.table_plan import TablePlan, UniqueKeys
from ...rows.event_encoder import WRITE_ROWS_MAX, RowChanges
from ...rows.pending_rows import PendingRows, RowsToWrite
from ...rows.sorted_rows import SortedRows
from ...rows.writable_rows import Mutation, Mutations, Rendered
from ..ports import ApplyConnection
from .work import MappingWork


@dataclass(slots=True)
class MappingWrites:
    """What one mapping writes in one commit: `rows`, or in two halves `early` and `late`.

    A commit with predecessors writes `early` rows, which no predecessor writes, before they are committed, and `late`
    rows after that.

    Attributes:
        since: the position that all of it comes after.
        plan: for the rows' columns.
        in_halves: whether there are halves. (One of them may be None.)
        descending: the order of rows, where it does not count.
        rows_by_key: the rows, if only the last of each key counts. Then later commits can tell which rows these are.
    """

    work: MappingWork
    since: Position
    plan: TablePlan
    clear_first: bool = False
    rows: RowsToWrite = None
    early: RowsToWrite = None
    late: RowsToWrite = None
    in_halves: bool = False
    descending: bool = False
    rows_by_key: PendingRows | None = None

    def write(self, connection: ApplyConnection) -> None:
        """Write everything."""
        self._write(connection, self.rows, self.late, self.early, clear_first=self.clear_first)  # `late` has deletes

    def write_early(self, connection: ApplyConnection) -> None:
        self._write(connection, self.early)

    def write_late(self, connection: ApplyConnection) -> None:
        self._write(connection, self.late)

    def _write(self, connection: ApplyConnection, *halves: RowsToWrite, clear_first: bool = False) -> None:
        state = self.work.state
        try:
            if clear_first:
                connection.clear(state.plan)
            for rows in halves:
                if isinstance(rows, SortedRows):
                    for some in rows.written_out(descending=self.descending):
                        connection.write(self.plan, some if isinstance(some, Rendered) else self._mutations(some))
                elif isinstance(rows, RowChanges):
                    connection.write(self.plan, replace(rows, descending=self.descending))
                elif rows:
                    for start in range(0, len(rows), WRITE_ROWS_MAX):
                        connection.write(self.plan, self._mutations(rows[start : start + WRITE_ROWS_MAX]))
        except UnsupportedEvent as error:
            located = error.at(f"{self.since.file}:{self.since.offset_bytes}")
            located.mapping = error.mapping or state.name
            raise located from None
        except ReplicationError as error:
            error.mapping = error.mapping or state.name  # the other mappings go on without this one
            raise

    def _mutations(self, rows: Sequence[Mutation]) -> Mutations:
        return Mutations(rows, may_evict=not self.work.state.settled)


def writes_of(
    work: MappingWork,
    rows: PendingRows,
    since: Position,
    predecessors: Sequence[PendingRows | None] = (),
    *,
    begun: bool = False,
    late_at_least: bool = False,
    descending: bool = False,
) -> MappingWrites:
    """What is written for a mapping.

    Args:
        since: the position that all of it comes after.
        predecessors: what each commit under way writes for the mapping, if keys tell that. Then it comes in halves, if
            that can be.
        begun: the target's transaction is open already.
        late_at_least: it has to come in halves. If keys do not tell which rows are early, all rows are late.
        descending: the order of rows, where it does not count.

    Raises:
        UnsupportedEvent: an image holds what no value of its column can be.
    """
    state, plan = work.state, work.plan_of_rows
    writes = MappingWrites(work, since, plan, rows.clear_first, descending=descending)
    no_collisions = plan.unique_keys is UniqueKeys.NONE
    by_key = no_collisions and not rows.clear_first
    if by_key:
        writes.rows_by_key = rows
    with after_position(since):
        settled = state.settled
        rows.check()
        as_changes = (
            by_key
            and settled  # else a row may be there that the log has yet to insert
            and state.target.takes_changes(plan, rows.rows_pending, begun=begun)
        )
        if by_key and predecessors and None not in predecessors:
            known = [one for one in predecessors if one is not None]
            by_index = state.target.is_large(plan)
            halves = rows.early_and_late(known, work.literal_order, as_changes=as_changes, by_index=by_index)
            if halves is not None:
                writes.early, writes.late = halves
                writes.in_halves = True
                return writes
        writes.rows = rows.by_key(work.literal_order, as_changes=as_changes) if no_collisions else rows.to_mutations()
    if late_at_least:
        writes.late, writes.rows, writes.in_halves = writes.rows, None, True
    return writes


@contextmanager
def after_position(since: Position) -> Iterator[None]:
    """Adds to an error of the log the last position that was applied."""
    try:
        yield
    except UnsupportedEvent as error:
        raise error.at(f"{since.file}:{since.offset_bytes}") from None
