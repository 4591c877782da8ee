"""After a stop the other mappings go on, and the stopped one does once its cause is gone: from its own checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from pipelines import Pair, pair_of
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.config.pipeline import Pipeline
from myrepetl_dagster.core.diagnostics.status import MappingStatus, status
from myrepetl_dagster.core.model.errors import ReplicationError, UnsupportedEvent
from myrepetl_dagster.core.replication.result import MappingResult
from myrepetl_dagster.core.replication.run import SourceRun

PATIENCE_S = 20.0
TABLE = "CREATE TABLE t (id INT PRIMARY KEY, v INT, w VARCHAR(20))"


@dataclass(frozen=True)
class Stop:
    """A reason to stop: what makes it on the target before the change, the change, and what takes it away.

    Attributes:
        hint: a part of the hint.
        settings: of the mapping.
        corrected: those that mend it, if that is in the pipeline file.
        copy_again: the hint asks for the `snapshot` job.
    """

    name: str
    cause: tuple[str, ...] = ()
    change: tuple[str, ...] = ("INSERT INTO t VALUES (3, 300, 'more than three')",)
    mend: tuple[str, ...] = ()
    hint: str = ""
    settings: tuple[tuple[str, Any], ...] = ()
    corrected: tuple[tuple[str, Any], ...] | None = None
    copy_again: bool = False


# `{db}` is the target's schema.
STOPS = [
    Stop("1406 too long", ("ALTER TABLE t MODIFY w VARCHAR(3)",), mend=("as the hint says",), hint="MODIFY COLUMN"),
    Stop("1264 out of range", ("ALTER TABLE t MODIFY v TINYINT",), mend=("as the hint says",), hint="MODIFY COLUMN"),
    Stop("3819 check", ("ALTER TABLE t ADD CONSTRAINT small CHECK (v < 100)",),
         mend=("ALTER TABLE t DROP CONSTRAINT small",), hint="CHECK constraint"),
    Stop("1142 right", ("GRANT INSERT ON {db}.u TO 'writer'@'%'",
         "GRANT INSERT ON {db}._myrepetl_checkpoint TO 'writer'@'%'", "REVOKE INSERT ON {db}.* FROM 'writer'@'%'"),
         mend=("GRANT INSERT ON {db}.* TO 'writer'@'%'",),
         hint="Grant"),
    Stop("renamed target", ("RENAME TABLE t TO t_away",), mend=("RENAME TABLE t_away TO t",), hint=""),
    Stop("trigger", ("CREATE TRIGGER no BEFORE INSERT ON t FOR EACH ROW SIGNAL SQLSTATE '45000'",),
         mend=("DROP TRIGGER no",)),
    Stop("1062 unique", ("ALTER TABLE t ADD UNIQUE one_v (v)", "INSERT INTO t VALUES (77, 300, 'x')"),
         mend=("DELETE FROM t WHERE id=77", "ALTER TABLE t DROP INDEX one_v"), hint="unique key"),
    Stop("1048 not null", ("ALTER TABLE t MODIFY w VARCHAR(20) NOT NULL",), ("INSERT INTO t VALUES (3, 3, NULL)",),
         ("ALTER TABLE t MODIFY w VARCHAR(20)",), "NOT NULL"),
    Stop("dropped target", ("DROP TABLE t",), hint="`snapshot` job", copy_again=True),
    Stop("1054 target column", ("ALTER TABLE t DROP COLUMN w",), mend=("ALTER TABLE t ADD COLUMN w VARCHAR(20)",),
         hint="Add it", settings=(("schema_policy", "fail"),), corrected=(("schema_policy", "fail"),), copy_again=True),
    Stop("evolve: target column", ("ALTER TABLE t DROP COLUMN w",), hint="`snapshot` job", copy_again=True),
    Stop("ALTER right", ("REVOKE ALTER ON {db}.* FROM 'writer'@'%'",),
         ("ALTER TABLE t ADD x INT", "INSERT INTO t VALUES (3, 3, 'x', 4)"),
         ("GRANT ALTER ON {db}.* TO 'writer'@'%'",), "GRANT ALTER"),
    Stop("fail: column", (), ("ALTER TABLE t ADD x INT", "INSERT INTO t VALUES (3, 3, 'x', 4)"),
         ("ALTER TABLE t ADD x INT",), "evolve", (("schema_policy", "fail"),), (("schema_policy", "evolve"),)),
    Stop("ignore: column", (), ("ALTER TABLE t RENAME COLUMN w TO z", "INSERT INTO t VALUES (3, 3, 'x')"),
         (), "evolve", (("schema_policy", "ignore"),), (("schema_policy", "evolve"),)),
]  # fmt: skip


def world_of(servers: Servers, flavour: Flavour) -> Pair:
    pair = pair_of(servers.get("source", flavour), servers.get("target", flavour))
    pair.target.execute(f"GRANT ALTER ON `{pair.target_schema}`.* TO 'writer'@'%'")
    pair.on_source(TABLE, "INSERT INTO t VALUES (1,1,'a'),(2,2,'b')", "CREATE TABLE u (id INT PRIMARY KEY)")
    return pair


def pipeline_of(pair: Pair, settings: tuple[tuple[str, Any], ...] = ()) -> Pipeline:
    return pair.pipeline({"a.t": {"target_table": "b.t", **dict(settings)}, "a.u": {"target_table": "b.u"}})


def on_target(pair: Pair, statements: tuple[str, ...]) -> None:
    pair.on_target(*(one.replace("{db}", f"`{pair.target_schema}`") for one in statements))


def status_of(pipeline: Pipeline) -> MappingStatus:
    (found,) = (one for one in status(pipeline).mappings if one.mapping == "a.t")
    return found


def until(true: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end_s, what
        time.sleep(0.05)


def run(pair: Pair, pipeline: Pipeline, change: tuple[str, ...], follow: bool) -> dict[str, MappingResult]:
    """A run that meets the change: it is in the log already, or comes while the run follows."""
    if not follow:
        pair.on_source(*change)
        return pair.try_run(pipeline)
    following = SourceRun(pipeline, pipeline.mappings, follow_s=PATIENCE_S)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(following.run)
        pair.on_source("INSERT INTO u VALUES (50)")
        until(lambda: pair.target_rows("u", "id", "id=50") != [], "the run does not follow")
        pair.on_source(*change)
        until(lambda: pair.target_rows("u", "id", "id=1") != [], "the other mapping does not go on")
        following.follow_until_s = time.monotonic()
        return {one.mapping: one for one in running.result()}


FOLLOWED = {"1406 too long", "1142 right", "renamed target", "trigger", "1062 unique", "ALTER right", "fail: column"}
CASES = [(stop, follow) for stop in STOPS for follow in (False, True) if not follow or stop.name in FOLLOWED]


@pytest.mark.parametrize(
    ("stop", "follow"), CASES, ids=[f"{stop.name}, {'follow' if follow else 'catch-up'}" for stop, follow in CASES]
)
def test_goes_on_when_the_cause_is_gone(servers: Servers, flavour: Flavour, stop: Stop, follow: bool) -> None:
    """A mapping that stops holds up no other, says why and what mends it, and goes on without a new copy after that,
    unless the hint asks for one.
    """
    pair = world_of(servers, flavour)
    pipeline = pipeline_of(pair, stop.settings)
    pair.run(pipeline)
    on_target(pair, stop.cause)
    results = run(pair, pipeline, ("UPDATE t SET v=v+1 WHERE id=1", *stop.change, "INSERT INTO u VALUES (1)"), follow)
    error = results["a.t"].error
    assert isinstance(error, ReplicationError), results
    assert results["a.u"].error is None
    pair.assert_same("u")
    held_up_at = status_of(pipeline).position
    for number in (2, 3):  # it stays where it is, while the other goes on
        pair.on_source(f"INSERT INTO u VALUES ({number})")
        results = pair.try_run(pipeline)
        assert results["a.t"].error is not None
        assert results["a.u"].error is None
        pair.assert_same("u")
    shown = status_of(pipeline)
    assert shown.position == held_up_at
    assert shown.stopped
    assert str(results["a.t"].error) == shown.last_error
    assert error.hint
    assert stop.hint in error.hint, error.hint
    on_target(pair, (error.hint.partition(";")[0],) if stop.mend == ("as the hint says",) else stop.mend)
    if stop.corrected is not None:
        pipeline = pipeline_of(pair, stop.corrected)
    if stop.copy_again:
        pair.run(pipeline, mappings=["a.t"], copy_again=True)
    else:
        assert pair.run(pipeline)["a.t"].rows_snapshotted == 0
    pair.assert_same("t")
    shown = status_of(pipeline)
    assert not shown.stopped
    assert shown.last_error is None


def test_a_statement_that_may_concern_any_table(servers: Servers, flavour: Flavour) -> None:
    """A statement that nobody can apply stops every mapping with all that came before it, and each status says so. The
    `snapshot` job goes on after it.
    """
    pair = world_of(servers, flavour)
    pipeline = pipeline_of(pair)
    pair.source.execute("SET GLOBAL log_bin_trust_function_creators=1")
    pair.on_source("CREATE FUNCTION f() RETURNS INT BEGIN UPDATE t SET v=v+1; RETURN 1; END")
    pair.run(pipeline)
    pair.on_source("UPDATE t SET v=50", "INSERT INTO u VALUES (1)")
    before = pair.source_rows("t")
    pair.on_source("SET SESSION binlog_format=STATEMENT", "UPDATE u SET id=id+f()")
    for _ in range(2):
        error = pair.error(pipeline)
        assert isinstance(error, UnsupportedEvent)
        assert "snapshot" in error.hint
        assert pair.target_rows("t") == before
        assert pair.target_rows("u") == [(1,)]
        assert [one.stopped for one in status(pipeline).mappings] == [True, True]
        assert {one.last_error for one in status(pipeline).mappings} == {str(error)}
    pair.run(pipeline, copy_again=True)
    pair.assert_same("t")
    pair.assert_same("u")
    assert not any(one.stopped for one in status(pipeline).mappings)
