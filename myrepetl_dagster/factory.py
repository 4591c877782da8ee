"""Builds the Dagster definitions of a pipeline: assets, jobs, sensors and resources."""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import dagster as dg

from .assets import replication_assets
from .core.config.load import load
from .core.config.pipeline import Pipeline
from .core.model.errors import ConfigError
from .executors import checked
from .fan_out import build_fan_out_job, fan_out_resources
from .jobs import build_group_jobs, build_jobs
from .lineage import AssetSpecOf, ReplicatedTable, identifier, replicated_tables, source_groups, source_tables
from .options import RETRY_POLICY, SENSOR_INTERVAL_S, Options
from .resources import MySQLResource, MySQLSourceResource, MySQLTargetResource, bound
from .sensors import build_sensor
from .translator import FunctionTranslator, ReplicationTranslator


def build_replication_defs(
    pipeline: Pipeline | str | Path,
    *,
    translator: ReplicationTranslator | None = None,
    asset_spec: AssetSpecOf | None = None,
    name: str = "",
    pool: str | None = None,
    op_tags: Mapping[str, Any] | None = None,
    hooks: Set[dg.HookDefinition] = frozenset(),
    executor_def: dg.ExecutorDefinition | None = None,
    retry_policy: dg.RetryPolicy | None = RETRY_POLICY,
    sensor_interval_s: int = SENSOR_INTERVAL_S,
) -> dg.Definitions:
    """The Dagster definitions of a pipeline. Connects to nothing.

    Args:
        pipeline: the pipeline file's path, or a pipeline that was built in code.
        translator: decides what Dagster shows for the target and source tables.
        asset_spec: the same for target tables alone, as a function.
        name: begins the names of jobs, ops, sensors, resources and groups: two pipelines of one code location need
            different names. Letters, digits and _.
        pool: a pool for the ops. `{source}` in it stands for the op's sources.
        op_tags: tags of the ops, such as `dagster-k8s/config`.
        hooks: hooks of the jobs.
        executor_def: executes the ops of the jobs, and of assets materialized by hand. By default the jobs run in
            process, and the rest as your other definitions say.
        retry_policy: how Dagster retries an op after a transient error, once the core's own retries (`limits` in the
            pipeline file) have given up.
        sensor_interval_s: the least time between two looks of a sensor. Dagster's own loop takes 5 s.

    Raises:
        ConfigError: with every problem of the pipeline file, or an argument that is wrong.

    Examples:
        .. code-block:: python

            defs = dg.Definitions.merge(
                build_replication_defs("pipeline.json"),
                dg.Definitions(assets=[my_report]),
            )
    """
    options = Options(name, pool, op_tags or {}, hooks, checked(executor_def), retry_policy, sensor_interval_s)
    path = None if isinstance(pipeline, Pipeline) else Path(pipeline).resolve()
    loaded = pipeline if isinstance(pipeline, Pipeline) else load(pipeline)
    specs = PipelineSpecs(loaded, _translator(translator, asset_spec), name)
    groups = source_groups(specs.tables)
    target_keys = _resource_keys(options, "target", loaded.targets)
    jobs = build_jobs(groups, list(specs.targets), options)
    assets = [replication_assets(group, loaded, specs.of, target_keys, options, specs.keys) for group in groups]
    fan_out = build_fan_out_job(groups, loaded, specs.keys, target_keys, options)
    of_group = {group.name: build_group_jobs(group, loaded, specs.keys, options) for group in groups}
    return dg.Definitions(
        assets=[*specs.sources.values(), *assets],
        jobs=[*jobs.values(), fan_out, *(job for own in of_group.values() for job in own.values())],
        sensors=[build_sensor(g, loaded, specs.keys, of_group[g.name], options) for g in groups],
        resources={
            **_resources(MySQLSourceResource, _resource_keys(options, "source", loaded.sources), loaded, path),
            **_resources(MySQLTargetResource, target_keys, loaded, path),
            **fan_out_resources(options),
        },
        executor=options.executor_def,
    )


def _translator(given: ReplicationTranslator | None, asset_spec: AssetSpecOf | None) -> ReplicationTranslator:
    if given is not None and asset_spec is not None:
        raise ConfigError([("asset_spec", "is given beside a translator", "override the translator's get_asset_spec")])
    return FunctionTranslator(asset_spec) if asset_spec else given or ReplicationTranslator()


class PipelineSpecs:
    """The tables of a pipeline as assets.

    `sources` and `targets` hold the specs by key, in the order of the file; `keys` each mapping's target table.

    Raises:
        ConfigError: the translator gives two tables one key.
    """

    def __init__(self, pipeline: Pipeline, translator: ReplicationTranslator, name: str = "") -> None:
        self.sources: dict[dg.AssetKey, dg.AssetSpec] = {}
        self.targets: dict[dg.AssetKey, dg.AssetSpec] = {}
        source_keys: dict[str, dg.AssetKey] = {}
        for source in source_tables(pipeline, name):
            spec = translator.get_source_spec(source)
            self._refuse_doubles(spec.key, f"{source.source}.{source.name}")
            self.sources[spec.key] = spec
            source_keys |= {m.name: spec.key for m in source.mappings}
        self.tables = replicated_tables(pipeline, source_keys, name)
        for table in self.tables:
            spec = translator.get_asset_spec(table)
            self._refuse_doubles(spec.key, f"{table.target}.{table.name}")
            self.targets[spec.key] = spec
        self._by_table = {(t.target, t.name): s for t, s in zip(self.tables, self.targets.values(), strict=True)}
        self.keys = {m.name: self.of(table).key for table in self.tables for m in table.mappings}

    def of(self, table: ReplicatedTable) -> dg.AssetSpec:
        return self._by_table[table.target, table.name]

    def _refuse_doubles(self, key: dg.AssetKey, table: str) -> None:
        if key in self.sources or key in self.targets:
            problem = f"the translator gives the key {key.to_user_string()} to another table, too"
            raise ConfigError([(table, problem, "each table needs a key of its own")])


def _resource_keys(options: Options, role: str, names: Mapping[str, object]) -> dict[str, str]:
    return {name: options.named(identifier(f"{role}_{name}")) for name in names}


def _resources(
    kind: type[MySQLResource], keys: Mapping[str, str], pipeline: Pipeline, path: Path | None
) -> dict[str, MySQLResource]:
    if path is None:
        return {key: bound(kind, pipeline, name) for name, key in keys.items()}
    return {key: kind(pipeline_file=str(path), name=name) for name, key in keys.items()}
