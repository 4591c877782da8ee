"""Reading a relation's rows as cells, chunk by chunk in key order or all at once. I/O on one connection."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

from pymysql.connections import Connection

from ..model.tables import Row
from ..mysql.protocol import row_packets
from ..values.cells import cell_from_text
from ..values.text_rows import fields
from .relation import Relation

CHUNK_BYTES_MAX = 4 * 2**20  # with the last row of a chunk on top, however long it is

RowLists = Generator[list[Row], None, None]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows in key order; `after_key` are the last row's key literals, to go on from."""

    rows: list[Row]
    after_key: tuple[str, ...] | None
    last: bool


def read_chunk(
    connection: Connection[Any], relation: Relation, after_key: tuple[str, ...] | None, rows_max: int
) -> Chunk:
    """The next rows after a key: fewer than rows_max where they are long, and then the connection is closed."""
    sql = relation.select_sql + relation.after_sql(after_key, rows_max)
    packets = next(row_packets(connection, sql.encode("latin-1"), CHUNK_BYTES_MAX, rows_max + 1), [])
    cut = sum(map(len, packets)) >= CHUNK_BYTES_MAX
    if cut:
        connection._force_close()  # the rest is still to come on it
    if not packets:
        return Chunk([], after_key, last=True)
    key = relation.key_reader(relation.key_indexes)(packets[-1])
    assert key != after_key, "the chunk did not advance"
    rows = cells(relation, packets)
    return Chunk(rows, key, last=not cut and len(rows) < rows_max)


def read_all(connection: Connection[Any], relation: Relation, rows_max: int) -> Iterator[list[Row]]:
    """The whole relation by one statement, hence one consistent read, in lists of up to rows_max rows.

    Whoever stops before the end closes the connection.
    """
    for packets in row_packets(connection, relation.select_sql.encode("latin-1"), CHUNK_BYTES_MAX, rows_max):
        yield cells(relation, packets)


def cells(relation: Relation, packets: list[bytes]) -> list[Row]:
    """The rows of packets, which are forgotten."""
    convert = [cell_from_text(column) for column in relation.layout]
    rows: list[Row] = []
    packets.reverse()
    while packets:
        rows.append(tuple([f(value) for f, value in zip(convert, fields(packets.pop()), strict=True)]))
    return rows
