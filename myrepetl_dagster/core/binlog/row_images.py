"""Row images of the log to rows of cells (`model.Cell`), by a decoder that is generated once for each table map.

A row image that does not end exactly where its event ends raises: a wrong schema never yields shifted values. An error
never holds row values.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, NamedTuple

from ..model.errors import UnsupportedEvent
from ..model.tables import Cell, Row
from .column_decoders import ColumnDecoder, column_decoder
from .decoder_codegen import RowEmitter, RowFunction, any_rows, as_cells, as_keys, same_rows
from .map_columns import TableMap
from .rows_event import PARTIAL_UPDATES, check_fit, parse_rows_header

# A function for rows with the same NULLs pays from about this many rows on. So many are kept for each table.
_ROWS_BEFORE_OWN_FUNCTION = 40
_OWN_FUNCTIONS_MAX = 32
_PATTERNS_COUNTED_MAX = 1024

# A key of one column is its cell, any other key a tuple of its cells.
ImageKey = Cell | Row

MALFORMED = (IndexError, KeyError, OverflowError, RecursionError, ValueError, struct.error, zlib.error)


class Decoder:
    """Decodes the row images of one table map. Rows are tuples of cells, in the order of the columns."""

    __slots__ = ("_any", "_columns", "_emit", "_nulls_size", "_own", "_prefixes", "_seen", "_wanted", "table_map")

    def __init__(
        self, table_map: TableMap, columns: list[ColumnDecoder], wanted: list[bool], emit: RowEmitter = as_cells
    ) -> None:
        self._emit = emit
        self.table_map = table_map
        self._columns = columns
        self._wanted = wanted
        self._nulls_size = (len(columns) + 7) // 8
        self._any = any_rows(columns, wanted, emit)
        self._own: dict[bytes, RowFunction] = {}
        self._seen: dict[bytes, int] = {}
        self._prefixes: dict[int, bytes] = {}

    def inserts(self, body: bytes, start: int, end: int) -> list[Row]:
        """The rows whose images lie from `start` to `end`, which must be the end of the last one."""
        return self._read(body, start, end)

    def updates(self, body: bytes, start: int, end: int) -> list[tuple[Row, Row]]:
        """(before, after) of each row."""
        images = iter(self._read(body, start, end))
        try:
            return list(zip(images, images, strict=True))
        except ValueError:
            raise self.unpaired() from None

    def _read(self, body: bytes, start: int, end: int) -> list[Any]:
        found: list[Any] = []
        add, own, size, at = found.append, self._own.get, self._nulls_size, start
        try:
            while at < end:
                nulls = body[at : at + size]
                read = own(nulls) or self._choose(nulls)
                at = read(body, at, end, add)
        except MALFORMED as error:
            raise self.misfit(type(error).__name__) from None
        if at != end:
            raise self.misfit(f"{at - end} bytes beyond its end")
        return found

    def unpaired(self) -> UnsupportedEvent:
        """The error for an odd number of images in an event of updates."""
        return self.misfit("a before image without its after image")

    def start_of_rows(self, data: bytes, event_type: int, body: int = 0) -> int | None:
        """Where the images of a rows event of this table begin; None if they are not whole rows.

        Refuses an event that `check_fit` refuses.

        Args:
            body: where the event's body begins.
        """
        # After table id and flags all events of a table and a type begin alike: mostly one comparison is enough.
        known = self._prefixes.get(event_type)
        if known is not None and data.startswith(known, body + 8):
            return body + 8 + len(known)
        header = parse_rows_header(data[body:], event_type)
        check_fit(header, self.table_map)
        if not header.full or event_type == PARTIAL_UPDATES:
            return None
        self._prefixes[event_type] = data[body + 8 : body + header.start]
        return body + header.start

    def _choose(self, nulls: bytes) -> RowFunction:
        """The function for any row, until rows with these NULLs have come often enough for a function of their own."""
        if len(self._own) >= _OWN_FUNCTIONS_MAX or len(self._seen) >= _PATTERNS_COUNTED_MAX:
            return self._any
        seen = self._seen[nulls] = self._seen.get(nulls, 0) + 1
        if seen < _ROWS_BEFORE_OWN_FUNCTION or len(nulls) < self._nulls_size:
            return self._any
        function = self._own[nulls] = same_rows(self._columns, self._wanted, nulls, self._emit)
        return function

    def misfit(self, what: str) -> UnsupportedEvent:
        """The error for images that are not rows of the table."""
        return misfit(self.table_map, what)


def misfit(table_map: TableMap, what: str) -> UnsupportedEvent:
    """The error for images that are not rows of the table."""
    return UnsupportedEvent(
        f"{table_map.name}: a rows event does not fit its table map ({what})",
        hint="Set binlog_row_metadata=FULL on the source; if it is, please report this as a bug.",
    )


class ScannedRows(NamedTuple):
    """The row images of some events, one after the other.

    Attributes:
        data: the images' bytes, from `start` on.
        keys: the key of each image.
        ends: where each image ends, and the next one begins.
        others: the other cells of each image that the scanner looks for, if any.
    """

    data: bytes
    start: int
    keys: list[ImageKey]
    ends: list[int]
    others: list[Row]


class Scanner(Decoder):
    """Finds the rows in their images: the key of each, where in the bytes it ends, and other cells, if any."""

    __slots__ = ("_others",)

    def __init__(
        self,
        table_map: TableMap,
        reads: tuple[list[ColumnDecoder], list[bool]],
        key: Sequence[int],
        others: Sequence[int],
    ) -> None:
        super().__init__(table_map, *reads, as_keys(key, others))
        self._others = bool(others)

    def rows(self, events: Sequence[tuple[Any, bytes, int, int]], images_of_row: int) -> ScannedRows:
        """The rows of events of one kind.

        Args:
            events: of each its kind, its bytes, and where in them the images begin and end.
            images_of_row: 2 in an update, before and after; else 1.

        Raises:
            UnsupportedEvent: the images of an event are not whole rows of the table.
        """
        if len(events) == 1:
            _, data, start, end = events[0]
            bodies: list[bytes] = []
        else:  # many events have but one row; reading them together costs less
            bodies = [data[start:end] for _, data, start, end in events]
            data = b"".join(bodies)
            start, end = 0, len(data)
        found = self._read(data, start, end)
        step = 2 + self._others
        keys, ends = found[::step], found[1::step]
        if len(keys) % images_of_row:
            raise self.unpaired()
        if bodies and not set(accumulate(map(len, bodies))).issubset(ends[images_of_row - 1 :: images_of_row]):
            raise self.misfit("a row that goes on in the next event")
        return ScannedRows(data, start, keys, ends, found[2::step] if self._others else [])


class Renderer(Decoder):
    """Writes the rows in another form, which `emit` determines."""

    __slots__ = ()

    def rows(self, body: bytes, start: int, end: int) -> list[Any]:
        """What `emit` makes of each row."""
        return self._read(body, start, end)


def compile_decoder(table_map: TableMap, wanted: frozenset[int] | None = None) -> Decoder:
    """A decoder for the table. Columns that are not `wanted` (indexes; None for all) come as None."""
    return Decoder(table_map, *decoders_of(table_map, wanted))


def compile_scanner(table_map: TableMap, key: Sequence[int], others: Sequence[int] = ()) -> Scanner:
    """A scanner for the table, for keys and other cells of these columns (indexes)."""
    return Scanner(table_map, decoders_of(table_map, frozenset([*key, *others])), key, others)


def compile_renderer(
    table_map: TableMap, wanted: frozenset[int], emit: RowEmitter, raw: Mapping[int, ColumnDecoder] | None = None
) -> Renderer:
    """A renderer for the table. `raw`: columns that are not read as cells, and how they are read."""
    columns, flags = decoders_of(table_map, wanted)
    for ordinal, otherwise in (raw or {}).items():
        columns[ordinal] = otherwise
    return Renderer(table_map, columns, flags, emit)


def decoders_of(table_map: TableMap, wanted: frozenset[int] | None) -> tuple[list[ColumnDecoder], list[bool]]:
    flags = [wanted is None or ordinal in wanted for ordinal in range(len(table_map.columns))]
    # Nothing but the size of a skipped column matters, and that is always in the log.
    columns = tuple(
        column
        if flag
        else replace(
            column,
            unsigned=bool(column.unsigned),
            charset=column.charset or "binary",
            members=column.members or (),
        )
        for column, flag in zip(table_map.columns, flags, strict=True)
    )
    sized = replace(table_map, columns=columns)
    return [column_decoder(sized, ordinal) for ordinal in range(len(columns))], flags
