"""Digests that are stored: a mapping's fingerprint in its checkpoint, a target table's code version in Dagster.

`tests/data/fingerprints/` holds pipeline files, and in `expected.json` what the version of commit bf3523e computed
for them. Another fingerprint would demand that the table is copied again, another code version would show it as
outdated.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from myrepetl_dagster.core.config.code_version import code_version
from myrepetl_dagster.core.config.load import from_dict, load
from myrepetl_dagster.core.config.pipeline import ColumnMapping, TableMapping
from myrepetl_dagster.core.model.tables import Column, Table, TableName
from myrepetl_dagster.core.plan.resolution import planned_columns
from myrepetl_dagster.core.plan.table_plan import TablePlan
from myrepetl_dagster.core.transforms.filters import Compare

DATA = Path(__file__).parents[2] / "data" / "fingerprints"
EXPECTED: dict[str, dict[str, dict[str, str]]] = json.loads((DATA / "expected.json").read_text())
FILES = sorted(path.name for path in [*DATA.glob("*.yaml"), *DATA.glob("*.json")] if path.name != "expected.json")


def mappings(file: str) -> tuple[TableMapping, ...]:
    return load(DATA / file, {}).mappings


def fingerprint(mapping: TableMapping) -> str:
    columns = (Column("id", "int"), Column("v", "int"))
    source, target = (Table(name, columns, ("id",)) for name in (mapping.source_name, mapping.target_name))
    planned = planned_columns(mapping, source)
    return TablePlan(mapping, source, target, planned, ("id",), every_column=mapping.columns is None).fingerprint


def test_every_pipeline_has_its_digests() -> None:
    """A file without would be compared with nothing."""
    assert sorted(EXPECTED) == FILES


@pytest.mark.parametrize("file", FILES)
def test_fingerprints_are_those_in_the_checkpoints(file: str) -> None:
    """Filters of every shape, transforms, static values of every kind, init queries."""
    assert {mapping.name: fingerprint(mapping) for mapping in mappings(file)} == EXPECTED[file]["mappings"]


@pytest.mark.parametrize("file", FILES)
def test_code_versions_are_those_that_dagster_has(file: str) -> None:
    """Settings of servers, limits and replication count for none of them."""
    by_table: dict[TableName, list[TableMapping]] = {}
    for mapping in mappings(file):
        by_table.setdefault(mapping.target_name, []).append(mapping)

    found = {str(name): code_version(own) for name, own in by_table.items()}

    assert found == EXPECTED[file]["code_versions"]


# ---- what a code version counts -----------------------------------------------------------------------
MAPPING = mappings("columns.yaml")[0]
COLUMN = ColumnMapping("a", "b")
CHANGES: dict[str, Callable[[TableMapping], TableMapping]] = {
    "name": lambda m: replace(m, name="other"),
    "path": lambda m: replace(m, path="other"),
    "source": lambda m: replace(m, source="other"),
    "source_schema": lambda m: replace(m, source_schema="other"),
    "source_table": lambda m: replace(m, source_table="other"),
    "target": lambda m: replace(m, target="other"),
    "target_schema": lambda m: replace(m, target_schema="other"),
    "target_table": lambda m: replace(m, target_table="other"),
    "primary_key": lambda m: replace(m, primary_key=("client_id", "origin")),
    "columns": lambda m: replace(m, columns=(COLUMN,)),
    "no columns": lambda m: replace(m, columns=None),
    "a column's source": lambda m: replace(m, columns=(replace(COLUMN, source="c"),)),
    "a column's target": lambda m: replace(m, columns=(replace(COLUMN, target="c"),)),
    "a column's value": lambda m: replace(m, columns=(ColumnMapping(None, "b", value=1, has_value=True),)),
    "a value of another kind": lambda m: replace(m, columns=(ColumnMapping(None, "b", value="1", has_value=True),)),
    "a key column": lambda m: replace(m, columns=(replace(COLUMN, primary_key=True),)),
    "filter": lambda m: replace(m, filter=Compare("a", "eq", 1)),
    "a filter's column": lambda m: replace(m, filter=Compare("b", "eq", 1)),
    "a filter's operator": lambda m: replace(m, filter=Compare("a", "gt", 1)),
    "a filter's value": lambda m: replace(m, filter=Compare("a", "eq", 1.0)),
    "init_query": lambda m: replace(m, init_query="SELECT 1"),
    "init_if_table_empty": lambda m: replace(m, init_if_table_empty=True),
    "pause_replication_during_init": lambda m: replace(m, pause_replication_during_init=True),
    "schema_policy": lambda m: replace(m, schema_policy="fail"),
    "on_position_lost": lambda m: replace(m, on_position_lost="resnapshot"),
}


def test_a_code_version_changes_with_every_setting_of_a_mapping() -> None:
    """No two of these mappings have the same one, and no setting is left out."""
    assert {field.name for field in fields(TableMapping)} <= set(CHANGES)
    versions = [code_version([change(MAPPING)]) for change in CHANGES.values()]
    assert len({code_version([MAPPING]), *versions}) == len(CHANGES) + 1


SERVER: dict[str, Any] = {"host": "h", "user": "u", "password": "p", "database": "d"}
PIPELINE: dict[str, Any] = {
    "source": SERVER,
    "target": SERVER | {"database": "e"},
    "mapping": {"t": {"target_table": "t", "primary_key": "id", "columns": {"id": {"transform": "transform.mine"}}}},
}


def test_a_code_version_counts_the_text_of_transforms(tmp_path: Path) -> None:
    """An edited transform.py is another mapping; secrets and addresses are not."""
    versions = []
    for number in (1, 22):
        (tmp_path / "transform.py").write_text(f"def mine(value): return {number}")
        versions.append(code_version(from_dict(PIPELINE, tmp_path).mappings))
        moved = deepcopy(PIPELINE)
        moved["source"] |= {"password": "new", "host": "elsewhere"}
        assert code_version(from_dict(moved, tmp_path).mappings) == versions[-1]
        (tmp_path / "transform.py").unlink()
    assert versions[0] != versions[1]


def test_a_code_version_is_the_same_in_every_process() -> None:
    """Hash seeds do not show in it."""
    code = (
        "import sys; from myrepetl_dagster.core.config.load import load\n"
        "from myrepetl_dagster.core.config.code_version import code_version\n"
        "print(code_version(load(sys.argv[1]).mappings))"
    )
    answers = set()
    for seed in ("1", "2"):
        env = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[3])}
        answers.add(
            subprocess.check_output([sys.executable, "-c", code, str(DATA / "columns.yaml")], env=env, text=True)
        )
    assert len(answers) == 1
