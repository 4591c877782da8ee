"""Copying by several connections: one reads windows of the tables in key order, the others write them.

The next window, of the same table or of the next one, is read while those before it are still being written. A
table's checkpoint is stored when a window is written whole, and all before it are, so that it never names a key with
a gap before it; a window that was interrupted is copied again.
Where the source can render rows as SQL tuples (`tuple_select.py`), they pass through here as bytes; the few that it
cannot are read again by their keys and go through Python.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import cast

from ...model.checkpoint import Checkpoint
from ...model.errors import ReplicationError, RowRejected, TransientError
from ...model.limits import Limits
from ...model.position import Position
from ...mysql.protocol import row_packets
from ...plan.table_plan import UniqueKeys
from ...rows.pending_rows import LiteralKey, PendingRows
from ...source.mysql_source import MySQLSource
from ...target.mysql_target import MySQLTarget
from ...values.cells import cell_from_text
from ...values.literals import literal_of
from ...values.sql import keys_condition, keyset_condition, sql_name
from ...values.text_rows import fields
from ..mapping_state import MappingState, Report, named_mapping
from .bulk_select import NotAlike, bulk_select
from .copy import Copies, Copy, ended, store
from .tuple_select import tuple_select
from .writer_pool import Writers

BATCH_BYTES = 2**20
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

    @property
    def written(self) -> bool:
        """Whether all of it is written, or has failed."""
        return all(write.done() for write in self.writes)

    def error(self) -> BaseException | None:
        """What a finished window has run into."""
        return next((error for write in self.writes if (error := write.exception()) is not None), None)


class FastCopies(Copies):
    """Copies with several writers, which the tables of one target share; as exact as `Copies`."""

    def __init__(self, source: MySQLSource, limits: Limits, report: Report) -> None:
        super().__init__(source, limits, report)
        self.server = source
        self._read: list[tuple[FastCopy, Window]] = []  # in order, and perhaps not yet written whole

    def _made(self, state: MappingState) -> Copy:
        return FastCopy(self.server, state, self.limits, self.report)

    def run_slice(self) -> None:
        slice_end_s = time.monotonic() + self.limits.snapshot_slice_s
        due = cast(list[FastCopy], list(self.due.values()))
        for target, copies in groupby(due, key=lambda copy: copy.state.target):
            # Its end waits for all writers: rows that were read now must not be written over what the log brings.
            with Writers(cast(MySQLTarget, target), self.limits.copy_writers_max) as writers:
                self._read.clear()
                try:
                    whole = all(self._copy(copy, writers, slice_end_s) for copy in copies)
                    self._store_written(wait_for_all=True)
                except ReplicationError as error:
                    if not isinstance(error, TransientError):  # it is one table's: the others keep what they have
                        self._store_written(wait_for_all=True)
                    raise
            if not whole:
                return

    def _copy(self, copy: FastCopy, writers: Writers, slice_end_s: float) -> bool:
        """Copy one table on, or have its last windows written behind; False: the slice ends before the table."""
        until_s = self.until_s(copy, slice_end_s)
        if copy.by_windows:
            sweep = copy.copy.sweep
            with named_mapping(copy.state):
                self.source.wait_visible(copy.state.position, [copy.state.plan.source.name])
            windows = copy.windows(writers)
            while copy.by_windows and (window := self._next(copy, windows)) is not None:
                self._read.append((copy, window))
                self._store_written()
                if not window.last and until_s is not None and time.monotonic() >= until_s:
                    return False
            if sweep:
                self._store_written(wait_for_all=True)
            if not sweep or not copy.by_windows:
                return True  # what was refused is for the next slice: it goes over the rows one by one
        return self.run_alone(copy, until_s)

    def _next(self, copy: FastCopy, windows: Iterator[Window]) -> Window | None:
        try:
            with named_mapping(copy.state):
                return next(windows, None)
        except RowRejected:
            copy.by_windows = False
            return None

    def _store_written(self, *, wait_for_all: bool = False) -> None:
        """Store how far the tables are copied, by their windows that are written whole, in one commit."""
        failed = None
        while True:
            ready, error = self._written()
            failed = failed or error
            if not ready:
                if not (wait_for_all and self._read):
                    break
                # For the first of them: a table that is held up holds up no other's checkpoint.
                under_way = [write for _, window in self._read for write in window.writes if not write.done()]
                wait(under_way, return_when=FIRST_COMPLETED)
                continue
            # Taken after all of their rows were read: what those may have seen ends here.
            head = self.source.head() if any(window.last for window in ready.values()) else None
            stored = [(copy.state, copy.after(window, head)) for copy, window in ready.items()]
            try:
                store(stored[0][0].target, stored)
            except ReplicationError:
                self._read.clear()  # no window may be stored after one that was not
                raise
            for copy in ready:
                if not copy.due:
                    del self.due[copy.state.name]
            for state, _ in stored:
                self.report(state)
        if failed is not None:
            raise failed

    def _written(self) -> tuple[dict[FastCopy, Window], BaseException | None]:
        """Take out each table's first window, if it is written whole; and what the first one that failed ran into.

        Of a table with a window that failed all are forgotten. A row that is refused fails it for now only.
        """
        ready: dict[FastCopy, Window] = {}
        left: list[tuple[FastCopy, Window]] = []
        seen: set[FastCopy] = set()
        failed: BaseException | None = None
        for copy, window in self._read:
            written = copy not in seen and window.written
            seen.add(copy)
            error = window.error() if written else None
            if error is not None:
                copy.by_windows = False
                failed = failed or (None if isinstance(error, RowRejected) else error)
            elif written and copy.by_windows:
                ready[copy] = window
            elif copy.by_windows:
                left.append((copy, window))
        self._read = left
        return ready, failed


class FastCopy(Copy):
    """A copy that can go by windows. `by_windows`: as long as rows cannot collide, and none was refused: what is left
    then goes over the rows one by one, in order, and names the one that is refused.
    """

    def __init__(self, source: MySQLSource, state: MappingState, limits: Limits, report: Report) -> None:
        super().__init__(source, state, limits, report)
        self.server = source
        self.relation = source.relation(state.plan)
        self.tuples = tuple_select(self.shaper.plan, self.relation.layout)
        self.bulk = (
            bulk_select(self.shaper.plan, self.relation.layout, self.relation.key) if state.target.takes_bulk else None
        )
        collides = state.plan.unique_keys is not UniqueKeys.NONE
        self.by_windows = bool(self.relation.key) and not self.copy.sweeping and not collides

    @property
    def due(self) -> bool:
        return self.state.checkpoint.copy is not None

    def windows(self, writers: Writers) -> Iterator[Window]:
        """Read the table on, window by window, and hand it to the writers."""
        after = self.copy.after_key
        while True:
            window = self._window(writers, after)
            if window is not None:
                yield window
                if window.last:
                    return
                after = window.end_key

    def after(self, window: Window, head: Position | None) -> Checkpoint:
        """The checkpoint once the table's next window is written.

        Args:
            head: the log's end, for the high watermark where this is the end of the copy.
        """
        checkpoint = self.state.checkpoint
        checkpoint = replace(
            checkpoint,
            copy=replace(self.copy, after_key=window.end_key, sweeping=window.last and self.copy.sweep),
            rows_snapshotted=checkpoint.rows_snapshotted + window.rows - window.filtered,
            rows_filtered=checkpoint.rows_filtered + window.filtered,
            sequence=checkpoint.sequence + 1,
            last_error="",
        )
        if window.last and not self.copy.sweep:
            assert head is not None
            return ended(checkpoint, head)
        return checkpoint

    # ---- reading a window ----
    def _window(self, writers: Writers, after: LiteralKey | None) -> Window | None:
        """The window after a key; None: the source cannot render this table, and it is to be read again."""
        window = Window(end_key=after)
        write = self._write_shaped
        if self.bulk is not None or self.tuples is not None:
            write = self._write_rendered if self.bulk is None else self._write_parameters
        try:
            for packet in self._read(self._sql(after), window, writers, write):
                window.end_key = self._key(packet)
        except NotAlike:
            wait(window.writes)
            self.bulk = None
            return None
        window.last = window.rows < self.limits.copy_window_rows
        if len(window.odd) > ODD_ROWS_MAX:
            wait(window.writes)
            self.tuples = self.bulk = None
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
        elif self.tuples is not None:
            select = f"SELECT {self.tuples.sql}, {keys} FROM {relation.from_sql}"
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
        elif self.tuples is not None:  # the tuple, which may be long, is skipped
            at, skip = range(len(columns)), self.tuples.fields
        values = fields(packet, skip)
        return tuple(literal_of(c)(cell_from_text(c)(values[i])) for c, i in zip(columns, at, strict=True))

    def _write_rendered(self, packets: list[bytes], window: Window, writers: Writers) -> None:
        assert self.tuples is not None
        plan = self.tuples.plan
        rows, odd, filtered = self.tuples.rows(packets)
        window.filtered += filtered
        window.odd += [self._key(packet) for packet in odd]
        size = sum(map(len, packets))
        packets.clear()  # what is written is all that is held
        if rows:
            window.writes.append(writers.submit(self.state, lambda target: target.write_tuples(plan, rows), size))

    def _write_parameters(self, packets: list[bytes], window: Window, writers: Writers) -> None:
        assert self.bulk is not None
        plan = self.bulk.plan
        rows, odd, filtered = self.bulk.rows(packets)
        window.filtered += filtered
        window.odd += [self._key(packet) for packet in odd]
        size = sum(map(len, packets))
        packets.clear()
        if rows.rows:
            window.writes.append(writers.submit(self.state, lambda target: target.write_parameters(plan, rows), size))

    def _write_shaped(self, packets: list[bytes], window: Window, writers: Writers) -> None:
        convert = [cell_from_text(column) for column in self.relation.layout]
        shaped = PendingRows()
        size = sum(map(len, packets))
        rows = (tuple([f(v) for f, v in zip(convert, fields(packet), strict=True)]) for packet in packets)
        self.shaper.shape(((None, row) for row in rows), shaped)
        packets.clear()
        shaped.check()
        window.filtered += shaped.rows_filtered
        if mutations := shaped.mutations:
            window.writes.append(
                writers.submit(self.state, lambda target: target.write(self.shaper.plan, mutations, exact=False), size)
            )


Write = Callable[[list[bytes], Window, Writers], None]
