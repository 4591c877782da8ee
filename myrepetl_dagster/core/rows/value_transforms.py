"""Columns whose values pass through Python while the other columns are written as they come. Pure.

This is for transforms that look at nothing but their own value. Such a column is read as Python reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from ..model.errors import RowRejected
from ..model.tables import Column
from ..plan.table_plan import PlannedColumn, TablePlan
from ..values.cells import cell_from_text
from ..values.python_values import to_python
from ..values.text_rows import fields_at

Result = TypeVar("Result")


def needs_own_value_only(planned: PlannedColumn) -> bool:
    """Whether what is written of a column depends on nothing but its own value."""
    return planned.transform is None or not planned.transform.needs_row


def transformed(
    plan: TablePlan, planned: PlannedColumn, column: Column, written: Callable[[Any], Result]
) -> Callable[[bytes | None], Result]:
    """A function from a field, as the server sent it, to what is written of the transform's value.

    It raises RowRejected if the transform fails or its value cannot be written. `shaper.py` can tell on which row.

    Args:
        written: makes of the transform's value what is written.
    """
    cell_of, convert = cell_from_text(column), to_python(column)
    return made_of(plan, planned, lambda data: convert(cell_of(data)), written)


def made_of(
    plan: TablePlan, planned: PlannedColumn, convert: Callable[[Any], Any], written: Callable[[Any], Result]
) -> Callable[[Any], Result]:
    """The same for anything that `convert` turns into a Python value."""
    assert planned.transform is not None
    call = planned.transform.of_value(f"{plan.mapping.source}.{plan.mapping.source_table}")

    def result(data: Any) -> Result:
        try:
            return written(call(convert(data)))
        except Exception as error:
            raise transform_failed(plan, planned, error) from None

    return result


def transform_failed(plan: TablePlan, planned: PlannedColumn, error: Exception, where: str = "") -> RowRejected:
    """The error for people. It does not quote the transform's own error, which may hold the value."""
    assert planned.transform is not None
    said = f"transform {planned.transform.spec!r} failed on column {planned.source!r}"
    return _rejected(
        plan, said, error, where, "Make the transform accept every value that the column holds, NULL included."
    )


def filter_failed(plan: TablePlan, error: Exception, where: str) -> RowRejected:
    """The same for a filter that cannot tell whether a row passes it."""
    hint = "Python cannot read a value that it looks at; let it look at other columns."
    return _rejected(plan, "the filter failed", error, where, hint)


def _rejected(plan: TablePlan, said: str, error: Exception, where: str, hint: str) -> RowRejected:
    rejected = RowRejected(f"mapping {plan.name!r}: {said} with {type(error).__name__}{where}", hint=hint)
    rejected.mapping = plan.name  # the other mappings go on, wherever the rows are written out
    return rejected


def read_columns(packets: Sequence[bytes], start: int, count: int) -> tuple[list[list[bytes | None]], list[int]]:
    """The next `count` fields of rows' packets as columns, and where in each packet the field after them is."""
    at = [start] * len(packets)
    columns = []
    for _ in range(count):
        values, at = fields_at(packets, at)
        columns.append(values)
    return columns, at


def row_by_row(
    functions: Sequence[Callable[[bytes | None], Result]], columns: Sequence[Iterable[bytes | None]]
) -> Sequence[Sequence[Result]]:
    """What the functions make of the columns; they are called row after row."""
    if len(functions) == 1:
        return [list(map(functions[0], columns[0]))]
    rows = zip(*map(map, functions, columns), strict=True)
    return list(zip(*rows, strict=True))
