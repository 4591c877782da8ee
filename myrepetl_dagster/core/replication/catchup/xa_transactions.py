"""XA transactions during a catch-up. Their rows are stored from the XA PREPARE on (`prepared_table.py`), and are
applied or dropped where the log decides.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

from ...binlog.events import XaDecided
from ...model.position import Transaction
from ...rows.pending_rows import PendingRows
from ...rows.writable_rows import Mutations
from ..mapping_state import named_mapping
from .commit_queue import CommitQueue
from .in_doubt import PARTS, PlannedRows, keep, unpacked
from .outcomes import CommittedUnseen
from .work import CurrentTransaction, MappingWork


class XaTransactions:
    """Stores and recalls the rows of XA transactions for the mappings of one catch-up."""

    def __init__(self, works: Sequence[MappingWork], queue: CommitQueue) -> None:
        self.works = works
        self.queue = queue

    def begun(self, current: CurrentTransaction) -> None:
        """The transaction may end in an XA PREPARE."""
        current.xa_token = uuid.uuid4().hex[1:]

    def prepared(self, xid: str, transaction: Transaction, current: CurrentTransaction) -> None:
        """The transaction is in doubt from here on."""
        self.queue.land()
        for work in self._new_to(transaction):
            if work.in_doubt.partly_stored:
                self.store(work, current)
            work.in_doubt.add(xid, current.xa_token, work.plan_of_rows, work.in_transaction)
            work.in_transaction = PendingRows()

    def decided(self, event: XaDecided, current: CurrentTransaction) -> None:
        """A transaction in doubt is committed or rolled back.

        Raises:
            CommittedUnseen: it is committed, and some mappings have never seen it prepared.
        """
        self.queue.land()
        works = self._new_to(event.transaction)
        unseen = [work.state for work in works if event.xid not in work.in_doubt.tokens]
        recalled: list[PlannedRows | None] = [None] * len(works)
        if event.committed:
            if unseen:
                self.queue.commit(everyone=True)
                raise CommittedUnseen(unseen, event.transaction)
            recalled = [_recalled(work, event.xid) for work in works]
            same_columns = all(
                rows is None or rows[0].columns == work.plan_of_rows.columns
                for work, rows in zip(works, recalled, strict=True)
            )
            if not same_columns or any(work.in_doubt.is_in_parts(event.xid) for work in works):
                self.queue.commit()  # everything before these rows is written before them
        for work, rows in zip(works, recalled, strict=True):
            parts = work.in_doubt.decided(event.xid)
            if rows is not None:
                work.use_plan(rows[0])
                current.rows_of(work).take(rows[1])
            elif event.committed and parts:
                self._apply_stored(work, parts, current)

    def store(self, work: MappingWork, current: CurrentTransaction) -> None:
        """Put what has been read of the transaction into the table of prepared rows."""
        table = self.queue.begun(work).prepared()
        keep(table, work.state.name, PARTS + current.xa_token, work.plan_of_rows, work.in_transaction)
        work.in_transaction = PendingRows()
        work.in_doubt.partly_stored = work.in_doubt.table_changes = True

    def apply_stored(self, work: MappingWork, current: CurrentTransaction) -> None:
        """Apply what was stored of the transaction that is being read: it ends in an XA COMMIT … ONE PHASE."""
        self._apply_stored(work, PARTS + current.xa_token, current)

    def _apply_stored(self, work: MappingWork, token: str, current: CurrentTransaction) -> None:
        """Write rows from the table of prepared rows, in the target's open transaction."""
        state = work.state
        connection = self.queue.begun(work)
        for payload in connection.prepared().kept(state.name, token):
            plan, rows = unpacked(state.plan, payload)
            with named_mapping(state):
                connection.write(plan, Mutations(rows.mutations, settling=not state.settled))
            current.rows_of(work).take(replace(rows, mutations=[]))
        work.in_doubt.partly_stored = False
        work.in_doubt.table_changes = True

    def _new_to(self, transaction: Transaction) -> list[MappingWork]:
        return [work for work in self.works if work.wants(transaction)]


def _recalled(work: MappingWork, xid: str) -> PlannedRows | None:
    state = work.state
    return work.in_doubt.recall(xid, state.name, state.target.apply.prepared, state.plan)
