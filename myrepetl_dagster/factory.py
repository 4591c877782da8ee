"""Builds the Dagster definitions of a pipeline: assets, jobs, sensors and resources."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import dagster as dg

from .assets import replication_assets
from .checks import build_checks
from .core.config.load import load
from .core.config.pipeline import Pipeline
from .executors import checked
from .fan_out import build_fan_out_job, fan_out_resources
from .jobs import build_group_jobs, build_jobs
from .lineage import AssetSpecOf, identifier, source_groups
from .observations import observable_sources
from .options import RETRY_POLICY, SENSOR_INTERVAL_S, Checks, Options
from .pipeline_file import PipelineFile
from .resources import MySQLResource, MySQLSourceResource, MySQLTargetResource, ReplicationResource, bound
from .sensors import build_sensor
from .specs import PipelineSpecs, translator_of
from .translator import ReplicationTranslator

log = logging.getLogger("myrepetl")
_built: dict[str, str] = {}  # the pipeline that was built last, by name


def build_replication_defs(
    pipeline: Pipeline | str | Path,
    *,
    translator: ReplicationTranslator | None = None,
    asset_spec: AssetSpecOf | None = None,
    name: str = "",
    pool: str | None = None,
    op_tags: Mapping[str, Any] | None = None,
    hooks: Set[dg.HookDefinition] = frozenset(),
    source_assets: bool = True,
    executor_def: dg.ExecutorDefinition | None = None,
    retry_policy: dg.RetryPolicy | None = RETRY_POLICY,
    sensor_interval_s: int = SENSOR_INTERVAL_S,
    checks: Checks | None = None,
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
        source_assets: False: the source tables are no assets of this pipeline, since other definitions have assets of
            these keys, such as a pipeline whose targets they are.
        executor_def: executes the ops of the jobs, and of assets materialized by hand. By default the jobs run in
            process, and the rest as your other definitions say.
        retry_policy: how Dagster retries an op after a transient error, once the core's own retries (`limits` in the
            pipeline file) have given up.
        sensor_interval_s: the least time between two looks of a sensor. Dagster's own loop takes 5 s.
        checks: the asset checks and the freshness policy of the target tables.

    Raises:
        ConfigError: with every problem of the pipeline file, or an argument that is wrong.

    Examples:
        .. code-block:: python

            defs = dg.Definitions.merge(
                build_replication_defs("pipeline.json"),
                dg.Definitions(assets=[my_report]),
            )
    """
    path = None if isinstance(pipeline, Pipeline) else Path(pipeline).resolve()
    file = PipelineFile.of(path) if path else None  # before it is loaded: what changes meanwhile counts as changed
    options = Options(
        name,
        pool,
        op_tags or {},
        hooks,
        checked(executor_def),
        retry_policy,
        sensor_interval_s,
        checks or Checks(),
        file,
    )
    loaded = pipeline if isinstance(pipeline, Pipeline) else load(pipeline)
    _warn_of_doubles(name, str(path or [m.name for m in loaded.mappings]))
    specs = PipelineSpecs(loaded, translator_of(translator, asset_spec), name, options.checks)
    groups = source_groups(specs.tables)
    target_keys = _resource_keys(options, "target", loaded.targets)
    jobs = build_jobs(groups, list(specs.targets), options)
    assets = [replication_assets(group, loaded, specs.of, target_keys, options, specs.keys) for group in groups]
    of_group = {group.name: build_group_jobs(group, loaded, specs.keys, options, len(groups)) for group in groups}
    fan_out = build_fan_out_job(groups, loaded, specs.keys, target_keys, options)
    return dg.Definitions(
        assets=[
            *(observable_sources(specs.sources, specs.by_key, loaded, options) if source_assets else ()),
            *assets,
        ],
        asset_checks=build_checks(groups, specs.of, loaded, options),
        jobs=[*jobs.values(), fan_out, *(job for own in of_group.values() for job in own.values())],
        sensors=[build_sensor(g, loaded, specs.keys, of_group[g.name], options) for g in groups],
        resources={
            # The first: of two pipelines with one name, Dagster's message names the first resource that is double.
            options.named("replication"): _pipeline_resource(loaded, path),
            **_resources(MySQLSourceResource, _resource_keys(options, "source", loaded.sources), loaded, path),
            **_resources(MySQLTargetResource, target_keys, loaded, path),
            **fan_out_resources(options),
        },
        executor=options.executor_def,
    )


def _resource_keys(options: Options, role: str, names: Mapping[str, object]) -> dict[str, str]:
    return {name: options.named(identifier(f"{role}_{name}")) for name in names}


def _warn_of_doubles(name: str, pipeline: str) -> None:
    """Say what mends it, before Dagster refuses to merge the two: we do not see which definitions will be merged."""
    if _built.setdefault(name, pipeline) != pipeline:
        what = f"the name {name!r}" if name else "no name"
        log.warning(
            f"two pipelines have {what}, {_built[name]} and {pipeline}: to merge their definitions, "
            "give each a name: build_replication_defs(..., name=...)"
        )
        _built[name] = pipeline


def _pipeline_resource(pipeline: Pipeline, path: Path | None) -> ReplicationResource:
    return bound(ReplicationResource, pipeline) if path is None else ReplicationResource(pipeline_file=str(path))


def _resources(
    kind: type[MySQLResource], keys: Mapping[str, str], pipeline: Pipeline, path: Path | None
) -> dict[str, MySQLResource]:
    if path is None:
        return {key: bound(kind, pipeline, name=name) for name, key in keys.items()}
    return {key: kind(pipeline_file=str(path), name=name) for name, key in keys.items()}
