"""The three ways to read a window: each takes a filter's rows apart, and finds the key in a packet."""

from __future__ import annotations

import pytest

from myrepetl_dagster.core.config.pipeline import TableMapping
from myrepetl_dagster.core.model.tables import Column, Table, TableName
from myrepetl_dagster.core.plan.resolution import plan_table
from myrepetl_dagster.core.replication.snapshot.bulk_select import bulk_select
from myrepetl_dagster.core.replication.snapshot.python_select import PythonSelect
from myrepetl_dagster.core.replication.snapshot.tuple_select import tuple_select
from myrepetl_dagster.core.replication.snapshot.window_select import WindowSelect
from myrepetl_dagster.core.rows.shaper import Shaper
from myrepetl_dagster.core.source.relation import Relation
from myrepetl_dagster.core.transforms.filters import Compare

COLUMNS = (Column("id", "int", "int", nullable=False), Column("age", "int", "int"))
RELATION = Relation(COLUMNS, "`shop`.`people`", ("id",))
MAPPING = TableMapping("m", "m", "s", "shop", "people", "t", "dwh", "people", ("id",), None, Compare("age", "gte", 18))
PLAN = plan_table(
    MAPPING,
    Table(TableName("shop", "people"), COLUMNS, ("id",)),
    Table(TableName("dwh", "people"), COLUMNS, ("id",)),
    [],
)
NULL = b"\xfb"


def row(*fields: bytes | None) -> bytes:
    return b"".join(NULL if field is None else bytes([len(field)]) + field for field in fields)


def in_bulk() -> WindowSelect:
    select = bulk_select(PLAN, RELATION)
    assert select is not None
    return select


def by_tuples() -> WindowSelect:
    select = tuple_select(PLAN, RELATION)
    assert select is not None
    return select


@pytest.mark.parametrize(
    ("select", "written", "filtered", "unrenderable"),
    [
        (in_bulk(), row(b"0", b"", b"7", b"", b"40"), row(b"2", b"", b"8", b"", b"3"), row(b"1", b"", b"9", b"", None)),
        (by_tuples(), row(b"(7,40)", b"7"), row(b"", b"8"), row(None, b"9")),
    ],
    ids=["parameters", "tuples"],
)
def test_rendered_rows(select: WindowSelect, written: bytes, filtered: bytes, unrenderable: bytes) -> None:
    """A row is written, left out by the filter, or kept for Python, whatever the packets beside it are."""
    taken = select.take([written, filtered, unrenderable, written])

    assert taken.rows is not None
    assert (taken.rows_filtered, taken.unrenderable) == (1, [unrenderable])
    assert [select.key(packet) for packet in (written, filtered, unrenderable)] == [("7",), ("8",), ("9",)]
    assert select.take([filtered, unrenderable]).rows is None


def test_rows_that_python_reads() -> None:
    """Python takes every row, and applies the filter itself."""
    select: WindowSelect = PythonSelect(RELATION, Shaper(PLAN, COLUMNS))
    adult, child, unknown = row(b"7", b"40"), row(b"8", b"3"), row(b"9", None)

    taken = select.take([adult, child, unknown])

    assert taken.rows is not None
    assert (taken.rows_filtered, taken.unrenderable) == (2, ())
    assert select.key(unknown) == ("9",)
    assert select.take([child]).rows is None
    assert select.select_sql == "SELECT `id`, `age` FROM `shop`.`people`"
