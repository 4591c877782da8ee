"""The SQL statements that write to a target, and what its refusals mean. Pure.

SQL is in the form of literals (`literals.py`): each character of a `str` stands for one byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from ..model.errors import RowRejected
from ..model.tables import Column
from ..plan.table_plan import TablePlan
from ..rows.literal_codegen import LiteralKey
from ..rows.writable_rows import KEPT, Mutation
from ..values.cells import cell_from_text
from ..values.column_types import TEXT_TYPES
from ..values.literals import any_literal, literal_of
from ..values.python_values import from_python
from ..values.sql import charset_sql, quote_name, sql_name
from ..values.widening import family

STATEMENT_BYTES_MAX = 128 * 1024  # with longer statements the servers need more time for each row
BULK_BYTES_MAX = 512 * 1024
_DUPLICATE = 1062  # ER_DUP_ENTRY
_TOO_NARROW = frozenset({1264, 1406})  # ER_WARN_DATA_OUT_OF_RANGE, ER_DATA_TOO_LONG
# A guarded upsert ends with one of these where it would hit another row: ER_DATA_OUT_OF_RANGE, or ER_DUP_ENTRY where
# two unique keys point at two rows.
COLLISIONS = frozenset({1690, _DUPLICATE})
_INTRODUCER = re.compile(r"^_\w+ ?(?=x?')")  # what a text literal begins with: _utf8mb4'a', _latin1 x'61'
_UNIQUE_HINT = "Drop the target's unique key, or make its columns as unique in the source."


def named_refusal(plan: TablePlan, error: RowRejected, row_key: LiteralKey | None = None) -> RowRejected:
    """The error with mapping, table and key. An error of the guard of an upsert becomes the collision that it means.

    Args:
        row_key: the refused row's key, if it is known.
    """
    what, hint, code = error.message, error.hint, error.code
    if code in COLLISIONS and plan.other_unique_keys:
        uniques = " or ".join(f"({', '.join(unique)})" for unique in plan.other_unique_keys)
        what, hint, code = f"another row of the target holds this row's value of {uniques}", _UNIQUE_HINT, _DUPLICATE
    elif code in _TOO_NARROW and (statement := _widening_sql(plan, error.column)):
        hint = f"{statement}; then the next run goes on. Or map it with a transform."
    message = f"{what}, mapping {plan.name!r}, table {plan.target.name}"
    if row_key is not None:
        values = [_INTRODUCER.sub("", literal) for literal in row_key]
        key = ", ".join(f"{name}={value}" for name, value in zip(plan.key, values, strict=True))
        message += f", key {key.encode('latin-1').decode('utf-8', 'replace')}"
    return RowRejected(message, hint=hint, code=code)


def _widening_sql(plan: TablePlan, name: str) -> str:
    """The statement that gives a target column the type of the source column that is copied into it ('': none is)."""
    copied = next((c for c in plan.columns if c.target == name and c.source and c.transform is None), None)
    theirs = plan.source.column(copied.source) if copied and copied.source else None
    ours = plan.target.column(name)
    if theirs is None or ours is None or family(theirs) != family(ours):
        return ""
    table = f"{quote_name(plan.target.name.schema)}.{quote_name(plan.target.name.table)}"
    kind = theirs.column_type
    if ours.charset and ours.type in TEXT_TYPES:
        kind += charset_sql(ours.charset, ours.collation)
    kind += " NULL" if ours.nullable else " NOT NULL"
    return (
        f"ALTER TABLE {table} MODIFY COLUMN {quote_name(name)} {kind}{' AUTO_INCREMENT' if ours.auto_increment else ''}"
    )


def table_sql(plan: TablePlan) -> str:
    """The target table's name, quoted."""
    return f"{sql_name(plan.target.name.schema)}.{sql_name(plan.target.name.table)}"


def where_sql(plan: TablePlan, condition: str = "") -> str:
    """The WHERE clause for this mapping's rows; '' if it has the table for itself.

    Several mappings may share a table. Each is told from the others by the fixed values of its key columns.

    Args:
        condition: one more condition.
    """
    return fixed_where_sql({name: value for name, value in plan.fixed.items() if name in plan.key}, condition)


def fixed_where_sql(fixed: Mapping[str, Any], condition: str = "") -> str:
    """The WHERE clause for rows in which these columns have these values; '' if there is no condition."""
    conditions = [f"{sql_name(name)} = {any_literal(from_python(value))}" for name, value in fixed.items()]
    if condition:
        conditions.append(f"({condition})")
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def bulk_upsert_sql(plan: TablePlan, values: Sequence[str]) -> bytes:
    """The upsert for bulk execution.

    Args:
        values: for each column `?`, or a literal that all rows share.
    """
    head, tail = upsert_sql(plan, guarded=False)
    return f"{head}({', '.join(values)}){tail}".encode("latin-1")


def upsert_sql(plan: TablePlan, guarded: bool) -> tuple[str, str]:
    """An upsert's text before and after the tuples.

    Args:
        guarded: the server shall refuse the statement where it would update a row of another key.
    """
    names = [sql_name(c.target) for c in plan.columns]
    key = [sql_name(name) for name in plan.key]
    updates = [f"{name}=VALUES({name})" for name in names if name not in key] or [f"{key[0]}=VALUES({key[0]})"]
    # The key columns are updated, too: a ci collation takes 'a' and 'A' for one key, and the source's spelling counts.
    updates += [f"{name}=VALUES({name})" for name in key]
    if guarded:
        # ON DUPLICATE KEY UPDATE updates the row that it finds by any unique key. If that row has another primary
        # key, this first assignment overflows, and the statement changes nothing.
        same = " AND ".join(f"{name} <=> VALUES({name})" for name in key)
        updates.insert(0, f"{key[0]}=IF({same}, {key[0]}, 18446744073709551615 + ({key[0]} IS NOT NULL))")
    head = f"INSERT INTO {table_sql(plan)} ({', '.join(names)}) VALUES "
    return head, f" ON DUPLICATE KEY UPDATE {', '.join(dict.fromkeys(updates))}"


def in_statements(tuples: Sequence[str]) -> Iterator[Sequence[str]]:
    """The SQL tuples, in lists that make statements of a bounded size."""
    start = size = 0
    for end, text in enumerate(tuples):
        if end > start and size + len(text) > STATEMENT_BYTES_MAX:
            yield tuples[start:end]
            start, size = end, 0
        size += len(text) + 1
    if start < len(tuples):
        yield tuples[start:]


class Kind(Enum):
    """What a mutation does to its row."""

    DELETE = "delete"
    UPSERT = "upsert"
    UPDATE = "update"


def kind_of(mutation: Mutation) -> Kind:
    _, row = mutation
    return Kind.DELETE if row is None else Kind.UPDATE if KEPT in row else Kind.UPSERT


def key_literals(columns: Sequence[Column], row: Sequence[bytes | None]) -> LiteralKey:
    """The literals of a key that the server has printed as text."""
    return tuple(literal_of(column)(cell_from_text(column)(text)) for column, text in zip(columns, row, strict=True))
