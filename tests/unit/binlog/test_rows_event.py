"""Rows events, byte by byte; `tests/server/values/test_decode_types.py` compares every type with what a server prints."""

from __future__ import annotations

import contextlib
import struct
import zlib
from dataclasses import replace

import pytest
from decode_log import decode_rows_event
from hypothesis import given
from hypothesis import strategies as st

from myrepetl_dagster.core.binlog.packed_values import inflate
from myrepetl_dagster.core.binlog.row_images import Decoder, compile_decoder
from myrepetl_dagster.core.binlog.rows_event import parse_rows_header
from myrepetl_dagster.core.binlog.table_map import MapColumn, TableMap, Type
from myrepetl_dagster.core.model.errors import UnsupportedEvent
from myrepetl_dagster.core.model.tables import Cell, Row, TableName

INT = MapColumn(Type.LONG, 0, True, unsigned=False, name="i")
TEXT = MapColumn(Type.VARCHAR, 255, True, charset="utf8mb4", name="v")


def table(*columns: MapColumn) -> TableMap:
    return TableMap(TableName("d", "t"), columns, b"")


def column(kind: Type, meta: int = 0, **more: object) -> MapColumn:
    return replace(MapColumn(kind, meta, True, unsigned=False, charset="utf8mb4"), **more)  # type: ignore[arg-type]


def decode(columns: MapColumn | list[MapColumn], data: bytes) -> list[Row]:
    decoder = compile_decoder(table(*(columns if isinstance(columns, list) else [columns])))
    return decoder.inserts(data, 0, len(data))


def image(*values: bytes | None) -> bytes:
    nulls = sum(1 << n for n, value in enumerate(values) if value is None)
    return nulls.to_bytes((len(values) + 7) // 8, "little") + b"".join(value or b"" for value in values)


# --- headers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event_type", "extra", "bitmaps", "before", "after"),
    [
        (23, b"", b"\x03", None, b"\x03"),
        (24, b"", b"\x03\x01", b"\x03", b"\x01"),
        (25, b"", b"\x03", b"\x03", None),
        (30, b"\x02\0", b"\xff", None, b"\xff"),
        (31, b"\x06\0\x01\x02\x03\x04", b"\xff\xff", b"\xff", b"\xff"),
        (32, b"\x02\0", b"\xff", b"\xff", None),
    ],
)
def test_headers_of_both_versions(
    event_type: int, extra: bytes, bitmaps: bytes, before: bytes | None, after: bytes | None
) -> None:
    """Extra data is skipped by its length; an update has two bitmaps."""
    body = b"\x07\0\0\0\0\x01\x01\0" + extra + b"\x02" + bitmaps + b"rows"
    header = parse_rows_header(body, event_type)
    assert header.width == 2
    assert (header.before, header.after, body[header.start :]) == (before, after, b"rows")
    assert header.full == (b"\x01" not in (before, after))


@pytest.mark.parametrize(("event_type", "named"), [(22, "22"), (166, "166")])
def test_other_events_are_refused(event_type: int, named: str) -> None:
    """By their type."""
    with pytest.raises(UnsupportedEvent, match=named):
        parse_rows_header(b"\0" * 20, event_type)


@pytest.mark.parametrize("size", range(12))
def test_a_cut_header_is_refused(size: int) -> None:
    """An event that ends in its header has no rows to guess."""
    with pytest.raises(UnsupportedEvent):
        parse_rows_header((b"\x07\0\0\0\0\0\x01\0\x02\0\x02\xff\xff")[:size], 31)


def event(event_type: int, rows: bytes, bitmaps: bytes, width: int = 2) -> bytes:
    extra = b"\x02\0" if event_type >= 30 else b""
    return b"\x07\0\0\0\0\0\x01\0" + extra + bytes([width]) + bitmaps + rows


@pytest.mark.parametrize("version", [23, 30])
def test_changes_of_all_three_kinds(version: int) -> None:
    """(before, after) pairs; the second event of a kind takes the short way through its header."""
    decoder = compile_decoder(table(INT, TEXT))
    one, two = image(b"\1\0\0\0", b"\1a"), image(None, b"\1b")
    rows: tuple[Row, Row] = (1, b"a"), (None, b"b")
    for _ in range(2):
        for kind, bitmaps, expected in (
            (version, b"\x03", [(None, rows[0]), (None, rows[1])]),
            (version + 1, b"\x03\x03", [rows]),
            (version + 2, b"\x03", [(rows[0], None), (rows[1], None)]),
        ):
            assert decode_rows_event(event(kind, one + two, bitmaps), kind, {7: decoder}.__getitem__) == expected


def test_images_that_are_not_rows_are_refused() -> None:
    """Also after a whole one of the same table has been seen. Images that lack columns are told from whole ones."""
    decoder = compile_decoder(table(INT, TEXT))
    row = image(b"\1\0\0\0", b"\1a")
    assert decode_rows_event(event(23, row, b"\x03"), 23, lambda _: decoder)
    assert decoder.start_of_rows(event(23, b"\0\1\0\0\0", b"\x01"), 23) is None
    with pytest.raises(UnsupportedEvent, match="columns"):
        decode_rows_event(event(23, row, b"\x07", width=3), 23, lambda _: decoder)
    with pytest.raises(UnsupportedEvent, match="after image"):
        decode_rows_event(event(24, row, b"\x03\x03"), 24, lambda _: decoder)


# --- types --------------------------------------------------------------------------------------------------

LATIN = {"charset": "latin1"}
BINARY = {"charset": "binary"}
UTF32 = {"charset": "utf32", "members": (b"\0\0\0a", b"\0\0\0b")}
ZLIB = b"\x82" + struct.pack(">H", 297) + zlib.compress(b"abc" * 99)


@pytest.mark.parametrize(
    ("kind", "data", "cell"),
    [
        (column(Type.TINY), b"\x80", -128),
        (column(Type.TINY, unsigned=True), b"\x80", 128),
        (column(Type.SHORT), b"\xff\xff", -1),
        (column(Type.INT24), b"\xff\xff\xff", -1),
        (column(Type.INT24), b"\0\0\x80", -(1 << 23)),
        (column(Type.INT24, unsigned=True), b"\xff\xff\xff", (1 << 24) - 1),
        (column(Type.LONGLONG, unsigned=True), b"\xff" * 8, (1 << 64) - 1),
        (column(Type.FLOAT), struct.pack("<f", 0.1), 0.10000000149011612),
        (column(Type.DOUBLE), struct.pack("<d", -0.0), -0.0),
        (column(Type.NEWDECIMAL, 10 << 8 | 2), b"\x80\0\0\0\x32", "0.50"),
        (column(Type.NEWDECIMAL, 10 << 8 | 2), b"\x7f\xff\xff\xff\xcd", "-0.50"),
        (column(Type.NEWDECIMAL, 3 << 8 | 3), b"\x80\x07", "0.007"),
        (column(Type.NEWDECIMAL, 20 << 8), b"\x81" + struct.pack(">II", 5, 6), "1000000005000000006"),
        (column(Type.NEWDECIMAL, 11 << 8 | 10), b"\x81" + struct.pack(">IB", 5, 7), "1.0000000057"),
        (column(Type.BIT, 9), b"\x01\xff", 511),
        (column(Type.YEAR), b"\0", 0),
        (column(Type.YEAR), b"\xff", 2155),
        (column(Type.DATE), b"\x1f\0\0", "0000-00-31"),
        (column(Type.DATE), struct.pack("<I", 2020 << 9 | 2 << 5 | 31)[:3], "2020-02-31"),
        (column(Type.TIME2, 0), b"\x7f\xff\xff", "-00:00:01"),
        (column(Type.TIME2, 1), b"\x7f\xff\xff\xf6", "-00:00:00.1"),
        (column(Type.TIME2, 2), b"\x7f\xff\xff\xff", "-00:00:00.01"),
        (column(Type.TIME2, 3), b"\x7f\xff\xff\xff\xf6", "-00:00:00.001"),
        (column(Type.TIME2, 6), b"\x7f\xff\xff\xff\xff\xff", "-00:00:00.000001"),
        (column(Type.DATETIME2, 0), b"\x80\0\0\0\0", "0000-00-00 00:00:00"),
        (column(Type.DATETIME2, 3), b"\x80\0\0\0\0\x26\xfc", "0000-00-00 00:00:00.998"),
        (column(Type.TIMESTAMP2, 0), b"\0\0\0\0", "0000-00-00 00:00:00"),
        (column(Type.TIMESTAMP2, 2), b"\0\0\0\0\0", "0000-00-00 00:00:00.00"),
        (column(Type.TIMESTAMP2, 2), b"\0\0\0\0\x05", "1970-01-01 00:00:00.05"),
        (column(Type.TIMESTAMP2, 0), b"\x7f\xff\xff\xff", "2038-01-19 03:14:07"),
        (column(Type.TIMESTAMP2, 6), b"\xff\xff\xff\xff\x0f\x42\x3f", "2106-02-07 06:28:15.999999"),  # MariaDB 11.5
        (column(Type.TIME, hint="time"), struct.pack("<i", -8385958)[:3], "-838:59:58"),
        (column(Type.DATETIME, hint="datetime"), struct.pack("<q", 20200031235958), "2020-00-31 23:59:58"),
        (column(Type.TIMESTAMP, hint="timestamp"), b"\1\0\0\0", "1970-01-01 00:00:01"),
        (column(Type.STRING, 4, **BINARY), b"\x01a", b"a\0\0\0"),
        (column(Type.STRING, 4, **LATIN), b"\x01a", b"a"),
        (column(Type.STRING, 1020), b"\x01\0a", b"a"),
        (column(Type.STRING, 300, **BINARY), b"\x01\0a", b"a" + b"\0" * 299),
        (column(Type.VARCHAR, 256), b"\x01\0a", b"a"),
        (column(Type.BLOB, 1), b"\x02ab", b"ab"),
        (column(Type.BLOB, 3), b"\x02\0\0ab", b"ab"),
        (column(Type.BLOB, 4), b"\x02\0\0\0ab", b"ab"),
        (column(Type.ENUM, 1, members=(b"x", b"y")), b"\2", b"y"),
        (column(Type.ENUM, 1, members=(b"x", b"y")), b"\0", 0),
        (column(Type.ENUM, 2, members=(b"x", b"y")), b"\1\0", b"x"),
        (column(Type.SET, 1, members=(b"x", b"y")), b"\3", b"x,y"),
        (column(Type.SET, 1, members=(b"x", b"y")), b"\0", b""),
        (column(Type.SET, 3, members=tuple(b"%d" % n for n in range(24))), b"\1\0\x80", b"0,23"),
        (column(Type.SET, 1, **UTF32), b"\3", b"\0\0\0a\0\0\0,\0\0\0b"),
        (column(Type.JSON, 4), b"\2\0\0\0\4\1", b"true"),
        (column(Type.GEOMETRY, 4), b"\2\0\0\0gg", b"gg"),
        (column(Type.VECTOR, 4), b"\4\0\0\0\0\0\x80\x3f", b"\0\0\x80\x3f"),
        (column(Type.VARCHAR_COMPRESSED, 10), b"\3\0ab", b"ab"),
        (column(Type.BLOB_COMPRESSED, 1), bytes([len(ZLIB)]) + ZLIB, b"abc" * 99),
        (column(Type.STRING, 16, hint="uuid", **BINARY), b"\x02\x12\x34", b"12340000-0000-0000-0000-000000000000"),
        (column(Type.STRING, 16, hint="inet6", **BINARY), b"\x00", b"::"),
        (column(Type.STRING, 4, hint="inet4", **BINARY), b"\x01\x0a", b"10.0.0.0"),
    ],
)  # fmt: skip
def test_a_cell_of_each_type(kind: MapColumn, data: bytes, cell: Cell) -> None:
    """Alone, between others, and as NULL, by the function for any row and by the one for rows alike."""
    assert repr(decode(kind, image(data))) == repr([(cell,)])
    row = image(b"\1\0\0\0", data, b"\1z", None, data)
    rows = decode([INT, kind, TEXT, kind, kind], row * 100)
    assert repr(rows) == repr([(1, cell, b"z", None, cell)] * 100)


def test_raw_deflate_of_mariadb() -> None:
    """`column_compression_zlib_wrap=OFF` leaves zlib's own header out; empty stays empty."""
    raw = zlib.compressobj(wbits=-15)
    packed = raw.compress(b"x" * 300) + raw.flush()
    assert inflate(b"\x8a" + struct.pack(">H", 300) + packed) == b"x" * 300
    assert inflate(b"") == b""
    with pytest.raises(ValueError, match="length"):
        inflate(b"\x8a" + struct.pack(">H", 301) + packed)


# --- what does not fit --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "data"),
    [
        ([INT], image(b"\1\0\0")),
        ([INT], image(b"\1\0\0\0\0")),
        ([TEXT], image(b"\5abc")),
        ([TEXT, INT], image(b"\3abc", b"\0\0\0")),
        ([column(Type.ENUM, 1, members=(b"x",))], image(b"\2")),
        ([column(Type.SET, 1, members=(b"x",))], image(b"\2")),
        ([column(Type.JSON, 4)], image(b"\2\0\0\0\5\1")),
        ([column(Type.VARCHAR_COMPRESSED, 10)], image(b"\3\x81\5x")),
        ([INT] * 9, b"\0"),
    ],
)
def test_rows_that_do_not_end_with_their_event_are_refused(columns: list[MapColumn], data: bytes) -> None:
    """A wrong schema or a cut event never yields values, whichever function reads it."""
    with pytest.raises(UnsupportedEvent, match=r"d\.t"):
        decode(columns, data)


def test_bytes_beyond_the_end_are_not_read() -> None:
    """The checksum after the rows is no part of them."""
    decoder = compile_decoder(table(TEXT))
    assert decoder.inserts(b"\0\1a" + b"\0\1b", 0, 3) == [(b"a",)]
    with pytest.raises(UnsupportedEvent, match="beyond"):
        decoder.inserts(b"\0\4a" + b"\0\1b", 0, 3)


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (MapColumn(Type.LONG, 0, True), "signedness"),
        (MapColumn(Type.STRING, 4, True), "character set"),
        (MapColumn(Type.SET, 1, True, charset="latin1"), "labels"),
        (MapColumn(Type.TIME, 0, True), "fraction digits"),
        (MapColumn(Type.TIME, 0, True, hint="time(3)"), "mysql56_temporal_format"),
    ],
)
def test_columns_that_the_log_leaves_open_are_refused_when_wanted(kind: MapColumn, named: str) -> None:
    """With what is missing; a column that nobody wants only has to have a size."""
    with pytest.raises(UnsupportedEvent, match=named):
        compile_decoder(table(kind))
    if kind.type is not Type.TIME:
        compile_decoder(table(INT, kind), frozenset({0}))


def test_unwanted_columns_are_passed_over() -> None:
    """Of fixed and of varying size, with and without a function of their own."""
    decoder: Decoder = compile_decoder(table(INT, TEXT, INT, TEXT), frozenset({2, 3}))
    row = image(b"\1\0\0\0", b"\2ab", b"\3\0\0\0", b"\1c") + image(None, b"\0", None, b"\1d")
    assert (
        decoder.updates(row * 100, 0, 200 * len(row) // 2) == [((None, None, 3, b"c"), (None, None, None, b"d"))] * 100
    )


@given(st.binary(max_size=60), st.integers(1, 60))
def test_any_bytes_are_rows_or_an_error_of_ours(data: bytes, repeat: int) -> None:
    """Nothing else escapes from malformed bytes."""
    kinds = [
        INT,
        TEXT,
        column(Type.JSON, 2),
        column(Type.SET, 1, members=(b"x",)),
        column(Type.DATETIME2, 6),
        column(Type.TIME2, 3),
    ]
    with contextlib.suppress(UnsupportedEvent):
        decode(kinds, data * repeat)
