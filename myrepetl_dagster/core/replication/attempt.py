"""One attempt at bringing mappings of one source to its head: claim, copy what is due, apply the log."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

from ..config.code_version import ACCEPT_CODE, changed_code, transform_code
from ..model.checkpoint import Checkpoint, CopyState, Phase
from ..model.checkpoint_codec import columns_to_json
from ..model.errors import PrerequisiteError, SourceLost
from ..model.limits import Limits
from ..model.position import Position, Transaction
from ..plan.table_plan import TablePlan
from ..source.mysql_source import MySQLSource
from .catchup.catch_up import CatchUp
from .catchup.outcomes import CommittedUnseen, CopiesDue, Place
from .catchup.unlogged_changes import is_altered_after
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
        begun: called once for each mapping, before its rows are written, with the checkpoint that it goes on from;
            None if it starts anew.
        copy_again: mappings whose stored checkpoint is ignored. A name leaves the set when its new copy has begun.
        start_at: gives the position from which the log is applied to a target table that is taken as it is.
            None: the watermark that a copy would start from.
        described_at: a head from before the plans' tables were described.
        leaves_copies: a mapping that has to be copied ends the attempt, since another run copies it.
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
        described_at: Position | None = None,
        *,
        leaves_copies: bool = False,
    ) -> None:
        self.leaves_copies = leaves_copies
        self.start_at = start_at
        self.described_at = described_at
        self.begun = begun
        self.copier = copier
        self.copy_again = set() if copy_again is None else copy_again
        self.source = source
        self.plans = plans
        self.limits = limits
        self.clock: SourceClock  # asked by `start`, and then each time just before the head is asked for
        self.head: Position | None = None
        self._watermark: Position | None = None  # the last one that was taken for a new table
        self.report: Report = lambda state: report(
            state, self.head, self.clock.lag_s(state.checkpoint.source_time_unix_s)
        )

    def run(
        self, followed_changes: frozenset[Place] = frozenset(), follow_ended: Callable[[], bool] | None = None
    ) -> None:
        """Copy the tables that are due and apply the log, up to the source's head at the end of the copying.

        Args:
            followed_changes: changes of source tables that the targets have followed already.
            follow_ended: if given, the attempt then keeps applying the log until this returns True.

        Raises:
            SchemaChanged: a target has to follow a change of its source table before the next call.
            CopiesDue: mappings have to be copied, and this attempt leaves that to another run.
        """
        states = self.start()
        self._leave_copies(states)
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
                self._catch_up(works, self.head, followed_changes).apply()
            except CommittedUnseen as unseen:
                for state in unseen.states:
                    self._copy_again(state, unseen.transaction)
                    copies.add(state)
                self._leave_copies(unseen.states)
            if not copies.due:
                break
        if follow_ended is not None:
            self._follow(works, followed_changes, follow_ended)

    def _leave_copies(self, states: Sequence[MappingState]) -> None:
        copying = [state.name for state in states if state.checkpoint.phase is Phase.COPYING]
        if self.leaves_copies and copying:
            raise CopiesDue(copying)

    def _follow(self, works: list[MappingWork], followed_changes: frozenset[Place], ended: Callable[[], bool]) -> None:
        try:
            assert self.head is not None
            for work in works:
                work.state.follows = True
            self._catch_up(works, self.head, followed_changes).follow(ended)
        except CommittedUnseen as unseen:
            for state in unseen.states:
                self._copy_again(state, unseen.transaction)
            self.run(followed_changes, ended)

    def _catch_up(self, works: list[MappingWork], until: Position, followed_changes: frozenset[Place]) -> CatchUp:
        return CatchUp(
            self.source, works, until, self.clock, self.limits, self.report, followed_changes, self.described_at
        )

    # ---- starting ----
    def start(self) -> list[MappingState]:
        """Claim every mapping, and store a first checkpoint for each one that has none."""
        states = []
        self.clock = SourceClock(self.source)
        self._watermark = None
        for target in {id(t): t for _, t in self.plans.values()}.values():
            own = {name: plan for name, (plan, t) in self.plans.items() if t is target}
            claimed = target.claim(sorted(own))
            stored = {name: claimed[name] for name in claimed if name not in self.copy_again}
            first = []
            for name, plan in own.items():
                # A watermark under a table's lock fails for that table only. Any other one fails for all tables.
                with nullcontext() if self.source.one_watermark else named_mapping(plan):
                    checkpoint = stored.get(name) or self._first_checkpoint(plan)
                state = MappingState(plan, target, checkpoint, checkpoint.position)
                self.begun(name, stored.get(name))
                with named_mapping(state):
                    if name in stored:
                        self._resume(state)
                    elif unstored := self._begin(state):
                        first.append((state, unstored))
                states.append(state)
            if first:
                store(target, first)
                self.copy_again.difference_update(state.name for state, _ in first)
        return states

    def _resume(self, state: MappingState) -> None:
        self.source.check_position(state.checkpoint.position)
        if state.checkpoint.fingerprint != state.plan.fingerprint:
            raise PrerequisiteError(
                f"mapping {state.name!r} has changed since its checkpoint was made",
                hint="Run the `snapshot` job for it, so that the rows that were copied before follow the new mapping.",
            )

        code = transform_code(state.plan.mapping)
        if changed := changed_code(state.checkpoint.code, code):
            raise PrerequisiteError(
                f"mapping {state.name!r}: the code of {', '.join(changed)} has changed since its checkpoint was made",
                hint="Run the `snapshot` job for it, so that the rows that were copied get the new results. Or, if"
                f" that makes no difference to them, go on: {ACCEPT_CODE} --mapping {shlex.quote(state.name)}",
            )
        state.checkpoint = replace(state.checkpoint, code=code)  # the next commit stores what was not known before

    def _begin(self, state: MappingState) -> Checkpoint | None:
        """Decide how a mapping starts: with a copy, or with its target table as it is.

        Returns:
            The first checkpoint, for the caller to store with the others. None: it is stored already, since rows had
            to be deleted in the same transaction.
        """
        plan, target = state.plan, state.target
        empty = target.is_empty(plan)
        take_as_it_is = plan.mapping.init_if_table_empty and plan.name not in self.copy_again
        if take_as_it_is and not empty:
            first, clear = replace(state.checkpoint, phase=Phase.REPLICATING), False
            if self.start_at is not None:
                position = self.start_at()
                altered = is_altered_after(self.source, position, plan.source.name)
                first = replace(first, position=position, source_time_unix_s=None, altered=altered)
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
        """Start a new copy after this transaction, since the log holds only a part of its rows.

        No new watermark is taken. The log has been read up to here, so every transaction that is in doubt now is
        known. A new watermark could meet unknown ones each time, and the copying would never end.
        """
        plan, target = state.plan, state.target
        log.warning(
            "mapping %s: an XA transaction that was prepared before the copy is committed at %s:%d; copying again",
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

    def _first_checkpoint(self, plan: TablePlan) -> Checkpoint:
        # The low watermark is taken before the columns and the rows are read. Every later change is then in the part
        # of the log that will be applied.
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
            code=transform_code(plan.mapping),
        )
