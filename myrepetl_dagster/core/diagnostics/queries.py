"""Reads rows for user code: the connections and queries behind the Dagster resources.

Reads only, and knows nothing of mappings or checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pymysql.connections import Connection as Connection

from ..config.pipeline import Endpoint
from ..model.errors import PrerequisiteError, ReplicationError
from ..model.limits import Limits
from ..model.tables import TableName
from ..mysql.connect import close_quietly, connect, query
from ..mysql.errors import translated
from ..mysql.session import Use
from ..values.sql import name_parts, quote_name

_READ_ONLY = 1792  # ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION


def table_name(endpoint: Endpoint, text: str) -> TableName:
    """The name written as `schema.table`, or as `table` for one in the endpoint's database."""
    *schema, table = name_parts(text)
    return TableName(".".join(schema) or endpoint.database, table)


@contextmanager
def reading_connection(endpoint: Endpoint, limits: Limits) -> Iterator[Connection[Any]]:
    """A connection for reading, closed at the end. Its transactions are read only, its times are in UTC.

    Errors of the driver inside the block are not translated.

    Raises:
        ReplicationError: the server is out of reach, or refuses us.
    """
    patient = replace(limits, control_timeout_s=limits.snapshot_timeout_s)
    connection = connect(endpoint, Use.CONTROL, patient)
    try:
        with translated(endpoint, "connecting"):
            query(connection, "SET SESSION TRANSACTION READ ONLY")
        yield connection
    finally:
        close_quietly(connection)


def read_rows(
    endpoint: Endpoint, limits: Limits, query_or_table: str, parameters: Sequence[Any] = ()
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of a query, or of a whole table (`table` or `schema.table`).

    Times are in UTC. Everything is read into memory.

    Raises:
        PrerequisiteError: the query would write.
    """
    text = query_or_table.strip()
    sql = text if any(c.isspace() for c in text) else f"SELECT * FROM {_quoted(text)}"
    try:
        with (
            reading_connection(endpoint, limits) as connection,
            translated(endpoint, "reading"),
            connection.cursor() as cursor,
        ):
            cursor.execute(sql, tuple(parameters) or None)
            names = [column[0] for column in cursor.description or ()]
            return names, list(cursor.fetchall())
    except ReplicationError as error:
        if error.code == _READ_ONLY:
            raise PrerequisiteError(f"{endpoint.label}: the query would write", code=_READ_ONLY) from None
        raise


def _quoted(table: str) -> str:
    *schema, name = map(quote_name, name_parts(table))
    return ".".join([*schema, name])
