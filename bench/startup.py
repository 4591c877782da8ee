"""What starting costs, beside Dagster's own start, in turns: imports, an empty run, the sensor's tick.

python bench/startup.py [--flavour mysql mariadb] [--rounds 7] [--tables 10]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rig import Rig, trivial_job
from tools import ROOT, Flavour

# Evaluates every sensor of the definitions a few times, in a process as the code server is one.
_TICKS = """
import sys, time, dagster as dg
from myrepetl_dagster import build_replication_defs
defs = build_replication_defs(sys.argv[1])
repository = defs.get_repository_def()
with dg.DagsterInstance.ephemeral() as instance:
    for sensor in repository.sensor_defs:
        for _ in range(int(sys.argv[2])):
            with dg.build_sensor_context(instance=instance, repository_def=repository) as context:
                start_s = time.perf_counter()
                found = sensor.evaluate_tick(context)
                print((time.perf_counter() - start_s) * 1000, len(found.run_requests or ()))
"""


def timed(command: Sequence[str], env: Mapping[str, str]) -> float:
    start_s = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env})
    elapsed_s = time.perf_counter() - start_s
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return elapsed_s


def in_turns(commands: Mapping[str, tuple[list[str], dict[str, str]]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each command in each round, after a round that only warms the caches."""
    found: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, (command, env) in commands.items():
            elapsed_s = timed(command, env)
            if number:
                found[name].append(elapsed_s)
    return found


def show(place: str, found: Mapping[str, list[float]]) -> None:
    """One row for each command; the ratio is to the first one."""
    first = statistics.median(next(iter(found.values())))
    for name, values in found.items():
        median = statistics.median(values)
        print(
            f"| {place} | {name} | {median:.3f} ({min(values):.3f}–{max(values):.3f}) | {median / first:.2f} |"
            f" {median - first:+.3f} |",
            flush=True,
        )


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def imports(rounds: int, pipeline: Path) -> None:
    env = {"PYTHONPATH": str(ROOT)}
    build = "from myrepetl_dagster import build_replication_defs as b"
    show(
        "–",
        in_turns(
            {
                "import dagster": (python("import dagster"), env),
                "import myrepetl_dagster": (python("import myrepetl_dagster"), env),
                "from myrepetl_dagster import build_replication_defs": (python(build), env),
                "import myrepetl_dagster.definitions, with a pipeline file": (
                    python("import myrepetl_dagster.definitions"),
                    env | {"MYREPETL_CONFIG": str(pipeline)},
                ),
            },
            rounds,
        ),
    )


def empty_runs(rig: Rig, rounds: int) -> None:
    trivial = rig.folder / "trivial"
    trivial.mkdir()
    show(
        rig.flavour,
        in_turns(
            {
                "job of Dagster's own with as many assets": trivial_job(trivial, len(rig.tables)),
                "job `replicate`, nothing to do": rig.command("job"),
                "`myrepetl run`, nothing to do": rig.command("run"),
            },
            rounds,
        ),
    )


def ticks(rig: Rig, what: str, rounds: int) -> None:
    done = subprocess.run(
        [*python(_TICKS), str(rig.pipeline), str(rounds + 1)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found = [line.split() for line in done.stdout.splitlines()]
    first_ms, *rest = [float(ms) for ms, _ in found]
    asked = sum(int(count) for _, count in found)
    print(
        f"| {rig.flavour} | {what} | {first_ms:.0f} | {statistics.median(rest):.1f} ({min(rest):.1f}–{max(rest):.1f})"
        f" | {asked} of {len(found)} |",
        flush=True,
    )


def prepared(flavour: Flavour, folder: Path, tables: int, sources: int = 1) -> Rig:
    """A rig whose tables are caught up."""
    rig = Rig(flavour, folder, sources)
    try:
        _fill(rig, tables)
    except BaseException:
        rig.close()
        raise
    return rig


def _fill(rig: Rig, tables: int) -> None:
    names = [f"t{n}" for n in range(tables)]
    for server in rig.sources:
        server.execute(*(f"CREATE TABLE shop.{n} (id INT PRIMARY KEY, v VARCHAR(20))" for n in names))
        server.execute(*(f"INSERT INTO shop.{n} VALUES (1, 'one')" for n in names))
    rig.map(*names)
    timed(*rig.command("run"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flavour", nargs="+", default=["mysql", "mariadb"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tables", type=int, default=10)
    parser.add_argument("--sources", type=int, default=10, help="for the ticks of many sources; 0: not measured")
    options = parser.parse_args()
    version, load = sys.version.split()[0], os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}, Python {version}, load {load:.1f}\n")
    print("| server | what | s: median (min–max) | of the first | more than the first, s |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        rigs: list[Rig] = []
        try:
            for flavour in options.flavour:
                rigs.append(prepared(flavour, Path(folder, flavour), options.tables))
            imports(options.rounds, rigs[0].pipeline)
            for rig in rigs:
                empty_runs(rig, options.rounds)
            print("\n| server | sensor's tick | first, ms | later, ms: median (min–max) | asked for a run |")
            print("|---|---|---|---|---|")
            for rig in rigs:
                ticks(rig, f"{options.tables} tables, quiet", options.rounds)
                rig.source.execute("INSERT INTO shop.t0 VALUES (2, 'two')")
                ticks(rig, f"{options.tables} tables, changes", options.rounds)
        finally:
            for rig in rigs:
                rig.close()
        for flavour in options.flavour if options.sources else ():
            rig = prepared(flavour, Path(folder, f"{flavour}-many"), 1, options.sources)
            try:
                ticks(rig, f"{options.sources} sources, a table each, quiet", options.rounds)
                rig.map("t0", shared=True)
                ticks(rig, f"{options.sources} sources into one table, not copied yet", options.rounds)
            finally:
                rig.close()


if __name__ == "__main__":
    main()
