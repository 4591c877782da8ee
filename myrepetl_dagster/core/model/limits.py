"""The bounds of a run: times, memory, and how much is done at once, each with its default."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of a run; the `limits` of a pipeline file sets them by these names. The unit is in the name."""

    chunk_rows_max: int = 2_000
    batch_rows_max: int = 10_000
    batch_bytes_max: int = 8 * 2**20
    batch_interval_s_max: float = 5.0
    # Batches that wait while a target is busy are joined, up to these bounds. The batches that the target is busy with
    # take as much memory again. Sources that are followed side by side share the bytes.
    joined_batches_max: int = 30
    joined_bytes_max: int = 112 * 2**20
    # With fewer rows of a table in a batch, statements cost less than the events that would go before the rows.
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
    # For an endpoint that the run has not reached yet: a server may be restarting, an unknown name is rather mistyped.
    first_contact_time_s_max: float = 60.0
    unknown_host_time_s_max: float = 5.0
    backoff_first_s: float = 0.2
    backoff_max_s: float = 30.0


# From this size on, avoiding a copy of a value costs less than the copy.
LONG_BYTES = 2**20
