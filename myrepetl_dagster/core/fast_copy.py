"""Copying by several connections: one reads windows of the table in key order, the others write them.

The checkpoint is stored when a window is written whole, so that it never names a key with a gap before it; a
window that was interrupted is copied again. Where nothing needs Python, rows are SQL tuples that the source
rendered (`render.py`), and pass through here as bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import cast

from .apply import MySQLTarget
from .copy import Copy
from .errors import RowRejected
from .mapping_state import MappingState, Report
from .model import Limits
from .plan import UniqueKeys
from .render import tuple_sql
from .shape import Shaped
from .snapshot import keyset_condition
from .source import MySQLSource
from .values import cell_from_text, literal_of, sql_name
from .wire import fields, first_field, row_packets

BATCH_BYTES = 2**20
PENDING_BYTES_MAX = 8 * 2**20


@dataclass(slots=True)
class Window:
    """What one SELECT of a window has brought so far."""

    rows: int = 0
    filtered: int = 0
    after_key: tuple[str, ...] | None = None


class FastCopy(Copy):
    """A copy with several writers; as exact as `Copy`, which it falls back to."""

    def __init__(self, source: MySQLSource, state: MappingState, limits: Limits, report: Report) -> None:
        super().__init__(source, state, limits, report)
        self.server = source
        self.relation = source.relation(state.plan)
        self.tuple_sql = tuple_sql(self.shaper.plan, self.relation.layout)

    def _chunks(self) -> Iterator[None]:
        if self.state.plan.unique_keys is not UniqueKeys.NONE:
            yield from super()._chunks()  # rows may collide, and then their order counts
            return
        target = cast(MySQLTarget, self.state.target)
        with Writers(target, self.state.name, self.limits.copy_writers_max) as writers:
            last = False
            while not last:
                try:
                    window = self._window(writers)
                    writers.drain()
                except RowRejected:
                    break
                except ValueError:  # the source could not render a row (longer than its max_allowed_packet)
                    writers.drain()
                    self.tuple_sql = None
                    continue
                last = window.rows < self.limits.copy_window_rows
                self._window_done(window, last)
                if not last:  # else no step is to come: a slice that ends here must not make the next one read in vain
                    yield
        if not last:
            yield from super()._chunks()  # goes over the window row by row, and names the one that is refused

    def _window_done(self, window: Window, last: bool) -> None:
        checkpoint = self.state.checkpoint
        copy = replace(self.copy, after_key=window.after_key, sweeping=last and self.copy.sweep)
        self._commit(
            replace(
                checkpoint,
                copy=copy,
                rows_snapshotted=checkpoint.rows_snapshotted + window.rows - window.filtered,
                rows_filtered=checkpoint.rows_filtered + window.filtered,
            )
        )

    # ---- reading a window ----
    def _window(self, writers: Writers) -> Window:
        window = Window(after_key=self.copy.after_key)
        write = self._write_rendered if self.tuple_sql is not None else self._write_shaped
        connection = self.server.snapshot_connection
        try:
            with self.server.doing(f"copying {self.state.plan.source.name}"):
                for packets in row_packets(connection, self._sql(), BATCH_BYTES):
                    window.rows += len(packets)
                    window.after_key = self._key(packets[-1])
                    write(packets, window, writers)
                    del packets  # not to be held while the next ones are read: a row may have 16 MiB and more
        except BaseException:
            self.server.discard_snapshot_connection()  # rows of the window may still be under way on it
            raise
        return window

    def _sql(self) -> bytes:
        relation = self.relation
        keys = ", ".join(sql_name(name) for name in relation.key)
        if self.tuple_sql is not None:
            select = f"SELECT {self.tuple_sql}, {keys} FROM {relation.from_sql}"
        else:
            select = relation.select_sql
        after = self.copy.after_key
        where = f" WHERE {keyset_condition(relation.key, after)}" if after else ""
        return f"{select}{where} ORDER BY {keys} LIMIT {self.limits.copy_window_rows}".encode("latin-1")

    def _key(self, packet: bytes) -> tuple[str, ...]:
        rendered = self.tuple_sql is not None
        values = fields(packet, skip=1 if rendered else 0)
        columns = [self.relation.layout[i] for i in self.relation.key_indexes]
        at = range(len(values)) if rendered else self.relation.key_indexes
        return tuple(literal_of(c)(cell_from_text(c)(values[i])) for c, i in zip(columns, at, strict=True))

    def _write_rendered(self, packets: list[bytes], _: Window, writers: Writers) -> None:
        tuples = [first_field(packet) for packet in packets]
        size = sum(map(len, packets))
        packets.clear()  # what is written is all that is held
        writers.submit(lambda target: target.write_tuples(self.shaper.plan, tuples), size)

    def _write_shaped(self, packets: list[bytes], window: Window, writers: Writers) -> None:
        convert = [cell_from_text(column) for column in self.relation.layout]
        shaped = Shaped()
        size = sum(map(len, packets))
        rows = (tuple([f(v) for f, v in zip(convert, fields(packet), strict=True)]) for packet in packets)
        self.shaper.shape(((None, row) for row in rows), shaped)
        packets.clear()
        shaped.check()
        window.filtered += shaped.rows_filtered
        if shaped.mutations:
            writers.submit(lambda target: target.write(self.shaper.plan, shaped.mutations, exact=False), size)


class Writers:
    """Threads with a target connection each. A transaction of theirs holds the fence, but not for itself alone."""

    def __init__(self, target: MySQLTarget, mapping: str, count: int) -> None:
        self._mapping = mapping
        self._count = count
        self._idle: SimpleQueue[MySQLTarget] = SimpleQueue()
        self._targets = [target.sibling() for _ in range(count)]
        for one in self._targets:
            self._idle.put(one)
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="copy")
        self._pending: dict[Future[None], int] = {}

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        for target in self._targets:
            target.close()

    def submit(self, write: Callable[[MySQLTarget], None], size: int) -> None:
        """Hand over a piece of work; waits while all are busy and one more is waiting, or the pieces are too big.

        Args:
            size: about the bytes that the work holds in memory.

        Raises:
            ReplicationError: what an earlier piece ran into.
        """
        while len(self._pending) > self._count or (self._pending and self._bytes_held() + size > PENDING_BYTES_MAX):
            self._take(wait(self._pending, return_when=FIRST_COMPLETED).done)
        self._pending[self._pool.submit(self._work, write)] = size

    def _bytes_held(self) -> int:
        return sum(self._pending.values())

    def drain(self) -> None:
        """Wait until all is written."""
        done, self._pending = self._pending, {}
        wait(done)
        for future in done:
            future.result()

    def _take(self, done: set[Future[None]]) -> None:
        for future in done:
            del self._pending[future]
        for future in done:
            future.result()

    def _work(self, write: Callable[[MySQLTarget], None]) -> None:
        target = self._idle.get()
        try:
            target.begin([self._mapping], alone=False)
            write(target)
            target.commit([])
        finally:
            self._idle.put(target)
