"""Copying while others write, interrupted and resumed, again, and beside mappings that go on."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from pipelines import ROUTES, SOURCES, Interrupted, Pair, call_at, interrupt, pair
from server_farm import Servers

from myrepetl_dagster.core.replication.result import Progress
from myrepetl_dagster.core.source.mysql_source import MySQLSource

pytestmark = pytest.mark.versions_in_soak


@pytest.fixture(params=SOURCES, ids=str)
def world(request: pytest.FixtureRequest, servers: Servers) -> Pair:
    made = pair(servers, request.param)
    made.chunks_of(7)
    return made


@contextlib.contextmanager
def writers(world: Pair, count: int, work: Any) -> Iterator[None]:
    """Threads that write to the source until the block ends; an error in one of them fails the test."""
    stop, errors = threading.Event(), []

    def run(number: int) -> None:
        chance = random.Random(number)
        try:
            with world.source_session(autocommit=False) as connection, connection.cursor() as cursor:
                while not stop.wait(0.005):
                    try:
                        work(cursor, chance)
                        connection.commit()
                    except pymysql.MySQLError as error:
                        connection.rollback()
                        if error.args[0] not in (1213, 1205, 1062):
                            raise
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not errors, errors


def churn(cursor: Any, chance: random.Random) -> None:
    """Some changes of `t`: inserts, updates of values, unique values and keys, deletes, swaps, a rollback."""
    for _ in range(chance.randint(1, 4)):
        a, b = chance.randint(1, 120), chance.randint(1, 120)
        match chance.randint(0, 6):
            case 0:
                cursor.execute("INSERT IGNORE INTO t VALUES (%s,%s,0)", (a, f"u{b}"))
            case 1:
                cursor.execute("UPDATE t SET v=v+1 WHERE id BETWEEN %s AND %s", (a, a + 5))
            case 2:
                cursor.execute("UPDATE IGNORE t SET id=%s WHERE id=%s", (b, a))
            case 3:
                cursor.execute("DELETE FROM t WHERE id=%s", (a,))
            case 4:
                cursor.execute("UPDATE IGNORE t SET u=%s WHERE id=%s", (f"u{b}", a))
            case 5:
                cursor.execute("REPLACE INTO t VALUES (%s,%s,1)", (a, f"u{b}"))
            case 6:
                cursor.execute("SAVEPOINT s")
                cursor.execute("UPDATE t SET v=-1")
                cursor.execute("ROLLBACK TO s")


CHURNED = "CREATE TABLE t (id INT PRIMARY KEY, u VARCHAR(9), v INT, UNIQUE KEY (u)) COLLATE utf8mb4_bin"
FILL = (
    "INSERT INTO t WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i+1 FROM n WHERE i < 100)"
    " SELECT i, CONCAT('u',i), 0 FROM n"
)


@pytest.mark.parametrize("route", ROUTES, ids=str)
@pytest.mark.parametrize("unique", [False, True], ids=["", "unique"])
def test_copy_under_load(servers: Servers, route: Any, unique: bool) -> None:
    """A table copied in chunks of 7 while 4 writers change it, its keys and its unique values, is equal after the next
    runs, with and without the unique key in the target.
    """
    world = pair(servers, route)
    world.limits |= {"chunk_rows_max": 7, "copy_window_rows": 7, "batch_rows_max": 20, "snapshot_slice_s": 0.05}
    world.on_source(CHURNED, FILL)
    if unique:
        world.on_target(CHURNED)
    with writers(world, 4, churn):
        for again in range(4):
            world.run("t", copy_again=again > 0)
    world.run("t")
    world.assert_same("t")


def test_interrupted_copies(world: Pair) -> None:
    """A copy that is interrupted after every few chunks, with changes in between, resumes where it was and is equal at
    the end; chunks are not read twice.
    """
    world.on_source(CHURNED, FILL)
    world.on_target(CHURNED)
    copied = interruptions = 0
    for at in (1, 2, 3, 2, 2, 1, 2, 30):
        try:
            results = world.run("t", call_at(at, interrupt))
            copied += results["a.t"].rows_snapshotted
            break
        except Interrupted:
            interruptions += 1
        with world.source_session() as connection, connection.cursor() as cursor:
            chance = random.Random(at)
            for _ in range(20):
                with contextlib.suppress(pymysql.MySQLError):
                    churn(cursor, chance)
    assert interruptions >= 5
    assert 0 < int(world.checkpoint("a.t")["rows_snapshotted"]) < 200
    world.run("t")
    world.assert_same("t")


def test_killed_process(world: Pair, tmp_path: Path) -> None:
    """A process killed (SIGKILL) in the middle of a copy leaves a checkpoint from which another one goes on."""
    world.chunks_of(2)
    world.on_source(CHURNED, FILL)
    program = tmp_path / "program.py"
    program.write_text(
        "import time\n"
        "from myrepetl_dagster.core import from_dict, replicate\n"
        "def slow(p): print(p.rows_snapshotted, flush=True); time.sleep(0.05)\n"
        f"replicate(from_dict({world.config({'a.t': {'target_table': 'b.t'}})!r}), on_progress=slow)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, str(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        while int(process.stdout.readline() or 99) < 10:
            pass
        os.kill(process.pid, signal.SIGKILL)
    held = len(world.target_rows("t"))
    assert 10 <= held < 100
    world.on_source("UPDATE t SET v=5 WHERE id < 20", "DELETE FROM t WHERE id IN (1, 99)")
    results = world.run("t")
    assert results["a.t"].rows_snapshotted < 100 - held + 2 * 8  # windows that were under way are copied again
    world.assert_same("t")


def test_copy_again(world: Pair) -> None:
    """`copy_again` deletes rows that the source no longer has, corrects those that differ, and leaves a good place
    to go on from.
    """
    world.on_source(CHURNED, FILL)
    world.run("t")
    world.on_source("SET sql_log_bin=0", "DELETE FROM t WHERE id % 3 = 0", "UPDATE t SET v=9 WHERE id < 10")
    world.on_target("INSERT INTO t VALUES (-5,'stray',0),(500,'stray2',0)")
    world.run("t")
    assert len(world.target_rows("t")) == 102
    result = world.run("t", copy_again=True)["a.t"]
    assert result.rows_snapshotted == 67
    world.assert_same("t")
    world.on_source("INSERT INTO t VALUES (1000,'x',1)")
    assert world.run("t")["a.t"].rows_snapshotted == 0
    world.assert_same("t")


def test_interrupted_copy_again(world: Pair) -> None:
    """A new copy interrupted while it sweeps goes on sweeping; rows that came meanwhile stay."""
    world.on_source(CHURNED, FILL)
    world.run("t")
    world.on_source("SET sql_log_bin=0", "DELETE FROM t WHERE id % 2 = 0")
    for at in (1, 3, 9):
        with pytest.raises(Interrupted):
            world.run("t", call_at(at, interrupt), copy_again=at == 1)
        world.on_source(f"INSERT INTO t VALUES ({at * 1000},'new{at}',1)", f"DELETE FROM t WHERE id={at}")
    world.run("t")
    world.assert_same("t")


def test_table_added_later(world: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table added later is copied while the others go on from their own checkpoints, by one stream of the log."""
    opened: list[object] = []
    read_log = MySQLSource.read_log

    def counted(*args: Any, **kwargs: Any) -> Any:
        opened.append(args)
        return read_log(*args, **kwargs)

    monkeypatch.setattr(MySQLSource, "read_log", counted)
    world.on_source(CHURNED, FILL, "CREATE TABLE t2 LIKE t", "CREATE TABLE t3 LIKE t")
    world.run("t t2")
    world.on_source("INSERT INTO t2 SELECT * FROM t", "DELETE FROM t WHERE id > 90", "INSERT INTO t3 SELECT * FROM t")
    opened.clear()
    results = world.run("t t2 t3")
    assert len(opened) == 1
    assert (results["a.t"].rows_snapshotted, results["a.t"].changes_applied) == (0, 10)
    assert (results["a.t2"].rows_snapshotted, results["a.t2"].changes_applied) == (0, 100)
    assert results["a.t3"].rows_snapshotted == 90
    for table in ("t", "t2", "t3"):
        world.assert_same(table)
    opened.clear()
    world.on_source("UPDATE t SET v=1 WHERE id=1", "UPDATE t2 SET v=1 WHERE id=1", "UPDATE t3 SET v=2")
    world.run("t t2 t3")
    assert len(opened) == 1


def test_one_mapping_at_a_time(world: Pair) -> None:
    """Mappings run one by one fall apart in the log and come together again; each change is applied once to each."""
    world.on_source(CHURNED, FILL, "CREATE TABLE t2 LIKE t")
    pipeline = world.pipeline("t t2")
    world.run(pipeline)
    for step in range(3):
        world.on_source(f"INSERT INTO t2 VALUES ({step},'a{step}',0)", f"UPDATE t SET v=v+1 WHERE id={step + 1}")
        assert world.run(pipeline, mappings=["a.t"])["a.t"].changes_applied == 1
    assert world.target_rows("t2") == []
    results = world.run(pipeline)
    assert (results["a.t"].changes_applied, results["a.t2"].changes_applied) == (0, 3)
    world.assert_same("t")
    world.assert_same("t2")
    assert world.checkpoint("a.t")["log_offset_bytes"] == world.checkpoint("a.t2")["log_offset_bytes"]


def test_rotation_while_copying(world: Pair) -> None:
    """New log files while a copy runs, and before it resumes, neither hang it nor keep it from ending."""
    world.limits["control_timeout_s"] = 5
    world.on_source(CHURNED, FILL)
    with pytest.raises(Interrupted):
        world.run("t", call_at(3, interrupt))
    world.on_source("FLUSH BINARY LOGS")
    with pytest.raises(Interrupted):
        world.run("t", call_at(2, interrupt))
    world.on_source("UPDATE t SET v=1 WHERE id=1", "FLUSH BINARY LOGS", "FLUSH BINARY LOGS")
    world.limits["snapshot_slice_s"] = 0.001  # the log is applied up to the new file, then the copy goes on

    def rotate(_: Progress) -> None:
        world.on_source("FLUSH BINARY LOGS")

    world.run("t", rotate)
    world.assert_same("t")


def test_slices_shorter_than_a_step(world: Pair) -> None:
    """A copy ends although each of its steps takes longer than a slice, by key and in one read, with a sweep."""
    world.limits |= {"snapshot_slice_s": 1e-6, "chunk_rows_max": 60, "copy_window_rows": 60}
    world.on_source("CREATE TABLE n (k INT, v INT)", "INSERT INTO n VALUES (1,1),(2,2)", CHURNED, FILL)
    mapping = {"a.t": {"target_table": "b.t"}, "a.n": {"target_table": "b.n", "primary_key": "k"}}
    commits: list[str] = []
    world.run(mapping, lambda progress: commits.append(progress.mapping))
    assert len(commits) < 20
    world.on_target("INSERT INTO n VALUES (5,5)")
    world.run(mapping, copy_again=True)
    world.assert_same("t")
    world.assert_same("n")


def test_big_key_types_in_chunks(world: Pair) -> None:
    """Keys of dates, decimals, bytes and text under a collation that ignores case go by chunks of 2."""
    world.chunks_of(2)
    kinds = {
        "d": ("DECIMAL(10,3)", "-1.5", "0", "10.001", "9.5"),
        "dt": ("DATETIME(6)", "'2020-01-01 00:00:00.000001'", "'1999-12-31'", "'2020-01-01'"),
        "ts": ("TIMESTAMP(3)", "'2020-01-01 00:00:00.001'", "'2020-10-25 02:30:00'", "'2020-10-25 01:30:00'"),
        "ti": ("TIME(2)", "'-01:00:00.25'", "'100:00:00'", "'-100:00:00'"),
        "b": ("VARBINARY(9)", "x'00'", "x'FF00'", "x'27'", "x'5C'", "''"),
        "c": (
            "VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
            "'b'",
            "'A'",
            "'c'",
            "'É'",
            "'it''s'",
            "'\\\\'",
            "''",
        ),
        "l": ("CHAR(9) CHARACTER SET latin1", "'ÿ'", "'a'", "'B'", "'_%'"),
        "e": ("ENUM('z','a','m')", "'a'", "'z'", "'m'"),
        "y": ("YEAR", "2001", "1999", "2155"),
        "u": ("BIGINT UNSIGNED", "18446744073709551615", "0", "9223372036854775808"),
        "bit_": ("BIT(12)", "b'1'", "b'111111111111'", "b'10'"),
        "f": ("DOUBLE", "0.1", "-1e300", "3"),
    }
    for name, (definition, *values) in kinds.items():
        rows = ", ".join(f"({value}, 0)" for value in values)
        world.on_source(
            f"CREATE TABLE k_{name} (k {definition} PRIMARY KEY, v INT)", f"INSERT INTO k_{name} VALUES {rows}"
        )
        if name == "c":
            world.on_target(f"CREATE TABLE k_{name} (k {definition} PRIMARY KEY, v INT)")
    tables = " ".join(f"k_{name}" for name in kinds)
    world.run(tables)
    for name, (_, *values) in kinds.items():
        world.on_source(f"UPDATE k_{name} SET v=7 WHERE k={values[0]}", f"DELETE FROM k_{name} WHERE k={values[1]}")
    world.run(tables)
    for name in kinds:
        world.assert_same(f"k_{name}", columns="HEX(k), v" if name in ("b", "bit_") else "*")
    for name in kinds:  # and a second copy over the first
        world.on_target(f"DELETE FROM k_{name} LIMIT 1")
    world.run(tables, copy_again=True)
    for name in kinds:
        world.assert_same(f"k_{name}", columns="HEX(k), v" if name in ("b", "bit_") else "*")
