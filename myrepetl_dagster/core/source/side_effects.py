"""Whether a statement in the log may have changed other tables than it names, as far as the server tells. Reads only.

The server is asked for its triggers and views of now, since it does not tell those of then.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from pymysql.connections import Connection

from ..model.tables import TableName
from ..mysql.connect import query
from ..mysql.grants import missing, parse
from ..values.sql import quote_name

_KIND = "SELECT table_type FROM information_schema.tables WHERE table_schema=%s AND table_name=%s"
_TRIGGERS = "SELECT 1 FROM information_schema.triggers WHERE event_object_schema=%s AND event_object_table=%s LIMIT 1"
_VIEWS = (
    "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type='VIEW' AND table_schema NOT IN"
    " ('sys', 'mysql', 'performance_schema', 'information_schema')"
)


class SideEffect(NamedTuple):
    """Why a statement may have changed other tables than it names, and the operator's next step."""

    reason: str
    hint: str = ""


def side_effect(control: Connection[Any], written: Collection[TableName], names: Collection[str]) -> SideEffect | None:
    """Why a statement that writes these tables may have changed others, too; None: it has not.

    Args:
        names: all of its words that may be names.
    """
    grants = parse(str(row[0]) for row in query(control, "SHOW GRANTS"))
    for name in sorted(written):
        if missing(grants, ["TRIGGER"], name):  # without it, triggers cannot be seen
            return SideEffect(
                f"the account may not see whether {name} has triggers",
                hint=f"GRANT TRIGGER ON {quote_name(name.schema)}.* to the source's account: if there are none, the"
                " next run goes on. Otherwise run the `snapshot` job for the mappings of this source.",
            )
        kinds = query(control, _KIND, (name.schema, name.table))
        if not kinds:
            return SideEffect(f"{name} is not there any more, so nobody can tell whether it had triggers")
        if str(kinds[0][0]) != "BASE TABLE":
            return SideEffect(f"{name} is not an ordinary table")
        if query(control, _TRIGGERS, (name.schema, name.table)):
            return SideEffect(f"{name} has triggers")
    for schema, view in query(control, _VIEWS):
        if str(view) in names:
            return SideEffect(f"it names the view {TableName(str(schema), str(view))}, which may call functions")
    return None
