"""Copying by several connections: one reads windows of the table in key order, the others write them.

The next window is read while the one before is still being written. The checkpoint is stored when a window is
written whole, so that it never names a key with a gap before it; a window that was interrupted is copied again.
Where the source can render rows as SQL tuples (`render.py`), they pass through here as bytes; the few that it
cannot are read again by their keys and go through Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import cast

from .apply import MySQLTarget
from .bulk_copy import bulk_select
from .copy import Copy
from .errors import RowRejected
from .mapping_state import MappingState, Report
from .model import Limits
from .plan import UniqueKeys
from .render import FILTERED, tuple_sql
from .shape import LiteralKey, Shaped
from .snapshot import keys_condition, keyset_condition
from .source import MySQLSource
from .values import cell_from_text, literal_of, sql_name
from .wire import fields, first_fields, row_packets

BATCH_BYTES = 2**20
PENDING_BYTES_MAX = 8 * 2**20
# Of a window; where there are more, the rest of the table goes through Python as a whole.
ODD_ROWS_MAX = 1_000
_KEYS_MAX = 500


@dataclass(slots=True)
class Window:
    """What one SELECT of a window, and those for its odd rows, have brought so far."""

    rows: int = 0
    filtered: int = 0
    end_key: LiteralKey | None = None
    last: bool = False
    odd: list[LiteralKey] = field(default_factory=list)  # keys of rows that the source could not render
    writes: list[Future[None]] = field(default_factory=list)


class FastCopy(Copy):
    """A copy with several writers; as exact as `Copy`, which it falls back to."""

    def __init__(self, source: MySQLSource, state: MappingState, limits: Limits, report: Report) -> None:
        super().__init__(source, state, limits, report)
        self.server = source
        self.relation = source.relation(state.plan)
        self.tuple_sql = tuple_sql(self.shaper.plan, self.relation.layout)
        self.bulk = (
            bulk_select(self.shaper.plan, self.relation.layout, self.relation.key) if state.target.takes_bulk else None
        )

    def _chunks(self) -> Iterator[None]:
        if self.state.plan.unique_keys is UniqueKeys.NONE:
            try:
                yield from self._windows()
                return
            except RowRejected:
                pass  # what follows goes over the rows one by one, and names the one that is refused
        yield from super()._chunks()  # in order, where rows may collide

    def _windows(self) -> Iterator[None]:
        target = cast(MySQLTarget, self.state.target)
        with Writers(target, self.state.name, self.limits.copy_writers_max) as writers:
            before: Window | None = None  # read whole, but perhaps not yet written whole
            while True:
                window = self._window(writers, before.end_key if before is not None else self.copy.after_key)
                if before is not None:
                    self._window_done(before)
                before = window
                if before is not None and (before.last or self._slice_over()):
                    self._window_done(before)
                    if before.last:  # no step to come: a slice that ends here must not make the next read in vain
                        return
                    before = None
                    yield

    def _window_done(self, window: Window) -> None:
        for write in window.writes:
            write.result()
        checkpoint = self.state.checkpoint
        copy = replace(self.copy, after_key=window.end_key, sweeping=window.last and self.copy.sweep)
        self._commit(
            replace(
                checkpoint,
                copy=copy,
                rows_snapshotted=checkpoint.rows_snapshotted + window.rows - window.filtered,
                rows_filtered=checkpoint.rows_filtered + window.filtered,
            )
        )

    # ---- reading a window ----
    def _window(self, writers: Writers, after: LiteralKey | None) -> Window | None:
        """The window after a key; None: the source cannot render this table, and it is to be read again."""
        window = Window(end_key=after)
        write = self._write_shaped
        if self.bulk is not None or self.tuple_sql is not None:
            write = self._write_rendered if self.bulk is None else self._write_parameters
        for packet in self._read(self._sql(after), window, writers, write):
            window.end_key = self._key(packet)
        window.last = window.rows < self.limits.copy_window_rows
        if len(window.odd) > ODD_ROWS_MAX:
            wait(window.writes)
            self.tuple_sql = self.bulk = None
            return None
        window.rows -= len(window.odd)
        for start in range(0, len(window.odd), _KEYS_MAX):
            keys = keys_condition(self.relation.key, window.odd[start : start + _KEYS_MAX])
            for _ in self._read(f"{self.relation.select_sql} WHERE {keys}", window, writers, self._write_shaped):
                pass
        return window

    def _read(self, sql: str, window: Window, writers: Writers, write: Write) -> Iterator[bytes]:
        """Read and write; gives the last packet of each list."""
        try:
            with self.server.doing(f"copying {self.state.plan.source.name}"):
                for packets in row_packets(self.server.snapshot_connection, sql.encode("latin-1"), BATCH_BYTES):
                    window.rows += len(packets)
                    yield packets[-1]
                    write(packets, window, writers)
                    del packets  # not to be held while the next ones are read: a row may have 16 MiB and more
        except BaseException:
            self.server.discard_snapshot_connection()  # rows may still be under way on it
            raise

    def _sql(self, after: LiteralKey | None) -> str:
        relation = self.relation
        keys = ", ".join(sql_name(name) for name in relation.key)
        if self.bulk is not None:
            select = f"SELECT {self.bulk.sql} FROM {relation.from_sql}"
        elif self.tuple_sql is not None:
            select = f"SELECT {self.tuple_sql}, {keys} FROM {relation.from_sql}"
        else:
            select = relation.select_sql
        where = f" WHERE {keyset_condition(relation.key, after)}" if after else ""
        return f"{select}{where} ORDER BY {keys} LIMIT {self.limits.copy_window_rows}"

    def _key(self, packet: bytes) -> LiteralKey:
        columns = [self.relation.layout[i] for i in self.relation.key_indexes]
        at: Sequence[int] = self.relation.key_indexes
        skip = 0
        if self.bulk is not None:
            at = self.bulk.key_fields
        elif self.tuple_sql is not None:  # the tuple, which may be long, then the key
            at, skip = range(len(columns)), 1
        values = fields(packet, skip)
        return tuple(literal_of(c)(cell_from_text(c)(values[i])) for c, i in zip(columns, at, strict=True))

    def _write_rendered(self, packets: list[bytes], window: Window, writers: Writers) -> None:
        tuples = first_fields(packets)
        rows = [row for row in tuples if row]
        if len(rows) < len(tuples):
            window.filtered += tuples.count(FILTERED)
            odd = (packet for packet, row in zip(packets, tuples, strict=True) if row is None)
            window.odd += [self._key(packet) for packet in odd]
        size = sum(map(len, packets))
        packets.clear()  # what is written is all that is held
        if rows:
            window.writes.append(writers.submit(lambda target: target.write_tuples(self.shaper.plan, rows), size))

    def _write_parameters(self, packets: list[bytes], window: Window, writers: Writers) -> None:
        assert self.bulk is not None
        rows, odd, filtered = self.bulk.rows(packets)
        window.filtered += filtered
        window.odd += [self._key(packet) for packet in odd]
        size = sum(map(len, packets))
        packets.clear()
        if rows.rows:
            window.writes.append(writers.submit(lambda target: target.write_parameters(self.shaper.plan, rows), size))

    def _write_shaped(self, packets: list[bytes], window: Window, writers: Writers) -> None:
        convert = [cell_from_text(column) for column in self.relation.layout]
        shaped = Shaped()
        size = sum(map(len, packets))
        rows = (tuple([f(v) for f, v in zip(convert, fields(packet), strict=True)]) for packet in packets)
        self.shaper.shape(((None, row) for row in rows), shaped)
        packets.clear()
        shaped.check()
        window.filtered += shaped.rows_filtered
        if mutations := shaped.mutations:
            write = writers.submit(lambda target: target.write(self.shaper.plan, mutations, exact=False), size)
            window.writes.append(write)


Write = Callable[[list[bytes], Window, "Writers"], None]


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

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        if error is not None and not isinstance(error, Exception):  # told to end: not to wait for statements
            for target in self._targets:
                target.cut_off()
        self._pool.shutdown(wait=True)
        for target in self._targets:
            target.close()

    def submit(self, write: Callable[[MySQLTarget], None], size: int) -> Future[None]:
        """Hand over a piece of work; waits while all are busy and one more is waiting, or the pieces are too big.

        Args:
            size: about the bytes that the work holds in memory.

        Raises:
            ReplicationError: what an earlier piece ran into.
        """
        while len(self._pending) > self._count or (self._pending and self._bytes_held() + size > PENDING_BYTES_MAX):
            done = wait(self._pending, return_when=FIRST_COMPLETED).done
            for future in done:
                del self._pending[future]
            for future in done:
                future.result()
        future = self._pool.submit(self._work, write)
        self._pending[future] = size
        return future

    def _bytes_held(self) -> int:
        return sum(self._pending.values())

    def _work(self, write: Callable[[MySQLTarget], None]) -> None:
        target = self._idle.get()
        try:
            target.begin([self._mapping], alone=False)
            write(target)
            target.commit([])
        finally:
            self._idle.put(target)
