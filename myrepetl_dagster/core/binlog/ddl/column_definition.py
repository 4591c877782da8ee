"""A column's definition as an ALTER TABLE states it. Pure.

Parts that are not understood are None, so that nothing relies on them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...model.tables import Column
from ...values.column_types import (
    BYTE_TYPES,
    FLOAT_TYPES,
    FRACTION_TYPES,
    GEOMETRY_TYPES,
    LABEL_TYPES,
    LOB_LENGTH_BYTES,
    PRINTED_TYPES,
    SIGNED_TYPES,
    TEMPORAL_TYPES,
    TEXT_TYPES,
    WHOLE_NUMBER_TYPES,
)

# Types without a size. The collection of geometries is left out: the servers call it by different names.
_PLAIN = FLOAT_TYPES | PRINTED_TYPES.keys() | LOB_LENGTH_BYTES.keys() | {"date", "json"}
_PLAIN |= GEOMETRY_TYPES - {"geomcollection", "geometrycollection"}
_SIZED = FRACTION_TYPES | {"char", "varchar", "binary", "varbinary", "bit", "decimal", "vector"}
_SYNONYMS = {"integer": "int", "bool": "tinyint", "boolean": "tinyint", "numeric": "decimal", "dec": "decimal",
             "fixed": "decimal", "int1": "tinyint", "int2": "smallint", "int3": "mediumint", "int4": "int",
             "int8": "bigint"}  # fmt: skip
_NOT_UNDERSTOOD = frozenset({"BINARY", "ASCII", "UNICODE", "BYTE", "COMPRESSED", "NATIONAL", "VARYING"})
_LABEL = re.compile(r"'(?:[^'\\]|'')*'")
_SIMPLE_TEXT = re.compile(r"'[ !#-&(-\[\]-~]*'")  # printable ASCII without quotes and backslashes


@dataclass(frozen=True, slots=True)
class Definition:
    """`column`: the column's type, None if it is not understood; its charset is None if the table's default counts.

    `nullable`: NULL is allowed. `fill`: the value of rows from before the column, as SQL; None if it is unknown.
    `keyed`: the column becomes the primary key. `computed`: it is a generated column.
    """

    column: Column | None
    nullable: bool = True
    fill: str | None = None
    keyed: bool = False
    computed: bool = False


def unquoted(token: str) -> str:
    """A name without its quotes. With sql_mode ANSI_QUOTES they are double quotes."""
    if len(token) > 1 and token[0] in '`"':
        return token[1:-1].replace(token[0] * 2, token[0])
    return token


def definition_of(name: str, tokens: Sequence[str]) -> Definition:
    """The definition that these tokens, which follow the column's name, state."""
    words = _attributes(tokens)
    if not words:
        return Definition(None)
    nullable = not any(words[i : i + 2] == ["NOT", "NULL"] for i in range(len(words)))
    computed = bool({"AS", "GENERATED", "VIRTUAL", "STORED", "PERSISTENT"} & set(words))
    keyed = "SERIAL" in words or any(word == "KEY" and before != "UNIQUE" for before, word in pairwise(["", *words]))
    column = _column(name, tokens, words)
    fill = None if computed or keyed else _fill(column, words, tokens, nullable)
    return Definition(column, nullable, fill, keyed, computed)


def _attributes(tokens: Sequence[str]) -> list[str]:
    """The words outside of parentheses, without FIRST and AFTER a column."""
    words: list[str] = []
    depth = 0
    skip = False
    for token in tokens:
        depth += (token == "(") - (token == ")")
        if skip or depth or token == ")":
            skip = False
        elif token.upper() == "AFTER":
            skip = True
        elif token.upper() != "FIRST":
            words.append(token.upper())
    return words


def _column(name: str, tokens: Sequence[str], words: list[str]) -> Column | None:
    kind = _SYNONYMS.get(words[0].lower(), words[0].lower())
    given = [token for token in _given(tokens) if token != ","]
    if _NOT_UNDERSTOOD & set(words[1:]) or not _is_known(kind, given):
        return None
    shown = f"{kind}({','.join(given)})" if given and kind not in WHOLE_NUMBER_TYPES else kind
    unsigned = bool({"UNSIGNED", "ZEROFILL"} & set(words)) and kind in SIGNED_TYPES
    return Column(
        name,
        kind,
        column_type=shown + (" unsigned" if unsigned else ""),
        unsigned=unsigned,
        charset=_charset_of(kind, words),
    )


def _is_known(kind: str, given: list[str]) -> bool:
    if kind in LABEL_TYPES:
        return bool(given) and all(_LABEL.fullmatch(label) for label in given)
    if kind in WHOLE_NUMBER_TYPES or kind == "year":
        return True
    if kind in _PLAIN:  # TEXT(n) and FLOAT(n) may become another type, in which n fits
        return not given or (kind in FLOAT_TYPES and len(given) == 2)
    return kind in _SIZED and all(number.isdigit() for number in given)


def _charset_of(kind: str, words: list[str]) -> str | None:
    if kind in BYTE_TYPES:
        return "binary"
    if kind in TEXT_TYPES:
        return _charset(words)
    return "utf8mb4" if kind == "json" else None


def _given(tokens: Sequence[str]) -> list[str]:
    """The tokens in the parentheses right after the type."""
    if len(tokens) < 2 or tokens[1] != "(":
        return []
    end = next((i for i, token in enumerate(tokens) if token == ")"), 1)
    return list(tokens[2:end])


def _charset(words: list[str]) -> str | None:
    for i, word in enumerate(words[:-1]):
        named = words[i + 1 :]
        if word == "CHARSET" or (word == "CHARACTER" and named[:1] == ["SET"]):
            named = [w for w in named if w not in ("SET", "=")]
            return _charset_name(named[0]) if named else None
    for i, word in enumerate(words[:-1]):
        if word == "COLLATE":
            return _charset_name(words[i + 1]).split("_")[0]
    return None


def _charset_name(word: str) -> str:
    name = unquoted(word).strip("'\"").lower()
    return "utf8mb3" if name == "utf8" or name.startswith("utf8_") else name


def _fill(column: Column | None, words: list[str], tokens: Sequence[str], nullable: bool) -> str | None:
    """The value that the server puts into its rows; None unless both flavours put the same."""
    if "AUTO_INCREMENT" in words:
        return None
    if words[0] == "TIMESTAMP" and "NULL" not in words:
        return None  # with explicit_defaults_for_timestamp=OFF the column is NOT NULL with a default
    if "DEFAULT" in words:
        given = _default(words, tokens)
        if given == "NULL":
            return "NULL" if nullable else None
        return given if column is not None and given is not None and _is_literal(column, given) else None
    if nullable:
        return "NULL"
    if column is not None and column.type in SIGNED_TYPES:
        return "0"
    return "''" if column is not None and column.type in ("char", "varchar") else None


def _default(words: list[str], tokens: Sequence[str]) -> str | None:
    at = next(i for i, token in enumerate(tokens) if token.upper() == "DEFAULT")
    rest = list(tokens[at + 1 :])
    sign = rest.pop(0) if rest[:1] in (["-"], ["+"]) else ""
    first = rest[0] if rest else ""
    if first.isdigit():
        number = f"{first}.{rest[2]}" if rest[1:2] == ["."] and rest[2:3] and rest[2].isdigit() else first
        return None if rest[1:2] == ["."] and number == first else sign + number
    if first.upper() in ("TRUE", "FALSE", "NULL"):
        return first.upper()
    return first if _SIMPLE_TEXT.fullmatch(first) else None


def _is_literal(column: Column, given: str) -> bool:
    is_number = not given.startswith("'")
    if column.type in SIGNED_TYPES:
        return is_number or given.strip("'").isdigit()
    if column.type in TEMPORAL_TYPES - {"timestamp"}:
        return not is_number and "." not in given
    return column.type in LABEL_TYPES | {"char", "varchar"} and given not in ("TRUE", "FALSE") and not is_number
