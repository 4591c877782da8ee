"""Values as parameters of MariaDB's bulk execution. Pure."""

from __future__ import annotations

from dataclasses import dataclass

DECIMAL, BLOB, TEXT = 246, 252, 253
_SHORT_MAX = 250  # up to here a length is one byte
_VALUE, NULL_PARAMETER = b"\0", b"\1"
# What stands before a short value: that there is one, and its length.
_SHORT = tuple(_VALUE + bytes([size]) for size in range(_SHORT_MAX + 1))


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
    return _SHORT[size] + value if size <= _SHORT_MAX else _VALUE + length(size) + value


def length(size: int) -> bytes:
    """What stands before a value of so many bytes, in a statement that is executed once."""
    if size <= _SHORT_MAX:
        return bytes([size])
    for mark, length_bytes in ((0xFC, 2), (0xFD, 3)):
        if size < 1 << 8 * length_bytes:
            return bytes([mark]) + size.to_bytes(length_bytes, "little")
    return b"\xfe" + size.to_bytes(8, "little")
