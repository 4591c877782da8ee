"""Binary JSON, byte by byte; `tests/server/values/test_decode_types.py` compares random documents with a server's."""

from __future__ import annotations

import contextlib
import json
import math
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myrepetl_dagster.core.binlog.json_binary import to_text
from myrepetl_dagster.core.binlog.packed_values import double_text


def opaque(kind: int, value: bytes) -> bytes:
    return bytes([15, kind, len(value)]) + value


def packed(value: int) -> bytes:
    return value.to_bytes(8, "little", signed=True)


def moment(year: int, month: int, day: int, clock: int, micros: int) -> int:
    return (((year * 13 + month) << 5 | day) << 17 | clock) << 24 | micros


CLOCK = 12 << 12 | 34 << 6 | 56


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "null"),
        (b"\x04\x00", "null"),
        (b"\x04\x01", "true"),
        (b"\x04\x02", "false"),
        (b"\x05\xff\xff", "-1"),
        (b"\x06\xff\xff", "65535"),
        (b"\x07\0\0\0\x80", "-2147483648"),
        (b"\x08\xff\xff\xff\xff", "4294967295"),
        (b"\x09" + b"\0" * 7 + b"\x80", "-9223372036854775808"),
        (b"\x0a" + b"\xff" * 8, "18446744073709551615"),
        (b"\x0b" + struct.pack("<d", 1.0), "1.0"),
        (b"\x0c\x00", '""'),
        (b'\x0c\x04a"\\\n', '"a\\"\\\\\\n"'),
        (b"\x0c\x03\x01\x1f\x7f", '"\\u0001\\u001f\x7f"'),
        (b"\x0c\x80\x01" + b"x" * 128, '"' + "x" * 128 + '"'),
        (b"\x00\0\0\x04\0", "{}"),
        (b"\x02\0\0\x04\0", "[]"),
        (b"\x01" + b"\0" * 4 + b"\x08\0\0\0", "{}"),
        (b"\x03" + b"\0" * 4 + b"\x08\0\0\0", "[]"),
        (b"\x02\x02\0\x0a\0\x05\xfe\xff\x04\x01\0", "[-2, true]"),
        (b"\x03\x02\0\0\0\x12\0\0\0\x07\xfe\xff\xff\xff\x08\xff\xff\xff\xff", "[-2, 4294967295]"),
        (b"\x00\x01\0\x0d\0\x0b\0\x02\0\x05\x07\0%s", '{"%s": 7}'),
        (opaque(246, b"\x04\x02\x81\x32"), "1.50"),
        (opaque(246, b"\x04\x02\x7e\xcd"), "-1.50"),
        (opaque(246, b"\x01\x00\x80"), "0"),
        (opaque(10, packed(moment(2024, 2, 29, 0, 0))), '"2024-02-29"'),
        (opaque(12, packed(moment(2024, 2, 29, CLOCK, 7))), '"2024-02-29 12:34:56.000007"'),
        (opaque(7, packed(0)), '"0000-00-00 00:00:00.000000"'),
        (opaque(11, packed(-(CLOCK << 24 | 500000))), '"-12:34:56.500000"'),
        (opaque(252, b"\0\x01"), '"base64:type252:AAE="'),
        (opaque(15, b""), '"base64:type15:"'),
        (opaque(15, b"q" * 58), '"base64:type15:' + "cXFx" * 19 + "\\n" + 'cQ=="'),
    ],
)
def test_values_as_the_server_prints_them(data: bytes, text: str) -> None:
    """Every kind of value, alone or as a small entry of a container."""
    assert to_text(data) == text.encode()
    assert to_text(memoryview(data)) == text.encode()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (100.0, "100.0"),
        (1e14, "100000000000000.0"),
        (1e15, "1e15"),
        (1663255383944781.8, "1663255383944781.8"),  # digits after the point keep it plain
        (1663255383944781.0, "1.663255383944781e15"),
        (-1e20, "-1e20"),
        (1.5e300, "1.5e300"),
        (1e-7, "0.0000001"),
        (1e-15, "0.000000000000001"),
        (9.9e-16, "9.9e-16"),
        (5e-324, "5e-324"),
    ],
)
def test_doubles(value: float, text: str) -> None:
    """The server's own borders between plain and exponent form."""
    assert double_text(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_doubles_read_back_the_same(value: float) -> None:
    """No digit is lost, nor the sign of zero."""
    again = float(double_text(value))
    assert again == value
    assert math.copysign(1, again) == math.copysign(1, value)


@given(st.text(max_size=300))
def test_strings_read_back_the_same(value: str) -> None:
    """Any string, with its length in one byte or two."""
    raw = value.encode("utf-8", "surrogatepass") if value.isprintable() else value.encode("utf-8", "replace")
    size = len(raw)
    length = bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])
    assert json.loads(to_text(b"\x0c" + length + raw)) == raw.decode()


@pytest.mark.parametrize(
    "data",
    [
        b"\x0d",
        b"\x05\0",
        b"\x0b\0\0",
        b"\x0c\x05abc",
        b"\x0f\xfc\x05abc",
        b"\x02\x01\0\x07\0\x0c\x07\0",
        b"\x02\x01\0\x08\0\x0c\x07\0\x09abc",
        b"\x00\x01\0\x0d\0\x0b\0\x09\0\x05\x07\0ab",
        b"\x04\x03",
    ],
)
def test_broken_documents_raise(data: bytes) -> None:
    """A document that ends early, or of a kind that is not known, is an error and no shorter document."""
    with pytest.raises((ValueError, IndexError, KeyError, struct.error)):
        to_text(data)


@given(st.binary(min_size=1, max_size=60))
def test_any_bytes_are_text_or_one_of_these_errors(data: bytes) -> None:
    """What the row decoder turns into its own error is all that can happen."""
    show: Callable[[bytes], bytes] = to_text
    with contextlib.suppress(ValueError, IndexError, KeyError, OverflowError, RecursionError, struct.error):
        show(data)


@pytest.mark.parametrize("count", [4095, 4096, 4097, 10_000])
def test_long_arrays(count: int) -> None:
    """An array that is shown piece by piece has all of its members, in their order."""
    entries = b"".join(b"\x05" + struct.pack("<H", n) for n in range(count))
    array = b"\x02" + struct.pack("<HH", count, 4 + len(entries)) + entries

    assert json.loads(to_text(array)) == list(range(count))
