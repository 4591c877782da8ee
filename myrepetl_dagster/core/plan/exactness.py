"""The check that a target stores every value of its source as it is. Pure."""

from __future__ import annotations

from ..model.errors import PrerequisiteError
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
        if source is not None and target is not None and rounds(source, target):
            raise PrerequisiteError(
                f"mapping {plan.name!r}: column {column.target} is {target.column_type} in the target and"
                f" {source.column_type} in the source: values would be rounded or cut without an error",
                hint=f"Give the target's column the type {source.column_type}, or map it with a transform that does"
                " the rounding.",
            )
