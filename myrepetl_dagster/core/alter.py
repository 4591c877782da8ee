"""What the clauses of an ALTER TABLE do to the rows and the columns of a table. Pure.

Only what matters for a replica is told apart: whether a clause adds, drops, renames or retypes a column,
and whether it changes rows that the log does not hold. What is not understood counts as the latter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise


class Effect(StrEnum):
    NONE = "none"  # indexes, table options, defaults of later rows
    ADD = "add column"
    DROP = "drop column"
    RENAME = "rename column"
    RETYPE = "change a column's type"
    REWRITE = "change rows"  # partitions dropped or exchanged, or a clause that is not known


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause. `plain` says of an added column that the rows before it hold NULL there."""

    effect: Effect
    column: str = ""
    new_name: str = ""
    plain: bool = False


# What may follow ADD or DROP in the place of a column's name.
_NOT_A_COLUMN = frozenset({
    "INDEX", "KEY", "UNIQUE", "PRIMARY", "FULLTEXT", "SPATIAL", "FOREIGN", "CONSTRAINT", "CHECK", "VECTOR",
})  # fmt: skip
_OPTIONS = frozenset({
    "ENGINE", "AUTO_INCREMENT", "COMMENT", "ROW_FORMAT", "ALGORITHM", "LOCK", "FORCE", "ORDER", "ENABLE", "DISABLE",
    "CONVERT", "DEFAULT", "CHARACTER", "CHARSET", "COLLATE", "KEY_BLOCK_SIZE", "STATS_PERSISTENT", "CHECKSUM",
    "STATS_AUTO_RECALC", "STATS_SAMPLE_PAGES", "AVG_ROW_LENGTH", "MAX_ROWS", "MIN_ROWS", "PACK_KEYS", "COMPRESSION",
    "ENCRYPTION", "ENCRYPTED", "PAGE_COMPRESSED", "WITH", "WITHOUT", "AUTOEXTEND_SIZE", "DELAY_KEY_WRITE",
    "SECONDARY_ENGINE", "INSERT_METHOD", "CONNECTION", "NOWAIT", "WAIT",
})  # fmt: skip
# Partition clauses that move rows about, or check them, and lose none.
_HARMLESS_PARTITION = frozenset({"ADD", "COALESCE", "REORGANIZE", "ANALYZE", "CHECK", "OPTIMIZE", "REBUILD", "REPAIR"})


def clauses(tokens: Sequence[str]) -> tuple[Clause, ...]:
    """The clauses of an ALTER TABLE, from its tokens after the table's name."""
    return tuple(found for part in _split(tokens) for found in _clause(part))


def _split(tokens: Sequence[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token == "(") - (token == ")")
        if token == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


def _name(token: str) -> str:
    return token[1:-1].replace("``", "`") if token.startswith("`") else token


def _clause(part: list[str]) -> list[Clause]:
    words = [token.upper() for token in part]
    rest = part[1:]
    match words[0]:
        case "ADD":
            return _add(rest)
        case "DROP":
            return _drop(rest)
        case "MODIFY":
            rest = _skip(rest, "COLUMN")
            return [Clause(Effect.RETYPE, _name(rest[0]))] if rest else [Clause(Effect.REWRITE)]
        case "CHANGE":
            rest = _skip(rest, "COLUMN")
            if len(rest) < 2:
                return [Clause(Effect.REWRITE)]
            old, new = _name(rest[0]), _name(rest[1])
            retyped = Clause(Effect.RETYPE, new)
            return [retyped] if old == new else [Clause(Effect.RENAME, old, new), retyped]
        case "RENAME" if words[1:2] == ["COLUMN"] and len(part) >= 5:
            return [Clause(Effect.RENAME, _name(part[2]), _name(part[4]))]
        case "RENAME" | "ALTER":
            return [Clause(Effect.NONE)]  # of an index, or of the table (seen elsewhere); SET DEFAULT
    if words[0] == "PARTITION" or (words[0] in _HARMLESS_PARTITION and words[1:2] == ["PARTITION"]):
        return [Clause(Effect.NONE)]
    return [Clause(Effect.NONE if words[0] in _OPTIONS else Effect.REWRITE)]


def _skip(tokens: list[str], *words: str) -> list[str]:
    """Without these words, and without IF [NOT] EXISTS, at the start."""
    while tokens and tokens[0].upper() in {*words, "IF", "NOT", "EXISTS"}:
        tokens = tokens[1:]
    return tokens


def _add(rest: list[str]) -> list[Clause]:
    if rest and rest[0].upper() in _NOT_A_COLUMN | {"PARTITION", "PERIOD", "SYSTEM"}:
        # System versioning keeps its history to itself; the rows stay the same.
        return [Clause(Effect.NONE)]
    rest = _skip(rest, "COLUMN")
    if rest and rest[0] == "(":
        return [found for part in _split(rest[1:-1]) for found in _added(part)]
    return _added(rest)


def _added(definition: list[str]) -> list[Clause]:
    if not definition:
        return [Clause(Effect.REWRITE)]
    if definition[0].upper() in _NOT_A_COLUMN:
        return [Clause(Effect.NONE)]
    words = [token.upper() for token in definition[1:]]
    default_null = any(pair == ("DEFAULT", "NULL") for pair in pairwise(words))
    not_null = any(pair == ("NOT", "NULL") for pair in pairwise(words))
    filled = {"DEFAULT", "AUTO_INCREMENT", "AS", "GENERATED", "PRIMARY", "SERIAL"} & set(words)
    if default_null:
        filled.discard("DEFAULT")
    if "TIMESTAMP" in words and "NULL" not in words:
        filled.add("TIMESTAMP")  # with explicit_defaults_for_timestamp=OFF it is NOT NULL with a default
    return [Clause(Effect.ADD, _name(definition[0]), plain=not not_null and not filled)]


def _drop(rest: list[str]) -> list[Clause]:
    first = rest[0].upper() if rest else ""
    if first == "PARTITION":
        return [Clause(Effect.REWRITE)]
    if first in _NOT_A_COLUMN | {"SYSTEM", "PERIOD"}:
        return [Clause(Effect.NONE)]
    rest = _skip(rest, "COLUMN")
    return [Clause(Effect.DROP, _name(rest[0]))] if rest else [Clause(Effect.REWRITE)]
