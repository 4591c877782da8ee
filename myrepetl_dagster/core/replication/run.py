"""A run over the mappings of one source, and the only retry.

An attempt claims, plans, copies the tables that are due and applies the log. The next attempt does the same from the
checkpoints, so recovery takes the same path as a start.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from queue import SimpleQueue

from ..config.pipeline import Pipeline, TableMapping
from ..model.errors import PositionLost, ReplicationError, StaleRun, StopRequested, TransientError, UnsupportedEvent
from ..model.limits import Limits
from ..mysql.connections import Connections
from ..plan.table_plan import TablePlan
from ..source.mysql_source import MySQLSource
from ..target.mysql_target import MySQLTarget
from .attempt import Attempt, window_copies
from .catchup.outcomes import CopiesDue, Place, SchemaChanged
from .planner import Planner
from .preflight import check_source
from .result import MappingResult, Retry
from .run_results import OnProgress, OnRetry, RunResults
from .servers import RunTargets, Servers, opened, taken_over

log = logging.getLogger("myrepetl")

UNKNOWN_HOST = 2005


class SourceRun:
    """A run over mappings of one source.

    Args:
        copy_again: mappings whose checkpoints are ignored. Their tables are copied again, and rows that the source no
            longer has are deleted.
        follow_s: keep applying the source's changes for this many seconds from now.
        on_retry: called in the run's thread when an attempt has failed, before the pause.
        waits_for_turn: wait while another run works on one of the mappings (`target/turns.py`). Otherwise this run
            takes over from it.
        gives_way: the run takes no turns, and a mapping that has to be copied leaves it (`follower.py`). Its retries
            are bounded by time alone: it lasts for hours, and another run would only try the same.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        mappings: Sequence[TableMapping],
        on_progress: OnProgress = lambda _: None,
        *,
        copy_again: Collection[str] = (),
        follow_s: float = 0.0,
        on_retry: OnRetry = lambda _: None,
        waits_for_turn: bool = False,
        gives_way: bool = False,
    ) -> None:
        self.follow_until_s = time.monotonic() + follow_s if follow_s > 0 else 0.0
        self.pipeline = pipeline
        self.limits = pipeline.limits
        self.mappings = list(mappings)
        self.copy_again = {m.name for m in mappings if m.name in copy_again}  # until their new copy has begun
        self.followed_changes: set[Place] = set()
        self._outcome = RunResults(self.source_name, [m.name for m in mappings], on_progress, on_retry)
        self._connections = Connections()
        self._targets = RunTargets(pipeline, self._connections)
        self._reached: set[str] = set()  # labels of the endpoints
        self._waits_for_turn = waits_for_turn
        self._gives_way = gives_way
        self._left: set[str] = set()  # mappings that another run has to copy
        self._joining: SimpleQueue[TableMapping] = SimpleQueue()

    @property
    def source_name(self) -> str:
        return self.mappings[0].source

    @property
    def results(self) -> dict[str, MappingResult]:
        """Each mapping's result, kept up to date while the run goes on."""
        return self._outcome.by_mapping

    @property
    def error(self) -> ReplicationError | None:
        """The error of the source, or of a target, as a whole."""
        return self._outcome.error

    def share_memory(self, runs: int) -> None:
        """Divide the memory for waiting rows by the number of runs that go on side by side."""
        self.limits = replace(self.limits, joined_bytes_max=self.limits.joined_bytes_max // runs)

    @property
    def follows(self) -> bool:
        return self.follow_until_s > 0

    def stop(self) -> None:
        """End the run at once, from any thread. Its statements are killed, and open transactions are rolled back."""
        self._connections.end()

    def failed(self, error: ReplicationError) -> None:
        """Note that the run as a whole has failed, and with it every mapping that has no error of its own."""
        self._outcome.fail(error, self.results)

    @property
    def following(self) -> set[str]:
        """The mappings that the run still brings forward."""
        return {name for name, one in list(self.results.items()) if one.error is None and name not in self._left}

    def join(self, mappings: Sequence[TableMapping]) -> None:
        """Take these mappings into a run that follows its source, from any thread, as soon as a commit is done."""
        for mapping in mappings:
            self._joining.put(mapping)

    def finish(self) -> None:
        """End a run that follows its source, from any thread, as soon as a commit is done."""
        self.follow_until_s = time.monotonic()

    def _follow_ended(self) -> bool:
        return time.monotonic() >= self.follow_until_s or not self._joining.empty()

    def _admit(self) -> list[TableMapping]:
        """The mappings that have joined since the last call; from now on they are this run's."""
        joined: dict[str, TableMapping] = {}
        while not self._joining.empty():
            mapping = self._joining.get()
            joined[mapping.name] = mapping
        for mapping in joined.values():
            self.mappings = [*(m for m in self.mappings if m.name != mapping.name), mapping]
            self._outcome.admit(mapping.name)
            self._left.discard(mapping.name)
            self._targets.forget(mapping)
        return list(joined.values())

    # ---- the only retry ----
    def run(self) -> list[MappingResult]:
        """Run until done. After a transient error the run starts again from the checkpoints.

        If one of several targets is out of reach or unfit, its mappings fail with that error, and it becomes `error`.
        The mappings of the other targets go on. `run_all` calls this in a thread, so that the main thread can take
        signals and call `stop`.

        Raises:
            ReplicationError: an error that no retry mends, or the last transient one when the retries are used up.
            StopRequested: `stop` was called.
        """
        self._outcome.start_clock()
        while True:
            try:
                self._retry()
                return list(self.results.values())
            except ReplicationError as error:
                if not self._go_on_without(error):
                    raise

    def _retry(self) -> None:
        attempt, commits, first_s = 0, self._outcome.commits, time.monotonic()
        while True:
            try:
                self._attempt()
                return
            except TransientError as error:
                if self._connections.ended.is_set():
                    raise StopRequested(f"source {self.source_name!r}: the run was told to end") from None
                if self._outcome.commits > commits:  # there was progress, so attempts and time are counted anew
                    attempt, commits, first_s = 0, self._outcome.commits, time.monotonic()
                attempt += 1
                left_s = self._patience_s(error) - (time.monotonic() - first_s)
                wait_s = min(self._wait_s(error, attempt), left_s)
                if (attempt >= self.limits.attempts_max and not self._gives_way) or left_s <= 0:
                    raise
                log.warning(
                    "source %s: attempt %d failed, next in %.1f s, for %.0f s at most: %s",
                    self.source_name, attempt, wait_s, left_s, error,
                    extra={
                        "source": self.source_name, "operation": error.operation, "code": error.code,
                        "attempt": attempt, "wait_s": wait_s,
                    },
                )  # fmt: skip
                self._outcome.retried(Retry(self.source_name, error, attempt, wait_s, left_s))
                self._pause(wait_s)

    def _go_on_without(self, error: ReplicationError) -> bool:
        """Give up the mappings of an unreached target, if mappings of others are left.

        Returns:
            Whether the run can go on without them.
        """
        own = [m.name for m in self.mappings if self.pipeline.targets[m.target].label == error.unreached]
        others = [name for name, result in self.results.items() if result.error is None and name not in own]
        if own and others:
            self._outcome.fail(error, own)
        return bool(own and others)

    def _pause(self, wait_s: float) -> None:
        self._connections.ended.wait(wait_s)

    def _first_contact(self, error: TransientError) -> bool:
        """Whether this run has never reached the server: it is down, or its host or port is mistyped."""
        return bool(error.unreached) and error.unreached not in self._reached

    def _patience_s(self, error: TransientError) -> float:
        if not self._first_contact(error):
            return self.limits.retry_time_s_max
        if error.code == UNKNOWN_HOST:
            return self.limits.unknown_host_time_s_max
        return self.limits.first_contact_time_s_max

    def _wait_s(self, error: TransientError, attempt: int) -> float:
        jitter = random.random()
        if self._first_contact(error):  # at least half of each wait, so that the attempts fill the time allowed
            jitter = (1 + jitter) / 2
        return backoff_s(self.limits, attempt, jitter)

    def _attempt(self) -> None:
        with self._servers() as servers:
            check_source(servers.source)
            self._admit()
            mappings = [m for m in self.mappings if m.name in self.following]
            checkpoints = self._targets.open(servers, mappings, self.limits)
            if not self._gives_way:
                self._targets.take_turns(servers, mappings, self._pause if self._waits_for_turn else None)
            planner = Planner(self.pipeline, servers, self.results, self.copy_again, self.followed_changes)
            planner.plan(mappings, checkpoints)
            while planner.plans:
                try:
                    self._work(servers.source, planner)
                    if not (joined := self._admit()):
                        return
                    planner.plan(joined, self._targets.open(servers, joined, self.limits))
                except CopiesDue as due:
                    planner.leave(due.mappings)
                    self._left.update(due.mappings)
                except SchemaChanged as change:
                    planner.follow(change)
                except PositionLost as error:
                    planner.position_lost(error)
                except StaleRun as error:
                    planner.leave(taken_over(planner.plans, error), error)
                except ReplicationError as error:
                    if isinstance(error, TransientError):
                        raise
                    if error.mapping not in planner.plans:
                        if isinstance(error, UnsupportedEvent):
                            planner.stopped_at(error)
                        raise
                    if not planner.plan_again_if_altered(error.mapping, error):
                        planner.failed(error.mapping, error)

    def _work(self, source: MySQLSource, planner: Planner) -> None:
        """Do what the attempt is for, with the plans as they are now."""
        attempt = self._new_attempt(source, planner)
        attempt.run(frozenset(self.followed_changes), self._follow_ended if self.follows else None)

    def _servers(self) -> AbstractContextManager[Servers]:
        """The connections of one attempt."""
        endpoint = self.pipeline.sources[self.source_name]
        return opened(MySQLSource(endpoint, self.limits, self._server_id(), self._connections), self._reached)

    def _new_attempt(self, source: MySQLSource, planner: Planner) -> Attempt:
        plans = planner.plans
        log_start = self.pipeline.replication
        return Attempt(
            source,
            plans,
            self._limits(plans),
            report=self._outcome.commit,
            begun=self._outcome.begin,
            copy_again=self.copy_again,
            copier=window_copies,
            start_at=partial(source.position_at, log_start.log_file, log_start.log_pos) if log_start.log_file else None,
            described_at=planner.described_at,
            leaves_copies=self._gives_way,
        )

    def _server_id(self) -> int | None:
        return self.pipeline.sources[self.source_name].server_id or self.pipeline.replication.server_id

    def _limits(self, plans: dict[str, tuple[TablePlan, MySQLTarget]]) -> Limits:
        """The limits, with the smallest batch sizes that the targets of these plans ask for."""
        endpoints = [target.control.endpoint for _, target in plans.values()]
        rows = [endpoint.batch_rows_max for endpoint in endpoints if endpoint.batch_rows_max]
        waits = [endpoint.batch_interval_s for endpoint in endpoints if endpoint.batch_interval_s]
        return replace(
            self.limits,
            batch_rows_max=min(rows, default=self.limits.batch_rows_max),
            batch_interval_s_max=min(waits, default=self.limits.batch_interval_s_max),
        )


def backoff_s(limits: Limits, attempt: int, jitter: float) -> float:
    """Capped exponential backoff with full jitter; `attempt` from 1, `jitter` in [0, 1)."""
    return min(limits.backoff_max_s, limits.backoff_first_s * 2.0 ** min(attempt - 1, 30)) * jitter
