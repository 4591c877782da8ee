"""Several sources in one run: one that is down, or has to end, is nobody else's concern; all failures are named."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pipelines import SOURCES, Pair, call_at, pair, pair_of
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core import run_all, runs
from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.config.pipeline import Pipeline
from myrepetl_dagster.core.model.checkpoint import Phase
from myrepetl_dagster.core.model.errors import RunFailed, SchemaDrift, SourceLost
from myrepetl_dagster.core.source_runs import replicate

LIMITS = {"attempts_max": 2, "backoff_first_s": 0.01}


@pytest.fixture
def pairs(servers: Servers, flavour: Flavour) -> tuple[Pair, Pair]:
    """Two sources, one of each flavour, with a table each, and one target."""
    first = pair(servers, next(route for route in SOURCES if route.source == flavour))
    second = pair_of(servers.get("source", "mariadb" if flavour == "mysql" else "mysql"), first.target)
    for made in (first, second):
        made.on_source("CREATE TABLE t (id INT PRIMARY KEY, v INT)", "INSERT INTO t VALUES (1,1),(2,2)")
    return first, second


def pipeline(pairs: tuple[Pair, Pair], *, down: tuple[str, ...] = (), **mapping: Any) -> Pipeline:
    """Sources `a` and `b` with their targets `x` and `y`; at those which are down nobody listens."""
    configs = [made.config({}) for made in pairs]
    data: dict[str, Any] = {
        "sources": {name: config["sources"]["a"] for name, config in zip("ab", configs, strict=True)},
        "targets": {name: config["targets"]["b"] for name, config in zip("xy", configs, strict=True)},
        "mapping": {"a.t": {"target_table": "x.t"}, "b.t": {"target_table": "y.t"}, **mapping},
        "limits": LIMITS,
    }
    for name in down:
        data["sources"][name] |= {"port": 1}
    return from_dict(data)


@pytest.mark.parametrize("follow_s", [0.0, 1.0], ids=["one after another", "side by side"])
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
        replicate(pipeline(pairs, down=("a",), **missing))

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
    seen = list(run_all(runs(made, ["a.t", "b.t"])))

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
    """What an earlier source took is not in a later one's `elapsed_s`."""
    results = replicate(pipeline(pairs), on_progress=call_at(1, lambda: time.sleep(3)))
    elapsed_s = {result.mapping: result.elapsed_s for result in results}

    assert elapsed_s["a.t"] >= 3 > elapsed_s["b.t"]
