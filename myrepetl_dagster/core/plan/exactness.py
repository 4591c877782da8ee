"""The check that a target stores every value of its source as it is. Pure."""

from __future__ import annotations

from ..model.errors import PrerequisiteError
from ..model.tables import Column
from ..values.column_types import is_short_year
from ..values.rounding import rounds
from .table_plan import TablePlan


def require_exact(plan: TablePlan) -> None:
    """Refuse a plan that would change values silently.

    Raises:
        PrerequisiteError: names the column and both types.
    """
    for column in plan.columns:
        source = plan.source.column(column.source) if column.source and not column.transform else None
        target = plan.target.column(column.target)
        if target is not None and is_short_year(target):
            _require_year(plan, target, copied=source is not None)
        if source is not None and target is not None and rounds(source, target):
            raise PrerequisiteError(
                f"mapping {plan.name!r}: column {column.target} is {target.column_type} in the target and"
                f" {source.column_type} in the source: values would be rounded or cut without an error",
                hint=f"Give the target's column the type {source.column_type}, or map it with a transform that does"
                " the rounding.",
            )


def _require_year(plan: TablePlan, target: Column, *, copied: bool) -> None:
    """Refuse a YEAR(2) of the target that is a key, or that gets something else than a year.

    By a YEAR(2) the server may find rows of another century, and of a number 0 it makes 2000.
    """
    if target.name in plan.key or not copied:
        what = "a key" if target.name in plan.key else "the result of a transform, or a fixed value"
        name = plan.target.name
        raise PrerequisiteError(
            f"mapping {plan.name!r}: column {target.name} is {target.column_type} in the target, and {what}: the"
            " server would take one year for another",
            hint=f"ALTER TABLE `{name.schema}`.`{name.table}` MODIFY `{target.name}` YEAR(4)"
            f"{'' if target.nullable else ' NOT NULL'}, which keeps the years.",
        )
