"""Changes of JSON documents, as MySQL logs them with `binlog_row_value_options=PARTIAL_JSON`, applied to text. Pure.

The before image holds the document. So its text becomes the new document's, whatever the target is. Numbers and
strings stay the texts that they are; as in `json_binary.py`, each character of the text stands for one byte.

The format: https://dev.mysql.com/doc/dev/mysql-server/latest/classJson__diff.html
"""

from __future__ import annotations

import json
import re
from json.encoder import encode_basestring
from typing import Any

from ..values.length_encoding import length_at
from .json_binary import to_text

_REPLACE, _INSERT, _REMOVE = 0, 1, 2
_LEG = re.compile(r'\.("(?:[^"\\]|\\.)*"|[^.\["]+)|\[(last-?)?([0-9]*)\]')


class _FromEnd(int):
    """An index from an array's end: 0 is its last element."""


class _Number(str):
    """A number as it was printed."""


def patched(document: bytes, diffs: bytes) -> bytes:
    """The text of a document after changes.

    Args:
        document: its text before.
        diffs: the changes, one after the other.

    Raises:
        ValueError, KeyError, IndexError, TypeError, struct.error: the changes do not fit the document.
    """
    holder = [_parsed(document.decode("latin-1"))]  # what the path's `$` lies in
    at = 0
    while at < len(diffs):
        operation = diffs[at]
        path, at = _counted(diffs, at + 1)
        value = b""
        if operation != _REMOVE:
            value, at = _counted(diffs, at)
        _apply(holder, operation, _legs(path.decode("latin-1")), value)
    return _printed(holder[0]).encode("latin-1")


def _counted(data: bytes, at: int) -> tuple[bytes, int]:
    """Bytes behind their number, and where they end."""
    size, at = length_at(data, at)
    if at + size > len(data):
        raise ValueError("a JSON difference ends too early")
    return data[at : at + size], at + size


def _legs(path: str) -> list[str | int]:
    """A path's keys and indexes. A key that is no identifier is written as a JSON string."""
    legs: list[str | int] = []
    at = 0 if path[:1] != "$" else 1
    while at < len(path):
        leg = _LEG.match(path, at) if at else None
        if leg is None:
            raise ValueError("a JSON path of an unknown form")
        at = leg.end()
        key, last, index = leg.groups()
        if key is None:
            legs.append(_FromEnd(index or 0) if last else int(index))
        else:
            legs.append(json.loads(key) if key[0] == '"' else key)
    return legs


def _apply(holder: list[Any], operation: int, legs: list[str | int], value: bytes) -> None:
    inside: Any = holder
    last: str | int = 0
    for leg in legs:
        inside, last = _member(inside, last), leg
    if isinstance(last, _FromEnd) and isinstance(inside, list):
        last = max(len(inside) - 1 - last, 0)
    new = _parsed(to_text(value).decode("latin-1")) if operation != _REMOVE else None
    if operation == _INSERT:
        _insert(inside, last, new)
        return
    _member(inside, last)  # it has to be there
    if operation == _REPLACE:
        inside[last] = new
    elif operation == _REMOVE and inside is not holder:
        del inside[last]
    else:
        raise ValueError("an unknown change of a JSON document")


def _member(inside: Any, leg: str | int) -> Any:
    if isinstance(inside, list) and isinstance(leg, int):
        return inside[-1 - leg if isinstance(leg, _FromEnd) else leg]
    if isinstance(inside, dict) and isinstance(leg, str):
        return inside[leg]
    raise ValueError("a JSON path leads nowhere")


def _insert(inside: Any, leg: str | int, new: Any) -> None:
    if isinstance(inside, list) and isinstance(leg, int):
        inside.insert(leg, new)
    elif isinstance(inside, dict) and isinstance(leg, str) and leg not in inside:
        inside[leg] = new
    else:
        raise ValueError("a JSON path leads nowhere")


def _parsed(text: str) -> Any:
    return json.loads(text, parse_int=_Number, parse_float=_Number)


def _printed(value: Any) -> str:
    """A document as the server prints it: shorter keys come first."""
    if isinstance(value, _Number):
        return value
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_printed, value))}]"
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (len(key), key))
        return f"{{{', '.join(f'{encode_basestring(key)}: {_printed(value[key])}' for key in keys)}}}"
    return {None: "null", True: "true", False: "false"}[value]
