"""The header of a rows event: which columns its row images hold, and where they begin. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ..model.errors import UnsupportedEvent
from ..values.length_encoding import length_at
from .map_columns import TableMap

PARTIAL_UPDATES = 39  # MySQL: of JSON columns the after images may hold what has changed in the document
INSERTS = frozenset({23, 30})
UPDATES = frozenset({24, 31, PARTIAL_UPDATES})
DELETES = frozenset({25, 32})
_WITH_EXTRA_DATA = frozenset({30, 31, 32, PARTIAL_UPDATES})


@dataclass(frozen=True, slots=True)
class RowsHeader:
    """The fields of a rows event before its row images, which begin at `start`.

    `before` and `after` have a bit for each column that the images hold; an event has one or both.
    """

    width: int
    before: bytes | None
    after: bytes | None
    start: int

    @property
    def full(self) -> bool:
        """Whether the images hold all columns."""
        every = (1 << self.width) - 1
        present = (bitmap for bitmap in (self.before, self.after) if bitmap is not None)
        return all(int.from_bytes(bitmap, "little") & every == every for bitmap in present)


def parse_rows_header(body: bytes, event_type: int) -> RowsHeader:
    """The header of a rows event (types 23-25, 30-32 and 39), from its bytes after the event header."""
    if event_type not in INSERTS | UPDATES | DELETES:
        raise UnsupportedEvent(f"the event type {event_type} is not a rows event that can be decoded")
    try:
        start = 8
        if event_type in _WITH_EXTRA_DATA:
            start += int.from_bytes(body[8:10], "little")
        width, start = length_at(body, start)
        size = (width + 7) // 8
        bitmaps = [body[start : start + size]]
        if event_type in UPDATES:
            bitmaps.append(body[start + size : start + 2 * size])
    except IndexError:
        raise UnsupportedEvent("a rows event ends too early") from None
    if len(bitmaps[-1]) != size:
        raise UnsupportedEvent("a rows event ends too early")
    return RowsHeader(
        width=width,
        before=None if event_type in INSERTS else bitmaps[0],
        after=None if event_type in DELETES else bitmaps[-1],
        start=start + size * len(bitmaps),
    )


def check_fit(header: RowsHeader, table_map: TableMap) -> None:
    """Refuse an event whose images are not rows of the table."""
    if header.width != len(table_map.columns):
        raise UnsupportedEvent(
            f"{table_map.name}: {header.width} columns in the event, {len(table_map.columns)} in its map"
        )
