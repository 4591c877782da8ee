"""Makes a target table follow its source: columns are added, renamed, widened or made nullable.

Each step looks at the target first, so that it can be repeated after an interruption. ALTER TABLE commits the open
transaction on MySQL and MariaDB, so the caller must have none.
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
            generated = self.columns[clause.column].generated
            return fill == "NULL" and not generated and not self._any(clause.column, "IS NOT NULL")
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
        return now is not None and fit(self.target, self.name, column, now, key=name in self.plan.key)

    def _target_name(self, clause: Clause) -> str:
        for planned in self.plan.columns:
            if planned.source in (clause.column, clause.old_name) and planned.target in self.columns:
                return planned.target
        return clause.column

    def _any(self, column: str, condition: str) -> bool:
        """Whether any row of the target has such a value in this column."""
        where = f"{quote_name(column)} {condition}"
        with translated(self.target.endpoint, f"looking into {self.name}"):
            return bool(query(self.target.control, f"SELECT 1 FROM {_quoted(self.name)} WHERE {where} LIMIT 1"))


# ---- for a new copy ------------------------------------------------------------------------------------------
def conform(target: TargetControl, mapping: str, table: Table, source: Table, known: Sequence[Column]) -> bool:
    """Alter a target table so that a new copy of its source fits, which may have changed since the last copy.

    The copy will write all of the source's present columns, and no others.

    Args:
        known: the source's columns when it was copied last; () if it never was. The target's types are then left
            as they are, since somebody chose them.

    Returns:
        Whether the target table may have been altered.

    Raises:
        SchemaDrift: a source column's values are no longer of the target column's kind.
    """
    present = {c.name: c for c in table.columns}
    before = {c.name: c for c in known}
    for now in source.columns if known else ():
        column = present.get(now.name)
        old = before.get(now.name)
        if column is None:
            continue
        if column.generated:
            if old is None or (old.generated, old.generation_expression) != (now.generated, now.generation_expression):
                modify(target, table.name, replace(now, nullable=True, auto_increment=False))
            continue
        if family(column) != family(now) and (old is None or family(old) != family(now)):
            raise SchemaDrift(
                f"mapping {mapping!r}: column {now.name} is now {now.column_type} in {source.name},"
                f" but {column.column_type} in {table.name}",
                hint=_HINT,
            )
        if (
            old is None
            or old.column_type != now.column_type
            or old.charset != now.charset
            or (now.nullable and not old.nullable)
        ):
            key = now.name in table.key_columns(table.primary_key)
            fit(target, table.name, column, now, key=key, any_type=True)
    spelled = {c.name.casefold(): c.name for c in table.columns}
    missing = [c for c in source.columns if c.name not in present]
    for now in missing:
        if now.name.casefold() in spelled:  # the server ignores the letters' case, but our plans compare it
            former = spelled[now.name.casefold()]
            change = f"RENAME COLUMN {quote_name(former)} TO {quote_name(now.name)}"
            alter(target, table.name, change, replace(present[former], name=now.name), former)
    add_columns(target, table.name, [c for c in missing if c.name.casefold() not in spelled])
    names = {name.casefold() for name in source.column_names}
    relax(target, table.name, [c for c in table.columns if c.name.casefold() not in names and c.name in before])
    return bool(known or missing)


def fit(
    target: TargetControl, table: TableName, column: Column, now: Column, *, key: bool, any_type: bool = False
) -> bool:
    """Give a target column the source column's type if it cannot store all values of that.

    Args:
        column: the target's column.
        now: the source's column.
        key: the column is part of the mapping's key.
        any_type: all rows will be written again, so their present values may be lost.

    Returns:
        Whether the target's column can now store the source's values.
    """
    if family(column) != family(now):
        return True  # somebody chose another type on purpose
    relaxed = now.nullable and not column.nullable and not key
    collides = key and bool(now.collation) and column.collation != now.collation
    collides = collides and not tells_all_apart(column.collation or "", now.collation or "")
    enough = widens(now, column)
    if enough and not relaxed and not collides:
        return True
    if not enough and not widens(column, now) and not any_type:
        return False  # each type has values that the other cannot store
    wanted = now
    if key and tells_all_apart(column.collation or "", now.collation or ""):
        # The source's name may mean a coarser collation here.
        wanted = replace(now, charset=column.charset, collation=column.collation)
    if enough:
        wanted = replace(column, charset=now.charset, collation=now.collation) if collides else column
    nullable = (now.nullable or column.nullable) and not key
    modify(target, table, replace(wanted, name=column.name, nullable=nullable, auto_increment=column.auto_increment))
    return True


def add_columns(target: TargetControl, table: TableName, columns: Sequence[Column], default: str = "") -> None:
    """Add columns. All are nullable, since rows that are older than the column have no value for it."""
    for column in columns:
        definition, added = _defined(target, replace(column, nullable=True, auto_increment=False))
        alter(target, table, f"ADD COLUMN {quote_name(column.name)} {definition}{default}", added)


def relax(target: TargetControl, table: TableName, columns: Iterable[Column]) -> None:
    """Make columns nullable that the source has dropped, since later rows have no value for them."""
    columns = list(columns)
    described = target.describe(table) if columns else None
    key = described.key_columns(described.primary_key) if described else ()
    for column in columns:
        if not column.nullable and not column.generated and not column.auto_increment and column.name not in key:
            modify(target, table, replace(column, nullable=True))


def modify(target: TargetControl, table: TableName, column: Column) -> None:
    """Give a column of the target table this type."""
    definition, modified = _defined(target, column)
    alter(target, table, f"MODIFY COLUMN {quote_name(column.name)} {definition}", modified)


def _defined(target: TargetControl, column: Column) -> tuple[str, Column]:
    """A column's definition for the target, and the column that results."""
    collations, mariadb = target.collations(), target.info.is_mariadb
    definition = column_definition(column, collations=collations, mariadb=mariadb)
    definition += " NULL" if column.nullable else " NOT NULL"
    definition += " AUTO_INCREMENT" if column.auto_increment else ""
    return definition, as_defined(column, collations=collations, mariadb=mariadb)


def _quoted(table: TableName) -> str:
    return f"{quote_name(table.schema)}.{quote_name(table.table)}"


def alter(target: TargetControl, table: TableName, change: str, column: Column, former: str = "") -> None:
    """Alter one column of a target table.

    Args:
        change: the SQL after ALTER TABLE and the table's name.
        column: the column as it will be.
        former: its name before, if that changes.

    Raises:
        PrerequisiteError: the account lacks the privilege.
        SchemaDrift: the target refuses the change.
    """
    name = _quoted(table)
    try:
        target.alter_column(table, change, column, former)
    except PrerequisiteError as error:
        raise PrerequisiteError(
            f"{error.message}: the target has to follow its source, ALTER TABLE {name} {change}",
            hint=f"GRANT ALTER ON {quote_name(table.schema)}.* to the target's account; or make the change by hand, "
            "or set schema_policy: ignore.",
            code=error.code,
        ) from None
    except ReplicationError as error:
        if error.retryable:
            raise
        raise SchemaDrift(
            f"{error.message}: the target cannot follow its source, ALTER TABLE {name} {change}",
            hint=_HINT,
            code=error.code,
        ) from None
