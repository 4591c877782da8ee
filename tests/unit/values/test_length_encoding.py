"""Length-encoded integers (`length_encoding.py`)."""

from __future__ import annotations

import pytest

from myrepetl_dagster.core.model.errors import UnsupportedEvent
from myrepetl_dagster.core.values.length_encoding import encoded_length, length_at

SIZES = {0: 1, 250: 1, 251: 3, 2**16 - 1: 3, 2**16: 4, 2**24 - 1: 4, 2**24: 9, 2**64 - 1: 9}


@pytest.mark.parametrize(("number", "size_bytes"), SIZES.items())
def test_a_number_is_read_as_it_was_written(number: int, size_bytes: int) -> None:
    """In as few bytes as can be, also within other data."""
    encoded = encoded_length(number)
    assert len(encoded) == size_bytes
    assert length_at(b"\xff" + encoded + b"\xff", 1) == (number, 1 + size_bytes)
    assert length_at(memoryview(encoded), 0) == (number, size_bytes)


@pytest.mark.parametrize("data", [b"\xfb\1\1\1\1\1\1\1\1", b"\xff\1\1\1\1\1\1\1\1", b"\xfc\1", b"\xfe\1\1\1\1\1\1\1"])
def test_what_is_no_number_is_refused(data: bytes) -> None:
    """NULL, the mark of an error, and a number that is cut off."""
    with pytest.raises(UnsupportedEvent, match="malformed length"):
        length_at(data, 0)
