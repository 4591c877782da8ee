"""`dg`, as its users meet the package: in this folder, and in a project of their own, from nothing to a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from dagster_support import PASSWORD, ROOT, Pair, environment, write_with_variable

pytestmark = pytest.mark.long

DG = Path(sys.executable).parent / "dg"

PYPROJECT = """
[project]
name = "acme"
version = "0"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "acme"
"""
DEFINITIONS = """
from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
"""


def dg(folder: Path, env: dict[str, str], *arguments: str, fails: bool = False) -> str:
    """What `dg` prints; it is to succeed, or else to fail."""
    done = subprocess.run(
        [DG, *arguments], cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
    )
    assert (done.returncode != 0) is fails, done.stdout
    return done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty project that `dg` knows."""
    folder = tmp_path / "project"
    (folder / "acme" / "defs").mkdir(parents=True)
    (folder / "acme" / "__init__.py").touch()
    (folder / "acme" / "definitions.py").write_text(DEFINITIONS)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    return folder


@pytest.fixture
def env(tmp_path: Path, project: Path) -> dict[str, str]:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    ours = {"DAGSTER_HOME": str(home), "PYTHONPATH": str(project), "VIRTUAL_ENV": sys.prefix, "COLUMNS": "200"}
    return {key: value for key, value in os.environ.items() if key != "MYREPETL_CONFIG"} | ours


def test_this_folder_is_a_project(mysql_pair: Pair) -> None:
    """`dg list defs`, `dg check defs` and `dg launch` work in a clone, on the pipeline in MYREPETL_CONFIG."""
    pair = mysql_pair
    env = environment(pair.directory / "home", write_with_variable(pair.directory, pair.data))

    listed = dg(ROOT, env, "list", "defs", "--json")
    checked = dg(ROOT, env, "check", "defs")
    launched = dg(ROOT, env, "launch", "--job", "replicate")

    assert '"warehouse/users"' in listed
    assert '"catch_up_shop"' in listed
    assert "All definitions loaded successfully" in checked
    assert "shop.users: replicating, 3 rows copied" in launched
    assert pair.users() == ["Ann", "Bob", "Cem"]
    assert PASSWORD not in launched


def test_dg_and_dagster_load_the_same_module() -> None:
    """`[tool.dg]` wins over workspace.yaml, so both name one module."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    (location,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]

    assert project["code_location_target_module"] == location["python_module"]["module_name"]
    assert project["code_location_name"] == location["python_module"]["location_name"]


def test_a_component_from_nothing_to_a_run(mysql_pair: Pair, project: Path, env: dict[str, str]) -> None:
    """`dg list components` shows it with its docs, `dg scaffold defs` writes what loads, and with our servers in it, runs."""
    pair = mysql_pair
    shown = dg(project, env, "list", "components", "--json")
    dg(project, env, "scaffold", "defs", "myrepetl_dagster.ReplicationComponent", "shop")
    folder = project / "acme" / "defs" / "shop"
    written = (folder / "pipeline.yaml").read_text()
    loads = dg(project, env, "check", "defs")
    (folder / "pipeline.yaml").write_text(json.dumps(pair.data).replace(PASSWORD, "${SHOP_PASSWORD}"))
    with_password = env | {"SHOP_PASSWORD": PASSWORD}
    launched = dg(project, with_password, "launch", "--job", "shop_replicate")

    assert "myrepetl_dagster.ReplicationComponent" in shown
    assert "Replicates MySQL and MariaDB tables" in shown
    assert "All definitions loaded successfully" in loads
    assert "# " in written
    assert "${SHOP_PASSWORD}" in written
    assert "RUN_SUCCESS" in launched
    assert pair.users() == ["Ann", "Bob", "Cem"]
