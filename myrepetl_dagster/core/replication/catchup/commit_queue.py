"""What one pass has read, on its way to the targets: batches in the log's order, and the commits under way.

Transactions of the log become batches of `batch_rows_max` rows. One is given to its target as soon as there is a
connection for it; but for a target whose tables are larger than its buffer pool, batches wait until it has done all
that came before, and are joined (`batch_joining.py`), up to `joined_batches_max` of them. Not so while a copy settles,
or where a batch has very long rows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from ...model.checkpoint import Checkpoint, Phase
from ...model.limits import Limits
from ...model.position import Position
from ...rows.pending_rows import PendingRows
from ..mapping_state import MappingState, Report
from ..ports import ApplyConnection, Target
from .batch_joining import EARLY_BYTES_MAX, Batch, Joining
from .commits import APPLY_CONNECTIONS, Commit, MappingWrites, named_position, piece_of
from .log_cursor import LogCursor
from .work import MappingWork

ALONE_FIRST = 32


@dataclass(slots=True)
class SerialBackoff:
    """How many commits of a target, from now on, are begun beside no other one: none, until one has given way.

    Each time costs its patience (`PATIENCE_S`). Where triggers of the target, say, make the locks meet, it would
    happen again and again; so there are twice as many each time, unless as many have gone well side by side. After a
    second in which the target's disk stood still, a run that goes on for days goes on as before.
    """

    left: int = 0
    next: int = ALONE_FIRST
    went_well: int = 0  # side by side, since one gave way

    def landed(self, *, gave_way: bool) -> None:
        """A commit is through."""
        if self.left:
            self.left -= 1  # what gives way by now was begun before, and is no second time
        elif gave_way:
            self.left, self.next, self.went_well = self.next, 2 * self.next, 0
        else:
            self.went_well += 1
            if self.went_well >= self.next:
                self.next = ALONE_FIRST


class CommitQueue:
    """Commits what the mappings of one pass have done, in the log's order, each with the checkpoint of its end."""

    def __init__(self, works: Sequence[MappingWork], cursor: LogCursor, limits: Limits) -> None:
        self.works = works
        self.cursor = cursor
        self.limits = limits
        self.targets = list({id(work.state.target): work.state.target for work in works}.values())
        self.rows_pending = self.bytes_pending = 0  # of whole transactions
        self.open: set[int] = set()  # targets with a transaction open for a part of the current one
        self.committed_at_s = self.everyone_at_s = time.monotonic()
        self.under_way: list[tuple[Target, Commit]] = []
        self.alone = {id(target): SerialBackoff() for target in self.targets}
        self.sequences: dict[str, int] = {}  # the number of each mapping's newest commit
        self.stored: dict[str, Checkpoint] = {}  # each mapping's newest: committed, under way or waiting
        self.broken = False  # a commit has failed: nothing that came after it may be committed
        self.joining = Joining(limits)

    def follow(self, limits: Limits) -> None:
        """From now on nothing waits longer than it has to."""
        self.limits = self.joining.limits = limits
        self.joining.wait_s = 0.0

    @property
    def holds_work(self) -> bool:
        """Whether anything has happened since the last commit was begun."""
        return bool(self.joining.queued) or any(_has_work(work) for work in self.works)

    def add(self, work: MappingWork) -> None:
        """The mapping's part of the transaction that was read has happened."""
        before = work.pending.rows_pending
        with named_position(self._newest_of(work.state).position):
            work.pending.take(work.in_transaction)
        self.rows_pending += work.pending.rows_pending - before
        work.in_transaction = PendingRows()

    # ---- a transaction too big to hold ----
    def opened(self, work: MappingWork) -> ApplyConnection:
        """The connection to the mapping's target, in a transaction."""
        target = work.state.target
        if id(target) not in self.open:
            target.apply.begin([one.state.name for one in self.works if one.state.target is target])
            self.open.add(id(target))
        return target.apply

    def roll_back(self) -> None:
        """Undo what was written of the transaction being read."""
        for target in self.targets:
            if id(target) in self.open:
                target.apply.rollback()
        self.open.clear()

    # ---- commits ----
    def due(self) -> bool:
        """Whether what there is should be committed."""
        return (
            self.rows_pending >= self.limits.batch_rows_max
            or self.bytes_pending >= self.limits.batch_bytes_max
            or time.monotonic() - self.committed_at_s >= self.limits.batch_interval_s_max
            or self._joined_due()
        )

    def commit(self, report: Report, *, everyone: bool = False, in_background: bool = False) -> None:
        """Commit what is done. A mapping that nothing happened to keeps its older checkpoint for a while:
        its rows are those of the newer one as well.

        Args:
            in_background: it may happen while the log is read on; else it has happened when this returns.
        """
        everyone = everyone or time.monotonic() - self.everyone_at_s >= self.limits.batch_interval_s_max
        beside = not self.open and not any(work.in_doubt.unsaved for work in self.works)  # begun beside those under way
        self._land_ended(report)
        joins = self.limits.joined_batches_max > 1 and beside and (in_background or bool(self.joining.queued))
        if (
            joins
            and self.joining.pays(self.works)
            and all(self.joining.may_wait(work, self.bytes_pending) for work in self.works)
        ):
            self.joining.add([self._batch(work) for work in self.works if everyone or not work.pending.is_empty])
            if self._joined_due():
                self._start_joined(report)
        else:
            self._start_all_joined(report)
            self._start_pending(report, everyone=everyone, beside=beside)
        self.open.clear()
        self.rows_pending = self.bytes_pending = 0
        self.committed_at_s = time.monotonic()
        if everyone:
            self.everyone_at_s = self.committed_at_s
        if not (in_background and beside):
            self.land(report)

    def land(self, report: Report) -> None:
        """Commit all that waits, and wait for the commits under way."""
        self._start_all_joined(report)
        self._wait(report)

    def abandon(self) -> None:
        """Let the commits under way end, well or not."""
        for _, commit in self.under_way:
            with suppress(Exception):
                commit.lane.finish()

    def piece(
        self,
        work: MappingWork,
        rows: PendingRows,
        before: Sequence[Commit] = (),
        *,
        since: Position | None = None,
        joined: bool = False,
    ) -> MappingWrites:
        """What is to be written of this to the target. `since`: where it begins, if not where the last one ended."""
        since = since or self._newest_of(work.state).position
        begun = id(work.state.target) in self.open
        with named_position(since):
            piece = piece_of(work, rows, before, begun=begun, joined=joined, descending=self.joining.descending)
        piece.since = since
        return piece

    def _newest_of(self, state: MappingState) -> Checkpoint:
        return self.stored.get(state.name, state.checkpoint)

    def _start_pending(self, report: Report, *, everyone: bool, beside: bool) -> None:
        """Begin to commit what has come since the last batch."""
        self.broken = True
        if self.bytes_pending > EARLY_BYTES_MAX:
            self._wait(report)
        # Written out while the target still works on what came before; checkpoints build on that one's.
        ready = []
        for target in self.targets:
            works = [work for work in self.works if work.state.target is target and (everyone or _has_work(work))]
            if works:
                before = self._newest(target) if beside else []
                ready.append((target, before, [self.piece(work, work.pending, before) for work in works]))
        apart = [before if all(p.apart for p in mapping_writes) else [] for _, before, mapping_writes in ready]
        self._wait(report, but=[commit for before in apart for commit in before])
        for (target, _, mapping_writes), before in zip(ready, apart, strict=True):
            self._start_commit(target, mapping_writes, before)
        self.broken = False

    def _start_commit(self, target: Target, mapping_writes: Sequence[MappingWrites], before: Sequence[Commit]) -> None:
        stored = [self._numbered(self._batch(piece.work)) for piece in mapping_writes]
        busy = [commit.lane for commit in before]
        lane = next(lane for lane in target.apply_connections(APPLY_CONNECTIONS) if lane not in busy)
        commit = Commit(lane, mapping_writes, stored)
        self.under_way.append((target, commit))
        lane.start(commit.after(before, begun=id(target) in self.open))

    def _newest(self, target: Target) -> list[Commit]:
        """The target's newest commits under way, if another one may be begun beside them (the others have to end)."""
        if self.alone[id(target)].left:
            return []
        return [commit for to, commit in self.under_way if to is target][1 - APPLY_CONNECTIONS :]

    # ---- batches that are joined ----
    def _joined_due(self) -> bool:
        busy = any(commit.lane.busy for _, commit in self.under_way)
        return bool(self.joining.queued) and self.joining.due(busy=busy)

    def _start_all_joined(self, report: Report) -> None:
        while self.joining.queued:
            self._start_joined(report)

    def _start_joined(self, report: Report) -> None:
        """Begin to commit what waits, as much as may be joined, once all that came before is committed."""
        self.broken = True
        self._wait(report)
        queued = self.joining.begin()
        for target in self.targets:
            commits: list[Commit] = []
            apply_connections = 1 if self.alone[id(target)].left else APPLY_CONNECTIONS
            for batches in self.joining.parted(queued, target, apply_connections):
                mapping_writes = [
                    self.piece(one.work, one.rows, commits, since=one.since, joined=True) for one in batches
                ]
                stored = [self._numbered(one) for one in batches]
                commits.append(
                    Commit(
                        target.apply_connections(APPLY_CONNECTIONS)[len(commits)], mapping_writes, stored, joined=True
                    )
                )
            for number, commit in enumerate(commits):
                self.under_way.append((target, commit))
                commit.lane.start(commit.after(commits[:number], begun=False))
        self.broken = False

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
        self.joining.landed(joined=commit.joined)
        self.alone[id(target)].landed(gave_way=commit.gave_way)
        for writes, checkpoint in zip(commit.mapping_writes, commit.stored, strict=True):
            writes.work.state.checkpoint = checkpoint
            writes.work.in_doubt.saved()
            report(writes.work.state)
        self.broken = broken

    # ---- checkpoints ----
    def _batch(self, work: MappingWork) -> Batch:
        """What the mapping has done since its last one."""
        batch = Batch(work, work.pending, self._newest_of(work.state).position, self._checkpoint(work))
        work.state.position = batch.checkpoint.position
        work.pending = PendingRows()
        self.stored[work.state.name] = batch.checkpoint
        return batch

    def _numbered(self, batch: Batch) -> Checkpoint:
        """The checkpoint of its end, with the number that its commit has (the target counts them, too)."""
        state = batch.work.state
        number = self.sequences[state.name] = self.sequences.get(state.name, state.checkpoint.sequence) + 1
        return replace(batch.checkpoint, sequence=number)

    def _checkpoint(self, work: MappingWork) -> Checkpoint:
        position = self.cursor.position_of(work)
        checkpoint, rows = self._newest_of(work.state), work.pending
        settled = checkpoint.phase is Phase.SETTLING and _passed(position, checkpoint.high_watermark)
        return replace(
            checkpoint,
            position=position,
            phase=Phase.REPLICATING if settled else checkpoint.phase,
            high_watermark=None if settled else checkpoint.high_watermark,
            changes_applied=checkpoint.changes_applied + rows.rows_upserted + rows.rows_deleted,
            rows_filtered=checkpoint.rows_filtered + rows.rows_filtered,
            source_time_unix_s=self.cursor.source_time_of(work) or checkpoint.source_time_unix_s,
            altered=checkpoint.altered or work.altered,
            key=work.state.plan.key,
            in_doubt=dict(work.in_doubt.tokens),
            last_error="",
        )


def _has_work(work: MappingWork) -> bool:
    return work.in_doubt.unsaved or not work.pending.is_empty


def _passed(position: Position, high_watermark: Position | None) -> bool:
    return high_watermark is None or position.order >= high_watermark.order
