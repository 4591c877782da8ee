"""What a target already holds of a mapping: the checkpoint, as a value. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from .position import Position
from .tables import Column


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
    updated_at: str = ""
    last_error: str = ""
    key: tuple[str, ...] = ()


def columns_to_json(columns: Sequence[Column]) -> str:
    """Columns as the checkpoint keeps them."""
    return json.dumps([{**asdict(c), "members": [member.hex() for member in c.members]} for c in columns])


def columns_from_json(text: str) -> tuple[Column, ...]:
    return tuple(_column(data) for data in json.loads(text))


def _column(data: dict[str, Any]) -> Column:
    return Column(**{**data, "members": tuple(bytes.fromhex(member) for member in data["members"])})
