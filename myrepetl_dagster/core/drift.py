"""What a change of a source table means for its mapping: nothing, a change of the target, or a new copy. Pure.

Whatever keeps the target equal without reading the table again is preferred; what would not, is a new copy
where the mapping's policy is `evolve`, and otherwise a reason to stop.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from .alter import Clause, Effect
from .ddl import Action, TableChange
from .errors import SchemaDrift
from .model import Column, TableName
from .plan import TablePlan


class Answer(StrEnum):
    GO_ON = "go on"
    EVOLVE = "change the target"
    COPY_AGAIN = "copy the table again"


@dataclass(frozen=True, slots=True)
class Decision:
    """`clauses`: what the target has to follow, in order."""

    answer: Answer
    clauses: tuple[Clause, ...] = ()


_HINT = "Correct the mapping or the target, then run the `snapshot` job for this mapping."


def decide(plan: TablePlan, changes: Sequence[TableChange], known: Sequence[Column], where: str) -> Decision:
    """What to do about one statement's changes of a mapping's source table.

    Args:
        known: the table's columns before, as far as they are known.
        where: the place in the log, for messages.

    Raises:
        SchemaDrift: the mapping cannot follow.
    """
    own = plan.source.name
    came = [c for c in changes if c.action is Action.RENAME and c.renamed_to == own]
    if came:
        return Decision(Answer.COPY_AGAIN)  # another table's rows under this name (gh-ost, pt-osc)
    clauses: list[Clause] = []
    for change in changes:
        if change.action in (Action.DROP, Action.RENAME, Action.DROP_SCHEMA):
            _stop(plan, f"{change.action.value.upper()} of {own}", where)
        if change.action is Action.ALTER and change.table == own:
            clauses += change.clauses
    return _combined([_judge(plan, clause, known, where) for clause in clauses])


def _combined(decisions: Sequence[Decision]) -> Decision:
    answers = [d.answer for d in decisions]
    clauses = tuple(clause for d in decisions for clause in d.clauses)
    for answer in (Answer.COPY_AGAIN, Answer.EVOLVE):
        if answer in answers:
            return Decision(answer, clauses)
    return Decision(Answer.GO_ON)


def _stop(plan: TablePlan, what: str, where: str) -> None:
    raise SchemaDrift(f"mapping {plan.name!r}: {what} at {where} cannot be followed", hint=_HINT)


def _judge(plan: TablePlan, clause: Clause, known: Sequence[Column], where: str) -> Decision:
    policy = plan.mapping.schema_policy
    follows = plan.every_column and policy == "evolve"
    needed = plan.every_column or clause.column in plan.needed_source_columns
    go_on = Decision(Answer.GO_ON)
    if policy == "fail" and clause.effect is not Effect.NONE:
        _stop(plan, f"{clause.effect.value} {clause.column}".rstrip(), where)
    match clause.effect:
        case Effect.NONE:
            return go_on
        case Effect.REWRITE:
            if policy != "evolve":
                _stop(plan, "a change of rows that the log does not hold", where)
            return Decision(Answer.COPY_AGAIN)
        case Effect.ADD:
            if not follows:
                return go_on
            return Decision(Answer.EVOLVE if clause.plain else Answer.COPY_AGAIN, (clause,))
        case Effect.DROP:
            if not needed or (plan.every_column and policy == "ignore"):
                return go_on
            if not follows or clause.column in plan.key:
                _stop(plan, f"drop of column {clause.column}", where)
            return Decision(Answer.EVOLVE, (clause,))
        case Effect.RENAME:
            if not needed:
                return go_on
            if not follows:
                _stop(plan, f"rename of column {clause.column}", where)
            return Decision(Answer.EVOLVE, (clause,))
    return _retyped(plan, clause, known, where) if needed else go_on


def _retyped(plan: TablePlan, clause: Clause, known: Sequence[Column], where: str) -> Decision:
    """A type change leaves the rows as they are if the new type holds all that the old one did."""
    now = plan.source.column(clause.column)
    before = next((c for c in known if c.name == clause.column), None) or plan.target.column(clause.column)
    follows = plan.every_column and plan.mapping.schema_policy == "evolve"
    if now is None or before is None:
        return Decision(Answer.COPY_AGAIN) if follows else Decision(Answer.GO_ON)
    if widens(before, now):
        return Decision(Answer.EVOLVE, (clause,)) if follows else Decision(Answer.GO_ON)
    if not follows or _family(before) != _family(now):
        _stop(plan, f"change of column {clause.column} from {before.column_type} to {now.column_type}", where)
    return Decision(Answer.COPY_AGAIN, (clause,))


# ---- types ----------------------------------------------------------------------------------------------
_INTEGER_BYTES = {"tinyint": 1, "smallint": 2, "mediumint": 3, "int": 4, "bigint": 8}
_TEXT_BYTES = {
    "char": 0, "varchar": 0, "tinytext": 255, "text": 65_535, "mediumtext": 2**24 - 1, "longtext": 2**32 - 1,
    "binary": 0, "varbinary": 0, "tinyblob": 255, "blob": 65_535, "mediumblob": 2**24 - 1, "longblob": 2**32 - 1,
}  # fmt: skip


def _family(column: Column) -> str:
    if column.type in _INTEGER_BYTES:
        return "integer"
    if column.type in ("float", "double"):
        return "float"
    if column.type in _TEXT_BYTES:
        return "bytes" if column.charset == "binary" else "text"
    return column.type


def _numbers(column: Column) -> list[int]:
    found = re.search(r"\(([\d,]+)\)", column.column_type)
    return [int(n) for n in found.group(1).split(",")] if found else []


def widens(before: Column, now: Column) -> bool:
    """Whether every value of the old type is the same value of the new one."""
    if before.column_type == now.column_type:
        return True
    family = _family(before)
    if family != _family(now):
        return False
    old, new = _numbers(before), _numbers(now)
    match family:
        case "integer":
            sizes = _INTEGER_BYTES[before.type], _INTEGER_BYTES[now.type]
            if before.unsigned == now.unsigned:
                return sizes[1] >= sizes[0]
            return before.unsigned and sizes[1] > sizes[0]
        case "float":
            return now.type == "double" or before.type == now.type
        case "text" | "bytes":
            if "binary" in (before.type, now.type) and before.type != now.type:
                return False  # padded with zero bytes on one side only
            capacity = [(_TEXT_BYTES[c.type] or (n[0] if n else 1)) for c, n in ((before, old), (now, new))]
            return capacity[1] >= capacity[0] and (now.type != "binary" or old == new)
        case "decimal":
            old, new = ([*old, 0] if old else [10, 0]), ([*new, 0] if new else [10, 0])
            whole = new[0] - new[1] >= old[0] - old[1]
            return whole and new[1] >= old[1] and (before.unsigned or not now.unsigned)
        case "enum" | "set":
            return set(before.members) <= set(now.members)
        case "time" | "datetime" | "timestamp":
            return (new or [0])[0] >= (old or [0])[0]
        case "bit":
            return (new or [1])[0] >= (old or [1])[0]
    return False


def concerned(changes: Sequence[TableChange], table: TableName) -> list[TableChange]:
    """The changes that are about a table."""
    return [
        c
        for c in changes
        if table in (c.table, c.renamed_to) or (c.action is Action.DROP_SCHEMA and c.table.schema == table.schema)
    ]
