"""The way of a row of the log through the core is short."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator

import pytest
from architecture.tracing import Tracer, Way
from pipelines import Pair, pair_of
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.binlog.event_format import KIND_AT
from myrepetl_dagster.core.binlog.event_types import XID
from myrepetl_dagster.core.replication.catchup.mapping_writes import MappingWrites
from myrepetl_dagster.core.source import log_reader
from myrepetl_dagster.core.target.apply_connection import MySQLApplyConnection

FOLLOWED = 3
PATIENCE_S = 20.0


def transactions(packets: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
    """The log's packets in lists that end where a transaction does."""
    one: list[bytes] = []
    for some in packets:
        for packet in some:
            one.append(packet)
            if packet[KIND_AT] == XID:
                yield one
                one = []
    if one:
        yield one


def rows_arrive(world: Pair, rows: int) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while world.on_target("SELECT COUNT(*) FROM t")[0][0] < rows:
        assert time.monotonic() < deadline_s, "the first batch is not committed"
        time.sleep(0.02)


def followed(world: Pair, monkeypatch: pytest.MonkeyPatch) -> Way:
    """The way of the third of four transactions, when the first two are a batch and a commit of their own.

    The reader gets the packets of a real server, but a transaction's packets no earlier than it is through with the
    transaction before.
    """
    tracer = Tracer()

    def one_at_a_time(items: Iterator[list[bytes]], *_: object) -> Generator[list[bytes], None, None]:
        for number, packets in enumerate(transactions(items), 1):
            if number == FOLLOWED:
                rows_arrive(world, FOLLOWED)
                tracer.inside = {MappingWrites.write.__qualname__}
            tracer.recording = number == FOLLOWED
            yield packets
            tracer.recording = False

    monkeypatch.setattr(log_reader, "read_ahead", one_at_a_time)
    with tracer.installed():
        world.run("t")
    return tracer.way


@pytest.mark.parametrize("replays", [False, True], ids=["statement", "event"])
def test_the_way_of_a_row_is_short(
    servers: Servers, flavour: Flavour, monkeypatch: pytest.MonkeyPatch, replays: bool
) -> None:
    """A transaction of one row passes through few rooms and files on its way to the target's door, and from there to
    that of `mysql`, whether it is written by a statement (literals into MySQL, parameters into MariaDB) or as an event.

    It has two legs. The first is all that is done for the transaction when its packets have come: they are read, the
    row is shaped, and it waits for its batch to fill. The second is all that is done for the row when the batch is
    written: it is written out and given to the apply connection. The batch's rows share the commit around the second
    leg (fence, checkpoint, report), which `test_way_of_a_commit.py` follows. Decoder and shaper have been compiled
    before.
    """
    world = pair_of(servers.get("source", flavour), servers.get("target", flavour))
    world.replays = replays
    world.limits |= {"batch_rows_max": FOLLOWED - 1, "batch_interval_s_max": 3600}
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(30), price DECIMAL(8,2))",
        "CREATE TABLE unmapped (id INT PRIMARY KEY)",
        "INSERT INTO t VALUES (1, 'copied', 1)",
    )
    world.run("t")
    world.on_source(
        *(f"INSERT INTO t VALUES ({id}, 'read', 1.5)" for id in (2, 3, 4)), "INSERT INTO unmapped VALUES (1)"
    )

    whole = followed(world, monkeypatch)

    world.assert_same("t")
    way = whole.up_to("target")
    print(way)
    assert way.rooms[0] == "binlog"
    assert way.rooms[-1] == "target"
    assert len(way.rooms) <= 7
    assert len(way.stays) <= 20
    assert way.returns <= 8
    written = whole.within(f"{MySQLApplyConnection.__qualname__}.write").up_to("mysql")
    print(written)
    # An event is written to a table whose definition has been compared with the one that it is for.
    assert ("target/event_writer.py" in written.stays) == replays
    assert len(written.rooms) <= 7
    assert len(written.stays) <= (24 if replays else 20)
    assert written.returns <= (13 if replays else 8)
