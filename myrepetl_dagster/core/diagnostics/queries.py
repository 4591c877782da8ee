"""What a table holds, asked with a bound: its number of rows, and its rows for a program that goes on from there.

Reads only. The connections are those of `connect.py`; nothing here knows of mappings or checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..config.pipeline import Endpoint
from ..model.errors import ReplicationError
from ..model.limits import Limits
from ..model.tables import TableName
from ..mysql.connect import Use, close_quietly, connect, query
from ..mysql.errors import translated
from ..target.control import TargetControl
from ..values.sql import quote_name

_TOOK_TOO_LONG = frozenset({1317, 1969, 3024})  # interrupted; the statement time limits of MariaDB and MySQL


def count_within(target: TargetControl, name: TableName, time_s_max: float) -> int | None:
    """Rows of a table, or None where counting them would take longer."""
    table = f"{quote_name(name.schema)}.{quote_name(name.table)}"
    if target.info.is_mariadb:
        sql = f"SET STATEMENT max_statement_time={max(0.001, time_s_max):.3f} FOR SELECT COUNT(*) FROM {table}"
    else:
        sql = f"SELECT /*+ MAX_EXECUTION_TIME({max(1, int(time_s_max * 1000))}) */ COUNT(*) FROM {table}"
    try:
        with translated(target.endpoint, f"counting {name}"):
            return int(query(target.control, sql)[0][0])
    except ReplicationError as error:
        if error.code in _TOOK_TOO_LONG:
            return None
        raise


def read_rows(
    endpoint: Endpoint, limits: Limits, query_or_table: str, parameters: Sequence[Any] = ()
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of a query, or of a whole table (`table` or `schema.table`).

    Times are in UTC. Everything is read into memory.
    """
    text = query_or_table.strip()
    sql = text if any(c.isspace() for c in text) else f"SELECT * FROM {_quoted(text)}"
    patient = replace(limits, control_timeout_s=limits.snapshot_timeout_s)
    connection = connect(endpoint, Use.CONTROL, patient)
    try:
        with translated(endpoint, "reading"), connection.cursor() as cursor:
            cursor.execute(sql, tuple(parameters) or None)
            names = [column[0] for column in cursor.description or ()]
            return names, list(cursor.fetchall())
    finally:
        close_quietly(connection)


def _quoted(table: str) -> str:
    schema, _, name = table.rpartition(".")
    return f"{quote_name(schema)}.{quote_name(name)}" if schema else quote_name(name)
