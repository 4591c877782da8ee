"""Applying a log that is written down here, event by event: what is committed when, and under which position.

The interleavings are those that the simulator (`tests/simulation`) found, or that its mutants stand for.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import pytest
from simulation.fake_source import FakeSource
from simulation.fake_target import Database, FakeConnection, FakeTarget
from simulation.specs import SOURCE_COLUMNS, SOURCE_TABLES, TABLE_MAPS, Spec, plan_of

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
from myrepetl_dagster.core.model.checkpoint import Checkpoint, Phase
from myrepetl_dagster.core.model.checkpoint_codec import columns_to_json
from myrepetl_dagster.core.model.errors import PositionLost, SourceLost
from myrepetl_dagster.core.model.gtid import GtidSet
from myrepetl_dagster.core.model.limits import Limits
from myrepetl_dagster.core.model.position import Position, Transaction
from myrepetl_dagster.core.model.tables import Row, TableName
from myrepetl_dagster.core.replication.catchup.catch_up import CatchUp
from myrepetl_dagster.core.replication.catchup.work import MappingWork
from myrepetl_dagster.core.replication.lag import SourceClock
from myrepetl_dagster.core.replication.mapping_state import MappingState

TABLE = SOURCE_TABLES[0]
FILE, SERVER = "binlog.000001", "the-source"
NOW_UNIX_S = 1_000_000.0
UUID = "11111111-1111-1111-1111-111111111111"


class ScriptedSource(FakeSource):
    """Delivers the events it is given, and nothing else."""

    def __init__(self, events: Sequence[LogEvent]) -> None:
        self.events = events

    def now_unix_s(self) -> float:
        return NOW_UNIX_S

    def read_log(
        self, start: Position, known: dict[TableName, KnownTable], *, follow: bool = False
    ) -> Generator[LogEvent, None, None]:
        yield from self.events


CLOCK = SourceClock(ScriptedSource([]))


class Recorder:
    """A target's database, and what each commit left in it: (position's offset, keys)."""

    def __init__(self) -> None:
        self.database = Database()
        self.commits: list[tuple[int, list[str]]] = []

    def target(self) -> FakeTarget:
        target = FakeTarget(self.database, "run", {}, lambda _: None, self.note)
        target.claim(["m"])
        return target

    def note(self, database: Database, _: FakeConnection, stored: Sequence[Checkpoint]) -> None:
        for one in stored:
            self.commits.append((one.position.offset_bytes, self.keys))

    @property
    def keys(self) -> list[str]:
        return sorted(key for (key,) in self.database.tables.get("people", {}))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def position(offset: int, gtids: str | None = None, server: str = SERVER) -> Position:
    return Position(FILE, offset, None if gtids is None else GtidSet.parse(gtids), "", server)


def state(
    recorder: Recorder, start: Position, phase: Phase = Phase.REPLICATING, high: Position | None = None
) -> MappingState:
    checkpoint = Checkpoint("m", phase, start, high_watermark=high, source_columns_json=columns_to_json(SOURCE_COLUMNS))
    return MappingState(plan_of(Spec("m", 0, "people")), recorder.target(), checkpoint, start)


def at(offset: int, number: int | None = None) -> Transaction:
    return Transaction(FILE, offset, None if number is None else (UUID, number))


def inserted(offset: int, *keys: int, number: int | None = None) -> RowsRead:
    rows: list[tuple[Row | None, Row | None]] = [(None, (key, None, 0, b"a")) for key in keys]
    return RowsRead(TABLE, TABLE_MAPS[TABLE], rows, at(offset, number), 10)


def catch_up(one: MappingState, events: Sequence[LogEvent], until: Position, rows_max: int = 100) -> None:
    limits = Limits(batch_rows_max=rows_max, batch_interval_s_max=1e9)
    CatchUp(ScriptedSource(events), [MappingWork(one)], until, CLOCK, limits, lambda _: None).apply()


TRUNCATED = TableChanged((TableChange(Action.TRUNCATE, TABLE),), at(20))


def test_small_transactions_become_one_commit(recorder: Recorder) -> None:
    """Nothing is committed before the batch is full or the head is reached, and then at a transaction's end."""
    events: list[LogEvent] = [
        inserted(15, 1),
        Committed(at(20)),
        inserted(25, 2),
        Committed(at(30)),
        inserted(35, 3),
        Committed(at(40)),
    ]
    catch_up(state(recorder, position(4)), events, position(40), rows_max=2)

    assert recorder.commits == [(30, ["1", "2"]), (40, ["1", "2", "3"])]


def test_a_transaction_too_big_to_hold_becomes_visible_at_once(recorder: Recorder) -> None:
    """Its parts are written one by one, and committed together, under its own position."""
    events: list[LogEvent] = [inserted(10 + key, key, key + 10) for key in range(5)]
    catch_up(state(recorder, position(4)), [*events, Committed(at(40))], position(40), rows_max=1)

    assert [offset for offset, _ in recorder.commits] == [40, 40]  # the second by the end of the run
    assert len(recorder.commits[0][1]) == 10


def test_a_truncation_is_done_before_the_big_transaction_behind_it(recorder: Recorder) -> None:
    """TRUNCATE brings no rows, but it is work: it must not be done after parts of what follows it."""
    recorder.database.tables["people"] = {("9",): ("9", "NULL", "0", "_utf8mb4'a'")}
    events: list[LogEvent] = [TRUNCATED, Committed(at(20)), inserted(25, 1, 2), inserted(30, 3), Committed(at(40))]
    catch_up(state(recorder, position(4)), events, position(40), rows_max=1)

    assert recorder.commits[:2] == [(20, []), (40, ["1", "2", "3"])]


def test_what_was_rolled_back_was_never_there(recorder: Recorder) -> None:
    """Not even where a part of it had been written already; its place in the log is passed."""
    events: list[LogEvent] = [inserted(20, 1, 2), RolledBack(at(30)), inserted(35, 3), Committed(at(40))]
    catch_up(state(recorder, position(4)), events, position(40), rows_max=1)

    assert recorder.keys == ["3"]
    assert recorder.commits[-1][0] == 40


@pytest.mark.parametrize("xa", [False, True], ids=["transaction", "XA transaction"])
def test_nothing_is_committed_while_the_rest_of_a_transaction_is_to_come(
    recorder: Recorder, xa: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that is followed may fall silent within a transaction of which a part is written."""
    monkeypatch.setattr("myrepetl_dagster.core.replication.catchup.catch_up.IDLE_CHECKPOINT_S", 0.0)
    end: list[LogEvent] = [XaPrepared("x", at(40)), XaDecided("x", True, at(50))] if xa else [Committed(at(50))]
    begin: list[LogEvent] = [XaBegun()] if xa else []
    parts: list[LogEvent] = [inserted(20, 1, 2), Idle(), Idle(), inserted(30, 3, 4), Idle()]
    events: list[LogEvent] = [*begin, *parts, *end]
    one = state(recorder, position(4))
    limits = Limits(batch_rows_max=1, batch_interval_s_max=1e9)
    CatchUp(ScriptedSource(events), [MappingWork(one)], position(4), CLOCK, limits, lambda _: None).follow(
        lambda: False
    )

    assert all(keys in ([], ["1", "2", "3", "4"]) for _, keys in recorder.commits)
    assert recorder.commits[-1] == (50, ["1", "2", "3", "4"])


def test_a_log_that_ends_before_the_head_is_another_log(recorder: Recorder) -> None:
    """A checkpoint that the source's log does not lead on from is no success without rows."""
    with pytest.raises(PositionLost):
        catch_up(state(recorder, position(4)), [LogAdvanced(FILE, 20)], position(40))

    assert recorder.commits == []


def beside(recorder: Recorder, start: Position) -> MappingState:
    """Another mapping, which stands elsewhere."""
    target = recorder.target()
    target.claim(["n"])
    return MappingState(plan_of(Spec("n", 1, "orders")), target, Checkpoint("n", Phase.REPLICATING, start), start)


def test_a_checkpoint_of_another_server_is_the_error_of_its_mapping(recorder: Recorder) -> None:
    """So that those whose place the source knows go on."""
    states = [state(recorder, position(4)), beside(recorder, position(4, server="another"))]
    with pytest.raises(PositionLost) as raised:
        CatchUp(ScriptedSource([]), list(map(MappingWork, states)), position(40), CLOCK, Limits(), lambda _: None)

    assert raised.value.mapping == "n"


def test_a_checkpoint_that_is_ahead_of_all_there_is_is_the_error_of_its_mapping(recorder: Recorder) -> None:
    """The same where its GTIDs are not in the log."""
    states = [state(recorder, position(4, f"{UUID}:1")), beside(recorder, position(4, f"{UUID}:1-9"))]
    events: list[LogEvent] = [inserted(20, 1, number=2), Committed(at(30, 2))]
    with pytest.raises(PositionLost) as raised:
        until = position(30, f"{UUID}:1-2")
        CatchUp(ScriptedSource(events), list(map(MappingWork, states)), until, CLOCK, Limits(), lambda _: None).apply()

    assert raised.value.mapping == "n"


def test_a_new_file_alone_is_a_position(recorder: Recorder) -> None:
    """Where nothing is written but the log moves on, so does the checkpoint: the old file may be purged."""
    one = state(recorder, position(4))
    catch_up(one, [LogAdvanced("binlog.000002", 4)], Position("binlog.000002", 4, server=SERVER))

    assert one.checkpoint.position.file == "binlog.000002"


def test_a_copy_settles_where_its_high_watermark_is_passed(recorder: Recorder) -> None:
    """Not a transaction earlier: the chunks may have seen the rows of the last one."""
    one = state(recorder, position(4), Phase.SETTLING, position(30))
    phases = []
    limits = Limits(batch_rows_max=1, batch_interval_s_max=1e9)
    events: list[LogEvent] = [inserted(15, 1), Committed(at(20)), inserted(25, 2), Committed(at(30))]
    until, report = position(30), lambda s: phases.append(s.checkpoint.phase)
    CatchUp(ScriptedSource(events), [MappingWork(one)], until, CLOCK, limits, report).apply()

    assert phases[:2] == [Phase.SETTLING, Phase.REPLICATING]


def test_a_copy_settles_no_earlier_behind_a_failover(recorder: Recorder) -> None:
    """The old server's place means nothing here, and of its GTIDs one may have been visible but not executed."""
    high = position(900, f"{UUID}:1", server="the-old-one")
    start = position(900, f"{UUID}:1", server="the-old-one")
    one = state(recorder, start, Phase.SETTLING, high)
    phases = []
    limits = Limits(batch_rows_max=1, batch_interval_s_max=1e9)
    events: list[LogEvent] = [
        inserted(25, 2, number=2),
        Committed(at(30, 2)),
        inserted(35, 3, number=3),
        Committed(at(40, 3)),
    ]
    until, report = position(40, f"{UUID}:1-3"), lambda s: phases.append(s.checkpoint.phase)
    CatchUp(ScriptedSource(events), [MappingWork(one)], until, CLOCK, limits, report).apply()

    assert phases[:2] == [Phase.SETTLING, Phase.REPLICATING]


def test_parts_of_an_xa_transaction_outlive_another_tables_new_columns() -> None:
    """A part of it is kept; then it brings rows of another table, from before that got a column: nothing is committed
    there, which would drop the part.
    """
    database, start = Database(), position(4)
    target = FakeTarget(database, "run", {}, lambda _: None, lambda *_: None)
    target.claim(["a", "b"])

    def mapping(name: str, table: int, *, every_column: bool) -> MappingState:
        checkpoint = Checkpoint(name, Phase.REPLICATING, start, source_columns_json=columns_to_json(SOURCE_COLUMNS))
        plan = plan_of(Spec(name, table, name, every_column=every_column))
        return MappingState(plan, target, checkpoint, start)

    one, other = mapping("a", 0, every_column=False), mapping("b", 1, every_column=True)
    now = TABLE_MAPS[SOURCE_TABLES[1]]
    before = replace(now, columns=now.columns[:3], raw=b"before")
    events: list[LogEvent] = [
        XaBegun(),
        inserted(10, 1, 2),
        inserted(12, 3, 4),
        RowsRead(SOURCE_TABLES[1], before, [(None, (1, None, 0))], at(14), 10),
        inserted(16, 5),
        XaPrepared("x", at(20)),
        XaDecided("x", True, at(30)),
    ]
    limits = Limits(batch_rows_max=1, batch_interval_s_max=1e9)
    CatchUp(
        ScriptedSource(events), [MappingWork(one), MappingWork(other)], position(30), CLOCK, limits, lambda _: None
    ).apply()
    assert sorted(database.tables["a"]) == [(str(key),) for key in range(1, 6)]
    assert len(database.tables["b"]) == 1


class BreakingSource(ScriptedSource):
    """Delivers its events, and is gone."""

    def read_log(
        self, start: Position, known: dict[TableName, KnownTable], *, follow: bool = False
    ) -> Generator[LogEvent, None, None]:
        yield from self.events
        raise SourceLost("it is gone")


@pytest.mark.parametrize("waits", [False, True])
def test_what_came_before_the_source_broke_is_committed(recorder: Recorder, waits: bool) -> None:
    """Whole transactions, and not what came after them."""
    one = state(recorder, position(4))
    events: list[LogEvent] = [inserted(10, 1), Committed(at(20)), inserted(25, 2), Committed(at(30)), inserted(35, 3)]
    limits = Limits(batch_rows_max=2, batch_interval_s_max=1e9, joined_batches_max=30 if waits else 1)
    with pytest.raises(SourceLost):
        CatchUp(BreakingSource(events), [MappingWork(one)], position(40), CLOCK, limits, lambda _: None).apply()
    assert recorder.commits[-1] == (30, ["1", "2"])


def test_a_source_that_breaks_at_once_is_no_progress(recorder: Recorder) -> None:
    """Nothing is committed or reported where nothing was read, or the retry's bounds would always start afresh."""
    reports: list[MappingState] = []
    for events in ([], [LogAdvanced(FILE, 20)], [inserted(10, 1)]):
        one = state(recorder, position(4))
        with pytest.raises(SourceLost):
            CatchUp(BreakingSource(events), [MappingWork(one)], position(40), CLOCK, Limits(), reports.append).apply()
    assert (recorder.commits, reports) == ([], [])
