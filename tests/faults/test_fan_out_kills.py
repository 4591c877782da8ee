"""Steps of a fanned-out copy killed, and servers restarted, under write load: the copy ends exact all the same."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fan_out_steps import __file__ as STEPS
from fan_out_steps import begin, copy, end, write_config
from faults.harness import ROOT, World, scaled, world_of
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.replication.fan_out import Part

pytestmark = pytest.mark.long

ROWS = 1500
STEP_ROWS = 400


def a_large_table(world: World) -> None:
    """Rows of which many are never written again, so that a range that was skipped would show."""
    rows = ", ".join(f"('v{i}', {i}, ',0')" for i in range(ROWS))
    with world.load.paused():
        world.pair.on_source(f"INSERT INTO plain (v, n, log) VALUES {rows}")


def start(world: World, part: Part) -> subprocess.Popen[str]:
    """Copy a range in a process of its own, which says each commit."""
    config = write_config(world.directory / f"part-{part.mapping}-{part.number}.json", world.pipeline, part)
    return subprocess.Popen(
        [sys.executable, STEPS, str(config)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finished(process: subprocess.Popen[str]) -> str:
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 0, text
    return text


def kill_steps(world: World, times: int) -> None:
    """Kill a step at any moment, go on with the next try of it, and end the copy."""
    while world.counts["kills"] < times:
        pipeline = from_dict(world.pipeline)
        parts = begin(pipeline, STEP_ROWS)
        assert len([part for part in parts if part.mapping == "a.plain"]) > 2
        for part in parts:
            process = start(world, part)
            assert process.stdout is not None
            commits = world.rng.randint(0, 6)
            for line in process.stdout:
                commits -= '"commit"' in line
                if commits < 0 or '"done"' in line:
                    break
            time.sleep(world.rng.uniform(0, 0.02))
            process.kill()
            process.communicate()
            world.counts["kills"] += 1
        before = 0
        for part in parts:
            text = finished(start(world, part))
            told = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
            before += told[-1]["rows"]
        world.counts["rows in ranges"] += before
        end(pipeline, parts)
        world.check()
    world.report(f"SIGKILL of steps that copy ranges, {world.pair.source.flavour} source")


def test_killed_steps_lose_nothing(servers: Servers, flavour: Flavour, tmp_path: Path) -> None:
    """Steps that are killed at any moment under write load are gone on with, and source and target are equal."""
    with world_of(servers, flavour, tmp_path) as world:
        a_large_table(world)
        kill_steps(world, 5)


@pytest.mark.soak
def test_killed_steps_lose_nothing_100_times(servers: Servers, flavour: Flavour, tmp_path: Path) -> None:
    """The same, 100 times for each flavour."""
    with world_of(servers, flavour, tmp_path) as world:
        a_large_table(world)
        kill_steps(world, scaled(100))


@pytest.mark.parametrize("which", ["source", "target"])
def test_a_server_that_restarts_is_outlived(servers: Servers, flavour: Flavour, which: str, tmp_path: Path) -> None:
    """A server that is killed while steps copy side by side: each step goes on by its own retry, none is lost."""
    with world_of(servers, flavour, tmp_path) as world:
        a_large_table(world)
        pipeline = from_dict(world.pipeline)
        parts = begin(pipeline, STEP_ROWS)
        processes = [start(world, part) for part in parts]
        for process in processes:
            assert process.stdout is not None
            assert "begun" in process.stdout.readline()
        time.sleep(world.rng.uniform(0.2, 0.8))
        server = world.pair.source if which == "source" else world.pair.target
        server.kill()
        time.sleep(world.rng.choice((0, 0.3, 1.0)))
        server.start()
        for process in processes:
            finished(process)
        end(pipeline, parts)
        world.check()
        world.counts["restarts"] += 1
        world.counts["steps"] += len(parts)
        world.report(f"restart of the {which} while ranges are copied, {flavour} source")


def test_two_copies_at_once_end_as_one(servers: Servers, flavour: Flavour, tmp_path: Path) -> None:
    """While steps of one copy run, a second one begins: the first one's steps end as stale, the second is exact."""
    with world_of(servers, flavour, tmp_path, copy_window_rows=20) as world:
        a_large_table(world)
        pipeline = from_dict(world.pipeline)
        first = [part for part in begin(pipeline, STEP_ROWS) if part.mapping == "a.plain"]
        processes = [start(world, part) for part in first]
        for process in processes:
            assert process.stdout is not None
            assert "begun" in process.stdout.readline()
        second = begin(pipeline, STEP_ROWS)
        for part in second:
            copy(pipeline, part)
        for process in processes:
            text, _ = process.communicate(timeout=120)
            world.counts["stale steps"] += "StaleRun" in text
            world.counts["steps that were through before"] += process.returncode == 0
        end(pipeline, second)
        world.check()
        assert sum(world.counts[name] for name in ("stale steps", "steps that were through before")) == len(first)
        world.report(f"two copies at once, {flavour} source")
