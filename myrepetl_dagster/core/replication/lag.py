"""Lag: the target holds everything that the source had committed `lag_s` seconds ago, by the source's clock.

A checkpoint keeps the time up to which that is so (`source_time_unix_s`): when the last transaction before its
position was committed or, where the log was read to its end, when the source was last known to have no more. The
second counts for quiet tables, and for quiet sources: their lag is that of the stream, not the age of a change.
While a table is copied (`phase`), only its position in the log has a lag.

MySQL (since 8.0) logs microseconds. MariaDB logs whole seconds, and of a statement that is its own transaction the
second in which it began: there the lag is a little too high, never too low.
"""

from __future__ import annotations

import time

from .ports import Source


class SourceClock:
    """A source's clock: asked once, and kept by ours from then on, since each question is a round trip.

    Attributes:
        asked_unix_s: the source's time when it was asked.
    """

    def __init__(self, source: Source) -> None:
        self.asked_unix_s = source.now_unix_s()
        self._ahead_s = self.asked_unix_s - time.monotonic()

    def now_unix_s(self) -> float:
        """The source's time now, in seconds."""
        return time.monotonic() + self._ahead_s

    def lag_s(self, source_time_unix_s: float | None) -> float | None:
        """The lag now of a checkpoint, in seconds; None: it does not tell."""
        return lag_s(source_time_unix_s, self.now_unix_s())


def lag_s(source_time_unix_s: float | None, now_unix_s: float) -> float | None:
    """The lag in seconds, 0.0 or more; both times are of the source's clock. None: not known."""
    if source_time_unix_s is None:
        return None
    return max(0.0, round(float(now_unix_s - source_time_unix_s), 3))
