"""The commits of one pass: in the log's order, each with its checkpoints, the next begun before the last is through.

A commit costs a target's answer to each statement and, at its end, the disk. So `APPLY_CONNECTIONS` transactions of one
target may be open at once, each on its own connection. A later one writes the rows that no earlier one writes, waits
for their commits, takes the fence, writes the rest, stores its checkpoints and commits. A reader of the target sees the
same states in the same order as if one had come after the other:

* Nothing is committed before its predecessor; if that fails, or is another run's, nothing that comes after it is.
* A row that two write has its later image: the later transaction writes it once the earlier one is committed. Should
  two keys turn out to be one row to the target ('a' and 'A'), whoever comes second waits for the row's lock; is that
  the earlier transaction, the later one sees it get no further, gives way (`PATIENCE_S`), and starts again after
  it.
* A delete that finds no row leaves no lock, and might miss one that an earlier transaction is about to insert. So where
  keys are not as distinct to the target as they are here, a batch with deletes waits as a whole.
* Of a small table servers look at all rows to find a few, and a delete waits for rows that are not its own: there,
  nothing is written beside one. Not so where a target takes the log's own images (`event_replay.py`), for which it
  looks by the key alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ...concurrency.background import Waiting
from ...model.checkpoint import Checkpoint
from ...model.errors import TargetBusy, UnsupportedEvent
from ...model.position import Position
from ...plan.table_plan import TablePlan, UniqueKeys
from ...rows.event_encoder import WRITE_ROWS_MAX, RowChanges
from ...rows.pending_rows import PendingRows, RowsToWrite
from ...rows.sorted_rows import LiteralOrder, SortedRows
from ...rows.writable_rows import Mutation, Mutations, Rendered
from ..mapping_state import MappingState, named_mapping
from ..ports import ApplyConnection
from .work import MappingWork

APPLY_CONNECTIONS = 3


@contextmanager
def named_position(since: Position | None) -> Iterator[None]:
    """Names on an error of the log the place that nothing has been applied after."""
    try:
        yield
    except UnsupportedEvent as error:
        raise (error.at(f"{since.file}:{since.offset_bytes}") if since else error) from None


@dataclass(slots=True)
class MappingWrites:
    """What one mapping writes in a commit: all at once, or `early` and `late`, with the earlier commit's in between."""

    work: MappingWork
    plan: TablePlan
    clear: bool
    whole: RowsToWrite = None
    early: RowsToWrite = None
    late: RowsToWrite = None
    apart: bool = False
    descending: bool = False  # the order of rows, where it doesn't count
    since: Position | None = None  # all of it comes after that
    written: PendingRows | None = None  # what it writes, where only the last row of each key counts

    def write(self, lane: ApplyConnection) -> None:
        """Write all of it."""
        with named_mapping(self.work.state):
            if self.clear:
                lane.clear(self.work.state.plan)
            for part in (self.whole, self.late, self.early):  # deletes are in `late`
                self.write_part(lane, part)

    def write_part(self, lane: ApplyConnection, part: RowsToWrite) -> None:
        """Write `early` or `late`."""
        with named_mapping(self.work.state):
            if isinstance(part, RowChanges):
                lane.write(self.plan, replace(part, descending=self.descending))
            elif isinstance(part, SortedRows):
                self._write_out(lane, part)
            else:  # in order, and as the others no more written out at once than is written at once
                for start in range(0, len(part or ()), WRITE_ROWS_MAX):
                    lane.write(self.plan, self._mutations((part or ())[start : start + WRITE_ROWS_MAX]))

    def _write_out(self, lane: ApplyConnection, part: SortedRows) -> None:
        with named_position(self.since):
            for stretch in part.written_out(descending=self.descending):
                lane.write(self.plan, stretch if isinstance(stretch, Rendered) else self._mutations(stretch))

    def _mutations(self, rows: Sequence[Mutation]) -> Mutations:
        return Mutations(rows, may_evict=not self.work.state.settled)


def piece_of(
    work: MappingWork,
    rows: PendingRows,
    before: Sequence[Commit] = (),
    *,
    begun: bool = False,
    joined: bool = False,
    descending: bool = False,
) -> MappingWrites:
    """What is to be written for a mapping.

    Args:
        before: the commits under way; with them the piece comes apart, where that can be.
        begun: it is for a transaction that is open already.
        joined: it has to come apart; where it cannot, all of it is written once what came before is committed.
        descending: the order of rows, where it doesn't count.

    Raises:
        UnsupportedEvent: an image holds what no value of its column can be.
    """
    state = work.state
    rows.check()
    piece = MappingWrites(work, work.plan_of_rows, rows.clear_first, descending=descending)
    no_collisions = piece.plan.unique_keys is UniqueKeys.NONE
    order = literal_order(piece.plan)
    by_key = no_collisions and not rows.clear_first
    if by_key:
        piece.written = rows
    as_changes = (
        by_key
        and state.settled  # else a row may be there that the log has yet to insert
        and state.target.takes_changes(piece.plan, rows.rows_pending, begun=begun)
    )
    taken = [one.written_for(state) for one in before]
    if by_key and taken and None not in taken:
        held = [one for one in taken if one is not None]
        by_index = state.target.is_large(piece.plan)
        parts = rows.early_and_late(held, order, as_changes=as_changes, by_index=by_index)
        if parts is not None:
            piece.early, piece.late = parts
            piece.apart = True
            return piece
    piece.whole = rows.by_key(order, as_changes=as_changes) if no_collisions else rows.to_mutations()
    if joined:
        piece.late, piece.whole, piece.apart = piece.whole, None, True
    return piece


def literal_order(plan: TablePlan) -> LiteralOrder | None:
    """What a key's literals are sorted by, as the target's rows lie; None if keys that differ may be one row to it."""
    if not plan.distinct_keys:
        return None
    return LiteralOrder(tuple(at for at, i in enumerate(plan.key_indexes) if plan.columns[i].source is not None))


@dataclass(eq=False)
class Commit:
    """One transaction of a target, on one of its lanes."""

    lane: ApplyConnection
    mapping_writes: Sequence[MappingWrites]
    stored: Sequence[Checkpoint]
    joined: bool = False  # of batches that waited
    ended: threading.Event = field(default_factory=threading.Event)
    done: bool = False
    ending: bool = False  # all its rows are written: whatever takes it longer, it is no lock of a later one
    gave_way: bool = False

    @property
    def states(self) -> list[MappingState]:
        return [piece.work.state for piece in self.mapping_writes]

    def written_for(self, state: MappingState) -> PendingRows | None:
        """The rows that it writes for a mapping; None where it cannot be told by their keys."""
        piece = next((one for one in self.mapping_writes if one.work.state is state), None)
        return PendingRows() if piece is None else piece.written

    def after(self, before: Sequence[Commit], *, begun: bool) -> Callable[[], Waiting]:
        """What does it, for `ApplyConnection.start`.

        Args:
            before: what is under way and has to be committed first, in order.
            begun: the transaction is open already.
        """

        def work() -> Waiting:
            try:
                if not before:
                    self._alone(begun=begun)
                else:
                    yield from self._beside(before)
                self.done = True
            finally:
                self.ended.set()

        return work

    def _alone(self, *, begun: bool) -> None:
        if not begun:
            self.lane.begin([state.name for state in self.states])
        for piece in self.mapping_writes:
            piece.write(self.lane)
            if piece.work.in_doubt.unsaved:
                piece.work.in_doubt.save(piece.work.state.name, self.lane.prepared())
        self.ending = True
        self.lane.commit(self.stored)

    def _beside(self, before: Sequence[Commit]) -> Waiting:
        lane = self.lane
        lane.begin_unfenced()
        for piece in self.mapping_writes:
            piece.write_part(lane, piece.early)
        for one in before:
            operation = one.lane.operation_under_way
            while not (yield one.ended):
                # One that asks nothing of the server writes rows out, and waits for no lock.
                stuck = operation is not None and one.lane.operation_under_way == operation
                if stuck and not (one.ending or self.gave_way):
                    lane.rollback()
                    self.gave_way = True
                operation = one.lane.operation_under_way
            if not one.done:
                raise TargetBusy("what came before it was not committed")
        if self.gave_way:
            self._alone(begun=False)
            return
        lane.fence([state.name for state in self.states])
        for piece in self.mapping_writes:
            piece.write_part(lane, piece.late)
        self.ending = True
        lane.commit(self.stored)
