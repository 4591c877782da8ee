"""How far a copy is, as a run tells it: from real servers' estimates, over interruptions, and in both passes."""

from __future__ import annotations

from typing import Any

import pytest
from pipelines import SOURCES, Interrupted, Pair, call_at, interrupt, pair
from server_farm import Servers

from myrepetl_dagster.core.diagnostics.status import MappingStatus, status
from myrepetl_dagster.core.plan.table_plan import TablePlan
from myrepetl_dagster.core.replication.result import Progress, Stage
from myrepetl_dagster.core.source.mysql_source import MySQLSource

ROWS = 4_000
NUMBERS = (
    "INSERT INTO {table} (id, v) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
    " SELECT i + {first}, 'a value of some length' FROM n"
)


@pytest.fixture(params=SOURCES, ids=str)
def world(request: pytest.FixtureRequest, servers: Servers) -> Pair:
    made = pair(servers, request.param)
    made.chunks_of(400)
    return made


def fill(world: Pair, definition: str = "id INT PRIMARY KEY, v VARCHAR(40)", table: str = "t") -> None:
    thousands = [NUMBERS.format(table=table, first=first) for first in range(0, ROWS, 1000)]
    world.on_source(f"CREATE TABLE {table} ({definition})", *thousands, f"ANALYZE TABLE {table}")


def told_by(world: Pair, mapping: Any = "t", **more: Any) -> list[Progress]:
    told: list[Progress] = []
    world.run(mapping, told.append, **more)
    return told


def status_of(world: Pair, mapping: Any = "t") -> MappingStatus:
    return status(world.pipeline(mapping)).mappings[0]


def assert_goes_on(told: list[Progress], stage: Stage, total: int) -> list[Progress]:
    """The reports of a stage: rows grow up to the number that there is, percent with them and never to 100."""
    own = [one for one in told if one.stage is stage]
    assert len(own) >= 5
    done = [one.rows_done or 0 for one in own]
    assert done == sorted(done)
    assert done[-1] <= total
    for one in own:
        assert one.rows_estimated is not None
        assert 0.5 * total < one.rows_estimated < 1.5 * total  # InnoDB's own word, from a sample
        assert one.percent is not None
        assert one.percent < 100
    return own


def test_a_copy_counts_the_rows_that_are_done(world: Pair) -> None:
    """Of about as many as the server says there are; every row that was read is counted with its bytes."""
    fill(world)

    told = told_by(world)

    assert_goes_on(told, Stage.COPYING, ROWS)
    assert told[-1].rows_done is None
    assert told[-1].counts.rows_read == told[-1].counts.rows_upserted == ROWS
    assert told[-1].counts.bytes_read > 22 * ROWS
    assert told[-1].counts.commits >= ROWS / 400


def test_looking_for_rows_to_delete_is_a_pass_that_shows(world: Pair) -> None:
    """It has rows, percent and a count of what it deleted, in the run and in `status`."""
    fill(world)
    world.run("t")
    world.on_source("SET sql_log_bin=0", "DELETE FROM t WHERE id % 100 = 0")
    world.on_target("ANALYZE TABLE t")

    told: list[Progress] = []
    states: list[MappingStatus] = []

    def look(one: Progress) -> None:
        told.append(one)
        if one.stage is Stage.SWEEPING and one.rows_done == 2_000:
            states.append(status_of(world))

    world.run("t", look, copy_again=True)

    own = assert_goes_on(told, Stage.SWEEPING, ROWS)
    assert own[0].rows_done == 0
    assert told[-1].counts.rows_swept == ROWS / 100
    assert (states[0].stage, states[0].rows_done, states[0].phase) == (Stage.SWEEPING, 2_000, "copying")
    assert states[0].percent == pytest.approx(50, abs=20)


@pytest.mark.parametrize("pass_", ["copying", "sweeping"])
def test_a_copy_that_was_interrupted_counts_from_where_it_is(world: Pair, pass_: str) -> None:
    """Also in another process: the first report of the next run is further on than the last one of this."""
    fill(world)
    again = pass_ == "sweeping"
    if again:
        world.run("t")
    stopped_at: list[Progress] = []

    def stop(one: Progress) -> None:
        stopped_at.append(one)
        if one.stage is (Stage.SWEEPING if again else Stage.COPYING) and (one.rows_done or 0) >= 2_000:
            interrupt()

    with pytest.raises(Interrupted):
        world.run("t", stop, copy_again=again)
    last = stopped_at[-1]
    held = status_of(world)
    told = told_by(world)

    assert held.rows_done is not None
    assert held.rows_done >= (last.rows_done or 0)  # a window that was under way may have been committed
    assert (held.rows_estimated, held.stage) == (last.rows_estimated, last.stage)
    first = told[0]
    assert (first.stage, first.rows_estimated) == (last.stage, last.rows_estimated)
    assert (first.rows_done or 0) > held.rows_done
    assert first.counts.rows_read <= 800  # this run's own


def test_the_source_is_asked_once_for_each_copy(world: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of chunks and runs that it takes."""
    asked: list[str] = []
    ask = MySQLSource.estimated_rows

    def note(self: MySQLSource, plan: TablePlan) -> int | None:
        asked.append(plan.name)
        return ask(self, plan)

    monkeypatch.setattr(MySQLSource, "estimated_rows", note)
    fill(world)
    for at in (2, 2):
        with pytest.raises(Interrupted):
            world.run("t", call_at(at, interrupt))
    world.run("t")

    assert asked == ["a.t"]


# (definition, mapping beside the target, is the number known)
SHAPES: dict[str, tuple[str, dict[str, Any], bool]] = {
    "filtered": ("id INT PRIMARY KEY, v VARCHAR(40)", {"filter": {"id": {"gt": 3_000}}}, True),
    "without a key": ("id INT, v VARCHAR(40)", {"primary_key": "id"}, True),
    "a key with a unique one beside it": ("id INT PRIMARY KEY, v VARCHAR(40), u INT AUTO_INCREMENT UNIQUE", {}, True),
    "init query": ("id INT PRIMARY KEY, v VARCHAR(40)", {"init_query": "SELECT id, v FROM t WHERE id > 2000"}, False),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_way_of_copying_tells_how_far_it_is(world: Pair, shape: str) -> None:
    """Rows that a filter leaves out are done, too. What nobody can know is unknown, and not 0 percent."""
    definition, mapping, is_known = SHAPES[shape]
    fill(world, definition)

    told = told_by(world, {"a.t": {"target_table": "b.t", **mapping}})

    own = [one for one in told if one.stage is Stage.COPYING]
    assert len(own) >= 5
    if is_known:
        assert_goes_on(told, Stage.COPYING, ROWS)
        assert (own[-1].rows_done or 0) >= ROWS - 400
    else:
        assert {(one.rows_estimated, one.percent, one.time_left_s) for one in own} == {(None, None, None)}
        assert (own[-1].rows_done or 0) >= 1_600
    assert told[-1].counts.bytes_read > 22 * told[-1].rows_snapshotted


def test_a_transaction_too_large_to_hold_shows_while_it_is_written(world: Pair) -> None:
    """Rows that are not committed yet are told as such, so that minutes without a commit are not silent."""
    world.limits |= {"batch_rows_max": 500}
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, v TEXT)")
    world.run("t")
    long_rows = NUMBERS.replace("'a value of some length'", "REPEAT('x', 2000)")
    world.on_source("BEGIN", *(long_rows.format(table="t", first=first) for first in range(0, ROWS, 1000)), "COMMIT")

    told = told_by(world)

    growing = [one.rows_uncommitted for one in told if one.rows_uncommitted]
    assert len(growing) >= 2
    assert growing == sorted(growing)
    assert all(one.changes_applied == 0 for one in told if one.rows_uncommitted)
    assert (told[-1].rows_uncommitted, told[-1].changes_applied) == (0, ROWS)


def test_operations_are_counted_apart(world: Pair) -> None:
    """Upserts, deletes and filtered rows of the log, and its bytes, in the run and in the checkpoint."""
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(40))", "INSERT INTO t VALUES (1, 'x'), (2, 'y')")
    mapping = {"a.t": {"target_table": "b.t", "filter": {"id": {"lt": 100}}}}
    world.run(mapping)
    world.on_source("INSERT INTO t VALUES (3, 'z'), (4, 'z'), (500, 'z')", "DELETE FROM t WHERE id IN (1, 500)")

    result = world.run(mapping)["a.t"]
    held = status_of(world, mapping)

    assert (result.rows_read, result.rows_upserted, result.rows_deleted, result.rows_filtered) == (5, 2, 1, 2)
    assert result.bytes_read > 0
    assert (held.rows_snapshotted, held.changes_applied, held.rows_deleted, held.rows_filtered) == (2, 3, 1, 2)
    assert held.bytes_read > result.bytes_read
