"""Target columns that would store another value than the source's without an error. Pure.

Even in strict mode a server rounds fractions, drops a time or pads bytes without a word: what does that to
some value of the source's type is refused when the tables are planned. What the server itself refuses
(out of range, too long, no such character) is not looked at here.
"""

from __future__ import annotations

import re

from ..model.tables import Column

_INTEGER_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_MANTISSA_BITS = {"float": 24, "double": 53}
_DECIMAL_DIGITS = {"float": 6, "double": 15}  # that read back the same
_MOMENTS = ("datetime", "timestamp")
_TEMPORAL = (*_MOMENTS, "date", "time")
_NUMBERS = (*_INTEGER_BITS, *_MANTISSA_BITS, "decimal", "year", "bit")
_BYTES = ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob")


def rounds(source: Column, target: Column) -> bool:
    """Whether some value of the source's type becomes another one in the target's column, without an error."""
    if source.type in _TEMPORAL:
        return _rounds_temporal(source, target)
    if source.type == "decimal":
        return _rounds_decimal(source, target)
    if source.type in _MANTISSA_BITS:
        if target.type in _MANTISSA_BITS:
            narrower = _MANTISSA_BITS[target.type] < _MANTISSA_BITS[source.type]
            return narrower or (bool(_numbers(target)) and _numbers(target) != _numbers(source))
        return target.type in _NUMBERS or target.type in _TEMPORAL
    if source.type in _INTEGER_BITS:
        if target.type in _MANTISSA_BITS:
            return _INTEGER_BITS[source.type] > _MANTISSA_BITS[target.type]
        return target.type in _TEMPORAL or target.type == "year"
    if source.type in _BYTES and target.type == "binary":
        return (source.type, _numbers(source)) != (target.type, _numbers(target))
    return False


def _rounds_temporal(source: Column, target: Column) -> bool:
    if target.type not in _TEMPORAL:
        return target.type in _NUMBERS
    if source.type == "date":
        return target.type == "time"
    same_kind = source.type == target.type or (source.type in _MOMENTS and target.type in _MOMENTS)
    return not same_kind or _digits(target) < _digits(source)


def _rounds_decimal(source: Column, target: Column) -> bool:
    digits, fraction = ([*_numbers(source), 0] if _numbers(source) else [10, 0])[:2]
    if target.type == "decimal":
        return ([*_numbers(target), 0] if _numbers(target) else [10, 0])[1] < fraction
    if target.type in _DECIMAL_DIGITS:
        return digits > _DECIMAL_DIGITS[target.type] or bool(_numbers(target))
    return (fraction > 0 and target.type in _NUMBERS) or target.type in _TEMPORAL


def _digits(column: Column) -> int:
    return (_numbers(column) or [0])[0]


def _numbers(column: Column) -> list[int]:
    found = re.search(r"\(([\d,]+)\)", column.column_type)
    return [int(number) for number in found[1].split(",")] if found else []
