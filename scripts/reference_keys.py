"""The part of docs/reference.md about the pipeline file.

Kinds, bounds and defaults are those that loading a file asks for. What a key means stands in README's tables. A key
without a line there is an error.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from unittest import mock

from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.config.pipeline import Pipeline
from myrepetl_dagster.core.config.section import Section
from myrepetl_dagster.core.model.limits import Limits

ROOT = Path(__file__).resolve().parent.parent

_SERVER = {"host": "nowhere.invalid", "user": "u", "database": "d"}
SAMPLE: dict[str, Any] = {
    "sources": {"shop": _SERVER},
    "targets": {"analytics": _SERVER | {"database": "dw"}},
    "mapping": {
        "orders": {
            "source_table": "shop.orders",
            "target_table": "analytics.orders",
            "column_mapping": {"id": {"column": "id", "primary_key": True}},
        },
    },
    "monitoring": {},
    "replication": {},
    "limits": {},
    "database": {},
}
# Keys that are read in more than one form, so that no single question tells their kind.
_KINDS = {
    "sources": "object",
    "targets": "object",
    "source": "object",
    "target": "object",
    "database": "object",
    "mapping": "object",
    "init_queries": "object",
    "replication": "object",
    "monitoring": "object",
    "limits": "object",
    "column_mapping": "object",
    "columns": "object",
    "filter": "object",
    "password": "text",
    "autocommit": "`true`, `false`",
    "primary_key": "text, or a list of it",
    "only_events": "list of text",
    "value": "text or number",
}


@dataclass(frozen=True)
class Key:
    """A key, as the code that loads a file has asked for it. `default`: what the question itself gives."""

    name: str
    kind: str
    default: str = ""


def asked_keys() -> tuple[dict[str, dict[str, Key]], Pipeline]:
    """The keys of each section of a pipeline file, by the questions that loading one asks; and what came of it."""
    found: dict[str, dict[str, Key]] = {}
    asking = [False]

    def listening(method: str) -> Callable[..., Any]:
        real = getattr(Section, method)

        def ask(section: Section, key: str, *arguments: Any, **named: Any) -> Any:
            place = _place(section.path)
            if place is not None and not asking[0]:
                keys = found.setdefault(place, {})
                if key not in keys or method not in ("raw", "section"):
                    keys[key] = _key(method, key, arguments, named)
            outermost, asking[0] = not asking[0], True
            try:
                return real(section, key, *arguments, **named)
            finally:
                if outermost:
                    asking[0] = False

        return ask

    with ExitStack() as stack:
        for method in ("raw", "text", "choice", "flag", "integer", "number", "section"):
            stack.enter_context(mock.patch.object(Section, method, listening(method)))
        pipeline = from_dict(SAMPLE)
    return found, pipeline


def _place(path: str) -> str | None:
    if path.startswith(("sources.", "targets.")):
        return "endpoint"
    if path.startswith("mapping."):
        return "column" if ".column_mapping." in path else None if path.endswith("column_mapping") else "mapping"
    return path if path in ("", "replication", "monitoring", "limits") else None


def _key(method: str, key: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Key:
    match method:
        case "text":
            return Key(key, _KINDS[key] if key == "primary_key" else "text")
        case "choice":
            return Key(key, ", ".join(f"`{one}`" for one in arguments))
        case "flag":
            default = named.get("default", arguments[0] if arguments else False)
            return Key(key, "`true`, `false`", str(default).lower() if isinstance(default, bool) else "")
        case "integer":
            least, most = named["least"], named.get("most")
            return Key(key, f"whole number, {least} or more" if most is None else f"whole number, {least} to {most}")
        case "number":
            return Key(key, "number, 0 or more" if named.get("zero") else "number above 0")
    return Key(key, _KINDS.get(key, "?"))


def meanings(heading: str) -> dict[str, tuple[str, str]]:
    """The meaning and the default of each key, as the tables below a heading of README say."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").split(f"\n{heading}\n", 1)[1]
    section = re.split(r"\n#", text, maxsplit=1)[0]
    found = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) >= 2 and cells[0].startswith("`"):
            for name in re.findall(r"`([^`]+)`", cells[0]):
                found[name] = cells[1], cells[2] if len(cells) > 2 else ""
    return found


def of_pipeline() -> Iterator[str]:
    asked, pipeline = asked_keys()
    endpoints, mappings = meanings("### `sources`, `targets`, `database`"), meanings("### `mapping`")
    rest = meanings("### `replication`, `monitoring`, `metrics_port`, `limits`")
    yield "## The pipeline file\n"
    yield (
        'JSON or YAML. `${VARIABLE}` in any text and `{"env": "VARIABLE"}` in place of any value are read from the '
        "environment. More on filters, transforms and tables of several sources: "
        "[README](../README.md#the-pipeline-file)."
    )
    yield "\n### At the top\n"
    top = {
        "sources": "connections to read from, by name",
        "targets": "connections to write to, by name",
        "database": "defaults for all connections",
        "mapping": "the tables, by a name of yours",
        "replication": "see below",
        "monitoring": "see below",
        "limits": "see below",
        "metrics_port": rest["metrics_port"][0],
    }
    old = "of the original's first versions; see README"
    yield table(
        ("key", "value", "meaning"),
        [(f"`{key.name}`", key.kind, _linked(top.get(key.name, old))) for key in asked[""].values()],
    )
    yield "\n### A connection: `sources.NAME`, `targets.NAME`, `database`\n"
    yield table(
        ("key", "value", "default", "meaning"),
        [
            (f"`{key.name}`", key.kind, endpoints[key.name][1] or key.default, _linked(endpoints[key.name][0]))
            for key in _in_order(asked["endpoint"], endpoints)
        ],
    )
    yield "\n### A table: `mapping.NAME`\n"
    yield table(
        ("key", "value", "default", "meaning"),
        [
            (f"`{key.name}`", key.kind, key.default, _linked(mappings[key.name][0]))
            for key in _in_order(asked["mapping"], mappings)
        ],
    )
    yield "\n### A column: `mapping.NAME.column_mapping.COLUMN`\n"
    columns = {
        "column": "the target's column; left out: of the same name",
        "primary_key": "whether it is part of the target's key",
        "transform": "`module.function` or `/dir/file.py:function`, which makes the value",
        "value": "a static value, the same in each row; there is no source column then",
    }
    yield table(
        ("key", "value", "meaning"),
        [(f"`{key.name}`", key.kind, columns[key.name]) for key in asked["column"].values()],
    )
    for section in ("replication", "monitoring"):
        yield f"\n### `{section}`\n"
        known = {
            name.partition(".")[2]: meaning for name, (meaning, _) in rest.items() if name.startswith(f"{section}.")
        }
        held = {name.removesuffix("_s"): value for name, value in asdict(getattr(pipeline, section)).items()}
        yield table(
            ("key", "value", "default", "meaning"),
            [
                (
                    f"`{key.name}`",
                    key.kind,
                    key.default or _number(held.get(key.name.removesuffix("_s"))),
                    _linked(known[key.name]),
                )
                for key in _in_order(asked[section], known)
            ],
        )
    yield "\n### `limits`\n"
    yield "Bounds of a run. Times are in seconds. No one needs them to begin with.\n"
    of_limits = arguments_of(Limits)
    yield table(
        ("key", "default", "meaning"),
        [(f"`{one.name}`", _number(one.default), of_limits[one.name]) for one in fields(Limits)],
    )


def _in_order(keys: Mapping[str, Key], known: Mapping[str, object]) -> list[Key]:
    """The keys in README's order.

    Raises:
        KeyError: README does not have one of them.
    """
    places = {name: place for place, name in enumerate(known)}
    return sorted(keys.values(), key=lambda key: places[key.name])


def _number(value: object) -> str:
    return "" if value is None else f"{value:,}".removesuffix(".0") if isinstance(value, int | float) else str(value)


def _linked(text: str) -> str:
    """A text of README, with its links as they are from docs/."""
    text = re.sub(r"\]\(docs/", "](", text)
    return re.sub(r"\]\(#", "](../README.md#", text)


# ---- texts ----
def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for row in rows:
        cells = [re.sub(r"(?<!\\)\|", r"\\|", re.sub(r"\s+", " ", cell)) for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def arguments_of(of: Any) -> dict[str, str]:
    """The arguments that a docstring describes, by name."""
    text = inspect.getdoc(of) or ""
    block = re.search(r"^Args:\n((?: +.*\n?|\n)+)", text, re.MULTILINE)
    found: dict[str, str] = {}
    for line in (block[1] if block else "").splitlines():
        if match := re.match(r" {4}(\w+): (.*)", line):
            name = match[1]
            found[name] = match[2]
        elif line.strip():
            found[name] += " " + line.strip()
    return {name: _sentence(text) for name, text in found.items()}


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] if text[0].islower() else text
