"""What Dagster knows of the tables while a run follows them: materializations, observations and check evaluations."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import dagster as dg

from . import metadata
from .checks import OwnRun, evaluations, outage_evaluations, report
from .core.config.pipeline import Pipeline
from .core.model.checkpoint import NOT_COPIED
from .core.model.errors import ReplicationError
from .core.replication.result import Progress, Retry
from .health import Health, Tables, health_of_pending, is_of_schema
from .observations import Describe, TableEvents, quiet_tables
from .options import Checks

if TYPE_CHECKING:
    from .core.diagnostics.pending_changes import PendingChanges

OUTAGE_S = 10.0  # a server that is restarted makes no check red


class Followed(Protocol):
    """What is asked of a `Follower`: the mappings that it follows, and why it does not follow the others."""

    @property
    def following(self) -> set[str]: ...
    @property
    def left_out(self) -> Mapping[str, str]: ...
    @property
    def failed(self) -> Mapping[str, ReplicationError]: ...
    @property
    def stopped(self) -> Mapping[str, str]: ...


class Watch:
    """Keeps Dagster's view of the tables up to date. `heard` and `retry` are a run's listeners, in any thread.

    Args:
        tables: that are followed, by asset key.
        applied: see `TableEvents`.
        interval_s: the least time between two materializations of a table, in seconds.
        describe: gives the metadata of a materialization, from the last report of each of the table's mappings.
    """

    def __init__(
        self,
        context: dg.OpExecutionContext,
        pipeline: Pipeline,
        tables: Tables,
        checks: Checks,
        applied: Mapping[str, int],
        interval_s: float,
        describe: Describe = metadata.follow_metadata,
    ) -> None:
        self._context = context
        self._tables = tables
        self._checks = checks
        self._enabled = pipeline.monitoring.enabled
        self._interval_s = pipeline.monitoring.interval_s
        self._events = TableEvents(context.instance, tables, applied, checks, interval_s, describe)
        self._sources = {m.name: m.source for table in tables.values() for m in table.mappings}
        self._heard: dict[str, tuple[Progress, float]] = {}
        self._outages: dict[str, tuple[float, Retry, float]] = {}  # by source: since when, the last one, when that was
        self._own = OwnRun(context)
        self._made: set[dg.AssetKey] = set()  # materialized at the last look: SQLite's times are whole seconds
        self._evaluated_s = 0.0
        self._state: object = None

    # ---- listeners ----
    def heard(self, progress: Progress) -> None:
        """Note a report of a run."""
        self._heard[progress.mapping] = progress, time.monotonic()
        self._outages.pop(self._sources[progress.mapping], None)
        self._events(progress)

    def retry(self, retry: Retry) -> None:
        """Note that an attempt has failed, and that the run waits for the next one."""
        now_s = time.monotonic()
        since_s = self._outages.get(retry.source, (now_s, retry, now_s))[0]
        self._outages[retry.source] = since_s, retry, now_s

    @property
    def down(self) -> dict[str, float]:
        """The sources that are out of reach, each with the seconds since the first attempt that failed."""
        now_s = time.monotonic()
        return {source: now_s - since_s for source, (since_s, _, _) in dict(self._outages).items()}

    # ---- in the thread of the op ----
    def look(self, followed: Followed) -> None:
        """Tell Dagster what is new. Call it about each second."""
        hidden, self._made = self._made & {one.asset_key for one in self._own.outside}, self._log(at_once=False)
        if not self._enabled:
            return
        now_s = time.monotonic()
        down = {source: one for source, one in dict(self._outages).items() if now_s - one[0] >= OUTAGE_S}
        health = self._health(followed, now_s)
        state = sorted(down), sorted((one.mapping, one.error) for one in health.values())
        if state == self._state and not hidden and now_s - self._evaluated_s < self._interval_s:
            return
        self._state, self._evaluated_s = state, now_s
        found = []
        for key, table in self._tables.items():
            out = next((down[m.source] for m in table.mappings if m.source in down), None)
            if out is None:
                found += evaluations({key: table}, health, self._checks)
            else:
                _, retry, at_s = out
                left_s = max(0.0, retry.wait_s - (now_s - at_s))
                found += outage_evaluations({key: table}, str(retry.error), left_s, self._checks)
        report(self._context.instance, found, self._checks, self._own)

    def end(self, followed: Followed) -> None:
        """Tell Dagster of the last changes and errors, whatever the interval is."""
        self._log(at_once=True)
        self._outages.clear()
        self.look(followed)

    def _log(self, *, at_once: bool) -> set[dg.AssetKey]:
        """Log what has changed; the tables that were materialized."""
        events = self._events.due(at_once=at_once)
        for event in events:
            self._context.log_event(event)
        return {event.asset_key for event in events if isinstance(event, dg.AssetMaterialization)}

    def _health(self, followed: Followed, now_s: float) -> dict[str, Health]:
        """How the mappings are, as far as something is known of them."""
        following, left_out = followed.following, followed.left_out
        failed, stopped = followed.failed, followed.stopped
        found = {}
        for name in self._sources:
            if name in following and name not in self._heard:
                continue  # it has just come in
            if name not in following and left_out.get(name) == NOT_COPIED:
                continue  # the run that copies it, or that cannot, tells more
            progress, at_s = self._heard.get(name, (None, now_s))
            error = failed.get(name)
            found[name] = Health(
                name,
                progress.phase.value if progress else "",
                progress.lag_s + now_s - at_s if progress and progress.lag_s is not None else None,
                progress.position if progress else "",
                error=str(error) if error is not None else stopped.get(name, ""),
                waits="" if name in following else left_out.get(name, ""),
                schema=str(error) if is_of_schema(error) else "" if name in following else None,
            )
        return found


@dataclass(frozen=True, slots=True)
class QuickLook:
    """What a sensor tells Dagster of the tables, where no run follows them."""

    instance: dg.DagsterInstance
    pipeline: Pipeline
    tables: Tables
    checks: Checks

    def tell(self, found: Sequence[PendingChanges]) -> None:
        """Store what the checks say, and keep quiet tables fresh. `found`: for each mapping of the tables."""
        if self.pipeline.monitoring.enabled:
            health = {one.mapping.name: health_of_pending(one) for one in found}
            report(self.instance, evaluations(self.tables, health, self.checks), self.checks)
        late = {one.mapping.name for one in found if one.due}
        in_step = [key for key, table in self.tables.items() if late.isdisjoint(m.name for m in table.mappings)]
        for materialization in quiet_tables(self.instance, in_step, self.checks):
            self.instance.report_runless_asset_event(materialization)

    def outage(self, error: ReplicationError, next_attempt_s: float | None) -> None:
        """Store that a server is down. `next_attempt_s`: see `outage_evaluations`."""
        if self.pipeline.monitoring.enabled:
            found = outage_evaluations(self.tables, str(error), next_attempt_s, self.checks)
            report(self.instance, found, self.checks)
