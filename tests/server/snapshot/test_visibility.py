"""T12: no position that a copy starts from includes a transaction which the next read does not see.

Writers commit one-row transactions while group commit is slowed down; a probe takes a position by some method,
then reads the newest row of each writer. Afterwards the log tells which rows lie at or before each position. The
unsafe methods are the control: they have to be caught, or the test proves nothing.
"""

from __future__ import annotations

import bisect
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pipelines import Pair, pair_of
from server_farm import SYNCING, Servers
from servers import Flavour, Server

from myrepetl_dagster.core.binlog.events import Committed, KnownTable, RowsRead
from myrepetl_dagster.core.model.gtid import GtidSet
from myrepetl_dagster.core.model.position import Position, Transaction
from myrepetl_dagster.core.model.tables import TableName
from myrepetl_dagster.core.source.mysql_source import MySQLSource

pytestmark = pytest.mark.versions_in_soak

WRITERS = 8


@dataclass
class Probe:
    includes: Callable[[Transaction], bool]
    seen: dict[int, int]


@dataclass
class Method:
    name: str
    safe: bool
    probes: list[Probe] = field(default_factory=list)
    wrong: int = 0


@contextlib.contextmanager
def slow_group_commit(server: Server) -> Iterator[None]:
    if server.flavour == "mysql":
        slow, normal = (
            ["binlog_group_commit_sync_delay=20000", "sync_binlog=1"],
            ["binlog_group_commit_sync_delay=0", "sync_binlog=0"],
        )
    else:
        slow = ["binlog_commit_wait_count=4", "binlog_commit_wait_usec=20000", "sync_binlog=1"]
        normal = ["binlog_commit_wait_count=0", "binlog_commit_wait_usec=0", "sync_binlog=0"]
    server.execute(*(f"SET GLOBAL {one}" for one in slow))
    try:
        yield
    finally:
        server.execute(*(f"SET GLOBAL {one}" for one in normal))


@contextlib.contextmanager
def writing(world: Pair) -> Iterator[None]:
    stop = threading.Event()

    def write(writer: int) -> None:
        with world.source_session() as connection, connection.cursor() as cursor:
            s = 0
            while not stop.is_set():
                s += 1
                cursor.execute("INSERT INTO w VALUES (%s, %s)", (writer, s))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# One statement, which sees one state; each writer's last row by the index, however many there are by now.
_SEEN = " UNION ALL ".join(f"SELECT {writer}, MAX(s) FROM w WHERE writer = {writer}" for writer in range(WRITERS))


def at_or_before(file: str, offset: int) -> Callable[[Transaction], bool]:
    return Position(file, offset).includes


def mariadb_sequence(gtids: str) -> Callable[[Transaction], bool]:
    newest = int(gtids.rpartition("-")[2] or 0)
    return lambda transaction: int(transaction.mariadb_gtid.rpartition("-")[2]) <= newest


def probe_until(world: Pair, method: Method, source: MySQLSource, probes: int, at_least: int, deadline: float) -> None:
    """Take positions by a method, each followed by a read on the same connection.

    On a machine with much else to do a probe takes long: the deadline holds from `at_least` probes on.
    """
    table = TableName(world.source_schema, "w")
    with world.source_session() as connection, connection.cursor() as cursor:

        def ask(sql: str) -> Any:
            cursor.execute(sql)
            return cursor.fetchone()

        takes: dict[str, Callable[[], Callable[[Transaction], bool]]] = {
            "ours": lambda: source.safe_watermark([table]).includes,
            "SHOW BINARY LOG STATUS": lambda: at_or_before(*ask("SHOW BINARY LOG STATUS")[:2]),
            "SHOW MASTER STATUS": lambda: at_or_before(*ask("SHOW MASTER STATUS")[:2]),
            "@@gtid_binlog_pos": lambda: mariadb_sequence(ask("SELECT @@gtid_binlog_pos")[0]),
        }
        while (taken := len(method.probes)) < probes and (taken < at_least or time.monotonic() < deadline):
            includes = takes[method.name]()
            cursor.execute(_SEEN)
            method.probes.append(Probe(includes, {writer: s or 0 for writer, s in cursor.fetchall()}))


def logged(source: MySQLSource, world: Pair, start: Position) -> list[tuple[Transaction, int, int]]:
    """(transaction, writer, s) of every row in the log since a position."""
    table = TableName(world.source_schema, "w")
    known = {table: KnownTable(source.columns(table))}
    found: list[tuple[Transaction, int, int]] = []
    rows: list[Any] = []
    with contextlib.closing(source.read_log(start, known)) as events:
        for event in events:
            if isinstance(event, RowsRead):
                rows += [after for _, after in event.changes]
            elif isinstance(event, Committed):
                found += [(event.transaction, row[0], row[1]) for row in rows]
                rows = []
    return found


def judge(method: Method, log: list[tuple[Transaction, int, int]]) -> None:
    """Count the probes whose position includes a row that their read did not see."""
    by_writer: dict[int, list[Transaction]] = {writer: [] for writer in range(WRITERS)}
    for transaction, writer, s in log:
        by_writer[writer].append(transaction)
        assert len(by_writer[writer]) == s  # a writer's rows are in the log in their order, none is missing
    for probe in method.probes:
        for writer, transactions in by_writer.items():
            # In the log a writer's transactions stand in order, so those included are the first so many.
            included = bisect.bisect_left(transactions, True, key=lambda t: not probe.includes(t))
            if included > probe.seen.get(writer, 0):
                method.wrong += 1
                break


def run(servers: Servers, flavour: Flavour, gtid: bool, probes: int, at_least: int, time_s: float) -> list[Method]:
    server = servers.get("visibility", flavour, gtid, **SYNCING[flavour])
    world = pair_of(server, servers.get("target", "mysql"))
    world.on_source("CREATE TABLE w (writer INT, s INT, PRIMARY KEY (writer, s))")
    unsafe = ["SHOW BINARY LOG STATUS"] if flavour == "mysql" else ["SHOW MASTER STATUS", "@@gtid_binlog_pos"]
    methods = [Method("ours", True), *(Method(name, False) for name in unsafe)]
    pipeline = world.pipeline("w")
    source = MySQLSource(pipeline.sources["a"], pipeline.limits)
    try:
        start = source.safe_watermark([TableName(world.source_schema, "w")])
        with slow_group_commit(server), writing(world):
            for method in methods:
                probe_until(world, method, source, probes, at_least, time.monotonic() + time_s / len(methods))
        log = logged(source, world, start)
    finally:
        source.close()
    for method in methods:
        judge(method, log)
        print(f"{flavour} gtid={gtid} {method.name}: {len(method.probes)} probes, {method.wrong} wrong")
    return methods


KINDS: list[tuple[Flavour, bool]] = [("mysql", True), ("mysql", False), ("mariadb", True)]
NAMES = ["mysql-gtid", "mysql-file", "mariadb"]


@pytest.mark.parametrize(("flavour", "gtid"), KINDS, ids=NAMES)
def test_safe_watermark(servers: Servers, flavour: Flavour, gtid: bool) -> None:
    """Of about 500 probes none of ours includes an unseen row, and the position that the server shows does."""
    check(run(servers, flavour, gtid, probes=500, at_least=100, time_s=25), at_least=100)


@pytest.mark.soak
@pytest.mark.parametrize(("flavour", "gtid"), KINDS, ids=NAMES)
def test_safe_watermark_long(servers: Servers, flavour: Flavour, gtid: bool) -> None:
    """The same with 2,000 probes for each method."""
    check(run(servers, flavour, gtid, probes=2_000, at_least=1_900, time_s=600), at_least=1_900)


def check(methods: list[Method], at_least: int) -> None:
    for method in methods:
        assert len(method.probes) >= at_least, method.name
        if method.safe:
            assert method.wrong == 0
    assert sum(method.wrong for method in methods if not method.safe) > 0, "the test has no power"


def test_gtid_set_of_a_probe() -> None:
    """A probe by GTIDs takes a transaction for included if its GTID is in the set, wherever it stands in the files."""
    position = Position("binlog.000001", 4, GtidSet.parse("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5"))
    inside = Transaction("binlog.000009", 999, ("3e11fa47-71ca-11e1-9e33-c80aa9429562", 5))
    outside = Transaction("binlog.000001", 1, ("3e11fa47-71ca-11e1-9e33-c80aa9429562", 6))
    assert position.includes(inside)
    assert not position.includes(outside)
