"""A name that moves to another server: the primary dies or is switched, and the same run goes on at the new one.

The names are real ones, in a hosts file that only the run's process sees (a mount namespace of its own); both servers
listen on the same port of different addresses.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faults.harness import LIMITS, OTHER, World, new_seed, retries
from pipelines import Pair, pair_of
from server_farm import Servers, private
from servers import Flavour, Server

from myrepetl_dagster.core.config.pipeline import Endpoint
from myrepetl_dagster.core.model.errors import PositionLost
from myrepetl_dagster.core.model.limits import Limits
from myrepetl_dagster.core.mysql.session import Use

pytestmark = pytest.mark.long

connect_module = importlib.import_module("myrepetl_dagster.core.mysql.connect")
NAME = "primary.test"
WITH_HOSTS = ("unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"')


@functools.cache
def can_have_hosts() -> bool:
    """Mount namespaces are root's."""
    with contextlib.suppress(OSError):
        return subprocess.run([*WITH_HOSTS, "/etc/hosts", "true"], check=False, capture_output=True).returncode == 0
    return False


needs_hosts = pytest.mark.skipif(not can_have_hosts(), reason="a hosts file of its own takes root (unshare -m)")


@dataclass
class Group:
    """A primary and a replica of it that can take its place; `hosts` says where the name is."""

    first: Server
    second: Server
    hosts: Path

    def start(self) -> None:
        first, second = self.first, self.second
        first.start()
        first.execute("CREATE USER 'repl'@'%' IDENTIFIED BY 'repl'", "GRANT REPLICATION SLAVE ON *.* TO 'repl'@'%'")
        second.start()
        if second.flavour == "mysql":
            second.execute(
                "RESET BINARY LOGS AND GTIDS",
                f"CHANGE REPLICATION SOURCE TO SOURCE_HOST='{first.host}', SOURCE_PORT={first.port},"
                " SOURCE_USER='repl', SOURCE_PASSWORD='repl', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1",
                "START REPLICA",
            )
        else:
            second.execute(
                "RESET MASTER",
                "SET GLOBAL gtid_slave_pos=''",
                f"CHANGE MASTER TO MASTER_HOST='{first.host}', MASTER_PORT={first.port}, MASTER_USER='repl',"
                " MASTER_PASSWORD='repl', MASTER_USE_GTID=slave_pos",
                "START SLAVE",
            )
        self.point_at(first)

    def kill(self) -> None:
        for server in (self.first, self.second):
            server.kill()

    def point_at(self, server: Server) -> None:
        """Move the name. In place: the file is mounted."""
        self.hosts.write_text(f"127.0.0.1 localhost\n{server.host} {NAME}\n")

    def wait_for_replica(self) -> None:
        """Until the replica has everything that the primary has."""
        if self.first.flavour == "mysql":
            executed = self.first.execute("SELECT @@global.gtid_executed")[0][0]
            assert self.second.execute(f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{executed}', 30)")[0][0] == 0
        else:
            written = self.first.execute("SELECT @@global.gtid_binlog_pos")[0][0]
            assert self.second.execute(f"SELECT MASTER_GTID_WAIT('{written}', 30)")[0][0] == 0

    def promote(self) -> None:
        """Make the replica a primary, and move the name to it."""
        word = "REPLICA" if self.second.flavour == "mysql" else "SLAVE"
        self.second.execute(f"STOP {word}", f"RESET {word} ALL")
        self.point_at(self.second)

    def command(self) -> tuple[str, ...]:
        return (*WITH_HOSTS, str(self.hosts))


@contextlib.contextmanager
def group(flavour: Flavour, directory: Path) -> Iterator[Group]:
    """Two servers on one port of two addresses."""
    log_updates = {"log_replica_updates" if flavour == "mysql" else "log_slave_updates": "ON"}
    first = private(flavour, directory / "first", log_updates)
    second = private(flavour, directory / "second", {**log_updates, "server_id": str(first.port + 1)})
    second.port = first.port
    first.host, second.host = "127.0.0.2", "127.0.0.3"
    made = Group(first, second, directory / "hosts")
    try:
        made.start()
        yield made
    finally:
        made.kill()


@contextlib.contextmanager
def world(pair: Pair, role: str, directory: Path) -> Iterator[World]:
    """A world in which the pipeline has the name for one of its servers."""
    made = World(pair, directory, new_seed(), apply_timeout_s=3)
    made.pipeline[role]["a" if role == "sources" else "b"]["host"] = NAME
    with made:
        yield made


def switched(world: World, role: str, server: Server) -> None:
    """The rest of the test looks at the new primary."""
    if role == "sources":
        world.pair.source = server
    else:
        world.pair.target = server
        world.watcher.forget()
    world.direct[role]["a" if role == "sources" else "b"]["host"] = server.host


# ---- sources -------------------------------------------------------------------------------------------
@needs_hosts
def test_a_run_goes_on_at_the_sources_new_primary(servers: Servers, tmp_path: Path) -> None:
    """The source dies and its name moves to a replica: the same call follows the new primary, nothing is copied again."""
    with group("mysql", tmp_path) as source:
        pair = pair_of(source.first, servers.get("faults", "mariadb"))
        with (
            world(pair, "sources", tmp_path) as made,
            made.run(prefix=source.command(), follow_s=3600, once=True) as run,
        ):
            made.until_running(run, 20)
            with made.load.paused():
                source.wait_for_replica()
                made.until_equal()  # a run that is ahead of the new primary would be told so
                source.first.kill()
                time.sleep(0.5)
                source.promote()
                switched(made, "sources", source.second)
            made.until_running(run, 20)
            made.check_with(run)
            assert run.count("call") == 1
            assert {e["code"] for e in run.events if "attempt" in e} <= {0, 2003, 2006, 2013, None}
            run.kill()
            made.check()
            made.report("the source's name moves, mysql")


@needs_hosts
def test_a_mariadb_source_that_moves_is_not_followed_blindly(servers: Servers, tmp_path: Path) -> None:
    """The checkpoint of a MariaDB source is a place in its own files: at another server the run ends, and says why."""
    with group("mariadb", tmp_path) as source:
        pair = pair_of(source.first, servers.get("faults", "mysql"))
        with world(pair, "sources", tmp_path) as made:
            run = made.run(prefix=source.command(), follow_s=3600, once=True)
            with run:
                made.until_running(run, 20)
                with made.load.paused():
                    source.wait_for_replica()
                    made.until_equal()
                    before = pair.on_target("SELECT * FROM plain ORDER BY id")
                    source.first.kill()
                    source.promote()
                    switched(made, "sources", source.second)
                    run.wait_end()
                    assert run.last("error")["kind"] == PositionLost.__name__, run.story()
                    assert pair.on_target("SELECT * FROM plain ORDER BY id") == before
            for mapping in made.direct["mapping"].values():
                mapping["on_position_lost"] = "resnapshot"
            made.check()


# ---- targets -------------------------------------------------------------------------------------------
@needs_hosts
@pytest.mark.parametrize("how", ["dies", "turns read only"])
def test_a_run_goes_on_at_the_targets_new_primary(servers: Servers, flavour: Flavour, how: str, tmp_path: Path) -> None:
    """The target's checkpoint was replicated with its rows: the same call goes on from there at the new primary."""
    with group(flavour, tmp_path) as target:
        pair = pair_of(servers.get("faults", OTHER[flavour]), target.first)
        with (
            world(pair, "targets", tmp_path) as made,
            made.run(prefix=target.command(), follow_s=3600, once=True) as run,
        ):
            target.wait_for_replica()
            made.until_running(run, 20)
            if how == "dies":  # what it committed last may be lost with it, and is applied again
                target.first.kill()
            else:
                target.first.execute("SET GLOBAL read_only=1")
                target.wait_for_replica()
            time.sleep(0.3)
            target.promote()
            switched(made, "targets", target.second)
            made.until_running(run, 20)
            made.check_with(run)
            assert run.count("call") == 1
            if how == "turns read only":
                assert 1290 in {e["code"] for e in run.events if "attempt" in e}
            run.kill()
            made.check()
            made.report(f"the target {how} and its name moves, {flavour}")


# ---- connections that are spread over two servers ------------------------------------------------------
@pytest.fixture
def moving(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`moving(role, use, number, server)`: the connection of this number for a use is made to another server.

    As a name does that moves, or has several addresses, between two connections of one attempt.
    """
    real = connect_module.parameters
    planned: dict[tuple[str, Use], tuple[int, Server]] = {}
    made: Counter[tuple[str, Use]] = Counter()

    def parameters(endpoint: Endpoint, use: Use, limits: Limits) -> dict[str, Any]:
        settings: dict[str, Any] = real(endpoint, use, limits)
        place = endpoint.role, use
        made[place] += 1
        if place in planned and made[place] == planned[place][0]:
            settings["host"] = planned[place][1].host
        return settings

    def plan(role: str, use: Use, number: int, server: Server) -> None:
        planned[role, use] = made[role, use] + number, server

    monkeypatch.setattr(connect_module, "parameters", parameters)
    return plan


def test_a_snapshot_is_read_from_the_server_that_gave_its_watermark(
    servers: Servers, moving: Any, tmp_path: Path
) -> None:
    """The name moves between the watermark and the rows, to a replica that is behind: no row is lost for ever."""
    with group("mysql", tmp_path) as source:
        pair = pair_of(source.first, servers.get("faults", "mariadb"))
        pair.limits = dict(LIMITS)
        pair.on_source("CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
        source.wait_for_replica()
        source.second.execute("STOP REPLICA")
        pair.on_source("INSERT INTO t VALUES (3)", "DELETE FROM t WHERE id=1")
        moving("source", Use.SNAPSHOT, 1, source.second)
        with retries() as seen:
            pair.run("t")

        pair.assert_same("t")
        assert seen, "the other server was not noticed"


def test_a_lagging_replica_under_the_name_is_no_lost_position(servers: Servers, moving: Any, tmp_path: Path) -> None:
    """The log is asked of a server that lacks what the checkpoint has: another attempt, not PositionLost."""
    with group("mysql", tmp_path) as source:
        pair = pair_of(source.first, servers.get("faults", "mariadb"))
        pair.limits = dict(LIMITS)
        pair.on_source("CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)")
        source.wait_for_replica()
        source.second.execute("STOP REPLICA")
        pair.on_source("INSERT INTO t VALUES (2)")
        pair.run("t")
        pair.on_source("INSERT INTO t VALUES (3)")
        moving("source", Use.STREAM, 1, source.second)
        with retries() as seen:
            pair.run("t")

        pair.assert_same("t")
        assert seen, "the other server was not noticed"


@pytest.mark.parametrize("number", [1, 2])
def test_rows_and_checkpoint_are_written_to_one_server(
    servers: Servers, flavour: Flavour, moving: Any, number: int, tmp_path: Path
) -> None:
    """The writers of a copy have connections of their own: none of them may write to another server."""
    with group(flavour, tmp_path) as target:
        pair = pair_of(servers.get("faults", OTHER[flavour]), target.first)
        pair.limits = {**LIMITS, "copy_window_rows": 10_000, "chunk_rows_max": 10_000}
        pair.on_source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(200))")
        rows = ", ".join(f"({i}, REPEAT('x', 200))" for i in range(9000))
        pair.on_source(f"INSERT INTO t VALUES {rows}")
        target.wait_for_replica()
        moving("target", Use.APPLY, number, target.second)
        with retries() as seen:
            pair.run("t")

        pair.assert_same("t")
        assert seen, "the other server was not noticed"
