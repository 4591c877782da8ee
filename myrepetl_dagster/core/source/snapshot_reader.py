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

CHUNK_BYTES_MAX = 4 * 2**20  # the last row of a chunk comes on top, however long it is

RowLists = Generator[list[Row], None, None]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows in key order.

    Args:
        after_key: the last row's key as literals. The next chunk begins after it.
        last: no row follows.
        bytes: how many the server sent.
    """

    rows: list[Row]
    after_key: tuple[str, ...] | None
    last: bool
    bytes: int = 0


def read_chunk(
    connection: Connection[Any], relation: Relation, after_key: tuple[str, ...] | None, rows_max: int
) -> Chunk:
    """Read the next rows after a key, up to rows_max of them.

    If the rows are long, fewer are read, and the connection is closed, since the rest is still to come on it.
    """
    sql = relation.select_sql + relation.after_sql(after_key, rows_max)
    packets = next(row_packets(connection, sql.encode("latin-1"), CHUNK_BYTES_MAX, rows_max + 1), [])
    size = sum(map(len, packets))
    cut = size >= CHUNK_BYTES_MAX
    if cut:
        connection._force_close()
    if not packets:
        return Chunk([], after_key, last=True)
    key = relation.key_reader(relation.key_indexes)(packets[-1])
    assert key != after_key, "the chunk did not advance"
    rows = cells(relation, packets)
    return Chunk(rows, key, last=not cut and len(rows) < rows_max, bytes=size)


def read_all(connection: Connection[Any], relation: Relation, rows_max: int) -> Iterator[Chunk]:
    """Read the whole relation by one statement, hence consistently, in chunks of up to rows_max rows, without keys.

    A caller that stops before the end has to close the connection.
    """
    for packets in row_packets(connection, relation.select_sql.encode("latin-1"), CHUNK_BYTES_MAX, rows_max):
        size = sum(map(len, packets))
        yield Chunk(cells(relation, packets), None, last=False, bytes=size)


def cells(relation: Relation, packets: list[bytes]) -> list[Row]:
    """The rows of packets as cells. The list of packets is emptied on the way, since both would take much memory."""
    convert = [cell_from_text(column) for column in relation.layout]
    rows: list[Row] = []
    packets.reverse()
    while packets:
        rows.append(tuple([f(value) for f, value in zip(convert, fields(packets.pop()), strict=True)]))
    return rows
