"""The rules of `[tool.importlinter]` in pyproject.toml: the code keeps them, and each of them can be broken.

A rule over modules that no longer exist, or over the wrong ones, would be kept for ever. So each rule is tried on
the package's import graph with one import added that it forbids.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import grimp
import pytest
from importlinter.api import read_configuration
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.layers import LayersContract

ROOT = Path(__file__).parents[2]
CONFIGURATION = read_configuration(str(ROOT / "pyproject.toml"))
OPTIONS: dict[str, dict[str, Any]] = {options["name"]: options for options in CONFIGURATION["contracts_options"]}
KINDS: dict[str, Any] = {"layers": LayersContract, "forbidden": ForbiddenContract}

LAYERS = "the rooms of the core, top to bottom"
REPLICATION = "inside replication"
PORTS = "catch-up sees servers through ports only"
PURE = "pure rooms know no driver"
PLANS = "plan and rows do not reach for a server"
DECODER = "the decoder knows no pipeline"
CORE = "the core knows neither Dagster nor what the rim is made of"
# An import that the rule forbids: who, and what; without a first dot in the core.
FORBIDDEN = [
    (LAYERS, "concurrency.background", "model.limits"),
    (LAYERS, "model.tables", "values.cells"),
    (LAYERS, "values.widening", "binlog.ddl.column_definition"),
    (LAYERS, "values.cells", "transforms.filters"),
    (LAYERS, "transforms.filters", "config.pipeline"),
    (LAYERS, "config.load", "mysql.connect"),
    (LAYERS, "mysql.connect", "binlog.events"),
    (LAYERS, "binlog.reader", "mysql.connect"),
    (LAYERS, "binlog.events", "plan.table_plan"),
    (LAYERS, "plan.table_plan", "rows.shaper"),
    (LAYERS, "rows.shaper", "source.mysql_source"),
    (LAYERS, "source.mysql_source", "target.mysql_target"),
    (LAYERS, "target.mysql_target", "source.mysql_source"),
    (LAYERS, "target.control", "replication.run"),
    (LAYERS, "source.mysql_source", "diagnostics.status"),
    (LAYERS, "replication.run", "diagnostics.status"),
    (LAYERS, "replication.run", "diagnostics.status"),
    (REPLICATION, "replication.attempt", "replication.run"),
    (REPLICATION, "replication.attempt", "replication.planner"),
    (REPLICATION, "replication.run_results", "replication.run"),
    (REPLICATION, "replication.preflight", "replication.planner"),
    (REPLICATION, "replication.snapshot.copy", "replication.catchup.catch_up"),
    (REPLICATION, "replication.schema_evolution", "replication.catchup.catch_up"),
    (REPLICATION, "replication.mapping_state", "replication.schema_evolution"),
    (REPLICATION, "replication.result", "replication.mapping_state"),
    (PORTS, "replication.catchup.catch_up", "target.mysql_target"),
    (PORTS, "replication.catchup.commits", "mysql.connect"),
    (PORTS, "replication.snapshot.copy", "source.mysql_source"),
    (PORTS, "replication.mapping_state", "source.log_position"),
    (PURE, "model.tables", "pymysql"),
    (PURE, "concurrency.background", "pymysql"),
    (PURE, "values.cells", "pymysqlreplication"),
    (PURE, "transforms.filters", "pymysql"),
    (PURE, "config.load", "ssl"),
    (PURE, "binlog.reader", "socket"),
    (PURE, "plan.table_plan", "pymysql"),
    (PURE, "rows.shaper", "pymysql"),
    (PLANS, "plan.table_plan", "mysql.connect"),
    (PLANS, "rows.shaper", "source.mysql_source"),
    (PLANS, "rows.image_shaper", "target.statements"),
    (DECODER, "binlog.reader", "config.pipeline"),
    (DECODER, "binlog.rows_event", "transforms.filters"),
    (DECODER, "binlog.missing_metadata", "plan.table_plan"),
    (CORE, "replication.run", "dagster"),
    (CORE, "diagnostics.status", "pandas"),
    (CORE, "replication.run", "rich"),
    (CORE, "config.load", "pydantic"),
]
EXTERNAL = {"pymysql", "pymysqlreplication", "socket", "ssl", "dagster", "pandas", "rich", "pydantic"}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Who imports whom in the package."""
    return grimp.build_graph("myrepetl_dagster", include_external_packages=True, cache_dir=None)


def is_kept(name: str, graph: grimp.ImportGraph) -> bool:
    contract = KINDS[OPTIONS[name]["type"]](name, CONFIGURATION["session_options"], OPTIONS[name])
    return bool(contract.check(copy.deepcopy(graph), verbose=False).kept)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_code_keeps_the_rule(name: str, graph: grimp.ImportGraph) -> None:
    """What `make lint` says, too."""
    assert is_kept(name, graph)


@pytest.mark.parametrize(("name", "importer", "imported"), FORBIDDEN, ids=lambda part: part.replace(" ", "-"))
def test_the_rule_can_be_broken(name: str, importer: str, imported: str, graph: grimp.ImportGraph) -> None:
    """By one import between modules that exist."""
    importer = f"myrepetl_dagster.core.{importer}"
    imported = imported if imported in EXTERNAL else f"myrepetl_dagster.core.{imported}"
    broken = copy.deepcopy(graph)
    if imported in EXTERNAL:
        broken.add_module(imported, is_squashed=True)
    assert {importer, imported} <= broken.modules

    broken.add_import(importer=importer, imported=imported, line_number=1, line_contents=f"import {imported}")

    assert not is_kept(name, broken)


def test_every_rule_is_tried() -> None:
    """A rule that is added has to show that it can be broken."""
    assert {name for name, _, _ in FORBIDDEN} == set(OPTIONS)
