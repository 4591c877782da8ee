"""Reading a source's log: a thread reads packets ahead, and the caller's thread decodes them.

The thread does not decode: two threads that compute would take the interpreter from each other.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

from ..binlog.events import Idle, LogAdvanced, LogEvent
from ..binlog.reader import LogReader
from ..concurrency.read_ahead import read_ahead
from .binlog_stream import LogStream


def log_events(
    stream: LogStream, reader: LogReader, ahead_bytes_max: int, *, follow: bool
) -> Generator[LogEvent, None, None]:
    """The events of a stream, until it ends.

    Args:
        ahead_bytes_max: how many bytes may be read and not yet decoded.
        follow: yield `Idle` when no more has come yet.
    """
    idle: list[bytes] | None = [] if follow else None
    with closing(read_ahead(stream.events(), _bytes_held, ahead_bytes_max, stream.interrupt, idle)) as batches:
        for batch in batches:
            if not batch:
                yield Idle()
            for events in reader.read_batch(batch):
                yield from events
    yield LogAdvanced(reader.file, reader.offset_bytes)


def _bytes_held(packets: list[bytes]) -> int:
    return sum(map(len, packets))
