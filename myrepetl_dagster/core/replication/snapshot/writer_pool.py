"""The connections that write a copy: threads of one target, which the tables that are copied into it share."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue

from ...model.errors import RowRejected
from ...plan.table_plan import TablePlan
from ...rows.writable_rows import WritableRows
from ..mapping_state import MappingState, named_mapping
from ..ports import ApplyConnection, Target

PENDING_BYTES_MAX = 8 * 2**20


class Writers:
    """Threads with a target connection each. A transaction of theirs holds the fence, but not for itself alone."""

    def __init__(self, target: Target, count: int) -> None:
        self._count = count
        self._idle: SimpleQueue[ApplyConnection] = SimpleQueue()
        self._connections = target.new_connections(count)
        for connection in self._connections:
            self._idle.put(connection)
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="copy")
        self._pending: dict[Future[None], tuple[MappingState, int]] = {}

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        for connection in self._connections:
            connection.close()

    def submit(self, state: MappingState, plan: TablePlan, rows: WritableRows, size: int) -> Future[None]:
        """Hand over rows to write; waits while all are busy and one more is waiting, or the pieces are too big.

        Args:
            plan: the one by which the rows were made.
            size: about the bytes that the rows hold in memory.

        Raises:
            ReplicationError: what an earlier piece ran into. A row that is refused is for its own table's pieces only.
        """
        while len(self._pending) > self._count or (self._pending and self._bytes_held() + size > PENDING_BYTES_MAX):
            done = {f: self._pending.pop(f) for f in wait(self._pending, return_when=FIRST_COMPLETED).done}
            for future, (owner, _) in done.items():
                error = future.exception()
                if error is not None and (owner is state or not isinstance(error, RowRejected)):
                    raise error
        future = self._pool.submit(self._write, state, plan, rows)
        self._pending[future] = (state, size)
        return future

    def _bytes_held(self) -> int:
        return sum(size for _, size in self._pending.values())

    def _write(self, state: MappingState, plan: TablePlan, rows: WritableRows) -> None:
        connection = self._idle.get()
        try:
            with named_mapping(state):
                connection.begin([state.name], alone=False)
                connection.write(plan, rows)
                connection.commit([])
        finally:
            self._idle.put(connection)
