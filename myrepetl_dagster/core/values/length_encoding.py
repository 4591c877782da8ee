"""Length-encoded integers, as the client protocol and the binary log have them. Pure.

A first byte below 0xFB is the number itself. After 0xFC, 0xFD and 0xFE the number follows in 2, 3 or 8 bytes, least
significant byte first. 0xFB is no number: where a value may be NULL, it stands for NULL.
The format: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_dt_integers.html
"""

from __future__ import annotations

from ..model.errors import UnsupportedEvent

NULL = 0xFB
LENGTH_BYTES = {0xFC: 2, 0xFD: 3, 0xFE: 8}  # by the first byte: how many bytes of the number follow


def encoded_length(number: int) -> bytes:
    """A number of up to 64 bits, encoded."""
    if number < NULL:
        return bytes([number])
    first = 0xFC if number < 1 << 16 else 0xFD if number < 1 << 24 else 0xFE
    return bytes([first]) + number.to_bytes(LENGTH_BYTES[first], "little")


def length_at(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and where it ends.

    Raises:
        UnsupportedEvent: its first byte is that of no number, or the data end within it.
        IndexError: the data end before it.
    """
    first = data[at]
    at += 1
    if first < NULL:
        return first, at
    end = at + LENGTH_BYTES.get(first, len(data))
    if end > len(data):
        raise UnsupportedEvent("an event holds a malformed length")
    return int.from_bytes(data[at:end], "little"), end
