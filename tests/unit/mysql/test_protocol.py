"""Packets from a stream of bytes, however the socket cuts it."""

from __future__ import annotations

import io
import struct
from types import SimpleNamespace
from typing import Any

import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from myrepetl_dagster.core.model.limits import LONG_BYTES
from myrepetl_dagster.core.mysql import protocol
from myrepetl_dagster.core.mysql.protocol import packet_batches, send_statement
from myrepetl_dagster.core.values.text_rows import fields, views_at

EOF = b"\xfe\0\0\x02\0"
MAX = 0xFFFFFF


class Pieces(io.RawIOBase):
    """A socket that gives so many bytes at a time."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self.data, self.sizes, self.at, self.reads = data, sizes, 0, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), self.sizes[self.reads % len(self.sizes)])
        self.reads += 1
        piece = self.data[self.at : self.at + size]
        buffer[: len(piece)] = piece
        self.at += len(piece)
        return len(piece)


def connection(data: bytes, sizes: list[int]) -> Any:
    made = SimpleNamespace(
        _sock=SimpleNamespace(settimeout=lambda _: None),
        _read_timeout=None,
        _rfile=io.BufferedReader(Pieces(data, sizes)),
        _next_seq_id=0,
        encoding="utf-8",
        closed=False,
    )
    made._force_close = lambda: setattr(made, "closed", True)
    return made


def packed(*packets: bytes) -> bytes:
    out = b""
    for number, packet in enumerate(packets):
        parts = [packet[at : at + MAX] for at in range(0, len(packet) + 1, MAX)]
        out += b"".join(struct.pack("<I", len(part) | number % 256 << 24) for part in parts[:1]) + parts[0]
        for part in parts[1:]:
            out += struct.pack("<I", len(part) | number % 256 << 24) + part
    return out


@given(
    st.lists(st.binary(max_size=40).map(lambda data: b"\0" + data), max_size=30),
    st.lists(st.integers(1, 50), min_size=1, max_size=5),
    st.integers(0, 1),
)
def test_packets_survive_any_cut(packets: list[bytes], sizes: list[int], skip: int) -> None:
    """All packets up to the last arrive in order and whole, and the connection is left for the next command."""
    one = connection(packed(*packets, EOF), sizes)

    assert [p for batch in packet_batches(one, skip) for p in batch] == [packet[skip:] for packet in packets]
    assert one._next_seq_id == (len(packets) + 1) % 256
    assert not one.closed


@pytest.mark.parametrize(
    "size", [protocol._READ_BYTES, protocol._READ_BYTES + 1, 3 * protocol._READ_BYTES, MAX - 1, MAX, MAX + 5]
)
def test_long_packets(size: int) -> None:
    """A packet longer than one read, and one that comes in several because it has 16 MiB, is whole."""
    long = b"\xfc" + bytes(size - 1)
    one = connection(packed(b"\0a", long, b"\0b", EOF), [100_000, 7])

    assert [len(p) for batch in packet_batches(one) for p in batch] == [2, size, 2]


def test_what_came_before_an_error_comes_first() -> None:
    """Packets before the server's error are given, then it is raised with its number."""
    error = b"\xff" + struct.pack("<H", 1317) + b"#70100interrupted"
    found = []

    with pytest.raises(pymysql.err.OperationalError) as caught:
        for batch in packet_batches(connection(packed(b"\0a", error), [1000])):
            found += batch

    assert found == [b"\0a"]
    assert caught.value.args[0] == 1317


@pytest.mark.parametrize("end", [0, 3, 5, 9])
def test_a_stream_that_ends_early_is_a_lost_connection(end: int) -> None:
    """Wherever the bytes end, the error is 2013 and the connection is closed."""
    one = connection(packed(b"\0abc", EOF)[:end], [4])

    with pytest.raises(pymysql.err.OperationalError) as caught:
        list(packet_batches(one))

    assert caught.value.args[0] == 2013
    assert one.closed


# ---- long statements and rows ----------------------------------------------------------------------------
@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 4))
def test_a_statement_in_pieces_is_the_statement(sizes: list[int], packet_max: int) -> None:
    """However a statement is cut into pieces and packets, the server gets it whole, in packets in their order."""
    sent, followed_changes = bytearray(), []
    one = SimpleNamespace(_sock=object(), _result=object(), _write_bytes=sent.extend, _next_seq_id=0)
    one._read_query_result = lambda: followed_changes.append(one._next_seq_id)
    pieces = [bytes([n]) * size for n, size in enumerate(sizes)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "_PACKET_MAX", packet_max)
        send_statement(one, iter(map(memoryview, pieces)), sum(sizes))  # type: ignore[arg-type]

    packets: list[bytes] = []
    at = 0
    while at < len(sent):
        length, number = int.from_bytes(sent[at : at + 3], "little"), sent[at + 3]
        assert number == len(packets)
        packets.append(bytes(sent[at + 4 : at + 4 + length]))
        at += 4 + length
    assert b"".join(packets) == b"\x03" + b"".join(pieces)
    assert [len(packet) for packet in packets[:-1]] == [packet_max] * (len(packets) - 1)
    assert len(packets[-1]) < packet_max  # that is how the server knows the last one
    assert followed_changes == [len(packets)]


def field(data: bytes | None) -> bytes:
    if data is None:
        return b"\xfb"
    if len(data) < 251:
        return bytes([len(data)]) + data
    return b"\xfd" + len(data).to_bytes(3, "little") + data


@given(st.lists(st.none() | st.binary(max_size=300), max_size=8), st.integers(0, 8))
def test_fields_of_a_row(values: list[bytes | None], skip: int) -> None:
    """A row's fields come as they are, NULLs and all, without the first ones that nobody asked for."""
    assert fields(b"".join(map(field, values)), skip) == values[skip:]


def test_a_long_first_field_is_not_copied() -> None:
    """A rendered row of megabytes is passed on as a part of its packet."""
    long = b"x" * LONG_BYTES
    packet = field(long) + field(b"key")

    (found, short, null) = views_at([packet, field(b"short"), b"\xfb"], [0, 0, 0])

    assert isinstance(found, memoryview)
    assert found == long
    assert found.obj is packet
    assert (short, null) == (b"short", None)
