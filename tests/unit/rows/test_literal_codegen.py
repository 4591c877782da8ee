"""The generated row writer against `values.literal_of`, value by value."""

from __future__ import annotations

import pytest

from myrepetl_dagster.core.model.tables import Cell, Column
from myrepetl_dagster.core.rows.literal_codegen import row_writer
from myrepetl_dagster.core.values.literals import literal_of

TEXTS: list[Cell] = [None, b"", b"plain", b"it's", b"back\\slash", b"\\'", bytes(range(256)), "é".encode()]
COLUMNS: list[tuple[Column, list[Cell]]] = [
    (Column("i", "bigint"), [None, 0, -1, 2**64 - 1]),
    (Column("y", "year"), [None, 0, 1901]),
    (Column("b", "bit"), [None, 0, 2**64 - 1]),
    (Column("n", "decimal"), [None, "0.00", "-12.50"]),
    (Column("f", "float"), [None, -0.0, 1e300, 0.1]),
    (Column("g", "double"), [None, -0.0, 5e-324]),
    (Column("d", "date"), [None, "0000-00-00", "2024-02-29"]),
    (Column("t", "time"), [None, "-838:59:59.000000"]),
    (Column("m", "datetime"), [None, "2024-01-01 00:00:00.5"]),
    (Column("s", "timestamp"), [None, "0000-00-00 00:00:00"]),
    *(
        (Column("c", "text", charset=name), TEXTS)
        for name in ("utf8mb4", "utf8mb3", "latin1", "ascii", "sjis", "utf16")
    ),
    (Column("x", "blob", charset="binary"), TEXTS),
    (Column("e", "enum", charset="utf8mb4"), TEXTS),
    (Column("j", "json", charset="utf8mb4"), [None, b'{"a": "\\\\ \'"}']),
    (Column("o", "geometry", charset="binary"), [None, b"\0\0\0\0\1"]),
]


@pytest.mark.parametrize(("column", "cells"), COLUMNS, ids=[f"{c.type}-{c.charset}" for c, _ in COLUMNS])
def test_generated_literals_are_those_of_literal_of(column: Column, cells: list[Cell]) -> None:
    """A row written by the generated function has the very literals that `literal_of` gives."""
    write = row_writer([column, lambda row: "fixed"], [1, 0])

    for cell in cells:
        assert write((None, cell)) == (literal_of(column)(cell), "fixed")
