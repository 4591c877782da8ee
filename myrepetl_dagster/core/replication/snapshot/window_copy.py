"""Copying by several connections: one reads windows of the tables in key order, the others write them.

The next window, of the same table or of the next one, is read while those before it are still being written. A
table's checkpoint is stored when a window is written whole, and all before it are, so that it never names a key with
a gap before it; a window that was interrupted is copied again.
How a window is read, the table's plan decides (`window_select.py`). Where the source renders the rows, the few that it
cannot render are read again by their keys and go through Python.
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
from ...rows.pending_rows import LiteralKey
from ...source.mysql_source import MySQLSource
from ...values.sql import keys_condition
from ..mapping_state import MappingState, Report, named_mapping
from .bulk_select import bulk_select
from .copy import Copies, Copy, ended, store
from .python_select import PythonSelect
from .tuple_select import tuple_select
from .window_select import CannotTake, WindowSelect
from .writer_pool import Writers

BATCH_BYTES = 2**20
# In one window; where there are more, the rest of the table goes through Python as a whole.
UNRENDERABLE_ROWS_MAX = 1_000
_KEYS_MAX = 500


@dataclass(slots=True)
class Window:
    """What one SELECT of a window, and those for its unrenderable rows, have brought so far."""

    rows: int = 0
    rows_filtered: int = 0
    end_key: LiteralKey | None = None
    last: bool = False
    unrenderable_keys: list[LiteralKey] = field(default_factory=list)
    writes: list[Future[None]] = field(default_factory=list)

    @property
    def written(self) -> bool:
        """Whether all of it is written, or has failed."""
        return all(write.done() for write in self.writes)

    def error(self) -> BaseException | None:
        """What a finished window has run into."""
        return next((error for write in self.writes if (error := write.exception()) is not None), None)


class WindowCopies(Copies):
    """Copies with several writers, which the tables of one target share; as exact as `Copies`."""

    def __init__(self, source: MySQLSource, limits: Limits, report: Report) -> None:
        super().__init__(source, limits, report)
        self.server = source
        self._read: list[tuple[WindowCopy, Window]] = []  # in order, and perhaps not yet written whole

    def _made(self, state: MappingState) -> Copy:
        return WindowCopy(self.server, state, self.limits, self.report)

    def run_slice(self) -> None:
        slice_end_s = time.monotonic() + self.limits.snapshot_slice_s
        due = cast(list[WindowCopy], list(self.due.values()))
        for target, copies in groupby(due, key=lambda copy: copy.state.target):
            # Its end waits for all writers: rows that were read now must not be written over what the log brings.
            with Writers(target, self.limits.copy_writers_max) as writers:
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

    def _copy(self, copy: WindowCopy, writers: Writers, slice_end_s: float) -> bool:
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

    def _next(self, copy: WindowCopy, windows: Iterator[Window]) -> Window | None:
        try:
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

    def _written(self) -> tuple[dict[WindowCopy, Window], BaseException | None]:
        """Take out each table's first window, if it is written whole; and what the first one that failed ran into.

        Of a table with a window that failed all are forgotten. A row that is refused fails it for now only.
        """
        ready: dict[WindowCopy, Window] = {}
        left: list[tuple[WindowCopy, Window]] = []
        seen: set[WindowCopy] = set()
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


class WindowCopy(Copy):
    """A copy that can go by windows. `by_windows`: as long as rows cannot collide, and none was refused: what is left
    then goes over the rows one by one, in order, and names the one that is refused.
    """

    def __init__(self, source: MySQLSource, state: MappingState, limits: Limits, report: Report) -> None:
        super().__init__(source, state, limits, report)
        self.server = source
        self.mapping = state.name
        self._operation = f"copying {state.plan.source.name}"
        self.relation = source.relation(state.plan)
        # The fastest first; the last one takes every row.
        self.selects: list[WindowSelect] = [PythonSelect(self.relation, self.shaper)]
        if (by_tuples := tuple_select(self.shaper.plan, self.relation)) is not None:
            self.selects.insert(0, by_tuples)
        if state.target.takes_bulk and (in_bulk := bulk_select(self.shaper.plan, self.relation)) is not None:
            self.selects.insert(0, in_bulk)
        collides = state.plan.unique_keys is not UniqueKeys.NONE
        self.by_windows = bool(self.relation.key) and not self.copy.sweeping and not collides

    @property
    def due(self) -> bool:
        return self.state.checkpoint.copy is not None

    def windows(self, writers: Writers) -> Iterator[Window]:
        """Read the table on, window by window, and hand it to the writers."""
        after = self.copy.after_key
        with named_mapping(self.state):
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
            rows_snapshotted=checkpoint.rows_snapshotted + window.rows - window.rows_filtered,
            rows_filtered=checkpoint.rows_filtered + window.rows_filtered,
            sequence=checkpoint.sequence + 1,
            last_error="",
        )
        if window.last and not self.copy.sweep:
            assert head is not None
            return ended(checkpoint, head)
        return checkpoint

    # ---- reading a window ----
    def _window(self, writers: Writers, after: LiteralKey | None) -> Window | None:
        """The window after a key; None: it is to be read again, as the table can no longer be read in this way."""
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
        window.rows -= len(window.unrenderable_keys)
        for start in range(0, len(window.unrenderable_keys), _KEYS_MAX):
            self._read_by_keys(window.unrenderable_keys[start : start + _KEYS_MAX], window, writers)
        return window

    def _read_by_keys(self, keys: Sequence[LiteralKey], window: Window, writers: Writers) -> None:
        select = self.selects[-1]
        self._read(select, f"{select.select_sql} WHERE {keys_condition(self.relation.key, keys)}", window, writers)

    def _read(self, select: WindowSelect, sql: str, window: Window, writers: Writers) -> LiteralKey | None:
        """Read rows and hand them to the writers; gives the last row's key, None where there is no row."""
        key = None
        with closing(self.server.read_packets(self._operation, sql, BATCH_BYTES)) as lists:
            for packets in lists:
                key = select.key(packets[-1])
                self._write(select, packets, window, writers)
        return key

    def _write(self, select: WindowSelect, packets: list[bytes], window: Window, writers: Writers) -> None:
        window.rows += len(packets)
        taken = select.take(packets)
        window.rows_filtered += taken.rows_filtered
        window.unrenderable_keys += map(select.key, taken.unrenderable)
        size = sum(map(len, packets))
        packets.clear()  # only what is to be written is held from here on: a row may have 16 MiB and more
        if taken.rows is not None:
            window.writes.append(writers.submit(self.mapping, taken.plan, taken.rows, size))
