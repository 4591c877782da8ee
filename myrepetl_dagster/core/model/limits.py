"""Every bound of a run."""

from __future__ import annotations

from dataclasses import dataclass


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


LONG_BYTES = 2**20  # from here on a copy costs more than what avoids it
