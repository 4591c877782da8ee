"""Statements that alter one column of a target table.

ALTER TABLE commits the open transaction on MySQL and MariaDB, so the caller must have none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..model.errors import PrerequisiteError, ReplicationError, SchemaDrift
from ..model.tables import Column, TableName
from ..mysql.error_codes import ACCESS_DENIED
from ..target.control import TargetControl
from ..values.key_safety import tells_all_apart
from ..values.sql import quote_name
from ..values.widening import family, widens
from .target_table import as_defined, column_definition, computed_column

_DUPLICATE = 1062
HINT = "Correct the target's column by hand, then run the `snapshot` job for this mapping."


def fit(
    target: TargetControl, table: TableName, column: Column, now: Column, *, key: bool, any_type: bool = False
) -> bool:
    """Give a target column the source column's type if it cannot store all values of that.

    Args:
        column: the target's column.
        now: the source's column, with the name that its type has at the target (`as_held`).
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


def remake(target: TargetControl, table: TableName, now: Column, *, key: bool) -> None:
    """Give a column a type of another kind. All rows will be written again, so their present values may be lost."""
    column = replace(now, nullable=not key, auto_increment=False)
    try:
        modify(target, table, column)
    except SchemaDrift as error:
        if key or error.code == _DUPLICATE:  # without the column, a key of the target's would be another one
            raise
        definition, added = _defined(target, column)
        name = quote_name(column.name)
        alter(target, table, f"DROP COLUMN {name}, ADD COLUMN {name} {definition}", added)


def allow_any_text(target: TargetControl, table: TableName, column: Column, now: Column) -> None:
    """Let a column take text that is no JSON, if the source's column is no JSON any more.

    JSON of MariaDB's is a LONGTEXT with a CHECK. A definition without the CHECK takes it away.
    """
    if target.info.is_mariadb and column.type == "longtext" and now.type != "json":
        modify(target, table, column)


def add_columns(
    target: TargetControl, table: TableName, columns: Sequence[Column], default: str = "", *, computed: bool = False
) -> None:
    """Add columns. All are nullable, since rows that are older than the column have no value for it.

    `computed`: the target computes them itself.
    """
    for column in columns:
        definition, added = _defined(target, replace(column, nullable=True, auto_increment=False), computed=computed)
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


def _defined(target: TargetControl, column: Column, *, computed: bool = False) -> tuple[str, Column]:
    """A column's definition for the target, and the column that results. `computed`: the target computes it."""
    collations, mariadb = target.collations(), target.info.is_mariadb
    definition = column_definition(column, collations=collations, mariadb=mariadb)
    if computed:
        return computed_column(column, definition, as_defined(column, collations=collations, mariadb=mariadb))
    definition += " NULL" if column.nullable else " NOT NULL"
    definition += " AUTO_INCREMENT" if column.auto_increment else ""
    return definition, as_defined(column, collations=collations, mariadb=mariadb)


def quoted(table: TableName) -> str:
    return f"{quote_name(table.schema)}.{quote_name(table.table)}"


def alter(target: TargetControl, table: TableName, change: str, column: Column, former: str = "") -> None:
    """Alter one column of a target table.

    Args:
        change: the SQL after ALTER TABLE and the table's name.
        column: the column as it will be.
        former: its name before, if that changes.

    Raises:
        PrerequisiteError: the account lacks the privilege, or the server cannot do it.
        SchemaDrift: the target refuses the change.
    """
    name = quoted(table)
    try:
        target.alter_column(table, change, column, former)
    except PrerequisiteError as error:
        raise PrerequisiteError(
            f"{error.message}: the target has to follow its source, ALTER TABLE {name} {change}",
            hint=error.hint
            if error.code not in ACCESS_DENIED
            else f"GRANT ALTER ON {quote_name(table.schema)}.* to the target's account; or make the change by hand, "
            "or set schema_policy: ignore.",
            code=error.code,
        ) from None
    except ReplicationError as error:
        if error.retryable:
            raise
        raise SchemaDrift(
            f"{error.message}: the target cannot follow its source, ALTER TABLE {name} {change}",
            hint=HINT,
            code=error.code,
        ) from None
