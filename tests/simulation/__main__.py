"""Replay seeds: `PYTHONPATH=tests python -m simulation SEED [SEED ...]`, or `FIRST-LAST`."""

from __future__ import annotations

import sys
import time

from simulation.world import install, live


def main(arguments: list[str]) -> None:
    install()
    for argument in arguments:
        first, _, last = argument.partition("-")
        began_s = time.perf_counter()
        seeds = range(int(first), int(last or first) + 1)
        commits = steps = 0
        for seed in seeds:
            world = live(seed)
            commits += world.commits
            steps += world.steps
        print(
            f"seeds {seeds.start}-{seeds.stop - 1}: {len(seeds)} worlds, {commits} commits judged,"
            f" {steps} steps, {time.perf_counter() - began_s:.1f} s"
        )


main(sys.argv[1:])
