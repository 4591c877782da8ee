"""Rows of which some columns are not known: what becomes of them, and what is an error."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from unit.rows.test_image_shaper import COLUMNS, NAME, TABLE_MAP, TRANSACTION

from myrepetl_dagster.core.binlog.events import RowsRead
from myrepetl_dagster.core.binlog.map_columns import TableMap
from myrepetl_dagster.core.binlog.partial_rows import Absent
from myrepetl_dagster.core.config.pipeline import ColumnMapping, TableMapping
from myrepetl_dagster.core.model.errors import UnsupportedEvent
from myrepetl_dagster.core.model.tables import Table, TableName
from myrepetl_dagster.core.plan.resolution import plan_table
from myrepetl_dagster.core.plan.table_plan import TablePlan
from myrepetl_dagster.core.replication.catchup.in_doubt import payloads, unpacked
from myrepetl_dagster.core.rows.partial_shaper import PartialRowsShaper, lacks_columns
from myrepetl_dagster.core.rows.pending_rows import PendingRows
from myrepetl_dagster.core.rows.shapers import shaper_for
from myrepetl_dagster.core.rows.writable_rows import KEPT
from myrepetl_dagster.core.transforms import filters
from myrepetl_dagster.core.transforms.functions import Transform

NONE, CHANGED = Absent.NO_CELL, Absent.CHANGED
UNEVEN = replace(TABLE_MAP, raw=b"|", whole=TABLE_MAP, uneven=True)
BY_ID = tuple(ColumnMapping(name, name) for name in ("id", "kind", "note"))


def plan_of(
    columns: tuple[ColumnMapping, ...] | None = BY_ID, only: filters.Expression | None = None, **more: Any
) -> TablePlan:
    mapping = TableMapping("m", "m", "s", "shop", "people", "t", "dwh", "people", ("id",), columns, only)
    source = Table(NAME, more.get("source", COLUMNS), ("id",))
    held = [c for c in COLUMNS if columns is None or c.name in {one.target for one in columns}]
    return plan_table(mapping, source, Table(TableName("dwh", "people"), tuple(held), ("id",)), [])


def shaped(plan: TablePlan, *changes: Any, table_map: TableMap = UNEVEN) -> PendingRows:
    event = RowsRead(NAME, table_map, changes, TRANSACTION, 0, offset_bytes=77)
    into = PendingRows()
    shaper = shaper_for(plan, event, bulk=False)
    assert isinstance(shaper, PartialRowsShaper)
    shaper.shape(event, into)
    into.check()
    return into


def test_an_update_of_some_columns() -> None:
    """The columns that are not there keep their values, and the row its key."""
    found = shaped(plan_of(), ((NONE, 1, NONE, NONE), (NONE, NONE, NONE, b"x")))
    assert found.mutations == [(("1",), ("1", KEPT, "_utf8mb4'x'"))]
    assert found.has_updates
    assert found.rows_upserted == 1


def test_a_row_that_is_whole_once_put_together() -> None:
    """It is upserted, and leaves its old key."""
    found = shaped(
        plan_of(), ((b"n", 1, b"a", b"y"), (NONE, 2, NONE, b"x")), ((NONE, 5, b"a", b"y"), (NONE, NONE, NONE, None))
    )
    assert found.mutations == [
        (("1",), None), (("2",), ("2", "_utf8mb4'a'", "_utf8mb4'x'")), (("5",), ("5", "_utf8mb4'a'", "NULL")),
    ]  # fmt: skip
    assert not found.has_updates


def test_a_change_of_the_key_in_part() -> None:
    """The update looks for the old key and sets the new one."""
    found = shaped(plan_of(), ((NONE, 1, NONE, NONE), (NONE, 2, NONE, NONE)))
    assert found.mutations == [(("1",), ("2", KEPT, KEPT))]


def test_a_filter() -> None:
    """Rows that stay in it are updated, one that leaves it goes, and one that enters it has to be whole."""
    plan = plan_of(only=filters.Compare("kind", "eq", "a"))
    stays = ((NONE, 1, b"a", NONE), (NONE, NONE, NONE, b"x"))
    leaves = ((NONE, 2, b"a", NONE), (NONE, NONE, b"b", NONE))
    without = ((NONE, 3, b"b", NONE), (NONE, NONE, NONE, b"x"))
    found = shaped(plan, stays, leaves, without, ((NONE, 4, b"b", NONE), None))
    assert found.mutations == [(("1",), ("1", "_utf8mb4'a'", "_utf8mb4'x'")), (("2",), None)]
    assert (found.rows_upserted, found.rows_deleted, found.rows_filtered) == (1, 1, 2)
    assert shaped(plan, ((NONE, 4, b"b", b"z"), (NONE, NONE, b"a", NONE))).rows_upserted == 1
    for change in (((NONE, 4, b"b", NONE), (NONE, NONE, b"a", NONE)), ((NONE, 1, NONE, NONE), None)):
        with pytest.raises(UnsupportedEvent, match=r"missing: (note|kind)"):
            shaped(plan, change)


def test_what_the_images_do_not_tell() -> None:
    """An error names mapping, table, place and columns, and holds no value."""
    row = Transform("own.row", lambda value, data: value, 2)
    with_row = (*BY_ID[:2], ColumnMapping("note", "note", row))
    computed = tuple(replace(c, generated=c.name == "kind") for c in COLUMNS)
    update = ((NONE, 1, NONE, NONE), (NONE, NONE, NONE, b"secret"))
    for plan, change, said in (
        (plan_of(), ((NONE, NONE, b"a", NONE), (NONE, NONE, NONE, b"secret")), "missing: id"),
        (plan_of(), ((b"n", NONE, NONE, NONE), None), "missing: id"),
        (plan_of(), (None, (b"n", 1, NONE, b"secret")), "defaults .missing: kind"),
        (plan_of(), ((NONE, 1, NONE, b"secret"), (NONE, NONE, NONE, CHANGED)), "JSON document .missing: note"),
        (plan_of(with_row), update, "transform looks at .missing: name, kind"),
        (
            plan_of(source=computed),
            ((NONE, 1, b"a", NONE), (NONE, NONE, NONE, b"secret")),
            "generated column .missing: kind",
        ),
    ):
        with pytest.raises(UnsupportedEvent, match=said) as caught:
            shaped(plan, change)
        assert caught.value.mapping == "m"
        assert "shop.people" in str(caught.value)
        assert "after binlog.000001:77" in str(caught.value)
        assert "secret" not in str(caught.value)


def test_an_update_that_may_be_a_replace() -> None:
    """MariaDB's update that names the key says nothing of what it lacks; MySQL's does."""
    change = (NONE, 1, NONE, NONE), (NONE, 1, NONE, b"x")
    assert shaped(plan_of(), change).mutations == [(("1",), ("1", KEPT, "_utf8mb4'x'"))]
    by_mariadb = replace(UNEVEN, mariadb=True)
    with pytest.raises(UnsupportedEvent, match="REPLACE"):
        shaped(plan_of(), change, table_map=by_mariadb)
    assert shaped(plan_of(), (change[0], (NONE, NONE, NONE, b"x")), table_map=by_mariadb).has_updates


def test_what_a_mapping_does_not_need_may_lack() -> None:
    """Then the images go the way of whole rows. A mapping of every column needs all that the target has."""
    narrow = replace(TABLE_MAP, columns=TABLE_MAP.columns[1:], raw=b"|1", whole=TABLE_MAP)
    assert not lacks_columns(plan_of(), narrow)
    assert lacks_columns(plan_of(None), narrow)
    assert lacks_columns(plan_of(only=filters.Compare("name", "eq", "a")), narrow)
    found = shaped(plan_of(None), ((1, b"a", b"x"), None), table_map=narrow)
    assert found.mutations == [(("1",), None)]
    with pytest.raises(UnsupportedEvent, match="missing: name"):
        shaped(plan_of(None), (None, (1, b"a", b"x")), table_map=narrow)


def test_updates_that_are_stored() -> None:
    """Rows of a transaction in doubt are updates still, once they are read back; so are rows that are joined."""
    plan = plan_of()
    found = shaped(plan, ((NONE, 1, NONE, NONE), (NONE, NONE, NONE, b"x")))
    (payload,) = payloads(plan, found)
    _, again = unpacked(plan, payload)
    assert again.mutations == found.mutations
    assert again.has_updates
    joined = PendingRows([(("1",), ("1", "NULL", "NULL"))], rows_read=1, rows_upserted=1)
    joined.take(again)
    assert joined.has_updates
    assert len(joined.mutations) == 2
    joined.drop()
    assert not joined.has_updates
