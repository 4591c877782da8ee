"""The replication connection. It asks a source for its log and yields the events' bytes.

mysql-replication speaks the protocol: checksums, heartbeats, the dump commands for files and for GTIDs of MySQL. It
does not know tagged GTIDs, so the command for these is made here. Its own way to connect again is not used: packets
are read here, from the one connection that was opened, and any error ends the stream.
"""

from __future__ import annotations

import logging
import secrets
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pymysql.connections import Connection
from pymysqlreplication import BinLogStreamReader

from ..config.pipeline import Endpoint
from ..model.gtid import GtidSet
from ..model.limits import Limits
from ..model.position import Position
from ..mysql.connect import close_quietly, parameters, query
from ..mysql.connections import Connections
from ..mysql.errors import translated
from ..mysql.protocol import packet_batches
from ..mysql.server_info import ServerInfo
from ..mysql.session import Use, heartbeat_s

_COM_BINLOG_DUMP_GTID = 0x1E
_NON_BLOCKING, _THROUGH_GTID = 0x01, 0x04
_FIRST_OFFSET = 4
_LOCK_WAIT_S = 1  # long enough for a stream of the same run that has just ended

log = logging.getLogger("myrepetl")


def random_server_id() -> int:
    """A number for a reader of the log that no other has. It is high, where people do not number their servers."""
    return 2**31 + secrets.randbelow(2**30)


class LogStream:
    """One dump of a source's log, from a position to its present end, or without an end if `follow`.

    Args:
        start: where to start: by the GTID set if it has one, else by file and offset.
        server_id: the number of the reader that the pipeline file gives. None: a random one. If two readers have one
            number, the server drops the older one. So a stream holds a lock on the number, and takes a random one if
            another stream holds it: that of another run, or of a killed run that the server still takes for alive.
        connections: those of the run. The stream's own is opened among them.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        info: ServerInfo,
        limits: Limits,
        start: Position,
        server_id: int | None = None,
        follow: bool = False,
        connections: Connections | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._info = info
        self._limits = limits
        self._start = start
        self._chosen_id = server_id
        self._follow = follow
        self._connections = connections or Connections()
        self._opened: Connection[Any] | None = None
        self._handed_over = False

    def _open(self) -> Connection[Any]:
        self._opened = self._connections.open(self._endpoint, Use.STREAM, self._limits, self._info)
        # A server sends checksums only to a reader that asks for them. They are asked for whatever binlog_checksum is
        # now, since older files may have been written with the other value; each file says whether it has them.
        query(self._opened, "SET @master_binlog_checksum='CRC32', @source_binlog_checksum='CRC32'")
        period = int(heartbeat_s(self._endpoint, self._limits) * 1e9)
        query(self._opened, f"SET @master_heartbeat_period={period}, @source_heartbeat_period={period}")
        return self._opened

    def _server_id(self, connection: Connection[Any]) -> int:
        """The chosen number, unless another stream has it. The lock ends with this connection, as the dump does."""
        if self._chosen_id is not None:
            name = f"myrepetl_dagster server_id {self._chosen_id}"
            if query(connection, "SELECT GET_LOCK(%s, %s)", (name, _LOCK_WAIT_S))[0][0] == 1:
                return self._chosen_id
            log.info("%s: server_id %d is in use by another run", self._endpoint.label, self._chosen_id)
        return random_server_id()

    def _hand_over(self, **_: Any) -> Connection[Any]:
        # The library must never get a second connection: it would go on from a place that it remembers.
        assert self._opened is not None and not self._handed_over, "mysql-replication tried to reconnect"  # noqa: PT018
        self._handed_over = True
        return self._opened

    def _ask(self, server_id: int) -> None:
        """Ask for the log by the library."""
        gtid_set = self._start.gtid_set
        reader = BinLogStreamReader(
            connection_settings=parameters(self._endpoint, Use.STREAM, self._limits),
            server_id=server_id,
            resume_stream=True,
            blocking=self._follow,
            log_file=self._start.file if gtid_set is None else None,
            log_pos=self._start.offset_bytes if gtid_set is None else None,
            auto_position=None if gtid_set is None else str(gtid_set),
            is_mariadb=False,  # True would ignore file and offset, unless a MariaDB GTID is given
            slave_heartbeat=heartbeat_s(self._endpoint, self._limits),
            pymysql_wrapper=self._hand_over,
            enable_logging=False,
        )
        reader._BinLogStreamReader__connect_to_stream()

    def _ask_by_tagged(self, gtid_set: GtidSet, connection: Connection[Any], server_id: int) -> None:
        """Ask for all transactions that are not in a set with tagged GTIDs."""
        encoded = gtid_set.encoded()
        flags = _THROUGH_GTID | (0 if self._follow else _NON_BLOCKING)
        # The file's name is empty: the set alone says where to start.
        asked = struct.pack("<BHIIQI", _COM_BINLOG_DUMP_GTID, flags, server_id, 0, _FIRST_OFFSET, len(encoded))
        packet = asked + encoded
        connection._write_bytes(struct.pack("<I", len(packet)) + packet)
        connection._next_seq_id = 1

    def __enter__(self) -> LogStream:
        try:
            with translated(self._endpoint, "opening the log"):
                connection = self._open()
                server_id = self._server_id(connection)
                if self._start.gtid_set is not None and self._start.gtid_set.tagged:
                    self._ask_by_tagged(self._start.gtid_set, connection, server_id)
                else:
                    self._ask(server_id)
                # With this option the connection is reset when it is closed or the process dies. Without it, a server
                # that has more to send goes on asking for room until the reader's system has forgotten the connection,
                # which takes a minute.
                connection._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except BaseException:
            close_quietly(self._opened)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            # Nothing may be sent in the middle of a dump. The server takes the closed socket for the end.
            self._opened._force_close()

    def events(self) -> Iterator[list[bytes]]:
        """The events with their headers, in lists of what has come at once, until the server has sent all."""
        assert self._opened is not None
        with translated(self._endpoint, "reading the log"):
            yield from packet_batches(self._opened, skip=1)  # the protocol's OK byte

    def interrupt(self) -> None:
        """End a read that waits for the source. Another thread may call this."""
        if self._opened is not None and self._opened._sock is not None:
            with suppress(OSError):
                self._opened._sock.shutdown(socket.SHUT_RDWR)
