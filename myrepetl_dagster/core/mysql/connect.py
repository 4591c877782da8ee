"""Connections to sources and targets, each opened for one use.

A connection belongs to one thread and one run. After an error it is closed, never mended. Nothing else opens
connections, except the log reader, which takes its `parameters` from here.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.constants import CLIENT
from pymysql.converters import conversions

from ..config.pipeline import Endpoint
from ..model.errors import ReplicationError
from ..model.limits import Limits
from .bulk_connection import BulkConnection
from .errors import translated
from .server_info import ServerInfo, check_identity
from .session import Use, file_sql, own_sql, read_timeout_s
from .tls import demanded, unverified

# Arguments are escaped as usual; results stay the bytes that the server sent.
_ENCODERS = {kind: encode for kind, encode in conversions.items() if not isinstance(kind, int)}


class _Connection(Connection):  # type: ignore[misc, type-arg, unused-ignore]
    """PyMySQL's connection, but with a shared context for TLS that verifies nothing."""

    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:
        if sslp:
            context: ssl.SSLContext = super()._create_ssl_ctx(sslp)
            return context
        return unverified()


class _MariaDBApplyConnection(BulkConnection, _Connection):
    """A connection that writes rows in bulk."""


def connect(endpoint: Endpoint, use: Use, limits: Limits, known: ServerInfo | None = None) -> Connection[Any]:
    """Open a connection for one use.

    Args:
        known: who the server was when it was asked before. All connections of one attempt must lead to one server, even
            if its name moves to another one meanwhile, because what one of them says is taken to hold for all.

    Raises:
        SourceLost, TargetLost: the server cannot be reached now, or is another one than before.
        PrerequisiteError: it refuses us: user, password, TLS, database.
    """
    address = endpoint.unix_socket or f"{endpoint.host}:{endpoint.port}"
    settings = parameters(endpoint, use, limits)
    with _unreached_on_error(endpoint), translated(endpoint, f"connecting to {address}"):
        # PyMySQL's connect_timeout ends with the TCP connection. A peer that accepts and then says nothing
        # must not be waited for as long as for a statement.
        patience = {"read_timeout": settings["connect_timeout"], "write_timeout": settings["connect_timeout"]}
        in_bulk = use is Use.APPLY and known is not None and known.is_mariadb
        connection = (_MariaDBApplyConnection if in_bulk else _Connection)(**{**settings, **patience})
        try:
            _set_session(connection, endpoint, use, limits)
            if known is not None:
                check_identity(connection, endpoint, known)
            connection._read_timeout = settings["read_timeout"]
            connection._write_timeout = settings["write_timeout"]
        except BaseException:
            connection._force_close()
            raise
        return connection


@contextmanager
def _unreached_on_error(endpoint: Endpoint) -> Iterator[None]:
    """Adds to an error which server it kept us from reaching."""
    try:
        yield
    except ReplicationError as error:
        error.unreached = endpoint.label
        raise


def _set_session(connection: Connection[Any], endpoint: Endpoint, use: Use, limits: Limits) -> None:
    with connection.cursor() as cursor:
        cursor.execute(own_sql(endpoint, use, limits))
        if asked := file_sql(endpoint):
            with translated(endpoint, "init_command"):
                cursor.execute(asked)


def parameters(endpoint: Endpoint, use: Use, limits: Limits) -> dict[str, Any]:
    """PyMySQL's arguments for a use of an endpoint. They hold the password: never log them.

    Raises:
        PrerequisiteError: a TLS file cannot be used.
    """
    timeout_s = read_timeout_s(endpoint, use, limits)
    settings: dict[str, Any] = {
        "host": endpoint.host,
        "port": endpoint.port,
        "user": endpoint.user,
        "password": endpoint.password.reveal(),
        "database": endpoint.database,
        "charset": "utf8mb4",
        "autocommit": None,  # `own_sql` sets it: what a server says of its default at first is not always true
        "connect_timeout": endpoint.connect_timeout_s or limits.connect_timeout_s,
        "read_timeout": timeout_s,
        "write_timeout": endpoint.write_timeout_s or timeout_s,
        "program_name": f"myrepetl_dagster {use.value}",
        # A statement reports the rows that it found, changed or not: the fence counts on it.
        "client_flag": CLIENT.FOUND_ROWS,
    }
    if endpoint.unix_socket:
        settings["unix_socket"] = endpoint.unix_socket
    if use in (Use.SNAPSHOT, Use.APPLY):
        settings |= {"use_unicode": False, "conv": _ENCODERS}
    if endpoint.ssl_disabled:
        settings["ssl_disabled"] = True
    elif (context := demanded(endpoint)) is not None:
        settings["ssl"] = context
    return settings


def close_quietly(connection: Connection[Any] | None) -> None:
    """Close without masking the error that led here, even if the socket is already gone."""
    if connection is None:
        return
    try:
        connection.close()
    except (pymysql.Error, OSError, AttributeError):
        connection._force_close()


def query(connection: Connection[Any], sql: str | bytes, args: Any = None) -> list[tuple[Any, ...]]:
    """Run one statement and fetch everything it returns."""
    with connection.cursor() as cursor:
        cursor.execute(sql, args)
        return list(cursor.fetchall())
