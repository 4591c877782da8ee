"""Applying a source's log to all of its mappings, up to a given head or as the source writes.

Many small source transactions become one commit of a target. A transaction too large to hold is written bit by bit into
a target transaction that stays open until the source transaction's own end, so that a reader of the target never sees
half of it. Every mapping has its own checkpoint. A mapping whose position is further on in the log than the stream
skips what it already holds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace

from ...binlog.events import (
    Committed,
    Idle,
    LogAdvanced,
    LogEvent,
    RolledBack,
    RowsRead,
    TableChanged,
    XaBegun,
    XaDecided,
    XaPrepared,
)
from ...binlog.map_columns import TableMap
from ...model.errors import PositionLost, ReplicationError, UnsupportedEvent
from ...model.limits import Limits
from ...model.position import Position, Transaction
from ...model.tables import TableName
from ...rows.pending_rows import PendingRows
from ...rows.shapers import shaper_for
from ..lag import SourceClock
from ..mapping_state import Report, named_mapping
from ..ports import Source
from .commit_queue import CommitQueue
from .log_cursor import LogCursor
from .outcomes import Place
from .table_changes import TableChanges
from .unlogged_changes import UnloggedChanges
from .work import CurrentTransaction, MappingWork
from .xa_transactions import XaTransactions

FOLLOW_INTERVAL_S = 0.2  # between commits while the source never pauses
IDLE_CHECKPOINT_S = 10.0
_ENDS = (Committed, RolledBack, XaPrepared, XaDecided)


class CatchUp:
    """Reads and applies the log once: `apply` up to `until`, `follow` beyond it.

    Args:
        works: the mappings of one source; their positions may differ.
        until: the source's head. `apply` ends with the first transaction that ends there or later.
        clock: the source's, as it was before the head was asked for.
        report: called after each commit with each mapping that has a new checkpoint.
        followed_changes: changes of tables that the targets have followed already.
        described_at: a head from before the plans' tables were described.
    """

    def __init__(
        self,
        source: Source,
        works: Sequence[MappingWork],
        until: Position,
        clock: SourceClock,
        limits: Limits,
        report: Report,
        followed_changes: frozenset[Place] = frozenset(),
        described_at: Position | None = None,
    ) -> None:
        self.source = source
        self.works = works
        self.clock = clock
        self.limits = limits
        self.by_table: dict[TableName, list[MappingWork]] = {}
        for work in works:
            self.by_table.setdefault(work.state.plan.source.name, []).append(work)
        self.cursor = LogCursor(works, until)
        self.queue = CommitQueue(works, self.cursor, limits, report)
        self.xa = XaTransactions(works, self.queue)
        unlogged = UnloggedChanges(source, self.cursor, described_at)
        self.table_changes = TableChanges(source, self.by_table, self.queue, unlogged, clock, followed_changes)
        self.current = CurrentTransaction()
        self._in_event = False  # an event is being applied

    def apply(self) -> None:
        """Read the log and apply it up to `until`.

        Raises:
            PositionLost: the log ended before it reached `until`.
            CommittedUnseen: a mapping has to be copied again.
            SchemaChanged: the target has to follow a change first.
        """
        with self._committing_before_errors():
            if not self.cursor.at_head:
                known = self.table_changes.known_tables()
                with closing(self.source.read_log(self.cursor.position, known)) as events:
                    for event in events:
                        self._take(event)
                        if self.cursor.reached and isinstance(event, _ENDS):
                            break
                    else:
                        self.cursor.log_ended()
            self.cursor.read_all(self.clock.asked_unix_s)
            self._finish()

    def follow(self, ended: Callable[[], bool]) -> None:
        """Read and apply the log as the source writes, until `ended` says so.

        Each time that nothing more has come, what has come is committed.
        """
        interval_s = min(FOLLOW_INTERVAL_S, self.limits.batch_interval_s_max)
        self.limits = replace(self.limits, batch_interval_s_max=interval_s)
        self.queue.follow(self.limits)
        with self._committing_before_errors():
            everyone_at_s = time.monotonic()
            at_end_unix_s = 0.0  # when the source gave a sign of life, if that was the last event
            known = self.table_changes.known_tables()
            with closing(self.source.read_log(self.cursor.position, known, follow=True)) as events:
                for event in events:
                    self._take(event)
                    now_s = time.monotonic()
                    begun = self.queue.begun_targets  # the rest of their transaction is to come
                    if isinstance(event, Idle) and not begun:
                        if at_end_unix_s:
                            self.cursor.sign_of_life(at_end_unix_s)
                        self.queue.land()
                        # A quiet table's position moves on, too: best when the source has just said that it has no
                        # more.
                        idle_s = IDLE_CHECKPOINT_S if at_end_unix_s else 2 * IDLE_CHECKPOINT_S
                        if self.queue.holds_work:
                            self.queue.commit()
                        elif now_s - everyone_at_s >= idle_s:
                            everyone_at_s = now_s
                            self.queue.commit(everyone=True)
                    at_end = isinstance(event, LogAdvanced) and event.at_end
                    at_end_unix_s = self.clock.now_unix_s() if at_end else 0.0
                    if not begun and ended():
                        break
            self._finish()

    def _finish(self) -> None:
        self.table_changes.statement_writes.report()
        self.cursor.check_at_stream()
        self.queue.commit(everyone=True)

    @contextmanager
    def _committing_before_errors(self) -> Iterator[None]:
        """Commits what came before an error of the source's, unless the log is not the one that it was taken for.

        No commit is left under way. (After a signal, closing the target ends it.)
        """
        try:
            yield
        except Exception as error:
            # In the middle of an event, what is known of it may be half of it. And nothing read is no progress: a
            # source that always breaks is not to be tried for ever.
            of_source = (
                isinstance(error, ReplicationError) and not self._in_event and not isinstance(error, PositionLost)
            )
            everyone = isinstance(error, UnsupportedEvent)
            try:
                may_commit = not (self.queue.begun_targets or self.queue.broken)
                if may_commit and (everyone or (of_source and self.queue.holds_work)):
                    self.queue.commit(everyone=everyone)
            finally:
                self.queue.abandon()
            raise

    # ---- events ----
    def _take(self, event: LogEvent) -> None:
        self._in_event = True
        match event:
            case RowsRead():
                self._rows(event)
            case Committed(transaction):
                self._committed(transaction)
            case RolledBack(transaction):
                self._rolled_back(transaction)
            case TableChanged():
                self.table_changes.apply(event, self.current)
            case XaBegun():
                self.xa.begun(self.current)
            case XaPrepared(xid, transaction):
                self.xa.prepared(xid, transaction, self.current)
                self._committed(transaction)
            case XaDecided():
                self.xa.decided(event, self.current)
                self._committed(event.transaction)
            case LogAdvanced(file, offset_bytes, birth_unix_s, _):
                self.cursor.advance_to(file, offset_bytes, birth_unix_s)
        self._in_event = False

    def _rows(self, event: RowsRead) -> None:
        current = self.current
        for work in self.by_table.get(event.table, ()):
            if not (work.at_stream or work.wants(event.transaction)):
                continue
            if event.opened is not work.opened:
                self.table_changes.look_at_table(work, event)
                work.opened = event.opened
            assert isinstance(event.table_map, TableMap)
            shaper = work.shapers.get(event.table_map.raw)
            if shaper is None:
                with named_mapping(work.state):
                    shaper = shaper_for(work.state.plan, event, bulk=work.state.target.takes_bulk)
                work.shapers[event.table_map.raw] = shaper
            if shaper.plan.columns != work.plan_of_rows.columns:
                # Rows of other columns take other statements. A definition lies between them, so that the rows so far
                # are those of whole transactions.
                if not work.pending.is_empty or self.queue.joining.queued:
                    self.queue.commit()
                work.use_plan(shaper.plan)
            current.touched[work.state.name] = work
            rows = work.in_transaction
            rows_before = rows.rows_read
            shaper.shape(event, rows)
            rows.bytes_read += event.size_bytes
            current.rows += rows.rows_read - rows_before
            current.bytes += event.size_bytes
        event.images, event.decoded = [], None  # they may have 32 MiB, and are written next
        if current.rows > self.limits.batch_rows_max or current.bytes > self.limits.batch_bytes_max:
            self._spill()

    def _committed(self, transaction: Transaction) -> None:
        current = self.current
        for work in current.touched.values():
            if work.in_doubt.partly_stored:
                self.xa.apply_stored(work, current)
        self.current = CurrentTransaction()
        due = self.queue.end_transaction(current, transaction)
        if self.queue.begun_targets:
            self.queue.commit()
        elif due:
            self.queue.commit(in_background=True)

    def _rolled_back(self, transaction: Transaction) -> None:
        self.queue.roll_back()
        for work in self.works:
            work.in_transaction = PendingRows()
            work.in_doubt.partly_stored = False
        self.current = CurrentTransaction()
        self.cursor.advance(transaction)

    def _spill(self) -> None:
        """Write what has been read of a transaction too large to hold, without committing."""
        current = self.current
        if not self.queue.begun_targets:
            if self.queue.holds_work:
                self.queue.commit()
            self.queue.land()
        for work in current.touched.values():
            rows = work.in_transaction
            if not rows.rows_pending and not rows.clear_first:
                continue
            if current.xa_token:
                self.xa.store(work, current)
                continue
            writes = self.queue.writes_of(work, rows)
            writes.write(self.queue.begun(work))
            rows.drop()
            work.state.rows_uncommitted = rows.rows_read
            self.queue.report(work.state)
        current.rows = current.bytes = 0
