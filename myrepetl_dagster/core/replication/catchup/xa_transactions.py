"""XA transactions during a pass: what one means is kept from its XA PREPARE on (`prepared_table.py` says how), and
happens, or never does, where the log decides it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

from ...binlog.events import XaDecided
from ...model.position import Transaction
from ..mapping_state import CommittedUnseen, CurrentTransaction, MappingState, Report, Work, named_mapping
from .commit_queue import CommitQueue
from .in_doubt import PARTS, keep, unpacked


class XaTransactions:
    """Keeps and recalls what XA transactions mean for the mappings of one pass.

    Args:
        current: the transaction being read.
    """

    def __init__(self, states: Sequence[MappingState], queue: CommitQueue, current: CurrentTransaction) -> None:
        self.states = states
        self.queue = queue
        self.current = current

    def begun(self) -> None:
        """The transaction being read may end in an XA PREPARE."""
        self.current.xa_token = uuid.uuid4().hex[1:]

    def prepared(self, xid: str, transaction: Transaction, report: Report) -> None:
        """The transaction being read is in doubt from here on."""
        self.queue.land(report)
        for state in self._new_to(transaction):
            if state.xa.in_parts:
                self.keep_part(state)
            state.xa.add(xid, self.current.xa_token, state.written, state.current.shaped)
            state.current = Work()

    def decided(self, event: XaDecided, report: Report) -> None:
        """What was kept happens now, or never did.

        Raises:
            CommittedUnseen: it happens, and some mappings have never seen it prepared.
        """
        self.queue.land(report)
        states = self._new_to(event.transaction)
        unseen = [s for s in states if event.xid not in s.xa.tokens]
        if event.committed:
            if unseen:
                self.queue.commit(report, everyone=True)
                raise CommittedUnseen(unseen, event.transaction)
            recalled = [s.xa.recall(event.xid, s.name, s.target.prepared, s.plan) for s in states]
            fits = [
                rows is None or rows[0].columns == s.written.columns for s, rows in zip(states, recalled, strict=True)
            ]
            if not all(fits) or any(s.xa.is_in_parts(event.xid) for s in states):
                self.queue.commit(report)  # what came before is written before
        else:
            recalled = [None] * len(states)
        for state, rows in zip(states, recalled, strict=True):
            parts = state.xa.decided(event.xid)
            if rows is not None:
                state.written = rows[0]
                self.current.work_of(state).take(Work(rows[1]))
            elif event.committed and parts:
                self._apply_kept(state, parts)

    def apply_parts(self, state: MappingState) -> None:
        """What was kept of the transaction being read happens: it ends in an XA COMMIT … ONE PHASE."""
        self._apply_kept(state, PARTS + self.current.xa_token)

    def keep_part(self, state: MappingState) -> None:
        """Put what has been read of the transaction into the table of prepared rows."""
        rows = self.queue.opened(state).prepared()
        keep(rows, state.name, PARTS + self.current.xa_token, state.written, state.current.shaped)
        state.current = Work()
        state.xa.in_parts = state.xa.moved = True

    def _new_to(self, transaction: Transaction) -> list[MappingState]:
        return [s for s in self.states if s.joined or not s.position.includes(transaction)]

    def _apply_kept(self, state: MappingState, token: str) -> None:
        """Write rows from the table of prepared ones, in the target's open transaction."""
        table = self.queue.opened(state).prepared()
        for payload in table.kept(state.name, token):
            plan, shaped = unpacked(state.plan, payload)
            with named_mapping(state):
                state.target.write(plan, shaped.mutations, exact=state.exact)
            self.current.work_of(state).take(Work(replace(shaped, mutations=[])))
        state.xa.in_parts = False
        state.xa.moved = True
