"""The tables that a statement which changes rows writes, as far as its text tells. Pure.

A log in rows holds such statements from sessions in statement format. What triggers and stored functions do is part of
the statement then: the log does not have it. So any word before a parenthesis that is not known to belong to the
language may be a stored function, which may write any table. (One that is named with its schema always is.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...model.tables import TableName
from .tokens import UNREADABLE, is_name, unquoted

# Words of the language that a parenthesis may follow.
_WORDS = frozenset(
    """
    ALL AND ANY AS BETWEEN BY CASE DISTINCT DIV ELSE EXCEPT EXISTS FROM HAVING IN INDEX INTERSECT
    INTERVAL INTO IS JOIN KEY LIKE LIMIT MOD NOT ON OR OVER PARTITION REGEXP RLIKE ROW SELECT SET SOME
    THEN UNION USING VALUE VALUES WHEN WHERE XOR
    """.split()  # noqa: SIM905
)
_TYPES = frozenset(
    """
    BINARY CHAR DATE DATETIME DECIMAL DOUBLE FLOAT NCHAR SIGNED TIME UNSIGNED VARCHAR YEAR
    """.split()  # noqa: SIM905
)
# Functions that every supported server has built in. A stored function of such a name needs its schema before it.
_FUNCTIONS = frozenset(
    """
    ABS ADDDATE ADDTIME ASCII AVG BIN BIT_AND BIT_COUNT BIT_LENGTH BIT_OR BIT_XOR CAST CEIL CEILING
    CHAR_LENGTH CHARACTER_LENGTH COALESCE CONCAT CONCAT_WS CONV CONVERT CONVERT_TZ COUNT CRC32 CURDATE
    CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURTIME DATABASE DATE_ADD DATE_FORMAT DATE_SUB DATEDIFF
    DAY DAYOFMONTH DAYOFWEEK DAYOFYEAR DEFAULT ELT EXP EXTRACT FIELD FIND_IN_SET FLOOR FORMAT FROM_DAYS
    FROM_UNIXTIME GREATEST GROUP_CONCAT HEX HOUR IF IFNULL INSTR ISNULL JSON_ARRAY JSON_EXTRACT
    JSON_OBJECT JSON_UNQUOTE LAST_DAY LAST_INSERT_ID LCASE LEAST LEFT LENGTH LN LOCATE LOG LOG10 LOG2
    LOWER LPAD LTRIM MAX MD5 MICROSECOND MID MIN MINUTE MONTH NOW NULLIF OCTET_LENGTH ORD POSITION POW
    POWER QUARTER RAND REPEAT REPLACE REVERSE RIGHT ROUND RPAD RTRIM SEC_TO_TIME SECOND SHA SHA1 SHA2
    SIGN SPACE SQRT STD STDDEV STR_TO_DATE STRCMP SUBDATE SUBSTR SUBSTRING SUBSTRING_INDEX SUBTIME SUM
    SYSDATE TIMEDIFF TIMESTAMP TIMESTAMPADD TIMESTAMPDIFF TIME_FORMAT TIME_TO_SEC TO_DAYS TRIM TRUNCATE
    UCASE UNHEX UNIX_TIMESTAMP UPPER USER UTC_TIMESTAMP UUID VARIANCE VERSION WEEK WEEKDAY
    """.split()  # noqa: SIM905
)
_WITHOUT_CALL = _WORDS | _TYPES | _FUNCTIONS
_MODIFIERS = frozenset({"LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "QUICK", "HISTORY", "INTO"})
_JOINS = frozenset({",", "JOIN", "STRAIGHT_JOIN"})
_ENDS = frozenset({"SET", "WHERE", "ORDER", "LIMIT", "RETURNING"})


@dataclass(frozen=True, slots=True)
class Written:
    """`tables`: those that the statement names to be written. `only`: its text tells of no way to write others."""

    tables: frozenset[TableName] = frozenset()
    only: bool = False


_ANY = Written()


def written_tables(tokens: Sequence[str], schema: str) -> Written:
    """What a statement writes.

    Args:
        tokens: the statement's, from its verb on, without comments.
        schema: the default database of its session.
    """
    if any(UNREADABLE in token for token in tokens):
        return _ANY
    words = [token.upper() for token in tokens]
    verb = words[0]
    if verb == "WITH":
        at = next((i for i in _outside(words) if words[i] in ("UPDATE", "DELETE", "INSERT", "REPLACE")), 0)
        named = {unquoted(tokens[i]) for i in _outside(words) if i < at and words[i + 1 : i + 2] == ["AS"]}
        inner = written_tables(tokens[at:], schema) if at else _ANY
        own = frozenset(t for t in inner.tables if not (t.schema == schema and t.table in named))
        return Written(own, inner.only and not _calls(words[1:at]))
    start = 1
    while words[start : start + 1] and words[start] in _MODIFIERS:
        start += 1
    if verb in ("INSERT", "REPLACE"):
        tables, behind = _factor(tokens, start, schema)
    elif verb == "UPDATE":
        tables, behind = _factors(tokens, start, schema)
    elif verb == "DELETE":
        tables, behind = _deleted(tokens, words, start, schema)
    else:
        return _ANY
    return Written(frozenset(tables), bool(tables) and not _calls(words[behind:]))


def _deleted(tokens: Sequence[str], words: Sequence[str], start: int, schema: str) -> tuple[set[TableName], int]:
    """DELETE FROM t …, DELETE a FROM tables …, DELETE FROM a USING tables …: each of the tables may be written."""
    outside = list(_outside(words))
    before = "USING" if any(words[i] == "USING" for i in outside) and words[start : start + 1] == ["FROM"] else "FROM"
    at = next((i for i in outside if words[i] == before), None)
    if at is None:
        return set(), start
    return _factors(tokens, at + 1, schema)


def _factor(tokens: Sequence[str], at: int, schema: str) -> tuple[set[TableName], int]:
    """(The table that is named here, the place behind its name)."""
    if at >= len(tokens) or not is_name(tokens[at]):
        return set(), at
    if tokens[at + 1 : at + 2] == ["."] and at + 2 < len(tokens):
        return {TableName(unquoted(tokens[at]), unquoted(tokens[at + 2]))}, at + 3
    return {TableName(schema, unquoted(tokens[at]))}, at + 1


def _factors(tokens: Sequence[str], at: int, schema: str) -> tuple[set[TableName], int]:
    """(The tables of a list or join, the place behind the first one's name)."""
    found, behind = _factor(tokens, at, schema)
    if not found:
        return set(), at  # a join in parentheses, or a query
    words = [token.upper() for token in tokens[behind:]]
    for i in _outside(words):
        if words[i] in _ENDS:
            break
        if words[i] in _JOINS:
            more, _ = _factor(tokens, behind + i + 1, schema)
            if not more and words[i + 1 : i + 3] != ["(", "SELECT"]:
                return set(), at
            found |= more
    return found, behind


def _outside(words: Sequence[str]) -> Iterator[int]:
    """The places outside of all parentheses."""
    depth = 0
    for i, word in enumerate(words):
        depth += (word == "(") - (word == ")")
        if depth == 0:
            yield i


def _calls(words: Sequence[str]) -> bool:
    """Whether something here may be a call of a stored function."""
    for i in range(1, len(words)):
        before = words[i - 1]
        if words[i] != "(" or not is_name(before):
            continue
        if before not in _WITHOUT_CALL or words[i - 2 : i - 1] == ["."]:
            return True
    return False
