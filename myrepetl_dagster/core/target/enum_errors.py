"""Rows with an ENUM's error value, which strict mode refuses."""

from __future__ import annotations

from contextlib import suppress

from ..model.errors import ReplicationError, RowRejected
from ..mysql.session import Use, lax_apply_mode, sql_mode
from ..plan.table_plan import TablePlan
from ..rows.literal_codegen import LiteralRow
from ..values.literals import ENUM_ERROR
from .apply_session import ApplySession

_TRUNCATED = 1265  # ER_WARN_DATA_TRUNCATED, as which a server reports an ENUM's error value
# Warnings that say nothing of the row: deprecated syntax, and a character after an introducer that Unicode lacks.
_HARMLESS = frozenset({1287, 1300})


def has_enum_error(plan: TablePlan, row: LiteralRow) -> bool:
    return any(row[i] == ENUM_ERROR for i in plan.enum_indexes)


def run_with_enum_error(session: ApplySession, plan: TablePlan, row: LiteralRow, sql: str) -> int:
    """Write a row with an ENUM's error value. Returns how many rows the statement found.

    Strict mode refuses that value, so it is left for this statement. Every other warning then counts as an error.
    """
    names = [plan.columns[i].target for i in plan.enum_indexes if row[i] == ENUM_ERROR]
    session.run(f"SET SESSION sql_mode='{lax_apply_mode(session.server.endpoint)}'")
    try:
        found = session.update(sql)
        warnings = session.run("SHOW WARNINGS")
        ((count,),) = session.run("SHOW COUNT(*) WARNINGS")
    finally:
        with suppress(ReplicationError):  # if this fails, the connection is lost anyway
            session.run(f"SET SESSION sql_mode='{sql_mode(session.server.endpoint, Use.APPLY)}'")
    if int(count) > len(warnings):  # a global setting that no session may change without a privilege
        raise RowRejected(
            "a row with an ENUM's error value: the target keeps no warnings that tell whether it is whole",
            hint="Raise max_error_count on the target.",
        )
    for _, number, message in warnings:
        code, text = int(number), message.decode("utf-8", "replace")
        expected = code == _TRUNCATED and any(f"'{name}'" in text for name in names)
        if code not in _HARMLESS and not expected:
            raise RowRejected(f"a row with an ENUM's error value: warning {code}", code=code)
    return found
