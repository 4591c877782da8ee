"""Binlog events, from the bytes of the protocol's packets to what happened to the mapped tables. Pure.

mysql-replication opens the stream (`binlog_stream.py`); from an event's header on the reading is ours, because
that library drops event types that it does not know without a word. Here every type is either understood,
known to change no row, or a reason to stop.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import NoReturn

from ..model.errors import UnsupportedEvent
from ..model.position import LogMark, Transaction
from ..model.tables import TableName
from . import event_types as kinds
from .compression import events_of, inflated
from .event_format import (
    ARTIFICIAL,
    CHECKSUM_AT,
    CRC_RESIDUE,
    HEADER,
    HEADER_BYTES,
    KIND_AT,
    NEXT_POSITION,
    NEXT_POSITION_AT,
    SERVER_VERSION,
    event_crc32,
)
from .events import (
    Committed,
    KnownTable,
    LogAdvanced,
    LogEvent,
    RolledBack,
    RowsRead,
    TableChanged,
    XaBegun,
    XaDecided,
    XaPrepared,
)
from .gtid_event import GtidEvent, mariadb_group, mysql_group, tagged_group
from .map_columns import TableMap
from .query_event import mapped_changes, statement_text
from .table_maps import ROWS_EVENTS, TABLE_MAP, LogTables
from .xa_event import decided_xid, prepared_xid

_PIECE_BYTES = 256 * 1024
_NO_GROUP = GtidEvent(0.0)
_HINT = "Correct the setting, then run the `snapshot` job for the affected mappings."


class LogReader:
    """Turns events into `LogEvent`s for the tables of interest. One instance reads one stream.

    Args:
        known: the tables whose rows are wanted, with what is known of their columns.
        file: the file in which the stream starts, until a ROTATE event says otherwise.
        checksums: whether events end in a CRC32, until a format description says otherwise.
        names_without_case: the server takes names in other letters for one; `known` has them in lower case.
    """

    def __init__(
        self,
        known: Mapping[TableName, KnownTable],
        file: str,
        checksums: bool = True,
        *,
        names_without_case: bool = False,
    ) -> None:
        self.tables = LogTables(known, names_without_case=names_without_case)
        self.file = file
        self.offset_bytes = 0
        self.checksums = checksums
        self.in_transaction = False
        self._group = _NO_GROUP
        self._event = b""  # the one being read

    @property
    def place(self) -> str:
        return f"{self.file}:{self.offset_bytes}"

    def read(self, event: bytes) -> list[LogEvent]:
        """Read one event: header, body and, if the file has them, checksum.

        Raises:
            UnsupportedEvent: it cannot be applied exactly; the message names it and its place.
        """
        return [happened for piece in self.read_batch([event]) for happened in piece]

    def read_batch(self, events: Iterable[bytes]) -> Iterator[list[LogEvent]]:
        """Read events as they follow each other.

        Raises:
            UnsupportedEvent: as `read`, once what came before was yielded.
        """
        happened: list[LogEvent] = []
        events = iter(events)
        try:
            while (event := self._take_in(events, happened)) is not None:
                kind = event[KIND_AT]
                if kind == kinds.TRANSACTION_PAYLOAD:
                    yield happened
                    happened = []
                    yield from self._payload(event)
                else:
                    self._read(event, happened)
                    # Small events may be big once inflated, several of them more than there is room for.
                    if kind > kinds.MARIADB_QUERY_COMPRESSED and _is_big(happened):
                        yield happened
                        happened = []
                del event  # it may have 32 MiB
        except UnsupportedEvent:
            yield happened
            raise
        yield happened

    def _take_in(self, events: Iterator[bytes], happened: list[LogEvent]) -> bytes | None:
        """Take in events that begin as the last ones of their types did, with more rows of the same table, up to one
        that does not, which is given back; None at the end. A statement for each row makes a table map and an event,
        which are most of a log's.
        """
        if not self.checksums:
            return next(events, None)
        last = happened[-1] if happened else None
        rows = last if isinstance(last, RowsRead) else None
        images, table_map, size_bytes = (rows.images, rows.table_map, rows.size_bytes) if rows else ([], None, 0)
        heads, offset_bytes = self.tables.heads, self.offset_bytes
        for event in events:
            known = heads.get(event[KIND_AT])
            if known is None:
                break
            head, start, verb, described = known
            end = len(event) - 4
            if verb is None:  # a table map
                if end != start:
                    break
            elif described is not table_map or size_bytes >= _PIECE_BYTES:
                break
            (next_position,) = NEXT_POSITION.unpack_from(event, NEXT_POSITION_AT)
            if next_position <= offset_bytes or not event.startswith(head, HEADER_BYTES):
                break
            if zlib.crc32(event) != CRC_RESIDUE:  # last, since it takes longest
                break
            if verb is not None:
                images.append((verb, event, start, end))
                size_bytes += end - HEADER_BYTES
            offset_bytes = next_position
        else:
            event = None
        self.offset_bytes = offset_bytes
        if rows is not None:
            rows.size_bytes = size_bytes
        return event

    def _payload(self, event: bytes) -> Iterator[list[LogEvent]]:
        """What a whole transaction in one event tells, in pieces of a bounded size."""
        happened: list[LogEvent] = []
        self._event = event
        with self._placed(kinds.TRANSACTION_PAYLOAD):
            end = self._checked(event, kinds.TRANSACTION_PAYLOAD, artificial=False)
            next_position = HEADER.unpack_from(event)[4]
            size = 0
            for inner in events_of(memoryview(event)[HEADER_BYTES:end]):
                # What is inside has no position and no checksum of its own.
                timestamp, kind, server_id, *_ = HEADER.unpack_from(inner)
                self._dispatch(kind, inner, len(inner), (timestamp, server_id, next_position), happened)
                size += len(inner)
                if size >= _PIECE_BYTES:
                    yield happened
                    happened, size = [], 0
            if next_position:
                self._advance(next_position, len(event))
        self._event = b""
        yield happened

    def _read(self, event: bytes, happened: list[LogEvent]) -> None:
        timestamp, kind, server_id, _, next_position, flags = HEADER.unpack_from(event)
        self._event = event
        try:
            artificial = timestamp == 0 or bool(flags & ARTIFICIAL)
            if self.checksums and zlib.crc32(event) == CRC_RESIDUE and kind != kinds.FORMAT_DESCRIPTION:
                end = len(event) - 4
            else:
                end = self._checked(event, kind, artificial)
            if kind == kinds.ROTATE:
                self._rotate(event[HEADER_BYTES:end], artificial, happened)
                return
            self._dispatch(kind, event, end, (timestamp, server_id, next_position), happened)
            if next_position > self.offset_bytes:
                self.offset_bytes = next_position
            elif next_position:
                self._advance(next_position, len(event))
        except Exception as error:
            self._stop(error, kind)
        self._event = b""

    def _stop(self, error: Exception, kind: int) -> NoReturn:
        if isinstance(error, UnsupportedEvent):
            raise error.at(self.place) from None
        if isinstance(error, (IndexError, ValueError, struct.error)):
            raise UnsupportedEvent(f"after {self.place}: a malformed event of type {kind}", hint=_HINT) from None
        raise error

    @contextmanager
    def _placed(self, kind: int) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._stop(error, kind)

    def _dispatch(
        self, kind: int, event: bytes, end: int, header: tuple[int, int, int], happened: list[LogEvent]
    ) -> None:
        """Take in one event. `end`: of its body; `header`: timestamp, server id, next position."""
        timestamp, server_id, next_position = header
        if kind == TABLE_MAP:
            self.tables.announce(event[HEADER_BYTES:end], self.place)
        elif kind in ROWS_EVENTS:
            self._rows(kind, event, end, next_position, happened)
        elif kind in kinds.GROUPS:
            self._begin_group(kind, event[HEADER_BYTES:end], timestamp, server_id, happened)
        elif kind == kinds.XID:
            self._end(next_position, timestamp, Committed, happened)
        elif kind in (kinds.QUERY, kinds.MARIADB_QUERY_COMPRESSED):
            self._query(event[HEADER_BYTES:end], header, happened, compressed=kind != kinds.QUERY)
        elif kind == kinds.FORMAT_DESCRIPTION:
            self.tables.mariadb = b"MariaDB" in event[HEADER_BYTES:end][SERVER_VERSION]
            self.tables.forget_ids()
            if not self.in_transaction:
                happened.append(LogAdvanced(self.file, self.offset_bytes, timestamp))
        elif kind == kinds.XA_PREPARE:
            self._xa_prepare(event[HEADER_BYTES:end], next_position, timestamp, happened)
        elif kind in (kinds.HEARTBEAT, kinds.HEARTBEAT_V2) and not self.in_transaction:
            happened.append(LogAdvanced(self.file, self.offset_bytes, at_end=True))
        elif kind not in kinds.WITHOUT_ROWS:
            raise UnsupportedEvent(kinds.STOPPING.get(kind, f"an event of unknown type {kind}"))

    def _rows(self, kind: int, event: bytes, end: int, next_position: int, happened: list[LogEvent]) -> None:
        found = self.tables.rows(kind, event, HEADER_BYTES, end)
        if found is None:
            return
        table_map, images = found
        _, _, first, stop = images
        size_bytes = max(end - HEADER_BYTES, stop - first)  # as inflated
        last = happened[-1] if happened else None
        # Between two events of one transaction that follow each other there is nothing to do.
        if type(last) is RowsRead and last.table_map is table_map and last.size_bytes < _PIECE_BYTES:
            last.images.append(images)
            last.size_bytes += size_bytes
            return
        decoder = self.tables.decoder(table_map) if isinstance(table_map, TableMap) else None
        transaction = self._transaction(next_position)
        happened.append(
            RowsRead(table_map.name, table_map, None, transaction, size_bytes, [images], decoder, self.place)
        )

    # ---- framing ----
    def _checked(self, event: bytes, kind: int, artificial: bool) -> int:
        """Where the event's body ends."""
        if kind == kinds.FORMAT_DESCRIPTION:
            self.checksums = event[CHECKSUM_AT] == 1
        if not self.checksums:  # a format description has one all the same, but the dump does not keep it right
            return len(event)
        if zlib.crc32(event) == CRC_RESIDUE:
            return len(event) - 4
        # Made up by the dump thread, with or without checksum.
        if kind in (kinds.HEARTBEAT, kinds.HEARTBEAT_V2) or (kind == kinds.ROTATE and artificial):
            return len(event)
        raise UnsupportedEvent(f"an event (type {kind}) that does not match its checksum", hint="The log is damaged.")

    def _advance(self, next_position: int, size: int) -> None:
        # The header's position has 32 bits; in a file over 4 GiB it wraps and says nothing.
        if next_position < self.offset_bytes and self.offset_bytes + size > 2**32:
            raise UnsupportedEvent("a position beyond 4 GiB; keep max_binlog_size and transactions below")
        self.offset_bytes = max(next_position, self.offset_bytes)

    def _rotate(self, body: bytes, artificial: bool, happened: list[LogEvent]) -> None:
        position = int.from_bytes(body[:8], "little")
        name = body[8:].decode()
        if name != self.file or not artificial:
            self.tables.forget_ids()
            self.offset_bytes = position
        self.file = name
        self.offset_bytes = max(self.offset_bytes, position)
        if not self.in_transaction:
            happened.append(LogAdvanced(self.file, self.offset_bytes))

    # ---- transactions ----
    def _begin_group(self, kind: int, body: bytes, timestamp: int, server_id: int, happened: list[LogEvent]) -> None:
        if kind == kinds.MARIADB_GTID:
            self._group = mariadb_group(body, server_id, timestamp)
            self.in_transaction = not self._group.standalone
            if self._group.may_prepare:
                happened.append(XaBegun())
        elif kind == kinds.TAGGED_GTID:
            self._group = tagged_group(body)
        else:
            self._group = mysql_group(body, kind == kinds.GTID, timestamp)

    def _transaction(self, end: int, mark: LogMark | None = None) -> Transaction:
        return Transaction(
            self.file,
            max(end, self.offset_bytes),
            gtid=self._group.gtid,
            mariadb_gtid=self._group.mariadb_gtid,
            committed_at_unix_s=self._group.committed_at_unix_s,
            mark=mark,
        )

    def _mark(self, next_position: int) -> LogMark:
        begins = next_position - len(self._event)
        crc32 = event_crc32(self._event, self.checksums)
        return LogMark(self.file, begins, crc32, self._group.gtid, self._group.originated_at_us)

    def _end(
        self,
        next_position: int,
        timestamp: int,
        outcome: Callable[[Transaction], LogEvent],
        happened: list[LogEvent],
    ) -> None:
        self.in_transaction = False
        self.offset_bytes = max(next_position, self.offset_bytes)
        if not self._group.committed_at_unix_s:
            self._group = replace(self._group, committed_at_unix_s=float(timestamp))
        transaction = self._transaction(next_position, self._mark(next_position))
        self._group = _NO_GROUP
        happened.append(outcome(transaction))

    def _xa_prepare(self, body: bytes, next_position: int, timestamp: int, happened: list[LogEvent]) -> None:
        xid = prepared_xid(body)
        outcome = Committed if xid is None else partial(XaPrepared, xid)
        self._end(next_position, timestamp, outcome, happened)

    # ---- statements ----
    def _query(self, body: bytes, header: tuple[int, int, int], happened: list[LogEvent], *, compressed: bool) -> None:
        timestamp, _, next_position = header
        schema_length = body[8]
        (status_length,) = struct.unpack_from("<H", body, 11)
        start = 13 + status_length
        text = body[start + schema_length + 1 :]
        if text == b"BEGIN":  # as the server writes it itself
            self.in_transaction = True
            return
        schema = body[start : start + schema_length].decode("utf-8", "replace")
        statement = statement_text(body[13:start], inflated(text) if compressed else text)
        word = statement[:20].strip().upper()
        if word == "BEGIN":
            self.in_transaction = True
        elif word.startswith("XA START"):
            self.in_transaction = True
            happened.append(XaBegun())
        elif word == "COMMIT":
            self._end(next_position, timestamp, Committed, happened)
        elif word == "ROLLBACK":
            self._end(next_position, timestamp, RolledBack, happened)
        elif word.startswith("XA ") and not word.startswith("XA END"):
            self._end(next_position, timestamp, partial(XaDecided, *decided_xid(statement)), happened)
        elif not word.startswith(("SAVEPOINT", "ROLLBACK TO", "RELEASE", "XA END")):
            self._definition(statement, schema, next_position, timestamp, happened)

    def _definition(
        self, statement: str, schema: str, next_position: int, timestamp: int, happened: list[LogEvent]
    ) -> None:
        without_case = self.tables.names_without_case
        changes = mapped_changes(statement, schema, self.tables.names, names_without_case=without_case)
        if changes and not self._group.idle:
            for change in changes:
                self.tables.forget_columns(change)
            happened.append(TableChanged(changes, self._transaction(next_position)))
        if not self.in_transaction:  # the statement is the whole group
            self._end(next_position, timestamp, Committed, happened)


def _is_big(happened: list[LogEvent]) -> bool:
    return bool(happened) and isinstance(last := happened[-1], RowsRead) and last.size_bytes >= _PIECE_BYTES
