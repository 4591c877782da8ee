"""The way of a batch through its commit is short."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from architecture.tracing import Tracer, Way
from pipelines import Pair, pair_of
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.replication.catchup.commit_queue import CommitQueue
from myrepetl_dagster.core.replication.catchup.commits import Commit
from myrepetl_dagster.core.replication.catchup.mapping_writes import MappingWrites
from myrepetl_dagster.core.target.apply_connection import MySQLApplyConnection

BATCHES = 6
FOLLOWED = 4  # the number of a batch that has others before and after it
PATIENCE_S = 20.0
TRANSACTION = f"{Commit.after.__qualname__}.<locals>.work"
# What they call is the way of a row.
WRITES = [one.__qualname__ for one in (MappingWrites.write, MappingWrites.write_early, MappingWrites.write_late)]
# What a transaction asks of its connection beside the rows.
STEPS = [
    f"{MySQLApplyConnection.__qualname__}.{name}" for name in ("begin", "begin_unfenced", "fence", "commit", "rollback")
]


@dataclass
class Legs:
    """The way of one batch in three legs."""

    begun: Way  # from the decision to write it until its transaction is begun in the background
    transaction: Way
    landed: Way  # until it is reported


def followed(world: Pair, monkeypatch: pytest.MonkeyPatch, *, overlaps: bool) -> Legs | None:
    """The way of one of many batches.

    None: what is followed was not one batch alone.

    A batch is committed before the next one is begun. But if it `overlaps`, the one before it is committed a little
    later, so that it has a predecessor under way; and so has one before, which opens the connection that it takes.
    """
    tracer = Tracer()
    legs: list[Way] = []
    begun = landed = 0
    lingering: list[MySQLApplyConnection] = []
    next_has_begun = threading.Event()
    commit, land_one = CommitQueue.commit, CommitQueue._land_one
    start, commit_rows = MySQLApplyConnection.start, MySQLApplyConnection.commit

    def commit_and_follow(self: CommitQueue, **more: Any) -> None:
        if begun == FOLLOWED - 1:
            self._land_ended()
            tracer.inside = {commit.__qualname__, TRANSACTION}
        before = begun
        commit(self, **more)
        way = tracer.take()
        if before == FOLLOWED - 1 and begun == FOLLOWED:  # a batch may also wait, and be begun by a later call
            legs.extend(way.by_thread())
        tracer.inside = ()

    def land_and_follow(self: CommitQueue, *one: Any) -> None:
        nonlocal landed
        landed += 1
        if landed == FOLLOWED:
            tracer.inside = {land_one.__qualname__}
        land_one(self, *one)
        if landed == FOLLOWED:
            legs.append(tracer.take())

    def start_and_wait(self: MySQLApplyConnection, work: Callable[[], Any]) -> None:
        nonlocal begun
        begun += 1
        lingers = overlaps and begun in (FOLLOWED - 3, FOLLOWED - 1)
        if lingers:
            next_has_begun.clear()
            lingering.append(self)
        start(self, work)
        if not lingers:
            next_has_begun.set()
            ended = self._background._ended
            assert ended is not None
            ended.wait()

    def commit_and_linger(self: MySQLApplyConnection, stored: Any) -> None:
        commit_rows(self, stored)
        if self in lingering:
            lingering.remove(self)
            next_has_begun.wait(PATIENCE_S)

    with monkeypatch.context() as patched:
        for owner, name, function in (
            (CommitQueue, "commit", commit_and_follow),
            (CommitQueue, "_land_one", land_and_follow),
            (MySQLApplyConnection, "start", start_and_wait),
            (MySQLApplyConnection, "commit", commit_and_linger),
        ):
            patched.setattr(owner, name, function)
        with tracer.installed():
            world.run("t")
    # On a busy machine the end of the commit before may fall into the leg of this one, as a thread of its own.
    return Legs(*legs) if len(legs) == 3 else None


@pytest.mark.parametrize("overlaps", [False, True], ids=["alone", "overlapping"])
@pytest.mark.parametrize("replays", [False, True], ids=["statements", "events"])
def test_the_way_of_a_commit_is_short(
    servers: Servers, flavour: Flavour, monkeypatch: pytest.MonkeyPatch, replays: bool, overlaps: bool
) -> None:
    """A batch passes through few rooms and files around its rows, on each of three legs to the target's door.

    In the first it is made ready and begun; in the second a thread in the background goes through its transaction
    (fence, rows, checkpoint); in the third its checkpoint is noted and reported. The run reads the next batch between
    the first and the third. What is done for the rows in the second leg is the way of a row.
    """
    world = pair_of(servers.get("source", flavour), servers.get("target", flavour))
    world.replays = replays
    world.limits |= {"batch_rows_max": 1, "batch_interval_s_max": 3600}
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(30), price DECIMAL(8,2))",
        "INSERT INTO t VALUES (1, 'copied', 1)",
    )
    world.run("t")
    legs = None
    for first in range(2, 2 + 5 * BATCHES, BATCHES):
        world.on_source(*(f"INSERT INTO t VALUES ({id}, 'read', 1.5)" for id in range(first, first + BATCHES)))
        if legs := followed(world, monkeypatch, overlaps=overlaps):
            break

    world.assert_same("t")
    assert legs is not None
    fence = f"{MySQLApplyConnection.__qualname__}.fence"
    assert (fence in [call.function for call in legs.transaction.calls]) == overlaps
    for way in (legs.begun.up_to("target"), legs.transaction.up_to("target", *WRITES), legs.landed.up_to("target")):
        print(way)
        assert len(way.rooms) <= 7
        assert len(way.stays) <= 20
        assert way.returns <= 8
    # From the target's door to that of `mysql`, without the rows. A window's transactions and a checkpoint that is stored
    # by itself go the same way as a commit that is alone.
    way = legs.transaction.within(*STEPS).up_to("mysql")
    print(way)
    assert len(way.rooms) <= 7
    assert len(way.stays) <= (21 if overlaps else 20)
    assert way.returns <= (12 if overlaps else 8)
