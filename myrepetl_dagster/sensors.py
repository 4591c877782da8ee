"""One sensor for each source group. It keeps one run that follows the group, and asks for runs of tables that need one.

A table needs a run of its own if it was never copied, is half copied, has failed, or is far behind the others. The
sensor keeps no cursor: it reads the checkpoints in the targets, and so asks again for what a failed run has left. With
`follow_s: 0` no run follows, and the sensor asks for a run that catches up whenever a target lacks changes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from . import fan_out
from .after_failures import RETRY_MAX_S, TAG, Keys, failures, what_to_ask
from .checks import outages
from .core.config.code_version import code_version
from .core.config.pipeline import Pipeline
from .core.model.errors import ReplicationError
from .follow import follow_runs, places
from .lineage import SourceGroup
from .options import Options
from .watch import QuickLook

if TYPE_CHECKING:
    from .core.diagnostics.pending_changes import PendingChanges
    from .core.replication.standing import MappingStanding

PIPELINE_TAG = "myrepetl/pipeline"  # by it a run that began before the pipeline was edited is replaced
CONNECT_TIMEOUT_S = 3.0
# A follow run that fails sooner than this has not got anywhere, and the next one waits longer.
SHORT_LIFE_S = 120.0
RESTART_FIRST_S = 5.0

ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

Result = dg.SensorResult | dg.SkipReason


def build_sensor(
    group: SourceGroup,
    pipeline: Pipeline,
    keys: Mapping[str, dg.AssetKey],
    jobs: Mapping[str, Any],
    options: Options,
) -> dg.SensorDefinition:
    """The sensor of a group.

    Args:
        keys: each mapping's asset.
        jobs: the group's own jobs, `follow` and `catch_up`.
    """
    follows = pipeline.replication.follow_s > 0
    names = " and ".join(group.sources)
    text = f"Keeps one run that follows {names}." if follows else f"Asks for a catch-up when {names} has moved on."

    @dg.sensor(
        name=group.named("catch_up"),
        jobs=[jobs["follow"], jobs["catch_up"]],
        minimum_interval_seconds=options.sensor_interval_s,
        description=text + " Copies the tables that are new, and tries those again that have failed.",
    )
    def catch_up(context: dg.SensorEvaluationContext) -> Result:
        tick = Tick(context.instance, group, pipeline, keys, jobs["follow"].name, jobs["catch_up"].name, options)
        return tick.follow() if follows else tick.catch_up()

    return catch_up


@dataclass(frozen=True, slots=True)
class Tick:
    """One look of a sensor."""

    instance: dg.DagsterInstance
    group: SourceGroup
    pipeline: Pipeline
    keys: Mapping[str, dg.AssetKey]
    follow_job: str
    catch_up_job: str
    options: Options

    @property
    def version(self) -> str:
        """Changes with the pipeline file, as far as it concerns these tables, and with the code of their transforms."""
        return code_version(self.group.mappings)

    # ---- with a run that follows ----
    def follow(self) -> Result:
        # Imported here, since a process that only loads definitions needs no driver.
        from .core.replication.standing import standings

        runs = follow_runs(self.instance, self.follow_job, ACTIVE)
        try:
            found = standings(self.pipeline, self.group.mappings, CONNECT_TIMEOUT_S)
        except ReplicationError as error:
            return self._without_checkpoints(runs, error)
        asked, said = self._runs_of_tables(found)
        request, text = self._follow_request(runs, found)
        if request is not None:
            asked.append(request)
        if asked:
            return dg.SensorResult(run_requests=asked)
        return dg.SkipReason("; ".join(filter(None, [text, said])))

    def _follow_request(
        self, runs: Sequence[dg.RunRecord], found: Mapping[str, MappingStanding]
    ) -> tuple[dg.RunRequest | None, str]:
        """A run to follow the group, if there is none or the newest one's time is over; else what goes on."""
        now_s = time.time()
        follow_s = self.pipeline.replication.follow_s
        if runs:
            newest = runs[0]
            age_s = now_s - newest.start_time if newest.start_time else 0.0
            if newest.dagster_run.status == dg.DagsterRunStatus.QUEUED:
                return None, self._queued(newest, now_s)
            as_it_was = newest.dagster_run.tags.get(PIPELINE_TAG, self.version)
            if age_s < follow_s and as_it_was == self.version:
                ready = [name for name, one in found.items() if one.standing == "ready"]
                of_source = {found[name].mapping.source: self.keys[name] for name in ready}
                text = f"run {_short(newest)} follows {len(ready)} of {len(found)} tables, for {age_s:.0f} s so far"
                return None, "; ".join([text, *outages(self.instance, of_source.values())])
        elif not any(one.standing == "ready" for one in found.values()):
            return None, "no table can be followed yet"
        if not runs and (wait_s := self._restart_wait_s(now_s)) > 0:
            return None, f"the run that followed has failed, the next is in {wait_s:.0f} s"
        if problem := self.options.file_fault():
            return None, problem
        return self._start(), ""

    def _queued(self, record: dg.RunRecord, now_s: float) -> str:
        waits_s = now_s - record.create_timestamp.timestamp()
        limit = places(self.instance)
        why = "" if limit is None else f" (Dagster executes at most {limit} runs at a time)"
        return f"run {_short(record)}, which is to follow, has waited for {waits_s:.0f} s for a place{why}"

    def _start(self) -> dg.RunRequest:
        return dg.RunRequest(job_name=self.follow_job, tags={TAG: self.group.name, PIPELINE_TAG: self.version})

    def _restart_wait_s(self, now_s: float) -> float:
        """How long to wait before the next run. None after a run that went well for some time."""
        wait_s = 0.0
        recent = self.instance.get_run_records(dg.RunsFilter(job_name=self.follow_job), limit=10)
        ended_s = now_s
        for short, record in enumerate(recent):
            failed = record.dagster_run.status == dg.DagsterRunStatus.FAILURE
            life_s = (record.end_time or now_s) - (record.start_time or record.end_time or now_s)
            if not failed or life_s >= SHORT_LIFE_S:
                break
            ended_s = (record.end_time or ended_s) if short == 0 else ended_s
            wait_s = min(RETRY_MAX_S, RESTART_FIRST_S * 2.0**short)
        return ended_s + wait_s - now_s

    def _without_checkpoints(self, runs: Sequence[dg.RunRecord], error: ReplicationError) -> Result:
        """A target cannot be asked. A run that follows goes on trying; one that starts now fails with the reason."""
        if runs:
            return dg.SkipReason(f"run {_short(runs[0])} is under way; {error.message}")
        wait_s = self._restart_wait_s(time.time())
        self._quick.outage(error, max(0.0, wait_s))
        if wait_s > 0:
            return dg.SkipReason(f"{error.message}; the next run is in {wait_s:.0f} s")
        return dg.SensorResult(run_requests=[self._start()])

    def _runs_of_tables(self, found: Mapping[str, MappingStanding]) -> tuple[list[dg.RunRequest], str]:
        """A run for the tables that need one of their own."""
        copied = fan_out.copied_now(self.instance, self.options.named(fan_out.JOB), self.group.mappings)
        due = {name: one for name, one in found.items() if one.standing == "due" and name not in copied}
        keys = frozenset(self.keys[name] for name in due)
        busy = keys & self._busy_keys()
        asked = what_to_ask(keys - busy, failures(self.instance, self.group.name), time.time())
        reasons = "; ".join(f"{name}: {one.reason}" for name, one in sorted(due.items()))
        if asked.keys:
            problem = self.options.file_problem(self.pipeline)
            return ([], problem) if problem else ([self._run_of(asked.keys)], "")
        waits = f" (the last run failed, the next is in {asked.wait_s:.0f} s)" if asked.wait_s else ""
        return [], reasons + waits

    def _busy_keys(self) -> Keys:
        """The tables on which an active run works, or will."""
        own = frozenset(self.keys[m.name] for m in self.group.mappings)
        whole = {self.options.named("replicate"), self.options.named("snapshot"), self.catch_up_job}
        found: set[dg.AssetKey] = set()
        for record in self.instance.get_run_records(dg.RunsFilter(statuses=ACTIVE)):
            run = record.dagster_run
            if not run.asset_selection and run.job_name in whole:
                return own
            found |= own & (run.asset_selection or frozenset())
        return frozenset(found)

    def _run_of(self, keys: Keys) -> dg.RunRequest:
        return dg.RunRequest(
            job_name=self.catch_up_job,
            asset_selection=sorted(keys, key=str),
            asset_check_keys=[],
            tags={TAG: self.group.name},
        )

    # ---- without one ----
    def catch_up(self) -> Result:
        from .core.diagnostics.pending_changes import pending_changes

        busy = self._busy_keys()
        try:
            found = pending_changes(self.pipeline, self.group.mappings, CONNECT_TIMEOUT_S)
        except ReplicationError as error:
            self._quick.outage(error, None)
            if busy:
                return dg.SkipReason(f"a run is under way; {error.message}")
            raise
        self._quick.tell(found)
        if busy:
            return dg.SkipReason("a run is under way")
        due = frozenset(self.keys[one.mapping.name] for one in found if one.due)
        if not due:
            return dg.SkipReason(f"caught up, at {_heads(found)}")
        asked = what_to_ask(due, failures(self.instance, self.group.name), time.time())
        if not asked.keys:
            return dg.SkipReason(f"{lag_text(found)}; the last run failed, the next is in {asked.wait_s:.0f} s")
        if problem := self.options.file_problem(self.pipeline):
            return dg.SkipReason(problem)
        return dg.SensorResult(run_requests=[self._run_of(asked.keys)])

    @property
    def _quick(self) -> QuickLook:
        tables = {self.keys[table.mappings[0].name]: table for table in self.group.tables}
        return QuickLook(self.instance, self.pipeline, tables, self.options.checks)


def _short(record: dg.RunRecord) -> str:
    return record.dagster_run.run_id.partition("-")[0]


# ---- messages ------------------------------------------------------------------------------------------
def lag_text(found: Sequence[PendingChanges]) -> str:
    lags = [one.lag_s for one in found if one.lag_s is not None]
    behind = sum(one.due for one in found)
    return f"{behind} of {len(found)} mappings behind" + (f", by {max(lags):.1f} s at most" if lags else "")


def _heads(found: Sequence[PendingChanges]) -> str:
    return "; ".join(dict.fromkeys(f"{one.mapping.source} {one.source_head}" for one in found))
