"""A statement in the log: its text, which is in the character set of the client that sent it, and what it does to
mapped tables. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import replace

from ..model.errors import UnsupportedEvent
from ..model.tables import TableName
from ..values.cells import decode_text
from ..values.collations import charset_of
from .ddl.statement import Action, TableChange, names_in, table_changes

# Status variables of a query event up to the one that names the character set, and their sizes in bytes.
_FLAGS, _SQL_MODE, _AUTO_INCREMENT, _CHARSET, _CATALOG = 0, 1, 3, 4, 6
_SIZES = {_FLAGS: 4, _SQL_MODE: 8, _AUTO_INCREMENT: 4}


def statement_text(status: bytes, text: bytes) -> str:
    """A statement as text; bytes that are none in its character set (of a string literal) are replaced.

    Args:
        status: the event's status variables.
    """
    charset = charset_of(_client_collation(status))
    try:
        return decode_text(text, charset or "utf8mb4")
    except (ValueError, LookupError):
        return text.decode("utf-8", "replace")


def _client_collation(status: bytes) -> int:
    at = 0
    while at < len(status):
        code = status[at]
        if code == _CHARSET and at + 3 <= len(status):
            return int(struct.unpack_from("<H", status, at + 1)[0])
        if code == _CATALOG and at + 1 < len(status):
            at += 2 + status[at + 1]
        elif code in _SIZES:
            at += 1 + _SIZES[code]
        else:
            break
    return 0


def mapped_changes(
    statement: str, schema: str, names: Collection[TableName], *, names_without_case: bool = False
) -> tuple[TableChange, ...]:
    """What a statement, run in a schema, does to the tables of these names.

    Args:
        names_without_case: `names` are in lower case, and the statement's are those in any letters.

    Raises:
        UnsupportedEvent: it changes rows, or may.
    """
    changes = table_changes(statement, schema)
    words = names_in(statement) if any(change.action is Action.DML for change in changes) else frozenset()
    if names_without_case:
        changes = [_in_lower_case(change) for change in changes]
        words = frozenset(word.lower() for word in words)
    return tuple(change for change in changes if _concerns(change, words, names))


def _in_lower_case(change: TableChange) -> TableChange:
    renamed_to = change.renamed_to.in_lower_case() if change.renamed_to else None
    return replace(change, table=change.table.in_lower_case(), renamed_to=renamed_to)


def _concerns(change: TableChange, words: Collection[str], names: Collection[TableName]) -> bool:
    if change.action is Action.DML:
        # A statement may write more tables than it names (views, triggers); what runs in or names a
        # mapped schema, or names a mapped table, cannot be told from one that changes mapped rows.
        named = any(name.table in words or name.schema in words for name in names)
        if named or _runs_in_one_of(change, names):
            raise UnsupportedEvent(
                f"a data change in statement format in schema {change.table.schema!r} (binlog_format is not ROW)"
            )
        return False
    if change.action is Action.DROP_SCHEMA:
        return _runs_in_one_of(change, names)
    return change.table in names or change.renamed_to in names


def _runs_in_one_of(change: TableChange, names: Collection[TableName]) -> bool:
    return any(change.table.schema == name.schema for name in names)
