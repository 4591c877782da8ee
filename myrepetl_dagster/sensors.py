"""One sensor for each op: it asks for a catch-up when the targets lack changes of a source.

The sensor compares checkpoints and keeps no cursor, so that it asks again for the work that a failed run has left. A
server that is out of reach makes the tick fail, since nothing else would show it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from .core.config.pipeline import Pipeline
from .lineage import SourceGroup
from .options import Options

if TYPE_CHECKING:
    from .core.diagnostics.pending_changes import PendingChanges

TAG = "myrepetl/source"
CONNECT_TIMEOUT_S = 3.0
RETRY_FIRST_S = 30.0
RETRY_MAX_S = 600.0
_FAILURES_MAX = 20

ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

Keys = frozenset[dg.AssetKey]


def build_sensor(
    group: SourceGroup,
    pipeline: Pipeline,
    keys: Mapping[str, dg.AssetKey],
    job: Any,
    options: Options,
) -> dg.SensorDefinition:
    """The sensor of a group. `keys`: each mapping's asset; `job`: the job that it starts."""

    @dg.sensor(
        name=group.named("catch_up"),
        job=job,
        minimum_interval_seconds=options.sensor_interval_s,
        description=f"Asks for a catch-up when {' or '.join(group.sources)} has moved past the checkpoints.",
    )
    def catch_up(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if options.pipeline_file and (problem := options.pipeline_file.problem(pipeline)):
            return dg.SkipReason(problem)
        own = frozenset(keys[m.name] for m in group.mappings)
        busy = _active_run(context.instance, own, {job.name, options.named("snapshot")})
        if busy is not None:
            return dg.SkipReason(f"run {busy} is under way")
        # Imported here, since a process that only loads definitions needs no driver.
        from .core.diagnostics.pending_changes import pending_changes

        found = pending_changes(pipeline, group.mappings, CONNECT_TIMEOUT_S)
        due = frozenset(keys[one.mapping.name] for one in found if one.due)
        if not due:
            return dg.SkipReason(f"caught up, at {_heads(found)}")
        asked = what_to_ask(due, failures(context.instance, group.name), time.time())
        if not asked.keys:
            return dg.SkipReason(f"{lag_text(found)}; the last run failed, the next is in {asked.wait_s:.0f} s")
        follow_s = pipeline.replication.follow_s
        return dg.RunRequest(
            asset_selection=sorted(asked.keys, key=str),
            tags={TAG: group.name},
            run_config={"follow_s": follow_s} if follow_s else {},
        )

    return catch_up


def _active_run(instance: dg.DagsterInstance, keys: Keys, whole_jobs: set[str]) -> str | None:
    """A queued or active run that works on any of the tables, even one that the sensor did not start."""
    for record in instance.get_run_records(dg.RunsFilter(statuses=ACTIVE)):
        run = record.dagster_run
        whole_job = not run.asset_selection and run.job_name in whole_jobs
        if whole_job or keys & (run.asset_selection or frozenset()):
            return run.run_id.partition("-")[0]
    return None


# ---- after failures ------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Failed:
    """A failed run of the sensor's. `ailing`: its tables that have not been materialized since."""

    ended_unix_s: float
    ailing: Keys


@dataclass(frozen=True, slots=True)
class Asked:
    keys: Keys
    wait_s: float = 0.0


def failures(instance: dg.DagsterInstance, group: str) -> list[Failed]:
    """The failed catch-ups of the last hour, newest first."""
    recent = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE],
        tags={TAG: group},
        updated_after=datetime.now(UTC) - timedelta(hours=1),
    )
    found = []
    for record in instance.get_run_records(recent, limit=_FAILURES_MAX):
        began_s = record.start_time or record.create_timestamp.timestamp()
        ailing = {k for k in record.dagster_run.asset_selection or () if not _made_since(instance, k, began_s)}
        found.append(Failed(record.end_time or began_s, frozenset(ailing)))
    return found


def _made_since(instance: dg.DagsterInstance, key: dg.AssetKey, unix_s: float) -> bool:
    event = instance.get_latest_materialization_event(key)
    return event is not None and event.timestamp >= unix_s


def what_to_ask(due: Keys, failed: Sequence[Failed], now_unix_s: float) -> Asked:
    """The tables to ask for: healthy ones at once, ailing ones after a wait that grows with each failure."""
    ailing = due & frozenset().union(*(f.ailing for f in failed))
    if not ailing:
        return Asked(due)
    own = [f for f in failed if f.ailing & ailing]
    wait_s = min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** (len(own) - 1))
    left_s = max(f.ended_unix_s for f in own) + wait_s - now_unix_s
    return Asked(due if left_s <= 0 else due - ailing, max(0.0, left_s))


# ---- messages ------------------------------------------------------------------------------------------
def lag_text(found: Sequence[PendingChanges]) -> str:
    lags = [one.lag_s for one in found if one.lag_s is not None]
    behind = sum(one.due for one in found)
    return f"{behind} of {len(found)} mappings behind" + (f", by {max(lags):.1f} s at most" if lags else "")


def _heads(found: Sequence[PendingChanges]) -> str:
    return "; ".join(dict.fromkeys(f"{one.mapping.source} {one.source_head}" for one in found))
