"""The bounds of a run: times, memory, and how much is done at once, each with its default."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of a run; the `limits` of a pipeline file sets them by these names. The unit is in the name.

    Args:
        chunk_rows_max: rows that are written at a time, where a copy goes row by row. Also `init_batch_size`.
        batch_rows_max: row changes after which a batch of the log is committed. A target's `batch_size` wins.
        batch_bytes_max: bytes of rows after which a batch is committed.
        batch_interval_s_max: the longest time between two commits. A target's `batch_flush_interval` wins.
        joined_batches_max: how many batches that wait while a target is busy are joined at most.
        joined_bytes_max: bytes of joined batches. The batches that the target is busy with take as much memory again.
            Sources that are followed side by side share it.
        event_rows_min: with fewer rows of a table in a batch, statements cost less than events of the log. A very large
            number: no rows go as events.
        snapshot_slice_s: a copy makes room for the log of the source's other tables each time so long has passed.
        copy_window_rows: rows that a copy reads by one SELECT.
        copy_writers_max: connections that write a copy into one target side by side.
        connect_timeout_s: until a session can be used. An endpoint's `connect_timeout` wins.
        control_timeout_s: for an answer to a question about positions, columns or grants.
        snapshot_timeout_s: for an answer to a SELECT that reads rows.
        read_ahead_bytes_max: bytes of the log that are read before they are needed.
        stream_heartbeat_s: a quiet source says so often that it is there.
        stream_timeout_s: a source's log that says nothing for so long is taken for dead.
        apply_timeout_s: for a statement that writes rows.
        lock_wait_timeout_s: for a lock in the target.
        attempts_max: attempts without a commit in between, after which a run gives up.
        retry_time_s_max: time without a commit, after which a run gives up.
        first_contact_time_s_max: the same for a server that the run has not reached yet: it may be restarting.
        unknown_host_time_s_max: the same for a host name that nobody knows: it is rather mistyped.
        backoff_first_s: the longest wait before the second attempt; it doubles with each.
        backoff_max_s: the longest wait before any attempt.
    """

    chunk_rows_max: int = 2_000
    batch_rows_max: int = 10_000
    batch_bytes_max: int = 8 * 2**20
    batch_interval_s_max: float = 5.0
    joined_batches_max: int = 30
    joined_bytes_max: int = 112 * 2**20
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
    first_contact_time_s_max: float = 60.0
    unknown_host_time_s_max: float = 5.0
    backoff_first_s: float = 0.2
    backoff_max_s: float = 30.0


# From this size on, avoiding a copy of a value costs less than the copy.
LONG_BYTES = 2**20
