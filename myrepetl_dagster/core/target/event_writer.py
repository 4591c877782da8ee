"""Writing rows as events (`event_encoder.py`) in the open transaction of one connection.

`event_replay.py` tells whether the target takes events, and for which tables.
"""

from __future__ import annotations

import time
from typing import Any

from pymysql.connections import Connection

from ..model.errors import ReplicationError, SchemaDrift
from ..model.tables import TableName
from ..plan.table_plan import TablePlan
from ..rows.event_encoder import RowChanges, binlog_sql
from .apply_session import ApplySession
from .event_replay import EventSupport, describe_events, is_strict

_SET_EVENTS = b"SET @_myrepetl_events = ?, @_myrepetl_no_more = ?"
_BINLOG_OF_EVENTS = b"BINLOG @_myrepetl_events, @_myrepetl_no_more"


class EventWriter:
    """Writes rows as events over one connection, once that one has been told their format."""

    def __init__(self, session: ApplySession, support: EventSupport) -> None:
        self._session = session
        self._support = support
        self._described: Connection[Any] | None = None  # the connection that knows the events' format
        self._mariadb = False  # whether it leads to a MariaDB server
        self._checked: set[TableName] = set()  # tables whose definition the open transaction has compared
        self._stopped_clock: Connection[Any] | None = None  # the connection whose clock stands at events' date

    @property
    def is_ready(self) -> bool:
        """Whether the open connection knows the events' format."""
        return self._described is not None and self._described is self._session.opened

    def prepare(self, connection: Connection[Any]) -> None:
        """Tell a connection the events' format if the target takes events. Just before a transaction is begun.

        On MariaDB a BINLOG statement sets its session's clock to its events' date, where the clock then stands. Later
        transactions shall have their own date.

        Raises:
            TargetBusy: the target did not take it.
        """
        self._checked.clear()
        if self._stopped_clock is not None and self._stopped_clock is connection:
            connection.query("SET TIMESTAMP=DEFAULT")
        self._stopped_clock = None
        support, server = self._support, self._session.server
        if not support.able or support.refused or self._described is connection:
            return
        try:
            with self._session.doing():
                connection.rollback()  # reads have opened a transaction
                self._mariadb = server.info.is_mariadb
                describe_events(connection, mariadb=self._mariadb)
        except ReplicationError as error:
            raise support.refusal(server.endpoint.label, error) from None
        self._described = connection

    def write(self, plan: TablePlan, changes: RowChanges) -> None:
        """Apply row images in the open transaction, in the order of the table's rows.

        Raises:
            TargetBusy: the target did not take them. From now on it gets statements, whose errors tell what it refuses.
        """
        name, session, mariadb = plan.target.name, self._session, self._mariadb
        try:
            with session.doing(f"writing {name}"):
                connection, as_parameters = session.connection, session.takes_bulk
                if not is_strict(connection, mariadb=mariadb):
                    raise SchemaDrift("the server's own replication is not strict any more")
                if name not in self._checked:
                    if not self._support.is_unchanged(connection, name):
                        raise SchemaDrift(f"{name} is not what it was")
                    self._checked.add(name)
                packet_bytes_max, now = session.packet_bytes_max, 0  # MySQL dates them itself
                if mariadb:
                    self._stopped_clock, now = connection, int(time.time())
                for events in changes.events(name, packet_bytes_max, mariadb=mariadb, written_unix_s=now):
                    self._apply(events, as_parameters=as_parameters)
        except ReplicationError as error:
            raise self._support.refusal(str(name), error) from None

    def _apply(self, events: bytes, *, as_parameters: bool) -> None:
        # MariaDB's BINLOG also takes what two variables hold (it empties them). A parameter is not parsed, and parsing
        # takes that server longer than anything else it does with an event of long rows.
        if as_parameters:
            self._session.execute_with(_SET_EVENTS, (events, b""))
            self._session.execute(_BINLOG_OF_EVENTS)
        else:
            statement = binlog_sql(events)
            self._session.send(statement, sum(map(len, statement)))
