"""How long ago the source was as the target is now."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import pytest
from simulation.fake_source import FakeSource
from simulation.fake_target import Database, FakeTarget
from simulation.specs import SOURCE_COLUMNS, SOURCE_TABLES, TABLE_MAPS, Spec, plan_of

from myrepetl_dagster.core.binlog.events import Committed, Idle, KnownTable, LogAdvanced, LogEvent, RowsRead
from myrepetl_dagster.core.model.checkpoint import Checkpoint, Phase
from myrepetl_dagster.core.model.checkpoint_codec import columns_to_json
from myrepetl_dagster.core.model.gtid import GtidSet
from myrepetl_dagster.core.model.limits import Limits
from myrepetl_dagster.core.model.position import Position, Transaction
from myrepetl_dagster.core.model.tables import TableName
from myrepetl_dagster.core.replication import lag
from myrepetl_dagster.core.replication.catchup import catch_up as catch_up_module
from myrepetl_dagster.core.replication.catchup.catch_up import CatchUp
from myrepetl_dagster.core.replication.catchup.work import MappingWork
from myrepetl_dagster.core.replication.lag import SourceClock, lag_s
from myrepetl_dagster.core.replication.mapping_state import MappingState

FILE, SERVER = "binlog.000001", "the-source"
UUID = "11111111-1111-1111-1111-111111111111"
NOON = 1_000_000.0  # by the source's clock, when ours begins to count
SIGN_OF_LIFE = LogAdvanced(FILE, 40, at_end=True)
Told = tuple[str, int, float | None]  # mapping, its position's offset, its lag


class Clock:
    """Ours, in place of `time`: it stands still until somebody sets it."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(lag, "time", made)
    monkeypatch.setattr(catch_up_module, "time", made)
    return made


Step = LogEvent | float  # a number: so many seconds pass


class Source(FakeSource):
    """Delivers the events that it is given, as time passes."""

    def __init__(self, clock: Clock, steps: Sequence[Step] = ()) -> None:
        self.clock, self.steps = clock, steps

    def now_unix_s(self) -> float:
        return NOON + self.clock.now_s

    def read_log(
        self, start: Position, known: dict[TableName, KnownTable], *, follow: bool = False
    ) -> Generator[LogEvent, None, None]:
        for step in self.steps:
            if isinstance(step, float):
                self.clock.now_s += step
            else:
                yield step


def change(offset: int, at_s: float, number: int | None = None) -> list[LogEvent]:
    """A transaction that inserts a row, committed so many seconds after noon."""
    gtid = None if number is None else (UUID, number)
    transaction = Transaction(FILE, offset, gtid, "", NOON + at_s)
    rows = RowsRead(SOURCE_TABLES[0], TABLE_MAPS[SOURCE_TABLES[0]], [(None, (offset, None, 0, b"a"))], transaction, 10)
    return [rows, Committed(transaction)]


def place(offset: int, gtids: str | None = None) -> Position:
    return Position(FILE, offset, None if gtids is None else GtidSet.parse(gtids), "", SERVER)


def mapping(start: Position, time_unix_s: float | None = None, name: str = "m") -> MappingState:
    target = FakeTarget(Database(), "run", {}, lambda _: None, lambda *_: None)
    target.claim([name])
    columns = columns_to_json(SOURCE_COLUMNS)
    held = Checkpoint(name, Phase.REPLICATING, start, source_columns_json=columns, source_time_unix_s=time_unix_s)
    return MappingState(plan_of(Spec(name, 0, name)), target, held, start)


class CatchesUp:
    """A catch-up whose commits tell their lag, as a run's do."""

    interval_s = 1e9  # after which all mappings have a part in a commit

    def __init__(self, clock: Clock, until: Position, *states: MappingState) -> None:
        self.clock, self.until, self.states = clock, until, states
        self.asked = SourceClock(Source(clock))
        self.told: list[Told] = []

    def report(self, state: MappingState) -> None:
        if state.rows_uncommitted:  # of a transaction that is still being written
            return
        held = state.checkpoint
        self.told.append((state.name, held.position.offset_bytes, self.asked.lag_s(held.source_time_unix_s)))

    def _made(self, steps: Sequence[Step]) -> CatchUp:
        limits = Limits(batch_rows_max=1, batch_interval_s_max=self.interval_s)
        works = [MappingWork(state) for state in self.states]
        return CatchUp(Source(self.clock, steps), works, self.until, self.asked, limits, self.report)

    def apply(self, *steps: Step) -> list[Told]:
        self._made(steps).apply()
        return self.told

    def follow(self, *steps: Step) -> list[Told]:
        self._made(steps).follow(lambda: False)
        return self.told


# ---- the number ----
@pytest.mark.parametrize(("then", "now", "lag"), [(90.0, 100.5, 10.5), (100, 100, 0.0), (105, 100, 0.0), (90, 95, 5.0)])
def test_a_lag_is_a_float_and_never_negative(then: float, now: float, lag: float) -> None:
    """Also where a transaction was committed in the source's future, or all times are whole seconds."""
    found = lag_s(then, now)

    assert found == lag
    assert isinstance(found, float)
    assert not str(found).startswith("-")


def test_what_is_not_known_is_no_number() -> None:
    """A checkpoint of an earlier version may tell no time: it has no lag, rather than none."""
    assert lag_s(None, NOON) is None


def test_the_sources_clock_counts(clock: Clock) -> None:
    """It may be anywhere, as far as ours is concerned: it is asked once, and what has passed since then is added."""
    clock.now_s = 5_000.0
    asked = SourceClock(Source(clock))
    clock.now_s += 30.0

    assert asked.asked_unix_s == NOON + 5_000.0
    assert asked.now_unix_s() == NOON + 5_030.0
    assert asked.lag_s(NOON + 5_020.0) == 10.0


# ---- while the log is applied ----
def test_each_commit_has_the_age_of_its_last_transaction(clock: Clock) -> None:
    """As old as it is when the commit is known to be through; at the head, the time since the source was asked for it."""
    clock.now_s = 600.0
    run = CatchesUp(clock, place(40), mapping(place(4)))

    told = run.apply(*change(20, 0.0), 2.0, *change(30, 540.0), 3.0, *change(40, 599.0))

    assert told == [("m", 20, 605.0), ("m", 30, 65.0), ("m", 40, 6.0), ("m", 40, 5.0)]


@pytest.mark.parametrize("gtids", [None, f"{UUID}:1-9"])
def test_a_source_that_is_quiet_is_not_behind(clock: Clock, gtids: str | None) -> None:
    """Its last transaction is ten minutes old, and the target has it: the lag is the time of a look at the log."""
    clock.now_s = 600.0
    run = CatchesUp(clock, place(40, gtids), mapping(place(40, gtids), NOON))
    clock.now_s += 0.25

    assert run.apply() == [("m", 40, 0.25)]


def test_a_mapping_that_is_ahead_of_the_stream_keeps_its_time(clock: Clock) -> None:
    """What is read for another one that stands further back says nothing about it, until the stream is there."""
    clock.now_s = 600.0
    ahead = mapping(place(30, f"{UUID}:1-2"), NOON + 590.0, "ahead")
    run = CatchesUp(clock, place(40, f"{UUID}:1-3"), mapping(place(4, ""), None, "back"), ahead)
    run.interval_s = 0.0
    steps = [*change(20, 10.0, 1), *change(30, 585.0, 2), *change(40, 595.0, 3)]

    told = run.apply(*steps)

    assert [lag for name, _, lag in told if name == "ahead"] == [10.0, 15.0, 5.0, 0.0]


# ---- while it is followed ----
def test_a_followed_commit_has_the_age_of_its_last_transaction(clock: Clock) -> None:
    """In the moment in which it is through."""
    run = CatchesUp(clock, place(4), mapping(place(4)))

    told = run.follow(10.0, *change(20, 9.5), Idle(), 1.0, *change(30, 11.0), Idle())

    assert told[:2] == [("m", 20, 0.5), ("m", 30, 0.0)]


def test_a_source_that_says_it_has_no_more_is_not_behind(clock: Clock) -> None:
    """At its signs of life the position of a quiet table is stored, and the time with it: its lag is 0 again."""
    run = CatchesUp(clock, place(40), mapping(place(40), NOON))
    minute: list[Step] = [5.0, SIGN_OF_LIFE, Idle(), 0.05, Idle()] * 12

    told = run.follow(*minute)

    assert told[:-1] == [("m", 40, 0.0)] * 6
    assert told[-1] == ("m", 40, 0.05)


@pytest.mark.parametrize(
    "silence", [[60.0, Idle()], [60.0, Idle(), 60.0, Idle()], [LogAdvanced("binlog.000002", 4), 60.0, Idle()]]
)
def test_silence_alone_is_no_sign_of_life(clock: Clock, silence: list[Step]) -> None:
    """A network that brings nothing, a new file, a transaction of which half has come: the lag grows."""
    run = CatchesUp(clock, place(4), mapping(place(4)))

    _, _, last_s = run.follow(*change(20, 0.0), Idle(), *silence)[-1]

    assert last_s is not None
    assert last_s >= 60.0


def test_a_sign_of_life_that_waited_for_us_is_old(clock: Clock) -> None:
    """It lay unread while the target was slow, and so do transactions behind it: there is more than it says."""
    run = CatchesUp(clock, place(4), mapping(place(4)))

    told = run.follow(*change(20, 0.0), 30.0, SIGN_OF_LIFE, *change(50, 10.0), Idle())

    assert told[-1] == ("m", 50, 20.0)


def test_a_server_that_skips_what_is_held_has_more(clock: Clock) -> None:
    """Asked by GTIDs it may go through gigabytes without sending anything, and gives signs of life: no end of the log."""
    run = CatchesUp(clock, place(900, f"{UUID}:1-9"), mapping(place(900, f"{UUID}:1-9"), NOON))
    skips: list[Step] = [
        5.0,
        LogAdvanced(FILE, 4, at_end=True),
        Idle(),
        5.0,
        LogAdvanced(FILE, 500, at_end=True),
        Idle(),
    ]

    told = run.follow(LogAdvanced(FILE, 4), *skips, 5.0, LogAdvanced(FILE, 900, at_end=True), Idle())

    assert told[0] == ("m", 900, 10.0)
    assert told[-1] == ("m", 900, 0.0)
