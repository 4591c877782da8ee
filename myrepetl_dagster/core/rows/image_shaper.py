"""Row images that stay bytes until they are written: of a key that changes again and again, only the last is decoded.

For targets where a row can only collide with its own former self, the last image of a key is all that counts. Finding
keys and lengths, and what a filter looks at, costs a fraction of decoding. Transforms see the last images alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import accumulate, groupby
from operator import index, itemgetter
from typing import Any, NamedTuple

from ..binlog.events import Images, RowsRead, Verb
from ..binlog.map_columns import TableMap, Type
from ..binlog.rows_event import ImageKey, Renderer, compile_decoder, compile_renderer, compile_scanner
from ..model.errors import RowRejected, UnsupportedEvent
from ..model.limits import LONG_BYTES
from ..model.tables import Column, Row
from ..plan.table_plan import TablePlan, UniqueKeys
from ..transforms.filters import columns as filter_columns
from ..values.bulk_parameters import BulkRows
from ..values.literals import literal_of
from .bulk_encoder import BulkForm, bulk_form
from .event_encoder import RowChanges, event_form
from .literal_codegen import Form, row_writer, tuple_text
from .pending_rows import LastImageByKey, LiteralKey, Mutation, PendingRows, Rendered
from .shaper import Shaper

_verb = itemgetter(0)
_WHOLE_NUMBERS = frozenset({Type.TINY, Type.SHORT, Type.INT24, Type.LONG, Type.LONGLONG})


def only_last_images(plan: TablePlan) -> bool:
    """Whether the target needs nothing of a row but its last image, and has its key as the source has it."""
    return plan.unique_keys is UniqueKeys.NONE and all(plan.columns[i].transform is None for i in plan.key_indexes)


class _Rows(NamedTuple):
    """Rows whose images follow each other in `data`, from `start` on: of each its key, where it ends, and the cells
    that a filter looks at. Of updates each row comes twice, before and after.
    """

    data: bytes
    start: int
    keys: list[ImageKey]
    ends: list[int]
    others: list[Row]

    def places(self, verb: Verb) -> Iterator[tuple[int, int]]:
        """Where the images lie; of updates those after."""
        ends = self.ends
        if verb is Verb.UPDATE:
            return zip(ends[::2], ends[1::2], strict=True)
        return zip([self.start, *ends], ends, strict=False)

    def images(self, verb: Verb) -> list[bytes]:
        data = self.data
        return [data[begin:end] for begin, end in self.places(verb)]


class ImageShaper:
    """Shapes the images of one table map, for a plan that `only_last_images`.

    Args:
        bulk: whether the target takes rows in bulk.
    """

    def __init__(self, shaper: Shaper, table_map: TableMap, *, bulk: bool = False) -> None:
        self.plan = plan = shaper.plan
        ordinal_of = {column.name: ordinal for ordinal, column in enumerate(table_map.columns)}
        key = [plan.columns[i].source for i in plan.key_indexes]
        # The scanner gives the key's cells in the order of the table, each once; one cell alone.
        ordinals = sorted({ordinal_of[name] for name in key if name is not None})
        filtered = sorted(ordinal_of[name] for name in filter_columns(plan.mapping.filter))
        self._scanner = compile_scanner(table_map, ordinals, filtered)
        self._passes = shaper.passes(filtered)
        self._enum_error = self._other_kind = False
        self._one_at_a_time = threading.Lock()
        forms = shaper.forms()
        wanted = frozenset(ordinal_of[c.source] for c in plan.columns if c.source is not None)
        self._bulk: BulkForm | None = None
        self._renderer: Renderer | None = None
        if forms is None:
            wanted = frozenset(ordinal_of.values())
        else:
            places = [ordinal_of.get(c.source, 0) for c in plan.columns]
            if bulk:
                self._bulk = bulk_form(forms, places, table_map, self._enum_error_seen, self._other_kind_seen)
            if self._bulk is not None:
                self._bulk_renderer = compile_renderer(table_map, wanted, self._bulk.emit, self._bulk.raw)
            for i in plan.enum_indexes:
                forms[i] = self._watched(forms[i])
            self._renderer = compile_renderer(table_map, wanted, tuple_text(forms, places))
        self._decoder = compile_decoder(table_map, wanted)
        self._events = event_form(plan, table_map)
        self._shaper = shaper
        self._row = shaper.row
        at = [0 if name is None else ordinals.index(ordinal_of[name]) for name in key]
        write_key = row_writer(shaper.key_writers(ordinals), at)
        self._key: Callable[[Any], LiteralKey] = (lambda cell: write_key((cell,))) if len(ordinals) == 1 else write_key
        # Of keys as the scanner gives them, where they are whole numbers: here, and in what the log calls them.
        sorted_by = [place for name, place in zip(key, at, strict=True) if name is not None]
        numbers = plan.distinct_keys and all(table_map.columns[ordinal].type in _WHOLE_NUMBERS for ordinal in ordinals)
        self.order: Callable[[Any], Any] | None = None
        if numbers and sorted_by:
            self.order = index if len(ordinals) == 1 else itemgetter(*sorted_by)

    def _enum_error_seen(self) -> None:
        self._enum_error = True

    def _other_kind_seen(self) -> None:
        self._other_kind = True

    def _watched(self, form: Form) -> Form:
        """Notes an ENUM's error value, which takes a statement of its own."""
        if not isinstance(form, Column):
            return form
        literal = literal_of(form)

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
        try:
            self._shape(event, into)
        except UnsupportedEvent as error:
            raise error.at(event.place) from None

    def _shape(self, event: RowsRead, into: PendingRows) -> None:
        into.images_of(self)
        # Long ones by themselves, so as not to copy them.
        alone = event.size_bytes > LONG_BYTES
        runs = [[one] for one in event.images] if alone else [list(run) for _, run in groupby(event.images, _verb)]
        for run in runs:
            verb = run[0][0]
            rows = self._scanned(verb, run)
            if self._passes is None:
                _add(verb, rows, into)
                continue
            try:
                _add_passing(self._passes, verb, rows, into)
            except RowRejected:
                passes = self._shaper.passes()
                for row in (row for change in event.changes for row in change if row is not None):
                    _ = passes and passes(row)  # it tells which one
                raise

    def _scanned(self, verb: Verb, events: list[Images]) -> _Rows:
        """The rows of events of one kind."""
        pieces: list[bytes] = []
        if len(events) == 1:
            _, data, start, end = events[0]
        else:  # at once: many have but one row
            pieces = [data[start:end] for _, data, start, end in events]
            data = b"".join(pieces)
            start, end = 0, len(data)
        keys, ends, others = self._scanner.rows(data, start, end)
        step = 2 if verb is Verb.UPDATE else 1
        if len(keys) % step:
            raise self._scanner.unpaired()
        if pieces and not set(accumulate(map(len, pieces))).issubset(ends[step - 1 :: step]):
            raise self._scanner.misfit("a row that goes on in the next event")
        return _Rows(data, start, keys, ends, others)

    def written_out(self, last: LastImageByKey) -> Rendered | Sequence[Mutation]:
        """What is left to do, ready to be written, or as mutations where it takes a closer look at each row.

        Any thread may ask.

        Raises:
            UnsupportedEvent: an image holds what no value of its column can be.
            RowRejected: a transform failed.
        """
        with self._one_at_a_time:
            try:
                rendered = self._rendered(last)
            except RowRejected:
                rendered = None  # row by row it can be told which one
            return rendered or self._mutations(last)

    def _rendered(self, last: LastImageByKey) -> Rendered | None:
        if self._renderer is None:
            return None
        images = [image for image in last.values() if image is not None]
        data = b"".join(images)
        self._enum_error = False
        tuples: list[str] = []
        rows: BulkRows | None = None
        # A long row goes as text, which is sent in pieces.
        if self._bulk is not None and max(map(len, images), default=0) < LONG_BYTES:
            rows = BulkRows(self._bulk.values, self._bulk.types, self._bulk_renderer.rows(data, 0, len(data)))
            if self._other_kind:  # a transform makes something else than text: from now on all goes as literals
                self._bulk = rows = None
        if rows is None:
            tuples = self._renderer.rows(data, 0, len(data))
        if self._enum_error:
            return None
        write_key = self._key
        gone = [write_key(key) for key, image in last.items() if image is None] if len(images) < len(last) else []
        return Rendered(gone, tuples, lambda: self.mutations(last), rows)

    def changes(self, last: LastImageByKey, new_keys: Collection[ImageKey]) -> RowChanges | None:
        """The same as images, for a target that takes them; None where they are not the target table's own."""
        return None if self._events is None else self._events.changes(last, new_keys)

    def mutations(self, last: LastImageByKey) -> list[Mutation]:
        """What is left to do, once for each key. Any thread may ask."""
        with self._one_at_a_time:
            return self._mutations(last)

    def _mutations(self, last: LastImageByKey) -> list[Mutation]:
        data = b"".join(image for image in last.values() if image is not None)
        rows: Sequence[Row] = self._decoder.inserts(data, 0, len(data))
        written = iter(map(self._row, rows))
        write_key = self._key
        return [(write_key(key), None if image is None else next(written)) for key, image in last.items()]


def _add(verb: Verb, rows: _Rows, into: PendingRows) -> None:
    """Add what rows mean."""
    last, new_keys, keys = into.last, into.new_keys, rows.keys
    if verb is Verb.UPDATE:
        old, new = keys[::2], keys[1::2]
        if old == new:
            last.update(zip(new, rows.images(verb), strict=True))
        else:
            for before, after, image in zip(old, new, rows.images(verb), strict=True):
                if before != after:  # it moved to another key, and has to leave its old one
                    last[before] = None
                    if after not in last:
                        new_keys.add(after)
                last[after] = image
        into.rows_read += len(new)
        into.rows_upserted += len(new)
        return
    into.rows_read += len(keys)
    if verb is Verb.INSERT:
        into.rows_upserted += len(keys)
        new_keys.update(set(keys).difference(last))
        last.update(zip(keys, rows.images(verb), strict=True))
    else:
        into.rows_deleted += len(keys)
        last.update(dict.fromkeys(keys))


def _add_passing(passes: Callable[[Row], bool], verb: Verb, rows: _Rows, into: PendingRows) -> None:
    """The same through a filter: what enters it is new to the target, what leaves it goes."""
    last, new_keys, keys = into.last, into.new_keys, rows.keys
    passed = list(map(passes, rows.others))
    nobody = [False] * len(keys)
    if verb is Verb.UPDATE:
        old, new, was_in, is_in = keys[::2], keys[1::2], passed[::2], passed[1::2]
    else:
        old = new = keys
        was_in, is_in = (nobody, passed) if verb is Verb.INSERT else (passed, nobody)
    for before, after, left, enters, (begin, end) in zip(old, new, was_in, is_in, rows.places(verb), strict=True):
        if enters:
            if not left or before != after:
                if left:
                    last[before] = None
                if after not in last:
                    new_keys.add(after)
            last[after] = rows.data[begin:end]
            into.rows_upserted += 1
        elif left:
            last[before] = None
            into.rows_deleted += 1
        else:
            into.rows_filtered += 1
    into.rows_read += len(new)
