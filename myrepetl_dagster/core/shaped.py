"""What was shaped and waits to be written: mutations in their order, then last images as the log has them. Pure.

A mutation is (key, row): the key's literals and all the mapped columns' literals, or None for a row that has to go.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from .bulk_rows import BulkRows
from .literal_code import LiteralRow
from .model import Row
from .row_events import RowChanges

LiteralKey = tuple[str, ...]
Mutation = tuple[LiteralKey, LiteralRow | None]
# The cells of a key, and the last image of its row; None for a row that went.
LastImages = dict[Row, bytes | None]


@dataclass(frozen=True, slots=True)
class Rendered:
    """Rows ready to be written: keys that go, and of those that stay their SQL tuples, or their parameters for
    a target that takes rows in bulk; `mutations` tells both row by row.
    """

    gone: list[LiteralKey]
    tuples: list[str]
    mutations: Callable[[], list[Mutation]]
    bulk: BulkRows | None = None


# What is written as it is: all of it as SQL, or as the log's own images.
Ready = Rendered | RowChanges
_Made = TypeVar("_Made")

_ROW_BYTES = 200  # what Python adds to a row, for its key, and for their place in dictionaries
_LITERAL_BYTES = 60  # what Python adds to a short text, and to its place in a row


class Images(Protocol):
    """Whoever put images among shaped rows, and can tell what they mean (`images.ImageShaper`)."""

    def mutations(self, last: LastImages) -> list[Mutation]: ...
    def rendered(self, last: LastImages) -> Rendered | None: ...
    def changes(self, last: LastImages, fresh: Collection[Row]) -> RowChanges | None: ...


@dataclass(slots=True)
class Shaped:
    """What is to be done, and where every row read went.

    First the mutations, in the order of the changes; then the last images of rows that came after them, each key
    once, which `settle` makes mutations of. `fresh` are those of their keys whose rows were not there before.
    """

    mutations: list[Mutation] = field(default_factory=list)
    rows_read: int = 0
    rows_upserted: int = 0
    rows_deleted: int = 0
    rows_filtered: int = 0
    last: LastImages = field(default_factory=dict)
    fresh: set[Row] = field(default_factory=set)
    images: Images | None = None

    @property
    def rows_pending(self) -> int:
        """How many rows there are to write."""
        return len(self.mutations) + len(self.last)

    @property
    def held_bytes(self) -> int:
        """About how much memory the rows take."""
        literals = sum(len(value) + _LITERAL_BYTES for _, row in self.mutations if row for value in row)
        images = sum(len(image) for image in self.last.values() if image is not None)
        return literals + images + _ROW_BYTES * self.rows_pending

    def as_changes(self) -> RowChanges | None:
        """The last images for a target that takes them; None where they cannot be written so."""
        if self.mutations or self.images is None:
            return None
        return self.images.changes(self.last, self.fresh)

    def images_of(self, images: Images) -> LastImages:
        """Where these images go."""
        if images is not self.images:
            self.settle()
            self.images = images
        return self.last

    def settle(self) -> list[Mutation]:
        """Everything as mutations.

        Raises:
            UnsupportedEvent: an image holds what no value of its column can be.
        """
        if self.images is not None and self.last:
            self.mutations += self.images.mutations(self.last)
            self.last, self.fresh = {}, set()
        return self.mutations

    def ready(self, *, as_changes: bool) -> Ready | None:
        """Everything, if it can be written as it is.

        Args:
            as_changes: as images, where they can be; else rendered.
        """
        if self.mutations or self.images is None or not self.last:
            return None
        changes = self.as_changes() if as_changes else None
        return changes or self.images.rendered(self.last)

    def ready_apart(
        self, taken: Sequence[Shaped], *, distinct_keys: bool, as_changes: bool
    ) -> tuple[Ready | None, Ready | None] | None:
        """Everything in two parts: rows of keys that none has `taken`, and the rest, with all that goes; None where
        it cannot be written so.

        Args:
            distinct_keys: keys that differ are different rows to the target. Else a row that goes may be one that stays
                under another spelling, and there is no first part.
        """
        if self.mutations or any(one.mutations for one in taken):
            return None
        if not self.last:
            return None, None
        if self.images is None or any(one.last and one.images is not self.images for one in taken):
            return None
        held = set[Row]().union(*(one.last for one in taken))
        if as_changes and (changes := self._changes_apart(self.images, held)) is not None:
            return changes
        whole = not distinct_keys and None in self.last.values()
        early: LastImages = {}
        late = self.last
        if not whole:
            early = {key: row for key, row in self.last.items() if row is not None and key not in held}
        if early:
            late = {key: row for key, row in self.last.items() if row is None or key in held}
        return _both(self.images.rendered, early, late)

    def _changes_apart(self, images: Images, held: set[Row]) -> tuple[RowChanges | None, RowChanges | None] | None:
        # What goes is there, or the target says so: it need not wait for what others write.
        late = {key: row for key, row in self.last.items() if key in held}
        early = {key: row for key, row in self.last.items() if key not in held} if late else self.last
        return _both(lambda part: images.changes(part, self.fresh), early, late)

    def mutations_apart(
        self, taken: Sequence[Shaped], *, distinct_keys: bool
    ) -> tuple[list[Mutation], list[Mutation]] | None:
        """The same of mutations, of which only the last one of each key counts."""
        if any(one.last for one in taken):
            return None
        last = dict(self.settle())
        if not distinct_keys and None in last.values():
            return [], list(last.items())
        held = {key for one in taken for key, _ in one.mutations}
        early: list[Mutation] = [(key, row) for key, row in last.items() if row is not None and key not in held]
        return early, [(key, row) for key, row in last.items() if row is None or key in held]

    def drop(self) -> None:
        """Forget what is to be done."""
        self.mutations, self.last, self.fresh = [], {}, set()

    def take(self, other: Shaped) -> None:
        """Add what comes after."""
        if other.mutations:
            self.settle()
            self.mutations += other.mutations
        if other.images is not None and other.last:
            last = self.images_of(other.images)
            self.fresh |= other.fresh.difference(last)
            last.update(other.last)
        self.rows_read += other.rows_read
        self.rows_upserted += other.rows_upserted
        self.rows_deleted += other.rows_deleted
        self.rows_filtered += other.rows_filtered

    def check(self) -> None:
        assert self.rows_read == self.rows_upserted + self.rows_deleted + self.rows_filtered, "a row went missing"


def _both(
    make: Callable[[LastImages], _Made | None], early: LastImages, late: LastImages
) -> tuple[_Made | None, _Made | None] | None:
    """What is made of each part, if there is anything in it; None where one cannot be made."""
    parts = [make(part) if part else None for part in (early, late)]
    if any(part and made is None for part, made in zip((early, late), parts, strict=True)):
        return None
    return parts[0], parts[1]
