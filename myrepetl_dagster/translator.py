"""Decides what Dagster shows for a pipeline's tables: keys, groups, kinds, owners, tags, freshness, conditions."""

from __future__ import annotations

import dagster as dg

from . import metadata
from .lineage import AssetSpecOf, ReplicatedTable, SourceTable


class ReplicationTranslator:
    """Gives the asset of each target table and of each source table. Override one method, or both.

    A key that `get_source_spec` gives is the one that target tables depend on. Groups, keys and all else that a spec
    says are kept as they are: the `name` of a pipeline is in the group that the table proposes, not in yours.

    Examples:
        .. code-block:: python

            class Ours(ReplicationTranslator):
                def get_asset_spec(self, table: ReplicatedTable) -> dg.AssetSpec:
                    spec = super().get_asset_spec(table)
                    return spec.replace_attributes(
                        key=spec.key.with_prefix("raw"),
                        owners=["team:data"],
                        automation_condition=dg.AutomationCondition.on_missing(),
                    )

            defs = build_replication_defs("pipeline.json", translator=Ours())
    """

    def get_asset_spec(self, table: ReplicatedTable) -> dg.AssetSpec:
        """The asset of a target table, which the pipeline's ops materialize."""
        return dg.AssetSpec(
            table.key,
            deps=list(dict.fromkeys(table.source_keys.values())),
            group_name=table.group_name,
            kinds={table.flavour, "table"},
            description=metadata.description(table.mappings),
            metadata=metadata.spec_metadata(table.mappings),
            code_version=table.code_version,
        )

    def get_source_spec(self, table: SourceTable) -> dg.AssetSpec:
        """The asset of a source table, which Dagster shows and does not make."""
        return dg.AssetSpec(
            table.key,
            group_name=table.group_name,
            kinds={table.flavour, "source"},
            description=f"{metadata.plain(str(table.name))} on {metadata.plain(table.source)}, read through its log.",
            metadata={"dagster/table_name": f"{table.source}.{table.name}"},
        )


class FunctionTranslator(ReplicationTranslator):
    """The translator of those who pass a function `asset_spec`."""

    def __init__(self, asset_spec: AssetSpecOf) -> None:
        self._asset_spec = asset_spec

    def get_asset_spec(self, table: ReplicatedTable) -> dg.AssetSpec:
        return self._asset_spec(table)


def default_asset_spec(table: ReplicatedTable) -> dg.AssetSpec:
    """The asset that Dagster shows for a target table. To change it, pass a function of your own that calls this one.

    Examples:
        .. code-block:: python

            def asset_spec(table: ReplicatedTable) -> dg.AssetSpec:
                return default_asset_spec(table).replace_attributes(owners=["team:data"])

            defs = build_replication_defs("pipeline.json", asset_spec=asset_spec)
    """
    return ReplicationTranslator().get_asset_spec(table)
