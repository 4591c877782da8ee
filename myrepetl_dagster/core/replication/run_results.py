"""The results of a run: kept up to date with each commit and each error, and reported to a listener."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from ..model.checkpoint import Checkpoint
from ..model.errors import ReplicationError
from ..model.position import Position
from .mapping_state import MappingState
from .result import Counts, MappingResult, Progress, Retry, Stage, stage_of

log = logging.getLogger("myrepetl")

OnProgress = Callable[[Progress], None]
OnRetry = Callable[[Retry], None]

_PACE_S = 5.0


class Pace:
    """How fast rows go, over the last 5 to 10 seconds, or since the beginning if that is later."""

    def __init__(self, rows: int, now_s: float) -> None:
        self._before = self._last = (rows, now_s)

    def rows_per_s(self, rows: int, now_s: float) -> float:
        """The rate up to now. `rows`: how many went so far."""
        if now_s - self._last[1] >= _PACE_S:
            self._before, self._last = self._last, (rows, now_s)
        rows_before, before_s = self._before
        return max(0.0, (rows - rows_before) / (now_s - before_s)) if now_s > before_s else 0.0


class RunResults:
    """The results of a run over mappings of one source.

    Attributes:
        by_mapping: each mapping's result.
        commits: the number of commits so far.
        error: the error of the source, or of a target, as a whole.
    """

    def __init__(
        self,
        source_name: str,
        mappings: Iterable[str],
        on_progress: OnProgress,
        on_retry: OnRetry = lambda _: None,
    ) -> None:
        self.by_mapping = {name: MappingResult(mapping=name) for name in mappings}
        self.commits = 0
        self.error: ReplicationError | None = None
        self._source_name = source_name
        self._on_progress = on_progress
        self._on_retry = on_retry
        self._baselines: dict[str, Counts] = {}
        self._sequences: dict[str, int] = {}  # of the last commit that was noted
        self._paces: dict[str, tuple[Stage, Pace]] = {}
        self._interrupted: set[str] = set()  # mappings that have not gone on since an attempt failed
        self._started_s = 0.0
        self._head: Position | None = None
        self._head_text = ""

    def start_clock(self) -> None:
        """Count the elapsed time from now."""
        self._started_s = time.monotonic()

    def retried(self, retry: Retry) -> None:
        """Note that an attempt has failed and is made again, and report it to the listener."""
        for name, result in list(self.by_mapping.items()):
            if result.error is None:
                result.retries += 1
                self._interrupted.add(name)
        self._on_retry(retry)

    def fail(self, error: ReplicationError, mappings: Iterable[str]) -> None:
        """Note an error of the source, or of a target, as a whole. Mappings with an error of their own keep that."""
        self.error = error
        log.error("source %s: %s", self._source_name, error, extra={"source": self._source_name, "code": error.code})
        for name in mappings:
            self.by_mapping[name].error = self.by_mapping[name].error or error

    def admit(self, mapping: str) -> None:
        """Begin to count for a mapping that joins the run, or comes back to it."""
        self.by_mapping[mapping] = MappingResult(mapping=mapping)
        self._baselines.pop(mapping, None)
        self._interrupted.discard(mapping)

    def begin(self, mapping: str, stored: Checkpoint | None) -> None:
        """Note the checkpoint that a mapping goes on from; None: it starts anew."""
        result = self.by_mapping[mapping]
        if stored is None:  # the checkpoint's counters start at zero, those of the run go on
            self._baselines[mapping] = _difference(Counts(), result)
        elif mapping not in self._baselines:
            self._baselines[mapping] = _counts_of(stored)
        self._sequences[mapping] = -1 if stored is None else stored.sequence
        self._paces.pop(mapping, None)
        if mapping in self._interrupted:
            self._interrupted.discard(mapping)
            result.reconnects += 1

    def commit(self, state: MappingState, head: Position | None, lag_s: float | None) -> None:
        """Note a commit, and report it to the listener. `head`: the source's head that the run aims at, if known.

        Without a new checkpoint it is no commit, but a report of rows that are not committed yet.
        """
        checkpoint, name = state.checkpoint, state.name
        if checkpoint.sequence != self._sequences[name]:
            self._sequences[name] = checkpoint.sequence
            self.commits += 1
        if head is not None and head is not self._head:  # it is mostly the one of the commit before
            self._head, self._head_text = head, head.text
        base, now_s = self._baselines[name], time.monotonic()
        result = self.by_mapping[name]
        result.phase = checkpoint.phase
        result.position = checkpoint.position.text
        result.source_head = self._head_text if head else result.source_head
        result.rows_snapshotted = checkpoint.rows_snapshotted - base.rows_snapshotted
        result.changes_applied = checkpoint.changes_applied - base.changes_applied
        result.rows_deleted = checkpoint.rows_deleted - base.rows_deleted
        result.rows_swept = checkpoint.rows_swept - base.rows_swept
        result.rows_filtered = checkpoint.rows_filtered - base.rows_filtered
        result.bytes_read = checkpoint.bytes_read - base.bytes_read
        result.commits = checkpoint.sequence - base.commits
        result.lag_s = lag_s
        result.applied_total = checkpoint.applied_total
        result.elapsed_s = now_s - self._started_s
        self._on_progress(self._progress(state, result, now_s))

    def _progress(self, state: MappingState, result: MappingResult, now_s: float) -> Progress:
        checkpoint, copy = state.checkpoint, state.checkpoint.copy
        stage = stage_of(checkpoint, follows=state.follows)
        rows = copy.rows_done if copy is not None else result.changes_applied + result.rows_filtered
        rows += state.rows_uncommitted
        paced, pace = self._paces.get(state.name, (None, None))
        if pace is None or paced is not stage:
            # The first commit of a stage tells nothing of how long it took, unless the run has just begun.
            pace = Pace(rows, now_s)
            self._paces[state.name] = stage, pace
        return Progress(
            mapping=state.name,
            phase=checkpoint.phase,
            stage=stage,
            position=result.position,
            counts=_difference(result, Counts()),
            elapsed_s=result.elapsed_s,
            lag_s=result.lag_s,
            applied_total=result.applied_total,
            rows_uncommitted=state.rows_uncommitted,
            rows_per_s=pace.rows_per_s(rows, now_s),
            rows_done=copy.rows_done if copy is not None else None,
            rows_estimated=copy.rows_estimated if copy is not None else None,
            sweeps=copy is not None and copy.sweep and not copy.sweeping,
            retries=result.retries,
            reconnects=result.reconnects,
        )


def _counts_of(checkpoint: Checkpoint) -> Counts:
    return Counts(
        checkpoint.rows_snapshotted,
        checkpoint.changes_applied,
        checkpoint.rows_deleted,
        checkpoint.rows_swept,
        checkpoint.rows_filtered,
        checkpoint.bytes_read,
        checkpoint.sequence,
    )


def _difference(counts: Counts, less: Counts) -> Counts:
    return Counts(
        counts.rows_snapshotted - less.rows_snapshotted,
        counts.changes_applied - less.changes_applied,
        counts.rows_deleted - less.rows_deleted,
        counts.rows_swept - less.rows_swept,
        counts.rows_filtered - less.rows_filtered,
        counts.bytes_read - less.bytes_read,
        counts.commits - less.commits,
    )
