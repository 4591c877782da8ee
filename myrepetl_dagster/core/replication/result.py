"""What a run reports of a mapping: its progress after each commit, and its result at the end."""

from __future__ import annotations

from dataclasses import dataclass

from ..model.checkpoint import Phase
from ..model.errors import ReplicationError, TransientError
from ..plan.table_plan import TablePlan


@dataclass(slots=True)
class MappingResult:
    """What a run did for one mapping, and the position that it reached. Counts are of this run only.

    `lag_s`: at the mapping's last commit, see `lag.py`; None: no commit, or not known. `applied_total`: rows and
    changes that were applied since the table was last copied from the start, by this run and earlier ones.
    """

    mapping: str
    phase: Phase | None = None
    position: str = ""
    source_head: str = ""
    rows_snapshotted: int = 0
    changes_applied: int = 0
    rows_filtered: int = 0
    lag_s: float | None = None
    elapsed_s: float = 0.0
    applied_total: int = 0
    error: ReplicationError | None = None
    plan: TablePlan | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """One report of a run, made after each commit. Counts are of this run only.

    `lag_s`: at that moment, see `lag.py`. It is None only before the first catch-up, and only if that starts from a
    position in the pipeline file or from the checkpoint of an earlier version. `applied_total`: as in `MappingResult`.
    """

    mapping: str
    phase: Phase
    position: str
    rows_snapshotted: int
    changes_applied: int
    rows_filtered: int
    elapsed_s: float
    lag_s: float | None = None
    applied_total: int = 0


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
