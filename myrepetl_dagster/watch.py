"""What Dagster knows of the tables while a run follows them: materializations, observations and check evaluations."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

import dagster as dg

from .checks import Checks, evaluations, outage_evaluations, report
from .core.config.pipeline import Pipeline
from .core.replication.result import MappingResult, Progress, Retry
from .health import Health, Tables, health_of_result
from .observations import Describe, Event, TableEvents

OUTAGE_S = 10.0  # a server that is restarted makes no check red


class Context(Protocol):
    """What is needed of an op's context."""

    @property
    def instance(self) -> dg.DagsterInstance: ...

    def log_event(self, event: Event) -> None: ...


class Watch:
    """Keeps Dagster's view of the tables up to date. `progress` and `retry` are a run's listeners, in any thread.

    Args:
        tables: that are followed, by asset key.
        versions: see `TableEvents`.
        describe: gives the metadata of a materialization.
    """

    def __init__(
        self,
        context: Context,
        pipeline: Pipeline,
        tables: Tables,
        checks: Checks,
        versions: Mapping[str, str],
        describe: Describe = lambda key, progress: {},
    ) -> None:
        self._context = context
        self._tables = tables
        self._checks = checks
        self._interval_s = pipeline.monitoring.interval_s
        self._enabled = pipeline.monitoring.enabled
        self._events = TableEvents(context.instance, tables, checks, self._interval_s, versions, describe)
        self._sources = {m.name: m.source for table in tables.values() for m in table.mappings}
        self._heard_s: dict[str, float] = {}  # by mapping
        self._outages: dict[str, tuple[float, Retry, float]] = {}  # by source: since when, the last one, when that was
        self._evaluated_s = 0.0
        self._state: object = None

    def progress(self, progress: Progress) -> None:
        """Note a report of a run."""
        self._heard_s[progress.mapping] = time.monotonic()
        self._outages.pop(self._sources[progress.mapping], None)
        self._events(progress)

    def retry(self, retry: Retry) -> None:
        """Note that an attempt has failed, and that the run waits for the next one."""
        now_s = time.monotonic()
        since_s = self._outages.get(retry.source, (now_s, retry, now_s))[0]
        self._outages[retry.source] = since_s, retry, now_s

    def look(self, results: Mapping[str, MappingResult], waits: Mapping[str, str] | None = None) -> None:
        """Tell Dagster what is new. Call it about each second, in the thread of the op.

        Args:
            results: of the mappings that are followed.
            waits: why the other mappings are not followed at present.
        """
        self._log(at_once=False)
        if not self._enabled:
            return
        now_s = time.monotonic()
        down = {s: one for s, one in dict(self._outages).items() if now_s - one[0] >= OUTAGE_S}
        failed = {name: str(result.error) for name, result in results.items() if result.error is not None}
        state = sorted(down), sorted(failed.items()), sorted((waits or {}).items())
        if state == self._state and now_s - self._evaluated_s < self._interval_s:
            return
        self._state, self._evaluated_s = state, now_s
        found = []
        for key, table in self._tables.items():
            out = next((down[m.source] for m in table.mappings if m.source in down), None)
            if out is not None:
                _, retry, at_s = out
                left_s = max(0.0, retry.wait_s - (now_s - at_s))
                found += outage_evaluations({key: table}, str(retry.error), left_s, self._checks)
            else:
                health = self._health(results, waits or {}, now_s)
                found += evaluations({key: table}, health, self._checks)
        report(self._context.instance, found, self._checks)

    def end(self) -> None:
        """Tell Dagster of the last changes, whatever the interval is."""
        self._log(at_once=True)

    def _log(self, *, at_once: bool) -> None:
        for event in self._events.due(at_once=at_once):
            self._context.log_event(event)

    def _health(
        self, results: Mapping[str, MappingResult], waits: Mapping[str, str], now_s: float
    ) -> dict[str, Health]:
        found = {name: Health(name, waits=reason) for name, reason in waits.items()}
        for name, result in results.items():
            if result.phase is not None or result.error is not None:  # else the run has just begun
                found[name] = health_of_result(result, now_s - self._heard_s.get(name, now_s))
        return found
