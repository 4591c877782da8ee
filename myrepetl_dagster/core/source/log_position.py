"""Positions in a source's log: its end, the low watermark of a copy, and the position that a file and offset stand for.

`safe_watermark` is the heart. Every transaction before a safe watermark is visible to all later reads. The newest
position that a server shows is not safe, on either flavour: a transaction enters the binary log before it becomes
visible (`tests/server/snapshot/test_visibility.py` shows the difference).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

from pymysql.cursors import SSCursor

from ..config.pipeline import Endpoint
from ..model.errors import PositionLost, PrerequisiteError, SourceLost
from ..model.gtid import GtidSet
from ..model.limits import Limits
from ..model.position import Position
from ..model.tables import TableName
from ..mysql.connect import query
from ..mysql.connections import Connections
from ..mysql.server import Server
from ..mysql.session import lock_wait_s
from ..values.sql import quote_name
from .binlog_stream import LogStream
from .log_identity import SameLog
from .position_check import PositionCheck, file_lost, log_sizes, mariadb_gtid

_FIRST_OFFSET = 4  # where the first event of every binlog file begins


class SourceLog(Server):
    """A source server with its log. Positions are asked for over the control connection."""

    describes_hidden = True

    def __init__(self, endpoint: Endpoint, limits: Limits, connections: Connections | None = None) -> None:
        super().__init__(endpoint, limits, connections)
        self._same_log = SameLog(self._events)
        self._position_check = PositionCheck(self, self._same_log)
        self._visible: Position | None = None  # the newest watermark that holds for every table

    # ---- positions ----
    def head(self) -> Position:
        """The end of the log. It comes after every transaction that any reader can see now."""
        self.wake()
        with self.doing("reading the log's end"):
            return self._head()

    def _log_status(self) -> tuple[Any, ...]:
        newer = not self.info.is_mariadb and self.info.version >= (8, 4, 0)
        rows = query(self.control, "SHOW BINARY LOG STATUS" if newer else "SHOW MASTER STATUS")
        if not rows:
            raise PrerequisiteError(
                f"source {self.endpoint.name!r} writes no binary log", hint="Start it with --log-bin."
            )
        return rows[0]

    def _head(self) -> Position:
        info = self.info
        status = self._log_status()
        file, offset = status[0], int(status[1])
        gtid_set = GtidSet.parse(status[4]) if info.gtid_mode else None
        # Without MariaDB's GTID, since the server would read its file from the beginning to find it: a head is compared
        # by file and offset alone.
        return Position(file, offset, gtid_set, "", info.identity)

    def safe_watermark(self, tables: Sequence[TableName], earlier: Position | None = None) -> Position:
        """A position such that every earlier change of the tables is visible to all later reads.

        MariaDB: the position of a consistent snapshot. MySQL with GTIDs: `gtid_executed`, which a transaction enters
        after it is visible. MySQL without GTIDs: the log's end under read locks on the tables. The locks are granted
        when every transaction that wrote the tables has ended, and are held only while the position is asked for.

        Args:
            earlier: a watermark that was taken for other tables. It is returned if it holds for these as well: a
                watermark may be older than necessary, since the log repeats what the copy has seen.

        Raises:
            PrerequisiteError: the account may not lock the tables.
        """
        if earlier is not None and self.one_watermark:
            return earlier
        with self.doing("taking the low watermark"):
            if self.info.is_mariadb:
                head = position = self._snapshot_position()
            elif self.info.gtid_mode:
                head = self._head()
                executed = query(self.control, "SELECT @@global.gtid_executed")[0][0]
                # The head may be past transactions that are not executed yet, so the start of its file is taken.
                position = Position(head.file, _FIRST_OFFSET, GtidSet.parse(executed), "", self.info.identity)
            else:
                head = position = self._locked_position(tables)
            birth_unix_s, mark = self._same_log.beginning(head)
            position = replace(position, birth_unix_s=birth_unix_s, mark=mark)
        if self.one_watermark:
            self._visible = position
        return position

    @property
    def one_watermark(self) -> bool:
        """Whether a watermark also holds for tables that it was not taken for. One that rests on locks does not."""
        return self.info.is_mariadb or self.info.gtid_mode

    def _snapshot_position(self) -> Position:
        query(self.control, "START TRANSACTION WITH CONSISTENT SNAPSHOT")
        try:
            status = dict(query(self.control, "SHOW STATUS LIKE 'binlog_snapshot_%'"))
            file, offset = status["Binlog_snapshot_file"], int(status["Binlog_snapshot_position"])
        finally:
            query(self.control, "ROLLBACK")
        if not file:
            raise PrerequisiteError(
                f"source {self.endpoint.name!r} writes no binary log", hint="Start it with --log-bin."
            )
        return Position(file, offset, None, mariadb_gtid(self, file, offset), self.info.identity)

    def _locked_position(self, tables: Sequence[TableName]) -> Position:
        locks = ", ".join(f"{quote_name(t.schema)}.{quote_name(t.table)} READ" for t in sorted(set(tables)))
        wait_s = lock_wait_s(self.endpoint, self.limits, "lock_wait_timeout")
        query(self.control, f"SET SESSION lock_wait_timeout={wait_s}")
        query(self.control, f"LOCK TABLES {locks}")
        try:
            return self._head()
        finally:
            query(self.control, "UNLOCK TABLES")

    def wait_visible(self, position: Position, tables: Sequence[TableName]) -> None:
        """Wait until reads see everything before a position that the log has already delivered.

        Raises:
            SourceLost: it did not become visible in time (the source stalls in a commit).
        """
        if self._visible is not None and self._visible.covers(position):
            return
        deadline = time.monotonic() + self.limits.control_timeout_s
        while not self.safe_watermark(tables).covers(position):
            if time.monotonic() > deadline:
                raise SourceLost(f"source {self.endpoint.name!r}: {position} does not become visible")
            time.sleep(0.01)

    def position_at(self, file: str, offset_bytes: int) -> Position:
        """The position that a file and an offset of this server stand for (`replication.log_file`, `log_pos`).

        Raises:
            PositionLost: the server has no such place in its log.
        """
        with self.doing(f"looking for {file}:{offset_bytes} in the log"):
            position = Position(file, offset_bytes, None, "", self.info.identity)
            problem = file_lost(self, position)
            if problem:
                raise PositionLost(f"source {self.endpoint.name!r}: {file}:{offset_bytes}: {problem}")
            if self.info.is_mariadb:
                return replace(position, mariadb_gtid=mariadb_gtid(self, file, offset_bytes))
            if self.info.gtid_mode:
                return replace(position, gtid_set=self._gtids_before(file, offset_bytes))
            return position

    def _gtids_before(self, file: str, offset_bytes: int) -> GtidSet:
        """The GTIDs before a place: those before its file, those in the file, and those that no file holds.

        GTIDs that no file holds come from SET GLOBAL gtid_purged = '+…'.
        """
        purged = GtidSet.parse(query(self.control, "SELECT @@global.gtid_purged")[0][0])
        found = GtidSet({})
        with self.control.cursor(SSCursor) as cursor:
            cursor.execute("SHOW BINLOG EVENTS IN %s", (file,))
            for _, _, kind, _, end_offset_bytes, text in cursor:
                if kind == "Previous_gtids":
                    found = GtidSet.parse(text)
                elif kind in ("Gtid", "Gtid_tagged") and end_offset_bytes <= offset_bytes:
                    found = found.union(GtidSet.parse(text.split("'")[1]))
        return found.union(purged)

    # ---- what the log holds ----
    def log_name(self, name: TableName) -> TableName:
        """A table's name as the log has it: in lower case, if the server compares names without case."""
        return name.in_lower_case() if self.info.names_without_case else name

    @contextmanager
    def _events(self, start: Position) -> Iterator[Iterator[bytes]]:
        """The bytes of each event from a position to the log's present end."""
        with LogStream(self.endpoint, self.info, self.limits, start, connections=self.connections) as stream:
            yield (event for events in stream.events() for event in events)

    def logs(self, schema: str) -> bool:
        """Whether changes in a schema are written to the binary log."""
        schema = self.log_name(TableName(schema, "")).schema
        done, ignored = self._log_filters
        return schema in done if done else schema not in ignored

    @cached_property
    def _log_filters(self) -> tuple[list[str], list[str]]:
        with self.doing("reading the log's filters"):
            done, ignored = ([s for s in str(text or "").split(",") if s] for text in self._log_status()[2:4])
        return done, ignored

    def check_position(self, position: Position) -> None:
        """Make sure that the log holds everything that follows a position.

        Raises:
            PositionLost: the server has purged it, or never wrote it.
        """
        with self.doing("checking the checkpoint"):
            self._position_check(position)

    def log_sizes(self) -> dict[str, int]:
        """The log's files in their order, with their sizes in bytes."""
        with self.doing("looking at the log's files"):
            return log_sizes(self)

    def now_unix_s(self) -> float:
        """The source's clock."""
        self.wake()
        with self.doing("reading its clock"):
            return float(query(self.control, "SELECT UNIX_TIMESTAMP(NOW(6))")[0][0])
