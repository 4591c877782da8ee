"""Images that lack columns, byte by byte, and differences of JSON documents."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from decode_log import decode_rows_event
from hypothesis import given
from hypothesis import strategies as st
from unit.binlog.test_rows_event import INT, TEXT, event, image, table

from myrepetl_dagster.core.binlog.json_diffs import patched
from myrepetl_dagster.core.binlog.map_columns import MapColumn, Type
from myrepetl_dagster.core.binlog.partial_rows import Absent, PartialDecoder, partial_decoder
from myrepetl_dagster.core.binlog.row_images import Decoder, compile_decoder
from myrepetl_dagster.core.binlog.rows_event import parse_rows_header
from myrepetl_dagster.core.model.errors import UnsupportedEvent

JSON = MapColumn(Type.JSON, 4, True, name="j")
NONE = Absent.NO_CELL
ONE, TWO = b"\1\0\0\0", b"\2\0\0\0"


def decoded(columns: list[MapColumn], kind: int, bitmaps: bytes, rows: bytes) -> Any:
    return decode_rows_event(event(kind, rows, bitmaps, len(columns)), kind, lambda _: compile_decoder(table(*columns)))


def test_images_that_lack_the_same_columns_are_rows_of_a_narrower_table() -> None:
    """Their map tells the whole table's, and differs from that of other images."""
    maps = []
    for kind, bitmaps in ((30, b"\x02"), (31, b"\x02\x02"), (32, b"\x01")):
        header = parse_rows_header(event(kind, b"", bitmaps), kind)
        decoder = partial_decoder(table(INT, TEXT), kind, header)
        assert isinstance(decoder, Decoder)
        assert decoder.table_map.whole == table(INT, TEXT)
        maps.append(decoder.table_map)
    assert [[column.name for column in one.columns] for one in maps] == [["v"], ["v"], ["i"]]
    assert maps[0].raw == maps[1].raw != maps[2].raw
    assert decoded([INT, TEXT], 31, b"\x02\x02", image(b"\1a") + image(b"\1b")) == [((b"a",), (b"b",))]


def test_before_and_after_images_of_different_columns() -> None:
    """A mark stands for what one of them lacks. Several rows of an event have NULLs of their own."""
    rows = image(ONE) + image(b"\1a") + image(TWO) + image(None)
    assert decoded([INT, TEXT], 31, b"\x01\x02", rows) == [((1, NONE), (NONE, b"a")), ((2, NONE), (NONE, None))]
    rows = image(ONE, b"\1a") + image(b"\1b")
    assert decoded([INT, TEXT], 31, b"\x03\x02", rows) == [((1, b"a"), (NONE, b"b"))]


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_images_that_are_cut(cut: int) -> None:
    """No row is made of half an image, and none of an image that has lost its pair."""
    rows = image(ONE) + image(b"\1a")
    with pytest.raises(UnsupportedEvent):
        decoded([INT, TEXT], 31, b"\x01\x02", rows[:-cut])
    with pytest.raises(UnsupportedEvent):
        decoded([INT, TEXT], 31, b"\x01\x02", rows + rows[:cut])


def test_rows_without_any_column() -> None:
    """They leave no byte in the event, so their number is not known."""
    with pytest.raises(UnsupportedEvent, match="without any column"):
        decoded([INT, TEXT], 30, b"\x00", b"")


def blob(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def test_differences_of_documents() -> None:
    """Bits tell which of the table's documents are differences; a whole one may be beside them."""
    number = b"\x05\x07\x00"  # 7
    replace = b"\x00\x01$" + bytes([len(number)]) + number
    before, none = image(ONE, blob(number), blob(number)), image(ONE, None, None)
    after = image(ONE, blob(b"\x05\x01\x00"), blob(replace))
    found = decoded([INT, JSON, JSON], 39, b"\x07\x07", before + b"\x01\x02" + after)
    assert found == [((1, b"7", b"7"), (1, b"1", b"7"))]
    found = decoded(
        [INT, JSON, JSON],
        39,
        b"\x07\x07",
        none + b"\x00" + none + before + b"\x01\x01" + image(ONE, blob(b""), blob(number)),
    )
    assert found == [((1, None, None), (1, None, None)), ((1, b"7", b"7"), (1, b"7", b"7"))]
    found = decoded([INT, JSON], 39, b"\x01\x02", image(ONE) + b"\x01\x01" + image(blob(replace)))
    assert found == [((1, NONE), (NONE, Absent.CHANGED))]
    found = decoded([INT, JSON], 39, b"\x01\x02", image(ONE) + b"\x01\x01" + image(blob(b"")))
    assert found == [((1, NONE), (NONE, NONE))]


def test_differences_that_do_not_fit() -> None:
    """Unknown options, a path that leads nowhere, or bytes that are none: no document is made of them."""
    before = image(ONE, blob(b"\x05\x07\x00"))
    for after in (
        b"\x02" + before,
        b"\x01\x01" + image(ONE, blob(b"\x02\x03$.a")),
        b"\x01\x01" + image(ONE, blob(b"\x00\x09$")),
    ):
        with pytest.raises(UnsupportedEvent):
            decoded([INT, JSON], 39, b"\x03\x03", before + after)


def test_the_decoder_of_uneven_images_is_one_table_map_of_its_own() -> None:
    """Rows of different bits do not follow each other in one list: the reader compares maps by identity."""
    whole = table(INT, TEXT)
    headers = [parse_rows_header(event(31, b"", bits), 31) for bits in (b"\x01\x02", b"\x03\x01")]
    one, other = (partial_decoder(whole, 31, header) for header in headers)
    assert isinstance(one, PartialDecoder)
    assert one.table_map == other.table_map
    assert one.table_map is not other.table_map
    assert one.table_map.uneven
    assert one.table_map.raw != whole.raw


# ---- documents ----
def difference(operation: int, path: str, value: bytes = b"") -> bytes:
    encoded = path.encode()
    return bytes([operation, len(encoded)]) + encoded + (bytes([len(value)]) + value if operation != 2 else b"")


SEVEN = b"\x05\x07\x00"


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        ('{"a": 1}', difference(0, "$.a", SEVEN), '{"a": 7}'),
        ('{"a": 1.50, "c": 1e20}', difference(1, "$.b", SEVEN), '{"a": 1.50, "b": 7, "c": 1e20}'),
        ('{"a": 1, "bb": 2}', difference(1, "$.c", SEVEN), '{"a": 1, "c": 7, "bb": 2}'),
        ('{"a": 1, "bb": 2}', difference(2, "$.a"), '{"bb": 2}'),
        ('{"a b": [1, {"\\"": 2}]}', difference(0, '$."a b"[1]."\\""', SEVEN), '{"a b": [1, {"\\"": 7}]}'),
        ("[1, 2]", difference(1, "$[1]", SEVEN), "[1, 7, 2]"),
        ("[1, 2]", difference(1, "$[9]", SEVEN), "[1, 2, 7]"),
        ("[1, 2]", difference(2, "$[0]"), "[2]"),
        ("[1, [2]]", difference(0, "$[last][last]", SEVEN), "[1, [7]]"),
        ("[1, 2]", difference(0, "$[last-1]", SEVEN), "[7, 2]"),
        ("[]", difference(1, "$[last]", SEVEN), "[7]"),
        ('"é\\u0001\\n"', difference(0, "$", SEVEN), "7"),
        ("[true, null, 18446744073709551615, -0.0]", difference(1, "$[0]", SEVEN), "[7, true, null, 18446744073709551615, -0.0]"),
        ('{"é": "\\"\\\\é"}', difference(1, "$.a", SEVEN), '{"a": 7, "é": "\\"\\\\é"}'),
    ],
)  # fmt: skip
def test_a_change_of_a_document(before: str, change: bytes, after: str) -> None:
    """The text after it is the server's: order of keys, numbers as they are, escapes."""
    assert patched(before.encode(), change).decode() == after


@pytest.mark.parametrize(
    "change",
    [
        difference(0, "$.b", SEVEN), difference(2, "$.b"), difference(1, "$.a", SEVEN), difference(0, "$[0]", SEVEN),
        difference(0, "$.a.b", SEVEN), difference(2, "$"), difference(3, "$.a", SEVEN), difference(0, "a", SEVEN),
        difference(0, "$**.a", SEVEN), difference(0, "$[*]", SEVEN), difference(0, "$.a", SEVEN)[:-1],
    ],
)  # fmt: skip
def test_a_change_that_does_not_fit_its_document(change: bytes) -> None:
    """It raises what the decoder takes for a misfit, and is never left out."""
    with pytest.raises((ValueError, KeyError, IndexError, TypeError, struct.error)):
        patched(b'{"a": 1}', change)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_is_beside_a_change_stays(value: object) -> None:
    """Any document stays what it is."""
    document = json.dumps({"a": 1, "zz": value}, ensure_ascii=False)
    assert json.loads(patched(document.encode("utf-8", "surrogatepass"), difference(0, "$.a", SEVEN))) == {
        "a": 7,
        "zz": value,
    }
