"""What a statement did to the tables of a real server, and what our reader says of it: the two compared."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pymysql
from servers import Server

from myrepetl_dagster.core.binlog.ddl.alter_table import Clause, Effect
from myrepetl_dagster.core.binlog.ddl.statement import Action, TableChange, table_changes
from myrepetl_dagster.core.binlog.query_event import statement_of
from myrepetl_dagster.core.model.tables import Column, TableName
from myrepetl_dagster.core.mysql.describe import describe_all
from myrepetl_dagster.core.plan.resolution import not_null_keys
from myrepetl_dagster.core.values.column_types import TEXT_TYPES
from myrepetl_dagster.core.values.widening import as_bytes, same

_QUERY, _HEADER = 2, struct.Struct("<IBIIIH")
UNREADABLE = "unreadable"  # a row whose values the server does not tell
SCHEMAS = ("d", "e")


@dataclass
class State:
    """A table's columns, keys and rows; rows as one list of values for each column. `unknown`: any of it may be."""

    columns: dict[str, Column]
    key: tuple[str, ...] | None
    unique: set[frozenset[str]]
    values: dict[str, list[Any]]
    charset: str | None
    unknown: bool = False
    retyped: set[str] = field(default_factory=set)
    rekeyed: bool = False
    unindexed: bool = False

    def copy(self) -> State:
        return replace(
            self,
            columns=dict(self.columns),
            unique=set(self.unique),
            values=dict(self.values),
            retyped=set(self.retyped),
        )

    def named(self, name: str) -> str | None:
        return next((own for own in self.columns if own.casefold() == name.casefold()), None)


Tables = dict[TableName, State]


def unknown() -> State:
    return State({}, None, set(), {}, None, unknown=True)


class Oracle:
    """A server, and a connection that looks at what there is."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.mariadb = server.flavour == "mariadb"
        self.looking = server.connect()
        self.log_at: tuple[str, int] = ("", 0)

    def close(self) -> None:
        self.looking.close()

    def ask(self, sql: str) -> Sequence[tuple[Any, ...]]:
        with self.looking.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def tables(self) -> Tables:
        """Every table of the schemas."""
        listed = self.ask(
            "SELECT table_schema, table_name FROM information_schema.tables"
            f" WHERE table_schema IN {SCHEMAS} AND table_type LIKE '%TABLE' OR table_schema IN {SCHEMAS} AND table_type LIKE 'SYSTEM VERS%'"
        )
        found = {}
        for name, table in describe_all(self.looking, [TableName(*row) for row in listed]).items():
            shown = ", ".join("`" + c.replace("`", "``") + "`" for c in table.column_names)
            quoted = ".".join("`" + part.replace("`", "``") + "`" for part in (name.schema, name.table))
            try:
                rows = self.ask(f"SELECT {shown} FROM {quoted} ORDER BY 1")
            except pymysql.MySQLError:
                rows = [(UNREADABLE,) * len(table.columns)]
            found[name] = State(
                {c.name: c for c in table.columns},
                table.primary_key,
                {frozenset(key) for key in not_null_keys(table)},
                {c.name: [row[i] for row in rows] for i, c in enumerate(table.columns)},
                table.charset,
            )
        return found

    def logged(self) -> list[tuple[list[TableChange], bytes]]:
        """What the reader says of each statement that was logged since the last time."""
        (file, end, *_) = self.ask("SHOW MASTER STATUS" if self.mariadb else "SHOW BINARY LOG STATUS")[0]
        start = self.log_at[1] if self.log_at[0] == file else 4
        self.log_at = (file, int(end))
        with (self.server.datadir / file).open("rb") as log:
            log.seek(start)
            data = log.read(int(end) - start)
        found = []
        at = 0
        while at < len(data):
            _, kind, _, length, _, _ = _HEADER.unpack_from(data, at)
            if kind == _QUERY:
                statement = statement_of(data[at + 19 : at + length - 4], compressed=False, mariadb=self.mariadb)
                if statement.defines:
                    found.append((table_changes(statement.sql, statement.schema), statement.sql.text))
            at += length
        return found


# ---- what the changes would make of the tables -------------------------------------------------------------
def predicted(before: Tables, changes: Sequence[TableChange], *, alters: bool) -> Tables:
    """The tables as they are after these changes, as far as they tell.

    Args:
        alters: it is an ALTER, which may do more to a table than to rename it.
    """
    tables = {name: table.copy() for name, table in before.items()}
    for change in changes:
        match change.action:
            case Action.DROP:
                tables.pop(change.table, None)
            case Action.DROP_SCHEMA:
                tables = {name: table for name, table in tables.items() if name.schema != change.table.schema}
            case Action.RENAME if change.table in tables:
                assert change.renamed_to is not None
                tables[change.renamed_to] = tables.pop(change.table)
                tables[change.renamed_to].unknown |= alters
            case Action.CREATE:
                tables.setdefault(change.table, unknown())
            case Action.TRUNCATE if change.table in tables:
                tables[change.table].values = {name: [] for name in tables[change.table].columns}
            case Action.ALTER:
                table = tables.setdefault(change.table, unknown())
                for clause in change.clauses:
                    _apply(table, clause)
    return tables


def _apply(table: State, clause: Clause) -> None:
    own = table.named(clause.column)
    match clause.effect:
        case Effect.REWRITE:
            table.unknown = True
        case Effect.ADD if own is None:
            table.columns[clause.column] = _stated(clause)
            table.retyped.add(clause.column)
        case Effect.DROP if own is not None:
            del table.columns[own]
            table.values.pop(own)
            table.rekeyed |= own in (table.key or ())
            table.unindexed |= any(own in key for key in table.unique)
        case Effect.RENAME if own is not None and (table.named(clause.new_name) in (None, own)):
            new = clause.new_name
            table.columns = {new if name == own else name: c for name, c in table.columns.items()}
            table.values = {new if name == own else name: v for name, v in table.values.items()}
            table.retyped = {new if name == own else name for name in table.retyped}
            table.key = tuple(_renamed(part, own, new) for part in table.key or ())
            table.unique = {frozenset(new if name == own else name for name in key) for key in table.unique}
        case Effect.RENAME if own is not None:
            table.unknown = True  # onto another column: the target is copied again
        case Effect.RETYPE if own is not None:
            was_nullable = table.columns[own].nullable
            table.columns = {  # the letters' case becomes the statement's
                clause.column if name == own else name: _stated(clause, was_nullable) if name == own else column
                for name, column in table.columns.items()
            }
            table.values = {clause.column if name == own else name: v for name, v in table.values.items()}
            table.retyped.add(clause.column)
            table.key = tuple(_renamed(part, own, clause.column) for part in table.key or ())
            table.unique = {frozenset(clause.column if name == own else name for name in key) for key in table.unique}
        case Effect.CONVERT:
            for name, column in table.columns.items():
                if column.type in TEXT_TYPES:
                    table.columns[name] = Column(name, "", generated=column.generated)
                    table.retyped.add(name)
        case Effect.KEY:
            table.rekeyed = True
        case Effect.INDEX:
            table.unindexed = True


def _renamed(part: str, own: str, new: str) -> str:
    """A part of a key, which may be a column's beginning, after a column's renaming."""
    return new + part[len(own) :] if part == own or part.startswith(f"{own}(") else part


def _stated(clause: Clause, was_nullable: bool = True) -> Column:
    """The stated column; its type is empty if the reader does not claim to know it."""
    stated = clause.definition
    if stated is None or stated.column is None:
        return Column(clause.column, "", generated=stated.computed if stated else False)
    return replace(stated.column, nullable=stated.nullable and was_nullable, generated=stated.computed)


# ---- the comparison --------------------------------------------------------------------------------------------
def differences(expected: Tables, after: Tables, left_behind: Collection[TableName] = ()) -> Iterator[str]:
    """Where the tables are not what the reader said.

    Args:
        left_behind: names of tables that were renamed. MariaDB 10.11 and 11.8 leave a table of the old name behind if
            that has other characters than letters and digits, and the table is altered by a copy and renamed at once.
    """
    for name in expected.keys() - after.keys():
        if not expected[name].unknown:
            yield f"{name} is gone"
    for name in after.keys() - expected.keys() - set(left_behind):
        yield f"{name} came into being"
    for name in expected.keys() & after.keys():
        if not expected[name].unknown:
            for difference in _table_differences(expected[name], after[name]):
                yield f"{name}: {difference}"


def _table_differences(expected: State, after: State) -> Iterator[str]:
    if sorted(expected.columns) != sorted(after.columns):
        yield f"columns are {sorted(after.columns)}, not {sorted(expected.columns)}"
        return
    for name, column in after.columns.items():
        yield from _column_differences(expected, after, expected.columns[name], column)
    if not expected.rekeyed and expected.key != after.key:
        yield f"the primary key is {after.key}, not {expected.key}"
    lost = {key for key in expected.unique - after.unique if key != frozenset(after.key or ())}
    lost = {key for key in lost if not key & expected.retyped}
    if lost and not expected.unindexed and not expected.rekeyed:
        yield f"unique keys are lost: {lost}"
    kept = [name for name in expected.values if name in after.values and name not in expected.retyped]
    before_rows, after_rows = (
        Counter(map(repr, zip(*(t.values[n] for n in kept), strict=True))) for t in (expected, after)
    )
    unreadable = any(values[:1] == [UNREADABLE] for values in after.values.values())
    if before_rows != after_rows and kept and not expected.rekeyed and not unreadable:
        yield f"rows are {after_rows}, not {before_rows}"


def _column_differences(expected: State, after: State, stated: Column, now: Column) -> Iterator[str]:
    name = now.name
    if name not in expected.retyped:
        was = replace(stated, name=name, nullable=now.nullable if expected.rekeyed else stated.nullable)
        if _essence(was) != _essence(now):
            yield f"{name} is {now}, not {stated}"
        return
    if now.generated and not stated.generated:
        yield f"{name} is computed"
    if not stated.type:
        return
    if not now.nullable and stated.nullable and not expected.rekeyed:
        yield f"{name} is NOT NULL"
    if stated.type == "json" and now.type == "longtext":
        return
    charset = after.charset if stated.charset is None and stated.type in TEXT_TYPES else stated.charset
    stated = as_bytes(stated) if charset == "binary" and stated.type in TEXT_TYPES else stated
    if (
        not same(replace(stated, charset=charset), now)
        or (now.charset or charset) != charset
        or stated.unsigned != now.unsigned
    ):
        yield f"{name} is {now.column_type} {now.charset}, not {stated.column_type} {charset}"


def _essence(column: Column) -> tuple[Any, ...]:
    return (column.column_type, column.charset, column.collation, column.nullable, column.generated)


def filled(oracle: Oracle, change: TableChange, before: Tables, after: Tables) -> Iterator[str]:
    """Where the rows of an added column do not hold what the reader said."""
    old, new = before.get(change.table), after.get(change.table)
    if old is None or new is None or any(clause.effect is Effect.REWRITE for clause in change.clauses):
        return
    for clause in change.clauses:
        fill = clause.definition.fill if clause.effect is Effect.ADD and clause.definition else None
        if fill is None or old.named(clause.column) is not None or clause.column not in new.columns:
            continue
        probe = "`" + clause.column.replace("`", "``") + "`"
        schema, table = (part.replace("`", "``") for part in (change.table.schema, change.table.table))
        held = oracle.ask(f"SELECT DISTINCT {probe} FROM `{schema}`.`{table}`")
        oracle.ask("DROP TABLE IF EXISTS d.probe")
        oracle.ask("CREATE TABLE d.probe (id INT PRIMARY KEY)")
        oracle.ask("INSERT INTO d.probe VALUES (1)")
        definition = new.columns[clause.column]
        charset = f" CHARACTER SET {definition.charset}" if definition.type in TEXT_TYPES else ""
        null = "" if fill == "NULL" else f" DEFAULT {fill}"
        try:
            oracle.ask(f"ALTER TABLE d.probe ADD {probe} {definition.column_type}{charset} NULL{null}")
        except pymysql.MySQLError:
            continue  # a run, too, stops with that error
        ours = oracle.ask(f"SELECT {probe} FROM d.probe")
        oracle.ask("DROP TABLE d.probe")
        if held and tuple(held) != tuple(ours):
            yield f"{clause.column} holds {held}, not {ours} ({fill})"
