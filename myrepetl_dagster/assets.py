"""The op that replicates: it runs its sources with the core, and yields the results as materializations."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import dagster as dg

from . import metadata
from .core.config.pipeline import Pipeline, TableMapping
from .core.model.errors import ReplicationError
from .lineage import AssetSpecOf, ReplicatedTable, SourceGroup
from .options import Options
from .progress import ProgressReport
from .resources import MySQLTargetResource

if TYPE_CHECKING:
    from .core.diagnostics.row_counts import RowCounter
    from .core.replication.result import MappingResult
    from .core.replication.run import SourceRun


class ReplicationConfig(dg.Config):
    """Run configuration of an op.

    Args:
        mappings: names of the mappings to run, as in the pipeline file; None: all that are selected.
        copy_again: ignore the checkpoints and copy the tables again.
        follow_s: keep applying the sources' changes for this many seconds from the start.
        beside: by op, the mappings of all ops of the run, if these are executed in one process. The first op then
            starts the sources of all, since Dagster executes the ops one after another.
    """

    mappings: list[str] | None = None
    copy_again: bool = False
    follow_s: float = 0.0
    beside: dict[str, list[str]] | None = None


def replication_assets(
    group: SourceGroup,
    pipeline: Pipeline,
    asset_spec: AssetSpecOf,
    target_keys: Mapping[str, str],
    options: Options,
    keys: Mapping[str, dg.AssetKey],
) -> dg.AssetsDefinition:
    """The op of a group, as assets.

    Args:
        target_keys: each target's resource key.
        keys: the asset of each mapping of the pipeline.
    """
    specs = {asset_spec(table).key: asset_spec(table) for table in group.tables}
    tables = dict(zip(specs, group.tables, strict=True))

    @dg.multi_asset(
        name=group.op_name,
        specs=list(specs.values()),
        can_subset=True,
        pool=options.pool_of(group.name),
        op_tags=dict(options.op_tags) or None,
        retry_policy=options.retry_policy,
        required_resource_keys=set(target_keys.values()),
        description=f"Brings the tables of {' and '.join(group.sources)} up to date.",
    )
    def replicate_group(
        context: dg.AssetExecutionContext, config: ReplicationConfig
    ) -> Iterator[dg.MaterializeResult[None]]:
        chosen = {key: _chosen(tables[key], config) for key in tables if key in context.selected_asset_keys}
        run = GroupRun(context, pipeline, group.op_name, keys, {key: ms for key, ms in chosen.items() if ms})
        for warning in pipeline.warnings:
            context.log.warning(warning)
        try:
            for _ in run.run_sources(config):
                yield from run.finished(tables, target_keys)
        except dg.DagsterExecutionInterruptedError as error:
            raise dg.Failure("stopped on request", allow_retries=False) from error
        finally:
            run.close()
        if run.errors:
            first = next(iter(run.errors.values()))
            raise metadata.failure(run.errors, {r.mapping: r.position for r in run.results.values()}) from first

    return replicate_group


def _chosen(table: ReplicatedTable, config: ReplicationConfig) -> tuple[TableMapping, ...]:
    return tuple(m for m in table.mappings if config.mappings is None or m.name in config.mappings)


@dataclass(slots=True)
class GroupRun:
    """One run of an op, with its results and errors by mapping so far."""

    context: dg.AssetExecutionContext
    pipeline: Pipeline
    op_name: str
    keys: Mapping[str, dg.AssetKey]
    chosen: Mapping[dg.AssetKey, tuple[TableMapping, ...]]
    results: "dict[str, MappingResult]" = field(default_factory=dict)
    errors: dict[str, ReplicationError] = field(default_factory=dict)
    yielded: set[dg.AssetKey] = field(default_factory=set)
    counter: "RowCounter | None" = None

    def close(self) -> None:
        if self.counter is not None:
            self.counter.close()

    def run_sources(self, config: ReplicationConfig) -> "Iterator[SourceRun]":
        """Replicate the chosen mappings, and yield each source's run when it has ended. Errors go to `errors`."""
        # Imported here, since Dagster loads definitions far more often than it runs them.
        from .together import runs_of_op

        own = {m.name: key for key, mappings in self.chosen.items() for m in mappings}
        report = ProgressReport(self.context, self.keys, self.pipeline.monitoring)
        again = self._to_copy_again(own) if config.copy_again else ()
        asked = {self.op_name: list(own), **self._beside(config)}
        for run in runs_of_op(self.context.run.run_id, self.pipeline, self.op_name, asked, config, again, report):
            self.results |= run.results
            self.errors |= {name: r.error for name, r in run.results.items() if r.error is not None}
            for result in run.results.values():
                if result.error is None:
                    self.context.log.info(metadata.result_text(result))
            yield run

    def _beside(self, config: ReplicationConfig) -> dict[str, list[str]]:
        """The mappings of the other ops of this run."""
        selected = self.context.run.asset_selection
        return {
            op: [name for name in names if selected is None or self.keys[name] in selected]
            for op, names in (config.beside or {}).items()
            if op != self.op_name
        }

    def _to_copy_again(self, own: Mapping[str, dg.AssetKey]) -> Collection[str]:
        """The mappings to copy again. When Dagster retries the op, the tables that it has copied already stay."""
        return [name for name, key in own.items() if not self._done_before(key)]

    def _done_before(self, key: dg.AssetKey) -> bool:
        if self.context.retry_number == 0:
            return False
        event = self.context.instance.get_latest_materialization_event(key)
        return event is not None and event.run_id == self.context.run.run_id

    def finished(
        self, tables: Mapping[dg.AssetKey, ReplicatedTable], target_keys: Mapping[str, str]
    ) -> Iterator[dg.MaterializeResult[None]]:
        """The tables whose mappings have all ended without an error, each yielded once."""
        for key, mappings in self.chosen.items():
            results = [self.results[m.name] for m in mappings if m.name in self.results]
            failed = {m.name for m in mappings} & self.errors.keys()
            if key in self.yielded or failed or len(results) < len(mappings):
                continue
            self.yielded.add(key)
            resource = getattr(self.context.resources, target_keys[tables[key].target])
            yield dg.MaterializeResult(asset_key=key, metadata=self._metadata(tables[key], results, resource))

    def _metadata(
        self, table: ReplicatedTable, results: "Sequence[MappingResult]", resource: MySQLTargetResource
    ) -> metadata.Metadata:
        from .core.diagnostics.row_counts import RowCounter

        found = metadata.result_metadata(results)
        found["dagster/column_lineage"] = metadata.column_lineage(results, table.source_keys)
        self.counter = self.counter or RowCounter()
        try:
            with resource.asking() as server:
                described = server.describe(table.name)
                rows = self.counter.count(server, table.name, {})
        except ReplicationError as error:  # only metadata is missing, since the rows are committed
            self.context.log.warning(f"{table.target}.{table.name} could not be described: {error}")
            return found
        found |= {"dagster/column_schema": metadata.table_schema(described)} if described else {}
        return found | ({"dagster/row_count": rows} if rows is not None else {})
