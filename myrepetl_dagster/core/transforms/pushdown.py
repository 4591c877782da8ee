"""Filters and built-in transforms as SQL for the source, if its result is the one in Python, byte for byte. Pure.

None stands for SQL of which that is not certain; then `filters.py` and `functions.py` do the work, and they define what
is right. `tests/server/snapshot/test_pushdown.py` compares the two. Certain are

    whole numbers, DECIMAL      with numbers of up to 30 digits
    FLOAT, DOUBLE               with numbers that a double represents exactly
    text of a Unicode, ASCII or latin1 character set, ENUM, SET
                                with text: by the bytes of its UTF-8, whose order is that of the code points
    DATE, DATETIME, TIMESTAMP   with ISO text or dates without an offset: by their text, which has the order of time
    BINARY, VARBINARY, BLOB     with text or bytes

SQL is in the form of literals (`values/literals.py`). Comparisons may be NULL; AND, OR and NOT treat NULL as Python
treats UNKNOWN.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal, InvalidOperation

from ..model.tables import Column
from ..values.column_types import (
    BYTE_TYPES,
    CHARACTER_TYPES,
    DATETIME_TYPES,
    FLOAT_TYPES,
    INTEGER_TYPES,
    TEXT_TYPES,
    fraction_digits,
    is_short_year,
)
from ..values.literals import float_literal
from ..values.sql import short_year_sql, sql_name
from .comparison import Operand
from .filters import And, Compare, Expression, Not, Or, columns
from .functions import Transform

# Character sets that come back byte for byte from a conversion to utf8mb4.
THROUGH_UTF8 = frozenset({"utf8mb4", "utf8mb3", "ascii", "latin1"})
_OPERATORS = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_DIGITS_MAX = 30  # of a number on either side of its point: a literal that both servers read exactly
_DOUBLE_INT_MAX = 2**53
_DATE = re.compile(r"(\d{4}-\d\d-\d\d)(?: (\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?)?", re.ASCII)
# The characters that `str.strip` removes. TRIM removes blanks only.
_WHITE = [*range(9, 14), *range(28, 33), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F]
_WHITE.append(0x3000)


# ---- filters ------------------------------------------------------------------------------------------
def condition_sql(expression: Expression, layout: Mapping[str, Column]) -> str | None:
    """A condition that is TRUE for exactly the rows that pass the filter; None if Python has to decide."""
    match expression:
        case Compare(column, op, operand):
            return _compare_sql(layout[column], op, operand)
        case Not(condition):
            inner = condition_sql(condition, layout)
            return None if inner is None else f"(NOT {inner})"
        case And(conditions) | Or(conditions):
            parts = [condition_sql(one, layout) for one in conditions]
            known = [part for part in parts if part is not None]
            word = " AND " if isinstance(expression, And) else " OR "
            return f"({word.join(known)})" if known and len(known) == len(parts) else None


def unsure_sql(expression: Expression, layout: Mapping[str, Column]) -> str:
    """A condition for the rows whose verdict in SQL may be wrong.

    MariaDB casts a text that is longer than max_allowed_packet to NULL.
    """
    used = [layout[name] for name in sorted(columns(expression))]
    cast = [c for c in used if c.type in CHARACTER_TYPES and c.charset in THROUGH_UTF8]
    lost = [f"({sql_name(c.name)} IS NOT NULL AND {_comparable_text(c)} IS NULL)" for c in cast]
    return " OR ".join(lost) or "FALSE"


def _compare_sql(column: Column, op: str, operand: Operand | None) -> str | None:
    name = sql_name(column.name)
    if operand is None:
        return f"({name} IS NULL)"
    value, literal = _sides(column, name, operand)
    return None if literal is None else f"({value} {_OPERATORS[op]} {literal})"


def _sides(column: Column, name: str, operand: Operand) -> tuple[str, str | None]:
    """(SQL of the column's value, SQL of the operand): what is compared. The operand is None if that is not exact."""
    if is_short_year(column):
        return short_year_sql(name), _number(operand)
    if column.type in INTEGER_TYPES or column.type == "decimal":
        return f"({name} + 0)", _number(operand)  # plus 0: a YEAR is compared as a number, a BIT is one
    if column.type in FLOAT_TYPES:
        return f"({name} * 1e0)", _double(operand)  # times 1: not rounded to the six digits of a FLOAT
    if column.type in TEXT_TYPES and column.charset in THROUGH_UTF8:
        return _comparable_text(column), _bytes(_as_text(operand))
    if column.type == "date" or (column.type in DATETIME_TYPES and column.column_type):
        return f"CAST({name} AS BINARY)", _bytes(_moment(column, operand))
    if column.type in BYTE_TYPES or (column.type in CHARACTER_TYPES and column.charset == "binary"):
        return name, _bytes(operand if isinstance(operand, str | bytes) else None)
    return name, None


def _comparable_text(column: Column) -> str:
    name = sql_name(column.name)
    return f"CAST({name if column.charset != 'latin1' else f'CONVERT({name} USING utf8mb4)'} AS BINARY)"


def _decimal(operand: Operand) -> Decimal | None:
    """The number that `comparison.pair` makes of the operand; None if it makes none."""
    match operand:
        case float():
            return Decimal(repr(operand))
        case int() | Decimal():
            return Decimal(operand)
        case str():
            with suppress(InvalidOperation):
                return Decimal(operand.strip())
    return None


def _number(operand: Operand) -> str | None:
    number = _decimal(operand)
    if number is None or not number.is_finite() or abs(number.adjusted()) > _DIGITS_MAX:
        return None
    text = format(number, "f")
    return text if all(len(part) <= _DIGITS_MAX for part in text.lstrip("-").split(".")) else None


def _double(operand: Operand) -> str | None:
    """Python compares whole numbers exactly, so SQL does only if a double represents the number."""
    if _number(operand) is None or (isinstance(operand, int) and abs(operand) > _DOUBLE_INT_MAX):
        return None
    number = _decimal(operand)
    return None if number is None else float_literal(float(number))


def _as_text(operand: Operand) -> str | None:
    match operand:
        case str():
            return operand
        case dt.datetime():
            return operand.isoformat(" ")
        case dt.date():
            return operand.isoformat()
    return None


def _moment(column: Column, operand: Operand) -> str | None:
    """The text that the server prints for this moment in the column; a longer one if the column has fewer digits."""
    match = _DATE.fullmatch(_as_text(operand) or "")
    if match is None:
        return None
    day, time, fraction = match.groups()
    try:
        moment = dt.datetime.fromisoformat(f"{day} {time or '00:00:00'}")
    except ValueError:
        return None
    fraction = (fraction or "").rstrip("0")
    if column.type == "date":
        return day if moment.time() == dt.time() and not fraction else _as_text(operand)
    fraction = fraction.ljust(fraction_digits(column.column_type), "0")
    return moment.isoformat(" ") + (f".{fraction}" if fraction else "")


def _bytes(value: str | bytes | None) -> str | None:
    if value is None:
        return None
    try:
        data = value.encode() if isinstance(value, str) else value
    except UnicodeEncodeError:
        return None
    return f"_binary x'{data.hex()}'"


# ---- transforms ---------------------------------------------------------------------------------------
def transformed_sql(transform: Transform, column: Column) -> str | None:
    """SQL whose value is the transformed value's literal, as text; None if Python has to transform the column.

    Its value is NULL for single values that Python has to transform: those with letters beyond ASCII, whose case
    servers map by other tables, and those with white space at the ends that is no blank.
    """
    name = sql_name(column.name)
    if transform.builtin == "length" and column.type in BYTE_TYPES:
        return f"IFNULL(LENGTH({name}), 0)"
    if transform.builtin is None or column.type not in CHARACTER_TYPES or column.charset not in THROUGH_UTF8:
        return None
    # A collation of its own: a Turkish one has another capital of i.
    text = f"(CONVERT({name} USING utf8mb4) COLLATE utf8mb4_bin)"
    match transform.builtin:
        case "length":
            return f"IFNULL(CHAR_LENGTH({name}), 0)"
        case "uppercase" | "lowercase":
            function = "UPPER" if transform.builtin == "uppercase" else "LOWER"
            return _if_exact(name, f"LENGTH({text}) = CHAR_LENGTH({text})", f"{function}({text})")
        case "trim":
            white = ", ".join(f"x'{chr(code).encode().hex()}'" for code in _WHITE)
            ends = [f"CAST({side}(TRIM({text}), 1) AS BINARY) NOT IN ({white})" for side in ("LEFT", "RIGHT")]
            return _if_exact(name, " AND ".join(ends), f"TRIM({text})")
    return None


def _if_exact(name: str, exact: str, text: str) -> str:
    """For a text that is too long to be converted, `exact` is NULL, and with it the whole."""
    return f"IF({name} IS NULL, 'NULL', IF({exact}, CONVERT(QUOTE({text}) USING utf8mb4), NULL))"
