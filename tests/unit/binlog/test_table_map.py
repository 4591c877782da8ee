"""Table map events, byte by byte."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myrepetl_dagster.core.binlog.table_map import TableMap, Type, overlay, parse_table_map
from myrepetl_dagster.core.model.errors import SchemaDrift, UnsupportedEvent
from myrepetl_dagster.core.model.tables import Column, TableName
from myrepetl_dagster.core.values.collations import charset_of


def table_map(types: list[int], metadata: bytes = b"", nullable: int = 0, optional: bytes = b"") -> bytes:
    bitmap = nullable.to_bytes((len(types) + 7) // 8, "little")
    names = b"\x01d\0\x01t\0"
    head = (5).to_bytes(6, "little") + b"\x01\0"
    return head + names + bytes([len(types), *types, len(metadata)]) + metadata + bitmap + optional


def field(number: int, value: bytes) -> bytes:
    return bytes([number, len(value)]) + value


def parsed(*args: object, **kwargs: object) -> TableMap:
    return parse_table_map(table_map(*args, **kwargs))[1]  # type: ignore[arg-type]


def test_id_name_and_raw() -> None:
    """Equal tables have equal raw bytes under different ids."""
    body = table_map([3])
    number, table = parse_table_map(body)
    other = parse_table_map(b"\x09\0\0\0\0\0\0\0" + body[8:])
    assert (number, table.name) == (5, TableName("d", "t"))
    assert other == (9, table)
    assert table.raw == body[8:]


@pytest.mark.parametrize(
    ("code", "metadata", "kind", "meta"),
    [
        (3, b"", Type.LONG, 0),
        (15, b"\x2c\x01", Type.VARCHAR, 300),
        (16, b"\x01\x02", Type.BIT, 17),
        (246, b"\x41\x1e", Type.NEWDECIMAL, 65 << 8 | 30),
        (252, b"\x03", Type.BLOB, 3),
        (254, b"\xfe\x10", Type.STRING, 16),
        (254, b"\xee\xfc", Type.STRING, 508),  # CHAR(127) utf8mb4
        (254, b"\xce\xfc", Type.STRING, 1020),  # CHAR(255) utf8mb4
        (254, b"\xf7\x02", Type.ENUM, 2),
        (254, b"\xf8\x08", Type.SET, 8),
        (18, b"\x06", Type.DATETIME2, 6),
        (242, b"\x04", Type.VECTOR, 4),
        (140, b"\x02", Type.BLOB_COMPRESSED, 2),
        (141, b"\x00\x01", Type.VARCHAR_COMPRESSED, 256),
    ],
)
def test_types_and_their_metadata(code: int, metadata: bytes, kind: Type, meta: int) -> None:
    """A type's own metadata is read, and the column after it is not shifted."""
    column, last = parsed([code, 253], metadata + b"\x07\0").columns
    assert (column.type, column.meta) == (kind, meta)
    assert (last.type, last.meta) == (Type.VAR_STRING, 7)


def test_unknown_types_are_named() -> None:
    """Table, column and type code, since the bytes after them cannot be read."""
    with pytest.raises(UnsupportedEvent, match=r"d\.t: column 2 has the type 20"):
        parse_table_map(table_map([3, 20]))


def test_nullable_and_signedness() -> None:
    """NULL bits run from the lowest, signedness bits from the highest, over numbers and YEAR only."""
    table = parsed([3, 10, 8, 13, 4], b"\x04", nullable=0b10010, optional=field(1, b"\x60"))
    assert [column.nullable for column in table.columns] == [False, True, False, False, True]
    assert [column.unsigned for column in table.columns] == [False, None, True, None, False]


def test_full_metadata() -> None:
    """Names, labels, both forms of both kinds of character sets; fields that are not needed or not known are skipped."""
    types, metadata = [254, 252, 15, 254, 254, 255, 242], b"\xfe\x10\x02\x0a\0\xf7\x01\xf8\x01\x04\x04"
    names = b"".join(bytes([1]) + name for name in (b"a", b"b", b"c", b"d", b"e", b"f", b"g"))
    optional = field(2, b"\x3f\x01\xfc\xff\0") + field(4, names) + field(5, b"\x02\x01x\x01y") + field(6, b"\x01\x02no")
    optional += field(7, b"\x01") + field(9, b"\x02\0\x00\x05") + field(11, b"\x08\x2d") + field(12, b"\xbf")
    optional += field(13, b"\xfc\0\x08") + field(200, b"future")
    table = parsed(types, metadata, optional=optional)
    assert [column.charset for column in table.columns] == [
        "binary",
        "utf8mb4",
        "binary",
        "latin1",
        "utf8mb4",
        None,
        None,
    ]
    assert [column.name for column in table.columns] == list("abcdefg")
    assert [column.members for column in table.columns] == [None, None, None, (b"no",), (b"x", b"y"), None, None]
    assert table.complete


def test_a_map_without_names_or_labels_is_not_complete() -> None:
    """What is missing is said per column."""
    table = parsed([3, 254, 12], b"\xf7\x01", optional=field(10, b"\x08"))
    assert not table.complete
    assert [column.gap for column in table.columns] == ["its signedness", "its labels", "its fraction digits"]


WHOLE = table_map([3, 254, 15], b"\xf7\x01\x0a\0", 0, field(1, b"\0") + field(10, b"\x08") + field(3, b"\x08"))


@given(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=3))
def test_changed_bytes_are_a_table_or_an_error_of_ours(at: int, change: bytes) -> None:
    """Nothing else escapes from malformed bytes."""
    with contextlib.suppress(UnsupportedEvent):
        parse_table_map(WHOLE[:at] + change + WHOLE[at + len(change) :])


@given(st.integers(0, 60))
def test_a_cut_event_is_refused(size: int) -> None:
    """A table map that ends early is not a smaller table."""
    body = table_map([3, 15], b"\x0a\0", optional=field(1, b"\0") + field(4, b"\x01a\x01b"))
    if size < len(body) and size not in (len(body) - 9, len(body) - 6):  # whole but for optional fields
        with pytest.raises(UnsupportedEvent):
            parse_table_map(body[:size])


def test_charsets_of_both_flavours() -> None:
    """Ids of 1, 2 and 4 hundred and thousand, NO PAD twins, and ids that nobody uses."""
    known = {8: "latin1", 63: "binary", 255: "utf8mb4", 309: "utf8mb4", 250: "gb18030", 2304: "utf8mb4", 1032: "latin1"}
    assert {number: charset_of(number) for number in known} == known
    assert charset_of(5000) is None


COLUMNS = [Column("a", "int", "int unsigned", unsigned=True), Column("b", "varchar", "varchar(10)", charset="latin1")]


def test_overlay_fills_what_is_missing() -> None:
    """Names, signedness and character sets come from the description."""
    table = overlay(parsed([3, 15], b"\x0a\0"), COLUMNS)
    assert table.complete
    assert [(column.name, column.unsigned, column.charset) for column in table.columns] == [
        ("a", True, None),
        ("b", None, "latin1"),
    ]


@pytest.mark.parametrize(
    "columns",
    [
        COLUMNS[:1],
        COLUMNS[::-1],
        [COLUMNS[0], Column("b", "text", "text", charset="latin1")],
        [Column("a", "bigint", "bigint"), COLUMNS[1]],
    ],
)
def test_overlay_refuses_another_table(columns: list[Column]) -> None:
    """The number of columns and the type of each must fit."""
    with pytest.raises(SchemaDrift):
        overlay(parsed([3, 15], b"\x0a\0"), columns)


@pytest.mark.parametrize(
    ("code", "metadata", "column", "fits"),
    [
        (246, b"\x0a\x02", Column("a", "decimal", "decimal(10,2)"), True),
        (246, b"\x0a\x02", Column("a", "decimal", "decimal(10,3)"), False),
        (18, b"\x03", Column("a", "datetime", "datetime(3)"), True),
        (18, b"\x03", Column("a", "datetime", "datetime"), False),
        (252, b"\x02", Column("a", "mediumtext", "mediumtext"), False),
        (252, b"\x04", Column("a", "json", "json"), True),
        (16, b"\x01\x01", Column("a", "bit", "bit(9)"), True),
        (16, b"\x01\x01", Column("a", "bit", "bit(8)"), False),
        (254, b"\xfe\x10", Column("a", "uuid", "uuid"), True),
    ],
)
def test_overlay_compares_precision(code: int, metadata: bytes, column: Column, fits: bool) -> None:
    """A column of the same type but another precision is another column."""
    table = parsed([code], metadata)
    if fits:
        assert overlay(table, [column]).columns[0].name == "a"
    else:
        with pytest.raises(SchemaDrift):
            overlay(table, [column])


def test_a_complete_map_only_takes_hints() -> None:
    """The description of today does not overrule the event's own; what does not fit gives no hint."""
    names = field(4, b"\x01u\x01v") + field(2, b"\x3f")
    table = parsed([254, 254], b"\xfe\x10\xfe\x10", optional=names)
    hinted = overlay(table, [Column("new", "int"), Column("v", "uuid", "uuid"), Column("u", "int", "int")])
    assert [column.hint for column in hinted.columns] == ["", "uuid"]
    assert [column.charset for column in hinted.columns] == ["binary", "binary"]
