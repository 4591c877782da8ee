"""Binlog events, from the bytes of the protocol's packets to what happened to the mapped tables. Pure.

mysql-replication opens the stream (`binlog_stream.py`). It drops events of unknown types without a word, so from an
event's header on we read for ourselves. Every type is either understood, known to change no row, or a reason to stop.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..model.errors import UnsupportedEvent
from ..model.position import LogMark, Transaction
from ..model.tables import TableName
from . import event_types as kinds
from .compression import events_of
from .event_format import (
    ARTIFICIAL,
    CHECKSUM_BYTES,
    CRC_RESIDUE,
    HEADER,
    HEADER_BYTES,
    KIND_AT,
    NEXT_POSITION,
    as_unsupported,
    end_of_body,
    has_checksums,
    is_ignorable,
    is_of_mariadb,
    offset_after,
)
from .events import Committed, KnownTable, LogAdvanced, LogEvent, RowsRead, TableChanged, XaBegun
from .gtid_event import GtidEvent, gtid_event_of
from .query_event import statement_of
from .table_maps import ROWS_EVENTS, TableMaps
from .xa_event import Outcome, outcome_of_prepare

_EVENT_BYTES = 256 * 1024  # of rows in one `RowsRead`, and of a compressed transaction in one list
_NO_GTID_EVENT = GtidEvent(0.0)


class LogReader:
    """Turns events into `LogEvent`s for the tables of interest. One instance reads one stream.

    Args:
        known: the tables whose rows are wanted, with what is known of their columns.
        file: the file in which the stream starts, until a ROTATE event says otherwise.
        offset_bytes: where in that file it starts.
        names_without_case: the server takes names in other letters for one; `known` has them in lower case.
    """

    def __init__(
        self, known: Mapping[TableName, KnownTable], file: str, offset_bytes: int = 0, names_without_case: bool = False
    ) -> None:
        self.tables = TableMaps(known, names_without_case=names_without_case)
        self.file = file
        self.offset_bytes = offset_bytes  # everything before it is read
        self.checksums = True  # until a format description says otherwise
        self.in_transaction = False
        self._gtid_event = _NO_GTID_EVENT  # of the transaction that is being read
        self._event = b""  # the event of the file that is being read

    @property
    def place(self) -> str:
        return f"{self.file}:{self.offset_bytes}"

    def read(self, event: bytes) -> list[LogEvent]:
        """Read one event: header, body and, if the file has them, checksum.

        Raises:
            UnsupportedEvent: the event cannot be applied exactly; the error names it and its place.
        """
        return [one for happened in self.read_batch([event]) for one in happened]

    def read_batch(self, events: list[bytes]) -> Iterator[list[LogEvent]]:
        """Read events that follow each other. The list is used up: an event may have 32 MiB.

        Raises:
            UnsupportedEvent: as `read`, once everything before it was yielded.
        """
        happened: list[LogEvent] = []
        events.reverse()
        try:
            while (event := self._skip_similar(events, happened)) is not None:
                kind = event[KIND_AT]
                if kind == kinds.TRANSACTION_PAYLOAD:
                    yield happened
                    happened = []
                    yield from self._payload(event)
                else:
                    self._read(event, happened)
                    # Small events may be large once inflated, and several of them more than there is room for.
                    if kind > kinds.MARIADB_QUERY_COMPRESSED and _is_large(happened):
                        yield happened
                        happened = []
                del event
        except UnsupportedEvent:
            yield happened
            raise
        yield happened

    def _skip_similar(self, events: list[bytes], happened: list[LogEvent]) -> bytes | None:
        """Take events off the end of the list up to one that needs a closer look, and return that one.

        Most events of a log are table maps and rows events that a statement repeats for each row. An event is read here
        if it begins as the last one of its type did and belongs to the same table.
        """
        if not self.checksums:
            return events.pop() if events else None
        last = happened[-1] if happened else None
        rows = last if isinstance(last, RowsRead) else None
        images, table_map, size_bytes = (rows.images, rows.table_map, rows.size_bytes) if rows else ([], None, 0)
        starts, offset_bytes = self.tables.starts, self.offset_bytes
        while events:
            event = events.pop()
            start = starts.get(event[KIND_AT])
            if start is None:
                break
            begins, ends_at, verb, described, _ = start
            end = len(event) - CHECKSUM_BYTES
            if verb is None:  # a table map
                if end != ends_at:
                    break
            elif described is not table_map or size_bytes >= _EVENT_BYTES:
                break
            (next_position,) = NEXT_POSITION(event)
            if 0 < next_position <= offset_bytes or not event.startswith(begins, HEADER_BYTES):
                break
            if zlib.crc32(event) != CRC_RESIDUE:  # last, since it takes longest
                break
            if verb is not None:
                images.append((verb, event, ends_at, end))
                size_bytes += end - HEADER_BYTES
            offset_bytes = next_position or offset_bytes  # MariaDB 11.8 gives none within a transaction
        else:
            event = None
        self.offset_bytes = offset_bytes
        if rows is not None:
            rows.size_bytes = size_bytes
        return event

    def _payload(self, event: bytes) -> Iterator[list[LogEvent]]:
        """Read a whole transaction in one event, in lists of a bounded size."""
        happened: list[LogEvent] = []
        self._event = event
        try:
            end = end_of_body(event, kinds.TRANSACTION_PAYLOAD, checksums=self.checksums, artificial=False)
            next_position = HEADER.unpack_from(event)[4]
            size_bytes = 0
            for inner in events_of(memoryview(event)[HEADER_BYTES:end]):
                # An inner event has no position and no checksum of its own.
                timestamp, kind, server_id, *_ = HEADER.unpack_from(inner)
                self._dispatch(kind, inner, len(inner), (timestamp, server_id, next_position), happened)
                size_bytes += len(inner)
                if size_bytes >= _EVENT_BYTES:
                    yield happened
                    happened, size_bytes = [], 0
            if next_position:
                self.offset_bytes = offset_after(self.offset_bytes, next_position, len(event))
        except Exception as error:
            raise as_unsupported(error, kinds.TRANSACTION_PAYLOAD, self.place) from None
        self._event = b""
        yield happened

    def _read(self, event: bytes, happened: list[LogEvent]) -> None:
        timestamp, kind, server_id, _, next_position, flags = HEADER.unpack_from(event)
        self._event = event
        artificial = bool(flags & ARTIFICIAL) or not next_position
        try:
            if kind == kinds.FORMAT_DESCRIPTION:
                self.checksums = has_checksums(event)
            if self.checksums and zlib.crc32(event) == CRC_RESIDUE:
                end = len(event) - CHECKSUM_BYTES
            else:
                end = end_of_body(event, kind, checksums=self.checksums, artificial=artificial)
            if kind == kinds.ROTATE:
                self._rotate(event[HEADER_BYTES:end], artificial, happened)
                return
            self._dispatch(kind, event, end, (timestamp, server_id, next_position), happened)
            if next_position > self.offset_bytes:
                self.offset_bytes = next_position
            elif 0 < next_position < self.offset_bytes:
                self.offset_bytes = offset_after(self.offset_bytes, next_position, len(event))
        except Exception as error:
            raise as_unsupported(error, kind, self.place) from None
        self._event = b""

    def _dispatch(
        self, kind: int, event: bytes, end: int, header: tuple[int, int, int], happened: list[LogEvent]
    ) -> None:
        """Read one event. `end`: of its body; `header`: timestamp, server id, next position."""
        timestamp, server_id, next_position = header
        if kind == kinds.TABLE_MAP:
            self.tables.announce(event[HEADER_BYTES:end], self.place)
        elif kind in ROWS_EVENTS:
            self._rows(kind, event, end, next_position, happened)
        elif kind in kinds.GTIDS:
            gtid_event = self._gtid_event = gtid_event_of(kind, event[HEADER_BYTES:end], server_id, timestamp)
            self.in_transaction = gtid_event.begins
            if gtid_event.may_prepare:
                happened.append(XaBegun())
        elif kind == kinds.XID:
            self._end(next_position, timestamp, Committed, happened)
        elif kind in (kinds.QUERY, kinds.MARIADB_QUERY_COMPRESSED):
            self._query(event[HEADER_BYTES:end], header, happened, compressed=kind != kinds.QUERY)
        elif kind == kinds.FORMAT_DESCRIPTION:
            self.tables.mariadb = is_of_mariadb(event)
            self.tables.forget_ids()
            if not self.in_transaction:
                happened.append(LogAdvanced(self.file, self.offset_bytes, timestamp))
        elif kind == kinds.XA_PREPARE:
            self._end(next_position, timestamp, outcome_of_prepare(event[HEADER_BYTES:end]), happened)
        elif kind in kinds.HEARTBEATS and not self.in_transaction:
            happened.append(LogAdvanced(self.file, self.offset_bytes, at_end=True))
        elif kind in kinds.STOPPING or not (kind in kinds.WITHOUT_ROWS or is_ignorable(event)):
            raise UnsupportedEvent(kinds.STOPPING.get(kind, f"an event of unknown type {kind}"))

    def _rows(self, kind: int, event: bytes, end: int, next_position: int, happened: list[LogEvent]) -> None:
        start = self.tables.starts.get(kind)
        if start is not None and start.verb is not None and event.startswith(start.begins, HEADER_BYTES):
            images = (start.verb, event, start.ends_at, end)
            table_map, decoder = start.table_map, start.decoder
        else:
            found = self.tables.rows(kind, event, HEADER_BYTES, end)
            if found is None:
                return
            table_map, images, decoder = found
        size_bytes = max(end - HEADER_BYTES, images[3] - images[2])  # as inflated
        last = happened[-1] if happened else None
        # Nothing has to be done between two events of one transaction that follow each other.
        if type(last) is RowsRead and last.table_map is table_map and last.size_bytes < _EVENT_BYTES:
            last.images.append(images)
            last.size_bytes += size_bytes
            return
        assert table_map is not None
        transaction = self._transaction(next_position)
        happened.append(
            RowsRead(table_map.name, table_map, None, transaction, size_bytes, [images], decoder, self.offset_bytes)
        )

    def _rotate(self, body: bytes, artificial: bool, happened: list[LogEvent]) -> None:
        position, name = int.from_bytes(body[:8], "little"), body[8:].decode()
        if name != self.file or not artificial:
            self.tables.forget_ids()
            self.offset_bytes = position
        self.file = name
        self.offset_bytes = max(self.offset_bytes, position)
        if not self.in_transaction:
            happened.append(LogAdvanced(self.file, self.offset_bytes))

    # ---- transactions ----
    def _transaction(self, end_offset_bytes: int, mark: LogMark | None = None) -> Transaction:
        gtid_event = self._gtid_event
        return Transaction(
            self.file,
            max(end_offset_bytes, self.offset_bytes),
            gtid_event.gtid,
            gtid_event.mariadb_gtid,
            gtid_event.committed_at_unix_s,
            mark,
        )

    def _end(self, next_position: int, timestamp: int, outcome: Outcome, happened: list[LogEvent]) -> None:
        """The transaction ends with the event that is being read."""
        self.in_transaction = False
        self.offset_bytes = max(next_position, self.offset_bytes)
        if not self._gtid_event.committed_at_unix_s:
            self._gtid_event = replace(self._gtid_event, committed_at_unix_s=float(timestamp))
        event, gtid_event = self._event, self._gtid_event
        crc32 = int.from_bytes(event[-CHECKSUM_BYTES:], "little") if self.checksums else zlib.crc32(event)
        mark = LogMark(self.file, next_position - len(event), crc32, gtid_event.gtid, gtid_event.originated_at_us)
        transaction = self._transaction(next_position, mark)
        self._gtid_event = _NO_GTID_EVENT
        happened.append(outcome(transaction))

    # ---- statements ----
    def _query(self, body: bytes, header: tuple[int, int, int], happened: list[LogEvent], *, compressed: bool) -> None:
        timestamp, _, next_position = header
        text_at = 14 + body[8] + (body[11] | body[12] << 8)  # behind the status variables and the schema's name
        if body[text_at:] == b"BEGIN":  # as the server writes it itself
            self.in_transaction = True
            return
        statement = statement_of(body, compressed=compressed, mariadb=self.tables.mariadb, inside=self.in_transaction)
        if statement.outcome is not None:
            self._end(next_position, timestamp, statement.outcome, happened)
        elif statement.begins:
            self.in_transaction = True
            if statement.may_prepare:
                happened.append(XaBegun())
        elif statement.defines:
            changes = self.tables.changed_by(statement, idle=self._gtid_event.idle)
            if changes:
                happened.append(TableChanged(changes, self._transaction(next_position)))
            if not self.in_transaction:  # the statement is the whole transaction
                self._end(next_position, timestamp, Committed, happened)


def _is_large(happened: list[LogEvent]) -> bool:
    return bool(happened) and isinstance(last := happened[-1], RowsRead) and last.size_bytes >= _EVENT_BYTES
