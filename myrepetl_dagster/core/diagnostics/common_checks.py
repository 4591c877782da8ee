"""The checks of `test-connection` that sources and targets share: reachability, account, clock, version. Reads only."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pymysql.connections import Connection

from ..model.errors import ReplicationError
from ..mysql.connect import query
from ..mysql.server_info import TESTED_VERSIONS, ServerInfo
from ..values.sql import quote_name
from .report import ConnectionReport, State

CLOCK_SKEW_S_MAX = 5.0
_CREDENTIALS = {1045, 1698, 1130, 1820, 1862, 3118, 1251, 2059, 2061}
_TLS = {2026, 3159}


def reach(report: ConnectionReport, open_it: Callable[[], Connection[Any]]) -> bool:
    """Open the connection, and report how that went.

    Returns:
        Whether it is open.
    """
    endpoint = report.endpoint
    user = f"'{endpoint.user}'@'%'"
    try:
        open_it()
    except ReplicationError as error:
        if error.code in _CREDENTIALS:
            report.add("reachable", State.OK, endpoint.address)
            mend = f"CREATE USER {user} IDENTIFIED BY '…';  -- or ALTER USER, or correct user and password in the file"
            report.add("credentials", State.FAILED, error.message, mend)
        elif error.code in (1044, 1049):
            report.add("reachable", State.OK, endpoint.address)
            database = quote_name(endpoint.database)
            grant = f"GRANT SELECT ON {database}.* TO {user};"
            mend = f"CREATE DATABASE {database};" if error.code == 1049 else grant
            report.add("database", State.FAILED, error.message, mend)
        else:
            report.add("tls" if error.code in _TLS else "reachable", State.FAILED, error.message, error.hint)
        return False
    report.add("reachable", State.OK, endpoint.address)
    report.add("credentials", State.OK, f"user {endpoint.user!r}")
    return True


def common_checks(report: ConnectionReport, control: Connection[Any], info: ServerInfo) -> None:
    """Version, TLS and clock."""
    endpoint = report.endpoint
    shown = "" if info.flavour == endpoint.flavour else f"; for its icon in Dagster set flavour: {info.flavour}"
    report.add("server", State.OK, f"{'MariaDB' if info.is_mariadb else 'MySQL'} {info.version_text}{shown}")
    if not info.is_tested:
        tested = ", ".join(f"{major}.{minor}" for major, minor in TESTED_VERSIONS[info.flavour])
        found = f"not among the tested versions ({tested})"
        report.add(
            "version", State.WARNING, found, "Read docs/versions.md, and compare some tables after the first runs."
        )
    status = {str(name).lower(): str(value) for name, value in query(control, "SHOW SESSION STATUS LIKE 'Ssl_%'")}
    local = bool(endpoint.unix_socket) or endpoint.address.startswith("localhost")
    if status.get("ssl_cipher"):
        verified = "certificate verified" if endpoint.ssl_ca else "certificate not verified (set ssl_ca)"
        report.add("tls", State.OK, f"{status.get('ssl_version', '')} {status['ssl_cipher']}, {verified}")
    else:
        found = "not in use, on this machine" if local else "not in use: passwords and rows travel in the clear"
        mend = f"Set ssl_ca for {endpoint.name!r}, on a server with ssl_cert and ssl_key."
        report.add("tls", State.OK if local else State.WARNING, found, mend)
    before_s = time.time()
    server_s = float(query(control, "SELECT UNIX_TIMESTAMP(NOW(6))")[0][0])
    skew_s = server_s - (before_s + time.time()) / 2
    state = State.OK if abs(skew_s) <= CLOCK_SKEW_S_MAX else State.WARNING
    report.add("clock", state, f"{skew_s:+.1f} s from this machine's", "timedatectl set-ntp true  # on both machines")


def account(control: Connection[Any]) -> str:
    """The account, spelled as in a GRANT."""
    user, _, host = str(query(control, "SELECT CURRENT_USER()")[0][0]).rpartition("@")
    return f"'{user}'@'{host}'"
