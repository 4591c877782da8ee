"""The connections that write the copies into one target. All tables that are copied into it share them."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue

from ...model.errors import ReplicationError, RowRejected
from ...plan.table_plan import TablePlan
from ...rows.writable_rows import WritableRows
from ..ports import ApplyConnection, Target

PENDING_BYTES_MAX = 8 * 2**20


class WriterPool:
    """Threads, each with a connection to the target. Their transactions share the lock that is the run's fence."""

    def __init__(self, target: Target, count: int) -> None:
        self._count = count
        self._idle: SimpleQueue[ApplyConnection] = SimpleQueue()
        self._connections = target.new_connections(count)
        for connection in self._connections:
            self._idle.put(connection)
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="copy")
        self._pending: dict[Future[None], tuple[str, int]] = {}  # the mapping, the bytes held

    def __enter__(self) -> WriterPool:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        for connection in self._connections:
            connection.close()

    def submit(self, mapping: str, plan: TablePlan, rows: WritableRows, size: int) -> Future[None]:
        """Have rows of a mapping written, in a transaction of their own.

        This waits while every connection is busy and one more piece of work is waiting, or while the pieces together
        hold more than `PENDING_BYTES_MAX`.

        Args:
            plan: the one by which the rows were made.
            size: about how many bytes the rows hold in memory.

        Raises:
            ReplicationError: an earlier piece failed. A refused row is raised to its own mapping only.
        """
        while len(self._pending) > self._count or (self._pending and self._bytes_held() + size > PENDING_BYTES_MAX):
            done = {f: self._pending.pop(f) for f in wait(self._pending, return_when=FIRST_COMPLETED).done}
            for future, (owner, _) in done.items():
                error = future.exception()
                if error is not None and (owner == mapping or not isinstance(error, RowRejected)):
                    raise error
        future = self._pool.submit(self._write, mapping, plan, rows)
        self._pending[future] = (mapping, size)
        return future

    def _bytes_held(self) -> int:
        return sum(size for _, size in self._pending.values())

    def _write(self, mapping: str, plan: TablePlan, rows: WritableRows) -> None:
        connection = self._idle.get()
        try:
            connection.begin([mapping], exclusive=False)
            connection.write(plan, rows)
            connection.commit([])
        except ReplicationError as error:
            error.mapping = error.mapping or mapping
            raise
        finally:
            self._idle.put(connection)
