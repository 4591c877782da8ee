"""Binlog events, from the bytes of the protocol's packets to what happened to the mapped tables. Pure.

mysql-replication opens the stream (`stream.py`); from an event's header on the reading is ours, because
that library drops event types that it does not know without a word. Here every type is either understood,
known to change no row, or a reason to stop.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from .ddl import Action, TableChange, names_in, table_changes
from .errors import UnsupportedEvent
from .event_payload import HEADER_BYTES, events_of, inflated
from .group import Group, mariadb_group, mysql_group, tagged_group
from .layout import layout_of
from .log_events import (
    Committed,
    Decided,
    KnownTable,
    LogEvent,
    Moved,
    Prepared,
    RolledBack,
    RowsRead,
    TableChanged,
    Undescribed,
    XaBegun,
)
from .log_tables import ROWS_EVENTS, LogTables
from .model import TableName
from .position import Transaction
from .statement import statement_text

__all__ = [
    "Committed", "Decided", "KnownTable", "LogEvent", "LogReader", "Moved", "Prepared", "RolledBack", "RowsRead",
    "TableChanged", "Undescribed", "XaBegun", "layout_of",
]  # fmt: skip

_HEADER = struct.Struct("<IBIIIH")  # timestamp, type, server id, event size, next position, flags
_ARTIFICIAL = 0x20  # flag of an event that the dump made up: it is in no file
_SERVER_VERSION = slice(2, 52)  # of a format description's body
_CHECKSUM_AT = -5  # of a format description: before its own checksum, the kind of its file's (1: CRC32)

QUERY, STOP, ROTATE, FORMAT_DESCRIPTION, XID, TABLE_MAP = 2, 3, 4, 15, 16, 19
HEARTBEAT, HEARTBEAT_V2, GTID, ANONYMOUS_GTID, XA_PREPARE = 27, 41, 33, 34, 38
TRANSACTION_PAYLOAD, TAGGED_GTID = 40, 42
MARIADB_GTID, MARIADB_QUERY_COMPRESSED = 162, 165
_GROUPS = frozenset({GTID, ANONYMOUS_GTID, TAGGED_GTID, MARIADB_GTID})
# They carry no row: statement context (INTVAR, RAND, USER_VAR), comments, previous GTIDs, group replication,
# MariaDB's annotations, checkpoints, GTID lists and note of encryption (what is sent is decrypted). What a
# statement changes is judged by its QUERY event.
_WITHOUT_ROWS = frozenset({STOP, 5, 13, 14, 28, 29, 35, 36, 37, HEARTBEAT, HEARTBEAT_V2, 160, 161, 163, 164})
_STOPPING = {
    17: "LOAD DATA in statement format (BEGIN_LOAD_QUERY); set binlog_format=ROW",
    18: "LOAD DATA in statement format (EXECUTE_LOAD_QUERY); set binlog_format=ROW",
    26: "an INCIDENT: the source itself lost events",
}
_HINT = "Correct the setting, then run the `snapshot` job for the affected mappings."
_DECISION = re.compile(r"XA (COMMIT|ROLLBACK) X'([0-9a-f]*)',X'([0-9a-f]*)',(\d+)\s*", re.IGNORECASE)


class LogReader:
    """Turns events into `LogEvent`s for the tables of interest. One instance reads one stream.

    Args:
        known: the tables whose rows are wanted, with what is known of their columns.
        file: the file in which the stream starts, until a ROTATE event says otherwise.
        checksums: whether events end in a CRC32, until a format description says otherwise.
    """

    def __init__(
        self,
        known: Mapping[TableName, KnownTable],
        file: str,
        checksums: bool = True,
    ) -> None:
        self.tables = LogTables(known)
        self.schemas = frozenset(name.schema for name in known)
        self.file = file
        self.offset_bytes = 0
        self.checksums = checksums
        self.in_transaction = False
        self._group = Group(0.0)

    @property
    def place(self) -> str:
        return f"{self.file}:{self.offset_bytes}"

    def read(self, event: bytes) -> Iterator[LogEvent]:
        """Read one event (header included, the protocol's leading OK byte not).

        Raises:
            UnsupportedEvent: it cannot be applied exactly; the message names it and its place.
        """
        timestamp, kind, server_id, _, next_position, flags = _HEADER.unpack_from(event)
        try:
            artificial = timestamp == 0 or bool(flags & _ARTIFICIAL)
            body = self._checked(event, kind, artificial)
            if kind == ROTATE:
                yield from self._rotate(body, artificial)
                return
            yield from self._dispatch(kind, body, timestamp, server_id, next_position)
            if next_position:
                self._advance(next_position, len(event))
        except UnsupportedEvent as error:
            message = f"after {self.place}: {error.message}; nothing after that place was applied"
            raise UnsupportedEvent(message, hint=error.hint or _HINT) from None
        except (IndexError, ValueError, struct.error):
            raise UnsupportedEvent(f"after {self.place}: a malformed event of type {kind}", hint=_HINT) from None

    def _dispatch(
        self, kind: int, body: memoryview, timestamp: int, server_id: int, next_position: int
    ) -> Iterator[LogEvent]:
        if kind == TABLE_MAP:
            self.tables.announce(body, self.place)
        elif kind in ROWS_EVENTS:
            rows = self.tables.rows(body, kind)
            if rows is not None:
                table_map, changes = rows
                transaction = self._transaction(next_position)
                yield RowsRead(table_map.name, table_map, changes, transaction, len(body))
        elif kind in _GROUPS:
            yield from self._begin_group(kind, body, timestamp, server_id)
        elif kind == XID:
            yield self._end(next_position, timestamp, Committed)
        elif kind in (QUERY, MARIADB_QUERY_COMPRESSED):
            yield from self._query(body, next_position, timestamp, compressed=kind != QUERY)
        elif kind == FORMAT_DESCRIPTION:
            self.tables.mariadb = b"MariaDB" in bytes(body[_SERVER_VERSION])
            self.tables.forget_ids()
            if not self.in_transaction:
                yield Moved(self.file, self.offset_bytes, timestamp)
        elif kind == TRANSACTION_PAYLOAD:
            yield from self._payload(body, next_position)
        elif kind == XA_PREPARE:
            yield from self._xa_prepare(body, next_position, timestamp)
        elif kind in (HEARTBEAT, HEARTBEAT_V2) and not self.in_transaction:
            yield Moved(self.file, self.offset_bytes)
        elif kind not in _WITHOUT_ROWS:
            raise UnsupportedEvent(_STOPPING.get(kind, f"an event of unknown type {kind}"))

    # ---- framing ----
    def _checked(self, event: bytes, kind: int, artificial: bool) -> memoryview:
        if kind == FORMAT_DESCRIPTION:
            self.checksums = event[_CHECKSUM_AT] == 1
        if not self.checksums:  # a format description has one all the same, but the dump does not keep it right
            return memoryview(event)[HEADER_BYTES:]
        if zlib.crc32(event[:-4]) == int.from_bytes(event[-4:], "little"):
            return memoryview(event)[HEADER_BYTES:-4]
        # Made up by the dump thread, with or without checksum.
        if kind in (HEARTBEAT, HEARTBEAT_V2) or (kind == ROTATE and artificial):
            return memoryview(event)[HEADER_BYTES:]
        raise UnsupportedEvent(f"an event (type {kind}) that does not match its checksum", hint="The log is damaged.")

    def _advance(self, next_position: int, size: int) -> None:
        # The header's position has 32 bits; in a file over 4 GiB it wraps and says nothing.
        if next_position < self.offset_bytes and self.offset_bytes + size > 2**32:
            raise UnsupportedEvent("a position beyond 4 GiB; keep max_binlog_size and transactions below")
        self.offset_bytes = max(next_position, self.offset_bytes)

    def _rotate(self, body: memoryview, artificial: bool) -> Iterator[LogEvent]:
        position = int.from_bytes(body[:8], "little")
        name = bytes(body[8:]).decode()
        if name != self.file or not artificial:
            self.tables.forget_ids()
            self.offset_bytes = position
        self.file = name
        self.offset_bytes = max(self.offset_bytes, position)
        if not self.in_transaction:
            yield Moved(self.file, self.offset_bytes)

    def _payload(self, body: memoryview, next_position: int) -> Iterator[LogEvent]:
        """A whole transaction in one event: what is inside has no position and no checksum of its own."""
        for event in events_of(body):
            timestamp, kind, server_id, *_ = _HEADER.unpack_from(event)
            yield from self._dispatch(kind, memoryview(event)[HEADER_BYTES:], timestamp, server_id, next_position)

    # ---- transactions ----
    def _begin_group(self, kind: int, body: memoryview, timestamp: int, server_id: int) -> Iterator[LogEvent]:
        if kind == MARIADB_GTID:
            self._group = mariadb_group(body, server_id, timestamp)
            self.in_transaction = not self._group.standalone
            if self._group.may_prepare:
                yield XaBegun()
        elif kind == TAGGED_GTID:
            self._group = tagged_group(body)
        else:
            self._group = mysql_group(body, kind == GTID, timestamp)

    def _transaction(self, end: int) -> Transaction:
        return Transaction(
            self.file,
            max(end, self.offset_bytes),
            gtid=self._group.gtid,
            mariadb_gtid=self._group.mariadb_gtid,
            committed_at_unix_s=self._group.committed_at_unix_s,
        )

    def _end(self, next_position: int, timestamp: int, outcome: Callable[[Transaction], LogEvent]) -> LogEvent:
        self.in_transaction = False
        self.offset_bytes = max(next_position, self.offset_bytes)
        if not self._group.committed_at_unix_s:
            self._group = replace(self._group, committed_at_unix_s=float(timestamp))
        transaction = self._transaction(next_position)
        self._group = Group(0.0)
        return outcome(transaction)

    def _xa_prepare(self, body: memoryview, next_position: int, timestamp: int) -> Iterator[LogEvent]:
        one_phase, format_id, first, second = struct.unpack_from("<BIII", body)
        if one_phase:  # XA COMMIT … ONE PHASE: a commit like any other
            yield self._end(next_position, timestamp, Committed)
            return
        branch = bytes(body[13 : 13 + first + second])
        xid = _xid(branch[:first], branch[first:], format_id)
        yield self._end(next_position, timestamp, lambda transaction: Prepared(xid, transaction))

    def _xa_decided(self, statement: str, next_position: int, timestamp: int) -> LogEvent:
        found = _DECISION.fullmatch(statement)
        if found is None:
            raise UnsupportedEvent("an XA statement that is not known")
        verb, first, second, format_id = found.groups()
        xid = _xid(bytes.fromhex(first), bytes.fromhex(second), int(format_id))
        committed = verb.upper() == "COMMIT"
        return self._end(next_position, timestamp, lambda transaction: Decided(xid, committed, transaction))

    # ---- statements ----
    def _query(self, body: memoryview, next_position: int, timestamp: int, *, compressed: bool) -> Iterator[LogEvent]:
        schema_length = body[8]
        (status_length,) = struct.unpack_from("<H", body, 11)
        start = 13 + status_length
        schema = bytes(body[start : start + schema_length]).decode("utf-8", "replace")
        text = body[start + schema_length + 1 :]
        statement = statement_text(bytes(body[13:start]), inflated(text) if compressed else bytes(text))
        word = statement[:20].strip().upper()
        if word == "BEGIN":
            self.in_transaction = True
        elif word.startswith("XA START"):
            self.in_transaction = True
            yield XaBegun()
        elif word == "COMMIT":
            yield self._end(next_position, timestamp, Committed)
        elif word == "ROLLBACK":
            yield self._end(next_position, timestamp, RolledBack)
        elif word.startswith("XA ") and not word.startswith("XA END"):
            yield self._xa_decided(statement, next_position, timestamp)
        elif not word.startswith(("SAVEPOINT", "ROLLBACK TO", "RELEASE", "XA END")):
            yield from self._definition(statement, schema, next_position, timestamp)

    def _definition(self, statement: str, schema: str, next_position: int, timestamp: int) -> Iterator[LogEvent]:
        changes = tuple(c for c in table_changes(statement, schema) if self._concerns(c, statement))
        if changes and not self._group.idle:
            for change in changes:
                self.tables.forget_columns(change)
            yield TableChanged(changes, self._transaction(next_position))
        if not self.in_transaction:  # the statement is the whole group
            yield self._end(next_position, timestamp, Committed)

    def _concerns(self, change: TableChange, statement: str) -> bool:
        names = self.tables.names
        if change.action is Action.DML:
            # A statement may write more tables than it names (views, triggers); what runs in or names a
            # mapped schema, or names a mapped table, cannot be told from one that changes mapped rows.
            words = names_in(statement)
            named = any(name.table in words or name.schema in words for name in names)
            if change.table.schema in self.schemas or named:
                raise UnsupportedEvent(
                    f"a data change in statement format in schema {change.table.schema!r} (binlog_format is not ROW)"
                )
            return False
        if change.action is Action.DROP_SCHEMA:
            return change.table.schema in self.schemas
        return change.table in names or change.renamed_to in names


def _xid(branch: bytes, qualifier: bytes, format_id: int) -> str:
    """An XA transaction's name, as the servers write it in statements."""
    return f"X'{branch.hex()}',X'{qualifier.hex()}',{format_id}"
