"""The loop, and the only retry: bring the mappings of one source up to its head.

Claim, plan, copy what is due, apply the log. Recovery is the same path as a start: everything begins at the checkpoint.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from ..config.pipeline import Pipeline, TableMapping
from ..model.checkpoint import Checkpoint, Checkpoints
from ..model.errors import PositionLost, ReplicationError, StopRequested, TransientError
from ..model.limits import Limits
from ..model.position import Position
from ..mysql.connections import Connections
from ..plan.table_plan import TablePlan
from ..source.mysql_source import MySQLSource
from ..target.control import Claims
from ..target.event_replay import EventSupport
from ..target.mysql_target import MySQLTarget
from .attempt import Attempt, window_copies
from .catchup.outcomes import Place, SchemaChanged
from .mapping_state import MappingState
from .planner import Planner, Servers
from .preflight import check_source
from .result import MappingResult, Progress

log = logging.getLogger("myrepetl")

UNKNOWN_HOST = 2005


OnProgress = Callable[[Progress], None]


@dataclass(slots=True)
class Baseline:
    """A mapping's counters when the run began."""

    rows_snapshotted: int = 0
    changes_applied: int = 0
    rows_filtered: int = 0


class SourceRun:
    """A run over mappings of one source.

    Args:
        copy_again: the mappings whose checkpoints are forgotten: their tables are copied again, and rows that the
            source no longer has are deleted.
        follow_s: keep applying what the source writes for so many seconds from now.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        mappings: Sequence[TableMapping],
        on_progress: OnProgress = lambda _: None,
        *,
        copy_again: Collection[str] = (),
        follow_s: float = 0.0,
    ) -> None:
        self.follow_until_s = time.monotonic() + follow_s if follow_s > 0 else 0.0
        self.pipeline = pipeline
        self.limits = pipeline.limits
        self.mappings = list(mappings)
        self.on_progress = on_progress
        self.copy_again = {m.name for m in mappings if m.name in copy_again}  # until their new copy has begun
        self.followed_changes: set[Place] = set()
        self.results = {m.name: MappingResult(m.name) for m in mappings}
        self.error: ReplicationError | None = None  # of the source, or of a target, as a whole
        self._connections = Connections()
        self._baselines: dict[str, Baseline] = {}
        self._claims: dict[str, Claims] = {}  # by target
        self._event_support: dict[str, EventSupport] = {}  # by target
        self._reached: set[str] = set()  # labels of the endpoints
        self._started_s = 0.0
        self._commits = 0

    @property
    def source_name(self) -> str:
        return self.mappings[0].source

    def share_memory(self, runs: int) -> None:
        """It runs side by side with others, so many in all: together they keep no more waiting than one."""
        self.limits = replace(self.limits, joined_bytes_max=self.limits.joined_bytes_max // runs)

    @property
    def follows(self) -> bool:
        return self.follow_until_s > 0

    def stop(self) -> None:
        """End the run at once (from any thread): statements are killed, and what is not committed is rolled back."""
        self._connections.end()

    def _follow_ended(self) -> bool:
        return time.monotonic() >= self.follow_until_s

    # ---- the only retry ----
    def run(self) -> list[MappingResult]:
        """Run until done, starting again from the checkpoint after errors that may pass.

        A target that is out of reach, or unfit, is the `error`, and that of its mappings; those of others go on.
        `run_all` does it in a thread, so that the main one can hear a signal, and call `stop`.

        Raises:
            ReplicationError: an error that no retry mends, or the last one when the bounds are reached.
            StopRequested: `stop` was called.
        """
        self._started_s = time.monotonic()
        while True:
            try:
                self._retry()
                return list(self.results.values())
            except ReplicationError as error:
                if not self._go_on_without(error):
                    raise

    def _retry(self) -> None:
        attempt, commits, first_s = 0, self._commits, time.monotonic()
        while True:
            try:
                self._attempt()
                return
            except TransientError as error:
                if self._connections.ended.is_set():
                    raise StopRequested(f"source {self.source_name!r}: the run was told to end") from None
                if self._commits > commits:  # progress: the bounds start afresh
                    attempt, commits, first_s = 0, self._commits, time.monotonic()
                attempt += 1
                left_s = self._patience_s(error) - (time.monotonic() - first_s)
                wait_s = min(self._wait_s(error, attempt), left_s)
                if attempt >= self.limits.attempts_max or left_s <= 0:
                    raise
                log.warning(
                    "source %s: attempt %d failed, next in %.1f s, for %.0f s at most: %s",
                    self.source_name, attempt, wait_s, left_s, error,
                    extra={
                        "source": self.source_name, "operation": error.operation, "code": error.code,
                        "attempt": attempt, "wait_s": wait_s,
                    },
                )  # fmt: skip
                self._pause(wait_s)

    def _go_on_without(self, error: ReplicationError) -> bool:
        """Give up the mappings of the target that this is about, if it is about one; whether others are left."""
        own = [m.name for m in self.mappings if self.pipeline.targets[m.target].label == error.unreached]
        others = [name for name, result in self.results.items() if result.error is None and name not in own]
        if own and others:
            self._failed(error, own)
        return bool(own and others)

    def _pause(self, wait_s: float) -> None:
        self._connections.ended.wait(wait_s)

    def _first_contact(self, error: TransientError) -> bool:
        """Whether it is about a server that this run has never reached: down, or host or port are mistyped."""
        return bool(error.unreached) and error.unreached not in self._reached

    def _patience_s(self, error: TransientError) -> float:
        if not self._first_contact(error):
            return self.limits.retry_time_s_max
        if error.code == UNKNOWN_HOST:
            return self.limits.unknown_host_time_s_max
        return self.limits.first_contact_time_s_max

    def _wait_s(self, error: TransientError, attempt: int) -> float:
        jitter = random.random()
        if self._first_contact(error):  # at least half of each wait, so that the attempts last for as long as they may
            jitter = (1 + jitter) / 2
        return backoff_s(self.limits, attempt, jitter)

    def _attempt(self) -> None:
        source = self.pipeline.sources[self.source_name]
        servers = Servers(MySQLSource(source, self.limits, self._server_id(), self._connections))
        try:
            check_source(servers.source)
            mappings = [m for m in self.mappings if self.results[m.name].error is None]
            checkpoints = self._open_targets(servers, mappings)
            planning = Planner(self.pipeline, servers, self.results, self.copy_again, self.followed_changes)
            planning.plan(mappings, checkpoints)
            plans = planning.plans
            replication = self.pipeline.replication
            log_start = (replication.log_file, replication.log_pos) if replication.log_file else None
            while plans:
                try:
                    limits = self._limits(plans)
                    start_at = partial(servers.source.position_at, *log_start) if log_start else None
                    run = Attempt(
                        servers.source,
                        plans,
                        limits,
                        self._report,
                        self._begun,
                        self.copy_again,
                        window_copies,
                        start_at,
                    )
                    run.run(frozenset(self.followed_changes), self._follow_ended if self.follows else None)

                    return
                except SchemaChanged as change:
                    planning.follow(change)
                except PositionLost as error:
                    planning.position_lost(error)
                except ReplicationError as error:
                    if isinstance(error, TransientError) or error.mapping not in plans:
                        raise
                    if planning.planned_before_a_change(error.mapping, error):
                        continue
                    planning.failed(error.mapping, error)
        finally:
            asked = (servers.source, *(target.control for target in servers.targets.values()))
            self._reached |= {server.endpoint.label for server in asked if server.reached}
            servers.close()

    def _open_targets(self, servers: Servers, mappings: Sequence[TableMapping]) -> Checkpoints:
        """Make the targets ready to be asked; gives the mappings' checkpoints."""
        checkpoints = Checkpoints()
        for name in dict.fromkeys(m.target for m in mappings):
            claims = self._claims.setdefault(name, {})
            event_support = self._event_support.setdefault(name, EventSupport())
            event_support.forget_answers()
            endpoint, connections = self.pipeline.targets[name], self._connections
            target = MySQLTarget(endpoint, self.limits, claims, event_support, connections)
            servers.targets[name] = target
            try:
                target.control.create_checkpoint_table()
                checkpoints |= target.control.read_checkpoints([m.name for m in mappings if m.target == name])
            except ReplicationError as error:
                error.unreached = target.control.endpoint.label
                raise
        return checkpoints

    def _server_id(self) -> int | None:
        return self.pipeline.sources[self.source_name].server_id or self.pipeline.replication.server_id

    def _limits(self, plans: dict[str, tuple[TablePlan, MySQLTarget]]) -> Limits:
        endpoints = [target.control.endpoint for _, target in plans.values()]
        rows = [endpoint.batch_rows_max for endpoint in endpoints if endpoint.batch_rows_max]
        waits = [endpoint.batch_interval_s for endpoint in endpoints if endpoint.batch_interval_s]
        return replace(
            self.limits,
            batch_rows_max=min(rows, default=self.limits.batch_rows_max),
            batch_interval_s_max=min(waits, default=self.limits.batch_interval_s_max),
        )

    # ---- report ----
    def failed(self, error: ReplicationError) -> None:
        """The run as a whole has failed, and with it every mapping that has no error of its own."""
        self._failed(error, self.results)

    def _failed(self, error: ReplicationError, mappings: Iterable[str]) -> None:
        self.error = error
        log.error("source %s: %s", self.source_name, error, extra={"source": self.source_name, "code": error.code})
        for name in mappings:
            self.results[name].error = self.results[name].error or error

    def _begun(self, mapping: str, held: Checkpoint | None) -> None:
        if held is None:  # its counters start at nothing, the run's go on
            so_far = self.results[mapping]
            self._baselines[mapping] = Baseline(
                -so_far.rows_snapshotted, -so_far.changes_applied, -so_far.rows_filtered
            )
        else:
            counts = Baseline(held.rows_snapshotted, held.changes_applied, held.rows_filtered)
            self._baselines.setdefault(mapping, counts)

    def _report(self, state: MappingState, head: Position | None, lag_s: float | None) -> None:
        self._commits += 1
        checkpoint = state.checkpoint
        base = self._baselines[state.name]
        result = self.results[state.name]
        result.phase = checkpoint.phase
        result.position = str(checkpoint.position)
        result.source_head = str(head) if head else result.source_head
        result.rows_snapshotted = checkpoint.rows_snapshotted - base.rows_snapshotted
        result.changes_applied = checkpoint.changes_applied - base.changes_applied
        result.rows_filtered = checkpoint.rows_filtered - base.rows_filtered
        result.lag_s = lag_s
        result.elapsed_s = time.monotonic() - self._started_s
        self.on_progress(
            Progress(
                mapping=state.name,
                phase=checkpoint.phase,
                position=result.position,
                rows_snapshotted=result.rows_snapshotted,
                changes_applied=result.changes_applied,
                rows_filtered=result.rows_filtered,
                elapsed_s=result.elapsed_s,
                lag_s=result.lag_s,
            )
        )


def backoff_s(limits: Limits, attempt: int, jitter: float) -> float:
    """Capped exponential backoff with full jitter; `attempt` from 1, `jitter` in [0, 1)."""
    return min(limits.backoff_max_s, limits.backoff_first_s * 2.0 ** min(attempt - 1, 30)) * jitter
