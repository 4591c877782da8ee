"""The jobs of assets: `replicate` (copy what is due, then catch up), `snapshot` (copy again), `catch_up` of one source.

All take the same run configuration, a plain `mappings: [...]`; without it they take every mapping. They run in process
by default: a run mostly waits for two servers, and a process for each op costs seconds. Then the first op starts the
sources of all, side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from .core.config.pipeline import Pipeline
from .follow import build_follow_job
from .lineage import SourceGroup, mappings_named
from .options import Options

MAPPINGS = "Names of mappings in the pipeline file, or of target tables as target.table; left out: all of them."
FOLLOW = "Seconds, from its start, for which the run keeps applying changes of the sources. It always catches up first."

Job = Any  # define_asset_job's result is not a public type


def build_jobs(groups: Sequence[SourceGroup], keys: Sequence[dg.AssetKey], options: Options) -> dict[str, Job]:
    """The jobs over all sources, by what they do. `keys`: the assets of the target tables."""
    texts = {
        "replicate": "Copies the tables that are new or half copied, then applies every source's log up to its end.",
        "snapshot": "Copies the tables again, whatever state they are in, then applies the log up to its end.",
    }
    return {
        name: dg.define_asset_job(
            options.named(name),
            selection=dg.AssetSelection.assets(*keys).without_checks(),
            config=_config(groups, options, copy_again=name == "snapshot"),
            executor_def=options.executor_def or dg.in_process_executor,
            hooks=set(options.hooks) or None,
            description=text,
        )
        for name, text in texts.items()
    }


def build_group_jobs(
    group: SourceGroup, pipeline: Pipeline, keys: Mapping[str, dg.AssetKey], options: Options, groups: int
) -> dict[str, Job]:
    """The jobs of one source group, by what they do. `keys`: each mapping's asset. `groups`: how many there are."""
    return {
        "follow": build_follow_job(group, pipeline, keys, options, groups),
        "catch_up": _catch_up_job(group, keys, options),
    }


def _catch_up_job(group: SourceGroup, keys: Mapping[str, dg.AssetKey], options: Options) -> Job:
    names = " and ".join(group.sources)
    return dg.define_asset_job(
        group.named("catch_up"),
        selection=dg.AssetSelection.assets(*dict.fromkeys(keys[m.name] for m in group.mappings)),
        config=_config([group], options, copy_again=False),
        executor_def=options.executor_def or dg.in_process_executor,
        hooks=set(options.hooks) or None,
        description=f"Copies tables of {names} that are new or half copied, then applies the log up to its end.",
    )


def _config(groups: Sequence[SourceGroup], options: Options, *, copy_again: bool) -> dg.ConfigMapping:
    def op_config(config: Mapping[str, Any]) -> dict[str, Any]:
        chosen = mappings_named(groups, config.get("mappings"))
        common = {"copy_again": copy_again, "follow_s": float(config.get("follow_s") or 0.0)}
        own = {
            group.op_name: [m.name for m in group.mappings if chosen is None or m.name in chosen] for group in groups
        }
        beside = own if options.in_process and len(own) > 1 else None
        return {"ops": {op: {"config": common | {"mappings": names, "beside": beside}} for op, names in own.items()}}

    schema = {
        "mappings": dg.Field([str], is_required=False, description=MAPPINGS),
        "follow_s": dg.Field(float, is_required=False, description=FOLLOW),
    }
    return dg.ConfigMapping(config_fn=op_config, config_schema=schema)
