"""Which target types would change a source type's values without an error."""

from __future__ import annotations

import pytest

from myrepetl_dagster.core.model.tables import Column
from myrepetl_dagster.core.values.rounding import rounds


def _column(definition: str) -> Column:
    return Column("c", definition.partition("(")[0], definition)


ROUNDED = [
    ("datetime(6)", "datetime"), ("datetime", "date"), ("datetime", "time"), ("timestamp(3)", "datetime(2)"),
    ("time(6)", "time"), ("time", "datetime"), ("date", "time"), ("datetime", "bigint"),
    ("decimal(12,4)", "decimal(12,2)"), ("decimal(10,2)", "int"), ("decimal(30,10)", "double"),
    ("decimal(10,2)", "float"), ("double", "int"), ("double", "decimal(20,10)"), ("double", "float"),
    ("double", "double(10,2)"), ("bigint", "double"), ("int", "float"), ("int", "year"), ("int", "datetime"),
    ("varbinary(10)", "binary(10)"), ("binary(4)", "binary(8)"), ("year(4)", "year(2)"),
    ("int", "year(2)"), ("varchar(4)", "year(2)"),
]  # fmt: skip
KEPT = [
    ("datetime", "datetime(6)"), ("timestamp", "datetime"), ("date", "datetime"), ("datetime(6)", "varchar(30)"),
    ("time(3)", "time(6)"), ("decimal(10,2)", "decimal(12,2)"), ("decimal(10,2)", "decimal(12,4)"),
    ("decimal(10,2)", "double"), ("decimal(10,0)", "bigint"), ("decimal(10,2)", "varchar(20)"), ("float", "double"),
    ("int", "bigint"), ("bigint", "int"), ("int", "double"), ("bigint", "decimal(20,0)"), ("int", "varchar(20)"),
    ("binary(8)", "binary(8)"), ("binary(8)", "varbinary(8)"), ("varchar(9)", "text"), ("json", "longtext"),
    ("double", "double"), ("double(10,2)", "double(10,2)"), ("year", "int"), ("bit(3)", "bit(8)"), ("year(2)", "year(4)"),
    ("year(2)", "year(2)"), ("year(2)", "int"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "target"), ROUNDED)
def test_rounding_is_seen(source: str, target: str) -> None:
    """A target type that would round, cut or pad some value of the source's type is found."""
    assert rounds(_column(source), _column(target))


@pytest.mark.parametrize(("source", "target"), KEPT)
def test_types_that_hold_or_refuse_each_value(source: str, target: str) -> None:
    """A target type that holds each value, or refuses it with an error, is let pass."""
    assert not rounds(_column(source), _column(target))
