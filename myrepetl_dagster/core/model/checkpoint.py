"""The checkpoint of a mapping: what its target already holds. Pure; `checkpoint_codec.py` has the stored form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from .errors import UnreadableCheckpoint
from .position import Position


class Phase(StrEnum):
    """How far a mapping has come.

    COPYING: chunks are being read. SETTLING: all chunks are read, the log between the low and the
    high watermark is being applied. REPLICATING: every commit equals the source at its checkpoint.
    """

    COPYING = "copying"
    SETTLING = "settling"
    REPLICATING = "replicating"


@dataclass(frozen=True, slots=True)
class CopyState:
    """How far a copy has come.

    `after_key` is the last copied key as SQL literals, None at the start. `sweep` says that the target
    held rows when the copy began, so that rows which the source no longer has must be deleted once all
    chunks are read (`sweeping`, up to `sweep_after` in the target's keys).
    """

    after_key: tuple[str, ...] | None = None
    sweep: bool = False
    sweeping: bool = False
    sweep_after: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the target holds of one mapping.

    `position`: every source transaction up to here is applied. `high_watermark`: where a copy that has
    ended becomes exact. `source_columns_json` are the source table's columns when the copy began, for logs
    whose table maps do not name them; `altered`: the log has altered the table since.
    `key`: the target columns that told the rows apart. `source_time_unix_s`: all that the source had committed by
    then, in seconds by its clock, lies before `position` (see `lag.py`). `in_doubt`: the XA transactions that are
    prepared there and not decided, see `prepared_table.py`.
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
