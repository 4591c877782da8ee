"""Identifiers and conditions on keys as SQL. Pure.

SQL in the form of literals is text in which each character stands for one byte (`literals.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .literals import ENUM_ERROR


def sql_text(text: str) -> str:
    """SQL text in the form of literals: each character stands for one byte of the text's UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def sql_name(name: str) -> str:
    """A quoted identifier in the form of literals. Quoted, no name can be read as anything else."""
    return sql_text("`" + name.replace("`", "``") + "`")


def quote_name(name: str) -> str:
    """A quoted identifier as SQL text. Quoted, no name can be read as anything else."""
    return "`" + name.replace("`", "``") + "`"


def charset_sql(charset: str, collation: str | None) -> str:
    """The part of a column's definition that names its character set and collation."""
    # `binary` has one collation, and MariaDB 10.5 does not understand that it is named.
    return f" CHARACTER SET {charset}" + ("" if charset == "binary" else f" COLLATE {collation}")


_NAME = re.compile(r"(?:^|\.)(`(?:[^`]|``)+`(?=\.|$)|[^.]*)")


def name_parts(text: str) -> list[str]:
    """The parts of a name such as `schema.table`. One with a dot in it stands in backticks."""
    return [
        part[1:-1].replace("``", "`") if part[:1] == "`" == part[-1:] and len(part) > 2 else part
        for part in _NAME.findall(text)
    ]


def short_year_sql(column: str) -> str:
    """The year that a YEAR(2) holds, as a number; 0 for 0000.

    Only the functions of dates see the century, and to them the year 0000 is 1900, which no YEAR holds.

    Args:
        column: its quoted name.
    """
    year = f"EXTRACT(YEAR FROM {column})"
    return f"IF({year} = 1900, 0, {year})"


def for_short_year_sql(number: str) -> str:
    """A year's number as text for a YEAR(2), which makes 2000 of the number 0."""
    return f"IF({number} = 0, '0000', {number})"


# ---- conditions ---------------------------------------------------------------------------------------
def keyset_condition(key: Sequence[str], after: Sequence[str]) -> str:
    """`key > after` for a key of any number of columns, in a form for which both servers use the key's index."""
    parts = []
    for i in range(len(key)):
        equal = [f"{sql_name(name)} = {value}" for name, value in zip(key[:i], after, strict=False)]
        parts.append("(" + " AND ".join([*equal, f"{sql_name(key[i])} > {after[i]}"]) + ")")
    first = f"{sql_name(key[0])} >= {after[0]} AND " if len(key) > 1 else ""
    return first + "(" + " OR ".join(parts) + ")"


def until_condition(key: Sequence[str], until: Sequence[str]) -> str:
    """`key <= until`, as `keyset_condition`."""
    parts = []
    for i in range(len(key)):
        equal = [f"{sql_name(name)} = {value}" for name, value in zip(key[:i], until, strict=False)]
        sign = "<=" if i == len(key) - 1 else "<"
        parts.append("(" + " AND ".join([*equal, f"{sql_name(key[i])} {sign} {until[i]}"]) + ")")
    first = f"{sql_name(key[0])} <= {until[0]} AND " if len(key) > 1 else ""
    return first + "(" + " OR ".join(parts) + ")"


def keys_condition(key: Sequence[str], keys: Sequence[Sequence[str]]) -> str:
    """`key IN keys`, in a form for which both servers use the key's index."""
    if len(key) == 1 and (ENUM_ERROR,) not in keys:  # IN with texts and a number would compare all as numbers
        return f"{sql_name(key[0])} IN ({', '.join(k[0] for k in keys)})"
    rows = (" AND ".join(f"{sql_name(name)} = {value}" for name, value in zip(key, k, strict=True)) for k in keys)
    return "(" + " OR ".join(f"({row})" for row in rows) + ")"
