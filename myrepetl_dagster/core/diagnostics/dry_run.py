"""A dry run: the code of a run up to the first row, over connections that change nothing.

So it refuses the same mappings as a run, by the same code. The sessions on a target are read only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pymysql.connections import Connection

from ..config.pipeline import Endpoint, Pipeline, TableMapping
from ..model.checkpoint import Checkpoint, Checkpoints, Phase
from ..model.errors import PositionLost, PrerequisiteError, ReplicationError
from ..model.limits import Limits
from ..model.position import Position
from ..model.tables import Column, Table, TableName
from ..mysql.connect import query
from ..mysql.grants import missing, parse
from ..plan.table_plan import TablePlan
from ..replication.attempt import Attempt, window_copies
from ..replication.planner import Planner
from ..replication.result import MappingResult
from ..replication.servers import Servers
from ..source.mysql_source import MySQLSource
from ..target.apply_connection import MySQLApplyConnection
from ..target.apply_session import ApplySession
from ..target.control import TargetControl
from ..target.mysql_target import MySQLTarget

_DENIED = 1142
_READ_ONLY_SQL = "SET SESSION TRANSACTION READ ONLY"


class DryRunSource(MySQLSource):
    """A source that locks no table, since other sessions would have to wait. It takes one watermark for all tables."""

    def __init__(self, endpoint: Endpoint, limits: Limits) -> None:
        super().__init__(endpoint, limits)
        self._watermark: Position | None = None

    def safe_watermark(self, tables: Sequence[TableName], earlier: Position | None = None) -> Position:
        self._watermark = self._watermark or super().safe_watermark(tables)
        return self._watermark

    def _locked_position(self, tables: Sequence[TableName]) -> Position:
        return self._head()


class DryRunControl(TargetControl):
    """Describes the tables of a target as a run would make them, without changing them."""

    def __init__(self, endpoint: Endpoint, limits: Limits) -> None:
        super().__init__(endpoint, limits)
        self._expected: dict[TableName, Table] = {}
        self._created: set[TableName] = set()

    @property
    def control(self) -> Connection[Any]:
        times_opened = self._times_opened
        connection = super().control
        if self._times_opened > times_opened:
            with self.doing():
                query(connection, _READ_ONLY_SQL)
        return connection

    # ---- tables as they would be ----
    def describe(self, name: TableName) -> Table | None:
        return self._expected.get(name) or super().describe(name)

    def describe_all(self, names: Sequence[TableName]) -> dict[TableName, Table]:
        expected = {name: self._expected[name] for name in names if name in self._expected}
        return super().describe_all([name for name in names if name not in expected]) | expected

    def create_table(self, sql: str, table: Table) -> None:
        self._expected[table.name] = table
        self._created.add(table.name)

    def alter_column(self, table: TableName, change: str, column: Column, former: str = "") -> None:
        """Note how the column would be altered, if the account may do that.

        Raises:
            PrerequisiteError: the account may not alter the table.
        """
        with self.doing():
            grants = parse(str(row[0]) for row in query(self.control, "SHOW GRANTS"))
        if missing(grants, ["ALTER"], table):
            raise PrerequisiteError(f"{self.endpoint.label}: ALTER on {table} missing", code=_DENIED)
        described = self.describe(table)
        assert described is not None, "the table was looked at before"
        altered = {former or column.name: column}
        columns = tuple(altered.pop(c.name, c) for c in described.columns)
        keys = [tuple(column.name if part == former else part for part in key) for key in described.unique_keys]
        primary_key = tuple(column.name if part == former else part for part in described.primary_key)
        columns = (*columns, *altered.values())
        self._expected[table] = replace(described, columns=columns, primary_key=primary_key, unique_keys=tuple(keys))

    def is_empty(self, plan: TablePlan) -> bool:
        return plan.target.name in self._created or super().is_empty(plan)

    # ---- writes that are left out ----
    def define(self, sql: str, what: str) -> None:
        """Nothing."""

    def create_checkpoint_table(self) -> None:
        """Nothing."""

    def record_error(self, mapping: str, error: str) -> None:
        """Nothing."""

    def claim(self, mappings: Sequence[str]) -> Checkpoints:
        """Read the checkpoints without claiming them."""
        return self.read_checkpoints(mappings)


class DryRunSession(ApplySession):
    """A session that the server keeps read only."""

    @property
    def connection(self) -> Connection[Any]:
        is_new = self.opened is None
        connection = super().connection
        if is_new:
            with self.doing():
                query(connection, _READ_ONLY_SQL)
        return connection


class DryRunConnection(MySQLApplyConnection):
    """An apply connection that writes nothing."""

    def begin(self, mappings: Iterable[str], *, exclusive: bool = True) -> None:
        """Open the connection, nothing more."""
        _ = self._session.connection

    def clear(self, plan: TablePlan) -> None:
        """Nothing."""

    def commit(self, stored: Sequence[Checkpoint]) -> None:
        """Nothing."""


class DryRunTarget(MySQLTarget):
    """A target on which nothing is written. `control` is a `DryRunControl`."""

    def __init__(self, endpoint: Endpoint, limits: Limits) -> None:
        super().__init__(endpoint, limits)
        self.control: DryRunControl = DryRunControl(endpoint, limits)

    def new_connections(self, number: int) -> list[MySQLApplyConnection]:
        return [DryRunConnection(self.control, DryRunSession(self.control)) for _ in range(number)]


@dataclass(slots=True)
class Outlook:
    """How a run would start on a mapping. `deletes`: its first copy would delete rows of the target."""

    mapping: TableMapping
    error: ReplicationError | None = None
    warnings: list[str] = field(default_factory=list)
    deletes: bool = False


class DryRun(Planner):
    """Plans and starts the mappings of one source as a run does, up to the first row."""

    def __init__(self, pipeline: Pipeline, source: DryRunSource, targets: Mapping[str, DryRunTarget]) -> None:
        servers = Servers(source, dict(targets))
        super().__init__(pipeline, servers, {}, set(), set())
        self.found: dict[str, Outlook] = {}

    def look(self, mappings: Sequence[TableMapping], checkpoints: Mapping[str, Checkpoint]) -> list[Outlook]:
        """How a run would start on these mappings from these checkpoints.

        Raises:
            ReplicationError: a server cannot be asked. That would end a run for all of the mappings.
        """
        self.results = {m.name: MappingResult(mapping=m.name) for m in mappings}
        self.found = {m.name: Outlook(m) for m in mappings}
        self.servers.source.safe_watermark([m.source_name for m in mappings])  # the one for all of them

        self.plan(mappings, checkpoints)
        for name in list(self.plans):
            mapping, target = self.plans[name][0].mapping, self.plans[name][1]
            with self._failing_by_itself(name, target):
                self._begin(mapping, name in checkpoints)
        return list(self.found.values())

    def _begin(self, mapping: TableMapping, known: bool) -> None:
        try:
            self._start(mapping, known)
        except PositionLost as error:
            if mapping.on_position_lost != "resnapshot":
                raise
            self.warn(mapping, f"will be copied again: {error.message}")
            self.copy_again.add(mapping.name)
            self._plan_again(mapping.name, copying=True)
            self._start(mapping, known)

    def _start(self, mapping: TableMapping, known: bool) -> None:
        plan, target = self.plans[mapping.name]
        source, limits = self.servers.source, self.pipeline.limits
        log = self.pipeline.replication
        start_at = partial(source.position_at, log.log_file, log.log_pos) if log.log_file else None
        plans = {mapping.name: (plan, target)}
        for state in Attempt(
            source, plans, limits, lambda *_: None, copy_again=self.copy_again, start_at=start_at
        ).start():
            if state.checkpoint.phase is Phase.COPYING:
                window_copies(source, limits, lambda _: None).add(state)
                self.found[mapping.name].deletes = not known and not target.is_empty(plan)

    # ---- kept in the outlooks, where a run logs and stores ----
    @contextmanager
    def _failing_by_itself(self, name: str, target: MySQLTarget) -> Iterator[None]:
        try:
            yield
        except ReplicationError as error:
            self.plans.pop(name, None)
            self.results[name].error = self.found[name].error = error

    def warn(self, mapping: TableMapping, text: str) -> None:
        self.found[mapping.name].warnings.append(text)
