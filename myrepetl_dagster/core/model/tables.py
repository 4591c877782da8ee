"""The values that pass from stage to stage. Nothing in this file touches a socket, a clock or a log.

A *cell* is one column's value in the form in which it can be written to a target byte for byte:

    None                NULL
    int                 every integer type, YEAR, BIT
    float               FLOAT (widened exactly), DOUBLE
    str                 ASCII text: DECIMAL, DATE, TIME, DATETIME, TIMESTAMP (in UTC) as the server prints it
    bytes               CHAR, VARCHAR, TEXT, ENUM, SET, JSON (in the column's own character set; JSON in
                        UTF-8), UUID, INET4, INET6 (as text), BINARY, VARBINARY, BLOB, GEOMETRY (SRID +
                        WKB), VECTOR; an ENUM's error value, which is no label, is the int 0

Snapshot and binlog produce identical cells for the same value (`tests/server/test_parity.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Cell = int | float | str | bytes | None
Row = tuple[Cell, ...]
Key = tuple[Cell, ...]


@dataclass(frozen=True, slots=True, order=True)
class TableName:
    """A table on a server: schema (database) and table."""

    schema: str
    table: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the server that holds it describes it.

    `type` is the lower-case type name (`bigint`, `varchar`, `datetime`); `column_type` the whole
    definition (`bigint unsigned`, `enum('a','b')`); `charset` is None for types without one and
    `binary` for byte strings; `members` are the labels of an ENUM or SET.
    """

    name: str
    type: str
    column_type: str = ""
    unsigned: bool = False
    charset: str | None = None
    collation: str | None = None
    nullable: bool = True
    members: tuple[bytes, ...] = ()
    generated: bool = False
    invisible: bool = False
    auto_increment: bool = False
    generation_expression: str = ""
    srid: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table's columns in their order, and its keys (primary first) as tuples of column names.

    `charset` is that of new columns whose definition names none.
    """

    name: TableName
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    unique_keys: tuple[tuple[str, ...], ...] = ()
    charset: str | None = None

    def column(self, name: str) -> Column | None:
        return next((c for c in self.columns if c.name == name), None)

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)


@dataclass(frozen=True, slots=True)
class RowChange:
    """One changed row: a before and an after image, in the order of the event's own columns.

    A row read by a snapshot has no before image, a deleted row no after image.
    """

    before: Row | None
    after: Row | None

    def __post_init__(self) -> None:
        assert self.before is not None or self.after is not None


class Phase(StrEnum):
    """How far a mapping has come.

    COPYING: chunks are being read. SETTLING: all chunks are read, the log between the low and the
    high watermark is being applied. REPLICATING: every commit equals the source at its checkpoint.
    """

    COPYING = "copying"
    SETTLING = "settling"
    REPLICATING = "replicating"


@dataclass(frozen=True, slots=True)
class Upsert:
    """Write this row; `row` is in the order of the mapping's target columns."""

    key: Key
    row: Row


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the row with this key, if it is there."""

    key: Key


Mutation = Upsert | Delete


@dataclass(frozen=True, slots=True)
class Limits:
    """Every bound of a run, with its unit."""

    chunk_rows_max: int = 2_000
    batch_rows_max: int = 10_000
    batch_bytes_max: int = 8 * 2**20
    batch_interval_s_max: float = 5.0
    # While a target is at work, what comes next is put together, up to so many batches and so many bytes of memory;
    # sources that are followed at once share these. The target is at work on as much.
    joined_batches_max: int = 30
    joined_bytes_max: int = 112 * 2**20
    # From so many rows of a table in a batch on, a target that takes rows as events gets them so: what goes before
    # them costs as much as these as statements.
    event_rows_min: int = 100
    snapshot_slice_s: float = 20.0
    copy_window_rows: int = 50_000
    copy_writers_max: int = 3
    connect_timeout_s: float = 10.0
    control_timeout_s: float = 60.0
    snapshot_timeout_s: float = 600.0
    read_ahead_bytes_max: int = 8 * 2**20
    stream_heartbeat_s: float = 5.0
    stream_timeout_s: float = 30.0
    apply_timeout_s: float = 300.0
    lock_wait_timeout_s: float = 30.0
    attempts_max: int = 12
    retry_time_s_max: float = 900.0
    # For an endpoint that the run has never reached: long enough for a server that is being restarted; a name
    # that nobody knows is more likely mistyped.
    first_contact_time_s_max: float = 60.0
    unknown_host_time_s_max: float = 5.0
    backoff_first_s: float = 0.2
    backoff_max_s: float = 30.0


@dataclass(slots=True)
class Counts:
    """What a run did for one mapping; every row read is in exactly one of the last three."""

    rows_read: int = 0
    rows_upserted: int = 0
    rows_deleted: int = 0
    rows_filtered: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """One report of a run, made after each commit."""

    mapping: str
    phase: Phase
    position: str
    rows_snapshotted: int
    changes_applied: int
    rows_filtered: int
    elapsed_s: float
    lag_s: float | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
