"""Cells to Python and back, and to SQL literals that can never be anything but one value."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myrepetl_dagster.core.model.tables import Cell, Column
from myrepetl_dagster.core.values.cells import cell_from_text
from myrepetl_dagster.core.values.literals import any_literal, float_literal, literal_of
from myrepetl_dagster.core.values.python_values import from_python, to_python
from myrepetl_dagster.core.values.sql import sql_name
from myrepetl_dagster.core.values.text_codecs import decode_text


def text_column(charset: str) -> Column:
    return Column("c", "varchar", charset=charset)


@pytest.mark.parametrize(
    ("kind", "text", "cell"),
    [
        ("int", b"-5", -5), ("bit", b"\x01\x02", 258), ("year", b"2024", 2024), ("bigint", b"18446744073709551615", 2**64 - 1),
        ("double", b"-0", -0.0), ("float", b"0.1", 0.1), ("decimal", b"-0.10", "-0.10"), ("date", b"0000-00-00", "0000-00-00"),
        ("time", b"-838:59:59", "-838:59:59"), ("blob", b"\x00'", b"\x00'"), ("varchar", b"x", b"x"),
    ],
)  # fmt: skip
def test_cell_from_text(kind: str, text: bytes, cell: Cell) -> None:
    """The server's text becomes the cell that `table_names.py` promises, NULL stays NULL."""
    convert = cell_from_text(Column("c", kind))
    assert repr(convert(text)) == repr(cell)
    assert convert(None) is None


@pytest.mark.parametrize(
    ("column", "cell", "value"),
    [
        (Column("c", "decimal"), "-0.10", Decimal("-0.10")),
        (Column("c", "date"), "2024-02-29", dt.date(2024, 2, 29)),
        (Column("c", "date"), "2024-02-00", "2024-02-00"),
        (Column("c", "datetime"), "2024-02-29 01:02:03.5", dt.datetime(2024, 2, 29, 1, 2, 3, 500_000)),
        (Column("c", "timestamp"), "0000-00-00 00:00:00", "0000-00-00 00:00:00"),
        (Column("c", "time"), "-00:00:00.25", dt.timedelta(microseconds=-250_000)),
        (Column("c", "time"), "838:59:59", dt.timedelta(hours=838, minutes=59, seconds=59)),
        (text_column("utf8mb4"), "é".encode(), "é"),
        (text_column("latin1"), b"\x80\x81", "€\x81"),
        (text_column("utf16"), "é".encode("utf-16-be"), "é"),
        (text_column("binary"), b"\xff", b"\xff"),
        (Column("c", "json", charset="utf8mb4"), b'{"a": 1}', '{"a": 1}'),
    ],
)
def test_to_python(column: Column, cell: Cell, value: object) -> None:
    """What a transform or a filter sees of a cell; NULL is None for every type."""
    assert to_python(column)(cell) == value
    assert to_python(column)(None) is None


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (True, 1), (2**70, 2**70), (Decimal("1E+3"), "1000"), (Decimal("-0.00"), "-0.00"), (dt.date(1, 2, 3), "0001-02-03"),
        (dt.datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=dt.timezone(dt.timedelta(hours=2))), "2024-01-02 01:04:05.000006"),
        (dt.timedelta(hours=-100, microseconds=-1), "-100:00:00.000001"), (dt.time(1, 2, 3), "01:02:03"),
        ({"a": ["é", None]}, '{"a": ["é", null]}'), ({"b", "a"}, "a,b"), (bytearray(b"x"), b"x"), (memoryview(b"y"), b"y"), (None, None),
    ],
)  # fmt: skip
def test_from_python(value: object, cell: Cell) -> None:
    """What a transform may return, and what is written for it."""
    assert from_python(value) == cell


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("NaN"), Decimal("Infinity"), object(), 1j])
def test_values_that_no_column_holds(value: object) -> None:
    """What cannot be stored is refused, not turned into something else."""
    with pytest.raises(TypeError):
        from_python(value)


def unquoted(literal: str) -> bytes:
    """A literal read as the servers read it, without NO_BACKSLASH_ESCAPES."""
    match = re.fullmatch(r"_(\w+) x'([0-9a-f]*)'", literal)
    if match:
        return bytes.fromhex(match[2])
    match = re.fullmatch(r"_(\w+)'((?:[^'\\]|\\[\\']|'')*)'", literal, re.DOTALL)
    assert match, literal
    return re.sub(r"\\(.)|''", lambda m: m[1] or "'", match[2], flags=re.DOTALL).encode("latin-1")


@given(
    st.binary(max_size=50),
    st.sampled_from(["utf8mb4", "latin1", "ascii", "binary", "sjis", "gbk", "big5", "utf16", "gb18030"]),
)
def test_quoted_bytes(data: bytes, charset: str) -> None:
    """Any bytes in any character set make one literal that reads back as the same bytes."""
    literal = literal_of(text_column(charset))(data)
    assert unquoted(literal) == data
    assert literal.startswith(f"_{charset}")


@given(st.text(max_size=30))
def test_text_literals(text: str) -> None:
    """Any text of a transform or the pipeline file is one UTF-8 literal."""
    assert unquoted(any_literal(text)) == text.encode("utf-8", errors="surrogatepass")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats(value: float) -> None:
    """A float's literal has an exponent, which makes it a DOUBLE, and reads back as the same number."""
    literal = float_literal(value)
    assert "e" in literal
    assert repr(float(literal)) == repr(value)


@given(st.text(min_size=1, max_size=30))
def test_names(name: str) -> None:
    """A quoted identifier never ends early."""
    quoted = sql_name(name.encode("utf-8", "ignore").decode())
    assert quoted[0] == quoted[-1] == "`"
    assert "`" not in quoted[1:-1].replace("``", "")


@pytest.mark.parametrize("cell", [None, 0, -1, 1.5, "2024-01-01", b"x'y"])
def test_null_is_never_quoted(cell: Any) -> None:
    """NULL is NULL for every type."""
    assert any_literal(None) == "NULL"
    for kind in ("int", "double", "date", "varchar", "decimal", "blob"):
        assert literal_of(Column("c", kind, charset="utf8mb4" if kind == "varchar" else None))(None) == "NULL"
    assert any_literal(cell) != ""


def test_unknown_character_set() -> None:
    """Text in a character set that Python lacks is an error for who asks for it as text, not garbage."""
    with pytest.raises(ValueError, match="klingon"):
        decode_text(b"x", "klingon")
