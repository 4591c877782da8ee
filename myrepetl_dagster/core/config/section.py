"""Reads settings one by one: their types, variables, unknown keys. Problems are collected, not raised.

A `Section` is an object of the pipeline file. It notes which keys were asked for, so that `finish` can name the unknown
ones. No message holds a value: a password may stand in the wrong place.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Problem = tuple[str, str, str]

_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}


class Unresolved:
    """Stands for text whose variable is missing. That is reported already, so the setting counts as not set."""


UNRESOLVED = Unresolved()


@dataclass(slots=True)
class Findings:
    """The problems and warnings found while reading, and the variables that the file may use."""

    environ: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def problem(self, path: str, what: str, hint: str = "") -> None:
        if (path, what, hint) not in self.problems:
            self.problems.append((path, what, hint))

    def warn(self, path: str, text: str) -> None:
        if f"{path}: {text}" not in self.warnings:
            self.warnings.append(f"{path}: {text}")

    def variable(self, name: str, path: str) -> str | Unresolved:
        if name in self.environ:
            return self.environ[name]
        self.problem(path, f"the environment variable {name} is not set", f"export {name}, or write the value")
        return UNRESOLVED

    def scalar(self, value: object, path: str) -> object:
        """The value, or the variable if the value is `{"env": "NAME"}`."""
        if isinstance(value, Mapping) and set(value) == {"env"} and isinstance(value["env"], str):
            return self.variable(value["env"], path)
        return value


def closest(name: str, known: Iterable[str], what: str = "known") -> str:
    """A hint: the known name that was probably meant, or all known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"{what}: {', '.join(names)}" if names else ""


def kind(value: object) -> str:
    """The kind of a value in words, without the value."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case Mapping():
            return "an object"
    return type(value).__name__


class Section:
    """An object of the file. A key that it lacks is looked up in `defaults`."""

    def __init__(self, data: object, path: str, findings: Findings, defaults: Section | None = None) -> None:
        self.path = path
        self.findings = findings
        self._defaults = defaults
        self._asked: set[str] = set()
        if data is not None and not isinstance(data, Mapping):
            findings.problem(path or "the file", f"must be an object, not {kind(data)}")
        self.data: Mapping[str, object] = data if isinstance(data, Mapping) else {}

    def at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def problem(self, key: str, what: str, hint: str = "") -> None:
        self.findings.problem(self.at(key), what, hint)

    def place(self, key: str) -> str:
        """The path of the value: in this section, or among the defaults."""
        return self._find(key)[1]

    def refuse(self, key: str, what: str, hint: str = "") -> None:
        """Report a problem with a value, at the value's path."""
        self.findings.problem(self.place(key), what, hint)

    def has(self, key: str) -> bool:
        return self.raw(key) is not None

    def missing(self, key: str, hint: str = "") -> None:
        """Report a key that must be there, unless a missing variable in its place is reported already."""
        value = self.data.get(key)
        if value is None or value in ("", {}):
            self.problem(key, "is missing" if value is None else "is empty", hint)

    def raw(self, key: str) -> object:
        """The value as it is in the file; None for null and for a missing key."""
        return self._find(key)[0]

    def section(self, key: str) -> Section:
        value, path = self._find(key)
        return Section(value, path, self.findings)

    def text(self, key: str) -> str | None:
        """The text; None if it is not set or empty."""
        value, path = self._scalar(key)
        if isinstance(value, str):
            return value or None
        if value is not None:
            self.findings.problem(path, f"must be text, not {kind(value)}", "put it in quotes")
        return None

    def choice(self, key: str, *known: str) -> str | None:
        value, path = self.text(key), self._find(key)[1]
        if value is None or value in known:
            return value
        self.findings.problem(path, "is not one of the known values", f"known: {', '.join(known)}")
        return None

    def flag(self, key: str, default: bool) -> bool:
        value, path = self._scalar(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        word = str(value).lower() if isinstance(value, str | int) else ""
        if word not in _TRUE | _FALSE:
            self.findings.problem(path, f"must be true or false, not {kind(value)}")
        return word in _TRUE if word in _TRUE | _FALSE else default

    def integer(self, key: str, least: int, most: int | None = None) -> int | None:
        value, path = self._scalar(key)
        if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,20}", value):
            value = int(value)  # the value of a variable is always text
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self.findings.problem(path, f"must be a whole number, not {kind(value)}")
        elif value < least or (most is not None and value > most):
            self.findings.problem(path, f"must be {least} or more" if most is None else f"must be {least} to {most}")
        else:
            return value
        return None

    def number(self, key: str, *, zero: bool = False) -> float | None:
        """The number, which must be above zero, or may be zero; None if it is not set."""
        value, path = self._scalar(key)
        if isinstance(value, str) and re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
            value = float(value)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.findings.problem(path, f"must be a number, not {kind(value)}")
        elif not (0 < value < math.inf or (zero and value == 0)):
            self.findings.problem(path, "must be 0 or more" if zero else "must be above 0")
        else:
            return float(value)
        return None

    def finish(self) -> None:
        """Report the keys that nothing asked for: a misspelt setting must not be dropped silently."""
        for key in self.data:
            if key not in self._asked:
                self.problem(str(key), "unknown key", closest(str(key), self._asked))

    def _find(self, key: str) -> tuple[object, str]:
        self._asked.add(key)
        value = self.data.get(key)
        if self._defaults is not None:
            default = self._defaults._find(key)  # asked for in any case, so that the key is known there
            if value is None:
                return default
        return (None if value is UNRESOLVED else value), self.at(key)

    def _scalar(self, key: str) -> tuple[object, str]:
        value, path = self._find(key)
        value = self.findings.scalar(value, path)
        return (None if value is UNRESOLVED else value), path
