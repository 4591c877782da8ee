"""Schema changes that are not followed: by policy, by an explicit mapping, or because they cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from schema_changes import CREATE, Altering, altering, columns_of
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.model.errors import PrerequisiteError, SchemaDrift

pytestmark = pytest.mark.versions

ROWS = ("INSERT INTO t (id, a, b) VALUES (1, 1, 'one'), (2, 2, 'two'), (3, NULL, NULL)",)
MAPPED = {"primary_key": "id", "column_mapping": {"id": {"column": "id", "primary_key": True}, "a": {"column": "x"}}}
LATER = "INSERT INTO t (id) VALUES (99)"


def assert_stops(t: Altering, what: str = "") -> None:
    """It stops at the change with all that came before it applied, and the next run says the same."""
    error = t.error()
    assert isinstance(error, SchemaDrift), error
    assert what in str(error)
    assert error.hint
    assert t.pair.target_rows("t", "*", "id=99") == []
    assert isinstance(t.error(), SchemaDrift)


def test_lost_key_stops(servers: Servers, flavour: Flavour) -> None:
    """A key column that is gone stops the mapping with all that came before applied. The table is copied anew by the
    `snapshot` job once the target table is gone, too.
    """
    t = altering(servers, flavour, CREATE, ROWS)
    t.run()
    t.on_source("UPDATE t SET a=7 WHERE id=1")
    t.on_source("ALTER TABLE t DROP PRIMARY KEY, DROP COLUMN id, ADD COLUMN n INT PRIMARY KEY AUTO_INCREMENT")
    for _ in range(2):
        error = t.error()
        assert isinstance(error, SchemaDrift), error
        assert "drop column id" in str(error)
        assert t.pair.target_rows("t", "a", "id=1") == [(7,)]
    t.pair.on_target("DROP TABLE t")
    t.run(copy_again=True)
    t.assert_equal()


def test_primary_key_changed(servers: Servers, flavour: Flavour) -> None:
    """Rows that the old key tells apart no longer stop the mapping until the target has the new key, too."""
    t = altering(
        servers,
        flavour,
        "CREATE TABLE t (id INT PRIMARY KEY, a INT NOT NULL)",
        ("INSERT INTO t VALUES (1, 1), (2, 2)",),
    )
    t.run()
    steps = [
        "UPDATE t SET a=a+10",
        "ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (id, a)",
        "INSERT INTO t VALUES (2, 5)",
    ]
    t.on_source(*steps)
    error = t.error()
    assert isinstance(error, PrerequisiteError)
    assert "no unique key on (id, a)" in str(error)
    assert t.pair.target_rows("t") == [(1, 11), (2, 12)]
    t.pair.on_target("ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (id, a)")
    t.run(copy_again=True)
    t.assert_equal()
    t.on_source("ALTER TABLE t ADD COLUMN c INT", "UPDATE t SET c=1 WHERE a=5", "DELETE FROM t WHERE a=12")
    t.run()
    t.assert_equal()


def test_primary_key_that_the_target_has_ready(servers: Servers, flavour: Flavour) -> None:
    """Rows before the change are found by the old key, though the source has another one by now."""
    t = altering(
        servers,
        flavour,
        "CREATE TABLE t (id INT PRIMARY KEY, a INT NOT NULL)",
        ("INSERT INTO t VALUES (1, 1), (2, 1)",),
    )
    t.pair.on_target("CREATE TABLE t (id INT PRIMARY KEY, a INT NOT NULL, UNIQUE (id, a))")
    t.run()
    t.on_source(
        "UPDATE t SET a=a+10", "DELETE FROM t WHERE id=1", "ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (a, id)"
    )
    assert t.copied(t.run())
    t.assert_equal()


@pytest.mark.parametrize(
    "statement",
    ["ADD c INT", "DROP b", "RENAME COLUMN b TO c", "MODIFY a BIGINT", "CHANGE a a BIGINT", "DROP PRIMARY KEY",
     "CONVERT TO CHARACTER SET latin1", "CHANGE B B TEXT"],
)  # fmt: skip
def test_fail(servers: Servers, flavour: Flavour, statement: str) -> None:
    """`fail` stops at any change of a column or key."""
    t = altering(servers, flavour, CREATE, ROWS, schema_policy="fail")
    t.run()
    t.on_source("UPDATE t SET a=7 WHERE id=1", "ALTER TABLE t ADD INDEX (a)", f"ALTER TABLE t {statement}", LATER)
    assert_stops(t)


@pytest.mark.parametrize("policy", ["ignore", "evolve"])
def test_explicit_mapping(servers: Servers, flavour: Flavour, policy: str) -> None:
    """What the mapping does not name may come, go and change; what it names may get wider and NOT NULL."""
    t = altering(servers, flavour, CREATE, ROWS, schema_policy=policy, **MAPPED)
    t.pair.on_target("CREATE TABLE t (id INT PRIMARY KEY, x BIGINT)")
    t.run()
    t.on_source(
        "INSERT INTO t VALUES (4, 4, 'x')",
        "ALTER TABLE t ADD c INT NOT NULL DEFAULT 3",
        "UPDATE t SET a=8, c=9 WHERE id=4",
        "ALTER TABLE t RENAME COLUMN b TO x, DROP COLUMN c",
        "INSERT INTO t VALUES (5, 5, 'y')",
        "ALTER TABLE t DROP COLUMN x",
        "ALTER TABLE t MODIFY a BIGINT FIRST",
        "INSERT INTO t VALUES (5000000000, 6)",
        "DELETE FROM t WHERE a IS NULL",
        "ALTER TABLE t MODIFY a BIGINT NOT NULL",
        "INSERT INTO t (id, a) VALUES (7, 7)",
    )
    assert not t.copied(t.run())
    assert t.pair.target_rows("t", "id, x") == t.pair.source_rows("t", "id, a")
    assert list(columns_of(t.pair)) == ["id", "x"]


@pytest.mark.parametrize("policy", ["ignore", "evolve"])
@pytest.mark.parametrize(
    "statement",
    [
        "DROP a",
        "RENAME COLUMN a TO z",
        "CHANGE A z INT",
        "MODIFY a VARCHAR(9)",
        "MODIFY a SMALLINT",
        "RENAME COLUMN f TO z",
    ],
)
def test_explicit_mapping_loses_a_column(servers: Servers, flavour: Flavour, policy: str, statement: str) -> None:
    """A mapped column or one that the filter reads, gone or of a type that holds less, stops the mapping."""
    mapped: dict[str, Any] = {**MAPPED, "filter": {"f": {"gt": 0}}}
    create = "CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT, f INT NOT NULL DEFAULT 1)"
    t = altering(servers, flavour, create, ("INSERT INTO t VALUES (1, 1, 1, 1)",), schema_policy=policy, **mapped)
    t.run()
    t.on_source(f"ALTER TABLE t {statement}", LATER)
    assert_stops(t)


def test_ignore_every_column(servers: Servers, flavour: Flavour) -> None:
    """Without column_mapping `ignore` leaves the target's columns as they are, and new ones out."""
    t = altering(servers, flavour, CREATE, ROWS, schema_policy="ignore")
    t.run()
    t.on_source(
        "ALTER TABLE t ADD c INT", "INSERT INTO t VALUES (4, 4, 'x', 5)", "ALTER TABLE t DROP c", "UPDATE t SET a=9"
    )
    assert not t.copied(t.run())
    t.assert_equal()
    assert list(columns_of(t.pair)) == ["id", "a", "b"]
    t.on_source("ALTER TABLE t RENAME COLUMN a TO z", LATER)
    assert_stops(t, "rename column a")


def test_ignore_changed_rows(servers: Servers, flavour: Flavour) -> None:
    """Rows that change without the log stop a mapping that may not copy again."""
    t = altering(servers, flavour, f"{CREATE} PARTITION BY HASH (id) PARTITIONS 2", ROWS, schema_policy="ignore")
    t.run()
    t.on_source("ALTER TABLE t TRUNCATE PARTITION p0", LATER)
    assert_stops(t, "rows that the log does not hold")


@pytest.mark.parametrize("policy", ["evolve", "ignore"])
def test_column_that_the_target_has_already(servers: Servers, flavour: Flavour, policy: str) -> None:
    """A target column that waited for its source is kept equal, too, or the mapping stops."""
    t = altering(servers, flavour, CREATE, ROWS, schema_policy=policy)
    t.pair.on_target("CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(40), c INT, d INT NULL DEFAULT 4)")
    t.run()
    t.on_source("ALTER TABLE t ADD c INT", "INSERT INTO t VALUES (4, 4, 'x', 5)")
    assert not t.copied(t.run())
    t.assert_equal()
    t.on_source("ALTER TABLE t ADD d INT", "INSERT INTO t VALUES (99, 4, 'x', 5, NULL)")
    if policy == "ignore":
        assert_stops(t)
    else:
        t.run()
        t.assert_equal()


def test_wider_target(servers: Servers, flavour: Flavour) -> None:
    """A target with other and wider types of its owner's choice keeps them."""
    t = altering(servers, flavour, CREATE, ROWS)
    t.pair.on_target("CREATE TABLE t (id BIGINT PRIMARY KEY, a BIGINT, b LONGTEXT, extra INT DEFAULT 7)")
    t.run()
    t.on_source(
        "ALTER TABLE t MODIFY a BIGINT, MODIFY b VARCHAR(90), ADD c INT", "INSERT INTO t VALUES (4, 5000000000, 'x', 5)"
    )
    assert not t.copied(t.run())
    t.assert_equal()
    t.on_source("DELETE FROM t WHERE id=4", "ALTER TABLE t MODIFY a INT")
    t.run()
    t.assert_equal()
    held = columns_of(t.pair)
    assert held["a"].startswith("bigint")
    assert held["b"] == "longtext"
    assert t.pair.target_rows("t", "DISTINCT extra") == [(7,)]


_NO_PAD: dict[Flavour, str] = {"mysql": "utf8mb4_0900_ai_ci", "mariadb": "utf8mb4_general_nopad_ci"}


def test_a_key_that_spaces_tell_apart_is_widened(servers: Servers, flavour: Flavour) -> None:
    """Between two runs: the change is followed where the log tells it, and both 'a' and 'a ' arrive."""
    create = f"CREATE TABLE t (id VARCHAR(5) COLLATE {_NO_PAD[flavour]} PRIMARY KEY, a INT)"
    t = altering(servers, flavour, create, ["INSERT INTO t VALUES ('a', 1), ('a ', 2)"])
    t.run()
    widened = f"ALTER TABLE t MODIFY id VARCHAR(50) COLLATE {_NO_PAD[flavour]} NOT NULL"
    t.on_source(widened, "INSERT INTO t VALUES ('a      ', 3), (REPEAT('x', 50), 4)")
    assert not t.copied(t.run())
    t.assert_equal()


def test_a_key_that_spaces_tell_apart_and_is_widened_by_itself_stops(servers: Servers, flavour: Flavour) -> None:
    """With `ignore` the target cannot hold the new keys: the mapping stops before a server would cut their spaces."""
    create = f"CREATE TABLE t (id VARCHAR(5) COLLATE {_NO_PAD[flavour]} PRIMARY KEY, a INT)"
    t = altering(servers, flavour, create, ["INSERT INTO t VALUES ('a', 1)"], schema_policy="ignore")
    t.run()
    widened = f"ALTER TABLE t MODIFY id VARCHAR(50) COLLATE {_NO_PAD[flavour]} NOT NULL"
    t.on_source(widened, "INSERT INTO t VALUES ('a      ', 3)")
    assert isinstance(t.error(), (PrerequisiteError, SchemaDrift))
    assert isinstance(t.error(), (PrerequisiteError, SchemaDrift))
    assert t.pair.target_rows("t", "COUNT(*)") == [(1,)]


def test_without_the_grant(servers: Servers, flavour: Flavour) -> None:
    """An account that may not ALTER stops with the statement and the grant; once granted, the run goes on."""
    t = altering(servers, flavour, CREATE, ROWS)
    t.pair.target.execute(f"REVOKE ALTER ON `{t.pair.target_schema}`.* FROM 'writer'@'%'")
    t.run()
    t.on_source("ALTER TABLE t ADD c INT", "INSERT INTO t VALUES (4, 4, 'x', 5)")
    error = t.error()
    assert isinstance(error, PrerequisiteError)
    assert "ADD COLUMN `c`" in str(error)
    assert "GRANT ALTER" in error.hint
    t.pair.target.execute(f"GRANT ALTER ON `{t.pair.target_schema}`.* TO 'writer'@'%'")
    t.run()
    t.assert_equal()


METADATA: dict[Flavour, list[str]] = {"mysql": ["MINIMAL"], "mariadb": ["MINIMAL", "NO_LOG"]}


@pytest.mark.parametrize("metadata", ["MINIMAL", "NO_LOG"])
def test_undescribed_log(servers: Servers, flavour: Flavour, metadata: str) -> None:
    """Where the log does not describe its columns, an altered table is copied again (`evolve`) or stops."""
    if metadata not in METADATA[flavour]:
        pytest.skip("MariaDB only")
    t = altering(servers, flavour, CREATE, ROWS, options={"binlog_row_metadata": metadata})
    t.mapping["a.u"] = {"target_table": "b.u"}
    t.pair.on_source("CREATE TABLE u (id INT PRIMARY KEY, a INT UNSIGNED)", "INSERT INTO u VALUES (1, 4000000000)")
    t.run()
    t.on_source(
        "UPDATE t SET a=6 WHERE id=1", "ALTER TABLE t ADD INDEX (a)", "UPDATE t SET a=7, b='é' WHERE id=1",
        "UPDATE u SET a=4000000001",
    )  # fmt: skip
    assert not t.copied(t.run())
    t.assert_equal()
    t.on_source(
        "ALTER TABLE t ADD c INT UNSIGNED AFTER id",
        "INSERT INTO t VALUES (4, 4000000000, 1, 'x')",
        "UPDATE u SET a=4000000002",
    )
    assert t.copied(t.run())
    t.assert_equal()
    t.assert_equal("u")
    t.on_source("UPDATE t SET c=c-1, a=-1", "ALTER TABLE t RENAME COLUMN a TO z", "UPDATE u SET a=4000000003")
    t.run()
    t.assert_equal()
    t.assert_equal("u")
    t.mapping["a.t"]["schema_policy"] = "ignore"
    t.on_source("ALTER TABLE t ADD e INT", "UPDATE t SET e=5 WHERE id=4", "UPDATE u SET a=4000000004")
    results = t.pair.try_run(t.pair.pipeline(t.mapping))
    assert isinstance(results["a.t"].error, SchemaDrift)
    assert "binlog_row_metadata=FULL" in str(results["a.t"].error)
    assert results["a.u"].error is None
    t.assert_equal("u")
