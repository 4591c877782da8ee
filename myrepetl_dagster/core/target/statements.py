"""SQL of what a target has to do, and what its refusals mean. Pure: statements as literals are (`cells.py`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..model.errors import RowRejected
from ..model.tables import Column
from ..plan.table_plan import TablePlan
from ..rows.literal_codegen import LiteralRow
from ..rows.pending_rows import LiteralKey, Mutation
from ..values.cells import cell_from_text, from_python
from ..values.literals import any_literal, literal_of
from ..values.sql import sql_name

STATEMENT_BYTES_MAX = 128 * 1024  # the servers are slower, for each row, at longer ones
BULK_BYTES_MAX = 512 * 1024
# What a guarded upsert raises where it would hit another row; ER_DATA_OUT_OF_RANGE, and ER_DUP_ENTRY where
# two unique keys point at two rows.
_DUPLICATE = 1062
COLLISIONS = frozenset({1690, _DUPLICATE})
_INTRODUCER = re.compile(r"^_\w+ ?(?=x?')")  # of a text literal: _utf8mb4'a', _latin1 x'61'
_UNIQUE_HINT = "Drop the target's unique key, or make its columns as unique in the source."


def refused(plan: TablePlan, error: RowRejected, row: LiteralRow | None = None) -> RowRejected:
    """The error for people: table and key, and of a guarded upsert what it means and not how it was noticed."""
    what, hint, code = error.message, error.hint, error.code
    if code in COLLISIONS and plan.other_unique_keys:
        uniques = " or ".join(f"({', '.join(unique)})" for unique in plan.other_unique_keys)
        what, hint, code = f"another row of the target holds this row's value of {uniques}", _UNIQUE_HINT, _DUPLICATE
    message = f"{what}, mapping {plan.name!r}, table {plan.target.name}"
    if row is not None:
        cells = [_INTRODUCER.sub("", row[i]) for i in plan.key_indexes]
        key = ", ".join(f"{name}={cell}" for name, cell in zip(plan.key, cells, strict=True))
        message += f", key {key.encode('latin-1').decode('utf-8', 'replace')}"
    return RowRejected(message, hint=hint, code=code)


def table_sql(plan: TablePlan) -> str:
    """The target table's name."""
    return f"{sql_name(plan.target.name.schema)}.{sql_name(plan.target.name.table)}"


def where_sql(plan: TablePlan, more: str = "") -> str:
    """What tells this mapping's rows from those of others in the same table: its fixed key columns."""
    return fixed_where_sql({name: value for name, value in plan.fixed.items() if name in plan.key}, more)


def fixed_where_sql(fixed: Mapping[str, Any], more: str = "") -> str:
    """Rows in which these columns have these values."""
    own = [f"{sql_name(name)} = {any_literal(from_python(value))}" for name, value in fixed.items()]
    conditions = [*own, *([f"({more})"] if more else [])]
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def bulk_upsert_sql(plan: TablePlan, values: Sequence[str]) -> bytes:
    """The statement whose VALUES are parameters, and literals that all rows share."""
    head, tail = upsert_sql(plan, guarded=False)
    return f"{head}({', '.join(values)}){tail}".encode("latin-1")


def upsert_sql(plan: TablePlan, guarded: bool) -> tuple[str, str]:
    """What stands before and after the tuples. `guarded`: refused where it would hit a row of another key."""
    names = [sql_name(c.target) for c in plan.columns]
    key = [sql_name(name) for name in plan.key]
    updates = [f"{name}=VALUES({name})" for name in names if name not in key] or [f"{key[0]}=VALUES({key[0]})"]
    # The key too: to a ci collation 'a' and 'A' are one key, and the source's spelling has to arrive.
    updates += [f"{name}=VALUES({name})" for name in key]
    if guarded:
        # ON DUPLICATE KEY UPDATE takes any unique key for the row's own. Where the row found has another
        # key, this first assignment overflows, and the statement changes nothing.
        same = " AND ".join(f"{name} <=> VALUES({name})" for name in key)
        updates.insert(0, f"{key[0]}=IF({same}, {key[0]}, 18446744073709551615 + ({key[0]} IS NOT NULL))")
    head = f"INSERT INTO {table_sql(plan)} ({', '.join(names)}) VALUES "
    return head, f" ON DUPLICATE KEY UPDATE {', '.join(dict.fromkeys(updates))}"


def in_statements(tuples: Sequence[str]) -> Iterator[Sequence[str]]:
    """SQL tuples in lists that make statements of a bounded size."""
    start = size = 0
    for end, text in enumerate(tuples):
        if end > start and size + len(text) > STATEMENT_BYTES_MAX:
            yield tuples[start:end]
            start, size = end, 0
        size += len(text) + 1
    if start < len(tuples):
        yield tuples[start:]


def runs(mutations: Sequence[Mutation]) -> Iterator[tuple[list[Mutation], bool]]:
    """Neighbours of one kind: (mutations, whether they are upserts)."""
    run: list[Mutation] = []
    for mutation in mutations:
        if run and (run[-1][1] is None) != (mutation[1] is None):
            yield run, run[-1][1] is not None
            run = []
        run.append(mutation)
    if run:
        yield run, run[-1][1] is not None


def key_literals(columns: Sequence[Column], row: Sequence[bytes | None]) -> LiteralKey:
    """A key as the server printed it, as literals."""
    writers: list[Callable[[Any], str]] = [literal_of(column) for column in columns]
    cells = [cell_from_text(column)(value) for column, value in zip(columns, row, strict=True)]
    return tuple(write(cell) for write, cell in zip(writers, cells, strict=True))
