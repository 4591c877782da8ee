"""Plans every mapping of one attempt from its tables as they are now, and again when they have changed.

An error of one mapping ends that mapping only: it leaves the plans, and its error is in its result.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from ..config.pipeline import Pipeline, TableMapping
from ..model.checkpoint import Checkpoint, Phase
from ..model.checkpoint_codec import columns_from_json
from ..model.errors import (
    PositionLost,
    ReplicationError,
    StaleRun,
    TransientError,
    UnreadableCheckpoint,
    UnsupportedEvent,
)
from ..model.position import Position
from ..model.tables import Column, Table, TableName
from ..plan.decisions import Answer
from ..plan.resolution import has_key_of_now
from ..plan.table_plan import TablePlan
from ..target.mysql_target import MySQLTarget
from .catchup.outcomes import Place, SchemaChanged
from .catchup.table_changes import MADE_AGAIN_S
from .preflight import computed_columns, define, require_own_table, resolve, unlogged_changes, varying_columns
from .result import MappingResult
from .schema_evolution import follow
from .servers import Servers

log = logging.getLogger("myrepetl")

_NO_SUCH_TABLE = frozenset({1049, 1146})  # no such database, no such table


class Planner:
    """Plans the mappings of one source, in one attempt. `results`, `copy_again` and `followed_changes` outlive it.

    Args:
        results: by mapping.
        copy_again: mappings whose stored checkpoint is ignored.
        followed_changes: changes of source tables that the targets have followed.
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
        self.described_at: Position | None = None  # the source's head before the tables were described
        self._waits_until_s = 0.0

    def plan(self, mappings: Sequence[TableMapping], checkpoints: Mapping[str, Checkpoint]) -> None:
        """Plan these mappings. Tables are described together, since with many tables the round trips take most time."""
        servers = self.servers
        self.described_at = servers.source.head()
        source_tables = servers.source.describe_all([m.source_name for m in mappings])
        target_tables = servers.target_tables(mappings)
        created = []
        for mapping in mappings:
            target = servers.targets[mapping.target]
            target_table = target_tables.get((mapping.target, mapping.target_name))
            with self._failing_by_itself(mapping.name, target):
                source_table = source_tables.get(mapping.source_name)
                copying = self._copying(mapping, self._checkpoint(mapping, checkpoints))
                require_own_table(mapping, self.pipeline.mappings, servers.source, target.control)
                found = define(mapping, servers.source, target.control, source_table, target_table, copying=copying)
                self._warn_of(mapping, found)
                if target_table is None:
                    created.append(mapping)
        target_tables |= servers.target_tables(created)
        for mapping in (m for m in mappings if self.results[m.name].error is None):
            target = servers.targets[mapping.target]
            with self._failing_by_itself(mapping.name, target):
                target_table = target_tables.get((mapping.target, mapping.target_name))
                if self.pipeline.sharing(mapping):  # planning another mapping of the table may have altered it
                    target_table = target.control.describe(mapping.target_name)
                assert target_table is not None, "the table is there, or was just created"
                source_table, checkpoint = source_tables[mapping.source_name], self._checkpoint(mapping, checkpoints)
                copying = self._copying(mapping, checkpoint)
                plan = self._resolved(
                    mapping, target, checkpoint, source_table, target_table, copying=copying, change_is_ahead=True
                )
                self.results[mapping.name].plan = plan
                self.plans[mapping.name] = (plan, target)

    # ---- planning again ----
    def follow(self, change: SchemaChanged) -> None:
        """Make the target follow a change of its source table, then plan the mapping again."""
        name = change.place[0]
        plan, target = self.plans[name]
        self._discard_transactions()
        with self._failing_by_itself(name, target):
            source = self.servers.source.describe(plan.source.name)
            answer = change.decision.answer if source is None else follow(target.control, plan, source, change.decision)
            log.info("mapping %s: source table changed, %s", name, answer, extra={"mapping": name})
            if answer is Answer.COPY_AGAIN:
                self.copy_again.add(name)
            self._plan_again(name)
            self.followed_changes.add(change.place)

    def plan_again_if_altered(self, name: str, error: ReplicationError) -> bool:
        """Plan a failed mapping again if its source table has changed since it was planned.

        A copy that was under way starts over, since the columns that it selects or writes may be gone.

        Returns:
            Whether the mapping needs no further treatment: it is planned again, or has failed for good.
        """
        plan, target = self.plans[name]
        with self._failing_by_itself(name, target):
            checkpoint = target.control.read_checkpoints([name]).get(name)
            copying = checkpoint is not None and checkpoint.phase is Phase.COPYING
            dropped = copying and self._was_dropped(plan, target, error)
            now = self._columns_now(plan.source.name, made_again=dropped)
            if not now or (now == plan.source.columns and not dropped):
                return False
            log.info(
                "mapping %s: source table changed meanwhile: %s", name, error.text_of(name), extra={"mapping": name}
            )
            self._discard_transactions()
            if copying and plan.mapping.schema_policy != "fail":
                self.copy_again.add(name)
            self._plan_again(name)
        return True

    def _was_dropped(self, plan: TablePlan, target: MySQLTarget, error: ReplicationError) -> bool:
        """Whether the source table went away under its copy, and may be copied again."""
        evolves = plan.mapping.schema_policy == "evolve" and error.code in _NO_SUCH_TABLE
        return evolves and target.control.describe(plan.target.name) is not None

    def _columns_now(self, name: TableName, *, made_again: bool) -> tuple[Column, ...]:
        """A source table's columns; () if there is none.

        Args:
            made_again: a table that is gone is waited for, but all tables together no longer than one.
        """
        columns = self.servers.source.columns(name)
        self._waits_until_s = self._waits_until_s or time.monotonic() + MADE_AGAIN_S
        while made_again and not columns and time.monotonic() < self._waits_until_s:
            time.sleep(MADE_AGAIN_S / 50)
            columns = self.servers.source.columns(name)
        if columns:  # the next table that is made again, perhaps hours later, is waited for anew
            self._waits_until_s = 0.0
        return columns

    def position_lost(self, error: PositionLost) -> None:
        """Copy again the mappings that allow it (`on_position_lost`), and stop the others.

        An error that names no mapping concerns all of them.
        """
        concerned = [error.mapping] if error.mapping in self.plans else list(self.plans)
        to_copy = [name for name in concerned if self.plans[name][0].mapping.on_position_lost == "resnapshot"]
        for name in concerned:
            if name not in to_copy:
                self.failed(name, error)
        if to_copy:
            log.warning("%s: copying again: %s", ", ".join(to_copy), error, extra={"code": error.code})
        self.copy_again.update(to_copy)
        self._discard_transactions()
        for name in to_copy:
            with self._failing_by_itself(name, self.plans[name][1]):
                self._plan_again(name, copying=True)

    def _plan_again(self, name: str, *, copying: bool = False) -> None:
        """Plan a mapping from its tables as they are now."""
        (plan, target), source = self.plans[name], self.servers.source
        mapping = plan.mapping
        copying = copying or name in self.copy_again
        checkpoint = self._checkpoint(mapping, target.control.read_checkpoints([name]))
        found = target.control.describe(mapping.target_name)
        source_table = source.describe(mapping.source_name)
        source_table = define(mapping, source, target.control, source_table, found, copying=copying)
        self._warn_of(mapping, source_table)
        target_table = found or target.control.describe(mapping.target_name)
        assert target_table is not None, "the table was just created"
        plan = self._resolved(mapping, target, checkpoint, source_table, target_table, copying=copying)
        self.results[name].plan = plan
        self.plans[name] = (plan, target)

    def _resolved(
        self,
        mapping: TableMapping,
        target: MySQLTarget,
        checkpoint: Checkpoint | None,
        source_table: Table,
        target_table: Table,
        *,
        copying: bool,
        change_is_ahead: bool = False,
    ) -> TablePlan:
        """The plan for these two tables."""
        known = columns_from_json(checkpoint.source_columns_json) if checkpoint else ()
        past_key = checkpoint.key if checkpoint else ()
        follows = mapping.columns is None and not mapping.primary_key and mapping.schema_policy == "evolve"
        if follows and past_key and has_key_of_now(source_table, target_table, past_key):
            self.copy_again.add(mapping.name)
            copying = True
        source, control = self.servers.source, target.control
        computed = computed_columns(mapping, source, source_table, control) if copying else ()
        plan = resolve(
            mapping,
            control,
            self.pipeline.sharing(mapping),
            source_table,
            target_table,
            copying=copying,
            known=known,
            past_key=past_key,
            change_is_ahead=change_is_ahead,
            computed=computed,
        )
        if checkpoint is not None and checkpoint.phase is Phase.COPYING and past_key != plan.key:
            self.copy_again.add(mapping.name)  # the checkpoint names the next chunk by the old key
        return plan

    def _warn_of(self, mapping: TableMapping, table: Table) -> None:
        """Warn of what the log does not tell of the source table."""
        source = self.servers.source
        for text in (*unlogged_changes(source, table.name), *varying_columns(mapping, source, table)):
            self.warn(mapping, text)

    def warn(self, mapping: TableMapping, text: str) -> None:
        log.warning("mapping %s: %s", mapping.name, text, extra={"mapping": mapping.name})

    def _checkpoint(self, mapping: TableMapping, checkpoints: Mapping[str, Checkpoint]) -> Checkpoint | None:
        """The mapping's checkpoint. A new copy needs none, so there an unreadable one counts as missing.

        Raises:
            UnreadableCheckpoint: the mapping has to go on from it.
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
        """Roll back every open transaction, since its locks would block a change of the tables' definitions."""
        for target in self.servers.targets.values():
            target.discard_transactions()

    # ---- failures ----
    def failed(self, name: str, error: ReplicationError) -> None:
        """Go on without this mapping."""
        self._failed(name, self.plans[name][1], error)

    def leave(self, names: Collection[str], error: ReplicationError | None = None) -> None:
        """Go on without these mappings, since another run copies them, or has taken them over (`error`)."""
        self._discard_transactions()
        for name in names:
            self.plans.pop(name, None)
            self.results[name].error = error and StaleRun(name)

    def stopped_at(self, error: UnsupportedEvent) -> None:
        """Show an event of the log that may concern any table in the status of every mapping."""
        self._discard_transactions()
        for name, (_, target) in self.plans.items():
            target.control.record_error(name, str(error))

    @contextmanager
    def _failing_by_itself(self, name: str, target: MySQLTarget) -> Iterator[None]:
        """Let an error from the block end this mapping only. A transient error ends the attempt, which is retried."""
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
        log.error("mapping %s: %s", name, error.text_of(name), extra={"mapping": name, "code": error.code})
        target.discard_transactions()
        target.control.record_error(name, str(error))
