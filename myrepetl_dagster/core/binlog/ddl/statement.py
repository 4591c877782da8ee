"""The tables that a statement in the log changes, and how. Pure.

A row-based log holds statements for definitions (CREATE, ALTER, DROP, RENAME, TRUNCATE) and, from sessions in statement
format, for data. Only names and the clauses of ALTER are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ...model.tables import TableName
from .alter_table import NO_EFFECT, REWRITE, Clause, Effect, clauses, dropped_index, split
from .tokens import UNREADABLE, Sql, is_broken, is_name, tokens_of, unquoted
from .written_tables import written_tables


class Action(StrEnum):
    TRUNCATE = "truncate"
    DROP = "drop"
    RENAME = "rename"
    ALTER = "alter"
    CREATE = "create"
    DROP_SCHEMA = "drop database"
    DML = "a data change in statement format"
    UNREAD = "a statement that cannot be read"


@dataclass(frozen=True, slots=True)
class TableChange:
    """One table that a statement changes. `renamed_to` belongs to RENAME, `clauses` to ALTER.

    `names` belongs to DML: the words of the statement that may be names. A DML without a table may write any.
    """

    action: Action
    table: TableName
    renamed_to: TableName | None = None
    clauses: tuple[Clause, ...] = ()
    names: frozenset[str] = frozenset()

    @property
    def structural(self) -> bool:
        """Whether the table may have other columns afterwards."""
        if self.action is Action.ALTER:
            return any(clause.effect not in (Effect.NONE, Effect.INDEX) for clause in self.clauses)
        # A table that exists is not created.
        return self.action not in (Action.TRUNCATE, Action.CREATE, Action.DML)

    @property
    def matters(self) -> bool:
        """Whether mappings of the table have to answer it."""
        return self.structural or any(clause != NO_EFFECT for clause in self.clauses)


def concerned(changes: Sequence[TableChange], table: TableName) -> list[TableChange]:
    """The changes that are about a table."""
    return [
        c
        for c in changes
        if table in (c.table, c.renamed_to) or (c.action is Action.DROP_SCHEMA and c.table.schema == table.schema)
    ]


# SELECT is among them: in statement format a call of a stored function that writes is logged as one.
_DML = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "CALL", "DO", "SELECT"})
# Servers write CREATE TABLE … SELECT anew, as CREATE TABLE with columns. They take this character set for it, and name
# the client's in the event.
_WRITTEN_IN = "utf8mb4"
_SCHEMA = ("DATABASE", "SCHEMA")
_TABLE = ("TABLE", "TABLES")
_RENAMED_PARTS = (["COLUMN"], ["INDEX"], ["KEY"])  # of a table, by ALTER TABLE … RENAME


class _Unread(Exception):
    """The statement is about a table, and does not say which in a way that is understood."""


class _Words:
    """A statement's tokens, read forward."""

    def __init__(self, tokens: list[str], sql: Sql, schema: str) -> None:
        self.tokens = tokens
        self.sql = sql
        self.at = 0
        self.schema = schema

    @property
    def rest(self) -> list[str]:
        return self.tokens[self.at :]

    def peek(self) -> str:
        return self.tokens[self.at].upper() if self.at < len(self.tokens) else ""

    def next(self) -> str:
        word = self.peek()
        self.at += 1
        return word

    def skip(self, *words: str) -> bool:
        if self.peek() in words:
            self.at += 1
            return True
        return False

    def skip_if_exists(self) -> None:
        self.skip("IF")
        self.skip("NOT")
        self.skip("EXISTS")

    def skip_wait(self) -> None:
        """MariaDB: WAIT n | NOWAIT."""
        if self.skip("WAIT"):
            self.at += 1
        self.skip("NOWAIT")

    def name(self) -> str:
        """One name.

        Raises:
            _Unread: there is none, or it is no text of the statement's character set.
        """
        token = self.tokens[self.at] if self.at < len(self.tokens) else ""
        if not token or not is_name(token) or UNREADABLE in token:
            raise _Unread
        self.at += 1
        return unquoted(token)

    def table(self) -> TableName:
        """A table's name: `t`, `s.t`, and MariaDB's `.t`.

        Raises:
            _Unread: as `name`.
        """
        if self.skip("."):
            return TableName(self.schema, self.name())
        first = self.name()
        return TableName(first, self.name()) if self.skip(".") else TableName(self.schema, first)


def names_in(sql: Sql) -> frozenset[str]:
    """Every word of a statement that may be a name."""
    return frozenset(unquoted(token) for token in tokens_of(sql) if is_name(token))


def table_changes(sql: Sql, schema: str) -> list[TableChange]:
    """The tables that a statement changes and names; [] if there is none.

    Args:
        sql: the text of a query event.
        schema: the default database of its session.
    """
    tokens = tokens_of(sql)
    words = _Words(tokens[: tokens.index(";")] if ";" in tokens else tokens, sql, schema)
    verb = words.next()
    ambiguous = False
    if verb == "SET" and words.skip("STATEMENT"):  # MariaDB: SET STATEMENT variable=value FOR statement
        set_at = words.at
        while words.peek() and not words.skip("FOR"):
            words.at += 1
        # The event tells the new sql_mode, and the statement was read with the old one.
        ambiguous = "SQL_MODE" in {unquoted(token).upper() for token in tokens[set_at : words.at]}
        verb = words.next()
    if verb in _DML:
        return _written(words.tokens[words.at - 1 :], schema, certain=not (ambiguous or is_broken(tokens)))
    try:
        changes = _changes(verb, words)
        if verb == "CREATE" and sql.charset != _WRITTEN_IN and not sql.text.isascii():
            changes += table_changes(replace(sql, charset=_WRITTEN_IN), schema)
        doubtful = bool(changes) and (is_broken(tokens) or (ambiguous and any(byte in sql.text for byte in b'"\\[')))
    except _Unread:
        doubtful = True
    return [TableChange(Action.UNREAD, TableName(schema, ""))] if doubtful else changes


def _changes(verb: str, words: _Words) -> list[TableChange]:
    match verb:
        case "TRUNCATE":
            words.skip("TABLE")
            return [TableChange(Action.TRUNCATE, words.table())]
        case "DROP":
            return _drop(words)
        case "RENAME":
            return _rename(words) if words.skip(*_TABLE) else []
        case "ALTER":
            return _alter(words)
        case "CREATE":
            return _create(words)
    return []


def _written(tokens: list[str], schema: str, *, certain: bool) -> list[TableChange]:
    """The tables whose rows a statement changes. `certain`: its tokens are those that the server has read."""
    written = written_tables(tokens, schema)
    if not (written.only and certain):
        return [TableChange(Action.DML, TableName(schema, ""))]
    names = frozenset(unquoted(token) for token in tokens if is_name(token))
    return [TableChange(Action.DML, table, names=names) for table in sorted(written.tables)]


def _drop(words: _Words) -> list[TableChange]:
    if words.skip(*_SCHEMA):
        words.skip_if_exists()
        return [TableChange(Action.DROP_SCHEMA, TableName(words.name(), ""))]
    if words.skip("INDEX"):
        words.skip_if_exists()
        return _index_dropped(words)
    if words.skip("TEMPORARY") or not words.skip(*_TABLE):
        return []
    words.skip_if_exists()
    found = [TableChange(Action.DROP, words.table())]
    while words.skip(","):
        found.append(TableChange(Action.DROP, words.table()))
    return found


def _index_dropped(words: _Words) -> list[TableChange]:
    """An index's name, perhaps how it is kept or waited for, ON, the table's name."""
    clauses = tuple(dropped_index([words.name()]))
    while words.peek() != "ON":
        if not words.next():
            raise _Unread
    words.skip("ON")
    return [TableChange(Action.ALTER, words.table(), clauses=clauses)]


def _rename(words: _Words) -> list[TableChange]:
    words.skip_if_exists()
    found = []
    while True:
        table = words.table()
        words.skip_wait()
        if not words.skip("TO"):
            raise _Unread
        found.append(TableChange(Action.RENAME, table, renamed_to=words.table()))
        if not words.skip(","):
            return found


def _alter(words: _Words) -> list[TableChange]:
    ignores = False
    while words.peek() in ("ONLINE", "IGNORE"):
        ignores = words.next() == "IGNORE" or ignores
    if not words.skip("TABLE"):
        return []
    words.skip_if_exists()
    table = words.table()
    words.skip_wait()
    renamed_to = None
    for clause in split(words.rest):
        if clause[0].upper() == "RENAME" and [word.upper() for word in clause[1:2]] not in _RENAMED_PARTS:
            new = _Words(clause, words.sql, words.schema)
            new.at = 1
            new.skip("TO", "AS", "=")
            renamed_to = new.table()  # the last one counts
    if renamed_to not in (None, table):
        return [TableChange(Action.RENAME, table, renamed_to=renamed_to)]
    found = clauses(words.rest, words.sql)
    if ignores:  # MariaDB deletes rows that a new unique key does not allow
        found = (*found, REWRITE)
    return [TableChange(Action.ALTER, table, clauses=found), *_partners(words)]


def _partners(words: _Words) -> list[TableChange]:
    """The other table of EXCHANGE PARTITION … WITH TABLE, and of MariaDB's CONVERT TABLE and CONVERT PARTITION."""
    rest = [token.upper() for token in words.rest]
    match rest:
        case ["CONVERT", "TABLE", *_]:
            at = 2
        case ["EXCHANGE", "PARTITION", _, "WITH", "TABLE", *_] | ["CONVERT", "PARTITION", _, "TO", "TABLE", *_]:
            at = 5
        case _:
            return []
    words.at += at
    return [TableChange(Action.ALTER, words.table(), clauses=(REWRITE,))]


def _create(words: _Words) -> list[TableChange]:
    replaces = words.skip("OR") and words.skip("REPLACE")
    if replaces:
        words.skip("UNIQUE", "FULLTEXT", "SPATIAL", "VECTOR")
        if words.skip("INDEX"):
            words.skip_if_exists()
            return _index_dropped(words)
    if words.skip("TEMPORARY") or not words.skip("TABLE"):
        return []
    words.skip_if_exists()
    table = words.table()
    created = TableChange(Action.CREATE, table)
    return [TableChange(Action.DROP, table), created] if replaces else [created]
