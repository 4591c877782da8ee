"""Target columns that would store another value than the source's without an error. Pure.

Even in strict mode a server rounds fractions, drops times and pads bytes silently. A target column that does so to any
value of the source's type is refused when the tables are planned. Values that the server itself refuses (out of range,
too long, no such character) need no check here.
"""

from __future__ import annotations

from ..model.tables import Column
from .column_types import (
    BYTE_TYPES,
    DATETIME_TYPES,
    INTEGER_BYTES,
    NUMBER_TYPES,
    TEMPORAL_TYPES,
    decimal_digits,
    fraction_digits,
    is_short_year,
    type_numbers,
)

_MANTISSA_BITS = {"float": 24, "double": 53}
_DECIMAL_DIGITS = {"float": 6, "double": 15}  # so many digits come back as they were


def rounds(source: Column, target: Column) -> bool:
    """Whether the target's column turns any value of the source's type into another one without an error."""
    if is_short_year(target):
        return not is_short_year(source)  # 1999 would be printed as 99, and of a number 0 it makes 2000
    if source.type in TEMPORAL_TYPES:
        return _rounds_temporal(source, target)
    if source.type == "decimal":
        return _rounds_decimal(source, target)
    if source.type in _MANTISSA_BITS:
        if target.type in _MANTISSA_BITS:
            narrower = _MANTISSA_BITS[target.type] < _MANTISSA_BITS[source.type]
            rounded_to = type_numbers(target.column_type)
            return narrower or (bool(rounded_to) and rounded_to != type_numbers(source.column_type))
        return target.type in NUMBER_TYPES or target.type in TEMPORAL_TYPES
    if source.type in INTEGER_BYTES:
        if target.type in _MANTISSA_BITS:
            return 8 * INTEGER_BYTES[source.type] > _MANTISSA_BITS[target.type]
        return target.type in TEMPORAL_TYPES or target.type == "year"
    if source.type in BYTE_TYPES and target.type == "binary":
        same_size = type_numbers(source.column_type) == type_numbers(target.column_type)
        return source.type != "binary" or not same_size
    return False


def _rounds_temporal(source: Column, target: Column) -> bool:
    if target.type not in TEMPORAL_TYPES:
        return target.type in NUMBER_TYPES
    if source.type == "date":
        return target.type == "time"
    same_kind = source.type == target.type or (source.type in DATETIME_TYPES and target.type in DATETIME_TYPES)
    return not same_kind or fraction_digits(target.column_type) < fraction_digits(source.column_type)


def _rounds_decimal(source: Column, target: Column) -> bool:
    digits, fraction = decimal_digits(source.column_type)
    if target.type == "decimal":
        return decimal_digits(target.column_type)[1] < fraction
    if target.type in _DECIMAL_DIGITS:
        return digits > _DECIMAL_DIGITS[target.type] or bool(type_numbers(target.column_type))
    return (fraction > 0 and target.type in NUMBER_TYPES) or target.type in TEMPORAL_TYPES
