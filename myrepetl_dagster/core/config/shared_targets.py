"""Several mappings into one target table must never write the same row.

Their rows differ in a column to which each mapping gives its own static value. The demo of the original tool writes the
users of two sources into one table, with `source_id` "1" and "2" and `primary_key: "id"`: with that key each source
would overwrite the other's rows. So such a column becomes part of the key of all these mappings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation

from .pipeline import Endpoint, StaticValue, TableMapping
from .section import Findings


def separate_writers(
    mappings: Sequence[TableMapping], targets: Mapping[str, Endpoint], findings: Findings
) -> tuple[TableMapping, ...]:
    """The mappings, in the order of the file, with keys by which no two of them write the same row."""
    groups: dict[tuple[str, str, str], list[TableMapping]] = {}
    for mapping in mappings:
        # By address: two endpoints may be one server.
        place = (targets[mapping.target].address, mapping.target_schema, mapping.target_table)
        groups.setdefault(place, []).append(mapping)
    done = {one.name: one for group in groups.values() for one in _separate(group, findings)}
    return tuple(done[mapping.name] for mapping in mappings)


def _separate(group: list[TableMapping], findings: Findings) -> list[TableMapping]:
    if len(group) == 1:
        return group
    static = [_static_values(mapping) for mapping in group]
    common = [column for column in static[0] if all(column in values for values in static)]
    # One column if it is enough, preferably one that is in the key already; else all of them together.
    common.sort(key=lambda column: sum(column not in mapping.primary_key for mapping in group))
    for columns in [[column] for column in common] + [common]:
        told_apart = {tuple(values[column] for column in columns) for values in static}
        if columns and len(told_apart) == len(group):
            return [_with_key(mapping, columns, findings) for mapping in group]
    _report(group, static, common, findings)
    return group


def _with_key(mapping: TableMapping, columns: list[str], findings: Findings) -> TableMapping:
    added = [column for column in columns if column not in mapping.primary_key]
    if not added:
        return mapping
    findings.warn(
        f"{mapping.path}.primary_key",
        f"{', '.join(added)} is taken into the key: other mappings write to {mapping.target_name} too, "
        "and this column tells the rows apart; the target table needs that key",
    )
    return replace(mapping, primary_key=(*mapping.primary_key, *added))


def _report(group: list[TableMapping], static: list[dict[str, object]], common: list[str], findings: Findings) -> None:
    """Report each mapping that writes the same rows as one before it."""
    for index, mapping in enumerate(group):
        for other, values in zip(group[:index], static, strict=False):
            if not common or all(values[column] == static[index][column] for column in common):
                findings.problem(
                    mapping.path,
                    f"writes the same rows of {mapping.target_name} as {other.path}",
                    "give both a column with a static value of its own, or another target table",
                )
                break


def _static_values(mapping: TableMapping) -> dict[str, object]:
    return {column.target: _folded(column.value) for column in mapping.columns or () if column.has_value}


def _folded(value: StaticValue) -> object:
    """Equal for values that some column type or collation takes for one: "01" and 1, "a" and "A "."""
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return str(value).strip().casefold()
    return number if number.is_finite() else str(value).strip().casefold()
