"""What a signal's handler raises while Python finalizes an object."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from myrepetl_dagster.core.concurrency.interrupts import interrupts_kept

SOON_S = 5.0


class Stop(BaseException):
    """As Dagster's DagsterExecutionInterruptedError."""


class Slow:
    """Takes its time to be finalized, and is asked to end in the middle."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work

    def __del__(self) -> None:
        self.work()


def ask() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    wait(0.2)


def wait(for_s: float) -> None:
    until_s = time.monotonic() + for_s
    while time.monotonic() < until_s:
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """SIGTERM raises `Stop`; afterwards all is as it was."""

    def stop(*_: object) -> None:
        raise Stop

    before, alarm, hook = signal.signal(signal.SIGTERM, stop), signal.getsignal(signal.SIGALRM), sys.unraisablehook
    yield
    signal.signal(signal.SIGTERM, before)
    assert signal.getsignal(signal.SIGALRM) is alarm
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert sys.unraisablehook is hook


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_python_drops_it() -> None:
    """Without our doing the request is forgotten."""
    Slow(ask)
    wait(0.1)


def test_it_is_raised_again() -> None:
    """What was dropped is raised where the main thread is by then."""
    with pytest.raises(Stop), interrupts_kept():
        Slow(ask)
        wait(SOON_S)
        pytest.fail("forgotten")


def test_it_ends_what_waits_for_a_server() -> None:
    """Also out of a call that only returns when something comes."""
    read, write = os.pipe()
    with pytest.raises(Stop), interrupts_kept():
        Slow(ask)
        os.read(read, 1)
    os.close(read)
    os.close(write)


def test_it_is_raised_again_as_often_as_it_is_dropped() -> None:
    """The second time may be as unlucky as the first."""
    again = []

    def unlucky() -> None:
        again.append(1)
        wait(0.2)

    with pytest.raises(Stop), interrupts_kept():
        Slow(ask)
        Slow(unlucky)
        Slow(unlucky)
        wait(SOON_S)
        pytest.fail("forgotten")
    assert len(again) == 2


def test_what_was_dropped_last_is_raised_at_the_end() -> None:
    """Nothing is left to be raised in somebody else's code."""
    with pytest.raises(Stop), interrupts_kept():
        Slow(ask)


def test_an_error_on_the_way_out_stays_the_error() -> None:
    """The request is then answered: the run ends."""
    with pytest.raises(KeyError), interrupts_kept():
        Slow(ask)
        raise KeyError
    wait(0.05)


def test_other_errors_are_whoever_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of a `__del__` itself is passed on to the hook that was there."""
    seen: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: seen.append(unraisable.exc_type))

    def broken() -> None:
        raise ValueError

    with interrupts_kept():
        Slow(broken)
    assert seen == [ValueError]


def test_other_threads_are_left_alone() -> None:
    """No handler runs there, and none may be set."""
    hooks = []

    def work() -> None:
        with interrupts_kept():
            hooks.append(sys.unraisablehook)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert hooks == [sys.unraisablehook]
