"""Rows as a server's own rows events, which a server takes back by its BINLOG statement. Pure.

A row image of the log is written to the target as it is: it is neither decoded here nor parsed there. That is exact
under two conditions. The image has to mean the same in both tables; `event_encoding` and the target
(`event_replay.py`) decide that together. And it has to be known which rows the target holds: the server refuses to
insert a row that is there, and to change or delete one that is not. The server finds a row by its key, so a before
image holds nothing else.

The format: https://dev.mysql.com/doc/dev/mysql-server/latest/classbinary__log_1_1Rows__event.html
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, starmap
from operator import index, itemgetter
from typing import Any, NamedTuple, cast

from pybase64 import b64encode

from ..binlog.event_format import HEADER
from ..binlog.map_columns import MEMBERS, NUMERIC, OLD_TEMPORAL, TEXT, MapColumn, TableMap, Type
from ..binlog.missing_metadata import fits
from ..binlog.row_images import ImageKey
from ..model.limits import LONG_BYTES
from ..model.tables import Column, TableName
from ..plan.table_plan import TablePlan
from ..values.column_types import PRINTED_TYPES
from ..values.length_encoding import encoded_length, length_at

_FORMAT_DESCRIPTION, _TABLE_MAP = 15, 19
_TABLE_ID = 1
_POST_HEADER = struct.pack("<IHH", _TABLE_ID, 0, 0)
# Foreign keys are not checked, as in all that we write (`session.py`). The statement goes on, or ends here.
_ROWS_HEADER, _LAST_ROWS_HEADER = struct.pack("<IHH", _TABLE_ID, 0, 2), struct.pack("<IHH", _TABLE_ID, 0, 2 | 1)
# For MySQL and MariaDB: (insert, update, delete), and the bytes between their header and the number of columns.
_KINDS = {False: (30, 31, 32), True: (23, 24, 25)}
_EXTRA = {False: b"\2\0", True: b""}
# The server that the events are of, how many types there are, and the sizes of the used types' headers.
_DESCRIPTIONS = {
    False: (b"8.0.11", 41, {_TABLE_MAP: 8, 30: 10, 31: 10, 32: 10}),
    True: (b"10.5.2-MariaDB", 171, {_TABLE_MAP: 8, 23: 8, 24: 8, 25: 8}),
}
_STATEMENT_BYTES_MAX = 512 * 1024  # of images, unless one row is longer
WRITE_ROWS_MAX = 1000  # rows that are written before the next ones: neighbours in the target's table

_KEY_CODES = {Type.TINY: "b", Type.SHORT: "h", Type.LONG: "i", Type.LONGLONG: "q"}
# The servers compare the sizes of strings. But if the log says 0, they take the target's own size.
_SIZED = frozenset({Type.STRING, Type.VARCHAR, Type.VAR_STRING})
_NEVER = OLD_TEMPORAL | {Type.BLOB_COMPRESSED, Type.VARCHAR_COMPRESSED, Type.GEOMETRY, Type.VECTOR}
# The log has these as strings, and does not say that they are anything else.
_OWN_TYPES = PRINTED_TYPES.keys() | {"vector"}


@dataclass(frozen=True, slots=True)
class EventEncoding:
    """How rows of one table map become events of the target's table.

    Args:
        columns: the columns, as the target's table map describes them.
        width: how many columns there are.
        key_bitmap: the key's columns, as a bit each.
        key_images: makes the row images that hold nothing but these keys.
        order: the sort key of a key, in the order of the target's primary key.
    """

    columns: bytes
    width: int
    key_bitmap: bytes
    key_images: Callable[[Sequence[Any]], Iterator[bytes]]
    order: Callable[[Any], Any]

    def changes(self, last_images: dict[ImageKey, bytes | None], new_keys: Collection[ImageKey]) -> RowChanges | None:
        """These last images, for a target that has all of the keys but `new_keys`.

        None if an image is so long that it is better sent bit by bit.
        """
        longest = max(map(len, filter(None, last_images.values())), default=0)
        return None if longest >= LONG_BYTES else RowChanges(self, last_images, new_keys)


@dataclass(frozen=True, slots=True)
class RowChanges:
    """The last image of each key, as the log has it; None for a row that goes.

    Args:
        new_keys: keys that the target lacks.
        descending: whether they go through the target's table from its end.
    """

    encoding: EventEncoding
    last_images: dict[ImageKey, bytes | None]
    new_keys: Collection[ImageKey]
    descending: bool = False

    def events(self, table: TableName, packet_bytes_max: int, *, mariadb: bool, written_unix_s: int) -> Iterator[bytes]:
        """The events of each statement, in base64, for a session that knows `description_sql`.

        `written_unix_s` is their date in the target's own log, from which its replicas tell how far they are behind.

        They go through the target's table once, in the order of its rows. So each page of a table larger than the
        buffer pool is read and written once, however many of its rows have changed.
        """
        encoding = self.encoding
        extra = _EXTRA[mariadb] + encoded_length(encoding.width)
        heads = _ROWS_HEADER + extra, _LAST_ROWS_HEADER + extra
        names = b"".join(bytes([len(name)]) + name + b"\0" for name in (table.schema.encode(), table.table.encode()))
        table_map = _event(_TABLE_MAP, _POST_HEADER + names + encoding.columns, written_unix_s)
        bytes_max = min(_STATEMENT_BYTES_MAX, (packet_bytes_max - len(table_map)) // 2)
        keys = sorted(self.last_images, key=encoding.order, reverse=self.descending)
        for start in range(0, len(keys), WRITE_ROWS_MAX):
            rows_events: list[_RowsEvent] = []
            size = 0
            for one in self._rows_events(keys[start : start + WRITE_ROWS_MAX], _KINDS[mariadb], bytes_max):
                if size and size + one.size > bytes_max:
                    yield _encoded(table_map, rows_events, heads, written_unix_s)
                    rows_events, size = [], 0
                rows_events.append(one)
                size += one.size
            if rows_events:
                yield _encoded(table_map, rows_events, heads, written_unix_s)

    def _rows_events(
        self, keys: Sequence[ImageKey], kinds: tuple[int, int, int], bytes_max: int
    ) -> Iterator[_RowsEvent]:
        """The events of some rows: of those that go, those that change, and those that are new."""
        insert, update, delete = kinds
        encoding, last, new_keys = self.encoding, self.last_images, self.new_keys
        every = b"\xff" * ((encoding.width + 7) // 8)  # bits beyond the last column mean nothing
        added = [image for key in keys if key in new_keys and (image := last[key]) is not None]
        present = [key for key in keys if key not in new_keys]
        gone = [key for key in present if last[key] is None]
        if gone:
            present = [key for key in present if last[key] is not None]
        after = cast("list[bytes]", [last[key] for key in present])
        changed = list(chain.from_iterable(zip(encoding.key_images(present), after, strict=True)))
        yield from _rows_events(delete, encoding.key_bitmap, list(encoding.key_images(gone)), 1, bytes_max)
        yield from _rows_events(update, encoding.key_bitmap + every, changed, 2, bytes_max)
        yield from _rows_events(insert, every, added, 1, bytes_max)


class _RowsEvent(NamedTuple):
    """A rows event: its type, the columns that its images hold, and the images, which are `size` bytes long."""

    kind: int
    bitmaps: bytes
    images: Sequence[bytes]
    size: int


def _encoded(
    table_map: bytes, rows_events: Sequence[_RowsEvent], heads: tuple[bytes, bytes], written_unix_s: int
) -> bytes:
    """One statement's events, in base64. `heads`: of a rows event, and of the statement's last one."""
    found = [table_map]
    for number, one in enumerate(rows_events, 1):
        head = heads[number == len(rows_events)]
        header = _event_header(one.kind, len(head) + len(one.bitmaps) + one.size, written_unix_s)
        found += (header, head, one.bitmaps, *one.images)
    return b64encode(b"".join(found))  # it is long, and is copied once


def event_encoding(plan: TablePlan, table_map: TableMap) -> EventEncoding | None:
    """How the plan's rows become events; None if an image of one table is not an image of the other.

    This is for mappings of whole tables that take columns as they are. With an init_query, or a target that is taken as
    it is, rows may be missing that the log changes. Whether a string's size is right, the target says.
    """
    if plan.mapping.init_query is not None or plan.mapping.init_if_table_empty:
        return None
    if any(c.transform is not None for c in plan.columns):
        return None
    names = {c.source: c.target for c in plan.columns}
    targets = plan.target.columns
    if len(table_map.columns) != len(targets) or len(plan.columns) != len(targets) or not plan.distinct_keys:
        return None
    ordinals = []
    for ordinal, (column, target) in enumerate(zip(table_map.columns, targets, strict=True)):
        source = plan.source.column(column.name or "")
        if source is None or names.get(source.name) != target.name or source.column_type != target.column_type:
            return None
        if not _alike(column, target):
            return None
        if target.name in plan.key:
            ordinals.append(ordinal)
    keys = [table_map.columns[ordinal] for ordinal in ordinals]
    names_of_keys = [targets[ordinal].name for ordinal in ordinals]
    codes = [_KEY_CODES.get(key.type, "") for key in keys]
    if len(keys) != len(plan.key) or plan.target.primary_key != plan.key or not all(codes):
        return None
    codes = [code.upper() if key.unsigned else code for code, key in zip(codes, keys, strict=True)]
    bits = sum(1 << ordinal for ordinal in ordinals)
    # The image begins with the bits for NULLs. A key has none.
    key_image = struct.Struct(f"<{(len(keys) + 7) // 8}x{''.join(codes)}").pack
    single = len(keys) == 1

    def key_images(keys: Sequence[Any]) -> Iterator[bytes]:
        return map(key_image, keys) if single else starmap(key_image, keys)

    return EventEncoding(
        columns=_columns(table_map.raw),
        width=len(targets),
        key_bitmap=bits.to_bytes((len(targets) + 7) // 8, "little"),
        key_images=key_images,
        order=index if single else itemgetter(*(names_of_keys.index(name) for name in plan.key)),
    )


def _alike(column: MapColumn, target: Column) -> bool:
    """Whether a value's bytes in the log are those of the target's column, and no more than it may hold."""
    if column.type in _NEVER or target.type in _OWN_TYPES or (column.type in _SIZED and not column.meta):
        return False
    if not fits(column, target) or target.generated or target.invisible or (column.nullable and not target.nullable):
        return False
    if column.type in TEXT | MEMBERS and column.charset != (target.charset or "binary"):
        return False
    if column.type in MEMBERS and column.members != target.members:
        return False
    return column.type not in NUMERIC or bool(column.unsigned) == target.unsigned


def _columns(raw: bytes) -> bytes:
    """From a table map's bytes behind its flags: how many columns, their types, metadata, and which may be NULL."""
    at = 1 + raw[0] + 1
    begin = at = at + 1 + raw[at] + 1
    width, at = length_at(raw, at)
    at += width
    size, at = length_at(raw, at)
    return raw[begin : at + size + (width + 7) // 8]


def description_sql(*, mariadb: bool) -> bytes:
    """The statement that tells a session the format of the events to come."""
    version, kinds, sizes = _DESCRIPTIONS[mariadb]
    headers = bytes(sizes.get(kind, 0) for kind in range(1, kinds + 1))
    no_checksums = b"\0" * 5  # their kind, and this event's own
    body = struct.pack("<H50sIB", 4, version, 0, 19) + headers + no_checksums
    return b"".join(binlog_sql(b64encode(_event(_FORMAT_DESCRIPTION, body))))


def binlog_sql(events: bytes) -> tuple[bytes, bytes, bytes]:
    """The statement that applies events, as the bytes to be sent one after the other."""
    return b"BINLOG '", events, b"'"


def _event(kind: int, body: bytes, written_unix_s: int = 0) -> bytes:
    return _event_header(kind, len(body), written_unix_s) + body


def _event_header(kind: int, body_bytes: int, written_unix_s: int) -> bytes:
    return HEADER.pack(written_unix_s, kind, 0, HEADER.size + body_bytes, 0, 0)


def _rows_events(
    kind: int, bitmaps: bytes, images: Sequence[bytes], of_row: int, bytes_max: int
) -> Iterator[_RowsEvent]:
    """Rows events of the images, no longer than `bytes_max` unless one row is. `of_row`: how many images a row has."""
    if 0 < (total := sum(map(len, images))) <= bytes_max:
        yield _RowsEvent(kind, bitmaps, images, total)
        return
    sizes = list(map(len, images))
    start = size = 0
    for at in range(0, len(images), of_row):
        row_bytes = sum(sizes[at : at + of_row])
        if size and size + row_bytes > bytes_max:
            yield _RowsEvent(kind, bitmaps, images[start:at], size)
            start, size = at, 0
        size += row_bytes
    if size:
        yield _RowsEvent(kind, bitmaps, images[start:], size)
