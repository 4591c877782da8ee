"""What a change of a source table leads to, and what the end of a table does. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

from ..binlog.ddl.alter_table import Clause
from ..binlog.ddl.statement import Action, TableChange
from ..model.errors import SchemaDrift
from ..model.tables import Table, TableName
from .table_plan import TablePlan

HINT = "Correct the mapping or the target, then run the `snapshot` job for this mapping."
_HINT_OF_POLICY = (
    "Set `schema_policy: evolve`, then the next run goes on; or correct the target, then run the `snapshot` job for"
    " this mapping."
)
_HINT_OF_GONE = (
    "Once the table is made again, the next run copies it. If it is gone for good, remove the mapping from the pipeline"
    " file: the target table stays as it is."
)
_GONE = (Action.DROP, Action.RENAME, Action.DROP_SCHEMA)


class Answer(StrEnum):
    GO_ON = "go on"
    EVOLVE = "change the target"
    COPY_AGAIN = "copy the table again"


@dataclass(frozen=True, slots=True)
class Decision:
    """`clauses`: those that the target has to follow, in order. `where`: the place in the log, for messages."""

    answer: Answer
    clauses: tuple[Clause, ...] = ()
    where: str = ""


def stop(plan: TablePlan, what: str, where: str, hint: str = "") -> NoReturn:
    """Refuse a change.

    Args:
        where: the place in the log.
        hint: in place of the usual one, which depends on the policy.

    Raises:
        SchemaDrift: always.
    """
    hint = hint or (HINT if plan.mapping.schema_policy == "evolve" else _HINT_OF_POLICY)
    raise SchemaDrift(f"mapping {plan.name!r}: {what} at {where} cannot be followed", hint=hint)


def follows(plan: TablePlan) -> bool:
    """Whether the target has the source's columns and follows their changes."""
    return plan.every_column and plan.mapping.schema_policy == "evolve"


def ends(change: TableChange) -> bool:
    """Whether there is no table of its name after this change."""
    return change.action in _GONE


def goes_away(changes: Sequence[TableChange], table: TableName) -> bool:
    """Whether there is no table of this name after these changes, which are about it."""
    return any(ends(c) for c in changes) and not any(c.renamed_to == table for c in changes)


def rebuilt(plan: TablePlan, what: str, now: Table | None, where: str) -> Decision:
    """The answer to the end of a table: the table of that name which there is now is copied.

    Raises:
        SchemaDrift: there is none now, or the policy does not allow it.
    """
    if plan.mapping.schema_policy != "evolve":
        stop(plan, what, where)
    if now is None:
        raise SchemaDrift(
            f"mapping {plan.name!r}: {what} at {where}, and there is no such table now; {plan.target.name} holds its"
            " rows as they were",
            hint=_HINT_OF_GONE,
        )
    return Decision(Answer.COPY_AGAIN, where=where)
