"""Values that pass through Python beside rows that the source renders."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myrepetl_dagster.core.replication.snapshot.bulk_select import _parameters_of_one_type
from myrepetl_dagster.core.replication.snapshot.tuple_select import _literal_of_result
from myrepetl_dagster.core.replication.snapshot.window_select import CannotTake
from myrepetl_dagster.core.rows.value_transforms import read_columns, row_by_row
from myrepetl_dagster.core.values.bulk_parameters import BLOB, TEXT
from myrepetl_dagster.core.values.literals import any_literal
from myrepetl_dagster.core.values.python_values import from_python


def field(value: bytes | None) -> bytes:
    if value is None:
        return b"\xfb"
    size = len(value)
    return (bytes([size]) if size < 251 else b"\xfc" + size.to_bytes(2, "little")) + value


@given(st.lists(st.tuples(*[st.none() | st.binary(max_size=300)] * 3), max_size=5), st.integers(0, 2))
def test_fields_as_columns(rows: list[tuple[bytes | None, ...]], count: int) -> None:
    """The first fields of each row, NULLs and long ones among them, and where the next one begins."""
    packets = [b"\x010" + b"".join(map(field, row)) for row in rows]

    columns, ends = read_columns(packets, 2, count)

    assert columns == [[row[i] for row in rows] for i in range(count)]
    assert [packet[end:] for packet, end in zip(packets, ends, strict=True)] == [
        b"".join(map(field, row[count:])) for row in rows
    ]


@pytest.mark.parametrize("count", [1, 3])
def test_transforms_are_called_row_by_row(count: int) -> None:
    """As they are for whole rows: the columns of a row in order, then those of the next."""
    called: list[tuple[int, bytes | None]] = []

    def spy(number: int, value: bytes | None) -> str:
        called.append((number, value))
        return f"{number}{value!r}"

    functions = [lambda value, number=number: spy(number, value) for number in range(count)]
    columns = [[b"a", None] for _ in range(count)]

    results = row_by_row(functions, columns)

    assert called == [(number, value) for value in (b"a", None) for number in range(count)]
    assert [list(column) for column in results] == [[f"{n}b'a'", f"{n}None"] for n in range(count)]


@given(
    st.none() | st.text(st.characters(codec=None), max_size=9) | st.text("'\\a\ud800é\0", max_size=5) | st.binary()
    | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)  # fmt: skip
def test_a_result_as_its_literal(value: object) -> None:
    """The literal is the very one that a whole row would have, whatever is in the text."""
    assert _literal_of_result(value) == any_literal(from_python(value)).encode("latin-1")


def test_results_that_share_a_type() -> None:
    """Texts, bytes and whole numbers of 64 bits, NULLs among them."""
    assert _parameters_of_one_type(["é'", None]) == (TEXT, [b"\0\3\xc3\xa9'", b"\1"])
    assert _parameters_of_one_type([None]) == (TEXT, [b"\1"])
    assert _parameters_of_one_type([b"\xfb" * 251, None]) == (BLOB, [b"\0\xfc\xfb\0" + b"\xfb" * 251, b"\1"])
    assert _parameters_of_one_type([None, -1, 2**63 - 1]) == (
        8,
        [b"\1", b"\0" + b"\xff" * 8, b"\0" + struct.pack("<q", 2**63 - 1)],
    )


@pytest.mark.parametrize("cells", [["a", 1], [b"a", "a"], [1.5], [2**63], ["\ud800"], [True, 1.0]])
def test_results_that_do_not(cells: list[object]) -> None:
    """What differs in type from row to row, or has no plain parameter, is for literals."""
    with pytest.raises(CannotTake):
        _parameters_of_one_type(cells)
