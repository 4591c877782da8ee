"""A source under write load, a target, runs in processes of their own, and an oracle that misses nothing.

World(pair, seed) has everything; `world.check()` after a fault says whether anything was lost, doubled, reordered
or left behind. Counts of faults are scaled by MYREPETL_SOAK_SCALE.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pymysql
from faults.proxy import Proxy
from pipelines import REPLAY, Pair, pair_of
from server_farm import Servers
from servers import Flavour, Server

from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.model.checkpoint import Checkpoint, Phase
from myrepetl_dagster.core.model.errors import TransientError
from myrepetl_dagster.core.replication.result import MappingResult
from myrepetl_dagster.core.replication.source_runs import replicate
from myrepetl_dagster.core.target import checkpoint_table as checkpoints

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).with_name("runner.py")
BANK_ROWS, BANK_EACH = 20, 1000

# Over TCP, since PyMySQL leaves a unix socket open where connecting to it fails.
BY_TCP: dict[str, Any] = {"host": "127.0.0.1", "user": "harness", "password": "harness"}


def by_tcp(server: Server) -> dict[str, Any]:
    """The same for a server that may be on another address of this machine."""
    return {**BY_TCP, "host": server.host}


# What a server says that is down, or that kills our statement; anything else is a fault of the harness.
_PASSING = frozenset({1040, 1053, 1158, 1161, 1205, 1213, 1317, 1927, 2003, 2006, 2013, 4031})

LIMITS: dict[str, float] = {
    "chunk_rows_max": 40,
    "copy_window_rows": 60,
    "batch_rows_max": 30,
    "batch_interval_s_max": 0.2,
    "snapshot_slice_s": 0.5,
    "connect_timeout_s": 4,
    "control_timeout_s": 6,
    "snapshot_timeout_s": 6,
    "stream_heartbeat_s": 0.5,
    "stream_timeout_s": 3,
    "apply_timeout_s": 6,
    "lock_wait_timeout_s": 2,
    "attempts_max": 100,
    "retry_time_s_max": 90,
    "backoff_first_s": 0.05,
    "backoff_max_s": 0.5,
}

TABLES = (
    "CREATE TABLE plain (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(40), n INT, log TEXT)",
    "CREATE TABLE pair (a INT, b VARCHAR(10), v VARCHAR(40), log TEXT, PRIMARY KEY (a, b))",
    "CREATE TABLE flt (id INT PRIMARY KEY AUTO_INCREMENT, active TINYINT NOT NULL, log TEXT)",
    "CREATE TABLE uni (id INT PRIMARY KEY AUTO_INCREMENT, code VARCHAR(20) UNIQUE, log TEXT)",
    "CREATE TABLE bank (id INT PRIMARY KEY, balance BIGINT NOT NULL)",
)
MAPPING: dict[str, Any] = {
    "a.plain": {"target_table": "b.plain"},
    "a.pair": {"target_table": "b.pair"},
    "a.flt": {"target_table": "b.flt", "filter": {"active": {"eq": 1}}},
    "a.uni": {"target_table": "b.uni"},
    "a.bank": {"target_table": "b.bank"},
}


def scaled(full: int) -> int:
    """A soak's full count of faults, or what MYREPETL_SOAK_SCALE makes of it."""
    return max(1, round(full * float(os.environ.get("MYREPETL_SOAK_SCALE", "1"))))


def new_seed() -> int:
    """The seed of a test: MYREPETL_SEED, or a fresh one; the test prints it."""
    return int(os.environ.get("MYREPETL_SEED") or random.SystemRandom().randrange(10**9))


# ---- the write load ------------------------------------------------------------------------------------
class Load:
    """A writer on the source: inserts, updates, deletes, key changes, swaps of unique values, transfers.

    Every row of most tables has a `log` to which each update appends the next number, so that an update that
    was lost, applied twice or in another order shows in the row for ever.
    """

    def __init__(self, pair: Pair, rng: random.Random, pause_s: float = 0.002) -> None:
        self._pair = pair
        self._rng = rng
        self._pause_s = pause_s
        self._number = 0
        self._wanted = threading.Event()
        self._over = threading.Event()
        self._idle = threading.Event()
        self._connection: pymysql.Connection[Any] | None = None
        self.transactions = 0
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True, name="load")

    def start(self) -> None:
        self._wanted.set()
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(60)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Between two transactions."""
        was_wanted = self._wanted.is_set()
        self._wanted.clear()
        assert self._idle.wait(60), "the load does not pause"
        assert self.failure is None, self.failure
        try:
            yield
        finally:
            if was_wanted:
                self._idle.clear()
                self._wanted.set()

    def fill(self, rows: int) -> None:
        """What the tables hold at the start."""
        logged = ", ".join(f"('v{i}', {i}, ',0')" for i in range(rows))
        self._pair.on_source(
            f"INSERT INTO plain (v, n, log) VALUES {logged}",
            "INSERT INTO pair VALUES " + ", ".join(f"({i % 7}, 'k{i}', 'v', ',0')" for i in range(rows)),
            "INSERT INTO flt (active, log) VALUES " + ", ".join(f"({i % 2}, ',0')" for i in range(rows)),
            "INSERT INTO uni (code, log) VALUES " + ", ".join(f"('c{i}', ',0')" for i in range(rows)),
            "INSERT INTO bank VALUES " + ", ".join(f"({i}, {BANK_EACH})" for i in range(BANK_ROWS)),
        )

    def _work(self) -> None:
        while not self._over.is_set():
            if not self._wanted.is_set():
                self._idle.set()
                self._wanted.wait(0.02)
                continue
            self._idle.clear()
            try:
                self._transaction()
            except BaseException as error:
                self._drop()
                if not _passes(error):
                    self.failure = error
                    self._idle.set()
                    return
                time.sleep(0.05)  # go on when the source is back
            time.sleep(self._pause_s)
        self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(pymysql.MySQLError, OSError):
                connection.close()

    def _transaction(self) -> None:
        if self._connection is None:
            self._connection = self._pair.source.connect(
                **by_tcp(self._pair.source),
                database=self._pair.source_schema,
                autocommit=False,
                read_timeout=20,
                connect_timeout=5,
            )
        with self._connection.cursor() as cursor:
            for _ in range(self._rng.choice((1, 1, 2, 5, 12))):
                self._rng.choice(_WRITES)(self, cursor)
        if self._rng.random() < 0.05:
            self._connection.rollback()
        else:
            self._connection.commit()
        self.transactions += 1

    # ---- single writes ----
    def _next(self) -> int:
        self._number += 1
        return self._number

    def _some_id(self, cursor: Any, table: str) -> int:
        cursor.execute(f"SELECT MIN(id), MAX(id) FROM {table}")
        low, high = cursor.fetchone()
        return self._rng.randint(low or 0, high or 0)

    def insert(self, cursor: Any) -> None:
        k = self._next()
        rows = self._rng.choice((1, 1, 3))
        cursor.execute("INSERT INTO plain (v, n, log) VALUES " + ", ".join([f"('n{k}', {k}, ',{k}')"] * rows))
        cursor.execute(f"INSERT INTO flt (active, log) VALUES ({k % 2}, ',{k}')")
        cursor.execute(f"INSERT IGNORE INTO pair VALUES ({k % 7}, 'k{k % 300}', 'i{k}', ',{k}')")
        cursor.execute(f"INSERT INTO uni (code, log) VALUES ('u{k}', ',{k}')")

    def append(self, cursor: Any) -> None:
        k = self._next()
        i = self._some_id(cursor, "plain")
        cursor.execute(f"UPDATE plain SET log=RIGHT(CONCAT(log, ',{k}'), 2000), n={k} WHERE id BETWEEN {i} AND {i + 3}")
        cursor.execute(f"UPDATE pair SET log=RIGHT(CONCAT(log, ',{k}'), 2000) WHERE a={k % 7} AND b='k{k % 300}'")
        cursor.execute(f"UPDATE uni SET log=RIGHT(CONCAT(log, ',{k}'), 2000) WHERE id={self._some_id(cursor, 'uni')}")

    def flip(self, cursor: Any) -> None:
        k = self._next()
        i = self._some_id(cursor, "flt")
        cursor.execute(f"UPDATE flt SET active=1-active, log=RIGHT(CONCAT(log, ',{k}'), 2000) WHERE id={i}")

    def delete(self, cursor: Any) -> None:
        for table in ("plain", "flt", "uni"):
            cursor.execute(f"DELETE FROM {table} WHERE id >= {self._some_id(cursor, table)} ORDER BY id LIMIT 2")
        k = self._rng.randrange(300)
        cursor.execute(f"DELETE FROM pair WHERE a={k % 7} AND b='k{k}'")

    def move_key(self, cursor: Any) -> None:
        k = self._next()
        i = self._some_id(cursor, "plain")
        cursor.execute(f"SELECT MAX(id) + 1 FROM plain WHERE id >= {i}")
        cursor.execute(f"UPDATE plain SET id={int(cursor.fetchone()[0] or 1)} WHERE id={i}")
        cursor.execute(f"UPDATE IGNORE pair SET a=(a + 1) % 7, log=CONCAT(log, ',{k}') WHERE b='k{k % 300}' LIMIT 1")

    def swap_unique(self, cursor: Any) -> None:
        cursor.execute(f"SELECT id, code FROM uni WHERE id >= {self._some_id(cursor, 'uni')} ORDER BY id LIMIT 2")
        rows = cursor.fetchall()
        if len(rows) < 2:
            return
        (one, code_one), (two, code_two) = rows
        cursor.execute("UPDATE uni SET code=NULL WHERE id=%s", (one,))
        cursor.execute("UPDATE uni SET code=%s WHERE id=%s", (code_one, two))
        cursor.execute("UPDATE uni SET code=%s WHERE id=%s", (code_two, one))

    def transfer(self, cursor: Any) -> None:
        giver, taker = self._rng.sample(range(BANK_ROWS), 2)
        amount = self._rng.randint(1, 50)
        cursor.execute(f"UPDATE bank SET balance=balance-{amount} WHERE id={giver}")
        cursor.execute(f"UPDATE bank SET balance=balance+{amount} WHERE id={taker}")


_WRITES: tuple[Callable[[Load, Any], None], ...] = (
    Load.insert, Load.insert, Load.append, Load.append, Load.append, Load.flip, Load.delete, Load.move_key,
    Load.swap_unique, Load.transfer, Load.transfer,
)  # fmt: skip


def _passes(error: BaseException) -> bool:
    if isinstance(error, pymysql.MySQLError):
        return isinstance(error, pymysql.err.InterfaceError) or error.args[0] in _PASSING
    return isinstance(error, OSError)


# ---- watching the target -------------------------------------------------------------------------------
class Watcher:
    """Looks at the target again and again: checkpoints only move forward, and the bank's sum never changes."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._over = threading.Event()
        self.samples = 0
        self.positions = 0  # how often a checkpoint was seen to have moved
        self.failure: str | None = None
        self._last: dict[str, Checkpoint] = {}
        self._thread = threading.Thread(target=self._work, daemon=True, name="watcher")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(30)

    def _work(self) -> None:
        connection: pymysql.Connection[Any] | None = None
        while not self._over.wait(0.02):
            try:
                if connection is None:
                    connection = self._pair.target.connect(
                        **by_tcp(self._pair.target),
                        database=self._pair.target_schema,
                        read_timeout=20,
                        connect_timeout=5,
                    )
                self._look(connection)
            except BaseException as error:
                if connection is not None:
                    with contextlib.suppress(pymysql.MySQLError, OSError):
                        connection.close()
                connection = None
                if not _passes(error):
                    self._fail(repr(error))
        if connection is not None:
            connection.close()

    def _look(self, connection: pymysql.Connection[Any]) -> None:
        with connection.cursor() as cursor:
            cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            try:
                found = checkpoints.read(connection, self._pair.target_schema, sorted(MAPPING))
                cursor.execute("SELECT COUNT(*), SUM(balance) FROM bank")
                bank = cursor.fetchone()
            finally:
                cursor.execute("ROLLBACK")
        self.see(found, bank)

    def see(self, found: Mapping[str, Checkpoint], bank: Any) -> None:
        self.samples += 1
        for name, now in found.items():
            before = self._last.get(name)
            if before is not None:
                if now.sequence < before.sequence:
                    self._fail(f"{name}: sequence went from {before.sequence} back to {now.sequence}")
                if not now.position.covers(before.position):
                    self._fail(f"{name}: position went from {before.position} back to {now.position}")
                self.positions += now.position != before.position
            self._last[name] = now
        state = found.get("a.bank")
        right = (BANK_ROWS, BANK_ROWS * BANK_EACH)
        if state is not None and state.phase is Phase.REPLICATING and (int(bank[0]), int(bank[1] or 0)) != right:
            self._fail(f"a reader of the target saw half a transaction: bank {bank}")

    def forget(self) -> None:
        """The target is another server now, which may lack the last commits of the first, checkpoints and all."""
        self._last = {}

    def _fail(self, what: str) -> None:
        self.failure = self.failure or what


# ---- runs in processes of their own --------------------------------------------------------------------
class Run:
    """A replication process. `events` are what it has said so far.

    Args:
        prefix: a command that ends in running the command that follows it.
    """

    def __init__(
        self, pipeline: dict[str, Any], directory: Path, fault: str = "", prefix: Sequence[str] = (), **options: Any
    ) -> None:
        handle, name = tempfile.mkstemp(suffix=".json", dir=directory)
        with os.fdopen(handle, "w") as file:
            json.dump({"pipeline": pipeline, **options}, file)
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "MYREPETL_TEST_FAULT": fault}
        self.stderr = Path(name).with_suffix(".err")
        with self.stderr.open("wb") as errors:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, str(RUNNER), name],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environ,
            )  # fmt: skip
        self.follows = bool(options.get("follow_s"))
        self.events: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news, contextlib.suppress(ValueError):  # a killed process leaves half a line
                self.events.append(json.loads(line))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def count(self, event: str) -> int:
        return sum(e["event"] == event for e in self.events)

    def last(self, event: str) -> dict[str, Any]:
        return next(e for e in reversed(self.events) if e["event"] == event)

    def wait(self, event: str, times: int = 1, timeout_s: float = 60.0) -> None:
        """Until it has said something so often; fails if it ends before."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while self.count(event) < times:
                assert self.process.poll() is None or self._reader.is_alive(), self.story()
                assert time.monotonic() < deadline, f"no {event!r} in {timeout_s} s: {self.story()}"
                self._news.wait(0.1)

    def story(self) -> str:
        return json.dumps(self.events[-8:], indent=1) + self.stderr.read_text(errors="replace")[-2000:]

    def state(self) -> str:
        """What the kernel says of each thread: whether it runs, what it waits for, which signals it has not taken."""
        found = []
        for task in sorted(Path(f"/proc/{self.process.pid}/task").glob("*")):
            with contextlib.suppress(OSError):
                lines = (task / "status").read_text().splitlines()
                told = [line for line in lines if line.startswith(("Name", "State", "PPid", "Sig", "Shd"))]
                found.append(", ".join([task.name, *told, "waits in " + (task / "wchan").read_text()]))
        return "\n".join(found)

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._ended()

    def finish(self, timeout_s: float = 120.0) -> int:
        """Let it end after the call under way; its exit status."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        return self.wait_end(timeout_s)

    def wait_end(self, timeout_s: float = 120.0) -> int:
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            state = self.state()
            self.kill()
            raise AssertionError(f"the run did not end in {timeout_s} s: {self.story()}\n{state}") from None
        self._ended()
        return status

    def _ended(self) -> None:
        self.process.wait()
        self._reader.join(10)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


# ---- everything together -------------------------------------------------------------------------------
class World:
    """A pair of servers with a write load, a watcher and, if asked for, a proxy before each server.

    Args:
        seed: of the load and of the faults (`rng`); printed, so that a failure can be replayed as far as
            real servers allow. Of half of the seeds the runs join batches, as for tables larger than a buffer pool.
    """

    def __init__(self, pair: Pair, directory: Path, seed: int, *, proxies: bool = False, **limits: float) -> None:
        self.pair = pair
        self.directory = directory
        self.seed = seed
        self.rng = random.Random(seed)
        self.joins = seed // 2 % 2 == 1
        self.counts: Counter[str] = Counter()
        pair.limits = {**LIMITS, **limits}
        for server in (pair.source, pair.target):
            server.execute("CREATE USER IF NOT EXISTS 'harness'@'%' IDENTIFIED BY 'harness'")
            server.execute("GRANT ALL ON *.* TO 'harness'@'%'")
        pair.on_source(*TABLES)
        self.load = Load(pair, random.Random(seed + 1))
        self.load.fill(rows=120)
        self.source_proxy = Proxy(pair.source.host, pair.source.port) if proxies else None
        self.target_proxy = Proxy(pair.target.host, pair.target.port) if proxies else None
        self.direct = pair.config(MAPPING)
        self.pipeline = json.loads(json.dumps(self.direct))
        if self.source_proxy and self.target_proxy:
            self.pipeline["sources"]["a"]["port"] = self.source_proxy.port
            self.pipeline["targets"]["b"]["port"] = self.target_proxy.port
        self.watcher = Watcher(pair)

    def __enter__(self) -> Self:
        for proxy in (self.source_proxy, self.target_proxy):
            if proxy:
                proxy.listen()
        self.catch_up()
        self.watcher.start()
        self.load.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.load.stop()
        self.watcher.stop()
        if kind is None:
            assert self.load.failure is None, self.load.failure
            assert self.watcher.failure is None, f"seed={self.seed}: {self.watcher.failure}"
            assert self.load.transactions, "there was no write load"
            assert self.watcher.samples, "nobody watched the target"
        for proxy in (self.source_proxy, self.target_proxy):
            if proxy:
                proxy.__exit__(None, None, None)

    def run(self, fault: str = "", **options: Any) -> Run:
        options.setdefault("seed", self.rng.randrange(2**30))
        options.setdefault("joins", self.joins)
        return Run(self.pipeline, self.directory, fault, **options)

    def catch_up(self) -> list[MappingResult]:
        """A clean run, in this process and past the proxies; its errors fail the test."""
        results = replicate(from_dict(self.direct))
        for result in results:
            assert result.error is None, f"seed={self.seed}: {result.error}"
        return results

    # ---- the oracle ----
    def check(self, *, connections: bool = True) -> None:
        """With the load paused: one more run, then source and target hold the same, and nothing is left behind."""
        with self.load.paused():
            if connections:
                self.assert_no_connections()
            self.catch_up()
            self.compare()
        self.assert_watched()

    def check_with(self, run: Run) -> None:
        """As `check`, while a run goes on: it brings the target up to date itself."""
        with self.load.paused():
            if run.follows:
                self.until_equal()
            else:
                run.wait("done", run.count("done") + 2, timeout_s=90)
            self.compare()
        self.assert_watched()

    def until_equal(self, within_s: float = 60.0) -> None:
        """Wait until a run that follows has brought everything."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            with contextlib.suppress(AssertionError):
                self.compare()
                return
            time.sleep(0.1)

    def assert_watched(self) -> None:
        assert self.watcher.failure is None, f"seed={self.seed}: {self.watcher.failure}"

    def compare(self) -> None:
        """Source and target, row for row, by the servers' own bytes."""
        for table in ("plain", "pair", "flt", "uni", "bank"):
            where = " WHERE active=1" if table == "flt" else ""
            sent = _bytes(self.pair.source, self.pair.source_schema, f"SELECT * FROM {table}{where}")
            held = _bytes(self.pair.target, self.pair.target_schema, f"SELECT * FROM {table}")
            missing, extra = sent - held, held - sent
            assert not missing, f"seed={self.seed} {table} lacks {sorted(missing.elements(), key=repr)[:3]}"
            assert not extra, f"seed={self.seed} {table} has beside {sorted(extra.elements(), key=repr)[:3]}"

    def connections(self) -> list[tuple[Any, ...]]:
        """Those of ours that either server lists."""
        found: list[tuple[Any, ...]] = []
        for server, schema, user in (
            (self.pair.source, self.pair.source_schema, "reader"),
            (self.pair.target, self.pair.target_schema, "writer"),
        ):
            found += server.execute(
                "SELECT id, user, command, time, state FROM information_schema.processlist"
                f" WHERE user='{user}' AND db='{schema}'"
            )
        return found

    def assert_no_connections(self, within_s: float = 20.0) -> None:
        deadline = time.monotonic() + within_s
        while left := self.connections():
            assert time.monotonic() < deadline, f"seed={self.seed}: left behind {left}"
            time.sleep(0.02)

    def until_running(self, run: Run, commits: int = 1) -> None:
        run.wait("commit", run.count("commit") + commits)

    def report(self, what: str) -> None:
        """The figures, for `pytest -s` and the docs."""
        counts = ", ".join(f"{name} {n}" for name, n in sorted(self.counts.items()))
        what += ", batches joined" if self.joins else ""
        line = (
            f"{what}: seed {self.seed}; {counts}; {self.load.transactions} source transactions,"
            f" {self.watcher.samples} samples of the target, {self.watcher.positions} checkpoint moves"
        )
        print(f"\n[faults] {line}")
        if path := os.environ.get("MYREPETL_FAULTS_LOG"):
            with Path(path).open("a") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")


OTHER: dict[Flavour, Flavour] = {"mysql": "mariadb", "mariadb": "mysql"}


@contextlib.contextmanager
def world_of(
    servers: Servers, flavour: Flavour, directory: Path, *, gtid: bool = True, proxies: bool = False, **limits: float
) -> Iterator[World]:
    """From this flavour to the other, on servers that only these tests use (they kill them); where the seed is odd, to
    the same flavour, by events where they can be.
    """
    seed = new_seed()
    pair = fault_pair(servers, flavour, gtid, by_events=REPLAY or seed % 2 == 1)
    with World(pair, directory, seed, proxies=proxies, **limits) as world:
        yield world


def fault_pair(servers: Servers, flavour: Flavour, gtid: bool = True, *, by_events: bool = False) -> Pair:
    """Fresh schemas on the servers of these tests."""
    target = servers.get("faults-too", flavour) if by_events else servers.get("faults", OTHER[flavour])
    pair = pair_of(servers.get("faults", flavour, gtid), target)
    pair.replays = by_events
    for server in (pair.source, pair.target):
        server.execute("SET GLOBAL max_allowed_packet=67108864")
    return pair


@contextlib.contextmanager
def retries() -> Iterator[list[int]]:
    """The numbers of the errors that are retried meanwhile, from the log's structured fields."""

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if hasattr(record, "attempt"):
                seen.append(int(getattr(record, "code", 0) or 0))

    seen: list[int] = []
    handler = Collect()
    logging.getLogger("myrepetl").addHandler(handler)
    try:
        yield seen
    finally:
        logging.getLogger("myrepetl").removeHandler(handler)


def meanwhile(
    pair: Pair,
    mapping: str,
    refuse: Callable[[], object],
    allow: Callable[[], object],
    *,
    times: int = 1,
    within_s: float = 60.0,
) -> list[int]:
    """Replicate while a server refuses; it allows once it has been asked in vain so often. The errors retried."""
    refuse()
    pair.limits = {**LIMITS, **pair.limits}
    failed: list[BaseException] = []

    def run() -> None:
        try:
            pair.run(mapping)
        except BaseException as error:
            failed.append(error)

    with retries() as seen:
        thread = threading.Thread(target=run)
        thread.start()
        deadline = time.monotonic() + 30
        while len(seen) < times and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        allow()
        thread.join(within_s)
        assert not thread.is_alive(), f"still not done {within_s} s later; retried {seen}"
    assert not failed, failed
    return seen


def _bytes(server: Any, schema: str, sql: str) -> Counter[tuple[Any, ...]]:
    connection = server.connect(database=schema, use_unicode=False, conv={})
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return Counter(cursor.fetchall())
    finally:
        connection.close()


def call_until_lost(action: Callable[[], object], within_s: float) -> TransientError:
    """Run something that must end with a lost connection, in time."""
    began_s = time.monotonic()
    try:
        action()
    except TransientError as error:
        took_s = time.monotonic() - began_s
        assert took_s < within_s, f"took {took_s:.1f} s"
        return error
    raise AssertionError("nothing was lost")
