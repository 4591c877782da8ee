"""How long after its commit at the source a row is to be seen in the target, of a run that follows.

    python bench/latency.py [--flavour mysql mariadb] [--rate 500] [--seconds 30] [--writers 4]

A process of its own inserts rows, each a transaction, at a steady pace: on one connection, then on two and so on up
to `--writers`, until the pace is kept. A row's time runs from just before its INSERT, which commits, is sent to the
source until a reader of the target, who asks every few milliseconds, has it; so it is an upper bound.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pymysql
from rig import Rig

ASKED_EVERY_S = 0.004
PATIENCE_S = 60.0
KEPT = 0.99  # of the pace

_TABLE = "shop.t (writer INT, n INT, words VARCHAR(100), PRIMARY KEY (writer, n))"
_FIRST = -1  # the "writer" of the rows that tell that the run follows


# ---- the writing process ----
def write(socket: str, writers: Sequence[int], rate: float, seconds: float) -> list[list[float]]:
    """When each row of each writer was sent, its n counted from 0."""
    tickets, lock = itertools.count(), threading.Lock()
    start_s = time.monotonic()

    def one(writer: int) -> list[float]:
        sent: list[float] = []
        with pymysql.connect(user="root", unix_socket=socket, autocommit=True) as connection:
            cursor = connection.cursor()
            while True:
                with lock:
                    due_s = start_s + next(tickets) / rate
                if due_s >= start_s + seconds or time.monotonic() >= start_s + seconds:
                    return sent
                time.sleep(max(0.0, due_s - time.monotonic()))
                sent.append(time.monotonic())
                cursor.execute(f"INSERT INTO shop.t VALUES ({writer}, {len(sent) - 1}, REPEAT('words ', 10))")

    with ThreadPoolExecutor(len(writers)) as pool:
        return list(pool.map(one, writers))


# ---- the reader of the target ----
def seen(rig: Rig, writers: Sequence[int], writing: Future[list[list[float]]]) -> list[list[float]]:
    """When each row of each writer, which are copied in order, was first there."""
    asked = ", ".join(f"(SELECT MAX(n) FROM t WHERE writer = {writer})" for writer in writers)
    found: list[list[float]] = [[] for _ in writers]
    moved_s = time.monotonic()
    with rig.target.connect(database="dw") as connection, connection.cursor() as cursor:
        while True:
            cursor.execute(f"SELECT {asked}")
            newest, now_s = cursor.fetchone(), time.monotonic()
            for times, n in zip(found, newest, strict=True):
                if n is not None and n >= len(times):
                    times += [now_s] * (n + 1 - len(times))
                    moved_s = now_s
            if writing.done() and [len(times) for times in found] == [len(times) for times in writing.result()]:
                return found
            if now_s - moved_s > PATIENCE_S:
                raise RuntimeError(f"rows did not arrive: {[len(times) for times in found]} did")
            time.sleep(ASKED_EVERY_S)


@contextmanager
def following(rig: Rig) -> Iterator[None]:
    """`myrepetl run --follow-s`, caught up."""
    command, env = rig.command("run")
    rig.source.execute(f"CREATE TABLE {_TABLE}", f"INSERT INTO shop.t VALUES ({_FIRST}, 0, '')")
    rig.map("t")
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen([*command, "--follow-s", "86400"], stdout=out, stderr=out, env={**os.environ, **env})
        try:
            for n in range(2):  # copied, then followed
                _await(rig, n, process)
                rig.source.execute(f"INSERT INTO shop.t VALUES ({_FIRST}, {n + 1}, '')")
            yield
            process.send_signal(signal.SIGTERM)
            ended = process.wait(PATIENCE_S)
        except BaseException:
            process.kill()
            process.wait()
            out.seek(0)
            print(out.read()[-2000:], file=sys.stderr)
            raise
        if ended != 128 + signal.SIGTERM:
            out.seek(0)
            raise RuntimeError(f"exit {ended}: {out.read()[-2000:]}")


def _await(rig: Rig, n: int, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            if rig.target.execute(f"SELECT 1 FROM dw.t WHERE writer = {_FIRST} AND n = {n}"):
                return
        except pymysql.MySQLError:
            pass  # the table is still to be created
        time.sleep(0.05)
    raise RuntimeError("the run does not follow")


def measure(rig: Rig, writers: Sequence[int], rate: float, seconds: float) -> tuple[float, list[float]]:
    """Rows a second that these writers made together; the milliseconds of each row."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        writing = pool.submit(write, rig.source.socket, writers, rate, seconds)
        arrived = list(itertools.chain.from_iterable(seen(rig, writers, writing)))
    sent = list(itertools.chain.from_iterable(writing.result()))
    ms = [1000 * (there_s - sent_s) for sent_s, there_s in zip(sent, arrived, strict=True)]
    return len(sent) / seconds, ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flavour", nargs="+", default=["mysql", "mariadb"])
    parser.add_argument("--rate", type=float, default=500.0, help="rows a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--writers", type=int, default=4, help="connections to try with at most")
    options = parser.parse_args()
    python, load = sys.version.split()[0], os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}, Python {python}, load {load:.1f}\n")
    print("| server | writers | commits/s asked | made | rows | median ms | 99th percentile | most |")
    print("|---|---|---|---|---|---|---|---|")
    for flavour in options.flavour:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, closing(Rig(flavour, Path(folder))) as rig:
            with following(rig):
                numbers = itertools.count()
                for count in range(1, options.writers + 1):
                    writers = list(itertools.islice(numbers, count))
                    made, ms = measure(rig, writers, options.rate, options.seconds)
                    median, p99 = statistics.median(ms), statistics.quantiles(ms, n=100)[98]
                    print(
                        f"| {flavour} | {count} | {options.rate:.0f} | {made:.0f} | {len(ms):,} | {median:.1f} |"
                        f" {p99:.1f} | {max(ms):.1f} |",
                        flush=True,
                    )
                    if made >= KEPT * options.rate:
                        break
            rig.check()


if __name__ == "__main__":
    main()
