"""What Dagster is told of a pipeline; no server is running here."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import click
import dagster as dg
import pymysql
import pytest
from dagster_support import PASSWORD, offline, pipeline_of, run

from myrepetl_dagster import ReplicatedTable, build_replication_defs, default_asset_spec
from myrepetl_dagster.core.config.load import from_dict

SHARED = {
    "eu.users": {"target_table": "warehouse.users", "primary_key": ["region", "id"], "column_mapping": {
        "id": "id", "name": {"column": "name", "transform": "transform.uppercase"}, "region": {"value": "eu"}}},
    "us.users": {"target_table": "warehouse.users", "primary_key": ["region", "id"], "column_mapping": {
        "id": "id", "name": "name", "region": {"value": "us"}}},
    "us.orders": {"target_table": "warehouse.orders", "filter": {"status": {"not": "open"}}},
    "crm.leads": {"target_table": "warehouse.leads", "init_query": "SELECT * FROM leads WHERE id > 7"},
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something tried to connect")

    monkeypatch.setattr(pymysql, "connect", refuse)


def specs(defs: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def test_a_target_table_is_an_asset_below_its_source_tables() -> None:
    """Each target table is one asset; the source tables are upstream of it, and are not made by Dagster."""
    found = specs(offline(SHARED))
    users = found["warehouse/users"]

    assert set(found) == {
        "warehouse/users", "warehouse/orders", "warehouse/leads", "eu/users", "us/users", "us/orders", "crm/leads",
    }  # fmt: skip
    assert [dep.asset_key.to_user_string() for dep in users.deps] == ["eu/users", "us/users"]
    assert users.group_name == "warehouse"
    assert users.kinds == {"mysql", "table"}
    assert found["eu/users"].kinds == {"mysql", "source"}
    assert found["eu/users"].group_name == "eu"


def test_the_description_says_where_the_rows_come_from() -> None:
    """Source, key, transforms, fixed values, filter and first query can be read in the description."""
    found = specs(offline(SHARED))
    users = found["warehouse/users"].description or ""

    assert users.startswith("dw.users on warehouse, from eu.users on eu.\n")  # the catalog shows it without markdown
    assert found["eu/users"].description == "eu.users on eu, read through its log."
    assert "transform.uppercase of name" in users
    assert "`region` (always 'us')" in users
    assert "`region`, `id`" in users
    assert "NOT (status = 'open')" in (found["warehouse/orders"].description or "")
    assert "SELECT * FROM leads WHERE id > 7" in (found["warehouse/leads"].description or "")


def test_named_columns_are_in_the_definition() -> None:
    """Where a mapping names its columns they are known before anything has run."""
    schema = specs(offline(SHARED))["warehouse/users"].metadata["dagster/column_schema"]

    assert [c.name for c in schema.columns] == ["id", "name", "region"]
    assert [c.constraints.other for c in schema.columns] == [["key"], [], ["key"]]


def test_sources_that_share_a_table_share_an_op() -> None:
    """A table that is fed by two sources is materialized by one op; other sources have an op of their own."""
    ops = {op.op.name: {key.path[-1] for key in op.keys} for op in ops_of(offline(SHARED))}

    assert ops == {"replicate_eu__us": {"users", "orders"}, "replicate_crm": {"leads"}}


def ops_of(defs: dg.Definitions) -> list[dg.AssetsDefinition]:
    """Those that replicate; the others observe source tables."""
    found = [assets for assets in defs.assets or () if isinstance(assets, dg.AssetsDefinition)]
    return [assets for assets in found if assets.is_materializable]


def test_the_code_version_changes_with_the_own_mapping_only() -> None:
    """A changed mapping makes its own table stale, and no other."""
    changed = SHARED | {"us.orders": {"target_table": "warehouse.orders", "filter": {"status": "paid"}}}

    before, after = specs(offline(SHARED)), specs(offline(changed))

    assert before["warehouse/users"].code_version == after["warehouse/users"].code_version
    assert before["warehouse/orders"].code_version != after["warehouse/orders"].code_version


def test_a_sensor_for_each_op_and_a_pool_for_those_who_want_one() -> None:
    """What shares an op shares a sensor. An op has a pool only if the user names one, and then it may say the source."""
    defs = offline(SHARED)
    pooled = build_replication_defs(pipeline_of(SHARED), pool="mysql/{source}")

    assert {op.op.pool for op in ops_of(defs)} == {None}
    assert {sensor.name for sensor in defs.sensors or ()} == {"catch_up_eu__us", "catch_up_crm"}
    assert {op.op.pool for op in ops_of(pooled)} == {"mysql/eu+us", "mysql/crm"}


def test_schemas_and_names_that_dagster_does_not_know() -> None:
    """Tables of other schemas, odd names, and a source that is called as a target is: all keys are different."""
    server = {"host": "h", "user": "u"}
    data: dict[str, Any] = {
        "sources": {"warehouse": server | {"database": "a"}, "eu-1": server | {"database": "b"}},
        "targets": {"warehouse": server | {"database": "dw"}},
        "mapping": {
            "one": {"source_table": "warehouse.users", "target_table": "warehouse.users"},
            "two": {"source_table": "eu-1.users", "target_table": "warehouse.old.users"},
            "three": {"source_table": "eu-1.größe", "target_table": "warehouse.größe"},
            "four": {"source_table": "eu-1.größe", "target_table": "warehouse.gröẞe"},
        },
    }

    found = specs(build_replication_defs(from_dict(data)))

    assert {"warehouse/users", "warehouse/old/users", "source/warehouse/users"} <= set(found)
    assert len(found) == 7
    assert "größe" in (found[next(k for k in found if k.startswith("warehouse/gr"))].description or "")


def test_the_users_own_spec() -> None:
    """One function changes what Dagster shows, the key included; jobs and sensors follow."""

    def mine(table: ReplicatedTable) -> dg.AssetSpec:
        spec = default_asset_spec(table)
        return spec.replace_attributes(key=spec.key.with_prefix("raw"), owners=["team:data"])

    server = {"host": "h", "user": "u", "database": "d"}
    data = {"sources": {"a": server}, "targets": {"b": server}, "mapping": {"a.x": {"target_table": "b.y"}}}
    defs = build_replication_defs(from_dict(data), asset_spec=mine)

    assert specs(defs)["raw/b/y"].owners == ["team:data"]
    assert defs.resolve_job_def("replicate").asset_layer.executable_asset_keys == {dg.AssetKey(["raw", "b", "y"])}


def test_unknown_mappings_in_the_run_configuration_are_named(instance: dg.DagsterInstance) -> None:
    """A misspelt mapping stops the run before anything connects: the first and only line says what was probably meant."""
    with pytest.raises(dg.DagsterInvariantViolationError) as caught:
        run(offline(SHARED), "replicate", instance, run_config={"mappings": ["eu.user", "x"]})

    assert str(caught.value) == (
        "mappings: not in the pipeline file: 'eu.user' (did you mean 'eu.users'?); 'x' (mappings: crm.leads, eu.users, "
        "us.orders, us.users, warehouse.leads, warehouse.orders, warehouse.users)"
    )


def test_our_definitions_merge_with_others() -> None:
    """A user's assets can depend on ours, with an executor of their own."""

    @dg.asset(deps=[dg.AssetKey(["warehouse", "orders"])])
    def revenue() -> None: ...

    merged = dg.Definitions.merge(offline(SHARED), dg.Definitions(assets=[revenue], executor=dg.multiprocess_executor))

    assert "revenue" in specs(merged)


def load_definitions(monkeypatch: pytest.MonkeyPatch, path: Path | None) -> dg.Definitions:
    if path is None:
        monkeypatch.delenv("MYREPETL_CONFIG", raising=False)
    else:
        monkeypatch.setenv("MYREPETL_CONFIG", str(path))
    module = importlib.import_module("myrepetl_dagster.definitions")
    found = importlib.reload(module).defs
    assert isinstance(found, dg.Definitions)
    return found


def test_without_a_pipeline_file_the_jobs_say_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    """The code location loads; running either job fails and names MYREPETL_CONFIG."""
    defs = load_definitions(monkeypatch, None)

    for job in ("replicate", "snapshot"):
        result = run(defs, job, instance)

        assert not result.success
        assert "set MYREPETL_CONFIG" in str(result.failure_data_for_node("pipeline_file"))


def test_a_pipeline_file_with_mistakes_does_not_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every mistake is listed, and no password."""
    path = tmp_path / "pipeline.json"
    source = {"hots": "h", "password": PASSWORD, "database": "d"}
    path.write_text(json.dumps({"sources": {"a": source}, "mapping": {"a.x": {"target_table": "b.y", "filtr": 1}}}))

    with pytest.raises(click.ClickException) as caught:
        load_definitions(monkeypatch, path)

    for problem in ("sources.a.hots: unknown key", "sources.a.user", "targets", "mapping.a.x.filtr"):
        assert problem in str(caught.value)
    assert PASSWORD not in str(caught.value)
