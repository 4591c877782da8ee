"""Batches of the log that wait for their target: how many, for how long, and how they are joined.

Batches wait if the target's buffer pool cannot hold the tables. Then the target reads and writes a page each time that
it comes to it. So batches are joined, shared out among the apply connections, and all shares begin at once. The more of
a table's changes lie in one transaction, the fewer times a page is read, and transactions that go through the table
side by side share the pages. To wait for more while the target has nothing to do costs less than to go through the
table once more. If the buffer pool holds the tables, all of that brings nothing, and joining takes time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from ...model.checkpoint import Checkpoint
from ...model.limits import Limits
from ...model.position import Position
from ...model.tables import TableName
from ...plan.table_plan import TablePlan
from ...rows.pending_rows import ImageWriter, PendingRows
from ..ports import Target
from .commits import APPLY_CONNECTIONS
from .mapping_writes import after_position
from .work import MappingWork

JOIN_WAIT_S = 1.5  # an idle target waits so long for more of the log
FIRST_JOINED_MAX = 4 * APPLY_CONNECTIONS  # batches, while it is not known how long they take
EARLY_BYTES_MAX = 10 * 2**20  # of the log; a larger batch has long rows, and everything before it is applied first


@dataclass(slots=True)
class Batch:
    """A mapping's rows in some transactions of the log, and the checkpoint at the end of the last transaction.

    `since`: the position of the mapping's checkpoint before that.
    """

    work: MappingWork
    rows: PendingRows
    since: Position
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class QueuedBatches:
    """Batches of several mappings, up to the same place in the log; their rows and about their memory."""

    batches: Sequence[Batch]
    rows: int
    bytes: int


class Joining:
    """The batches that wait, and how many of them begin at once.

    Attributes:
        wait_s: how long an idle target waits for more.
        rows_max: how many rows begin at once: as many as the target wrote in time.
        queued: what waits, in the log's order. `rows`, `bytes`: of all of it.
        begun_rows: how many rows began last.
        descending: whether they go through their tables from the end.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.wait_s = JOIN_WAIT_S
        self.rows_max = limits.batch_rows_max * min(FIRST_JOINED_MAX, limits.joined_batches_max)
        self.queued: list[QueuedBatches] = []
        self.rows = self.bytes = 0
        self.begun_rows = 0
        self.descending = False
        self._pays = False
        self._written: dict[int, dict[TableName, TablePlan]] = {}  # by target the tables that are written
        self._image_writers: dict[str, ImageWriter | None] = {}  # of what waits, by mapping
        self._waiting_since_s = self._committed_at_s = self._begun_at_s = 0.0

    def pays(self, works: Sequence[MappingWork]) -> bool:
        """Whether a target has to read its tables anew each time that it goes through them.

        The target is asked how large a table is when there are first rows to write.
        """
        for work in works:
            if self._pays:
                break
            target, name = work.state.target, work.state.plan.target.name
            written = self._written.setdefault(id(target), {})
            if name not in written and work.pending.rows_pending:
                written[name] = work.plan_of_rows
                self._pays = target.exceeds_memory(list(written.values()))
        return self._pays

    def may_wait(self, work: MappingWork, size_bytes: int) -> bool:
        """Whether the mapping's pending rows may wait. `size_bytes`: how much of the log they are, with the others'."""
        rows = work.pending
        if rows.is_empty:
            return True
        return (
            not rows.clear_first
            and work.state.settled
            # Images of another table map are joined as literals. (If all rows are filtered there are no images.)
            and (
                not rows.rows_pending
                or self._image_writers.get(work.state.name, rows.image_writer) is rows.image_writer
            )
            and (size_bytes <= EARLY_BYTES_MAX or self._go_as_changes(work))
        )

    def _go_as_changes(self, work: MappingWork) -> bool:
        takes = work.state.target.takes_changes(work.plan_of_rows, self.limits.batch_rows_max, begun=False)
        return takes and work.pending.as_changes() is not None

    def add(self, batches: Sequence[Batch]) -> None:
        """Let batches of several mappings wait, up to the same place in the log."""
        if not batches:
            return
        if not self.queued:
            self._waiting_since_s = time.monotonic()
        rows = [one.rows for one in batches]
        added = QueuedBatches(batches, sum(one.rows_pending for one in rows), sum(one.memory_bytes for one in rows))
        self._image_writers |= {one.work.state.name: one.rows.image_writer for one in batches if one.rows.rows_pending}
        self.queued.append(added)
        self.rows += added.rows
        self.bytes += added.bytes

    def is_due(self, *, busy: bool) -> bool:
        """Whether what waits should begin now. `busy`: a target still works on what came before."""
        limits = self.limits
        if (
            self.rows >= limits.batch_rows_max * limits.joined_batches_max
            or self.bytes >= limits.joined_bytes_max
            or (not busy and self.rows >= self.rows_max)
        ):
            return True
        return not busy and time.monotonic() - max(self._waiting_since_s, self._committed_at_s) >= self.wait_s

    def begin(self) -> list[QueuedBatches]:
        """What begins now: as much as may be joined, in the log's order."""
        self.descending = not self.descending  # where the last rows ended, pages are still in memory
        begun: list[QueuedBatches] = []
        self.begun_rows = 0
        while self.queued and self.begun_rows < self.rows_max:
            begun.append(first := self.queued.pop(0))
            self.begun_rows += first.rows
            self.rows -= first.rows
            self.bytes -= first.bytes
        self._begun_at_s = self._waiting_since_s = time.monotonic()
        if not self.queued:
            self._image_writers.clear()
        return begun

    def committed(self, *, joined: bool) -> None:
        """Note that a commit has ended.

        A commit of joined batches shall take no longer than batches may be apart, whatever else the target does.
        """
        self._committed_at_s = time.monotonic()
        if not joined:
            return
        limits = self.limits
        took_s = self._committed_at_s - self._begun_at_s
        self.rows_max = limits.batch_rows_max * limits.joined_batches_max
        if took_s > limits.batch_interval_s_max > 0:
            paced = int(self.begun_rows * limits.batch_interval_s_max / took_s)
            self.rows_max = min(self.rows_max, max(paced, limits.batch_rows_max * APPLY_CONNECTIONS))

    def shared_out(self, queued: Sequence[QueuedBatches], target: Target, shares_max: int) -> list[list[Batch]]:
        """The target's batches in a few shares of about as many rows. In each share a mapping's batches are one.

        Raises:
            UnsupportedEvent: an image holds what no value of its column can be.
        """
        own = [[one for one in some.batches if one.work.state.target is target] for some in queued]
        rows = [sum(one.rows.rows_pending for one in batches) for batches in own]
        total = sum(rows)
        number = min(shares_max, 1 + total // self.limits.batch_rows_max)
        shares: list[dict[str, Batch]] = [{} for _ in range(number)]
        for batches, count, end in zip(own, rows, accumulate(rows), strict=True):
            # By the middle of the batches, so that the shares are about alike: all begin at once, and the longest
            # counts.
            share = shares[min((2 * end - count) * number // max(1, 2 * total), number - 1)]
            for one in batches:
                earlier = share.setdefault(one.work.state.name, one)
                if earlier is not one:
                    with after_position(earlier.since):
                        earlier.rows.take(one.rows)
                    earlier.checkpoint = one.checkpoint
        return [list(share.values()) for share in shares if share]
