"""A column's definition as an ALTER TABLE states it. Pure.

Parts that are not understood are None, so that nothing relies on them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...model.tables import Column
from ...values.collations import CHARSETS
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
from .tokens import EMPTY_STRING_IS_NULL, MAXDB, ORACLE, Sql, unquoted

# Types without a size. The collection of geometries is left out: the servers call it by different names.
_PLAIN = FLOAT_TYPES | PRINTED_TYPES.keys() | LOB_LENGTH_BYTES.keys() | {"date", "json"}
_PLAIN |= GEOMETRY_TYPES - {"geomcollection", "geometrycollection"}
_SIZES = {"char": ["1"], "binary": ["1"], "bit": ["1"]}  # where none is given
_SIZED = FRACTION_TYPES | {"char", "varchar", "binary", "varbinary", "bit", "decimal", "vector"}
_SYNONYMS = {"integer": "int", "bool": "tinyint", "boolean": "tinyint", "numeric": "decimal", "dec": "decimal",
             "fixed": "decimal", "int1": "tinyint", "int2": "smallint", "int3": "mediumint", "int4": "int",
             "int8": "bigint"}  # fmt: skip
# What may follow a type, and how many words belong to each, beside parentheses.
_ATTRIBUTES = {
    **dict.fromkeys(("UNSIGNED", "SIGNED", "ZEROFILL", "NULL", "AUTO_INCREMENT", "UNIQUE", "PRIMARY", "KEY"), 0),
    **dict.fromkeys(("CHECK", "ENFORCED", "VISIBLE", "INVISIBLE", "FIRST"), 0),
    **dict.fromkeys(("GENERATED", "ALWAYS", "AS", "VIRTUAL", "STORED", "PERSISTENT"), 0),
    **dict.fromkeys(("NOT", "COMMENT", "COLLATE", "CHARSET", "COLUMN_FORMAT", "STORAGE", "SRID", "AFTER"), 1),
    **dict.fromkeys(("CHARACTER", "CHAR", "ON", "WITHOUT"), 2),  # SET x, UPDATE x, SYSTEM VERSIONING
}
_CHARSET_ATTRIBUTES = {"CHARACTER", "CHAR", "CHARSET", "COLLATE"}
_LABEL = re.compile(r"'(?:[^'\\]|'')*'")
_SIMPLE_TEXT = re.compile(r"'[ !#-&(-\[\]-~]*'")  # printable ASCII without quotes and backslashes
_DIGITS = re.compile("[0-9]+")


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


def definition_of(name: str, tokens: Sequence[str], sql: Sql) -> Definition:
    """The definition that these tokens, which follow the column's name, state in a statement."""
    own = _outside_parentheses(tokens)
    words = [token.upper() for token in own]
    if not words:
        return Definition(None)
    nullable = not any(words[i : i + 2] == ["NOT", "NULL"] for i in range(len(words)))
    if words[0] == "TIMESTAMP" and "NULL" not in words:
        nullable = False  # so it is with explicit_defaults_for_timestamp=OFF
    nullable = nullable and "AUTO_INCREMENT" not in words
    computed = bool({"AS", "GENERATED", "VIRTUAL", "STORED", "PERSISTENT"} & set(words))
    keyed = "SERIAL" in words or any(word == "KEY" and before != "UNIQUE" for before, word in pairwise(["", *words]))
    attributes = _attributes(own[1:])
    contradicts = attributes is not None and "NULL" in attributes and not nullable
    # With these modes types have other names, and names stand for other types.
    if attributes is None or contradicts or sql.has_mode(ORACLE | MAXDB):
        return Definition(None, nullable, None, keyed, computed)
    column = _column(name, tokens, words[0], attributes)
    fill = None if computed or keyed or column is None else _fill(column, attributes, nullable)
    if fill == "''" and sql.has_mode(EMPTY_STRING_IS_NULL):
        fill = None
    return Definition(column, nullable, fill, keyed, computed)


def _outside_parentheses(tokens: Sequence[str]) -> list[str]:
    """The tokens, with "(" in the place of each pair of parentheses and what it encloses."""
    found: list[str] = []
    depth = 0
    for token in tokens:
        if depth == 0 and token != ")":
            found.append(token)
        depth += (token == "(") - (token == ")")
    return found


def _attributes(tokens: list[str]) -> dict[str, list[str]] | None:
    """The words behind each attribute; None if one is not known."""
    found: dict[str, list[str]] = {}
    at = 0
    while at < len(tokens):
        word = tokens[at].upper()
        if word == "(":  # of the type, or of the attribute before
            at += 1
            continue
        if word == "DEFAULT":
            end = at + 1
            while end < len(tokens) and (end == at + 1 or tokens[end].upper() not in _ATTRIBUTES):
                end += 1
        elif word in _ATTRIBUTES:
            end = at + 1 + _ATTRIBUTES[word]
        else:
            return None
        if word in found and word != "KEY":
            return None  # which of the two counts depends on the attribute
        found[word] = tokens[at + 1 : end]
        at = end
    return found


def _column(name: str, tokens: Sequence[str], word: str, attributes: Mapping[str, list[str]]) -> Column | None:
    kind = _SYNONYMS.get(word.lower(), word.lower())
    given = [token for token in _given(tokens) if token != ","]
    if not _is_known(kind, given):
        return None
    charset = _charset_of(kind, attributes)
    if charset not in (None, *CHARSETS):  # such as a collation that does not name it
        return None
    if (kind in TEXT_TYPES and charset == "binary") or (kind in BYTE_TYPES and _CHARSET_ATTRIBUTES & attributes.keys()):
        return None  # it becomes a type of bytes, or of text
    if not given:
        given = _SIZES.get(kind, [])
    shown = f"{kind}({','.join(given)})" if given and kind not in WHOLE_NUMBER_TYPES else kind
    unsigned = bool({"UNSIGNED", "ZEROFILL"} & attributes.keys()) and kind in SIGNED_TYPES
    return Column(name, kind, column_type=shown + (" unsigned" if unsigned else ""), unsigned=unsigned, charset=charset)


def _is_known(kind: str, given: list[str]) -> bool:
    if kind in LABEL_TYPES:
        return bool(given) and all(_LABEL.fullmatch(label) for label in given)
    if kind in WHOLE_NUMBER_TYPES or kind == "year":
        return True
    if kind in _PLAIN:  # TEXT(n) and FLOAT(n) may become another type, in which n fits
        return not given or (kind in FLOAT_TYPES and len(given) == 2)
    return kind in _SIZED and all(number.isdigit() for number in given)


def _charset_of(kind: str, attributes: Mapping[str, list[str]]) -> str | None:
    """A column's character set; None if the table's default counts."""
    if kind in BYTE_TYPES:
        return "binary"
    if kind == "json" or kind in PRINTED_TYPES:
        return "utf8mb4"
    if kind not in TEXT_TYPES:
        return None
    for attribute in ("CHARACTER", "CHAR", "CHARSET"):
        if attribute in attributes:
            return charset_name(attributes[attribute][-1:])
    return charset_name(attributes["COLLATE"]).split("_")[0] if "COLLATE" in attributes else None


def _given(tokens: Sequence[str]) -> list[str]:
    """The tokens in the parentheses right after the type."""
    if len(tokens) < 2 or tokens[1] != "(":
        return []
    end = next((i for i, token in enumerate(tokens) if token == ")"), 1)
    return list(tokens[2:end])


def charset_name(tokens: Sequence[str]) -> str:
    """The character set or collation that a token names."""
    name = unquoted(tokens[0]).strip("'").lower() if tokens else ""
    return "utf8mb3" + name[4:] if name == "utf8" or name.startswith("utf8_") else name


def _fill(column: Column, attributes: Mapping[str, list[str]], nullable: bool) -> str | None:
    """The value that the server puts into its rows; None unless both flavours put the same."""
    if "AUTO_INCREMENT" in attributes:
        return None
    if column.type == "timestamp" and not nullable:
        return None  # with explicit_defaults_for_timestamp=OFF the column is NOT NULL with a default
    if "DEFAULT" in attributes:
        given = _default(attributes["DEFAULT"])
        if given == "NULL":
            return "NULL" if nullable else None
        return given if given is not None and _is_literal(column, given) else None
    if nullable:
        return "NULL"
    if column.type in SIGNED_TYPES:
        return "0"
    return "''" if column.type in ("char", "varchar") else None


def _default(tokens: list[str]) -> str | None:
    """A default that is a plain literal; None for any other."""
    sign = tokens[0] if tokens[:1] in (["-"], ["+"]) else ""
    rest = tokens[len(sign) :]
    if len(rest) in (1, 3) and all(_DIGITS.fullmatch(t) for t in rest[::2]) and rest[1:2] in ([], ["."]):
        return sign + "".join(rest)
    if sign or len(rest) != 1:
        return None
    if rest[0].upper() in ("TRUE", "FALSE", "NULL"):
        return rest[0].upper()
    return rest[0] if _SIMPLE_TEXT.fullmatch(rest[0]) else None


def _is_literal(column: Column, given: str) -> bool:
    is_number = not given.startswith("'")
    if column.type in SIGNED_TYPES:
        return is_number or given.strip("'").isdigit()
    if column.type in TEMPORAL_TYPES - {"timestamp"}:
        return not is_number and "." not in given
    return column.type in LABEL_TYPES | {"char", "varchar"} and given not in ("TRUE", "FALSE") and not is_number
