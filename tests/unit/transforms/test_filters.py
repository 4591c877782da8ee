"""Filters: spelling, three-valued logic (against SQLite as a peer), and comparison by kind."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myrepetl_dagster.core.model.errors import ConfigError
from myrepetl_dagster.core.transforms import filters
from myrepetl_dagster.core.transforms.filters import And, Compare, Expression, FilterTypeError, Not, Or

ACTIVE = Compare("status", "eq", "active")
ADULT = Compare("age", "gte", 18)


@pytest.mark.parametrize(
    ("data", "expression"),
    [
        ({"status": "active"}, ACTIVE),
        ({"status": {"eq": "active"}}, ACTIVE),
        ({"eq": {"status": "active"}}, ACTIVE),
        ({"status": {"eq": "active"}, "age": {"gte": 18}}, And((ACTIVE, ADULT))),
        ({"and": [{"status": "active"}, {"age": {"gte": 18}}]}, And((ACTIVE, ADULT))),
        ({"or": [{"status": "active"}, {"gte": {"age": 18}}]}, Or((ACTIVE, ADULT))),
        ({"not": {"status": {"eq": "active"}}}, Not(ACTIVE)),
        ({"status": {"not": "active"}}, Not(ACTIVE)),
        ({"status": {"not": {"eq": "active"}}}, Not(ACTIVE)),
        ({"age": {"gte": 1, "lt": 5}}, And((Compare("age", "gte", 1), Compare("age", "lt", 5)))),
        ({"gt": {"a": 1, "b": 2}}, And((Compare("a", "gt", 1), Compare("b", "gt", 2)))),
        ({"age": {"or": [{"lt": 5}, 7]}}, Or((Compare("age", "lt", 5), Compare("age", "eq", 7)))),
        ({"gone": None}, Compare("gone", "eq", None)),
        ({"not": {"gone": None}}, Not(Compare("gone", "eq", None))),
        ({"flag": True}, Compare("flag", "eq", 1)),
        ({}, None),
        (None, None),
    ],
)
def test_spellings(data: object, expression: Expression | None) -> None:
    """Every spelling of a condition means the same expression."""
    assert filters.parse(data) == expression


@pytest.mark.parametrize(
    ("data", "path", "what"),
    [
        ({"and": "x"}, "filter.and", "list"),
        ({"or": []}, "filter.or", "list"),
        ({"and": [{"a": 1}, "x"]}, "filter.and[1]", "object"),
        ({"not": "x"}, "filter.not", "object"),
        ({"eq": 3}, "filter.eq", "object"),
        ({"a": {"gt": None}}, "filter.a.gt", "null"),
        ({"a": {}}, "filter.a", "operator"),
        ({"a": [1, 2]}, "filter.a", "single value"),
        ({"a": float("nan")}, "filter.a", "finite"),
        ({"a": {"gtt": 3}}, "filter.a.gtt", "unknown filter operator 'gtt'"),
        ("x", "filter", "object"),
    ],
)
def test_wrong_spellings(data: object, path: str, what: str) -> None:
    """A filter that cannot be read is named by its path."""
    with pytest.raises(ConfigError) as caught:
        filters.parse(data)

    ((found, said, _),) = caught.value.problems
    assert found == path
    assert what in said


def test_all_problems_at_once() -> None:
    """A filter with two mistakes names both."""
    with pytest.raises(ConfigError) as caught:
        filters.parse({"a": {"gtt": 1}, "b": {"in": [1]}})

    hints = {path: hint for path, _, hint in caught.value.problems}
    assert hints["filter.a.gtt"] == "did you mean 'gt'?"
    assert "or" in hints["filter.b.in"]


def test_columns() -> None:
    """The columns of a filter are known before the first row."""
    expression = filters.parse({"not": {"a": 1}, "or": [{"b": None}, {"c": {"lt": 2}}]})
    assert filters.columns(expression) == {"a", "b", "c"}
    assert filters.columns(None) == frozenset()


def test_no_filter_passes_every_row() -> None:
    """Without a filter every row passes."""
    assert filters.compile_filter(None)({})


def test_missing_column_is_not_null() -> None:
    """A column that the row does not have is a fault, not a NULL."""
    with pytest.raises(KeyError):
        filters.compile_filter(ACTIVE)({"age": 3})


# ---- three-valued logic ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        ({"n": 1}, None),
        ({"not": {"n": 1}}, None),
        ({"n": {"lt": 1}}, None),
        ({"n": None}, True),
        ({"one": None}, False),
        ({"not": {"n": None}}, False),
        ({"one": {"not": None}}, True),
        ({"and": [{"n": 1}, {"one": 2}]}, False),
        ({"and": [{"n": 1}, {"one": 1}]}, None),
        ({"or": [{"n": 1}, {"one": 1}]}, True),
        ({"or": [{"n": 1}, {"one": 2}]}, None),
    ],
)
def test_null_is_unknown(data: object, verdict: bool | None) -> None:
    """A comparison with NULL is neither true nor false, whatever stands around it."""
    expression = filters.parse(data)
    assert expression is not None
    assert filters.evaluate(expression, {"n": None, "one": 1}) is verdict
    assert filters.compile_filter(expression)({"n": None, "one": 1}) is (verdict is True)


integers = st.integers(-3, 3) | st.integers(-(2**62), 2**62)
numbers = integers | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3) | st.sampled_from(
    ["a", "A", "a ", "é", "ab"]
)
rows = st.fixed_dictionaries(
    {"i": st.none() | integers, "r": st.none() | numbers, "t": st.none() | texts, "u": st.none() | texts}
)
operators = st.sampled_from(["eq", "gt", "gte", "lt", "lte"])
compares: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(lambda c, o, v: {c: {o: v}}, st.sampled_from("ir"), operators, numbers),
    st.builds(lambda o, v: {"i": {o: str(v)}}, operators, integers),
    st.builds(lambda c, o, v: {c: {o: v}}, st.sampled_from("tu"), operators, texts),
    st.builds(lambda c: {c: None}, st.sampled_from("irtu")),
)
conditions = st.recursive(
    compares,
    lambda inner: st.one_of(
        st.builds(lambda c: {"not": c}, inner),
        st.builds(lambda k, c: {k: c}, st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=6,
)
SQL = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def as_sql(expression: Expression, values: list[object]) -> str:
    match expression:
        case Compare(column, _, None):
            return f"{column} IS NULL"
        case Compare(column, op, operand):
            values.append(operand)
            return f"{column} {SQL[op]} ?"
        case Not(condition):
            return f"NOT ({as_sql(condition, values)})"
        case And(several) | Or(several):
            word = " AND " if isinstance(expression, And) else " OR "
            return "(" + word.join(as_sql(one, values) for one in several) + ")"


PEER = sqlite3.connect(":memory:", check_same_thread=False)
PEER.execute("CREATE TABLE peer (i INTEGER, r REAL, t TEXT, u TEXT)")


@given(conditions, rows)
def test_agrees_with_sql(data: dict[str, Any], row: Mapping[str, object]) -> None:
    """For any filter and any row the verdict is that of a real SQL engine."""
    expression = filters.parse(data)
    assert expression is not None
    row = {**row, "r": None if row["r"] is None else float(row["r"])}  # type: ignore[arg-type]
    values: list[object] = []
    sql = as_sql(expression, values)

    PEER.execute("DELETE FROM peer")
    PEER.execute("INSERT INTO peer VALUES (:i, :r, :t, :u)", row)
    ((answer,),) = PEER.execute(f"SELECT {sql} FROM peer", values)

    assert filters.evaluate(expression, row) is (None if answer is None else bool(answer))


# ---- comparing by kind -------------------------------------------------------------------------------
NOON = datetime(2024, 1, 31, 12)


@pytest.mark.parametrize(
    ("value", "op", "operand", "verdict"),
    [
        (18, "gte", "18", True),
        (18, "lt", "18.5", True),
        (Decimal("0.10"), "eq", 0.1, True),
        (Decimal("0.10"), "eq", "0.1", True),
        (Decimal("1.05"), "gt", 1, True),
        (0.1, "eq", 0.1, True),
        (0.5, "eq", "0.50", True),
        (2**63, "gt", 2**63 - 1, True),
        ("18", "eq", 18, True),
        ("18.0", "eq", 18, True),
        ("9", "lt", 10, True),
        ("abc", "eq", 0, False),
        ("abc", "gt", 0, None),
        ("NaN", "eq", 1, False),
        ("b", "gt", "a", True),
        ("Active", "eq", "active", False),
        ("active ", "eq", "active", False),
        (b"abc", "eq", "abc", True),
        ("é".encode(), "gt", "z", True),
        (NOON, "eq", "2024-01-31 12:00:00", True),
        (NOON, "eq", "2024-01-31T12:00:00", True),
        (NOON, "gt", "2024-01-31", True),
        (NOON, "eq", "2024-01-31T15:00:00+03:00", True),
        (NOON, "gte", date(2024, 1, 31), True),
        (NOON.replace(tzinfo=UTC), "eq", NOON, True),
        (date(2024, 1, 31), "eq", "2024-01-31", True),
        (date(2024, 1, 31), "lt", "2024-01-31 00:00:01", True),
        ("2024-01-31", "eq", date(2024, 1, 31), True),
        ("2024-01-31 12:00:00", "eq", NOON, True),
        (timedelta(hours=-1), "eq", "-01:00:00", True),
        (timedelta(hours=30), "gt", "29:59", True),
        (timedelta(microseconds=500_000), "eq", "00:00:00.5", True),
        (1, "eq", True, True),
    ],
)
def test_kinds(value: object, op: str, operand: object, verdict: bool | None) -> None:
    """Values of different spelling compare by what the column holds."""
    expression = filters.parse({"c": {op: operand}})
    assert expression is not None
    assert filters.evaluate(expression, {"c": value}) is verdict


def test_text_that_is_no_number_is_not_dropped_by_not() -> None:
    """`not 5` keeps the rows whose text is no number at all."""
    keep = filters.compile_filter(filters.parse({"code": {"not": 5}}))
    assert keep({"code": "abc"})
    assert not keep({"code": "5"})


@pytest.mark.parametrize(
    ("value", "operand"),
    [
        (5, "five"),
        (NOON, 20240131),
        (NOON, "yesterday"),
        (date(2024, 1, 31), "2024-02-31"),
        (timedelta(), 5),
        (timedelta(), "noon"),
        (b"5", 5),
        ("no", False),
        ({"a": 1}, "zzz"),
    ],
)
def test_impossible_pairs(value: object, operand: object) -> None:
    """A pair that cannot be compared is an error that names column and kinds but no value."""
    expression = filters.parse({"secret_column": operand})
    assert expression is not None
    with pytest.raises(FilterTypeError) as caught:
        filters.evaluate(expression, {"secret_column": value})

    assert "secret_column" in str(caught.value)
    assert str(operand) not in str(caught.value)


def test_check_types() -> None:
    """Impossible comparisons are found from one sample value per column, wherever they stand."""
    expression = filters.parse({"or": [{"n": 1}, {"n": "x"}, {"not": {"when": 3}}]})
    found = filters.check_types(expression, {"n": 0, "when": NOON})
    assert len(found) == 2
    assert filters.check_types(filters.parse({"n": "1"}), {"n": 0}) == []
