"""A target server: one transaction for the rows and the checkpoint, fenced.

`begin` locks the checkpoint and makes sure that it is this run's; `write` may be called many times; `commit`
stores the checkpoint and commits. Whatever breaks in between is rolled back, by us or by the server.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pymysql
from pymysql.connections import Connection

from ..concurrency.background import Background, Waiting, finished
from ..config.pipeline import Endpoint
from ..connections import Connections
from ..model.checkpoint import Checkpoint
from ..model.errors import ReplicationError, SchemaDrift, TargetLost
from ..model.limits import Limits
from ..model.tables import TableName
from ..mysql.bulk_connection import BulkConnection
from ..mysql.connect import Use, close_quietly, query
from ..mysql.server import PING_AFTER_IDLE_S
from ..mysql.session import lock_wait_s
from ..plan.table_plan import TablePlan
from ..replication.ports import PreparedRows
from ..rows.event_encoder import RowChanges
from ..rows.pending_rows import LiteralKey, Mutation, Rendered
from ..values.bulk_parameters import BulkRows
from ..values.sql import keyset_condition, sql_name
from . import checkpoint_table as checkpoints
from . import prepared_table
from .control import Claims, TargetControl
from .event_replay import Replay, describe_events, is_strict
from .row_writer import RowWriter
from .statements import key_literals, table_sql, where_sql

# For how long a transaction that was begun ahead waits for its predecessor, which may be waiting for its locks.
PATIENCE_S = 1.0


class MySQLTarget(TargetControl):
    """A MySQL or MariaDB server to write to, with a second connection for the transaction, the apply connection.

    Args: those of `TargetControl`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        limits: Limits,
        run_id: str | None = None,
        claims: Claims | None = None,
        replay: Replay | None = None,
        connections: Connections | None = None,
    ) -> None:
        super().__init__(endpoint, limits, run_id, claims, replay, connections)
        self._apply: Connection[Any] | None = None
        self._apply_used_at_s = 0.0
        self.packet_bytes_max = 0  # what the apply connection takes, once it is open
        self._writer = RowWriter(endpoint, self)
        self._has_prepared_table = False
        self._behind = Background()
        self._others: list[MySQLTarget] = []
        self._under_way = 0  # operations
        self.progress_count = 0  # operations begun and done: where it stays the same, it gets no further
        self._described: Connection[Any] | None = None  # the connection that knows the events' format
        self._begun: Connection[Any] | None = None  # the connection that the transaction was begun on
        self._as_known: set[TableName] = set()  # tables of the open transaction that were looked at

    # ---- connections ----
    @property
    def connection(self) -> Connection[Any]:
        """The connection that writes."""
        if self._apply is None:
            self._apply = self.connections.open(self.endpoint, Use.APPLY, self.limits, self.info)
            with self.doing():
                self.packet_bytes_max = int(query(self._apply, "SELECT @@session.max_allowed_packet")[0][0])
        self._apply_used_at_s = time.monotonic()
        return self._apply

    @property
    def takes_bulk(self) -> bool:
        """Whether rows may come as the parameters of MariaDB's bulk execution."""
        if self._apply is None and not self._behind.busy and self.info.is_mariadb:
            _ = self.connection
        return isinstance(self._apply, BulkConnection) and self._apply.takes_bulk

    @property
    def in_statement(self) -> bool:
        """Whether an operation is under way."""
        return self._under_way > 0

    @contextmanager
    def doing(self, what: str = "") -> Iterator[None]:
        """As of any server."""
        self._under_way += 1
        self.progress_count += 1
        try:
            with super().doing(what):
                yield
        finally:
            self._under_way -= 1
        self.progress_count += 1

    def close(self) -> None:
        """Close every connection; what was not committed is rolled back by the server."""
        self.abandon()
        for one in self._others:
            one.close()
        super().close()
        self.discard_transaction()

    def discard_transaction(self) -> None:
        """Drop the connections of open transactions; the server rolls them back."""
        for one in self._others:
            one.discard_transaction()
        self._drop_apply()

    def _drop_apply(self) -> None:
        close_quietly(self._apply)
        self._apply = None

    # ---- what the table holds ----
    def keys_after(self, plan: TablePlan, after: LiteralKey | None, rows_max: int) -> list[LiteralKey]:
        """The next keys that the target holds, in its own order, as literals."""
        names = ", ".join(sql_name(name) for name in plan.key)
        past = keyset_condition(plan.key, after) if after else ""
        sql = f"SELECT {names} FROM {table_sql(plan)}{where_sql(plan, past)} ORDER BY {names} LIMIT {rows_max}"
        columns = [plan.target.column(name) for name in plan.key]
        known = [column for column in columns if column is not None]
        with self.doing(f"reading the keys of {plan.target.name}"):
            rows = self._writer.run(sql)
        return [key_literals(known, row) for row in rows]

    # ---- the transaction ----
    def sibling(self) -> MySQLTarget:
        """The same run on connections of its own."""
        made = MySQLTarget(self.endpoint, self.limits, self.run_id, self.claims, self.replay, self.connections)
        made._info = self.info
        return made

    def begin(self, mappings: Iterable[str], *, alone: bool = True) -> None:
        """Open the transaction, behind the fence.

        Args:
            alone: no other connection of this run writes at the same time.

        Raises:
            StaleRun: another run has claimed one of the mappings.
        """
        with self.doing("opening a transaction"):
            self._begin()
            checkpoints.fence(self.connection, self.endpoint.database, mappings, self.run_id, alone=alone)

    def begin_unfenced(self) -> None:
        """Open the transaction, to take the `fence` later."""
        with self.doing("opening a transaction"):
            self._begin()

    def fence(self, mappings: Iterable[str]) -> None:
        """Lock the checkpoint in the open transaction.

        Raises:
            StaleRun: another run has claimed one of the mappings.
        """
        with self.doing("opening a transaction"):
            checkpoints.fence(self.connection, self.endpoint.database, mappings, self.run_id)

    def prepared(self) -> PreparedRows:
        """The rows of XA transactions in doubt, in the open transaction."""
        if not self._has_prepared_table:
            if self.describe(TableName(self.endpoint.database, prepared_table.TABLE)) is None:
                self._define(prepared_table.create_table_sql(self.endpoint.database))
            self._has_prepared_table = True
        return prepared_table.PreparedTable(self.endpoint, self.connection)

    def _begin(self) -> None:
        self._wake_apply()
        connection = self.connection
        if self._begun is not None and self._begun is connection:
            self._begun.rollback()  # BEGIN would commit what a transaction that failed has left
        self._begun = None
        if self.replay.able and not self.replay.refused and self._described is not connection:
            try:
                with self.doing():
                    connection.rollback()  # of what has only been read, if anything
                    describe_events(connection, mariadb=self.info.is_mariadb)
            except ReplicationError as error:
                raise self.replay.refusal(self.endpoint.label, error) from None
            self._described = connection
        connection.begin()
        self._begun = connection
        self._as_known.clear()

    def _wake_apply(self) -> None:
        """Replace the connection where it has died of idleness: there is no transaction yet that could be lost."""
        if self._apply is None or time.monotonic() - self._apply_used_at_s <= PING_AFTER_IDLE_S:
            return
        try:
            self._apply.ping(reconnect=False)
        except (pymysql.MySQLError, OSError, AttributeError):
            self._drop_apply()

    def commit(self, stored: Sequence[Checkpoint]) -> None:
        """Store the checkpoints and commit, rows and all.

        Raises:
            TargetLost: the connection broke; whether the commit took effect, the checkpoint will tell.
        """
        with self.doing("committing"):
            connection = self._apply
            if connection is not self._begun or connection is None:
                raise TargetLost("the connection that the transaction was begun on is gone")
            if stored:
                checkpoints.write(connection, self.endpoint.database, stored, self.run_id)
            connection.commit()
            self._begun = None

    # ---- rows ----
    def write(self, plan: TablePlan, mutations: Sequence[Mutation], *, exact: bool) -> None:
        self._writer.write(plan, mutations, exact=exact)

    def write_rendered(self, plan: TablePlan, rendered: Rendered) -> None:
        self._writer.write_rendered(plan, rendered)

    def write_tuples(self, plan: TablePlan, tuples: Sequence[bytes | memoryview]) -> None:
        self._writer.write_tuples(plan, tuples)

    def write_parameters(self, plan: TablePlan, rows: BulkRows) -> None:
        self._writer.write_parameters(plan, rows)

    def clear(self, plan: TablePlan) -> None:
        self._writer.clear(plan)

    def takes_changes(self, plan: TablePlan, rows: int, *, begun: bool) -> bool:
        """Whether so many rows of this plan are to be written as images.

        Args:
            begun: in the transaction that is open.
        """
        if rows < self.limits.event_rows_min:
            return False
        if begun and (self._described is None or self._described is not self._apply):
            return False
        if plan.target.name not in self.replay.definitions:
            self.wake()
        with super().doing(f"looking at {plan.target.name}"):  # while the apply connection may be at work
            return self.replay.takes(self.control, plan, mariadb=self.info.is_mariadb)

    def write_changes(self, plan: TablePlan, changes: RowChanges, *, descending: bool = False) -> None:
        """Apply images of rows, in the open transaction, in the order of the table's rows.

        Raises:
            TargetBusy: the target did not take them. From now on it gets statements, which tell what it refuses.
        """
        name = plan.target.name
        try:
            with self.doing(f"writing {name}"):
                if not is_strict(self.connection, mariadb=self.info.is_mariadb):
                    raise SchemaDrift("the server's own replication is not strict any more")
                if name not in self._as_known:
                    if not self.replay.is_as_known(self.connection, name):
                        raise SchemaDrift(f"{name} is not what it was")
                    self._as_known.add(name)
                mariadb, bytes_max = self.info.is_mariadb, self.packet_bytes_max
                for events in changes.events(name, bytes_max, mariadb=mariadb, descending=descending):
                    self._writer.apply_events(events)
        except ReplicationError as error:
            raise self.replay.refusal(str(name), error) from None

    # ---- in the background ----
    def apply_connections(self, number: int) -> list[MySQLTarget]:
        """This and the same run on other connections, which are closed with this one."""
        while len(self._others) < number - 1:
            self._others.append(self.sibling())
        return [self, *self._others]

    def start(self, work: Callable[[], Waiting]) -> None:
        """Do this with the apply connection while the caller goes on; until `finish` it is nobody else's."""
        patience_s = min(PATIENCE_S, float(lock_wait_s(self.endpoint, self.limits)) / 3)
        self._behind.start(lambda: finished(work, patience_s))

    def finish(self) -> None:
        """Wait for what was started; raises what it raised."""
        self._behind.wait()

    @property
    def busy(self) -> bool:
        """Whether what was started is still going on."""
        return self._behind.busy

    def abandon(self) -> None:
        """Let what was started end, well or not."""
        with suppress(Exception):
            self._behind.wait()

    def rollback(self) -> None:
        """Undo the open transaction, if there is a connection to undo it on."""
        if self._apply is not None:
            with self.doing("rolling back"):
                self._apply.rollback()
                self._begun = None
