"""Which table an init query reads, by its text. Pure.

Names and what stands in quotes are told from words as the server tells them, so that neither a comment nor a text can
pass for a clause or hide one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_TOKEN = re.compile(
    r"""
      \s+ | \#[^\n]* | --(?=[\s\x00-\x1f]|$)[^\n]* | /\*(?![!+M]).*?\*/   # what the server passes over
    | (?P<name>`(?:[^`]|``)*`)
    | (?P<double>"(?:[^"\\]|"")*")      # a text, or with ANSI_QUOTES a name, in which a backslash is no escape
    | (?P<text>'(?:[^'\\]|\\.|'')*')
    | (?P<word>[\w$]+)
    | (?P<other>/\* | ['"`;])           # a comment that is run, a quote that does not end
    | (?P<sign>.)
    """,
    re.DOTALL | re.VERBOSE,
)
# Words with which a query may read other tables, join or drop rows, or make one of several. A column of such a name
# costs the chunks only.
_NOT_PLAIN = frozenset({
    "JOIN", "STRAIGHT_JOIN", "LATERAL", "UNION", "EXCEPT", "INTERSECT", "MINUS", "WITH", "TABLE", "VALUES",
    "PARTITION", "TABLESAMPLE", "GROUP", "HAVING", "QUALIFY", "DISTINCT", "DISTINCTROW", "WINDOW", "OVER",
    "LIMIT", "OFFSET", "FETCH", "ROWNUM", "INTO", "PROCEDURE", "FOR", "LOCK", "COUNT", "SUM", "AVG", "MIN",
    "MAX", "GROUP_CONCAT", "JSON_ARRAYAGG", "JSON_OBJECTAGG", "BIT_XOR", "BIT_AND", "BIT_OR", "STD", "STDDEV",
    "STDDEV_POP", "STDDEV_SAMP", "VARIANCE", "VAR_POP", "VAR_SAMP", "ANY_VALUE", "ST_COLLECT",
})  # fmt: skip

Token = tuple[str, str]  # its kind, and its text: of a name what stands in the quotes


def table_read(query: str) -> tuple[str | None, str] | None:
    """The schema (None: the session's) and the name of the one table that a plain SELECT reads, row by row.

    None: the query is, or may be, something else.
    """
    tokens = list(_tokens(query))
    words = [text.upper() for kind, text in tokens if kind == "word"]
    if words[:1] != ["SELECT"] or tokens[0][0] != "word" or words.count("SELECT") > 1:
        return None
    if not _NOT_PLAIN.isdisjoint(words) or any(kind == "other" for kind, _ in tokens):
        return None
    clauses = list(_outside_parentheses(tokens, "FROM"))
    return _only_table(tokens[clauses[0] + 1 :]) if len(clauses) == 1 else None


def _tokens(query: str) -> Iterator[Token]:
    for match in _TOKEN.finditer(query):
        kind, text = match.lastgroup, match[0]
        if kind in ("name", "double"):
            yield kind, text[1:-1].replace(text[0] * 2, text[0])
        elif kind is not None:
            yield kind, text


def _outside_parentheses(tokens: Sequence[Token], word: str) -> Iterator[int]:
    """Where the word stands as a clause's: TRIM(… FROM …) has it, too."""
    depth = 0
    for i, (kind, text) in enumerate(tokens):
        if kind == "sign" and text in "()":
            depth += 1 if text == "(" else -1
        elif depth == 0 and kind == "word" and text.upper() == word:
            yield i


def _only_table(tokens: Sequence[Token]) -> tuple[str | None, str] | None:
    """The table that a FROM clause names, if it names no more: [schema.]table [[AS] alias] [WHERE … | ORDER …]."""
    if not tokens or tokens[0][0] not in ("word", "name", "double"):
        return None
    names, rest = [tokens[0][1]], list(tokens[1:])
    if rest[:1] == [("sign", ".")] and len(rest) > 1:
        names.append(rest[1][1])
        rest = rest[2:]
    if rest and _word(rest[0]) == "AS":
        rest = rest[1:]
    if rest and rest[0][0] in ("word", "name", "double") and _word(rest[0]) not in ("WHERE", "ORDER"):
        rest = rest[1:]
    if rest and _word(rest[0]) not in ("WHERE", "ORDER"):
        return None
    return (names[0], names[1]) if len(names) > 1 else (None, names[0])


def _word(token: Token) -> str:
    return token[1].upper() if token[0] == "word" else ""
