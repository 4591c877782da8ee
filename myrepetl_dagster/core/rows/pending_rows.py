"""What was shaped and waits to be written: mutations in their order, then last images as the log has them. Pure.

What is written out of images or literals takes several times their memory: that is done bit by bit, as the target takes
it, and in the order of its rows.

A mutation is (key, row): the key's literals and all the mapped columns' literals, or None for a row that has to go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, TypeVar

from ..binlog.rows_event import ImageKey
from ..model.limits import LONG_BYTES
from ..values.bulk_parameters import BulkRows
from .event_encoder import STRETCH_ROWS, RowChanges
from .literal_codegen import LiteralRow

LiteralKey = tuple[str, ...]
Mutation = tuple[LiteralKey, LiteralRow | None]
# A key, and the last image of its row; None for a row that went.
LastImageByKey = dict[ImageKey, bytes | None]


@dataclass(frozen=True, slots=True)
class Rendered:
    """Rows ready to be written: keys that go, and of those that stay their SQL tuples, or their parameters for
    a target that takes rows in bulk; `mutations` tells both row by row.
    """

    gone: list[LiteralKey]
    tuples: list[str]
    mutations: Callable[[], list[Mutation]]
    bulk: BulkRows | None = None


_Made = TypeVar("_Made")

_STRETCH_BYTES_MAX = 512 * 1024  # of images or literals, unless one row is longer
_NUMBER = re.compile(r"-?[1-9][0-9]*|0").fullmatch
_ROW_BYTES = 200  # what Python adds to a row, for its key, and for their place in dictionaries
_LITERAL_BYTES = 60  # what Python adds to a short text, and to its place in a row


@dataclass(frozen=True, slots=True)
class LiteralOrder:
    """The order of keys whose literals at these places are whole numbers, and the same in all keys elsewhere."""

    places: tuple[int, ...]

    def __call__(self, key: LiteralKey) -> list[int]:
        return [int(key[at]) for at in self.places]

    def fits(self, keys: Iterable[LiteralKey]) -> bool:
        """Whether they are numbers, each in one spelling: when they were read, a column may have been another one."""
        return all(_NUMBER(key[at]) for key in keys for at in self.places)


@dataclass(frozen=True, slots=True)
class SortedRows:
    """The last row of each key, None for one that goes: rows of which no two can collide, as images or literals.

    Args:
        write_out: what is written of some of them.
        size: of a row, in bytes.
        order: of keys, as the target's rows lie. None where keys that differ may be one row to it: then one that goes
            may be one that stays under another spelling, and all that go come first.
    """

    last: dict[Any, Any]
    write_out: Callable[[dict[Any, Any]], Rendered | Sequence[Mutation]]
    size: Callable[[Any], int]
    order: Callable[[Any], Any] | None

    def written_out(self, *, descending: bool = False) -> Iterator[Rendered | Sequence[Mutation]]:
        """All of them, some neighbours at a time.

        Raises:
            UnsupportedEvent: an image holds what no value of its column can be.
        """
        last, size_of = self.last, self.size
        if self.order is None:
            keys = sorted(last, key=lambda key: last[key] is not None)
        else:
            keys = sorted(last, key=self.order, reverse=descending)
        part: dict[Any, Any] = {}
        size = 0
        for key in keys:
            row = last[key]
            size += (row_bytes := 0 if row is None else size_of(row))
            if part and row_bytes >= LONG_BYTES:  # it is sent in pieces, for which its neighbours are not to suffer
                yield self.write_out(part)
                part = {}
            part[key] = row
            if len(part) == STRETCH_ROWS or size >= _STRETCH_BYTES_MAX:
                yield self.write_out(part)
                part, size = {}, 0
        if part:
            yield self.write_out(part)


# What a mapping writes; mutations where rows may collide, and their order counts.
RowsToWrite = SortedRows | RowChanges | Sequence[Mutation] | None


class Images(Protocol):
    """Whoever put images among shaped rows, and can tell what they mean (`images.ImageShaper`)."""

    @property
    def order(self) -> Callable[[Any], Any] | None: ...
    def mutations(self, last: LastImageByKey) -> list[Mutation]: ...
    def written_out(self, last: LastImageByKey) -> Rendered | Sequence[Mutation]: ...
    def changes(self, last: LastImageByKey, new_keys: Collection[ImageKey]) -> RowChanges | None: ...


@dataclass(slots=True)
class PendingRows:
    """What is to be done, and where every row read went.

    First, with `clear_first`, all of the mapping's rows in the target go. Then come the mutations, in the order of the
    changes; then the last images of rows that came after them, each key once, which `to_mutations` makes mutations of.
    `new_keys` are those of their keys whose rows were not there before.
    """

    mutations: list[Mutation] = field(default_factory=list)
    rows_read: int = 0
    rows_upserted: int = 0
    rows_deleted: int = 0
    rows_filtered: int = 0
    last: LastImageByKey = field(default_factory=dict)
    new_keys: set[ImageKey] = field(default_factory=set)
    images: Images | None = None
    clear_first: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be done, and no row was read that has to be counted."""
        return not (self.clear_first or self.rows_read)

    @property
    def rows_pending(self) -> int:
        """How many rows there are to write."""
        return len(self.mutations) + len(self.last)

    @property
    def held_bytes(self) -> int:
        """About how much memory the rows take."""
        literals = sum(len(value) + _LITERAL_BYTES for key, row in self.mutations for value in row or key)
        images = sum(len(image) for image in self.last.values() if image is not None)
        if self.images is not None and self.images.order is None:  # not numbers
            keys = ((key,) if not isinstance(key, tuple) else key for key in self.last)
            images += sum(len(cell) for key in keys for cell in key if isinstance(cell, (bytes, str)))
        return literals + images + _ROW_BYTES * self.rows_pending

    def as_changes(self) -> RowChanges | None:
        """The last images for a target that takes them; None where they cannot be written so."""
        if self.mutations or self.images is None:
            return None
        return self.images.changes(self.last, self.new_keys)

    def images_of(self, images: Images) -> LastImageByKey:
        """Where these images go."""
        if images is not self.images:
            self.to_mutations()
            self.images = images
        return self.last

    def to_mutations(self) -> list[Mutation]:
        """Everything as mutations.

        Raises:
            UnsupportedEvent: an image holds what no value of its column can be.
        """
        if self.images is not None and self.last:
            self.mutations += self.images.mutations(self.last)
            self.last, self.new_keys = {}, set()
        return self.mutations

    def by_key(self, order: LiteralOrder | None, *, as_changes: bool) -> SortedRows | RowChanges:
        """Everything, where only the last row of each key counts.

        Args:
            order: of keys' literals; None where keys that differ may be one row to the target.
            as_changes: as images, where they can be.

        Raises:
            UnsupportedEvent: an image holds what no value of its column can be.
        """
        if self.mutations or self.images is None:
            last = dict(self.to_mutations())
            return _literals(last, order if order and order.fits(last) else None)
        return (self.as_changes() if as_changes else None) or _images(self.images, self.last)

    def apart(
        self, taken: Sequence[PendingRows], order: LiteralOrder | None, *, as_changes: bool, by_index: bool
    ) -> tuple[SortedRows | RowChanges | None, SortedRows | RowChanges | None] | None:
        """The same in two parts: rows of keys that none has `taken`, and the rest; None where it cannot be told.

        Where keys that differ may be one row to the target, and one goes, there is no first part.

        Args:
            by_index: the target finds what goes without looking at other rows. Else nothing is written beside a delete.

        Raises:
            UnsupportedEvent: an image holds what no value of its column can be.
        """
        if not self.rows_pending:
            return None, None
        images = self.images
        if self.mutations or images is None or any(one.mutations for one in taken):
            if any(one.last for one in taken):
                return None
            last = dict(self.to_mutations())
            held = {key for one in taken for key, _ in one.mutations}
            fits = order is not None and order.fits(last) and order.fits(held)
            known = order if fits else None
            alone = not by_index and any(row is None for one in taken for _, row in one.mutations)
            make_literals = partial(_literals, order=known)
            return _apart(last, last.keys() & held, known if by_index else None, make_literals, alone=alone)
        if any(one.last and one.images is not images for one in taken):
            return None
        both = set[ImageKey]().union(*(self.last.keys() & one.last.keys() for one in taken))
        if as_changes and (changes := self.as_changes()) is not None:
            # What goes is there, or the target says so: it need not wait for what others write.
            return _parted(self.last, both, lambda part: replace(changes, last=part))
        make = partial(_images, images)
        alone = not by_index and any(None in one.last.values() for one in taken)
        return _apart(self.last, both, images.order if by_index else None, make, alone=alone)

    def drop(self) -> None:
        """Forget what is to be done."""
        self.mutations, self.last, self.new_keys, self.clear_first = [], {}, set(), False

    def truncate(self) -> None:
        """All rows go."""
        self.drop()
        self.clear_first = True

    def take(self, other: PendingRows) -> None:
        """Add what comes after."""
        if other.clear_first:
            self.truncate()
        if other.mutations:
            self.to_mutations()
            self.mutations += other.mutations
        if other.images is not None and other.last:
            last = self.images_of(other.images)
            self.new_keys |= other.new_keys.difference(last)
            last.update(other.last)
        self.rows_read += other.rows_read
        self.rows_upserted += other.rows_upserted
        self.rows_deleted += other.rows_deleted
        self.rows_filtered += other.rows_filtered

    def check(self) -> None:
        assert self.rows_read == self.rows_upserted + self.rows_deleted + self.rows_filtered, "a row went missing"


def _literals(last: dict[LiteralKey, LiteralRow | None], order: LiteralOrder | None) -> SortedRows:
    return SortedRows(last, lambda part: list(part.items()), lambda row: sum(map(len, row)), order)


def _images(images: Images, last: LastImageByKey) -> SortedRows:
    return SortedRows(last, images.written_out, len, images.order)


def _apart(
    last: dict[Any, Any], both: set[Any], order: object | None, make: Callable[[dict[Any, Any]], _Made], *, alone: bool
) -> tuple[_Made | None, _Made | None]:
    if alone or (order is None and None in last.values()):
        return None, make(last)
    return _parted(last, both, make)


def _parted(
    last: dict[Any, Any], both: set[Any], make: Callable[[dict[Any, Any]], _Made]
) -> tuple[_Made | None, _Made | None]:
    """What is made of rows, and apart from them of those whose keys are in `both`."""
    if not both:
        return make(last) if last else None, None
    early = last.copy()
    late = {key: early.pop(key) for key in last if key in both}
    return make(early) if early else None, make(late)
