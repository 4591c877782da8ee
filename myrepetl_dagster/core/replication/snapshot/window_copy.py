"""Copying by several connections: one reads windows of the tables in key order, the others write them.

The next window, of the same table or of the next one, is read while earlier ones are still being written. A table's
checkpoint is stored when a window and all those before it are written, so the checkpoint never names a key with a gap
before it. A window that was interrupted is copied again.
The plan of a mapping decides how its windows are read (`window_select.py`). Rows that the source cannot render are
read again by their keys and go through Python.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import cast

from ...model.checkpoint import Checkpoint
from ...model.errors import ReplicationError, RowRejected, TransientError
from ...model.limits import Limits
from ...model.position import Position
from ...plan.table_plan import UniqueKeys
from ...rows.literal_codegen import LiteralKey
from ...source.mysql_source import MySQLSource
from ...source.relation import Relation
from ...values.sql import keys_condition
from ..mapping_state import MappingState, Report, named_mapping
from .bulk_select import bulk_select
from .copy import Copies, Copy, ended, store
from .python_select import PythonSelect
from .tuple_select import tuple_select
from .window_select import CannotTake, WindowSelect
from .writer_pool import WriterPool

BATCH_BYTES = 2**20
# In one window. If there are more, the rest of the table goes through Python as a whole.
UNRENDERABLE_ROWS_MAX = 1_000
_KEYS_MAX = 500


@dataclass(slots=True)
class Window:
    """The rows that were read for one window, and their writes.

    Args:
        rows: how many were read, those that the filter leaves out included.
        bytes: how many the source sent for them.
        end_key: the key of the last row.
        last: the table has no more rows.
        unrenderable_keys: keys of rows that have to be read again, since the source could not render them.
    """

    rows: int = 0
    rows_filtered: int = 0
    bytes: int = 0
    end_key: LiteralKey | None = None
    last: bool = False
    unrenderable_keys: list[LiteralKey] = field(default_factory=list)
    writes: list[Future[None]] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether every write has ended, well or not."""
        return all(write.done() for write in self.writes)

    def error(self) -> BaseException | None:
        """The first error of the writes, all of which have ended."""
        return next((error for write in self.writes if (error := write.exception()) is not None), None)


class WindowCopies(Copies):
    """Copies that share the connections to a target; as exact as `Copies`."""

    def __init__(self, source: MySQLSource, limits: Limits, report: Report) -> None:
        super().__init__(source, limits, report)
        self.server = source
        self._unstored: list[tuple[WindowCopy, Window]] = []  # windows in the order in which they were read

    def _new_copy(self, state: MappingState) -> Copy:
        return WindowCopy(self.server, state, self.limits, self.report)

    def run_slice(self) -> None:
        slice_end_s = time.monotonic() + self.limits.snapshot_slice_s
        due = cast(list[WindowCopy], list(self.due.values()))
        for target, copies in groupby(due, key=lambda copy: copy.state.target):
            # The block ends when all is written: no row of this slice may be written over what the log brings later.
            with WriterPool(target, self.limits.copy_writers_max) as writers:
                self._unstored.clear()
                try:
                    complete = all(self._copy(copy, writers, slice_end_s) for copy in copies)
                    self._store_windows(wait_for_all=True)
                except ReplicationError as error:
                    if not isinstance(error, TransientError):  # one table failed: the others keep what they have
                        self._store_windows(wait_for_all=True)
                    raise
            if not complete:
                return

    def _copy(self, copy: WindowCopy, writers: WriterPool, slice_end_s: float) -> bool:
        """Continue one copy, whose last windows may then still wait to be written. False: the slice ends first."""
        until_s = self.until_s(copy, slice_end_s)
        if copy.by_windows and not copy.copy.sweeping:  # a slice before this one may have come to the sweep
            sweep = copy.copy.sweep
            with named_mapping(copy.state):
                self.source.wait_visible(copy.state.position, [copy.state.plan.source.name])
            windows = copy.windows(writers)
            while copy.by_windows and (window := self._next(copy, windows)) is not None:
                self._unstored.append((copy, window))
                self._store_windows()
                if not window.last and until_s is not None and time.monotonic() >= until_s:
                    return False
            if sweep:
                self._store_windows(wait_for_all=True)
            if not sweep or not copy.by_windows:
                return True  # if a row was refused, the next slice goes over the rest row by row
        return self.run_one(copy, until_s)

    def _next(self, copy: WindowCopy, windows: Iterator[Window]) -> Window | None:
        try:
            return next(windows, None)
        except RowRejected:
            copy.by_windows = False
            return None

    def _store_windows(self, *, wait_for_all: bool = False) -> None:
        """Store in one commit how far each table is copied without a gap."""
        failure = None
        while True:
            written, error = self._take_written()
            failure = failure or error
            if not written:
                if not (wait_for_all and self._unstored):
                    break
                # Wait for any one: a table that is held up must not hold up the checkpoints of others.
                under_way = [write for _, window in self._unstored for write in window.writes if not write.done()]
                wait(under_way, return_when=FIRST_COMPLETED)
                continue
            # The high watermark of copies that end here, so it is taken after all of their rows were read.
            head = self.source.head() if any(window.last for window in written.values()) else None
            stored = [(copy.state, copy.checkpoint_after(window, head)) for copy, window in written.items()]
            try:
                self._store(stored)
            except ReplicationError:
                self._unstored.clear()  # no window may be stored after one that was not
                raise
            for copy in written:
                if copy.ended:
                    del self.due[copy.state.name]
            for state, _ in stored:
                self.report(state)
        if failure is not None:
            raise failure

    def _store(self, stored: Sequence[tuple[MappingState, Checkpoint]]) -> None:
        store(stored[0][0].target, stored)

    def _take_written(self) -> tuple[dict[WindowCopy, Window], BaseException | None]:
        """Take the first window of each table, where it is written; and the first error of those that failed.

        A table with a failed window loses all of its windows, which are copied again. A refused row is no error yet:
        the next slice finds it row by row.
        """
        written: dict[WindowCopy, Window] = {}
        kept: list[tuple[WindowCopy, Window]] = []
        with_a_window: set[WindowCopy] = set()
        failure: BaseException | None = None
        for copy, window in self._unstored:
            done = copy not in with_a_window and window.done
            with_a_window.add(copy)
            error = window.error() if done else None
            if error is not None:
                copy.by_windows = False
                failure = failure or (None if isinstance(error, RowRejected) else error)
            elif done and copy.by_windows:
                written[copy] = window
            elif copy.by_windows:
                kept.append((copy, window))
        self._unstored = kept
        return written, failure


class WindowCopy(Copy):
    """A copy that can go by windows.

    `by_windows`: whether it still does. It does not if rows can collide, or once the target has refused one: the rest
    is then copied row by row, in order, and the error names the refused row.
    """

    def __init__(self, source: MySQLSource, state: MappingState, limits: Limits, report: Report) -> None:
        super().__init__(source, state, limits, report)
        self.server = source
        self.mapping = state.name
        self._operation = f"copying {state.plan.source.name}"
        self.relation = self._relation()
        # The fastest way first. The last one takes every row.
        self.selects: list[WindowSelect] = [PythonSelect(self.relation, self.shaper)]
        if (by_tuples := tuple_select(self.shaper.plan, self.relation)) is not None:
            self.selects.insert(0, by_tuples)
        if state.target.takes_bulk and (in_bulk := bulk_select(self.shaper.plan, self.relation)) is not None:
            self.selects.insert(0, in_bulk)
        collides = state.plan.unique_keys is not UniqueKeys.NONE
        self.by_windows = bool(self.relation.key) and not self.copy.sweeping and not collides

    def _relation(self) -> Relation:
        return self.server.relation(self.state.plan)

    @property
    def ended(self) -> bool:
        return self.state.checkpoint.copy is None

    def windows(self, writers: WriterPool) -> Iterator[Window]:
        """Read the rest of the table window by window. A window's rows are handed to the writers."""
        after = self.copy.after_key
        with named_mapping(self.state):
            while True:
                window = self._window(writers, after)
                if window is not None:
                    yield window
                    if window.last:
                        return
                    after = window.end_key

    def checkpoint_after(self, window: Window, head: Position | None) -> Checkpoint:
        """The checkpoint once the table's next window is written.

        Args:
            head: the log's end, for the high watermark if the copy ends with this window.
        """
        checkpoint = self.state.checkpoint
        copy = checkpoint.copy
        assert copy is not None, "a mapping that copies has a copy state"
        copy = replace(copy, after_key=window.end_key, rows_done=copy.rows_done + window.rows)
        checkpoint = replace(
            checkpoint,
            copy=self.next_pass(copy) if window.last and copy.sweep else copy,
            bytes_read=checkpoint.bytes_read + window.bytes,
            rows_snapshotted=checkpoint.rows_snapshotted + window.rows - window.rows_filtered,
            rows_filtered=checkpoint.rows_filtered + window.rows_filtered,
            sequence=checkpoint.sequence + 1,
            last_error="",
        )
        if window.last and not copy.sweep:
            assert head is not None
            return ended(checkpoint, head)
        return checkpoint

    # ---- reading a window ----
    def _window(self, writers: WriterPool, after: LiteralKey | None) -> Window | None:
        """The window after a key. None: it has to be read again, in another way."""
        window = Window(end_key=after)
        select = self.selects[0]
        sql = select.select_sql + self.relation.after_sql(after, self.limits.copy_window_rows)
        try:
            window.end_key = self._read(select, sql, window, writers) or after
        except CannotTake:
            wait(window.writes)
            del self.selects[0]
            return None
        window.last = window.rows < self.limits.copy_window_rows
        if len(window.unrenderable_keys) > UNRENDERABLE_ROWS_MAX:
            wait(window.writes)
            del self.selects[:-1]
            return None
        window.rows -= len(window.unrenderable_keys)  # they are counted when they are read again
        for start in range(0, len(window.unrenderable_keys), _KEYS_MAX):
            self._read_by_keys(window.unrenderable_keys[start : start + _KEYS_MAX], window, writers)
        return window

    def _read_by_keys(self, keys: Sequence[LiteralKey], window: Window, writers: WriterPool) -> None:
        select = self.selects[-1]
        self._read(select, f"{select.select_sql} WHERE {keys_condition(self.relation.key, keys)}", window, writers)

    def _read(self, select: WindowSelect, sql: str, window: Window, writers: WriterPool) -> LiteralKey | None:
        """Read rows and hand them to the writers. Returns the last row's key, or None if there is no row."""
        key = None
        with closing(self.server.read_packets(self._operation, sql, BATCH_BYTES)) as lists:
            for packets in lists:
                key = select.key(packets[-1])
                self._write(select, packets, window, writers)
        return key

    def _write(self, select: WindowSelect, packets: list[bytes], window: Window, writers: WriterPool) -> None:
        window.rows += len(packets)
        taken = select.take(packets)
        window.rows_filtered += taken.rows_filtered
        window.unrenderable_keys += map(select.key, taken.unrenderable)
        size = sum(map(len, packets))
        window.bytes += size
        packets.clear()  # from here on only the rows to write are held: a row may have 16 MiB and more
        if taken.rows is not None:
            window.writes.append(writers.submit(self.mapping, taken.plan, taken.rows, size))
