"""The two jobs: `replicate` (copy what is due, then catch up) and `snapshot` (copy again).

Both take the same run configuration, a plain `mappings: [...]`; without it they take every mapping. They run in process
by default: a run mostly waits for two servers, and a process for each op costs seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from .lineage import SourceGroup, mappings_named
from .options import Options

MAPPINGS = "Names of mappings in the pipeline file, or of target tables as target.table; left out: all of them."
FOLLOW = "Seconds, from its start, for which the run keeps applying changes of the sources. It always catches up first."

Job = Any  # define_asset_job's result is not a public type


def build_jobs(groups: Sequence[SourceGroup], keys: Sequence[dg.AssetKey], options: Options) -> dict[str, Job]:
    """Both jobs, by what they do. `keys`: the assets of the target tables."""
    texts = {
        "replicate": "Copies the tables that are new or half copied, then applies every source's log up to its end.",
        "snapshot": "Copies the tables again, whatever state they are in, then applies the log up to its end.",
    }
    return {
        name: dg.define_asset_job(
            options.named(name),
            selection=dg.AssetSelection.assets(*keys),
            config=_config(groups, copy_again=name == "snapshot"),
            executor_def=options.executor_def or dg.in_process_executor,
            hooks=set(options.hooks) or None,
            description=text,
        )
        for name, text in texts.items()
    }


def _config(groups: Sequence[SourceGroup], *, copy_again: bool) -> dg.ConfigMapping:
    def op_config(config: Mapping[str, Any]) -> dict[str, Any]:
        chosen = mappings_named(groups, config.get("mappings"))
        follow_s = float(config.get("follow_s") or 0.0)
        return {
            "ops": {
                group.op_name: {
                    "config": {"mappings": _own(group, chosen), "copy_again": copy_again, "follow_s": follow_s}
                }
                for group in groups
            }
        }

    schema = {
        "mappings": dg.Field([str], is_required=False, description=MAPPINGS),
        "follow_s": dg.Field(float, is_required=False, description=FOLLOW),
    }
    return dg.ConfigMapping(config_fn=op_config, config_schema=schema)


def _own(group: SourceGroup, chosen: set[str] | None) -> list[str] | None:
    return None if chosen is None else [m.name for m in group.mappings if m.name in chosen]
