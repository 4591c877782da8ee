"""Checks that rows which differ at the source have different keys in the target: else two would become one. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..model.errors import PrerequisiteError
from ..model.tables import Column, Table
from .collations import is_one_collation
from .column_types import (
    BYTE_TYPES,
    CHARACTER_TYPES,
    DATETIME_TYPES,
    FLOAT_TYPES,
    FRACTION_TYPES,
    INTEGER_TYPES,
    LABEL_TYPES,
    LOB_BYTES_MAX,
    PRINTED_TYPES,
    TEXT_TYPES,
    decimal_digits,
    fraction_digits,
    type_numbers,
)

# The kind of each type's values. Types without an entry are a kind of their own.
_KEY_KINDS = {
    **dict.fromkeys(INTEGER_TYPES, "whole number"),
    **dict.fromkeys(FLOAT_TYPES, "float"),
    **dict.fromkeys(TEXT_TYPES, "text"),
    **dict.fromkeys(BYTE_TYPES, "bytes"),
    **dict.fromkeys(DATETIME_TYPES, "datetime"),
}
_TRIMMED = LABEL_TYPES | {"char"}  # hold no spaces at the end
_LONG_TEXT_TYPES = CHARACTER_TYPES - {"char", "varchar"}  # their length is in bytes
_CHARACTER_BYTES_MAX = 4
# An earlier version, or another definition of the target, may have let it happen. No error would tell of it later on.
_THEN = ", then run the `snapshot` job for this mapping: rows that have become one already are copied by that alone."


def require_mapped_key(mapping: str, written: Sequence[str], key: Sequence[str]) -> None:
    """Check that the mapping writes every column of the key.

    Raises:
        PrerequisiteError: names the columns that it does not write.
    """
    unmapped = [name for name in key if name not in written]
    if unmapped:
        raise PrerequisiteError(
            f"mapping {mapping!r}: the key column {', '.join(unmapped)} is not among the mapped columns",
            hint=f"Correct primary_key: the mapping writes {', '.join(written)}.",
        )


def require_unique_key(
    mapping: str, target: Table, key: tuple[str, ...], lengths: Mapping[str, int], *, of_source: bool = False
) -> None:
    """Check that the target has a unique key of these columns, by which rows are found.

    Args:
        lengths: of which columns the beginning tells the source's rows apart, and how much of it. As much will do here.
        of_source: the key is the source table's, and none that the mapping names.

    Raises:
        PrerequisiteError: it has none, or its columns may be NULL any number of times.
    """
    keys = [target.primary_key, *target.unique_keys]

    def enough(part: str) -> bool:
        name, length = target.key_part(part)
        return length is None or lengths.get(name, length + 1) <= length

    if any(set(target.key_columns(k)) == set(key) and all(map(enough, k)) for k in keys if k):
        nullable = [name for name in key if (column := target.column(name)) is not None and column.nullable]
        if not nullable:
            return
        raise PrerequisiteError(
            f"mapping {mapping!r}: the key column {', '.join(nullable)} of {target.name} may be NULL, and a"
            " unique key takes any number of NULLs",
            hint="Make the column NOT NULL in the target, or correct primary_key.",
        )
    columns = ", ".join(f"`{name}`" for name in key)
    # A primary key on fewer columns would make one row of the rows of two sources, and so would an earlier key.
    numbers = any(c.auto_increment for c in target.columns if c.name in target.primary_key)
    narrow = bool(target.primary_key) and set(target.primary_key) < set(key)
    earlier = bool(target.primary_key) and of_source and not numbers
    what = f"DROP PRIMARY KEY, ADD PRIMARY KEY ({columns})" if narrow or earlier else f"ADD UNIQUE KEY ({columns})"
    raise PrerequisiteError(
        f"mapping {mapping!r}: {target.name} has no unique key on ({', '.join(key)}), so rows cannot be found",
        hint=f"ALTER TABLE `{target.name.schema}`.`{target.name.table}` {what}, or correct primary_key."
        " A table that is a copy and nothing else may be dropped: the `snapshot` job makes it anew, with this key.",
    )


def require_kept_apart(mapping: str, key: Sequence[tuple[Column, Column]], *, one_flavour: bool) -> None:
    """Check that no two source rows have one key in the target, by its collation or by its type ('01' and '1' are one
    number).

    Args:
        key: for each key column that is copied as it is: the source's column and the target's.
        one_flavour: both servers are MySQL, or both are MariaDB.

    Raises:
        PrerequisiteError: two rows could become one.
    """
    for theirs, ours in key:
        if not ours.collation or is_one_collation(ours.collation, theirs.collation, one_flavour=one_flavour):
            continue
        if (
            theirs.charset is None
            or theirs.type in PRINTED_TYPES
            or tells_all_apart(ours.collation, theirs.collation or "")
        ):
            continue  # texts of numbers, times, UUIDs and addresses differ to any collation
        other = theirs.collation or theirs.type
        which = f"and {other}" if ours.collation != other else "and one of the same name"
        raise PrerequisiteError(
            f"mapping {mapping!r}: key column {ours.name} has collation {ours.collation} in the target"
            f" {which} in the source: different source rows could become one",
            hint=_collation_hint(theirs, ours, one_flavour=one_flavour),
        )
    for theirs, ours in key:
        if not _keeps_apart(theirs, ours):
            fitting = theirs.column_type if one_flavour else PRINTED_TYPES.get(theirs.type, theirs.column_type)
            raise PrerequisiteError(
                f"mapping {mapping!r}: key column {ours.name} is {ours.column_type} in the target and"
                f" {theirs.column_type} in the source: different source rows could become one",
                hint=f"Give the target's column the type {fitting}{_THEN}",
            )


def _collation_hint(theirs: Column, ours: Column, *, one_flavour: bool) -> str:
    binary = f"{ours.charset}_bin"
    if _is_no_pad(theirs.collation or ""):  # such a source tells 'a' from 'a '
        binary = f"{ours.charset}_0900_bin (MySQL) or {ours.charset}_nopad_bin (MariaDB)"
    name = theirs.collation
    own = "the source's collation, or " if is_one_collation(name, name, one_flavour=one_flavour) else ""
    return f"Give the target's column {own}{binary}{_THEN}"


def _keeps_apart(theirs: Column, ours: Column) -> bool:
    kinds = [_KEY_KINDS.get(c.type, c.type) for c in (theirs, ours)]
    if ours.type in ("year", "binary"):
        return theirs.type == ours.type  # 1 and 2001 are one YEAR; BINARY pads x'01' to x'0100', and is not found by it
    if kinds[1] == "text" and _loses_spaces(theirs, ours):
        return False
    if kinds == ["bytes", "text"]:
        return tells_all_apart(ours.collation or "", "")
    if "text" in kinds[1:] or kinds[1] == "bytes":
        return kinds[0] != "float"  # different values have different texts; the server refuses those too long
    if kinds[0] == "whole number" and kinds[1] == "decimal":
        return True
    if kinds[0] == "date" and kinds[1] == "datetime":
        return True
    if kinds[0] != kinds[1] or kinds[0] == "float":
        return kinds[0] == kinds[1] and (theirs.type == ours.type or ours.type == "double")
    return _digits_after_point(ours) >= _digits_after_point(theirs)


def _loses_spaces(theirs: Column, ours: Column) -> bool:
    """Whether 'a ' and 'a' are two keys at the source, and the target does not keep the space.

    Spaces at the end of a text that is too long are dropped without an error, in any sql_mode.
    """
    if theirs.charset is not None and (theirs.type in _TRIMMED or not _is_no_pad(theirs.collation or "")):
        return False  # the source drops such spaces, too, or compares without them
    if _KEY_KINDS.get(theirs.type) not in ("text", "bytes"):
        return False
    if (theirs.type, theirs.charset) == (ours.type, ours.charset) and ours.type in _LONG_TEXT_TYPES:
        return False
    room = _length(ours) // (_CHARACTER_BYTES_MAX if ours.type in _LONG_TEXT_TYPES else 1)
    return ours.type in _TRIMMED or room < _length(theirs)


def _length(column: Column) -> int:
    """The greatest length of a text or bytes column's value: in characters, in bytes for TEXT and BLOB."""
    numbers = type_numbers(column.column_type)
    return numbers[0] if numbers else LOB_BYTES_MAX.get(column.type, 1)


def _digits_after_point(column: Column) -> int:
    """The digits after the point. A server rounds more of them away without an error."""
    if column.type == "decimal":
        return decimal_digits(column.column_type)[1]
    return fraction_digits(column.column_type) if column.type in FRACTION_TYPES else 0


def tells_all_apart(target_collation: str, source_collation: str) -> bool:
    """Whether strings that differ by the source's collation differ by the target's, too.

    A binary collation tells all strings apart, except for 'a' and 'a ' unless it is one of the NO PAD collations. So a
    padding one serves only if the source's collation pads as well.
    """
    if target_collation.endswith(("_0900_bin", "_nopad_bin")):
        return True
    return target_collation.endswith("_bin") and bool(source_collation) and not _is_no_pad(source_collation)


def _is_no_pad(collation: str) -> bool:
    return "_0900_" in collation or "nopad" in collation
