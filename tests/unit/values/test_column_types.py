"""Sets of column types, and the numbers and labels in a type's definition."""

from __future__ import annotations

import pytest

from myrepetl_dagster.core.values import column_types as types


def test_the_kinds_of_types_do_not_overlap() -> None:
    """A type is a number, a time, a text, bytes or something else, never two of them."""
    kinds = [
        types.NUMBER_TYPES, types.TEMPORAL_TYPES, types.TEXT_TYPES, types.BYTE_TYPES, types.PRINTED_TYPES.keys(),
        types.GEOMETRY_TYPES, {"json", "vector"},
    ]  # fmt: skip
    assert sum(map(len, kinds)) == len(frozenset().union(*kinds))


@pytest.mark.parametrize(
    ("definition", "numbers"),
    [
        ("int", ()),
        ("int(11) unsigned", (11,)),
        ("decimal(10,2)", (10, 2)),
        ("decimal(10, 2) unsigned zerofill", (10, 2)),
        ("varchar(20)", (20,)),
        ("enum('a(1)','(2)')", ()),
        ("blob /*M!100301 COMPRESSED(3)*/", ()),
        ("varchar(9) /*M!100301 COMPRESSED*/", (9,)),
        ("", ()),
    ],
)
def test_the_numbers_of_a_definition_stand_right_after_the_name(definition: str, numbers: tuple[int, ...]) -> None:
    """Those in a label or in a comment are no size."""
    assert types.type_numbers(definition) == numbers


@pytest.mark.parametrize(
    ("definition", "digits"),
    [("decimal", (10, 0)), ("decimal(7)", (7, 0)), ("decimal(65,30)", (65, 30)), ("decimal(5,0) unsigned", (5, 0))],
)
def test_decimal_digits(definition: str, digits: tuple[int, int]) -> None:
    """A DECIMAL without numbers has ten digits, one without the second number none after the point."""
    assert types.decimal_digits(definition) == digits


def test_fraction_digits() -> None:
    """None where the definition names none."""
    assert [types.fraction_digits(d) for d in ("time", "datetime(3)", "timestamp(6)")] == [0, 3, 6]


def test_labels() -> None:
    """With quotes, commas and parentheses in them."""
    assert types.labels("enum('a','it''s','b,c','(d)','')") == ["a", "it's", "b,c", "(d)", ""]


def test_labels_that_are_bytes() -> None:
    """MySQL shows a label that is no text in hexadecimal digits; a label x is none."""
    assert [label.encode("utf-8", "surrogateescape") for label in types.labels("enum(x'ff27','x','a')")] == [
        b"\xff'", b"x", b"a",
    ]  # fmt: skip


def test_labels_with_escaped_characters() -> None:
    """As a server prints a backslash, a zero byte and the ends of lines; other characters it prints as they are."""
    printed = r"enum('b\\s','\\0','z\0','n\n\r','\\''')".replace("b", "\tb")
    assert types.labels(printed) == ["\tb\\s", "\\0", "z\0", "n\n\r", "\\'"]


def test_a_long_values_size_follows_from_its_length_bytes() -> None:
    """As the servers document them."""
    assert types.LOB_BYTES_MAX["tinytext"] == 255
    assert types.LOB_BYTES_MAX["blob"] == 65_535
    assert types.LOB_BYTES_MAX["mediumtext"] == 16_777_215
    assert types.LOB_BYTES_MAX["longblob"] == 4_294_967_295
