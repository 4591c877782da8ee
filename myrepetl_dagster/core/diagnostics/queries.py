"""Reads rows for user code: the connections and queries behind the Dagster resources.

Reads only, and knows nothing of mappings or checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pymysql.connections import Connection as Connection
from pymysql.cursors import Cursor

from ..config.pipeline import Endpoint
from ..model.errors import PrerequisiteError, ReplicationError
from ..model.limits import Limits
from ..model.tables import Column, TableName
from ..mysql.connect import close_quietly, connect, query
from ..mysql.errors import translated
from ..mysql.session import Use
from ..source.relation import result_column
from ..values.cells import cell_from_text
from ..values.column_types import FLOAT_TYPES
from ..values.python_values import to_python
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


def read_columns(
    endpoint: Endpoint, limits: Limits, query_or_table: str, parameters: Sequence[Any] = ()
) -> list[tuple[Column, list[Any]]]:
    """The columns of a query, or of a whole table (`table` or `schema.table`), each with its values.

    The values are those that transforms see (`values/python_values.py`). Times are in UTC. Everything is read into
    memory.

    Raises:
        PrerequisiteError: the query would write.
    """
    text = query_or_table.strip()
    is_query = any(c.isspace() for c in text)
    try:
        with (
            reading_connection(endpoint, limits) as connection,
            translated(endpoint, "reading"),
            connection.cursor() as cursor,
        ):
            # The driver's own conversions lose types: it knows no VECTOR, and takes a BIT for bytes.
            connection.use_unicode, connection.decoders = False, {}
            sql = text if is_query else _whole_table(cursor, _quoted(text))
            cursor.execute(sql, tuple(parameters) or None)
            columns = _columns(cursor)
            return list(zip(columns, _values(columns, cursor.fetchall()), strict=True))
    except ReplicationError as error:
        if error.code == _READ_ONLY:
            raise PrerequisiteError(f"{endpoint.label}: the query would write", code=_READ_ONLY) from None
        raise


def _whole_table(cursor: Cursor, table: str) -> str:
    """The SELECT of a table's visible columns. The server prints a FLOAT with six digits, unless it is computed."""
    cursor.execute(f"SELECT * FROM {table} LIMIT 0")
    names = [(quote_name(c.name), c.type in FLOAT_TYPES) for c in _columns(cursor)]
    return f"SELECT {', '.join(f'{n} * 1e0 AS {n}' if rounded else n for n, rounded in names)} FROM {table}"


def _columns(cursor: Cursor) -> list[Column]:
    result: Any = cursor._result
    return [result_column(field) for field in (result.fields if cursor.description else ())]


def _values(columns: Sequence[Column], rows: Sequence[tuple[Any, ...]]) -> Iterator[list[Any]]:
    for i, column in enumerate(columns):
        cell, value = cell_from_text(column), to_python(column)
        yield [value(cell(row[i])) for row in rows]


def _quoted(table: str) -> str:
    *schema, name = map(quote_name, name_parts(table))
    return ".".join([*schema, name])
