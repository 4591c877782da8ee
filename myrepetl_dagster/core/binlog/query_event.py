"""A statement in the log: its text, what it means for its transaction, and what it does to mapped tables. Pure."""

from __future__ import annotations

import re
import struct
from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from ..model.errors import UnsupportedEvent
from ..model.tables import TableName
from ..values.collations import charset_of
from .compression import inflated
from .ddl.statement import Action, TableChange, names_in, table_changes
from .ddl.tokens import Sql
from .events import Committed, RolledBack
from .xa_event import Outcome, outcome_of_decision

# Status variables of a query event up to the one that names the character set, and their sizes in bytes.
_FLAGS, _SQL_MODE, _AUTO_INCREMENT, _CHARSET, _CATALOG = 0, 1, 3, 4, 6
_SIZES = {_FLAGS: 4, _SQL_MODE: 8, _AUTO_INCREMENT: 4}
_STATUS_AT = 13
# MariaDB 10.5 writes this, as a transaction of one statement, for a MEMORY table that it finds empty after a restart.
# Any other DELETE is between BEGIN and COMMIT.
_FOUND_EMPTY = re.compile(rb"DELETE FROM (`(?:[^`]|``)+`\.`(?:[^`]|``)+`)")


class Statement(NamedTuple):
    """A statement that was run in a schema.

    Attributes:
        begins: whether a transaction begins with it. `may_prepare`: one that may end in an XA PREPARE.
        outcome: how its transaction ends, if that ends with it.
        defines: whether it may change tables.
    """

    schema: str
    sql: Sql
    begins: bool = False
    may_prepare: bool = False
    outcome: Outcome | None = None
    defines: bool = False


def statement_of(body: bytes, *, compressed: bool, mariadb: bool, inside: bool = True) -> Statement:
    """The statement of a QUERY event, from its bytes after the event's header.

    Args:
        mariadb: who wrote the log.
        inside: a transaction has begun.

    Raises:
        UnsupportedEvent: an XA statement, or a compression, that is not known.
    """
    schema_at = _STATUS_AT + int(struct.unpack_from("<H", body, 11)[0])
    text_at = schema_at + body[8] + 1
    schema = body[schema_at : text_at - 1].decode("utf-8", "replace")
    text = inflated(body[text_at:]) if compressed else body[text_at:]
    sql_mode, collation = _session(body[_STATUS_AT:schema_at])
    if mariadb and not inside and (emptied := _FOUND_EMPTY.fullmatch(text)):
        text = b"TRUNCATE TABLE " + emptied[1]
    sql = Sql(text, charset_of(collation) or "utf8mb4", sql_mode, mariadb)
    word = text[:20].decode("latin-1").strip().upper()
    if word == "BEGIN":
        return Statement(schema, sql, begins=True)
    if word.startswith("XA START"):
        return Statement(schema, sql, begins=True, may_prepare=True)
    if word.startswith(("SAVEPOINT", "ROLLBACK TO", "RELEASE", "XA END")):
        return Statement(schema, sql)
    if word in ("COMMIT", "ROLLBACK"):
        return Statement(schema, sql, outcome=Committed if word == "COMMIT" else RolledBack)
    if word.startswith("XA "):
        return Statement(schema, sql, outcome=outcome_of_decision(text.decode("latin-1")))
    return Statement(schema, sql, defines=True)


def _session(status: bytes) -> tuple[int, int]:
    """(sql_mode, collation of the client) by an event's status variables; 0 for what they do not tell."""
    sql_mode = at = 0
    while at < len(status):
        code = status[at]
        if code == _CHARSET and at + 3 <= len(status):
            return sql_mode, int(struct.unpack_from("<H", status, at + 1)[0])
        if code == _SQL_MODE and at + 9 <= len(status):
            sql_mode = int(struct.unpack_from("<Q", status, at + 1)[0])
        if code == _CATALOG and at + 1 < len(status):
            at += 2 + status[at + 1]
        elif code in _SIZES:
            at += 1 + _SIZES[code]
        else:
            break
    return sql_mode, 0


def mapped_changes(
    statement: Statement, names: Collection[TableName], *, names_without_case: bool = False
) -> tuple[TableChange, ...]:
    """What a statement does to the tables of these names, and each table whose rows it changes.

    Args:
        names_without_case: `names` are in lower case, and the statement's are those in any letters.

    Raises:
        UnsupportedEvent: it may change rows of any table.
    """
    changes = table_changes(statement.sql, statement.schema)
    words = names_in(statement.sql) if any(change.action is Action.UNREAD for change in changes) else frozenset()
    if names_without_case:
        changes = [_in_lower_case(change) for change in changes]
        words = frozenset(word.lower() for word in words)
    return tuple(change for change in changes if _concerns(change, words, names))


def _in_lower_case(change: TableChange) -> TableChange:
    renamed_to = change.renamed_to.in_lower_case() if change.renamed_to else None
    return replace(change, table=change.table.in_lower_case(), renamed_to=renamed_to)


def _concerns(change: TableChange, words: Collection[str], names: Collection[TableName]) -> bool:
    if change.action is Action.UNREAD:
        # It may be about other tables than it names, such as those of its schema.
        named = any(name.table in words or name.schema in words for name in names)
        if named or _runs_in_one_of(change, names):
            raise UnsupportedEvent(f"{change.action} in schema {change.table.schema!r}")
        return False
    if change.action is Action.DML:
        if not change.table.table:
            raise UnsupportedEvent(
                f"a data change in statement format in schema {change.table.schema!r} (binlog_format is not ROW), which"
                " may write any table"
            )
        return True  # it may start triggers, of which the log does not tell
    if change.action is Action.DROP_SCHEMA:
        return _runs_in_one_of(change, names)
    return change.table in names or change.renamed_to in names


def _runs_in_one_of(change: TableChange, names: Collection[TableName]) -> bool:
    return any(change.table.schema == name.schema for name in names)
