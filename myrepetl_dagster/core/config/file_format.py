"""The content of a pipeline file as plain objects: JSON or YAML, no key twice, `${VAR}` replaced.

The parsers of both formats keep the last of two equal keys, which would lose a mapping silently. So an equal key is a
problem. A parser's message is passed on without the text that it quotes, which may be a secret.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..model.errors import ConfigError
from .section import UNRESOLVED, Findings, Unresolved


def read(path: Path) -> tuple[object, list[str]]:
    """(The file's content, paths of the keys that it has twice).

    Raises:
        ConfigError: the file cannot be read, or is neither JSON nor YAML.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise _error(path, "no such file", "give the path of a .json or .yaml file") from None
    except OSError as error:
        raise _error(path, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise _error(path, f"is not UTF-8 at byte {error.start}") from None
    match path.suffix.lower():
        case ".json":
            return _json(text, path)
        case ".yaml" | ".yml":
            return _yaml(text, path)
    try:
        return _json(text, path)
    except ConfigError:
        if text.lstrip().startswith("{"):
            raise
        return _yaml(text, path)


def _error(path: Path, what: str, hint: str = "") -> ConfigError:
    return ConfigError([(str(path), what, hint)])


# ---- JSON ------------------------------------------------------------------------------------------
class _Doubled(dict[str, object]):
    """An object that has keys twice. JSON's hook does not know the object's path."""

    keys_twice: list[str]


def _json(text: str, path: Path) -> tuple[object, list[str]]:
    try:
        data = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        comment = text[error.pos : error.pos + 1] in ("/", "#")
        hint = "JSON has no comments; YAML has" if comment else ""
        raise _error(path, f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}", hint) from None
    except RecursionError:
        raise _error(path, "is nested too deeply") from None
    return data, list(_doubled(data, ""))


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    data = dict(pairs)
    if len(data) == len(pairs):
        return data
    doubled = _Doubled(data)
    names = [name for name, _ in pairs]
    doubled.keys_twice = sorted({name for name in names if names.count(name) > 1})
    return doubled


def _doubled(data: object, path: str) -> Iterator[str]:
    if isinstance(data, _Doubled):
        yield from (_join(path, key) for key in data.keys_twice)
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _doubled(value, _join(path, key))
    if isinstance(data, list):
        for index, value in enumerate(data):
            yield from _doubled(value, f"{path}[{index}]")


# ---- YAML ------------------------------------------------------------------------------------------
def _yaml(text: str, path: Path) -> tuple[object, list[str]]:
    yaml = importlib.import_module("yaml")  # not at the top: the import takes time, and most pipelines are JSON
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        doubled = list(_doubled_nodes(node, "", yaml, set()))
        return (None if node is None else loader.construct_document(node)), doubled
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        if mark and text[mark.index : mark.index + 1] == "\t":
            raise _error(path, f"is not YAML: a tab{where}", "indent with spaces") from None
        # The message may quote the file: an unquoted password that begins with * is "an undefined alias".
        said = re.sub(r"(['\"]).*\1", "…", str(getattr(error, "problem", None) or "cannot be parsed"))
        raise _error(path, f"is not YAML: {said}{where}", "values with special characters need quotes") from None
    except (RecursionError, ValueError, TypeError) as error:  # for example a date that does not exist
        raise _error(path, f"is not YAML: a value raises {type(error).__name__}") from None


def _doubled_nodes(node: Any, path: str, yaml: Any, seen: set[int]) -> Iterator[str]:
    if id(node) in seen:
        return  # an alias: its keys are reported at its anchor
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        yield from sorted({_join(path, name) for name in names if names.count(name) > 1 and name != "<<"})
        for key, value in node.value:
            yield from _doubled_nodes(value, _join(path, str(key.value)), yaml, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _doubled_nodes(value, f"{path}[{index}]", yaml, seen)


# ---- variables -------------------------------------------------------------------------------------
_VARIABLE = re.compile(r"\$(\$\{|\{([A-Za-z_][A-Za-z0-9_]*)\})")


def substitute(data: object, findings: Findings, path: str = "") -> object:
    """The data with `${NAME}` in any text replaced by the variable, and `$${` by `${`. Keys must be text."""
    if isinstance(data, str):
        return _substitute_text(data, findings, path)
    if isinstance(data, list):
        return [substitute(value, findings, f"{path}[{index}]") for index, value in enumerate(data)]
    if not isinstance(data, dict):
        return data
    for key in data:
        if not isinstance(key, str):
            findings.problem(_join(path, str(key)), "a key must be text", "put it in quotes")
    return {str(key): substitute(value, findings, _join(path, str(key))) for key, value in data.items()}


def _substitute_text(text: str, findings: Findings, path: str) -> str | Unresolved:
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        if match[2] is None:
            return "${"
        found = findings.variable(match[2], path)
        missing = missing or isinstance(found, Unresolved)
        return found if isinstance(found, str) else ""

    done = _VARIABLE.sub(value, text)
    return UNRESOLVED if missing else done


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
