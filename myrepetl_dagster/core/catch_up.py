"""Applying the log: one pass over a source's log for all of its mappings, up to a given head.

Many small source transactions become one target commit; one too big to hold is written piece by piece into a
target transaction that stays open until the source transaction's own end, so that a reader of the
target never sees half of it. Every mapping has its own checkpoint: one that is ahead of the stream skips
what it already holds.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace

from .apply import Target
from .binlog import (
    Committed,
    Decided,
    KnownTable,
    LogEvent,
    Moved,
    Prepared,
    RolledBack,
    RowsRead,
    TableChanged,
    Undescribed,
    XaBegun,
    layout_of,
)
from .checkpoint import Checkpoint, columns_from_json
from .commits import LANES, Commit, Piece, piece_of
from .ddl import Action, TableChange
from .drift import Answer, Decision, concerned, decide
from .errors import SchemaDrift, UnsupportedEvent
from .images import ImageShaper, only_last_images
from .log_cursor import LogCursor
from .log_events import Idle
from .mapping_state import CommittedUnseen, MappingState, Place, Report, SchemaChanged, Work, blamed
from .maptypes import TableMap
from .model import Limits, Phase, TableName
from .position import Position, Transaction
from .prepared import PARTS, keep, unpacked
from .shape import Shaper
from .source import Source

FOLLOW_INTERVAL_S = 0.2  # between commits while the source never pauses
IDLE_CHECKPOINT_S = 10.0
_EARLY_BYTES_MAX = 6 * 2**20  # of row images: more is only written out when what came before has been applied


class CatchUp:
    """One pass. `apply` reads and applies until the log has reached `until`.

    Args:
        states: the mappings of one source, any of them ahead of others.
        until: the source's head; the pass ends with the first transaction that ends there or later.
        answered: changes of tables that the targets have followed already.
    """

    def __init__(
        self,
        source: Source,
        states: Sequence[MappingState],
        until: Position,
        limits: Limits,
        answered: frozenset[Place] = frozenset(),
    ) -> None:
        self.answered = answered
        self.source = source
        self.states = states
        self.limits = limits
        self.by_table: dict[TableName, list[MappingState]] = {}
        for state in states:
            self.by_table.setdefault(state.plan.source.name, []).append(state)
        self.targets = list({id(s.target): s.target for s in states}.values())
        self.cursor = LogCursor(states, until)
        self.rows_pending = self.bytes_pending = 0  # of whole transactions
        self.rows_current = self.bytes_current = 0  # of the transaction being read
        self.open: set[int] = set()  # targets with a transaction open for a part of the current one
        self.xa_token = ""  # of the transaction being read, if it is an XA transaction
        self.committed_at_s = self.everyone_at_s = time.monotonic()
        self.source_time_unix_s: float | None = None
        self.touched: dict[str, MappingState] = {}  # by the transaction being read
        self.under_way: list[tuple[Target, Commit]] = []
        self.one_by_one = False  # no commit is begun beside another one
        self.stored: dict[str, Checkpoint] = {}  # each mapping's newest, committed or under way
        self.broken = False  # a commit has failed: nothing that came after it may be committed

    def apply(self, report: Report) -> None:
        """Read the log and apply it.

        Raises:
            PositionLost: the log ended before it reached `until`.
            CommittedUnseen: a mapping has to be copied again.
            SchemaChanged: the target has to follow a change first.
        """
        with self._orderly():
            self._apply(report)

    def _apply(self, report: Report) -> None:
        if not self.cursor.at_head:
            with closing(self.source.read_log(self.cursor.position, self._known())) as events:
                try:
                    for event in events:
                        self._take(event, report)
                        ended = isinstance(event, (Committed, RolledBack, Prepared, Decided))
                        if ended and self.cursor.reached:
                            break
                    else:
                        self.cursor.log_ended()
                except UnsupportedEvent:
                    if not self.open and not self.broken:
                        self._commit(report, everyone=True)  # all that came before it
                    raise
        self._finish(report)

    def follow(self, report: Report, ended: Callable[[], bool]) -> None:
        """Go on reading and applying as the source writes, until `ended` says so.

        Each time that nothing more has come, what has come is committed.
        """
        self.limits = replace(
            self.limits, batch_interval_s_max=min(FOLLOW_INTERVAL_S, self.limits.batch_interval_s_max)
        )
        with self._orderly():
            self._follow(report, ended)

    def _follow(self, report: Report, ended: Callable[[], bool]) -> None:
        everyone_at_s = time.monotonic()
        with closing(self.source.read_log(self.cursor.position, self._known(), follow=True)) as events:
            for event in events:
                self._take(event, report)
                now_s = time.monotonic()
                if isinstance(event, Idle) and not self.open:  # of an open transaction the rest is to come
                    self._land(report)
                    if any(s.done.touched or s.xa.unsaved for s in self.states):
                        self._commit(report)
                    elif now_s - everyone_at_s >= IDLE_CHECKPOINT_S:  # a quiet table's position moves on, too
                        everyone_at_s = now_s
                        self._commit(report, everyone=True)
                if not self.open and ended():
                    break
        self._finish(report)

    @contextmanager
    def _orderly(self) -> Iterator[None]:
        """Leaves no commit under way behind an error. (After a signal, closing the target ends it.)"""
        try:
            yield
        except Exception:
            for _, commit in self.under_way:
                commit.lane.abandon()
            raise

    def _known(self) -> dict[TableName, KnownTable]:
        """Each table's columns as its earliest mapping's checkpoint has them."""
        known = {}
        for name, states in self.by_table.items():
            first = min(states, key=lambda s: s.position.order).checkpoint
            altered = any(s.checkpoint.altered for s in states)
            now = states[0].plan.source.columns
            known[name] = KnownTable(now if altered else columns_from_json(first.source_columns_json), altered)
        return known

    # ---- events ----
    def _take(self, event: LogEvent, report: Report) -> None:
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
                self.xa_token = uuid.uuid4().hex[1:]
            case Prepared(xid, transaction):
                self._prepared(xid, transaction, report)
            case Decided():
                self._decided(event, report)
            case Moved(file, offset_bytes, birth_unix_s):
                self.cursor.moved(file, offset_bytes, birth_unix_s)

    def _wanted_by(self, table: TableName, transaction: Transaction) -> list[MappingState]:
        return [s for s in self.by_table.get(table, ()) if s.joined or not s.position.includes(transaction)]

    def _rows(self, event: RowsRead, report: Report) -> None:
        for state in self._wanted_by(event.table, event.transaction):
            if isinstance(event.table_map, Undescribed):
                self._unreadable(state, event.table_map, event.transaction, report)
                continue
            known = state.shapers.get(event.table_map.raw)
            if known is None:
                known = state.shapers[event.table_map.raw] = self._shaper(state, event, event.table_map)
            shaper, images = known
            if shaper.plan.columns != state.written.columns:
                # Rows of other columns are other statements; a definition lies between them, so that the
                # rows so far are of whole transactions.
                if state.done.touched:
                    self._commit(report)
                state.written = shaper.plan
            shaped = self._current(state).shaped
            before = shaped.rows_read
            if images is not None:
                images.shape(event, shaped)
            else:
                changes = event.changes  # whoever's rows they are, that they cannot be read is nobody's fault
                with blamed(state):
                    shaper.shape(changes, shaped)
            self.rows_current += shaped.rows_read - before
            self.bytes_current += event.size_bytes
        event.images, event.decoded = [], None  # they may have 32 MiB, and are written next
        if self.rows_current > self.limits.batch_rows_max or self.bytes_current > self.limits.batch_bytes_max:
            self._write_part(report)

    def _current(self, state: MappingState) -> Work:
        """What the transaction being read means for the mapping, to add to."""
        self.touched[state.name] = state
        return state.current

    def _unreadable(self, state: MappingState, table: Undescribed, transaction: Transaction, report: Report) -> None:
        """The log does not tell what these rows are: a new copy has them, where there may be one."""
        if not self.open:
            self._commit(report, everyone=True)
        with blamed(state):
            if state.plan.mapping.schema_policy != "evolve":
                raise table.error
        place = (state.name, transaction.file, transaction.end_offset_bytes)
        raise SchemaChanged(place, Decision(Answer.COPY_AGAIN))

    def _shaper(self, state: MappingState, event: RowsRead, table_map: TableMap) -> tuple[Shaper, ImageShaper | None]:
        layout = layout_of(table_map)
        with blamed(state):
            if state.plan.every_column and state.plan.mapping.schema_policy != "ignore":
                held = set(state.plan.target.column_names)
                current = set(state.plan.source.column_names)  # what has been dropped since counts no more
                strange = [c.name for c in layout if c.name not in held and c.name in current]
                if strange:
                    raise SchemaDrift(
                        f"mapping {state.name!r}: the log has column {', '.join(strange)} of {event.table} at"
                        f" {event.transaction.file}:{event.transaction.end_offset_bytes}, the target has not",
                        hint=f"Add it to {state.plan.target.name}, then run the `snapshot` job for this mapping.",
                    )
            shaper = Shaper(state.plan, layout)
            if not event.images or not only_last_images(shaper.plan):
                return shaper, None
            return shaper, ImageShaper(shaper, table_map, bulk=state.target.takes_bulk)

    def _committed(self, transaction: Transaction, report: Report) -> None:
        for state in self.touched.values():
            if state.xa.in_parts:  # XA COMMIT … ONE PHASE
                self._apply_kept(state, PARTS + self.xa_token)
            if state.current.touched:
                pending = state.done.shaped.rows_pending
                state.done.take(state.current)
                self.rows_pending += state.done.shaped.rows_pending - pending
                state.current = Work()
        self.touched.clear()
        self.cursor.committed(transaction)
        self.xa_token = ""
        self.bytes_pending += self.bytes_current
        self.rows_current = self.bytes_current = 0
        if transaction.committed_at_unix_s:
            self.source_time_unix_s = transaction.committed_at_unix_s
        if self.open:
            self._commit(report)
        elif self._due():
            self._commit(report, behind=True)

    def _rolled_back(self, transaction: Transaction) -> None:
        for target in self.targets:
            if id(target) in self.open:
                target.rollback()
        self.open.clear()
        for state in self.states:
            state.current = Work()
            state.xa.in_parts = False
        self.touched.clear()
        self.xa_token = ""
        self.rows_current = self.bytes_current = 0
        self.cursor.advance(transaction)

    # ---- XA transactions ----
    def _prepared(self, xid: str, transaction: Transaction, report: Report) -> None:
        self._land(report)
        for state in self._new_to(transaction):
            if state.xa.in_parts:
                self._keep_part(state)
            state.xa.add(xid, self.xa_token, state.written, state.current.shaped)
            state.current = Work()
        self._committed(transaction, report)

    def _new_to(self, transaction: Transaction) -> list[MappingState]:
        return [s for s in self.states if s.joined or not s.position.includes(transaction)]

    def _decided(self, event: Decided, report: Report) -> None:
        """What was kept happens now, or never did."""
        self._land(report)
        states = self._new_to(event.transaction)
        unseen = [s for s in states if event.xid not in s.xa.tokens]
        if event.committed:
            if unseen:
                self._commit(report, everyone=True)
                raise CommittedUnseen(unseen, event.transaction)
            recalled = [s.xa.recall(event.xid, s.name, s.target.prepared, s.plan) for s in states]
            fits = [
                rows is None or rows[0].columns == s.written.columns for s, rows in zip(states, recalled, strict=True)
            ]
            if not all(fits) or any(s.xa.is_in_parts(event.xid) for s in states):
                self._commit(report)  # what came before is written before
        else:
            recalled = [None] * len(states)
        for state, rows in zip(states, recalled, strict=True):
            parts = state.xa.decided(event.xid)
            if rows is not None:
                state.written = rows[0]
                self._current(state).take(Work(rows[1]))
            elif event.committed and parts:
                self._apply_kept(state, parts)
        self._committed(event.transaction, report)

    def _apply_kept(self, state: MappingState, token: str) -> None:
        """Write rows from the table of prepared ones, in the target's open transaction."""
        table = self._opened(state).prepared()
        for payload in table.kept(state.name, token):
            plan, shaped = unpacked(state.plan, payload)
            with blamed(state):
                state.target.write(plan, shaped.mutations, exact=state.exact)
            self._current(state).take(Work(replace(shaped, mutations=[])))
        state.xa.in_parts = False
        state.xa.moved = True

    def _keep_part(self, state: MappingState) -> None:
        """Put what has been read of the transaction into the table of prepared rows."""
        keep(self._opened(state).prepared(), state.name, PARTS + self.xa_token, state.written, state.current.shaped)
        state.current = Work()
        state.xa.in_parts = state.xa.moved = True

    def _opened(self, state: MappingState) -> Target:
        """The mapping's target, in a transaction."""
        if id(state.target) not in self.open:
            state.target.begin([s.name for s in self.states if s.target is state.target])
            self.open.add(id(state.target))
        return state.target

    def _table_changed(self, event: TableChanged, report: Report) -> None:
        self._land(report)
        for table in self.by_table:
            changes = concerned(event.changes, table)
            for state in self._wanted_by(table, event.transaction) if changes else ():
                with blamed(state):
                    self._change_table(state, changes, event.transaction, report)

    def _change_table(
        self, state: MappingState, changes: list[TableChange], transaction: Transaction, report: Report
    ) -> None:
        if all(change.action is Action.TRUNCATE for change in changes):
            self._current(state).truncate()
            return
        if not any(change.structural for change in changes):
            return
        place = (state.name, transaction.file, transaction.end_offset_bytes)
        state.altered = True  # from here on only a full table map tells the columns
        if place in self.answered:
            return
        known = columns_from_json(state.checkpoint.source_columns_json)
        columns = self.source.columns(state.plan.source.name)
        now = replace(state.plan.source, columns=columns) if columns else None
        where = f"{transaction.file}:{transaction.end_offset_bytes}"
        try:
            decision = decide(state.plan, changes, known, now, where, altered=state.checkpoint.altered)
        except SchemaDrift:
            self._commit(report, everyone=True)  # all that came before is applied, whatever comes of this
            raise
        if decision.answer is not Answer.GO_ON:
            self._commit(report, everyone=True)
            raise SchemaChanged(place, decision)

    # ---- commits ----
    def _due(self) -> bool:
        return (
            self.rows_pending >= self.limits.batch_rows_max
            or self.bytes_pending >= self.limits.batch_bytes_max
            or time.monotonic() - self.committed_at_s >= self.limits.batch_interval_s_max
        )

    def _write_part(self, report: Report) -> None:
        """Write what has been read of a transaction that is too big to hold, without committing."""
        if not self.open:
            if any(s.done.touched or s.xa.unsaved for s in self.states):
                self._commit(report)
            self._land(report)
        for state in self.touched.values():
            if not state.current.shaped.rows_pending and not state.current.clear:
                continue
            if self.xa_token:
                self._keep_part(state)
                continue
            piece = self._piece(state, state.current)
            piece.write(self._opened(state))
            state.current.clear = False
            state.current.shaped.drop()
        self.rows_current = self.bytes_current = 0

    def _piece(self, state: MappingState, work: Work, before: Sequence[Commit] = ()) -> Piece:
        """What is to be written of this to the target."""
        try:
            return piece_of(state, work, before, begun=id(state.target) in self.open)
        except UnsupportedEvent as error:
            since = self.stored.get(state.name, state.checkpoint).position
            raise error.at(f"{since.file}:{since.offset_bytes}") from None

    def _commit(self, report: Report, *, everyone: bool = False, behind: bool = False) -> None:
        """Commit what is done. A mapping that nothing happened to keeps its older checkpoint for a while:
        its rows are those of the newer one as well.

        Args:
            behind: it may happen while the log is read on; else it has happened when this returns.
        """
        everyone = everyone or time.monotonic() - self.everyone_at_s >= self.limits.batch_interval_s_max
        beside = not self.open and not any(s.xa.unsaved for s in self.states)  # begun beside those under way
        self.broken = True
        if self.bytes_pending > _EARLY_BYTES_MAX:
            self._land(report)
        # Written out while the target still works on what came before; checkpoints build on that one's.
        ready = []
        for target in self.targets:
            states = [s for s in self.states if s.target is target and (everyone or s.done.touched or s.xa.unsaved)]
            if states:
                before = self._newest(target) if beside else []
                ready.append((target, before, [self._piece(state, state.done, before) for state in states]))
        apart = [before if all(p.apart for p in pieces) else [] for _, before, pieces in ready]
        self._land(report, but=[commit for before in apart for commit in before])
        for (target, _, pieces), before in zip(ready, apart, strict=True):
            self._start_commit(target, pieces, before)
        self.broken = False
        self.open.clear()
        self.rows_pending = self.bytes_pending = 0
        self.committed_at_s = time.monotonic()
        if everyone:
            self.everyone_at_s = self.committed_at_s
        if not (behind and beside):
            self._land(report)

    def _start_commit(self, target: Target, pieces: Sequence[Piece], before: Sequence[Commit]) -> None:
        stored = [self._checkpoint(piece.state) for piece in pieces]
        busy = [commit.lane for commit in before]
        lane = next(lane for lane in target.lanes(LANES) if lane not in busy)
        commit = Commit(lane, pieces, stored)
        self.under_way.append((target, commit))
        lane.start(commit.after(before, begun=id(target) in self.open))
        for piece, checkpoint in zip(pieces, stored, strict=True):
            state = piece.state
            state.position = checkpoint.position
            state.done = Work()
            self.stored[state.name] = checkpoint

    def _newest(self, target: Target) -> list[Commit]:
        """The target's newest commits under way, if another one may be begun beside them (the others have to end)."""
        if self.one_by_one:
            return []
        return [commit for to, commit in self.under_way if to is target][1 - LANES :]

    def _land(self, report: Report, but: Sequence[Commit] = ()) -> None:
        """Wait for the commits under way, in their order."""
        self.broken, broken = True, self.broken
        for one in list(self.under_way):
            _, commit = one
            if commit in but:
                continue
            commit.lane.finish()
            self.under_way.remove(one)
            # Triggers of the target, say, make their locks meet: each time that costs its patience.
            self.one_by_one = self.one_by_one or commit.gave_way
            for state, checkpoint in zip(commit.states, commit.stored, strict=True):
                state.checkpoint = checkpoint
                state.xa.saved()
                report(state)
        self.broken = broken

    def _checkpoint(self, state: MappingState) -> Checkpoint:
        position = self.cursor.position_of(state)
        checkpoint, shaped = self.stored.get(state.name, state.checkpoint), state.done.shaped
        settled = checkpoint.phase is Phase.SETTLING and _passed(position, checkpoint.high_watermark)
        return replace(
            checkpoint,
            position=position,
            phase=Phase.REPLICATING if settled else checkpoint.phase,
            high_watermark=None if settled else checkpoint.high_watermark,
            changes_applied=checkpoint.changes_applied + shaped.rows_upserted + shaped.rows_deleted,
            rows_filtered=checkpoint.rows_filtered + shaped.rows_filtered,
            source_time_unix_s=self.source_time_unix_s or checkpoint.source_time_unix_s,
            sequence=checkpoint.sequence + 1,
            altered=checkpoint.altered or state.altered,
            key=state.plan.key,
            in_doubt=dict(state.xa.tokens),
            last_error="",
        )

    def _finish(self, report: Report) -> None:
        self.cursor.check_joined()
        self._commit(report, everyone=True)


def _passed(position: Position, high_watermark: Position | None) -> bool:
    return high_watermark is None or position.order >= high_watermark.order
