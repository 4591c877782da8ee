"""What waits to be written: in which order, how much at once, and what may be written beside another commit."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.rows.test_image_shaper import PLANS, TABLE_MAP, Person, event, images_of

from myrepetl_dagster.core.binlog.events import Verb
from myrepetl_dagster.core.binlog.map_columns import layout_of
from myrepetl_dagster.core.rows.event_encoder import WRITE_ROWS_MAX, RowChanges
from myrepetl_dagster.core.rows.image_shaper import ImageShaper
from myrepetl_dagster.core.rows.literal_codegen import LiteralKey, LiteralRow
from myrepetl_dagster.core.rows.pending_rows import PendingRows
from myrepetl_dagster.core.rows.shaper import Shaper
from myrepetl_dagster.core.rows.sorted_rows import LiteralOrder, SortedRows
from myrepetl_dagster.core.rows.writable_rows import Mutation, Rendered

ROWS = st.dictionaries(
    st.integers(-300, 300).map(lambda n: (str(n),)),
    st.none() | st.sampled_from([1, 100, 300_000]).map(lambda size: ("x" * size,)),
    max_size=40,
)
ORDERS = st.sampled_from([None, LiteralOrder((0,))])


def written_out(shaped: PendingRows, order: LiteralOrder | None, *, descending: bool) -> list[list[Mutation]]:
    rows = shaped.by_key(order, as_changes=False)
    assert isinstance(rows, SortedRows)
    found = []
    for some in rows.written_out(descending=descending):
        assert not isinstance(some, Rendered)
        found.append(list(some))
    return found


@given(rows=ROWS, order=ORDERS, descending=st.booleans())
def test_each_row_once_in_the_order_of_the_table(
    rows: dict[LiteralKey, LiteralRow | None], order: LiteralOrder | None, descending: bool
) -> None:
    """Every key comes exactly once, from either end; where keys are not as distinct to the target, all that go first."""
    found = written_out(PendingRows(list(rows.items())), order, descending=descending)
    written = [one for some in found for one in some]
    assert dict(written) == rows
    assert len(written) == len(rows)
    if order is not None:
        assert [key for key, _ in written] == sorted(rows, key=order, reverse=descending)
    else:
        assert [row is not None for _, row in written] == sorted(row is not None for row in rows.values())


def test_no_more_at_once_than_is_written_at_once() -> None:
    """Rows are written out a thousand at a time, or half a megabyte and one more: not all of a joined batch."""
    rows = PendingRows([((str(n),), ("x",)) for n in range(3 * WRITE_ROWS_MAX)])
    assert [len(one) for one in written_out(rows, None, descending=False)] == [WRITE_ROWS_MAX] * 3
    long = PendingRows([((str(n),), ("x" * 300_000,)) for n in range(6)])
    assert [len(one) for one in written_out(long, None, descending=False)] == [2] * 3


@given(rows=ROWS, taken=st.lists(ROWS, max_size=2), order=ORDERS, by_index=st.booleans())
def test_what_is_written_beside_another_commit(
    rows: dict[LiteralKey, LiteralRow | None],
    taken: list[dict[LiteralKey, LiteralRow | None]],
    order: LiteralOrder | None,
    by_index: bool,
) -> None:
    """Only rows whose keys no earlier commit writes; none, where one that goes may be one of theirs under another
    spelling, or where one of either goes that is looked for among all rows. All others come later; none is left out.
    """
    shaped = PendingRows(list(rows.items()))
    before = [PendingRows(list(one.items())) for one in taken]
    parts = shaped.early_and_late(before, order, as_changes=False, by_index=by_index)
    assert parts is not None
    assert not any(isinstance(half, RowChanges) for half in parts)
    early, late = (half.row_by_key if isinstance(half, SortedRows) else {} for half in parts)
    assert early.keys() | late.keys() == rows.keys()
    assert not early.keys() & (late.keys() | {key for one in taken for key in one})
    gone, gone_before = None in rows.values(), any(None in one.values() for one in taken)
    if (gone and order is None) or (not by_index and (gone or gone_before)):
        assert not early
    else:
        assert not late.keys() - {key for one in taken for key in one}


@pytest.mark.parametrize("key", ["_utf8mb4'7'", "_utf8mb4'07'", "7e0", "07", "7.0", "NULL", "X'37'"])
def test_keys_that_are_no_numbers_any_more_have_no_order(key: str) -> None:
    """A column that is a whole number now may have been another one when the log was written: then keys that differ may
    be one row, and all that go come first.
    """
    order = LiteralOrder((0,))
    shaped = PendingRows([((key,), ("1",)), (("8",), None)])
    part = shaped.by_key(order, as_changes=False)
    assert isinstance(part, SortedRows)
    assert part.order is None
    taken = PendingRows([(("7",), ("1",))])
    (early, late) = shaped.early_and_late([taken], order, as_changes=False, by_index=True) or (None, None)
    assert early is None
    assert late is not None
    (early, _) = taken.early_and_late([shaped], order, as_changes=False, by_index=True) or (None, None)
    assert isinstance(early, SortedRows)
    assert early.order is None


def test_connections_that_write_out_at_once_see_each_their_own_rows() -> None:
    """An ENUM's error value, which takes a statement of its own, is told of the rows that have it, whoever else asks."""
    plan = PLANS["every column"]
    images = ImageShaper(Shaper(plan, layout_of(TABLE_MAP)), TABLE_MAP)
    wrong: list[str] = []

    def ask(kind: int) -> None:
        people: list[Person] = [(b"ann", n, kind, b"x") for n in range(50)]
        shaped = PendingRows()
        images.shape(event(images_of(Verb.INSERT, *people)), shaped)
        for _ in range(200):
            if isinstance(images.written_out(shaped.last_images), Rendered) != (kind != 0):
                wrong.append(f"kind {kind}")

    threads = [threading.Thread(target=ask, args=(kind,)) for kind in (0, 1, 2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not wrong
