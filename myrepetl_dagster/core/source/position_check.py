"""Whether a source's log can still be read from a checkpoint's position."""

from __future__ import annotations

import time
from typing import Any

from ..model.errors import PositionLost
from ..model.gtid import GtidSet
from ..model.position import Position
from ..mysql.connect import query
from ..mysql.server import Server
from .log_identity import SameLog

_EXECUTED_WAIT_S = 2.0


class PositionCheck:
    """Checks positions of one source. A position that was found good is not checked again."""

    def __init__(self, server: Server, same_log: SameLog) -> None:
        self._server = server
        self._same_log = same_log
        self._good: set[tuple[Any, ...]] = set()

    def __call__(self, position: Position) -> None:
        """Make sure that the log holds everything that follows a position.

        Raises:
            PositionLost: the server has purged it, or never wrote it.
        """
        known_by = (position.server, str(position), position.birth_unix_s, position.mark)
        if known_by in self._good:  # most mappings of a source are at the same position
            return
        if problem := self._problem(position):
            source = f"source {self._server.endpoint.name!r}"
            raise PositionLost(
                f"{source}: the log cannot be read from the checkpoint {position}: {problem}",
                hint="Run the `snapshot` job for the mapping, or set on_position_lost: resnapshot.",
            )
        self._good.add(known_by)

    def _problem(self, position: Position) -> str:
        """Why the log cannot be read from there; '' if it can."""
        info = self._server.info
        own = position.server == info.identity
        files = set(log_sizes(self._server)) if own else set()
        if file := self._same_log.another_file(position, files):
            return f"{file} is not the file that it was (the log was reset or restored?)"
        if own and info.gtid_mode and self._same_log.another_history(position, files):
            return "this server has given the same GTIDs to other transactions (restored?)"
        if position.gtid_set is not None and info.gtid_mode:
            return self._gtids_lost(position.gtid_set)
        if not own:
            return f"it is of server {position.server or 'unknown'}, this is {info.identity}"
        return file_lost(self._server, position)

    def _gtids_lost(self, held: GtidSet) -> str:
        """Why the log cannot be read from a set of GTIDs; '' if it can."""
        deadline = time.monotonic() + _EXECUTED_WAIT_S
        while True:
            executed, purged = query(self._server.control, "SELECT @@global.gtid_executed, @@global.gtid_purged")[0]
            if held.issubset(GtidSet.parse(executed)):
                break
            # The log delivers a transaction a little before it counts as executed.
            if time.monotonic() > deadline:
                return "this server has not executed all of its GTIDs (restored, reset or another server?)"
            time.sleep(0.02)
        if not GtidSet.parse(purged).issubset(held):
            return "the server has purged GTIDs that it lacks"
        return ""


def file_lost(server: Server, position: Position) -> str:
    """Why the log has no such place as a position's file and offset; '' if it has."""
    sizes = log_sizes(server)
    if position.file not in sizes:
        return f"the file {position.file} is gone"
    if position.offset_bytes > sizes[position.file]:
        return f"the file {position.file} is shorter (the log was reset?)"
    # The server cannot tell the GTID after an event that is longer than its max_allowed_packet.
    here = mariadb_gtid(server, position.file, position.offset_bytes)
    if position.mariadb_gtid and here and set(here.split(",")) != set(position.mariadb_gtid.split(",")):
        return "another GTID is at this place (the log was reset?)"
    return ""


def log_sizes(server: Server) -> dict[str, int]:
    """The log's files in their order, with their sizes in bytes."""
    return {row[0]: int(row[1]) for row in query(server.control, "SHOW BINARY LOGS")}


def mariadb_gtid(server: Server, file: str, offset_bytes: int) -> str:
    """MariaDB's GTID at a place in its log; '' if the server cannot tell, and for MySQL."""
    if not server.info.is_mariadb:
        return ""
    return query(server.control, "SELECT BINLOG_GTID_POS(%s, %s)", (file, offset_bytes))[0][0] or ""
