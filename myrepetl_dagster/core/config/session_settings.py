"""The session settings of an endpoint: `autocommit`, `sql_mode`, `init_command`, `use_unicode`, `charset`.

A setting that would lose or change values is refused, with a hint what to do instead. The others are followed:
`mysql/session.py` sets them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from .section import Section, closest

Role = Literal["source", "target"]

# ---- sql_mode ----
# Modes in which a server refuses values. A refused row stops the run with its key.
_STRICT = {"STRICT_TRANS_TABLES", "STRICT_ALL_TABLES", "TRADITIONAL"}
_ZERO = {"NO_ZERO_DATE", "NO_ZERO_IN_DATE", "TRADITIONAL"}
_WRITING = _STRICT | _ZERO | {
    "ERROR_FOR_DIVISION_BY_ZERO", "NO_AUTO_CREATE_USER", "NO_AUTO_VALUE_ON_ZERO", "NO_DIR_IN_CREATE",
    "NO_ENGINE_SUBSTITUTION", "TIME_ROUND_FRACTIONAL", "TIME_TRUNCATE_FRACTIONAL",
}  # fmt: skip
# Modes that change the meaning of an init_query. Our own statements mean the same in them.
_READING = {
    "ANSI", "ANSI_QUOTES", "HIGH_NOT_PRECEDENCE", "IGNORE_SPACE", "PIPES_AS_CONCAT", "REAL_AS_FLOAT",
}  # fmt: skip
_BOTH = {"ALLOW_INVALID_DATES", "NO_UNSIGNED_SUBTRACTION", "ONLY_FULL_GROUP_BY"}
_REFUSED_MODES = {
    "PAD_CHAR_TO_FULL_LENGTH": "pads the text that is read with spaces that the rows do not hold",
    "NO_BACKSLASH_ESCAPES": "makes the server read the values in our statements as others",
    "EMPTY_STRING_IS_NULL": "makes NULL of empty text",
    "SIMULTANEOUS_ASSIGNMENT": "makes our updates mean something else",
} | dict.fromkeys(
    ("DB2", "MAXDB", "MSSQL", "MYSQL323", "MYSQL40", "NO_FIELD_OPTIONS", "NO_KEY_OPTIONS", "NO_TABLE_OPTIONS",
     "ORACLE", "POSTGRESQL"),
    "makes the server read our statements as another language",
)  # fmt: skip
_KNOWN_MODES = _WRITING | _READING | _BOTH | set(_REFUSED_MODES)

# ---- variables that an init_command may not set, and why ----
_CHARSET = "would change text on its way: each connection sets the character set that it needs"
_ISOLATION = "would let rows be missed or locks be held: each connection sets the isolation that it needs"
_OURS = "would break what commits and checkpoints rest on"
_FEWER = "would cut what is read or checked"
_CHANGES = "would change the values that are stored"
_REFUSED = {
    "timestamp": "would stop the server's clock for us",
    "completion_type": _OURS,
    "gtid_next": _OURS,
    "insert_id": _OURS,
    "last_insert_id": _OURS,
    "identity": _OURS,
    "resultset_metadata": _OURS,
    "transaction_isolation": _ISOLATION,
    "tx_isolation": _ISOLATION,
    "transaction_read_only": _OURS,
    "tx_read_only": _OURS,
    "sql_select_limit": _FEWER,
    "max_sort_length": _FEWER,
    "max_error_count": _FEWER,
    "max_recursive_iterations": _FEWER,
    "sql_quote_show_create": "would give us definitions with ambiguous names",
    "sql_auto_is_null": "would change which rows a condition picks",
    "explicit_defaults_for_timestamp": _CHANGES,
    "default_regex_flags": "would change what our own conditions find",
    "gtid_seq_no": _OURS,
    "lc_messages": "would hide what an error means: some are told apart by their English text",
    "show_gipk_in_create_table_and_information_schema": "would hide columns that the log has",
    "sql_if_exists": "would hide that a statement of ours did nothing",
    "old": _CHANGES,
    "old_mode": _CHANGES,
    "default_storage_engine": "could create tables without transactions",
    "storage_engine": "could create tables without transactions",
    "enforce_storage_engine": "could create tables without transactions",
}
_REFUSED_PREFIXES = {
    "character_set_": _CHARSET,
    "collation_": _CHARSET,
    "pseudo_": _OURS,
    "system_versioning_": "would have rows of another time read or written",
    "default_collation_": _CHARSET,
}
# Only the value that every connection has anyway is allowed.
_FIXED = {
    "time_zone": (
        {"+00:00", "+0:00", "UTC"},
        "would shift TIMESTAMP values: every connection is in UTC",
    ),
    "unique_checks": ({"1", "ON", "TRUE"}, "would let InnoDB store two rows with one unique value"),
}
_FOREIGN_KEYS = "would make the target delete, change or refuse rows by itself, in another order than the source did"
_HINT = "leave it out of init_command"

_SCOPE = r"(?:(?P<scope>@@(?:\w+\.)?|(?:session|local|global|persist|persist_only)\s+)\s*)?"
_VALUE = r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\"|-?\d[\d.]*(?:\s*[*+]\s*\d+)*|@@[\w.]+|[a-z]\w*"
_ASSIGNMENT = re.compile(rf"\s*{_SCOPE}(?P<name>@?\w+)\s*:?=\s*(?P<value>{_VALUE})\s*(?P<end>,|;?\s*$)", re.I)
_NAMES = re.compile(r"\s*set\s+names\s+(['\"]?)(?P<charset>\w+)\1\s*;?\s*$", re.IGNORECASE)
_CHARSETS = {"utf8mb4", "utf8mb3", "utf8"}  # utf8mb4 has the characters of the others


@dataclass(slots=True)
class SessionSettings:
    """The settings that are followed: further modes, and variables with their values as SQL."""

    sql_mode: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)


def read_session(section: Section, role: Role) -> SessionSettings:
    """The session settings of an endpoint. Those that are refused are in the findings."""
    found = SessionSettings()
    _charset(section)
    if not section.flag("use_unicode", default=True):
        section.refuse(
            "use_unicode",
            "false would give filters and transforms bytes for text",
            "leave it out: values arrive exactly",
        )
    if section.has("autocommit"):
        _autocommit(section.flag("autocommit", default=False), role, found)
    mode = section.text("sql_mode")
    if mode is not None or section.findings.scalar(section.raw("sql_mode"), section.place("sql_mode")) == "":
        _modes(section, "sql_mode", mode or "", role, found)  # empty: no mode at all
    command = section.text("init_command")
    if command is not None:
        _command(section, command, role, found)
    return found


def _charset(section: Section) -> None:
    charset = section.text("charset")
    if charset is None or charset.lower() in _CHARSETS:
        return
    section.refuse(
        "charset",
        "as the connection's character set would lose what it cannot hold",
        "leave it out, or write utf8mb4: each column's values are carried in the column's own character set",
    )


def _autocommit(on: bool, role: Role, found: SessionSettings) -> None:
    """It makes no difference on a source, where nothing is written, and no harm on a target.

    Every write there belongs to a transaction that an explicit BEGIN has started.
    """
    if on and role == "target":
        found.variables["autocommit"] = "1"


def _modes(section: Section, key: str, text: str, role: Role, found: SessionSettings) -> None:
    names = [name.strip().upper() for name in text.split(",") if name.strip()]
    for name in names:
        _mode(section, key, name, role, found)
    if role == "target" and not _STRICT & set(names) and set(names) <= _KNOWN_MODES:
        section.refuse(
            key,
            "without a strict mode would have a target cut values that do not fit, in silence",
            "add STRICT_TRANS_TABLES or STRICT_ALL_TABLES, or leave it out",
        )


def _mode(section: Section, key: str, name: str, role: Role, found: SessionSettings) -> None:
    if name not in _KNOWN_MODES:
        section.refuse(key, "names an unknown mode", closest(name, _KNOWN_MODES, "MySQL's and MariaDB's modes"))
    elif name in _REFUSED_MODES:
        section.refuse(key, f"{name} {_REFUSED_MODES[name]}", "leave this mode out")
    elif role == "target" and name in _READING:
        section.refuse(
            key,
            f"{name} changes how statements are read, and on a target they are all our own",
            "leave this mode out, or give it to the source whose init_query needs it",
        )
    elif role == "source" and name in _WRITING:
        # No other effect: nothing is written on a source.
        if name in _ZERO:
            section.findings.warn(section.place(key), f"{name} is not set on a source: zero dates are read as they are")
    elif name not in found.sql_mode:
        found.sql_mode.append(name)


def _command(section: Section, command: str, role: Role, found: SessionSettings) -> None:
    names = _NAMES.match(command)
    if names is not None and names["charset"].lower() in _CHARSETS:
        return  # the driver sets it anyway
    if re.search(r"\bisolation\s+level\b", command, re.IGNORECASE):
        section.refuse("init_command", _ISOLATION, _HINT)
        return
    head = re.match(r"\s*set\s+", command, re.IGNORECASE)
    assignments = list(_assignments(command[head.end() :])) if head else []
    if not assignments or assignments[-1] is None:
        section.refuse(
            "init_command",
            "must be one SET of session variables to plain values",
            "for example: SET SESSION wait_timeout=28800, net_write_timeout=600",
        )
        return
    for assignment in assignments:
        if assignment is not None:
            _assign(section, *assignment, role, found)


def _assignments(text: str) -> Iterator[tuple[str, str, str] | None]:
    """(Scope, name, value) of each assignment; None, and the end, for any other text."""
    at = 0
    while at < len(text):
        match = _ASSIGNMENT.match(text, at)
        if match is None:
            yield None
            return
        scope = (match["scope"] or "").strip(" @.\t\n").lower()
        yield scope, match["name"].lower(), match["value"]
        at = match.end()
        if match["end"] == "," and not text[at:].strip():
            yield None


def _assign(section: Section, scope: str, name: str, value: str, role: Role, found: SessionSettings) -> None:
    plain = value[1:-1] if value[0] in "'\"" else value
    if scope not in ("", "session", "local"):
        section.refuse("init_command", f"{name}: {scope} would change it for every session", "set it for the session")
    elif name.startswith("@"):
        section.refuse("init_command", "sets a user variable", "write the value into the init_query")
    elif name == "sql_mode":
        if value.startswith("@") or value.upper() == "DEFAULT":
            section.refuse("init_command", "sql_mode must be named mode by mode", "or use the key sql_mode")
        else:
            _modes(section, "init_command", plain, role, found)
    elif name == "autocommit":
        _autocommit(plain.upper() in ("1", "ON", "TRUE"), role, found)
    elif name == "foreign_key_checks":
        if role == "target" and plain.upper() not in ("0", "OFF", "FALSE"):
            section.refuse("init_command", f"{name} {_FOREIGN_KEYS}", _HINT)
    elif name in _FIXED:
        allowed, why = _FIXED[name]
        if plain.upper() not in allowed:
            section.refuse("init_command", f"{name} {why}", _HINT)
    elif reason := _refused(name):
        section.refuse("init_command", f"{name} {reason}", _HINT)
    elif name == "wait_timeout" and not re.fullmatch(r"0*[1-9]\d{0,8}", value):
        section.refuse("init_command", "wait_timeout must be a whole number of seconds")
    else:
        found.variables[name] = value


def _refused(name: str) -> str:
    by_prefix = next((why for prefix, why in _REFUSED_PREFIXES.items() if name.startswith(prefix)), "")
    return _REFUSED.get(name, by_prefix)
