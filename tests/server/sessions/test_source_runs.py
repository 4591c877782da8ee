"""Several sources in one run: one that is down, or has to end, is nobody else's concern; all failures are named."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from pipelines import SOURCES, Pair, pair, pair_of
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core import run_all, runs
from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.config.pipeline import Pipeline
from myrepetl_dagster.core.model.checkpoint import Phase
from myrepetl_dagster.core.model.errors import PrerequisiteError, RunFailed, SchemaDrift, SourceLost, TargetLost
from myrepetl_dagster.core.replication.result import Progress
from myrepetl_dagster.core.replication.source_runs import replicate

LIMITS: dict[str, float] = {"attempts_max": 2, "backoff_first_s": 0.01}


@pytest.fixture
def pairs(servers: Servers, flavour: Flavour) -> tuple[Pair, Pair]:
    """Two sources, one of each flavour, with a table each, and one target."""
    first = pair(servers, next(route for route in SOURCES if route.source == flavour))
    second = pair_of(servers.get("source", "mariadb" if flavour == "mysql" else "mysql"), first.target)
    for made in (first, second):
        made.on_source("CREATE TABLE t (id INT PRIMARY KEY, v INT)", "INSERT INTO t VALUES (1,1),(2,2)")
    return first, second


def pipeline(
    pairs: tuple[Pair, Pair],
    mapping: dict[str, Any] | None = None,
    *,
    down: tuple[str, ...] = (),
    limits: dict[str, float] = LIMITS,
) -> Pipeline:
    """Sources `a` and `b` with their targets `x` and `y`; at those which are down nobody listens."""
    configs = [made.config({}) for made in pairs]
    data: dict[str, Any] = {
        "sources": {name: config["sources"]["a"] for name, config in zip("ab", configs, strict=True)},
        "targets": {name: config["targets"]["b"] for name, config in zip("xy", configs, strict=True)},
        "mapping": {"a.t": {"target_table": "x.t"}, "b.t": {"target_table": "y.t"}, **(mapping or {})},
        "limits": limits,
    }
    for name in down:
        data["sources"][name] |= {"port": 1}
    return from_dict(data)


@pytest.mark.parametrize("follow_s", [0.0, 1.0], ids=["once", "following"])
@pytest.mark.parametrize("down", ["a", "b"])
def test_a_source_that_is_down_keeps_no_other_from_being_replicated(
    pairs: tuple[Pair, Pair], down: str, follow_s: float
) -> None:
    """Whichever comes first in the file: the other one is copied, then the error is raised."""
    up = pairs["ba".index(down)]

    with pytest.raises(SourceLost, match=f"source '{down}'") as raised:
        replicate(pipeline(pairs, down=(down,)), follow_s=follow_s)

    assert raised.value.retryable
    up.assert_same("t")


def test_all_that_failed_is_named(pairs: tuple[Pair, Pair]) -> None:
    """A source that is down, and a mapping of another one: the error that is raised has both, and the rest is done."""
    missing = {"b.missing": {"target_table": "y.missing"}}

    with pytest.raises(RunFailed) as raised:
        replicate(pipeline(pairs, missing, down=("a",)))

    assert [type(error) for error in raised.value.errors] == [SourceLost, SchemaDrift]
    assert "source 'a'" in str(raised.value)
    assert "mapping 'b.missing'" in str(raised.value)
    assert raised.value.retryable
    pairs[1].assert_same("t")


def test_all_sources_down(pairs: tuple[Pair, Pair]) -> None:
    """Each is tried, and each is named."""
    with pytest.raises(RunFailed, match=r"(?s)source 'a'.*source 'b'") as raised:
        replicate(pipeline(pairs, down=("a", "b")))
    assert len(raised.value.errors) == 2


def test_the_runs_one_by_one(pairs: tuple[Pair, Pair]) -> None:
    """Who runs them by `run_all` gets each when it has ended, with its error and all results, and nothing raised."""
    made = pipeline(pairs, down=("a",))
    seen = sorted(run_all(runs(made, ["a.t", "b.t"])), key=lambda run: run.source_name)

    assert [run.source_name for run in seen] == ["a", "b"]
    assert isinstance(seen[0].error, SourceLost)
    assert seen[0].results["a.t"].error is seen[0].error
    assert seen[1].error is None
    assert seen[1].results["b.t"].phase is Phase.REPLICATING
    assert [run.source_name for run in runs(made, ["b.t"])] == ["b"]


def test_only_the_named_mappings_are_copied_again(pairs: tuple[Pair, Pair]) -> None:
    """`copy_again` is for the mappings that it names; the others go on from their checkpoints."""
    made = pipeline(pairs)
    replicate(made)
    results = {
        name: r for run in run_all(runs(made, ["a.t", "b.t"], copy_again=["b.t"])) for name, r in run.results.items()
    }

    assert {name: result.rows_snapshotted for name, result in results.items()} == {"a.t": 0, "b.t": 2}


def test_a_run_counts_its_own_seconds(pairs: tuple[Pair, Pair]) -> None:
    """The time that one source takes is not in the `elapsed_s` of the one beside it."""

    def slow(progress: Progress) -> None:
        if progress.mapping == "a.t":
            time.sleep(1)

    results = replicate(pipeline(pairs), on_progress=slow)
    elapsed_s = {result.mapping: result.elapsed_s for result in results}

    assert elapsed_s["a.t"] >= 1
    assert elapsed_s["a.t"] > elapsed_s["b.t"]


@pytest.mark.parametrize("unfit", ["down", "refuses"])
def test_a_target_that_is_down_keeps_no_other_from_being_written(pairs: tuple[Pair, Pair], unfit: str) -> None:
    """One source, two targets, the first one in the file out of reach, or its account without a right: the other one
    gets its rows, then the error is raised.
    """
    one = pairs[0]
    one.target.execute("CREATE USER IF NOT EXISTS 'lesser'@'%' IDENTIFIED BY 'least'")
    one.target.execute(f"GRANT SELECT ON {pairs[1].target_schema}.* TO 'lesser'@'%'")
    data = one.config({"a.t": {"target_table": "y.t"}, "again": {"source_table": "a.t", "target_table": "b.t"}})
    other = pairs[1].config({})["targets"]["b"]
    data["targets"]["y"] = {**other, **({"port": 1} if unfit == "down" else {"user": "lesser"})}
    data["limits"] = LIMITS

    [run] = run_all(runs(from_dict(data), ["a.t", "again"]))
    assert isinstance(run.error, TargetLost if unfit == "down" else PrerequisiteError)
    assert "target 'y'" in str(run.error)
    assert {name: result.error for name, result in run.results.items()} == {"a.t": run.error, "again": None}
    one.assert_same("t")

    with pytest.raises(type(run.error), match="target 'y'"):
        replicate(from_dict(data))


# ---- told to end -----------------------------------------------------------------------------------------
class Told(BaseException):
    """What a signal's handler raises, as Dagster's and the command line's do."""


@pytest.fixture
def told() -> Iterator[Callable[[Callable[[], bool]], list[float]]]:
    """Sends the main thread a signal as soon as something holds, and tells when it has."""

    def handler(*_: object) -> None:
        raise Told

    def when(holds: Callable[[], bool]) -> list[float]:
        told_s: list[float] = []

        def work() -> None:
            wait_for(holds)
            told_s.append(time.monotonic())
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

        threading.Thread(target=work, daemon=True).start()
        return told_s

    before = signal.signal(signal.SIGUSR1, handler)
    yield when
    signal.signal(signal.SIGUSR1, before)


def wait_for(holds: Callable[[], bool], patience_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.15)  # asked more often than each 0.1 s, InnoDB shows what it showed before


def sessions(pairs: tuple[Pair, Pair], condition: str = "TRUE") -> int:
    """Ours, on all three servers."""
    servers = [*(made.source for made in pairs), pairs[0].target]
    sql = f"SELECT COUNT(*) FROM information_schema.processlist WHERE user IN ('reader', 'writer') AND {condition}"
    return sum(server.execute(sql)[0][0] for server in servers)


def lock_waits(pairs: tuple[Pair, Pair]) -> int:
    sql = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    return int(pairs[0].target.execute(sql)[0][0])


@pytest.mark.parametrize("names", ["a", "ab"])
@pytest.mark.parametrize("doing", ["copying", "sorting", "catching up", "claiming"])
def test_a_request_to_end_ends_every_source_at_once(
    pairs: tuple[Pair, Pair], told: Callable[[Callable[[], bool]], list[float]], names: str, doing: str
) -> None:
    """Whatever the sources are at, within seconds the run is over, and no session of ours is left on any server; the
    next run goes on from the checkpoints.
    """
    slowly = {"copying": "SLEEP(0.5 + 0 * id) = 0", "sorting": "SLEEP(1 + 0 * id) = 0 ORDER BY v"}
    options = {"init_query": f"SELECT id, v FROM t WHERE {slowly[doing]}"} if doing in slowly else {}
    for one in pairs:
        one.on_source(*(f"INSERT INTO t VALUES ({number}, 0)" for number in range(10, 60)))
    if not options:
        replicate(pipeline(pairs))
    mapping: dict[str, Any] = {
        f"{name}.t": {"target_table": f"{to}.t", **options} for name, to in zip(names, "xy", strict=False)
    }
    made = pipeline(pairs, mapping)

    def under_way() -> bool:
        if options:
            return sessions(pairs, "info LIKE '%SLEEP(%'") == len(names)
        return lock_waits(pairs) == len(names)

    with contextlib.ExitStack() as stack:
        for one in pairs:
            cursor = stack.enter_context(one.target_session(autocommit=False)).cursor()
            if doing == "catching up":
                cursor.execute("SELECT * FROM t WHERE id = 1 FOR UPDATE")
                one.on_source("UPDATE t SET v = v + 1 WHERE id = 1")
            elif doing == "claiming":
                cursor.execute("SELECT * FROM _myrepetl_checkpoint FOR UPDATE")
        told_s = told(under_way)
        with pytest.raises(Told):
            replicate(made, [f"{name}.t" for name in names], follow_s=600)
        assert time.monotonic() - told_s[0] < 3
        wait_for(lambda: sessions(pairs) == 0, 3)
    replicate(pipeline(pairs), copy_again=bool(options))  # an init_query is part of what a checkpoint was made with
    for one in pairs:
        one.assert_same("t")


@pytest.mark.parametrize("silent", [False, True], ids=["between attempts", "while connecting"])
def test_a_request_to_end_does_not_wait_for_a_server_that_is_not_there(
    pairs: tuple[Pair, Pair], told: Callable[[Callable[[], bool]], list[float]], silent: bool
) -> None:
    """One source is followed, the other one is down, or accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = pipeline(pairs, limits={"backoff_first_s": 100, "backoff_max_s": 100, "connect_timeout_s": 60})
        port = server.getsockname()[1] if silent else 1
        made = replace(made, sources={**made.sources, "b": replace(made.sources["b"], port=port)})
        told_s = told(lambda: sessions(pairs, "command LIKE 'Binlog Dump%'") == 1)
        with pytest.raises(Told):
            replicate(made, follow_s=600)
    assert time.monotonic() - told_s[0] < 5
    wait_for(lambda: sessions(pairs) == 0, 3)
