"""The connections that write a copy: threads of one target, which the tables that are copied into it share."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue

from ...model.errors import RowRejected
from ...target.mysql_target import MySQLTarget
from ..mapping_state import MappingState, named_mapping

PENDING_BYTES_MAX = 8 * 2**20


class Writers:
    """Threads with a target connection each. A transaction of theirs holds the fence, but not for itself alone."""

    def __init__(self, target: MySQLTarget, count: int) -> None:
        self._count = count
        self._idle: SimpleQueue[MySQLTarget] = SimpleQueue()
        self._targets = [target.sibling() for _ in range(count)]
        for one in self._targets:
            self._idle.put(one)
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="copy")
        self._pending: dict[Future[None], tuple[MappingState, int]] = {}

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        for target in self._targets:
            target.close()

    def submit(self, state: MappingState, write: Callable[[MySQLTarget], None], size: int) -> Future[None]:
        """Hand over a piece of work; waits while all are busy and one more is waiting, or the pieces are too big.

        Args:
            size: about the bytes that the work holds in memory.

        Raises:
            ReplicationError: what an earlier piece ran into. A row that is refused is for its own table's pieces only.
        """
        while len(self._pending) > self._count or (self._pending and self._bytes_held() + size > PENDING_BYTES_MAX):
            done = {f: self._pending.pop(f) for f in wait(self._pending, return_when=FIRST_COMPLETED).done}
            for future, (owner, _) in done.items():
                error = future.exception()
                if error is not None and (owner is state or not isinstance(error, RowRejected)):
                    raise error
        future = self._pool.submit(self._work, state, write)
        self._pending[future] = (state, size)
        return future

    def _bytes_held(self) -> int:
        return sum(size for _, size in self._pending.values())

    def _work(self, state: MappingState, write: Callable[[MySQLTarget], None]) -> None:
        target = self._idle.get()
        try:
            with named_mapping(state):
                target.begin([state.name], alone=False)
                write(target)
                target.commit([])
        finally:
            self._idle.put(target)
