"""The replication connection: asks a source for its log and yields the events' bytes.

mysql-replication speaks the protocol (registering, checksums, heartbeats, the dump commands for files,
MySQL's and MariaDB's GTIDs). Its own reconnecting is kept out of the way: packets are read here, from the one
connection that it opened, and any error ends the stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pymysql.connections import Connection
from pymysqlreplication import BinLogStreamReader

from .connect import ServerInfo, Use, close_quietly, connect, parameters, translated
from .model import Limits
from .pipeline import Endpoint
from .position import Position


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
        self._opened: Connection[Any] | None = None
        self.checksums = True

        def open_once(**_: Any) -> Connection[Any]:
            # The library must never get a second connection: it would go on from a place of its own.
            assert self._opened is None, "mysql-replication tried to reconnect"
            self._opened = connect(endpoint, Use.STREAM, limits)
            return self._opened

        by_gtid = start.gtid_set is not None
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
            pymysql_wrapper=open_once,
            enable_logging=False,
        )

    def __enter__(self) -> LogStream:
        try:
            with translated(self._endpoint, "opening the log"):
                self._reader._BinLogStreamReader__connect_to_stream()
                self.checksums = bool(self._reader._BinLogStreamReader__use_checksum)
        except BaseException:
            close_quietly(self._opened)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            # No farewell on a connection that is in the middle of a dump: the server takes the
            # closed socket for the end.
            self._opened._force_close()

    def events(self) -> Iterator[bytes]:
        """Events, header included, until the server says that it has sent everything."""
        assert self._opened is not None
        read_packet = self._opened._read_packet
        while True:
            with translated(self._endpoint, "reading the log"):
                packet = read_packet()
            data: bytes = packet._data
            if data[0] == 0xFE and len(data) < 9:
                return
            yield data[1:]
