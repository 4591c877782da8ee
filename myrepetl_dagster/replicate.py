"""What the `replicate` of a resource does: the work of a pipeline's ops, in an op of the user's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dagster as dg

from .assets import GroupRun, ReplicationConfig, results
from .core.config.pipeline import Pipeline
from .core.model.errors import ConfigError
from .lineage import mappings_named, source_groups
from .resources import Context, MySQLTargetResource, Result, bound
from .specs import PipelineSpecs
from .translator import ReplicationTranslator


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be replicated, and how. None: all sources, all mappings."""

    source: str | None
    mappings: Sequence[str] | None
    copy_again: bool
    follow_s: float


def replicate(
    context: Context, pipeline: Pipeline, translator: ReplicationTranslator | None, wanted: Wanted
) -> Iterator[Result]:
    """Replicate what is wanted of the op's assets, or of all tables if it has none.

    Raises:
        DagsterInvariantViolationError: there is no such mapping.
        ConfigError: none of the assets is written by what is wanted.
        Failure: after all other tables are done, if one has failed.
    """
    specs = PipelineSpecs(pipeline, translator or ReplicationTranslator())
    tables = dict(zip(specs.targets, specs.tables, strict=True))
    named = mappings_named(source_groups(specs.tables), wanted.mappings)
    names = {m.name for m in pipeline.mappings if wanted.source in (None, m.source)}
    names = names if named is None else names & named
    keys = context.selected_asset_keys if context.has_assets_def else tables.keys()
    chosen = {key: tuple(m for m in tables[key].mappings if m.name in names) for key in tables if key in keys}
    chosen = {key: mappings for key, mappings in chosen.items() if mappings}
    if not chosen:
        raise ConfigError([(
            "replicate", f"none of the op's assets is written by {wanted.source or 'this pipeline'}",
            "give replicate() the translator that made the op's specs")])  # fmt: skip
    targets = {name: bound(MySQLTargetResource, pipeline, name=name) for name in pipeline.targets}
    config = ReplicationConfig(copy_again=wanted.copy_again, follow_s=wanted.follow_s)
    try:
        for result in results(GroupRun(context, pipeline, chosen), config, tables, targets.__getitem__):
            yield result if context.has_assets_def else _event(result)
    finally:
        for target in targets.values():
            target.close()


def _event(result: dg.MaterializeResult[None]) -> dg.AssetMaterialization:
    """The same for an op that has no assets, where Dagster takes no `MaterializeResult`."""
    assert result.asset_key is not None
    return dg.AssetMaterialization(result.asset_key, metadata=result.metadata, tags=result.tags)
