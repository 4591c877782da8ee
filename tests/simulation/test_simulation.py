"""The core, run in worlds of which one seed decides everything: writes, faults, delays, chunk sizes, crashes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from simulation.world import World, install, live

pytestmark = pytest.mark.long

SEEDS = int(os.environ.get("MYREPETL_SIMULATION_SEEDS", "20000"))
FIRST_SEED = int(os.environ.get("MYREPETL_SIMULATION_FIRST_SEED", "0"))
PARTS = 8


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    """The worlds' clock, in place of the core's."""
    undo = install()
    yield
    undo()


@pytest.mark.parametrize("part", range(PARTS))
def test_any_write_any_fault_any_time(part: int, capsys: pytest.CaptureFixture[str]) -> None:
    """After every commit a mapping that replicates equals the source at its checkpoint; in the end all are equal."""
    seeds = range(FIRST_SEED + SEEDS * part // PARTS, FIRST_SEED + SEEDS * (part + 1) // PARTS)
    began_s = time.perf_counter()
    commits = steps = 0
    for seed in seeds:
        world = live(seed)
        commits += world.commits
        steps += world.steps
    with capsys.disabled():
        print(
            f"\nsimulation: seeds {seeds.start} to {seeds.stop - 1}, {len(seeds)} worlds, {commits} commits judged,"
            f" {steps} steps, {time.perf_counter() - began_s:.1f} s",
            end="",
        )


def test_a_seed_decides_everything() -> None:
    """A seed replays to the same history, so that a failure can be looked at again."""
    lives = [
        [(w.steps, w.commits, w.attempts, str(w.last), [d.tables for d in w.databases]) for w in map(live, range(30))]
        for _ in range(2)
    ]

    assert lives[0] == lives[1]


def test_the_worlds_hold_what_they_are_meant_to() -> None:
    """Every kind of source, fault and moment that the simulator is for occurs in its first worlds."""
    seen: set[str] = set()
    for seed in range(300):
        world = World(seed)
        world.notes = True
        world.live()
        seen |= world.seen | {world.kind.name}

    assert seen >= {
        "GTID", "FILE", "MARIADB", "rotation", "truncate", "rolled back", "swap", "key change", "out of order",
        "gap in the set", "source lost", "target lost", "target busy", "outcome unknown", "crash", "zombie", "stale",
        "copy again", "swept", "evicted", "shared", "unequal positions", "waited for visibility",
        "committed while hidden", "XA prepared", "XA one phase", "XA committed", "XA rolled back", "XA unseen",
        "XA kept", "followed", "failover", "one watermark for two tables", "partial images", "lacked a row to update",
    }  # fmt: skip
