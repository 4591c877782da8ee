"""MySQL's binary JSON to the text that the server itself prints for it, byte for byte.

Key order, separators, escapes, the form of doubles and of opaque values are the server's. The whole document
is held as latin-1 text while it is built: one character for each byte, so that no string is decoded.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Callable, Sequence
from json.encoder import encode_basestring

from .celltext import decimal_text, packed_date, packed_datetime, packed_time

_Print = Callable[[bytes, str, int], str]
_Values = Callable[[bytes, str, int, bytes, Sequence[int]], list[str]]
_Shape = tuple[int, int, dict[bytes, str], list[tuple[int, int]]]
_Unpack = Callable[[bytes, int], tuple[int, ...]]

_LITERALS = {0: "null", 1: "true", 2: "false"}
# The types of opaque values that the server prints in a form of their own.
_NEWDECIMAL, _DATE, _TIME, _DATETIME, _TIMESTAMP = 246, 10, 11, 12, 7
_LITERAL, _INT16, _UINT16, _INT32, _UINT32, _DOUBLE, _STRING = 4, 5, 6, 7, 8, 11, 12
# Containers of fewer members than this get a struct of their own, made once.
_SMALL = 64
# How many sets of keys are remembered; a full table is emptied, and each set then costs one more reading.
_SHAPES_MAX = 512


def to_text(data: bytes | memoryview) -> bytes:
    """The JSON text of a binary JSON document.

    Raises:
        ValueError, IndexError, struct.error: the bytes are not a whole document.
    """
    if not data:  # What INSERT IGNORE leaves in a JSON column that may not be NULL.
        return b"null"
    data = bytes(data)
    text = data.decode("latin-1")
    return _PRINT[data[0]](data, text, 1).encode("latin-1")


def double_text(value: float) -> str:
    """A double as the server prints it in JSON: the shortest digits, without an exponent from 1e-15 up to 1e15
    and beyond that as long as there are digits after the point.
    """
    digits = repr(value)
    if "e" not in digits and 1e-3 <= abs(value) < 1e15:
        return digits
    if value == 0.0:
        return digits
    sign = "-" if digits[0] == "-" else ""
    mantissa, _, exponent = digits.lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    # The value is 0.DIGITS * 10 ** point.
    point = len(whole) + int(exponent or 0)
    figures = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(figures)
    figures = figures.rstrip("0")
    if -14 <= point <= 15 or 0 < point < len(figures):
        if point <= 0:
            return f"{sign}0.{'0' * -point}{figures}"
        return f"{sign}{figures[:point].ljust(point, '0')}.{figures[point:] or '0'}"
    tail = f".{figures[1:]}" if len(figures) > 1 else ""
    return f"{sign}{figures[0]}{tail}e{point - 1}"


def _string(data: bytes, text: str, at: int) -> str:
    size, at = _length(data, at)
    if at + size > len(text):
        raise ValueError("a JSON string ends after its document")
    return encode_basestring(text[at : at + size])


def _length(data: bytes, at: int) -> tuple[int, int]:
    """A variable length (7 bits a byte, lowest first) and where the bytes that it counts begin."""
    size = shift = 0
    while data[at] & 0x80:
        size |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
    return size | data[at] << shift, at + 1


def _opaque(data: bytes, text: str, at: int) -> str:
    kind = data[at]
    size, at = _length(data, at + 1)
    value = data[at : at + size]
    if len(value) != size:
        raise ValueError("an opaque JSON value ends after its document")
    if kind == _NEWDECIMAL:
        return decimal_text(value[2:], value[0], value[1])
    if kind == _DATE:
        return f'"{packed_date(value)}"'
    if kind == _TIME:
        return f'"{packed_time(value)}"'
    if kind in (_DATETIME, _TIMESTAMP):
        return f'"{packed_datetime(value)}"'
    # The server breaks its base64 into lines of 76 and then escapes the breaks.
    digits = b64encode(value).decode()
    lines = "\\n".join(digits[start : start + 76] for start in range(0, len(digits), 76))
    return f'"base64:type{kind}:{lines}"'


def _literal(data: bytes, text: str, at: int) -> str:
    return _LITERALS[data[at]]


def _number(form: str) -> _Print:
    read = struct.Struct(form).unpack_from

    def show(data: bytes, text: str, at: int) -> str:
        return str(read(data, at)[0])

    return show


def _double(data: bytes, text: str, at: int) -> str:
    return double_text(_read_double(data, at)[0])


_read_double = struct.Struct("<d").unpack_from


# --- objects and arrays -----------------------------------------------------------------------------------


def _values(data: bytes, text: str, at: int, kinds: bytes, values: Sequence[int]) -> list[str]:
    """The text of each value of the container at `at`; small ones lie in their entry, others at an offset."""
    shown: list[str] = []
    add, limit = shown.append, len(text)
    for kind, value in zip(kinds, values, strict=True):
        if kind == _STRING:
            start = at + value
            size = data[start]
            if size < 0x80:
                end = start + size + 1
                if end > limit:
                    raise ValueError("a JSON string ends after its document")
                add(encode_basestring(text[start + 1 : end]))
            else:
                add(_string(data, text, start))
        elif kind == _DOUBLE:
            number = _read_double(data, at + value)[0]
            add(repr(number) if 1e-3 <= number < 1e15 else double_text(number))
        elif kind == _INT16:
            value &= 0xFFFF
            add(str(value - 0x10000 if value & 0x8000 else value))
        elif kind == _LITERAL:
            add(_LITERALS[value & 0xFF])
        elif kind == _UINT16:
            add(str(value & 0xFFFF))
        else:
            add(_PRINT[kind](data, text, at + value))
    return shown


def _wide_values(data: bytes, text: str, at: int, kinds: bytes, values: Sequence[int]) -> list[str]:
    """The same for the format with 4-byte entries, where 32-bit numbers are small too."""
    shown: list[str] = []
    for place, (kind, value) in enumerate(zip(kinds, values, strict=True)):
        if kind == _INT32:
            shown.append(str(value - 0x100000000 if value & 0x80000000 else value))
        elif kind == _UINT32:
            shown.append(str(value))
        else:
            shown += _values(data, text, at, kinds[place : place + 1], (value,))
    return shown


def _value_readers(word: str) -> Callable[[int], _Unpack]:
    """How to read the values of so many entries (type, value) at once."""
    small = [struct.Struct("<" + f"x{word}" * count).unpack_from for count in range(_SMALL)]
    return lambda count: small[count] if count < _SMALL else struct.Struct("<" + f"x{word}" * count).unpack_from


def _array(word: str, values_of: _Values) -> _Print:
    read_count = struct.Struct(f"<{word}").unpack_from
    head_size, entry_size = struct.calcsize(f"<{word}{word}"), struct.calcsize(f"<B{word}")
    reader = _value_readers(word)

    def show(data: bytes, text: str, at: int) -> str:
        (count,) = read_count(data, at)
        first = at + head_size
        values = reader(count)(data, first)
        kinds = data[first : first + entry_size * count : entry_size]
        return f"[{', '.join(values_of(data, text, at, kinds, values))}]"

    return show


def _object(word: str, values_of: _Values) -> _Print:
    read_count = struct.Struct(f"<{word}").unpack_from
    head_size, entry_size = struct.calcsize(f"<{word}{word}"), struct.calcsize(f"<B{word}")
    key_entry_size = struct.calcsize(f"<{word}H")
    reader = _value_readers(word)
    shapes: dict[bytes, _Shape] = {}

    def show(data: bytes, text: str, at: int) -> str:
        (count,) = read_count(data, at)
        if not count:
            return "{}"
        key_entries = at + head_size
        value_entries = key_entries + key_entry_size * count
        values = reader(count)(data, value_entries)
        kinds = data[value_entries : value_entries + entry_size * count : entry_size]
        # The documents of a column mostly have the same keys: their entries, then their bytes, choose a template.
        entries = data[key_entries:value_entries]
        shape = shapes.get(entries)
        if shape is None:
            shape = _shape(struct.unpack("<" + f"{word}H" * count, entries))
            if len(shapes) >= _SHAPES_MAX:
                shapes.clear()
            shapes[entries] = shape
        start, end, templates, spans = shape
        keys = data[at + start : at + end]
        template = templates.get(keys)
        if template is None:
            if len(templates) >= _SHAPES_MAX:
                templates.clear()
            template = templates[keys] = _template(text[at : at + end], spans)
        return template % tuple(values_of(data, text, at, kinds, values))

    return show


def _shape(entries: Sequence[int]) -> _Shape:
    """Where an object's keys lie as a whole, an empty table of templates, and where each key lies."""
    spans = [(offset, offset + size) for offset, size in zip(entries[::2], entries[1::2], strict=True)]
    return min(spans)[0], max(end for _, end in spans), {}, spans


def _template(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """What an object with these keys looks like, with %s for each value."""
    if max(end for _, end in spans) > len(text):
        raise ValueError("the keys of a JSON object end after its document")
    keys = [encode_basestring(text[start:end]) for start, end in spans]
    members = ", ".join(f"{key}: ".replace("%", "%%") + "%s" for key in keys)
    return f"{{{members}}}"


_PRINT: dict[int, _Print] = {
    0: _object("H", _values),
    1: _object("I", _wide_values),
    2: _array("H", _values),
    3: _array("I", _wide_values),
    _LITERAL: _literal,
    _INT16: _number("<h"),
    _UINT16: _number("<H"),
    _INT32: _number("<i"),
    _UINT32: _number("<I"),
    9: _number("<q"),
    10: _number("<Q"),
    _DOUBLE: _double,
    _STRING: _string,
    15: _opaque,
}
