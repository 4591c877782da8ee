"""The simulator has power: each of these wrong designs is found out within a few hundred worlds.

A mutant replaces one decision of the core, or of a server's method that the core relies on, by the one that it
is easy to take for right.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from simulation.fake_source import FakeSource, Kind
from simulation.fake_target import FakeConnection, FakeTarget, Held
from simulation.world import World, Wrong, install, live

from myrepetl_dagster.core.binlog.events import Idle, LogEvent, XaDecided
from myrepetl_dagster.core.concurrency.background import Waiting
from myrepetl_dagster.core.model.checkpoint import Checkpoint, Phase
from myrepetl_dagster.core.model.errors import TransientError
from myrepetl_dagster.core.model.gtid import GtidSet
from myrepetl_dagster.core.model.position import Position
from myrepetl_dagster.core.model.tables import TableName
from myrepetl_dagster.core.plan.table_plan import TablePlan
from myrepetl_dagster.core.replication.attempt import Attempt
from myrepetl_dagster.core.replication.catchup.batch_joining import Batch, Joining, QueuedBatches
from myrepetl_dagster.core.replication.catchup.catch_up import CatchUp
from myrepetl_dagster.core.replication.catchup.commit_queue import CommitQueue
from myrepetl_dagster.core.replication.catchup.commits import Commit
from myrepetl_dagster.core.replication.catchup.log_cursor import LogCursor
from myrepetl_dagster.core.replication.catchup.mapping_writes import MappingWrites
from myrepetl_dagster.core.replication.catchup.work import CurrentTransaction
from myrepetl_dagster.core.replication.catchup.xa_transactions import XaTransactions
from myrepetl_dagster.core.replication.ports import Target
from myrepetl_dagster.core.replication.snapshot.copy import Copy
from myrepetl_dagster.core.rows import pending_rows
from myrepetl_dagster.core.rows.pending_rows import PendingRows
from myrepetl_dagster.core.rows.shaper import Change, Shaper
from myrepetl_dagster.core.rows.writable_rows import KEPT, Mutation

SEEDS_MAX = 3_000


@dataclass
class Mutant:
    """What to put in whose place, and in which world to let it live. `times`: it is wrong about times alone."""

    name: str
    patches: Sequence[tuple[Any, str, Any]] = ()
    source: type[FakeSource] = FakeSource
    connection: type[FakeConnection] = FakeConnection
    times: bool = False


# ---- the checkpoint ------------------------------------------------------------------------------------
class CheckpointFirst(FakeConnection):
    def commit(self, checkpoints: Sequence[Checkpoint]) -> None:
        self.store(checkpoints)
        super().commit(checkpoints)


class CheckpointLater(FakeConnection):
    """Rows, and then, in a transaction of its own, the checkpoint."""

    def commit(self, checkpoints: Sequence[Checkpoint]) -> None:
        self.undo.clear()
        self.target.committed(self.database, self, [])
        super().commit(checkpoints)


def no_fence(self: FakeTarget, mappings: Iterable[str]) -> None:
    """A run that another one has overtaken goes on."""


def partial(self: CatchUp) -> None:
    """A part of a transaction that is too big to hold is committed, under the checkpoint before it."""
    for work in self.works:
        state, rows = work.state, work.in_transaction
        if rows.rows_pending or rows.clear_first:
            connection = state.target.apply
            connection.begin([state.name])
            self.queue.writes_of(work, rows).write(connection)
            state.checkpoint = replace(state.checkpoint, sequence=state.checkpoint.sequence + 1)
            connection.commit([state.checkpoint])
            rows.drop()
    self.current.rows = self.current.bytes = 0


def clear_last(self: CatchUp) -> None:
    """A truncation that no row followed yet is not taken for work to commit before a part is written."""
    waiting = [(work, work.pending) for work in self.works]
    if not self.queue._rows_pending:
        for work, _ in waiting:
            work.pending = PendingRows()
    SPILL(self)
    if not self.queue._rows_pending:
        for work, pending in waiting:
            if pending.clear_first:
                work.pending = pending


# ---- watermarks ----------------------------------------------------------------------------------------
class UnsafeWatermark(FakeSource):
    """The head is taken for what readers see."""

    def safe_watermark(self, tables: Sequence[TableName], earlier: Position | None = None) -> Position:
        head = self.head()
        if self.kind is Kind.GTID:
            logged = GtidSet({})
            for entry in self.log:
                assert entry.identity.gtid is not None
                logged = logged.with_gtid(*entry.identity.gtid)
            head = replace(head, gtid_set=logged)
        return head


class NoWaiting(FakeSource):
    def wait_visible(self, position: Position, tables: Sequence[TableName]) -> None:
        pass


def late_watermark(self: Copy) -> None:
    """The low watermark is taken once the copy is there."""
    low = self.source.safe_watermark([self.state.plan.source.name])
    self.state.checkpoint = replace(self.state.checkpoint, position=low)
    self.state.position = low
    END(self)


def no_high_watermark(self: Copy) -> None:
    self._commit(replace(self.state.checkpoint, phase=Phase.REPLICATING, copy=None))


def watermark_at_head(self: Attempt, plan: TablePlan) -> Checkpoint:
    """Of GTIDs the executed ones, but of the file the end: as if the log were read up to there."""
    first = FIRST(self, plan)
    head = self.source.head()
    if first.position.gtid_set is None:
        return first
    at_head = replace(first.position, file=head.file, offset_bytes=head.offset_bytes)
    return replace(first, position=at_head)


def no_sweep(self: Copy) -> Iterator[None]:
    return iter(())


# ---- shaping -------------------------------------------------------------------------------------------
def key_kept(self: Shaper, changes: Iterable[Change], into: PendingRows) -> None:
    """A row that moves to another key stays under its old one as well."""
    SHAPE(self, [(before if after is None else None, after) for before, after in changes], into)


def filtered_kept(self: Shaper, changes: Iterable[Change], into: PendingRows) -> None:
    """A row that leaves the filter is no longer looked at."""
    leaving: list[Change] = []
    for before, after in changes:
        leaves = after is not None and self._passes is not None and not self._passes(after)
        leaving.append((None if leaves else before, after))
    SHAPE(self, leaving, into)


# ---- writing -------------------------------------------------------------------------------------------
class UpsertsFirst(FakeConnection):
    """A batch is sorted by kind, without looking at what was last."""

    def _write_by_key(self, held: Held, mutations: Sequence[Mutation]) -> None:
        for gone in (False, True):
            for key, row in mutations:
                if (row is None) == gone:
                    self._put(held, key, row)


class PlainUpsert(FakeConnection):
    """ON DUPLICATE KEY UPDATE without a guard: whatever unique key is hit, that row is overwritten."""

    def write_mutations(self, plan: TablePlan, mutations: Sequence[Mutation], *, settling: bool) -> None:
        names = [c.target for c in plan.columns]
        for key, row in mutations:
            held = self.target.table(plan)
            hit = key
            for unique in plan.other_unique_keys if row is not None and key not in held else ():
                at = [names.index(name) for name in unique]
                wanted = [row[i] for i in at] if row else []
                hit = next((k for k, r in held.items() if [r[i] for i in at] == wanted and "NULL" not in wanted), hit)
            if hit != key and row is not None:
                self._put(held, hit, None)
                old_key = dict(zip(plan.key, hit, strict=True))
                row = tuple(old_key.get(name, value) for name, value in zip(names, row, strict=True))
            self._put(held, hit, row)


class UpdatesByKey(FakeConnection):
    """Of each key only the last update is written, as if it were a whole row."""

    def write_mutations(self, plan: TablePlan, mutations: Sequence[Mutation], *, settling: bool) -> None:
        if any(row is not None and KEPT in row for _, row in mutations):
            mutations = list(dict(mutations).items())
        super().write_mutations(plan, mutations, settling=settling)


def forgets_updates(self: PendingRows, later: PendingRows) -> int:
    """Batches are taken together as if each row in them were whole."""
    later.has_updates = False
    return TAKE_ROWS(self, later)


class NeverEvicts(FakeConnection):
    def write_mutations(self, plan: TablePlan, mutations: Sequence[Mutation], *, settling: bool) -> None:
        super().write_mutations(plan, mutations, settling=False)


# ---- the stream ----------------------------------------------------------------------------------------
def all_joined(self: LogCursor) -> Position:
    """Every mapping is taken to be where the stream begins."""
    position = START(self)
    for work in self.works:
        work.at_stream = True
    return position


def starts_at_latest(self: LogCursor) -> Position:
    """The stream begins where the mapping that is furthest ahead stands."""
    START(self)
    latest = max((work.state.position for work in self.works), key=lambda p: p.order)
    for work in self.works:
        work.at_stream = True
    return latest


def high_watermark_by_gtids(self: LogCursor) -> Position:
    """Behind a failover, a copy's high watermark is passed with its GTIDs, of which some may be missing."""
    highs = [work.state.checkpoint.high_watermark for work in self.works]
    position = START(self)
    for work, high in zip(self.works, highs, strict=True):
        work.state.checkpoint = replace(work.state.checkpoint, high_watermark=high)
    return position


def passed_by_gtids(position: Position, high: Position | None) -> bool:
    if high is None or high.server == position.server:
        return high is None or position.order >= high.order
    return position.covers(high)


def keeps_rolled_back(self: CatchUp, transaction: Any) -> None:
    """What was rolled back is applied like anything else."""
    self._committed(transaction)


def idle_commits(self: CatchUp, event: LogEvent) -> None:
    """While nothing comes, what there is is committed, though it may be a part of a transaction."""
    TAKE(self, event)
    if isinstance(event, Idle):
        self.queue.commit(everyone=True)


def idle_is_the_end(self: CatchUp, event: LogEvent) -> None:
    """A stream in which nothing comes at the moment is taken for one that has brought all there is."""
    TAKE(self, event)
    if isinstance(event, Idle):
        self.cursor.sign_of_life(self.clock.now_unix_s())


def late_checkpoint(
    self: CommitQueue, target: Target, writes: Sequence[MappingWrites], predecessors: Sequence[Commit]
) -> None:
    """What is committed while the log is read on gets the checkpoint of when it is committed, not of its rows."""
    START_COMMIT(self, target, writes, predecessors)

    class Late(list[Checkpoint]):
        def __iter__(late) -> Iterator[Checkpoint]:
            return iter([self._checkpoint(one.work) for one in writes])

    self.under_way[-1][1].checkpoints = Late()


def joined_too_far(
    self: Joining, queued: Sequence[QueuedBatches], target: Target, shares_max: int
) -> list[list[Batch]]:
    """Of batches that were joined and shared out, each share gets the checkpoint of the last one."""
    shares = SHARED_OUT(self, queued, target, shares_max)
    newest = {one.work.state.name: one.checkpoint for share in shares for one in share}
    for share in shares:
        for one in share:
            one.checkpoint = newest[one.work.state.name]
    return shares


def joined_backwards(
    self: Joining, queued: Sequence[QueuedBatches], target: Target, shares_max: int
) -> list[list[Batch]]:
    """What is joined to a batch goes before it."""
    shares: list[list[Batch]] = []
    for one in [one for some in queued for one in some.batches if one.work.state.target is target]:
        shares = shares or [[]]
        known = next((other for other in shares[0] if other.work is one.work), None)
        if known is None:
            shares[0].append(one)
        else:
            one.rows.take(known.rows)
            known.rows, known.checkpoint = one.rows, one.checkpoint
    return shares


def not_waiting(self: Commit, predecessors: Sequence[Commit]) -> Waiting:
    """A commit does not wait for its predecessors."""
    self.connection.begin(self.mappings)
    for writes in self.writes:
        writes.write(self.connection)
    self.connection.commit(self.checkpoints)
    for one in predecessors:
        while not (yield one.ended):
            pass


def deletes_ahead(last: dict[Any, Any], held: set[Any], order: object, make: Callable[[Any], Any], **_: bool) -> Any:
    """Rows go before what came before is committed."""
    early = {key: row for key, row in last.items() if row is None or key not in held}
    late = {key: row for key, row in last.items() if key not in early}
    return make(early) if early else None, make(late) if late else None


class Forgetful(FakeConnection):
    """A commit that was going on while the log was read on, and failed, is passed over."""

    def finish(self) -> None:
        try:
            super().finish()
        except TransientError:
            self.rollback()


def decided_elsewhere(self: XaTransactions, event: XaDecided, current: CurrentTransaction) -> None:
    """The commit of an XA transaction that was prepared before the copy is taken for one without rows."""
    for work in self.works:
        work.in_doubt.tokens.setdefault(event.xid, "")
    DECIDED(self, event, current)


SHARED_OUT = Joining.shared_out
START_COMMIT = CommitQueue._start_commit
END, FIRST, SHAPE = Copy._end, Attempt._first_checkpoint, Shaper.shape
TAKE_ROWS = PendingRows.take
START, SPILL, TAKE, DECIDED = LogCursor._start, CatchUp._spill, CatchUp._take, XaTransactions.decided

MUTANTS = [
    Mutant("joined batches with the checkpoint of the last", [(Joining, "shared_out", joined_too_far)]),
    Mutant("joined batches the wrong way round", [(Joining, "shared_out", joined_backwards)]),
    Mutant("checkpoint before the rows", connection=CheckpointFirst),
    Mutant("checkpoint in a second transaction", connection=CheckpointLater),
    Mutant("no fence", [(FakeTarget, "check_fence", no_fence)]),
    Mutant("part of a transaction committed", [(CatchUp, "_spill", partial)]),
    Mutant("truncation done after the part that follows it", [(CatchUp, "_spill", clear_last)]),
    Mutant("low watermark late", [(Copy, "_end", late_watermark)]),
    Mutant("low watermark unsafe", source=UnsafeWatermark),
    Mutant("low watermark with the head's place", [(Attempt, "_first_checkpoint", watermark_at_head)]),
    Mutant("high watermark ignored", [(Copy, "_end", no_high_watermark)]),
    Mutant("no wait for visibility", source=NoWaiting),
    Mutant("no sweep", [(Copy, "_sweep", no_sweep)]),
    Mutant("key change without delete", [(Shaper, "shape", key_kept)]),
    Mutant("row that leaves the filter kept", [(Shaper, "shape", filtered_kept)]),
    Mutant("upserts before deletes", connection=UpsertsFirst),
    Mutant("plain upsert on another unique key", connection=PlainUpsert),
    Mutant("the last of some updates of a row alone", connection=UpdatesByKey),
    Mutant("updates taken for whole rows", [(PendingRows, "take", forgets_updates)]),
    Mutant("no eviction while a copy settles", connection=NeverEvicts),
    Mutant("positions of the mappings ignored", [(LogCursor, "_start", all_joined)]),
    Mutant("stream begins at the latest position", [(LogCursor, "_start", starts_at_latest)]),
    Mutant("part of a transaction committed while nothing comes", [(CatchUp, "_take", idle_commits)]),
    Mutant("silence taken for the end of the log", [(CatchUp, "_take", idle_is_the_end)], times=True),
    Mutant(
        "any sign of life taken for the end of the log", [(LogCursor, "sign_of_life", LogCursor.read_all)], times=True
    ),
    Mutant("prepared before the copy, committed after", [(XaTransactions, "decided", decided_elsewhere)]),
    Mutant(
        "high watermark of another server passed by its GTIDs",
        [
            (LogCursor, "_start", high_watermark_by_gtids),
            (sys.modules[CommitQueue.__module__], "_passed", passed_by_gtids),
        ],
    ),
    Mutant("checkpoint of a later moment", [(CommitQueue, "_start_commit", late_checkpoint)]),
    Mutant("commit before the one before it", [(Commit, "_overlap", not_waiting)]),
    Mutant("deletes before the commit before is through", [(pending_rows, "_halves", deletes_ahead)]),
    Mutant("failed commit passed over", connection=Forgetful),
    Mutant("rolled-back transaction applied", [(CatchUp, "_rolled_back", keeps_rolled_back)]),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_wrong_design_is_found_out(
    mutant: Mutant, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mutant breaks a rule in one of the first worlds, even where rows are not counted."""
    undo = install()
    for owner, name, function in mutant.patches:
        monkeypatch.setattr(owner, name, function)
    servers = {"source_class": mutant.source, "connection_class": mutant.connection}
    settings = {**servers, "counts": False, "times": mutant.times}
    world_class = type("MutantWorld", (World,), settings)
    found: int | None = None
    try:
        for seed in range(SEEDS_MAX):
            try:
                live(seed, world_class)
            except Wrong as error:
                if not isinstance(error.__cause__, AssertionError):
                    raise
                found, how = seed, str(error.__cause__)
                break
    finally:
        undo()

    assert found is not None, f"{mutant.name}: not found out in {SEEDS_MAX} worlds"
    with capsys.disabled():
        print(f"\n{mutant.name}: found out by seed {found} ({how[:150]})", end="")
