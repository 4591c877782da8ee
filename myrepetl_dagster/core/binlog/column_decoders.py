"""Python source that decodes a column's values: how each column type is read.

Columns of a fixed size that follow each other are read by one `struct` call, together with the length before the next
column of varying size. Anything else that a cell needs is an expression in the row's tuple. No function is called for a
value of a common type. `decoder_codegen.py` puts the function together, `row_images.py` runs it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..model.errors import UnsupportedEvent
from . import packed_values
from .json_binary import to_text
from .map_columns import MapColumn, TableMap, Type

# The names that generated code may use.
ENVIRONMENT: dict[str, Any] = {
    "from_bytes": int.from_bytes,
    "TWO": packed_values.TWO,
    "THREE": packed_values.THREE,
    "SECONDS": packed_values.SECONDS,
    "MINUTE_OF_DAY": packed_values.MINUTE_OF_DAY,
    "DATE": packed_values.DATE,
    "DAY": packed_values.DAY,
    "EPOCH_DAY": packed_values.EPOCH_DAY,
    "HOUR_MINUTE": packed_values.HOUR_MINUTE,
    "old_time": packed_values.old_time,
    "old_datetime": packed_values.old_datetime,
    "inflate": packed_values.inflate,
    "uuid_text": packed_values.uuid_text,
    "inet4_text": packed_values.inet4_text,
    "inet6_text": packed_values.inet6_text,
    "to_text": to_text,
}


@dataclass(frozen=True, slots=True)
class ColumnDecoder:
    """How one column is read.

    `form` are struct codes, one for each raw value, and `size` their bytes. A column of varying size has instead, as
    `prefix`, the number of bytes that hold its length. In `lines` and `cell`, `$` stands for the column's own variable
    (the first one, if there are two raw values), `$b` for the second raw value.
    """

    form: str = ""
    size: int = 0
    prefix: int = 0
    cell: str = "$"
    lines: tuple[str, ...] = ()
    bound: dict[str, Any] = field(default_factory=dict)


_INTEGERS = {Type.TINY: "b", Type.SHORT: "h", Type.LONG: "i", Type.LONGLONG: "q"}
_SIZES = {"b": 1, "h": 2, "i": 4, "q": 8}
_PREFIX_FORMS = {1: "B", 2: "H", 4: "I"}


def column_decoder(table_map: TableMap, ordinal: int) -> ColumnDecoder:
    """How the column is read. Refuses a column that neither the log nor a description settles."""
    column = table_map.columns[ordinal]
    if gap := column.gap:
        name = column.name or "name unknown"
        raise UnsupportedEvent(
            f"{table_map.name}: column {ordinal + 1} ({name}) is in the log without {gap}",
            hint="Set binlog_row_metadata=FULL on the source, and mysql56_temporal_format=ON if it is MariaDB.",
        )
    if letter := _INTEGERS.get(column.type):
        return ColumnDecoder(letter.upper() if column.unsigned else letter, _SIZES[letter])
    try:
        return _READINGS[column.type](column)
    except ValueError as error:
        raise UnsupportedEvent(f"{table_map.name}: column {ordinal + 1}: {error}") from None


def _int24(column: MapColumn) -> ColumnDecoder:
    return ColumnDecoder("HB" if column.unsigned else "Hb", 3, cell="$ + ($b << 16)")


def _bit(column: MapColumn) -> ColumnDecoder:
    size = (column.meta + 7) // 8
    return ColumnDecoder("B", 1) if size == 1 else ColumnDecoder(f"{size}s", size, cell="from_bytes($, 'big')")


def _decimal(column: MapColumn) -> ColumnDecoder:
    precision, scale = column.meta >> 8, column.meta & 0xFF
    whole_size, whole_groups, _ = packed_values.decimal_pieces(precision - scale)
    fraction_size, fraction_groups, fraction_rest = packed_values.decimal_pieces(scale)
    size = whole_size + fraction_size
    whole = _joined([8 * (fraction_size + 4 * n) for n in reversed(range(whole_groups + 1))], 9)
    tail = fraction_size - 4 * fraction_groups
    shifts = [8 * (tail + 4 * n) for n in reversed(range(fraction_groups))]
    fraction = _joined(shifts, 9, first_masked=True) if shifts else ""
    if fraction_rest:
        rest = f"($ & {(1 << 8 * tail) - 1})"
        fraction = f"({fraction}) * {10**fraction_rest} + {rest}" if fraction else rest
    if not scale:
        text = f"{{{whole}}}"
    elif scale == 2:
        text = f"{{{whole}}}.{{TWO[{fraction}]}}"
    elif scale == 3:
        text = f"{{{whole}}}.{{THREE[{fraction}]}}"
    else:
        text = f"{{{whole}}}.{{{fraction}:0{scale}d}}"
    lines = (
        f"$ = from_bytes($, 'big') - {1 << 8 * size - 1}",
        f"if $ < 0: $ = ~$; $ = f'-{text}'",
        f"else: $ = f'{text}'",
    )
    return ColumnDecoder(f"{size}s", size, lines=lines)


def _joined(shifts: Sequence[int], digits: int, first_masked: bool = False) -> str:
    """An expression for the number whose groups of digits lie at these bits of `$`, highest first."""
    expression = f"$ >> {shifts[0]} & 0xffffffff" if first_masked else f"$ >> {shifts[0]}"
    for shift in shifts[1:]:
        expression = f"({expression}) * {10**digits} + ($ >> {shift} & 0xffffffff)"
    return f"({expression})"


# --- dates and times --------------------------------------------------------------------------------------


def _fraction(column: MapColumn) -> tuple[int, str]:
    """How many bytes the fraction has, and how an f-string shows it."""
    digits = column.meta
    if digits > 6:
        raise ValueError(f"{digits} fraction digits")
    size = (digits + 1) // 2
    raw = f"$ & {(1 << 8 * size) - 1}"
    if not digits:
        return 0, ""
    # An odd number of digits is stored with one digit more.
    fraction = f"({raw}) // 10" if digits % 2 else raw
    if digits in (2, 3):
        return size, f".{{{'TWO' if digits == 2 else 'THREE'}[{fraction}]}}"
    return size, f".{{{fraction}:0{digits}d}}"


def _datetime2(column: MapColumn) -> ColumnDecoder:
    size, fraction = _fraction(column)
    low = 8 * size
    clock = f"{{HOUR_MINUTE[$ >> {low + 6} & 2047]}}{{SECONDS[$ >> {low} & 63]}}"
    bias = 1 << 39 + low
    text = f"f'{{DAY[$ >> {low + 17}]}}{clock}{fraction}'"
    return ColumnDecoder(f"{5 + size}s", 5 + size, cell=text, lines=(f"$ = from_bytes($, 'big') - {bias}",))


def _time2(column: MapColumn) -> ColumnDecoder:
    size, fraction = _fraction(column)
    low = 8 * size
    text = f"{{HOUR_MINUTE[$ >> {low + 6}]}}{{SECONDS[$ >> {low} & 63]}}{fraction}"
    lines = (
        f"$ = from_bytes($, 'big') - {1 << 23 + low}",
        f"if $ < 0: $ = -$; $ = f'-{text}'",
        f"else: $ = f'{text}'",
    )
    return ColumnDecoder(f"{3 + size}s", 3 + size, lines=lines)


def _timestamp2(column: MapColumn) -> ColumnDecoder:
    size, fraction = _fraction(column)
    zero = "0000-00-00 00:00:00" + ("." + "0" * column.meta if column.meta else "")
    seconds = f"($ >> {8 * size})" if size else "$"
    return ColumnDecoder(
        f"{4 + size}s",
        4 + size,
        cell=f"{_utc(seconds, fraction)} if $ else '{zero}'",
        lines=("$ = from_bytes($, 'big')",),
    )


def _utc(seconds: str, fraction: str) -> str:
    clock = f"{{MINUTE_OF_DAY[{seconds} // 60 % 1440]}}{{SECONDS[{seconds} % 60]}}"
    return f"f'{{EPOCH_DAY[{seconds} // 86400]}}{clock}{fraction}'"


def _old(decoder: ColumnDecoder) -> Callable[[MapColumn], ColumnDecoder]:
    """A temporal type of before MySQL 5.6; its fraction digits (MariaDB only) are not in the log."""

    def read(column: MapColumn) -> ColumnDecoder:
        if re.search(r"\([1-6]\)", column.hint):
            raise ValueError(
                f"{column.hint} in the format of mysql56_temporal_format=OFF; set it ON, rebuild the table"
            )
        return decoder

    return read


# --- strings ----------------------------------------------------------------------------------------------


_FIXED_BINARY = {"uuid": "uuid_text($)", "inet4": "inet4_text($)", "inet6": "inet6_text($)"}


def _string(column: MapColumn) -> ColumnDecoder:
    """CHAR and BINARY: the log drops the padding; a server prints BINARY's and drops CHAR's."""
    cell = "$"
    if column.charset == "binary":
        cell = _FIXED_BINARY.get(column.hint, f"$.ljust({column.meta}, b'\\0')")
    return ColumnDecoder(prefix=2 if column.meta > 255 else 1, cell=cell)


def _varchar(column: MapColumn) -> ColumnDecoder:
    cell = "inflate($)" if column.type is Type.VARCHAR_COMPRESSED else "$"
    return ColumnDecoder(prefix=2 if column.meta > 255 else 1, cell=cell)


def _blob(cell: str) -> Callable[[MapColumn], ColumnDecoder]:
    def read(column: MapColumn) -> ColumnDecoder:
        if not 1 <= column.meta <= 4:
            raise ValueError(f"{column.meta} length bytes")
        return ColumnDecoder(prefix=column.meta, cell=cell)

    return read


def _enum(column: MapColumn) -> ColumnDecoder:
    labels = (0, *(column.members or ()))  # number 0 is no label: the value that an invalid one became
    return ColumnDecoder("H" if column.meta == 2 else "B", column.meta, cell="L$[$]", bound={"L$": labels})


def _set(column: MapColumn) -> ColumnDecoder:
    labels = _SetLabels(column.members or (), column.charset)
    if form := {1: "B", 2: "H", 4: "I", 8: "Q"}.get(column.meta):
        return ColumnDecoder(form, column.meta, cell="L$[$]", bound={"L$": labels})
    return ColumnDecoder("HB", column.meta, cell="L$[$ + ($b << 16)]", bound={"L$": labels})


_COMMAS = {"ucs2": b"\0,", "utf16": b"\0,", "utf16le": b",\0", "utf32": b"\0\0\0,"}


class _SetLabels(dict[int, bytes]):
    """Bits of a SET to its labels, joined in the order of the definition."""

    def __init__(self, members: tuple[bytes, ...], charset: str | None) -> None:
        super().__init__()
        self._members = members
        self._comma = _COMMAS.get(charset or "", b",")

    def __missing__(self, bits: int) -> bytes:
        if bits >> len(self._members):
            raise ValueError("a SET holds bits that have no label")
        if len(self) >= 4096:
            self.clear()
        chosen = (member for n, member in enumerate(self._members) if bits >> n & 1)
        labels = self[bits] = self._comma.join(chosen)
        return labels


_READINGS: dict[Type, Callable[[MapColumn], ColumnDecoder]] = {
    Type.INT24: _int24,
    Type.FLOAT: lambda _: ColumnDecoder("f", 4),
    Type.DOUBLE: lambda _: ColumnDecoder("d", 8),
    Type.NEWDECIMAL: _decimal,
    Type.BIT: _bit,
    Type.YEAR: lambda _: ColumnDecoder("B", 1, cell="$ and $ + 1900"),
    Type.DATE: lambda _: ColumnDecoder("HB", 3, cell="DATE[$ | $b << 16]"),
    Type.NEWDATE: lambda _: ColumnDecoder("HB", 3, cell="DATE[$ | $b << 16]"),
    Type.TIME: _old(ColumnDecoder("HB", 3, cell="old_time($ | $b << 16)")),
    Type.DATETIME: _old(ColumnDecoder("Q", 8, cell="old_datetime($)")),
    Type.TIMESTAMP: _old(ColumnDecoder("I", 4, cell=f"{_utc('$', '')} if $ else '0000-00-00 00:00:00'")),
    Type.TIME2: _time2,
    Type.DATETIME2: _datetime2,
    Type.TIMESTAMP2: _timestamp2,
    Type.STRING: _string,
    Type.VAR_STRING: _varchar,
    Type.VARCHAR: _varchar,
    Type.VARCHAR_COMPRESSED: _varchar,
    Type.ENUM: _enum,
    Type.SET: _set,
    Type.JSON: _blob("to_text($)"),
    Type.GEOMETRY: _blob("$"),
    Type.VECTOR: _blob("$"),
    Type.BLOB_COMPRESSED: _blob("inflate($)"),
} | {kind: _blob("$") for kind in (Type.TINY_BLOB, Type.BLOB, Type.MEDIUM_BLOB, Type.LONG_BLOB)}
