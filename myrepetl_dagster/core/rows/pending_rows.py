"""Rows that are shaped and not written yet: mutations in their order, then last images as the log has them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, TypeVar

from ..binlog.events import Verb
from ..binlog.row_images import ImageKey, ScannedRows
from .event_encoder import RowChanges
from .sorted_rows import LiteralOrder, SortedRows, sorted_literals
from .writable_rows import Mutation, Rendered

# A key, and the last image of its row; None for a row that went.
LastImageByKey = dict[ImageKey, bytes | None]
# What a mapping writes. Mutations where rows may collide, and their order counts.
RowsToWrite = SortedRows | RowChanges | Sequence[Mutation] | None

_Rows = TypeVar("_Rows")

_ROW_BYTES = 200  # Python adds this to a row, for its key, and for their places in dictionaries
_LITERAL_BYTES = 60  # Python adds this to a short text, and for its place in a row


class ImageWriter(Protocol):
    """Turns undecoded row images into what a target writes (`image_shaper.ImageShaper`). Any thread may ask it."""

    @property
    def order(self) -> Callable[[Any], Any] | None: ...
    def mutations(self, last_images: LastImageByKey) -> list[Mutation]: ...
    def written_out(self, last_images: LastImageByKey) -> Rendered | Sequence[Mutation]: ...
    def changes(self, last_images: LastImageByKey, new_keys: Collection[ImageKey]) -> RowChanges | None: ...


@dataclass(slots=True)
class PendingRows:
    """What is to be done, and where every row that was read went.

    First, with `clear_first`, all of the mapping's rows in the target go. Then come the mutations, in the order of the
    changes. Then come the last images of rows that changed after those, each key once; `to_mutations` makes mutations
    of them. `new_keys` are the keys of images whose rows were not there before. With `has_updates` some mutations are
    updates of rows that are there (`KEPT`): then more than the last of each key counts. `bytes_read` are those of the
    log that the rows came in.
    """

    mutations: list[Mutation] = field(default_factory=list)
    rows_read: int = 0
    rows_upserted: int = 0
    rows_deleted: int = 0
    rows_filtered: int = 0
    bytes_read: int = 0
    last_images: LastImageByKey = field(default_factory=dict)
    new_keys: set[ImageKey] = field(default_factory=set)
    image_writer: ImageWriter | None = None
    clear_first: bool = False
    has_updates: bool = False

    # ---- what there is ----
    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be done, and no row was read that has to be counted."""
        return not (self.clear_first or self.rows_read)

    @property
    def rows_pending(self) -> int:
        """How many rows there are to write."""
        return len(self.mutations) + len(self.last_images)

    @property
    def memory_bytes(self) -> int:
        """About how much memory the rows take."""
        literals = sum(len(value) + _LITERAL_BYTES for key, row in self.mutations for value in row or key)
        images = sum(len(image) for image in self.last_images.values() if image is not None)
        if self.image_writer is not None and self.image_writer.order is None:  # keys that are no numbers
            keys = ((key,) if not isinstance(key, tuple) else key for key in self.last_images)
            images += sum(len(cell) for key in keys for cell in key if isinstance(cell, (bytes, str)))
        return literals + images + _ROW_BYTES * self.rows_pending

    def check(self) -> None:
        assert self.rows_read == self.rows_upserted + self.rows_deleted + self.rows_filtered, "a row went missing"

    # ---- more rows ----
    def begin_images(self, image_writer: ImageWriter) -> None:
        """From here on images come that this writer can write."""
        if image_writer is not self.image_writer:
            self.to_mutations()
            self.image_writer = image_writer

    def add_images(self, verb: Verb, rows: ScannedRows) -> None:
        """Add what images mean whose rows are not filtered."""
        last_images, new_keys, data, keys, ends = self.last_images, self.new_keys, rows.data, rows.keys, rows.ends
        if verb is Verb.UPDATE:
            old, new = keys[::2], keys[1::2]
            images = [data[begin:end] for begin, end in zip(ends[::2], ends[1::2], strict=True)]
            if old == new:
                last_images.update(zip(new, images, strict=True))
            else:
                for before, after, image in zip(old, new, images, strict=True):
                    if before != after:  # the row has another key now, and has to leave its old one
                        last_images[before] = None
                        if after not in last_images:
                            new_keys.add(after)
                    last_images[after] = image
            self.rows_read += len(new)
            self.rows_upserted += len(new)
        elif verb is Verb.INSERT:
            new_keys.update(set(keys).difference(last_images))
            images = [data[begin:end] for begin, end in zip([rows.start, *ends], ends, strict=False)]
            last_images.update(zip(keys, images, strict=True))
            self.rows_read += len(keys)
            self.rows_upserted += len(keys)
        else:
            last_images.update(dict.fromkeys(keys))
            self.rows_read += len(keys)
            self.rows_deleted += len(keys)

    def add_filtered_images(self, verb: Verb, rows: ScannedRows, passed: list[bool]) -> None:
        """Add what images mean of which only these `passed` the filter.

        A row that enters the filter is new to the target, a row that leaves it goes.
        """
        last_images, new_keys, keys, ends = self.last_images, self.new_keys, rows.keys, rows.ends
        places = zip([rows.start, *ends], ends, strict=False)
        if verb is Verb.UPDATE:
            old, new, was_in, is_in = keys[::2], keys[1::2], passed[::2], passed[1::2]
            places = zip(ends[::2], ends[1::2], strict=False)
        else:
            none = [False] * len(keys)
            old = new = keys
            was_in, is_in = (none, passed) if verb is Verb.INSERT else (passed, none)
        for before, after, left, enters, (begin, end) in zip(old, new, was_in, is_in, places, strict=True):
            if enters:
                if not left or before != after:
                    if left:
                        last_images[before] = None
                    if after not in last_images:
                        new_keys.add(after)
                last_images[after] = rows.data[begin:end]
                self.rows_upserted += 1
            elif left:
                last_images[before] = None
                self.rows_deleted += 1
            else:
                self.rows_filtered += 1
        self.rows_read += len(new)

    def take(self, later: PendingRows) -> int:
        """Add rows that come after these. Returns how many more there are to write now."""
        before = len(self.mutations) + len(self.last_images)
        if later.clear_first:
            self.truncate()
        if later.mutations:
            self.to_mutations()
            self.mutations += later.mutations
            self.has_updates = self.has_updates or later.has_updates
        if later.image_writer is not None and later.last_images:
            if later.image_writer is not self.image_writer:
                self.begin_images(later.image_writer)
            last_images = self.last_images
            self.new_keys |= later.new_keys.difference(last_images)
            last_images.update(later.last_images)
        self.rows_read += later.rows_read
        self.rows_upserted += later.rows_upserted
        self.rows_deleted += later.rows_deleted
        self.rows_filtered += later.rows_filtered
        self.bytes_read += later.bytes_read
        return len(self.mutations) + len(self.last_images) - before

    def truncate(self) -> None:
        """All rows go."""
        self.drop()
        self.clear_first = True

    def drop(self) -> None:
        """Forget what is to be done; the counts stay."""
        self.mutations, self.last_images, self.new_keys = [], {}, set()
        self.clear_first = self.has_updates = False

    # ---- what is written ----
    def to_mutations(self) -> list[Mutation]:
        """Everything as mutations.

        Raises:
            UnsupportedEvent: an image holds what no value of its column can be.
        """
        if self.image_writer is not None and self.last_images:
            self.mutations += self.image_writer.mutations(self.last_images)
            self.last_images, self.new_keys = {}, set()
        return self.mutations

    def as_changes(self) -> RowChanges | None:
        """Everything as images, for a target that takes them; None if that cannot be."""
        if self.mutations or self.image_writer is None:
            return None
        return self.image_writer.changes(self.last_images, self.new_keys)

    def by_key(self, order: LiteralOrder | None, *, as_changes: bool) -> SortedRows | RowChanges:
        """Everything, where only the last row of each key counts.

        Args:
            order: of keys' literals; None if keys that differ may be one row to the target.
            as_changes: as images, where they can be.

        Raises:
            UnsupportedEvent: an image holds what no value of its column can be.
        """
        if self.mutations or self.image_writer is None:
            row_by_key = dict(self.to_mutations())
            return sorted_literals(row_by_key, order if order and order.fits(row_by_key) else None)
        return (self.as_changes() if as_changes else None) or _sorted_images(self.image_writer, self.last_images)

    def early_and_late(
        self, predecessors: Sequence[PendingRows], order: LiteralOrder | None, *, as_changes: bool, by_index: bool
    ) -> tuple[SortedRows | RowChanges | None, SortedRows | RowChanges | None] | None:
        """Everything in two halves: rows of keys that no predecessor writes, and the others.

        None if keys alone do not tell which are which. There is no early half if a row goes and keys that differ may be
        one row to the target.

        Args:
            by_index: the target finds a row that goes without looking at other rows. Else nothing is written while a
                predecessor deletes.

        Raises:
            UnsupportedEvent: an image holds what no value of its column can be.
        """
        if not self.rows_pending:
            return None, None
        writer = self.image_writer
        if self.mutations or writer is None or any(one.mutations for one in predecessors):
            if any(one.last_images for one in predecessors):
                return None
            row_by_key = dict(self.to_mutations())
            taken = {key for one in predecessors for key, _ in one.mutations}
            known = order if order is not None and order.fits(row_by_key) and order.fits(taken) else None
            all_late = not by_index and any(row is None for one in predecessors for _, row in one.mutations)
            make_literals = partial(sorted_literals, order=known)
            return _halves(row_by_key, taken, known if by_index else None, make_literals, all_late=all_late)
        if any(one.last_images and one.image_writer is not writer for one in predecessors):
            return None
        both = set[ImageKey]().union(*(self.last_images.keys() & one.last_images.keys() for one in predecessors))
        if as_changes and (changes := self.as_changes()) is not None:
            # The target says if a row that goes is not there: these need not wait for the predecessors' rows.
            return _split(self.last_images, both, lambda images: replace(changes, last_images=images))
        make = partial(_sorted_images, writer)
        all_late = not by_index and any(None in one.last_images.values() for one in predecessors)
        return _halves(self.last_images, both, writer.order if by_index else None, make, all_late=all_late)


def _sorted_images(writer: ImageWriter, last_images: LastImageByKey) -> SortedRows:
    return SortedRows(last_images, writer.written_out, len, writer.order)


def _halves(
    row_by_key: dict[Any, Any],
    taken: set[Any],
    order: object | None,
    make: Callable[[dict[Any, Any]], _Rows],
    *,
    all_late: bool,
) -> tuple[_Rows | None, _Rows | None]:
    if all_late or (order is None and None in row_by_key.values()):
        return None, make(row_by_key)
    return _split(row_by_key, row_by_key.keys() & taken, make)


def _split(
    row_by_key: dict[Any, Any], late_keys: set[Any], make: Callable[[dict[Any, Any]], _Rows]
) -> tuple[_Rows | None, _Rows | None]:
    """What is made of rows that are early, and of those with `late_keys`."""
    if not late_keys:
        return make(row_by_key) if row_by_key else None, None
    early = row_by_key.copy()
    late = {key: early.pop(key) for key in row_by_key if key in late_keys}
    return make(early) if early else None, make(late)
