"""The statements of the servers' own test suites, which are fetched from Debian and never part of this repository.

A mysqltest file is SQL with directives of a harness between. Plain statements are kept, also those that
are expected to fail. What needs the harness (variables, loops, other files, the shell) is counted by kind and left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from server_binaries import Flavour, fetched_tool

# Package, Debian's suite, and the folder of the tests in it.
_PACKAGES: dict[tuple[Flavour, str | None], tuple[str, str, str]] = {
    ("mariadb", None): ("mariadb-test-data", "bookworm", "usr/share/mysql/mysql-test"),
    ("mariadb", "11.8"): ("mariadb-test-data", "trixie", "usr/share/mariadb/mariadb-test"),
    ("mysql", None): ("mysql-testsuite", "sid", "usr/lib/mysql-test"),
}
_FILES = ("main/type_*.test", "main/ctype_*.test", "t/type_*.test", "t/ctype_*.test", "suite/rpl/t/*.test",
          "suite/binlog/t/*.test", "suite/innodb/t/*.test")  # fmt: skip
# A directive that is a statement's prefix, or of no effect on data.
_HARMLESS = {
    "disable_warnings", "enable_warnings", "disable_query_log", "enable_query_log", "disable_result_log",
    "enable_result_log", "sorted_result", "echo", "horizontal_results", "vertical_results", "disable_info", "enable_info",
    "enable_metadata", "disable_metadata", "replace_result", "replace_column", "replace_regex", "character_set",
    "disable_ps_protocol", "enable_ps_protocol", "save_master_pos", "sync_with_master", "disable_view_protocol",
    "enable_view_protocol", "disable_cursor_protocol", "enable_cursor_protocol", "disable_ps2_protocol",
    "enable_ps2_protocol", "disable_service_connection", "enable_service_connection", "sync_slave_with_master",
    "disable_connect_log", "enable_connect_log", "lowercase_result", "query_vertical", "query_horizontal",
    "error",
}  # fmt: skip
_HARNESS = {
    "source", "let", "while", "if", "perl", "eval", "exec", "connect", "connection", "disconnect", "send", "reap", "inc",
    "dec", "sleep", "real_sleep", "write_file", "append_file", "remove_file", "copy_file", "cat_file", "die", "exit", "skip",
    "shutdown_server", "wait_for_slave_to_stop", "mkdir", "rmdir", "file_exists", "send_eval", "assert", "remove_files_wildcard",
    "list_files", "move_file", "diff_files", "chmod", "change_user", "evalp", "execw", "system", "end", "query_get_value",
    "enable_reconnect", "disable_reconnect", "enable_abort_on_error", "disable_abort_on_error", "query", "ping", "dirty_close",
    "force-rmdir", "force-cpdir", "send_quit", "reset_connection", "save_master_pos_with_gtid", "delimiter",
}  # fmt: skip
_HEREDOC = re.compile(r"^\s*(?:--)?\s*(?:perl|write_file|append_file)\b[^;\n]*?(\w+)?\s*;?\s*$", re.I)
# Statements that reach beyond the test's own schema, or end the session's use for us.
_KEPT_OUT = re.compile(
    r"(?is)^(use|(create|drop|alter)\s+(or\s+replace\s+)?(database|schema|user|role|server|tablespace|event|undo|instance"
    r"|resource|logfile)|rename\s+user|grant|revoke|set\s+(@@)?(global|persist|password)|set\s+(@@)?(session\s+)?"
    r"(sql_log_bin|binlog_format|binlog_row_image|pseudo|gtid|server_id|debug|skip_parallel)|set\s+.*@@global"
    r"|change\s+(master|replication)|(start|stop|reset)\s+(all\s+)?(slaves?|replica|master|group|binary)|reset|shutdown|kill"
    r"|purge|install|uninstall|flush|xa|load|lock\s+tables.*|set\s+debug|binlog|clone|restart|backup|help|show|explain|select"
    r"\s+sleep|do\s+sleep|.*\b(mysql|test|sys|performance_schema|mtr)\s*\.)"
)
_VARIABLE = re.compile(r"\$[A-Za-z_]\w*")


@dataclass
class SuiteFile:
    """The plain statements of one file, and how many of which kind were left out."""

    name: str
    statements: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def suite_files(flavour: Flavour, version: str | None = None) -> list[Path]:
    """All files of the types, character sets, replication, log and InnoDB suites; fetched once.

    `version`: "11.8" for MariaDB's of that version; None: the machine's own.
    """
    package, suite, tests = _PACKAGES[flavour, version]
    folder = fetched_tool(f"{package}-{version}" if version else package, [package], suite)
    return sorted(path for pattern in _FILES for path in (folder / tests).glob(pattern))


def read(path: Path) -> SuiteFile:
    """What can be run of a file without the suite's harness."""
    read_file = SuiteFile(path.stem)
    for kind, text in _commands(path.read_bytes().decode("utf-8", "surrogateescape")):
        if kind != "sql":
            read_file.left_out[kind] += 1
        elif _VARIABLE.search(text):
            read_file.left_out["variable of the harness"] += 1
        elif match := _KEPT_OUT.match(text):
            read_file.left_out[" ".join(match[0].lower().split()[:2])[:20]] += 1
        else:
            read_file.statements.append(text)
    return read_file


def _commands(text: str) -> Iterator[tuple[str, str]]:
    """("sql", statement), or (kind of a directive, "")."""
    lines, delimiter, held, depth = iter(text.splitlines()), ";", "", 0
    for line in lines:
        stripped = line.strip()
        if not held and (not stripped or stripped.startswith(("#", "-- "))):
            continue
        dashed = not held and stripped.startswith("--")
        words = re.findall(r"[\w-]+", stripped.removeprefix("--")) if not held else []
        word = words[0].lower() if words else ""
        if not held and (dashed or word in _HARNESS | _HARMLESS):
            if word == "delimiter":
                delimiter = stripped.removeprefix("--").strip().split(None, 1)[1].strip()
                delimiter = delimiter.removesuffix(";") or ";" if len(delimiter) > 1 else delimiter
            elif word in ("perl", "write_file", "append_file"):
                end = words[-1] if word != "perl" and len(words) > 1 and words[-1].isupper() else "EOF"
                next((skipped for skipped in lines if skipped.strip() == end), None)
            elif word in ("while", "if"):
                depth = stripped.count("{") - stripped.count("}")
                opened = "{" in stripped
                while depth > 0 or not opened:
                    inner = next(lines, None)
                    if inner is None:
                        break
                    depth += inner.count("{") - inner.count("}")
                    opened = opened or "{" in inner
            elif not dashed and word not in _HARMLESS:
                while not stripped.endswith(delimiter) and (inner := next(lines, None)) is not None:
                    stripped = inner.strip()
            if word not in _HARMLESS and word != "delimiter":
                yield (word if word in _HARNESS else "other directive"), ""
            continue
        held += line + "\n"
        if held.rstrip().endswith(delimiter):
            parts = [part.strip() for part in held.rstrip().removesuffix(delimiter).split(f"{delimiter}\n")]
            held = ""
            yield from (("sql", part) for part in parts if part)
