"""What one pass has read, on its way to the targets: batches in the log's order, and the commits under way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from .apply import Target
from .checkpoint import Checkpoint
from .commits import LANES, Commit, Piece, piece_of
from .errors import UnsupportedEvent
from .log_cursor import LogCursor
from .mapping_state import MappingState, Report, Work
from .model import Limits, Phase
from .position import Position

_EARLY_BYTES_MAX = 6 * 2**20  # of row images: more is only written out when what came before has been applied


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
        self.stored: dict[str, Checkpoint] = {}  # each mapping's newest, committed or under way
        self.broken = False  # a commit has failed: nothing that came after it may be committed

    @property
    def holds_work(self) -> bool:
        """Whether anything has happened since the last commit was begun."""
        return any(s.done.touched or s.xa.unsaved for s in self.states)

    def add(self, state: MappingState) -> None:
        """The mapping's part of the transaction that was read has happened."""
        pending = state.done.shaped.rows_pending
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
        )

    def piece(self, state: MappingState, work: Work, before: Sequence[Commit] = ()) -> Piece:
        """What is to be written of this to the target."""
        try:
            return piece_of(state, work, before, begun=id(state.target) in self.open)
        except UnsupportedEvent as error:
            since = self.stored.get(state.name, state.checkpoint).position
            raise error.at(f"{since.file}:{since.offset_bytes}") from None

    def commit(self, report: Report, *, everyone: bool = False, behind: bool = False) -> None:
        """Commit what is done. A mapping that nothing happened to keeps its older checkpoint for a while:
        its rows are those of the newer one as well.

        Args:
            behind: it may happen while the log is read on; else it has happened when this returns.
        """
        everyone = everyone or time.monotonic() - self.everyone_at_s >= self.limits.batch_interval_s_max
        beside = not self.open and not any(s.xa.unsaved for s in self.states)  # begun beside those under way
        self.broken = True
        if self.bytes_pending > _EARLY_BYTES_MAX:
            self.land(report)
        # Written out while the target still works on what came before; checkpoints build on that one's.
        ready = []
        for target in self.targets:
            states = [s for s in self.states if s.target is target and (everyone or s.done.touched or s.xa.unsaved)]
            if states:
                before = self._newest(target) if beside else []
                ready.append((target, before, [self.piece(state, state.done, before) for state in states]))
        apart = [before if all(p.apart for p in pieces) else [] for _, before, pieces in ready]
        self.land(report, but=[commit for before in apart for commit in before])
        for (target, _, pieces), before in zip(ready, apart, strict=True):
            self._start_commit(target, pieces, before)
        self.broken = False
        self.open.clear()
        self.rows_pending = self.bytes_pending = 0
        self.committed_at_s = time.monotonic()
        if everyone:
            self.everyone_at_s = self.committed_at_s
        if not (behind and beside):
            self.land(report)

    def abandon(self) -> None:
        """Let the commits under way end, well or not."""
        for _, commit in self.under_way:
            commit.lane.abandon()

    def _start_commit(self, target: Target, pieces: Sequence[Piece], before: Sequence[Commit]) -> None:
        stored = [self._checkpoint(piece.state) for piece in pieces]
        busy = [commit.lane for commit in before]
        lane = next(lane for lane in target.lanes(LANES) if lane not in busy)
        commit = Commit(lane, pieces, stored)
        self.under_way.append((target, commit))
        lane.start(commit.after(before, begun=id(target) in self.open))
        for piece, checkpoint in zip(pieces, stored, strict=True):
            state = piece.state
            state.position = checkpoint.position
            state.done = Work()
            self.stored[state.name] = checkpoint

    def _newest(self, target: Target) -> list[Commit]:
        """The target's newest commits under way, if another one may be begun beside them (the others have to end)."""
        if self.one_by_one:
            return []
        return [commit for to, commit in self.under_way if to is target][1 - LANES :]

    def land(self, report: Report, but: Sequence[Commit] = ()) -> None:
        """Wait for the commits under way, in their order."""
        self.broken, broken = True, self.broken
        for one in list(self.under_way):
            _, commit = one
            if commit in but:
                continue
            commit.lane.finish()
            self.under_way.remove(one)
            # Triggers of the target, say, make their locks meet: each time that costs its patience.
            self.one_by_one = self.one_by_one or commit.gave_way
            for state, checkpoint in zip(commit.states, commit.stored, strict=True):
                state.checkpoint = checkpoint
                state.xa.saved()
                report(state)
        self.broken = broken

    def _checkpoint(self, state: MappingState) -> Checkpoint:
        position = self.cursor.position_of(state)
        checkpoint, shaped = self.stored.get(state.name, state.checkpoint), state.done.shaped
        settled = checkpoint.phase is Phase.SETTLING and _passed(position, checkpoint.high_watermark)
        return replace(
            checkpoint,
            position=position,
            phase=Phase.REPLICATING if settled else checkpoint.phase,
            high_watermark=None if settled else checkpoint.high_watermark,
            changes_applied=checkpoint.changes_applied + shaped.rows_upserted + shaped.rows_deleted,
            rows_filtered=checkpoint.rows_filtered + shaped.rows_filtered,
            source_time_unix_s=self.source_time_unix_s or checkpoint.source_time_unix_s,
            sequence=checkpoint.sequence + 1,
            altered=checkpoint.altered or state.altered,
            key=state.plan.key,
            in_doubt=dict(state.xa.tokens),
            last_error="",
        )


def _passed(position: Position, high_watermark: Position | None) -> bool:
    return high_watermark is None or position.order >= high_watermark.order
