"""What a run tells of a mapping in the end."""

from __future__ import annotations

from dataclasses import dataclass

from ..model.checkpoint import Phase
from ..model.errors import ReplicationError
from ..plan.table_plan import TablePlan


@dataclass(slots=True)
class MappingResult:
    """What a run did for one mapping, and where it stands. Rows are counted over the run, not the table.

    `lag_s`: as of the mapping's last commit, see `lag.py`; None: it made none.
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
    error: ReplicationError | None = None
    plan: TablePlan | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """One report of a run, made after each commit.

    `lag_s`: at that moment, see `lag.py`; None only until the first catch-up from a place in the log that the pipeline
    file names, or from the checkpoint of an earlier version.
    """

    mapping: str
    phase: Phase
    position: str
    rows_snapshotted: int
    changes_applied: int
    rows_filtered: int
    elapsed_s: float
    lag_s: float | None = None
