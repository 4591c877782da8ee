"""Applying the log: one pass over a source's log for all of its mappings, up to a given head.

Many small source transactions become one target commit; one too big to hold is written piece by piece into a
target transaction that stays open until the source transaction's own end, so that a reader of the
target never sees half of it. Every mapping has its own checkpoint: one that is ahead of the stream skips
what it already holds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace

from ...binlog.ddl.statement import Action, TableChange
from ...binlog.events import (
    Committed,
    Idle,
    KnownTable,
    LogAdvanced,
    LogEvent,
    RolledBack,
    RowsRead,
    TableChanged,
    Undescribed,
    XaBegun,
    XaDecided,
    XaPrepared,
)
from ...model.checkpoint_codec import columns_from_json
from ...model.errors import PositionLost, ReplicationError, SchemaDrift, UnsupportedEvent
from ...model.limits import Limits
from ...model.position import Position, Transaction
from ...model.tables import TableName
from ...plan.schema_change import Answer, Decision, concerned, decide
from ...rows.pending_rows import PendingRows
from ...rows.shapers import shaper_for
from ..lag import SourceClock
from ..mapping_state import Report, named_mapping
from ..ports import Source
from .commit_queue import CommitQueue
from .log_cursor import LogCursor
from .outcomes import Place, SchemaChanged
from .work import CurrentTransaction, MappingWork
from .xa_transactions import XaTransactions

FOLLOW_INTERVAL_S = 0.2  # between commits while the source never pauses
IDLE_CHECKPOINT_S = 10.0


class CatchUp:
    """One pass. `apply` reads and applies until the log has reached `until`.

    Args:
        works: the mappings of one source, any of them ahead of others.
        until: the source's head; the pass ends with the first transaction that ends there or later.
        clock: the source's, as it was before the head was asked for.
        followed_changes: changes of tables that the targets have followed already.
    """

    def __init__(
        self,
        source: Source,
        works: Sequence[MappingWork],
        until: Position,
        clock: SourceClock,
        limits: Limits,
        followed_changes: frozenset[Place] = frozenset(),
    ) -> None:
        self.followed_changes = followed_changes
        self.source = source
        self.works = works
        self.clock = clock
        self.limits = limits
        self.by_table: dict[TableName, list[MappingWork]] = {}
        for work in works:
            self.by_table.setdefault(work.state.plan.source.name, []).append(work)
        self.cursor = LogCursor(works, until)
        self.queue = CommitQueue(works, self.cursor, limits)
        self.current = CurrentTransaction()
        self.xa = XaTransactions(works, self.queue, self.current)
        self.taking = False  # an event is being looked at

    def apply(self, report: Report) -> None:
        """Read the log and apply it.

        Raises:
            PositionLost: the log ended before it reached `until`.
            CommittedUnseen: a mapping has to be copied again.
            SchemaChanged: the target has to follow a change first.
        """
        with self._orderly(report):
            self._apply(report)

    def _apply(self, report: Report) -> None:
        if not self.cursor.at_head:
            with closing(self.source.read_log(self.cursor.position, self._known())) as events:
                for event in events:
                    self._take(event, report)
                    ended = isinstance(event, (Committed, RolledBack, XaPrepared, XaDecided))
                    if ended and self.cursor.reached:
                        break
                else:
                    self.cursor.log_ended()
        self.cursor.read_all(self.clock.asked_unix_s)
        self._finish(report)

    def follow(self, report: Report, ended: Callable[[], bool]) -> None:
        """Go on reading and applying as the source writes, until `ended` says so.

        Each time that nothing more has come, what has come is committed.
        """
        self.limits = replace(
            self.limits, batch_interval_s_max=min(FOLLOW_INTERVAL_S, self.limits.batch_interval_s_max)
        )
        self.queue.follow(self.limits)
        with self._orderly(report):
            self._follow(report, ended)

    def _follow(self, report: Report, ended: Callable[[], bool]) -> None:
        everyone_at_s = time.monotonic()
        at_end_unix_s = 0.0  # when the source gave a sign of life, if that was the last event
        with closing(self.source.read_log(self.cursor.position, self._known(), follow=True)) as events:
            for event in events:
                self._take(event, report)
                now_s = time.monotonic()
                if isinstance(event, Idle) and not self.queue.open:  # of an open transaction the rest is to come
                    if at_end_unix_s:
                        self.cursor.sign_of_life(at_end_unix_s)
                    self.queue.land(report)
                    # A quiet table's position moves on, too: best when the source has just said that it has no more.
                    idle_s = IDLE_CHECKPOINT_S if at_end_unix_s else 2 * IDLE_CHECKPOINT_S
                    if self.queue.holds_work:
                        self.queue.commit(report)
                    elif now_s - everyone_at_s >= idle_s:
                        everyone_at_s = now_s
                        self.queue.commit(report, everyone=True)
                at_end_unix_s = self.clock.now_unix_s() if isinstance(event, LogAdvanced) and event.at_end else 0.0
                if not self.queue.open and ended():
                    break
        self._finish(report)

    def _finish(self, report: Report) -> None:
        self.cursor.check_at_stream()
        self.queue.commit(report, everyone=True)

    @contextmanager
    def _orderly(self, report: Report) -> Iterator[None]:
        """Commits what came before an error of the source's, unless the log is not the one that it was taken for, and
        leaves no commit under way behind it. (After a signal, closing the target ends it.)
        """
        try:
            yield
        except Exception as error:
            # In the middle of an event, what is known of it may be half of it. And nothing read is no progress: a
            # source that always breaks is not to be tried for ever.
            theirs = isinstance(error, ReplicationError) and not self.taking and not isinstance(error, PositionLost)
            last = isinstance(error, UnsupportedEvent)
            try:
                if (last or (theirs and self.queue.holds_work)) and not (self.queue.open or self.queue.broken):
                    self.queue.commit(report, everyone=last)
            finally:
                self.queue.abandon()
            raise

    def _known(self) -> dict[TableName, KnownTable]:
        """Each table's columns as its earliest mapping's checkpoint has them."""
        known = {}
        for name, works in self.by_table.items():
            states = [work.state for work in works]
            first = min(states, key=lambda s: s.position.order).checkpoint
            altered = any(s.checkpoint.altered for s in states)
            now = states[0].plan.source.columns
            known[name] = KnownTable(now if altered else columns_from_json(first.source_columns_json), altered)
        return known

    # ---- events ----
    def _take(self, event: LogEvent, report: Report) -> None:
        self.taking = True
        self._take_event(event, report)
        self.taking = False

    def _take_event(self, event: LogEvent, report: Report) -> None:
        match event:
            case RowsRead():
                self._rows(event, report)
            case Committed(transaction):
                self._committed(transaction, report)
            case RolledBack(transaction):
                self._rolled_back(transaction)
            case TableChanged():
                self._table_changed(event, report)
            case XaBegun():
                self.xa.begun()
            case XaPrepared(xid, transaction):
                self.xa.prepared(xid, transaction, report)
                self._committed(transaction, report)
            case XaDecided():
                self.xa.decided(event, report)
                self._committed(event.transaction, report)
            case LogAdvanced(file, offset_bytes, birth_unix_s, _):
                self.cursor.moved(file, offset_bytes, birth_unix_s)

    def _wanted_by(self, table: TableName, transaction: Transaction) -> list[MappingWork]:
        return [w for w in self.by_table.get(table, ()) if w.at_stream or not w.state.position.includes(transaction)]

    def _rows(self, event: RowsRead, report: Report) -> None:
        for work in self._wanted_by(event.table, event.transaction):
            if isinstance(event.table_map, Undescribed):
                self._unreadable(work, event.table_map, event.transaction, report)
                continue
            shaper = work.shapers.get(event.table_map.raw)
            if shaper is None:
                with named_mapping(work.state):
                    shaper = shaper_for(work.state.plan, event, bulk=work.state.target.takes_bulk)
                work.shapers[event.table_map.raw] = shaper
            if shaper.plan.columns != work.plan_of_rows.columns:
                # Rows of other columns are other statements; a definition lies between them, so that the
                # rows so far are of whole transactions.
                if not work.pending.is_empty or self.queue.joining.queued:
                    self.queue.commit(report)
                work.plan_of_rows = shaper.plan
            rows = self.current.rows_of(work)
            before = rows.rows_read
            shaper.shape(event, rows)
            self.current.rows += rows.rows_read - before
            self.current.bytes += event.size_bytes
        event.images, event.decoded = [], None  # they may have 32 MiB, and are written next
        if self.current.rows > self.limits.batch_rows_max or self.current.bytes > self.limits.batch_bytes_max:
            self._write_part(report)

    def _unreadable(self, work: MappingWork, table: Undescribed, transaction: Transaction, report: Report) -> None:
        """The log does not tell what these rows are: a new copy has them, where there may be one."""
        if not self.queue.open:
            self.queue.commit(report, everyone=True)
        with named_mapping(work.state):
            if work.state.plan.mapping.schema_policy != "evolve":
                raise table.error
        place = (work.state.name, transaction.file, transaction.end_offset_bytes)
        raise SchemaChanged(place, Decision(Answer.COPY_AGAIN))

    def _committed(self, transaction: Transaction, report: Report) -> None:
        for work in self.current.touched.values():
            if work.in_doubt.in_parts:
                self.xa.apply_parts(work)
            if not work.in_transaction.is_empty:
                self.queue.add(work)
        self.queue.bytes_pending += self.current.bytes
        self.current.end()
        self.cursor.committed(transaction)
        if self.queue.open:
            self.queue.commit(report)
        elif self.queue.due():
            self.queue.commit(report, in_background=True)

    def _rolled_back(self, transaction: Transaction) -> None:
        self.queue.roll_back()
        for work in self.works:
            work.in_transaction = PendingRows()
            work.in_doubt.in_parts = False
        self.current.end()
        self.cursor.advance(transaction)

    def _write_part(self, report: Report) -> None:
        """Write what has been read of a transaction that is too big to hold, without committing."""
        if not self.queue.open:
            if self.queue.holds_work:
                self.queue.commit(report)
            self.queue.land(report)
        for work in self.current.touched.values():
            rows = work.in_transaction
            if not rows.rows_pending and not rows.clear_first:
                continue
            if self.current.xa_token:
                self.xa.keep_part(work)
                continue
            piece = self.queue.piece(work, rows)
            piece.write(self.queue.opened(work))
            rows.drop()
        self.current.rows = self.current.bytes = 0

    # ---- changes of tables ----
    def _table_changed(self, event: TableChanged, report: Report) -> None:
        self.queue.land(report)
        for table in self.by_table:
            changes = concerned(event.changes, table)
            for work in self._wanted_by(table, event.transaction) if changes else ():
                with named_mapping(work.state):
                    self._change_table(work, changes, event.transaction, report)

    def _change_table(
        self, work: MappingWork, changes: list[TableChange], transaction: Transaction, report: Report
    ) -> None:
        state = work.state
        if all(change.action is Action.TRUNCATE for change in changes):
            self.current.rows_of(work).truncate()
            return
        if not any(change.structural for change in changes):
            return
        place = (state.name, transaction.file, transaction.end_offset_bytes)
        work.altered = True  # from here on only a full table map tells the columns
        if place in self.followed_changes:
            return
        known = columns_from_json(state.checkpoint.source_columns_json)
        columns = self.source.columns(state.plan.source.name)
        now = replace(state.plan.source, columns=columns) if columns else None
        where = f"{transaction.file}:{transaction.end_offset_bytes}"
        try:
            decision = decide(state.plan, changes, known, now, where, altered=state.checkpoint.altered)
        except SchemaDrift:
            self.queue.commit(report, everyone=True)  # all that came before is applied, whatever comes of this
            raise
        if decision.answer is not Answer.GO_ON:
            self.queue.commit(report, everyone=True)
            raise SchemaChanged(place, decision)
