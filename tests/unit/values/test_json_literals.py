"""JSON documents as SQL: which numbers are put in one by one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myrepetl_dagster.core.values.json_literals import json_literal


def quoted(text: bytes) -> str:
    return "<" + text.decode() + ">"


@pytest.mark.parametrize(
    "text",
    ["null", "{}", "1", "1.5", "-0.0", "1.0", "1e20", "1e-7", "18446744073709551615", "-9223372036854775808", '"1.10"',
     '["1.10", "12345678901234567890.5"]', "0.1", "123456789.12345679", "0.001"],
)  # fmt: skip
def test_what_text_keeps_is_text(text: str) -> None:
    """Integers, doubles and strings need nothing."""
    assert json_literal(text.encode(), quoted) == f"<{text}>"


@pytest.mark.parametrize(
    ("text", "path", "number", "digits"),
    [
        ("1.50", "$", "1.50", "3,2"),
        ('{"a": [0, {"k": -0.00}]}', '$."a"[1]."k"', "-0.00", "3,2"),
        ('{"it\\"s é": 12345678901234567890.123}', '$."it\\"s é"', "12345678901234567890.123", "23,3"),
        ("[18446744073709551616]", "$[0]", "18446744073709551616", "20,0"),
        ("[-9223372036854775809]", "$[0]", "-9223372036854775809", "19,0"),
        ("[0.100000000000000000]", "$[0]", "0.100000000000000000", "19,18"),
    ],
)
def test_decimals_are_put_in(text: str, path: str, number: str, digits: str) -> None:
    """At their path, with the very digits."""
    sql = json_literal(text.encode(), quoted)
    assert sql == f"JSON_REPLACE(<{text}>,<{path}>,CAST('{number}' AS DECIMAL({digits})))"


@given(st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), st.lists))
def test_any_document_is_kept_as_text(value: object) -> None:
    """Whatever is put in, the document itself comes first, whole."""
    text = json.dumps(value)
    assert f"<{text}>" in json_literal(text.encode(), quoted)
