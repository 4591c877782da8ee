"""One commit: a transaction of a target, with the checkpoints up to which it applies the log.

A commit costs a target's answer to each statement and, at its end, the disk. So `APPLY_CONNECTIONS` transactions of one
target may be open at once, each on its own connection. A later transaction writes the rows that no predecessor writes,
waits for the predecessors' commits, takes the fence, writes the other rows, stores its checkpoints and commits. A
reader of the target sees the same states in the same order as if the transactions had followed each other:

* Nothing is committed before its predecessors. If one of them fails, or another run has its mappings, nothing that
  comes after it is committed.
* If two transactions write a row, it gets its later image: the later transaction writes it once the earlier one is
  committed. Should two keys turn out to be one row to the target ('a' and 'A'), the second transaction waits for the
  row's lock. If the earlier transaction is the one that waits, the later one sees no progress, rolls back
  (`apply_connection.PATIENCE_S`) and starts again after it.
* A delete that finds no row leaves no lock, and might miss a row that a predecessor is about to insert. So where keys
  are not as distinct to the target as they are here, all rows of a batch with deletes are written late.
* Servers look at all rows of a small table to find a few, and a delete waits for rows that are not its own. There,
  nothing is written while a predecessor deletes. This does not hold where a target takes the log's own images
  (`event_replay.py`), for which it looks by the key alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ...concurrency.background import Waiting
from ...model.checkpoint import Checkpoint
from ...model.errors import TargetBusy
from ...rows.pending_rows import PendingRows
from ..ports import ApplyConnection
from .mapping_writes import MappingWrites
from .work import MappingWork

APPLY_CONNECTIONS = 3


@dataclass(eq=False)
class Commit:
    """One transaction of a target, on one of its apply connections.

    Attributes:
        of_joined_batches: whether batches waited and became one.
        ended: set once it is committed or has failed.
        succeeded: whether it is committed.
        rows_written: whether all its rows are written. From then on it waits for no later commit's lock.
        gave_way: whether it has rolled back because a predecessor made no progress.
    """

    connection: ApplyConnection
    writes: Sequence[MappingWrites]
    checkpoints: Sequence[Checkpoint]
    of_joined_batches: bool = False
    ended: threading.Event = field(default_factory=threading.Event)
    succeeded: bool = False
    rows_written: bool = False
    gave_way: bool = False

    @property
    def mappings(self) -> list[str]:
        return [one.work.state.name for one in self.writes]

    def rows_by_key_of(self, work: MappingWork) -> PendingRows | None:
        """The rows that it writes for a mapping; None if their keys do not tell which they are."""
        writes = next((one for one in self.writes if one.work is work), None)
        return PendingRows() if writes is None else writes.rows_by_key

    def after(self, predecessors: Sequence[Commit], *, begun: bool) -> Callable[[], Waiting]:
        """The work of the commit, for `ApplyConnection.start`.

        Args:
            predecessors: commits under way that have to be committed first, in order.
            begun: the transaction is open already.
        """

        def work() -> Waiting:
            try:
                if not predecessors:
                    self._write_and_commit(begun=begun)
                else:
                    yield from self._overlap(predecessors)
                self.succeeded = True
            finally:
                self.ended.set()

        return work

    def _write_and_commit(self, *, begun: bool) -> None:
        connection = self.connection
        if not begun:
            connection.begin(self.mappings)
        for writes in self.writes:
            writes.write(connection)
            in_doubt = writes.work.in_doubt
            if in_doubt.is_unsaved:
                in_doubt.save(writes.work.state.name, connection.prepared())
        self.rows_written = True
        connection.commit(self.checkpoints)

    def _overlap(self, predecessors: Sequence[Commit]) -> Waiting:
        """Write early rows, wait for the predecessors, write the others and commit."""
        connection, mappings = self.connection, self.mappings
        connection.begin_unfenced()
        for writes in self.writes:
            writes.write_early(connection)
        for one in predecessors:
            operation = one.connection.operation_under_way
            while not (yield one.ended):
                # A predecessor that asks nothing of its server makes rows, and waits for no lock.
                stuck = operation is not None and one.connection.operation_under_way == operation
                if stuck and not (one.rows_written or self.gave_way):
                    connection.rollback()
                    self.gave_way = True
                operation = one.connection.operation_under_way
            if not one.succeeded:
                raise TargetBusy("what came before it was not committed")
        if self.gave_way:
            self._write_and_commit(begun=False)
            return
        connection.fence(mappings)
        for writes in self.writes:
            writes.write_late(connection)
        self.rows_written = True
        connection.commit(self.checkpoints)
