"""One value on its way: the server's text -> cell -> Python value for transforms -> SQL literal.

Pure. A literal is a `str` in which every character stands for one byte (latin-1), so that bytes of any
character set can be joined with SQL text and encoded once, at the socket.

What a transform or a filter sees (`to_python`):

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

import codecs
import datetime as dt
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from ..model.tables import Cell, Column
from .charsets import CORRECTED, EIGHT_BIT
from .column_types import DATETIME_TYPES, FLOAT_TYPES, INTEGER_TYPES, TEMPORAL_TYPES

ToPython = Callable[[Any], Any]

# A snapshot reads an ENUM's error value as a text that is longer than any label can be.
LABEL_BYTES_MAX = 1020

# MySQL's names where Python's differ. MySQL's latin1 is cp1252 with its five holes filled.
_CODECS = {
    "utf8mb4": "utf-8",
    "utf8mb3": "utf-8",
    "utf8": "utf-8",
    "ascii": "ascii",
    "cp1250": "cp1250",
    "cp1251": "cp1251",
    "cp1256": "cp1256",
    "cp1257": "cp1257",
    "cp850": "cp850",
    "cp852": "cp852",
    "cp866": "cp866",
    "cp932": "cp932",
    "big5": "cp950",
    "euckr": "cp949",
    "eucjpms": "euc_jp",
    "gb18030": "gb18030",
    "gb2312": "gb2312",
    "gbk": "gbk",
    "greek": "iso8859_7",
    "hebrew": "iso8859_8",
    "koi8r": "koi8_r",
    "koi8u": "koi8_u",
    "latin2": "iso8859_2",
    "latin5": "iso8859_9",
    "latin7": "iso8859_13",
    "macce": "mac_latin2",
    "macroman": "mac_roman",
    "sjis": "shift_jis",
    "tis620": "tis_620",
    "ucs2": "utf-16-be",
    "ujis": "euc_jp",
    "utf16": "utf-16-be",
    "utf16le": "utf-16-le",
    "utf32": "utf-32-be",
}


_ASCII_IS_ASCII = frozenset({"utf8mb4", "utf8mb3", "latin1", "ascii"})


def decode_text(data: bytes, charset: str | None) -> str:
    """Text of a column's character set as `str`.

    Raises:
        ValueError: the bytes are not text of that character set, or Python has no codec for it.
    """
    if charset in _ASCII_IS_ASCII and data.isascii():  # most text, and three times as fast
        return data.decode()
    if charset == "latin1":
        try:
            return data.decode("cp1252")
        except UnicodeDecodeError:
            return "".join(chr(b) if b in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else bytes([b]).decode("cp1252") for b in data)
    if charset in EIGHT_BIT:
        return codecs.charmap_decode(data, "strict", EIGHT_BIT[charset])[0]
    codec = _CODECS.get(charset or "utf8mb4")
    if codec is None:
        raise ValueError(f"no Python codec for the character set {charset}")
    text = data.decode(codec)
    corrected = CORRECTED.get(charset or "")
    return text.translate(corrected) if corrected else text


# ---- text protocol -> cell ----------------------------------------------------------------------------
def cell_from_text(column: Column) -> Callable[[bytes | None], Cell]:
    """How the text protocol's bytes of a column become a cell."""
    if column.type == "bit":
        return lambda data: None if data is None else int.from_bytes(data, "big")
    if column.type in INTEGER_TYPES:
        return lambda data: None if data is None else int(data)
    if column.type in FLOAT_TYPES:
        return lambda data: None if data is None else float(data)
    if column.type in TEMPORAL_TYPES or column.type == "decimal":
        return lambda data: None if data is None else data.decode("ascii")
    if column.type == "enum":
        return lambda data: 0 if data is not None and len(data) > LABEL_BYTES_MAX else data
    return lambda data: data


# ---- cell -> Python -----------------------------------------------------------------------------------
def to_python(column: Column) -> ToPython:
    """How a column's cells become what transforms and filters see."""
    if column.type == "decimal":
        return lambda cell: None if cell is None else Decimal(cell)
    if column.type == "date":
        return lambda cell: None if cell is None else _date(cell)
    if column.type in DATETIME_TYPES:
        return lambda cell: None if cell is None else _datetime(cell)
    if column.type == "time":
        return lambda cell: None if cell is None else _timedelta(cell)
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
    """A transform's result, or a static value, as a cell; text is written as UTF-8.

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
    """Some Python value of the kind that a column's cells become, to check a filter's operands against."""
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
