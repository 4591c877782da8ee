"""Rows of which only the last of each key counts, written out in the order of the target's rows. Pure.

Rows that are written out take several times the memory of images or literals. So that happens bit by bit, as the target
takes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..model.limits import LONG_BYTES
from ..plan.table_plan import TablePlan
from .event_encoder import WRITE_ROWS_MAX
from .literal_codegen import LiteralKey, LiteralRow
from .writable_rows import Mutation, Rendered

_WRITE_BYTES_MAX = 512 * 1024  # of images or literals, unless one row is longer
_NUMBER = re.compile(r"-?[1-9][0-9]*|0").fullmatch


@dataclass(frozen=True, slots=True)
class LiteralOrder:
    """The order of keys whose literals at these places are whole numbers, and the same in all keys elsewhere."""

    places: tuple[int, ...]

    def __call__(self, key: LiteralKey) -> list[int]:
        return [int(key[at]) for at in self.places]

    def fits(self, keys: Iterable[LiteralKey]) -> bool:
        """Whether these are numbers, each in its one spelling. The column may have had another type in the log."""
        return all(_NUMBER(key[at]) for key in keys for at in self.places)


def literal_order(plan: TablePlan) -> LiteralOrder | None:
    """The order of keys' literals as the target's rows lie; None if keys that differ may be one row to the target."""
    if not plan.distinct_keys:
        return None
    return LiteralOrder(tuple(at for at, i in enumerate(plan.key_indexes) if plan.columns[i].source is not None))


@dataclass(frozen=True, slots=True)
class SortedRows:
    """The last row of each key, None for a row that goes, as images or literals. No two rows can collide.

    Args:
        write_out: makes of some of the rows what is written.
        size_of: a row's size in bytes.
        order: of keys, as the target's rows lie. None if keys that differ may be one row to the target: a row that goes
            may then be one that stays under another spelling, and all rows that go come first.
    """

    row_by_key: dict[Any, Any]
    write_out: Callable[[dict[Any, Any]], Rendered | Sequence[Mutation]]
    size_of: Callable[[Any], int]
    order: Callable[[Any], Any] | None

    def written_out(self, *, descending: bool = False) -> Iterator[Rendered | Sequence[Mutation]]:
        """All rows, some neighbours at a time.

        Raises:
            UnsupportedEvent: an image holds what no value of its column can be.
        """
        row_by_key, size_of = self.row_by_key, self.size_of
        if self.order is None:
            keys = sorted(row_by_key, key=lambda key: row_by_key[key] is not None)
        else:
            keys = sorted(row_by_key, key=self.order, reverse=descending)
        neighbours: dict[Any, Any] = {}
        size_bytes = 0
        for key in keys:
            row = row_by_key[key]
            row_bytes = 0 if row is None else size_of(row)
            size_bytes += row_bytes
            if neighbours and row_bytes >= LONG_BYTES:  # it is sent bit by bit, and its neighbours need not be
                yield self.write_out(neighbours)
                neighbours = {}
            neighbours[key] = row
            if len(neighbours) == WRITE_ROWS_MAX or size_bytes >= _WRITE_BYTES_MAX:
                yield self.write_out(neighbours)
                neighbours, size_bytes = {}, 0
        if neighbours:
            yield self.write_out(neighbours)


def sorted_literals(row_by_key: dict[LiteralKey, LiteralRow | None], order: LiteralOrder | None) -> SortedRows:
    """Rows that are literals."""
    return SortedRows(row_by_key, lambda rows: list(rows.items()), lambda row: sum(map(len, row)), order)
