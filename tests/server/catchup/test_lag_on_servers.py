"""The lag, as runs measure it while they work and as `status` finds it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pipelines import SOURCES, Interrupted, Pair, Route, interrupt
from pipelines import pair as pair_for
from server_farm import Servers

from myrepetl_dagster.core.config.pipeline import Pipeline
from myrepetl_dagster.core.diagnostics.pending_changes import SCAN_BYTES_MAX, pending_changes
from myrepetl_dagster.core.diagnostics.status import status
from myrepetl_dagster.core.model.checkpoint import Phase
from myrepetl_dagster.core.replication.result import Progress
from myrepetl_dagster.core.replication.run import SourceRun

PATIENCE_S = 20.0
SOON_S = 3.5  # a busy machine's
WAIT_S = 4.0  # so much longer that nobody takes the one for the other


@pytest.fixture(params=SOURCES, ids=lambda route: str(route).partition("-to-")[0])
def pair(request: pytest.FixtureRequest, servers: Servers) -> Pair:
    route: Route = request.param
    made = pair_for(servers, route)
    for table in ("t", "u", "unmapped"):
        made.on_source(f"CREATE TABLE {table} (id INT AUTO_INCREMENT PRIMARY KEY, v LONGTEXT)")
        made.on_source(f"INSERT INTO {table} VALUES (1, 'one')")
    return made


def lags(pipeline: Pipeline) -> dict[str, float | None]:
    """As `status` has them."""
    return {one.mapping: one.lag_s for one in status(pipeline).mappings}


def known(lag_s: float | None) -> float:
    assert type(lag_s) is float
    assert lag_s >= 0.0
    return lag_s


# ---- runs ----
def test_commits_tell_how_old_their_transactions_are(pair: Pair) -> None:
    """Those of a catch-up come nearer to the present; the last one has the time of a look at the log's end."""
    pair.limits |= {"batch_rows_max": 1, "joined_batches_max": 1}
    told: list[Progress] = []
    pair.run("t")
    pair.on_source("INSERT INTO t VALUES (2, 'old')")
    time.sleep(WAIT_S)
    pair.on_source("INSERT INTO t VALUES (3, 'new')")

    result = pair.run("t", told.append)["a.t"]

    found = [known(report.lag_s) for report in told]
    assert WAIT_S <= found[0] < WAIT_S + SOON_S
    assert found[-1] < SOON_S
    assert result.lag_s == found[-1]


def test_a_copy_has_a_lag_too(pair: Pair) -> None:
    """That of its place in the log: from the first chunk on it is a number, for whoever asks."""
    pair.on_source("INSERT INTO t (v) VALUES ('two'), ('three')")
    pair.chunks_of(1)
    told: list[Progress] = []

    def stop(report: Progress) -> None:
        told.append(report)
        interrupt()

    with pytest.raises(Interrupted):
        pair.run("t", stop)

    assert told[0].phase is Phase.COPYING
    assert known(told[0].lag_s) < SOON_S
    assert known(lags(pair.pipeline("t"))["a.t"]) < SOON_S


class Followed:
    """What a run tells that follows its source."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.told: list[Progress] = []
        self.run = SourceRun(pipeline, pipeline.mappings, self.told.append, follow_s=300)

    def of(self, mapping: str) -> list[float]:
        return [known(report.lag_s) for report in list(self.told) if report.mapping == mapping]


@contextmanager
def followed(pipeline: Pipeline) -> Iterator[Followed]:
    made = Followed(pipeline)
    thread = threading.Thread(target=made.run.run)
    thread.start()
    try:
        yield made
    finally:
        made.run.follow_until_s = 1e-9  # its time is over
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def wait_for(what: Callable[[], bool]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def test_a_run_that_follows_measures_all_the_while(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Low while the target keeps up, as high as the time for which it is locked, low again, and 0 or nearly when the
    source is quiet, for the table that never changed as well.
    """
    monkeypatch.setattr("myrepetl_dagster.core.replication.catchup.catch_up.IDLE_CHECKPOINT_S", 1.0)
    pair.limits |= {"stream_heartbeat_s": 0.5}
    with followed(pair.pipeline("t u")) as run:
        wait_for(lambda: bool(run.told) and run.told[-1].phase is Phase.REPLICATING)
        for row in (2, 3):
            pair.on_source(f"INSERT INTO t VALUES ({row}, 'prompt')")
            wait_for(lambda row=row: len(pair.target_rows("t")) == row)  # type: ignore[misc]
        before = len(run.of("a.t"))
        assert run.of("a.t")[-1] < SOON_S
        with pair.target_session() as session, session.cursor() as cursor:
            cursor.execute("LOCK TABLES t WRITE")
            pair.on_source("INSERT INTO t VALUES (4, 'late')")
            time.sleep(WAIT_S)
            cursor.execute("UNLOCK TABLES")
        wait_for(lambda: len(pair.target_rows("t")) == 4)
        wait_for(lambda: max(run.of("a.t")[before:], default=0.0) >= WAIT_S)
        quiet = len(run.told)
        time.sleep(WAIT_S)
        wait_for(lambda: len(run.told) >= quiet + 4)
        since = [(report.mapping, known(report.lag_s)) for report in run.told[-4:]]
    assert {mapping for mapping, _ in since} == {"a.t", "a.u"}
    assert max(lag for _, lag in since) < 1.0  # it has just given a sign of life


# ---- status ----
def test_a_quiet_table_is_not_behind(pair: Pair) -> None:
    """Its rows are its source's, and a short look at the log shows it: runs for another table leave its checkpoint where
    it is, and so do a new file of the log and tables that nobody maps.
    """
    both, one = pair.pipeline("t u"), pair.pipeline("u")
    pair.run(both)
    pair.on_source("INSERT INTO u (v) VALUES ('two')")
    pair.run(one)
    time.sleep(1)
    assert lags(both) == {"a.t": 0.0, "a.u": 0.0}
    pair.on_source("FLUSH BINARY LOGS", "INSERT INTO unmapped (v) VALUES ('two')")
    assert lags(both) == {"a.t": 0.0, "a.u": 0.0}


def test_a_table_is_behind_since_the_first_change_that_it_lacks(pair: Pair) -> None:
    """Not since the last one, nor since the last one that the target has."""
    pipeline = pair.pipeline("t u")
    pair.run(pipeline)
    time.sleep(WAIT_S)
    pair.on_source("INSERT INTO u (v) VALUES ('first')")
    time.sleep(1)
    pair.on_source("INSERT INTO u (v) VALUES ('second')")

    found = lags(pipeline)

    assert found["a.t"] == 0.0
    assert 1.0 <= known(found["a.u"]) < WAIT_S


@pytest.fixture
def short_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """`status` looks into as much log as a sensor does."""
    monkeypatch.setattr("myrepetl_dagster.core.diagnostics.status.STATUS_SCAN_BYTES_MAX", SCAN_BYTES_MAX)


def test_a_quiet_table_is_told_from_one_that_is_behind(pair: Pair) -> None:
    """Also behind more log than a sensor looks into: the sensor asks for a run, and `status` looks further by itself."""
    both, one = pair.pipeline("t u"), pair.pipeline("u")
    pair.run(both)
    pair.on_source(f"INSERT INTO u (v) VALUES (REPEAT('x', {2 * SCAN_BYTES_MAX}))")
    pair.run(one)
    time.sleep(1)
    assert lags(both) == {"a.t": 0.0, "a.u": 0.0}
    assert {found.mapping.name: found.due for found in pending_changes(both, both.mappings)} == {
        "a.t": True,
        "a.u": False,
    }
    pair.on_source("INSERT INTO t (v) VALUES ('two')")
    time.sleep(1)
    assert known(lags(both)["a.t"]) >= 1.0
    assert lags(both)["a.u"] == 0.0


def test_a_quiet_table_moves_on_with_a_busy_source(pair: Pair) -> None:
    """A run that follows moves its checkpoint, too, while the source never pauses, so that its lag is that of the source;
    whether the changes are of a mapped table or not.
    """

    def stored_s() -> float:
        sql = "SELECT source_time_unix_s FROM _myrepetl_checkpoint WHERE mapping='a.t'"
        return float(pair.on_target(sql)[0][0])

    with followed(pair.pipeline("t u")) as run:
        wait_for(lambda: bool(run.told) and run.told[-1].phase is Phase.REPLICATING)
        for table in ("u", "unmapped"):
            began_s, until_s = stored_s(), time.monotonic() + WAIT_S
            while time.monotonic() < until_s:
                pair.on_source(f"INSERT INTO {table} (v) VALUES ('more')")
            assert stored_s() >= began_s + WAIT_S - SOON_S
        assert known(lags(pair.pipeline("t u"))["a.t"]) < SOON_S


def test_more_log_than_can_be_looked_at_counts_since_the_last_look(pair: Pair, short_look: None) -> None:
    """What is known then is that all up to the last run is there, and at its next one the mapping is at the head."""
    pipeline = pair.pipeline("t")
    pair.run(pipeline)
    time.sleep(WAIT_S)
    pair.run(pipeline)
    pair.on_source(f"INSERT INTO unmapped (v) VALUES (REPEAT('x', {SCAN_BYTES_MAX}))")
    assert 0.0 < known(lags(pipeline)["a.t"]) < WAIT_S
    pair.run(pipeline)
    assert lags(pipeline) == {"a.t": 0.0}


def test_a_checkpoint_of_an_earlier_version(pair: Pair, short_look: None) -> None:
    """It may tell no time: the lag is not known then, where the log does not tell either; the next run knows it."""
    pipeline = pair.pipeline("t")
    pair.run(pipeline)
    pair.on_target("UPDATE _myrepetl_checkpoint SET source_time_unix_s=NULL")
    assert lags(pipeline) == {"a.t": 0.0}
    pair.on_source(f"INSERT INTO unmapped (v) VALUES (REPEAT('x', {SCAN_BYTES_MAX}))")
    assert lags(pipeline) == {"a.t": None}
    told: list[Progress] = []
    pair.run(pipeline, told.append)
    assert known(told[-1].lag_s) < SOON_S
