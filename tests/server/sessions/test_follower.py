"""A follower keeps the log flowing for all of its mappings, beside runs that others start for some of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from threading import Event, Thread
from typing import Any

import pytest
from pipelines import SOURCES, Pair, pair
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core import run_all, runs
from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.config.pipeline import Pipeline
from myrepetl_dagster.core.model.errors import StaleRun
from myrepetl_dagster.core.replication import standing
from myrepetl_dagster.core.replication.follower import Follower
from myrepetl_dagster.core.replication.result import Progress, Retry
from myrepetl_dagster.core.replication.source_runs import replicate
from myrepetl_dagster.core.replication.standing import Standing, standings

TABLES = ("t", "u", "v")
PATIENCE_S = 30.0


@pytest.fixture
def two(servers: Servers, flavour: Flavour) -> Pair:
    """A source with three small tables, and a target."""
    made = pair(servers, next(route for route in SOURCES if route.source == flavour))
    for table in TABLES:
        made.on_source(f"CREATE TABLE {table} (id INT PRIMARY KEY, v INT)", f"INSERT INTO {table} VALUES (1,1),(2,2)")
    return made


def pipeline(two: Pair, **mapping: Any) -> Pipeline:
    found = {f"a.{table}": {"target_table": f"b.{table}"} for table in TABLES}
    config = two.config(found | {f"a.{name}": one for name, one in mapping.items()})
    return from_dict(config | {"limits": {"attempts_max": 4, "backoff_first_s": 0.01}})


def eventually(holds: Any, what: str) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until_s, what
        time.sleep(0.05)


@dataclass
class Heard:
    """What a follower reports."""

    progress: list[Progress] = field(default_factory=list)
    retries: list[Retry] = field(default_factory=list)


@contextlib.contextmanager
def following(made: Pipeline, heard: Heard | None = None, follow_s: float = 120.0, **more: Any) -> Iterator[Follower]:
    heard = heard or Heard()
    with Follower(made, made.mappings, follow_s, heard.progress.append, heard.retries.append, **more) as follower:
        yield follower


def arrives(two: Pair, table: str, key: int) -> None:
    two.on_source(f"INSERT INTO {table} VALUES ({key},{key})")
    eventually(lambda: two.target_rows(table, where=f"id={key}"), f"row {key} of {table}")


def test_it_follows_all_that_are_copied(two: Pair) -> None:
    """Changes of each table arrive; a table that was never copied waits for a run of its own, and then comes in."""
    made = pipeline(two)
    replicate(made, ["a.t", "a.u"])
    with following(made) as follower:
        eventually(lambda: follower.following == {"a.t", "a.u"}, "two are followed")
        arrives(two, "t", 10)
        arrives(two, "u", 10)
        eventually(lambda: follower.left_out == {"a.v": "not copied yet"}, "the third is named")
        replicate(made, ["a.v"])
        eventually(lambda: "a.v" in follower.following, "it comes in")
        for table in TABLES:
            arrives(two, table, 11)
    for table in TABLES:
        two.assert_same(table)


@pytest.mark.parametrize("copy_again", [False, True], ids=["catch-up", "new copy"])
def test_another_run_has_a_table_for_a_while(two: Pair, copy_again: bool) -> None:
    """A person's run takes its table, and succeeds; the others go on meanwhile; then the table comes back."""
    made = pipeline(two)
    replicate(made)
    with following(made) as follower:
        eventually(lambda: len(follower.following) == 3, "all are followed")
        results = [
            r
            for run in run_all(runs(made, ["a.t"], copy_again=["a.t"] if copy_again else ()))
            for r in run.results.values()
        ]
        assert [r.error for r in results] == [None]
        arrives(two, "u", 20)
        eventually(lambda: "a.t" in follower.following, "it comes back")
        arrives(two, "t", 20)
    two.assert_same("t")


def test_a_run_that_works_on_a_table_keeps_it(two: Pair) -> None:
    """As long as somebody's run works on a table, the follower leaves it alone, and follows the others."""
    made = pipeline(two)
    replicate(made)
    with following(made) as follower:
        eventually(lambda: len(follower.following) == 3, "all are followed")
        (other,) = runs(made, ["a.t"], follow_s=600.0)
        thread = Thread(target=lambda: list(run_all([other])))
        thread.start()
        eventually(lambda: standings(made, made.mappings)["a.t"].standing is Standing.AT_WORK, "the other run works")
        arrives(two, "t", 30)  # the follower finds out when it commits rows of this table
        eventually(lambda: follower.left_out == {"a.t": "another run works on it"}, "it is left out")
        arrives(two, "u", 30)
        arrives(two, "t", 31)
        other.finish()
        thread.join()
        assert other.results["a.t"].error is None
        eventually(lambda: "a.t" in follower.following, "it comes back")
        arrives(two, "t", 32)


def test_a_table_that_fails_leaves_and_comes_back(two: Pair) -> None:
    """A table that cannot go on leaves; its own run fails with the reason; when it has succeeded, it is followed again."""
    made = pipeline(two, t={"target_table": "b.t", "schema_policy": "fail"})
    replicate(made)
    with following(made) as follower:
        eventually(lambda: len(follower.following) == 3, "all are followed")
        two.on_target("ALTER TABLE t MODIFY v TINYINT")
        two.on_source("INSERT INTO t VALUES (40, 1000)")
        eventually(lambda: "a.t" in follower.left_out, "it leaves")
        arrives(two, "u", 40)
        assert standings(made, made.mappings)["a.t"].standing is Standing.DUE
        two.on_target("ALTER TABLE t MODIFY v INT")
        replicate(made, ["a.t"])
        eventually(lambda: "a.t" in follower.following, "it comes back")
        arrives(two, "t", 41)
    two.assert_same("t")


def test_a_table_to_be_copied_leaves(two: Pair) -> None:
    """A table that is made again at the source is left to a run that copies it; the others do not wait for that."""
    made = pipeline(two)
    replicate(made)
    with following(made) as follower:
        eventually(lambda: len(follower.following) == 3, "all are followed")
        two.on_source("DROP TABLE t", "CREATE TABLE t (id INT PRIMARY KEY, v INT)", "INSERT INTO t VALUES (3,3)")
        eventually(lambda: "a.t" in follower.left_out, "it leaves")
        arrives(two, "u", 50)
        assert standings(made, made.mappings)["a.t"].standing is Standing.DUE
        replicate(made, ["a.t"])
        eventually(lambda: "a.t" in follower.following, "it comes back")
        two.on_source("INSERT INTO t VALUES (4,4)")
        eventually(lambda: two.target_rows("t", where="id=4"), "its rows arrive")
    two.assert_same("t")


def test_a_later_follower_takes_over(two: Pair) -> None:
    """The second takes all, and the first ends as one that has handed over. No change waits for longer than a moment."""
    made = pipeline(two)
    replicate(made)
    second_runs = Event()
    with following(made, superseded=second_runs.is_set) as first:
        eventually(lambda: len(first.following) == 3, "the first follows all")
        second_runs.set()
        with following(made) as second:
            eventually(lambda: len(second.following) == 3, "the second follows all")
            for key in range(60, 70):
                arrives(two, "t", key)
            eventually(lambda: first.wait(0), "the first ends")
            assert first.handed_over
            assert not first.errors
            arrives(two, "v", 60)


def test_it_ends_with_its_time(two: Pair) -> None:
    """After `follow_s` everything that has come is committed, and the follower ends without an error."""
    made = pipeline(two)
    replicate(made)
    with following(made, follow_s=3.0) as follower:
        arrives(two, "t", 70)
        eventually(lambda: follower.wait(0.1), "it ends")
        assert not follower.errors
        assert not follower.handed_over


def test_it_stops_at_once(two: Pair) -> None:
    """Its end as a context leaves no session on either server."""
    made = pipeline(two)
    replicate(made)
    with following(made) as follower:
        eventually(lambda: len(follower.following) == 3, "all are followed")
    user = made.targets["b"].user
    sessions = f"SELECT COUNT(*) FROM information_schema.processlist WHERE user='{user}'"
    eventually(lambda: two.target.execute(sessions)[0][0] == 0, "no session is left at the target")


def test_a_source_that_is_down_is_waited_for(two: Pair) -> None:
    """The listener hears of the failed attempts; nothing of a healthy pipeline is marked as failed for ever."""
    made = pipeline(two)
    replicate(made)
    heard = Heard()
    with following(made, heard) as follower:
        eventually(lambda: len(follower.following) == 3, "all are followed")
        eventually(lambda: _dump_threads(two), "the log is read")
        two.source.execute(*[f"KILL {number}" for number in _dump_threads(two)])
        eventually(lambda: heard.retries, "the failed attempt is told")
        arrives(two, "t", 80)
        assert len(follower.following) == 3


def _dump_threads(two: Pair) -> list[int]:
    sql = "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'"
    return [row[0] for row in two.source.execute(sql)]


def test_turns(two: Pair) -> None:
    """A run that waits for its turn succeeds after the other one; one that does not wait takes over."""
    made = pipeline(two)
    replicate(made)
    (first,) = runs(made, ["a.t"], follow_s=3.0)
    done = Event()

    def work() -> None:
        list(run_all([first]))
        done.set()

    Thread(target=work).start()
    eventually(lambda: standings(made, made.mappings)["a.t"].standing is Standing.AT_WORK, "the first has its turn")
    (waiting,) = run_all(runs(made, ["a.t", "a.u"], waits_for_turn=True))
    assert done.is_set()
    assert first.results["a.t"].error is None
    assert waiting.results["a.t"].error is None

    (third,) = runs(made, ["a.t"], follow_s=20.0)
    thread = Thread(target=lambda: list(run_all([third])))
    thread.start()
    eventually(lambda: standings(made, made.mappings)["a.t"].standing is Standing.AT_WORK, "the third has its turn")
    replicate(made, ["a.t"])
    two.on_source("INSERT INTO t VALUES (90,90)")
    thread.join(PATIENCE_S)
    assert isinstance(third.results["a.t"].error, StaleRun)


def test_a_table_far_behind_catches_up_by_itself(two: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mapping that lags far behind its source's others needs a run of its own, so that those do not wait for it."""
    made = pipeline(two)
    replicate(made)
    monkeypatch.setattr(standing, "BEHIND_S_MAX", 1.0)
    time.sleep(1.5)
    two.on_source("INSERT INTO t VALUES (95,95)")
    replicate(made, ["a.t"])
    found = standings(made, made.mappings)
    assert found["a.t"].standing is Standing.READY
    assert found["a.u"].standing is Standing.DUE
    assert "behind the source's other tables" in found["a.u"].reason
    assert replace(found["a.u"], reason="").mapping.name == "a.u"


def test_a_mapping_that_was_changed_meanwhile_stays_out(two: Pair) -> None:
    """A person edits a mapping and copies its table again: the follower, which knows the old one, leaves it alone."""
    made = pipeline(two)
    replicate(made)
    edited = pipeline(two, t={"target_table": "b.t", "filter": {"v": {"gt": 1}}})
    with following(made) as follower:
        eventually(lambda: len(follower.following) == 3, "all are followed")
        replicate(edited, ["a.t"], copy_again=True)
        two.on_source("INSERT INTO t VALUES (96, 0)", "INSERT INTO u VALUES (96, 0)")
        eventually(lambda: "mapping has changed" in follower.left_out.get("a.t", ""), "it is left out")
        arrives(two, "u", 97)
        assert not two.target_rows("t", where="v <= 1")
    assert standings(edited, edited.mappings)["a.t"].standing is Standing.READY


def test_a_fault_of_our_own_ends_it(two: Pair) -> None:
    """An error that is none of replication is not swallowed in a thread: the follower ends, and says which it was."""
    made = pipeline(two)
    replicate(made)

    def broken(_: Progress) -> None:
        raise ZeroDivisionError

    with Follower(made, made.mappings, 120.0, broken) as follower:
        eventually(lambda: follower.wait(0.1), "it ends")
        assert isinstance(follower.fault, ZeroDivisionError)
