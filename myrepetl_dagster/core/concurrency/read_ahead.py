"""Reading ahead: an iterator runs in a thread of its own, within a bounded window, and is consumed in order.

The consumer sees the same items and errors as if the iterator ran in place. Only its waiting and its work overlap with
the consumer's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_PATIENCE_S = 0.05


class _Window(Generic[T]):
    """Items between the two threads, bounded by bytes. An item that the consumer has taken counts until it is
    `used`."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.changed = threading.Condition()
        self.items: list[tuple[T, int]] = []
        self.bytes_held = 0
        self.stopped = False
        self.ended = False
        self.error: BaseException | None = None

    def put(self, item: T, size: int) -> bool:
        """Add an item, waiting for room. Returns False when nobody wants it any more."""
        with self.changed:
            while self.bytes_held >= self.bytes_max and not self.stopped:
                self.changed.wait()
            self.items.append((item, size))
            self.bytes_held += size
            if len(self.items) == 1:
                self.changed.notify_all()
            return not self.stopped

    def end(self, error: BaseException | None) -> None:
        with self.changed:
            self.ended, self.error = True, error
            self.changed.notify_all()

    def take(self, patience_s: float | None) -> list[tuple[T, int]]:
        """Every item that is there; [] after the patience, or at the end."""
        with self.changed:
            if not self.items and not self.ended:
                self.changed.wait(patience_s)
            taken, self.items = self.items, []
            return taken

    def used(self, size: int) -> None:
        """The consumer needs items of so many bytes no longer."""
        with self.changed:
            self.bytes_held -= size
            self.changed.notify_all()

    def stop(self) -> None:
        with self.changed:
            self.stopped = True
            self.changed.notify_all()


def _used_up(taken: list[tuple[T, int]], window: _Window[T]) -> Iterator[T]:
    """The items in order. When the next one is asked for, an item is forgotten and its room is given back."""
    used = 0
    step = window.bytes_max // 8  # small items give their room back together
    taken.reverse()
    while taken:
        item, size = taken.pop()
        yield item
        del item
        used += size
        if used > step:
            window.used(used)
            used = 0
    window.used(used)


def read_ahead(
    items: Iterator[T],
    size: Callable[[T], int],
    bytes_max: int,
    interrupt: Callable[[], None],
    idle: T | None = None,
) -> Generator[T, None, None]:
    """Yield what `items` yields, read ahead by up to about `bytes_max` bytes.

    Args:
        size: an item's size in bytes.
        interrupt: called when the consumer stops early; must make a blocked `items` end or raise.
        idle: yielded when the consumer has to wait, and again and again while it waits.
    """
    window: _Window[T] = _Window(bytes_max)

    def read() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                wanted = window.put(item, size(item))
                del item  # it may be large, and is not held while the next one is read
                if not wanted:
                    return
        except BaseException as caught:
            error = caught
        finally:
            window.end(error)

    thread = threading.Thread(target=read, name="read ahead", daemon=True)
    thread.start()
    try:
        while True:
            taken = window.take(0.0 if idle is not None else None)
            if not taken and idle is not None and not window.ended:
                yield idle
                taken = window.take(_PATIENCE_S)
            if not taken and window.ended and not window.items:
                break
            yield from _used_up(taken, window)
        if window.error is not None:
            raise window.error
    finally:
        window.stop()
        if thread.is_alive():
            interrupt()
        thread.join(10)
