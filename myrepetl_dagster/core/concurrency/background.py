"""Working behind: one thing at a time in a thread of its own, while the caller goes on to prepare the next.

The mirror image of `read_ahead.py`: there reading overlaps with the work, here writing does.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator

# A thread that has heard from its server waits for the interpreter no longer than this while others compute; at
# Python's own 5 ms a statement would wait longer than it takes.
_SWITCH_INTERVAL_S = 0.0005

# Work that may wait for something: it yields what for, and is told whether that came in time.
Waiting = Generator[threading.Event, bool, None]


def finished(work: Callable[[], Waiting], patience_s: float) -> None:
    """Do the work, with so much patience for what it waits for."""
    steps = work()
    try:
        awaited = next(steps)
        while True:
            awaited = steps.send(awaited.wait(patience_s))
    except StopIteration:
        pass


class Background:
    """A place where one piece of work at a time is done."""

    def __init__(self) -> None:
        self._ended: threading.Event | None = None  # of what was started and nobody has waited for
        self._error: BaseException | None = None

    @property
    def busy(self) -> bool:
        return self._ended is not None and not self._ended.is_set()

    def start(self, work: Callable[[], None]) -> None:
        """Do this, once what was started before has ended well."""
        self.wait()
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL_S))
        ended = threading.Event()

        def run() -> None:
            try:
                work()
            except BaseException as error:
                self._error = error
            finally:
                ended.set()

        self._ended = ended
        threading.Thread(target=run, name="write behind", daemon=True).start()

    def wait(self) -> None:
        """Wait for the end of what was started; raises what it raised, once."""
        if self._ended is not None:
            # Not `Thread.join`: when a signal's exception ends that, a thread that runs on counts as ended
            # (Python 3.11 and 3.12).
            self._ended.wait()
            self._ended = None
        error, self._error = self._error, None
        if error is not None:
            raise error
