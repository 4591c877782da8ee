"""A source server that exists in memory: tables, a log, and the time between being logged and being visible.

A transaction goes through up to three moments: it enters the log (the stream delivers it, the head's place is
behind it), its rows become visible to reads, and, with GTIDs, it counts as executed. Locks hold in between: a
transaction that touches what another one has touched waits until that one is visible.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random

from simulation.specs import ID, PARTIAL_MAPS, SOURCE_COLUMNS, SOURCE_TABLES, TABLE_MAPS, U

from myrepetl_dagster.core.binlog.ddl.statement import Action, TableChange
from myrepetl_dagster.core.binlog.events import (
    Committed,
    Idle,
    KnownTable,
    LogAdvanced,
    LogEvent,
    RolledBack,
    RowsRead,
    TableChanged,
    XaBegun,
    XaDecided,
    XaPrepared,
)
from myrepetl_dagster.core.binlog.partial_rows import Absent, PartialChange, PartialRow
from myrepetl_dagster.core.model.errors import PositionLost
from myrepetl_dagster.core.model.gtid import GtidSet
from myrepetl_dagster.core.model.position import Position, Transaction
from myrepetl_dagster.core.model.tables import Column, Row, TableName
from myrepetl_dagster.core.plan.table_plan import TablePlan
from myrepetl_dagster.core.source.snapshot_reader import Chunk, RowLists

Change = tuple[Row | None, Row | None]
Rows = dict[object, Row]
Tables = dict[TableName, Rows]
Touched = set[tuple[object, ...]]
TableRow = tuple[TableName, Row | None, Row | None]

UUIDS = ("11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222")
SERVERS = ("the-source", "its-replica")
FIRST_OFFSET = 4
IDS, UNIQUES, VALUES = range(1, 9), range(1, 6), range(8)


class Kind(StrEnum):
    GTID = "MySQL with GTIDs"
    FILE = "MySQL by file and position"
    MARIADB = "MariaDB by file and position"


@dataclass(slots=True, eq=False)
class Logged:
    """One group of the log. `start`: where it begins; `xid`: of an XA transaction that it prepares or decides."""

    identity: Transaction
    start: tuple[int, int]
    end: tuple[int, int]
    events: list[LogEvent]
    changes: list[TableRow]
    truncates: TableName | None = None
    touched: Touched = field(default_factory=set)
    rolled_back: bool = False
    xid: str = ""
    prepares: bool = False
    visible: bool = False
    executed: bool = False
    committed_unix_s: float | None = None  # when it counted as committed to everybody, by the source's clock


def file_name(number: int) -> str:
    return f"binlog.{number:06}"


class FakeSource:
    """The second implementation of `ports.Source`.

    Args:
        tick: called before whatever the core asks; writes, makes visible, or fails, as the seed has it.
        now_s: the world's time; the source's clock is ahead of it or behind, and its replica's as much.
        unique: whether `u` is unique in both tables.
    """

    def __init__(
        self,
        rng: Random,
        kind: Kind,
        unique: bool,
        chunked: bool,
        tick: Callable[[], None],
        now_s: Callable[[], float],
    ) -> None:
        self.rng, self.kind, self.unique, self.by_key, self.tick = rng, kind, unique, chunked, tick
        self.now_s, self.ahead_s = now_s, rng.choice((0.0, 5_000.0, 1e9))
        self.in_order = kind is not Kind.GTID or rng.random() < 0.5
        self.number = 999_998  # of the present file; as text, the next but one sorts before it
        self.offset = FIRST_OFFSET
        self.log: list[Logged] = []
        self.ends: list[tuple[int, int]] = []
        self.places = {(self.number, FIRST_OFFSET)}  # where a stream may begin
        self.pending: list[Logged] = []  # logged, not visible
        self.unexecuted: list[Logged] = []  # visible, not in the set of the executed
        self.executed = GtidSet({})
        self.in_doubt: dict[str, Logged] = {}  # prepared XA transactions by xid
        self.gtids = dict.fromkeys(UUIDS, 0)
        self.tip: Tables = {name: {} for name in SOURCE_TABLES}  # as writers see it
        self.known_sets: dict[frozenset[object], list[bool]] = {}
        self.states: list[Tables] = []  # [n]: after n groups of the log
        self.shown: Tables = {}  # as readers see it
        self.seen: set[str] = set()  # what has happened, by name
        self.server = self.connected_to = SERVERS[0]
        self.reader = ""  # the run that reads at present
        self.handed_out: dict[tuple[str, str], int] = {}  # rows of the last read, by run and mapping
        self.partial_rng = Random(0)
        self.may_lack: dict[TableName, Sequence[int]] = dict.fromkeys(SOURCE_TABLES, ())  # columns that images may lack
        self._fill()

    def _fill(self) -> None:
        for name in SOURCE_TABLES:
            for number in self.rng.sample(IDS, self.rng.randint(0, 6)):
                row = self._row(number, self.tip[name])
                self.tip[name][number] = row
        self.states.append({name: dict(rows) for name, rows in self.tip.items()})
        self.shown = {name: dict(rows) for name, rows in self.tip.items()}

    def clock_unix_s(self) -> float:
        """The source's clock, which takes no time to look at for itself."""
        return 10_000.0 + self.ahead_s + self.now_s()

    # ---- writing ----
    def _row(self, number: object, rows: Rows) -> Row:
        rng = self.rng
        assert isinstance(number, int)
        return (number, self._free_unique(rows), rng.choice(VALUES) if rng.random() < 0.9 else None, rng.choice(_TEXTS))

    def _free_unique(self, rows: Rows) -> int | None:
        if not self.unique:
            return self.rng.choice(UNIQUES)
        taken = {row[U] for row in rows.values()}
        free = [u for u in UNIQUES if u not in taken]
        return self.rng.choice(free) if free and self.rng.random() < 0.8 else None

    def write(self) -> None:
        """One more group in the log."""
        rng = self.rng
        if rng.random() < 0.08:
            self._rotate()
        roll = rng.random()
        if roll < 0.05:
            self._log([], truncates=rng.choice(SOURCE_TABLES))
            self.seen.add("truncate")
        elif roll < 0.12:
            self._log([])  # other tables' business
        elif roll < 0.18 and self.in_doubt:
            self._decide(rng.choice(list(self.in_doubt)))
        else:
            steps = rng.choice((1, 1, 1, 2, 2, 3, 6))
            changes: list[TableRow] = []
            work = {name: dict(rows) for name, rows in self.tip.items()}
            name = rng.choice(SOURCE_TABLES)
            for _ in range(steps):
                if rng.random() < 0.2:
                    name = rng.choice(SOURCE_TABLES)
                self._change(name, work[name], changes)
            fate = rng.random()
            if fate < 0.06:
                self.seen.add("rolled back")
                self._log(changes, rolled_back=True)
            elif fate < 0.16:
                self._log(changes, xid=f"x{len(self.log)}", prepares=fate < 0.13)
            else:
                self._log(changes)

    def _change(self, name: TableName, rows: Rows, changes: list[TableRow]) -> None:
        rng = self.rng

        def put(before: Row | None, after: Row | None) -> None:
            if before is not None:
                del rows[before[ID]]
            if after is not None:
                rows[after[ID]] = after
            changes.append((name, before, after))

        free = [number for number in IDS if number not in rows]
        roll = rng.random()
        if not rows or (free and roll < 0.3):
            put(None, self._row(rng.choice(free), rows))
            return
        old = rows[rng.choice(list(rows))]
        if roll < 0.42:
            put(old, None)
        elif roll < 0.55 and free:
            self.seen.add("key change")
            put(old, (rng.choice(free), *old[1:]))
        elif roll < 0.70 and self.unique and len(rows) > 1:
            self._swap(old, rows, put)
        elif roll < 0.80:
            put(old, (old[ID], self._free_unique(rows), *old[2:]))
        else:
            put(old, (*old[:2], rng.choice(VALUES) if rng.random() < 0.9 else None, rng.choice(_TEXTS)))

    def _swap(self, old: Row, rows: Rows, put: Callable[[Row | None, Row | None], None]) -> None:
        """Two rows change their unique values, by way of NULL or of a row that goes and comes back."""
        self.seen.add("swap")
        other = self.rng.choice([row for row in rows.values() if row[ID] != old[ID]])
        if self.rng.random() < 0.5:
            between = (old[ID], None, *old[2:])
            put(old, between)
            put(other, (other[ID], old[U], *other[2:]))
            put(between, (old[ID], other[U], *old[2:]))
        else:
            put(old, None)
            put(other, (other[ID], old[U], *other[2:]))
            put(None, (old[ID], other[U], *old[2:]))

    def _rotate(self) -> None:
        if self.kind is not Kind.MARIADB:  # MySQL waits for commits that are under way
            self.reveal_all()
        self.number += 1
        self.offset = FIRST_OFFSET
        self.seen.add("rotation")
        self.places.add((self.number, FIRST_OFFSET))

    def _log(
        self,
        changes: list[TableRow],
        *,
        truncates: TableName | None = None,
        rolled_back: bool = False,
        xid: str = "",
        prepares: bool = False,
    ) -> None:
        touched = set() if rolled_back else _touched(changes)
        for other_xid, other in self.in_doubt.items():
            if not other.touched.isdisjoint(touched) or any(table == truncates for table, *_ in other.changes):
                self._decide(other_xid)  # what would have waited for it is not done
                return
        self.seen.update(["XA prepared"] if prepares else ["XA one phase"] if xid else [])
        at = self._next_transaction()
        start = (self.number, self.offset)
        events: list[LogEvent] = [XaBegun()] if xid else []
        for table, group in _grouped(self.rng, changes):
            self.offset += 10 * len(group) + 20
            here = ending(at, self.offset)
            images = self._partial(table, group)
            table_map = TABLE_MAPS[table] if images is None else PARTIAL_MAPS[table]
            events.append(RowsRead(table, table_map, images or group, here, 10 * len(group)))
        self.offset += 30
        identity = ending(at, self.offset)
        if truncates is not None:
            events.append(TableChanged((TableChange(Action.TRUNCATE, truncates),), identity))
        if prepares:
            events.append(XaPrepared(xid, identity))
        else:
            events.append(RolledBack(identity) if rolled_back else Committed(identity))
        self._append(Logged(identity, start, self.end, events, changes, truncates, touched, rolled_back, xid, prepares))
        if prepares:
            self.in_doubt[xid] = self.log[-1]

    def _decide(self, xid: str) -> None:
        """Commit or roll back a prepared XA transaction; whoever does that has seen it prepared."""
        prepared = self.in_doubt.pop(xid)
        self._finish(prepared)
        commits = self.rng.random() < 0.7
        self.seen.add("XA committed" if commits else "XA rolled back")
        at, start = self._next_transaction(), self.end
        self.offset += 30
        identity = ending(at, self.offset)
        changes = prepared.changes if commits else []
        events: list[LogEvent] = [XaDecided(xid, commits, identity)]
        self._append(Logged(identity, start, self.end, events, changes, touched=prepared.touched, xid=xid))

    def _finish(self, entry: Logged) -> None:
        if not entry.visible:
            self.reveal(entry)
        if entry in self.unexecuted:
            self.execute(entry)

    def _next_transaction(self) -> Transaction:
        uuid = UUIDS[0] if self.rng.random() < 0.8 else UUIDS[1]
        gtid, mariadb_gtid = None, ""
        if self.kind is Kind.GTID:
            self.gtids[uuid] += 1
            gtid = (uuid, self.gtids[uuid])
        elif self.kind is Kind.MARIADB:
            self.gtids[UUIDS[0]] += 1
            mariadb_gtid = f"{int(uuid == UUIDS[1])}-1-{self.gtids[UUIDS[0]]}"
        now_unix_s = self.clock_unix_s()
        logged_unix_s = float(int(now_unix_s)) if self.kind is Kind.MARIADB else now_unix_s
        return Transaction(file_name(self.number), 0, gtid, mariadb_gtid, logged_unix_s)

    def _partial(self, table: TableName, group: list[Change]) -> list[PartialChange] | None:
        """The changes as images without some of the columns that they may lack; None for whole images."""
        rng, found = self.partial_rng, list[PartialChange]()
        if not self.may_lack[table] or rng.random() < 0.4:
            return None
        for before, after in group:
            others = [i for i in range(len(SOURCE_COLUMNS)) if i not in self.may_lack[table]]
            if before is None or (after is not None and any(after[i] != before[i] for i in others)):
                return None
            lacking = {i for i in self.may_lack[table] if rng.random() < 0.8}
            changed = {i for i in lacking if after is not None and after[i] != before[i]}
            found.append((_without(before, lacking), after and _without(after, lacking - changed)))
        self.seen.add("partial images")
        return found

    def _append(self, entry: Logged) -> None:
        for other in list(self.pending):
            if not other.visible and _conflict(entry, other):
                self.reveal(other)  # its locks were waited for
        self.log.append(entry)
        self.ends.append(entry.end)
        self.places.add(entry.end)
        state = dict(self.states[-1])
        for name in {entry.truncates} if entry.truncates else {table for table, *_ in entry.changes}:
            state[name] = dict(state[name])
        apply_to(state, entry)
        self.states.append(state)
        self.tip = state
        self.pending.append(entry)

    # ---- becoming visible ----
    def reveal(self, entry: Logged) -> None:
        """Make a group visible, after all before it where commits are in order."""
        if self.pending[0] is not entry and not self.in_order:
            self.seen.add("out of order")
        for one in self.pending[: self.pending.index(entry) + 1] if self.in_order else [entry]:
            self.pending.remove(one)
            one.visible = True
            apply_to(self.shown, one)
            if self.kind is Kind.GTID:
                self.unexecuted.append(one)
            else:
                one.committed_unix_s = self.clock_unix_s()

    def execute(self, entry: Logged) -> None:
        """Count a visible group as executed; after those that it has seen the rows of."""
        for one in sorted(self.unexecuted, key=lambda e: e.end):
            if one.end < entry.end and one in self.unexecuted and (self.in_order or _conflict(one, entry)):
                self.execute(one)
        self.unexecuted.remove(entry)
        entry.executed = True
        entry.committed_unix_s = self.clock_unix_s()
        assert entry.identity.gtid is not None
        self.executed = self.executed.with_gtid(*entry.identity.gtid)

    def fail_over(self) -> None:
        """Another server takes the source's place: it has all its transactions, in files of its own."""
        self.seen.add("failover")
        self.reveal_all()
        self.server = SERVERS[1]
        self.number, self.offset = 7, FIRST_OFFSET
        self.places = {(self.number, FIRST_OFFSET)}
        for i, entry in enumerate(self.log):
            if self.rng.random() < 0.1:
                self._rotate()
            entry.start, at = self.end, self._moved_here(entry.identity)
            for j, event in enumerate(entry.events):
                if isinstance(event, RowsRead):
                    self.offset += event.size_bytes + 20
                    here = ending(at, self.offset)
                    entry.events[j] = RowsRead(
                        event.table, event.table_map, event.partial_changes, here, event.size_bytes
                    )
            self.offset += 30
            entry.identity, entry.end = ending(at, self.offset), self.end
            for j, event in enumerate(entry.events):
                if not isinstance(event, RowsRead | XaBegun | LogAdvanced | Idle):
                    entry.events[j] = replace(event, transaction=entry.identity)
            self.ends[i] = entry.end
            self.places.add(entry.end)

    def _moved_here(self, identity: Transaction) -> Transaction:
        return replace(identity, file=file_name(self.number))

    def reveal_some(self) -> None:
        waiting = [*self.pending, *self.unexecuted]
        if waiting:
            entry = self.rng.choice(waiting)
            if entry.visible:
                self.execute(entry)
            else:
                self.reveal(entry)

    def reveal_all(self) -> None:
        while self.pending:
            self.reveal(self.pending[0])
        while self.unexecuted:
            self.execute(self.unexecuted[0])

    def _readable(self, name: TableName) -> Rows:
        """A table as a reader sees it; TRUNCATE lets none look in between."""
        for entry in list(self.pending):
            if entry.truncates == name and not entry.visible:
                self.reveal(entry)
        return self.shown[name]

    # ---- positions ----
    def _position(self, place: tuple[int, int]) -> Position:
        gtid_set = self.executed if self.kind is Kind.GTID else None
        return Position(file_name(place[0]), place[1], gtid_set, self._mariadb_gtid(place), self.server)

    def _mariadb_gtid(self, place: tuple[int, int]) -> str:
        if self.kind is not Kind.MARIADB:
            return ""
        last: dict[int, str] = {}
        for entry in self.log[: bisect.bisect_right(self.ends, place)]:
            last[int(entry.identity.mariadb_gtid[0])] = entry.identity.mariadb_gtid
        return ",".join(last[domain] for domain in sorted(last))

    @property
    def end(self) -> tuple[int, int]:
        return self.number, self.offset

    def head(self) -> Position:
        self.tick()
        return self._position(self.end)

    @property
    def one_watermark(self) -> bool:
        return self.kind is not Kind.FILE

    def safe_watermark(self, tables: Sequence[TableName], earlier: Position | None = None) -> Position:
        self.tick()
        if earlier is not None and self.one_watermark and self.rng.random() < 0.8:
            self.seen.add("one watermark for two tables")
            return earlier
        match self.kind:
            case Kind.GTID:
                return self._position((self.number, FIRST_OFFSET))
            case Kind.MARIADB:
                return self._position(self.pending[0].start if self.pending else self.end)
        names = set(tables)  # the lock waits for whoever has written these tables
        for xid, entry in list(self.in_doubt.items()):
            if any(t in names for t, *_ in entry.changes):
                self._decide(xid)
        for entry in list(self.pending):
            if not entry.visible and (entry.truncates in names or any(t in names for t, *_ in entry.changes)):
                self.reveal(entry)
        return self._position(self.end)

    def wait_visible(self, position: Position, tables: Sequence[TableName]) -> None:
        while not self.safe_watermark(tables).covers(position):
            self.seen.add("waited for visibility")
            self.reveal_some()

    def side_effect(self, written: Collection[TableName], names: Collection[str]) -> None:
        """Its log has no statements."""

    def check_position(self, position: Position) -> None:
        self.tick()
        if position.gtid_set is not None:
            while not position.gtid_set.issubset(self.executed) and (self.pending or self.unexecuted):
                self.reveal_some()  # as the real one waits
            if not position.gtid_set.issubset(self.executed):
                raise PositionLost("not of this server")
        elif position.order > self.end or position.mariadb_gtid != self._mariadb_gtid(position.order):
            raise PositionLost("another log")

    def now_unix_s(self) -> float:
        self.tick()
        return self.clock_unix_s()

    def close(self) -> None:
        pass

    # ---- rows ----
    def columns(self, name: TableName) -> tuple[Column, ...]:
        return SOURCE_COLUMNS

    def layout(self, plan: TablePlan) -> tuple[Column, ...]:
        return SOURCE_COLUMNS

    def chunked(self, plan: TablePlan) -> bool:
        return self.by_key

    def read_chunk(self, plan: TablePlan, after: tuple[str, ...] | None, rows_max: int) -> Chunk:
        self.tick()
        rows = self._readable(plan.source.name)
        first = int(after[0]) if after else 0
        found = [row for _, row in sorted((n, r) for n, r in rows.items() if isinstance(n, int) and n > first)]
        found = found[:rows_max]
        self.handed_out[self.reader, plan.name] = len(found)
        if not found:
            return Chunk([], after, last=True)
        return Chunk(found, (str(found[-1][ID]),), last=len(found) < rows_max)

    def estimated_rows(self, plan: TablePlan) -> int | None:
        return len(self.shown[plan.source.name])

    def read_all(self, plan: TablePlan, rows_max: int) -> Iterator[Chunk]:
        self.tick()
        rows = list(self._readable(plan.source.name).values())
        for start in range(0, len(rows), rows_max):
            self.handed_out[self.reader, plan.name] = len(rows[start : start + rows_max])
            yield Chunk(rows[start : start + rows_max], None, last=False)
            self.tick()

    def read_keys(self, plan: TablePlan, key: Sequence[str], keys: Sequence[Sequence[str]]) -> RowLists:
        self.tick()
        assert tuple(key) == ("id",)
        rows = self._readable(plan.source.name)
        yield [rows[int(one)] for (one,) in keys if int(one) in rows]

    # ---- the log ----
    def read_log(
        self, start: Position, known: dict[TableName, KnownTable], *, follow: bool = False
    ) -> Generator[LogEvent, None, None]:
        at = self._first_entry(start)
        if start.gtid_set is not None:
            number, offset = (self.log[at].start[0] if at < len(self.log) else self.number), FIRST_OFFSET
            at = next((i for i, entry in enumerate(self.log) if entry.start[0] == number), at)  # it skips what is held
        else:
            number, offset = start.order
            assert (number, offset) in self.places, f"{start} is inside a transaction"
        yield LogAdvanced(file_name(number), offset)
        while True:
            self.tick()
            if at < len(self.log):
                entry = self.log[at]
                at += 1
                if entry.start[0] != number:
                    number, offset = entry.start[0], FIRST_OFFSET
                    yield LogAdvanced(file_name(number), offset)
                if start.gtid_set is None or not start.gtid_set.contains(*(entry.identity.gtid or ("", 0))):
                    yield from self._deliver(entry, known, follow)
                    offset = entry.identity.end_offset_bytes
                elif follow and self.rng.random() < 0.2:  # while it skips much, it gives a sign of life
                    yield LogAdvanced(file_name(number), entry.start[1], at_end=True)
                    yield Idle()
            else:
                if number != self.number:
                    number, offset = self.number, FIRST_OFFSET
                    yield LogAdvanced(file_name(number), offset)
                if not follow:
                    break
                if self.rng.random() < 0.3:
                    yield LogAdvanced(file_name(number), offset, at_end=True)
                    offset = self.offset
                yield Idle()
        yield LogAdvanced(file_name(number), offset)

    def _deliver(self, entry: Logged, known: dict[TableName, KnownTable], follow: bool) -> Iterator[LogEvent]:
        for event in entry.events:
            if not isinstance(event, RowsRead) or event.table in known:
                # Whoever applies rows uses them up.
                yield replace(event) if isinstance(event, RowsRead) else event
                self.tick()
                if follow and self.rng.random() < 0.1:  # the next one is still under way
                    yield Idle()

    def _first_entry(self, start: Position) -> int:
        if start.gtid_set is None:
            return bisect.bisect_right(self.ends, start.order)
        held = start.gtid_set
        missing = (i for i, e in enumerate(self.log) if not held.contains(*(e.identity.gtid or ("", 0))))
        return next(missing, len(self.log))

    # ---- for the judge ----
    def included(self, position: Position) -> list[bool]:
        """Which groups of the log a position holds."""
        if position.gtid_set is None:
            place = (int(position.file.rpartition(".")[2]), position.offset_bytes)
            number = bisect.bisect_right(self.ends, place)
            return [True] * number + [False] * (len(self.log) - number)
        members = position.gtid_set.members
        asked = frozenset(members.items())
        known = self.known_sets.get(asked, [])
        known += [_is_member(members, entry.identity.gtid) for entry in self.log[len(known) :]]
        self.known_sets[asked] = known
        return list(known)

    def state_at(self, included: list[bool]) -> Tables:
        """The tables after just those groups."""
        number = included.index(False) if False in included else len(included)
        if True not in included[number:]:
            return self.states[number]
        state = {name: dict(rows) for name, rows in self.states[number].items()}
        for entry, held in zip(self.log[number:], included[number:], strict=True):
            if held:
                apply_to(state, entry)
        return state


_TEXTS = (b"a", b"b")


def _is_member(members: dict[str, tuple[tuple[int, int], ...]], gtid: tuple[str, int] | None) -> bool:
    assert gtid is not None
    return any(first <= gtid[1] < end for first, end in members.get(gtid[0], ()))


def ending(at: Transaction, offset_bytes: int) -> Transaction:
    return Transaction(at.file, offset_bytes, at.gtid, at.mariadb_gtid, at.committed_at_unix_s)


def _without(row: Row, lacking: set[int]) -> PartialRow:
    return tuple(Absent.NO_CELL if i in lacking else cell for i, cell in enumerate(row))


def _touched(changes: list[TableRow]) -> Touched:
    """What rows are locked: by key, and by unique value."""
    rows = [(table, row) for table, *images in changes for row in images if row is not None]
    keys: Touched = {(table, ID, row[ID]) for table, row in rows}
    return keys | {(table, U, row[U]) for table, row in rows if row[U] is not None}


def _conflict(a: Logged, b: Logged) -> bool:
    for one, other in ((a, b), (b, a)):
        if one.truncates and (other.truncates == one.truncates or any(t == one.truncates for t, *_ in other.changes)):
            return True
    return not a.touched.isdisjoint(b.touched)


def apply_to(state: Tables, entry: Logged) -> None:
    """Do to the tables what the group does."""
    if entry.rolled_back or entry.prepares:
        return
    if entry.truncates is not None:
        state[entry.truncates].clear()
    for table, before, after in entry.changes:
        rows = state[table]
        if before is not None:
            del rows[before[ID]]
        if after is not None:
            rows[after[ID]] = after


def _grouped(rng: Random, changes: list[TableRow]) -> Iterator[tuple[TableName, list[Change]]]:
    """Neighbours of one table and kind, in one event or in several."""
    group: list[Change] = []
    last: tuple[TableName, bool, bool] | None = None
    for table, before, after in changes:
        kind = (table, before is None, after is None)
        if group and last is not None and (kind != last or rng.random() < 0.3):
            yield last[0], group
            group = []
        group.append((before, after))
        last = kind
    if last is not None:
        yield last[0], group
