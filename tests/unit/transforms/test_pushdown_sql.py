"""What is pushed into a snapshot's SELECT, and what is left to Python."""

from __future__ import annotations

import datetime as dt
import sys
from typing import Any

import pytest

from myrepetl_dagster.core.model.tables import Column
from myrepetl_dagster.core.transforms import pushdown
from myrepetl_dagster.core.transforms.filters import parse
from myrepetl_dagster.core.transforms.functions import BUILTINS, Transform
from myrepetl_dagster.core.transforms.pushdown import condition_sql, transformed_sql

LAYOUT = {
    c.name: c
    for c in (
        Column("n", "int", "int"),
        Column("d", "double", "double"),
        Column("v", "varchar", "varchar(9)", charset="utf8mb4"),
        Column("k", "varchar", "varchar(9)", charset="koi8r"),
        Column("j", "json", "json", charset="utf8mb4"),
        Column("t", "time", "time"),
        Column("m", "datetime", "datetime(3)"),
        Column("q", "datetime"),  # of an init_query: its digits are not known
        Column("b", "blob", "blob", charset="binary"),
    )
}


def test_white_space_is_what_python_strips() -> None:
    """TRIM's result is Python's where no other white space is at the ends; the list of it is Python's."""
    assert sorted(pushdown._WHITE) == [code for code in range(sys.maxunicode + 1) if not chr(code).strip()]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"n": 1}, "((`n` + 0) = 1)"),
        ({"n": {"gt": "1.50"}}, "((`n` + 0) > 1.50)"),
        ({"d": {"lte": 0.1}}, "((`d` * 1e0) <= 0.1e0)"),
        ({"v": "é'"}, "(CAST(`v` AS BINARY) = _binary x'c3a927')"),
        ({"n": {"not": None}}, "(NOT (`n` IS NULL))"),
        ({"m": dt.date(2024, 1, 31)}, f"(CAST(`m` AS BINARY) = _binary x'{b'2024-01-31 00:00:00.000'.hex()}')"),
        ({"or": [{"n": 1}, {"b": "a"}]}, "(((`n` + 0) = 1) OR (`b` = _binary x'61'))"),
    ],
    ids=str,
)
def test_conditions(data: Any, expected: str) -> None:
    """What both sides compare alike becomes SQL, every operand a number or hexadecimal digits."""
    expression = parse(data)
    assert expression is not None
    assert condition_sql(expression, LAYOUT) == expected


@pytest.mark.parametrize(
    "data",
    [
        {"v": 1}, {"k": "a"}, {"j": "{}"}, {"t": "08:00:00"}, {"q": "2024-01-31"}, {"m": "2024-01-31T00:00:00"},
        {"m": "2024-01-31 00:00:00+02:00"}, {"n": "x"}, {"n": 10**40}, {"d": 2**53 + 1}, {"m": "2024-02-30"},
        {"and": [{"n": 1}, {"k": "a"}]}, {"v": "\ud800"},
    ],
    ids=str,
)  # fmt: skip
def test_left_to_python(data: Any) -> None:
    """A filter of which any part is not certain to compare alike is evaluated in Python as a whole."""
    expression = parse(data)
    assert expression is not None
    assert condition_sql(expression, LAYOUT) is None


def test_transforms() -> None:
    """Built-in transforms of text are pushed; a function of the same name in the user's file is not."""
    for name, function in BUILTINS.items():
        built_in = Transform(f"transform.{name}", function, 1, builtin=name)
        assert transformed_sql(built_in, LAYOUT["v"]) is not None
        assert transformed_sql(built_in, LAYOUT["k"]) is None
        assert transformed_sql(Transform(f"transform.{name}", function, 1), LAYOUT["v"]) is None
