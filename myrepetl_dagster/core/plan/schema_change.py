"""Decides what a change of a source table means for its mapping: nothing, a change of the target, or a new copy. Pure.

A change of the target is preferred, if it keeps the target equal without reading the table again. If it would not, the
table is copied again under the policy `evolve`, and the mapping stops under the others.

The log may be far behind the table: a column that the log adds can have another type by now, or another name, or be
gone. So a change is followed only if the table as it is now shows that no later change has undone it. Otherwise the
table is copied again: that is always exact, and all those later changes are in the copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from ..binlog.ddl.alter_table import Clause, Effect
from ..binlog.ddl.column_definition import Definition
from ..binlog.ddl.statement import Action, TableChange
from ..model.tables import Column, Table
from ..transforms.filters import columns as filter_columns
from ..values.column_types import TEXT_TYPES
from ..values.widening import as_bytes, as_converted, family, holds_charset, same, widens
from .decisions import HINT, Answer, Decision, ends, follows, rebuilt, stop
from .table_plan import TablePlan

_GO_ON = Decision(Answer.GO_ON)
_AGAIN = Decision(Answer.COPY_AGAIN)


def decide(
    plan: TablePlan,
    changes: Sequence[TableChange],
    known: Sequence[Column],
    now: Table | None,
    where: str,
    *,
    altered: bool = False,
) -> Decision:
    """The answer to the changes that one statement made to a mapping's source table.

    Args:
        changes: those that concern the table.
        known: the table's columns when it was copied last.
        altered: the table may have been altered since.
        now: the source table at this moment, perhaps long after the statement; None if it is gone.
        where: the place in the log, for messages.

    Raises:
        SchemaDrift: the mapping cannot follow.
    """
    own = plan.source.name
    clauses: list[Clause] = []
    came = [c.table for c in changes if c.action is Action.RENAME and c.renamed_to == own]
    if came and plan.mapping.schema_policy == "fail":
        stop(plan, f"rename of {came[-1]} to {own}", where)
    if came:
        return Decision(Answer.COPY_AGAIN, where=where)  # another table has taken its place (gh-ost, pt-osc)
    for change in changes:
        if ends(change):
            return rebuilt(plan, f"{change.action.value} of {own}", now, where)
        if change.action is Action.ALTER and change.table == own:
            clauses += change.clauses
    judge = _Judge(plan, known, now, where, altered)
    decisions = [judge.judge(clause) for clause in judge.expanded(clauses)]
    return replace(_combined(decisions), where=where)


def _combined(decisions: Sequence[Decision]) -> Decision:
    answers = [d.answer for d in decisions]
    clauses = tuple(clause for d in decisions for clause in d.clauses)
    for answer in (Answer.COPY_AGAIN, Answer.EVOLVE):
        if answer in answers:
            return Decision(answer, clauses)
    return _GO_ON


@dataclass(frozen=True, slots=True)
class _Judge:
    """Decides about the clauses of one statement."""

    plan: TablePlan
    known: Sequence[Column]
    now: Table | None
    where: str
    altered: bool

    # ---- names ----
    def expanded(self, clauses: Iterable[Clause]) -> list[Clause]:
        """The clauses with column names spelled as in the tables; a statement may use any letter case."""
        found = []
        for clause in clauses:
            found += self._converted(clause) if clause.effect is Effect.CONVERT else self._called(clause)
        return found

    def _called(self, clause: Clause) -> list[Clause]:
        if clause.effect in (Effect.ADD, Effect.INDEX):
            return [clause]  # as given
        held = self.plan.target.columns if self.plan.every_column else ()
        spelled = {c.name.casefold(): c.name for c in (*self.plan.source.columns, *self.known, *held)}

        def own(name: str) -> str:
            return spelled.get(name.casefold(), name)

        if clause.effect is not Effect.RETYPE:
            return [replace(clause, column=own(clause.column))]
        former = own(clause.old_name)
        retyped = replace(clause, old_name=former)
        if clause.column != clause.old_name or former == clause.column:
            return [retyped]
        return [Clause(Effect.RENAME, former, clause.column), retyped]  # MODIFY names the column with its own letters

    def _converted(self, clause: Clause) -> list[Clause]:
        """CONVERT TO CHARACTER SET as one clause for each column that it changes."""
        columns = self.now.columns if self.now else ()
        converted = [column.name for column in columns if column.type in TEXT_TYPES and self._needs(column.name)]
        return [Clause(Effect.RETYPE, name, old_name=name, charset=clause.charset) for name in converted]

    # ---- clauses ----
    def _needs(self, name: str) -> bool:
        plan = self.plan
        if not plan.every_column:
            return name in plan.needed_source_columns
        return plan.mapping.schema_policy == "evolve" or self._has(name) or name in filter_columns(plan.mapping.filter)

    def _has(self, name: str) -> bool:
        return self.plan.target.column(name) is not None

    def _recomputes(self, clause: Clause) -> bool:
        """Whether the source now computes other values for a column that the target holds: the log has none of them."""
        names = {clause.column, clause.old_name}
        tables = (self.known, self.plan.source.columns, self.now.columns if self.now else ())
        generated = [c for columns in tables for c in columns if c.generated]
        held = {c.source for c in self.plan.columns if c.source} | {c.name for c in generated if self._computes(c)}
        if clause.definition is not None and clause.definition.computed and names & held:
            return True
        if not any(c.name in held for c in generated):
            return False
        # One generated column may be computed from another. MySQL garbles letters beyond ASCII in expressions.
        named = any(f"`{name}`" in c.generation_expression for name in names for c in generated)
        return named or not all(name.isascii() and "`" not in name for name in names)

    def _computes(self, column: Column) -> bool:
        """Whether the target computes this column as the source does, from columns that have to be the same then."""
        own = self.plan.target.column(column.name) if self.plan.every_column else None
        return own is not None and own.generated and own.generation_expression == column.generation_expression

    def _cannot(self, what: str, hint: str = "") -> NoReturn:
        # Another policy does not help a mapping that names its columns.
        stop(self.plan, what, self.where, hint or ("" if self.plan.every_column else HINT))

    def judge(self, clause: Clause) -> Decision:
        """The decision about one clause.

        Raises:
            SchemaDrift: the mapping cannot follow.
        """
        if clause.effect is Effect.NONE:
            return _GO_ON
        what = f"{clause.effect.value} {clause.column}".rstrip()
        if self.plan.mapping.schema_policy == "fail" and clause.effect is not Effect.INDEX:
            self._cannot(what)
        match clause.effect:
            case Effect.KEY:
                return self._key(clause, what)
            case Effect.INDEX:
                return self._index(clause, what)
            case Effect.ADD:
                return self._added(clause)
            case Effect.DROP:
                return self._dropped(clause, what)
            case Effect.RENAME:
                return self._renamed(clause, what)
            case Effect.RETYPE:
                if self._recomputes(clause) and not follows(self.plan):
                    self._cannot(what)
                if self._recomputes(clause):
                    return Decision(Answer.COPY_AGAIN, (clause,))
                return self._retyped(clause, what) if self._needs(clause.column) else _GO_ON
        if self.plan.mapping.schema_policy != "evolve":
            self._cannot("a change of rows that the log does not hold")
        return _AGAIN

    def _key(self, clause: Clause, what: str) -> Decision:
        if not self.plan.mapping.primary_key:
            if not follows(self.plan):
                self._cannot(what)
            return _AGAIN
        if not clause.column or not self._needs(clause.column):
            return _GO_ON  # the mapping has a key of its own
        no_nulls = Definition(None, nullable=False)  # outside of strict mode the server makes values of NULLs
        retyped = Clause(Effect.RETYPE, clause.column, old_name=clause.column, definition=no_nulls)
        return Decision(Answer.EVOLVE, (retyped,))

    def _index(self, clause: Clause, what: str) -> Decision:
        """An index is dropped. If the source's rows are not told apart by its primary key, it may be by this one."""
        by_source = {c.source: c.target for c in self.plan.columns if c.source and c.transform is None}
        primary_key = {by_source.get(name, name) for name in self.plan.source.primary_key}
        if primary_key == set(self.plan.key) or self.plan.mapping.primary_key:
            return _GO_ON
        return self._key(clause, what)

    def _added(self, clause: Clause) -> Decision:
        if not follows(self.plan):
            # The target has had a column that the source lacked. From now on rows have values for it.
            unfilled = self.plan.every_column and self._has(clause.column)
            return Decision(Answer.EVOLVE, (clause,)) if unfilled else _GO_ON
        now = self.now.column(clause.column) if self.now else None
        stated = clause.definition.column if clause.definition else None
        fill = clause.definition.fill if clause.definition else None
        if now is None or now.generated or fill is None or stated is None:
            return _AGAIN
        stated = self._stated(stated, now)
        fits = widens(stated, now) if fill == "NULL" else same(stated, now)
        return Decision(Answer.EVOLVE, (clause,)) if fits else _AGAIN

    def _dropped(self, clause: Clause, what: str) -> Decision:
        plan = self.plan
        vital = {*plan.key, *filter_columns(plan.mapping.filter)} if plan.every_column else plan.needed_source_columns
        if clause.column in vital:
            if follows(plan) and self.now is not None and self.now.column(clause.column) is not None:
                return _AGAIN  # it was added again
            self._cannot(what, HINT)
        return Decision(Answer.EVOLVE, (clause,)) if follows(plan) else _GO_ON

    def _renamed(self, clause: Clause, what: str) -> Decision:
        if clause.column in filter_columns(self.plan.mapping.filter):
            self._cannot(what, HINT)
        if follows(self.plan):
            return Decision(Answer.EVOLVE, (clause,))
        if self._needs(clause.column) or (self.plan.every_column and self._has(clause.new_name)):
            self._cannot(what)
        return _GO_ON

    def _retyped(self, clause: Clause, what: str) -> Decision:
        """A change of type leaves the rows as they are if the new type holds every value of the old one."""
        now = self.now.column(clause.column) if self.now else None
        known = next((c for c in self.known if c.name == clause.old_name), None)
        held = self._held(clause)
        before = [c for c in (held if self.altered else known, held) if c is not None]
        stated = None
        if clause.charset:
            stated = as_converted(before[0], clause.charset) if before else None
        elif clause.definition and clause.definition.column:
            stated = self._stated(clause.definition.column, now)
        computed = clause.definition is not None and clause.definition.computed
        if follows(self.plan) and (computed or any(c is not None and c.generated for c in (known, held))):
            return _AGAIN  # the values become computed ones, or cease to be
        # A change of the kind of values ends in a stop or a new copy, so any earlier description shows the kind.
        kind = known or held
        if stated is not None and kind is not None and family(kind) != family(stated):
            if follows(self.plan):
                return Decision(Answer.COPY_AGAIN, (clause,))
            self._cannot(f"{what} from {kind.column_type} to {stated.column_type}")
        # The target holds the rows as they are, so its type alone proves it, too.
        kept = stated is not None and any(self._keeps(c, stated, clause) for c in before)
        final = now is not None and stated is not None and widens(stated, now)
        if kept and (final or not follows(self.plan)):
            return Decision(Answer.EVOLVE, (clause,))
        if not follows(self.plan):
            self._cannot(what)
        return Decision(Answer.COPY_AGAIN, (clause,))

    def _held(self, clause: Clause) -> Column | None:
        """The target column that gets this source column's values as they are, if there is one."""
        for planned in self.plan.columns:
            if planned.source in (clause.old_name, clause.column) and planned.transform is None:
                return self.plan.target.column(planned.target)
        return self.plan.target.column(clause.old_name) if self.plan.every_column else None

    def _keeps(self, before: Column, stated: Column, clause: Clause) -> bool:
        if clause.charset:
            return holds_charset(before.charset, stated.charset)
        return widens(before, stated)

    def _stated(self, stated: Column, now: Column | None) -> Column:
        """The column with the table's default character set, if the statement names none."""
        if stated.type == "json" and now is not None and now.type == "longtext":
            return now  # MariaDB's JSON is a LONGTEXT
        if stated.charset is None and stated.type in TEXT_TYPES:
            default = self.now.charset if self.now else None
            return as_bytes(stated) if default == "binary" else replace(stated, charset=default)
        return stated
