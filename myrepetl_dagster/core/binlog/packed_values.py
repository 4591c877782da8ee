"""The text of values that the log has in packed form: times, decimals, addresses, compressed bytes.

The tables serve generated code (`column_decoders.py`): a lookup costs a third of a call. Each table is bounded: there
are only so many keys, or it is emptied when it is full.
"""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Callable

TWO = [f"{n:02d}" for n in range(100)]
THREE = [f"{n:03d}" for n in range(1000)]
# A time's seconds take 6 bits; 60 to 63 are never stored.
SECONDS = [f"{n:02d}" for n in range(64)]
# Minute of the day to 'HH:MM:'.
MINUTE_OF_DAY = [f"{n // 60:02d}:{n % 60:02d}:" for n in range(1440)]

_CACHED_MAX = 1 << 16
_EPOCH_ORDINAL = dt.date(1970, 1, 1).toordinal()
_DIGIT_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)


class Cache(dict[int, str]):
    """Packed number to text, filled on demand."""

    def __init__(self, text_of: Callable[[int], str]) -> None:
        super().__init__()
        self._text_of = text_of

    def __missing__(self, packed: int) -> str:
        if len(self) >= _CACHED_MAX:
            self.clear()
        text = self[packed] = self._text_of(packed)
        return text


def _date(packed: int) -> str:
    return f"{packed >> 9:04d}-{packed >> 5 & 15:02d}-{packed & 31:02d}"


def _day(packed: int) -> str:
    year, month = divmod(packed >> 5, 13)
    return f"{year:04d}-{month:02d}-{packed & 31:02d} "


def _epoch_day(days: int) -> str:
    return f"{dt.date.fromordinal(_EPOCH_ORDINAL + days)} "


# DATE's 3 bytes; the upper bits of DATETIME with a space after; days since 1970 with a space after; hours
# and minutes (hours << 6 | minutes) with a colon after.
DATE = Cache(_date)
DAY = Cache(_day)
EPOCH_DAY = Cache(_epoch_day)
HOUR_MINUTE = Cache(lambda packed: f"{packed >> 6:02d}:{packed & 63:02d}:")


def old_time(packed: int) -> str:
    """A TIME of before fractions: 3 bytes, the decimal digits HHMMSS."""
    packed -= (packed & 0x800000) << 1
    sign, packed = ("-", -packed) if packed < 0 else ("", packed)
    return f"{sign}{packed // 10000:02d}:{packed // 100 % 100:02d}:{packed % 100:02d}"


def old_datetime(packed: int) -> str:
    """A DATETIME of before fractions: the decimal digits YYYYMMDDHHMMSS."""
    digits = f"{packed:014d}"
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:8]} {digits[8:10]}:{digits[10:12]}:{digits[12:]}"


# --- values inside JSON: 8 bytes, the fraction always in microseconds -----------------------------------


def packed_datetime(value: bytes) -> str:
    packed = int.from_bytes(value, "little", signed=True)
    clock = packed >> 24
    return f"{DAY[clock >> 17]}{_clock(clock & 0x1FFFF)}.{packed & 0xFFFFFF:06d}"


def packed_date(value: bytes) -> str:
    return DAY[int.from_bytes(value, "little", signed=True) >> 41][:-1]


def packed_time(value: bytes) -> str:
    packed = int.from_bytes(value, "little", signed=True)
    sign, packed = ("-", -packed) if packed < 0 else ("", packed)
    return f"{sign}{_clock(packed >> 24)}.{packed & 0xFFFFFF:06d}"


def _clock(packed: int) -> str:
    return f"{HOUR_MINUTE[packed >> 6]}{SECONDS[packed & 63]}"


def double_text(value: float) -> str:
    """A double as the server prints it in JSON.

    It has the shortest digits, and no exponent from 1e-15 up to 1e15, nor beyond that while there are digits after the
    point.
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


# --- decimals -------------------------------------------------------------------------------------------


def decimal_pieces(digits: int) -> tuple[int, int, int]:
    """The bytes that so many digits take, their whole groups of 9, and the digits left over."""
    groups, rest = divmod(digits, 9)
    return groups * 4 + _DIGIT_BYTES[rest], groups, rest


def decimal_text(value: bytes, precision: int, scale: int) -> str:
    """A packed DECIMAL as the server prints it: groups of 9 digits in 4 bytes, inverted when negative."""
    whole_size, _, whole_rest = decimal_pieces(precision - scale)
    size = whole_size + decimal_pieces(scale)[0]
    if len(value) != size:
        raise ValueError("a decimal has the wrong size")
    number = int.from_bytes(value, "big") - (1 << 8 * size - 1)
    sign, number = ("-", ~number) if number < 0 else ("", number)
    plain = number.to_bytes(size, "big")
    first = _DIGIT_BYTES[whole_rest]
    whole = f"{int.from_bytes(plain[:first], 'big')}{_groups(plain[first:whole_size], 0)}"
    whole = whole.lstrip("0") or "0"
    return f"{sign}{whole}.{_groups(plain[whole_size:], scale)}" if scale else sign + whole


def _groups(data: bytes, scale: int) -> str:
    whole = len(data) & ~3 if not scale else scale // 9 * 4
    text = "".join(f"{int.from_bytes(data[at : at + 4], 'big'):09d}" for at in range(0, whole, 4))
    rest = scale % 9
    return f"{text}{int.from_bytes(data[whole:], 'big'):0{rest}d}" if rest else text


# --- MariaDB's own types --------------------------------------------------------------------------------


def uuid_text(value: bytes) -> bytes:
    digits = value.ljust(16, b"\0").hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}".encode()


def inet4_text(value: bytes) -> bytes:
    return ".".join(map(str, value.ljust(4, b"\0"))).encode()


def inet6_text(value: bytes) -> bytes:
    """As MariaDB prints it: the first longest run of zeros is left out, even one of a single group."""
    data = value.ljust(16, b"\0")
    groups = [f"{data[at] << 8 | data[at + 1]:x}" for at in range(0, 16, 2)]
    start, length = _longest_zeros(groups)
    if start == 0 and (length == 6 or (length == 5 and groups[5] == "ffff")):
        groups[6:] = [inet4_text(data[12:]).decode()]
    if not length:
        return ":".join(groups).encode()
    return f"{':'.join(groups[:start])}::{':'.join(groups[start + length :])}".encode()


def _longest_zeros(groups: list[str]) -> tuple[int, int]:
    best, start = (0, 0), 0
    for end in range(len(groups) + 1):
        if end == len(groups) or groups[end] != "0":
            best = max(best, (start, end - start), key=lambda run: run[1])
            start = end + 1
    return best


def inflate(value: bytes) -> bytes:
    """The plain bytes of a MariaDB COMPRESSED column: a method byte, the plain length, then zlib's output."""
    if not value:
        return b""
    method, size_bytes = value[0] >> 4, value[0] & 7
    if method == 0:
        return value[1:]
    if method != 8:
        raise ValueError(f"a compressed column uses the unknown method {method}")
    plain = zlib.decompress(value[1 + size_bytes :], wbits=-zlib.MAX_WBITS if value[0] & 8 else zlib.MAX_WBITS)
    if len(plain) != int.from_bytes(value[1 : 1 + size_bytes], "big"):
        raise ValueError("a compressed column has not the length that it announces")
    return plain
