"""A part of a table, in key order, that is copied by itself; and its stored form. Pure.

The keys of the stored form are a format, as those of `checkpoint_codec.py` are: `tests/unit/model/test_copy_range.py`
holds a row of every form that there has been.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import UnreadableCheckpoint

VERSION = 1
STORED_COLUMNS = ("mapping", "number", "done", "rows_snapshotted", "rows_filtered", "bytes_read", "details")

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CopyRange:
    """The rows of a source table whose key lies after `after` and up to `until`, and how far they are copied.

    Args:
        number: from 1 on, in key order.
        after: the key before the first row, as SQL literals; None: from the table's first row on.
        until: the last key; None: to the table's last row.
        reached: the last copied key; None: nothing is copied yet.
        rows_snapshotted: how many rows are written.
        rows_filtered: how many rows the mapping's filter has left out.
        bytes_read: of the rows that were read.
        done: all rows are copied.
    """

    mapping: str
    number: int
    after: Key | None = None
    until: Key | None = None
    reached: Key | None = None
    rows_snapshotted: int = 0
    rows_filtered: int = 0
    bytes_read: int = 0
    done: bool = False


def ranges_between(mapping: str, keys: Sequence[Key]) -> list[CopyRange]:
    """The ranges of a table that these keys divide. With n keys there are n + 1."""
    bounds = [None, *keys, None]
    return [CopyRange(mapping, i + 1, bounds[i], bounds[i + 1]) for i in range(len(keys) + 1)]


def to_row(copy_range: CopyRange) -> dict[str, Any]:
    """The values of STORED_COLUMNS."""
    details = {
        "version": VERSION,
        "after": copy_range.after,
        "until": copy_range.until,
        "reached": copy_range.reached,
    }
    return {
        "mapping": copy_range.mapping,
        "number": copy_range.number,
        "done": int(copy_range.done),
        "rows_snapshotted": copy_range.rows_snapshotted,
        "rows_filtered": copy_range.rows_filtered,
        "bytes_read": copy_range.bytes_read,
        "details": json.dumps(details),
    }


def from_row(row: Mapping[str, Any]) -> CopyRange:
    """The range of a row.

    Raises:
        UnreadableCheckpoint: a later version stored it, or it is damaged.
    """
    mapping = row["mapping"]
    try:
        details = json.loads(row["details"])
        if details["version"] == VERSION:
            return CopyRange(
                mapping=mapping,
                number=int(row["number"]),
                after=_key(details["after"]),
                until=_key(details["until"]),
                reached=_key(details["reached"]),
                rows_snapshotted=int(row["rows_snapshotted"]),
                rows_filtered=int(row["rows_filtered"]),
                bytes_read=int(row["bytes_read"]),
                done=bool(int(row["done"])),
            )
    except (ValueError, TypeError, KeyError, AttributeError):
        pass
    raise UnreadableCheckpoint(
        mapping,
        f"mapping {mapping!r}: the ranges of its copy in the target are damaged, or of a later version",
        hint="Copy its table again, with the version that is installed now.",
    )


def _key(stored: Sequence[str] | None) -> Key | None:
    return None if stored is None else tuple(stored)
