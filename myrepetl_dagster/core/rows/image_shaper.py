"""Row images that stay bytes until they are written. If a key changes again and again, only its last image is decoded.

This is for targets where a row can only collide with its own former self: there the last image of a key is all that
counts. To find keys, lengths, and the cells that a filter looks at, costs a fraction of decoding. Transforms see
nothing but the last images.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from itertools import groupby
from operator import index, itemgetter
from typing import Any

from ..binlog.events import Images, RowsRead, Verb
from ..binlog.map_columns import TableMap, Type
from ..binlog.row_images import ImageKey, Renderer, ScannedRows, compile_decoder, compile_renderer, compile_scanner
from ..model.errors import RowRejected, UnsupportedEvent
from ..model.limits import LONG_BYTES
from ..model.tables import Column, Row
from ..plan.table_plan import TablePlan, UniqueKeys
from ..values.bulk_parameters import BulkRows
from ..values.literals import literal_of
from .bulk_encoder import BulkEncoding, bulk_encoding
from .event_encoder import RowChanges, event_encoding
from .literal_codegen import LiteralKey, LiteralSource, row_writer, tuple_text
from .pending_rows import LastImageByKey, PendingRows
from .shaper import Shaper
from .writable_rows import Mutation, Rendered

_verb = itemgetter(0)
_WHOLE_NUMBERS = frozenset({Type.TINY, Type.SHORT, Type.INT24, Type.LONG, Type.LONGLONG})


def only_last_images(plan: TablePlan) -> bool:
    """Whether the target needs nothing of a row but its last image, and has its key as the source has it."""
    return plan.unique_keys is UniqueKeys.NONE and all(plan.columns[i].transform is None for i in plan.key_indexes)


class ImageShaper:
    """Shapes the images of one table map, for a plan that `only_last_images`.

    Args:
        bulk: whether the target takes rows in bulk.
    """

    def __init__(self, shaper: Shaper, table_map: TableMap, *, bulk: bool = False) -> None:
        self.plan = plan = shaper.plan
        ordinal_of = {column.name: ordinal for ordinal, column in enumerate(table_map.columns)}
        key = [plan.columns[i].source for i in plan.key_indexes]
        # The scanner gives the key's cells in the order of the table, each once. A key of one cell is that cell.
        ordinals = sorted({ordinal_of[name] for name in key if name is not None})
        filtered = sorted(ordinal_of[name] for name in shaper.filtered_by)
        self._scanner = compile_scanner(table_map, ordinals, filtered)
        self._passes = shaper.passes(filtered)
        self._enum_error = self._other_kind = False
        self._one_at_a_time = threading.Lock()
        sources = shaper.literal_sources()
        wanted = frozenset(ordinal_of[c.source] for c in plan.columns if c.source is not None)
        self._bulk: BulkEncoding | None = None
        self._renderer: Renderer | None = None
        if sources is None:
            wanted = frozenset(ordinal_of.values())
        else:
            places = [ordinal_of.get(c.source, 0) for c in plan.columns]
            if bulk:
                self._bulk = bulk_encoding(sources, places, table_map, self._enum_error_seen, self._other_kind_seen)
            if self._bulk is not None:
                self._bulk_renderer = compile_renderer(table_map, wanted, self._bulk.emit, self._bulk.raw)
            for i in plan.enum_indexes:
                sources[i] = self._watched(sources[i])
            self._renderer = compile_renderer(table_map, wanted, tuple_text(sources, places))
        self._decoder = compile_decoder(table_map, wanted)
        self._events = event_encoding(plan, table_map)
        self._shaper = shaper
        self._row = shaper.row
        at = [0 if name is None else ordinals.index(ordinal_of[name]) for name in key]
        write_key = row_writer(shaper.key_writers(ordinals), at)
        self._key: Callable[[Any], LiteralKey] = (lambda cell: write_key((cell,))) if len(ordinals) == 1 else write_key
        # The order of the scanner's keys, if they are whole numbers to both the tables and the log.
        sorted_by = [place for name, place in zip(key, at, strict=True) if name is not None]
        numbers = plan.distinct_keys and all(table_map.columns[ordinal].type in _WHOLE_NUMBERS for ordinal in ordinals)
        self.order: Callable[[Any], Any] | None = None
        if numbers and sorted_by:
            self.order = index if len(ordinals) == 1 else itemgetter(*sorted_by)

    def _enum_error_seen(self) -> None:
        self._enum_error = True

    def _other_kind_seen(self) -> None:
        self._other_kind = True

    def _watched(self, source: LiteralSource) -> LiteralSource:
        """Notes an ENUM's error value, which needs a statement of its own."""
        if not isinstance(source, Column):
            return source
        literal = literal_of(source)

        def write(cell: Any) -> str:
            if cell == 0:
                self._enum_error = True
            return literal(cell)

        return write

    def shape(self, event: RowsRead, into: PendingRows) -> None:
        """Add what the images mean for the target.

        Raises:
            UnsupportedEvent: they are not whole rows of the table.
            RowRejected: the filter failed.
        """
        if into.image_writer is not self:
            into.begin_images(self)
        try:
            for run in _runs(event):
                verb = run[0][0]
                rows = self._scanner.rows(run, 2 if verb is Verb.UPDATE else 1)
                if self._passes is None:
                    into.add_images(verb, rows)
                else:
                    into.add_filtered_images(verb, rows, self._passed(self._passes, rows, event))
        except UnsupportedEvent as error:
            raise error.at(event.place) from None

    def _passed(self, passes: Callable[[Row], bool], rows: ScannedRows, event: RowsRead) -> list[bool]:
        try:
            return list(map(passes, rows.others))
        except RowRejected:
            passes_whole = self._shaper.passes()
            for row in (row for change in event.changes for row in change if row is not None):
                _ = passes_whole and passes_whole(row)  # a whole row names its key
            raise

    def written_out(self, last_images: LastImageByKey) -> Rendered | Sequence[Mutation]:
        """The rows, ready to be written, or as mutations if each row needs a closer look. Any thread may ask.

        Raises:
            UnsupportedEvent: an image holds what no value of its column can be.
            RowRejected: a transform failed.
        """
        with self._one_at_a_time:
            try:
                rendered = self._rendered(last_images)
            except RowRejected:
                rendered = None  # row by row the error can name the row
            return rendered or self._mutations(last_images)

    def _rendered(self, last_images: LastImageByKey) -> Rendered | None:
        if self._renderer is None:
            return None
        images = [image for image in last_images.values() if image is not None]
        data = b"".join(images)
        self._enum_error = False
        tuples: list[str] = []
        rows: BulkRows | None = None
        # A long row goes as text, which is sent bit by bit.
        if self._bulk is not None and max(map(len, images), default=0) < LONG_BYTES:
            rows = BulkRows(self._bulk.values, self._bulk.types, self._bulk_renderer.rows(data, 0, len(data)))
            if self._other_kind:  # a transform makes something else than text: from now on all rows go as literals
                self._bulk = rows = None
        if rows is None:
            tuples = self._renderer.rows(data, 0, len(data))
        if self._enum_error:
            return None
        write_key = self._key
        gone: list[LiteralKey] = []
        if len(images) < len(last_images):
            gone = [write_key(key) for key, image in last_images.items() if image is None]
        return Rendered(gone, tuples, lambda: self.mutations(last_images), rows)

    def changes(self, last_images: LastImageByKey, new_keys: Collection[ImageKey]) -> RowChanges | None:
        """The rows as images, for a target that takes them; None if they are not the target table's own."""
        return None if self._events is None else self._events.changes(last_images, new_keys)

    def mutations(self, last_images: LastImageByKey) -> list[Mutation]:
        """The rows as mutations, one for each key. Any thread may ask."""
        with self._one_at_a_time:
            return self._mutations(last_images)

    def _mutations(self, last_images: LastImageByKey) -> list[Mutation]:
        data = b"".join(image for image in last_images.values() if image is not None)
        rows: Sequence[Row] = self._decoder.inserts(data, 0, len(data))
        written = iter(map(self._row, rows))
        write_key = self._key
        return [(write_key(key), None if image is None else next(written)) for key, image in last_images.items()]


def _runs(event: RowsRead) -> Sequence[Sequence[Images]]:
    """The event's images in lists of one kind; long ones by themselves, so as not to copy them."""
    images = event.images
    if len(images) == 1:
        return (images,)
    if event.size_bytes > LONG_BYTES:
        return [[one] for one in images]
    return [list(run) for _, run in groupby(images, _verb)]
