"""A pipeline in Dagster's terms: its target tables, their source tables, and the op that makes each.

One op replicates one source, since its log is read once for all tables. Sources that share a target table share an op
as well, which runs one after another, because an asset has to be materialized by a single op. So the ops are the
connected components of sources and target tables.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dagster as dg

from . import metadata
from .core.config.code_version import code_version
from .core.config.pipeline import Pipeline, TableMapping
from .core.model.tables import TableName


@dataclass(frozen=True, slots=True)
class ReplicatedTable:
    """A table of a target, with every mapping that writes it."""

    pipeline: Pipeline
    target: str
    name: TableName
    mappings: tuple[TableMapping, ...]

    @property
    def key(self) -> dg.AssetKey:
        return table_key(self.target, self.name, self.pipeline.targets[self.target].database)

    @property
    def source_keys(self) -> dict[str, dg.AssetKey]:
        """The source table's key, by mapping."""
        return {m.name: source_key(self.pipeline, m) for m in self.mappings}

    @property
    def code_version(self) -> str:
        """Changes with the mappings into this table, and not with those into others."""
        return code_version(self.mappings)


@dataclass(frozen=True, slots=True)
class SourceGroup:
    """The work of one op: a source, or several that share target tables."""

    sources: tuple[str, ...]
    tables: tuple[ReplicatedTable, ...]

    @property
    def name(self) -> str:
        """The name for people, tags and pools."""
        return re.sub(r"\s", "_", "+".join(self.sources))

    @property
    def op_name(self) -> str:
        return identifier("replicate_" + "__".join(self.sources))

    @property
    def mappings(self) -> tuple[TableMapping, ...]:
        return tuple(mapping for table in self.tables for mapping in table.mappings)


AssetSpecOf = Callable[[ReplicatedTable], dg.AssetSpec]


# ---- names -------------------------------------------------------------------------------------------
def identifier(text: str) -> str:
    """A name that Dagster accepts for ops, sensors and groups. Different texts get different names."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", text)
    if len(plain) > 80:
        plain = plain[:80]
    return plain if plain == text else f"{plain}_{zlib.crc32(text.encode()):08x}"


def table_key(endpoint: str, name: TableName, database: str) -> dg.AssetKey:
    """The key of connection and table, with the schema between them if it is not the connection's own."""
    parts = [endpoint, name.table] if name.schema == database else [endpoint, name.schema, name.table]
    return dg.AssetKey([_key_part(part) for part in parts])


def source_key(pipeline: Pipeline, mapping: TableMapping) -> dg.AssetKey:
    key = table_key(mapping.source, mapping.source_name, pipeline.sources[mapping.source].database)
    # A source and a target may have the same name in the file, and hold tables of the same name.
    return key.with_prefix("source") if mapping.source in pipeline.targets else key


def _key_part(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_]+", text) else identifier(text)


# ---- tables and groups ---------------------------------------------------------------------------------
def replicated_tables(pipeline: Pipeline) -> tuple[ReplicatedTable, ...]:
    by_table: dict[tuple[str, TableName], list[TableMapping]] = {}
    for mapping in pipeline.mappings:
        by_table.setdefault((mapping.target, mapping.target_name), []).append(mapping)
    return tuple(ReplicatedTable(pipeline, target, name, tuple(own)) for (target, name), own in by_table.items())


def source_groups(tables: Sequence[ReplicatedTable]) -> tuple[SourceGroup, ...]:
    """The connected components, in the order of the file."""
    groups: list[set[str]] = []
    for table in tables:
        together = {m.source for m in table.mappings}
        apart = [group for group in groups if not group & together]
        groups = [*apart, together.union(*(group for group in groups if group & together))]
    order = list(next(iter(tables)).pipeline.sources) if tables else []
    found = [
        SourceGroup(
            tuple(sorted(group, key=order.index)),
            tuple(t for t in tables if t.mappings[0].source in group),
        )
        for group in groups
    ]
    return tuple(sorted(found, key=lambda group: order.index(group.sources[0])))


def source_specs(pipeline: Pipeline) -> list[dg.AssetSpec]:
    """The source tables, which Dagster shows but does not make."""
    specs = {}
    for mapping in pipeline.mappings:
        key = source_key(pipeline, mapping)
        specs[key] = dg.AssetSpec(
            key,
            group_name=identifier(mapping.source),
            kinds={"mysql", "source"},
            description=f"`{mapping.source_name}` on **{mapping.source}**, read through its binary log.",
            metadata={"dagster/table_name": f"{mapping.source}.{mapping.source_name}"},
        )
    return list(specs.values())


def default_asset_spec(table: ReplicatedTable) -> dg.AssetSpec:
    """The asset that Dagster shows for a target table. To change it, pass a function of your own that calls this one.

    Examples:
        .. code-block:: python

            def asset_spec(table: ReplicatedTable) -> dg.AssetSpec:
                return default_asset_spec(table).replace_attributes(owners=["team:data"])

            defs = build_replication_defs("pipeline.json", asset_spec=asset_spec)
    """
    return dg.AssetSpec(
        table.key,
        deps=list(dict.fromkeys(table.source_keys.values())),
        group_name=identifier(table.target),
        kinds={"mysql", "table"},
        description=metadata.description(table.mappings),
        metadata=metadata.spec_metadata(table.mappings),
        code_version=table.code_version,
    )
