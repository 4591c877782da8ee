"""A log that is read ahead: what it tells, in which order, and how it ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, ClassVar, cast

import pytest
from unit.binlog.test_reader import rows_event, table_map_event

from myrepetl_dagster.core.binlog.events import Idle, KnownTable, LogAdvanced, LogEvent, RowsRead
from myrepetl_dagster.core.binlog.reader import LogReader
from myrepetl_dagster.core.model.errors import SourceLost, UnsupportedEvent
from myrepetl_dagster.core.model.tables import Column, TableName
from myrepetl_dagster.core.source.binlog_stream import LogStream
from myrepetl_dagster.core.source.log_reader import log_events

USERS = TableName("shop", "users")


class Packet(bytes):
    """Bytes that tell when nobody holds them any more."""

    let_go: ClassVar[list[bytes]] = []

    def __del__(self) -> None:
        self.let_go.append(bytes(self))


class Stream:
    """Sends these batches, then waits to be interrupted, breaks or ends."""

    def __init__(self, batches: list[list[bytes]], end: BaseException | str | None = None) -> None:
        self.batches = batches
        self.end = end
        self.interrupted = threading.Event()
        self.left = threading.Event()

    def events(self) -> Iterator[list[bytes]]:
        try:
            while self.batches:
                yield self.batches.pop(0)
            if self.end == "wait":
                assert self.interrupted.wait(10)
            elif isinstance(self.end, BaseException):
                raise self.end
        finally:
            self.left.set()

    def interrupt(self) -> None:
        self.interrupted.set()


def told(stream: Stream, *, follow: bool = False) -> Iterator[LogEvent]:
    reader = LogReader({USERS: KnownTable((Column("id", "int"),))}, "binlog.000007", 4)
    yield from log_events(cast(LogStream, stream), reader, 2**20, follow=follow)


def batch(number: int, **more: Any) -> list[bytes]:
    position = 1000 * number
    return [table_map_event(1, "users", position + 100), rows_event(1, 23, 1, more.get("rows", 1), position + 200)]


def test_what_came_before_the_stream_broke_is_told_before_the_error() -> None:
    """The reading thread's error comes after all that it has read, and the thread is gone."""
    stream = Stream([batch(1), batch(2)], SourceLost("gone"))
    found = []
    with pytest.raises(SourceLost):
        for event in told(stream):
            found.append(event)
    assert [type(one) for one in found] == [RowsRead, RowsRead]
    assert stream.left.is_set()


def test_the_end_says_how_far_the_log_is_read() -> None:
    """Behind the last event comes the place that it ends at."""
    *_, last = told(Stream([batch(1), batch(2)]))
    assert last == LogAdvanced("binlog.000007", 2200)


def test_a_log_that_is_followed_says_when_nothing_more_has_come() -> None:
    """Again and again, and only then; whoever stops before the end interrupts the stream, and waits for its thread."""
    stream = Stream([batch(1)], "wait")
    events = told(stream, follow=True)
    found = [next(events) for _ in range(4)]
    kinds = [type(one) for one in found]
    assert kinds.count(RowsRead) == 1
    assert kinds[-1] is Idle
    assert not stream.left.is_set()
    cast(Any, events).close()
    assert stream.left.is_set()


def test_an_event_that_stops_the_reader_stops_the_thread() -> None:
    """An unknown event is told of at its place, while the thread still waits for more, and ends it."""
    damaged = rows_event(1, 23, 1, 1, 1200)[:-1] + b"!"
    stream = Stream([[*batch(0), damaged]], "wait")
    with pytest.raises(UnsupportedEvent, match="checksum"):
        list(told(stream))
    assert stream.left.is_set()


def test_no_event_is_held_while_its_rows_are_written() -> None:
    """Once the rows were let go, so is the event: it may have 32 MiB."""
    (table_map, rows) = batch(1, rows=3)
    events = told(Stream([[table_map, Packet(rows)]], "wait"), follow=True)
    for event in events:
        if isinstance(event, RowsRead):
            event.images = []
            break
    assert Packet.let_go == [rows]
    cast(Any, events).close()
