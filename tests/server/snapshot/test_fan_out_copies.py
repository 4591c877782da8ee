"""A copy whose ranges are copied by steps of their own: exact, resumable, and fenced as a whole."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pymysql
import pytest
from fan_out_steps import begin, copy, copy_error, end, try_to_end
from pipelines import SOURCES, Interrupted, Pair, call_at, interrupt, pair
from server_farm import Servers

from myrepetl_dagster.core.config.pipeline import Pipeline
from myrepetl_dagster.core.model.errors import PrerequisiteError, SchemaDrift, StaleRun
from myrepetl_dagster.core.replication.fan_out import BeginCopies, CopyOneRange, Part

KEYS: dict[str, tuple[str, str, Callable[[int], str]]] = {
    "integer": ("id INT", "id", lambda i: f"{i * 3 - 200}"),
    "composite": ("a INT, b VARCHAR(20), c DATE", "a, b, c", lambda i: f"{i % 7}, 'k{i}', '2020-01-{i % 28 + 1:02}'"),
    "text": ("s VARCHAR(40) COLLATE utf8mb4_general_ci", "s", lambda i: f"'Key {i * 7919 % 1000} é%'"),
    "bytes": ("u BINARY(16)", "u", lambda i: f"UNHEX(LEFT(SHA2('{i}', 256), 32))"),
}


@pytest.fixture(params=SOURCES, ids=str)
def world(request: pytest.FixtureRequest, servers: Servers) -> Pair:
    made = pair(servers, request.param)
    made.chunks_of(7)
    return made


def filled(world: Pair, rows: int = 100, key: str = "integer", table: str = "t") -> Pipeline:
    columns, names, value = KEYS[key]
    world.on_source(
        f"CREATE TABLE {table} ({columns}, v INT, PRIMARY KEY ({names}))",
        f"INSERT INTO {table} VALUES " + ", ".join(f"({value(i)}, {i})" for i in range(rows)),
    )
    return world.pipeline(table)


@pytest.mark.parametrize("key", KEYS)
def test_ranges_of_any_key_make_the_whole_table(world: Pair, key: str) -> None:
    """Ranges are even, hold each row once, whatever the key is, and can be copied side by side in any order."""
    pipeline = filled(world, 100, key)
    parts = begin(pipeline, step_rows=24)
    assert [(part.number, part.of) for part in parts] == [(number, 5) for number in range(1, 6)]
    with ThreadPoolExecutor(5) as pool:
        rows = list(pool.map(lambda part: copy(pipeline, part), reversed(parts)))
    assert rows == [4, 24, 24, 24, 24]
    assert end(pipeline, parts)["a.t"].rows_snapshotted == 100
    world.assert_same("t")
    assert not world.on_target("SELECT * FROM _myrepetl_copy_range"), "nothing is left of the ranges"


def test_changes_while_ranges_are_copied_are_applied_from_the_low_watermark(world: Pair) -> None:
    """Rows that change, come, go or move between ranges before and after a range is read are right in the end."""
    pipeline = filled(world, 60)
    first, second, third = begin(pipeline, step_rows=25)
    world.on_source("UPDATE t SET v=v+1000 WHERE v < 30", "DELETE FROM t WHERE v=3")
    copy(pipeline, third)
    world.on_source("UPDATE t SET id=id+9000 WHERE v IN (1005, 40)", "INSERT INTO t VALUES (-900, 1), (9000, 2)")
    copy(pipeline, first)
    world.on_source("UPDATE t SET id=-id WHERE id > 8000", "DELETE FROM t WHERE v=55", "UPDATE t SET v=v+7")
    copy(pipeline, second)
    world.on_source("DELETE FROM t WHERE id % 5 = 0", "INSERT INTO t VALUES (1, 1)")
    end(pipeline, [first, second, third])
    world.assert_same("t")
    world.on_source("UPDATE t SET v=v+1")
    world.run(pipeline)
    world.assert_same("t")


def test_a_table_that_held_rows_is_swept(world: Pair) -> None:
    """After a new copy by ranges the target holds no row that the source does not have."""
    pipeline = filled(world, 50)
    world.run(pipeline)
    world.on_target("INSERT INTO t VALUES (77777, 1), (-77777, 1)")
    parts = begin(pipeline, step_rows=20)
    for part in parts:
        copy(pipeline, part)
    end(pipeline, parts)
    world.assert_same("t")


def test_what_cannot_be_divided_is_copied_by_the_last_step(world: Pair) -> None:
    """A table without a key, one with an init query, one with another unique key and a small one have no ranges."""
    world.on_source(
        "CREATE TABLE keyless (v INT)",
        "CREATE TABLE small (id INT PRIMARY KEY)",
        "CREATE TABLE queried (id INT PRIMARY KEY, v INT)",
        "CREATE TABLE uni (id INT PRIMARY KEY, u INT UNIQUE)",
        "INSERT INTO small VALUES (1), (2)",
        "INSERT INTO queried VALUES (1, 1), (2, 2), (3, 3), (4, 4)",
        "INSERT INTO uni VALUES (1, 3), (2, 2), (3, 1), (4, 4)",
    )
    world.on_target("CREATE TABLE uni (id INT PRIMARY KEY, u INT UNIQUE)")
    query = {"target_table": "b.queried", "init_query": "SELECT id, v FROM queried"}
    mapping = {f"a.{name}": {"target_table": f"b.{name}"} for name in ("small", "uni")} | {"a.queried": query}
    pipeline = world.pipeline(mapping)
    assert begin(pipeline, step_rows=3) == []
    end(pipeline, [])
    for table in ("small", "uni", "queried"):
        world.assert_same(table)


def test_a_range_is_gone_on_with_where_an_earlier_try_has_left_it(world: Pair) -> None:
    """A step that is cut off after some windows does not copy these again; one that was done copies nothing."""
    pipeline = filled(world, 60)
    parts = begin(pipeline, step_rows=30)
    with pytest.raises(Interrupted):
        CopyOneRange(pipeline, parts[0], call_at(2, interrupt)).run()
    world.on_source("UPDATE t SET v=-1 WHERE v IN (0, 29)")
    again = CopyOneRange(pipeline, parts[0])
    again.run()
    assert again.rows == 30
    assert world.on_target("SELECT v FROM t WHERE id=-200") == ((0,),), "its window was not read again"
    assert copy(pipeline, parts[0]) == 30
    for part in parts[1:]:
        copy(pipeline, part)
    end(pipeline, parts)
    world.assert_same("t")


def test_the_last_step_insists_on_every_range(world: Pair) -> None:
    """Steps that an executor has lost are an error that names the ranges, and the target is not taken for complete."""
    pipeline = filled(world, 60)
    parts = begin(pipeline, step_rows=25)
    copy(pipeline, parts[1])
    (result,) = try_to_end(pipeline, parts)
    assert isinstance(result.error, PrerequisiteError)
    assert "1, 3 of 3 are not" in str(result.error)
    assert world.checkpoint("a.t")["phase"] == "copying"
    world.run(pipeline)  # an ordinary run copies the table from its beginning
    world.assert_same("t")


def test_a_second_run_fences_all_steps_off(world: Pair) -> None:
    """Once another run has claimed the mapping, every step of the first ends as stale and commits nothing."""
    pipeline = filled(world, 60)
    parts = begin(pipeline, step_rows=25)
    copy(pipeline, parts[0])
    begun: list[list[Part]] = []

    def claimed() -> None:
        begun.append(begin(pipeline, step_rows=25))
        world.on_target("DELETE FROM t")

    run = CopyOneRange(pipeline, parts[1], call_at(1, claimed))
    with pytest.raises(StaleRun):
        run.run()
    assert isinstance(copy_error(pipeline, parts[2]), StaleRun)
    (result,) = try_to_end(pipeline, parts)
    assert isinstance(result.error, StaleRun)
    assert world.target_rows("t") == [], "nothing was written after the second run's claim"
    for part in begun[0]:
        copy(pipeline, part)
    end(pipeline, begun[0])
    world.assert_same("t")


def test_two_tries_of_one_step_are_fenced_from_each_other(world: Pair) -> None:
    """Where an executor hands one step out twice, the earlier one ends, and the range's progress never goes back."""
    pipeline = filled(world, 60)
    parts = begin(pipeline, step_rows=30)
    rows: list[int] = []
    run = CopyOneRange(pipeline, parts[0], call_at(1, lambda: rows.append(copy(pipeline, parts[0]))))
    with pytest.raises(StaleRun, match="another step copies range 1"):
        run.run()
    assert rows == [30]
    for part in parts:
        copy(pipeline, part)
    end(pipeline, parts)
    world.assert_same("t")


def test_a_last_step_is_gone_on_with_by_its_next_try(world: Pair) -> None:
    """The last step takes over from a try that was cut off, and from no other run."""
    pipeline = filled(world, 60)
    parts = begin(pipeline, step_rows=30)
    for part in parts:
        copy(pipeline, part)
    from myrepetl_dagster.core.replication.fan_out import EndCopies

    world.on_source("UPDATE t SET v=v+1")
    with pytest.raises(Interrupted):
        EndCopies(pipeline, pipeline.mappings, parts, call_at(1, interrupt)).run()
    end(pipeline, parts)
    world.assert_same("t")
    world.run(pipeline)
    (result,) = try_to_end(pipeline, parts)
    assert isinstance(result.error, StaleRun)


def test_a_transaction_that_a_lost_step_left_open_is_never_committed_late(world: Pair) -> None:
    """The last step's claim waits for transactions of steps that were cut off; later ones find the fence."""
    pipeline = filled(world, 60)
    parts = begin(pipeline, step_rows=30)
    for part in parts:
        copy(pipeline, part)
    share = "SELECT 1 FROM _myrepetl_checkpoint WHERE mapping='a.t' LOCK IN SHARE MODE"
    with world.target_session(autocommit=False) as lost, lost.cursor() as cursor, ThreadPoolExecutor(1) as pool:
        cursor.execute(share)
        cursor.execute("UPDATE t SET v=-5 WHERE id=-200")
        world.on_source("UPDATE t SET v=v+100")
        ending = pool.submit(end, pipeline, parts)
        with pytest.raises(TimeoutError):
            ending.result(0.5)
        lost.commit()
        ending.result(60)
    world.assert_same("t")


@pytest.mark.parametrize("statement", ["ADD COLUMN w INT DEFAULT 5", "MODIFY v BIGINT", "DROP COLUMN v"])
def test_a_table_altered_between_two_ranges_ends_the_copy(world: Pair, statement: str) -> None:
    """A step that finds its table altered says so, and what to do; the copy is not ended by the last step."""
    pipeline = filled(world, 60)
    parts = begin(pipeline, step_rows=30)
    copy(pipeline, parts[0])
    world.on_source(f"ALTER TABLE t {statement}")
    error = copy_error(pipeline, parts[1])
    assert isinstance(error, SchemaDrift)
    assert "was altered while its ranges were copied" in str(error)
    assert not error.retryable
    world.on_target(f"ALTER TABLE t {statement}")
    parts = begin(pipeline, step_rows=30)
    for part in parts:
        copy(pipeline, part)
    end(pipeline, parts)
    world.assert_same("t")


def test_a_table_altered_after_its_ranges_follows_as_ever(world: Pair) -> None:
    """An ALTER between the last range and the last step is followed, with the rows that came with it."""
    pipeline = filled(world, 60)
    parts = begin(pipeline, step_rows=30)
    for part in parts:
        copy(pipeline, part)
    world.on_source("ALTER TABLE t ADD COLUMN w INT DEFAULT 5", "INSERT INTO t VALUES (9999, 1, 2)")
    world.on_target("ALTER TABLE t ADD COLUMN w INT DEFAULT 5")
    end(pipeline, parts)
    world.assert_same("t")


def test_a_changed_pipeline_file_stops_a_step(world: Pair) -> None:
    """A worker with another pipeline file than the first step's writes nothing."""
    pipeline = filled(world, 60)
    (part, *_) = begin(pipeline, step_rows=30)
    other = world.pipeline({"a.t": {"target_table": "b.t", "filter": {"v": {"gt": 5}}}})
    assert isinstance(copy_error(other, part), PrerequisiteError)
    assert world.target_rows("t") == []


def test_a_refused_row_is_named(world: Pair) -> None:
    """A row that the target refuses ends its step with the row's key, as it ends an ordinary copy."""
    pipeline = filled(world, 60)
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY, v TINYINT)")
    world.on_source("UPDATE t SET v=1000 WHERE v=45")
    parts = begin(pipeline, step_rows=30)
    copy(pipeline, parts[0])
    error = copy_error(pipeline, parts[1])
    assert "id" in str(error)
    assert "-65" in str(error)
    assert error.mapping == "a.t"


def test_wide_rows_make_smaller_ranges(world: Pair) -> None:
    """A range has so few rows that it holds about `step_bytes` at most."""
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(4000))",
        "INSERT INTO t VALUES " + ", ".join(f"({i}, REPEAT('x', 4000))" for i in range(200)),
        "ANALYZE TABLE t",
    )
    pipeline = world.pipeline("t")
    run = BeginCopies(pipeline, pipeline.mappings, step_rows=1000, step_bytes=200_000)
    run.run()
    assert 3 <= len(run.parts) <= 20


def test_connections_are_closed(world: Pair) -> None:
    """No step leaves a connection behind on either server."""
    pipeline = filled(world, 60)
    parts = begin(pipeline, step_rows=30)
    for part in parts:
        copy(pipeline, part)
    end(pipeline, parts)
    for server, user in ((world.source, "reader"), (world.target, world.writer)):
        with server.connect(cursorclass=pymysql.cursors.DictCursor) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT * FROM information_schema.processlist WHERE user=%s", (user,))
            assert not cursor.fetchall()
