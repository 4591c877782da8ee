"""Finds VIRTUAL columns whose value depends on who reads it: the log and a snapshot may hold different ones. Pure."""

from __future__ import annotations

import re

from ..model.tables import Table

_VIRTUAL = re.compile(r"^\s*(`(?:[^`]|``)+`) .* GENERATED ALWAYS AS (\(.*\)) VIRTUAL", re.M)
# Functions of the moment, of chance, of the session and of its settings (time_zone, lc_time_names, …). The servers
# refuse most of them in a STORED column, and MySQL most of them in any.
_OF_THE_SESSION = re.compile(
    r"\b(?:now|sysdate|cur(?:date|time)|current_\w+|local(?:time|timestamp)|utc_(?:date|time|timestamp)|unix_timestamp"
    r"|from_unixtime|convert_tz|date_format|time_format|str_to_date|dayname|monthname|week"
    r"|rand|uuid|uuid_short|uuid_v[47]|sys_guid|random_bytes"
    r"|user|session_user|system_user|connection_id|database|schema|version|last_insert_id|found_rows|row_count)\("
    r"|@@",
    re.IGNORECASE,
)
_LITERAL = re.compile(r"'(?:[^'\\]|\\.|'')*'", re.DOTALL)


def session_columns(definition: str, table: Table) -> list[str]:
    """The table's VIRTUAL columns whose value is not the row's alone.

    Args:
        definition: the table's CREATE TABLE statement.
    """
    # A TIMESTAMP is a moment, and its date and hour are the session's.
    moments = [f"`{c.name.replace('`', '``')}`" for c in table.columns if c.type == "timestamp"]
    found = []
    for name, expression in _VIRTUAL.findall(definition):
        said = _LITERAL.sub("", expression)
        if _OF_THE_SESSION.search(said) or any(moment in said for moment in moments):
            found.append(name[1:-1].replace("``", "`"))
    return found
