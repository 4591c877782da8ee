"""The dates that rows which were given back as events have in the target's own log, and a run that reads that log on."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator

import pytest
from pipelines import Pair, pair_of, reader_grants
from server_farm import Servers
from servers import Flavour, Server

from myrepetl_dagster.core.rows.event_encoder import RowChanges

TARGETS: list[tuple[Flavour, str | None]] = [
    ("mysql", None), ("mariadb", "10.5"), ("mariadb", None), ("mariadb", "11.8"),
]  # fmt: skip
_HEADER = struct.Struct("<IBIIIH")


def dates(server: Server) -> Iterator[tuple[int, int]]:
    """(type, date in seconds) of each event of the server's newest log file."""
    file = server.execute("SHOW BINARY LOGS")[-1][0]
    log = (server.datadir / file).read_bytes()
    at = 4
    while at < len(log):
        date, kind, _, size, *_ = _HEADER.unpack_from(log, at)
        yield kind, date
        at += size


def a_to_b(servers: Servers, flavour: Flavour, version: str | None) -> Pair:
    """A pair whose rows go as events, with a table of one row that is copied."""
    world = pair_of(servers.get("source", flavour), servers.get("middle", flavour, version=version))
    world.replays = True
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, v INT)", "INSERT INTO t VALUES (1, 0)")
    world.run("t")
    return world


def b_to_c(servers: Servers, first: Pair) -> Pair:
    """A pair that replicates the first one's target on."""
    world = pair_of(first.target, servers.get("target", first.target.flavour))
    world.source_schema = first.target_schema
    first.target.execute(*reader_grants(first.target, first.target_schema))
    return world


def read_on(servers: Servers, first: Pair) -> None:
    """What the first pair writes arrives behind the second one, run by run."""
    second = b_to_c(servers, first)
    second.run("t")
    for n in range(2, 5):
        first.on_source(f"INSERT INTO t VALUES ({n}, 0)", f"UPDATE t SET v = {n} WHERE id = 1")
        first.run("t")
        second.run("t")
        assert second.on_target("SELECT COUNT(*), MAX(v) FROM t") == ((n, n),)


@pytest.mark.parametrize(("flavour", "version"), TARGETS, ids=str)
def test_rows_given_back_as_events_have_the_date_of_their_writing(
    servers: Servers, flavour: Flavour, version: str | None
) -> None:
    """Every event of the target's log is dated when it was written, also in the transactions after it on the same
    connection: a replica of the target, or a tool that reads by time, sees no other lag than there is.
    """
    world = a_to_b(servers, flavour, version)
    world.target.execute("FLUSH BINARY LOGS")
    world.on_source(
        "CREATE TABLE plain (id INT PRIMARY KEY, v INT, CHECK (v < 100))", "INSERT INTO plain VALUES (1, 0)"
    )
    begun_s = int(time.time())
    pipeline = world.pipeline("t plain")
    world.run(pipeline)
    for n in range(2, 4):
        world.on_source(f"INSERT INTO t VALUES ({n}, 0)")
        world.run(pipeline)
    passed = [date - begun_s for _, date in dates(world.target)]
    assert all(-1 <= seconds < 120 for seconds in passed), passed
    world.assert_same("t")
    world.assert_same("plain")


@pytest.mark.parametrize(("flavour", "version"), TARGETS, ids=str)
def test_what_was_given_back_as_events_is_read_on(servers: Servers, flavour: Flavour, version: str | None) -> None:
    """A to B to C: each run reads on from where the one before ended, also where that is the end of our own commit."""
    first = a_to_b(servers, flavour, version)
    read_on(servers, first)


@pytest.mark.parametrize(("flavour", "version"), TARGETS, ids=str)
def test_events_without_a_date_are_read_on(
    servers: Servers, flavour: Flavour, version: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier versions wrote them, and MariaDB 10.5 then gave no date to the transaction's end either: that log is no
    other than it was.
    """
    events = RowChanges.events

    def undated(self: RowChanges, *args: object, written_unix_s: int, **options: object) -> Iterator[bytes]:
        return events(self, *args, written_unix_s=0, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(RowChanges, "events", undated)
    first = a_to_b(servers, flavour, version)
    read_on(servers, first)
    assert any(date == 0 for _, date in dates(first.target)) == (flavour == "mariadb")  # MySQL dates them itself
