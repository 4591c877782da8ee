"""Cells as the Python values that transforms and filters see, and transforms' results as cells. Pure.

A transform or a filter sees (`to_python`):

    integers, YEAR, BIT                int
    DECIMAL                            decimal.Decimal
    FLOAT, DOUBLE                      float
    CHAR, VARCHAR, TEXT, ENUM, SET     str (a SET's labels joined by commas)
    JSON, UUID, INET4, INET6           str, as the server prints it
    DATE                               datetime.date; zero and invalid dates: str
    DATETIME, TIMESTAMP (UTC)          datetime.datetime without time zone; zero and invalid ones: str
    TIME                               datetime.timedelta
    BINARY, BLOB, GEOMETRY, VECTOR     bytes
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from ..model.tables import Cell, Column
from .column_types import DATETIME_TYPES, FLOAT_TYPES, INTEGER_TYPES
from .text_codecs import decode_text

ToPython = Callable[[Any], Any]


# ---- cell -> Python -----------------------------------------------------------------------------------
def to_python(column: Column) -> ToPython:
    """A function from a column's cells to the values that transforms and filters see."""
    if column.type == "decimal":
        return lambda cell: None if cell is None else Decimal(cell)
    if column.type == "date":
        return lambda cell: None if cell is None else _date(cell)
    if column.type in DATETIME_TYPES:
        return lambda cell: None if cell is None else _datetime(cell)
    if column.type == "time":
        return lambda cell: None if cell is None else _timedelta(cell)
    if column.type == "enum" and column.charset == "binary":
        return lambda cell: b"" if cell == 0 else cell
    if column.charset is not None and column.charset != "binary":
        charset = column.charset
        if column.type == "enum":
            return lambda cell: None if cell is None else decode_text(cell, charset) if cell != 0 else ""
        return lambda cell: decode_text(cell, charset) if isinstance(cell, bytes) else cell
    return lambda cell: cell


def _date(text: str) -> dt.date | str:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return text


def _datetime(text: str) -> dt.datetime | str:
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        return text


def _timedelta(text: str) -> dt.timedelta:
    negative = text.startswith("-")
    hours, minutes, seconds = text.lstrip("-").split(":")
    whole, _, fraction = seconds.partition(".")
    span = dt.timedelta(
        hours=int(hours),
        minutes=int(minutes),
        seconds=int(whole),
        microseconds=int(fraction.ljust(6, "0")) if fraction else 0,
    )
    return -span if negative else span


# ---- Python -> cell -----------------------------------------------------------------------------------
def from_python(value: object) -> Cell:
    """A transform's result, or a static value, as a cell. Text is to be written as UTF-8.

    Raises:
        TypeError: no column can hold such a value.
    """
    match value:
        case None | str() | bytes():
            return value
        case bool():
            return int(value)
        case int():
            return value
        case float():
            if value != value or value in (float("inf"), float("-inf")):
                raise TypeError("a number that no MySQL column can hold")
            return value
        case Decimal():
            if not value.is_finite():
                raise TypeError("a number that no MySQL column can hold")
            return format(value, "f")
        case dt.datetime():
            moment = value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo else value
            return moment.isoformat(sep=" ")
        case dt.date() | dt.time():
            return value.isoformat()
        case dt.timedelta():
            return _time_text(value)
        case bytearray() | memoryview():
            return bytes(value)
        case dict() | list() | tuple():
            return json.dumps(value, ensure_ascii=False, default=str)
        case set() | frozenset():
            return ",".join(sorted(str(item) for item in value))
    raise TypeError(f"a {type(value).__name__}")


def _time_text(span: dt.timedelta) -> str:
    sign = "-" if span < dt.timedelta(0) else ""
    span = abs(span)
    minutes, seconds = divmod(span.days * 86_400 + span.seconds, 60)
    fraction = f".{span.microseconds:06}" if span.microseconds else ""
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{fraction}"


def sample_of(column: Column) -> object:
    """A Python value of the type that the column's cells become, for checking a filter's operands without a row."""
    if column.type in INTEGER_TYPES:
        return 0
    if column.type in FLOAT_TYPES:
        return 0.0
    if column.type == "decimal":
        return Decimal(0)
    if column.type == "date":
        return dt.date(2000, 1, 1)
    if column.type in DATETIME_TYPES:
        return dt.datetime(2000, 1, 1)
    if column.type == "time":
        return dt.timedelta(0)
    return "" if column.charset not in (None, "binary") else b""
