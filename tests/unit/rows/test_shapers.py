"""Which shaper the rows of a table map get."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.rows.test_image_shaper import PLANS, event, images_of

from myrepetl_dagster.core.binlog.events import RowsRead, Verb
from myrepetl_dagster.core.model.errors import SchemaDrift
from myrepetl_dagster.core.plan.table_plan import TablePlan, UniqueKeys
from myrepetl_dagster.core.rows.image_shaper import ImageShaper
from myrepetl_dagster.core.rows.pending_rows import PendingRows
from myrepetl_dagster.core.rows.shapers import DecodedRowsShaper, shaper_for

PLAN = PLANS["every column"]
INSERTED = event(images_of(Verb.INSERT, (b"ann", 1, 1, b"x"), (b"bob", 2, None, None)))


@pytest.mark.parametrize(
    ("plan", "read", "expected"),
    [
        (PLAN, INSERTED, ImageShaper),
        (replace(PLAN, unique_keys=UniqueKeys.MIRRORED), INSERTED, DecodedRowsShaper),
        (PLAN, replace(INSERTED, images=[], decoded=INSERTED.changes), DecodedRowsShaper),
    ],
    ids=["the last image of a key is enough", "another unique key", "rows that came decoded"],
)
def test_rows_stay_images_where_the_last_of_a_key_is_enough(plan: TablePlan, read: RowsRead, expected: type) -> None:
    """Either way the same rows are to be written."""
    shaper, pending = shaper_for(plan, read, bulk=False), PendingRows()

    shaper.shape(read, pending)

    assert type(shaper) is expected
    assert [key for key, _ in pending.to_mutations()] == [("1",), ("2",)]


def test_a_column_that_the_target_lacks_is_refused() -> None:
    """A mapping of every column stops where the log has a column that the target did not get."""
    target = replace(PLAN.target, columns=PLAN.target.columns[:-1])

    with pytest.raises(SchemaDrift, match=r"the log has column note of shop.people at binlog.000001:1000"):
        shaper_for(replace(PLAN, target=target), INSERTED, bulk=False)

    ignoring = replace(PLAN, target=target, mapping=replace(PLAN.mapping, schema_policy="ignore"))
    assert [c.target for c in shaper_for(ignoring, INSERTED, bulk=False).plan.columns] == ["name", "id", "kind"]
