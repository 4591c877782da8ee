"""MariaDB's bulk execution and prepared statements over a PyMySQL connection, which has neither. I/O on one connection.

The server offers bulk execution in bits of its greeting that MySQL leaves empty, and a client asks for it in the same
bits of its response: https://mariadb.com/kb/en/connection/#capabilities
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Any

from pymysql.connections import Connection
from pymysql.constants import COMMAND
from pymysql.protocol import MysqlPacket

from ..values.bulk_parameters import BLOB, BulkRows
from ..values.length_encoding import encoded_length
from .protocol import send_statement

# Places in the greeting, counted from the end of the server's version: the lowest capabilities, and MariaDB's own.
_CAPABILITIES_AT, _MARIADB_CAPABILITIES_AT = 13, 27
_IS_MYSQL = 1  # a capability; if it is set, MariaDB's own capabilities mean nothing
_BULK = 1 << 2  # one of MariaDB's own
# A client's response begins with: capabilities, packet size, character set, empty bytes, MariaDB's own capabilities.
_RESPONSE = struct.Struct("<IIB19sI")
_BULK_EXECUTE = 0xFA  # a command
_SEND_TYPES = 128
BULK_HEAD_BYTES = 6  # a bulk execution's bytes before the parameters' types
EXECUTE_HEAD_BYTES = 32  # more than an execution has beside the bytes of two parameters
_EXECUTE = struct.Struct("<IBI")  # the statement, no cursor, once
_STATEMENTS_MAX = 256  # prepared at the same time on one connection
# Of each series the first release whose bulk execution loses no rows where a trigger of the table writes. Before, the
# trigger's statements took the parameters of the next rows (MDEV-24411,
# https://github.com/MariaDB/server/commit/8b169949d6). Other series before the last have none.
_SOUND_SINCE = {(10, 5): 26, (10, 6): 19, (10, 11): 9, (11, 4): 3, (11, 5): 2}
_SOUND_SERIES = (11, 6)
_VERSION = re.compile(rb"(\d+)\.(\d+)\.(\d+)-MariaDB", re.IGNORECASE)


class BulkConnection(Connection):  # type: ignore[misc, type-arg, unused-ignore]
    """A connection to a MariaDB server that asks for bulk execution."""

    takes_bulk = False  # whether the server offers it, and loses nothing by it
    _greeting: bytes | None = None
    _answered = False

    def _read_packet(self, packet_type: type = MysqlPacket) -> Any:
        packet = super()._read_packet(packet_type)
        if self._greeting is None:
            self._greeting = packet.get_all_data()
            self.takes_bulk = _offers_bulk(self._greeting) and _is_sound(self._greeting)
        return packet

    def _request_authentication(self) -> None:
        try:
            super()._request_authentication()
        finally:
            self._answered = True

    def write_packet(self, payload: bytes) -> None:
        if self.takes_bulk and not self._answered:
            payload = _asking_for_bulk(payload)
        super().write_packet(payload)

    # ---- statements ----
    def bulk(self, sql: bytes, rows: BulkRows, start: int, end: int) -> None:
        """Execute a statement with the parameters of some rows.

        Args:
            start, end: which of the rows.

        Raises:
            pymysql.err.MySQLError: the server refuses it. Nothing of it is left.
        """
        statement = self._prepared(sql)
        head = struct.pack("<IH", statement, _SEND_TYPES) + rows.types
        self._result = None
        self._execute_command(_BULK_EXECUTE, head + b"".join(rows.rows[start:end]))
        self._read_query_result()

    def execute(self, sql: bytes, values: Sequence[bytes]) -> None:
        """Execute a statement once, with byte strings as its parameters.

        Raises:
            pymysql.err.MySQLError: the server refuses it.
        """
        no_nulls, types_follow = bytes((len(values) + 7) // 8), b"\1"
        head = _EXECUTE.pack(self._prepared(sql), 0, 1) + no_nulls + types_follow
        pieces = [head + bytes([BLOB, 0]) * len(values)]
        for value in values:
            pieces += (encoded_length(len(value)), value)
        send_statement(self, pieces, sum(map(len, pieces)), COMMAND.COM_STMT_EXECUTE)

    def _prepared(self, sql: bytes) -> int:
        prepared: dict[bytes, int] = self.__dict__.setdefault("_statements", {})
        if sql in prepared:
            return prepared[sql]
        if len(prepared) >= _STATEMENTS_MAX:
            for statement in prepared.values():
                self._execute_command(COMMAND.COM_STMT_CLOSE, struct.pack("<I", statement))  # has no answer
            prepared.clear()
        self._result = None
        self._execute_command(COMMAND.COM_STMT_PREPARE, sql)
        _, statement, columns, parameters = struct.unpack_from("<BIHH", self._read_packet().get_all_data())
        for count in (parameters, columns):
            for _ in range(count + 1 if count else 0):  # the definitions, and their end
                self._read_packet()
        prepared[sql] = statement
        return int(statement)


def _offers_bulk(greeting: bytes) -> bool:
    at = greeting.index(b"\0", 1) + 1  # after the protocol's number and the version
    own_at = at + _MARIADB_CAPABILITIES_AT
    if len(greeting) < own_at + 4 or greeting[at + _CAPABILITIES_AT] & _IS_MYSQL:
        return False
    return bool(int.from_bytes(greeting[own_at : own_at + 4], "little") & _BULK)


def _is_sound(greeting: bytes) -> bool:
    found = _VERSION.search(greeting.partition(b"\0")[0])
    if found is None:
        return False
    major, minor, patch = map(int, found.groups())
    return (major, minor) >= _SOUND_SERIES or patch >= _SOUND_SINCE.get((major, minor), patch + 1)


def _asking_for_bulk(payload: bytes) -> bytes:
    """A client's response to the greeting, changed so that it asks for bulk execution; other packets as they are."""
    if len(payload) < _RESPONSE.size:
        return payload
    capabilities, packet_size, charset, empty, own = _RESPONSE.unpack_from(payload)
    if any(empty) or own or not capabilities & _IS_MYSQL:
        return payload
    head = _RESPONSE.pack(capabilities & ~_IS_MYSQL, packet_size, charset, empty, _BULK)
    return head + payload[_RESPONSE.size :]
