"""Row images that lack columns: which there are, and rows with a mark in each place of which nothing is known. Pure.

Sessions ask for such images (`binlog_row_image`, `binlog_row_value_options`), and MariaDB 11.8 leaves generated columns
out of whole ones. If all images of an event hold the same columns, they are whole rows of a narrower table. Otherwise
`PartialDecoder` reads before and after images in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from typing import Any

from ..model.errors import UnsupportedEvent
from ..model.tables import Cell
from ..values.length_encoding import length_at
from .column_decoders import ColumnDecoder
from .decoder_codegen import RowFunction, any_rows
from .json_diffs import patched
from .map_columns import TableMap, Type
from .row_images import MALFORMED, Decoder, compile_decoder, decoders_of, misfit
from .rows_event import PARTIAL_UPDATES, RowsHeader

_PARTIAL_JSON = 1  # among the options before an after image: bits say which documents are differences


class Absent(Enum):
    """Stands for a cell that an image lacks."""

    NO_CELL = "the image does not hold the column"
    CHANGED = "the image says how a document changed that is in no image"


PartialRow = tuple[Cell | Absent, ...]
PartialChange = tuple[PartialRow | None, PartialRow | None]


def partial_decoder(table_map: TableMap, event_type: int, header: RowsHeader) -> Decoder | PartialDecoder:
    """The decoder for events with this header, which are not whole rows of the table. Its table map fits its rows."""
    width = len(table_map.columns)
    before, after = _ordinals(header.before, width), _ordinals(header.after, width)
    held = after if before is None else before
    if event_type != PARTIAL_UPDATES and held and (before is None or after is None or before == after):
        present = tuple(table_map.columns[ordinal] for ordinal in held)
        bitmap = header.before or header.after or b""
        return compile_decoder(replace(table_map, columns=present, raw=table_map.raw + b"|" + bitmap, whole=table_map))
    uneven = replace(table_map, raw=table_map.raw + b"|", whole=table_map, uneven=True)
    return PartialDecoder(uneven, before, after, event_type == PARTIAL_UPDATES)


def _ordinals(bitmap: bytes | None, width: int) -> list[int] | None:
    if bitmap is None:
        return None
    return [ordinal for ordinal in range(width) if bitmap[ordinal // 8] >> ordinal % 8 & 1]


class PartialDecoder:
    """Decodes images that hold these columns of one table map (ordinals; None: there are no such images)."""

    def __init__(
        self, table_map: TableMap, before: Sequence[int] | None, after: Sequence[int] | None, with_json_diffs: bool
    ) -> None:
        self.table_map = table_map
        self._documents = [i for i, column in enumerate(table_map.columns) if column.type is Type.JSON]
        self._after = after
        self._read_before = self._reader(before)
        self._with_json_diffs = with_json_diffs
        self._read_after = {b"": self._reader(after)}  # by the bits of documents that are differences

    def inserts(self, body: bytes, start: int, end: int) -> list[PartialRow]:
        """The rows whose images lie from `start` to `end`, which must be the end of the last one."""
        return self._read(body, start, end, [self._read_after[b""] or self._read_before])

    def updates(self, body: bytes, start: int, end: int) -> list[tuple[PartialRow, PartialRow]]:
        """(before, after) of each row."""
        rows = iter(self._read(body, start, end, [self._read_before, self._read_after[b""]]))
        return list(zip(rows, rows, strict=True))

    def _read(self, body: bytes, start: int, end: int, readers: Sequence[RowFunction | None]) -> list[PartialRow]:
        found: list[Any] = []
        at = start
        try:
            while at < end:
                begin = at
                for number, read in enumerate(readers):
                    if number and self._with_json_diffs:
                        at = self._read_with_diffs(body, at, end, found)
                    elif read is not None:
                        at = read(body, at, end, found.append)
                if at == begin:
                    break
        except (*MALFORMED, TypeError) as error:
            raise misfit(self.table_map, type(error).__name__) from None
        if not found:  # they leave no byte, so that nobody can count them
            raise UnsupportedEvent(
                f"{self.table_map.name}: the log holds rows without any column",
                hint="Set binlog_row_image=FULL on the source, then run the `snapshot` job for the table's mappings.",
            )
        if at != end:
            raise misfit(self.table_map, f"{at - end} bytes beyond its end")
        return found

    def _read_with_diffs(self, body: bytes, at: int, end: int, found: list[Any]) -> int:
        """Read an after image behind its before image, which is the last one found."""
        options, at = length_at(body, at)
        if options & ~_PARTIAL_JSON:
            raise ValueError("unknown options")
        bits = b""
        if options:
            size = (len(self._documents) + 7) // 8
            bits, at = body[at : at + size], at + size
        differing = [i for n, i in enumerate(self._documents) if bits and bits[n // 8] >> n % 8 & 1]
        if bits not in self._read_after:
            self._read_after[bits] = self._reader(self._after, differing)
        read = self._read_after[bits]
        assert read is not None, "an update has an after image"
        at = read(body, at, end, found.append)
        if differing:
            before, after = found[-2:]
            found[-1] = tuple(_document(before[i], cell) if i in differing else cell for i, cell in enumerate(after))
        return at

    def _reader(self, present: Sequence[int] | None, as_bytes: Sequence[int] = ()) -> RowFunction | None:
        if present is None:
            return None
        narrow = replace(self.table_map, columns=tuple(self.table_map.columns[i] for i in present))
        columns, wanted = decoders_of(narrow, None)
        for place, ordinal in enumerate(present):
            if ordinal in as_bytes:
                columns[place] = ColumnDecoder(prefix=columns[place].prefix)
        place_of = {ordinal: place for place, ordinal in enumerate(present)}
        width = len(self.table_map.columns)

        def emit(cells: Sequence[str], uncertain: bool, names: dict[str, Any]) -> str:
            names["NO_CELL"] = Absent.NO_CELL
            row = (cells[place_of[i]] if i in place_of else "NO_CELL" for i in range(width))
            return f"add(({', '.join(row)},))"

        return any_rows(columns, wanted, emit)


def _document(before: Any, diffs: Any) -> Cell | Absent:
    if diffs is Absent.NO_CELL or diffs == b"":  # no differences
        return before  # type: ignore[no-any-return]
    return Absent.CHANGED if isinstance(before, Absent) else patched(before, diffs)
