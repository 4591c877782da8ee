"""The job that follows a source group over all of its tables: one op that works for an hour, and is then replaced.

It is no job of assets, since Dagster would show every table as in progress for all that time, and no downstream asset
would be made. The op reports its tables' materializations as it goes, at most every `monitoring.interval`.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import dagster as dg

from . import metadata
from .core.config.pipeline import Pipeline
from .lineage import ReplicatedTable, SourceGroup
from .options import Options

if TYPE_CHECKING:
    from .core.replication.follower import Follower
    from .core.replication.result import Progress, Retry

# A run goes on for so long after its time, so that its successor is there before it ends.
OVERLAP_S = 300.0
TICK_S = 1.0
# A run reports so many materializations at most; with many busy tables the interval is longer.
EVENTS_MAX = 5_000
ACTIVE = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]

FOLLOW_S = "Seconds until the sensor replaces this run by another one. Without a sensor it ends some minutes later."


class FollowConfig(dg.Config):
    """Run configuration of the op. `follow_s`: see above; None: `replication.follow_s` of the pipeline file."""

    follow_s: float | None = None


def build_follow_job(
    group: SourceGroup,
    pipeline: Pipeline,
    keys: Mapping[str, dg.AssetKey],
    options: Options,
) -> dg.JobDefinition:
    """The job that follows a group. `keys`: each mapping's asset."""
    names = " and ".join(group.sources)

    @dg.op(
        name=group.named("follow_log"),
        tags=dict(options.op_tags),
        description=f"Applies the changes of {names} to all of its tables as they come.",
    )
    def follow_log(context: dg.OpExecutionContext, config: FollowConfig) -> None:
        follow_s = config.follow_s or pipeline.replication.follow_s or 3600.0
        FollowRun(context, group, pipeline, keys, follow_s).run()

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
    latest: "dict[str, Progress]" = field(default_factory=dict)  # by mapping
    retries: "SimpleQueue[Retry]" = field(default_factory=SimpleQueue)
    reported: dict[dg.AssetKey, int | None] = field(default_factory=dict)  # by table: what was applied by then
    reported_at_s: float = field(default_factory=time.monotonic)
    changes_told: dict[str, int] = field(default_factory=dict)

    @property
    def tables(self) -> dict[dg.AssetKey, ReplicatedTable]:
        return {self.keys[table.mappings[0].name]: table for table in self.group.tables}

    @property
    def interval_s(self) -> float:
        return max(self.pipeline.monitoring.interval_s, len(self.group.tables) * self.follow_s / EVENTS_MAX)

    def run(self) -> None:
        # Imported here, since Dagster loads definitions far more often than it runs them.
        from .core.replication.follower import Follower

        for warning in self.pipeline.warnings:
            self.context.log.warning(warning)
        self.reported = {key: _applied_before(self.context.instance, key) for key in self.tables}
        follower = Follower(
            self.pipeline,
            self.group.mappings,
            self.follow_s + OVERLAP_S,
            on_progress=self._heard,
            on_retry=self.retries.put,
            superseded=lambda: has_successor(self.context.instance, self.context.run),
        )
        try:
            with follower:
                while not follower.wait(TICK_S):
                    self._tick(follower)
        except dg.DagsterExecutionInterruptedError as error:
            raise dg.Failure("stopped on request", allow_retries=False) from error
        finally:
            self._report(follower)
        self._end(follower)

    def _heard(self, progress: "Progress") -> None:
        """Called in the follower's threads after each commit."""
        self.latest[progress.mapping] = progress

    def _tick(self, follower: "Follower") -> None:
        while True:
            try:
                retry = self.retries.get_nowait()
            except Empty:
                break
            self._down(retry)
        if time.monotonic() - self.reported_at_s >= self.interval_s:
            self._report(follower)

    def _down(self, retry: "Retry") -> None:
        """An attempt has failed: what a person should see at once, not at the next report."""

    def _report(self, follower: "Follower") -> None:
        """Report what is new since the last report: a materialization of each table that changed, and one line."""
        self.reported_at_s = time.monotonic()
        for key, table in self.tables.items():
            heard = [self.latest[m.name] for m in table.mappings if m.name in self.latest]
            applied = sum(progress.applied_total for progress in heard)
            if len(heard) == len(table.mappings) and applied != self.reported[key]:
                self.context.log_event(dg.AssetMaterialization(key, metadata=metadata.follow_metadata(heard)))
                self.reported[key] = applied
        self.context.log.info(self._line(follower))

    def _line(self, follower: "Follower") -> str:
        following, left_out = follower.following, follower.left_out
        changes = {name: progress.applied_total for name, progress in list(self.latest.items())}
        new = sum(total - self.changes_told.get(name, total) for name, total in changes.items())
        self.changes_told = changes
        lags = {n: p.lag_s for n, p in list(self.latest.items()) if n in following and p.lag_s is not None}
        text = f"following {len(following)} of {len(self.keys_of_group)} mappings, {new:,} changes applied"
        if lags:
            slowest = max(lags, key=lambda name: lags[name] or 0.0)
            text += f", lag {lags[slowest]:.1f} s at most ({slowest})"
        if left_out:
            text += "; not followed: " + "; ".join(f"{name} ({reason})" for name, reason in sorted(left_out.items()))
        return text

    @property
    def keys_of_group(self) -> list[str]:
        return [m.name for m in self.group.mappings]

    def _end(self, follower: "Follower") -> None:
        if follower.handed_over:
            self.context.log.info("a later run has taken over")
            return
        errors = follower.errors or follower.failed
        if errors:
            first = next(iter(errors.values()))
            positions = {name: progress.position for name, progress in self.latest.items()}
            raise metadata.failure(errors, positions) from first


def _applied_before(instance: dg.DagsterInstance, key: dg.AssetKey) -> int | None:
    """What a table's last materialization says of how much was applied; None: there is none, or it does not say."""
    event = instance.get_latest_materialization_event(key)
    materialization = event.asset_materialization if event else None
    value = materialization.metadata.get(metadata.APPLIED) if materialization else None
    return value.value if isinstance(value, dg.IntMetadataValue) else None


def has_successor(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a later run of the same job is under way."""
    return any(one.dagster_run.run_id == run.run_id for one in follow_runs(instance, run.job_name)[1:])


def follow_runs(instance: dg.DagsterInstance, job_name: str, statuses: Sequence[Any] = ACTIVE) -> list[dg.RunRecord]:
    """The active runs of a follow job, newest first."""
    return list(instance.get_run_records(dg.RunsFilter(job_name=job_name, statuses=list(statuses))))
