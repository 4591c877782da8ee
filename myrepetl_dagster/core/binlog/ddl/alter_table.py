"""The effects of an ALTER TABLE's clauses on a table's columns and rows. Pure.

Only effects that matter to a replica are distinguished: a clause adds, drops, renames or retypes a column, or it
changes rows without a trace in the log. A clause that is not understood counts as the latter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from .column_definition import Definition, definition_of, unquoted


class Effect(StrEnum):
    NONE = "none"  # indexes, table options, defaults for later rows
    ADD = "add column"
    DROP = "drop column"
    RENAME = "rename column"
    RETYPE = "change the type of column"
    CONVERT = "convert the character set"
    KEY = "change the primary key"
    REWRITE = "change rows"  # partitions are dropped or exchanged, or the clause is unknown


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause.

    `column`: the column's name after the clause, for RENAME the one before it. `new_name`: for RENAME. `old_name`: the
    name of a retyped column before the clause (CHANGE may rename it). `definition`: of an added or retyped column.
    `charset`: of CONVERT TO; empty for DEFAULT.
    """

    effect: Effect
    column: str = ""
    new_name: str = ""
    old_name: str = ""
    definition: Definition | None = None
    charset: str = ""


NO_EFFECT = Clause(Effect.NONE)
REWRITE = Clause(Effect.REWRITE)
# Words after ADD or DROP that are no column's name.
_NOT_A_COLUMN = frozenset({
    "INDEX", "KEY", "UNIQUE", "PRIMARY", "FULLTEXT", "SPATIAL", "FOREIGN", "CONSTRAINT", "CHECK", "VECTOR",
})  # fmt: skip
_OPTIONS = frozenset({
    "ENGINE", "AUTO_INCREMENT", "COMMENT", "ROW_FORMAT", "ALGORITHM", "LOCK", "FORCE", "ORDER", "ENABLE", "DISABLE",
    "DEFAULT", "CHARACTER", "CHARSET", "COLLATE", "KEY_BLOCK_SIZE", "STATS_PERSISTENT", "CHECKSUM",
    "STATS_AUTO_RECALC", "STATS_SAMPLE_PAGES", "AVG_ROW_LENGTH", "MAX_ROWS", "MIN_ROWS", "PACK_KEYS", "COMPRESSION",
    "ENCRYPTION", "ENCRYPTED", "PAGE_COMPRESSED", "WITH", "WITHOUT", "AUTOEXTEND_SIZE", "DELAY_KEY_WRITE",
    "SECONDARY_ENGINE", "INSERT_METHOD", "CONNECTION", "NOWAIT", "WAIT", "ALTER",
})  # fmt: skip
# Partition clauses that move or check rows and lose none.
_HARMLESS_PARTITION = frozenset({"COALESCE", "REORGANIZE", "ANALYZE", "CHECK", "OPTIMIZE", "REBUILD", "REPAIR"})


def clauses(tokens: Sequence[str]) -> tuple[Clause, ...]:
    """The clauses of an ALTER TABLE, from its tokens after the table's name."""
    found: list[Clause] = []
    for clause in split(tokens):
        found += _clause(clause)
        if len(clause) > 1 and clause[1].upper() == "PARTITION":
            break  # what follows are more partitions
    return tuple(found)


def split(tokens: Sequence[str]) -> list[list[str]]:
    """Tokens between commas that are in no parenthesis."""
    clauses: list[list[str]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token == "(") - (token == ")")
        if token == "," and depth == 0:
            clauses.append([])
        else:
            clauses[-1].append(token)
    return [clause for clause in clauses if clause]


def _clause(clause: list[str]) -> list[Clause]:
    words = [token.upper() for token in clause]
    rest = clause[1:]
    match words[0]:
        case "ADD":
            return _add(rest)
        case "DROP":
            return _drop(rest)
        case "MODIFY":
            rest = _skip(rest, "COLUMN")
            return _retype(rest[0], rest[0], rest[1:]) if rest else [REWRITE]
        case "CHANGE":
            rest = _skip(rest, "COLUMN")
            return _retype(rest[0], rest[1], rest[2:]) if len(rest) > 1 else [REWRITE]
        case "RENAME" if words[1:2] == ["COLUMN"]:
            rest = _skip(rest, "COLUMN")
            return [Clause(Effect.RENAME, unquoted(rest[0]), unquoted(rest[2]))] if len(rest) > 2 else [REWRITE]
        case "RENAME":
            return [NO_EFFECT]  # an index is renamed, or the table, which `statement.py` sees
        case "CONVERT":
            return _convert(words)
        case "REMOVE":
            return [NO_EFFECT if words[1:2] == ["PARTITIONING"] else REWRITE]
    if words[0] == "PARTITION" or (words[0] in _HARMLESS_PARTITION and words[1:2] == ["PARTITION"]):
        return [NO_EFFECT]
    return [NO_EFFECT if words[0] in _OPTIONS else REWRITE]


def _skip(tokens: list[str], *words: str) -> list[str]:
    """The tokens without these words and IF [NOT] EXISTS at their start."""
    while tokens and tokens[0].upper() in {*words, "IF", "NOT", "EXISTS"}:
        tokens = tokens[1:]
    return tokens


def _retype(old: str, new: str, definition: list[str]) -> list[Clause]:
    old, new = unquoted(old), unquoted(new)
    found = definition_of(new, definition)
    renamed = [Clause(Effect.RENAME, old, new)] if old != new else []
    keyed = [Clause(Effect.KEY, new)] if found.keyed else []
    return [*renamed, Clause(Effect.RETYPE, new, old_name=old, definition=found), *keyed]


def _convert(words: list[str]) -> list[Clause]:
    """CONVERT TO CHARACTER SET. MariaDB also converts partitions to tables and tables to partitions."""
    if words[1:2] != ["TO"]:
        return [REWRITE]
    given = [w for w in words[2:] if w not in ("CHARACTER", "SET", "CHARSET", "=")]
    charset = unquoted(given[0]).strip("'\"").lower() if given else ""
    return [Clause(Effect.CONVERT, charset="" if charset == "default" else charset)]


def _add(rest: list[str]) -> list[Clause]:
    first = rest[0].upper() if rest else ""
    if first in _NOT_A_COLUMN:
        return [Clause(Effect.KEY) if _is_primary(rest) else NO_EFFECT]
    if first == "PARTITION":
        return [NO_EFFECT]
    if first in ("PERIOD", "SYSTEM"):
        return [REWRITE]  # a table with versioned rows cannot be followed
    rest = _skip(rest, "COLUMN")
    if rest and rest[0] == "(":
        return [found for clause in split(rest[1:-1]) for found in _added(clause)]
    return _added(rest)


def _is_primary(rest: list[str]) -> bool:
    """Whether it is [CONSTRAINT [name]] PRIMARY KEY. A name PRIMARY would be quoted."""
    return "PRIMARY" in [token.upper() for token in rest[:3]]


def _added(definition: list[str]) -> list[Clause]:
    if not definition:
        return [REWRITE]
    if definition[0].upper() in _NOT_A_COLUMN:
        return [Clause(Effect.KEY) if _is_primary(definition) else NO_EFFECT]
    name = unquoted(definition[0])
    found = definition_of(name, definition[1:])
    return [Clause(Effect.ADD, name, definition=found), *([Clause(Effect.KEY, name)] if found.keyed else [])]


def _drop(rest: list[str]) -> list[Clause]:
    first = rest[0].upper() if rest else ""
    if first in ("PARTITION", "SYSTEM", "PERIOD"):
        return [REWRITE]
    if first in _NOT_A_COLUMN:
        # The primary key can also be dropped by its name as an index or a constraint.
        return [Clause(Effect.KEY) if any(unquoted(t).upper() == "PRIMARY" for t in rest) else NO_EFFECT]
    rest = _skip(rest, "COLUMN")
    return [Clause(Effect.DROP, unquoted(rest[0]))] if rest else [REWRITE]
