"""The session variables of a server, each with unusual values for the whole server.

What a variable can be is asked of the server: it is set to candidates of its kind, and those that differ when it is read
back are kept.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pymysql
from servers import Flavour, Server

# Left alone, with the reason.
_LEFT_OUT = {
    "debug": "is of builds for debugging",
    "keep_files_on_create": "is of MyISAM",
    "system_versioning_insert_history": "has no effect by itself",
}
# Of the whole server alone, but with an effect on our sessions.
_GLOBAL: dict[str, tuple[str, ...]] = {
    "read_only": ("ON",),
    "max_prepared_stmt_count": ("0",),
    "init_connect": (
        "'SET autocommit=0'",
        "'SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE'",
        "'SET sql_mode=\"ANSI_QUOTES,NO_BACKSLASH_ESCAPES\"'",
        "'SET sql_select_limit=1'",
        "'SET NAMES latin1'",
        "'SET time_zone=\"+05:00\"'",
        "'SET @a=1; SET insert_id=7'",
        "'SET sql_auto_is_null=1'",
        "'SET last_insert_id=9'",
        "'SET unique_checks=0'",
        "'SET rand_seed1=1'",
        "'no statement'",
    ),
}
_ZONES = ("'+05:30'", "'-12:00'", "'SYSTEM'")
_CHARSETS = ("latin1", "utf8mb4", "utf8mb3", "gbk", "sjis", "binary", "ascii", "cp1251", "ucs2", "swe7", "utf32")
_COLLATIONS = (
    "latin1_swedish_ci", "latin1_bin", "utf8mb4_general_ci", "utf8mb4_bin", "utf8mb4_unicode_520_ci", "utf8mb4_0900_ai_ci",
    "utf8mb4_0900_as_cs", "utf8mb3_general_ci", "gbk_chinese_ci", "sjis_bin", "binary", "ucs2_bin", "swe7_bin",
)  # fmt: skip
_LOCALES = ("de_DE", "ja_JP", "ar_SA")
_ENGINES = ("MyISAM", "MEMORY", "Aria", "ARCHIVE", "CSV", "BLACKHOLE", "InnoDB", "NULL")
_NUMBERS = ("0", "1", "2", "5", "1000", "100000", "-1", "0.000001", "0.5")


@dataclass(frozen=True)
class Setting:
    """One value of one variable, as SQL."""

    name: str
    value: str

    def __str__(self) -> str:
        return f"{self.name}={self.value}"


class Settings:
    """What can be set on a server for all of its new sessions, over one connection of its own."""

    def __init__(self, server: Server) -> None:
        self.flavour: Flavour = server.flavour
        self._connection = server.connect()
        shown = [str(name).lower() for name, _ in self._run("SHOW SESSION VARIABLES")]
        self._names = [
            name for name in dict.fromkeys((*shown, *_GLOBAL)) if name not in _LEFT_OUT and self._can_be_set(name)
        ]
        self._usual = self._held(self._names)

    def close(self) -> None:
        self._connection.close()

    def all(self) -> Iterator[Setting]:
        """Each value of each session variable that can be set for new sessions."""
        for name in self._names:
            if name in _GLOBAL:
                yield from (Setting(name, value) for value in _GLOBAL[name])
            else:
                yield from self._values(name)

    @contextlib.contextmanager
    def set(self, settings: Sequence[Setting]) -> Iterator[None]:
        """Have these for all new sessions, and afterwards what was before."""
        try:
            for setting in settings:
                self._run(f"SET GLOBAL {setting.name}={setting.value}")
            yield
        finally:
            self._restore()

    # ---- the variables and their values ----
    def _can_be_set(self, name: str) -> bool:
        """Whether it has a value for the whole server and, but for those that are named above, one for a session."""
        try:
            self._run(f"SELECT @@GLOBAL.{name}")
            if name not in _GLOBAL:
                self._run(f"SET SESSION {name}=@@SESSION.{name}")
        except pymysql.MySQLError as error:
            return error.args[0] not in (1193, 1229, 1238)  # unknown, global only, of a session only or read only
        return True

    def _values(self, name: str) -> Iterator[Setting]:
        seen = {self._usual[name]}
        for value in self._candidates(name, self._usual[name]):
            with contextlib.suppress(pymysql.MySQLError):
                self._run(f"SET GLOBAL {name}={value}")
                held = self._held([name])[name]
                if held not in seen:
                    seen.add(held)
                    yield Setting(name, value)
        self._restore()

    def _candidates(self, name: str, usual: Any) -> Iterator[str]:
        if name in ("sql_mode", "old_mode"):
            yield from (f"'{mode}'" for mode in ("", *self._modes(name)))
        elif re.fullmatch(r"(\w+=(on|off),?)+", str(usual)):
            for flag in usual.split(","):
                key, _, value = flag.partition("=")
                yield f"'{key}={'off' if value == 'on' else 'on'}'"
        elif name == "system_versioning_asof":
            yield "'2001-01-01 00:00:00'"
        elif name == "time_zone":
            yield from _ZONES
        elif name.startswith("character_set_collations"):
            yield from ("''", "'utf8mb4=utf8mb4_bin,latin1=latin1_bin'", "'utf8mb4=utf8mb4_uca1400_ai_ci'")
        elif name.startswith("character_set_"):
            yield from _CHARSETS
        elif "collation" in name:
            yield from _COLLATIONS
        elif name.startswith("lc_"):
            yield from (f"'{locale}'" for locale in _LOCALES)
        elif "storage_engine" in name:
            yield from _ENGINES
        elif isinstance(usual, int | float | Decimal):
            yield from _NUMBERS
        else:
            yield from (str(number) for number in range(9))  # the values of an ENUM or a SET by their numbers
            yield from (str(2**bit) for bit in range(4, 12))
            yield from ("''", "'x'", "'1'")

    def _modes(self, name: str) -> list[str]:
        modes = []
        for bit in range(40):
            with contextlib.suppress(pymysql.MySQLError):
                self._run(f"SET SESSION {name}={2**bit}")
                modes.append(str(self._run(f"SELECT @@SESSION.{name}")[0][0]))
        self._run(f"SET SESSION {name}=DEFAULT")
        return [mode for mode in dict.fromkeys(modes) if mode]

    # ---- the server ----
    def _run(self, sql: str) -> tuple[Any, ...]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            return tuple(cursor.fetchall())

    def _held(self, names: Sequence[str]) -> dict[str, Any]:
        (row,) = self._run("SELECT " + ", ".join(f"@@GLOBAL.{name}" for name in names))
        return dict(zip(names, row, strict=True))

    def _restore(self) -> None:
        """Set back whatever has changed: setting one variable may have set another one, too."""
        for value_of in (_literal, lambda _: "DEFAULT", lambda _: "NULL"):
            now = self._held(self._names)
            for name in (name for name in self._names if now[name] != self._usual[name]):
                with contextlib.suppress(pymysql.MySQLError):
                    self._run(f"SET GLOBAL {name}={value_of(self._usual[name])}")
        assert self._held(self._names) == self._usual


def _literal(value: Any) -> str:
    return "NULL" if value is None else str(value) if isinstance(value, int | float | Decimal) else f"'{value}'"
