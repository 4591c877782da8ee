"""The job that follows a source group over all of its tables: one op that works for an hour, and is then replaced.

It is no job of assets, since Dagster would show every table as in progress for all that time, and no downstream asset
would be made. The op reports its tables' materializations as it goes, at most every `monitoring.interval`.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg

from . import metadata
from .core.config.pipeline import FOLLOW_S, Pipeline
from .core.model.errors import ReplicationError
from .lineage import ReplicatedTable, SourceGroup
from .options import Checks, Options
from .resources import MySQLTargetResource, bound
from .run_log import core_log
from .table_facts import TableFacts

if TYPE_CHECKING:
    from .core.replication.follower import Follower
    from .core.replication.result import MappingResult, Progress, Retry
    from .metrics import Exporter
    from .watch import Watch

# A run goes on for so long after its time, so that its successor is there before it ends.
OVERLAP_S = 300.0
TICK_S = 1.0
# A run reports so many materializations at most; with many busy tables the interval is longer.
EVENTS_MAX = 5_000
ACTIVE = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]


class FollowConfig(dg.Config):
    """Run configuration of the op.

    `follow_s`: seconds until the sensor replaces this run by another one; without a sensor it ends some minutes later.
    None: `replication.follow_s` of the pipeline file.
    """

    follow_s: float | None = None


def build_follow_job(
    group: SourceGroup,
    pipeline: Pipeline,
    keys: Mapping[str, dg.AssetKey],
    options: Options,
    groups: int = 1,
) -> dg.JobDefinition:
    """The job that follows a group.

    Args:
        keys: each mapping's asset.
        groups: the number of the pipeline's source groups. Each is followed by a run of its own.
    """
    names = " and ".join(group.sources)

    @dg.op(
        name=group.named("follow_log"),
        tags=dict(options.op_tags),
        description=f"Applies the changes of {names} to all of its tables as they come.",
    )
    def follow_log(context: dg.OpExecutionContext, config: FollowConfig) -> None:
        follow_s = config.follow_s or pipeline.replication.follow_s or FOLLOW_S
        if places := too_few_places(context.instance, groups):
            context.log.warning(places)
        FollowRun(context, group, pipeline, keys, follow_s, options.checks).run()

    @dg.job(
        name=group.named("follow"),
        executor_def=dg.in_process_executor,
        hooks=set(options.hooks) or None,
        description=f"Follows {names} over all of its tables, in seconds. The sensor starts it and replaces it.",
    )
    def follow() -> None:
        follow_log()

    return follow


@dataclass(slots=True)
class FollowRun:
    """One run of the op: what it has heard of each mapping, and what it has reported of each table."""

    context: dg.OpExecutionContext
    group: SourceGroup
    pipeline: Pipeline
    keys: Mapping[str, dg.AssetKey]
    follow_s: float
    checks: Checks
    latest: "dict[str, Progress]" = field(default_factory=dict)  # by mapping
    reported_at_s: float = field(default_factory=time.monotonic)
    changes_told: dict[str, int] = field(default_factory=dict)
    results: "dict[str, MappingResult]" = field(default_factory=dict)
    exporters: "dict[str, Exporter]" = field(default_factory=dict)  # by source
    exporter_of: "dict[str, Exporter]" = field(default_factory=dict)  # by mapping
    watch: "Watch" = field(init=False)

    @property
    def tables(self) -> dict[dg.AssetKey, ReplicatedTable]:
        return {self.keys[table.mappings[0].name]: table for table in self.group.tables}

    @property
    def interval_s(self) -> float:
        return max(self.pipeline.monitoring.interval_s, len(self.group.tables) * self.follow_s / EVENTS_MAX)

    def run(self) -> None:
        # Imported here, since Dagster loads definitions far more often than it runs them.
        from .core.replication.follower import Follower
        from .watch import Watch

        for warning in self.pipeline.warnings:
            self.context.log.warning(warning)
        applied, interval_s = self._applied_before(), self.interval_s
        self.exporters = self._exporters()
        self.exporter_of = {m.name: self.exporters[m.source] for m in self.group.mappings}
        targets = {name: bound(MySQLTargetResource, self.pipeline, name=name) for name in self.pipeline.targets}
        facts = TableFacts(lambda name: targets[name].asking(), self.context.log.warning, cheap=True)
        by_mapping = {m.name: table for table in self.group.tables for m in table.mappings}

        def describe(heard: "Sequence[Progress]") -> metadata.Metadata:
            results = [found[p.mapping] for p in heard if p.mapping in (found := follower.results)]
            return metadata.follow_metadata(heard) | facts.of(by_mapping[heard[0].mapping], results)

        self.watch = Watch(self.context, self.pipeline, self.tables, self.checks, applied, interval_s, describe)
        follower = Follower(
            self.pipeline,
            self.group.mappings,
            self.follow_s + OVERLAP_S,
            on_progress=self._heard,
            on_retry=self._retried,
            superseded=lambda: has_successor(self.context.instance, self.context.run),
        )
        try:
            with core_log(self.context, self.pipeline.monitoring.log_level), follower:
                while not follower.wait(TICK_S):
                    self._tick(follower)
        except dg.DagsterExecutionInterruptedError as error:
            raise dg.Failure("stopped on request", allow_retries=False) from error
        finally:
            for exporter in self.exporters.values():
                exporter.close()
            self.watch.end(follower)
            facts.close()
            for target in targets.values():
                target.close()
            self.context.log.info(self._line(follower))
        self._end(follower)

    def _heard(self, progress: "Progress") -> None:
        """Called in the follower's threads after each commit."""
        self.latest[progress.mapping] = progress
        self.watch.heard(progress)
        self.exporter_of[progress.mapping].progress(progress)

    def _retried(self, retry: "Retry") -> None:
        """Called in the follower's threads after each failed attempt."""
        self.watch.retry(retry)
        self.exporters[retry.source].retry(retry)

    def _exporters(self) -> "dict[str, Exporter]":
        """What serves the metrics of each source; each has a port of its own."""
        from .metrics import exporter

        try:
            found = {source: exporter(self.pipeline, source) for source in self.group.sources}
        except ReplicationError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        for one in found.values():
            one.watch(self.results)
        return found

    def _tick(self, follower: "Follower") -> None:
        self.watch.look(follower)
        self.results.update(follower.results)
        if time.monotonic() - self.reported_at_s >= self.interval_s:
            self.reported_at_s = time.monotonic()
            self.context.log.info(self._line(follower))

    def _applied_before(self) -> dict[str, int]:
        from .core.diagnostics.pending_changes import applied_totals

        try:
            return applied_totals(self.pipeline, self.group.mappings)
        except ReplicationError:  # the follower will say it
            return {}

    def _line(self, follower: "Follower") -> str:
        following, left_out = follower.following, follower.left_out
        changes = {name: progress.applied_total for name, progress in list(self.latest.items())}
        new = sum(total - self.changes_told.get(name, total) for name, total in changes.items())
        self.changes_told = changes
        down = self.watch.down
        lags = {
            m.name: lag_s
            for m in self.group.mappings
            if m.name in following and m.source not in down
            if (one := self.latest.get(m.name)) is not None and (lag_s := one.lag_s) is not None
        }
        text = f"following {len(following)} of {len(self.keys_of_group)} mappings, {new:,} changes applied"
        if lags:
            slowest = max(lags, key=lambda name: lags[name])
            text += f", lag {lags[slowest]:.1f} s at most ({slowest})"
        if left_out:
            reasons = (f"{name} ({reason})" if reason else name for name, reason in sorted(left_out.items()))
            text += "; not followed: " + "; ".join(reasons)
        text += "".join(f"; source {name} out of reach for {since_s:.0f} s" for name, since_s in down.items())
        return text

    @property
    def keys_of_group(self) -> list[str]:
        return [m.name for m in self.group.mappings]

    def _end(self, follower: "Follower") -> None:
        if follower.fault is not None:
            raise follower.fault
        if follower.handed_over:
            self.context.log.info("a later run has taken over")
            return
        errors = follower.errors or follower.failed
        if errors:
            first = next(iter(errors.values()))
            positions = {name: progress.position for name, progress in self.latest.items()}
            raise metadata.failure(errors, positions) from first


def places(instance: dg.DagsterInstance) -> int | None:
    """How many runs Dagster executes at a time; None: no limit is known."""
    queue = instance.get_concurrency_config().run_queue_config
    found = queue.max_concurrent_runs if queue is not None else None
    return None if found is None or found < 0 else found


def too_few_places(instance: dg.DagsterInstance, groups: int) -> str:
    """What to change where runs that follow leave no place to others; empty: nothing."""
    limit, needed = places(instance), 2 * groups + 2
    if limit is None or limit >= needed:
        return ""
    return (
        f"Dagster executes at most {limit} runs at a time. Each of the {groups} sources is followed by one, or by two"
        f" while they relieve each other, and copies need places, too. Set concurrency.runs.max_concurrent_runs in"
        f" dagster.yaml to {needed} or more."
    )


def has_successor(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a later run of the same job is under way."""
    return any(one.dagster_run.run_id == run.run_id for one in follow_runs(instance, run.job_name)[1:])


def follow_runs(instance: dg.DagsterInstance, job_name: str, statuses: Sequence[Any] = ACTIVE) -> list[dg.RunRecord]:
    """The active runs of a follow job, newest first."""
    return list(instance.get_run_records(dg.RunsFilter(job_name=job_name, statuses=list(statuses))))
