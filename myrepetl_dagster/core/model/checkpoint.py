"""The checkpoint of a mapping: up to which place of the source's log its target is complete, and how far a copy is.

Pure values; `checkpoint_codec.py` has their stored form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from .errors import UnreadableCheckpoint
from .position import Position

NOT_COPIED = "not copied yet"  # the state of a mapping without a checkpoint, for people


class Phase(StrEnum):
    """How far a mapping has come.

    COPYING: the source's rows are being read. SETTLING: all rows are read, and the log between the low and the high
    watermark is being applied. REPLICATING: each commit leaves the target equal to the source at the checkpoint.
    """

    COPYING = "copying"
    SETTLING = "settling"
    REPLICATING = "replicating"


@dataclass(frozen=True, slots=True)
class CopyState:
    """How far a copy has come.

    `after_key` is the last copied key as SQL literals, None at the start. `sweep`: the target held rows when the copy
    began, so rows that the source no longer has are deleted once all rows are read. `sweeping`: that deletion has
    begun, and has come to the key `sweep_after` of the target. `rows_done`: rows that were read from the source so far,
    or, while sweeping, keys of the target that were looked at. `rows_estimated`: about how many these will be at the
    end; None: not known.
    """

    after_key: tuple[str, ...] | None = None
    sweep: bool = False
    sweeping: bool = False
    sweep_after: tuple[str, ...] | None = None
    rows_done: int = 0
    rows_estimated: int | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of one mapping in its target.

    `position`: every source transaction up to here is applied. `high_watermark`: the place at which the copied rows
    become exact; None unless the phase is SETTLING. `source_columns_json`: the source table's columns when the copy
    began, for logs whose table maps do not name them. `altered`: the log has altered the table since. `key`: the target
    columns by which rows are found. `source_time_unix_s`: every transaction that the source had committed by then, in
    seconds by its clock, lies before `position` (`lag.py`). `in_doubt`: XA transactions that are prepared and not yet
    decided, to the name under which `prepared_table.py` keeps their rows. `fingerprint`: the mapping's. `code`: the
    hash of each of its transforms; None if an earlier version stored the checkpoint. `sequence`: the number of commits.

    Counts are those since the first copy began: `changes_applied` are the log's upserts and deletes, `rows_deleted` the
    deletes among them, `rows_swept` the rows that copies deleted, since the source did not have them. `bytes_read`: of
    the rows in the snapshots and in the log.
    """

    mapping: str
    phase: Phase
    position: Position
    copy: CopyState | None = None
    high_watermark: Position | None = None
    rows_snapshotted: int = 0
    changes_applied: int = 0
    rows_filtered: int = 0
    source_time_unix_s: float | None = None
    source_columns_json: str = "[]"
    altered: bool = False
    in_doubt: dict[str, str] = field(default_factory=dict)
    fingerprint: str = ""
    sequence: int = 0
    last_error: str = ""
    key: tuple[str, ...] = ()
    code: dict[str, str] | None = None
    rows_deleted: int = 0
    rows_swept: int = 0
    bytes_read: int = 0

    @property
    def applied_total(self) -> int:
        """Rows and changes since the table was last copied from the start. It stays while only the position moves."""
        return self.rows_snapshotted + self.changes_applied


class Checkpoints(Mapping[str, Checkpoint]):
    """The checkpoints that a target holds, by mapping.

    Asking for a checkpoint that cannot be read raises its error. So that error stops its own mapping only, and the
    mapping never counts as one without a checkpoint.
    """

    def __init__(
        self,
        readable: Mapping[str, Checkpoint] | None = None,
        unreadable: Mapping[str, UnreadableCheckpoint] | None = None,
    ) -> None:
        self.readable = dict(readable or {})
        self.unreadable = dict(unreadable or {})

    def __getitem__(self, mapping: str) -> Checkpoint:
        if mapping in self.unreadable:
            raise self.unreadable[mapping]
        return self.readable[mapping]

    def __iter__(self) -> Iterator[str]:
        yield from self.readable
        yield from self.unreadable

    def __len__(self) -> int:
        return len(self.readable) + len(self.unreadable)

    def __contains__(self, mapping: object) -> bool:
        return mapping in self.readable or mapping in self.unreadable

    def __or__(self, other: Checkpoints) -> Checkpoints:
        return Checkpoints(self.readable | other.readable, self.unreadable | other.unreadable)
