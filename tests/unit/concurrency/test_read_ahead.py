"""Reading ahead changes nothing but the time."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from myrepetl_dagster.core.concurrency.read_ahead import read_ahead


def _nothing() -> None:
    """No reader here waits for anything that would have to be interrupted."""


def test_all_items_arrive_in_order() -> None:
    """What is read ahead arrives complete and in order."""
    items = list(range(10_000))

    assert list(read_ahead(iter(items), lambda _: 10, 1_000, _nothing)) == items


def test_an_error_arrives_after_what_came_before_it() -> None:
    """An error of the reader is raised where it would have been, not earlier."""

    def failing() -> Iterator[int]:
        yield from range(100)
        raise ValueError("broken")

    seen = []
    with pytest.raises(ValueError, match="broken"):
        for item in read_ahead(failing(), lambda _: 1, 10, _nothing):
            seen.append(item)

    assert seen == list(range(100))


def test_the_window_is_bounded() -> None:
    """The reader never is more than the window (and what was taken from it) ahead of the consumer."""
    read: list[int] = []

    def counted() -> Iterator[int]:
        for i in range(1_000):
            read.append(i)
            yield i

    ahead_most = 0
    for item in read_ahead(counted(), lambda _: 1, 10, _nothing):
        ahead_most = max(ahead_most, len(read) - item)

    assert ahead_most <= 23


def test_a_consumer_that_stops_interrupts_the_reader() -> None:
    """When the consumer stops, a reader that waits for its source is woken, and its thread ends."""
    woken = threading.Event()

    def waiting() -> Iterator[int]:
        yield 1
        assert woken.wait(10)

    threads = threading.active_count()
    events = read_ahead(waiting(), lambda _: 1, 10, woken.set)
    assert next(events) == 1
    events.close()

    assert woken.is_set()
    assert threading.active_count() == threads


def test_the_last_items_do_not_wait_for_more() -> None:
    """With `idle`, what has come is delivered although nothing follows; then idle is, again and again."""
    woken = threading.Event()

    def pausing() -> Iterator[int]:
        yield from range(5)
        assert woken.wait(10)

    seen: list[int] = []
    for item in read_ahead(pausing(), lambda _: 1, 1_000, woken.set, idle=-1):
        seen.append(item)
        if seen.count(-1) >= 3 and 4 in seen:
            break

    assert [item for item in seen if item >= 0] == list(range(5))
