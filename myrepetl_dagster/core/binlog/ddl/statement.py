"""The tables that a statement in the log changes, and how. Pure.

A row-based log holds statements for definitions (CREATE, ALTER, DROP, RENAME, TRUNCATE) and, from sessions in statement
format, for data. Only names and the clauses of ALTER are read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from ...model.tables import TableName
from .alter_table import NO_EFFECT, REWRITE, Clause, clauses, split
from .column_definition import unquoted
from .written_tables import written_tables


class Action(StrEnum):
    TRUNCATE = "truncate"
    DROP = "drop"
    RENAME = "rename"
    ALTER = "alter"
    CREATE = "create"
    DROP_SCHEMA = "drop database"
    DML = "statement-format data change"


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
            return any(clause != NO_EFFECT for clause in self.clauses)
        # A table that exists is not created.
        return self.action not in (Action.TRUNCATE, Action.CREATE, Action.DML)


_TOKEN = re.compile(
    r"\s+|/\*(?!!|M!).*?\*/|--[ \t\n][^\n]*|\#[^\n]*"  # white space and comments, but not /*! … */
    r"|(?P<string>'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\")"
    r"|(?P<name>`(?:[^`]|``)*`|[\w$\u0080-\uffff]+)|(?P<mark>/\*M?!\d*|\*/|.)",
    re.DOTALL,
)
# SELECT is among them: in statement format a call of a stored function that writes is logged as one.
_DML = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "CALL", "DO", "SELECT"})


def _tokens(statement: str) -> list[str]:
    found = []
    for match in _TOKEN.finditer(statement):
        text = match.group("name") or match.group("string") or match.group("mark")
        if text and not text.startswith("/*") and text != "*/":
            found.append(text)
    return found


def _is_name(token: str) -> bool:
    """Whether a token can be a name. With sql_mode ANSI_QUOTES a string in double quotes is one."""
    return token[0] in '`"_$' or token[0].isalnum() or token[0] > "\x7f"


class _Words:
    """A statement's tokens, read forward."""

    def __init__(self, statement: str, schema: str) -> None:
        self.tokens = _tokens(statement)
        self.at = 0
        self.schema = schema

    def skip(self, *words: str) -> bool:
        if self.peek() in words:
            self.at += 1
            return True
        return False

    def skip_if_exists(self) -> None:
        self.skip("IF")
        self.skip("NOT")
        self.skip("EXISTS")

    def peek(self) -> str:
        return self.tokens[self.at].upper() if self.at < len(self.tokens) else ""

    def table(self) -> TableName | None:
        if self.at >= len(self.tokens) or not _is_name(self.tokens[self.at]):
            return None
        first = unquoted(self.tokens[self.at])
        self.at += 1
        if self.peek() == "." and self.at + 1 < len(self.tokens):
            second = unquoted(self.tokens[self.at + 1])
            self.at += 2
            return TableName(first, second)
        return TableName(self.schema, first)

    def skip_wait(self) -> None:
        """MariaDB: WAIT n | NOWAIT."""
        if self.skip("WAIT"):
            self.at += 1
        self.skip("NOWAIT")


def table_changes(statement: str, schema: str) -> list[TableChange]:
    """The tables that a statement changes and names; [] if there is none.

    Args:
        statement: the text of a query event.
        schema: the default database of its session.
    """
    words = _Words(statement, schema)
    verb = words.peek()
    words.at += 1
    if verb == "SET" and words.skip("STATEMENT"):  # MariaDB: SET STATEMENT variable=value FOR statement
        while words.peek() and not words.skip("FOR"):
            words.at += 1
        verb = words.peek()
        words.at += 1
    if verb in _DML:
        return _written(words.tokens[words.at - 1 :], schema)
    match verb:
        case "TRUNCATE":
            words.skip("TABLE")
            return _one(Action.TRUNCATE, words.table())
        case "DROP":
            return _drop(words)
        case "RENAME":
            return _rename(words) if words.skip("TABLE", "TABLES") else []
        case "ALTER":
            return _alter(words)
        case "CREATE":
            return _create(words)
    return []


def _written(tokens: list[str], schema: str) -> list[TableChange]:
    written = written_tables(tokens, schema)
    if not written.only:
        return [TableChange(Action.DML, TableName(schema, ""))]
    names = frozenset(unquoted(token) for token in tokens if _is_name(token))
    return [TableChange(Action.DML, table, names=names) for table in sorted(written.tables)]


def _one(action: Action, table: TableName | None) -> list[TableChange]:
    return [TableChange(action, table)] if table else []


def _drop(words: _Words) -> list[TableChange]:
    if words.skip("DATABASE", "SCHEMA"):
        words.skip_if_exists()
        table = words.table()
        return [TableChange(Action.DROP_SCHEMA, TableName(table.table, ""))] if table else []
    if words.skip("TEMPORARY") or not words.skip("TABLE", "TABLES"):
        return []
    words.skip_if_exists()
    found = []
    while table := words.table():
        found.append(TableChange(Action.DROP, table))
        if not words.skip(","):
            break
    return found


def _rename(words: _Words) -> list[TableChange]:
    words.skip_if_exists()
    found = []
    while table := words.table():
        words.skip_wait()
        words.skip("TO")
        found.append(TableChange(Action.RENAME, table, renamed_to=words.table()))
        if not words.skip(","):
            break
    return found


def _alter(words: _Words) -> list[TableChange]:
    ignores = False
    while words.peek() in ("ONLINE", "IGNORE"):
        ignores = ignores or words.peek() == "IGNORE"
        words.at += 1
    if not words.skip("TABLE"):
        return []
    words.skip_if_exists()
    table = words.table()
    if table is None:
        return []
    words.skip_wait()
    rest = [token.upper() for token in words.tokens[words.at :]]
    for clause in split(words.tokens[words.at :]):
        if clause[0].upper() == "RENAME" and clause[1].upper() not in ("COLUMN", "INDEX", "KEY", "CONSTRAINT"):
            words.tokens, words.at = clause, 1
            words.skip("TO", "AS", "=")
            return [TableChange(Action.RENAME, table, renamed_to=words.table())]
    found = clauses(words.tokens[words.at :])
    if ignores:  # MariaDB deletes rows that a new unique key does not allow
        found = (*found, REWRITE)
    return [TableChange(Action.ALTER, table, clauses=found), *_exchanged(words, rest)]


def _exchanged(words: _Words, rest: list[str]) -> list[TableChange]:
    """The other table of EXCHANGE PARTITION … WITH TABLE and (MariaDB) CONVERT TABLE … TO PARTITION."""
    for first, second in (("WITH", "TABLE"), ("CONVERT", "TABLE")):
        for i in range(len(rest) - 2):
            if (rest[i], rest[i + 1]) == (first, second):
                words.at += i + 2
                other = words.table()
                return [TableChange(Action.ALTER, other, clauses=(REWRITE,))] if other else []
    return []


def _create(words: _Words) -> list[TableChange]:
    replaces = words.skip("OR") and words.skip("REPLACE")
    if words.skip("TEMPORARY") or not words.skip("TABLE"):
        return []
    words.skip_if_exists()
    created = _one(Action.CREATE, words.table())
    return [*(TableChange(Action.DROP, one.table) for one in created if replaces), *created]
