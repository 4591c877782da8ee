"""Who may import whom, where it is not a rule between modules: those are in pyproject.toml (`test_contracts.py`)."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "myrepetl_dagster"
CORE = sorted((PACKAGE / "core").rglob("*.py"))
RIM = sorted(set(PACKAGE.rglob("*.py")) - set(CORE))
# What each of them does without the others.
DAGSTER = {
    "after_failures", "assets", "checks", "component", "component_scaffold", "conditions", "definitions",
    "executors", "factory", "fan_out", "follow", "handed_on", "health", "jobs", "lineage", "metadata",
    "observations", "options", "progress", "replicate", "resources", "run_log", "sensors", "specs", "stopping",
    "table_facts", "translator", "watch",
}  # fmt: skip
# Dagster's own integrations take the types of a translation from there: `dagster` itself has no name for them.
TRANSLATION = {"component": {"dagster.components.utils.translation"}}

# The parts of the core that have to do with a server.
HEAVY = (
    "mysql", "source", "target", "binlog", "rows", "diagnostics", "replication/run", "replication/attempt",
    "replication/snapshot", "replication/catchup",
)  # fmt: skip


def imported(path: Path) -> Iterator[str]:
    """Every module that the file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE).with_suffix(""))


@pytest.mark.parametrize("path", RIM, ids=name)
def test_dagster_is_used_through_its_public_face(path: Path) -> None:
    """Only `import dagster`, and only where Dagster is what the file is about."""
    modules = {m for m in imported(path) if m.split(".")[0].startswith("dagster")}

    assert modules <= ({"dagster"} if path.stem in DAGSTER else set()) | TRANSLATION.get(path.stem, set())


@pytest.mark.parametrize("path", [p for p in RIM if p.stem in DAGSTER], ids=name)
def test_the_rim_holds_no_sql(path: Path) -> None:
    """Drivers and statements are the core's."""
    assert not {m for m in imported(path) if m.split(".")[0] in ("pymysql", "pymysqlreplication")}
    assert "execute(" not in path.read_text()


def test_importing_the_package_brings_neither_dagster_nor_pandas() -> None:
    """The command line and the core start without what they do not need."""
    program = (
        "import sys, myrepetl_dagster, myrepetl_dagster.core\n"
        "print([m for m in ('dagster', 'pandas') if m in sys.modules])\n"
        "myrepetl_dagster.build_replication_defs\n"
        "print('pandas' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=PACKAGE.parent)

    assert done.stdout.split("\n")[:2] == ["[]", "False"], done.stderr


def test_definitions_load_without_the_driver(tmp_path: Path) -> None:
    """Dagster loads definitions in many processes that never connect: they need no driver, and no module of the
    core that has to do with one."""
    server = {"host": "nowhere.invalid", "user": "u", "password": "p", "database": "d"}
    pipeline = {
        "sources": {"a": server},
        "targets": {"b": server | {"database": "dw"}},
        "mapping": {"a.t": {"target_table": "b.t"}},
    }
    file = tmp_path / "pipeline.json"
    file.write_text(json.dumps(pipeline))
    program = (
        "import sys, dagster\n"
        "before = set(sys.modules)\n"
        "import myrepetl_dagster\n"
        f"myrepetl_dagster.build_replication_defs({str(file)!r}).get_repository_def()\n"
        "print(*sorted(set(sys.modules) - before))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=PACKAGE.parent)

    loaded = done.stdout.split()
    assert "myrepetl_dagster.core.config.load" in loaded, done.stderr
    assert not {m.split(".")[0] for m in loaded} & {"pymysql", "pymysqlreplication", "cryptography", "pandas", "rich"}
    for part in HEAVY:
        heavy = f"myrepetl_dagster.core.{part.replace('/', '.')}"
        assert not [m for m in loaded if m == heavy or m.startswith(f"{heavy}.")]


@pytest.mark.parametrize("part", HEAVY)
def test_the_heavy_parts_exist(part: str) -> None:
    """The test above would find nothing of a part by a name that no longer exists."""
    path = PACKAGE / "core" / part
    assert path.is_dir() or path.with_suffix(".py").is_file()


@pytest.mark.parametrize("path", [*CORE, *RIM], ids=name)
def test_no_module_is_long(path: Path) -> None:
    """A module that passes 300 lines has a second room in it."""
    assert len(path.read_text().splitlines()) <= 300
