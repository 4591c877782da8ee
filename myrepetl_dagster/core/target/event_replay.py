"""Giving rows events back to a target (`event_encoder.py`): whether it takes them, and for which tables.

It takes a privilege (`REPLICATION_APPLIER` on MySQL, `BINLOG REPLAY` on MariaDB); where that or anything else is
missing, rows are written as statements. The events name no columns and start no trigger, so that a table has to be in
every transaction what it was when it was looked at: its definition is compared while the transaction keeps it from
changing.
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

# What is not to be bypassed, and an engine that undoes what it did when a transaction fails.
_CHECKED = re.compile(rb"\bCHECK\b|\bSYSTEM VERSIONING\b|\bPERIOD FOR\b", re.IGNORECASE)
_INNODB = re.compile(rb"\) ENGINE=InnoDB\b")
_NEXT_NUMBER = re.compile(rb" AUTO_INCREMENT=\d+")
_LOCKED = frozenset({1205, 1213, 1317})  # lock wait, deadlock, interrupted
# How the target replicates is its own affair, but it applies our events so, too: to convert values, or to pass over
# what it cannot apply, without a word. And a cluster's nodes are not MariaDB alone.
_SETTINGS = (
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('slave_skip_errors', 'replica_skip_errors', 'wsrep_on')"
    " AND Value NOT IN ('', 'OFF')"
)
# These may be set at any time. MySQL has the names since 8.0.26; an older one gets statements.
_STRICT = "SELECT @@GLOBAL.{0}_exec_mode = 'STRICT' AND @@GLOBAL.{0}_type_conversions = ''"


@dataclass(slots=True)
class Replay:
    """What a run's connections to a target know of it. `refused`: it did not take some events, and gets no more; of an
    attempt, `able`: whether it takes any; `definitions`: of tables that take them, else None.
    """

    refused: bool = False
    able: bool | None = None
    definitions: dict[TableName, bytes | None] = field(default_factory=dict)

    def takes(self, control: Connection[Any], plan: TablePlan, *, mariadb: bool) -> bool:
        """Whether events may be written to the plan's table; asks once."""
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

    def forget(self) -> None:
        """A new attempt asks anew."""
        self.able = None
        self.definitions.clear()

    def refusal(self, what: str, error: ReplicationError) -> ReplicationError:
        """What an attempt ends with that was to write events. Only where a lock or the connection was in the way, the
        next one may try them again: it plans anew, and what the target refuses of a statement tells what is wrong.
        """
        if isinstance(error, TargetLost) or error.code in _LOCKED:
            return error
        self.refused = True
        what = f"{what} did not take rows as events, statements from here on"
        return TargetBusy(f"{what}: {error.message}", code=error.code)

    def is_as_known(self, connection: Connection[Any], name: TableName) -> bool:
        """Whether the table is what it was; from here on it stays that until the transaction ends."""
        query(connection, b"SELECT 1 FROM " + _quoted(name) + b" LIMIT 0")
        return _definition(connection, name) == self.definitions.get(name)


def describe_events(connection: Connection[Any], *, mariadb: bool) -> None:
    """Make a session ready for events. Not in a transaction.

    Raises:
        pymysql.MySQLError: the account may not do that.
    """
    with connection.cursor() as cursor:
        if not mariadb:  # first to see whether it may: the description leaves it undecided
            cursor.execute("SET SESSION gtid_next='AUTOMATIC'")
        cursor.execute(description_sql(mariadb=mariadb))
        if not mariadb:
            cursor.execute("SET SESSION gtid_next='AUTOMATIC'")


def is_strict(connection: Connection[Any], *, mariadb: bool) -> bool:
    """Whether the target refuses what it cannot apply: it may have been told otherwise since it was asked."""
    ((strict,),) = query(connection, _STRICT.format("slave" if mariadb else "replica"))
    return int(strict) == 1  # text on a connection that writes


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
    name = plan.target.name
    grants = parse(str(row[0]) for row in query(control, "SHOW GRANTS"))
    if missing(grants, ["TRIGGER"], name):  # else triggers cannot be seen
        return None
    triggers = "SELECT 1 FROM information_schema.triggers WHERE event_object_schema = %s AND event_object_table = %s"
    if query(control, f"{triggers} LIMIT 1", (name.schema, name.table)):
        return None
    definition = _definition(control, name)
    now = describe(control, name)
    if now is None or (now.columns, now.primary_key) != (plan.target.columns, plan.target.primary_key):
        return None
    if _INNODB.search(definition) is None or _CHECKED.search(definition) is not None:
        return None
    return definition


def _definition(connection: Connection[Any], name: TableName) -> bytes:
    """A table's definition, without the number that its next row would get."""
    text = query(connection, b"SHOW CREATE TABLE " + _quoted(name))[0][1]
    return _NEXT_NUMBER.sub(b"", text if isinstance(text, bytes) else str(text).encode())


def _quoted(name: TableName) -> bytes:
    return f"{sql_name(name.schema)}.{sql_name(name.table)}".encode("latin-1")  # UTF-8, as literals are kept
