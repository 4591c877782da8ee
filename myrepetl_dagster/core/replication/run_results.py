"""The results of a run: kept up to date with each commit and each error, and reported to a listener."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..model.checkpoint import Checkpoint
from ..model.errors import ReplicationError
from ..model.position import Position
from .mapping_state import MappingState
from .result import MappingResult, Progress

log = logging.getLogger("myrepetl")

OnProgress = Callable[[Progress], None]


@dataclass(slots=True)
class Baseline:
    """A checkpoint's counters when the run began. The run's own counts are those of the checkpoint less these."""

    rows_snapshotted: int = 0
    changes_applied: int = 0
    rows_filtered: int = 0


class RunResults:
    """The results of a run over mappings of one source.

    Attributes:
        by_mapping: each mapping's result.
        commits: the number of commits so far.
        error: the error of the source, or of a target, as a whole.
    """

    def __init__(self, source_name: str, mappings: Iterable[str], on_progress: OnProgress) -> None:
        self.by_mapping = {name: MappingResult(name) for name in mappings}
        self.commits = 0
        self.error: ReplicationError | None = None
        self._source_name = source_name
        self._on_progress = on_progress
        self._baselines: dict[str, Baseline] = {}
        self._started_s = 0.0
        self._head: Position | None = None
        self._head_text = ""

    def start_clock(self) -> None:
        """Count the elapsed time from now."""
        self._started_s = time.monotonic()

    def fail(self, error: ReplicationError, mappings: Iterable[str]) -> None:
        """Note an error of the source, or of a target, as a whole. Mappings with an error of their own keep that."""
        self.error = error
        log.error("source %s: %s", self._source_name, error, extra={"source": self._source_name, "code": error.code})
        for name in mappings:
            self.by_mapping[name].error = self.by_mapping[name].error or error

    def admit(self, mapping: str) -> None:
        """Begin to count for a mapping that joins the run, or comes back to it."""
        self.by_mapping[mapping] = MappingResult(mapping)
        self._baselines.pop(mapping, None)

    def begin(self, mapping: str, stored: Checkpoint | None) -> None:
        """Note the checkpoint that a mapping goes on from; None: it starts anew."""
        if stored is None:  # the checkpoint's counters start at zero, those of the run go on
            so_far = self.by_mapping[mapping]
            self._baselines[mapping] = Baseline(
                -so_far.rows_snapshotted, -so_far.changes_applied, -so_far.rows_filtered
            )
        else:
            counts = Baseline(stored.rows_snapshotted, stored.changes_applied, stored.rows_filtered)
            self._baselines.setdefault(mapping, counts)

    def commit(self, state: MappingState, head: Position | None, lag_s: float | None) -> None:
        """Note a commit, and report it to the listener. `head`: the source's head that the run aims at, if known."""
        self.commits += 1
        if head is not None and head is not self._head:  # it is mostly the one of the commit before
            self._head, self._head_text = head, str(head)
        checkpoint = state.checkpoint
        base = self._baselines[state.name]
        result = self.by_mapping[state.name]
        result.phase = checkpoint.phase
        result.position = str(checkpoint.position)
        result.source_head = self._head_text if head else result.source_head
        result.rows_snapshotted = checkpoint.rows_snapshotted - base.rows_snapshotted
        result.changes_applied = checkpoint.changes_applied - base.changes_applied
        result.rows_filtered = checkpoint.rows_filtered - base.rows_filtered
        result.lag_s = lag_s
        result.applied_total = checkpoint.rows_snapshotted + checkpoint.changes_applied
        result.elapsed_s = time.monotonic() - self._started_s
        self._on_progress(
            Progress(
                mapping=state.name,
                phase=checkpoint.phase,
                position=result.position,
                rows_snapshotted=result.rows_snapshotted,
                changes_applied=result.changes_applied,
                rows_filtered=result.rows_filtered,
                elapsed_s=result.elapsed_s,
                lag_s=result.lag_s,
                applied_total=result.applied_total,
            )
        )
