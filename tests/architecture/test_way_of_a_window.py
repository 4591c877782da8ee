"""The way of a window of a snapshot through the core is short."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import pytest
from architecture.tracing import Tracer, Way
from pipelines import Pair, pair_of
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.replication.snapshot import window_copy
from myrepetl_dagster.core.replication.snapshot.copy import store
from myrepetl_dagster.core.replication.snapshot.window_copy import WindowCopy
from myrepetl_dagster.core.replication.snapshot.writer_pool import WriterPool

ROWS, WINDOW_ROWS = 30, 6
FOLLOWED = 3  # the number of a window that has others before and after it


def followed(world: Pair, monkeypatch: pytest.MonkeyPatch) -> Way:
    """The way of one window, from its SELECT until its checkpoint is stored."""
    tracer = Tracer()
    windows = 0
    read, submit = WindowCopy._window, WriterPool.submit

    def read_and_follow(self: WindowCopy, *args: Any) -> Any:
        nonlocal windows
        windows += 1
        tracer.recording = windows == FOLLOWED
        return read(self, *args)

    def submit_and_wait(self: WriterPool, *args: Any) -> Future[None]:
        write = submit(self, *args)
        write.exception()
        return write

    def store_and_leave(target: Any, stored: Sequence[Any]) -> None:
        store(target, stored)
        tracer.recording = False

    monkeypatch.setattr(WindowCopy, "_window", read_and_follow)
    monkeypatch.setattr(WriterPool, "submit", submit_and_wait)
    monkeypatch.setattr(window_copy, "store", store_and_leave)
    with tracer.installed():
        world.run("t")
    return tracer.way.up_to("target")


def test_the_way_of_a_window_is_short(servers: Servers, flavour: Flavour, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the SELECT to the target's transaction with the rows and the one with the checkpoint, a window's rows pass
    through few rooms and files: as parameters into MariaDB, as SQL tuples into MySQL.
    """
    world = pair_of(servers.get("source", flavour), servers.get("target", flavour))
    world.chunks_of(WINDOW_ROWS)
    rows = ", ".join(f"({n}, 'a name', {n}.25, {n % 3 or 'NULL'})" for n in range(ROWS))
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(30), price DECIMAL(8,2), n INT)",
        f"INSERT INTO t VALUES {rows}",
    )

    way = followed(world, monkeypatch)

    print(way)
    world.assert_same("t")
    assert {"source", "target"} < set(way.rooms)
    assert len(way.rooms) <= 7
    assert len(way.stays) <= 20
    assert way.returns <= 8
