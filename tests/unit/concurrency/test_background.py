"""Work in the background: one piece at a time, its error, and a wait that a signal ends."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType

import pytest

from myrepetl_dagster.core.concurrency.background import Background


def assert_(happened: bool) -> None:
    assert happened


class Told(BaseException):
    """What a signal's handler raises."""


def test_one_at_a_time_and_the_error_comes_once() -> None:
    """The next piece begins when the one before has ended well; an error is raised by the next call, once."""
    behind = Background()
    seen: list[int] = []

    def slowly() -> None:
        time.sleep(0.05)
        seen.append(1)

    behind.start(slowly)
    behind.start(lambda: seen.append(2))
    behind.wait()
    assert seen == [1, 2]

    behind.start(lambda: seen.remove(3))
    with pytest.raises(ValueError, match="not in list"):
        behind.start(lambda: seen.append(4))
    behind.wait()
    assert seen == [1, 2]


def test_a_wait_that_a_signal_ends_leaves_the_work_busy() -> None:
    """A signal ends the wait, not the work: it still counts as under way, and can be waited for again."""
    behind, release = Background(), threading.Event()

    def told(*_: int | FrameType | None) -> None:
        raise Told

    before = signal.signal(signal.SIGALRM, told)
    try:
        behind.start(lambda: assert_(release.wait(10)))
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Told):
            behind.wait()
        assert behind.busy
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        release.set()
    behind.wait()
    assert not behind.busy
