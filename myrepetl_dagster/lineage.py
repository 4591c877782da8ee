"""A pipeline in Dagster's terms: its target tables, their source tables, and the op that makes each.

One op replicates one source, since its log is read once for all tables. Sources that share a target table share an op
as well, which runs one after another, because an asset has to be materialized by a single op. So the ops are the
connected components of sources and target tables.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from .core.config.code_version import code_version
from .core.config.pipeline import Pipeline, TableMapping
from .core.config.section import closest
from .core.model.tables import TableName
from .options import named


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table of a source, with every mapping that reads it. `pipeline_name`: see `Options.name`."""

    pipeline: Pipeline
    source: str
    name: TableName
    mappings: tuple[TableMapping, ...]
    pipeline_name: str = ""

    @property
    def key(self) -> dg.AssetKey:
        """The key of connection and table, as the pipeline file names them."""
        key = table_key(self.source, self.name, self.pipeline.sources[self.source].database)
        # A source and a target may have the same name in the file, and hold tables of the same name.
        return key.with_prefix("source") if self.source in self.pipeline.targets else key

    @property
    def group_name(self) -> str:
        """The group of the source's tables. Without the pipeline's name: another pipeline may read the same table."""
        return identifier(self.source)

    @property
    def flavour(self) -> str:
        """`mysql` or `mariadb`, as the pipeline file says."""
        return self.pipeline.sources[self.source].flavour


@dataclass(frozen=True, slots=True)
class ReplicatedTable:
    """A table of a target, with every mapping that writes it.

    `source_keys` holds each mapping's source table as an asset. `pipeline_name`: see `Options.name`.
    """

    pipeline: Pipeline
    target: str
    name: TableName
    mappings: tuple[TableMapping, ...]
    source_keys: Mapping[str, dg.AssetKey]
    pipeline_name: str = ""

    @property
    def key(self) -> dg.AssetKey:
        """The key of connection and table, as the pipeline file names them."""
        return table_key(self.target, self.name, self.pipeline.targets[self.target].database)

    @property
    def group_name(self) -> str:
        """The group of the target's tables."""
        return named(self.pipeline_name, identifier(self.target))

    @property
    def flavour(self) -> str:
        """`mysql` or `mariadb`, as the pipeline file says."""
        return self.pipeline.targets[self.target].flavour

    @property
    def code_version(self) -> str:
        """Changes with the mappings into this table, and not with those into others."""
        return code_version(self.mappings)


@dataclass(frozen=True, slots=True)
class SourceGroup:
    """The work of one op: a source, or several that share target tables."""

    sources: tuple[str, ...]
    tables: tuple[ReplicatedTable, ...]
    pipeline_name: str = ""

    @property
    def name(self) -> str:
        """The name for people, tags and pools. Groups of other pipelines have other names."""
        name = re.sub(r"\s", "_", "+".join(self.sources))
        return f"{self.pipeline_name}/{name}" if self.pipeline_name else name

    @property
    def op_name(self) -> str:
        return self.named("replicate")

    def named(self, what: str) -> str:
        """The name of an op, job or sensor that does `what` for this group."""
        return named(self.pipeline_name, identifier(f"{what}_" + "__".join(self.sources)))

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


def _key_part(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_]+", text) else identifier(text)


# ---- tables and groups ---------------------------------------------------------------------------------
def source_tables(pipeline: Pipeline, pipeline_name: str = "") -> tuple[SourceTable, ...]:
    by_table: dict[tuple[str, TableName], list[TableMapping]] = {}
    for mapping in pipeline.mappings:
        by_table.setdefault((mapping.source, mapping.source_name), []).append(mapping)
    return tuple(
        SourceTable(pipeline, source, name, tuple(own), pipeline_name) for (source, name), own in by_table.items()
    )


def replicated_tables(
    pipeline: Pipeline, source_keys: Mapping[str, dg.AssetKey], pipeline_name: str = ""
) -> tuple[ReplicatedTable, ...]:
    """The target tables. `source_keys`: each mapping's source table as an asset."""
    by_table: dict[tuple[str, TableName], list[TableMapping]] = {}
    for mapping in pipeline.mappings:
        by_table.setdefault((mapping.target, mapping.target_name), []).append(mapping)
    return tuple(
        ReplicatedTable(pipeline, target, name, tuple(own), {m.name: source_keys[m.name] for m in own}, pipeline_name)
        for (target, name), own in by_table.items()
    )


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
            next(iter(tables)).pipeline_name,
        )
        for group in groups
    ]
    return tuple(sorted(found, key=lambda group: order.index(group.sources[0])))


def mappings_named(groups: Sequence[SourceGroup], asked: Sequence[str] | None) -> set[str] | None:
    """The names of the mappings that are called so, or whose target table is (`target.table`); None: all are meant.

    Raises:
        DagsterInvariantViolationError: there is no such mapping. Dagster shows errors of its own as they are, and
            others behind a long text about the function that raised them.
    """
    if asked is None:
        return None
    found: dict[str, set[str]] = {}
    for mapping in (m for group in groups for m in group.mappings):
        for name in (mapping.name, f"{mapping.target}.{mapping.target_table}"):
            found.setdefault(name, set()).add(mapping.name)
    unknown = [f"{name!r} ({closest(name, found, 'mappings')})" for name in asked if name not in found]
    if unknown:
        raise dg.DagsterInvariantViolationError(f"mappings: not in the pipeline file: {'; '.join(unknown)}")
    return set().union(*(found[name] for name in asked))
