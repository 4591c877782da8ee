"""JSON documents as SQL that stores every number as the source printed it. Pure.

MySQL's JSON can hold a DECIMAL (`JSON_OBJECT('price', 1.50)`). But in a text it reads every number with a point as a
DOUBLE: 1.50 would become 1.5, and digits beyond the 17th would be lost. So such numbers are put in one by one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

# Numbers that a server may print only for a DECIMAL: with zeros at the end, with many zeros after the point, with many
# digits. The search may find more than that, also inside of strings; then the document is looked at number by number.
_SUSPECT = re.compile(rb"\.[0-9]+0(?![0-9eE])|\.000|[0-9.]{15}")
# Between these MySQL prints a DOUBLE as Python does.
_DOUBLE_MIN, _DOUBLE_MAX = 1e-4, 1e14


class _Number(str):
    """A number as its text, which parsing would change."""

    __slots__ = ()


def json_literal(cell: bytes, quoted: Callable[[bytes], str]) -> str:
    """The document as a literal if the server reads it back exactly, else as an SQL expression of the type JSON.

    Args:
        cell: the document in UTF-8.
        quoted: makes an SQL literal of UTF-8 text.
    """
    text = quoted(cell)
    if _SUSPECT.search(cell) is None:
        return text
    document = json.loads(cell, parse_float=_Number, parse_int=_Number, parse_constant=_Number)
    numbers = [
        f"{quoted(path.encode())},CAST('{number}' AS DECIMAL({_digits(number)}))"
        for path, number in _numbers(document, "$")
        if _is_decimal(number)
    ]
    return f"JSON_REPLACE({','.join([text, *numbers])})" if numbers else text


def _numbers(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, _Number):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, f"{path}.{json.dumps(key, ensure_ascii=False)}")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _numbers(item, f"{path}[{i}]")


def _is_decimal(number: str) -> bool:
    """Whether only a DECIMAL is printed like this. A DECIMAL has no exponent."""
    if "e" in number or "E" in number:
        return False
    if "." not in number:
        return not -(2**63) <= int(number) < 2**64
    value = float(number)
    as_double = value == 0 or _DOUBLE_MIN <= abs(value) < _DOUBLE_MAX
    return not (as_double and repr(value) == number)


def _digits(number: str) -> str:
    whole, _, fraction = number.lstrip("-").partition(".")
    return f"{len(whole) + len(fraction)},{len(fraction)}"
