"""The fields of result rows in the text protocol. Pure.

A row is one packet. A field is its length and its text; NULL is one byte in the place of the length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..model.limits import LONG_BYTES
from ..model.tables import Column
from .cells import cell_from_text
from .length_encoding import LENGTH_BYTES, NULL
from .literals import literal_of


def fields(packet: bytes, skip: int = 0) -> list[bytes | None]:
    """The fields of a row without the first `skip`. None is NULL."""
    found: list[bytes | None] = []
    at, end = 0, len(packet)
    while at < end:
        length = packet[at]
        if length < NULL:
            at += 1
        elif length == NULL:
            at += 1
            if skip:
                skip -= 1
            else:
                found.append(None)
            continue
        else:
            size = LENGTH_BYTES[length]
            length = int.from_bytes(packet[at + 1 : at + 1 + size], "little")
            at += 1 + size
        if skip:
            skip -= 1
        else:
            found.append(packet[at : at + length])
        at += length
    return found


def key_reader(columns: Sequence[Column], places: Sequence[int], skip: int) -> Callable[[bytes], tuple[str, ...]]:
    """A function that reads the literals of a row's key.

    Args:
        columns: those of the key.
        places: where they are among the row's fields, not counting the first `skip`.
    """
    readers = [(at, cell_from_text(column), literal_of(column)) for at, column in zip(places, columns, strict=True)]

    def read(packet: bytes) -> tuple[str, ...]:
        values = fields(packet, skip)
        return tuple([literal(cell(values[at])) for at, cell, literal in readers])

    return read


def fields_at(packets: Sequence[bytes], starts: Sequence[int]) -> tuple[list[bytes | None], list[int]]:
    """(One field of each row, where each row's next field starts). None is NULL.

    Args:
        starts: where each row's field starts.
    """
    found: list[bytes | None] = []
    ends: list[int] = []
    add, add_end = found.append, ends.append
    for packet, start in zip(packets, starts, strict=True):
        length = packet[start]
        start += 1
        if length == NULL:
            add(None)
            add_end(start)
            continue
        if length > NULL:
            size = LENGTH_BYTES[length]
            length = int.from_bytes(packet[start : start + size], "little")
            start += size
        end = start + length
        add(packet[start:end])
        add_end(end)
    return found, ends


def views_at(packets: Sequence[bytes], starts: Sequence[int]) -> list[bytes | memoryview | None]:
    """One field of each row. None is NULL. A long field is not copied, but a view of its packet."""
    found: list[bytes | memoryview | None] = []
    add = found.append
    for packet, at in zip(packets, starts, strict=True):
        length = packet[at]
        if length < NULL:
            add(packet[at + 1 : at + 1 + length])
        elif length == NULL:
            add(None)
        else:
            start = at + 1 + LENGTH_BYTES[length]
            end = start + int.from_bytes(packet[at + 1 : start], "little")
            add(packet[start:end] if end < LONG_BYTES else memoryview(packet)[start:end])
    return found
