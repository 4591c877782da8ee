"""The sets of column types, by the names that servers give them, and the parts of a type's definition. Pure.

Every set of types is defined here once, so that a new type has one place to be added. The names are those of
`Column.type`; a definition is `Column.column_type` (`decimal(10,2) unsigned`).
"""

from __future__ import annotations

import re

from ..model.tables import Column

# ---- numbers ----
INTEGER_BYTES = {"tinyint": 1, "smallint": 2, "mediumint": 3, "int": 4, "bigint": 8}
WHOLE_NUMBER_TYPES = frozenset(INTEGER_BYTES)
FLOAT_TYPES = frozenset({"float", "double"})
# Their cells are of the Python type `int`.
INTEGER_TYPES = WHOLE_NUMBER_TYPES | {"year", "bit"}
# They may be declared UNSIGNED.
SIGNED_TYPES = WHOLE_NUMBER_TYPES | FLOAT_TYPES | {"decimal"}
NUMBER_TYPES = SIGNED_TYPES | {"year", "bit"}

# ---- times ----
DATETIME_TYPES = frozenset({"datetime", "timestamp"})
FRACTION_TYPES = DATETIME_TYPES | {"time"}  # may have up to six fraction digits
TEMPORAL_TYPES = FRACTION_TYPES | {"date"}

# ---- text and bytes ----
CHARACTER_TYPES = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
LABEL_TYPES = frozenset({"enum", "set"})
TEXT_TYPES = CHARACTER_TYPES | LABEL_TYPES  # have a character set
BYTE_TYPES = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})
# How many bytes hold the length of a value that is stored outside of its row.
LOB_LENGTH_BYTES = {
    "tinytext": 1, "text": 2, "mediumtext": 3, "longtext": 4, "tinyblob": 1, "blob": 2, "mediumblob": 3, "longblob": 4,
}  # fmt: skip
LOB_BYTES_MAX: dict[str, int] = {name: 256**length_bytes - 1 for name, length_bytes in LOB_LENGTH_BYTES.items()}

# ---- others ----
# MariaDB's own, stored as bytes and printed as ASCII text; with a type of MySQL that holds the text.
PRINTED_TYPES = {"uuid": "char(36)", "inet6": "varchar(39)", "inet4": "varchar(15)"}
GEOMETRY_TYPES = frozenset({
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geomcollection",
    "geometrycollection",
})  # fmt: skip


# ---- definitions ----
def is_short_year(column: Column) -> bool:
    """Whether the column is a YEAR(2), which only MariaDB has.

    It holds the years of a YEAR and prints their last two digits. The server compares it by these or, in an index, by
    the whole year, and it stores 2000 for the number 0.
    """
    return column.column_type.lower().startswith("year(2)")


_NUMBERS = re.compile(r"\w+ ?\(([\d, ]+)\)")  # right after the type's name: a label or a comment may hold others
_DECIMAL_DIGITS_DEFAULT = 10


def type_numbers(definition: str) -> tuple[int, ...]:
    """The numbers in the parentheses after a type's name; () where there are none."""
    found = _NUMBERS.match(definition)
    return tuple(int(number) for number in found[1].split(",")) if found else ()


def decimal_digits(definition: str) -> tuple[int, int]:
    """A DECIMAL's digits in all, and those after the point."""
    numbers = type_numbers(definition)
    if not numbers:
        return _DECIMAL_DIGITS_DEFAULT, 0
    return numbers[0], numbers[1] if len(numbers) > 1 else 0


def fraction_digits(definition: str) -> int:
    """The fraction digits of a TIME, DATETIME or TIMESTAMP."""
    return (*type_numbers(definition), 0)[0]


_LABEL = re.compile(r"(x?)'((?:[^']|'')*)'")
_ESCAPED = re.compile(r"''|\\[\\0nr]")
_CHARACTERS = {"''": "'", r"\\": "\\", r"\0": "\0", r"\n": "\n", r"\r": "\r"}


def labels(definition: str) -> list[str]:
    """The labels of an ENUM or SET. The servers escape these few characters in them, in any sql_mode.

    Bytes that are no UTF-8 come as surrogates. MySQL shows such a label as x'ff'.
    """
    return [
        bytes.fromhex(text).decode("utf-8", "surrogateescape")
        if as_hex
        else _ESCAPED.sub(lambda found: _CHARACTERS[found[0]], text)
        for as_hex, text in _LABEL.findall(definition)
    ]
