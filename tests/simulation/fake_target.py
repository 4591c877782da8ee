"""A target server that exists in memory: rows by key, a unique index beside it, checkpoints, a fence, and faults."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from myrepetl_dagster.core.concurrency.background import Waiting
from myrepetl_dagster.core.model.checkpoint import Checkpoint
from myrepetl_dagster.core.model.errors import RowRejected, StaleRun, TargetBusy
from myrepetl_dagster.core.plan.table_plan import TablePlan, UniqueKeys
from myrepetl_dagster.core.rows.literal_codegen import LiteralKey, LiteralRow
from myrepetl_dagster.core.rows.writable_rows import KEPT, Mutation, Mutations, Rendered, WritableRows

Held = dict[LiteralKey, LiteralRow]
Committed = Callable[["Database", "FakeConnection", Sequence[Checkpoint]], None]
Claims = dict[str, set[str]]


@dataclass(eq=False)
class Database:
    """What one target server holds, whoever is connected.

    Args:
        locked: by whose open transaction.
        is_large: whether its tables are.
        is_quick: whether what was started a while ago has ended, as far as anybody can see.
    """

    tables: dict[str, Held] = field(default_factory=dict)
    checkpoints: dict[str, Checkpoint] = field(default_factory=dict)
    prepared: dict[int, tuple[str, str, bytes]] = field(default_factory=dict)  # mapping, token, payload
    parts: int = 0
    owners: dict[str, str] = field(default_factory=dict)
    locked: dict[str, FakeConnection] = field(default_factory=dict)
    open: list[FakeConnection] = field(default_factory=list)  # connections with a transaction
    is_quick: Callable[[], bool] = lambda: False
    is_large: bool = False


class FakeTarget:
    """The second implementation of `ports.Target`: what one attempt asks of it, and its connections that write.

    Args:
        claims: as `MySQLTarget` has them: the names under which this run has claimed a mapping so far.
        fault: called with "before" and "after" what it is named for; raises what the seed has in store.
        committed: called after each commit, before anybody is told of it.
    """

    def __init__(
        self,
        database: Database,
        run_id: str,
        claims: Claims,
        fault: Callable[[str], None],
        committed: Committed,
        connection_class: type[FakeConnection] | None = None,
    ) -> None:
        self.database, self.run_id, self.claims, self.fault, self.committed = database, run_id, claims, fault, committed
        self.connection_class = connection_class or FakeConnection
        self.connections: list[FakeConnection] = []

    # ---- connections ----
    @property
    def apply(self) -> FakeConnection:
        return self.apply_connections(1)[0]

    def apply_connections(self, number: int) -> list[FakeConnection]:
        while len(self.connections) < number:
            self.connections.append(self.connection_class(self))
        return self.connections[:number]

    def new_connections(self, number: int) -> list[FakeConnection]:
        raise AssertionError("only copies of real servers have connections of their own")

    def close(self) -> None:
        for one in self.connections:
            one.close()

    # ---- checkpoints ----
    def claim(self, mappings: Sequence[str]) -> dict[str, Checkpoint]:
        self.fault("claim")
        database = self.database
        for name in mappings:
            if name in database.locked:
                raise TargetBusy("lock wait")
        for name in mappings:
            if name in self.claims:
                self.claims[name].add(self.run_id)
        for name in mappings:
            if name not in self.claims or database.owners.get(name) in self.claims[name]:
                database.owners[name] = self.run_id
        self.fault("claim")  # done, but the answer is lost
        self.check_fence(mappings)
        for name in mappings:
            self.claims.setdefault(name, set()).add(self.run_id)
        return {name: database.checkpoints[name] for name in mappings if name in database.checkpoints}

    def check_fence(self, mappings: Iterable[str]) -> None:
        for name in mappings:
            if self.database.owners.get(name) != self.run_id:
                raise StaleRun(name)

    # ---- what the table holds ----
    def table(self, plan: TablePlan) -> Held:
        return self.database.tables.setdefault(plan.target.name.table, {})

    def own_keys(self, plan: TablePlan) -> list[LiteralKey]:
        tags = [(i, str(plan.fixed[name])) for i, name in enumerate(plan.key) if name in plan.fixed]
        keys = [key for key in self.table(plan) if all(key[i] == tag for i, tag in tags)]
        return sorted(keys, key=lambda key: [int(part) for part in key])

    def is_empty(self, plan: TablePlan) -> bool:
        self.fault("look")
        return not self.own_keys(plan)

    def keys_after(self, plan: TablePlan, after: LiteralKey | None, rows_max: int) -> list[LiteralKey]:
        self.fault("look")
        first = [int(part) for part in after] if after else []
        return [key for key in self.own_keys(plan) if [int(part) for part in key] > first][:rows_max]

    def estimated_rows(self, plan: TablePlan) -> int | None:
        return len(self.own_keys(plan))

    def is_large(self, plan: TablePlan) -> bool:
        return self.database.is_large

    def exceeds_memory(self, plans: Sequence[TablePlan]) -> bool:
        return self.database.is_large

    def takes_changes(self, plan: TablePlan, rows: int, *, begun: bool) -> bool:
        return False

    @property
    def takes_bulk(self) -> bool:
        return False


class FakeConnection:
    """The second implementation of `ports.ApplyConnection`.

    What is done in the background is done as late as can be, but for what may be done before the commit that is under
    way: that is done at once.
    """

    def __init__(self, target: FakeTarget) -> None:
        self.target, self.database = target, target.database
        self.undo: list[tuple[dict[Any, Any], Any, Any]] = []  # what to put back; None for nothing
        self.written: list[LiteralRow | None] = []  # in the open transaction; None for a deleted row
        self.evicted = 0
        self.lacked = 0  # rows to update that were missing
        self.started: Waiting | None = None
        self.waits: threading.Event | None = None  # what was started, for this predecessor
        self.failed: Exception | None = None

    # ---- in the background ----
    def start(self, work: Callable[[], Waiting]) -> None:
        self.finish()
        self.started = work()
        if any(one.started is not None for one in self.target.connections if one is not self):
            self._go_on()

    def _go_on(self, came: bool = True) -> None:
        assert self.started is not None
        waits, self.waits = self.waits, None
        try:
            assert waits is None or waits.is_set() or not came, "its predecessor is not through"
            self.waits = self.started.send(came if waits else None)  # type: ignore[arg-type]
        except StopIteration:
            self.started = None
        except Exception as error:  # as a thread keeps it, until somebody asks
            self.started, self.failed = None, error

    def give_way(self) -> None:
        """Its patience is over: the predecessor waits for its locks."""
        while self.waits is not None and self.waits.is_set():  # those before that one are through
            self._go_on()
        if self.waits is not None:
            self._go_on(came=False)
        if self.undo:  # it is another run's: each will wait for the other, and this one is the victim
            self.started, self.waits, self.failed = None, None, self.failed or TargetBusy("deadlock")
            self.rollback()

    def finish(self) -> None:
        while self.started is not None:
            self._go_on()
        failed, self.failed = self.failed, None
        if failed is not None:
            raise failed

    @property
    def busy(self) -> bool:
        return self.started is not None and not self.database.is_quick()

    @property
    def operation_under_way(self) -> int | None:
        return 0  # whoever waits for it too long gives way

    # ---- the transaction ----
    def begin(self, mappings: Iterable[str], *, exclusive: bool = True) -> None:
        names = list(mappings)
        self.begin_unfenced()
        self.fence(names)

    def begin_unfenced(self) -> None:
        self.target.fault("begin")
        assert not self.undo, "a transaction is open"
        self.database.open.append(self)

    def fence(self, mappings: Iterable[str]) -> None:
        names = list(mappings)
        if any(self.database.locked.get(name, self) is not self for name in names):
            raise TargetBusy("lock wait")
        self.target.check_fence(names)
        for name in names:
            self.database.locked[name] = self

    def _lock(self, held: Held, key: LiteralKey) -> None:
        """Rows that another transaction has written are its own until it ends."""
        for one in self.database.open:
            if one is not self and any(table is held and k == key for table, k, _ in one.undo):
                if one.waits is None:
                    raise TargetBusy("lock wait")
                one.give_way()

    def _put(self, held: Held, key: LiteralKey, row: LiteralRow | None) -> None:
        self._lock(held, key)  # also of a row that another transaction has deleted
        if row is None and key not in held:
            return  # a delete that finds nothing locks nothing
        self.undo.append((held, key, held.get(key)))
        self.written.append(row)
        if row is not None:
            held[key] = row
        else:
            held.pop(key, None)

    def write(self, plan: TablePlan, rows: WritableRows) -> None:
        self.target.fault("write")
        assert self in self.database.open, "no transaction is open"
        assert isinstance(rows, (Mutations, Rendered)), "nothing else is made for this target"
        mutations, settling = (rows.mutations(), False) if isinstance(rows, Rendered) else (rows.rows, rows.settling)
        self.write_mutations(plan, mutations, settling=settling)

    def write_mutations(self, plan: TablePlan, mutations: Sequence[Mutation], *, settling: bool) -> None:
        held = self.target.table(plan)
        if plan.unique_keys is UniqueKeys.NONE and not any(KEPT in row for _, row in mutations if row is not None):
            self._write_by_key(held, mutations)
            return
        evict = settling and plan.unique_keys is UniqueKeys.MIRRORED
        names = [c.target for c in plan.columns]
        uniques = [[names.index(name) for name in unique] for unique in plan.other_unique_keys]
        for key, row in mutations:
            if row is not None and KEPT in row:
                self._update(plan, key, row, settling=settling)
                continue
            if row is not None:
                for other in _collisions(held, key, row, uniques):
                    if not evict:
                        raise RowRejected("a unique value is another row's", code=1690)
                    self._put(held, other, None)
                    self.evicted += 1
            self._put(held, key, row)

    def _update(self, plan: TablePlan, key: LiteralKey, row: LiteralRow, *, settling: bool) -> None:
        held = self.target.table(plan)
        self._lock(held, key)
        old = held.get(key)
        if old is None:
            self.lacked += 1
            if not settling or plan.unique_keys is UniqueKeys.MIRRORED:
                raise RowRejected("a row to update is missing")
            return
        names = [c.target for c in plan.columns]
        new = tuple(before if literal == KEPT else literal for before, literal in zip(old, row, strict=True))
        new_key = tuple(new[names.index(name)] for name in plan.key)
        if new_key != key:
            if settling:
                raise RowRejected("a row in part gets another key")
            self._put(held, key, None)
        self._put(held, new_key, new)

    def _write_by_key(self, held: Held, mutations: Sequence[Mutation]) -> None:
        last = dict(mutations)
        for gone in (True, False):
            for key, row in last.items():
                if (row is None) == gone:
                    self._put(held, key, row)

    def prepared(self) -> Prepared:
        return Prepared(self)

    def clear(self, plan: TablePlan) -> None:
        self.target.fault("write")
        held = self.target.table(plan)
        for key in self.target.own_keys(plan):
            self._put(held, key, None)

    def commit(self, checkpoints: Sequence[Checkpoint]) -> None:
        self.target.fault("before")
        self.store(checkpoints)
        with self._others_unseen():
            self.target.committed(self.database, self, checkpoints)
        self.end()
        self.target.fault("after")

    @contextmanager
    def _others_unseen(self) -> Iterator[None]:
        """What readers see: without the rows of other open transactions."""
        redo: list[tuple[dict[Any, Any], Any, Any]] = []
        for one in self.database.open:
            if one is not self:
                for held, key, row in reversed(one.undo):
                    redo.append((held, key, held.get(key)))
                    _set(held, key, row)
        yield
        for held, key, row in reversed(redo):
            _set(held, key, row)

    def store(self, checkpoints: Sequence[Checkpoint]) -> None:
        for one in checkpoints:
            assert self.database.locked.get(one.mapping) is self, "a checkpoint is stored outside of the fence"
            self.database.checkpoints[one.mapping] = one

    def end(self) -> None:
        self.undo.clear()
        self.written.clear()
        self.evicted = self.lacked = 0
        if self in self.database.open:
            self.database.open.remove(self)
        self.database.locked = {name: owner for name, owner in self.database.locked.items() if owner is not self}

    def rollback(self) -> None:
        for held, key, row in reversed(self.undo):
            _set(held, key, row)
        self.end()

    def close(self) -> None:
        self.started = self.failed = None
        self.rollback()


def _set(held: dict[Any, Any], key: Any, row: Any) -> None:
    if row is None:
        held.pop(key, None)
    else:
        held[key] = row


class Prepared:
    """The table of rows of prepared XA transactions, in the open transaction."""

    def __init__(self, connection: FakeConnection) -> None:
        self.connection = connection
        self.table = connection.database.prepared

    def _put(self, part: int, value: tuple[str, str, bytes] | None) -> None:
        self.connection.undo.append((self.table, part, self.table.get(part)))
        if value is not None:
            self.table[part] = value
        else:
            del self.table[part]

    def keep(self, mapping: str, token: str, payload: bytes) -> None:
        self.connection.target.fault("write")
        assert self.connection.database.locked.get(mapping) is self.connection, "no transaction is open"
        self.connection.database.parts += 1
        self._put(self.connection.database.parts, (mapping, token, payload))

    def kept(self, mapping: str, token: str) -> Iterator[bytes]:
        self.connection.target.fault("write")
        yield from [payload for _, (m, t, payload) in sorted(self.table.items()) if (m, t) == (mapping, token)]

    def drop_all_but(self, mapping: str, tokens: Sequence[str]) -> None:
        self.connection.target.fault("write")
        for part, (m, t, _) in list(self.table.items()):
            if m == mapping and t not in tokens:
                self._put(part, None)


def _collisions(held: Held, key: LiteralKey, row: LiteralRow, uniques: list[list[int]]) -> list[LiteralKey]:
    found = []
    for unique in uniques:
        wanted = [row[i] for i in unique]
        if "NULL" not in wanted:
            found += [k for k, other in held.items() if k != key and [other[i] for i in unique] == wanted]
    return found
