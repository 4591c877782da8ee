"""Packets of the client/server protocol: result rows and events as the server sent them, and long statements.

I/O on one connection. PyMySQL sends the query and reads the result's header. The rows are read here: PyMySQL would
parse every field in Python, which takes most of a snapshot's CPU time, while a snapshot looks into few fields.
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
_EOF_BYTES_MAX = 8  # a longer packet that begins as an EOF does is a row
_READ_BYTES = 256 * 1024


def row_packets(
    connection: Connection[Any], sql: bytes, bytes_max: int, rows_max: int | None = None
) -> Iterator[list[bytes]]:
    """Run a SELECT and yield its rows' packets, in lists of about `bytes_max` bytes and no more than `rows_max` rows.

    Nothing else can be done with the connection until the last list was taken. A caller that stops earlier has to
    close it.
    """
    connection._execute_command(COMMAND.COM_QUERY, sql)
    result = MySQLResult(connection)
    result.init_unbuffered_query()
    # From here on PyMySQL's result must not read from the connection, not even when it is garbage-collected.
    result.unbuffered_active = False
    result.connection = None
    connection._result = None
    rows: list[bytes] = []
    size = 0
    for batch in packet_batches(connection):
        rows += batch
        size += sum(map(len, batch))
        del batch  # it may hold a row of 16 MiB
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
    """The server's packets until its EOF, in lists of what came at once.

    A list is yielded as soon as there is nothing more to read without waiting.

    Args:
        skip: how many bytes to leave out at the beginning of each packet.

    Raises:
        pymysql.err.OperationalError: the connection broke (2013), or the server reported an error.
    """
    connection._sock.settimeout(connection._read_timeout)
    # `read1` reads as much as the socket holds, past the file's small buffer. Many small reads are slow while another
    # thread computes, since this thread has to wait for the interpreter after each of them.
    file = connection._rfile
    received = b""
    try:
        while True:
            batch, end, last = _whole_packets(received, skip)
            if batch:
                yield batch
            if last is not None:
                connection._next_seq_id = (last[3] + 1) % 256
                if last[4] == _ERROR:
                    MysqlPacket(last[4:], connection.encoding).raise_for_error()
                return
            received = received[end:]
            if len(received) > 3 and _size(received, 0) > _READ_BYTES:
                yield [_long_packet(file, received, skip)]
                received = b""
            else:
                received += _not_closed(file.read1(_READ_BYTES))
    except OSError as error:
        connection._force_close()
        message = f"Lost connection to MySQL server during query ({error})"
        raise OperationalError(CR.CR_SERVER_LOST, message) from error


def _size(data: bytes, at: int) -> int:
    """The size that a packet's header gives."""
    return data[at] | data[at + 1] << 8 | data[at + 2] << 16


def _whole_packets(data: bytes, skip: int) -> tuple[list[bytes], int, bytes | None]:
    """(The whole packets at the beginning of `data`, where they end, the EOF or error after them with its header)."""
    packets: list[bytes] = []
    at, end = 0, len(data)
    while end - at > 3:
        start = at + 4
        stop = start + (data[at] | data[at + 1] << 8 | data[at + 2] << 16)
        if stop > end:
            break
        if stop > start and data[start] >= _EOF and (stop - start <= _EOF_BYTES_MAX or data[start] == _ERROR):
            return packets, stop, data[at:stop]
        packets.append(data[start + skip : stop])
        at = stop
    return packets, at, None


def _long_packet(file: Any, received: bytes, skip: int) -> bytes:
    """A long packet of which the beginning was received. One of 16 MiB and more comes in several packets."""
    size = _size(received, 0)
    parts = [received[4 + skip :], _not_closed(file.read(4 + size - len(received)), 4 + size - len(received))]
    while size == _PACKET_MAX:
        size = _size(_not_closed(file.read(4), 4), 0)
        parts.append(_not_closed(file.read(size), size))
    return b"".join(parts)


def _not_closed(data: bytes, size_min: int = 1) -> bytes:
    """What was read, if the other side has not closed the connection before."""
    if len(data) < size_min:
        raise OSError("the connection was closed")
    return data


def send_statement(
    connection: Connection[Any],
    pieces: Iterable[bytes | memoryview],
    size: int,
    command: int = COMMAND.COM_QUERY,
) -> None:
    """Send a statement in pieces and read its result. The pieces are never put together.

    PyMySQL copies a statement several times before it is sent. For one of 32 MiB that takes most of a run's memory.

    Args:
        size: the size of all pieces together, in bytes.
        command: the protocol's command whose content the pieces are.
    """
    if connection._sock is None:
        raise InterfaceError(0, "")
    connection._result = None
    left, room, number = size + 1, 0, 0  # bytes to send, of those in the present packet, the next packet's number
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
    if (size + 1) % _PACKET_MAX == 0:  # the last packet has to be a shorter one
        connection._write_bytes(bytes([0, 0, 0, number % 256]))
        number += 1
    connection._next_seq_id = number % 256
    connection._read_query_result()
