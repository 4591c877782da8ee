"""Whether a target takes rows as events (`event_encoder.py`), and for which tables.

The account needs a privilege for it (`REPLICATION_APPLIER` on MySQL, `BINLOG REPLAY` on MariaDB). If anything is
missing, rows are written as statements.

Events name no columns and start no trigger. So in every transaction a table must be what it was when it was looked at:
its definition is compared once in each transaction, which keeps it from changing until the transaction ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pymysql
from pymysql.connections import Connection

from ..model.errors import ReplicationError, TargetBusy, TargetLost
from ..model.tables import TableName
from ..mysql.connect import query
from ..mysql.describe import describe
from ..mysql.grants import missing, parse
from ..plan.table_plan import TablePlan
from ..rows.event_encoder import description_sql
from ..values.sql import sql_name

# Events would bypass a CHECK constraint and a system-versioned table's history.
_BYPASSED = re.compile(rb"\bCHECK\b|\bSYSTEM VERSIONING\b|\bPERIOD FOR\b", re.IGNORECASE)
# The engine must undo what it did when a transaction fails.
_INNODB = re.compile(rb"\) ENGINE=InnoDB\b")
_NEXT_NUMBER = re.compile(rb" AUTO_INCREMENT=\d+")
_LOCKED = frozenset({1205, 1213, 1317})  # lock wait timeout, deadlock, interrupted
# The target applies our events with the settings of its own replication. The first two would make it skip, without a
# word, what it cannot apply. With wsrep_on it is a node of a cluster, in which MariaDB is not alone.
_SETTINGS = (
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('slave_skip_errors', 'replica_skip_errors', 'wsrep_on')"
    " AND Value NOT IN ('', 'OFF')"
)
# Other such settings may change at any time. MySQL has had these names since 8.0.26; an older one gets statements.
_STRICT = "SELECT @@GLOBAL.{0}_exec_mode = 'STRICT' AND @@GLOBAL.{0}_type_conversions = ''"


@dataclass(slots=True)
class EventSupport:
    """What a run knows of whether one target takes rows as events. All of its connections to the target share it.

    Attributes:
        refused: the target did not take some events; this run gives it no more.
        able: whether the server and the account can take events; None until an attempt has asked.
        definitions: the definitions of the tables that were looked at; None for a table that cannot take events.
    """

    refused: bool = False
    able: bool | None = None
    definitions: dict[TableName, bytes | None] = field(default_factory=dict)

    def takes(self, control: Connection[Any], plan: TablePlan, *, mariadb: bool) -> bool:
        """Whether events may be written to the plan's table. An attempt asks the server only once."""
        if self.refused or self.able is False:
            return False
        name = plan.target.name
        if name not in self.definitions:
            self.definitions[name] = _fit_definition(control, plan)
        if self.definitions[name] is None:
            return False
        if self.able is None:
            self.able = _is_able(control, mariadb=mariadb)
        return self.able

    def forget_answers(self) -> None:
        """Ask the server again: a new attempt has begun."""
        self.able = None
        self.definitions.clear()

    def refusal(self, what: str, error: ReplicationError) -> ReplicationError:
        """The error that ends an attempt in which events were not taken.

        If a lock or the connection was in the way, the next attempt may try events again. Otherwise it plans again and
        sends statements, whose errors tell what is wrong.
        """
        if isinstance(error, TargetLost) or error.code in _LOCKED:
            return error
        self.refused = True
        message = f"{what} did not take rows as events, statements from here on: {error.message}"
        return TargetBusy(message, code=error.code)

    def is_unchanged(self, connection: Connection[Any], name: TableName) -> bool:
        """Whether the table is what it was when it was looked at.

        From here on it stays so until the transaction ends.
        """
        quoted = _quoted(name)
        query(connection, b"SELECT 1 FROM " + quoted + b" LIMIT 0")
        return _definition(connection, quoted) == self.definitions.get(name)


def describe_events(connection: Connection[Any], *, mariadb: bool) -> None:
    """Tell a session the events' format. Not in a transaction.

    Raises:
        pymysql.MySQLError: the account may not send events.
    """
    with connection.cursor() as cursor:
        if not mariadb:  # fails if the account may not do that, which the description alone would not tell
            cursor.execute("SET SESSION gtid_next='AUTOMATIC'")
        cursor.execute(description_sql(mariadb=mariadb))
        if not mariadb:
            cursor.execute("SET SESSION gtid_next='AUTOMATIC'")


def is_strict(connection: Connection[Any], *, mariadb: bool) -> bool:
    """Whether the target refuses events that it cannot apply exactly. The setting may change at any time."""
    ((strict,),) = query(connection, _STRICT.format("slave" if mariadb else "replica"))
    return int(strict) == 1  # an apply connection reads it as text


def _is_able(control: Connection[Any], *, mariadb: bool) -> bool:
    if query(control, _SETTINGS):
        return False
    try:
        if not is_strict(control, mariadb=mariadb):
            return False
        describe_events(control, mariadb=mariadb)
    except (pymysql.OperationalError, pymysql.ProgrammingError, pymysql.InternalError):
        return False
    return True


def _fit_definition(control: Connection[Any], plan: TablePlan) -> bytes | None:
    """The definition of the plan's target table; None if the table cannot take events."""
    name = plan.target.name
    grants = parse(str(row[0]) for row in query(control, "SHOW GRANTS"))
    if missing(grants, ["TRIGGER"], name):  # without it, triggers cannot be seen
        return None
    triggers = "SELECT 1 FROM information_schema.triggers WHERE event_object_schema = %s AND event_object_table = %s"
    if query(control, f"{triggers} LIMIT 1", (name.schema, name.table)):
        return None
    definition = _definition(control, _quoted(name))
    now = describe(control, name)
    if now is None or (now.columns, now.primary_key) != (plan.target.columns, plan.target.primary_key):
        return None
    if _INNODB.search(definition) is None or _BYPASSED.search(definition) is not None:
        return None
    return definition


def _definition(connection: Connection[Any], quoted_name: bytes) -> bytes:
    """A table's definition, without the number that its next row would get."""
    text = query(connection, b"SHOW CREATE TABLE " + quoted_name)[0][1]
    return _NEXT_NUMBER.sub(b"", text if isinstance(text, bytes) else str(text).encode())


def _quoted(name: TableName) -> bytes:
    return f"{sql_name(name.schema)}.{sql_name(name.table)}".encode("latin-1")  # literals' form: the bytes are UTF-8
