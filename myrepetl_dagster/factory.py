"""Builds the Dagster definitions of a pipeline: assets, jobs, sensors and resources."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import dagster as dg

from .assets import RETRY_POLICY, replication_assets
from .core.config.load import load
from .core.config.pipeline import Pipeline
from .jobs import build_jobs
from .lineage import (
    AssetSpecOf,
    default_asset_spec,
    identifier,
    replicated_tables,
    source_groups,
    source_specs,
)
from .resources import MySQLResource, MySQLSourceResource, MySQLTargetResource, bound
from .sensors import INTERVAL_S, build_sensor


def build_replication_defs(
    pipeline: Pipeline | str | Path,
    *,
    asset_spec: AssetSpecOf = default_asset_spec,
    executor_def: dg.ExecutorDefinition | None = None,
    retry_policy: dg.RetryPolicy | None = RETRY_POLICY,
    sensor_interval_s: int = INTERVAL_S,
) -> dg.Definitions:
    """The Dagster definitions of a pipeline. Connects to nothing.

    Args:
        pipeline: the pipeline file's path, or a pipeline that was built in code.
        asset_spec: gives the asset that Dagster shows for a target table.
        executor_def: executes the ops of both jobs, and of assets materialized by hand. By default the jobs run in
            process, and the rest as your other definitions say.
        retry_policy: how Dagster retries an op after a transient error, once the core's own retries (`limits` in the
            pipeline file) have given up.
        sensor_interval_s: the least time between two looks of a sensor. Dagster's own loop takes 5 s.

    Raises:
        ConfigError: with every problem of the pipeline file.

    Examples:
        .. code-block:: python

            defs = dg.Definitions.merge(
                build_replication_defs("pipeline.json"),
                dg.Definitions(assets=[my_report]),
            )
    """
    path = None if isinstance(pipeline, Pipeline) else Path(pipeline).resolve()
    loaded = pipeline if isinstance(pipeline, Pipeline) else load(pipeline)
    tables = replicated_tables(loaded)
    groups = source_groups(tables)
    target_keys = _resource_keys("target", loaded.targets)
    keys = {m.name: asset_spec(table).key for table in tables for m in table.mappings}
    jobs = build_jobs(groups, list(dict.fromkeys(keys.values())), executor_def)
    assets = [replication_assets(group, loaded, asset_spec, target_keys, retry_policy) for group in groups]
    return dg.Definitions(
        assets=[*source_specs(loaded), *assets],
        jobs=list(jobs.values()),
        sensors=[build_sensor(g, loaded, keys, jobs["replicate"], sensor_interval_s) for g in groups],
        resources={
            **_resources(MySQLSourceResource, _resource_keys("source", loaded.sources), loaded, path),
            **_resources(MySQLTargetResource, target_keys, loaded, path),
        },
        executor=executor_def,
    )


def _resource_keys(role: str, names: Mapping[str, object]) -> dict[str, str]:
    return {name: identifier(f"{role}_{name}") for name in names}


def _resources(
    kind: type[MySQLResource], keys: Mapping[str, str], pipeline: Pipeline, path: Path | None
) -> dict[str, MySQLResource]:
    if path is None:
        return {key: bound(kind, pipeline, name) for name, key in keys.items()}
    return {key: kind(pipeline_file=str(path), name=name) for name, key in keys.items()}
