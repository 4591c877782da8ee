"""The command line as far as it goes without a server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_support import PASSWORD, ROOT, myrepetl

GOOD: dict[str, Any] = {
    "sources": {"shop": {"host": "127.0.0.1", "port": 1, "user": "u", "password": PASSWORD, "database": "shop"}},
    "targets": {"dw": {"host": "127.0.0.1", "port": 1, "user": "u", "password": PASSWORD, "database": "dw"}},
    "mapping": {"shop.t": {"target_table": "dw.t"}},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pipeline.json"
    path.write_text(json.dumps(GOOD))
    return path


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    """`validate` prints each problem with its path in the file and a hint, and exits with 1."""
    broken = json.loads(json.dumps(GOOD))
    broken["sources"]["shop"]["hots"] = broken["sources"]["shop"].pop("host")
    broken["mapping"]["shop.t"]["filter"] = {"id": {"above": 3}}
    broken["mapping"]["shp.u"] = {"target_table": "dw.u"}
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(broken))

    done = myrepetl("validate", path)

    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert any(line.startswith("sources.shop.hots: unknown key (did you mean 'host'?)") for line in lines)
    assert any(line.startswith("mapping.shop.t.filter") for line in lines)
    assert any(line.startswith("mapping.shp.u") and "'shop'" in line for line in lines)
    assert "Traceback" not in done.stderr


def test_a_good_file_with_a_setting_that_is_not_followed_gives_a_warning(tmp_path: Path) -> None:
    """Warnings are shown, and do not make the file a bad one."""
    path = tmp_path / "pipeline.json"
    path.write_text(json.dumps(GOOD | {"database": {"sql_mode": "TRADITIONAL"}}))

    done = myrepetl("validate", path)

    assert done.returncode == 0
    assert "warning: " in done.stdout
    assert "sql_mode" in done.stdout
    assert "no problems; 1 source, 1 target, 1 mapping" in done.stdout


@pytest.mark.parametrize("how", ["after", "option before", "option after", "environment"])
def test_the_file_can_be_named_in_every_place(file: Path, how: str) -> None:
    """As the first argument, as an option anywhere, or by MYREPETL_CONFIG."""
    arguments, environ = {
        "after": (["validate", file], {}),
        "option before": (["--config", file, "validate"], {}),
        "option after": (["validate", "--config", file], {}),
        "environment": (["validate"], {"MYREPETL_CONFIG": str(file)}),
    }[how]

    assert myrepetl(*arguments, **environ).returncode == 0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required: COMMAND"),
        (["validate"], "MYREPETL_CONFIG"),
        (["frobnicate"], "invalid choice"),
        (["status", "FILE", "--source", "shp"], "no source 'shp' in the pipeline file; did you mean 'shop'?"),
        (["test-connection", "FILE", "--target", "nowhere"], "no target 'nowhere' in the pipeline file; known: dw"),
        (["run", "FILE", "--mapping", "shop.tt"], "did you mean 'shop.t'?"),
        (["status", "FILE", "--source", "shop", "--target", "dw"], "not allowed with"),
    ],
)
def test_wrong_usage_exits_with_2(file: Path, arguments: list[str], said: str) -> None:
    """What is asked for and not there is named, with what was probably meant."""
    done = myrepetl(*(str(file) if a == "FILE" else a for a in arguments))

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """No traceback for a misspelt path."""
    done = myrepetl("run", tmp_path / "nothing.json")

    assert done.returncode == 1
    assert "nothing.json" in done.stdout
    assert "Traceback" not in done.stderr


def test_help_is_quick_and_needs_no_dagster() -> None:
    """The command starts without Dagster, pandas and rich."""
    program = "import sys, myrepetl_dagster.cli\nprint([m for m in ('dagster', 'pandas', 'rich') if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)

    assert done.stdout.strip() == "[]", done.stderr
