"""A copy whose parts are copied side by side, each in a process of its own, and the runs of its three steps.

`BeginCopies` claims the mappings, stores their low watermarks and divides their tables. `CopyOneRange` copies one
range. `EndCopies` is an ordinary run: once all ranges are done, it goes on with the sweep, the high watermark and the
log.

The steps hand each other a `Part` for each range. All of them write under the name on the fence with which the copy was
begun, so any other run that claims the mapping fences them all off. `EndCopies` takes a new name: what a step that was
cut off may still have open on the target can then no longer be committed.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from ..config.pipeline import Pipeline, TableMapping
from ..model.checkpoint import Checkpoint, Checkpoints, Phase
from ..model.checkpoint_codec import columns_from_json
from ..model.copy_range import ranges_between
from ..model.errors import PrerequisiteError, ReplicationError, SchemaDrift, StaleRun, TransientError
from ..plan.table_plan import TablePlan
from ..source.mysql_source import MySQLSource
from ..target.mysql_target import MySQLTarget
from .mapping_state import named_mapping
from .planner import Planner
from .result import MappingResult
from .run import SourceRun
from .run_results import OnProgress
from .servers import Servers
from .snapshot.copy import ended
from .snapshot.range_copy import RangeCopies, can_divide, dividing_keys, put_ranges

# About 30 s of copying on the machine of docs/benchmarks.md.
STEP_ROWS = 3_000_000
STEP_BYTES = 600 * 2**20


@dataclass(frozen=True, slots=True)
class Part:
    """One range of a copy, as the steps hand it on.

    Args:
        number: the range's, from 1 on.
        of: how many ranges the table has.
        run_id: the name on the fence.
    """

    mapping: str
    number: int
    of: int
    run_id: str


class BeginCopies(SourceRun):
    """Begins new copies of tables of one source that are large enough to be divided. `parts`: the ranges.

    Args:
        step_rows: about how many rows a range has.
        step_bytes: about how many bytes it has at most.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        mappings: Sequence[TableMapping],
        on_progress: OnProgress = lambda _: None,
        *,
        step_rows: int = STEP_ROWS,
        step_bytes: int = STEP_BYTES,
        waits_for_turn: bool = True,
    ) -> None:
        again = [m.name for m in mappings]
        super().__init__(pipeline, mappings, on_progress, copy_again=again, waits_for_turn=waits_for_turn)
        self.parts: list[Part] = []
        self._step_rows = step_rows
        self._step_bytes = step_bytes

    def _work(self, source: MySQLSource, planner: Planner) -> None:
        self.parts.clear()
        divided = {}
        for name, (plan, target) in list(planner.plans.items()):
            with named_mapping(plan):
                keys = []
                if can_divide(source, plan):
                    row_bytes = source.mean_row_bytes(plan.source.name)
                    rows = min(self._step_rows, max(1, self._step_bytes // row_bytes))
                    keys = dividing_keys(source, plan, rows)
            if keys:
                divided[name] = (target, ranges_between(name, keys))
            else:
                del planner.plans[name]  # it is left to the last step, which copies it as any table
        for state in self._new_attempt(source, planner).start():
            target, ranges = divided[state.name]
            with named_mapping(state):
                put_ranges(target, state.name, ranges)
            self.parts += [Part(state.name, r.number, len(ranges), target.control.run_id) for r in ranges]


class CopyOneRange(SourceRun):
    """Copies one range, from where an earlier try has left it. `rows`: how many rows of it are written."""

    def __init__(self, pipeline: Pipeline, part: Part, on_progress: OnProgress = lambda _: None) -> None:
        super().__init__(pipeline, _mappings(pipeline, [part.mapping]), on_progress)
        self.part = part
        self.rows = 0
        self._targets.know(self.mappings[0], {part.run_id})

    def _attempt(self) -> None:
        # Not as `SourceRun` does it: that would copy an altered table anew, and other steps copy it, too.
        with self._servers() as servers:
            checkpoints = self._targets.open(servers, self.mappings, self.limits)
            self._targets.take_turns(servers, self.mappings, None)  # it is shown to be at work, by one step at a time
            (target,) = servers.targets.values()
            target.control.run_id = self.part.run_id
            try:
                self._copy(servers, self._checkpoint(checkpoints))
            except ReplicationError as error:
                target.discard_transactions()  # their locks would block what follows
                if not isinstance(error, TransientError | StaleRun):
                    target.control.record_error(self.part.mapping, str(error))
                raise

    def _copy(self, servers: Servers, checkpoint: Checkpoint) -> None:
        source = servers.source
        planner = Planner(self.pipeline, servers, self.results, self.copy_again, self.followed_changes)
        self._require_unaltered(source, checkpoint)
        planner.plan(self.mappings, Checkpoints({self.part.mapping: checkpoint}))
        if (error := self.results[self.part.mapping].error) is not None:
            raise error
        self._require_unaltered(source, checkpoint)
        attempt = self._new_attempt(source, planner)
        (state,) = attempt.start()
        copies = RangeCopies(source, attempt.limits, attempt.report, self.part.number)
        copies.take(state)
        while copies.due:
            copies.run_slice()
        self._require_unaltered(source, checkpoint)
        self.rows = copies.range.rows_snapshotted

    def _checkpoint(self, checkpoints: Checkpoints) -> Checkpoint:
        checkpoint = checkpoints.get(self.part.mapping)
        if checkpoint is None or checkpoint.phase is not Phase.COPYING:
            raise StaleRun(self.part.mapping)
        return checkpoint

    def _require_unaltered(self, source: MySQLSource, checkpoint: Checkpoint) -> None:
        """Raise an error if the table is not the one of which the copy was begun."""
        mapping = self.mappings[0]
        columns = source.columns(source.log_name(mapping.source_name))
        if columns != columns_from_json(checkpoint.source_columns_json) or self.copy_again:
            error = SchemaDrift(
                f"mapping {mapping.name!r}: {mapping.source_name} was altered while its ranges were copied",
                hint="Launch the job anew: it copies the table from its beginning.",
            )
            error.mapping = mapping.name
            raise error


class EndCopies(SourceRun):
    """Ends the copies whose ranges are done, copies the other tables, and applies the log.

    Args:
        mappings: all that the job is about.
        parts: the ranges of those that were divided.
        copied: mappings that an earlier try of this step has copied whole.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        mappings: Sequence[TableMapping],
        parts: Collection[Part],
        on_progress: OnProgress = lambda _: None,
        *,
        copied: Collection[str] = (),
        waits_for_turn: bool = True,
    ) -> None:
        ranges = {part.mapping: part.of for part in parts}
        whole = [m.name for m in mappings if m.name not in ranges and m.name not in copied]
        super().__init__(pipeline, mappings, on_progress, copy_again=whole, waits_for_turn=waits_for_turn)
        self._by_name = {m.name: m for m in mappings}
        self._ranges = ranges  # their number, for the mappings whose copies are to be ended
        self._run_ids = {part.mapping: part.run_id for part in parts}
        self._copied: dict[str, tuple[int, int, int]] = {}  # by mapping: rows written, rows filtered, bytes read

    def run(self) -> list[MappingResult]:
        """As `SourceRun.run`. The results count the rows of the ranges, too."""
        results = super().run()
        for result in results:
            snapshotted, filtered, bytes_read = self._copied.get(result.mapping, (0, 0, 0))
            result.rows_snapshotted += snapshotted
            result.rows_filtered += filtered
            result.bytes_read += bytes_read
        return results

    def _know_earlier(self, target: MySQLTarget, planned: Collection[str]) -> None:
        """Let the target's mappings be taken over from the steps before this one, and from earlier tries of it.

        Names on the fence that begin alike belong to one copy.
        """
        own = [name for name in self._run_ids if name in planned]
        for run_id in {_family(self._run_ids[name]) for name in own}:
            target.control.run_id = run_id + uuid.uuid4().hex[len(run_id) :]
        for name, holder in target.holders(own).items():
            ours = _family(holder) == _family(self._run_ids[name])
            self._targets.know(self._by_name[name], {self._run_ids[name]} | ({holder} if ours else set()))

    def _work(self, source: MySQLSource, planner: Planner) -> None:
        for target in {id(target): target for _, target in planner.plans.values()}.values():
            self._know_earlier(target, [name for name, (_, t) in planner.plans.items() if t is target])
        for name in list(self._ranges):
            if name in planner.plans and name not in self.copy_again:
                plan, target = planner.plans[name]
                with named_mapping(plan):
                    self._end(plan, target, source)
            del self._ranges[name]
        super()._work(source, planner)

    def _end(self, plan: TablePlan, target: MySQLTarget, source: MySQLSource) -> None:
        """Store that the copy has come to its sweep, or if there is none, to its end."""
        name = plan.name
        checkpoint = target.claim([name])[name]
        copy = checkpoint.copy
        if copy is None or copy.sweeping:  # an earlier try has done it
            return
        connection = target.apply
        connection.begin([name])
        table = connection.ranges()
        ranges = table.all(name)
        undone = [str(r.number) for r in ranges if not r.done]
        if len(ranges) != self._ranges[name] or undone:
            raise PrerequisiteError(
                f"mapping {name!r}: not all ranges of its copy are done"
                + (f": {', '.join(undone)} of {self._ranges[name]} are not" if undone else ""),
                hint="Launch the job anew. Did the executor drop steps of the run?",
            )
        snapshotted, filtered = sum(r.rows_snapshotted for r in ranges), sum(r.rows_filtered for r in ranges)
        bytes_read = sum(r.bytes_read for r in ranges)
        if copy.sweep:
            estimated = target.estimated_rows(plan)
            copy = replace(copy, sweeping=True, rows_done=0, rows_estimated=estimated)
        checkpoint = replace(
            checkpoint,
            copy=copy,
            rows_snapshotted=checkpoint.rows_snapshotted + snapshotted,
            rows_filtered=checkpoint.rows_filtered + filtered,
            bytes_read=checkpoint.bytes_read + bytes_read,
            sequence=checkpoint.sequence + 1,
            last_error="",
        )
        table.drop(name)
        connection.commit([checkpoint if copy.sweep else ended(checkpoint, source.head())])
        self._copied[name] = (snapshotted, filtered, bytes_read)


def _mappings(pipeline: Pipeline, names: Collection[str]) -> list[TableMapping]:
    return [mapping for mapping in pipeline.mappings if mapping.name in names]


def _family(run_id: str) -> str:
    """The beginning that names on the fence of one copy have in common."""
    return run_id[:16]
