"""MySQL's binary JSON to the text that the server itself prints for it, byte for byte.

Key order, separators, escapes, the form of doubles and of opaque values are the server's. While it is built, the whole
document is latin-1 text: one character for each byte, so that no string is decoded.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any

from .packed_values import decimal_text, double_text, packed_date, packed_datetime, packed_time

_Print = Callable[[bytes, str, int], str]
_Texts = Callable[[bytes, str, int, Sequence[int]], tuple[str, ...]]
_Shape = tuple[int, int, dict[bytes, str], list[tuple[int, int]]]
_Unpack = Callable[[bytes, int], tuple[int, ...]]

_LITERALS = {0: "null", 1: "true", 2: "false"}
# The types of opaque values that the server prints in a form of their own.
_NEWDECIMAL, _DATE, _TIME, _DATETIME, _TIMESTAMP = 246, 10, 11, 12, 7
_LITERAL, _INT16, _UINT16, _INT32, _UINT32, _DOUBLE, _STRING = 4, 5, 6, 7, 8, 11, 12
# Containers of fewer members than this get a struct of their own, made once.
_SMALL = 64
# So many members of an array are shown at once.
_ARRAY_MEMBERS_MAX = 4096
# So many sets of keys are remembered. A full table is emptied, and then each set has to be read once more.
_SHAPES_MAX = 512
# Code for the same kinds of values pays once they have come so often.
_BEFORE_OWN_CODE = 50


def to_text(data: bytes | memoryview) -> bytes:
    """The JSON text of a binary JSON document.

    Raises:
        ValueError, IndexError, struct.error: the bytes are not a whole document.
    """
    if not data:  # INSERT IGNORE leaves this in a JSON column that may not be NULL
        return b"null"
    data = bytes(data)
    text = data.decode("latin-1")
    return _PRINT[data[0]](data, text, 1).encode("latin-1")


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


class _Values(dict[bytes, _Texts]):
    """The kinds of a container's values to code that shows them. Small values lie in their entry, others elsewhere.

    Kinds that come in the same order again and again get code of their own; for others it is put together by kind.
    """

    def __init__(self, code: Mapping[int, str]) -> None:
        super().__init__()
        self._code = code
        self._seen: dict[bytes, int] = {}
        self._single: dict[int, _Texts] = {kind: self._compile(bytes([kind])) for kind in _KINDS}

    def __missing__(self, kinds: bytes) -> _Texts:
        if len(self._seen) >= _SHAPES_MAX:
            self._seen.clear()
        seen = self._seen[kinds] = self._seen.get(kinds, 0) + 1
        if seen < _BEFORE_OWN_CODE or len(self) >= _SHAPES_MAX or not 0 < len(kinds) < _SMALL:
            return self._by_kind(kinds)
        texts = self[kinds] = self._compile(kinds)
        return texts

    def _by_kind(self, kinds: bytes) -> _Texts:
        single = [self._single[kind] for kind in kinds]

        def texts(data: bytes, text: str, at: int, values: Sequence[int]) -> tuple[str, ...]:
            return tuple(show(data, text, at, (value,))[0] for show, value in zip(single, values, strict=True))

        return texts

    def _compile(self, kinds: bytes) -> _Texts:
        numbers = range(len(kinds))
        lines = ["def texts(d, t, at, values):", f" {', '.join(f'v{n}' for n in numbers)}, = values"]
        for n, kind in enumerate(kinds):
            code = self._code.get(kind, f"s# = PRINT[{kind}](d, t, at + v#)")
            lines += [" " + line for line in code.replace("#", str(n)).split("\n")]
        lines.append(f" return {', '.join(f's{n}' for n in numbers)},")
        scope: dict[str, Any] = dict(_SCOPE, PRINT=_PRINT)
        exec("\n".join(lines), scope)
        texts: _Texts = scope["texts"]
        return texts


def _beyond() -> str:
    raise ValueError("a JSON string ends after its document")


_SCOPE: dict[str, Any] = {
    "quote": encode_basestring,
    "string": _string,
    "beyond": _beyond,
    "double": _read_double,
    "double_text": double_text,
    "LITERALS": _LITERALS,
}
_CODE = {
    _STRING: (
        "a = at + v# + 1; n = d[a - 1]; e = a + n\n"
        "s# = string(d, t, a - 1) if n > 127 else quote(t[a:e]) if e <= len(t) else beyond()"
    ),
    _DOUBLE: "n, = double(d, at + v#)\ns# = repr(n) if 1e-3 <= n < 1e15 else double_text(n)",
    _LITERAL: "s# = LITERALS[v# & 255]",
    _INT16: "s# = str((v# & 32767) - (v# & 32768))",
    _UINT16: "s# = str(v# & 65535)",
}
# In the format with 4-byte entries, 32-bit numbers are small too.
_WIDE_CODE = _CODE | {_INT32: "s# = str((v# & 0x7fffffff) - (v# & 0x80000000))", _UINT32: "s# = str(v#)"}


def _value_readers(word: str) -> tuple[list[_Unpack], Callable[[int, int], _Unpack]]:
    """Reads the values of some entries (type, value) at once: a reader for each small count, and what makes others."""

    def make(count: int, size: int) -> _Unpack:
        if count > size:  # Broken bytes must not ask for gigabytes.
            raise ValueError("a JSON container has more members than bytes")
        return struct.Struct("<" + f"x{word}" * count).unpack_from

    return [make(count, count) for count in range(_SMALL)], make


def _array(word: str, texts: _Values) -> _Print:
    read_count = struct.Struct(f"<{word}").unpack_from
    head_size, entry_size = struct.calcsize(f"<{word}{word}"), struct.calcsize(f"<B{word}")
    small, make = _value_readers(word)

    def show(data: bytes, text: str, at: int) -> str:
        (count,) = read_count(data, at)
        first = at + head_size
        if count > _ARRAY_MEMBERS_MAX:  # millions of small texts at once would be half a gigabyte
            shown = (some(data, text, at, first, start, count) for start in range(0, count, _ARRAY_MEMBERS_MAX))
            return f"[{', '.join(shown)}]"
        values = (small[count] if count < _SMALL else make(count, len(data)))(data, first)
        kinds = data[first : first + entry_size * count : entry_size]
        return f"[{', '.join(texts[kinds](data, text, at, values))}]" if count else "[]"

    def some(data: bytes, text: str, at: int, first: int, start: int, count: int) -> str:
        size = min(_ARRAY_MEMBERS_MAX, count - start)
        begin = first + entry_size * start
        values = make(size, len(data))(data, begin)
        kinds = data[begin : begin + entry_size * size : entry_size]
        return ", ".join(texts[kinds](data, text, at, values))

    return show


def _object(word: str, texts: _Values) -> _Print:
    read_count = struct.Struct(f"<{word}").unpack_from
    head_size, entry_size = struct.calcsize(f"<{word}{word}"), struct.calcsize(f"<B{word}")
    key_entry_size = struct.calcsize(f"<{word}H")
    small, make = _value_readers(word)
    shapes: dict[bytes, _Shape] = {}

    def show(data: bytes, text: str, at: int) -> str:
        (count,) = read_count(data, at)
        if not count:
            return "{}"
        key_entries = at + head_size
        value_entries = key_entries + key_entry_size * count
        values = (small[count] if count < _SMALL else make(count, len(data)))(data, value_entries)
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
        return template % texts[kinds](data, text, at, values)

    return show


def _shape(entries: Sequence[int]) -> _Shape:
    """Where an object's keys lie as a whole, an empty table of templates, and where each key lies."""
    spans = [(offset, offset + size) for offset, size in zip(entries[::2], entries[1::2], strict=True)]
    return min(spans)[0], max(end for _, end in spans), {}, spans


def _template(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """The text of an object with these keys, with %s for each value."""
    if max(end for _, end in spans) > len(text):
        raise ValueError("the keys of a JSON object end after its document")
    keys = [encode_basestring(text[start:end]) for start, end in spans]
    members = ", ".join(f"{key}: ".replace("%", "%%") + "%s" for key in keys)
    return f"{{{members}}}"


_PRINT: dict[int, _Print] = {
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
_KINDS = (*range(13), 15)
_narrow, _wide = _Values(_CODE), _Values(_WIDE_CODE)
_PRINT |= {0: _object("H", _narrow), 1: _object("I", _wide), 2: _array("H", _narrow), 3: _array("I", _wide)}
