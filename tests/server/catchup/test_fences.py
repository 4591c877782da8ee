"""One writer for each mapping: whoever claimed it last. A run that was overtaken commits nothing."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from pipelines import SOURCES, Pair, call_at, pair
from server_farm import Servers

from myrepetl_dagster.core.model.errors import StaleRun, TargetLost, TransientError
from myrepetl_dagster.core.model.limits import Limits
from myrepetl_dagster.core.replication.result import MappingResult, Progress

pytestmark = pytest.mark.versions_in_soak

FILL = "INSERT INTO t WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i+1 FROM n WHERE i < 60) SELECT i, 0 FROM n"


@pytest.fixture(params=SOURCES, ids=str)
def world(request: pytest.FixtureRequest, servers: Servers) -> Pair:
    made = pair(servers, request.param)
    made.chunks_of(5)
    made.limits["batch_rows_max"] = 5
    made.on_source("CREATE TABLE t (id INT PRIMARY KEY, v INT)", FILL)
    return made


class Paused:
    """A run in a thread that stops in on_progress after its n-th commit, until it is let go."""

    def __init__(self, world: Pair, commits: int) -> None:
        self.world = world
        self.commits = commits
        self.later = 0
        self.paused, self.go_on = threading.Event(), threading.Event()
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self.paused.wait(30)

    def _on_progress(self, _: Progress) -> None:
        if self.paused.is_set():
            self.later += 1
        self.commits -= 1
        if self.commits == 0:
            self.paused.set()
            assert self.go_on.wait(60)

    def _run(self) -> None:
        try:
            self.world.run("t", self._on_progress)
        except BaseException as error:
            self.error = error

    def finish(self) -> None:
        self.go_on.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


@pytest.mark.parametrize("commits", [1, 4, 13])
def test_zombie(world: Pair, commits: int) -> None:
    """A run paused while it copies, or just before the end, finds itself overtaken and commits nothing more, neither
    rows nor a checkpoint, although the source went on meanwhile.
    """
    zombie = Paused(world, commits)
    world.on_source("UPDATE t SET v=1", "DELETE FROM t WHERE id % 2 = 0", "INSERT INTO t VALUES (1000,5)")
    world.run("t")
    world.assert_same("t")
    held, checkpoint = world.target_rows("t"), world.checkpoint("a.t")
    zombie.finish()
    assert zombie.later == 0
    assert zombie.error is None or isinstance(zombie.error, (StaleRun, AssertionError))
    assert world.target_rows("t") == held
    assert world.checkpoint("a.t") == checkpoint
    world.on_source("UPDATE t SET v=2")
    world.run("t")
    world.assert_same("t")


def test_zombie_catching_up(world: Pair) -> None:
    """The same for a run that applies the log: after it was overtaken it ends with StaleRun and the rows stay."""
    world.run("t")
    world.on_source(*(f"UPDATE t SET v=v+1 WHERE id > {i}" for i in range(0, 60, 5)))
    zombie = Paused(world, 2)
    world.run("t")
    world.on_source("DELETE FROM t WHERE id < 30")
    world.run("t")
    held, checkpoint = world.target_rows("t"), world.checkpoint("a.t")
    zombie.finish()
    assert isinstance(zombie.error, AssertionError)
    assert "another run has taken over a.t" in str(zombie.error)
    assert zombie.later == 0
    assert (world.target_rows("t"), world.checkpoint("a.t")) == (held, checkpoint)


def test_runs_at_once(world: Pair) -> None:
    """Several runs started at the same moment, on an empty target and again: one wins each time, the others stop with
    StaleRun or give way, and the target is equal.
    """

    def race(run: Callable[[], dict[str, MappingResult]]) -> list[BaseException]:
        errors: list[BaseException] = []
        gate = threading.Barrier(3)

        def one() -> None:
            gate.wait()
            try:
                errors.extend(r.error for r in run().values() if r.error is not None)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=one) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return errors

    world.limits |= {"attempts_max": 5, "backoff_max_s": 0.5}
    for step in range(3):
        errors = race(lambda: world.try_run("t"))
        assert not [error for error in errors if not isinstance(error, (StaleRun, TransientError))], errors
        world.run("t")
        world.assert_same("t")
        world.on_source("UPDATE t SET v=v+1", f"INSERT INTO t VALUES ({2000 + step},1)")


@pytest.mark.parametrize("how", ["in a commit", "after a retry"])
def test_a_mapping_that_another_run_takes_over_holds_up_no_other(world: Pair, how: str) -> None:
    """While two tables catch up another run takes over one: the first run ends for that one, and brings the other to
    the source's end, whether it notices when it commits or when it starts again after an error.
    """
    world.on_source("CREATE TABLE u (id INT PRIMARY KEY, v INT)", FILL.replace("INTO t", "INTO u"))
    world.run("t u")
    world.on_source(*(f"UPDATE {name} SET v=v+1 WHERE id > {i}" for i in range(0, 60, 5) for name in "tu"))

    def other_run() -> None:
        world.run("u")
        if how == "after a retry":
            raise TargetLost("target 'b': gone for a moment")

    results = world.try_run("t u", call_at(1, other_run))

    assert results["a.t"].error is None
    assert isinstance(results["a.u"].error, StaleRun)
    world.assert_same("t")
    world.assert_same("u")
    world.on_source("UPDATE t SET v=0", "UPDATE u SET v=0")
    world.run("t u")
    world.assert_same("t")
    world.assert_same("u")


class Told(BaseException):
    """What a signal's handler raises, as Dagster's and the command line's do."""


def test_a_copy_that_is_told_to_end_does_not_wait_for_its_writers(world: Pair) -> None:
    """A signal ends a copy whose writers wait for a lock: their statements are killed, no session of theirs is left
    on the target, and the next run completes.
    """
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY, v INT)")

    def told(*_: object) -> None:
        raise Told

    def sessions() -> tuple[Any, ...]:
        user = world.pipeline("t").targets["b"].user
        return world.on_target(f"SELECT id FROM information_schema.processlist WHERE user = '{user}'")

    before = signal.signal(signal.SIGALRM, told)
    try:
        with world.target_session(autocommit=False) as other, other.cursor() as cursor:
            cursor.execute("INSERT INTO t VALUES (1, 9)")  # nobody sees it, and its key is locked
            signal.setitimer(signal.ITIMER_REAL, 2)
            began_s = time.monotonic()
            with pytest.raises(Told):
                world.run("t")
            assert time.monotonic() - began_s < 0.6 * Limits().lock_wait_timeout_s, "it waited for the lock"
            deadline_s = time.monotonic() + 5
            while sessions():
                assert time.monotonic() < deadline_s, "a session was left, in the middle of its statement"
                time.sleep(0.1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    world.run("t")
    world.assert_same("t")
