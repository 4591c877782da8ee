"""Binlog events, from the bytes of the protocol's packets to what happened to the mapped tables. Pure.

mysql-replication opens the stream (`stream.py`); from an event's header on the reading is ours, because
that library drops event types that it does not know without a word. Here every type is either understood,
known to change no row, or a reason to stop.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from .ddl import Action, TableChange, table_changes
from .errors import SchemaDrift, UnsupportedEvent
from .maptypes import MapColumn, TableMap, Type
from .model import Column, Row, TableName
from .overlay import overlay
from .position import Transaction
from .rowimage import DELETES, INSERTS, UPDATES, Decoder, check_fit, compile_decoder, parse_rows_header
from .tablemap import parse_table_map

HEADER_BYTES = 19
_HEADER = struct.Struct("<IBIIIH")  # timestamp, type, server id, event size, next position, flags

QUERY, STOP, ROTATE, FORMAT_DESCRIPTION, XID, TABLE_MAP = 2, 3, 4, 15, 16, 19
HEARTBEAT, HEARTBEAT_V2, GTID, ANONYMOUS_GTID, XA_PREPARE = 27, 41, 33, 34, 38
MARIADB_GTID = 162
_ROWS = INSERTS | UPDATES | DELETES
# They carry no row: statement context (INTVAR, RAND, USER_VAR), comments, previous GTIDs, group replication,
# MariaDB's annotations, checkpoints and GTID lists. What a statement changes is judged by its QUERY event.
_WITHOUT_ROWS = frozenset({STOP, 5, 13, 14, 28, 29, 35, 36, 37, HEARTBEAT, HEARTBEAT_V2, 160, 161, 163})
_STOPPING = {
    17: "LOAD DATA in statement format (BEGIN_LOAD_QUERY); set binlog_format=ROW",
    18: "LOAD DATA in statement format (EXECUTE_LOAD_QUERY); set binlog_format=ROW",
    26: "an INCIDENT: the source itself lost events",
    39: "a partial JSON update; set binlog_row_value_options=''",
    40: "a compressed transaction; set binlog_transaction_compression=OFF",
    42: "a tagged GTID",
    164: "an encrypted event",
    165: "a compressed statement; set log_bin_compress=OFF",
    **dict.fromkeys(range(166, 172), "compressed rows; set log_bin_compress=OFF"),
}


@dataclass(frozen=True, slots=True)
class RowsRead:
    """One rows event of a mapped table. Updates are (before, after), inserts (None, after), deletes (before, None)."""

    table: TableName
    table_map: TableMap
    changes: list[tuple[Row | None, Row | None]]
    transaction: Transaction  # so far: it ends at or after this event
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TableChanged:
    """One statement changed mapped tables as a whole."""

    changes: tuple[TableChange, ...]
    transaction: Transaction


@dataclass(frozen=True, slots=True)
class Committed:
    """The source transaction ended here; `transaction` is a position to resume from."""

    transaction: Transaction


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The source transaction ended here, and its rows never were."""

    transaction: Transaction


@dataclass(frozen=True, slots=True)
class Moved:
    """The log goes on at this place, outside any transaction: a new file, or a sign of life."""

    file: str
    offset_bytes: int


LogEvent = RowsRead | TableChanged | Committed | RolledBack | Moved


@dataclass(frozen=True, slots=True)
class KnownTable:
    """A wanted table's columns as they were where the stream starts, for table maps that do not describe their own.

    `altered`: they are of another moment, and only good for what no table map tells (that a BINARY(16) is
    a UUID).
    """

    columns: tuple[Column, ...]
    altered: bool = False


class LogReader:
    """Turns events into `LogEvent`s for the tables of interest. One instance reads one stream.

    Args:
        known: the tables whose rows are wanted, with what is known of their columns.
        file: the file in which the stream starts, until a ROTATE event says otherwise.
        checksums: whether events end in a CRC32.
    """

    def __init__(
        self,
        known: Mapping[TableName, KnownTable],
        file: str,
        checksums: bool,
    ) -> None:
        self.tables = frozenset(known)
        self.known = dict(known)
        self.altered = {name for name, table in known.items() if table.altered}
        self.schemas = frozenset(name.schema for name in known)
        self.file = file
        self.offset_bytes = 0
        self.checksums = checksums
        self.in_transaction = False
        self._group_open = False  # after a GTID: the next statement alone may be the whole group
        self._gtid: tuple[str, int] | None = None
        self._mariadb_gtid = ""
        self._committed_at_unix_s = 0.0
        self._maps: dict[int, TableMap | None] = {}
        self._parsed: dict[bytes, TableMap] = {}
        self._decoders: dict[bytes, Decoder] = {}

    @property
    def place(self) -> str:
        return f"{self.file}:{self.offset_bytes}"

    def read(self, event: bytes) -> Iterator[LogEvent]:
        """Read one event (header included, the protocol's leading OK byte not).

        Raises:
            UnsupportedEvent: it cannot be applied exactly; the message names it and its place.
        """
        timestamp, kind, server_id, _, next_position, flags = _HEADER.unpack_from(event)
        body = self._checked(event, kind)
        if kind == ROTATE:
            yield from self._rotate(body, artificial=timestamp == 0 or bool(flags & 0x20))
            return
        yield from self._dispatch(kind, body, timestamp, server_id, next_position)
        if next_position:
            self._advance(next_position, len(event))

    def _dispatch(
        self, kind: int, body: memoryview, timestamp: int, server_id: int, next_position: int
    ) -> Iterator[LogEvent]:
        if kind == TABLE_MAP:
            self._table_map(body)
        elif kind in _ROWS:
            rows = self._rows(body, kind, next_position)
            if rows is not None:
                yield rows
        elif kind in (GTID, ANONYMOUS_GTID):
            self._gtid_event(body, kind, timestamp)
        elif kind == MARIADB_GTID:
            self._mariadb_gtid_event(server_id, body, timestamp)
        elif kind == XID:
            yield self._end(next_position, timestamp, Committed)
        elif kind == QUERY:
            yield from self._query(body, next_position, timestamp)
        elif kind == FORMAT_DESCRIPTION:
            self._maps.clear()  # a server that restarted gives old table ids to other tables
        elif kind == XA_PREPARE:
            yield from self._xa_prepare(body, next_position, timestamp)
        elif kind in (HEARTBEAT, HEARTBEAT_V2) and not self.in_transaction:
            yield Moved(self.file, self.offset_bytes)
        elif kind not in _WITHOUT_ROWS:
            self._refuse(_STOPPING.get(kind, f"an event of unknown type {kind}"))

    # ---- framing ----
    def _checked(self, event: bytes, kind: int) -> memoryview:
        if not self.checksums:
            return memoryview(event)[HEADER_BYTES:]
        valid = zlib.crc32(event[:-4]) == int.from_bytes(event[-4:], "little")
        if valid:
            return memoryview(event)[HEADER_BYTES:-4]
        if kind in (ROTATE, HEARTBEAT, HEARTBEAT_V2):  # made up by the dump thread, with or without checksum
            return memoryview(event)[HEADER_BYTES:]
        raise UnsupportedEvent(f"the event after {self.place} does not match its checksum")

    def _advance(self, next_position: int, size: int) -> None:
        # The header's position has 32 bits; in a file over 4 GiB it wraps and says nothing.
        if next_position < self.offset_bytes and self.offset_bytes + size > 2**32:
            self._refuse("a position beyond 4 GiB; keep max_binlog_size and transactions below")
        self.offset_bytes = max(next_position, self.offset_bytes)

    def _rotate(self, body: memoryview, artificial: bool) -> Iterator[LogEvent]:
        position = int.from_bytes(body[:8], "little")
        name = bytes(body[8:]).decode()
        if name != self.file or not artificial:
            self._maps.clear()
            self.offset_bytes = position
        self.file = name
        self.offset_bytes = max(self.offset_bytes, position)
        if not self.in_transaction:
            yield Moved(self.file, self.offset_bytes)

    def _refuse(self, what: str) -> None:
        raise UnsupportedEvent(
            f"after {self.place} the log holds {what}; nothing after that place was applied",
            hint="Correct the setting, then run the `snapshot` job for the affected mappings.",
        )

    # ---- transactions ----
    def _gtid_event(self, body: memoryview, kind: int, timestamp: int) -> None:
        self._group_open = True
        self._committed_at_unix_s = float(timestamp)
        self._gtid = None
        if kind == GTID:
            self._gtid = (str(UUID(bytes=bytes(body[1:17]))), int.from_bytes(body[17:25], "little"))
        if len(body) >= 49 and body[25] == 2:  # since 8.0: microseconds of the commit at this server
            micros = int.from_bytes(body[42:49], "little") & (2**55 - 1)
            self._committed_at_unix_s = micros / 1e6

    def _mariadb_gtid_event(self, server_id: int, body: memoryview, timestamp: int) -> None:
        sequence, domain, flags = struct.unpack_from("<QIB", body)
        self._mariadb_gtid = f"{domain}-{server_id}-{sequence}"
        self._committed_at_unix_s = float(timestamp)
        standalone = bool(flags & 0x01)
        if flags & 0x40:
            self._refuse("a prepared XA transaction")
        self._group_open = standalone
        self.in_transaction = not standalone

    def _transaction(self, end: int) -> Transaction:
        return Transaction(
            self.file,
            max(end, self.offset_bytes),
            gtid=self._gtid,
            mariadb_gtid=self._mariadb_gtid,
            committed_at_unix_s=self._committed_at_unix_s,
        )

    def _end(self, next_position: int, timestamp: int, outcome: type[Committed] | type[RolledBack]) -> LogEvent:
        self.in_transaction = self._group_open = False
        self.offset_bytes = max(next_position, self.offset_bytes)
        self._committed_at_unix_s = self._committed_at_unix_s or float(timestamp)
        transaction = self._transaction(next_position)
        self._gtid, self._committed_at_unix_s = None, 0.0
        return outcome(transaction)

    def _xa_prepare(self, body: memoryview, next_position: int, timestamp: int) -> Iterator[LogEvent]:
        if body[0]:  # XA COMMIT … ONE PHASE: a commit like any other
            yield self._end(next_position, timestamp, Committed)
        else:
            self._refuse("a prepared XA transaction")

    # ---- statements ----
    def _query(self, body: memoryview, next_position: int, timestamp: int) -> Iterator[LogEvent]:
        schema_length = body[8]
        (status_length,) = struct.unpack_from("<H", body, 11)
        start = 13 + status_length
        schema = bytes(body[start : start + schema_length]).decode("utf-8", "replace")
        statement = bytes(body[start + schema_length + 1 :]).decode("utf-8", "replace")
        word = statement[:20].strip().upper()
        if word == "BEGIN" or word.startswith("XA START"):
            self.in_transaction = True
            return
        if word == "COMMIT":
            yield self._end(next_position, timestamp, Committed)
            return
        if word == "ROLLBACK":
            yield self._end(next_position, timestamp, RolledBack)
            return
        if word.startswith(("SAVEPOINT", "ROLLBACK TO", "RELEASE", "XA END")):
            return
        if word.startswith("XA "):
            self._refuse("an XA transaction")
        changes = tuple(c for c in table_changes(statement, schema) if self._concerns(c, statement))
        if changes:
            for change in changes:
                self._forget(change)
            yield TableChanged(changes, self._transaction(next_position))
        if not self.in_transaction:  # a definition: the statement is the whole group
            yield self._end(next_position, timestamp, Committed)

    def _forget(self, change: TableChange) -> None:
        """What was known of a table's columns holds no longer."""
        if change.action is Action.TRUNCATE:
            return
        for name in (change.table, change.renamed_to):
            if name in self.tables:
                self.altered.add(name)
                self._parsed.clear()
                self._decoders.clear()

    def _concerns(self, change: TableChange, statement: str) -> bool:
        if change.action is Action.DML:
            # A statement may write more tables than it names (views, triggers); what runs in or names a
            # mapped schema, or names a mapped table, cannot be told from one that changes mapped rows.
            words = statement.replace("`", " ").replace(".", " ").split()
            named = any(name.table in words or name.schema in words for name in self.tables)
            if change.table.schema in self.schemas or named:
                self._refuse(f"a data change in statement format in schema {change.table.schema!r}")
            return False
        if change.action is Action.DROP_SCHEMA:
            return change.table.schema in self.schemas
        return change.table in self.tables or change.renamed_to in self.tables

    # ---- rows ----
    def _table_map(self, body: memoryview) -> None:
        table_id = int.from_bytes(body[:6], "little")
        raw = bytes(body[8:])
        parsed = self._parsed.get(raw)
        if parsed is None:
            if _table_name(raw) not in self.tables:
                self._maps[table_id] = None
                return
            parsed = self._parsed[raw] = self._complete(parse_table_map(bytes(body))[1])
        self._maps[table_id] = parsed

    def _rows(self, body: memoryview, kind: int, next_position: int) -> RowsRead | None:
        table_id = int.from_bytes(body[:6], "little")
        if table_id == 0xFFFFFF:  # a dummy event that only ends a statement
            return None
        if table_id not in self._maps:
            self._refuse("rows of a table that no table map names")
        table_map = self._maps[table_id]
        if table_map is None:
            return None
        data = bytes(body)
        header = parse_rows_header(data, kind)
        check_fit(header, table_map)
        decoder = self._decoder(table_map)
        changes: list[tuple[Row | None, Row | None]]
        if kind in UPDATES:
            changes = list(decoder.updates(data, header.start, len(data)))
        elif kind in INSERTS:
            changes = [(None, row) for row in decoder.inserts(data, header.start, len(data))]
        else:
            changes = [(row, None) for row in decoder.deletes(data, header.start, len(data))]
        return RowsRead(table_map.name, table_map, changes, self._transaction(next_position), len(data))

    def _decoder(self, table_map: TableMap) -> Decoder:
        decoder = self._decoders.get(table_map.raw)
        if decoder is None:
            decoder = self._decoders[table_map.raw] = compile_decoder(table_map)
        return decoder

    def _complete(self, table_map: TableMap) -> TableMap:
        """The table map with what `binlog_row_metadata` other than FULL leaves out."""
        if table_map.complete or table_map.name not in self.altered:
            return overlay(table_map, self.known[table_map.name].columns)
        raise SchemaDrift(
            f"after {self.place}: {table_map.name} was altered, and the log does not describe its columns",
            hint="Set binlog_row_metadata=FULL on the source, then run the `snapshot` job for the table's mappings.",
        )


def _table_name(raw: bytes) -> TableName:
    schema_length = raw[0]
    table_start = 1 + schema_length + 2
    table = raw[table_start : table_start + raw[table_start - 1]]
    return TableName(raw[1 : 1 + schema_length].decode(), table.decode())


_TYPE_NAMES = {
    Type.TINY: "tinyint", Type.SHORT: "smallint", Type.INT24: "mediumint", Type.LONG: "int", Type.LONGLONG: "bigint",
    Type.YEAR: "year", Type.BIT: "bit", Type.FLOAT: "float", Type.DOUBLE: "double", Type.NEWDECIMAL: "decimal",
    Type.DATE: "date", Type.NEWDATE: "date", Type.TIME: "time", Type.TIME2: "time", Type.DATETIME: "datetime",
    Type.DATETIME2: "datetime", Type.TIMESTAMP: "timestamp", Type.TIMESTAMP2: "timestamp", Type.JSON: "json",
    Type.ENUM: "enum", Type.SET: "set", Type.GEOMETRY: "geometry", Type.VECTOR: "vector",
}  # fmt: skip
_WITH_CHARSET = frozenset({"text", "blob", "enum", "set", "json", "geometry", "vector"})


def layout_of(table_map: TableMap) -> tuple[Column, ...]:
    """The columns of the rows that a table map announces."""
    return tuple(_layout_column(column) for column in table_map.columns)


def _layout_column(column: MapColumn) -> Column:
    kind = _TYPE_NAMES.get(column.type) or ("blob" if column.charset == "binary" else "text")
    charset = column.charset if kind in _WITH_CHARSET else None
    if kind == "json" or column.hint in ("uuid", "inet4", "inet6"):  # text, whatever they are stored as
        kind, charset = ("json" if kind == "json" else "text"), "utf8mb4"
    elif kind in ("geometry", "vector"):
        charset = "binary"
    return Column(column.name or "", kind, unsigned=bool(column.unsigned), charset=charset)
