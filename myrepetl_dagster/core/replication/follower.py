"""Follows sources over all of their mappings for a long time, beside the runs that others start for some of them.

A mapping leaves when another run claims it, when it fails, and when it has to be copied. It comes back as soon as its
checkpoint says that it can be followed, and nobody works on it. So a new copy, or a table that fails, holds up no other
table, and the log is read once for all that go well.

A follower never takes a mapping from a run that works on it (`target/turns.py`). A later follower takes over all of
them by its claim; the earlier one then ends.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from threading import Event, Lock, Thread

from ..config.pipeline import Pipeline, TableMapping
from ..model.errors import ReplicationError, StaleRun, StopRequested
from .result import MappingResult
from .run import SourceRun
from .run_results import OnProgress, OnRetry
from .standing import MappingStanding, Standing, standings

log = logging.getLogger("myrepetl")

LOOK_INTERVAL_S = 2.0
RESTART_S = 30.0  # before a source that failed as a whole is tried again, while others are followed
AGAIN_MAX_S = 600.0  # before a mapping that has failed here again and again is taken back, though others can do it
_END_S = 5.0


class Follower:
    """Follows the sources of some mappings, in threads of its own. Use as a context: its end stops all work.

    Args:
        mappings: the mappings; those of one source are followed together.
        follow_s: for how long, in seconds from `start`.
        on_progress: called in the runs' threads after each commit.
        on_retry: called in the runs' threads after each failed attempt.
        superseded: whether a later follower has been started for these mappings. Then none is taken back.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        mappings: Sequence[TableMapping],
        follow_s: float,
        on_progress: OnProgress = lambda _: None,
        on_retry: OnRetry = lambda _: None,
        superseded: Callable[[], bool] = lambda: False,
    ) -> None:
        self._pipeline = pipeline
        self._mappings = {m.name: m for m in mappings}
        self._follow_s = follow_s
        self._on_progress = on_progress
        self._on_retry = on_retry
        self._superseded = superseded
        self._until_s = 0.0
        self._stopped = Event()
        self._ended = Event()
        self._lock = Lock()
        self._runs: dict[str, SourceRun] = {}  # by source
        self._threads: dict[str, Thread] = {}
        self._failed_at_s: dict[str, float] = {}  # sources that failed as a whole
        self._failures: dict[str, tuple[ReplicationError | None, int, float]] = {}  # the last error, how many, when
        self._out: dict[str, str] = {}  # mapping to the reason why it is not followed
        self._stopped_by: dict[str, str] = {}  # mapping to the error that its checkpoint has
        self._watch = Thread(target=self._watching, name="follower", daemon=True)
        self.errors: dict[str, ReplicationError] = {}  # by source: the last error of a source as a whole
        self.handed_over = False  # a later follower has taken over
        self.fault: Exception | None = None  # an error that is none of replication; it ends the follower

    # ---- what the caller does ----
    def __enter__(self) -> Follower:
        self._until_s = time.monotonic() + self._follow_s
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the follower has ended, or so many seconds; whether it has ended."""
        return self._ended.wait(timeout_s)

    def stop(self) -> None:
        """End at once. Statements are killed, and open transactions are rolled back."""
        with self._lock:
            self._stopped.set()
            runs, threads = list(self._runs.values()), list(self._threads.values())
        for run in runs:
            run.stop()
        until_s = time.monotonic() + _END_S
        for thread in (*threads, self._watch):
            thread.join(max(0.0, until_s - time.monotonic()))

    @property
    def following(self) -> set[str]:
        """The mappings that are followed at this moment."""
        with self._lock:
            alive = [run for source, run in self._runs.items() if self._threads[source].is_alive()]
        return set().union(*(run.following for run in alive))

    @property
    def left_out(self) -> dict[str, str]:
        """The mappings that are not followed, each with the reason, for people."""
        following = self.following
        return {name: self._out.get(name, "not looked at yet") for name in self._mappings if name not in following}

    @property
    def results(self) -> dict[str, MappingResult]:
        """What this follower has done for each mapping since that came (back) in."""
        with self._lock:
            return {name: one for run in self._runs.values() for name, one in list(run.results.items())}

    @property
    def failed(self) -> dict[str, ReplicationError]:
        """The mappings that are not followed since they failed. A mapping that another run has is none of them."""
        following = self.following
        return {
            one.mapping: one.error
            for one in self.results.values()
            if one.error is not None and not isinstance(one.error, StaleRun) and one.mapping not in following
        }

    @property
    def stopped(self) -> dict[str, str]:
        """The mappings that are not followed since a run has failed, by their checkpoints; each with the error."""
        following = self.following
        return {name: error for name, error in dict(self._stopped_by).items() if error and name not in following}

    # ---- the watching thread ----
    def _watching(self) -> None:
        try:
            while not self._stopped.is_set() and time.monotonic() < self._until_s and not self._is_over():
                self._look()
                self._stopped.wait(min(LOOK_INTERVAL_S, max(0.0, self._until_s - time.monotonic())))
            for run in list(self._runs.values()):
                run.finish()
            for thread in list(self._threads.values()):
                thread.join()
        except Exception as error:
            self.fault = error
        finally:
            self._ended.set()

    def _is_over(self) -> bool:
        """Whether a later follower has taken over, or no source can be followed any more."""
        if self.fault is not None:
            return True
        runs = list(self._runs.values())
        stale = any(isinstance(r.error, StaleRun) for run in runs for r in list(run.results.values()))
        if stale and self._superseded():
            self.handed_over = True
            return True
        return bool(self.errors) and self.errors.keys() == {m.source for m in self._mappings.values()}

    def _look(self) -> None:
        """Take in the mappings that can be followed, and start the runs of their sources where none goes on."""
        following = self.following
        out = [m for m in self._mappings.values() if m.name not in following]
        if not out or self._superseded():
            return
        try:
            found = standings(self._pipeline, list(self._mappings.values()))
        except ReplicationError as error:
            if not self._runs:  # its own retries say more of it than we do
                self._start_all()
            else:
                log.debug("follower: the checkpoints cannot be read: %s", error)
            return
        for source in dict.fromkeys(m.source for m in out):
            own = [found[m.name] for m in out if m.source == source]
            self._note(own)
            ready = [one.mapping for one in own if one.standing is Standing.READY and self._may_come_in(one)]
            if ready:
                self._take_in(source, ready)

    def _may_come_in(self, one: MappingStanding) -> bool:
        """Whether this follower, with its own idea of the mapping, could go on with it; one that failed comes later."""
        name, checkpoint = one.mapping.name, one.checkpoint
        result = self.results.get(name)
        if result is None or checkpoint is None:
            return True
        if result.plan is not None and checkpoint.fingerprint not in ("", result.plan.fingerprint):
            self._out[name] = "its mapping has changed since this run began"
            return False
        if result.error is None or isinstance(result.error, StaleRun):
            return True
        if self._failures.get(name, (None, 0, 0.0))[0] is not result.error:
            self._failures[name] = result.error, self._failures.get(name, (None, 0, 0.0))[1] + 1, time.monotonic()
        _, times, at_s = self._failures[name]
        return times == 1 or time.monotonic() - at_s >= min(AGAIN_MAX_S, RESTART_S * 2.0 ** (times - 2))

    def _note(self, found: Sequence[MappingStanding]) -> None:
        for one in found:
            if one.standing is not Standing.READY and self._out.get(one.mapping.name) != one.reason:
                log.info(
                    "mapping %s is not followed: %s", one.mapping.name, one.reason, extra={"mapping": one.mapping.name}
                )
            self._out[one.mapping.name] = one.reason
            self._stopped_by[one.mapping.name] = one.checkpoint.last_error if one.checkpoint is not None else ""

    def _start_all(self) -> None:
        for source in dict.fromkeys(m.source for m in self._mappings.values()):
            self._take_in(source, [m for m in self._mappings.values() if m.source == source])

    def _take_in(self, source: str, mappings: Sequence[TableMapping]) -> None:
        thread = self._threads.get(source)
        if thread is not None and thread.is_alive():
            self._runs[source].join(mappings)
            return
        if time.monotonic() - self._failed_at_s.get(source, -RESTART_S) < RESTART_S:
            return
        left_s = max(self._until_s - time.monotonic(), 0.001)
        run = SourceRun(
            self._pipeline, mappings, self._on_progress, follow_s=left_s, on_retry=self._on_retry, gives_way=True
        )
        run.share_memory(len({m.source for m in self._mappings.values()}))
        thread = Thread(target=self._run, args=(run,), name=f"source {source}", daemon=True)
        self.errors.pop(source, None)
        with self._lock:
            if not self._stopped.is_set():
                thread.start()
                self._runs[source], self._threads[source] = run, thread

    def _run(self, run: SourceRun) -> None:
        try:
            run.run()
        except StopRequested:
            pass
        except ReplicationError as error:
            run.failed(error)
            self._failed_at_s[run.source_name] = time.monotonic()
            self.errors[run.source_name] = error
        except Exception as error:
            self.fault = error
