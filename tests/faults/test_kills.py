"""Runs, sources and targets killed and paused under write load: nothing is lost, doubled or left behind."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from faults.harness import LIMITS, MAPPING, OTHER, Run, World, fault_pair, scaled, world_of
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.target import checkpoint_table as checkpoints

pytestmark = pytest.mark.long


# ---- SIGKILL of the run --------------------------------------------------------------------------------
def kill_runs(world: World, times: int) -> None:
    for _ in range(times):
        again = world.rng.random() < 0.3
        with world.run(copy_again=again) as run:
            run.wait("call")
            time.sleep(world.rng.uniform(0, 0.5))
            run.kill()
            world.counts["killed while copying" if again else "killed while catching up"] += 1
            world.counts["commits before the kills"] += run.count("commit")
            world.counts["times that batches were joined"] += run.count("joined")
        world.check()
    world.report(f"SIGKILL of the run, {world.pair.source.flavour} source")


def test_sigkill_of_the_run_loses_nothing(servers: Servers, flavour: Flavour, tmp_path: Path) -> None:
    """A run that is killed at any moment is resumed from its checkpoint, and source and target are equal."""
    with world_of(servers, flavour, tmp_path) as world:
        kill_runs(world, 4)


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["mysql-gtid", "mysql-file", "mariadb"])
def test_sigkill_of_the_run_200_times(servers: Servers, kind: str, tmp_path: Path) -> None:
    """200 kills for each flavour (MySQL: half with GTIDs, half with files) lose nothing."""
    flavour: Flavour = "mariadb" if kind == "mariadb" else "mysql"
    with world_of(servers, flavour, tmp_path, gtid=kind != "mysql-file") as world:
        kill_runs(world, scaled(200 if kind == "mariadb" else 100))


# ---- kills around COMMIT -------------------------------------------------------------------------------
def kill_at_commit(world: World, times: int) -> None:
    """One kill at each point in turn; what became of the transaction is asked of the checkpoint."""
    assert world.target_proxy is not None
    for number in range(times):
        point = ("data-written", "commit-sent", "committed", "commit-lost")[number % 4]
        nth = world.rng.randint(2, 9)
        if point == "commit-lost":  # sent all the same, but the network swallows it
            world.target_proxy.lose_commit(nth)
        with world.run(fault=f"{point.replace('-lost', '-sent')}:{nth}:kill", pace_s=0.005) as run:
            run.wait("fault", timeout_s=90)
            stored = run.last("fault")["stored"]
            run.wait_end()
        world.target_proxy.disarm()
        world.assert_no_connections()
        outcome = "committed" if _holds(world, stored) else "rolled back"
        world.counts[f"{point}: {outcome}"] += 1
        assert (point, outcome) not in {("data-written", "committed"), ("committed", "rolled back")}
        world.check()
    world.report(f"SIGKILL around COMMIT, {world.pair.target.flavour} target")


def _holds(world: World, stored: dict[str, int]) -> bool:
    with world.pair.target_session() as connection:
        held = checkpoints.read(connection, world.pair.target_schema, sorted(stored))
    return stored == {name: c.sequence for name, c in held.items()}


def test_kills_around_commit(servers: Servers, flavour: Flavour, tmp_path: Path) -> None:
    """Killed before, in and after COMMIT, a run goes on from whatever the target holds: both outcomes are right."""
    with world_of(servers, OTHER[flavour], tmp_path, proxies=True) as world:
        kill_at_commit(world, 4)


@pytest.mark.soak
def test_kills_around_commit_150_times(servers: Servers, flavour: Flavour, tmp_path: Path) -> None:
    """150 kills at the named points, half on each flavour; commits of unknown outcome are found both ways."""
    with world_of(servers, OTHER[flavour], tmp_path, proxies=True) as world:
        kill_at_commit(world, scaled(76))
        assert world.counts["commit-sent: committed"] > 0
        assert world.counts["commit-lost: rolled back"] > 0


# ---- SIGKILL of the servers ----------------------------------------------------------------------------
def kill_servers(world: World, times: int, which: str, follow_s: float = 0.0) -> None:
    """The same run has to outlive them: the call of `replicate` under way at the kill must end well.

    With `follow_s` there is only one call, which goes on through all of them.
    """
    server = world.pair.source if which == "source" else world.pair.target
    options: dict[str, Any] = {"pace_s": 0.003, "follow_s": follow_s, "once": follow_s > 0}
    run = world.run(**options)
    try:
        run.wait("commit")
        for _ in range(times):
            time.sleep(world.rng.uniform(0, 0.5))
            server.kill()
            time.sleep(world.rng.choice((0, 0, 0.3, 1.0)))
            server.start()
            world.counts["restarts"] += 1
            with contextlib.suppress(AssertionError):
                world.until_running(run)
            if run.process.poll() is None:
                world.counts["outlived by the same run"] += 1
            else:
                world.counts["runs lost"] += 1
                run.kill()
                world.counts["retries"] += run.count("log")
                print(run.story())
                run = world.run(**options)
                run.wait("commit")
            world.check_with(run)
        if follow_s:
            assert run.count("call") == 1
            run.kill()  # it would go on for hours
        else:
            assert run.finish() == 0, run.story()
        world.counts["retries"] += run.count("log")
    finally:
        run.kill()
    world.check()
    world.report(f"SIGKILL of the {which}, {server.flavour}")
    assert world.counts["outlived by the same run"] >= 0.95 * times


@pytest.mark.parametrize("which", ["source", "target"])
def test_sigkill_of_a_server_is_outlived(servers: Servers, which: str, tmp_path: Path) -> None:
    """A server that is killed and comes back is waited for; the run goes on by itself."""
    with world_of(servers, "mysql" if which == "target" else "mariadb", tmp_path) as world:
        kill_servers(world, 1, which)


@pytest.mark.parametrize("which", ["source", "target"])
def test_a_run_that_follows_outlives_its_servers(servers: Servers, which: str, tmp_path: Path) -> None:
    """One call of `replicate` with follow_s goes on through a server that is killed and comes back."""
    with world_of(servers, "mariadb" if which == "target" else "mysql", tmp_path) as world:
        kill_servers(world, 1, which, follow_s=3600)


@pytest.mark.soak
@pytest.mark.parametrize("which", ["source", "target"])
def test_a_run_that_follows_outlives_its_servers_20_times(
    servers: Servers, flavour: Flavour, which: str, tmp_path: Path
) -> None:
    """As above: 20 kills of each server, half on each flavour, one call."""
    with world_of(servers, flavour if which == "source" else OTHER[flavour], tmp_path) as world:
        kill_servers(world, scaled(10), which, follow_s=3600)


@pytest.mark.soak
@pytest.mark.parametrize("which", ["source", "target"])
def test_sigkill_of_a_server_50_times(servers: Servers, flavour: Flavour, which: str, tmp_path: Path) -> None:
    """50 kills of the source and 50 of the target, half on each flavour: at least 95 of 100 are outlived."""
    with world_of(servers, flavour if which == "source" else OTHER[flavour], tmp_path) as world:
        kill_servers(world, scaled(25), which)


# ---- zombies -------------------------------------------------------------------------------------------
def zombies(world: World, times: int) -> None:
    """A run is paused, another one does its work, the first wakes up: it must not commit anything."""
    while world.counts["zombies"] < times:
        copying = world.rng.random() < 0.5
        if not copying:
            time.sleep(0.3)  # so that there is something to catch up with
        with world.run(once=True, copy_again=copying, pace_s=0.01) as zombie:
            zombie.wait("commit")
            time.sleep(world.rng.uniform(0, 0.1))
            zombie.signal(signal.SIGSTOP)
            if zombie.count("done"):
                continue  # too late: it had finished
            with world.run(once=True) as other:
                assert other.wait_end() == 0, other.story()
                world.counts["waited for the zombie's transaction"] += other.count("log") > 0
            stored = _checkpoint_rows(world)
            zombie.signal(signal.SIGCONT)
            zombie.wait_end()
            world.counts["zombies"] += 1
            if zombie.count("done"):  # it had committed its last before it was paused
                world.counts["had nothing left to commit"] += 1
            else:
                world.counts[f"ended with {zombie.last('error')['kind']}"] += 1
                assert zombie.last("error")["kind"] == "StaleRun", zombie.story()
            assert _checkpoint_rows(world) == stored, "the zombie committed something"
        world.check()
    world.report(f"zombies, {world.pair.target.flavour} target")


def zombies_that_follow(world: World, times: int) -> None:
    """The same for runs that follow: with the load going on, each of them has something to commit when it wakes up."""
    for _ in range(times):
        with world.run(once=True, follow_s=3600) as zombie:
            zombie.wait("commit", len(MAPPING) + 10)  # it has caught up, and follows
            time.sleep(world.rng.uniform(0, 0.3))
            zombie.signal(signal.SIGSTOP)
            with world.run(once=True, copy_again=world.rng.random() < 0.3) as other:
                assert other.wait_end() == 0, other.story()
                world.counts["waited for the zombie's transaction"] += other.count("log") > 0
            stored = _checkpoint_rows(world)
            commits = zombie.count("commit")
            zombie.signal(signal.SIGCONT)
            zombie.wait_end()
            world.counts["zombies"] += 1
            world.counts[f"ended with {zombie.last('error')['kind']}"] += 1
            assert zombie.last("error")["kind"] == "StaleRun", zombie.story()
            # One more at most: what it had committed, but not yet said, when it was stopped.
            world.counts["commits said after waking up"] += zombie.count("commit") - commits
            assert _checkpoint_rows(world) == stored, "the zombie committed something"
        world.check()
    world.report(f"zombies that follow, {world.pair.target.flavour} target")


def _checkpoint_rows(world: World) -> tuple[tuple[object, ...], ...]:
    """Everything in the checkpoint table, so that any commit shows."""
    return world.pair.on_target("SELECT * FROM _myrepetl_checkpoint ORDER BY mapping")


def test_a_paused_run_that_wakes_up_commits_nothing(servers: Servers, flavour: Flavour, tmp_path: Path) -> None:
    """SIGSTOP, another run, SIGCONT: the first run finds that it has been replaced and ends."""
    with world_of(servers, flavour, tmp_path, apply_timeout_s=2) as world:
        zombies(world, 2)


def test_a_paused_follower_that_wakes_up_commits_nothing(servers: Servers, flavour: Flavour, tmp_path: Path) -> None:
    """The same for a run that follows: another run finishes meanwhile, and the first ends with StaleRun."""
    with world_of(servers, flavour, tmp_path, apply_timeout_s=2) as world:
        zombies_that_follow(world, 1)


@pytest.mark.soak
def test_50_zombies_that_follow(servers: Servers, flavour: Flavour, tmp_path: Path) -> None:
    """50 runs that follow and wake up after another has replaced them, half on each flavour, commit nothing."""
    with world_of(servers, flavour, tmp_path, apply_timeout_s=2) as world:
        zombies_that_follow(world, scaled(25))


@pytest.mark.soak
def test_50_zombies(servers: Servers, flavour: Flavour, tmp_path: Path) -> None:
    """50 runs that wake up after another has replaced them, half on each flavour, commit nothing."""
    with world_of(servers, flavour, tmp_path, apply_timeout_s=2) as world:
        zombies(world, scaled(25))


# ---- told to end ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("sigterm", ["interrupt", "default"])
def test_sigterm_rolls_back_and_leaves_nothing_behind(
    servers: Servers, flavour: Flavour, sigterm: str, tmp_path: Path
) -> None:
    """SIGTERM, as Dagster passes it on or plain: no connection is left, and the checkpoint is resumable."""
    with world_of(servers, flavour, tmp_path) as world:
        for _ in range(2):
            with world.run(copy_again=True, sigterm=sigterm) as run:
                run.wait("commit", 2)
                time.sleep(world.rng.uniform(0, 0.2))
                run.signal(signal.SIGTERM)
                status = run.wait_end(20)
                assert status == (130 if sigterm == "interrupt" else -signal.SIGTERM), run.story()
            world.assert_no_connections(5)
            world.counts["interrupted"] += 1
        world.check()
        world.report(f"SIGTERM ({sigterm})")


def test_sigterm_ends_a_run_that_follows_two_sources(servers: Servers, flavour: Flavour, tmp_path: Path) -> None:
    """Each source is followed in a thread of its own; told to end, they end, and no connection is left."""
    pair = fault_pair(servers, flavour)
    pair.limits = dict(LIMITS)
    pair.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY)", "CREATE TABLE u (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)"
    )
    config = pair.config({"a.t": {"target_table": "b.t"}, "c.u": {"target_table": "b.u"}})
    config["sources"]["c"] = config["sources"]["a"]
    with Run(config, tmp_path, follow_s=3600, once=True, sigterm="interrupt") as run:
        run.wait("commit", 4)
        time.sleep(0.5)
        run.signal(signal.SIGTERM)
        assert run.wait_end(30) == 130, run.story()
    deadline = time.monotonic() + 10
    for server, schema in ((pair.source, pair.source_schema), (pair.target, pair.target_schema)):
        ours = f"SELECT * FROM information_schema.processlist WHERE db='{schema}' AND user IN ('reader', 'writer')"
        while left := server.execute(ours):
            assert time.monotonic() < deadline, left
            time.sleep(0.05)
