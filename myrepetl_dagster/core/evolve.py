"""Making a target table follow its source: columns added, renamed, widened, or allowed to be missing.

Each step looks at the target first, so that repeating it after an interruption does nothing. A definition
commits by itself on MySQL and MariaDB: the caller has committed everything before it.
"""

from __future__ import annotations

from collections.abc import Sequence

from .alter import Clause, Effect
from .apply import MySQLTarget
from .connect import quote_name
from .drift import widens
from .model import Column, Table
from .schema import column_definition


def follow(target: MySQLTarget, table: Table, source: Table, clauses: Sequence[Clause]) -> None:
    """Apply column changes to a target table.

    Args:
        table: the target table as it is.
        source: the source table as it is now, for the definitions of its columns.
    """
    held = {c.name: c for c in table.columns}
    for clause in clauses:
        if clause.effect is Effect.ADD and clause.column not in held:
            add_columns(target, table, [c for c in source.columns if c.name == clause.column])
        elif clause.effect is Effect.DROP and clause.column in held:
            _relax(target, table, held[clause.column])
        elif clause.effect is Effect.RENAME and clause.column in held and clause.new_name not in held:
            _alter(target, table, f"RENAME COLUMN {quote_name(clause.column)} TO {quote_name(clause.new_name)}")
            held[clause.new_name] = held.pop(clause.column)
        elif clause.effect is Effect.RETYPE and clause.column in held:
            now = source.column(clause.column)
            if now is not None and _narrower(held[clause.column], now):
                null = "NULL" if now.nullable or held[clause.column].nullable else "NOT NULL"
                _alter(target, table, f"MODIFY COLUMN {quote_name(now.name)} {_definition(target, now)} {null}")


def add_columns(target: MySQLTarget, table: Table, columns: Sequence[Column]) -> None:
    """Add columns, all of them nullable: rows that are older than the column have no value for it."""
    for column in columns:
        _alter(target, table, f"ADD COLUMN {quote_name(column.name)} {_definition(target, column)} NULL")


def _narrower(held: Column, now: Column) -> bool:
    """Whether the target's column does not hold all that the source's now may."""
    if now.nullable and not held.nullable:
        return widens(held, now)
    return held.column_type != now.column_type and widens(held, now)


def _relax(target: MySQLTarget, table: Table, column: Column) -> None:
    """The source has dropped the column: rows to come have no value for it."""
    if not column.nullable and not column.generated:
        _alter(target, table, f"MODIFY COLUMN {quote_name(column.name)} {_definition(target, column)} NULL")


def _definition(target: MySQLTarget, column: Column) -> str:
    return column_definition(
        column, collations=target.collations(), mariadb=target.info.is_mariadb, keep_generated=False
    )


def _alter(target: MySQLTarget, table: Table, what: str) -> None:
    target.define(f"ALTER TABLE {quote_name(table.name.schema)}.{quote_name(table.name.table)} {what}")
