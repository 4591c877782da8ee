"""The table maps of a log as they come, and where the row images of the wanted tables' events lie. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from ..model.errors import SchemaDrift, UnsupportedEvent
from ..model.tables import TableName
from .compression import inflated
from .ddl.statement import TableChange
from .event_format import HEADER_BYTES
from .event_types import TABLE_MAP
from .events import Images, KnownTable, Undescribed, Verb
from .map_columns import TableMap
from .missing_metadata import overlay
from .partial_rows import PartialDecoder, partial_decoder
from .query_event import Statement, mapped_changes
from .row_images import Decoder, compile_decoder
from .rows_event import DELETES, INSERTS, UPDATES, parse_rows_header
from .table_map import parse_table_map

# MariaDB's compressed rows events, and the type of each once it is inflated.
_INFLATED = {166: 23, 167: 24, 168: 25, 169: 30, 170: 31, 171: 32}
ROWS_EVENTS = INSERTS | UPDATES | DELETES | _INFLATED.keys()
_PARTIAL_MAX = 512  # so many decoders of images that lack columns are kept
_DUMMY_TABLE_ID = b"\xff\xff\xff\0\0\0"  # in an event that only ends a statement
_VERBS = dict.fromkeys(INSERTS, Verb.INSERT) | dict.fromkeys(UPDATES, Verb.UPDATE) | dict.fromkeys(DELETES, Verb.DELETE)


class RowsFound(NamedTuple):
    """The images of a rows event, the table map that they follow, and what decodes them."""

    table_map: TableMap | Undescribed
    images: Images
    decoder: Decoder | PartialDecoder | None


class EventStart(NamedTuple):
    """How every rows event of one type and table map begins, or every event of one table map.

    Attributes:
        begins: the bytes behind the event's header.
        ends_at: where they end in the event; the row images follow.
        verb, table_map, decoder: the kind of the images, and whose they are. None in the event of a table map.
    """

    begins: bytes
    ends_at: int
    verb: Verb | None = None
    table_map: TableMap | Undescribed | None = None
    decoder: Decoder | PartialDecoder | None = None


class TableMaps:
    """The table maps of one stream, of the known tables. `place` of the methods is for messages."""

    def __init__(self, known: Mapping[TableName, KnownTable], *, names_without_case: bool = False) -> None:
        self.names_without_case = names_without_case
        self.known = dict(known)
        self.names = frozenset(known)
        self.mariadb = False  # until the log says who wrote it
        self.starts: dict[int, EventStart] = {}  # the last table map's, and by type those of its rows events
        self._altered = {name for name, table in known.items() if table.altered}
        self._by_id: dict[bytes, TableMap | Undescribed | None] = {}
        self._by_bytes: dict[bytes, TableMap | Undescribed] = {}
        self._decoders: dict[bytes, Decoder] = {}
        self._of_partial: dict[tuple[int, int, bytes | None, bytes | None], Decoder | PartialDecoder] = {}

    def forget_ids(self) -> None:
        """A server that restarted gives old table ids to other tables."""
        self._by_id.clear()
        self.starts.clear()

    def changed_by(self, statement: Statement, *, idle: bool) -> tuple[TableChange, ...]:
        """What a statement does to the known tables, and each table whose rows it changes.

        From here on only a full table map tells the columns of an altered table.

        Args:
            idle: it does nothing yet, or never will.

        Raises:
            UnsupportedEvent: it may change rows of any table.
        """
        changes = mapped_changes(statement, self.names, names_without_case=self.names_without_case)
        if idle:
            return ()
        for change in changes:
            altered = {name for name in (change.table, change.renamed_to) if name is not None} & self.names
            if change.structural and altered:
                self._altered |= altered
                self._by_bytes.clear()
                self._decoders.clear()
                self._of_partial.clear()
                self.starts.clear()
        return changes

    def announce(self, raw: bytes, place: str) -> None:
        """Read a TABLE_MAP event's body. Mostly it is the last one, again."""
        last = self.starts.get(TABLE_MAP)
        if last is not None and last.begins == raw:
            return
        self.starts.clear()
        table_id, described = raw[:6], raw[8:]
        opened = self._by_id.get(table_id)
        if described in self._by_bytes:
            if not isinstance(opened, TableMap) or opened.raw != described:
                known = self._by_bytes[described]
                self._by_id[table_id] = replace(known) if isinstance(known, TableMap) else known
        elif (name := self._known_name(_table_name(described))) not in self.names:
            self._by_id[table_id] = None
        else:
            table_map = replace(parse_table_map(raw, mariadb=self.mariadb)[1], name=name, mariadb=self.mariadb)
            self._by_id[table_id] = self._by_bytes[described] = self._complete(table_map, place)
        self.starts[TABLE_MAP] = EventStart(raw, HEADER_BYTES + len(raw))

    def _known_name(self, name: TableName) -> TableName:
        return name.in_lower_case() if self.names_without_case else name

    def rows(self, kind: int, data: bytes, start: int, end: int) -> RowsFound | None:
        """The images of a rows event; None for a table that is not wanted.

        Args:
            start: where in the bytes the event's body begins.
            end: where it ends, without checksum.

        Raises:
            UnsupportedEvent: they are not rows of the table that the log announced.
        """
        table_id = data[start : start + 6]
        if table_id == _DUMMY_TABLE_ID:
            return None
        if table_id not in self._by_id:
            raise UnsupportedEvent("rows of a table that no table map names")
        table_map = self._by_id[table_id]
        if table_map is None:
            return None
        if isinstance(table_map, Undescribed):
            return RowsFound(table_map, (Verb.INSERT, b"", 0, 0), None)
        plain = _INFLATED.get(kind, kind)
        whole = self._decoders.get(table_map.raw)
        if whole is None:
            whole = self._decoders[table_map.raw] = compile_decoder(table_map)
        decoder: Decoder | PartialDecoder = whole
        first = whole.start_of_rows(data, plain, start)
        if first is None:
            header = parse_rows_header(data[start:], plain)
            images = (id(table_map), plain, header.before, header.after)  # whose own map refers to this one
            if images not in self._of_partial:
                if len(self._of_partial) >= _PARTIAL_MAX:
                    self._of_partial.clear()
                self._of_partial[images] = partial_decoder(table_map, plain, header)
            decoder, first = self._of_partial[images], start + header.start
            table_map = decoder.table_map
        if plain != kind:
            data = inflated(data[first:end])
            first, end = 0, len(data)
        else:
            self.starts[kind] = EventStart(data[start:first], first, _VERBS[plain], table_map, decoder)
        return RowsFound(table_map, (_VERBS[plain], data, first, end), decoder)

    def _complete(self, table_map: TableMap, place: str) -> TableMap | Undescribed:
        """The table map, with what the log leaves out unless binlog_row_metadata is FULL."""
        hint = "Set binlog_row_metadata=FULL on the source, then run the `snapshot` job for the table's mappings."
        if table_map.complete or table_map.name not in self._altered:
            try:
                known = self.known[table_map.name]
                described = overlay(table_map, known.columns, known.hashes_max)
                self._decoders[described.raw] = compile_decoder(described)
                return described
            except SchemaDrift as error:
                return Undescribed(table_map.name, SchemaDrift(f"after {place}: {error.message}", hint=hint))
            except UnsupportedEvent as error:
                return Undescribed(table_map.name, error.at(place))
        message = f"after {place}: {table_map.name} was altered, and the log does not describe its columns"
        return Undescribed(table_map.name, SchemaDrift(message, hint=hint))


def _table_name(raw: bytes) -> TableName:
    schema_length = raw[0]
    table_start = 1 + schema_length + 2
    table = raw[table_start : table_start + raw[table_start - 1]]
    return TableName(raw[1 : 1 + schema_length].decode(), table.decode())
