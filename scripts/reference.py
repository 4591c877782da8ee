"""Writes docs/reference.md from the code: keys of a pipeline file, arguments, attributes, commands, checks, metrics.

python scripts/reference.py            writes it
python scripts/reference.py --check    exit code 1 if it is not what the code says
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import dagster as dg
from reference_keys import ROOT, SAMPLE, arguments_of, of_pipeline, table

from myrepetl_dagster import Checks, MySQLTargetResource, ReplicationComponent, ReplicationResource, factory
from myrepetl_dagster.checks import check_specs
from myrepetl_dagster.cli.main import _parser
from myrepetl_dagster.component import ComponentChecks
from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.replication.result import Counts
from myrepetl_dagster.metric_families import MappingNumbers, families

PAGE = ROOT / "docs" / "reference.md"


# ---- Python and Dagster ----------------------------------------------------------------------------------------
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
    return table(
        ("argument", "default", "meaning"),
        [(f"`{one.name}`", _default(one.default), texts[one.name]) for one in parameters],
    )


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
    texts = arguments_of(Checks) | {
        "fresh_within_s": arguments_of(Checks)["fresh_within"].replace("The window", "Seconds: the window")
    }
    yield "\nOf `checks`:\n"
    yield table(
        ("attribute", "default", "meaning"),
        [
            (f"`{name}`", f"`{str(field.default).lower()}`", texts[name].replace("None", "null"))
            for name, field in ComponentChecks.model_fields.items()
        ],
    )


def _of_definitions() -> Iterator[str]:
    defs = factory.build_replication_defs(from_dict(SAMPLE))
    repository = defs.get_repository_def()
    yield "\n## Jobs, sensors, checks\n"
    yield "For a source `shop`. `name=` begins their names. Sources that feed one table together share them.\n"
    rows = [
        (f"job `{one.name}`", one.description or "")
        for one in sorted(repository.get_all_jobs(), key=lambda j: j.name)
        if not one.name.startswith("__")
    ]
    rows += [(f"sensor `{one.name}`", one.description or "") for one in repository.sensor_defs]
    key = dg.AssetKey(["analytics", "orders"])
    rows += [(f"check `{one.name}`", one.description or "") for one in check_specs({key: mock.Mock()}, Checks())]
    yield table(("name", "what it does"), rows)
    mapping = defs.resolve_job_def("replicate").config_mapping
    assert mapping is not None
    yield "\nRun configuration of the jobs `replicate`, `snapshot` and `catch_up_…`:\n"
    own: Any = mapping.config_schema.config_type
    yield table(("key", "meaning"), [(f"`{name}`", field.description or "") for name, field in own.fields.items()])


# ---- commands and metrics -----------------------------------------------------------------------------------
def _of_commands() -> Iterator[str]:
    yield "\n## Command line\n"
    yield "Exit codes: 0 done, 1 a problem or an error, 2 wrong usage, 130 and 143 stopped by SIGINT and SIGTERM.\n"
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
    yield table(
        ("option", "meaning"),
        [
            *((f"`{_usage(one)}`", one.help or "") for one in shared),
            ("`PIPELINE`", "the pipeline file; also `--config`, or the variable `MYREPETL_CONFIG`"),
        ],
    )


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
        rows.append(
            (
                f"`{name}`",
                family.type,
                ", ".join(f"`{label}`" for label in family.samples[0].labels),
                family.documentation,
            )
        )
    yield table(("metric", "type", "labels", "meaning"), rows)


# ---- the page -------------------------------------------------------------------------------------------------
def page() -> str:
    """The whole page."""
    parts = [
        "# Reference\n\nMade by `scripts/reference.py` from the code; a test says if it is not up to date.\n",
        *of_pipeline(),
        *_of_python(),
        *_of_component(),
        *_of_definitions(),
        *_of_commands(),
        *_of_metrics(),
    ]
    return "\n".join(parts) + "\n"


def main(arguments: Sequence[str]) -> int:
    made = page()
    if "--check" in arguments:
        return 0 if PAGE.exists() and PAGE.read_text(encoding="utf-8") == made else 1
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
