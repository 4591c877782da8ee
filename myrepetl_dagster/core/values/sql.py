"""Names, texts and key conditions as SQL. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from .literals import ENUM_ERROR


def sql_text(text: str) -> str:
    """SQL of our own or of the pipeline file in the form of literals: each character a byte of its UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def sql_name(name: str) -> str:
    """A quoted identifier in the form of literals: a name can never become anything else."""
    return sql_text("`" + name.replace("`", "``") + "`")


def quote_name(name: str) -> str:
    """An identifier as SQL text: a name from the source can never become anything else."""
    return "`" + name.replace("`", "``") + "`"


# ---- conditions ---------------------------------------------------------------------------------------
def keyset_condition(key: Sequence[str], after: Sequence[str]) -> str:
    """`key > after` for a composite key, in the form that MySQL and MariaDB can both find by an index."""
    parts = []
    for i in range(len(key)):
        equal = [f"{sql_name(name)} = {value}" for name, value in zip(key[:i], after, strict=False)]
        parts.append("(" + " AND ".join([*equal, f"{sql_name(key[i])} > {after[i]}"]) + ")")
    first = f"{sql_name(key[0])} >= {after[0]} AND " if len(key) > 1 else ""
    return first + "(" + " OR ".join(parts) + ")"


def keys_condition(key: Sequence[str], keys: Sequence[Sequence[str]]) -> str:
    """`key IN keys`, in the form that both servers can find by an index."""
    if len(key) == 1 and (ENUM_ERROR,) not in keys:  # IN a list of texts and a number compares numbers
        return f"{sql_name(key[0])} IN ({', '.join(k[0] for k in keys)})"
    rows = (" AND ".join(f"{sql_name(name)} = {value}" for name, value in zip(key, k, strict=True)) for k in keys)
    return "(" + " OR ".join(f"({row})" for row in rows) + ")"
