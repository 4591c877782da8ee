"""What the log brings is applied exactly: keys that move, values that change hands, work that was rolled back."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from pipelines import ROUTES, SOURCES, Interrupted, Pair, call_at, interrupt, pair
from server_farm import Servers

from myrepetl_dagster.core.model.errors import RowRejected
from myrepetl_dagster.core.replication.result import Progress

MIRRORED = "CREATE TABLE t (id INT PRIMARY KEY, u VARCHAR(20), v INT, UNIQUE KEY (u)) COLLATE utf8mb4_bin"
ROWS = "INSERT INTO t VALUES (1,'a',1),(2,'b',2),(3,'c',3),(4,NULL,4),(5,NULL,5)"


@pytest.fixture(params=SOURCES, ids=str)
def world(request: pytest.FixtureRequest, servers: Servers) -> Pair:
    return pair(servers, request.param)


def started(world: Pair, definition: str = MIRRORED, rows: str = ROWS, target: str = "") -> Pair:
    world.on_source(definition, rows)
    world.on_target(target or definition)
    world.run("t")
    return world


def in_one_transaction(world: Pair, *statements: str) -> None:
    world.on_source("BEGIN", *statements, "COMMIT")


SWAPS: dict[str, tuple[str, ...]] = {
    "key moves": ("UPDATE t SET id=10 WHERE id=1",),
    "keys swap by a third": ("UPDATE t SET id=99 WHERE id=1", "UPDATE t SET id=1 WHERE id=2",
    "UPDATE t SET id=2 WHERE id=99"),
    "all keys shift": ("UPDATE t SET id=id+1 ORDER BY id DESC",),
    "unique values swap by a third": (
        "UPDATE t SET u='tmp' WHERE id=1", "UPDATE t SET u='a' WHERE id=2", "UPDATE t SET u='b' WHERE id=1",
    ),
    "unique values swap by NULL": (
        "UPDATE t SET u=NULL WHERE id=1", "UPDATE t SET u='a' WHERE id=2", "UPDATE t SET u='b' WHERE id=1",
    ),
    "unique values shift in one statement": ("UPDATE t SET u=CHAR(ASCII(u)+1) WHERE u IS NOT NULL ORDER BY u DESC",),
    "a deleted row's value goes to a new row": ("DELETE FROM t WHERE id=1", "INSERT INTO t VALUES (7,'a',7)"),
    "a row takes another's value and key": ("DELETE FROM t WHERE id=1", "UPDATE t SET id=1, u='a' WHERE id=3"),
    "replace of two rows by one": ("REPLACE INTO t VALUES (1,'b',9)",),
    "insert, change and delete": ("INSERT INTO t VALUES (8,'h',8)", "UPDATE t SET u='i' WHERE id=8",
    "DELETE FROM t WHERE id=8"),
    "delete and insert the same": ("DELETE FROM t WHERE id=2", "INSERT INTO t VALUES (2,'b',22)"),
}  # fmt: skip


@pytest.mark.parametrize("together", [True, False], ids=["one transaction", "several"])
def test_keys_and_unique_values_that_change_hands(world: Pair, together: bool) -> None:
    """Keys and unique values move between rows, inside one transaction and across several, one run or many."""
    started(world)
    for name, statements in SWAPS.items():
        world.on_source("DELETE FROM t", ROWS)
        world.run("t")
        if together:
            in_one_transaction(world, *statements)
        else:
            world.on_source(*statements)
        world.run("t")
        assert world.target_rows("t") == world.source_rows("t"), name
    for statements in SWAPS.values():  # and all of it in one run
        world.on_source("DELETE FROM t", ROWS, *statements)
    world.limits["batch_rows_max"] = 3
    world.run("t")
    world.assert_same("t")


def test_stricter_target(world: Pair) -> None:
    """A unique key that only the target has stops the mapping at the row that breaks it, named by table and key; no
    other row is touched, and nothing of that transaction stays.
    """
    plain = "CREATE TABLE t (id INT PRIMARY KEY, u VARCHAR(20), v INT) COLLATE utf8mb4_bin"
    started(world, plain, target=MIRRORED)
    world.on_source("UPDATE t SET v=100 WHERE id=1", "UPDATE t SET u='z' WHERE id=3")
    world.run("t")
    before = world.target_rows("t")
    in_one_transaction(world, "INSERT INTO t VALUES (6,'f',6)", "UPDATE t SET u='a' WHERE id=2")
    error = world.error("t")
    assert isinstance(error, RowRejected)
    assert f"{world.target_schema}.t" in str(error)
    assert "another row of the target holds this row's value of (u)" in str(error)
    assert "key id=2 [1062] Hint: Drop the target's unique key" in str(error)
    assert "'a'" not in str(error)
    assert world.target_rows("t") == before
    world.on_source("UPDATE t SET u='free' WHERE id=2")
    assert isinstance(world.error("t"), RowRejected)  # the log still holds the conflict
    world.on_target("ALTER TABLE t DROP KEY u")
    world.run("t")
    world.assert_same("t")


def test_a_conflict_names_the_row_as_people_write_it(world: Pair) -> None:
    """Of a text key the error shows the text, not the literal of our statement, and nothing of the server's words."""
    plain = "CREATE TABLE t (id VARCHAR(20) PRIMARY KEY, u VARCHAR(20)) COLLATE utf8mb4_bin"
    target = "CREATE TABLE t (id VARCHAR(20) PRIMARY KEY, u VARCHAR(20), UNIQUE KEY (u)) COLLATE utf8mb4_bin"
    started(world, plain, "INSERT INTO t VALUES ('one','held'),('two','b')", target)
    world.on_source("UPDATE t SET u='held' WHERE id='two'")
    error = world.error("t")

    assert error.code == 1062
    assert "key id='two' [" in str(error)
    for never in ("1690", "RANGE", "_utf8mb4", "held'", "Duplicate"):
        assert never not in str(error)


def test_surrogate_key_in_the_target(world: Pair) -> None:
    """A target with its own AUTO_INCREMENT key and a unique key for the mapping's keeps one row for each."""
    target = "CREATE TABLE t (n INT AUTO_INCREMENT PRIMARY KEY, id INT NOT NULL, u VARCHAR(20), v INT, UNIQUE KEY (id))"
    world.on_source(MIRRORED, ROWS)
    world.on_target(target + " COLLATE utf8mb4_bin")
    world.run("t")
    world.on_source(*SWAPS["keys swap by a third"], "UPDATE t SET v=v+1", "DELETE FROM t WHERE id=5")
    world.run("t")
    world.assert_same("t", columns="id, u, v")


def test_zero_in_an_auto_increment_key(world: Pair) -> None:
    """Key 0 stays 0 in a target whose key is AUTO_INCREMENT, copied or by the log."""
    definition = "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT)"
    world.on_source("SET sql_mode='NO_AUTO_VALUE_ON_ZERO'", definition, "INSERT INTO t VALUES (0,1),(5,5)")
    world.on_target(definition)
    world.run("t")
    world.on_source(
        "SET sql_mode='NO_AUTO_VALUE_ON_ZERO'", "UPDATE t SET id=9 WHERE id=0", "INSERT INTO t VALUES (0,2),(-1,3)"
    )
    world.run("t")
    world.assert_same("t")


def test_letter_case_of_a_key(world: Pair) -> None:
    """Under a collation that ignores case a key that changes from 'a' to 'A' is spelled so in the target, one row."""
    definition = (
        "CREATE TABLE t (k VARCHAR(20) PRIMARY KEY, u INT, UNIQUE KEY (u)) CHARACTER SET utf8mb4 COLLATE"
        " utf8mb4_general_ci"
    )
    started(world, definition, "INSERT INTO t VALUES ('a',1),('b ',2),('É',3)")
    world.on_source("UPDATE t SET k='A' WHERE k='a'")
    world.run("t")
    world.assert_same("t", columns="HEX(k), u")
    in_one_transaction(
        world,
        "UPDATE t SET k='b' WHERE u=2", "UPDATE t SET k='e' WHERE u=3", "DELETE FROM t WHERE k='a'",
        "INSERT INTO t VALUES ('a',4)",
        "UPDATE t SET k='A', u=1 WHERE k='a'",
    )  # fmt: skip
    world.run("t")
    world.assert_same("t", columns="HEX(k), u")
    world.on_source("SET sql_log_bin=0", "UPDATE t SET k='B' WHERE u=2")
    world.run("t", copy_again=True)
    world.assert_same("t", columns="HEX(k), u")


def test_multi_row_events_and_big_statements(world: Pair) -> None:
    """Statements of many rows arrive whole, whatever the batch bounds."""
    world.limits |= {"batch_rows_max": 10, "chunk_rows_max": 100, "copy_window_rows": 100}
    started(world, rows="INSERT INTO t WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i+1 FROM n WHERE i < 900)"
            " SELECT i, CONCAT('u', i), 0 FROM n")  # fmt: skip
    world.on_source("UPDATE t SET v=id, u=CONCAT(u, REPEAT('x', id % 10))", "DELETE FROM t WHERE id % 3 = 0")
    result = world.run("t")["a.t"]
    assert result.changes_applied == 900 + 300
    world.assert_same("t")


def test_readers_never_see_half_of_a_transaction(world: Pair) -> None:
    """A transaction bigger than every batch bound becomes visible in the target at once; one rolled back never."""
    world.limits |= {"batch_rows_max": 5, "batch_bytes_max": 1000}
    started(world, rows="INSERT INTO t WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i+1 FROM n WHERE i < 400)"
            " SELECT i, CONCAT('u', i), 0 FROM n")  # fmt: skip
    in_one_transaction(world, *(f"UPDATE t SET v=1 WHERE id BETWEEN {i} AND {i + 19}" for i in range(1, 400, 20)))
    in_one_transaction(world, *(f"UPDATE t SET v=2 WHERE id={i}" for i in range(1, 401)))
    seen: set[tuple[Any, ...]] = set()
    done = threading.Event()

    def watch() -> None:
        with world.target_session() as connection, connection.cursor() as cursor:
            while not done.is_set():
                cursor.execute("SELECT MIN(v), MAX(v), COUNT(*) FROM t")
                seen.add(cursor.fetchone())

    reader = threading.Thread(target=watch)
    reader.start()
    try:
        world.run("t")
    finally:
        done.set()
        reader.join()
    assert seen <= {(0, 0, 400), (1, 1, 400), (2, 2, 400)}
    world.assert_same("t")


def test_rolled_back_work(world: Pair) -> None:
    """Work undone by ROLLBACK or ROLLBACK TO SAVEPOINT never arrives; changes of a table without transactions that
    the same rolled-back transaction made do, as on the source.
    """
    world.limits["batch_rows_max"] = 2
    started(world)
    world.on_source("CREATE TABLE m (id INT PRIMARY KEY, v INT) ENGINE=MyISAM", "INSERT INTO m VALUES (1,1)")
    world.run("t m")
    world.on_source(
        "BEGIN", "INSERT INTO t VALUES (20,'t',1)", "ROLLBACK",
        "BEGIN", "UPDATE t SET v=50", "SAVEPOINT `s'1`", "DELETE FROM t", "ROLLBACK TO `s'1`",
        "INSERT INTO t VALUES (21,'x',1)", "COMMIT",
    )  # fmt: skip
    world.run("t m")
    world.assert_same("t")
    if not (world.source.flavour == "mysql" and world.gtid):  # which forbids mixing them
        many = [f"INSERT INTO m VALUES ({i},{i})" for i in range(2, 9)]
        changes = [f"INSERT INTO t VALUES ({i},'n{i}',1)" for i in range(30, 39)]
        world.on_source("BEGIN", changes[0], *many, *changes[1:], "UPDATE m SET v=v+1", "ROLLBACK")
        world.on_source(
            "BEGIN", "UPDATE m SET v=0 WHERE id=1", "UPDATE t SET v=51", "INSERT INTO m VALUES (99,9)", "COMMIT"
        )
    else:
        world.on_source("INSERT INTO m VALUES (2,2)", "UPDATE m SET v=v+1")
    world.run("t m")
    world.assert_same("t")
    world.assert_same("m")


def test_truncate(world: Pair) -> None:
    """TRUNCATE empties the target's table, between changes of one run, and while a copy is under way."""
    started(world)
    world.on_source("UPDATE t SET v=9", "TRUNCATE t", "INSERT INTO t VALUES (1,'n',1)", "UPDATE t SET v=2")
    world.run("t")
    world.assert_same("t")
    world.on_source("TRUNCATE TABLE t")
    world.run("t")
    assert world.target_rows("t") == []
    world.on_source(ROWS)
    world.chunks_of(2)
    with pytest.raises(Interrupted):
        world.run("t", call_at(1, interrupt), copy_again=True)
    world.on_source("TRUNCATE t", "INSERT INTO t VALUES (2,'b',7)")
    world.run("t")
    world.assert_same("t")


def test_definitions_of_unmapped_tables(world: Pair) -> None:
    """Whatever happens to tables, schemas and accounts that no mapping names passes by."""
    started(world)
    world.on_source(
        "CREATE TABLE x1 (id INT PRIMARY KEY, v INT)", "ALTER TABLE x1 ADD COLUMN w INT",
        "INSERT INTO x1 VALUES (1,2,3)",
        "INSERT INTO t VALUES (6,'f',6)", "CREATE TABLE x2 AS SELECT * FROM t", "CREATE TABLE x3 LIKE x1",
        "TRUNCATE x1",
        "RENAME TABLE x1 TO x4", "DROP TABLE x2, x3", "CREATE VIEW x5 AS SELECT * FROM t", "DROP VIEW x5",
        "CREATE TEMPORARY TABLE t (id INT)", "INSERT INTO t VALUES (1)", "DROP TEMPORARY TABLE t",
        "UPDATE t SET v=60 WHERE id=6", "CREATE INDEX i ON t (v)", "ANALYZE TABLE t", "OPTIMIZE TABLE t",
        "CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW SET NEW.v = NEW.v + 1", "UPDATE t SET v=1 WHERE id=1",
        "DROP TRIGGER g",
        f"CREATE DATABASE IF NOT EXISTS gone{world.source_schema}", f"DROP DATABASE gone{world.source_schema}",
        f"CREATE USER someone{world.source_schema}@localhost", f"DROP USER someone{world.source_schema}@localhost",
        "FLUSH PRIVILEGES",
    )  # fmt: skip
    world.run("t")
    world.assert_same("t")


def test_generated_columns(world: Pair) -> None:
    """Columns that the source computes arrive, and those that the target computes itself are left to it."""
    definition = "CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT AS (a * 2) STORED, c INT AS (a + 1) VIRTUAL, d INT)"
    world.on_source(definition, "INSERT INTO t (id, a, d) VALUES (1,1,1),(2,NULL,2)")
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT, c INT AS (a + 1) STORED, d INT)")
    mapping = {"a.t": {"target_table": "b.t"}, "made": {"source_table": "a.t", "target_table": "b.made"}}
    world.run(mapping)
    world.on_source("UPDATE t SET a=a+5", "INSERT INTO t (id, a, d) VALUES (3,3,3)", "DELETE FROM t WHERE id=1")
    world.run(mapping)
    world.assert_same("t")
    world.assert_same("t", "made")


def test_dates_that_are_none(world: Pair) -> None:
    """Zero, partial and impossible dates arrive as they are, as values and as keys."""
    mode = "SET sql_mode='ALLOW_INVALID_DATES'"
    world.on_source(
        mode,
        "CREATE TABLE t (d DATE PRIMARY KEY, dt DATETIME(3), ts TIMESTAMP NULL, ti TIME(6))",
        "INSERT INTO t VALUES ('0000-00-00','0000-00-00',0,'-838:59:59'),('2020-00-00','2021-02-31"
        " 23:59:59.999',NULL,'-00:00:00.01')",
    )
    world.run("t")
    world.on_source(mode, "INSERT INTO t SELECT d + INTERVAL 0 DAY, dt, ts, ti FROM t WHERE FALSE",
                    "INSERT INTO t VALUES"
                    " ('2021-02-31','2020-02-00',0,'-00:00:00.000001'),('0000-01-01',NULL,'2038-01-19"
                    " 03:14:07','838:59:59')",
                    "UPDATE t SET ti='00:00:00.5' WHERE d='2020-00-00'")  # fmt: skip
    world.run("t")
    columns = "CAST(d AS CHAR), CAST(dt AS CHAR), CAST(ts AS CHAR), CAST(ti AS CHAR)"
    world.assert_same("t", columns=columns)
    world.on_source(mode, "DELETE FROM t WHERE d='0000-00-00'")
    world.run("t")
    world.assert_same("t", columns=columns)


HOSTILE = (
    "back`tick",
    "quo'te",
    'dou"ble',
    "per%s%%cent",
    "sp ace",
    "üñí😀"[:3],
    "sel;ect",
    "a\\b",
    "-- c",
    "/*x*/",
    "{b}",
)


def test_hostile_names_and_values(world: Pair) -> None:
    """Names of tables and columns, labels and values with quotes, marks, backslashes, comments and other scripts."""

    def quoted(name: str) -> str:
        return "`" + name.replace("`", "``") + "`"

    def text(value: str) -> str:
        return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"

    labels = ", ".join(text(name.replace(",", "")) for name in HOSTILE)
    mapping: dict[str, Any] = {}
    values = (*HOSTILE, "'; DROP TABLE t; --", "%(x)s", "\\'", "\0\n\r\x1a", "😀", "_utf8'x'", "?", "")
    for number, name in enumerate(HOSTILE):
        columns = [f"{quoted(other)} TEXT" for other in HOSTILE]
        world.on_source(
            f"CREATE TABLE {quoted(name)} ({quoted('id`' + name)} VARCHAR(50) COLLATE utf8mb4_bin PRIMARY KEY,"
            f" {', '.join(columns)},"
            f" e ENUM({labels}), s SET({labels})) CHARACTER SET utf8mb4",
            *(f"INSERT INTO {quoted(name)} ({quoted('id`' + name)}, {quoted(HOSTILE[number])}, e, s) VALUES"
              f" ({text(value)}, {text(value)}, {i % len(HOSTILE) + 1}, {i})" for i, value in enumerate(values)),
        )  # fmt: skip
        mapping[f"m{number}%s`'"] = {"source_table": f"a.{name}", "target_table": f"b.{name}"}
    world.chunks_of(3)
    world.run(mapping)
    for number, name in enumerate(HOSTILE):
        world.assert_same(quoted(name))
        world.on_source(
            f"UPDATE {quoted(name)} SET {quoted(HOSTILE[number - 1])}={quoted('id`' + name)}, s=e+0",
            f"DELETE FROM {quoted(name)} WHERE {quoted('id`' + name)}={text(name)}",
            f"UPDATE {quoted(name)} SET {quoted('id`' + name)}=CONCAT({quoted('id`' + name)}, {text(name)})",
        )
    world.run(mapping)
    for name in HOSTILE:
        world.assert_same(quoted(name))
    world.run(mapping, copy_again=True)
    for name in HOSTILE:
        world.assert_same(quoted(name))


def test_hostile_schema(world: Pair) -> None:
    """A target schema whose name holds marks, quotes and other scripts keeps rows and checkpoints."""
    name = f"{world.target_schema}%s`é \"x'"
    quoted = "`" + name.replace("`", "``") + "`"
    world.target.execute(
        f"CREATE DATABASE {quoted}", f"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON {quoted}.* TO writer@'%'"
    )
    world.target_schema = name
    world.on_source(MIRRORED, ROWS)
    world.run("t")
    world.on_source("UPDATE t SET v=0")
    world.run("t")
    world.assert_same("t")


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_commit_is_a_state_of_the_source(servers: Servers, route: Any) -> None:
    """After each commit the target holds exactly what the source held when the checkpoint's last transaction ended.

    Every transaction also puts its number into a second table, and the state after it is recorded.
    """
    world = pair(servers, route)
    world.limits |= {"batch_rows_max": 4, "batch_interval_s_max": 1e-6}
    world.on_source("CREATE TABLE marks (n INT PRIMARY KEY)")
    started(world)
    world.run("t marks")
    scripts = [*SWAPS.values(), *(("UPDATE t SET v=v+1",) for _ in range(5)), ("DELETE FROM t", ROWS)]
    states = {0: world.source_rows("t")}
    for number, statements in enumerate(scripts, 1):
        in_one_transaction(world, "DELETE FROM t", ROWS, *statements, f"INSERT INTO marks VALUES ({number})")
        states[number] = world.source_rows("t")
    commits: list[int] = []

    def check(report: Progress) -> None:
        if report.rows_uncommitted:  # of a transaction that is still being written
            return
        mark = world.on_target("SELECT COALESCE(MAX(n), 0) FROM marks")[0][0]
        assert world.target_rows("t") == states[mark], mark
        commits.append(mark)

    world.run("t marks", check)
    assert commits == sorted(commits)
    assert set(commits) == set(range(1, len(scripts) + 1))
