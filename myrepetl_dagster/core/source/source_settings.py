"""The settings that a source's server needs, in one table. A run checks the server by it; `test-connection` shows it.

Reads only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ..model.errors import PrerequisiteError, ReplicationError
from ..mysql.connect import query
from ..mysql.errors import translated
from ..mysql.server_variables import set_variable, variables
from .mysql_source import MySQLSource


class Need(StrEnum):
    """The case in which a setting is needed."""

    ALWAYS = "always"  # a run refuses the server
    JSON_COLUMNS = "for JSON columns"  # a run refuses the mappings of tables that have any
    WHOLE_ROWS = "for whole rows"  # a run refuses, or stops, the mappings that need more of a row than is logged
    SCHEMA_CHANGES = "for schema changes"  # a run stops when a table is altered


@dataclass(frozen=True, slots=True)
class Setting:
    """A variable and its right values. A server without the variable needs no setting.

    Args:
        values: in upper case. The remedy sets the first one.
        otherwise: the consequence of any other value, for the message.
    """

    name: str
    values: tuple[str, ...]
    otherwise: str
    need: Need = Need.ALWAYS


LOG_BIN = Setting("log_bin", ("ON", "1"), "nothing is logged")
ROW_IMAGE = Setting(
    "binlog_row_image",
    ("FULL", "FULL_NODUP"),
    "rows are logged in part, and a mapping that needs more of them stops",
    Need.WHOLE_ROWS,
)
ROW_VALUE_OPTIONS = Setting(
    "binlog_row_value_options",
    ("",),
    "updates of JSON columns are logged in part, and with binlog_row_image=MINIMAL the document is nowhere",
    Need.JSON_COLUMNS,
)
SETTINGS = (
    LOG_BIN,
    Setting("binlog_format", ("ROW",), "rows are not logged"),
    Setting(
        "binlog_order_commits",
        ("ON", "1"),
        "transactions become visible in another order than the log's, and no position is a safe watermark",
    ),
    ROW_IMAGE,
    ROW_VALUE_OPTIONS,
    Setting("binlog_row_metadata", ("FULL",), "replication stops when a table is altered", Need.SCHEMA_CHANGES),
)


@dataclass(frozen=True, slots=True)
class Found:
    """The state of one precondition on the server.

    Args:
        problem: a sentence; "" if the precondition is met.
    """

    name: str
    value: str
    need: Need
    problem: str = ""
    remedy: str = ""

    def require(self) -> None:
        """Refuse the server if every run needs this precondition and it is not met.

        Raises:
            PrerequisiteError: with the problem, and the remedy as hint.
        """
        if self.problem and self.need is Need.ALWAYS:
            raise PrerequisiteError(self.problem, hint=self.remedy)


def source_settings(source: MySQLSource, settings: Sequence[Setting] = SETTINGS) -> list[Found]:
    """The state of each of these settings that the server has, in the same order."""
    with source.doing("checking its settings"):
        values = variables(source.control, ROW_IMAGE.name, *(setting.name for setting in settings))
    if values.get(ROW_IMAGE.name) != "MINIMAL" and ROW_VALUE_OPTIONS.name in values:
        values[ROW_VALUE_OPTIONS.name] = ""  # the before images hold the documents
    return [_found(source, setting, values[setting.name].upper()) for setting in settings if setting.name in values]


def _found(source: MySQLSource, setting: Setting, value: str) -> Found:
    if value in setting.values:
        return Found(setting.name, value, setting.need)
    problem = f"source {source.endpoint.name!r}: {setting.name} is {value}: {setting.otherwise}"
    remedy = set_variable(source.info, setting.name, setting.values[0] or "''")
    if setting is LOG_BIN:
        remedy = "Add log_bin to [mysqld] in my.cnf and restart the server."
    return Found(setting.name, value, setting.need, problem, remedy)


def source_role(source: MySQLSource) -> Found:
    """The server's role. A replica has to log the changes that it replicates, which is not MariaDB's default."""
    if not _is_replica(source):
        return Found("role", "source", Need.ALWAYS)
    with source.doing("checking its settings"):
        values = variables(source.control, "log_replica_updates", "log_slave_updates")
    for name, value in values.items():
        if value not in ("ON", "1"):
            problem = f"source {source.endpoint.name!r}: it is a replica, and {name} is {value}"
            problem += ": what it replicates is not in its log"
            return Found("role", value, Need.ALWAYS, problem, f"Set {name} = ON in my.cnf and restart the server.")
    return Found("role", "source, a replica of another server", Need.ALWAYS)


def _is_replica(source: MySQLSource) -> bool:
    newer = not source.info.is_mariadb and source.info.version >= (8, 0, 22)
    try:
        with translated(source.endpoint):
            return bool(query(source.control, "SHOW REPLICA STATUS" if newer else "SHOW SLAVE STATUS"))
    except ReplicationError as error:
        if error.retryable:
            raise
    # The account lacks the privilege (SLAVE MONITOR on MariaDB). Every account may read how many replications run.
    with source.doing("asking for its replication"):
        running = query(source.control, "SHOW GLOBAL STATUS LIKE 'Slaves_running'")
    return any(int(number) > 0 for _, number in running)
