"""Columns whose values pass through Python while the others are written as they come. Pure.

Such a column is read as Python reads it. A transform can be one that looks at its own value only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from ..model.errors import RowRejected
from ..model.tables import Column
from ..plan.table_plan import PlannedColumn, TablePlan
from ..values.cells import cell_from_text, to_python
from ..values.text_rows import fields_at

Result = TypeVar("Result")


def passes_alone(planned: PlannedColumn) -> bool:
    """Whether the column's own value is all that is needed for what is written."""
    return planned.transform is None or not planned.transform.needs_row


def transformed(
    plan: TablePlan, planned: PlannedColumn, column: Column, written: Callable[[Any], Result]
) -> Callable[[bytes | None], Result]:
    """How a field, as the server sent it, becomes what the transform makes of it, as it is `written`.

    It raises RowRejected where the transform fails or nothing can be written; on which row, `shaper.py` can tell.
    """
    cell_of, convert = cell_from_text(column), to_python(column)
    return made_of(plan, planned, lambda data: convert(cell_of(data)), written)


def made_of(
    plan: TablePlan, planned: PlannedColumn, convert: Callable[[Any], Any], written: Callable[[Any], Result]
) -> Callable[[Any], Result]:
    """The same for what `convert` makes a Python value of."""
    assert planned.transform is not None
    call = planned.transform.of_value(f"{plan.mapping.source}.{plan.mapping.source_table}")

    def result(data: Any) -> Result:
        try:
            return written(call(convert(data)))
        except Exception as error:
            raise transform_failed(plan, planned, error) from None

    return result


def transform_failed(plan: TablePlan, planned: PlannedColumn, error: Exception, where: str = "") -> RowRejected:
    """The error for people. It does not quote what the transform said, which may be the value."""
    assert planned.transform is not None
    said = f"transform {planned.transform.spec!r} failed on column {planned.source!r}"
    return _rejected(
        plan, said, error, where, "Make the transform accept every value that the column holds, NULL included."
    )


def filter_failed(plan: TablePlan, error: Exception, where: str) -> RowRejected:
    """The same where a filter cannot tell whether a row passes it."""
    hint = "Python cannot read a value that it looks at; let it look at other columns."
    return _rejected(plan, "the filter failed", error, where, hint)


def _rejected(plan: TablePlan, said: str, error: Exception, where: str, hint: str) -> RowRejected:
    rejected = RowRejected(f"mapping {plan.name!r}: {said} with {type(error).__name__}{where}", hint=hint)
    rejected.mapping = plan.name  # wherever the rows are written out, the other mappings go on without it
    return rejected


def read_columns(packets: Sequence[bytes], start: int, count: int) -> tuple[list[list[bytes | None]], list[int]]:
    """So many fields of rows' packets as columns, and where in each packet the next field is."""
    at = [start] * len(packets)
    columns = []
    for _ in range(count):
        values, at = fields_at(packets, at)
        columns.append(values)
    return columns, at


def row_by_row(
    functions: Sequence[Callable[[bytes | None], Result]], columns: Sequence[Iterable[bytes | None]]
) -> Sequence[Sequence[Result]]:
    """What the functions make of the columns, called for one row after the other."""
    if len(functions) == 1:
        return [list(map(functions[0], columns[0]))]
    rows = zip(*map(map, functions, columns), strict=True)
    return list(zip(*rows, strict=True))
