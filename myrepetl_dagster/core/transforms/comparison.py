"""How a filter compares a column's value with the value in the pipeline file. Pure.

The type of the column's values decides:

    number      with a number, or with text that is a number ("18"); decimals exactly
    text        with text, by code point: case, accents and spaces at the end count, whatever the collation;
                with a number, as a number if the text is one. Text that is no number equals no number, and is
                neither above nor below one (MySQL would take it for 0)
    date, time  with ISO text ("2024-01-31", "2024-01-31 08:00:00", "08:00:00"); a time with an offset is
                converted to UTC
    bytes       with text, by its UTF-8 bytes

Every other pair raises `FilterTypeError`: a filter that cannot be evaluated must not drop rows silently.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation

from ..model.errors import ReplicationError

Operand = int | float | Decimal | str | bytes | date
Convert = Callable[[object], object]


class FilterTypeError(ReplicationError):
    """A filter compares a column with a value of a type that the column can never hold."""


def _same(value: object) -> object:
    return value


def pair(value: object, operand: Operand, column: str) -> tuple[Convert, object]:
    """(Conversion of values of this value's type, converted operand): both give the same type, and can be compared.

    The conversion gives None for text that is no number if the operand is a number.

    Raises:
        FilterTypeError: they cannot be compared.
    """
    match value, operand:
        case int() | float() | Decimal(), int() | float() | Decimal():
            return _numbers(value, operand)
        case int() | float() | Decimal(), str() if (number := _number(operand)) is not None:
            return _numbers(value, number)
        case str(), str():
            return _same, operand
        case str(), bool():
            pass  # YAML's unquoted `no` (Norway) is false, and would equal no text at all
        case str(), int() | float() | Decimal():
            return _number, _decimal(operand)
        case str(), date():
            return _same, operand.isoformat(" ") if isinstance(operand, datetime) else operand.isoformat()
        case bytes(), str():
            return _same, operand.encode()
        case bytes(), bytes():
            return _same, operand
        case date(), str() | date() if (moment := _moment(operand)) is not None:
            return _moment, moment
        case timedelta(), str() if (span := _time(operand)) is not None:
            return _same, span
    raise FilterTypeError(
        f"filter: column {column!r} holds {type(value).__name__}, "
        f"which cannot be compared with the given {type(operand).__name__}",
        hint="give a value of the column's own kind; dates and times as ISO text in quotes",
    )


def _numbers(value: object, operand: int | float | Decimal) -> tuple[Convert, object]:
    """Doubles are compared as doubles, all other numbers exactly: DECIMAL 0.10 equals 0.1."""
    if isinstance(value, float):
        return _same, operand if isinstance(operand, int) else float(operand)
    return _same, operand if isinstance(operand, int) else _decimal(operand)


def _decimal(number: int | float | Decimal) -> Decimal:
    # By its shortest text: 0.1 in a file is the decimal 0.1, as in SQL, and not the nearest double.
    return Decimal(repr(number)) if isinstance(number, float) else Decimal(number)


def _number(text: object) -> Decimal | None:
    try:
        number = Decimal(str(text).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _moment(value: object) -> datetime | None:
    """A date is the midnight at its start. A time with an offset is converted to UTC, which cells are in."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    return datetime(value.year, value.month, value.day) if isinstance(value, date) else None


_TIME = re.compile(r"(-?)(\d{1,3}):(\d{2})(?::(\d{2})(?:\.(\d{1,6}))?)?")


def _time(text: str) -> timedelta | None:
    """A TIME is a span: it may be negative, and longer than a day."""
    match = _TIME.fullmatch(text.strip())
    if not match:
        return None
    sign, hours, minutes, seconds, fraction = match.groups()
    span = timedelta(hours=int(hours), minutes=int(minutes), seconds=int(seconds or 0))
    span += timedelta(microseconds=int((fraction or "").ljust(6, "0")))
    return -span if sign else span
