"""The effects of an ALTER TABLE's clauses on a table's columns and rows. Pure.

Only effects that matter to a replica are distinguished: a clause adds, drops, renames or retypes a column, or it
changes rows without a trace in the log. A clause that is not understood counts as the latter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from .column_definition import Definition, charset_name, definition_of
from .tokens import UNREADABLE, Sql, unquoted


class Effect(StrEnum):
    NONE = "none"  # indexes, table options, defaults for later rows
    ADD = "add column"
    DROP = "drop column"
    RENAME = "rename column"
    RETYPE = "change the type of column"
    CONVERT = "convert the character set"
    KEY = "change the primary key"
    INDEX = "drop index"
    REWRITE = "change rows"  # partitions are dropped or exchanged, or the clause is unknown


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause.

    `column`: the column's name after the clause; for RENAME the one before it, for KEY one of a new key's, for INDEX
    the index's. `new_name`: for RENAME. `old_name`: the name of a retyped column before the clause, which CHANGE may
    rename. `definition`: of an added or retyped column. `charset`: of CONVERT TO.
    """

    effect: Effect
    column: str = ""
    new_name: str = ""
    old_name: str = ""
    definition: Definition | None = None
    charset: str = ""


NO_EFFECT = Clause(Effect.NONE)
REWRITE = Clause(Effect.REWRITE)
# Words after ADD that begin an index or a constraint. Both servers reserve them: a column of such a name is quoted.
_KEY_WORDS = frozenset({"INDEX", "KEY", "UNIQUE", "FULLTEXT", "SPATIAL", "FOREIGN", "CHECK"})
_OPTIONS = frozenset({
    "ENGINE", "AUTO_INCREMENT", "COMMENT", "ROW_FORMAT", "ALGORITHM", "LOCK", "FORCE", "ENABLE", "DISABLE",
    "DEFAULT", "CHARACTER", "CHAR", "CHARSET", "COLLATE", "KEY_BLOCK_SIZE", "STATS_PERSISTENT", "CHECKSUM",
    "STATS_AUTO_RECALC", "STATS_SAMPLE_PAGES", "AVG_ROW_LENGTH", "MAX_ROWS", "MIN_ROWS", "PACK_KEYS", "COMPRESSION",
    "ENCRYPTION", "ENCRYPTED", "PAGE_COMPRESSED", "PAGE_CHECKSUM", "TABLE_CHECKSUM", "TRANSACTIONAL", "TABLESPACE",
    "AUTOEXTEND_SIZE", "DELAY_KEY_WRITE", "SECONDARY_ENGINE", "SECONDARY_LOAD", "SECONDARY_UNLOAD",
    "ENGINE_ATTRIBUTE", "SECONDARY_ENGINE_ATTRIBUTE", "START", "INSERT_METHOD", "CONNECTION", "ALTER",
})  # fmt: skip
# Engines that keep the rows that they are given. BLACKHOLE does not, and MERGE has those of other tables.
_KEEPING_ENGINES = frozenset({"INNODB", "MYISAM", "ARIA", "ROCKSDB", "MEMORY", "HEAP", "ARCHIVE", "CSV"})
# Partition clauses that move or check rows and lose none.
_HARMLESS_PARTITION = frozenset({"ADD", "COALESCE", "REORGANIZE", "ANALYZE", "CHECK", "OPTIMIZE", "REBUILD", "REPAIR"})
_IF_EXISTS = frozenset({"IF", "NOT", "EXISTS"})  # reserved, too
_OF_FORMER_COLUMNS = (Effect.DROP, Effect.RENAME, Effect.RETYPE)


def clauses(tokens: Sequence[str], sql: Sql) -> tuple[Clause, ...]:
    """The clauses of an ALTER TABLE. First come those of columns that there were, whatever is added beside.

    Args:
        tokens: of the statement `sql`, after the table's name.
    """
    found: list[Clause] = []
    for clause in split(tokens):
        words = [token.upper() for token in clause]
        if words[1:2] == ["PARTITION"]:  # nothing but more partitions follows
            found.append(NO_EFFECT if words[0] in _HARMLESS_PARTITION else REWRITE)
            break
        if words[:2] == ["ORDER", "BY"]:  # nothing but more columns follows
            found.append(NO_EFFECT)
            break
        found += _clause(_without_partitions(clause), sql)
    converts = any(clause.effect is Effect.CONVERT for clause in found)
    unreadable = any(unquoted(token) == UNREADABLE for token in tokens)
    if unreadable or _overlap(found) or (converts and any(clause.definition for clause in found)):
        found.append(REWRITE)
    return tuple(sorted(found, key=lambda clause: clause.effect not in _OF_FORMER_COLUMNS))


def _overlap(found: Sequence[Clause]) -> bool:
    """Whether a column's new name is another one's old name, so that it depends on the server whom a clause means."""
    renames = {clause.column.casefold(): clause.new_name.casefold() for clause in found if clause.new_name}
    new = {now for former, now in renames.items() if former != now}
    return any((c.old_name or c.column).casefold() in new for c in found if c.effect in _OF_FORMER_COLUMNS)


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


def _enclosed(tokens: Sequence[str]) -> list[str]:
    """The tokens in the first parentheses."""
    found: list[str] = []
    depth = 0
    for token in tokens:
        depth -= token == ")"
        if depth:
            found.append(token)
        elif token == ")":
            break
        depth += token == "("
    return found


def _without_partitions(clause: list[str]) -> list[str]:
    """A clause without PARTITION BY … and REMOVE PARTITIONING, which may follow the last one without a comma."""
    depth = 0
    for at, token in enumerate(clause):
        depth += (token == "(") - (token == ")")
        pair = [word.upper() for word in clause[at : at + 2]]
        if depth == 0 and pair in (["PARTITION", "BY"], ["REMOVE", "PARTITIONING"]):
            return clause[:at]
    return clause


def _clause(clause: list[str], sql: Sql) -> list[Clause]:
    words = [token.upper() for token in clause]
    rest = clause[1:]
    match words[:1]:
        case []:
            return [NO_EFFECT]
        case ["ADD"]:
            return _add(rest, sql)
        case ["DROP"]:
            return _drop(rest)
        case ["MODIFY"]:
            rest = _skip(rest, "COLUMN")
            return _retype(rest[0], rest[0], rest[1:], sql) if rest else [REWRITE]
        case ["CHANGE"]:
            rest = _skip(rest, "COLUMN")
            # IF EXISTS: without the old column nothing happens to the new one, which may be there.
            certain = len(rest) > 1 and "IF" not in words[1:3]
            return _retype(rest[0], rest[1], rest[2:], sql) if certain else [REWRITE]
        case ["RENAME"]:
            return _rename(rest)
        case ["CONVERT"]:
            return _convert(clause)
        case ["WITH" | "WITHOUT"]:
            return [NO_EFFECT if words[1:] == ["VALIDATION"] else REWRITE]
    return [NO_EFFECT if _keeps_rows(words) else REWRITE]


def _keeps_rows(words: list[str]) -> bool:
    """Whether a clause sets options that leave the rows as they are."""
    if words[0] not in _OPTIONS and words[1:2] != ["="]:
        return False
    if words[0] == "ALTER":  # of a column's default, an index, a constraint
        return True
    given = [*(word for word in words if word != "="), ""]
    engines = {unquoted(given[at + 1]).strip("'") for at, word in enumerate(given) if word == "ENGINE"}
    return engines <= _KEEPING_ENGINES and not {"UNION", "SEQUENCE"} & set(given)


def _skip(tokens: list[str], *words: str) -> list[str]:
    """The tokens without these words and IF [NOT] EXISTS at their start."""
    while tokens and tokens[0].upper() in {*words, *_IF_EXISTS}:
        tokens = tokens[1:]
    return tokens


def _retype(old: str, new: str, definition: list[str], sql: Sql) -> list[Clause]:
    old, new = unquoted(old), unquoted(new)
    found = definition_of(new, definition, sql)
    renamed = [Clause(Effect.RENAME, old, new)] if old != new else []
    keyed = [Clause(Effect.KEY, new)] if found.keyed else []
    return [*renamed, Clause(Effect.RETYPE, new, old_name=old, definition=found), *keyed]


def _rename(rest: list[str]) -> list[Clause]:
    """Of a column; or of an index; or of the table, which `statement.py` sees."""
    if rest[:1] and rest[0].upper() != "COLUMN":
        return [NO_EFFECT]
    match _skip(rest, "COLUMN"):
        case [old, to, new] if to.upper() == "TO":
            return [Clause(Effect.RENAME, unquoted(old), unquoted(new))]
    return [REWRITE]


def _convert(clause: list[str]) -> list[Clause]:
    """CONVERT TO CHARACTER SET. MariaDB also converts partitions to tables and tables to partitions."""
    words = [token.upper() for token in clause]
    named = 3 if words[:3] == ["CONVERT", "TO", "CHARSET"] else 4
    if words[1:2] != ["TO"] or "DEFAULT" in words:  # the schema's default, which may be another one by now
        return [REWRITE]
    return [Clause(Effect.CONVERT, charset=charset_name(clause[named : named + 1]))]


def _add(rest: list[str], sql: Sql) -> list[Clause]:
    words = [token.upper() for token in rest]
    if _begins_key(words):
        return _added(rest, sql)
    if words[:2] in (["PERIOD", "FOR"], ["SYSTEM", "VERSIONING"]):
        return [REWRITE]  # a table with versioned rows cannot be followed
    rest = _skip(rest, "COLUMN")
    if rest and rest[0] == "(":
        return [found for clause in split(_enclosed(rest)) for found in _added(clause, sql)]
    return _added(rest, sql, is_column=True)


def _begins_key(words: list[str]) -> bool:
    """Whether an index or a constraint is added, and no column. VECTOR may begin an index and be a column's name."""
    if words[:1] == ["VECTOR"]:
        return words[1:2] in (["INDEX"], ["KEY"], ["IF"], ["("]) or (words[2:3] == ["("] and not _has_size(words[1:]))
    return words[:1] in (["PRIMARY"], ["CONSTRAINT"]) or bool(_KEY_WORDS.intersection(words[:1]))


def _has_size(words: list[str]) -> bool:
    """Whether this is a type with a size, labels or digits, and no index's name with columns."""
    return len(words) > 2 and (words[2][0] == "'" or words[2].isdigit())


def _added(definition: list[str], sql: Sql, *, is_column: bool = False) -> list[Clause]:
    words = [token.upper() for token in definition]
    if not words or words[:2] == ["PERIOD", "FOR"]:
        return [REWRITE]
    if not is_column and _begins_key(words):
        if words[0] == "CONSTRAINT":
            words = _skip(words[1:])
            words = words if words[:1] == ["PRIMARY"] or _KEY_WORDS.intersection(words[:1]) else words[1:]
        return _primary_key(definition) if words[:1] == ["PRIMARY"] else [NO_EFFECT]
    name = unquoted(definition[0])
    found = definition_of(name, definition[1:], sql)
    return [Clause(Effect.ADD, name, definition=found), *([Clause(Effect.KEY, name)] if found.keyed else [])]


def _primary_key(tokens: list[str]) -> list[Clause]:
    """A primary key becomes another one: a clause for each of its columns."""
    return [Clause(Effect.KEY, unquoted(part[0])) for part in split(_enclosed(tokens))] or [REWRITE]


def _drop(rest: list[str]) -> list[Clause]:
    words = [token.upper() for token in rest]
    if words[:2] in (["SYSTEM", "VERSIONING"], ["PERIOD", "FOR"]):
        return [REWRITE]
    match words[:1]:
        case ["PRIMARY"]:
            return [Clause(Effect.KEY)]
        case ["INDEX" | "KEY" | "CONSTRAINT"]:
            return dropped_index(_skip(rest[1:]))
        case ["FOREIGN" | "CHECK"]:
            return [NO_EFFECT]
    rest = _skip(rest, "COLUMN")
    return [Clause(Effect.DROP, unquoted(rest[0]))] if rest else [REWRITE]


def dropped_index(tokens: Sequence[str]) -> list[Clause]:
    """The clauses for the loss of the index that the first token names. The primary key has a name, too."""
    if not tokens:
        return [REWRITE]
    name = unquoted(tokens[0])
    return [Clause(Effect.KEY) if name.upper() == "PRIMARY" else Clause(Effect.INDEX, name)]
