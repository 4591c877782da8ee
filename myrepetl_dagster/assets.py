"""The op that replicates: it runs its sources with the core, and yields the results as materializations."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import dagster as dg

from . import metadata
from .checks import OwnRun, evaluations, report
from .core.config.pipeline import Pipeline, TableMapping
from .core.model.errors import ReplicationError
from .health import health_of_result
from .lineage import AssetSpecOf, ReplicatedTable, SourceGroup
from .observations import TableEvents
from .options import Checks, Options
from .progress import ProgressReport
from .resources import Context, MySQLTargetResource
from .run_log import core_log
from .table_facts import TableFacts

if TYPE_CHECKING:
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
        if unknown := sorted(set(config.mappings or ()) - {m.name for m in group.mappings}):
            raise dg.Failure(
                f"mappings: {', '.join(unknown)}: not among those of {' and '.join(group.sources)}:"
                f" {', '.join(m.name for m in group.mappings)}",
                allow_retries=False,
            )
        chosen = {key: _chosen(tables[key], config) for key in tables if key in context.selected_asset_keys}
        chosen = {key: mappings for key, mappings in chosen.items() if mappings}
        run = GroupRun(context, pipeline, chosen, options.checks, group.op_name, keys)
        yield from results(run, config, tables, lambda name: getattr(context.resources, target_keys[name]))

    return replicate_group


def results(
    run: "GroupRun",
    config: ReplicationConfig,
    tables: Mapping[dg.AssetKey, ReplicatedTable],
    resource_of: Callable[[str], MySQLTargetResource],
) -> Iterator[dg.MaterializeResult[None]]:
    """Run, and yield each table when it is done. `resource_of`: the resource of a target.

    Raises:
        Failure: after all others are done, if a mapping has failed; or the run was stopped.
    """
    for warning in run.pipeline.warnings:
        run.context.log.warning(warning)
    try:
        with core_log(run.context, run.pipeline.monitoring.log_level):
            for _ in run.run_sources(config):
                yield from run.finished(tables, resource_of)
            run.evaluate(tables)
    except dg.DagsterExecutionInterruptedError as error:
        raise dg.Failure("stopped on request", allow_retries=False) from error
    finally:
        run.close()
    if run.errors:
        first = next(iter(run.errors.values()))
        raise metadata.failure(run.errors, {r.mapping: r.position for r in run.results.values()}) from first


def _chosen(table: ReplicatedTable, config: ReplicationConfig) -> tuple[TableMapping, ...]:
    return tuple(m for m in table.mappings if config.mappings is None or m.name in config.mappings)


@dataclass(slots=True)
class GroupRun:
    """One run of an op, with its results and errors by mapping so far.

    `checks`: of the tables, if they have any. `op_name`, `keys`: the op's name, and each mapping's asset, for ops that
    are run beside others.
    """

    context: Context
    pipeline: Pipeline
    chosen: Mapping[dg.AssetKey, tuple[TableMapping, ...]]
    checks: Checks | None = None
    op_name: str = ""
    keys: Mapping[str, dg.AssetKey] = field(default_factory=dict)
    results: "dict[str, MappingResult]" = field(default_factory=dict)
    errors: dict[str, ReplicationError] = field(default_factory=dict)
    yielded: set[dg.AssetKey] = field(default_factory=set)
    facts: TableFacts | None = None
    events: TableEvents | None = None

    def close(self) -> None:
        if self.facts is not None:
            self.facts.close()

    def run_sources(self, config: ReplicationConfig) -> "Iterator[SourceRun]":
        """Replicate the chosen mappings, and yield each source's run when it has ended. Errors go to `errors`."""
        # Imported here, since Dagster loads definitions far more often than it runs them.
        from .together import runs_of_op

        own = {m.name: key for key, mappings in self.chosen.items() for m in mappings}
        report = ProgressReport(self.context, {**self.keys, **own}, self.pipeline.monitoring)
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
        self, tables: Mapping[dg.AssetKey, ReplicatedTable], resource_of: Callable[[str], MySQLTargetResource]
    ) -> Iterator[dg.MaterializeResult[None]]:
        """The tables whose mappings have all ended without an error, each yielded once."""
        for key, mappings in self.chosen.items():
            results = [self.results[m.name] for m in mappings if m.name in self.results]
            failed = {m.name for m in mappings} & self.errors.keys()
            if key in self.yielded or failed or len(results) < len(mappings):
                continue
            self.yielded.add(key)
            self.facts = self.facts or TableFacts(lambda name: resource_of(name).asking(), self.context.log.warning)
            found = metadata.result_metadata(results) | self.facts.of(tables[key], results)
            yield dg.MaterializeResult(asset_key=key, metadata=found, tags=self._versions(tables, key, results))

    def _versions(
        self, tables: Mapping[dg.AssetKey, ReplicatedTable], key: dg.AssetKey, results: "Sequence[MappingResult]"
    ) -> dict[str, str]:
        """The tags with the versions of a table, once its source tables are observed to have theirs."""
        from .core.diagnostics.pending_changes import applied_totals

        if self.events is None:
            mappings = [m for table in tables.values() for m in table.mappings]
            try:
                applied = applied_totals(self.pipeline, mappings)
            except ReplicationError:  # Dagster gives versions of its own; the next run's are ours again
                return {}
            self.events = TableEvents(self.context.instance, tables, applied, self.checks or Checks())
        tags, observations = self.events.of_result(key, {r.mapping: r.applied_total for r in results})
        for observation in observations:
            self.context.log_event(observation)
        return tags

    def evaluate(self, tables: Mapping[dg.AssetKey, ReplicatedTable]) -> None:
        """Store what the checks say of the tables, by what this run has done."""
        if self.pipeline.monitoring.enabled and self.checks is not None:
            chosen = {key: tables[key] for key in self.chosen}
            health = {name: health_of_result(result) for name, result in self.results.items()}
            found = evaluations(chosen, health, self.checks)
            report(self.context.instance, found, self.checks, OwnRun(self.context))
