"""Connections to sources and targets, each opened for one use, and the translation of driver errors.

A connection belongs to one thread and one run; after an error it is closed, never mended. Only this
file opens connections, and only here do PyMySQL's exceptions become ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.constants import CLIENT
from pymysql.converters import conversions

from .error_codes import ErrorClass, classify
from .errors import (
    PositionLost,
    PrerequisiteError,
    ReplicationError,
    RowRejected,
    SchemaDrift,
    SourceLost,
    TargetBusy,
    TargetLost,
)
from .model import Limits
from .pipeline import Endpoint


class Use(StrEnum):
    CONTROL = "control"  # short questions: positions, columns, the checkpoint
    SNAPSHOT = "snapshot"  # chunks, as raw bytes in the columns' own character sets
    STREAM = "stream"  # the binlog
    APPLY = "apply"  # transactions on the target


# What the source holds must be storable as it is: strict, so that nothing is cut in silence, but with
# zero and invalid dates allowed, and 0 in an AUTO_INCREMENT column meaning 0 (as mysqldump does).
_APPLY_MODE = "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION"

_SESSION = {
    Use.CONTROL: "SET SESSION sql_mode='', time_zone='+00:00'",
    Use.SNAPSHOT: (
        "SET SESSION sql_mode='', time_zone='+00:00', character_set_results=NULL,"
        " net_write_timeout=600, net_read_timeout=120"
    ),
    Use.STREAM: "SET SESSION net_write_timeout=600, net_read_timeout=120",
    Use.APPLY: (
        f"SET SESSION sql_mode='{_APPLY_MODE}', time_zone='+00:00', foreign_key_checks=0, character_set_results=NULL,"
        " wait_timeout=600, innodb_lock_wait_timeout={lock_wait_s}, lock_wait_timeout={lock_wait_s}"
    ),
}


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

    @property
    def is_mariadb(self) -> bool:
        return self.flavour == "mariadb"


def connect(endpoint: Endpoint, use: Use, limits: Limits, **overrides: Any) -> Connection[Any]:
    """Open a connection for one use.

    Raises:
        SourceLost, TargetLost: the server cannot be reached now.
        PrerequisiteError: it refuses us: user, password, TLS, database.
    """
    with translated(endpoint):
        connection = pymysql.connect(**{**parameters(endpoint, use, limits), **overrides})
        try:
            with connection.cursor() as cursor:
                cursor.execute(_SESSION[use].format(lock_wait_s=max(1, int(limits.lock_wait_timeout_s))))
        except BaseException:
            connection.close()
            raise
        return connection


def parameters(endpoint: Endpoint, use: Use, limits: Limits) -> dict[str, Any]:
    """PyMySQL's arguments for a use of an endpoint. Holds the password: never log it."""
    read_timeout_s = {
        Use.CONTROL: endpoint.read_timeout_s or limits.control_timeout_s,
        Use.SNAPSHOT: limits.snapshot_timeout_s,
        Use.STREAM: limits.stream_timeout_s,  # several heartbeats: silence for longer is a dead peer
        Use.APPLY: limits.apply_timeout_s,
    }[use]
    settings: dict[str, Any] = {
        "host": endpoint.host,
        "port": endpoint.port,
        "user": endpoint.user,
        "password": endpoint.password.reveal(),
        "database": endpoint.database,
        "charset": "utf8mb4",
        "autocommit": use is not Use.APPLY,
        "connect_timeout": endpoint.connect_timeout_s or limits.connect_timeout_s,
        "read_timeout": read_timeout_s,
        "write_timeout": endpoint.write_timeout_s or read_timeout_s,
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
        settings |= {
            "ssl_ca": endpoint.ssl_ca,
            "ssl_cert": endpoint.ssl_cert,
            "ssl_key": endpoint.ssl_key,
            "ssl_verify_cert": bool(endpoint.ssl_ca),
            "ssl_verify_identity": bool(endpoint.ssl_verify_identity),
        }
    return settings


def close_quietly(connection: Connection[Any] | None) -> None:
    """Close without masking the error that led here; a socket that is already gone is closed."""
    if connection is None:
        return
    try:
        connection.close()
    except (pymysql.Error, OSError, AttributeError):
        connection._force_close()


def query(connection: Connection[Any], sql: str, args: Any = None) -> list[tuple[Any, ...]]:
    """Run one statement and fetch everything it returns."""
    with connection.cursor() as cursor:
        cursor.execute(sql, args)
        return list(cursor.fetchall())


def server_info(connection: Connection[Any]) -> ServerInfo:
    """Ask a server who it is (control connection)."""
    version_text, server_id = query(connection, "SELECT VERSION(), @@global.server_id")[0]
    mariadb = "mariadb" in str(version_text).lower()
    numbers = re.findall(r"\d+", str(version_text))
    version = (int(numbers[0]), int(numbers[1]), int(numbers[2]))
    if mariadb:
        return ServerInfo("mariadb", version, version_text, f"server_id={server_id}", server_id, False)
    uuid, gtid_mode = query(connection, "SELECT @@global.server_uuid, @@global.gtid_mode")[0]
    return ServerInfo("mysql", version, version_text, uuid, server_id, str(gtid_mode).upper() == "ON")


def quote_name(name: str) -> str:
    """An identifier as SQL text: a name from the source can never become anything else."""
    return "`" + name.replace("`", "``") + "`"


@contextmanager
def translated(endpoint: Endpoint, doing: str = "") -> Iterator[None]:
    """Turn the driver's errors into ours, most specific first."""
    try:
        yield
    except pymysql.MySQLError as error:
        raise translate(error, endpoint, doing) from error
    except (OSError, EOFError, ValueError, AttributeError, RuntimeError) as error:
        if not _from_driver(error):
            raise
        raise translate(error, endpoint, doing) from error


def _from_driver(error: BaseException) -> bool:
    """Whether PyMySQL raised it: a closed file, a socket error, a missing crypto library."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return False
    file = traceback.tb_frame.f_code.co_filename
    return isinstance(error, (OSError, EOFError)) or "pymysql" in file or file.endswith(("socket.py", "ssl.py"))


# Server texts may quote values ("Duplicate entry '…'"); of a refused row only the column's name is kept.
_COLUMN_IN_TEXT = re.compile(r"(?:for )?column '([^']+)'", re.IGNORECASE)


def translate(error: BaseException, endpoint: Endpoint, doing: str = "") -> ReplicationError:
    """One driver exception as one of ours."""
    where = f"{endpoint.role} {endpoint.name!r}" + (f", {doing}" if doing else "")
    lost = SourceLost if endpoint.role == "source" else TargetLost
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = str(error.args[1]) if len(error.args) > 1 else str(error)
    if isinstance(error, RuntimeError):
        hint = "Use TLS or a unix socket, or install the package `cryptography`."
        return PrerequisiteError(f"{where}: the password cannot be sent safely", hint=hint)
    if code == 0:
        # InterfaceError(0, ''), "Packet sequence number wrong", a closed file, a broken pipe: whatever it
        # is called, the connection's state is unknown, and the outcome of what was under way too.
        return lost(f"{where}: connection unusable ({type(error).__name__}: {text})")
    known = classify(code, text)
    where = f"{where}: {known.symbol}"
    match known.error_class:
        case ErrorClass.NEW_CONNECTION | ErrorClass.AMBIGUOUS_COMMIT | ErrorClass.FAILOVER:
            return lost(f"{where}: {text}", hint=known.hint, code=code)
        case ErrorClass.TRANSIENT:
            kind = SourceLost if endpoint.role == "source" else TargetBusy
            return kind(f"{where}: {text}", hint=known.hint, code=code)
        case ErrorClass.POSITION_LOST:
            return PositionLost(f"{where}: {text}", hint=known.hint, code=code)
        case ErrorClass.DATA:
            column = _COLUMN_IN_TEXT.search(text)
            named = f" (column {column.group(1)!r})" if column else ""
            return RowRejected(f"{where}{named}", hint=known.hint, code=code)
        case ErrorClass.SCHEMA:
            return SchemaDrift(f"{where}: {text}", hint=known.hint, code=code)
    return PrerequisiteError(f"{where}: {text}", hint=known.hint, code=code)
