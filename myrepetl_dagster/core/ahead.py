"""Reading ahead: a generator runs in a thread of its own, within a bounded window, and is consumed in order.

What it yields and what it raises arrives as if it ran in place; only its waiting and its work overlap with
the consumer's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from queue import Empty, Full, Queue
from typing import TypeVar

T = TypeVar("T")

_ITEMS_MAX = 256  # in one batch: handing over costs more than most items
_BATCHES_MAX = 8
_PATIENCE_S = 0.05


def ahead(
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
        idle: yielded where the consumer would have to wait, and again and again while it waits.
    """
    batches: Queue[list[T] | BaseException | None] = Queue(_BATCHES_MAX)
    stopped = threading.Event()

    def put(batch: list[T] | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                batches.put(batch, timeout=_PATIENCE_S)
                return
            except Full:
                continue

    def read() -> None:
        try:
            batch: list[T] = []
            held = 0
            for item in items:
                batch.append(item)
                held += size(item)
                if stopped.is_set():
                    return
                # A consumer that waits gets what there is.
                if len(batch) >= _ITEMS_MAX or held >= bytes_max // _BATCHES_MAX or batches.empty():
                    put(batch)
                    batch, held = [], 0
            put(batch)
            put(None)
        except BaseException as error:
            put(batch)
            put(error)

    thread = threading.Thread(target=read, name="read ahead", daemon=True)
    thread.start()
    try:
        while True:
            try:
                batch = batches.get_nowait() if idle is not None else batches.get()
            except Empty:
                assert idle is not None
                yield idle
                try:
                    batch = batches.get(timeout=_PATIENCE_S)
                except Empty:
                    continue
            if batch is None:
                return
            if isinstance(batch, BaseException):
                raise batch
            yield from batch
    finally:
        stopped.set()
        if thread.is_alive():
            interrupt()
        thread.join(10)
