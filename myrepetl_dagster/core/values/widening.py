"""Whether one column type holds every value of another, the same value byte for byte. Pure."""

from __future__ import annotations

import re
from dataclasses import replace

from ..binlog.ddl.column_definition import BYTES, TEXT
from ..model.tables import Column

_INTEGER_BYTES = {"tinyint": 1, "smallint": 2, "mediumint": 3, "int": 4, "bigint": 8}
_CAPACITY_BYTES = {
    "tinytext": 255, "text": 65_535, "mediumtext": 2**24 - 1, "longtext": 2**32 - 1,
    "tinyblob": 255, "blob": 65_535, "mediumblob": 2**24 - 1, "longblob": 2**32 - 1,
}  # fmt: skip
_CHARACTER_BYTES = {"latin1": 1, "ascii": 1, "binary": 1}
# Character sets all of whose characters another one has.
_SUPERSETS = {"ascii": {"latin1", "utf8mb3", "utf8mb4"}, "latin1": {"utf8mb3", "utf8mb4"}, "utf8mb3": {"utf8mb4"}}


def family(column: Column) -> str:
    """Types between which a change keeps the kind of value."""
    if column.type in _INTEGER_BYTES:
        return "integer"
    if column.type in ("float", "double"):
        return "float"
    if column.type in ("enum", "set"):
        return column.type
    if column.type in TEXT:
        return "text"
    return "bytes" if column.type in BYTES else column.type


def holds_charset(before: str | None, now: str | None) -> bool:
    return before == now or now in _SUPERSETS.get(before or "", ())


def widens(before: Column, now: Column) -> bool:
    """Whether every value of the old type is the same value of the new one. NULL is not looked at."""
    kind = family(before)
    if kind != family(now):
        return False
    old, new = _numbers(before), _numbers(now)
    match kind:
        case "integer":
            sizes = _INTEGER_BYTES[before.type], _INTEGER_BYTES[now.type]
            if before.unsigned == now.unsigned:
                return sizes[1] >= sizes[0]
            return before.unsigned and sizes[1] > sizes[0]
        case "float":  # a float that becomes a double gets other digits
            return before.type == now.type and (new == old or not new)
        case "decimal":
            (whole, scale), (wide, fine) = _decimal(old), _decimal(new)
            return wide >= whole and fine >= scale and (before.unsigned or not now.unsigned)
        case "enum" | "set":
            return holds_charset(before.charset, now.charset) and set(labels(before)) <= set(labels(now))
        case "text" | "bytes":
            return holds_charset(before.charset, now.charset) and _fits(before, now, old, new)
        case "time" | "datetime" | "timestamp":
            return (new or [0])[0] >= (old or [0])[0]
        case "bit":
            return (new or [1])[0] >= (old or [1])[0]
        case "year":
            return True
    return before.column_type.lower() == now.column_type.lower()


def same(one: Column, other: Column) -> bool:
    """Whether two descriptions are of the same type."""
    return widens(one, other) and widens(other, one)


def as_converted(column: Column, charset: str) -> Column:
    """The column after CONVERT TO CHARACTER SET, at least: the server may choose a longer type."""
    return replace(column, charset=charset, collation=None)


def labels(column: Column) -> list[str]:
    return re.findall(r"'((?:[^']|'')*)'", column.column_type)


def _numbers(column: Column) -> list[int]:
    found = re.search(r"\(([\d,\s]+)\)", column.column_type)
    return [int(n) for n in found.group(1).split(",")] if found else []


def _decimal(numbers: list[int]) -> tuple[int, int]:
    precision, scale = [*numbers, 0][:2] if numbers else (10, 0)
    return precision - scale, scale


def _fits(before: Column, now: Column, old: list[int], new: list[int]) -> bool:
    if "char" in (now.type, before.type) and before.type != now.type and now.type == "char":
        return False  # trailing spaces go
    if "binary" in (before.type, now.type):
        return before.type == now.type and old == new  # padded with zero bytes
    character = _CHARACTER_BYTES.get(before.charset or "", 4)
    if before.charset != now.charset:
        character = 4
    room = _CAPACITY_BYTES.get(now.type)
    bound = _CAPACITY_BYTES.get(before.type)
    if room is None:  # so many characters
        return (new or [1])[0] >= (bound if bound is not None else (old or [1])[0])
    if bound is not None:
        return room >= (bound if before.charset == now.charset else bound * character) or bound == room == 2**32 - 1
    return room >= (old or [1])[0] * character
