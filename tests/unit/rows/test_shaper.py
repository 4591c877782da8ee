"""Shaping: what each pair of images means for the target, and where every row is counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myrepetl_dagster.core.config.pipeline import ColumnMapping, TableMapping
from myrepetl_dagster.core.model.errors import RowRejected, SchemaDrift
from myrepetl_dagster.core.model.tables import Column, Table, TableName
from myrepetl_dagster.core.plan.resolution import plan_table
from myrepetl_dagster.core.plan.table_plan import TablePlan
from myrepetl_dagster.core.rows.pending_rows import PendingRows
from myrepetl_dagster.core.rows.shaper import Change, Shaper
from myrepetl_dagster.core.rows.writable_rows import Mutation
from myrepetl_dagster.core.transforms.filters import Compare, Expression
from myrepetl_dagster.core.transforms.functions import Transform

ID = Column("id", "int", "int", nullable=False)
AGE = Column("age", "int", "int")
NAME = Column("name", "varchar", "varchar(20)", charset="utf8mb4", collation="utf8mb4_bin")
NOTE = Column("note", "varchar", "varchar(20)", charset="utf8mb4", collation="utf8mb4_bin")
LAYOUT = (ID, AGE, NAME)
ADULT = Compare("age", "gte", 18)


def planned(
    columns: tuple[ColumnMapping, ...] | None = None,
    filter: Expression | None = None,
    key: tuple[str, ...] = ("id",),
    target: tuple[Column, ...] = LAYOUT,
) -> TablePlan:
    mapping = TableMapping("m", "m", "s", "shop", "people", "t", "dwh", "people", key, columns, filter)
    source = Table(TableName("shop", "people"), LAYOUT, ("id",))
    return plan_table(mapping, source, Table(TableName("dwh", "people"), target, key), [])


def shaped(plan: TablePlan, changes: list[Change], layout: tuple[Column, ...] = LAYOUT) -> PendingRows:
    result = PendingRows()
    Shaper(plan, layout).shape(changes, result)
    result.check()
    return result


ANN, ANN_OLDER, BEN = (1, 18, b"ann"), (1, 19, b"ann"), (2, 40, b"ben")
CHILD = (1, 7, b"ann")
ANN_ROW, OLDER_ROW, BEN_ROW = (("1", age, "_utf8mb4'ann'") for age in ("18", "19", "40"))


@pytest.mark.parametrize(
    ("change", "mutations", "counts"),
    [
        ((None, ANN), [(("1",), ("1", "18", "_utf8mb4'ann'"))], (1, 0, 0)),
        ((ANN, None), [(("1",), None)], (0, 1, 0)),
        ((ANN, ANN_OLDER), [(("1",), ("1", "19", "_utf8mb4'ann'"))], (1, 0, 0)),
        ((ANN, BEN), [(("1",), None), (("2",), ("2", "40", "_utf8mb4'ben'"))], (1, 0, 0)),
        ((None, CHILD), [], (0, 0, 1)),
        ((CHILD, None), [], (0, 0, 1)),
        ((CHILD, CHILD), [], (0, 0, 1)),
        ((CHILD, ANN), [(("1",), ("1", "18", "_utf8mb4'ann'"))], (1, 0, 0)),
        ((ANN, CHILD), [(("1",), None)], (0, 1, 0)),
        ((BEN, CHILD), [(("2",), None)], (0, 1, 0)),
        ((CHILD, BEN), [(("2",), ("2", "40", "_utf8mb4'ben'"))], (1, 0, 0)),
    ],
    ids=[
        "insert", "delete", "update", "key change", "filtered insert", "filtered delete", "filtered update", "enters",
        "leaves", "leaves under another key", "enters under another key",
    ],
)  # fmt: skip
def test_what_a_change_means(change: Change, mutations: list[Mutation], counts: tuple[int, int, int]) -> None:
    """Each pair of images, passing the filter or not, is an upsert, a delete, both, or nothing, counted once."""
    result = shaped(planned(filter=ADULT), [change])

    assert result.mutations == mutations
    assert (result.rows_upserted, result.rows_deleted, result.rows_filtered) == counts
    assert result.rows_read == 1


people = st.none() | st.tuples(st.integers(1, 4), st.none() | st.integers(15, 21), st.none() | st.sampled_from([b"a"]))


@given(st.lists(st.tuples(people, people).filter(any)))
def test_every_row_read_is_counted_once(changes: list[Change]) -> None:
    """Upserted, deleted and filtered rows add up to the rows read; a row that is not there passes no filter."""
    result = shaped(planned(filter=ADULT), changes)
    ages = [None if after is None else after[1] for _, after in changes]

    assert result.rows_read == len(changes)
    assert result.rows_upserted == sum(isinstance(age, int) and age >= 18 for age in ages)


def test_columns_are_renamed_fixed_and_transformed() -> None:
    """A column is written under its target name, a fixed value in every row, a transform's result as its type says."""
    columns = (
        ColumnMapping(None, "origin", value="eu", has_value=True),
        ColumnMapping("id", "number"),
        ColumnMapping("name", "upper", Transform("upper", str.upper, 1)),
    )
    target = (Column("origin", "varchar", "varchar(2)", nullable=False), Column("number", "int", nullable=False), NAME)
    target = (*target[:2], Column("upper", "varchar", charset="utf8mb4"))
    plan = planned(columns, key=("origin", "number"), target=target)

    assert shaped(plan, [(ANN, BEN)]).mutations == [
        (("_utf8mb4'eu'", "1"), None),
        (("_utf8mb4'eu'", "2"), ("_utf8mb4'eu'", "2", "_utf8mb4'BEN'")),
    ]


def test_a_transform_sees_the_row_and_the_table() -> None:
    """A transform is given as many of value, row and source table as it takes."""

    def told(value: str, row: dict[str, object], table: str) -> str:
        return f"{value} is {row['age']} in {table}"

    columns = (ColumnMapping("id", "id"), ColumnMapping("name", "name", Transform("told", told, 3)))

    assert shaped(planned(columns), [(None, ANN)]).mutations == [(("1",), ("1", "_utf8mb4'ann is 18 in s.people'"))]


def test_a_failing_transform_names_the_row_but_no_value() -> None:
    """The error tells mapping, column and key; what the transform's own error said of the value is left out."""

    def fails(value: str) -> str:
        raise KeyError(value)

    columns = (ColumnMapping("id", "id"), ColumnMapping("name", "name", Transform("fails", fails, 1)))
    with pytest.raises(RowRejected) as caught:
        shaped(planned(columns), [(None, ANN)])

    assert "id=1" in str(caught.value)
    assert "'name'" in str(caught.value)
    assert "ann" not in str(caught.value)


def test_a_layout_may_hold_more_columns_in_another_order() -> None:
    """Rows are read by the names that their own event gives; a column that the mapping does not name is passed over."""
    columns = (ColumnMapping("id", "id"), ColumnMapping("name", "name"))
    layout = (NOTE, NAME, ID)

    assert shaped(planned(columns), [(None, (b"new", b"ann", 1))], layout).mutations == [
        (("1",), ("1", "_utf8mb4'ann'"))
    ]


def test_a_layout_without_a_mapped_column_is_refused() -> None:
    """Rows that lack a column which the mapping or its filter needs are not written with a gap."""
    with pytest.raises(SchemaDrift, match="age"):
        Shaper(planned((ColumnMapping("id", "id"),), ADULT), (ID, NAME))
