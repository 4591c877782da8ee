"""The replication connection: asks a source for its log and yields the events' bytes.

mysql-replication speaks the protocol (checksums, heartbeats, the dump commands for files and for MySQL's GTIDs;
only for tagged ones, which it does not know, the command is made here). Its own reconnecting is kept out of
the way: packets are read here, from the one connection that was opened, and any error ends the stream.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pymysql.connections import Connection
from pymysqlreplication import BinLogStreamReader

from .connect import ServerInfo, Use, close_quietly, connect, parameters, query, translated
from .model import Limits
from .pipeline import Endpoint
from .position import GtidSet, Position
from .wire import packet_batches

_COM_BINLOG_DUMP_GTID = 0x1E
_NON_BLOCKING, _THROUGH_GTID = 0x01, 0x04
_FIRST_OFFSET = 4


class LogStream:
    """One dump of a source's log, from a position to the present end (or for ever, if `follow`).

    Args:
        start: where to start. MySQL with GTIDs: by the set; else by file and offset.
        server_id: this reader's own, unique among the source's replicas.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        info: ServerInfo,
        limits: Limits,
        start: Position,
        server_id: int,
        follow: bool = False,
    ) -> None:
        self._endpoint = endpoint
        self._limits = limits
        self._server_id = server_id
        self._follow = follow
        self._opened: Connection[Any] | None = None
        self._tagged = start.gtid_set if start.gtid_set is not None and start.gtid_set.tagged else None
        by_gtid = start.gtid_set is not None and self._tagged is None
        self._reader = BinLogStreamReader(
            connection_settings=parameters(endpoint, Use.STREAM, limits),
            server_id=server_id,
            resume_stream=True,
            blocking=follow,
            log_file=None if by_gtid else start.file,
            log_pos=None if by_gtid else start.offset_bytes,
            auto_position=str(start.gtid_set) if by_gtid else None,
            is_mariadb=False,  # True would ignore file and offset, unless a MariaDB GTID is given
            slave_heartbeat=limits.stream_heartbeat_s,
            pymysql_wrapper=self._open_once,
            enable_logging=False,
        )

    def _open_once(self, **_: Any) -> Connection[Any]:
        # The library must never get a second connection: it would go on from a place of its own.
        assert self._opened is None, "mysql-replication tried to reconnect"
        self._opened = connect(self._endpoint, Use.STREAM, self._limits)
        # Whatever binlog_checksum is now: older files may have been written with the other value, and a server
        # does not send checksums to a reader that has not asked for them. Each file says what it has.
        query(self._opened, "SET @master_binlog_checksum='CRC32', @source_binlog_checksum='CRC32'")
        period = int(self._limits.stream_heartbeat_s * 1e9)
        query(self._opened, f"SET @master_heartbeat_period={period}, @source_heartbeat_period={period}")
        return self._opened

    def _dump(self, gtid_set: GtidSet) -> None:
        """Ask for what is not in the set."""
        connection = self._open_once()
        encoded = gtid_set.encoded()
        flags = _THROUGH_GTID | (0 if self._follow else _NON_BLOCKING)
        # No file name: by the set alone.
        asked = struct.pack("<BHIIQI", _COM_BINLOG_DUMP_GTID, flags, self._server_id, 0, _FIRST_OFFSET, len(encoded))
        packet = asked + encoded
        connection._write_bytes(struct.pack("<I", len(packet)) + packet)
        connection._next_seq_id = 1

    def __enter__(self) -> LogStream:
        try:
            with translated(self._endpoint, "opening the log"):
                if self._tagged is None:
                    self._reader._BinLogStreamReader__connect_to_stream()
                else:
                    self._dump(self._tagged)
        except BaseException:
            close_quietly(self._opened)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            # No farewell on a connection that is in the middle of a dump: the server takes the
            # closed socket for the end.
            self._opened._force_close()

    def events(self) -> Iterator[list[bytes]]:
        """Events, header included, in lists of what has come at once, until the server says that it has sent all."""
        assert self._opened is not None
        with translated(self._endpoint, "reading the log"):
            yield from packet_batches(self._opened, skip=1)  # the protocol's OK byte

    def interrupt(self) -> None:
        """Make a read that waits for the source end (from another thread)."""
        if self._opened is not None and self._opened._sock is not None:
            with suppress(OSError):
                self._opened._sock.shutdown(socket.SHUT_RDWR)
