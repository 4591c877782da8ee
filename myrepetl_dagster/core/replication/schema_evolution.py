"""Makes a target table follow its source: columns are added, renamed, widened or made nullable.

Each step looks at the target first, so that it can be repeated after an interruption. ALTER TABLE commits the open
transaction on MySQL and MariaDB, so the caller must have none.
"""

from __future__ import annotations

from dataclasses import replace

from ..binlog.ddl.alter_table import Clause, Effect
from ..model.errors import SchemaDrift
from ..model.tables import Column, Table
from ..mysql.connect import query
from ..mysql.errors import translated
from ..plan.decisions import Answer, Decision, follows
from ..plan.table_plan import TablePlan
from ..target.control import TargetControl
from ..values.sql import quote_name
from ..values.widening import widens
from .column_alterations import add_columns, allow_any_text, alter, fit, quoted, relax
from .target_table import as_held


def follow(target: TargetControl, plan: TablePlan, source: Table, decision: Decision) -> Answer:
    """Apply column changes to a mapping's target table.

    Args:
        source: the source table as it is now, for the definitions of its columns.

    Returns:
        The answer, which may be a new copy if the target's rows cannot follow.

    Raises:
        SchemaDrift: the target's rows cannot follow, and the mapping's policy is not `evolve`.
    """
    columns = {c.name: c for c in (target.describe(plan.target.name) or plan.target).columns}
    follower = _Follower(target, plan, source, columns)
    if decision.answer is Answer.COPY_AGAIN:  # the other changes are made when the copy is planned
        for clause in decision.clauses:
            if clause.effect is Effect.RENAME:
                follower.rename(clause)
        return decision.answer
    done = [follower.follow(clause) for clause in decision.clauses]
    if all(done):
        return Answer.EVOLVE
    if not follows(plan):
        raise SchemaDrift(
            f"mapping {plan.name!r}: the source table's change at {decision.where} changed values that the log does"
            " not hold",
            hint="Run the `snapshot` job for this mapping.",
        )
    return Answer.COPY_AGAIN


class _Follower:
    """Applies clauses to a target table. Each method returns whether the target's rows now equal the source's.

    Args:
        columns: the target table's columns by name. They are kept up to date.
    """

    def __init__(self, target: TargetControl, plan: TablePlan, source: Table, columns: dict[str, Column]) -> None:
        self.target = target
        self.plan = plan
        self.name = plan.target.name
        self.source = source
        self.columns = columns

    def follow(self, clause: Clause) -> bool:
        match clause.effect:
            case Effect.ADD:
                return self._add(clause)
            case Effect.DROP:
                if clause.column in self.columns:
                    relax(self.target, self.name, [self.columns[clause.column]])
                return True
            case Effect.RENAME:
                return self.rename(clause)
            case Effect.RETYPE:
                return self._retype(clause)
        return True

    def _add(self, clause: Clause) -> bool:
        fill = clause.definition.fill if clause.definition else None
        if clause.column in self.columns:
            # An interrupted run of ours, an earlier column of the same name or another program has left it there.
            held, now = self.columns[clause.column], self.source.column(clause.column)
            fits = not follows(self.plan) or (now is not None and widens(self._as_held(now), held))
            fits = fits and fill == "NULL" and not held.generated and not self._any(clause.column, "IS NOT NULL")
            if fits and now is not None and follows(self.plan):
                allow_any_text(self.target, self.name, held, now)
            return fits
        if not follows(self.plan):
            return True
        added = [c for c in self.source.columns if c.name == clause.column]
        add_columns(self.target, self.name, added, "" if fill in (None, "NULL") else f" DEFAULT {fill}")
        return bool(added) and fill is not None

    def rename(self, clause: Clause) -> bool:
        if clause.column not in self.columns:
            return clause.new_name in self.columns  # done before an interruption
        if clause.new_name in self.columns:
            return False
        old, new = quote_name(clause.column), quote_name(clause.new_name)
        renamed = replace(self.columns[clause.column], name=clause.new_name)
        alter(self.target, self.name, f"RENAME COLUMN {old} TO {new}", renamed, clause.column)
        del self.columns[clause.column]
        self.columns[clause.new_name] = renamed
        return True

    def _retype(self, clause: Clause) -> bool:
        name, now = self._target_name(clause), self.source.column(clause.column)
        column = self.columns.get(name)
        if column is None:
            return not follows(self.plan)
        no_nulls = clause.definition is not None and not clause.definition.nullable
        if no_nulls and column.nullable and self._any(name, "IS NULL"):
            return False  # the source has replaced its NULLs by values that the log does not tell
        if not follows(self.plan):
            return True
        return now is not None and fit(self.target, self.name, column, self._as_held(now), key=name in self.plan.key)

    def _as_held(self, now: Column) -> Column:
        return as_held(now, mariadb=self.target.info.is_mariadb)

    def _target_name(self, clause: Clause) -> str:
        for planned in self.plan.columns:
            if planned.source in (clause.column, clause.old_name) and planned.target in self.columns:
                return planned.target
        return clause.column

    def _any(self, column: str, condition: str) -> bool:
        """Whether any row of the target has such a value in this column."""
        where = f"{quote_name(column)} {condition}"
        with translated(self.target.endpoint, f"looking into {self.name}"):
            return bool(query(self.target.control, f"SELECT 1 FROM {quoted(self.name)} WHERE {where} LIMIT 1"))
