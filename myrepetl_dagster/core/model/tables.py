"""Tables, their columns, and the cells of their rows: the values that every room of the core shares. Pure.

A *cell* is the value of one column, in a form from which a target gets the same value, byte for byte:

    None                NULL
    int                 every integer type, YEAR, BIT
    float               FLOAT (widened exactly), DOUBLE
    str                 ASCII text: DECIMAL, DATE, TIME, DATETIME, TIMESTAMP (in UTC) as the server prints it
    bytes               CHAR, VARCHAR, TEXT, ENUM, SET, JSON (in the column's own character set; JSON in
                        UTF-8), UUID, INET4, INET6 (as text), BINARY, VARBINARY, BLOB, GEOMETRY (SRID +
                        WKB), VECTOR; an ENUM's error value, which is no label, is the int 0

Snapshot and log give identical cells for the same value (`tests/server/values/test_parity.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

Cell = int | float | str | bytes | None
Row = tuple[Cell, ...]


@dataclass(frozen=True, slots=True, order=True)
class TableName:
    """A table on a server: its schema (database) and its own name."""

    schema: str
    table: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"

    def in_lower_case(self) -> TableName:
        return TableName(self.schema.lower(), self.table.lower())


@dataclass(frozen=True, slots=True)
class Column:
    """A column as its server describes it.

    `type` is the lower-case type name (`bigint`, `varchar`, `datetime`), `column_type` the whole definition
    (`bigint unsigned`, `enum('a','b')`; empty where only the log describes the column). `charset` is None for types
    without one and `binary` for byte strings. `members` are the labels of an ENUM or SET, in that character set.
    """

    name: str
    type: str
    column_type: str = ""
    unsigned: bool = False
    charset: str | None = None
    collation: str | None = None
    nullable: bool = True
    members: tuple[bytes, ...] = ()
    generated: bool = False
    invisible: bool = False
    auto_increment: bool = False
    generation_expression: str = ""
    srid: int | None = None

    @property
    def of_period(self) -> bool:
        """Whether it says since when a row of a system-versioned table is current, or until when it was."""
        return self.generation_expression in ("ROW START", "ROW END")

    @property
    def is_row_end(self) -> bool:
        return self.generation_expression == "ROW END"

    @property
    def hidden(self) -> bool:
        """Whether no mapping has the column unless it names it: the table's own definition hides it."""
        return self.of_period and self.invisible


_PREFIX = re.compile(r"(.+)\((\d+)\)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Table:
    """A table's columns in their order, and its unique keys as tuples of column names.

    A key's part may also be the beginning of a column, `url(100)`. `charset` is the character set of new columns whose
    definition names none. `mariadb`: whether it is a MariaDB's; None where nobody asked.
    """

    name: TableName
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    unique_keys: tuple[tuple[str, ...], ...] = ()
    charset: str | None = None
    mariadb: bool | None = None

    def column(self, name: str) -> Column | None:
        return next((c for c in self.columns if c.name == name), None)

    def key_part(self, part: str) -> tuple[str, int | None]:
        """The column of a key's part, and how many of its characters or bytes count (None: all)."""
        begins = None if self.column(part) else _PREFIX.fullmatch(part)
        return (begins[1], int(begins[2])) if begins else (part, None)

    def key_columns(self, key: Iterable[str]) -> tuple[str, ...]:
        """The columns of a key's parts."""
        return tuple(self.key_part(part)[0] for part in key)

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)
