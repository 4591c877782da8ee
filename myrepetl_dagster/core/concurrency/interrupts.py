"""A signal asks for the end once, and has to be heard.

Whoever handles a signal raises something in the main thread: KeyboardInterrupt, or what Dagster or the command line
has for it. Python drops what is raised while it finalizes an object
(https://docs.python.org/3/reference/datamodel.html#object.__del__), and each of PyMySQL's results has a `__del__`: a
signal that came just then was forgotten, and the run went on.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_AGAIN_AFTER_S = 0.01


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """While this holds, what a signal's handler raises where Python drops it is raised again, a moment later.

    In any thread but the main one no handler runs, and it does nothing; nor does it where there is no SIGALRM, which it
    has to itself once something was dropped.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return
    dropped: list[BaseException] = []
    hook_before, alarm_before = sys.unraisablehook, signal.getsignal(signal.SIGALRM)

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        error = unraisable.exc_value
        ours = threading.current_thread() is threading.main_thread()
        if not ours or error is None or isinstance(error, (Exception, GeneratorExit)):
            hook_before(unraisable)
            return
        dropped.append(error)
        signal.signal(signal.SIGALRM, again)
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_AFTER_S)

    def again(_: int, frame: FrameType | None) -> None:
        if dropped:
            raise dropped.pop()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = hook_before
        if signal.getsignal(signal.SIGALRM) is again:
            signal.setitimer(signal.ITIMER_REAL, 0)
            # None: it was not set from Python, and cannot be set from here.
            signal.signal(signal.SIGALRM, signal.SIG_DFL if alarm_before is None else alarm_before)
    if dropped:
        raise dropped.pop()
