"""Whether a column type holds every value of another one, byte for byte. Schema changes are judged by it. Pure."""

from __future__ import annotations

from dataclasses import replace

from ..model.tables import Column
from .column_types import (
    BYTE_TYPES,
    FLOAT_TYPES,
    INTEGER_BYTES,
    LABEL_TYPES,
    LOB_BYTES_MAX,
    TEXT_TYPES,
    decimal_digits,
    fraction_digits,
    is_short_year,
    labels,
    type_numbers,
)

_CHARACTER_BYTES = {"latin1": 1, "ascii": 1, "binary": 1}
# The character sets that have every character of the key.
_SUPERSETS = {"ascii": {"latin1", "utf8mb3", "utf8mb4"}, "latin1": {"utf8mb3", "utf8mb4"}, "utf8mb3": {"utf8mb4"}}


def family(column: Column) -> str:
    """The kind of the column's values: a change between types of one family keeps it."""
    if column.type in INTEGER_BYTES:
        return "integer"
    if column.type in FLOAT_TYPES:
        return "float"
    if column.type in LABEL_TYPES:
        return column.type
    if column.type in TEXT_TYPES:
        return "text"
    return "bytes" if column.type in BYTE_TYPES else column.type


def holds_charset(before: str | None, now: str | None) -> bool:
    """Whether the character set `now` has every character of `before`."""
    return before == now or now in _SUPERSETS.get(before or "", ())


def widens(before: Column, now: Column) -> bool:
    """Whether the new type holds every value of the old one as it is. Whether NULL is allowed does not count."""
    kind = family(before)
    if kind != family(now):
        return False
    old, new = type_numbers(before.column_type), type_numbers(now.column_type)
    match kind:
        case "integer":
            sizes = INTEGER_BYTES[before.type], INTEGER_BYTES[now.type]
            if before.unsigned == now.unsigned:
                return sizes[1] >= sizes[0]
            return before.unsigned and sizes[1] > sizes[0]
        case "float":  # a FLOAT that becomes a DOUBLE gets other digits
            return before.type == now.type and (new == old or not new)
        case "decimal":
            (digits, scale), (more, finer) = decimal_digits(before.column_type), decimal_digits(now.column_type)
            return more - finer >= digits - scale and finer >= scale and (before.unsigned or not now.unsigned)
        case "enum" | "set":
            kept = set(labels(before.column_type)) <= set(labels(now.column_type))
            return kept and holds_charset(before.charset, now.charset)
        case "text" | "bytes":
            return holds_charset(before.charset, now.charset) and _fits(before, now, old, new)
        case "time" | "datetime" | "timestamp":
            return fraction_digits(now.column_type) >= fraction_digits(before.column_type)
        case "bit":
            return _first(new) >= _first(old)
        case "year":
            return is_short_year(before) or not is_short_year(now)
    return before.column_type.lower() == now.column_type.lower()


def same(one: Column, other: Column) -> bool:
    """Whether two descriptions are of the same type."""
    return widens(one, other) and widens(other, one)


def as_converted(column: Column, charset: str) -> Column:
    """The column after CONVERT TO CHARACTER SET. The server may choose a longer type than this."""
    return replace(column, charset=charset, collation=None)


def as_bytes(column: Column) -> Column:
    """A text column of the character set `binary`, as the server makes it: of bytes, unless it has labels."""
    if column.type in LABEL_TYPES:
        return replace(column, charset="binary")
    kind, definition = (
        text.replace("char", "binary").replace("text", "blob") for text in (column.type, column.column_type)
    )
    return replace(column, type=kind, column_type=definition, charset="binary")


def _first(numbers: tuple[int, ...]) -> int:
    """A size, which is 1 where the definition leaves it out."""
    return (*numbers, 1)[0]


def _fits(before: Column, now: Column, old: tuple[int, ...], new: tuple[int, ...]) -> bool:
    if "char" in (now.type, before.type) and before.type != now.type and now.type == "char":
        return False  # CHAR drops spaces at the end
    if "binary" in (before.type, now.type):
        return before.type == now.type and old == new  # BINARY pads with zero bytes
    character = _CHARACTER_BYTES.get(before.charset or "", 4)
    if before.charset != now.charset:
        character = 4
    room = LOB_BYTES_MAX.get(now.type)
    bound = LOB_BYTES_MAX.get(before.type)
    if room is None:  # the new length is in characters
        return _first(new) >= (bound if bound is not None else _first(old))
    if bound is not None:
        return room >= (bound if before.charset == now.charset else bound * character) or bound == room == 2**32 - 1
    return room >= _first(old) * character
