"""The wanted tables of a log: their table maps as they come, and where the row images of their events lie. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from ..model.errors import SchemaDrift, UnsupportedEvent
from ..model.tables import TableName
from .compression import inflated
from .ddl.statement import TableChange
from .event_format import HEADER_BYTES
from .events import Images, KnownTable, Undescribed, Verb
from .map_columns import TableMap
from .missing_metadata import overlay
from .rows_event import DELETES, INSERTS, PARTIAL_UPDATES, UPDATES, Decoder, compile_decoder
from .table_map import parse_table_map

# MariaDB's compressed rows events, and the type that each is once inflated.
_INFLATED = {166: 23, 167: 24, 168: 25, 169: 30, 170: 31, 171: 32}
ROWS_EVENTS = INSERTS | UPDATES | DELETES | {PARTIAL_UPDATES, *_INFLATED}
TABLE_MAP = 19
_DUMMY_TABLE_ID = b"\xff\xff\xff\0\0\0"  # of an event that only ends a statement
_VERBS = dict.fromkeys(INSERTS, Verb.INSERT) | dict.fromkeys(UPDATES, Verb.UPDATE) | dict.fromkeys(DELETES, Verb.DELETE)


class Head(NamedTuple):
    """What an event begins with behind its header, where that ends, and of images, which follow, what they are."""

    begins: bytes
    ends_at: int
    verb: Verb | None = None
    table_map: TableMap | None = None


class LogTables:
    """Decodes what one stream says of the known tables. `place` of the methods is for messages."""

    def __init__(self, known: Mapping[TableName, KnownTable], *, names_without_case: bool = False) -> None:
        self.names_without_case = names_without_case
        self.known = dict(known)
        self.names = frozenset(known)
        self.mariadb = False  # until the log says who wrote it
        self.heads: dict[int, Head] = {}  # of the last event of each type: of the last table map, and that itself
        self._altered = {name for name, table in known.items() if table.altered}
        self._maps: dict[bytes, TableMap | Undescribed | None] = {}
        self._parsed: dict[bytes, TableMap | Undescribed] = {}
        self._decoders: dict[bytes, Decoder] = {}

    def forget_ids(self) -> None:
        """A server that restarted gives old table ids to other tables."""
        self._maps.clear()
        self.heads.clear()

    def forget_columns(self, change: TableChange) -> None:
        """What was known of a table's columns holds no longer."""
        if not change.structural:
            return
        for name in (change.table, change.renamed_to):
            if name in self.names:
                self._altered.add(name)
                self._parsed.clear()
                self._decoders.clear()
                self.heads.clear()

    def announce(self, raw: bytes, place: str) -> None:
        """Take in a TABLE_MAP event's body; mostly the last one comes again before the next rows of its table."""
        last = self.heads.get(TABLE_MAP)
        if last is not None and last.begins == raw:
            return
        self.heads.clear()
        table_id, described = raw[:6], raw[8:]
        if described in self._parsed:
            self._maps[table_id] = self._parsed[described]
        elif (name := self._own(_table_name(described))) not in self.names:
            self._maps[table_id] = None
        else:
            table_map = replace(parse_table_map(raw, mariadb=self.mariadb)[1], name=name)
            self._maps[table_id] = self._parsed[described] = self._complete(table_map, place)
        self.heads[TABLE_MAP] = Head(raw, HEADER_BYTES + len(raw))

    def _own(self, name: TableName) -> TableName:
        return name.in_lower_case() if self.names_without_case else name

    def rows(self, kind: int, data: bytes, start: int, end: int) -> tuple[TableMap | Undescribed, Images] | None:
        """The images of a rows event; None for a table that is not wanted.

        Args:
            start: where in the bytes the event's body begins.
            end: where it ends, without checksum.

        Raises:
            UnsupportedEvent: they are not whole rows of the table that the log announced.
        """
        table_id = data[start : start + 6]
        if table_id == _DUMMY_TABLE_ID:
            return None
        if table_id not in self._maps:
            raise UnsupportedEvent("rows of a table that no table map names")
        table_map = self._maps[table_id]
        if table_map is None:
            return None
        if isinstance(table_map, Undescribed):
            return table_map, (Verb.INSERT, b"", 0, 0)
        plain = _INFLATED.get(kind, kind)
        first = self.decoder(table_map).start_of_rows(data, plain, start)
        if plain != kind:
            data = inflated(data[first:end])
            first, end = 0, len(data)
        else:
            self.heads[kind] = Head(data[start:first], first, _VERBS[plain], table_map)
        return table_map, (_VERBS[plain], data, first, end)

    def decoder(self, table_map: TableMap) -> Decoder:
        """Decodes the images of a table map."""
        decoder = self._decoders.get(table_map.raw)
        if decoder is None:
            decoder = self._decoders[table_map.raw] = compile_decoder(table_map)
        return decoder

    def _complete(self, table_map: TableMap, place: str) -> TableMap | Undescribed:
        """The table map with what `binlog_row_metadata` other than FULL leaves out."""
        hint = "Set binlog_row_metadata=FULL on the source, then run the `snapshot` job for the table's mappings."
        if table_map.complete or table_map.name not in self._altered:
            try:
                return overlay(table_map, self.known[table_map.name].columns)
            except SchemaDrift as error:
                return Undescribed(table_map.name, SchemaDrift(f"after {place}: {error.message}", hint=hint))
        message = f"after {place}: {table_map.name} was altered, and the log does not describe its columns"
        return Undescribed(table_map.name, SchemaDrift(message, hint=hint))


def _table_name(raw: bytes) -> TableName:
    schema_length = raw[0]
    table_start = 1 + schema_length + 2
    table = raw[table_start : table_start + raw[table_start - 1]]
    return TableName(raw[1 : 1 + schema_length].decode(), table.decode())
