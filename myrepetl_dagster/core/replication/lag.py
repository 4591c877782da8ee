"""Lag: the target holds everything that the source had committed `lag_s` seconds ago, by the source's clock.

A checkpoint stores the source's time up to which the target is complete (`source_time_unix_s`). That is the commit
time of the last transaction before its position. If the log was read to its end, it is the last time at which the
source was known to have no more. So the lag of a quiet table or source is that of the stream, not the age of its last
change. While a table is copied (`phase`), the lag is that of its position in the log.

MySQL (since 8.0) logs microseconds. MariaDB logs whole seconds, and for a statement that is its own transaction it
logs the second in which the statement began. There the lag is a little too high, never too low.
"""

from __future__ import annotations

import time

from .ports import Source


class SourceClock:
    """A source's clock. It is asked once; then our own clock carries it on, since each question costs a round trip.

    Attributes:
        asked_unix_s: the source's time when it was asked.
    """

    def __init__(self, source: Source) -> None:
        self.asked_unix_s = source.now_unix_s()
        self._offset_s = self.asked_unix_s - time.monotonic()

    def now_unix_s(self) -> float:
        """The source's time now, in seconds."""
        return time.monotonic() + self._offset_s

    def lag_s(self, source_time_unix_s: float | None) -> float | None:
        """The present lag of a checkpoint, in seconds; None: not known."""
        return lag_s(source_time_unix_s, self.now_unix_s())


def lag_s(source_time_unix_s: float | None, now_unix_s: float) -> float | None:
    """The lag in seconds, 0.0 or more; None: not known. Both times are by the source's clock."""
    if source_time_unix_s is None:
        return None
    return max(0.0, round(float(now_unix_s - source_time_unix_s), 3))
