"""Updates of rows that are there: of each the columns that the log gives (`rows/partial_shaper.py`).

An upsert would need all columns. So each row is looked for by its key, and one that is missing is no new row.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ..model.errors import RowRejected
from ..plan.table_plan import TablePlan, UniqueKeys
from ..rows.literal_codegen import LiteralKey, LiteralRow
from ..rows.writable_rows import KEPT, Mutation
from ..values.sql import keys_condition, sql_name
from .apply_session import ApplySession
from .enum_errors import has_enum_error, run_with_enum_error
from .statements import named_refusal, table_sql

_KEYS_MAX = 500
# These two change by themselves if an UPDATE does not name them (ON UPDATE CURRENT_TIMESTAMP).
_SELF_CHANGING = frozenset({"timestamp", "datetime"})
_COPY_AGAIN = "Run the `snapshot` job for this mapping."


def write_updates(session: ApplySession, plan: TablePlan, updates: Sequence[Mutation], *, settling: bool) -> None:
    """Write updates in the open transaction, in their order.

    Raises:
        RowRejected: the target refused one, or lacks the row. The error names the key.
    """
    may_lack = settling and plan.unique_keys is not UniqueKeys.MIRRORED and plan.mapping.init_query is None
    for assignments, group in groupby(updates, lambda update: _assignments(plan, *update)):
        if not assignments:
            continue
        rows = list(group)
        for start in range(0, len(rows), _KEYS_MAX):
            some = rows[start : start + _KEYS_MAX]
            if settling and any(_new_key(plan, row) != key for key, row in some):
                raise named_refusal(plan, RowRejected(_NEW_KEY, hint=_COPY_AGAIN), some[0][0])
            if _run(session, plan, assignments, some) < len(some) and not may_lack:
                _find_missing_row(session, plan, assignments, some)


_NEW_KEY = "while the copy settles, the log gives a row another key without all of its columns"


def _new_key(plan: TablePlan, row: LiteralRow | None) -> LiteralKey:
    assert row is not None
    return tuple(row[i] for i in plan.key_indexes)


def _assignments(plan: TablePlan, key: LiteralKey, row: LiteralRow | None) -> str:
    """What an update sets; '' if that is nothing."""
    assert row is not None
    old = dict(zip(plan.key, key, strict=True))
    changed: list[str] = []
    kept: list[str] = []
    for planned, literal in zip(plan.columns, row, strict=True):
        name = sql_name(planned.target)
        if literal != KEPT and literal != old.get(planned.target):
            changed.append(f"{name}={literal}")
        elif literal == KEPT and (c := plan.target.column(planned.target)) is not None and c.type in _SELF_CHANGING:
            kept.append(f"{name}={name}")
    return ", ".join([*changed, *kept]) if changed else ""


def _run(session: ApplySession, plan: TablePlan, assignments: str, updates: Sequence[Mutation]) -> int:
    """Update some rows alike. Returns how many there are."""
    keys = [key for key, _ in updates]
    sql = f"UPDATE {table_sql(plan)} SET {assignments} WHERE {keys_condition(plan.key, keys)}"
    row = updates[0][1]
    assert row is not None
    try:
        if has_enum_error(plan, row):
            return run_with_enum_error(session, plan, row, sql)
        return session.update(sql)
    except RowRejected as error:
        raise named_refusal(plan, error, keys[0] if len(keys) == 1 else None) from None


def _find_missing_row(session: ApplySession, plan: TablePlan, assignments: str, updates: Sequence[Mutation]) -> None:
    """Update row by row: one key may have come twice.

    Raises:
        RowRejected: a row is missing.
    """
    for update in updates:
        if not _run(session, plan, assignments, [update]):
            message = "the target lacks a row of which the log gives only the columns that an UPDATE changed"
            raise named_refusal(plan, RowRejected(message, hint=_COPY_AGAIN), update[0])
