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
from .column_alterations import HINT, add_columns, alter, fit, regenerate, relax, remake


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
        computed: the source's columns that the target computes itself.

    Returns:
        Whether the target table may have been altered.

    Raises:
        SchemaDrift: a source column's values are of another kind now, and those of the target's column were of neither.
    """
    present = {c.name: c for c in table.columns}
    key = table.key_columns(table.primary_key)
    before = {c.name: c for c in known}
    for now in source.columns if known else ():
        column = present.get(now.name)
        old = before.get(now.name)
        if column is None:
            continue
        if column.generated:
            if now.of_period:  # the target keeps a history of its own
                continue
            if old is None or (old.generated, old.generation_expression) != (now.generated, now.generation_expression):
                regenerate(target, table.name, now, computed=now.name in computed)
            continue
        if family(column) != family(now) and (old is None or family(old) != family(now)):
            if old is not None and family(old) != family(column):  # somebody chose the target's type
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
            or old.charset != now.charset
            or (now.nullable and not old.nullable)
        ):
            fit(target, table.name, column, now, key=now.name in key, any_type=True)
    spelled = {c.name.casefold(): c.name for c in table.columns}
    missing = [c for c in source.columns if c.name not in present and not c.hidden]
    for now in missing:
        if now.name.casefold() in spelled:  # the server ignores the letters' case, but our plans compare it
            former = spelled[now.name.casefold()]
            change = f"RENAME COLUMN {quote_name(former)} TO {quote_name(now.name)}"
            alter(target, table.name, change, replace(present[former], name=now.name), former)
    add_columns(target, table.name, [c for c in missing if c.name.casefold() not in spelled], "", computed)
    names = {name.casefold() for name in source.column_names}
    relax(target, table.name, [c for c in table.columns if c.name.casefold() not in names and c.name in before])
    return bool(known or missing)
