"""Result rows as the packets that the server sent, read past PyMySQL's row parsing. I/O on one connection.

PyMySQL sends the query and reads the result's header; the rows are read here, since its pure-Python parsing
of every field is most of a snapshot's CPU time, and a snapshot mostly does not look into its fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from pymysql.connections import Connection, MySQLResult
from pymysql.constants import COMMAND, CR
from pymysql.err import InterfaceError, OperationalError
from pymysql.protocol import MysqlPacket

_PACKET_MAX = 0xFFFFFF
_EOF, _ERROR = 0xFE, 0xFF
_LAST_BYTES = 9  # a packet that begins like the last one is a row if it is as long as this
_READ_BYTES = 256 * 1024


def row_packets(
    connection: Connection[Any], sql: bytes, bytes_max: int, rows_max: int | None = None
) -> Iterator[list[bytes]]:
    """Run a SELECT and yield its rows' packets in lists of about `bytes_max` bytes and no more than `rows_max` rows.

    The connection is of no use for anything else until the last list was taken; whoever stops before
    closes it.
    """
    connection._execute_command(COMMAND.COM_QUERY, sql)
    result = MySQLResult(connection)
    result.init_unbuffered_query()
    # From here on the result must not read for itself, not even when it is collected.
    result.unbuffered_active = False
    result.connection = None
    connection._result = None
    rows: list[bytes] = []
    size = 0
    for batch in packet_batches(connection):
        rows += batch
        size += sum(map(len, batch))
        del batch  # the list may be all that holds a row of 16 MiB
        while rows_max is not None and len(rows) > rows_max:
            yield rows[:rows_max]
            del rows[:rows_max]
            size = sum(map(len, rows))
        if size >= bytes_max:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def packet_batches(connection: Connection[Any], skip: int = 0) -> Iterator[list[bytes]]:
    """The server's packets until one that says end, in lists of what came at once.

    A list is given as soon as there is nothing more to read without waiting, so that nobody waits for
    what has come already.

    Args:
        skip: bytes to leave out at the beginning of each packet.

    Raises:
        pymysql.err.OperationalError: the connection broke (2013), or the server reported an error.
    """
    connection._sock.settimeout(connection._read_timeout)
    # `read1` reads past the file's small buffer, as much as the socket holds: many small reads are slow where
    # another thread computes, since after each one the interpreter has to be waited for.
    file = connection._rfile
    held = b""
    try:
        while True:
            batch, end, last = _cut(held, skip)
            if batch:
                yield batch
            if last is not None:
                connection._next_seq_id = (last[3] + 1) % 256
                if last[4] == _ERROR:
                    MysqlPacket(last[4:], connection.encoding).raise_for_error()
                return
            held = held[end:]
            if len(held) > 3 and _size(held, 0) > _READ_BYTES:
                yield [_long_packet(file, held, skip)]
                held = b""
            else:
                held += _some(file.read1(_READ_BYTES))
    except OSError as error:
        connection._force_close()
        message = f"Lost connection to MySQL server during query ({error})"
        raise OperationalError(CR.CR_SERVER_LOST, message) from error


def _size(data: bytes, at: int) -> int:
    return data[at] | data[at + 1] << 8 | data[at + 2] << 16


def _cut(data: bytes, skip: int) -> tuple[list[bytes], int, bytes | None]:
    """The whole packets at the beginning of `data`, where they end, and, with its header, one that says end."""
    packets: list[bytes] = []
    at, end = 0, len(data)
    while end - at > 3:
        start = at + 4
        stop = start + (data[at] | data[at + 1] << 8 | data[at + 2] << 16)
        if stop > end:
            break
        if stop > start and data[start] >= _EOF and (stop - start < _LAST_BYTES or data[start] == _ERROR):
            return packets, stop, data[at:stop]
        packets.append(data[start + skip : stop])
        at = stop
    return packets, at, None


def _long_packet(file: Any, held: bytes, skip: int) -> bytes:
    """A packet that is long, and of which this has come; 16 MiB and more come in several."""
    size = _size(held, 0)
    parts = [held[4 + skip :], _some(file.read(4 + size - len(held)), 4 + size - len(held))]
    while size == _PACKET_MAX:
        size = _size(_some(file.read(4), 4), 0)
        parts.append(_some(file.read(size), size))
    return b"".join(parts)


def _some(data: bytes, size: int = 1) -> bytes:
    if len(data) < size:
        raise OSError("the connection was closed")
    return data


def send_statement(
    connection: Connection[Any],
    pieces: Iterable[bytes | memoryview],
    size: int,
    command: int = COMMAND.COM_QUERY,
) -> None:
    """Send a statement given in pieces, and read its result, without ever putting the pieces together.

    PyMySQL copies a statement several times on its way out, which for one of 32 MiB is most of a run's memory.

    Args:
        size: of all the pieces, in bytes.
        command: what else it may be, with what that takes as pieces.
    """
    if connection._sock is None:
        raise InterfaceError(0, "")
    connection._result = None
    left, room, number = size + 1, 0, 0
    for piece in chain((bytes([command]),), pieces):
        view = memoryview(piece)
        while view:
            if not room:
                room = min(left, _PACKET_MAX)
                left -= room
                connection._write_bytes(room.to_bytes(3, "little") + bytes([number % 256]))
                number += 1
            part, view = view[:room], view[room:]
            connection._write_bytes(part)
            room -= len(part)
    if (size + 1) % _PACKET_MAX == 0:  # only a shorter packet is the last one
        connection._write_bytes(bytes([0, 0, 0, number % 256]))
        number += 1
    connection._next_seq_id = number % 256
    connection._read_query_result()
