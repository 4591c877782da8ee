"""Makes a target table fit a new copy of its source, which may have changed since the last copy.

Each step looks at the target first, so that it can be repeated after an interruption.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from ..model.errors import SchemaDrift
from ..model.tables import Column, Table
from ..target.control import TargetControl
from ..values.sql import quote_name
from ..values.widening import family
from .column_alterations import HINT, add_columns, allow_any_text, alter, fit, relax, remake
from .target_table import as_held


def conform(
    target: TargetControl,
    mapping: str,
    table: Table,
    source: Table,
    known: Sequence[Column],
    computed: Collection[str] = (),
) -> bool:
    """Alter a target table so that a new copy of its source fits, which may have changed since the last copy.

    The copy will write all of the source's present columns, and no others.

    Args:
        known: the source's columns when it was copied last; () if it never was. The target's types are then left
            as they are, since somebody chose them.
        computed: the source's columns that the target has to compute itself.

    Returns:
        Whether the target table may have been altered.

    Raises:
        SchemaDrift: a source column's values are of another kind now, and those of the target's column were of neither.
    """
    table = _with_key_of(target, table, source, known)
    table = _without_stale(target, table, source, known, computed)
    present = {c.name: c for c in table.columns}
    key = table.key_columns(table.primary_key)
    before = {c.name: c for c in known}
    for now in source.columns if known else ():
        column = present.get(now.name)
        old = before.get(now.name)
        if column is None or column.generated:
            continue
        held = as_held(now, mariadb=target.info.is_mariadb)
        if family(column) != family(held) and (old is None or family(old) != family(now)):
            was = old and as_held(old, mariadb=target.info.is_mariadb)
            if was is not None and family(was) != family(column):  # somebody chose the target's type
                raise SchemaDrift(
                    f"mapping {mapping!r}: column {now.name} is now {now.column_type} in {source.name},"
                    f" but {column.column_type} in {table.name}",
                    hint=HINT,
                )
            remake(target, table.name, now, key=now.name in key)
            continue
        if (
            old is None
            or old.column_type != now.column_type
            or (old.charset, old.collation) != (now.charset, now.collation)
            or (now.nullable and not old.nullable)
        ):
            if old is None or old.type == "json":
                allow_any_text(target, table.name, column, now)
            fit(target, table.name, column, held, key=now.name in key, any_type=True)
    spelled = {c.name.casefold(): c.name for c in table.columns}
    missing = [c for c in source.columns if c.name not in present and not c.hidden]
    for now in missing:
        if now.name.casefold() in spelled:  # the server ignores the letters' case, but our plans compare it
            former = spelled[now.name.casefold()]
            change = f"RENAME COLUMN {quote_name(former)} TO {quote_name(now.name)}"
            alter(target, table.name, change, replace(present[former], name=now.name), former)
        else:
            add_columns(target, table.name, [now], computed=now.name in computed)
    names = {name.casefold() for name in source.column_names}
    relax(target, table.name, [c for c in table.columns if c.name.casefold() not in names and c.name in before])
    return bool(known or missing)


def _with_key_of(target: TargetControl, table: Table, source: Table, known: Sequence[Column]) -> Table:
    """The target table with the names that the columns of the source's key have by now.

    A new column would not do: the old one stays the key, and no row has a value for it any more.
    """
    before = {c.name for c in known}
    spelled = {name.casefold() for name in table.column_names}
    keys = [one.key_columns(one.primary_key) for one in (table, source)]
    for old, new in zip(*keys, strict=True) if len(keys[0]) == len(keys[1]) else ():
        column = table.column(old)
        if column is None or old not in before or old in source.column_names or new.casefold() in spelled:
            continue
        renamed = replace(column, name=new)
        alter(target, table.name, f"RENAME COLUMN {quote_name(old)} TO {quote_name(new)}", renamed, old)
        columns = tuple(renamed if c.name == old else c for c in table.columns)
        primary_key = tuple(new if part == old else part for part in table.primary_key)
        table = replace(table, columns=columns, primary_key=primary_key)
    return table


def _without_stale(
    target: TargetControl, table: Table, source: Table, known: Sequence[Column], computed: Collection[str]
) -> Table:
    """The target table without the columns that it computes, if the source has altered its own. They are added anew.

    All are dropped, since one may be computed from another. MariaDB cannot make an ordinary column of one.
    """
    before = {c.name: (c.generated, c.generation_expression) for c in known}
    now = {c.name: (c.generated, c.generation_expression) for c in source.columns}
    wanted = {*before, *now} if known else set()
    new = wanted.intersection(computed).difference(before)
    stale = [c for c in table.columns if (c.generated and c.name in wanted) or c.name in new]
    stale = [c for c in stale if not c.of_period]  # the target keeps a history of its own
    if all(before.get(c.name) == now[c.name] for c in stale if c.name in now):
        return table
    for column in reversed(stale):
        alter(target, table.name, f"DROP COLUMN {quote_name(column.name)}", column)
    return replace(table, columns=tuple(c for c in table.columns if c not in stale))
