"""What a catch-up has read, on its way to the targets: batches in the log's order, and the commits under way.

Transactions of the log become batches of `batch_rows_max` rows. A batch goes to its target as soon as a connection is
free. But if the target's tables are larger than its buffer pool, batches wait until the target has done all that came
before, and are joined (`batch_joining.py`), up to `joined_batches_max` of them. They do not wait while a copy settles,
or if a batch has very long rows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from ...model.checkpoint import Checkpoint, Phase
from ...model.errors import UnsupportedEvent
from ...model.limits import Limits
from ...model.position import Position, Transaction
from ...rows.pending_rows import PendingRows
from ..mapping_state import MappingState, Report
from ..ports import ApplyConnection, Target
from .batch_joining import EARLY_BYTES_MAX, Batch, Joining
from .commits import APPLY_CONNECTIONS, Commit
from .log_cursor import LogCursor
from .mapping_writes import MappingWrites, writes_of
from .serial_backoff import SerialBackoff
from .work import CurrentTransaction, MappingWork


class CommitQueue:
    """Commits what the mappings of one catch-up have read, in the log's order, each with the checkpoint of its end.

    Attributes:
        begun_targets: targets (by id) with a transaction that is open for a transaction too large to hold.
        under_way: commits that have begun, in order, with their targets.
        broken: whether a commit has failed. Then nothing that came after it may be committed.
    """

    def __init__(self, works: Sequence[MappingWork], cursor: LogCursor, limits: Limits, report: Report) -> None:
        self.works = works
        self.cursor = cursor
        self.limits = limits
        self.report = report
        self.targets = list({id(work.state.target): work.state.target for work in works}.values())
        self.connections = {id(target): target.apply_connections(APPLY_CONNECTIONS) for target in self.targets}
        self.begun_targets: set[int] = set()
        self.under_way: list[tuple[Target, Commit]] = []
        self.broken = False
        self.joining = Joining(limits)
        self._rows_pending = self._bytes_pending = 0  # of whole transactions
        self._committed_at_s = self._everyone_at_s = time.monotonic()
        self._backoffs = {id(target): SerialBackoff() for target in self.targets}
        self._sequences: dict[str, int] = {}  # the number of each mapping's newest commit
        self._newest: dict[str, Checkpoint] = {}  # of each mapping: committed, under way or waiting

    def follow(self, limits: Limits) -> None:
        """From now on nothing waits longer than it has to."""
        self.limits = self.joining.limits = limits
        self.joining.wait_s = 0.0

    @property
    def holds_work(self) -> bool:
        """Whether anything has happened since the last commit began."""
        return bool(self.joining.queued) or any(work.has_changes for work in self.works)

    def end_transaction(self, current: CurrentTransaction, transaction: Transaction) -> bool:
        """A transaction has happened: its rows are pending. Returns whether they should be committed now."""
        for work in current.touched.values():
            rows = work.in_transaction
            try:
                self._rows_pending += work.pending.take(rows)
            except UnsupportedEvent as error:
                since = self._newest_of(work.state).position
                raise error.at(f"{since.file}:{since.offset_bytes}") from None
            work.in_transaction = PendingRows(image_writer=rows.image_writer)  # mostly the next ones are alike
        self._bytes_pending += current.bytes
        self.cursor.committed(transaction)
        limits = self.limits
        return (
            self._rows_pending >= limits.batch_rows_max
            or self._bytes_pending >= limits.batch_bytes_max
            or time.monotonic() - self._committed_at_s >= limits.batch_interval_s_max
            or (bool(self.joining.queued) and self._joined_are_due())
        )

    # ---- a transaction too large to hold ----
    def begun(self, work: MappingWork) -> ApplyConnection:
        """The connection to the mapping's target, in a transaction that stays open."""
        target = work.state.target
        if id(target) not in self.begun_targets:
            target.apply.begin([one.state.name for one in self.works if one.state.target is target])
            self.begun_targets.add(id(target))
        return target.apply

    def roll_back(self) -> None:
        """Undo what was written of the transaction that is being read."""
        for target in self.targets:
            if id(target) in self.begun_targets:
                target.apply.rollback()
        self.begun_targets.clear()
        for work in self.works:
            work.state.rows_uncommitted = 0

    # ---- commits ----
    def commit(self, *, everyone: bool = False, in_background: bool = False) -> None:
        """Commit what is pending.

        Args:
            everyone: also new positions of mappings without changes. Those keep their older checkpoints for a while:
                their rows are the rows of the newer ones as well.
            in_background: the commits may be under way when this returns; else they have ended.
        """
        everyone = everyone or time.monotonic() - self._everyone_at_s >= self.limits.batch_interval_s_max
        self._land_ended()
        works = [work for work in self.works if work.has_changes or everyone]
        overlaps = not self.begun_targets and not any(work.in_doubt.is_unsaved for work in works)
        joins = self.limits.joined_batches_max > 1 and overlaps and (in_background or bool(self.joining.queued))
        if (
            joins
            and self.joining.pays(works)
            and all(self.joining.may_wait(work, self._bytes_pending) for work in works)
        ):
            self.joining.add([self._batch(work) for work in works])
            if self._joined_are_due():
                self._start_joined()
        else:
            self._start_all_joined()
            self._start_pending(works, overlaps=overlaps)
        self.begun_targets.clear()
        self._rows_pending = self._bytes_pending = 0
        self._committed_at_s = time.monotonic()
        if everyone:
            self._everyone_at_s = self._committed_at_s
        if not (in_background and overlaps):
            self.land()

    def land(self) -> None:
        """Commit everything that waits, and wait for the commits under way."""
        self._start_all_joined()
        self._wait()

    def abandon(self) -> None:
        """Let the commits under way end, well or not."""
        for _, commit in self.under_way:
            with suppress(Exception):
                commit.connection.finish()

    def writes_of(self, work: MappingWork, rows: PendingRows) -> MappingWrites:
        """What is written of these rows, which come after the mapping's newest checkpoint, without predecessors."""
        return self._writes_of(work, rows, self._newest_of(work.state).position)

    def _writes_of(
        self,
        work: MappingWork,
        rows: PendingRows,
        since: Position,
        predecessors: Sequence[Commit] = (),
        *,
        late_at_least: bool = False,
    ) -> MappingWrites:
        known = [commit.rows_by_key_of(work) for commit in predecessors]
        begun, descending = id(work.state.target) in self.begun_targets, self.joining.descending
        return writes_of(work, rows, since, known, begun=begun, late_at_least=late_at_least, descending=descending)

    def _start_pending(self, works: Sequence[MappingWork], *, overlaps: bool) -> None:
        """Begin to commit what has come for these mappings since the last batch."""
        self.broken = True
        if self._bytes_pending > EARLY_BYTES_MAX:
            self._wait()
        # Made ready while the target still works on what came before. Checkpoints build on that one's.
        ready: list[tuple[Target, list[Commit], list[MappingWrites]]] = []
        for target in self.targets:
            own = [work for work in works if work.state.target is target]
            if own:
                predecessors = self._predecessors(target) if overlaps else []
                writes = [
                    self._writes_of(work, work.pending, self._newest_of(work.state).position, predecessors)
                    for work in own
                ]
                if not all(one.in_halves for one in writes):
                    predecessors = []
                ready.append((target, predecessors, writes))
        self._wait(but=[commit for _, predecessors, _ in ready for commit in predecessors])
        for target, predecessors, writes in ready:
            self._start_commit(target, writes, predecessors)
        self.broken = False

    def _start_commit(self, target: Target, writes: Sequence[MappingWrites], predecessors: Sequence[Commit]) -> None:
        busy = [commit.connection for commit in predecessors]
        connection = next(one for one in self.connections[id(target)] if one not in busy)
        sequences = [self._next_sequence(one.work.state) for one in writes]
        batches = [self._batch(one.work) for one in writes]
        checkpoints = [replace(one.checkpoint, sequence=n) for one, n in zip(batches, sequences, strict=True)]
        commit = Commit(connection, writes, checkpoints)
        self.under_way.append((target, commit))
        connection.start(commit.after(predecessors, begun=id(target) in self.begun_targets))

    def _predecessors(self, target: Target) -> list[Commit]:
        """The target's newest commits under way, if another one may overlap with them. (The others have to end.)"""
        if self._backoffs[id(target)].left:
            return []
        return [commit for to, commit in self.under_way if to is target][1 - APPLY_CONNECTIONS :]

    # ---- batches that are joined ----
    def _joined_are_due(self) -> bool:
        busy = any(commit.connection.busy for _, commit in self.under_way)
        return bool(self.joining.queued) and self.joining.is_due(busy=busy)

    def _start_all_joined(self) -> None:
        while self.joining.queued:
            self._start_joined()

    def _start_joined(self) -> None:
        """Begin to commit what waits, as much as may be joined, once everything before it is committed."""
        self.broken = True
        self._wait()
        queued = self.joining.begin()
        for target in self.targets:
            commits: list[Commit] = []
            connections = self.connections[id(target)]
            shares_max = 1 if self._backoffs[id(target)].left else APPLY_CONNECTIONS
            for batches in self.joining.shared_out(queued, target, shares_max):
                writes = [
                    self._writes_of(one.work, one.rows, one.since, commits, late_at_least=True) for one in batches
                ]
                checkpoints = [replace(one.checkpoint, sequence=self._next_sequence(one.work.state)) for one in batches]
                commits.append(Commit(connections[len(commits)], writes, checkpoints, of_joined_batches=True))
            for number, commit in enumerate(commits):
                self.under_way.append((target, commit))
                commit.connection.start(commit.after(commits[:number], begun=False))
        self.broken = False

    # ---- commits that have ended ----
    def _land_ended(self) -> None:
        """Note the commits that have ended."""
        while self.under_way and not self.under_way[0][1].connection.busy:
            self._land_one(*self.under_way[0])

    def _wait(self, but: Sequence[Commit] = ()) -> None:
        """Wait for the commits under way, in their order."""
        for target, commit in list(self.under_way):
            if commit not in but:
                self._land_one(target, commit)

    def _land_one(self, target: Target, commit: Commit) -> None:
        self.broken, broken = True, self.broken
        commit.connection.finish()
        self.under_way.remove((target, commit))
        self.joining.committed(joined=commit.of_joined_batches)
        self._backoffs[id(target)].ended(gave_way=commit.gave_way)
        for writes, checkpoint in zip(commit.writes, commit.checkpoints, strict=True):
            writes.work.state.checkpoint = checkpoint
            writes.work.state.rows_uncommitted = 0
            writes.work.in_doubt.saved()
            self.report(writes.work.state)
        self.broken = broken

    # ---- checkpoints ----
    def _newest_of(self, state: MappingState) -> Checkpoint:
        return self._newest.get(state.name, state.checkpoint)

    def _batch(self, work: MappingWork) -> Batch:
        """The mapping's pending rows, which are not pending any more, and the checkpoint at their end."""
        state = work.state
        batch = Batch(work, work.pending, self._newest_of(state).position, self._checkpoint(work))
        state.position = batch.checkpoint.position
        work.pending = PendingRows()
        self._newest[state.name] = batch.checkpoint
        return batch

    def _next_sequence(self, state: MappingState) -> int:
        """The number of the mapping's next commit. (The target counts commits, too.)"""
        number = self._sequences[state.name] = self._sequences.get(state.name, state.checkpoint.sequence) + 1
        return number

    def _checkpoint(self, work: MappingWork) -> Checkpoint:
        checkpoint, rows = self._newest_of(work.state), work.pending
        position, source_time_unix_s = self.cursor.read_up_to(work)
        high = checkpoint.high_watermark
        settles = checkpoint.phase is Phase.SETTLING and _passed(position, high)
        return replace(
            checkpoint,
            position=position,
            phase=Phase.REPLICATING if settles else checkpoint.phase,
            high_watermark=None if settles else high,
            changes_applied=checkpoint.changes_applied + rows.rows_upserted + rows.rows_deleted,
            rows_deleted=checkpoint.rows_deleted + rows.rows_deleted,
            rows_filtered=checkpoint.rows_filtered + rows.rows_filtered,
            bytes_read=checkpoint.bytes_read + rows.bytes_read,
            source_time_unix_s=source_time_unix_s or checkpoint.source_time_unix_s,
            altered=checkpoint.altered or work.altered,
            key=work.state.plan.key,
            in_doubt=dict(work.in_doubt.tokens),
            last_error="",
        )


def _passed(position: Position, high_watermark: Position | None) -> bool:
    return high_watermark is None or position.order >= high_watermark.order
