"""Result rows as the packets that the server sent, read past PyMySQL's row parsing. I/O on one connection.

PyMySQL sends the query and reads the result's header; the rows are read here, since its pure-Python parsing
of every field is most of a snapshot's CPU time, and a snapshot mostly does not look into its fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pymysql.connections import Connection, MySQLResult
from pymysql.constants import COMMAND, CR
from pymysql.err import OperationalError
from pymysql.protocol import MysqlPacket

_PACKET_MAX = 0xFFFFFF
_EOF, _ERROR, NULL = 0xFE, 0xFF, 0xFB


def row_packets(connection: Connection[Any], sql: bytes, bytes_max: int) -> Iterator[list[bytes]]:
    """Run a SELECT and yield its rows' packets in lists of about `bytes_max` bytes.

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
    for packet in packets(connection):
        rows.append(packet)
        size += len(packet)
        if size >= bytes_max:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def packets(connection: Connection[Any]) -> Iterator[bytes]:
    """The server's packets until one that says end.

    Raises:
        pymysql.err.OperationalError: the connection broke (2013), or the server reported an error.
    """
    connection._sock.settimeout(connection._read_timeout)
    while True:
        data, number = _packet(connection)
        first = data[0] if data else 0
        if first >= _EOF:
            if first == _EOF and len(data) < 9:
                connection._next_seq_id = (number + 1) % 256
                return
            if first == _ERROR:
                MysqlPacket(data, connection.encoding).raise_for_error()
        yield data


def _packet(connection: Connection[Any]) -> tuple[bytes, int]:
    """One packet and its number; 16 MiB and more come in several."""
    read = connection._rfile.read
    whole = b""
    try:
        while True:
            header = read(4)
            length = int.from_bytes(header[:3], "little")
            data = read(length)
            if len(header) < 4 or len(data) < length:
                raise OSError("the connection was closed")
            if length < _PACKET_MAX:
                return (whole + data if whole else data), header[3]
            whole += data
    except OSError as error:
        connection._force_close()
        message = f"Lost connection to MySQL server during query ({error})"
        raise OperationalError(CR.CR_SERVER_LOST, message) from error


def fields(packet: bytes, skip: int = 0) -> list[bytes | None]:
    """The fields of a row's packet, NULL as None; without the first `skip`."""
    found: list[bytes | None] = []
    at, end = 0, len(packet)
    while at < end:
        length = packet[at]
        if length < NULL:
            at += 1
        elif length == NULL:
            found.append(None)
            at += 1
            continue
        else:
            size = _LENGTH_BYTES[length]
            length = int.from_bytes(packet[at + 1 : at + 1 + size], "little")
            at += 1 + size
        found.append(packet[at : at + length])
        at += length
    return found[skip:]


_LENGTH_BYTES = {0xFC: 2, 0xFD: 3, 0xFE: 8}


def first_field(packet: bytes) -> bytes:
    """The first field of a row's packet.

    Raises:
        ValueError: it is NULL.
    """
    length = packet[0]
    if length < NULL:
        return packet[1 : 1 + length]
    if length == NULL:
        raise ValueError("the first field is NULL")
    start = 1 + _LENGTH_BYTES[length]
    return packet[start : start + int.from_bytes(packet[1:start], "little")]
