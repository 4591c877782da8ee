"""XA transactions during a pass: what one means is kept from its XA PREPARE on (`prepared_table.py` says how), and
happens, or never does, where the log decides it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

from ...binlog.events import XaDecided
from ...model.position import Transaction
from ...rows.pending_rows import PendingRows
from ...rows.writable_rows import Mutations
from ..mapping_state import Report, named_mapping
from .commit_queue import CommitQueue
from .in_doubt import PARTS, Recalled, keep, unpacked
from .outcomes import CommittedUnseen
from .work import CurrentTransaction, MappingWork


class XaTransactions:
    """Keeps and recalls what XA transactions mean for the mappings of one pass.

    Args:
        current: the transaction being read.
    """

    def __init__(self, works: Sequence[MappingWork], queue: CommitQueue, current: CurrentTransaction) -> None:
        self.works = works
        self.queue = queue
        self.current = current

    def begun(self) -> None:
        """The transaction being read may end in an XA PREPARE."""
        self.current.xa_token = uuid.uuid4().hex[1:]

    def prepared(self, xid: str, transaction: Transaction, report: Report) -> None:
        """The transaction being read is in doubt from here on."""
        self.queue.land(report)
        for work in self._new_to(transaction):
            if work.in_doubt.in_parts:
                self.keep_part(work)
            work.in_doubt.add(xid, self.current.xa_token, work.plan_of_rows, work.in_transaction)
            work.in_transaction = PendingRows()

    def decided(self, event: XaDecided, report: Report) -> None:
        """What was kept happens now, or never did.

        Raises:
            CommittedUnseen: it happens, and some mappings have never seen it prepared.
        """
        self.queue.land(report)
        works = self._new_to(event.transaction)
        unseen = [work.state for work in works if event.xid not in work.in_doubt.tokens]
        if event.committed:
            if unseen:
                self.queue.commit(report, everyone=True)
                raise CommittedUnseen(unseen, event.transaction)
            recalled = [_recalled(work, event.xid) for work in works]
            fits = [
                rows is None or rows[0].columns == work.plan_of_rows.columns
                for work, rows in zip(works, recalled, strict=True)
            ]
            if not all(fits) or any(work.in_doubt.is_in_parts(event.xid) for work in works):
                self.queue.commit(report)  # what came before is written before
        else:
            recalled = [None] * len(works)
        for work, rows in zip(works, recalled, strict=True):
            parts = work.in_doubt.decided(event.xid)
            if rows is not None:
                work.plan_of_rows = rows[0]
                self.current.rows_of(work).take(rows[1])
            elif event.committed and parts:
                self._apply_kept(work, parts)

    def apply_parts(self, work: MappingWork) -> None:
        """What was kept of the transaction being read happens: it ends in an XA COMMIT … ONE PHASE."""
        self._apply_kept(work, PARTS + self.current.xa_token)

    def keep_part(self, work: MappingWork) -> None:
        """Put what has been read of the transaction into the table of prepared rows."""
        table = self.queue.opened(work).prepared()
        keep(table, work.state.name, PARTS + self.current.xa_token, work.plan_of_rows, work.in_transaction)
        work.in_transaction = PendingRows()
        work.in_doubt.in_parts = work.in_doubt.moved = True

    def _new_to(self, transaction: Transaction) -> list[MappingWork]:
        return [work for work in self.works if work.at_stream or not work.state.position.includes(transaction)]

    def _apply_kept(self, work: MappingWork, token: str) -> None:
        """Write rows from the table of prepared ones, in the target's open transaction."""
        state = work.state
        table = self.queue.opened(work).prepared()
        for payload in table.kept(state.name, token):
            plan, rows = unpacked(state.plan, payload)
            with named_mapping(state):
                state.target.apply.write(plan, Mutations(rows.mutations, may_evict=not state.settled))
            self.current.rows_of(work).take(replace(rows, mutations=[]))
        work.in_doubt.in_parts = False
        work.in_doubt.moved = True


def _recalled(work: MappingWork, xid: str) -> Recalled | None:
    state = work.state
    return work.in_doubt.recall(xid, state.name, state.target.apply.prepared, state.plan)
