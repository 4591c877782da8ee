"""The table that an init query reads, found in the query's text. Pure.

Names, texts and comments are told from words as the server tells them, so none of them can be taken for a clause or
hide one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_TOKEN = re.compile(
    r"""
      \s+ | \#[^\n]* | --(?=[\s\x00-\x1f]|$)[^\n]* | /\*(?![!+M]).*?\*/   # the server ignores these
    | (?P<name>`(?:[^`]|``)*`)
    | (?P<double>"(?:[^"\\]|"")*")      # a text, or with ANSI_QUOTES a name, in which a backslash is no escape
    | (?P<text>'(?:[^'\\]|\\.|'')*')
    | (?P<word>[\w$]+)
    | (?P<other>/\* | ['"`;])           # a comment that is run, a quote that does not end
    | (?P<sign>.)
    """,
    re.DOTALL | re.VERBOSE,
)
# With these words a query may read other tables, leave out rows, or make one row of several. If a column has such a
# name, the only loss is that the query is read in one go.
_NOT_PLAIN = frozenset({
    "JOIN", "STRAIGHT_JOIN", "LATERAL", "UNION", "EXCEPT", "INTERSECT", "MINUS", "WITH", "TABLE", "VALUES",
    "PARTITION", "TABLESAMPLE", "GROUP", "HAVING", "QUALIFY", "DISTINCT", "DISTINCTROW", "WINDOW", "OVER",
    "LIMIT", "OFFSET", "FETCH", "ROWNUM", "INTO", "PROCEDURE", "FOR", "LOCK", "COUNT", "SUM", "AVG", "MIN",
    "MAX", "GROUP_CONCAT", "JSON_ARRAYAGG", "JSON_OBJECTAGG", "BIT_XOR", "BIT_AND", "BIT_OR", "STD", "STDDEV",
    "STDDEV_POP", "STDDEV_SAMP", "VARIANCE", "VAR_POP", "VAR_SAMP", "ANY_VALUE", "ST_COLLECT",
})  # fmt: skip

Token = tuple[str, str]  # (kind, text); the text of a name is without its quotes


def table_read(query: str) -> tuple[str | None, str] | None:
    """(Schema, name) of the table that a query reads, if it is a plain SELECT of one table. None: it may be another.

    The schema is None if the query does not name it.
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
    """The places where a word begins a clause. Inside parentheses it does not: TRIM(… FROM …)."""
    depth = 0
    for i, (kind, text) in enumerate(tokens):
        if kind == "sign" and text in "()":
            depth += 1 if text == "(" else -1
        elif depth == 0 and kind == "word" and text.upper() == word:
            yield i


def _only_table(tokens: Sequence[Token]) -> tuple[str | None, str] | None:
    """The table of a FROM clause that has no other: [schema.]table [[AS] alias] [WHERE … | ORDER …]."""
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
