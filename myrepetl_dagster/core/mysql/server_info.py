"""Who a server is: its flavour, its version, and the identity that tells it from every other server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pymysql.connections import Connection

from ..config.pipeline import Endpoint
from ..model.errors import SourceLost, TargetLost

# The versions that the whole test matrix runs on. docs/versions.md says what is known of others.
TESTED_VERSIONS: dict[str, tuple[tuple[int, int], ...]] = {"mysql": ((9, 7),), "mariadb": ((10, 5), (10, 11), (11, 8))}


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server says of itself. `identity`: its server_uuid, or on MariaDB its server_id."""

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

    @property
    def is_tested(self) -> bool:
        """Whether the test matrix runs on this version."""
        return self.version[:2] in TESTED_VERSIONS[self.flavour]


def server_info(connection: Connection[Any]) -> ServerInfo:
    """Ask a server who it is. For a control connection, which decodes text."""
    sql = "SELECT VERSION(), @@global.server_id, @@global.lower_case_table_names"
    version_text, server_id, lower_case = _one_row(connection, sql)
    numbers = re.findall(r"\d+", str(version_text))
    version = (int(numbers[0]), int(numbers[1]), int(numbers[2]))
    if "mariadb" in str(version_text).lower():
        identity = f"server_id={server_id}"
        return ServerInfo("mariadb", version, version_text, identity, server_id, False, bool(lower_case))
    uuid, gtid_mode = _one_row(connection, "SELECT @@global.server_uuid, @@global.gtid_mode")
    has_gtids = str(gtid_mode).upper() == "ON"
    return ServerInfo("mysql", version, version_text, uuid, server_id, has_gtids, bool(lower_case))


def check_identity(connection: Connection[Any], endpoint: Endpoint, known: ServerInfo) -> None:
    """Make sure that a new connection leads to the server that answered before.

    Raises:
        SourceLost, TargetLost: it leads to another one.
    """
    identity = "CONCAT('server_id=', @@global.server_id)" if known.is_mariadb else "@@global.server_uuid"
    (found,) = _one_row(connection, f"SELECT {identity}")
    if found not in (known.identity, known.identity.encode()):  # some uses read bytes
        lost = SourceLost if endpoint.role == "source" else TargetLost
        raise lost(
            f"{endpoint.role} {endpoint.name!r}: another server answers than before (its name or address has moved?)",
            hint="Give the address of one server: connections that are spread over several cannot be used.",
        )


def _one_row(connection: Connection[Any], sql: str) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        (row,) = cursor.fetchall()
        return tuple(row)
