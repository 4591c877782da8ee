"""One connection that writes, and the statements that are sent over it.

Nothing here knows of transactions or checkpoints: `apply_connection.py` does.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pymysql
from pymysql.connections import Connection

from ..model.errors import RowRejected
from ..mysql.bulk_connection import EXECUTE_HEAD_BYTES, BulkConnection
from ..mysql.connect import close_quietly, query
from ..mysql.protocol import send_statement
from ..mysql.server import PING_AFTER_IDLE_S, Server
from ..mysql.session import Use
from ..values.bulk_parameters import BulkRows

_KILL_TIMEOUT_S = 3.0


class ApplySession:
    """A connection to a target, opened when first needed.

    Args:
        server: the target. It keeps what goes wrong here, too. Who it is must be known (`Server.info`) before a
            thread of its own uses the session, since only one thread may ask it.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.packet_bytes_max = 0  # 0 until the connection is open
        self._connection: Connection[Any] | None = None
        self._used_at_s = 0.0
        self._depth = 0  # of operations within operations
        self._operations = 0  # begun and ended

    # ---- the connection ----
    @property
    def connection(self) -> Connection[Any]:
        """The connection, opened if there is none."""
        if self._connection is None:
            server = self.server
            self._connection = server.connections.open(server.endpoint, Use.APPLY, server.limits, server.info)
            with self.doing():
                self.packet_bytes_max = int(query(self._connection, "SELECT @@session.max_allowed_packet")[0][0])
        self._used_at_s = time.monotonic()
        return self._connection

    @property
    def opened(self) -> Connection[Any] | None:
        """The connection, or None if there is none."""
        return self._connection

    @property
    def takes_bulk(self) -> bool:
        """Whether the open connection takes MariaDB's bulk execution."""
        return isinstance(self._connection, BulkConnection) and self._connection.takes_bulk

    def wake(self) -> None:
        """Drop a connection that has died of idleness. Not in a transaction, which would be lost unnoticed."""
        if self._connection is None or time.monotonic() - self._used_at_s <= PING_AFTER_IDLE_S:
            return
        try:
            self._connection.ping(reconnect=False)
        except (pymysql.MySQLError, OSError, AttributeError):
            self.drop()

    def drop(self) -> None:
        """Close the connection. The server rolls back an open transaction."""
        close_quietly(self._connection)
        self._connection = None

    @contextmanager
    def doing(self, what: str = "") -> Iterator[None]:
        """Count an operation, and turn the driver's errors into ours."""
        self._depth += 1
        self._operations += 1
        try:
            with self.server.doing(what):
                yield
        finally:
            self._depth -= 1
        self._operations += 1

    @property
    def operation_under_way(self) -> int | None:
        """A number that changes whenever an operation begins or ends; None if none is under way."""
        return self._operations if self._depth else None

    # ---- statements ----
    def run(self, sql: str) -> list[Any]:
        """Run a statement, and return its rows."""
        return self.execute(sql.encode("latin-1"))

    def update(self, sql: str) -> int:
        """Run a statement that changes rows, and return how many it found."""
        data = sql.encode("latin-1")
        self.check_size(len(data))
        with self.doing(), self.connection.cursor() as cursor:
            return int(cursor.execute(data))

    def execute(self, data: bytes) -> list[Any]:
        """Run a statement that is bytes already, and return its rows."""
        self.check_size(len(data))
        with self.doing(), self.connection.cursor() as cursor:
            cursor.execute(data)
            return list(cursor.fetchall())

    def send(self, pieces: Iterable[bytes | memoryview], size_bytes: int) -> None:
        """Run a long statement without ever holding all of it."""
        self.check_size(size_bytes)
        with self.doing():
            send_statement(self.connection, pieces, size_bytes)

    def execute_with(self, sql: bytes, values: Sequence[bytes]) -> None:
        """Run a statement with parameters. Only where the connection takes bulk execution."""
        self.check_size(sum(map(len, values)) + EXECUTE_HEAD_BYTES)
        with self.doing():
            self._bulk_connection().execute(sql, values)

    def execute_bulk(self, sql: bytes, rows: BulkRows, start: int, end: int) -> None:
        """Run a statement for some of the rows. Only where the connection takes bulk execution."""
        self._bulk_connection().bulk(sql, rows, start, end)

    def _bulk_connection(self) -> BulkConnection:
        connection = self.connection
        assert isinstance(connection, BulkConnection), "the caller has asked `takes_bulk`"
        return connection

    def check_size(self, size_bytes: int) -> None:
        """Refuse a statement that the server would refuse.

        Raises:
            RowRejected: it is longer than the server's max_allowed_packet.
        """
        bytes_max = self.packet_bytes_max
        if size_bytes + 1 > bytes_max > 0:
            raise RowRejected(
                f"a row of {size_bytes} bytes is longer than the target's max_allowed_packet ({bytes_max})",
                hint="Raise max_allowed_packet on the target.",
                code=1153,
            )
