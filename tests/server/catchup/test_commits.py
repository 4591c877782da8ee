"""Transactions of a target open at once (`commits.py`): what a reader sees is one after the other."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from faults.harness import retries
from pipelines import Pair, Route, pair
from server_farm import Servers

from myrepetl_dagster.core.model.errors import PrerequisiteError, RowRejected, StaleRun
from myrepetl_dagster.core.plan.table_plan import TablePlan
from myrepetl_dagster.core.replication.catchup import batch_joining
from myrepetl_dagster.core.replication.catchup.batch_joining import Joining
from myrepetl_dagster.core.replication.catchup.commits import APPLY_CONNECTIONS
from myrepetl_dagster.core.replication.catchup.mapping_writes import MappingWrites
from myrepetl_dagster.core.replication.catchup.work import MappingWork
from myrepetl_dagster.core.replication.ports import ApplyConnection
from myrepetl_dagster.core.rows.event_encoder import RowChanges
from myrepetl_dagster.core.rows.writable_rows import WritableRows
from myrepetl_dagster.core.target import apply_connection
from myrepetl_dagster.core.target.apply_connection import MySQLApplyConnection
from myrepetl_dagster.core.target.checkpoint_table import TABLE
from myrepetl_dagster.core.target.control import TargetControl
from myrepetl_dagster.core.target.mysql_target import MySQLTarget
from myrepetl_dagster.core.target.row_writer import DELETE_KEYS_MAX
from myrepetl_dagster.core.values.sql import keys_condition

ROUTES = [Route("mysql", True, "mysql"), Route("mariadb", True, "mariadb")]
ACCOUNTS = 300
BUSY_S = 10.0  # no statement of ours takes so long, whatever else the machine does
AS_THEY_SAY = TargetControl.buffer_pool_bytes


@pytest.fixture(params=ROUTES, ids=str)
def world(request: pytest.FixtureRequest, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """Its tables are larger than their target's buffer pool, so that batches are joined where limits let them."""
    monkeypatch.setattr(TargetControl, "buffer_pool_bytes", 1)
    made = pair(servers, request.param)
    made.limits |= {"batch_rows_max": 40, "joined_batches_max": 3}
    return made


@pytest.fixture(params=["as statements", "as events"])
def way(request: pytest.FixtureRequest, world: Pair) -> str:
    """How rows are written, where there is a choice."""
    world.replays = request.param == "as events"
    return str(request.param)


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a target did what."""
    counts: Counter[str] = Counter()

    def spied(name: str) -> Any:
        original = getattr(MySQLApplyConnection, name)

        def spy(self: MySQLApplyConnection, *args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return original(self, *args, **kwargs)

        return spy

    for name in ("begin_unfenced", "rollback", "commit"):
        monkeypatch.setattr(MySQLApplyConnection, name, spied(name))
    write = MySQLApplyConnection.write

    def spied_write(self: MySQLApplyConnection, plan: TablePlan, rows: WritableRows) -> None:
        counts["RowChanges"] += isinstance(rows, RowChanges)
        write(self, plan, rows)

    monkeypatch.setattr(MySQLApplyConnection, "write", spied_write)
    return counts


def slow_commits(monkeypatch: pytest.MonkeyPatch, each_s: float) -> None:
    """Each commit takes so long."""
    commit = MySQLApplyConnection.commit

    def committing(self: MySQLApplyConnection, *args: Any) -> None:
        time.sleep(each_s)
        commit(self, *args)

    monkeypatch.setattr(MySQLApplyConnection, "commit", committing)


def bank(world: Pair, key: str = "INT") -> None:
    rows = ", ".join(f"({n}, 100)" for n in range(ACCOUNTS))
    world.on_source(f"CREATE TABLE bank (id {key} PRIMARY KEY, balance INT)", f"INSERT INTO bank VALUES {rows}")


def move(world: Pair, transfers: int, seed: int) -> None:
    """Money from one account to another, accounts that open with what another gives, and that close."""
    rng = random.Random(seed)
    with world.source_session(autocommit=False) as connection, connection.cursor() as cursor:
        held = {int(row[0]) for row in world.on_source("SELECT id FROM bank")}
        for n in range(transfers):
            one, other = rng.sample(sorted(held), 2)
            kind = rng.random()
            if kind < 0.6:
                cursor.execute(f"UPDATE bank SET balance = balance - 1 WHERE id = {one}")
                cursor.execute(f"UPDATE bank SET balance = balance + 1 WHERE id = {other}")
            elif kind < 0.8:  # ids come again
                new = next(i for i in range(2 * ACCOUNTS) if i not in held)
                cursor.execute(f"INSERT INTO bank VALUES ({new}, 5)")
                cursor.execute(f"UPDATE bank SET balance = balance - 5 WHERE id = {one}")
                held.add(new)
            else:
                cursor.execute(f"SELECT balance FROM bank WHERE id = {one}")
                (left,) = cursor.fetchone() or (0,)
                cursor.execute(f"DELETE FROM bank WHERE id = {one}")
                cursor.execute(f"UPDATE bank SET balance = balance + {left} WHERE id = {other}")
                held.discard(one)
            connection.commit()
            if n % 50 == 49 and len(held) < 50:
                break


@pytest.mark.parametrize("key", ["INT", "VARCHAR(20)"])
def test_every_state_that_a_reader_sees_is_the_sources(world: Pair, done: Counter[str], way: str, key: str) -> None:
    """While batches are written side by side, the sum of all balances never changes, and checkpoints only grow."""
    bank(world, key)
    world.run("bank")
    move(world, 2000, seed=key == "INT")
    stop, seen, places = threading.Event(), Counter[int](), []

    def watch() -> None:
        with closing(world.target.connect(database=world.target_schema, autocommit=False)) as c, c.cursor() as cursor:
            while not stop.is_set():
                cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
                cursor.execute("SELECT SUM(balance) FROM bank")
                seen[int(cursor.fetchone()[0])] += 1
                cursor.execute(f"SELECT log_file, log_offset_bytes FROM {TABLE}")
                places.append(cursor.fetchone())
                c.rollback()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        world.run("bank")
    finally:
        stop.set()
        watcher.join()
    print(f"{sum(seen.values())} states seen, {len(set(places))} checkpoints, {done['begin_unfenced']} begun ahead")
    assert set(seen) == {100 * ACCOUNTS}
    assert places == sorted(places)
    assert done["begin_unfenced"] > 10
    assert (done["RowChanges"] > 10) == (way == "as events" and key == "INT")
    world.assert_same("bank")


def test_a_trigger_that_turns_the_locks_around(
    world: Pair, done: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the earlier transaction waits for a lock of the later one, the later one gives way, and all arrives."""
    monkeypatch.setattr(apply_connection, "PATIENCE_S", 0.1)
    monkeypatch.setattr(batch_joining, "JOIN_WAIT_S", 60.0)
    bank(world)
    world.run("bank")
    count = "UPDATE counted SET n = n + 1"
    world.target.execute("SET GLOBAL log_bin_trust_function_creators = 1")
    world.on_target(
        "CREATE TABLE counted (n INT)", "INSERT INTO counted VALUES (0)",
        f"CREATE TRIGGER one BEFORE UPDATE ON bank FOR EACH ROW {count}",
        f"CREATE TRIGGER two BEFORE INSERT ON bank FOR EACH ROW {count}",
    )  # fmt: skip
    # No row is deleted: of so small a table, nothing is written beside a delete.
    rng = random.Random(5)
    accounts = [n % ACCOUNTS for n in rng.sample(range(2 * ACCOUNTS), 2 * ACCOUNTS)]
    world.on_source(*(f"UPDATE bank SET balance = balance + {1 + n} WHERE id = {n}" for n in accounts))
    begin, write_early = MySQLApplyConnection.begin, MappingWrites.write_early
    written_ahead = threading.Event()

    def waiting(self: MySQLApplyConnection, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        assert written_ahead.wait(60), "one that comes later has written, and holds its lock"

    def writing(self: MappingWrites, connection: ApplyConnection) -> None:
        write_early(self, connection)
        if self.early:
            written_ahead.set()

    monkeypatch.setattr(MySQLApplyConnection, "begin", waiting)
    monkeypatch.setattr(MappingWrites, "write_early", writing)
    world.run("bank")
    assert 0 < done["rollback"] < 6, "it gives way, and is not tried again and again"
    world.assert_same("bank")


def test_an_earlier_commit_that_fails_takes_the_later_ones_with_it(world: Pair, done: Counter[str]) -> None:
    """A row is refused: nothing that comes after it in the log is in the target."""
    bank(world)
    world.run("bank")
    world.on_target("ALTER TABLE bank ADD CONSTRAINT small CHECK (balance < 5000)")
    world.on_source(*(f"INSERT INTO bank VALUES ({n}, {6000 if n == 1500 else 1})" for n in range(1000, 2000)))
    error = world.error("bank")
    assert isinstance(error, RowRejected)
    assert "id=1500" in str(error)
    held = [row[0] for row in world.on_target("SELECT id FROM bank WHERE id >= 1000 ORDER BY id")]
    assert held == list(range(1000, 1000 + len(held)))
    assert len(held) <= 500
    world.on_target("ALTER TABLE bank DROP CONSTRAINT small")
    world.run("bank")
    world.assert_same("bank")


def test_a_run_that_is_overtaken_commits_nothing_more(
    world: Pair, done: Counter[str], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Another run claims the mapping while a transaction was begun ahead of its fence: that one is not committed."""
    bank(world)
    world.run("bank")
    move(world, 500, seed=7)
    fence = MySQLApplyConnection.fence
    claimed: list[str] = []

    def overtaken(self: MySQLApplyConnection, mappings: Any) -> None:
        if done["begin_unfenced"] >= 3 and not claimed:
            claimed.append("by another run")
            world.on_target(f"UPDATE {TABLE} SET run_id = REPEAT('f', 32)")
        fence(self, mappings)

    monkeypatch.setattr(MySQLApplyConnection, "fence", overtaken)
    error = world.error("bank")
    assert isinstance(error, StaleRun)
    assert world.on_target("SELECT SUM(balance) FROM bank") == ((100 * ACCOUNTS,),)
    world.run("bank")
    world.assert_same("bank")


def test_as_many_at_once_as_there_are_lanes(world: Pair, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the first commit takes its time, the next ones are written, each by its own connection, and no more."""
    bank(world)
    world.run("bank")
    move(world, 1000, seed=11)
    open_now: set[int] = set()
    most = [0]
    begin_unfenced, commit = MySQLApplyConnection.begin_unfenced, MySQLApplyConnection.commit

    def beginning(self: MySQLApplyConnection) -> None:
        begin_unfenced(self)
        open_now.add(id(self))
        most[0] = max(most[0], len(open_now))

    def committing(self: MySQLApplyConnection, *args: Any) -> None:
        time.sleep(0.02)
        open_now.discard(id(self))
        commit(self, *args)

    monkeypatch.setattr(MySQLApplyConnection, "begin_unfenced", beginning)
    monkeypatch.setattr(MySQLApplyConnection, "commit", committing)
    world.run("bank")
    assert most[0] in (APPLY_CONNECTIONS - 1, APPLY_CONNECTIONS)
    world.assert_same("bank")


def test_the_last_commit_is_begun_beside_the_ones_before_it(
    world: Pair, done: Counter[str], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left at the log's end is written while the commit before it takes its time, and the run waits for both."""
    bank(world)
    world.run("bank")
    world.limits["batch_rows_max"] = 60
    move(world, 45, seed=12)  # a full batch, and a part of one
    done.clear()
    slow_commits(monkeypatch, 0.2)
    world.run("bank")
    assert done["begin_unfenced"] >= 1
    assert done["begin_unfenced"] == done["commit"] - 1
    world.assert_same("bank")


def test_a_commit_that_takes_long_is_waited_for(
    world: Pair, done: Counter[str], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than a later transaction has patience for: it has its locks, so that nobody gives way to it."""
    monkeypatch.setattr(apply_connection, "PATIENCE_S", 0.3)
    bank(world)
    world.run("bank")
    move(world, 100, seed=14)
    done.clear()
    slow_commits(monkeypatch, 0.7)
    world.run("bank")
    assert done["begin_unfenced"] >= 2
    assert not done["rollback"]
    world.assert_same("bank")


@pytest.mark.parametrize("key", ["INT", "VARCHAR(20)"])
def test_batches_are_joined_while_they_wait(world: Pair, done: Counter[str], way: str, key: str) -> None:
    """Many batches become few commits, and no more rows than `joined_batches_max` of them are put together."""
    world.limits["joined_batches_max"] = 30
    bank(world, key)
    world.run("bank")
    done.clear()
    world.on_source(*(f"INSERT INTO bank VALUES ({n}, 1)" for n in range(1000, 4000)))
    world.run("bank")
    joined = done["commit"]
    assert joined <= 30, "75 batches of 40 rows, up to 30 in three commits"
    world.assert_same("bank")
    done.clear()
    world.limits["joined_batches_max"] = 1
    world.on_source(*(f"DELETE FROM bank WHERE id = {n}" for n in range(1000, 4000)))
    world.run("bank")
    print(f"{joined} commits of batches that were joined, {done['commit']} of such that were not")
    assert done["commit"] >= 50
    world.assert_same("bank")


@pytest.mark.parametrize("joined", [1, 30])
def test_tables_whose_rows_may_collide_are_written_in_order(world: Pair, done: Counter[str], joined: int) -> None:
    """Beside a table that takes events, one with a second unique key, whose values change hands in the log: each
    state that a reader sees of both is one of the source's.
    """
    world.replays = True
    world.limits["joined_batches_max"] = joined
    bank(world)
    world.on_source(
        "CREATE TABLE holders (id INT PRIMARY KEY, name VARCHAR(20) UNIQUE, balance INT)",
        "INSERT INTO holders VALUES " + ", ".join(f"({n}, 'n{n}', 100)" for n in range(50)),
    )  # fmt: skip
    tables = world.pipeline("bank holders")
    world.run(tables)
    rng = random.Random(21)
    with world.source_session(autocommit=False) as connection, connection.cursor() as cursor:
        for _ in range(600):
            one, other = rng.sample(range(50), 2)
            cursor.execute(f"UPDATE bank SET balance = balance - 1 WHERE id = {rng.randrange(ACCOUNTS)}")
            cursor.execute(f"SELECT name FROM holders WHERE id IN ({one}, {other}) ORDER BY id = {other}")
            (first,), (second,) = cursor.fetchall()
            cursor.execute(f"UPDATE holders SET name = NULL WHERE id = {one}")
            cursor.execute(f"UPDATE holders SET name = '{first}', balance = balance + 1 WHERE id = {other}")
            cursor.execute(f"UPDATE holders SET name = '{second}' WHERE id = {one}")
            connection.commit()
    stop, seen = threading.Event(), Counter[tuple[int, int]]()

    def watch() -> None:
        both = "SELECT SUM(balance), COUNT(name) FROM (SELECT balance, 'x' name FROM bank UNION ALL"
        with closing(world.target.connect(database=world.target_schema)) as reader, reader.cursor() as cursor:
            while not stop.is_set():
                cursor.execute(f"{both} SELECT balance, name FROM holders) AS both_tables")
                total, names = cursor.fetchone()
                seen[int(total), names] += 1

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        world.run(tables)
    finally:
        stop.set()
        watcher.join()
    assert set(seen) == {(100 * (ACCOUNTS + 50), ACCOUNTS + 50)}
    assert done["RowChanges"] > 0
    world.assert_same("bank")
    world.assert_same("holders")


def test_deletes_of_a_small_table_wait_for_their_turn(
    world: Pair, done: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of few rows a server looks at all to find some: no transaction waits for rows that another one has, gives way or
    ends in a deadlock, however many rows come and go.
    """
    monkeypatch.setattr(apply_connection, "PATIENCE_S", BUSY_S)
    world.replays = False
    world.limits |= {"batch_rows_max": 1000, "joined_batches_max": 30}
    bank(world)
    world.on_source("INSERT INTO bank VALUES " + ", ".join(f"({n}, 1)" for n in range(1000, 4000)))
    world.run("bank")
    done.clear()
    rng, held = random.Random(31), list(range(1000, 4000))
    with world.source_session(autocommit=False) as connection, connection.cursor() as cursor:
        for n in range(120):
            rng.shuffle(held)
            gone, come = held[:50], rng.sample(range(10_000 + 1000 * n, 11_000 + 1000 * n), 50)
            held = held[50:] + come
            cursor.execute(f"DELETE FROM bank WHERE id IN ({', '.join(map(str, gone))})")
            cursor.execute(f"INSERT INTO bank VALUES {', '.join(f'({one}, 1)' for one in come)}")
            connection.commit()
    with retries() as seen:
        world.run("bank")
    print(f"{done['commit']} commits, {done['begin_unfenced']} begun ahead")
    assert done["commit"] >= 2
    assert not done["rollback"]
    assert not seen
    world.assert_same("bank")


@pytest.mark.parametrize("key", ["id", "id, part"])
def test_deletes_of_a_large_table_wait_for_no_other_row(world: Pair, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From 100,000 rows on 500 keys are found by the index, as many as a statement has, and the run knows that."""
    world.replays = False
    series = "WITH RECURSIVE s AS (SELECT 1 i UNION ALL SELECT i + 1 FROM s WHERE i < 130000)"
    depth = "cte_max_recursion_depth" if world.source.flavour == "mysql" else "max_recursive_iterations"
    columns = f"(id INT NOT NULL, part INT NOT NULL, PRIMARY KEY ({key}))"
    world.on_source(
        f"CREATE TABLE large {columns}", f"CREATE TABLE small {columns}", f"SET SESSION {depth} = 1000000",
        f"INSERT INTO large {series} SELECT i, 1 FROM s", "INSERT INTO small SELECT * FROM large WHERE id < 1000",
    )  # fmt: skip
    tables = world.pipeline("large small")
    world.run(tables)
    asked: dict[str, bool] = {}
    is_large = MySQLTarget.is_large

    def asking(self: MySQLTarget, plan: TablePlan) -> bool:
        asked[plan.target.name.table] = is_large(self, plan)
        return asked[plan.target.name.table]

    monkeypatch.setattr(MySQLTarget, "is_large", asking)
    for table in ("large", "small"):
        world.on_source(*(f"DELETE FROM {table} WHERE id BETWEEN {n} AND {n + 9}" for n in range(1, 900, 10)))
    world.run(tables)
    assert asked == {"large": True, "small": False}
    keys = [(n,) if key == "id" else (n, 1) for n in range(1000, 1000 + DELETE_KEYS_MAX)]
    condition = keys_condition(key.split(", "), [[str(value) for value in one] for one in keys])
    with world.target_session(autocommit=False) as other, world.target_session(autocommit=False) as ours:
        for session in (other, ours):
            for setting in ("TRANSACTION ISOLATION LEVEL READ COMMITTED", "innodb_lock_wait_timeout = 1"):
                session.cursor().execute(f"SET SESSION {setting}")
        other.cursor().execute("UPDATE large SET part = part + 1 WHERE id IN (950, 1600, 129000)")
        assert ours.cursor().execute(f"DELETE FROM large WHERE {condition}") == DELETE_KEYS_MAX
        ours.rollback()
        other.rollback()
    world.assert_same("large")
    world.assert_same("small")


@pytest.mark.parametrize("pool_bytes", [None, 10_000])
def test_a_table_larger_than_the_buffer_pool_is_told_from_others(
    world: Pair, pool_bytes: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what the target says of both; and nothing is lost where batches wait."""
    world.limits |= {"batch_rows_max": 100, "joined_batches_max": 30}
    pools: set[int] = set()
    waited: set[bool] = set()
    pays = Joining.pays

    def asking(self: Joining, works: Sequence[MappingWork]) -> bool:
        waited.add(answer := pays(self, works))
        pools.update(cast(MySQLTarget, work.state.target).control.buffer_pool_bytes for work in works)
        return answer

    monkeypatch.setattr(Joining, "pays", asking)
    monkeypatch.setattr(TargetControl, "buffer_pool_bytes", AS_THEY_SAY if pool_bytes is None else pool_bytes)
    series = "WITH RECURSIVE s AS (SELECT 1 i UNION ALL SELECT i + 1 FROM s WHERE i < 900)"
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, a INT)", f"INSERT INTO t {series} SELECT i, i FROM s")
    pipeline = world.pipeline("t")
    world.run(pipeline)
    world.on_source(
        *(f"UPDATE t SET a = a + 1 WHERE id BETWEEN {n} AND {n + 60}" for n in range(1, 900, 7)),
        *(f"DELETE FROM t WHERE id = {n}" for n in range(1, 900, 10)),
    )
    world.run(pipeline)
    with world.target_session() as session, session.cursor() as cursor:
        cursor.execute("SELECT @@GLOBAL.innodb_buffer_pool_size")
        ((size,),) = cursor.fetchall()
    assert pools == {pool_bytes or int(size)}
    assert waited == {pool_bytes is not None}
    world.assert_same("t")


def test_what_cannot_go_as_events_is_written_beside_as_well(
    world: Pair, tmp_path: Path, done: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a transform and a filter, by an account that may write events: of a large table, transactions write most
    of their rows at the same time, also rows that go.
    """
    monkeypatch.setattr(apply_connection, "PATIENCE_S", BUSY_S)
    world.replays = True
    world.limits |= {"batch_rows_max": 400, "joined_batches_max": 30}
    (tmp_path / "t.py").write_text("def plus(value):\n    return value + 1\n")
    series = "WITH RECURSIVE s AS (SELECT 1 i UNION ALL SELECT i + 1 FROM s WHERE i < 130000)"
    depth = "cte_max_recursion_depth" if world.source.flavour == "mysql" else "max_recursive_iterations"
    world.on_source(
        "CREATE TABLE large (id INT PRIMARY KEY, a INT NOT NULL)",
        f"SET SESSION {depth} = 1000000",
        f"INSERT INTO large {series} SELECT i, i % 10 FROM s",
    )
    columns = {"id": "id", "a": {"column": "a", "transform": "t.plus"}}
    mapping = {
        "target_table": "b.large", "primary_key": "id", "column_mapping": columns, "filter": {"a": {"gt": 1}},
    }  # fmt: skip
    pipeline = world.pipeline({"a.large": mapping}, base_dir=tmp_path)
    world.run(pipeline)
    ahead: list[MappingWrites] = []
    write_early = MappingWrites.write_early

    def writing(self: MappingWrites, connection: ApplyConnection) -> None:
        if self.early is not None:
            ahead.append(self)
        write_early(self, connection)

    monkeypatch.setattr(MappingWrites, "write_early", writing)
    for n in range(1, 6000, 10):
        world.on_source(
            f"UPDATE large SET a = a + 1 WHERE id BETWEEN {n} AND {n + 7}", f"DELETE FROM large WHERE id = {n + 8}"
        )
    done.clear()
    with retries() as seen:
        world.run(pipeline)
    print(f"{done['begin_unfenced']} transactions begun ahead, {len(ahead)} wrote rows ahead")
    assert len(ahead) == done["begin_unfenced"] >= 2
    assert not done["RowChanges"]
    assert not done["rollback"]
    assert not seen
    assert world.target_rows("large") == world.source_rows("large", "id, a + 1", "a > 1")


def test_a_transform_that_takes_its_time_is_no_lock(
    world: Pair, tmp_path: Path, done: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction whose rows are being made asks nothing of the server for long: those behind it wait, and none gives
    way.
    """
    monkeypatch.setattr(apply_connection, "PATIENCE_S", 1.0)
    world.replays = False
    world.limits |= {"batch_rows_max": 300, "joined_batches_max": 30}
    (tmp_path / "t.py").write_text("import time\n\ndef slow(value):\n    time.sleep(0.006)\n    return value\n")
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, a INT)", "CREATE TABLE q (id INT PRIMARY KEY, a INT)")
    columns = {"id": "id", "a": {"column": "a", "transform": "t.slow"}}
    mapping: dict[str, Any] = {
        "t": {"source_table": "a.t", "target_table": "b.t", "primary_key": "id", "column_mapping": columns},
        "q": {"source_table": "a.q", "target_table": "b.q"},
    }
    pipeline = world.pipeline(mapping, base_dir=tmp_path)
    world.run(pipeline)
    for table in ("t", "q"):
        rows = [", ".join(f"({n + m}, 1)" for m in range(50)) for n in range(0, 1000, 50)]
        world.on_source(*(f"INSERT INTO {table} VALUES {values}" for values in rows))
    done.clear()
    world.run(pipeline)
    assert done["begin_unfenced"] >= 2
    assert not done["rollback"]
    world.assert_same("t")
    world.assert_same("q")


def test_what_a_failed_transaction_has_left_is_not_committed_by_the_next(world: Pair) -> None:
    """The next BEGIN on its connection would do that: rows that were written ahead of a fence that was never taken."""
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY)")
    world.run("t")
    pipeline = world.pipeline("t")
    with closing(MySQLTarget(pipeline.targets["b"], pipeline.limits)) as target:
        target.apply.begin_unfenced()
        target.apply._session.run("INSERT INTO t VALUES (1)")
        target.apply.begin_unfenced()
        target.apply._session.run("INSERT INTO t VALUES (2)")
        target.apply.commit([])
    assert world.on_target("SELECT id FROM t") == ((2,),)


def test_a_key_that_was_text_when_the_log_was_written(world: Pair) -> None:
    """Its literals are no numbers, though both columns are by now: '1' and '01' in the log to come would be one row, so
    nothing is written.
    """
    world.replays = False
    world.on_source("CREATE TABLE t (id VARCHAR(20) PRIMARY KEY, a INT)", "INSERT INTO t VALUES ('1', 1)")
    pipeline = {"a.t": {"target_table": "b.t", "filter": {"a": {"gte": 0}}}}
    world.run(pipeline)
    world.on_source(*(f"INSERT INTO t VALUES ('{n}', 1)" for n in range(770001, 770005)))
    world.on_source("ALTER TABLE t MODIFY id INT NOT NULL")
    world.on_target("ALTER TABLE t MODIFY id INT NOT NULL")
    (result,) = world.try_run(pipeline).values()
    assert isinstance(result.error, PrerequisiteError)
    assert "could become one" in str(result.error)
    assert world.on_target("SELECT COUNT(*) FROM t") == ((1,),)
