"""How the copy of one large table grows with the number of processes that copy its ranges, and where it stops to.

python bench/workers.py [--flavour mysql mariadb] [--table users] [--rows 3000000] [--ranges 8] [--workers 1 2 4]

Each line is a run of `snapshot_parallel` on Dagster's multiprocess executor, into an emptied target. `rows/s` counts
from the start of the first range's step to the end of the last one's; `whole run` has Dagster's start, the division and
the last step in it. The last columns say how many processors each side kept busy: servers that use all that the machine
has are the limit, whatever the number of workers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path

import dagster as dg
from rig import Rig, dagster_job
from tools import Flavour, measure

_LINE = "| {} | {} | {} | {:,.0f} ({:,.0f}–{:,.0f}) | {:,.0f} | {:.1f} | {:.1f} | {:.1f} |"


def copying_s(home: str) -> float:
    """Seconds from the start of the last run's first range to the end of its last one."""
    with dg.DagsterInstance.from_config(home) as instance:
        (run,) = instance.get_runs(limit=1)
        events = [
            event
            for event in instance.all_logs(
                run.run_id, of_type={dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS}
            )
            if (event.step_key or "").startswith("copy_range")
        ]
    return max(event.timestamp for event in events) - min(event.timestamp for event in events)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flavour", nargs="+", choices=["mysql", "mariadb"], default=["mysql", "mariadb"])
    parser.add_argument("--table", default="users")
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--ranges", type=int, default=8)
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(f"{given.rows:,} rows, {given.ranges} ranges, {os.cpu_count()} processors\n")
    print(
        "| server | table | workers | rows/s: median (min–max) | whole run, rows/s | source's processors"
        " | target's processors | workers' processors |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for flavour in given.flavour:
        measure_flavour(flavour, given)


def measure_flavour(flavour: Flavour, given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig(flavour, Path(folder), innodb_buffer_pool_size="1G")
        try:
            rig.create(given.table, given.rows)
            rig.map(given.table)
            found: dict[int, list[tuple[float, float, float, float, float]]] = {n: [] for n in given.workers}
            for _ in range(given.rounds):
                for workers in given.workers:
                    found[workers].append(one_run(rig, workers, given))
            for workers, runs in found.items():
                rates = [given.rows / run[0] for run in runs]
                whole, source, target, client = (
                    statistics.median(values) for values in list(zip(*runs, strict=True))[1:]
                )
                print(
                    _LINE.format(
                        flavour, given.table, workers, statistics.median(rates), min(rates), max(rates),
                        given.rows / whole, source, target, client,
                    ),
                    flush=True,
                )  # fmt: skip
        finally:
            rig.close()


def one_run(rig: Rig, workers: int, given: argparse.Namespace) -> tuple[float, float, float, float, float]:
    """Seconds of the ranges and of the whole run; processors in use by source, target and the run's processes."""
    rig.target.execute("DROP DATABASE dw", "CREATE DATABASE dw CHARACTER SET utf8mb4")
    config = rig.folder / "workers.json"
    execution = {"config": {"multiprocess": {"max_concurrent": workers}}}
    config.write_text(json.dumps({"step_rows": -(-given.rows // given.ranges), "execution": execution}))
    _, env = rig.command("job")
    command = [*dagster_job("myrepetl_dagster.definitions", "snapshot_parallel"), "-c", str(config)]
    measured = measure(command, [rig.source, rig.target], env)
    rig.check()
    busy = (*measured.server_cpu_s, measured.client_cpu_s)
    source, target, client = (cpu_s / measured.wall_s for cpu_s in busy)
    return copying_s(env["DAGSTER_HOME"]), measured.wall_s, source, target, client


if __name__ == "__main__":
    main()
