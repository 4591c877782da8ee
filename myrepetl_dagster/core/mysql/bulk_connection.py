"""MariaDB's bulk execution over a PyMySQL connection, which does not know it. I/O on one connection.

The server offers it in bits of its greeting that MySQL leaves empty, to clients that answer there in turn:
https://mariadb.com/kb/en/connection/#capabilities
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from pymysql.connections import Connection
from pymysql.constants import COMMAND
from pymysql.protocol import MysqlPacket

from ..values.bulk_parameters import BLOB, BulkRows
from ..values.length_encoding import encoded_length
from .protocol import send_statement

# Of the greeting, after the server's version and its end: where the capabilities' two halves and MariaDB's own are.
_LOW_AT, _OWN_AT = 13, 27
_IS_MYSQL = 1  # a capability: MariaDB's own ones are not looked at
_BULK = 1 << 2
_RESPONSE = struct.Struct("<IIB19sI")  # how a client's answer begins: capabilities, packet size, character set, own
_BULK_EXECUTE = 0xFA
_SEND_TYPES = 128
BULK_HEAD_BYTES = 6  # of an execution, before the parameters' types
EXECUTE_HEAD_BYTES = 32  # and more, of an execution with few parameters
_EXECUTE = struct.Struct("<IBI")  # the statement, no cursor, once
_STATEMENTS_MAX = 256  # prepared at the same time, by one connection


class BulkConnection(Connection):  # type: ignore[misc, type-arg, unused-ignore]
    """A connection to a MariaDB server that asks for bulk execution; `takes_bulk` tells whether it has it."""

    takes_bulk = False
    _greeting: bytes | None = None
    _answered = False

    def _read_packet(self, packet_type: type = MysqlPacket) -> Any:
        packet = super()._read_packet(packet_type)
        if self._greeting is None:
            self._greeting = packet.get_all_data()
            self.takes_bulk = _offers_bulk(self._greeting)
        return packet

    def _request_authentication(self) -> None:
        try:
            super()._request_authentication()
        finally:
            self._answered = True

    def write_packet(self, payload: bytes) -> None:
        if self.takes_bulk and not self._answered:
            payload = _asking(payload)
        super().write_packet(payload)

    # ---- statements ----
    def bulk(self, sql: bytes, rows: BulkRows, start: int, end: int) -> None:
        """Execute a statement with some of the rows as its parameters.

        Raises:
            pymysql.err.MySQLError: the server refuses it; what it did is undone.
        """
        statement = self._prepared(sql)
        head = struct.pack("<IH", statement, _SEND_TYPES) + rows.types
        self._result = None
        self._execute_command(_BULK_EXECUTE, head + b"".join(rows.rows[start:end]))
        self._read_query_result()

    def execute(self, sql: bytes, values: Sequence[bytes]) -> None:
        """Execute a statement once with strings of bytes as its parameters.

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
        known: dict[bytes, int] = self.__dict__.setdefault("_statements", {})
        if sql in known:
            return known[sql]
        if len(known) >= _STATEMENTS_MAX:
            for statement in known.values():
                self._execute_command(COMMAND.COM_STMT_CLOSE, struct.pack("<I", statement))  # it has no answer
            known.clear()
        self._result = None
        self._execute_command(COMMAND.COM_STMT_PREPARE, sql)
        _, found, columns, parameters = struct.unpack_from("<BIHH", self._read_packet().get_all_data())
        for count in (parameters, columns):
            for _ in range(count + 1 if count else 0):  # the definitions, and their end
                self._read_packet()
        known[sql] = found
        return int(found)


def _offers_bulk(greeting: bytes) -> bool:
    at = greeting.index(b"\0", 1) + 1  # behind protocol and version
    if len(greeting) < at + _OWN_AT + 4 or greeting[at + _LOW_AT] & _IS_MYSQL:
        return False
    return bool(int.from_bytes(greeting[at + _OWN_AT : at + _OWN_AT + 4], "little") & _BULK)


def _asking(payload: bytes) -> bytes:
    """A client's answer to the greeting, that asks for bulk execution; anything else as it is."""
    if len(payload) < _RESPONSE.size:
        return payload
    capabilities, packet_size, charset, empty, own = _RESPONSE.unpack_from(payload)
    if any(empty) or own or not capabilities & _IS_MYSQL:
        return payload
    asked = _RESPONSE.pack(capabilities & ~_IS_MYSQL, packet_size, charset, empty, _BULK)
    return asked + payload[_RESPONSE.size :]
