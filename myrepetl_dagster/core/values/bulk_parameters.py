"""Values as parameters of MariaDB's bulk execution. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from .length_encoding import NULL, encoded_length

DECIMAL, BLOB, TEXT = 246, 252, 253
_VALUE, NULL_PARAMETER = b"\0", b"\1"
# What stands before a short value: that there is one, and its length.
_SHORT = tuple(_VALUE + encoded_length(size) for size in range(NULL))


@dataclass(frozen=True, slots=True)
class BulkRows:
    """Rows for one statement. `values` are what stands in its VALUES: `?`, or a literal that all rows share; `types`
    the parameters' types as they are sent, `rows` the bytes of each row.
    """

    values: tuple[str, ...]
    types: bytes
    rows: list[bytes]


def parameter(value: bytes) -> bytes:
    """A value of any length, with what stands before it."""
    size = len(value)
    return _SHORT[size] + value if size < NULL else _VALUE + encoded_length(size) + value
