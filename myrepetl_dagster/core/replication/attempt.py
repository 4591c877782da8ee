"""One attempt at bringing mappings of one source to its head: claim, copy what is due, apply the log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace

from ..model.checkpoint import Checkpoint, CopyState, Phase
from ..model.checkpoint_codec import columns_to_json
from ..model.errors import PrerequisiteError, SourceLost
from ..model.limits import Limits
from ..model.position import Position, Transaction
from ..plan.table_plan import TablePlan
from ..source.mysql_source import MySQLSource
from .catchup.catch_up import CatchUp
from .catchup.outcomes import CommittedUnseen, Place
from .catchup.work import MappingWork
from .lag import SourceClock
from .mapping_state import MappingState, Report, named_mapping
from .ports import Source, Target
from .snapshot.copy import Copies, can_sweep, store
from .snapshot.window_copy import WindowCopies

log = logging.getLogger("myrepetl")

Copier = Callable[[Source, Limits, Report], Copies]


def window_copies(source: Source, limits: Limits, report: Report) -> Copies:
    """The copies for real servers."""
    assert isinstance(source, MySQLSource)
    return WindowCopies(source, limits, report)


class Attempt:
    """One attempt at bringing mappings of one source to its head. Uses the two ports only.

    Args:
        plans: mapping name to its plan and target.
        report: called after each commit with the mapping's state, the head that the run aims at, and the mapping's
            lag in seconds.
        begun: called once for each mapping with the checkpoint found, before anything is done.
        copy_again: mappings whose checkpoint counts as none; a name leaves the set when its new copy has begun.
        start_at: where the log is read from for a target that is taken as it is; None: from now on.
    """

    def __init__(
        self,
        source: Source,
        plans: Mapping[str, tuple[TablePlan, Target]],
        limits: Limits,
        report: Callable[[MappingState, Position | None, float | None], None],
        begun: Callable[[str, Checkpoint | None], None] = lambda *_: None,
        copy_again: set[str] | None = None,
        copier: Copier = Copies,
        start_at: Callable[[], Position] | None = None,
    ) -> None:
        self.start_at = start_at
        self.begun = begun
        self.copier = copier
        self.copy_again = set() if copy_again is None else copy_again
        self.source = source
        self.plans = plans
        self.limits = limits
        self.clock: SourceClock  # of `start`, then as it was before the head was asked for
        self.head: Position | None = None
        self._watermark: Position | None = None  # of the tables that are new
        self.report: Report = lambda state: report(
            state, self.head, self.clock.lag_s(state.checkpoint.source_time_unix_s)
        )

    def run(
        self, followed_changes: frozenset[Place] = frozenset(), follow_ended: Callable[[], bool] | None = None
    ) -> None:
        """Copy what is due and apply the log, to the head of the source as it is when the copying is done.

        Args:
            follow_ended: then go on as the source writes, until this says to end.

        Raises:
            SchemaChanged: a target has to follow a change of its source table first; then run again.
        """
        states = self.start()
        works = [MappingWork(state) for state in states]
        copies = self.copier(self.source, self.limits, self.report)
        for state in states:
            if state.checkpoint.phase is Phase.COPYING:
                copies.add(state)
        while True:
            copies.run_slice()
            self.clock = SourceClock(self.source)
            self.head = self.source.head()
            try:
                catch_up = CatchUp(
                    self.source, works, self.head, self.clock, self.limits, self.report, followed_changes
                )
                catch_up.apply()
            except CommittedUnseen as unseen:
                for state in unseen.states:
                    self._copy_again(state, unseen.transaction)
                    copies.add(state)
            if not copies.due:
                break
        if follow_ended is not None:
            self._follow(works, followed_changes, follow_ended)

    def _follow(self, works: list[MappingWork], followed_changes: frozenset[Place], ended: Callable[[], bool]) -> None:
        try:
            assert self.head is not None
            catch_up = CatchUp(self.source, works, self.head, self.clock, self.limits, self.report, followed_changes)
            catch_up.follow(ended)
        except CommittedUnseen as unseen:
            for state in unseen.states:
                self._copy_again(state, unseen.transaction)
            self.run(followed_changes, ended)

    # ---- starting ----
    def start(self) -> list[MappingState]:
        """Claim every mapping; give those without a checkpoint their first one."""
        states = []
        self.clock = SourceClock(self.source)
        self._watermark = None
        for target in {id(t): t for _, t in self.plans.values()}.values():
            own = {name: plan for name, (plan, t) in self.plans.items() if t is target}
            stored = target.claim(sorted(own))
            held = {name: stored[name] for name in stored if name not in self.copy_again}
            first = []
            for name, plan in own.items():
                # A lock may be refused for one table; any other watermark is all tables' or none's.
                with nullcontext() if self.source.one_watermark else named_mapping(plan):
                    begins_with = held.get(name) or self._first(plan)
                state = MappingState(plan, target, begins_with, begins_with.position)
                self.begun(name, held.get(name))
                with named_mapping(state):
                    if name in held:
                        self._resume(state)
                    elif checkpoint := self._begin(state):
                        first.append((state, checkpoint))
                states.append(state)
            if first:
                store(target, first)
                self.copy_again.difference_update(state.name for state, _ in first)
        return states

    def _resume(self, state: MappingState) -> None:
        self.source.check_position(state.checkpoint.position)
        if state.checkpoint.fingerprint != state.plan.fingerprint:
            raise PrerequisiteError(
                f"mapping {state.name!r} is no longer what its checkpoint was made with",
                hint="Run the `snapshot` job for it, so that the rows already copied follow the new mapping.",
            )

    def _begin(self, state: MappingState) -> Checkpoint | None:
        """The first checkpoint, to be stored with the others'; None: it is, since rows had to be cleared with it."""
        plan, target = state.plan, state.target
        empty = target.is_empty(plan)
        take_as_it_is = plan.mapping.init_if_table_empty and plan.name not in self.copy_again
        if take_as_it_is and not empty:
            first, clear = replace(state.checkpoint, phase=Phase.REPLICATING), False
            if self.start_at is not None:
                first = replace(first, position=self.start_at(), source_time_unix_s=None)
                state.position = first.position
        else:
            copy = CopyState(sweep=not empty and can_sweep(plan))
            first = replace(state.checkpoint, copy=copy)
            clear = not empty and not copy.sweep
        if clear:
            target.apply.begin([plan.name])
            target.apply.clear(plan)
            target.apply.commit([first])
            state.checkpoint = first
            self.copy_again.discard(plan.name)
            return None
        return first

    def _copy_again(self, state: MappingState, transaction: Transaction) -> None:
        """Copy again from this transaction on, which the log tells only in part.

        Under the old watermark: the transactions that are in doubt now were seen, so that there is an end to it
        even where at every moment some are.
        """
        plan, target = state.plan, state.target
        log.warning(
            "mapping %s: an XA transaction from before its copy is committed at %s:%d; copying again",
            plan.name, transaction.file, transaction.end_offset_bytes, extra={"mapping": plan.name},
        )  # fmt: skip
        checkpoint = replace(
            state.checkpoint,
            phase=Phase.COPYING,
            position=state.checkpoint.position.after(transaction),
            copy=CopyState(sweep=can_sweep(plan)),
            high_watermark=None,
            sequence=state.checkpoint.sequence + 1,
        )
        with named_mapping(state):
            target.apply.begin([plan.name])
            if not can_sweep(plan):
                target.apply.clear(plan)
            target.apply.commit([checkpoint])
        state.checkpoint, state.position = checkpoint, checkpoint.position

    def _first(self, plan: TablePlan) -> Checkpoint:
        # The low watermark comes first, the columns and the rows are read after it: whatever changes from
        # here on is in the log that will be applied.
        watermark = self._watermark = self.source.safe_watermark([plan.source.name], self._watermark)
        if self.source.columns(plan.source.name) != plan.source.columns:
            raise SourceLost(f"{plan.source.name} was altered while its copy began; starting again")
        return Checkpoint(
            mapping=plan.name,
            phase=Phase.COPYING,
            position=watermark,
            source_time_unix_s=self.clock.asked_unix_s,
            source_columns_json=columns_to_json(plan.source.columns),
            fingerprint=plan.fingerprint,
            key=plan.key,
        )
