"""The tables of a pipeline as Dagster's asset specs, as a translator gives them."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from .core.config.load import load
from .core.config.pipeline import Pipeline
from .core.model.errors import ConfigError
from .lineage import AssetSpecOf, ReplicatedTable, replicated_tables, source_tables
from .observations import with_freshness
from .options import Checks
from .translator import FunctionTranslator, ReplicationTranslator


def build_replication_specs(
    pipeline: Pipeline | str | Path,
    *,
    translator: ReplicationTranslator | None = None,
    source: str | None = None,
    name: str = "",
) -> list[dg.AssetSpec]:
    """The assets of a pipeline's target tables, for a `multi_asset` with a body of your own. Connects to nothing.

    Args:
        pipeline: the pipeline file's path, or a pipeline that was built in code.
        translator: decides what Dagster shows for the tables. Give the same one to `replicate`.
        source: only the tables that this source feeds.
        name: begins the names of groups.

    Raises:
        ConfigError: with every problem of the pipeline file, or there is no such source.

    Examples:
        .. code-block:: python

            @dg.multi_asset(specs=build_replication_specs("pipeline.json", source="shop"), can_subset=True)
            def shop_tables(context: dg.AssetExecutionContext, shop: MySQLSourceResource):
                yield from shop.replicate(context)

            defs = dg.Definitions(
                assets=[shop_tables, *build_source_specs("pipeline.json", source="shop")],
                resources={"shop": MySQLSourceResource(pipeline_file="pipeline.json", name="shop")},
            )
    """
    specs, loaded = _specs(pipeline, translator, name)
    _check_source(loaded, source)
    return [specs.of(t) for t in specs.tables if source is None or any(m.source == source for m in t.mappings)]


def build_source_specs(
    pipeline: Pipeline | str | Path,
    *,
    translator: ReplicationTranslator | None = None,
    source: str | None = None,
    name: str = "",
) -> list[dg.AssetSpec]:
    """The assets of a pipeline's source tables, which Dagster shows and does not make. Connects to nothing.

    The arguments and errors are those of `build_replication_specs`.
    """
    specs, loaded = _specs(pipeline, translator, name)
    _check_source(loaded, source)
    keys = {t.source_keys[m.name] for t in specs.tables for m in t.mappings if source in (None, m.source)}
    return [spec for key, spec in specs.sources.items() if key in keys]


def _specs(
    pipeline: Pipeline | str | Path, translator: ReplicationTranslator | None, name: str
) -> tuple[PipelineSpecs, Pipeline]:
    loaded = pipeline if isinstance(pipeline, Pipeline) else load(pipeline)
    return PipelineSpecs(loaded, translator or ReplicationTranslator(), name), loaded


def _check_source(pipeline: Pipeline, source: str | None) -> None:
    if source is not None and source not in pipeline.sources:
        raise ConfigError([("source", f"{source} is no source", f"sources: {', '.join(pipeline.sources)}")])


def translator_of(given: ReplicationTranslator | None, asset_spec: AssetSpecOf | None) -> ReplicationTranslator:
    """The translator that a user means who gives the one or the other."""
    if given is not None and asset_spec is not None:
        raise ConfigError([("asset_spec", "is given beside a translator", "override the translator's get_asset_spec")])
    return FunctionTranslator(asset_spec) if asset_spec else given or ReplicationTranslator()


class PipelineSpecs:
    """The tables of a pipeline as assets.

    `sources` and `targets` hold the specs by key, in the order of the file; `by_key` the target tables; `keys` each
    mapping's target table.

    Raises:
        ConfigError: the translator gives two tables one key.
    """

    def __init__(
        self, pipeline: Pipeline, translator: ReplicationTranslator, name: str = "", checks: Checks | None = None
    ) -> None:
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
            spec = with_freshness(translator.get_asset_spec(table), checks or Checks())
            self._refuse_doubles(spec.key, f"{table.target}.{table.name}")
            self.targets[spec.key] = spec
        self._by_table = {(t.target, t.name): s for t, s in zip(self.tables, self.targets.values(), strict=True)}
        self.by_key = dict(zip(self.targets, self.tables, strict=True))
        self.keys = {m.name: self.of(table).key for table in self.tables for m in table.mappings}

    def of(self, table: ReplicatedTable) -> dg.AssetSpec:
        return self._by_table[table.target, table.name]

    def _refuse_doubles(self, key: dg.AssetKey, table: str) -> None:
        if key in self.sources or key in self.targets:
            problem = f"the translator gives the key {key.to_user_string()} to another table, too"
            raise ConfigError([(table, problem, "each table needs a key of its own")])
