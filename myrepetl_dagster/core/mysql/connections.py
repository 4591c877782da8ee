"""The open connections of a run, so that another thread can end all of their statements at once."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import pymysql
from pymysql.connections import Connection

from ..config.pipeline import Endpoint
from ..model.errors import ReplicationError, TransientError
from ..model.limits import Limits
from .connect import close_quietly, connect, query
from .server_info import ServerInfo
from .session import Use

_KILL_TIMEOUT_S = 3.0


class Connections:
    """Opens connections, and keeps track of them. `known`: the identity of each server, by its endpoint's label."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.known: dict[str, ServerInfo] = {}
        self._lock = threading.Lock()
        self._opened: WeakKeyDictionary[Connection[Any], Endpoint] = WeakKeyDictionary()

    def open(self, endpoint: Endpoint, use: Use, limits: Limits, known: ServerInfo | None = None) -> Connection[Any]:
        """Open a connection as `connect` does.

        Raises:
            TransientError: `end` was called.
        """
        if not self.ended.is_set():
            connection = connect(endpoint, use, limits, known)
            with self._lock:
                if not self.ended.is_set():
                    self._opened[connection] = endpoint
                    return connection
            connection._force_close()
        raise TransientError(f"{endpoint.label}: no connection is opened any more, since the run is stopping")

    def end(self) -> None:
        """End all connections, from any thread, and open no more. A thread that waits on one gets an error.

        The sessions are killed on their servers, too. A server notices a closed socket only when its statement ends,
        and that may be waiting for a lock.
        """
        with self._lock:
            self.ended.set()
            opened = [(connection, endpoint) for connection, endpoint in self._opened.items() if connection.open]
            self._opened.clear()
        sessions: dict[str, list[int]] = {}
        endpoints = {endpoint.label: endpoint for _, endpoint in opened}
        for connection, endpoint in opened:
            if (sock := connection._sock) is not None:
                with suppress(OSError):
                    # A TLS socket's own shutdown would leave its reader to take the bytes that follow for plain text.
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)
            sessions.setdefault(endpoint.label, []).append(connection.thread_id())
        if sessions:
            with ThreadPoolExecutor(len(sessions), thread_name_prefix="kill") as pool:
                for label, ids in sessions.items():
                    pool.submit(_kill, endpoints[label], ids, self.known.get(label))


def _kill(endpoint: Endpoint, sessions: Sequence[int], known: ServerInfo | None) -> None:
    """Kill sessions on a server, if it can be reached quickly. Most have ended by then."""
    quick = replace(
        endpoint,
        connect_timeout_s=min(endpoint.connect_timeout_s or _KILL_TIMEOUT_S, _KILL_TIMEOUT_S),
        read_timeout_s=_KILL_TIMEOUT_S,
        write_timeout_s=_KILL_TIMEOUT_S,
    )
    with suppress(ReplicationError, pymysql.MySQLError, OSError, AttributeError):
        killer = connect(quick, Use.CONTROL, Limits(), known)
        try:
            for session in sessions:
                with suppress(pymysql.err.OperationalError):  # an unknown session has ended
                    query(killer, f"KILL {session}")
        finally:
            close_quietly(killer)
