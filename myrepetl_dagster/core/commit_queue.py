"""What one pass has read, on its way to the targets: batches in the log's order, and the commits under way.

Transactions of the log become batches of `batch_rows_max` rows. While a copy settles, or where a batch has very long
rows, it is given to its target as soon as there is a connection for it. Else batches wait until the target has done all
that came before, up to `joined_batches_max` of them. Then they are parted among the connections, and all begin at once:
the more of a table's changes lie in one transaction, the fewer times a page of it is read and written, and transactions
that go through the table side by side share the pages. For a table that the target's buffer pool cannot hold, it
costs less to wait on while the target has nothing to do than to go through it once more.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from .apply import Target
from .checkpoint import Checkpoint
from .commits import LANES, Commit, Piece, piece_of, placed
from .log_cursor import LogCursor
from .mapping_state import MappingState, Report, Work
from .model import Limits, Phase
from .position import Position
from .shaped import Images

JOIN_WAIT_S = 0.25  # of a target that has nothing to do, for more of the log
FIRST_JOINED_MAX = 2 * LANES  # batches: it is not known yet how long they take
# Of a target that reads a table's pages anew each time it goes through it: that takes it longer than to wait.
LONG_JOIN_WAIT_S = 1.5
FIRST_JOINED_LARGE_MAX = 4 * LANES
_EARLY_BYTES_MAX = 10 * 2**20  # of the log: more has long rows, and what came before is applied first


@dataclass(slots=True)
class Batch:
    """What a mapping has done in some transactions of the log, from its last checkpoint to that at their end."""

    state: MappingState
    work: Work
    since: Position
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Waiting:
    """Batches of several mappings, up to the same place in the log; the rows in them and about their memory."""

    batches: Sequence[Batch]
    rows: int
    bytes: int


class CommitQueue:
    """Commits what the mappings of one pass have done, in the log's order, each with the checkpoint of its end."""

    def __init__(self, states: Sequence[MappingState], cursor: LogCursor, limits: Limits) -> None:
        self.states = states
        self.cursor = cursor
        self.limits = limits
        self.targets = list({id(s.target): s.target for s in states}.values())
        self.rows_pending = self.bytes_pending = 0  # of whole transactions
        self.open: set[int] = set()  # targets with a transaction open for a part of the current one
        self.committed_at_s = self.everyone_at_s = time.monotonic()
        self.source_time_unix_s: float | None = None
        self.under_way: list[tuple[Target, Commit]] = []
        self.one_by_one = False  # no commit is begun beside another one
        self.sequences: dict[str, int] = {}  # the number of each mapping's newest commit
        self.stored: dict[str, Checkpoint] = {}  # each mapping's newest: committed, under way or waiting
        self.broken = False  # a commit has failed: nothing that came after it may be committed
        self.waiting: list[Waiting] = []
        self.waiting_rows = self.waiting_bytes = 0
        self.waiting_since_s = self.landed_at_s = 0.0
        self.waits_long = False
        self.waiting_images: dict[str, Images | None] = {}  # by mapping
        self.join_wait_s = JOIN_WAIT_S
        self.joined_rows_max = limits.batch_rows_max * min(FIRST_JOINED_MAX, limits.joined_batches_max)
        # Of those that were joined last: which way they went, how many rows they had, when they began.
        self.descending = False
        self.joined_rows = 0
        self.joined_at_s = 0.0

    @property
    def holds_work(self) -> bool:
        """Whether anything has happened since the last commit was begun."""
        return bool(self.waiting) or any(s.done.touched or s.xa.unsaved for s in self.states)

    def add(self, state: MappingState) -> None:
        """The mapping's part of the transaction that was read has happened."""
        pending = state.done.shaped.rows_pending
        with placed(self._newest_of(state).position):
            state.done.take(state.current)
        self.rows_pending += state.done.shaped.rows_pending - pending
        state.current = Work()

    # ---- a transaction too big to hold ----
    def opened(self, state: MappingState) -> Target:
        """The mapping's target, in a transaction."""
        if id(state.target) not in self.open:
            state.target.begin([s.name for s in self.states if s.target is state.target])
            self.open.add(id(state.target))
        return state.target

    def roll_back(self) -> None:
        """Undo what was written of the transaction being read."""
        for target in self.targets:
            if id(target) in self.open:
                target.rollback()
        self.open.clear()

    # ---- commits ----
    def due(self) -> bool:
        """Whether what there is should be committed."""
        return (
            self.rows_pending >= self.limits.batch_rows_max
            or self.bytes_pending >= self.limits.batch_bytes_max
            or time.monotonic() - self.committed_at_s >= self.limits.batch_interval_s_max
            or (bool(self.waiting) and self._is_time())
        )

    def commit(self, report: Report, *, everyone: bool = False, behind: bool = False) -> None:
        """Commit what is done. A mapping that nothing happened to keeps its older checkpoint for a while:
        its rows are those of the newer one as well.

        Args:
            behind: it may happen while the log is read on; else it has happened when this returns.
        """
        everyone = everyone or time.monotonic() - self.everyone_at_s >= self.limits.batch_interval_s_max
        beside = not self.open and not any(s.xa.unsaved for s in self.states)  # begun beside those under way
        self._land_ended(report)
        joins = self.limits.joined_batches_max > 1 and beside and (behind or bool(self.waiting))
        if joins and all(map(self._can_wait, self.states)):
            self._put_off(everyone=everyone)
            if self._is_time():
                self._start_waiting(report)
        else:
            self._start_all_waiting(report)
            self._start_pending(report, everyone=everyone, beside=beside)
        self.open.clear()
        self.rows_pending = self.bytes_pending = 0
        self.committed_at_s = time.monotonic()
        if everyone:
            self.everyone_at_s = self.committed_at_s
        if not (behind and beside):
            self.land(report)

    def land(self, report: Report) -> None:
        """Commit all that waits, and wait for the commits under way."""
        self._start_all_waiting(report)
        self._wait(report)

    def abandon(self) -> None:
        """Let the commits under way end, well or not."""
        for _, commit in self.under_way:
            commit.lane.abandon()

    def piece(
        self,
        state: MappingState,
        work: Work,
        before: Sequence[Commit] = (),
        *,
        since: Position | None = None,
        joined: bool = False,
    ) -> Piece:
        """What is to be written of this to the target. `since`: where it begins, if not where the last one ended."""
        since = since or self._newest_of(state).position
        begun = id(state.target) in self.open
        with placed(since):
            piece = piece_of(state, work, before, begun=begun, joined=joined, descending=self.descending)
        piece.since = since
        return piece

    def _newest_of(self, state: MappingState) -> Checkpoint:
        return self.stored.get(state.name, state.checkpoint)

    def _start_pending(self, report: Report, *, everyone: bool, beside: bool) -> None:
        """Begin to commit what has come since the last batch."""
        self.broken = True
        if self.bytes_pending > _EARLY_BYTES_MAX:
            self._wait(report)
        # Written out while the target still works on what came before; checkpoints build on that one's.
        ready = []
        for target in self.targets:
            states = [s for s in self.states if s.target is target and (everyone or s.done.touched or s.xa.unsaved)]
            if states:
                before = self._newest(target) if beside else []
                ready.append((target, before, [self.piece(state, state.done, before) for state in states]))
        apart = [before if all(p.apart for p in pieces) else [] for _, before, pieces in ready]
        self._wait(report, but=[commit for before in apart for commit in before])
        for (target, _, pieces), before in zip(ready, apart, strict=True):
            self._start_commit(target, pieces, before)
        self.broken = False

    def _start_commit(self, target: Target, pieces: Sequence[Piece], before: Sequence[Commit]) -> None:
        stored = [self._numbered(self._batch(piece.state)) for piece in pieces]
        busy = [commit.lane for commit in before]
        lane = next(lane for lane in target.lanes(LANES) if lane not in busy)
        commit = Commit(lane, pieces, stored)
        self.under_way.append((target, commit))
        lane.start(commit.after(before, begun=id(target) in self.open))

    def _newest(self, target: Target) -> list[Commit]:
        """The target's newest commits under way, if another one may be begun beside them (the others have to end)."""
        if self.one_by_one:
            return []
        return [commit for to, commit in self.under_way if to is target][1 - LANES :]

    # ---- batches that wait ----
    def _can_wait(self, state: MappingState) -> bool:
        """Whether what the mapping has done may be kept until its time has come."""
        done = state.done
        if not done.touched:
            return True
        images = done.shaped.images
        return (
            not done.clear
            and state.exact
            # Another table map's images are joined as literals. (Of rows that are all filtered there are none.)
            and (not done.shaped.rows_pending or self.waiting_images.get(state.name, images) is images)
            and (self.bytes_pending <= _EARLY_BYTES_MAX or self._as_changes(state))
        )

    def _as_changes(self, state: MappingState) -> bool:
        takes = state.target.takes_changes(state.written, self.limits.batch_rows_max, begun=False)
        return takes and state.done.shaped.as_changes() is not None

    def _put_off(self, *, everyone: bool) -> None:
        if not self.waiting:
            self.waiting_since_s = time.monotonic()
        size = sum(state.done.shaped.held_bytes for state in self.states)
        self.waiting_images |= {s.name: s.done.shaped.images for s in self.states if s.done.shaped.rows_pending}
        rows = self.rows_pending
        if batches := [self._batch(state) for state in self.states if everyone or state.done.touched]:
            self.waiting.append(Waiting(batches, rows, size))
            self.waiting_rows += rows
            self.waiting_bytes += size
            self._look_at_pages(self.waiting[-1])

    def _look_at_pages(self, waiting: Waiting) -> None:
        """Whether a target has to read a table anew each time it goes through it, for the bytes of a row as they are
        here: then what goes through it at once had better be much.
        """
        if self.waits_long or not waiting.rows or not self.join_wait_s:
            return
        row_bytes = waiting.bytes / waiting.rows
        for target in self.targets:
            states = [one.state for one in waiting.batches if one.work.shaped.rows_pending]
            plans = [state.written for state in states if state.target is target]
            if sum(map(target.rows_about, plans)) * row_bytes > target.buffer_pool_bytes:
                self.waits_long = True
        if not self.waits_long:
            return
        self.join_wait_s = LONG_JOIN_WAIT_S
        if not self.joined_rows:
            batches = min(FIRST_JOINED_LARGE_MAX, self.limits.joined_batches_max)
            self.joined_rows_max = max(self.joined_rows_max, self.limits.batch_rows_max * batches)

    def _is_time(self) -> bool:
        """Whether what waits should be committed now."""
        rows_max = self.limits.batch_rows_max * self.limits.joined_batches_max
        if self.waiting_rows >= rows_max or self.waiting_bytes >= self.limits.joined_bytes_max:
            return True
        if any(commit.lane.busy for _, commit in self.under_way):
            return False
        if self.waiting_rows >= self.joined_rows_max:
            return True
        since_s = max(self.waiting_since_s, self.landed_at_s) if self.waits_long else self.waiting_since_s
        return time.monotonic() - since_s >= self.join_wait_s

    def _start_all_waiting(self, report: Report) -> None:
        while self.waiting:
            self._start_waiting(report)

    def _start_waiting(self, report: Report) -> None:
        """Begin to commit what waits, as much as may be joined, once all that came before is committed."""
        if not self.waiting:
            return
        self.broken = True
        self._wait(report)
        self.descending = not self.descending  # where the last ones ended, pages are still there
        joined: list[Sequence[Batch]] = []
        self.joined_rows = 0
        while self.waiting and self.joined_rows < self.joined_rows_max:
            one = self.waiting.pop(0)
            joined.append(one.batches)
            self.joined_rows += one.rows
            self.waiting_rows -= one.rows
            self.waiting_bytes -= one.bytes
        self.joined_at_s = self.waiting_since_s = time.monotonic()
        if not self.waiting:
            self.waiting_images.clear()
        for target in self.targets:
            commits: list[Commit] = []
            for batches in self._joined(target, joined):
                pieces = [self.piece(one.state, one.work, commits, since=one.since, joined=True) for one in batches]
                stored = [self._numbered(one) for one in batches]
                commits.append(Commit(target.lanes(LANES)[len(commits)], pieces, stored, joined=True))
            for number, commit in enumerate(commits):
                self.under_way.append((target, commit))
                commit.lane.start(commit.after(commits[:number], begun=False))
        self.broken = False

    def _joined(self, target: Target, waiting: Sequence[Sequence[Batch]]) -> list[list[Batch]]:
        """What waits for a target: batches in a row made one, as many as there are connections for."""
        batches = [[one for one in batch if one.state.target is target] for batch in waiting]
        rows = [sum(one.work.shaped.rows_pending for one in batch) for batch in batches]
        total = sum(rows)
        number = 1 if self.one_by_one else min(LANES, 1 + total // self.limits.batch_rows_max)
        parts: list[dict[str, Batch]] = [{} for _ in range(number)]
        for batch, count, end in zip(batches, rows, accumulate(rows), strict=True):
            # Where its middle lies, so that the parts are about alike: all begin at once, and the longest counts.
            part = parts[min((2 * end - count) * number // max(1, 2 * total), number - 1)]
            for one in batch:
                known = part.setdefault(one.state.name, one)
                if known is not one:
                    with placed(known.since):
                        known.work.take(one.work)
                    known.checkpoint = one.checkpoint
        return [list(part.values()) for part in parts if part]

    def _pace(self, took_s: float) -> None:
        """A commit is not to take longer than batches may be apart, whatever the target does in that time."""
        joined_rows_max = self.limits.batch_rows_max * self.limits.joined_batches_max
        if took_s > self.limits.batch_interval_s_max > 0:
            paced = int(self.joined_rows * self.limits.batch_interval_s_max / took_s)
            joined_rows_max = min(joined_rows_max, max(paced, self.limits.batch_rows_max * LANES))
        self.joined_rows_max = joined_rows_max

    # ---- what has been committed ----
    def _land_ended(self, report: Report) -> None:
        """Take note of the commits that are through."""
        while self.under_way and not self.under_way[0][1].lane.busy:
            self._land_one(report, *self.under_way[0])

    def _wait(self, report: Report, but: Sequence[Commit] = ()) -> None:
        """Wait for the commits under way, in their order."""
        for target, commit in list(self.under_way):
            if commit not in but:
                self._land_one(report, target, commit)

    def _land_one(self, report: Report, target: Target, commit: Commit) -> None:
        self.broken, broken = True, self.broken
        commit.lane.finish()
        self.under_way.remove((target, commit))
        self.landed_at_s = time.monotonic()
        if commit.joined:
            self._pace(self.landed_at_s - self.joined_at_s)
        # Triggers of the target, say, make their locks meet: each time that costs its patience.
        self.one_by_one = self.one_by_one or commit.gave_way
        for state, checkpoint in zip(commit.states, commit.stored, strict=True):
            state.checkpoint = checkpoint
            state.xa.saved()
            report(state)
        self.broken = broken

    # ---- checkpoints ----
    def _batch(self, state: MappingState) -> Batch:
        """What the mapping has done since its last one."""
        batch = Batch(state, state.done, self._newest_of(state).position, self._checkpoint(state))
        state.position = batch.checkpoint.position
        state.done = Work()
        self.stored[state.name] = batch.checkpoint
        return batch

    def _numbered(self, batch: Batch) -> Checkpoint:
        """The checkpoint of its end, with the number that its commit has (the target counts them, too)."""
        state = batch.state
        number = self.sequences[state.name] = self.sequences.get(state.name, state.checkpoint.sequence) + 1
        return replace(batch.checkpoint, sequence=number)

    def _checkpoint(self, state: MappingState) -> Checkpoint:
        position = self.cursor.position_of(state)
        checkpoint, shaped = self._newest_of(state), state.done.shaped
        settled = checkpoint.phase is Phase.SETTLING and _passed(position, checkpoint.high_watermark)
        return replace(
            checkpoint,
            position=position,
            phase=Phase.REPLICATING if settled else checkpoint.phase,
            high_watermark=None if settled else checkpoint.high_watermark,
            changes_applied=checkpoint.changes_applied + shaped.rows_upserted + shaped.rows_deleted,
            rows_filtered=checkpoint.rows_filtered + shaped.rows_filtered,
            source_time_unix_s=self.source_time_unix_s or checkpoint.source_time_unix_s,
            altered=checkpoint.altered or state.altered,
            key=state.plan.key,
            in_doubt=dict(state.xa.tokens),
            last_error="",
        )


def _passed(position: Position, high_watermark: Position | None) -> bool:
    return high_watermark is None or position.order >= high_watermark.order
