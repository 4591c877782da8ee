"""Writes docs/reference.md from the code: keys of a pipeline file, arguments, attributes, commands, checks, metrics.

python scripts/reference.py            writes it
python scripts/reference.py --check    exit code 1 if it is not what the code says

Kinds, bounds and defaults come from the code that reads each key. What a key means stands in README's tables, and a key
without a line there is an error.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from unittest import mock

import dagster as dg

from myrepetl_dagster import Checks, MySQLTargetResource, ReplicationComponent, ReplicationResource, factory
from myrepetl_dagster.checks import check_specs
from myrepetl_dagster.cli.main import _parser
from myrepetl_dagster.component import ComponentChecks
from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.config.pipeline import Pipeline
from myrepetl_dagster.core.config.section import Section
from myrepetl_dagster.core.model.limits import Limits
from myrepetl_dagster.core.replication.result import Counts
from myrepetl_dagster.metric_families import MappingNumbers, families

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference.md"

Rows = Sequence[Sequence[str]]

_SERVER = {"host": "nowhere.invalid", "user": "u", "database": "d"}
_SAMPLE: dict[str, Any] = {
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
    "sources": "object", "targets": "object", "source": "object", "target": "object", "database": "object",
    "mapping": "object", "init_queries": "object", "replication": "object", "monitoring": "object", "limits": "object",
    "column_mapping": "object", "columns": "object", "filter": "object", "password": "text",
    "autocommit": "`true`, `false`", "primary_key": "text, or a list of it", "only_events": "list of text", "value": "text or number",
}  # fmt: skip


# ---- keys of the pipeline file ------------------------------------------------------------------------------
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
        pipeline = from_dict(_SAMPLE)
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


def _of_pipeline() -> Iterator[str]:
    asked, pipeline = asked_keys()
    endpoints, mappings = meanings("### `sources`, `targets`, `database`"), meanings("### `mapping`")
    rest = meanings("### `replication`, `monitoring`, `metrics_port`, `limits`")
    yield "## The pipeline file\n"
    yield (
        "JSON or YAML. `${VARIABLE}` in any text and `{\"env\": \"VARIABLE\"}` in place of any value are read from the "
        "environment. More on filters, transforms and tables of several sources: [README](../README.md#the-pipeline-file)."
    )
    yield "\n### At the top\n"
    top = {
        "sources": "connections to read from, by name", "targets": "connections to write to, by name",
        "database": "defaults for all connections", "mapping": "the tables, by a name of yours",
        "replication": "see below", "monitoring": "see below", "limits": "see below",
        "metrics_port": rest["metrics_port"][0],
    }  # fmt: skip
    old = "of the original's first versions; see README"
    yield table(("key", "value", "meaning"), [
        (f"`{key.name}`", key.kind, _linked(top.get(key.name, old))) for key in asked[""].values()
    ])  # fmt: skip
    yield "\n### A connection: `sources.NAME`, `targets.NAME`, `database`\n"
    yield table(("key", "value", "default", "meaning"), [
        (f"`{key.name}`", key.kind, endpoints[key.name][1] or key.default, _linked(endpoints[key.name][0]))
        for key in _in_order(asked["endpoint"], endpoints)
    ])  # fmt: skip
    yield "\n### A table: `mapping.NAME`\n"
    yield table(("key", "value", "default", "meaning"), [
        (f"`{key.name}`", key.kind, key.default, _linked(mappings[key.name][0])) for key in _in_order(asked["mapping"], mappings)
    ])  # fmt: skip
    yield "\n### A column: `mapping.NAME.column_mapping.COLUMN`\n"
    columns = {
        "column": "the target's column; left out: of the same name",
        "primary_key": "whether it is part of the target's key",
        "transform": "`module.function` or `/dir/file.py:function`, which makes the value",
        "value": "a static value, the same in each row; there is no source column then",
    }
    yield table(("key", "value", "meaning"), [
        (f"`{key.name}`", key.kind, columns[key.name]) for key in asked["column"].values()
    ])  # fmt: skip
    for section in ("replication", "monitoring"):
        yield f"\n### `{section}`\n"
        known = {name.partition(".")[2]: meaning for name, (meaning, _) in rest.items() if name.startswith(f"{section}.")}
        held = {name.removesuffix("_s"): value for name, value in asdict(getattr(pipeline, section)).items()}
        yield table(("key", "value", "default", "meaning"), [
            (f"`{key.name}`", key.kind, key.default or _number(held.get(key.name.removesuffix("_s"))), _linked(known[key.name]))
            for key in _in_order(asked[section], known)
        ])  # fmt: skip
    yield "\n### `limits`\n"
    yield "Bounds of a run. Times are in seconds. No one needs them to begin with.\n"
    of_limits = arguments_of(Limits)
    yield table(("key", "default", "meaning"), [
        (f"`{one.name}`", _number(one.default), of_limits[one.name]) for one in fields(Limits)
    ])  # fmt: skip


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


# ---- Python and Dagster ----------------------------------------------------------------------------------------
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


def _default(value: object) -> str:
    if value is inspect.Parameter.empty:
        return "needed"
    if isinstance(value, dg.RetryPolicy):
        return f"{value.max_retries} retries"
    if value is None or value in ((), {}, frozenset(), ""):
        return ""
    return f"`{value}`"


def _parameters(function: Callable[..., Any]) -> str:
    texts = arguments_of(function)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name not in ("self", "context")]
    return table(("argument", "default", "meaning"), [
        (f"`{one.name}`", _default(one.default), texts[one.name]) for one in parameters
    ])  # fmt: skip


def _of_python() -> Iterator[str]:
    yield "\n## `build_replication_defs(pipeline, ...)`\n"
    yield _parameters(factory.build_replication_defs)
    yield "\n## `Checks(...)`\n"
    yield _parameters(Checks)
    yield "\n## `ReplicationResource.replicate(context, ...)`, `MySQLSourceResource.replicate(context, ...)`\n"
    yield _parameters(ReplicationResource.replicate)
    yield "\n## `dataframe(...)` of a resource\n"
    yield _parameters(MySQLTargetResource.dataframe)


def _of_component() -> Iterator[str]:
    yield "\n## The component `myrepetl_dagster.ReplicationComponent`\n"
    yield "`attributes` in `defs.yaml`. `dg docs` shows the same.\n"
    properties = ReplicationComponent.model().model_json_schema()["properties"]
    more = {
        "translation": "Attributes of the assets of target tables: key, group_name, owners, tags, kinds, "
        "automation_condition and so on. Templates may use `server`, `schema`, `table` and `spec`.",
        "source_translation": "The same for source tables.",
    }
    rows = []
    for name, one in properties.items():
        default = one.get("default")
        shown = "" if default in (None, "", "__DAGSTER_UNSET_DEFAULT__") else f"`{str(default).lower()}`"
        rows.append((f"`{name}`", shown, one.get("description") or more[name]))
    yield table(("attribute", "default", "meaning"), rows)
    texts = arguments_of(Checks) | {"fresh_within_s": arguments_of(Checks)["fresh_within"] .replace("The window", "Seconds: the window")}
    yield "\nOf `checks`:\n"
    yield table(("attribute", "default", "meaning"), [
        (f"`{name}`", f"`{str(field.default).lower()}`", texts[name].replace("None", "null"))
        for name, field in ComponentChecks.model_fields.items()
    ])  # fmt: skip


def _of_definitions() -> Iterator[str]:
    defs = factory.build_replication_defs(from_dict(_SAMPLE))
    repository = defs.get_repository_def()
    yield "\n## Jobs, sensors, checks\n"
    yield "For a source `shop`. With `name=\"x\"` they begin with `x_`. Sources that feed one table together share them.\n"
    rows = [(f"job `{one.name}`", one.description or "") for one in sorted(repository.get_all_jobs(), key=lambda j: j.name)
            if not one.name.startswith("__")]  # fmt: skip
    rows += [(f"sensor `{one.name}`", one.description or "") for one in repository.sensor_defs]
    key = dg.AssetKey(["analytics", "orders"])
    rows += [(f"check `{one.name}`", one.description or "") for one in check_specs({key: mock.Mock()}, Checks())]
    yield table(("name", "what it does"), rows)
    mapping = defs.resolve_job_def("replicate").config_mapping
    assert mapping is not None
    yield "\nRun configuration of the jobs `replicate`, `snapshot` and `catch_up_…`:\n"
    own = mapping.config_schema.config_type.fields
    yield table(("key", "meaning"), [(f"`{name}`", field.description or "") for name, field in own.items()])


# ---- commands and metrics -----------------------------------------------------------------------------------
def _of_commands() -> Iterator[str]:
    yield "\n## Command line\n"
    yield "Exit codes: 0 done, 1 a problem or an error (printed), 2 wrong usage, 130 and 143 stopped by SIGINT and SIGTERM.\n"
    parser = _parser()
    (commands,) = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    common = {option for one in parser._actions for option in one.option_strings}
    for name, command in commands.choices.items():
        yield f"### `myrepetl {name}`\n"
        yield f"{command.description}\n"
        own = [one for one in command._actions if one.option_strings and not common & set(one.option_strings)]
        if own:
            yield table(("option", "meaning"), [(f"`{_usage(one)}`", one.help or "") for one in own]) + "\n"
    yield "### Of all commands\n"
    shared = [one for one in parser._actions if one.option_strings and "-h" not in one.option_strings]
    yield table(("option", "meaning"), [
        *((f"`{_usage(one)}`", one.help or "") for one in shared),
        ("`PIPELINE`", "the pipeline file; also `--config`, or the variable `MYREPETL_CONFIG`"),
    ])  # fmt: skip


def _usage(action: argparse.Action) -> str:
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else "")
    return " ".join([*action.option_strings[-1:], *([str(value)] if value else [])])


def _of_metrics() -> Iterator[str]:
    yield "\n## Metrics\n"
    yield "Served at `metrics_port`, and printed by `myrepetl metrics`. [How to use them](how-to/monitor.md).\n"
    one = MappingNumbers(("s", "m", "t"), "following", 0.0, Counts(), 1, 1, 1.0, False, 0, 0.0)
    rows = []
    for family in families([one], {("source", "s"): True}, {("s", "TransientError"): 1}):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        rows.append((f"`{name}`", family.type, ", ".join(f"`{label}`" for label in family.samples[0].labels), family.documentation))
    yield table(("metric", "type", "labels", "meaning"), rows)


# ---- the page -------------------------------------------------------------------------------------------------
def table(titles: Sequence[str], rows: Rows) -> str:
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for row in rows:
        cells = [re.sub(r"(?<!\\)\|", r"\\|", re.sub(r"\s+", " ", cell)) for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def page() -> str:
    """The whole page."""
    parts = [
        "# Reference\n\nMade by `scripts/reference.py` from the code; a test says if it is not up to date.\n",
        *_of_pipeline(), *_of_python(), *_of_component(), *_of_definitions(), *_of_commands(), *_of_metrics(),
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def main(arguments: Sequence[str]) -> int:
    made = page()
    if "--check" in arguments:
        return 0 if PAGE.exists() and PAGE.read_text(encoding="utf-8") == made else 1
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
