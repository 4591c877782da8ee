"""Batches of the log that wait for a target to have done all that came before: how many, for how long, and how they are
joined.

That is done where the target's buffer pool cannot hold the tables: it reads and writes a page each time that it comes
to it. So batches are joined, parted among the connections, and all begin at once: the more of a table's changes lie in
one transaction, the fewer times a page is read, and transactions that go through the table side by side share the
pages. It costs less to wait for more while the target has nothing to do than to go through the table once more. Where
the pool holds the tables, all of that brings nothing, and joining takes time.
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
from .commits import APPLY_CONNECTIONS, named_position
from .work import MappingWork

JOIN_WAIT_S = 1.5  # of a target that has nothing to do, for more of the log
FIRST_JOINED_MAX = 4 * APPLY_CONNECTIONS  # batches: it is not known yet how long they take
EARLY_BYTES_MAX = 10 * 2**20  # of the log: more has long rows, and what came before is applied first


@dataclass(slots=True)
class Batch:
    """What a mapping has done in some transactions of the log, from its last checkpoint to that at their end."""

    work: MappingWork
    rows: PendingRows
    since: Position
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class QueuedBatches:
    """Batches of several mappings, up to the same place in the log; the rows in them and about their memory."""

    batches: Sequence[Batch]
    rows: int
    bytes: int


class Joining:
    """What waits, and how much of it is begun at once.

    Attributes:
        wait_s: of a target that has nothing to do, for more.
        rows_max: are begun at once, as many as the target did in time.
        rows, bytes: that wait.
        begun_rows, descending: of those that were begun last; which way they go through their tables.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.wait_s = JOIN_WAIT_S
        self.rows_max = limits.batch_rows_max * min(FIRST_JOINED_MAX, limits.joined_batches_max)
        self.queued: list[QueuedBatches] = []
        self.rows = self.bytes = 0
        self.descending = False
        self._since_s = self._landed_at_s = 0.0
        self._pays = False
        self._written: dict[int, dict[TableName, TablePlan]] = {}  # the tables that are written, by target
        self._images: dict[str, ImageWriter | None] = {}  # of what waits, by mapping
        self.begun_rows = 0
        self._begun_at_s = 0.0

    def pays(self, works: Sequence[MappingWork]) -> bool:
        """Whether a target has to read its tables anew each time that it goes through them. It is asked how large those
        are when there are first rows to write.
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
        """Whether what the mapping has done, of so many bytes of the log, may be kept until its time has come."""
        rows = work.pending
        if rows.is_empty:
            return True
        return (
            not rows.clear_first
            and work.state.settled
            # Another table map's images are joined as literals. (Of rows that are all filtered there are none.)
            and (not rows.rows_pending or self._images.get(work.state.name, rows.image_writer) is rows.image_writer)
            and (size_bytes <= EARLY_BYTES_MAX or self._as_changes(work))
        )

    def _as_changes(self, work: MappingWork) -> bool:
        takes = work.state.target.takes_changes(work.plan_of_rows, self.limits.batch_rows_max, begun=False)
        return takes and work.pending.as_changes() is not None

    def add(self, batches: Sequence[Batch]) -> None:
        """Keep what mappings have done up to the same place in the log."""
        if not batches:
            return
        if not self.queued:
            self._since_s = time.monotonic()
        rows = [one.rows for one in batches]
        group = QueuedBatches(batches, sum(one.rows_pending for one in rows), sum(one.memory_bytes for one in rows))
        self._images |= {one.work.state.name: one.rows.image_writer for one in batches if one.rows.rows_pending}
        self.queued.append(group)
        self.rows += group.rows
        self.bytes += group.bytes

    def due(self, *, busy: bool) -> bool:
        """Whether what waits should be begun now. `busy`: a target still works on what came before."""
        limits = self.limits
        if (
            self.rows >= limits.batch_rows_max * limits.joined_batches_max
            or self.bytes >= limits.joined_bytes_max
            or (not busy and self.rows >= self.rows_max)
        ):
            return True
        return not busy and time.monotonic() - max(self._since_s, self._landed_at_s) >= self.wait_s

    def begin(self) -> list[QueuedBatches]:
        """What is begun now: as much as may be joined, in the log's order."""
        self.descending = not self.descending  # where the last ones ended, pages are still there
        begun: list[QueuedBatches] = []
        self.begun_rows = 0
        while self.queued and self.begun_rows < self.rows_max:
            begun.append(group := self.queued.pop(0))
            self.begun_rows += group.rows
            self.rows -= group.rows
            self.bytes -= group.bytes
        self._begun_at_s = self._since_s = time.monotonic()
        if not self.queued:
            self._images.clear()
        return begun

    def landed(self, *, joined: bool) -> None:
        """A commit is through. One of joined batches is not to take longer than batches may be apart, whatever the
        target does in that time.
        """
        self._landed_at_s = time.monotonic()
        if not joined:
            return
        limits = self.limits
        took_s = self._landed_at_s - self._begun_at_s
        self.rows_max = limits.batch_rows_max * limits.joined_batches_max
        if took_s > limits.batch_interval_s_max > 0:
            paced = int(self.begun_rows * limits.batch_interval_s_max / took_s)
            self.rows_max = min(self.rows_max, max(paced, limits.batch_rows_max * APPLY_CONNECTIONS))

    def parted(self, queued: Sequence[QueuedBatches], target: Target, parts_max: int) -> list[list[Batch]]:
        """The target's batches as a few parts of about as many rows: in each, a mapping's batches have become one.

        Raises:
            UnsupportedEvent: an image holds what no value of its column can be.
        """
        batches = [[one for one in group.batches if one.work.state.target is target] for group in queued]
        rows = [sum(one.rows.rows_pending for one in batch) for batch in batches]
        total = sum(rows)
        number = min(parts_max, 1 + total // self.limits.batch_rows_max)
        parts: list[dict[str, Batch]] = [{} for _ in range(number)]
        for batch, count, end in zip(batches, rows, accumulate(rows), strict=True):
            # Where its middle lies, so that the parts are about alike: all begin at once, and the longest counts.
            part = parts[min((2 * end - count) * number // max(1, 2 * total), number - 1)]
            for one in batch:
                known = part.setdefault(one.work.state.name, one)
                if known is not one:
                    with named_position(known.since):
                        known.rows.take(one.rows)
                    known.checkpoint = one.checkpoint
        return [list(part.values()) for part in parts if part]
