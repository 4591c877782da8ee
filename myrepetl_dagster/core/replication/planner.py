"""The plans of one attempt: of every mapping by its tables as they are, and anew where it turns out that they are not.

What goes wrong for one mapping ends that one: it leaves the plans, and its error is in its result.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..config.pipeline import Pipeline, TableMapping
from ..model.checkpoint import Checkpoint, Phase
from ..model.checkpoint_codec import columns_from_json
from ..model.errors import PositionLost, ReplicationError, StaleRun, TransientError, UnreadableCheckpoint
from ..model.tables import Table, TableName
from ..plan.schema_change import Answer
from ..plan.table_plan import TablePlan
from ..source.mysql_source import MySQLSource
from ..target.mysql_target import MySQLTarget
from .catchup.outcomes import Place, SchemaChanged
from .preflight import define, require_own_table, resolve, unlogged_changes
from .result import MappingResult
from .schema_evolution import follow

log = logging.getLogger("myrepetl")


@dataclass(slots=True)
class Servers:
    """The connections of one attempt."""

    source: MySQLSource
    targets: dict[str, MySQLTarget] = field(default_factory=dict)

    def close(self) -> None:
        self.source.close()
        for target in self.targets.values():
            target.close()


class Planner:
    """Plans the mappings of one source, in one attempt.

    Args:
        results: by mapping; of the whole run, as `copy_again` and `followed_changes` are.
        copy_again: mappings whose checkpoint counts as none.
        followed_changes: changes of tables that the targets have followed.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        servers: Servers,
        results: Mapping[str, MappingResult],
        copy_again: set[str],
        followed_changes: set[Place],
    ) -> None:
        self.pipeline = pipeline
        self.servers = servers
        self.results = results
        self.copy_again = copy_again
        self.followed_changes = followed_changes
        self.plans: dict[str, tuple[TablePlan, MySQLTarget]] = {}

    def plan(self, mappings: Sequence[TableMapping], checkpoints: Mapping[str, Checkpoint]) -> None:
        """Plan these mappings. What can be asked for all tables at once is: with many, the questions are most of it."""
        servers = self.servers
        tables = servers.source.describe_all([m.source_name for m in mappings])
        held = _target_tables(servers, mappings)
        created = []
        for mapping in mappings:
            target, known = servers.targets[mapping.target], held.get((mapping.target, mapping.target_name))
            with self._failing_alone(mapping.name, target):
                table = tables.get(mapping.source_name)
                copying = self._copying(mapping, self._held(mapping, checkpoints))
                require_own_table(mapping, self.pipeline.mappings, servers.source, target.control)
                define(mapping, servers.source, target.control, table, known, copying=copying)
                self._warn_of_unlogged(mapping)
                if known is None:
                    created.append(mapping)
        held |= _target_tables(servers, created)
        for mapping in (m for m in mappings if self.results[m.name].error is None):
            target = servers.targets[mapping.target]
            with self._failing_alone(mapping.name, target):
                known = held.get((mapping.target, mapping.target_name))
                if self.pipeline.sharing(mapping):  # planning one of the others may have altered it
                    known = target.control.describe(mapping.target_name)
                assert known is not None, "the table is there, or was just created"
                table, checkpoint = tables[mapping.source_name], self._held(mapping, checkpoints)
                copying = self._copying(mapping, checkpoint)
                plan = self._resolved(mapping, target, checkpoint, table, known, copying=copying)
                self.results[mapping.name].plan = plan
                self.plans[mapping.name] = (plan, target)

    # ---- anew ----
    def follow(self, change: SchemaChanged) -> None:
        """Let the target follow a change of its source table, then plan anew."""
        name = change.place[0]
        plan, target = self.plans[name]
        self._discard_transactions()
        with self._failing_alone(name, target):
            source = self.servers.source.describe(plan.source.name)
            answer = change.decision.answer if source is None else follow(target.control, plan, source, change.decision)
            log.info("mapping %s: source table changed, %s", name, answer, extra={"mapping": name})
            if answer is Answer.COPY_AGAIN:
                self.copy_again.add(name)
            self._again(name)
            self.followed_changes.add(change.place)

    def planned_before_a_change(self, name: str, error: ReplicationError) -> bool:
        """Plan again what failed, if the source table is no longer what it was when it was planned.

        A copy of which a part failed starts over: what it selects, or what it fits into, may be gone.
        """
        plan, target = self.plans[name]
        with self._failing_alone(name, target):
            now = self.servers.source.columns(plan.source.name)
            if not now or now == plan.source.columns:
                return False
            log.info("mapping %s: source table changed meanwhile: %s", name, error, extra={"mapping": name})
            self._discard_transactions()
            held = target.control.read_checkpoints([name]).get(name)
            if held is not None and held.phase is Phase.COPYING and plan.mapping.schema_policy != "fail":
                self.copy_again.add(name)
            self._again(name)
        return True

    def position_lost(self, error: PositionLost) -> None:
        """Copy again what may be copied again (`on_position_lost`); the rest stops. Unnamed, it is every mapping's."""
        named = [error.mapping] if error.mapping in self.plans else list(self.plans)
        willing = [name for name in named if self.plans[name][0].mapping.on_position_lost == "resnapshot"]
        for name in named:
            if name not in willing:
                self.failed(name, error)
        if willing:
            log.warning("%s: copying again: %s", ", ".join(willing), error, extra={"code": error.code})
        self.copy_again.update(willing)
        self._discard_transactions()
        for name in willing:
            with self._failing_alone(name, self.plans[name][1]):
                self._again(name, copying=True)

    def _again(self, name: str, *, copying: bool = False) -> None:
        """Plan a mapping by its tables as they are now."""
        (plan, target), source = self.plans[name], self.servers.source
        mapping = plan.mapping
        copying = copying or name in self.copy_again
        checkpoint = self._held(mapping, target.control.read_checkpoints([name]))
        held = target.control.describe(mapping.target_name)
        table = define(mapping, source, target.control, source.describe(mapping.source_name), held, copying=copying)
        self._warn_of_unlogged(mapping)
        held = held or target.control.describe(mapping.target_name)
        assert held is not None, "the table was just created"
        plan = self._resolved(mapping, target, checkpoint, table, held, copying=copying)
        self.results[name].plan = plan
        self.plans[name] = (plan, target)

    def _resolved(
        self,
        mapping: TableMapping,
        target: MySQLTarget,
        checkpoint: Checkpoint | None,
        table: Table,
        held: Table,
        *,
        copying: bool,
    ) -> TablePlan:
        """The plan by source table and target table."""
        known = columns_from_json(checkpoint.source_columns_json) if checkpoint else ()
        past_key = checkpoint.key if checkpoint else ()
        shared = self.pipeline.sharing(mapping)
        plan = resolve(mapping, target.control, shared, table, held, copying=copying, known=known, past_key=past_key)
        if checkpoint is not None and checkpoint.phase is Phase.COPYING and past_key != plan.key:
            self.copy_again.add(mapping.name)  # its next chunk would be asked for by the old key
        return plan

    def _warn_of_unlogged(self, mapping: TableMapping) -> None:
        for text in unlogged_changes(self.servers.source, mapping.source_name):
            self.warn(mapping, text)

    def warn(self, mapping: TableMapping, text: str) -> None:
        log.warning("mapping %s: %s", mapping.name, text, extra={"mapping": mapping.name})

    def _held(self, mapping: TableMapping, checkpoints: Mapping[str, Checkpoint]) -> Checkpoint | None:
        """The mapping's checkpoint. One that cannot be read stops everything but a new copy.

        Raises:
            UnreadableCheckpoint: the mapping is to go on from it.
        """
        try:
            return checkpoints.get(mapping.name)
        except UnreadableCheckpoint:
            if mapping.name in self.copy_again:
                return None
            raise

    def _copying(self, mapping: TableMapping, checkpoint: Checkpoint | None) -> bool:
        return checkpoint is None or checkpoint.phase is Phase.COPYING or mapping.name in self.copy_again

    def _discard_transactions(self) -> None:
        """Of a transaction a part may be written: its locks would be in the way of the tables' definitions."""
        for target in self.servers.targets.values():
            target.discard_transactions()

    # ---- what fails ----
    def failed(self, name: str, error: ReplicationError) -> None:
        """Go on without this mapping."""
        self._failed(name, self.plans[name][1], error)

    @contextmanager
    def _failing_alone(self, name: str, target: MySQLTarget) -> Iterator[None]:
        """An error that is not to pass by itself is this mapping's, and ends nothing else."""
        try:
            yield
        except ReplicationError as error:
            if isinstance(error, TransientError):
                raise
            error.mapping = name
            self._failed(name, target, error)

    def _failed(self, name: str, target: MySQLTarget, error: ReplicationError) -> None:
        self.plans.pop(name, None)
        self.results[name].error = error
        log.error("mapping %s: %s", name, error, extra={"mapping": name, "code": error.code})
        target.discard_transactions()
        if not isinstance(error, StaleRun):
            target.control.record_error(name, str(error))


def _target_tables(servers: Servers, mappings: Sequence[TableMapping]) -> dict[tuple[str, TableName], Table]:
    """The mappings' target tables that there are, by target and name."""
    found: dict[tuple[str, TableName], Table] = {}
    for name, target in servers.targets.items():
        tables = target.control.describe_all([m.target_name for m in mappings if m.target == name])
        found |= {(name, table): described for table, described in tables.items()}
    return found
