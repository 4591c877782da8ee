"""What a run reports of a mapping: its progress after each commit, its retries, and its result at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from ..model.checkpoint import Checkpoint, Phase
from ..model.errors import ReplicationError, TransientError
from ..plan.table_plan import TablePlan

_POSITION_LENGTH_MAX = 120  # in a line for people; a GTID set may have hundreds of servers
_PERCENT_MAX = 99.9  # while a pass goes on: the number of its rows is only estimated


class Stage(StrEnum):
    """What a mapping is doing: its phase in more detail.

    COPYING: rows are read from the source. SWEEPING: rows are looked for in the target that the source does not have,
    and deleted. SETTLING: the log is applied up to the high watermark. CATCHING_UP: it is applied up to the source's
    head. FOLLOWING: it is applied as the source writes.
    """

    COPYING = "copying"
    SWEEPING = "looking for rows to delete"
    SETTLING = "settling"
    CATCHING_UP = "catching up"
    FOLLOWING = "following"


def stage_of(checkpoint: Checkpoint, *, follows: bool = False) -> Stage:
    """What a mapping with this checkpoint is doing. `follows`: its log is read as the source writes."""
    if checkpoint.phase is Phase.COPYING:
        return Stage.SWEEPING if checkpoint.copy is not None and checkpoint.copy.sweeping else Stage.COPYING
    if checkpoint.phase is Phase.SETTLING:
        return Stage.SETTLING
    return Stage.FOLLOWING if follows else Stage.CATCHING_UP


def duration(seconds: float) -> str:
    """A time in the unit in which people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def percent_of(rows_done: int | None, rows_estimated: int | None) -> float | None:
    """How much of a pass of a copy is done, in percent; below 100, since it still goes on. None: not known."""
    if rows_done is None or not rows_estimated:
        return None
    return min(_PERCENT_MAX, round(100.0 * rows_done / rows_estimated, 1))


@dataclass(slots=True)
class Counts:
    """What was done for one mapping, counted by its commits.

    `rows_snapshotted`: rows that copies wrote. `changes_applied`: rows of the log that were written or deleted, of
    which `rows_deleted` were deleted. `rows_swept`: rows that copies deleted, since the source did not have them.
    `rows_filtered`: rows that the filter left out. `bytes_read`: of rows, in snapshots and in the log.
    """

    rows_snapshotted: int = 0
    changes_applied: int = 0
    rows_deleted: int = 0
    rows_swept: int = 0
    rows_filtered: int = 0
    bytes_read: int = 0
    commits: int = 0

    @property
    def rows_read(self) -> int:
        """Rows that were read from the source, each of which was written, deleted or filtered."""
        return self.rows_snapshotted + self.changes_applied + self.rows_filtered

    @property
    def rows_upserted(self) -> int:
        """Rows that were written, by copies and from the log."""
        return self.rows_snapshotted + self.changes_applied - self.rows_deleted


@dataclass(slots=True)
class MappingResult(Counts):
    """What a run did for one mapping, and the position that it reached. Counts are of this run only.

    `lag_s`: at the mapping's last commit, see `lag.py`; None: no commit, or not known. `retries`: attempts of its
    source that failed and were made again. `reconnects`: how often it went on after that. `applied_total`: rows and
    changes that were applied since the table was last copied from the start, by this run and earlier ones.
    """

    mapping: str = ""
    phase: Phase | None = None
    position: str = ""
    source_head: str = ""
    lag_s: float | None = None
    elapsed_s: float = 0.0
    applied_total: int = 0
    retries: int = 0
    reconnects: int = 0
    error: ReplicationError | None = None
    plan: TablePlan | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """One report of a run, made after each commit, and while a transaction too large to hold is written.

    `counts` are of this run only, `retries` and `reconnects` too, see `MappingResult`. `rows_uncommitted`: rows that
    were read of a transaction too large to hold. `rows_per_s`: over the last 5 to 10 seconds, or since the stage began:
    rows that were read from the source or, while sweeping, looked at in the target. `rows_done` and `rows_estimated`
    are those of the pass of a copy (`CopyState`), earlier runs' included; None: no copy, or not known.
    `lag_s`: at that moment, see `lag.py`. It is None only before the first catch-up, and only if that starts from a
    position in the pipeline file or from the checkpoint of an earlier version. `applied_total`: as in `MappingResult`.
    """

    mapping: str
    phase: Phase
    stage: Stage
    position: str
    counts: Counts
    elapsed_s: float
    lag_s: float | None = None
    applied_total: int = 0
    rows_uncommitted: int = 0
    rows_per_s: float = 0.0
    rows_done: int | None = None
    rows_estimated: int | None = None
    sweeps: bool = False  # a sweep follows the copying
    retries: int = 0
    reconnects: int = 0

    def __str__(self) -> str:
        """The progress in a line for people."""
        position = self.position
        if len(position) > _POSITION_LENGTH_MAX:
            position = f"{position[:_POSITION_LENGTH_MAX]}…"
        parts = [str(self.stage), *(self._copied() if self.rows_done is not None else self._applied())]
        if self.rows_uncommitted:
            parts.append(f"{self.rows_uncommitted:,} rows of an open transaction")
        if self.rows_done is None:
            parts += [f"{self.rows_per_s:,.0f}/s"] if self.rows_per_s >= 0.5 else []
            parts += [] if self.lag_s is None else [f"lag {self.lag_s:.1f} s"]
        if self.retries:
            parts.append(f"{self.retries} retries")
        return f"{self.mapping}: {', '.join(parts)}, at {position}"

    def _copied(self) -> Iterator[str]:
        if self.percent is None:
            yield f"{self.rows_done:,} rows of an unknown number"
        else:
            yield f"{self.rows_done:,} of about {self.rows_estimated:,} rows ({self.percent:.1f}%)"
        if self.rows_per_s >= 0.5:
            yield f"{self.rows_per_s:,.0f}/s"
        if self.time_left_s is not None:
            yield f"about {duration(self.time_left_s)} left"
        if self.sweeps:
            yield "then it looks for rows to delete"
        if self.counts.rows_swept:
            yield f"{self.counts.rows_swept:,} deleted"

    def _applied(self) -> Iterator[str]:
        counts = self.counts
        if counts.rows_snapshotted:
            yield f"{counts.rows_snapshotted:,} rows copied"
        deletes = f" ({counts.rows_deleted:,} deletes)" if counts.rows_deleted else ""
        yield f"{counts.changes_applied:,} changes applied{deletes}"
        if counts.rows_filtered:
            yield f"{counts.rows_filtered:,} filtered"

    @property
    def rows_snapshotted(self) -> int:
        return self.counts.rows_snapshotted

    @property
    def changes_applied(self) -> int:
        return self.counts.changes_applied

    @property
    def rows_filtered(self) -> int:
        return self.counts.rows_filtered

    @property
    def percent(self) -> float | None:
        """How much of the pass of a copy is done, in percent: below 100, until it is. None: no copy, or not known."""
        return percent_of(self.rows_done, self.rows_estimated)

    @property
    def time_left_s(self) -> float | None:
        """How long the pass of a copy takes from here on, at `rows_per_s`; None: no copy, or not known."""
        if self.rows_done is None or not self.rows_estimated or self.rows_per_s <= 0:
            return None
        left = self.rows_estimated - self.rows_done
        return left / self.rows_per_s if left > 0 else None


@dataclass(frozen=True, slots=True)
class Retry:
    """One report of a failed attempt, made before the pause that the next one waits.

    `attempt`: counted from 1, and anew after progress. `wait_s`: until the next attempt. `left_s`: the run gives up
    after this time without progress, counted from now.
    """

    source: str
    error: TransientError
    attempt: int
    wait_s: float
    left_s: float
