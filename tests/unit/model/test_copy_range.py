"""A range of a copy: its bounds, and its stored form, which is read for ever."""

from __future__ import annotations

import pytest

from myrepetl_dagster.core.model.copy_range import STORED_COLUMNS, CopyRange, from_row, ranges_between, to_row
from myrepetl_dagster.core.model.errors import UnreadableCheckpoint

GOLDEN = {
    1: {
        "mapping": "shop.users",
        "number": 2,
        "done": 0,
        "rows_snapshotted": 17,
        "rows_filtered": 3,
        "bytes_read": 1234,
        "details": '{"version": 1, "after": ["10", "_utf8mb4\'\\u00e9\'"], "until": ["20", "\'b\'"], "reached": null}',
    },
}


def test_golden_rows() -> None:
    """The row of every form that there has been is read, and the last form is what is written."""
    expected = CopyRange("shop.users", 2, ("10", "_utf8mb4'é'"), ("20", "'b'"), None, 17, 3, 1234)
    for row in GOLDEN.values():
        assert from_row(row) == expected
    assert to_row(expected) == GOLDEN[max(GOLDEN)]
    assert tuple(GOLDEN[1]) == STORED_COLUMNS


def test_text_from_the_server() -> None:
    """A connection without conversions gives numbers as text."""
    row = GOLDEN[1] | {"number": "2", "done": "0", "rows_snapshotted": "17", "rows_filtered": "3", "bytes_read": "1234"}
    assert from_row(row) == from_row(GOLDEN[1])
    assert from_row(row | {"done": "1"}).done


@pytest.mark.parametrize("details", ['{"version": 2, "after": null}', "{", '{"version": 1}', "[]"])
def test_unreadable(details: str) -> None:
    """A later version's row, or a damaged one, stops its mapping with what to do."""
    with pytest.raises(UnreadableCheckpoint, match=r"shop\.users.*Hint: Copy its table again"):
        from_row(GOLDEN[1] | {"details": details})


def test_ranges_between() -> None:
    """Ranges follow each other without a gap, from the first row to the last."""
    keys = [("1",), ("5",)]
    ranges = ranges_between("m", keys)
    assert [(r.number, r.after, r.until) for r in ranges] == [(1, None, ("1",)), (2, ("1",), ("5",)), (3, ("5",), None)]
