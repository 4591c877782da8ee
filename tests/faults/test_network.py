"""The network between us and the servers cut, stalled, half open, dribbling: nothing is lost and nothing hangs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from faults.harness import LIMITS, World, fault_pair, scaled, world_of
from faults.proxy import Proxy, Way
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.replication.result import Progress
from myrepetl_dagster.core.replication.source_runs import replicate

pytestmark = pytest.mark.long


# ---- the faults ----------------------------------------------------------------------------------------
def cut(world: World, proxy: Proxy) -> None:
    proxy.cut()


def refuse(world: World, proxy: Proxy) -> None:
    with proxy.stopped():
        time.sleep(world.rng.uniform(0.05, 1.0))


def stall(world: World, proxy: Proxy) -> None:
    """Sometimes for longer than anybody waits (stream_timeout_s is 3 s here)."""
    with proxy.stalled():
        time.sleep(world.rng.choice((0.2, 1.0, LIMITS["stream_timeout_s"] + 1.5)))


def half_open_to_client(world: World, proxy: Proxy) -> None:
    with proxy.half_open(Way.TO_CLIENT):
        time.sleep(world.rng.uniform(0.2, 2.0))


def half_open_to_server(world: World, proxy: Proxy) -> None:
    with proxy.half_open(Way.TO_SERVER):
        time.sleep(world.rng.uniform(0.2, 2.0))


def dribble(world: World, proxy: Proxy) -> None:
    with proxy.dribbling():
        time.sleep(world.rng.uniform(0.2, 1.0))


def delay(world: World, proxy: Proxy) -> None:
    with proxy.delayed(world.rng.uniform(0.01, 0.1)):
        time.sleep(0.5)


def commit_lost(world: World, proxy: Proxy) -> None:
    assert world.target_proxy is not None
    world.target_proxy.lose_commit(world.rng.randint(1, 3))


def commit_ok_cut(world: World, proxy: Proxy) -> None:
    """Anywhere in the eleven bytes of the OK, header included."""
    assert world.target_proxy is not None
    world.target_proxy.lose_commit_reply(world.rng.randint(0, 10), world.rng.randint(1, 3))


FAULTS: tuple[Callable[[World, Proxy], None], ...] = (
    cut, commit_ok_cut, stall, dribble, half_open_to_client, commit_lost, refuse, half_open_to_server, delay,
)  # fmt: skip


def network_faults(world: World, faults: Sequence[Callable[[World, Proxy], None]]) -> None:
    assert world.source_proxy is not None
    assert world.target_proxy is not None
    proxies = (world.source_proxy, world.target_proxy)
    with world.run(pace_s=0.002) as run:
        run.wait("commit")
        for fault in faults:
            time.sleep(world.rng.uniform(0, 0.3))
            fault(world, world.rng.choice(proxies))
            _until_taken(world.target_proxy)
            world.counts[fault.__name__] += 1
            world.check_with(run)
            assert world.source_proxy.dumps <= run.count("stream"), "a stream was opened behind our back"
        assert run.finish() == 0, run.story()
        world.counts["retries"] += sum(e["event"] == "log" for e in run.events)
        world.counts["streams opened by us"] += run.count("stream")
        world.counts["dumps seen by the source"] += world.source_proxy.dumps
    world.check()
    world.report(f"network faults, {world.pair.source.flavour} to {world.pair.target.flavour}")


def _until_taken(proxy: Proxy) -> None:
    deadline = time.monotonic() + 60
    while proxy.armed:
        assert time.monotonic() < deadline, "no COMMIT came by"
        time.sleep(0.01)


def test_network_faults_lose_nothing(servers: Servers, flavour: Flavour, tmp_path: Path) -> None:
    """One run outlives every kind of network fault, loses nothing and never streams behind our back."""
    with world_of(servers, flavour, tmp_path, proxies=True) as world:
        network_faults(world, FAULTS[0::2] if flavour == "mysql" else FAULTS[1::2])


@pytest.mark.soak
def test_90_network_faults(servers: Servers, flavour: Flavour, tmp_path: Path) -> None:
    """45 network faults on each flavour's source; with those in big packets they are 100 and more."""
    with world_of(servers, flavour, tmp_path, proxies=True) as world:
        network_faults(world, list(itertools.islice(itertools.cycle(FAULTS), scaled(45))))


# ---- packets over 16 MB --------------------------------------------------------------------------------
BIG_BYTES = 17 * 2**20


def big_packets(servers: Servers, flavour: Flavour, times: int) -> None:
    pair = fault_pair(servers, flavour)
    pair.limits = {**LIMITS, "snapshot_timeout_s": 60, "apply_timeout_s": 60, "stream_timeout_s": 30}
    pair.on_source("CREATE TABLE big (id INT PRIMARY KEY, data LONGBLOB)")
    pair.on_source(f"INSERT INTO big VALUES (1, REPEAT('a', {BIG_BYTES})), (2, 'small')")
    with (
        Proxy(pair.source.host, pair.source.port) as source_proxy,
        Proxy(pair.target.host, pair.target.port) as target_proxy,
    ):
        config: dict[str, Any] = pair.config({"a.big": {"target_table": "b.big"}})
        config["sources"]["a"]["port"] = source_proxy.port
        config["targets"]["b"]["port"] = target_proxy.port
        taken = 0
        for number in range(times):
            if number:
                pair.on_source(f"UPDATE big SET data=REPEAT('{'bcd'[number % 3]}', {BIG_BYTES}) WHERE id=1")
            source_proxy.cut_in_big_packet(Way.TO_CLIENT)
            target_proxy.cut_in_big_packet(Way.TO_SERVER)
            results = replicate(from_dict(config))
            assert [r.error for r in results] == [None]
            assert not source_proxy.armed
            assert not target_proxy.armed
            taken += 2
            digest = "SELECT id, LENGTH(data), SHA2(data, 256) FROM big ORDER BY id"
            assert pair.on_target(digest) == pair.on_source(digest)
        print(f"\n[faults] cuts inside a packet over 16 MB, {flavour} source: {taken}, all taken and outlived")


def test_a_cut_inside_a_packet_over_16_mb(servers: Servers, flavour: Flavour) -> None:
    """A row of 17 MB whose packet is cut, in the copy, in the log and on its way to the target, arrives whole."""
    big_packets(servers, flavour, 2)


@pytest.mark.soak
def test_a_cut_inside_a_packet_over_16_mb_many_times(servers: Servers, flavour: Flavour) -> None:
    """As above, ten faults for each flavour."""
    big_packets(servers, flavour, max(2, scaled(5)))


# ---- init queries --------------------------------------------------------------------------------------
@pytest.mark.parametrize("chunked", [True, False], ids=["by key", "in one go"])
def test_an_init_query_that_is_cut_is_retried_like_everything_else(
    servers: Servers, flavour: Flavour, chunked: bool
) -> None:
    """A connection lost in the middle of an init query's rows: read again (from the last key, if it has one)."""
    pair = fault_pair(servers, flavour)
    pair.limits = dict(LIMITS)
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(200))")
    for start in range(0, 1000, 250):
        pair.on_source(
            "INSERT INTO t VALUES " + ", ".join(f"({i}, REPEAT('x', 150))" for i in range(start, start + 250))
        )
    query = "SELECT id, v FROM t WHERE id >= 100" if chunked else "SELECT DISTINCT id, v FROM t WHERE id >= 100"
    with Proxy(pair.source.host, pair.source.port) as proxy:
        config: dict[str, Any] = pair.config({"a.t": {"target_table": "b.t", "init_query": query}})
        config["sources"]["a"]["port"] = proxy.port
        commits = itertools.count()
        cuts = {3, 7}

        def on_progress(_: Progress) -> None:
            if next(commits) in cuts:
                proxy.cut()

        results = replicate(from_dict(config), on_progress=on_progress)
        assert [r.error for r in results] == [None]
        assert next(commits) > max(cuts)
    assert pair.target_rows("t") == pair.source_rows("t", where="id >= 100")
