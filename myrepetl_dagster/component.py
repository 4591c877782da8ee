"""The component: a pipeline in a project's `defs` folder, with what Dagster shows for its tables in YAML."""

import json
import os
import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any

import dagster as dg
from dagster.components.utils.translation import TranslationFn, TranslationFnResolver

from .component_scaffold import ReplicationScaffolder
from .core.config.load import from_dict
from .core.config.pipeline import Pipeline
from .core.model.errors import ConfigError
from .factory import build_replication_defs
from .lineage import ReplicatedTable, SourceTable
from .options import Checks
from .translator import ReplicationTranslator


def _names(table: ReplicatedTable | SourceTable) -> dict[str, Any]:
    """What templates of a translation may use, beside `spec`."""
    server = table.target if isinstance(table, ReplicatedTable) else table.source
    return {"server": server, "schema": table.name.schema, "table": table.name.table}


def _resolve_pipeline(context: dg.ResolutionContext, written: dict[str, Any] | None) -> Any:
    """The pipeline with its templates filled in. Dagster would take a variable that is not set for nothing."""
    names = re.findall(r"\{\{[^}]*?\benv\.(\w+)", json.dumps(written))
    unset = [
        ("pipeline", f"the environment variable {n} is not set", f"export {n}") for n in names if n not in os.environ
    ]
    if unset:
        raise ConfigError(list(dict.fromkeys(unset)))
    return None if written is None else context.resolve_value(written)


class ComponentChecks(dg.Model, dg.Resolvable):
    """What Dagster watches of each target table; see `Checks`."""

    lag_s_max: float | None = 60.0
    schema_in_step: bool = True
    fresh_within_s: float | None = 86_400.0
    refresh_s: float = 600.0

    def checks(self) -> Checks:
        within = None if self.fresh_within_s is None else timedelta(seconds=self.fresh_within_s)
        return Checks(self.lag_s_max, self.schema_in_step, within, self.refresh_s)


@dg.scaffold_with(ReplicationScaffolder)
@dataclass(kw_only=True)
class ReplicationComponent(dg.Component, dg.Resolvable):
    """Replicates MySQL and MariaDB tables into MySQL and MariaDB.

    Each target table is an asset, downstream of its source table. Jobs copy them and catch up; a sensor for each source
    keeps them up to date. `dg scaffold defs myrepetl_dagster.ReplicationComponent NAME` writes a pipeline to begin
    with.

    `translation` and `source_translation` take the attributes of an asset: key, key_prefix, group_name, owners, tags,
    kinds, description, automation_condition, freshness_policy and so on. Their templates may use `server`, `schema`
    and `table`, and `spec`, the asset as it would be. To decide more, subclass this component, and override
    `get_asset_spec` or `get_source_spec`.
    """

    path: Annotated[
        str | None,
        dg.Resolver.default(
            description="Path of the pipeline file (JSON or YAML), relative to this folder.", examples=["pipeline.yaml"]
        ),
    ] = None
    pipeline: Annotated[
        dict[str, Any] | None,
        dg.Resolver(
            _resolve_pipeline,
            model_field_type=dict[str, Any],
            description="The pipeline itself, in place of a file: sources, targets, mapping and the other sections.",
            examples=[{"sources": {}, "targets": {}, "mapping": {}}],
        ),
    ] = field(default=None, repr=False)  # it may hold passwords
    name: Annotated[
        str,
        dg.Resolver.default(
            description="Begins the names of jobs, ops, sensors, resources and groups, so that several pipelines fit "
            "into one project. Letters, digits and _.",
            examples=["shop"],
        ),
    ] = ""
    pool: Annotated[
        str | None,
        dg.Resolver.default(
            description="A pool for the ops; {source} in it stands for the op's sources.", examples=["mysql/{source}"]
        ),
    ] = None
    op_tags: Annotated[
        dict[str, Any], dg.Resolver.default(description="Tags of the ops.", examples=[{"dagster/priority": "1"}])
    ] = field(default_factory=dict)
    source_assets: Annotated[
        bool,
        dg.Resolver.default(description="False: other definitions of the project have the source tables as assets."),
    ] = True
    sensor_interval_s: Annotated[
        int, dg.Resolver.default(description="The least time between two looks of a sensor, in seconds; 5 or more.")
    ] = 5
    checks: Annotated[
        ComponentChecks | None,
        dg.Resolver.default(
            description="The asset checks and the freshness policy of the target tables. null leaves one out.",
            examples=[{"lag_s_max": 60, "schema_in_step": True, "fresh_within_s": 86400}],
        ),
    ] = None
    translation: Annotated[
        TranslationFn[ReplicatedTable] | None,
        TranslationFnResolver[ReplicatedTable](template_vars_for_translation_fn=_names),
    ] = None
    source_translation: Annotated[
        TranslationFn[SourceTable] | None,
        TranslationFnResolver[SourceTable](template_vars_for_translation_fn=_names),
    ] = None

    def get_asset_spec(self, table: ReplicatedTable) -> dg.AssetSpec:
        """The asset of a target table, before `translation` changes it."""
        return ReplicationTranslator().get_asset_spec(table)

    def get_source_spec(self, table: SourceTable) -> dg.AssetSpec:
        """The asset of a source table, before `source_translation` changes it."""
        return ReplicationTranslator().get_source_spec(table)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The definitions of the pipeline. Connects to nothing.

        Raises:
            ConfigError: with every problem of the pipeline.
        """
        self._refuse_doubles(context)
        return build_replication_defs(
            self._pipeline(context),
            translator=_ComponentTranslator(self),
            name=self.name,
            pool=self.pool,
            op_tags=self.op_tags,
            source_assets=self.source_assets,
            sensor_interval_s=self.sensor_interval_s,
            checks=self.checks.checks() if self.checks else None,
        )

    def _pipeline(self, context: dg.ComponentLoadContext) -> Pipeline | str:
        if (self.path is None) == (self.pipeline is None):
            raise ConfigError([("attributes", "need either path or pipeline", "path: pipeline.yaml")])
        folder = context.path if context.path.is_dir() else context.path.parent  # a component in Python has its file
        return str(folder / self.path) if self.path is not None else from_dict(self.pipeline or {}, folder)

    def _refuse_doubles(self, context: dg.ComponentLoadContext) -> None:
        named = context.component_tree.get_all_components(of_type=ReplicationComponent)
        if sum(other.name == self.name for other in named) > 1:
            problem = f"{self.name!r} is the name of another pipeline of this project, too"
            raise ConfigError([("name", problem, "give each ReplicationComponent a name of its own")])


class _ComponentTranslator(ReplicationTranslator):
    def __init__(self, component: ReplicationComponent) -> None:
        self._component = component

    def get_asset_spec(self, table: ReplicatedTable) -> dg.AssetSpec:
        spec = self._component.get_asset_spec(table)
        translation = self._component.translation
        return translation(spec, table) if translation else spec

    def get_source_spec(self, table: SourceTable) -> dg.AssetSpec:
        spec = self._component.get_source_spec(table)
        translation = self._component.source_translation
        return translation(spec, table) if translation else spec
