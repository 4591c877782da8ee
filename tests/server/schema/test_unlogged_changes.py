"""A source table is altered, and the log does not say so: the rows that follow end right, or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from pipelines import pair_of
from schema_changes import Altering, altering
from server_farm import Servers
from servers import Flavour
from type_matrix import METADATA_LEVELS

from myrepetl_dagster.core.model.errors import SchemaDrift, StopRequested
from myrepetl_dagster.core.replication.run import SourceRun

pytestmark = pytest.mark.versions_in_soak

CREATE = (
    "CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT, e ENUM('x','y'), s VARCHAR(9) CHARACTER SET latin1, n INT NOT NULL)"
    " CHARACTER SET utf8mb4"
)
ROWS = ["INSERT INTO t VALUES (1, 10, 20, 'x', 'é', 1), (2, -11, 21, 'y', 'b', 2), (3, 12, 22, NULL, NULL, 3)"]
LEVELS = [(flavour, level) for flavour, levels in METADATA_LEVELS.items() for level in levels]
# What changes, and whether a map that names its columns tells enough.
CHANGES: dict[str, list[str]] = {
    "moved": ["ALTER TABLE t MODIFY a INT AFTER b"],
    "names swapped": ["ALTER TABLE t RENAME COLUMN a TO b, RENAME COLUMN b TO a"],
    "name swapped by way of another": ["ALTER TABLE t RENAME COLUMN a TO c", "ALTER TABLE t RENAME COLUMN b TO a"],
    "one more": ["ALTER TABLE t ADD c INT NOT NULL DEFAULT 7 AFTER id"],
    "one gone, one more": ["ALTER TABLE t DROP b, ADD c INT AFTER id"],
    "unsigned": ["UPDATE t SET a = 1", "ALTER TABLE t MODIFY a INT UNSIGNED"],
    "labels": ["ALTER TABLE t MODIFY e ENUM('y','x')"],
    "character set": ["ALTER TABLE t MODIFY s VARCHAR(9) CHARACTER SET utf8mb4"],
    "no NULL": ["SET sql_mode=''", "UPDATE t SET a = 0 WHERE a IS NULL", "ALTER TABLE t MODIFY a INT NOT NULL"],
    "another place, at once": ["ALTER TABLE t DROP b", "ALTER TABLE t ADD c INT AFTER id, ADD b INT AFTER s"],
    "another table": ["DROP TABLE t", CREATE.replace("a INT, b INT", "b INT, a INT"), *ROWS],
}
WRITES = ["UPDATE t SET a = a + 100 WHERE id = 1", "INSERT INTO t (id, a, e, s, n) VALUES (4, 4000, 'y', 'ü', 4)"]

NAMED = "id, a, n"
PATIENCE_S = 20.0


def eventually(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


@pytest.fixture(params=LEVELS, ids="-".join)
def level(request: pytest.FixtureRequest) -> tuple[Flavour, str]:
    found: tuple[Flavour, str] = request.param
    return found


def unlogged(t: Altering, *statements: str) -> None:
    t.on_source("SET sql_log_bin=0", *statements)


def copied_once(servers: Servers, level: tuple[Flavour, str], **mapping: str) -> Altering:
    flavour, metadata = level
    t = altering(servers, flavour, CREATE, ROWS, options={"binlog_row_metadata": metadata}, **mapping)
    t.run()
    return t


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_between_two_runs(servers: Servers, level: tuple[Flavour, str], change: str) -> None:
    """`evolve` copies the table again, if its rows could be taken for others; afterwards it goes on as before."""
    t = copied_once(servers, level)
    t.on_source("UPDATE t SET n = n + 1")
    unlogged(t, *CHANGES[change])
    t.on_source(*WRITES)
    t.run()
    t.assert_equal()
    t.on_source("UPDATE t SET a = a + 1, n = n + 1", "DELETE FROM t WHERE id = 3")
    assert not t.copied(t.run())
    t.assert_equal()


@pytest.mark.parametrize("policy", ["ignore", "fail"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_may_not_be_followed(
    servers: Servers, level: tuple[Flavour, str], change: str, policy: str
) -> None:
    """The mapping stops before it writes a wrong value. The message names the table, what differs and what mends it."""
    t = copied_once(servers, level, schema_policy=policy)
    t.pair.on_source("CREATE TABLE u (id INT PRIMARY KEY)")
    t.mapping["a.u"] = {"target_table": "b.u"}
    t.run()
    unlogged(t, *CHANGES[change])
    t.on_source(*WRITES, "INSERT INTO u VALUES (1)")
    before = t.pair.target_rows("t")
    results = t.pair.try_run(t.pair.pipeline(t.mapping))
    t.assert_equal("u")
    error = results["a.t"].error
    if error is None:  # by name there is nothing that could be taken for something else
        assert level[1] == "FULL"
        held = set(t.pair.target_rows("t", "id, a, n"))
        assert held == set(t.pair.source_rows("t", "id, a, n"))
        return
    assert isinstance(error, SchemaDrift), error
    assert t.pair.target_rows("t") == before
    assert f"{t.pair.source_schema}.t" in error.message
    assert "`snapshot` job" in error.hint


@pytest.mark.parametrize("policy", ["evolve", "ignore"])
def test_another_expression(servers: Servers, level: tuple[Flavour, str], policy: str) -> None:
    """The log has no expressions. If one has changed, the old rows have other values: a new copy, or a stop."""
    flavour, metadata = level
    create = "CREATE TABLE t (id INT PRIMARY KEY, a INT, g INT AS (a + 1) VIRTUAL)"
    rows = ["INSERT INTO t (id, a) VALUES (1, 1), (2, 2)"]
    t = altering(servers, flavour, create, rows, options={"binlog_row_metadata": metadata}, schema_policy=policy)
    t.run()
    unlogged(t, "ALTER TABLE t MODIFY g INT AS (a + 10) VIRTUAL")
    t.on_source("INSERT INTO t (id, a) VALUES (3, 3)")
    if policy == "ignore":
        assert "`g` int(11) is computed" in str(t.error()).replace("`g` int is", "`g` int(11) is")
        t.run(copy_again=["a.t"])
    else:
        assert t.copied(t.run())
    t.assert_equal()
    t.on_source("UPDATE t SET a = 7", "ALTER TABLE t COMMENT 'no change'", "UPDATE t SET a = 8 WHERE id = 1")
    assert not t.copied(t.run())
    t.assert_equal()


@pytest.mark.parametrize("policy", ["evolve", "ignore"])
@pytest.mark.parametrize("change", ["moved", "names swapped", "labels", "one gone, one more"])
def test_a_change_while_a_run_follows(servers: Servers, level: tuple[Flavour, str], change: str, policy: str) -> None:
    """A table that the source opens anew is looked at again, also long after the run has begun."""
    t = copied_once(servers, level, schema_policy=policy)
    pipeline = t.pair.pipeline(t.mapping)
    run = SourceRun(pipeline, pipeline.mappings, follow_s=60)
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(run.run)
        t.on_source("UPDATE t SET n = n + 1")
        eventually(lambda: t.pair.target_rows("t") == t.pair.source_rows("t"))
        before = t.pair.target_rows("t")
        unlogged(t, *CHANGES[change])
        t.on_source(*WRITES)
        if policy == "evolve":
            eventually(lambda: t.pair.source_rows("t", NAMED) == t.pair.target_rows("t", NAMED))
            t.on_source("UPDATE t SET n = n + 1")
            eventually(lambda: t.pair.source_rows("t", NAMED) == t.pair.target_rows("t", NAMED))
        else:
            eventually(lambda: run.results["a.t"].error is not None or len(t.pair.target_rows("t")) > len(before))
        run.stop()
        assert policy == "ignore" or isinstance(ended.exception(), StopRequested)  # else it may have ended by itself
    error = run.results["a.t"].error
    if policy == "evolve":
        assert error is None
        t.assert_equal()
    elif level[1] != "FULL" or change != "labels":  # labels that the log has are right
        assert isinstance(error, SchemaDrift)
        assert t.pair.target_rows("t") == before


def test_a_change_and_its_undoing(servers: Servers, flavour: Flavour) -> None:
    """What nobody looked at meanwhile shows where the log names its columns, and nowhere else (docs/faults.md)."""
    t = copied_once(servers, (flavour, "FULL"))
    unlogged(t, "ALTER TABLE t MODIFY a INT AFTER b")
    t.on_source("UPDATE t SET a = a + 100, b = b - 100")
    unlogged(t, "ALTER TABLE t MODIFY b INT AFTER a")
    t.on_source("UPDATE t SET n = n + 1")
    t.run()
    t.assert_equal()


def test_a_change_that_changes_no_row(servers: Servers, level: tuple[Flavour, str]) -> None:
    """Indexes, comments, defaults, longer texts, and tables that are closed and opened are no reason to copy."""
    t = copied_once(servers, level)
    t.on_source("UPDATE t SET n = n + 1")
    unlogged(
        t,
        "ALTER TABLE t ADD INDEX (a), MODIFY s VARCHAR(20) CHARACTER SET latin1 COMMENT 'longer'",
        "ALTER TABLE t ALTER b SET DEFAULT 5",
        "ALTER TABLE t " + ("ALTER b SET INVISIBLE" if level[0] == "mysql" else "MODIFY b INT INVISIBLE"),
        "FLUSH TABLES",
    )
    t.on_source(*WRITES)
    assert not t.copied(t.run())
    t.assert_equal()
    t.on_source("FLUSH TABLES t", "UPDATE t SET a = a + 1", "FLUSH TABLES t", "UPDATE t SET a = a + 1")
    assert not t.copied(t.run())
    t.assert_equal()


def test_a_change_that_is_logged_further_on(servers: Servers, level: tuple[Flavour, str]) -> None:
    """Rows before a logged ALTER are applied by the old columns: what differs is explained by the log."""
    t = copied_once(servers, level, schema_policy="ignore")
    t.on_source("UPDATE t SET a = a + 1, n = n + 1", "ALTER TABLE t ADD c INT AFTER id")
    assert not t.copied(t.run())
    columns = "id, a, b, e, s, n"
    t.pair.assert_same("t", columns=columns)


@pytest.mark.parametrize("version", ["10.5", "10.11", "11.8"])
@pytest.mark.parametrize("metadata", ["NO_LOG", "FULL"])
def test_a_column_that_no_list_has(servers: Servers, version: str, metadata: str) -> None:
    """MariaDB keeps a hash of a unique TEXT as a column of its own, which is in the log: it is no change of the table."""
    source = servers.get("source", "mariadb", version=version, binlog_row_metadata=metadata)
    world = pair_of(source, servers.get("target", "mariadb"))
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, x TEXT, v INT, UNIQUE KEY (x))")
    world.on_source("INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)")
    mapping = {"a.t": {"target_table": "b.t", "schema_policy": "fail"}}
    world.run(mapping)
    for statement in (
        "INSERT INTO t VALUES (3, 'c', 3), (4, NULL, 4)",
        "UPDATE t SET v=9 WHERE id=1",
        "UPDATE t SET x='z' WHERE id=2",
        "DELETE FROM t WHERE id=3",
        "REPLACE INTO t VALUES (5, 'z', 5)",
    ):
        world.on_source("FLUSH TABLES", statement)
        world.run(mapping)
        world.assert_same("t")
