"""A connection that writes: one transaction at a time, for the rows and the checkpoints, fenced.

`begin` locks the checkpoints and makes sure that they are this run's. `write` may be called many times. `commit` stores
the checkpoints and commits. If something breaks in between, everything is rolled back, by us or by the server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from pymysql.connections import Connection

from ..concurrency.background import Background, Waiting, finished
from ..model.checkpoint import Checkpoint
from ..model.errors import TargetLost
from ..mysql.session import lock_wait_s
from ..plan.table_plan import TablePlan
from ..rows.event_encoder import RowChanges
from ..rows.literal_codegen import LiteralKey
from ..rows.writable_rows import WritableRows
from ..values.sql import keyset_condition, sql_name
from . import checkpoint_table as checkpoints
from .apply_session import ApplySession
from .control import TargetControl
from .event_writer import EventWriter
from .prepared_table import PreparedTable
from .range_table import RangeTable
from .row_writer import RowWriter
from .statements import key_literals, table_sql, where_sql

# For how long a transaction that was begun early waits for its predecessor, which may be waiting for its locks.
PATIENCE_S = 1.0


class MySQLApplyConnection:
    """One connection of a run to a target server, for transactions that write.

    Args:
        server: the target, with what the run's connections to it share.
        session: the connection itself; None for an ordinary one.
    """

    def __init__(self, server: TargetControl, session: ApplySession | None = None) -> None:
        self._server = server
        self._session = session or ApplySession(server)
        self._rows = RowWriter(self._session)
        self._events = EventWriter(self._session, server.event_support)
        self._background = Background()
        self._begun: Connection[Any] | None = None  # the connection that the transaction was begun on

    # ---- the transaction ----
    def begin(self, mappings: Iterable[str], *, exclusive: bool = True) -> None:
        """Begin a transaction, behind the fence.

        Args:
            exclusive: no other connection of this run writes these mappings at the same time.

        Raises:
            StaleRun: another run has claimed one of the mappings.
        """
        self._begin(mappings, exclusive=exclusive)

    def begin_unfenced(self) -> None:
        """Begin a transaction, to take the `fence` later."""
        self._begin()

    def fence(self, mappings: Iterable[str]) -> None:
        """Lock the checkpoints in the open transaction.

        Raises:
            StaleRun: another run has claimed one of the mappings.
        """
        server = self._server
        with self._session.doing("opening a transaction"):
            checkpoints.fence(self._session.connection, server.endpoint.database, mappings, server.run_id)

    def _begin(self, fenced: Iterable[str] | None = None, *, exclusive: bool = True) -> None:
        """`fenced`: the mappings whose fence it takes; None: that comes later."""
        server = self._server
        with self._session.doing("opening a transaction"):
            self._session.wake()
            connection = self._session.connection
            if self._begun is not None and self._begun is connection:
                self._begun.rollback()  # BEGIN would commit what a failed transaction has left
            self._begun = None
            self._events.prepare(connection)
            connection.begin()
            self._begun = connection
            if fenced is not None:
                checkpoints.fence(connection, server.endpoint.database, fenced, server.run_id, exclusive=exclusive)

    def write(self, plan: TablePlan, rows: WritableRows) -> None:
        """Write rows in the open transaction.

        Raises:
            RowRejected: the target refused a row. The error names the table, and the key where it is known.
            TargetBusy: the target did not take rows as events; the next attempt sends statements.
        """
        if isinstance(rows, RowChanges):
            self._events.write(plan, rows)
        else:
            self._rows.write(plan, rows)

    def clear(self, plan: TablePlan) -> None:
        """Delete every row of the mapping in the open transaction."""
        self._rows.clear(plan)

    def prepared(self) -> PreparedTable:
        """The rows of XA transactions in doubt, in the open transaction."""
        self._server.create_prepared_table()
        return PreparedTable(self._server.endpoint, self._session.connection)

    def ranges(self) -> RangeTable:
        """The ranges of copies, in the open transaction. Their table is there: `MySQLTarget.create_range_table`."""
        return RangeTable(self._server.endpoint, self._session.connection)

    def commit(self, stored: Sequence[Checkpoint]) -> None:
        """Store the checkpoints and commit, rows and all.

        Raises:
            TargetLost: the connection broke. The checkpoint will tell whether the commit took effect.
        """
        begun, opened = self._begun, self._session.opened
        with self._session.doing("committing"):
            if opened is not begun or begun is None:
                raise TargetLost("the connection that the transaction was begun on is gone")
            if stored:
                checkpoints.write(begun, self._server.endpoint.database, stored, self._server.run_id)
            begun.commit()
            self._begun = None

    def rollback(self) -> None:
        """Undo the open transaction, if there is a connection to undo it on."""
        connection = self._session.opened
        if connection is not None:
            with self._session.doing("rolling back"):
                connection.rollback()
                self._begun = None

    # ---- what it is asked ----
    @property
    def takes_bulk(self) -> bool:
        """Whether rows may come as the parameters of MariaDB's bulk execution."""
        if self._session.opened is None and not self._background.busy and self._server.info.is_mariadb:
            _ = self._session.connection
        return self._session.takes_bulk

    @property
    def takes_events(self) -> bool:
        """Whether the open transaction can take rows as events."""
        return self._events.is_ready

    def keys_after(self, plan: TablePlan, after: LiteralKey | None, rows_max: int) -> list[LiteralKey]:
        """The next keys that the target holds, in its own order, as literals.

        This connection reads them, not the control connection, which would decode them.
        """
        names = ", ".join(sql_name(name) for name in plan.key)
        past = keyset_condition(plan.key, after) if after else ""
        sql = f"SELECT {names} FROM {table_sql(plan)}{where_sql(plan, past)} ORDER BY {names} LIMIT {rows_max}"
        columns = [column for name in plan.key if (column := plan.target.column(name)) is not None]
        with self._session.doing(f"reading the keys of {plan.target.name}"):
            rows = self._session.run(sql)
        return [key_literals(columns, row) for row in rows]

    @property
    def operation_under_way(self) -> int | None:
        """A number that changes whenever an operation begins or ends; None if none is under way."""
        return self._session.operation_under_way

    # ---- in the background ----
    def start(self, work: Callable[[], Waiting]) -> None:
        """Do this while the caller goes on. Until `finish`, nobody else may use the connection."""
        patience_s = min(PATIENCE_S, float(lock_wait_s(self._server.endpoint, self._server.limits)) / 3)
        self._background.start(lambda: finished(work, patience_s))

    def finish(self) -> None:
        """Wait for the end of what was started, and raise what it raised."""
        self._background.wait()

    @property
    def busy(self) -> bool:
        """Whether what was started still goes on."""
        return self._background.busy

    # ---- the end ----
    def discard(self) -> None:
        """Drop the connection of an open transaction; the server rolls it back."""
        self._session.drop()

    def close(self) -> None:
        """Close the connection; the server rolls back what was not committed."""
        with suppress(Exception):
            self._background.wait()
        self._session.drop()
