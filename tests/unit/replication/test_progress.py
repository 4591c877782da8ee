"""What a run says of its progress: passes of a copy, rates, counts over several attempts, and what is not known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from simulation.fake_target import Database, FakeTarget
from simulation.specs import Spec, plan_of

from myrepetl_dagster.core.model.checkpoint import Checkpoint, CopyState, Phase
from myrepetl_dagster.core.model.errors import SourceLost
from myrepetl_dagster.core.model.gtid import GtidSet
from myrepetl_dagster.core.model.position import Position
from myrepetl_dagster.core.replication import run_results
from myrepetl_dagster.core.replication.mapping_state import MappingState
from myrepetl_dagster.core.replication.result import Progress, Retry, Stage, percent_of
from myrepetl_dagster.core.replication.run_results import RunResults

UUID = "11111111-1111-1111-1111-111111111111"


class Clock:
    def __init__(self) -> None:
        self.now_s = 50.0

    def monotonic(self) -> float:
        return self.now_s


class Run:
    """The results of a run of one mapping, fed with checkpoints as an attempt makes them."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.told: list[Progress] = []
        self.results = RunResults("a", ["m"], self.told.append)
        self.results.start_clock()
        target = FakeTarget(Database(), "run", {}, lambda _: None, lambda *_: None)
        start = Position("f.1", 4)
        self.state = MappingState(plan_of(Spec("m", 0, "m")), target, Checkpoint("m", Phase.COPYING, start), start)

    def begin(self, **stored: Any) -> None:
        self.state.checkpoint = replace(self.state.checkpoint, **stored)
        self.results.begin("m", self.state.checkpoint if self.state.checkpoint.sequence else None)

    def commit(self, after_s: float = 1.0, **stored: Any) -> Progress:
        self.clock.now_s += after_s
        checkpoint = self.state.checkpoint
        self.state.checkpoint = replace(checkpoint, sequence=checkpoint.sequence + 1, **stored)
        return self.report()

    def report(self) -> Progress:
        self.results.commit(self.state, None, 0.5)
        return self.told[-1]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(run_results, "time", made)
    return made


@pytest.fixture
def run(clock: Clock) -> Run:
    return Run(clock)


def copied(rows: int, estimated: int | None = 1000, **more: Any) -> dict[str, Any]:
    return {"copy": CopyState(("1",), rows_done=rows, rows_estimated=estimated, **more), "rows_snapshotted": rows}


def test_a_copy_says_how_far_it_is(run: Run) -> None:
    """Rows, percent, rate and the time that is left agree with each other."""
    run.begin()
    run.commit(**copied(100))
    told = run.commit(2.0, **copied(300))

    assert (told.stage, told.rows_done, told.rows_estimated, told.percent) == (Stage.COPYING, 300, 1000, 30.0)
    assert told.rows_per_s == 100.0
    assert told.time_left_s == 7.0


def test_a_resumed_copy_counts_from_where_it_is(run: Run) -> None:
    """Its percent goes on, while the run's own count of rows begins at zero."""
    run.begin(sequence=5, **copied(600))
    told = run.commit(**copied(650))

    assert (told.rows_done, told.percent, told.rows_snapshotted, told.counts.commits) == (650, 65.0, 50, 1)


@pytest.mark.parametrize("done", [999, 1000, 1_000_000])
def test_nothing_is_whole_while_it_still_goes_on(run: Run, done: int) -> None:
    """The server's estimate may be too low: then nobody is told that all is done, nor how long it takes."""
    run.begin()
    run.commit(**copied(10))
    told = run.commit(**copied(done))

    assert told.percent == min(99.9, 100.0 * done / 1000)
    assert (told.time_left_s is None) == (done >= 1000)


@pytest.mark.parametrize(("done", "estimated"), [(5, None), (5, 0), (None, 5), (None, None)])
def test_what_is_not_known_is_no_percent(done: int | None, estimated: int | None) -> None:
    """No estimate: no percent, rather than 0 or 100."""
    assert percent_of(done, estimated) is None


def test_a_sweep_is_a_pass_of_its_own(run: Run) -> None:
    """It counts the keys that were looked at anew, and rows that go are counted beside those of the log."""
    run.begin()
    run.commit(**copied(900, sweep=True))
    assert run.told[-1].sweeps
    run.commit(**(copied(0, 2000, sweep=True, sweeping=True) | {"rows_snapshotted": 1000}))
    told = run.commit(5.0, **(copied(500, 2000, sweep=True, sweeping=True) | {"rows_snapshotted": 1000}), rows_swept=7)

    assert (told.stage, told.rows_done, told.percent, told.rows_per_s) == (Stage.SWEEPING, 500, 25.0, 100.0)
    assert (told.counts.rows_swept, told.counts.rows_read, told.sweeps) == (7, 1000, False)


def test_a_rate_is_that_of_the_last_seconds(run: Run) -> None:
    """A copy that was fast for an hour and has stopped is not fast: within ten seconds nothing of the hour is left."""
    run.begin()
    run.commit(**copied(0))
    for _ in range(100):
        run.commit(36.0, **copied((run.told[-1].rows_done or 0) + 36_000))
    done = run.told[-1].rows_done or 0
    for number in range(1, 11):
        told = run.commit(1.0, **copied(done + number))
    assert told.rows_per_s == pytest.approx(1.0)


def test_a_line_tells_a_person_what_goes_on(run: Run) -> None:
    """Each stage says what counts in it, in words; an estimate is called one."""
    run.begin(sequence=1, position=Position("f.1", 4))
    run.commit(**copied(100, sweep=True))
    run.commit(2.0, **copied(300, sweep=True))
    run.commit(**copied(300, None))
    run.commit(**(copied(0, 600_000, sweep=True, sweeping=True)))
    run.commit(1.0, **(copied(1_000, 600_000, sweep=True, sweeping=True)), rows_swept=12)
    run.commit(copy=None, phase=Phase.SETTLING)
    run.commit(phase=Phase.REPLICATING, changes_applied=1_500, rows_deleted=200, rows_filtered=3)
    run.state.follows = True
    run.state.rows_uncommitted = 70_000
    run.commit()

    assert [str(one) for one in run.told[1:]] == [
        "m: copying, 300 of about 1,000 rows (30.0%), 100/s, about 7 s left, then it looks for rows to delete, at f.1:4",
        "m: copying, 300 rows of an unknown number, 67/s, at f.1:4",
        "m: looking for rows to delete, 0 of about 600,000 rows (0.0%), at f.1:4",
        "m: looking for rows to delete, 1,000 of about 600,000 rows (0.2%), 1,000/s, about 10 min left, 12 deleted, at f.1:4",
        "m: settling, 1,000 rows copied, 0 changes applied, lag 0.5 s, at f.1:4",
        "m: catching up, 1,000 rows copied, 1,500 changes applied (200 deletes), 3 filtered, lag 0.5 s, at f.1:4",
        "m: following, 1,000 rows copied, 1,500 changes applied (200 deletes), 3 filtered, 70,000 rows of an open"
        " transaction, lag 0.5 s, at f.1:4",
    ]


def test_a_long_gtid_set_is_cut_in_a_line(run: Run) -> None:
    """A source that has had fifty predecessors would fill the screen."""
    uuids = [f"11111111-1111-1111-1111-{number:012}" for number in range(50)]
    gtids = GtidSet.parse(",".join(f"{uuid}:1-7" for uuid in uuids))
    run.begin(sequence=1, phase=Phase.REPLICATING, position=Position("f.1", 4, gtids))

    told = run.commit()

    assert told.position == str(gtids)
    assert len(str(told)) < 250


def test_each_stage_has_its_name(run: Run) -> None:
    """Copying, settling, catching up, and following once the log is read as the source writes."""
    run.begin()
    run.commit(**copied(5))
    run.commit(copy=None, phase=Phase.SETTLING)
    run.commit(phase=Phase.REPLICATING)
    run.state.follows = True
    run.commit()

    assert [one.stage for one in run.told] == [Stage.COPYING, Stage.SETTLING, Stage.CATCHING_UP, Stage.FOLLOWING]
    assert [one.percent for one in run.told[1:]] == [None] * 3


def test_operations_are_told_apart(run: Run) -> None:
    """Every row that was read is upserted, deleted or filtered."""
    run.begin(sequence=1, phase=Phase.REPLICATING, changes_applied=10, rows_deleted=4, rows_filtered=2, bytes_read=100)
    counts = run.commit(changes_applied=30, rows_deleted=9, rows_filtered=5, bytes_read=600).counts

    assert (counts.rows_upserted, counts.rows_deleted, counts.rows_filtered, counts.bytes_read) == (15, 5, 3, 500)
    assert counts.rows_read == counts.rows_upserted + counts.rows_deleted + counts.rows_filtered


def test_a_report_without_a_commit_is_no_progress_for_the_retry(run: Run) -> None:
    """Rows of a transaction too large to hold are shown while they are written, and are not counted as committed."""
    run.begin(sequence=1, phase=Phase.REPLICATING)
    run.commit()
    commits = run.results.commits
    run.state.rows_uncommitted = 50_000
    told = run.report()

    assert (told.rows_uncommitted, told.counts.rows_read) == (50_000, 0)
    assert run.results.commits == commits
    assert told.counts.commits == 1


def test_retries_and_reconnects_are_counted(run: Run) -> None:
    """Each failed attempt is a retry; going on after any number of them is one reconnect. Counts of rows go on."""
    retry = Retry("a", SourceLost("gone"), 1, 0.1, 10.0)
    run.begin(sequence=1, phase=Phase.REPLICATING)
    run.commit(changes_applied=5)
    for _ in range(3):
        run.results.retried(retry)
    run.begin()
    told = run.commit(changes_applied=6)

    assert (told.retries, told.reconnects, told.changes_applied, told.counts.commits) == (3, 1, 6, 2)


def test_a_copy_that_begins_again_keeps_the_runs_counts(run: Run) -> None:
    """The new checkpoint's counters begin at zero; the run's don't."""
    run.begin()
    run.commit(rows_swept=3, **copied(20))
    run.state.checkpoint = Checkpoint("m", Phase.COPYING, Position("f.1", 9))
    run.begin()
    told = run.commit(**copied(5))

    assert (told.rows_snapshotted, told.counts.rows_swept, told.counts.commits, told.rows_done) == (25, 3, 2, 5)


@pytest.mark.parametrize(
    ("position", "text"),
    [
        (Position("binlog.000001", 4), "binlog.000001:4"),
        (Position("binlog.000001", 4, mariadb_gtid="0-1-7"), "binlog.000001:4 0-1-7"),
        (Position("binlog.000001", 4, GtidSet.parse(f"{UUID}:1-7")), f"{UUID}:1-7"),
        (Position("binlog.000001", 4, GtidSet({})), "no GTID yet"),
    ],
)
def test_a_position_shows_what_counts(position: Position, text: str) -> None:
    """With GTIDs the file says nothing of where a run goes on, so it is not shown."""
    assert position.text == text
