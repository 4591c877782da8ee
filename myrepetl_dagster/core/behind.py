"""Working behind: one thing at a time in a thread of its own, while the caller goes on to prepare the next.

The mirror image of `ahead.py`: there reading overlaps with the work, here writing does.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

# A thread that has heard from its server waits for the interpreter no longer than this while others compute; at
# Python's own 5 ms a statement would wait longer than it takes.
_SWITCH_INTERVAL_S = 0.0005


class Behind:
    """A place where one piece of work at a time is done."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self, work: Callable[[], None]) -> None:
        """Do this, once what was started before has ended well."""
        self.wait()
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL_S))

        def run() -> None:
            try:
                work()
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=run, name="write behind", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait for the end of what was started; raises what it raised, once."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error
