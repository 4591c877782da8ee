"""Work in the background: one task at a time in a thread of its own, while the caller prepares the next one.

It is the mirror image of `read_ahead.py`: there reading overlaps with the caller's work, here writing does.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator

# A thread that has heard from its server waits no longer than this for the interpreter while others compute. With
# Python's own 5 ms a statement would wait longer than it takes.
_SWITCH_INTERVAL_S = 0.0005

# Work that may wait. It yields the event that it waits for, and gets back whether that came in time.
Waiting = Generator[threading.Event, bool, None]


def finished(work: Callable[[], Waiting], patience_s: float) -> None:
    """Do the work to its end. `patience_s`: how long it waits for an event at a time."""
    generator = work()
    try:
        awaited = next(generator)
        while True:
            awaited = generator.send(awaited.wait(patience_s))
    except StopIteration:
        pass


class Background:
    """Does one task at a time in a thread of its own."""

    def __init__(self) -> None:
        self._ended: threading.Event | None = None  # of a task that nobody has waited for yet
        self._error: BaseException | None = None

    @property
    def busy(self) -> bool:
        return self._ended is not None and not self._ended.is_set()

    def start(self, work: Callable[[], None]) -> None:
        """Start a task, once the one before it has ended well."""
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
        threading.Thread(target=run, name="background", daemon=True).start()

    def wait(self) -> None:
        """Wait for the task to end, and raise what it raised, once."""
        if self._ended is not None:
            # Not `Thread.join`: if a signal's exception ends that, a thread that runs on counts as ended (Python 3.11
            # and 3.12).
            self._ended.wait()
            self._ended = None
        error, self._error = self._error, None
        if error is not None:
            raise error
