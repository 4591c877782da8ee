"""Making a target table follow its source: columns added, renamed, widened, or allowed to be missing.

Each step looks at the target first, so that repeating it after an interruption does nothing. A definition
commits by itself on MySQL and MariaDB: the caller has committed everything before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..binlog.ddl.alter_table import Clause, Effect
from ..model.errors import PrerequisiteError, ReplicationError, SchemaDrift
from ..model.tables import Column, Table, TableName
from ..mysql.connect import query
from ..mysql.errors import translated
from ..plan.schema_change import Answer, Decision, follows
from ..plan.table_plan import TablePlan
from ..target.control import TargetControl
from ..values.key_safety import tells_all_apart
from ..values.sql import quote_name
from ..values.widening import family, widens
from .target_table import as_defined, column_definition

_HINT = "Correct the target's column by hand, then run the `snapshot` job for this mapping."


def follow(target: TargetControl, plan: TablePlan, source: Table, decision: Decision) -> Answer:
    """Apply column changes to a mapping's target table. The answer may turn out to be a new copy after all.

    Args:
        source: the source table as it is now, for the definitions of its columns.

    Raises:
        SchemaDrift: the target holds what the source no longer does, and the mapping's policy is not `evolve`.
    """
    held = {c.name: c for c in (target.describe(plan.target.name) or plan.target).columns}
    follower = _Follower(target, plan, source, held)
    if decision.answer is Answer.COPY_AGAIN:  # the rest is done when the copy is planned
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
    """Each method says whether the target is now what the source was after the clause."""

    def __init__(self, target: TargetControl, plan: TablePlan, source: Table, held: dict[str, Column]) -> None:
        self.target = target
        self.plan = plan
        self.name = plan.target.name
        self.source = source
        self.held = held

    def follow(self, clause: Clause) -> bool:
        match clause.effect:
            case Effect.ADD:
                return self._add(clause)
            case Effect.DROP:
                if clause.column in self.held:
                    relax(self.target, self.name, [self.held[clause.column]])
                return True
            case Effect.RENAME:
                return self.rename(clause)
            case Effect.RETYPE:
                return self._retype(clause)
        return True

    def _add(self, clause: Clause) -> bool:
        fill = clause.definition.fill if clause.definition else None
        if clause.column in self.held:
            # Ours of an interrupted run, of a column that was dropped before, or somebody else's.
            generated = self.held[clause.column].generated
            return fill == "NULL" and not generated and not self._any(clause.column, "IS NOT NULL")
        if not follows(self.plan):
            return True
        columns = [c for c in self.source.columns if c.name == clause.column]
        add_columns(self.target, self.name, columns, "" if fill in (None, "NULL") else f" DEFAULT {fill}")
        return bool(columns) and fill is not None

    def rename(self, clause: Clause) -> bool:
        if clause.column not in self.held:
            return clause.new_name in self.held  # done before an interruption
        if clause.new_name in self.held:
            return False
        old, new = quote_name(clause.column), quote_name(clause.new_name)
        renamed = replace(self.held[clause.column], name=clause.new_name)
        alter(self.target, self.name, f"RENAME COLUMN {old} TO {new}", renamed, clause.column)
        del self.held[clause.column]
        self.held[clause.new_name] = renamed
        return True

    def _retype(self, clause: Clause) -> bool:
        name, now = self._target_name(clause), self.source.column(clause.column)
        held = self.held.get(name)
        if held is None:
            return not follows(self.plan)
        no_nulls = clause.definition is not None and not clause.definition.nullable
        if no_nulls and held.nullable and self._any(name, "IS NULL"):
            return False  # the source made something else of its NULLs
        if not follows(self.plan):
            return True
        return now is not None and fit(self.target, self.name, held, now, key=name in self.plan.key)

    def _target_name(self, clause: Clause) -> str:
        for planned in self.plan.columns:
            if planned.source in (clause.column, clause.old_name) and planned.target in self.held:
                return planned.target
        return clause.column

    def _any(self, column: str, condition: str) -> bool:
        where = f"{quote_name(column)} {condition}"
        with translated(self.target.endpoint, f"looking into {self.name}"):
            return bool(query(self.target.control, f"SELECT 1 FROM {_quoted(self.name)} WHERE {where} LIMIT 1"))


# ---- for a new copy ------------------------------------------------------------------------------------------
def conform(target: TargetControl, mapping: str, table: Table, source: Table, known: Sequence[Column]) -> bool:
    """Make a target table fit for a new copy of a source table that may have changed since its last one.

    All of the source's columns will be written; those that are not there any more will not.

    Args:
        known: the source's columns when it was copied last; () if it never was: then the target's types
            are as somebody chose them.

    Returns:
        Whether the table may be another one now.

    Raises:
        SchemaDrift: a column's values have become of another kind than the target's column.
    """
    held = {c.name: c for c in table.columns}
    before = {c.name: c for c in known}
    for now in source.columns if known else ():
        column = held.get(now.name)
        old = before.get(now.name)
        if column is None:
            continue
        if column.generated:
            if old is None or (old.generated, old.generation_expression) != (now.generated, now.generation_expression):
                modify(target, table.name, replace(now, nullable=True, auto_increment=False))
            continue
        if family(column) != family(now) and (old is None or family(old) != family(now)):
            raise SchemaDrift(
                f"mapping {mapping!r}: column {now.name} is {now.column_type} in {source.name} by now,"
                f" {column.column_type} in {table.name}",
                hint=_HINT,
            )
        if (
            old is None
            or old.column_type != now.column_type
            or old.charset != now.charset
            or (now.nullable and not old.nullable)
        ):
            fit(target, table.name, column, now, key=now.name in table.primary_key, any_type=True)
    spelled = {c.name.casefold(): c.name for c in table.columns}
    missing = [c for c in source.columns if c.name not in held]
    for now in missing:
        if now.name.casefold() in spelled:  # one name to the server, two to whoever reads the log
            former = spelled[now.name.casefold()]
            change = f"RENAME COLUMN {quote_name(former)} TO {quote_name(now.name)}"
            alter(target, table.name, change, replace(held[former], name=now.name), former)
    add_columns(target, table.name, [c for c in missing if c.name.casefold() not in spelled])
    names = {name.casefold() for name in source.column_names}
    relax(target, table.name, [c for c in table.columns if c.name.casefold() not in names and c.name in before])
    return bool(known or missing)


def fit(
    target: TargetControl, table: TableName, held: Column, now: Column, *, key: bool, any_type: bool = False
) -> bool:
    """Give a target's column the source's type if its own does not hold all of that one's values.

    Args:
        any_type: the rows will be written again, so that it does not matter what becomes of their values.
    """
    if family(held) != family(now):
        return True  # chosen by somebody
    relaxed = now.nullable and not held.nullable and not key
    collides = key and bool(now.collation) and held.collation != now.collation
    collides = collides and not tells_all_apart(held.collation or "", now.collation or "")
    enough = widens(now, held)
    if enough and not relaxed and not collides:
        return True
    if not enough and not widens(held, now) and not any_type:
        return False  # each holds what the other does not
    wanted = now
    if enough:
        wanted = replace(held, charset=now.charset, collation=now.collation) if collides else held
    nullable = (now.nullable or held.nullable) and not key
    modify(target, table, replace(wanted, name=held.name, nullable=nullable, auto_increment=held.auto_increment))
    return True


def add_columns(target: TargetControl, table: TableName, columns: Sequence[Column], default: str = "") -> None:
    """Add columns, all of them nullable: rows that are older than the column have no value for it."""
    for column in columns:
        definition, added = _defined(target, replace(column, nullable=True, auto_increment=False))
        alter(target, table, f"ADD COLUMN {quote_name(column.name)} {definition}{default}", added)


def relax(target: TargetControl, table: TableName, columns: Iterable[Column]) -> None:
    """The source has dropped the columns: rows to come have no value for them."""
    columns = list(columns)
    keys = {name for key in _keys(target, table) for name in key} if columns else set()
    for column in columns:
        if not column.nullable and not column.generated and not column.auto_increment and column.name not in keys:
            modify(target, table, replace(column, nullable=True))


def _keys(target: TargetControl, table: TableName) -> tuple[tuple[str, ...], ...]:
    held = target.describe(table)
    return (held.primary_key,) if held else ()


def modify(target: TargetControl, table: TableName, column: Column) -> None:
    """Give a column of the target's table another type."""
    definition, modified = _defined(target, column)
    alter(target, table, f"MODIFY COLUMN {quote_name(column.name)} {definition}", modified)


def _defined(target: TargetControl, column: Column) -> tuple[str, Column]:
    """A column's definition for the target, never a computed one, and what the target has by it."""
    collations, mariadb = target.collations(), target.info.is_mariadb
    definition = column_definition(column, collations=collations, mariadb=mariadb, keep_generated=False)
    definition += " NULL" if column.nullable else " NOT NULL"
    definition += " AUTO_INCREMENT" if column.auto_increment else ""
    return definition, as_defined(column, collations=collations, mariadb=mariadb, keep_generated=False)


def _quoted(table: TableName) -> str:
    return f"{quote_name(table.schema)}.{quote_name(table.table)}"


def alter(target: TargetControl, table: TableName, what: str, column: Column, former: str = "") -> None:
    """Alter one column of the target's table; `column`: as it will be, `former`: its name before.

    Raises:
        PrerequisiteError: the account may not.
    """
    name = _quoted(table)
    try:
        target.alter_column(table, what, column, former)
    except PrerequisiteError as error:
        raise PrerequisiteError(
            f"{error.message}: the target has to follow its source, ALTER TABLE {name} {what}",
            hint=f"GRANT ALTER ON {quote_name(table.schema)}.* to the target's account; or make the change by hand, "
            "or set schema_policy: ignore.",
            code=error.code,
        ) from None
    except ReplicationError as error:
        if error.retryable:
            raise
        raise SchemaDrift(
            f"{error.message}: the target cannot follow its source, ALTER TABLE {name} {what}",
            hint=_HINT,
            code=error.code,
        ) from None
