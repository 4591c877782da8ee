"""Connections to sources and targets, each opened for one use, and the translation of driver errors.

A connection belongs to one thread and one run; after an error it is closed, never mended. Only this
file opens connections, and only here do PyMySQL's exceptions become ours.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.constants import CLIENT
from pymysql.converters import conversions

from ..config.pipeline import Endpoint
from ..model.errors import (
    PrerequisiteError,
    ReplicationError,
    SourceLost,
    TargetLost,
)
from ..model.limits import Limits
from .bulk_connection import BulkConnection
from .errors import translated
from .session import Use as Use
from .session import file_sql, own_sql, read_timeout_s

# Arguments are escaped as ever, results stay the bytes that the server sent.
_ENCODERS = {kind: encode for kind, encode in conversions.items() if not isinstance(kind, int)}


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server says of itself; `identity` tells it from every other server with the same files."""

    flavour: str  # "mysql" or "mariadb"
    version: tuple[int, int, int]
    version_text: str
    identity: str
    server_id: int
    gtid_mode: bool  # MySQL with gtid_mode=ON
    names_without_case: bool  # lower_case_table_names is not 0: a table's name in any letters is one name

    @property
    def is_mariadb(self) -> bool:
        return self.flavour == "mariadb"


class _Connection(Connection):  # type: ignore[misc, type-arg, unused-ignore]
    """PyMySQL's, without loading the system's certificates where no certificate is looked at.

    With no TLS setting PyMySQL takes TLS where it is offered and verifies nothing, yet reads the CA bundle
    for each connection: 50 ms of CPU, more than all else that a short control connection costs.
    """

    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:
        if sslp:
            context: ssl.SSLContext = super()._create_ssl_ctx(sslp)
            return context
        return _unverified()


class _ToMariaDB(BulkConnection, _Connection):
    """One that writes rows in bulk."""


@lru_cache(maxsize=1)
def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def connect(
    endpoint: Endpoint, use: Use, limits: Limits, known: ServerInfo | None = None, **overrides: Any
) -> Connection[Any]:
    """Open a connection for one use.

    Args:
        known: who the server was when it was asked before. The connections of one attempt must be to one server,
            though its name may move to another one in between: what one of them says counts for all.

    Raises:
        SourceLost, TargetLost: the server cannot be reached now, or is another one than before.
        PrerequisiteError: it refuses us: user, password, TLS, database.
    """
    settings = {**parameters(endpoint, use, limits), **overrides}
    address = endpoint.unix_socket or f"{endpoint.host}:{endpoint.port}"
    with _named_on_error(endpoint), translated(endpoint, f"connecting to {address}"):
        # PyMySQL's connect_timeout ends with the TCP connection. A peer that accepts and then says nothing
        # must not be waited for as long as for a statement.
        patience = {"read_timeout": settings["connect_timeout"], "write_timeout": settings["connect_timeout"]}
        kind = _ToMariaDB if use is Use.APPLY and known is not None and known.is_mariadb else _Connection
        connection = kind(**{**settings, **patience})
        try:
            with connection.cursor() as cursor:
                cursor.execute(own_sql(endpoint, use, limits))
                if use is Use.APPLY:
                    # Every row is found by its key, so nothing rests on repeatable reads, and without gap
                    # locks neighbours that are written at the same time do not wait for each other.
                    cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
                if asked := file_sql(endpoint):
                    with translated(endpoint, "init_command"):
                        cursor.execute(asked)
            if known is not None:
                _check_identity(connection, endpoint, known)
            connection._read_timeout = settings["read_timeout"]
            connection._write_timeout = settings["write_timeout"]
        except BaseException:
            connection._force_close()
            raise
        return connection


@contextmanager
def _named_on_error(endpoint: Endpoint) -> Iterator[None]:
    try:
        yield
    except ReplicationError as error:
        error.unreached = endpoint.label
        raise


def _check_identity(connection: Connection[Any], endpoint: Endpoint, known: ServerInfo) -> None:
    own = "CONCAT('server_id=', @@global.server_id)" if known.is_mariadb else "@@global.server_uuid"
    found = query(connection, f"SELECT {own}")[0][0]
    if found not in (known.identity, known.identity.encode()):  # bytes, where the use reads nothing else
        lost = SourceLost if endpoint.role == "source" else TargetLost
        raise lost(
            f"{endpoint.role} {endpoint.name!r}: another server answers than before (its name or address has moved?)",
            hint="Give the address of one server: connections that are spread over several cannot be used.",
        )


def parameters(endpoint: Endpoint, use: Use, limits: Limits) -> dict[str, Any]:
    """PyMySQL's arguments for a use of an endpoint. Holds the password: never log it."""
    timeout_s = read_timeout_s(endpoint, use, limits)
    settings: dict[str, Any] = {
        "host": endpoint.host,
        "port": endpoint.port,
        "user": endpoint.user,
        "password": endpoint.password.reveal(),
        "database": endpoint.database,
        "charset": "utf8mb4",
        "autocommit": use is not Use.APPLY,
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
    elif endpoint.ssl_ca or endpoint.ssl_cert or endpoint.ssl_verify_identity:
        settings["ssl"] = _tls(endpoint)
    return settings


def _tls(endpoint: Endpoint) -> ssl.SSLContext:
    """TLS that is demanded. Without ssl_ca, the system's authorities are the ones that count.

    Made here and not by PyMySQL, which checks no host name where no ssl_ca is given.
    """
    verify = bool(endpoint.ssl_ca or endpoint.ssl_verify_identity)
    try:
        context = ssl.create_default_context(cafile=endpoint.ssl_ca)
        context.check_hostname = endpoint.ssl_verify_identity
        context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
        # The certificates that MySQL makes for itself lack what the strict rules of Python 3.13 ask for.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if endpoint.ssl_cert:
            context.load_cert_chain(endpoint.ssl_cert, endpoint.ssl_key)
    except OSError as error:
        files = ", ".join(f for f in (endpoint.ssl_ca, endpoint.ssl_cert, endpoint.ssl_key) if f)
        raise PrerequisiteError(
            f"{endpoint.role} {endpoint.name!r}: {files}: {error}",
            hint="They must be PEM files that this user may read, and the key without a passphrase.",
            code=2026,
        ) from error
    return context


def close_quietly(connection: Connection[Any] | None) -> None:
    """Close without masking the error that led here; a socket that is already gone is closed."""
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


def server_info(connection: Connection[Any]) -> ServerInfo:
    """Ask a server who it is (control connection)."""
    sql = "SELECT VERSION(), @@global.server_id, @@global.lower_case_table_names"
    version_text, server_id, lower_case = query(connection, sql)[0]
    mariadb = "mariadb" in str(version_text).lower()
    numbers = re.findall(r"\d+", str(version_text))
    version = (int(numbers[0]), int(numbers[1]), int(numbers[2]))
    if mariadb:
        identity = f"server_id={server_id}"
        return ServerInfo("mariadb", version, version_text, identity, server_id, False, bool(lower_case))
    uuid, gtid_mode = query(connection, "SELECT @@global.server_uuid, @@global.gtid_mode")[0]
    has_gtids = str(gtid_mode).upper() == "ON"
    return ServerInfo("mysql", version, version_text, uuid, server_id, has_gtids, bool(lower_case))
