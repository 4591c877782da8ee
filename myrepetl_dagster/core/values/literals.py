"""Cells as SQL literals. Pure.

A literal is a `str` in which every character stands for one byte (latin-1). So bytes of any character set can be joined
with SQL text, and the whole is encoded once, at the socket.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..model.tables import Cell, Column
from .column_types import FLOAT_TYPES, INTEGER_TYPES, TEMPORAL_TYPES, is_short_year
from .json_literals import json_literal

Literal = Callable[[Any], str]
# Character sets whose bytes may stand in a quoted literal as they are. In the others (sjis, gbk, utf16 …)
# a byte may look like a quote or a backslash, or the whole is no text for a scanner: they go as hex.
QUOTABLE_CHARSETS = frozenset({"utf8mb4", "utf8mb3", "latin1", "ascii", "binary"})
# An ENUM's error value, for an ENUM. No strict mode lets it pass: `row_writer.py` knows it by this text, which no
# other value has.
ENUM_ERROR = "(0)"


def literal_for(column: Column, target: Column | None) -> Literal | None:
    """A function from cells to literals for a target column of this type; None if `literal_of` does for any target."""
    if column.type == "enum" and (target is None or target.type != "enum"):
        literal = literal_of(column)
        return lambda cell: "''" if cell == 0 else literal(cell)
    if column.type == "json" and target is not None and target.type == "json":
        return lambda cell: "NULL" if cell is None else json_literal(cell, _utf8_literal)
    if column.type in INTEGER_TYPES and target is not None and is_short_year(target):
        return lambda cell: "NULL" if cell is None else f"'{cell:04}'"  # of the number 0 it would make 2000
    return None


def literal_of(column: Column | None) -> Literal:
    """A function from a source column's cells to literals. None stands for static values and transforms' results."""
    if column is None:
        return any_literal
    if column.type in INTEGER_TYPES or column.type == "decimal":
        return lambda cell: "NULL" if cell is None else str(cell)
    if column.type in FLOAT_TYPES:
        return lambda cell: "NULL" if cell is None else float_literal(cell)
    if column.type in TEMPORAL_TYPES:
        return lambda cell: "NULL" if cell is None else f"'{cell}'"
    charset = column.charset or "binary"
    if column.type == "enum":
        label = literal_of(replace(column, type="char"))
        return lambda cell: ENUM_ERROR if cell == 0 else label(cell)
    if charset in QUOTABLE_CHARSETS:
        return _quoted(f"_{charset}")
    return lambda cell: "NULL" if cell is None else f"_{charset} x'{cell.hex()}'"


def _quoted(introducer: str) -> Literal:
    def quoted(cell: bytes | None) -> str:
        if cell is None:
            return "NULL"
        return f"{introducer}'" + cell.decode("latin-1").replace("\\", "\\\\").replace("'", "\\'") + "'"

    return quoted


_utf8_literal = _quoted("_utf8mb4")
_binary_literal = _quoted("_binary")


def any_literal(cell: Cell) -> str:
    """The literal of a cell by its Python type alone."""
    match cell:
        case None:
            return "NULL"
        case float():
            return float_literal(cell)
        case int():
            return str(cell)
        case str():
            return _utf8_literal(cell.encode("utf-8", errors="surrogatepass"))
    return _binary_literal(cell)


def float_literal(value: float) -> str:
    """The shortest text that reads back as the same double. It has an exponent, since `0.1` is a DECIMAL in SQL."""
    text = repr(value)
    return text if "e" in text else text + "e0"
