"""How soon changes are visible in the target under Dagster's own daemon: sensors, runs that follow, renewals, a kill.

    python bench/follow.py [--flavour mysql] [--sources 3] [--tables 10] [--rate 500] [--seconds 900] [--follow-s 300]
        [--no-kill]

`dagster dev` runs with a storage of its own, all sensors on. When every table is followed, a process writes changes
(inserts, updates, deletes) into random tables of every source at a steady pace. Each insert and update takes the next
number of its table. A reader asks the target for the highest number of each table all the time; a change's time runs
from just before it is sent to the source until the target has its number, so it is an upper bound. Halfway through
one run that follows is killed (SIGKILL). In the end all rows are compared.

Printed: the 99th percentile outside renewals and the kill, the worst change at each renewal, the longest wait after the
kill, runs, events, and bytes of Dagster's storage.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
from rig import Rig
from tools import ROOT

ASKED_EVERY_S = 0.02
PATIENCE_S = 120.0
# A renewal's changes are those that were sent from so long before the successor's claim until so long after it.
AROUND_S = 8.0
KILL_S = 45.0

_START = """mutation ($s: SensorSelector!) { startSensor(sensorSelector: $s) { __typename } }"""
_RUNS = """{ runsOrError { ... on Runs { results { runId status jobName: pipelineName startTime endTime } } } }"""
_EVENTS = """query ($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events { ... on EngineEvent {
    metadataEntries { label ... on TextMetadataEntry { text } ... on IntMetadataEntry { intValue } } } } } } }"""


# ---- the writing process ----
def write(ports: Sequence[int], tables: int, rate: float, seconds: float, seed: int) -> list[dict[str, list[float]]]:
    """For each source, when each numbered change of each table was sent, in seconds since the epoch."""
    with ThreadPoolExecutor(len(ports)) as pool:
        args = [(port, tables, rate / len(ports), seconds, seed + n) for n, port in enumerate(ports)]
        return list(pool.map(lambda one: _write_source(*one), args))


def _write_source(port: int, tables: int, rate: float, seconds: float, seed: int) -> dict[str, list[float]]:
    draw = random.Random(seed)
    sent: dict[str, list[float]] = {f"t{n}": [] for n in range(tables)}
    connection = pymysql.connect(host="127.0.0.1", port=port, user="u", password="pw", database="shop", autocommit=True)
    with closing(connection), connection.cursor() as cursor:
        start_s, n = time.monotonic(), 0
        while (due_s := n / rate) < seconds:
            time.sleep(max(0.0, start_s + due_s - time.monotonic()))
            table = f"t{draw.randrange(tables)}"
            number, kind = len(sent[table]) + 1, draw.random()
            if kind < 0.1 and number > 10:
                cursor.execute(f"DELETE FROM {table} WHERE id = {draw.randrange(1, number - 5)}")
            else:
                now_s = time.time()
                if kind < 0.4 and number > 10:
                    changed = cursor.execute(
                        f"UPDATE {table} SET number = {number}, words = REPEAT('w', {draw.randrange(80)})"
                        f" WHERE id = {draw.randrange(1, number)}"
                    )
                    if changed:
                        sent[table].append(now_s)
                        n += 1
                        continue
                cursor.execute(f"INSERT INTO {table} VALUES ({number}, {number}, REPEAT('words ', 10))")
                sent[table].append(now_s)
            n += 1
    return sent


# ---- the reader of the target ----
def read(rig: Rig, tables: int, writing: Future[list[dict[str, list[float]]]]) -> dict[str, list[float]]:
    """For each table of the target, when each number was first there (or a higher one, which comes later)."""
    names = [f"t{n}{'' if s == 0 else f'_a{s}'}" for s in range(len(rig.sources)) for n in range(tables)]
    asked = ", ".join(f"(SELECT MAX(number) FROM {name})" for name in names)
    found: dict[str, list[float]] = {name: [] for name in names}
    ended_s = 0.0
    with rig.target.connect(database="dw") as connection, connection.cursor() as cursor:
        while True:
            cursor.execute(f"SELECT {asked}")
            newest, now_s = cursor.fetchone(), time.time()
            for (_, times), number in zip(found.items(), newest, strict=True):
                times += [now_s] * ((number or 0) - len(times))
            if writing.done():
                ended_s = ended_s or now_s
                wanted = [len(times) for one in writing.result() for times in one.values()]
                if [len(times) for times in found.values()] == wanted:
                    return found
                if now_s - ended_s > PATIENCE_S:
                    raise RuntimeError("changes did not arrive")
            time.sleep(ASKED_EVERY_S)


# ---- Dagster ----
@dataclass
class Dagster:
    """`dagster dev` with a storage of its own."""

    rig: Rig
    port: int
    home: Path
    killed_at_s: float = 0.0
    killed_run: str = ""
    errors: list[str] = field(default_factory=list)

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)["data"]

    def runs(self, job: str = "") -> list[dict[str, Any]]:
        """Newest first."""
        found: list[dict[str, Any]] = self.ask(_RUNS)["runsOrError"]["results"]
        return [one for one in found if one["jobName"].startswith(job)]

    def switch_on(self, sensors: Sequence[str]) -> bool:
        where = {"repositoryLocationName": "myrepetl_dagster.definitions", "repositoryName": "__repository__"}
        for sensor in sensors:
            self.ask(_START, s={**where, "sensorName": sensor})
        return True

    def kill_a_follower(self) -> None:
        """SIGKILL the process of the oldest run that follows."""
        run_id = [one for one in self.runs("follow_") if one["status"] == "STARTED"][-1]["runId"]
        events = self.ask(_EVENTS, id=run_id)["logsForRun"]["events"]
        entries = [entry for event in events for entry in event.get("metadataEntries", ())]
        pids = [int(entry.get("text") or entry["intValue"]) for entry in entries if entry["label"] == "pid"]
        os.kill(pids[-1], signal.SIGKILL)
        self.killed_at_s, self.killed_run = time.time(), run_id


@contextmanager
def dagster(rig: Rig, follow_s: float, interval_s: float) -> Iterator[Dagster]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    found = Dagster(rig, port, rig.folder / "home")
    found.home.mkdir()
    shutil.copy(ROOT / "dagster.yaml", found.home)
    data = json.loads(rig.pipeline.read_text())
    data |= {"replication": {"follow_s": follow_s}, "monitoring": {"interval": interval_s}}
    rig.pipeline.write_text(json.dumps(data))
    env = os.environ | {"DAGSTER_HOME": str(found.home), "MYREPETL_CONFIG": str(rig.pipeline), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "dagster", "dev", "-m", "myrepetl_dagster.definitions", "-h", "127.0.0.1"]
    with (rig.folder / "dev.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "-p", str(port)], cwd=rig.folder, env=env, stdout=log, stderr=log, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
    try:
        yield found
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(holds: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> None:
    until_s = time.monotonic() + patience_s
    while time.monotonic() < until_s:
        with contextlib.suppress(OSError, pymysql.MySQLError, TypeError, KeyError):
            if holds():
                return
        time.sleep(0.3)
    raise RuntimeError(f"waited in vain: {what}")


# ---- the measurement ----
def followed(rig: Rig, found: Dagster) -> bool:
    """Whether each source has a run that follows and reads its log."""
    readers = "SELECT COUNT(*) FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'"
    return all(server.execute(readers)[0][0] for server in rig.sources) and len(
        [one for one in found.runs("follow_") if one["status"] == "STARTED"]
    ) >= len(rig.sources)


def report(sent: list[dict[str, list[float]]], arrived: dict[str, list[float]], found: Dagster, seconds: float) -> bool:
    """Print the figures; whether they are what the project aims at."""
    changes = [
        (sent_s, there_s - sent_s)
        for of_source, start in zip(sent, range(len(sent)), strict=True)
        for table, times in of_source.items()
        for sent_s, there_s in zip(times, arrived[table + (f"_a{start}" if start else "")], strict=True)
    ]
    runs = found.runs("follow_")
    first_s = min(sent_s for sent_s, _ in changes)
    starts = [one["startTime"] for one in runs if one["startTime"] and one["startTime"] > first_s]
    after_kill = [(s, w) for s, w in changes if found.killed_at_s - 1 <= s <= found.killed_at_s + KILL_S]
    renewals = [s for s in starts if not found.killed_at_s <= s <= found.killed_at_s + KILL_S]
    around = [(s, w) for s, w in changes if any(at - 2 <= s <= at + AROUND_S for at in renewals)]
    apart = set(after_kill) | set(around)
    steady = sorted(wait for one in changes if one not in apart for wait in (one[1],))
    p99 = statistics.quantiles(steady, n=100)[98]
    worst_renewal = max((w for _, w in around), default=0.0)
    worst_kill = max((w for _, w in after_kill), default=0.0) if found.killed_at_s else 0.0
    size = sum(path.stat().st_size for path in found.home.rglob("*") if path.is_file())
    print(f"{len(changes):,} numbered changes in {seconds:.0f} s, {len(changes) / seconds:.0f} a second")
    print(f"steady: median {statistics.median(steady) * 1000:.0f} ms, 99th percentile {p99 * 1000:.0f} ms,", end=" ")
    print(f"most {steady[-1] * 1000:.0f} ms ({len(steady):,} changes)")
    print(f"renewals: {len(renewals)}, the worst change took {worst_renewal:.2f} s ({len(around):,} changes)")
    print(f"kill -9 of a run: the worst change took {worst_kill:.2f} s")
    print(
        f"runs that followed: {len(runs)}, other runs: {len(found.runs()) - len(runs)}, storage {size / 2**20:.1f} MiB"
    )
    failed = [one for one in runs if one["status"] == "FAILURE" and one["runId"] != found.killed_run]
    for one in failed:
        found.errors.append(f"run {one['runId']} failed")
    for error in found.errors:
        print(error)
    return p99 <= 0.25 and worst_renewal <= 3 and worst_kill <= 30 and not found.errors


def differing(rig: Rig, tables: int) -> int:
    """Rows that differ between the sources and the target."""
    rows = 0
    for n, server in enumerate(rig.sources):
        for table in range(tables):
            held = set(server.execute(f"SELECT * FROM shop.t{table}"))
            rows += len(held ^ set(rig.target.execute(f"SELECT * FROM dw.t{table}{f'_a{n}' if n else ''}")))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flavour", default="mysql")
    parser.add_argument("--sources", type=int, default=3)
    parser.add_argument("--tables", type=int, default=10, help="of each source")
    parser.add_argument("--rate", type=float, default=500.0, help="changes a second, of all sources together")
    parser.add_argument("--seconds", type=float, default=900.0)
    parser.add_argument("--follow-s", type=float, default=300.0)
    parser.add_argument("--interval-s", type=float, default=30.0)
    parser.add_argument("--no-kill", action="store_true")
    options = parser.parse_args()
    python, load = sys.version.split()[0], os.getloadavg()[0]
    print(f"{options.flavour}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}, Python {python}, load {load:.1f}")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        rig = stack.enter_context(closing(Rig(options.flavour, Path(folder), options.sources)))
        for server in rig.sources:
            server.execute(
                *[
                    f"CREATE TABLE shop.t{n} (id INT PRIMARY KEY, number INT, words VARCHAR(100), KEY (number))"
                    for n in range(options.tables)
                ]
            )
        rig.map(*[f"t{n}" for n in range(options.tables)])
        with dagster(rig, options.follow_s, options.interval_s) as found:
            wait_for(lambda: found.runs() is not None, "the UI")
            sensors = [f"catch_up_a{n or ''}" for n in range(options.sources)]
            wait_for(lambda: found.switch_on(sensors), "the sensors")
            wait_for(lambda: followed(rig, found), "every source is followed")
            copied = [table for (table,) in rig.target.execute("SHOW TABLES FROM dw") if table.startswith("t")]
            rig.target.execute(*[f"ALTER TABLE dw.{table} ADD INDEX (number)" for table in copied])
            time.sleep(15)  # all tables have come in
            ports = [server.port for server in rig.sources]
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool, ThreadPoolExecutor(1) as by:
                writing = pool.submit(write, ports, options.tables, options.rate, options.seconds, 1)
                reading = by.submit(read, rig, options.tables, writing)
                if not options.no_kill:
                    time.sleep(options.seconds / 2)
                    found.kill_a_follower()
                arrived, sent = reading.result(), writing.result()
            good = report(sent, arrived, found, options.seconds)
            time.sleep(2)  # the last deletes have no number
            rows = differing(rig, options.tables)
            print(f"{rows} rows differ")
    sys.exit(0 if good and rows == 0 else 1)


if __name__ == "__main__":
    main()
