"""What sources and targets have in common: a control connection, who the server is, and the connection's state."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pymysql.connections import Connection

from ..config.pipeline import Endpoint
from ..model.errors import ReplicationError, TransientError
from ..model.limits import Limits
from ..model.tables import Table, TableName
from .connect import close_quietly
from .connections import Connections
from .describe import describe, describe_all
from .errors import translated
from .server_info import ServerInfo, server_info
from .session import Use


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """The state of a server's control connection.

    Attributes:
        configured: the pipeline file has what is needed to open it.
        exists: it has been open at some time.
        uptime_s: for how long it has been open; None if it is not.
        reconnects: how often it had to be opened again.
    """

    name: str
    role: str
    configured: bool
    exists: bool
    connected: bool
    server_version: str | None
    flavour: str | None
    last_error: str | None
    last_error_code: int | None
    uptime_s: float | None
    reconnects: int


# Firewalls and proxies forget a connection that is silent for long, and tell nobody. After so long, it is checked.
PING_AFTER_IDLE_S = 30.0


class Server:
    """A server of the pipeline, with one control connection, which is opened when first needed.

    Args:
        connections: the run's, among which its own are opened.
    """

    describes_hidden = False  # columns that the log has and no list of columns

    def __init__(self, endpoint: Endpoint, limits: Limits, connections: Connections | None = None) -> None:
        self.endpoint = endpoint
        self.limits = limits
        self.connections = connections or Connections()
        self._control: Connection[Any] | None = None
        self._info: ServerInfo | None = None
        self._times_opened = 0
        self._opened_at_s: float | None = None
        self._used_at_s = 0.0
        self._last_error: ReplicationError | None = None

    @property
    def control(self) -> Connection[Any]:
        """The control connection.

        Raises:
            SourceLost, TargetLost, PrerequisiteError: it cannot be opened.
        """
        self._drop_broken()
        if self._control is None:
            try:
                self._control = self.connections.open(self.endpoint, Use.CONTROL, self.limits, self._info)
            except ReplicationError as error:
                self._last_error = error
                raise
            self._times_opened += 1
            self._opened_at_s = time.monotonic()
        self._used_at_s = time.monotonic()
        return self._control

    def wake(self) -> None:
        """Replace a control connection that has died of idleness. Not while its session holds a lock."""
        if self._control is not None and time.monotonic() - self._used_at_s > PING_AFTER_IDLE_S:
            self.is_connected()

    @contextmanager
    def doing(self, what: str = "") -> Iterator[None]:
        """Turn the driver's errors into ours, and keep the last one for `get_connection_status`.

        Args:
            what: what is done, for the error's message: "reading the keys of a.t".
        """
        try:
            with translated(self.endpoint, what):
                yield
        except ReplicationError as error:
            if error.code is not None or isinstance(error, TransientError):
                self._last_error = error
            raise

    @property
    def reached(self) -> bool:
        """Whether the control connection has ever been open."""
        return self._times_opened > 0

    @property
    def info(self) -> ServerInfo:
        """Who the server is. It is asked only once."""
        if self._info is None:
            with self.doing():
                self._info = server_info(self.control)
            self.connections.known[self.endpoint.label] = self._info
        return self._info

    @property
    def known_info(self) -> ServerInfo | None:
        """Who the server is, if it was asked already."""
        return self._info

    def describe(self, name: TableName) -> Table | None:
        """A table's columns and keys; None if there is no such table, or no right to see it."""
        with self.doing(f"describing {name}"):
            return describe(self.control, name, hidden=self.describes_hidden)

    def describe_all(self, names: Sequence[TableName]) -> dict[TableName, Table]:
        """Those of the tables that there are."""
        with self.doing("describing the tables"):
            return describe_all(self.control, names, hidden=self.describes_hidden)

    def close(self) -> None:
        """Close the control connection."""
        self._drop_control()

    def _drop_control(self) -> None:
        close_quietly(self._control)
        self._control = None
        self._opened_at_s = None

    def _drop_broken(self) -> bool:
        """Forget a connection that an error has closed already; whether there was one."""
        broken = self._control is not None and not self._control.open
        if broken:
            self._drop_control()
        return broken

    def is_connected(self) -> bool:
        """Whether the control connection is open and answers. A dead one is closed; the next use opens another."""
        if self._drop_broken() or self._control is None:
            return False
        try:
            with self.doing("checking the connection"):
                self._control.ping(reconnect=False)
        except ReplicationError:
            self._drop_control()
            return False
        self._used_at_s = time.monotonic()
        return True

    def get_connection_status(self) -> ConnectionState:
        """The connection's state, without opening it."""
        connected = self.is_connected()
        info = self._info
        if connected and info is None:
            info = self.info
        error = self._last_error
        return ConnectionState(
            name=self.endpoint.name,
            role=self.endpoint.role,
            configured=bool(self.endpoint.user and (self.endpoint.host or self.endpoint.unix_socket)),
            exists=self._times_opened > 0,
            connected=connected,
            server_version=info.version_text if info else None,
            flavour=info.flavour if info else None,
            last_error=error.message if error else None,
            last_error_code=error.code if error else None,
            uptime_s=time.monotonic() - self._opened_at_s if self._opened_at_s is not None else None,
            reconnects=max(0, self._times_opened - 1),
        )
