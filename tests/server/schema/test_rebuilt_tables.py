"""Source tables that are dropped and made again, or whose columns are: copied again by themselves under `evolve`."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pymysql
import pytest
from schema_changes import CREATE, Altering, altering, columns_of
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.diagnostics.status import status
from myrepetl_dagster.core.model.errors import PrerequisiteError, ReplicationError, SchemaDrift
from myrepetl_dagster.core.replication.run import SourceRun

pytestmark = pytest.mark.versions_in_soak

PATIENCE_S = 30.0
ROWS = ("INSERT INTO t (id, a, b) VALUES (1, 1, '1'), (2, 2, '2'), (3, NULL, NULL)",)
LOAD = "INSERT INTO t (id, a, b) VALUES (2, 20, '20'), (9, 90, '90')"
MARIADB_ONLY = "MariaDB: "

REBUILDS: dict[str, tuple[str, ...]] = {
    "same columns": ("DROP TABLE IF EXISTS t", CREATE, LOAD),
    "same rows": ("DROP TABLE t", CREATE, *ROWS),
    "no rows": ("DROP TABLE t", CREATE),
    "other columns": (
        "DROP TABLE t", "CREATE TABLE t (c DATE, id INT PRIMARY KEY, b TEXT)", "INSERT INTO t VALUES ('2026-01-01', 2, 'x')",
    ),
    "other types": (
        "DROP TABLE t", "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(20), b INT)",
        "INSERT INTO t VALUES (1, '007', 7), (4, 'x', NULL)",
    ),
    "a type that no text converts to": (
        "DROP TABLE t", "CREATE TABLE t (id INT PRIMARY KEY, a POINT, b DATETIME(6))",
        "INSERT INTO t VALUES (1, ST_GeomFromText('POINT(1 2)'), '2026-01-01 00:00:00.5')",
    ),
    "key of another type": (
        "DROP TABLE t", "CREATE TABLE t (id VARCHAR(36) PRIMARY KEY, a INT, b VARCHAR(40))",
        "INSERT INTO t VALUES ('1', 5, 'five'), ('one', 6, 'six')",
    ),
    "created as a SELECT": (
        "CREATE TABLE m AS SELECT id+1 AS id, a, b FROM t", "DROP TABLE t",
        "CREATE TABLE t (PRIMARY KEY (id)) AS SELECT * FROM m",
    ),
    "created like another": (
        "CREATE TABLE m LIKE t", "ALTER TABLE m ADD c INT DEFAULT 4", "DROP TABLE t", "CREATE TABLE t LIKE m", LOAD,
    ),
    "renamed in two statements": (
        "CREATE TABLE n (id INT PRIMARY KEY, a BIGINT, b VARCHAR(40), c INT)", "INSERT INTO n VALUES (2, 3, 'x', 4)",
        "RENAME TABLE t TO old", "RENAME TABLE n TO t",
    ),
    "renamed by ALTER": (
        "CREATE TABLE n LIKE t", "INSERT INTO n VALUES (2, 3, 'x')", "ALTER TABLE t RENAME TO old",
        "ALTER TABLE n RENAME TO t",
    ),
    "renamed and made again": ("RENAME TABLE t TO old", CREATE, "INSERT INTO t SELECT * FROM old WHERE id < 3"),
    "truncated and loaded": ("TRUNCATE TABLE t", LOAD),
    "database dropped and restored": ("DROP DATABASE {db}", "CREATE DATABASE {db}", "USE {db}", CREATE, LOAD),
    "twice": ("DROP TABLE t", CREATE, LOAD, "DROP TABLE t", "CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT, c INT)",
              "INSERT INTO t VALUES (5, 5, 5, 5)"),
    "twice, back to the first": (
        "DROP TABLE t", "CREATE TABLE t (id INT PRIMARY KEY, z INT)", "INSERT INTO t VALUES (7, 7)", "DROP TABLE t",
        CREATE, LOAD,
    ),
    f"{MARIADB_ONLY}CREATE OR REPLACE": (CREATE.replace("CREATE", "CREATE OR REPLACE"), LOAD),
    f"{MARIADB_ONLY}CREATE OR REPLACE as a SELECT": (
        "CREATE TABLE m AS SELECT id+1 AS id, a, b FROM t",
        "CREATE OR REPLACE TABLE t (PRIMARY KEY (id)) AS SELECT id, a, 5 AS c FROM m",
    ),
    "column of another type in one statement": (
        "ALTER TABLE t DROP COLUMN b, ADD COLUMN b INT", "UPDATE t SET b=5 WHERE id=2",
    ),
    "column of another type in two statements": (
        "ALTER TABLE t DROP COLUMN b", "UPDATE t SET a=8", "ALTER TABLE t ADD COLUMN b INT NOT NULL DEFAULT 4",
        "UPDATE t SET b=5 WHERE id=2",
    ),
    "empty column of another type": (
        "UPDATE t SET b=NULL", "ALTER TABLE t DROP COLUMN b", "ALTER TABLE t ADD COLUMN b INT",
        "UPDATE t SET b=5 WHERE id=2",
    ),
    "column made of another type": ("ALTER TABLE t MODIFY b INT", "UPDATE t SET b=-1 WHERE id=2"),
    "column renamed and made of another type": (
        "ALTER TABLE t CHANGE a z VARCHAR(9)", "UPDATE t SET z='007' WHERE id=2",
    ),
    "key column anew": (
        "ALTER TABLE t DROP PRIMARY KEY, DROP COLUMN id, ADD COLUMN id INT PRIMARY KEY AUTO_INCREMENT",
    ),
}  # fmt: skip


def for_flavour(name: str, flavour: Flavour) -> None:
    if name.startswith(MARIADB_ONLY) and flavour != "mariadb":
        pytest.skip("MariaDB only")


def statements_of(t: Altering, name: str) -> tuple[str, ...]:
    return tuple(one.replace("{db}", f"`{t.pair.source_schema}`") for one in REBUILDS[name])


def until(true: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end_s, what
        time.sleep(0.05)


def is_equal(t: Altering, table: str = "t") -> bool:
    try:
        t.assert_equal(table)
    except (AssertionError, pymysql.MySQLError):
        return False
    return True


@pytest.mark.parametrize("name", REBUILDS)
def test_between_two_runs(servers: Servers, flavour: Flavour, name: str) -> None:
    """A table that is rebuilt while no run goes on is equal after the next one, and copied no further time."""
    for_flavour(name, flavour)
    t = altering(servers, flavour, CREATE, ROWS)
    t.run()
    t.on_source("UPDATE t SET a=7 WHERE id=1", *statements_of(t, name))
    t.run()
    t.assert_equal()
    t.on_source("DELETE FROM t LIMIT 1")
    assert not t.copied(t.run())
    t.assert_equal()


FOLLOWED = [
    "same columns", "other types", "key of another type", "created as a SELECT", "renamed in two statements",
    "database dropped and restored", "twice", "column of another type in two statements",
    f"{MARIADB_ONLY}CREATE OR REPLACE as a SELECT",
]  # fmt: skip


@pytest.mark.parametrize("name", FOLLOWED)
def test_while_a_run_follows(servers: Servers, flavour: Flavour, name: str) -> None:
    """So is one that is rebuilt while a run follows, though the run may look between two of the statements."""
    for_flavour(name, flavour)
    t = altering(servers, flavour, CREATE, ROWS)
    pipeline = t.pair.pipeline(t.mapping)
    t.run()
    run = SourceRun(pipeline, pipeline.mappings, follow_s=PATIENCE_S * 2)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run.run)
        t.on_source("INSERT INTO t VALUES (50, 50, '50')")
        until(lambda: is_equal(t), "the run does not follow")
        with t.pair.source_session() as session, session.cursor() as cursor:
            for statement in statements_of(t, name):
                cursor.execute(statement)
                time.sleep(0.1)  # so that the run comes by
        t.on_source("DELETE FROM t LIMIT 1")
        until(lambda: run.results["a.t"].error is not None or is_equal(t), f"not equal: {run.results}")
        run.follow_until_s = time.monotonic()
        (result,) = running.result()
    assert result.error is None
    t.assert_equal()


@pytest.mark.parametrize("first", [False, True], ids=["in a later run", "in the first run"])
def test_dropped_for_good(servers: Servers, flavour: Flavour, first: bool) -> None:
    """A dropped table stops its own mapping, with the target's rows left as they were. Made again, it is copied."""
    t = altering(servers, flavour, CREATE, ROWS)
    t.mapping["a.u"] = {"target_table": "b.u"}
    t.on_source("CREATE TABLE u (id INT PRIMARY KEY)")
    pipeline = t.pair.pipeline(t.mapping)
    if not first:
        t.pair.run(pipeline)
    run = SourceRun(pipeline, pipeline.mappings, follow_s=PATIENCE_S * 2)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run.run)
        t.on_source("INSERT INTO u VALUES (1)")
        until(lambda: is_equal(t, "u"), "the run does not follow")
        held = t.pair.target_rows("t")
        t.on_source("DROP TABLE t", "INSERT INTO u VALUES (2)")
        until(lambda: t.pair.target_rows("u") == [(1,), (2,)], "the other mapping does not go on")
        until(lambda: run.results["a.t"].error is not None, "the mapping does not stop")
        run.follow_until_s = time.monotonic()
        running.result()
    assert isinstance(run.results["a.t"].error, SchemaDrift)
    assert "made again" in run.results["a.t"].error.hint
    for number in (3, 4):
        t.on_source(f"INSERT INTO u VALUES ({number})")
        results = t.pair.try_run(pipeline)
        assert isinstance(results["a.t"].error, SchemaDrift)
        assert "made again" in results["a.t"].error.hint
        t.assert_equal("u")
    assert t.pair.target_rows("t") == held
    (shown,) = (one for one in status(pipeline).mappings if one.mapping == "a.t")
    assert shown.stopped
    assert shown.last_error == str(results["a.t"].error)
    t.on_source("CREATE TABLE t (id INT PRIMARY KEY, b INT, n BIGINT)", "INSERT INTO t VALUES (2, 3, 5)")
    results = t.pair.run(pipeline)
    assert results["a.t"].rows_snapshotted == 1
    assert results["a.u"].rows_snapshotted == 0
    t.assert_equal()


@pytest.mark.parametrize("mend", ["snapshot job", "evolve"])
@pytest.mark.parametrize("policy", ["ignore", "fail"])
@pytest.mark.parametrize("name", ["renamed and made again", "database dropped and restored"])
def test_other_policies(servers: Servers, flavour: Flavour, policy: str, name: str, mend: str) -> None:
    """`ignore` and `fail` stop, and each of the two things that the hint names mends it."""
    t = altering(servers, flavour, CREATE, ROWS, schema_policy=policy)
    t.run()
    held = t.pair.target_rows("t")
    t.on_source(*statements_of(t, name))
    for _ in range(2):
        error = t.error()
        assert isinstance(error, SchemaDrift)
        assert "schema_policy: evolve" in error.hint
        assert "snapshot" in error.hint
    assert t.pair.target_rows("t") == held
    if mend == "evolve":
        t.mapping["a.t"]["schema_policy"] = "evolve"
    assert t.copied(t.run(copy_again=mend != "evolve"))
    t.assert_equal()
    t.on_source("UPDATE t SET a=77")
    assert not t.copied(t.run())
    t.assert_equal()


def test_with_another_key(servers: Servers, flavour: Flavour) -> None:
    """A table made again with another key waits for that key in the target; the statement is in the hint."""
    t = altering(servers, flavour, CREATE, ROWS)
    t.run()
    t.on_source("DROP TABLE t", "CREATE TABLE t (id INT, a INT, b VARCHAR(40), PRIMARY KEY (id, a))")
    t.on_source("INSERT INTO t VALUES (1, 1, 'x'), (1, 2, 'y')")
    t.pair.target.execute(f"UPDATE {t.pair.target_schema}.t SET a=0 WHERE a IS NULL")  # in a key there is no NULL
    for _ in range(2):
        error = t.error()
        assert isinstance(error, PrerequisiteError), error
    statement = error.hint.partition(", or correct")[0]
    t.pair.on_target(statement)
    assert t.copied(t.run())
    t.assert_equal()


@pytest.mark.parametrize(
    "statements",
    [
        ("ALTER TABLE t MODIFY id BIGINT UNSIGNED", "ALTER TABLE t RENAME COLUMN id TO n"),
        ("DROP TABLE t", "CREATE TABLE t (n BIGINT PRIMARY KEY, a INT)", "INSERT INTO t VALUES (1, 5), (77, 6)"),
        ("DROP TABLE t", "CREATE TABLE t (n VARCHAR(9) CHARACTER SET ascii PRIMARY KEY)", "INSERT INTO t VALUES ('x')"),
    ],
    ids=["altered", "rebuilt", "of another kind"],
)
def test_with_another_name_of_the_key(servers: Servers, flavour: Flavour, statements: tuple[str, ...]) -> None:
    """The target's key gets the name, and the rows come with the new copy."""
    t = altering(servers, flavour, CREATE, ROWS)
    t.run()
    t.on_source(*statements, "DELETE FROM t WHERE n='2'")
    assert t.copied(t.run())
    t.assert_equal()


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize(
    "change", ["DROP PRIMARY KEY, ADD PRIMARY KEY (a)", "DROP PRIMARY KEY, DROP COLUMN id, ADD PRIMARY KEY (a)"]
)
def test_with_another_column_as_the_key(servers: Servers, flavour: Flavour, change: str, dropped: bool) -> None:
    """The hint works as it is written, by its statement and by its other way."""
    t = altering(
        servers,
        flavour,
        "CREATE TABLE t (id INT DEFAULT 0 PRIMARY KEY, a INT, b INT)",
        ("INSERT INTO t VALUES (1, 1, 1)",),
    )
    t.run()
    t.on_source(f"ALTER TABLE t {change}", "INSERT INTO t (a, b) VALUES (2, 1)")
    t.on_source("UPDATE t SET id=1" if "COLUMN" not in change else "UPDATE t SET b=5")
    error = t.error(copy_again=["a.t"])
    assert isinstance(error, PrerequisiteError), error
    assert "`snapshot` job" in error.hint
    t.pair.on_target("DROP TABLE t" if dropped else error.hint.partition(", or correct")[0])
    t.run(copy_again=["a.t"])
    t.assert_equal()


@pytest.mark.parametrize("way", ["rebuilt", "converted"])
def test_with_another_collation_of_the_key(servers: Servers, flavour: Flavour, way: str) -> None:
    """Rows that are two by the key's new collation are two in the target."""
    create = "CREATE TABLE t (k VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_{} PRIMARY KEY, v INT)"
    t = altering(servers, flavour, create.format("general_ci"), ("INSERT INTO t VALUES ('a', 1)",))
    t.run()
    if way == "rebuilt":
        t.on_source("DROP TABLE t", create.format("bin"), "INSERT INTO t VALUES ('a', 1)")
    else:
        t.on_source("ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
    t.on_source("INSERT INTO t VALUES ('A', 2)")
    t.run()
    t.assert_equal()


def test_without_a_key(servers: Servers, flavour: Flavour) -> None:
    """A table made again without a key waits for one."""
    t = altering(servers, flavour, CREATE, ROWS)
    t.run()
    t.on_source("DROP TABLE t", "CREATE TABLE t (id INT, a INT, b VARCHAR(40))", "INSERT INTO t VALUES (1, 1, 'x')")
    for _ in range(2):
        error = t.error()
        assert isinstance(error, PrerequisiteError), error
        assert "primary key" in error.hint
    t.on_source("INSERT INTO t VALUES (2, 2, 'y')", "ALTER TABLE t ADD PRIMARY KEY (id)")
    assert t.copied(t.run())
    t.assert_equal()


MAPPED: dict[str, dict[str, Any]] = {
    "filter": {"filter": {"a": {"gt": 1}}},
    "transform": {
        "primary_key": "id",
        "schema_policy": "evolve",
        "column_mapping": {"id": "id", "a": "a", "b": {"column": "b", "transform": "transform.uppercase"}},
    },
    "transformed key": {
        "primary_key": "b",
        "schema_policy": "evolve",
        "column_mapping": {"b": {"column": "b", "transform": "transform.uppercase"}, "a": "a"},
    },
    "init_query": {"init_query": "SELECT * FROM t WHERE id > 0"},
}


@pytest.mark.parametrize("name", ["renamed in two statements", "twice, back to the first"])
@pytest.mark.parametrize("kind", MAPPED)
def test_mapped_with_more(servers: Servers, flavour: Flavour, kind: str, name: str) -> None:
    """So is a table of two mappings, one of which has a filter, a transform or an init_query."""
    t = altering(servers, flavour, CREATE.replace("b VARCHAR(40)", "b VARCHAR(40) NOT NULL DEFAULT 'none'"), ())
    t.on_source("INSERT INTO t (id, a, b) VALUES (1, 1, 'q1'), (2, 2, 'q2'), (3, NULL, 'q3')")
    t.mapping["second"] = {"source_table": "a.t", "target_table": "b.second", **MAPPED[kind]}
    pipeline = t.pair.pipeline(t.mapping)
    t.pair.run(pipeline)
    t.on_source("UPDATE t SET a=7 WHERE id=1", *statements_of(t, name), "UPDATE t SET a=a+1")
    for _ in range(2):
        t.pair.run(pipeline)
        t.assert_equal()
        columns, where = {
            "filter": ("id, a, b", "a > 1"),
            "transform": ("id, a, UPPER(b)", "TRUE"),
            "transformed key": ("UPPER(b), a", "TRUE"),
            "init_query": ("id, a, b", "TRUE"),
        }[kind]
        assert t.pair.target_rows("second", columns) == t.pair.source_rows("t", columns, where)
        t.on_source("DELETE FROM t LIMIT 1")


def test_a_type_of_the_targets_own(servers: Servers, flavour: Flavour) -> None:
    """A target column that had another kind of type than the source's stops the mapping if the source's changes."""
    t = altering(servers, flavour, CREATE, ROWS)
    t.pair.on_target("CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(30), b VARCHAR(40))")
    t.run()
    t.on_source("DROP TABLE t", "CREATE TABLE t (id INT PRIMARY KEY, a DATE)", "INSERT INTO t VALUES (1, '2026-01-01')")
    error = t.error()
    assert isinstance(error, ReplicationError)
    assert "column a is now date" in str(error)
    assert columns_of(t.pair)["a"] == "varchar(30)"
    t.pair.on_target("UPDATE t SET a=NULL", "ALTER TABLE t MODIFY a DATE")
    t.run(copy_again=True)
    t.assert_equal()
