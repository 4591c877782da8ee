"""Source tables that are altered while they are replicated: what arrives, and when a run stops instead."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from schema_changes import CREATE, altering
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.model.errors import PrerequisiteError

pytestmark = pytest.mark.versions

ROWS = ("INSERT INTO t (id, a, b) VALUES (1, 1, 'one'), (2, 2, 'two'), (3, NULL, NULL)",)


@dataclass(frozen=True)
class Case:
    """Statements between two runs. `again`: the table has to be copied again for it."""

    name: str
    steps: tuple[str, ...]
    again: bool = False
    create: str = CREATE
    rows: tuple[str, ...] = ROWS
    only: str = ""

    def __str__(self) -> str:
        return self.name


def dml(n: int, more: str = "") -> tuple[str, ...]:
    """Rows of every kind of event, numbered so that those of several places do not meet."""
    column, _, value = more.partition("=")
    names, values = (f"id, a, {column}", f"{n}, {value}") if more else ("id, a", str(n))
    return (
        f"INSERT INTO t ({names}) VALUES ({n}0, {values}), ({n}1, {values})",
        f"UPDATE t SET a={n}, id=id WHERE id IN (1, {n}1)",
        f"UPDATE t SET id={n}2 WHERE id={n}0",
        f"DELETE FROM t WHERE id={n}1",
    )


PARTITIONED = (
    CREATE + " PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (3), PARTITION p1 VALUES LESS THAN MAXVALUE)"
)
CASES = (
    Case(
        "add nullable",
        (
            *dml(1),
            "ALTER TABLE t ADD COLUMN c INT",
            *dml(2, "c=7"),
            "UPDATE t SET c=5 WHERE id=2",
        ),
    ),
    Case(
        "add first",
        (
            *dml(1),
            "ALTER TABLE t ADD c VARCHAR(9) FIRST, ADD d INT NULL AFTER id",
            *dml(2, "d=7"),
        ),
    ),
    Case(
        "add constant",
        (
            *dml(1),
            "ALTER TABLE t ADD c INT DEFAULT 5, ADD d VARCHAR(9) NOT NULL DEFAULT 'x y'",
            *dml(2, "c=7"),
        ),
    ),
    Case(
        "add not null",
        (
            *dml(1),
            "ALTER TABLE t ADD c BIGINT NOT NULL, ADD (d CHAR(3) NOT NULL, e DECIMAL(9,2) DEFAULT -1.50)",
            "SET sql_mode=''",
            *dml(2, "c=7"),
        ),
    ),
    Case(
        "add now",
        (
            *dml(1),
            "ALTER TABLE t ADD c DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP",
            *dml(2),
        ),
        again=True,
    ),
    Case(
        "add expression",
        (
            *dml(1),
            "ALTER TABLE t ADD c INT DEFAULT (1 + 2)",
            *dml(2),
        ),
        again=True,
    ),
    Case(
        "add generated",
        (
            *dml(1),
            "ALTER TABLE t ADD c INT AS (a + 1) STORED",
            *dml(2),
        ),
        again=True,
    ),
    Case(
        "add instant",
        (
            *dml(1),
            "ALTER TABLE t ADD c INT, ALGORITHM=INSTANT",
            *dml(2, "c=7"),
        ),
    ),
    Case(
        "add if not exists",
        (
            *dml(1),
            "ALTER TABLE t ADD COLUMN IF NOT EXISTS c INT DEFAULT 3",
            *dml(2, "c=7"),
        ),
        only="mariadb",
    ),
    Case(
        "add that is dropped",
        (
            *dml(1),
            "ALTER TABLE t ADD c INT",
            *dml(2, "c=7"),
            "ALTER TABLE t DROP c",
            *dml(3),
        ),
        again=True,
    ),
    Case(
        "add that is renamed",
        (
            *dml(1),
            "ALTER TABLE t ADD c INT",
            *dml(2, "c=7"),
            "ALTER TABLE t RENAME COLUMN c TO d",
            *dml(3, "d=8"),
        ),
        again=True,
    ),
    Case(
        "drop",
        (
            *dml(1, "b='x'"),
            "ALTER TABLE t DROP COLUMN b",
            *dml(2),
        ),
    ),
    Case(
        "drop not null",
        (
            *dml(1),
            "ALTER TABLE t DROP b",
            *dml(2),
        ),
        create="CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT NOT NULL DEFAULT 4)",
        rows=("INSERT INTO t VALUES (1, 1, 1)",),
    ),
    Case(
        "drop and add",
        (
            *dml(1, "b='x'"),
            "ALTER TABLE t DROP b",
            *dml(2),
            "ALTER TABLE t ADD b VARCHAR(40)",
            *dml(3, "b='y'"),
        ),
        again=True,
    ),
    Case(
        "rename",
        (
            *dml(1, "b='x'"),
            "ALTER TABLE t RENAME COLUMN b TO `b``%s`",
            *dml(2, "`b``%s`='y'"),
        ),
    ),
    Case(
        "rename twice",
        (
            *dml(1, "b='x'"),
            "ALTER TABLE t RENAME COLUMN b TO c",
            *dml(2, "c='y'"),
            "ALTER TABLE t CHANGE c d VARCHAR(50)",
            *dml(3, "d='z'"),
        ),
    ),
    Case(
        "rename case",
        (
            *dml(1, "b='x'"),
            "ALTER TABLE t RENAME COLUMN B TO B",
            *dml(2, "B='y'"),
        ),
    ),
    Case(
        "rename key",
        (
            *dml(1, "b='x'"),
            "ALTER TABLE t RENAME COLUMN id TO key_",
            "INSERT INTO t VALUES (70, 7, 'k')",
            "UPDATE t SET key_=71 WHERE key_=70",
            "DELETE FROM t WHERE key_=2",
        ),
    ),
    Case(
        "swap names",
        (
            *dml(1),
            "ALTER TABLE t CHANGE a c INT, CHANGE c a INT",
            *dml(2, "c=9"),
        ),
        again=True,
        create="CREATE TABLE t (id INT PRIMARY KEY, a INT, c INT)",
        rows=("INSERT INTO t VALUES (1, 1, 2), (2, 3, 4)",),
    ),
    Case(
        "change",
        (
            *dml(1, "b='x'"),
            "ALTER TABLE t CHANGE COLUMN b c TEXT COMMENT 'DROP COLUMN a'",
            *dml(2, "c='y'"),
        ),
    ),
    Case(
        "widen",
        (
            *dml(1),
            "ALTER TABLE t MODIFY a BIGINT, MODIFY COLUMN b VARCHAR(200)",
            "INSERT INTO t VALUES (90, 5000000000, REPEAT('x', 150))",
            *dml(2),
        ),
    ),
    Case(
        "widen to text",
        (
            *dml(1),
            "ALTER TABLE t MODIFY b TEXT",
            "INSERT INTO t VALUES (90, 5, REPEAT('x', 9000))",
        ),
    ),
    Case(
        "widen more",
        (
            "UPDATE t SET d=1.25",
            "ALTER TABLE t MODIFY d DECIMAL(12,4), MODIFY e ENUM('x','y','z'), MODIFY f DATETIME(6), MODIFY n INT",
            "INSERT INTO t VALUES (2, 12345678.1234, 'z', '2024-01-02 03:04:05.123456', NULL)",
        ),
        create="CREATE TABLE t (id INT PRIMARY KEY, d DECIMAL(5,2), e ENUM('x','y'), f DATETIME, n INT NOT NULL)",
        rows=("INSERT INTO t VALUES (1, 2.5, 'y', '2024-01-01', 3)",),
    ),
    Case(
        "not null",
        (
            "UPDATE t SET a=9, b='' WHERE id=3",
            "ALTER TABLE t MODIFY a INT NOT NULL",
            *dml(2),
        ),
    ),
    Case(
        "not null loosely",
        (
            *dml(1),
            "SET sql_mode=''",
            "ALTER IGNORE TABLE t MODIFY a INT NOT NULL",
            *dml(2),
        ),
        again=True,
        only="mariadb",
    ),
    Case(
        "narrow",
        (
            "UPDATE t SET b='1234567890'",
            "SET sql_mode=''",
            "ALTER TABLE t MODIFY b VARCHAR(5)",
            *dml(2, "b='x'"),
        ),
        again=True,
    ),
    Case(
        "narrow and back",
        (
            "UPDATE t SET d=1.2345",
            "ALTER TABLE t MODIFY d DECIMAL(10,1)",
            "ALTER TABLE t MODIFY d DECIMAL(10,4)",
            "INSERT INTO t VALUES (9, 0.1234)",
        ),
        again=True,
        create="CREATE TABLE t (id INT PRIMARY KEY, d DECIMAL(10,4))",
        rows=("INSERT INTO t VALUES (1, 2.5555), (2, 3.9999)",),
    ),
    Case(
        "int twice",
        (
            "ALTER TABLE t MODIFY a BIGINT",
            "INSERT INTO t VALUES (9, 5000000000, '')",
            "DELETE FROM t WHERE id=9",
            "ALTER TABLE t MODIFY a INT",
            *dml(2),
        ),
        again=True,
    ),
    Case(
        "float to double",
        (
            "ALTER TABLE t MODIFY f DOUBLE",
            "INSERT INTO t VALUES (9, 0.1)",
        ),
        again=True,
        create="CREATE TABLE t (id INT PRIMARY KEY, f FLOAT)",
        rows=("INSERT INTO t VALUES (1, 0.1)",),
    ),
    Case(
        "varchar to char",
        (
            "ALTER TABLE t MODIFY b CHAR(40)",
            "INSERT INTO t VALUES (9, 1, 'x  ')",
        ),
        again=True,
        rows=("INSERT INTO t VALUES (1, 1, 'x  ')",),
    ),
    Case(
        "convert",
        (
            *dml(1, "b='x'"),
            "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4",
            "INSERT INTO t VALUES (9, 1, '😀é')",
        ),
        create="CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(40)) DEFAULT CHARSET latin1",
        rows=("INSERT INTO t VALUES (1, 1, 'é')",),
    ),
    Case(
        "convert lossy",
        (
            *dml(1, "b='x'"),
            "SET sql_mode=''",
            "ALTER TABLE t CONVERT TO CHARACTER SET latin1",
            "INSERT INTO t VALUES (9, 1, 'é')",
        ),
        again=True,
        create="CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(40)) DEFAULT CHARSET utf8mb4",
        rows=("INSERT INTO t VALUES (1, 1, 'é'), (2, 2, '😀')",),
    ),
    Case(
        "modify to the table's charset",
        (
            "SET sql_mode=''",
            "ALTER TABLE t MODIFY b VARCHAR(40)",
            "ALTER TABLE t MODIFY b VARCHAR(40) CHARACTER SET utf8mb4",
        ),
        again=True,
        create="CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(40) CHARACTER SET utf8mb4) DEFAULT CHARSET latin1",
        rows=("INSERT INTO t VALUES (2, 2, '😀')",),
    ),
    Case(
        "indexes",
        (
            *dml(1),
            "ALTER TABLE t ADD INDEX i (a), ADD UNIQUE KEY u (id, a)",
            *dml(2),
            "CREATE INDEX j ON t (b)",
            "ALTER TABLE t DROP INDEX i, RENAME INDEX j TO k",
            *dml(3),
            "DROP INDEX k ON t",
        ),
    ),
    Case(
        "options",
        (
            *dml(1),
            "ALTER TABLE t ENGINE=InnoDB, COMMENT='drop column b, rename to x'",
            *dml(2),
            "ALTER TABLE t AUTO_INCREMENT=1000, ROW_FORMAT=DYNAMIC",
            "ALTER TABLE t ALTER COLUMN a SET DEFAULT 5",
            *dml(3),
        ),
    ),
    Case(
        "partitions",
        (
            *dml(1),
            "ALTER TABLE t PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (2), PARTITION p1 VALUES LESS "
            "THAN MAXVALUE)",
            *dml(2),
            "ALTER TABLE t REORGANIZE PARTITION p0, p1 INTO (PARTITION p VALUES LESS THAN MAXVALUE)",
            *dml(3),
            "ALTER TABLE t REMOVE PARTITIONING",
        ),
    ),
    Case(
        "drop partition",
        (
            *dml(1),
            "ALTER TABLE t DROP PARTITION p0",
            *dml(2),
        ),
        again=True,
        create=PARTITIONED,
    ),
    Case(
        "truncate partition",
        (
            *dml(1),
            "ALTER TABLE t TRUNCATE PARTITION p0",
            *dml(2),
        ),
        again=True,
        create=PARTITIONED,
    ),
    Case(
        "exchange partition",
        (
            *dml(1),
            "CREATE TABLE o (id INT PRIMARY KEY, a INT, b VARCHAR(40))",
            "INSERT INTO o VALUES (1, 77, 'other')",
            "ALTER TABLE t EXCHANGE PARTITION p0 WITH TABLE o",
            *dml(2),
        ),
        again=True,
        create=PARTITIONED,
    ),
    Case(
        "exchanged into a partition",
        (
            *dml(1),
            "CREATE TABLE o (id INT PRIMARY KEY, a INT, b VARCHAR(40)) PARTITION BY RANGE (id) (PARTITION p0 "
            "VALUES LESS THAN MAXVALUE)",
            "INSERT INTO o VALUES (1, 77, 'other')",
            "ALTER TABLE o EXCHANGE PARTITION p0 WITH TABLE t",
            *dml(2),
        ),
        again=True,
    ),
    Case(
        "other tables",
        (
            *dml(1),
            "CREATE TABLE t2 LIKE t",
            "ALTER TABLE t2 DROP COLUMN b, ADD c INT",
            "RENAME TABLE t2 TO t3",
            "DROP TABLE t3",
            *dml(2),
        ),
    ),
    Case(
        "truncate",
        (
            *dml(1),
            "TRUNCATE TABLE t",
            *dml(2),
        ),
    ),
    Case(
        "comments",
        (
            *dml(1),
            "/* DROP TABLE t */ ALTER /*!40000 TABLE */ `t` # DROP COLUMN a\n -- RENAME TO x\n ADD /*!99999 DROP "
            "COLUMN a, ADD */ c /* , DROP b */ INT",
            *dml(2, "c=7"),
        ),
    ),
    Case(
        "ansi quotes",
        (
            *dml(1),
            "SET sql_mode='ANSI_QUOTES'",
            'ALTER TABLE "t" ADD COLUMN "c" INT, RENAME COLUMN "b" TO "d"',
            *dml(2, "c=7"),
        ),
    ),
    Case(
        "several clauses",
        (
            *dml(1, "b='x'"),
            "ALTER TABLE t DROP COLUMN a, ADD COLUMN c INT DEFAULT 3, RENAME COLUMN b TO a, ADD INDEX (c)",
            "INSERT INTO t VALUES (80, 'n', 4)",
            "DELETE FROM t WHERE id=1",
        ),
        again=True,
        create="CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(9), b VARCHAR(40))",
        rows=("INSERT INTO t VALUES (1, '1', 'one'), (2, '2', 'two')",),
    ),
    Case(
        "generated changed",
        (
            *dml(1),
            "ALTER TABLE t MODIFY c INT AS (a * 2) STORED",
            *dml(2),
        ),
        again=True,
        create="CREATE TABLE t (id INT PRIMARY KEY, a INT, c INT AS (a + 1) STORED)",
        rows=("INSERT INTO t (id, a) VALUES (1, 1)",),
    ),
    Case(
        "no longer generated",
        (
            *dml(1),
            "ALTER TABLE t MODIFY c INT",
            *dml(2, "c=5"),
        ),
        again=True,
        create="CREATE TABLE t (id INT PRIMARY KEY, a INT, c INT AS (a + 1) STORED)",
        rows=("INSERT INTO t (id, a) VALUES (1, 1)",),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_evolve(servers: Servers, flavour: Flavour, case: Case) -> None:
    """A run that starts long after the changes arrives at the source's rows, and copies only where it has to."""
    if case.only and case.only != flavour:
        pytest.skip(f"only {case.only}")
    t = altering(servers, flavour, case.create, case.rows)
    t.run()
    t.assert_equal()
    t.on_source(*case.steps)
    result = t.run()
    t.assert_equal()
    assert t.copied(result) == case.again
    t.on_source("DELETE FROM t LIMIT 1")
    assert not t.copied(t.run())
    t.assert_equal()


def test_a_change_that_the_target_cannot_make(servers: Servers, flavour: Flavour) -> None:
    """The hint is the refusal's own, and asks for no privilege. The mapping stops alone, and what mends it does."""
    t = altering(servers, flavour)
    t.mapping["a.u"] = {"target_table": "b.u"}
    t.on_source("CREATE TABLE u (id INT PRIMARY KEY)")
    more = ", ".join(f"c{number} BIT" for number in range(1014))
    t.pair.on_target(f"CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(40), {more})")
    t.run()
    t.on_source("ALTER TABLE t ADD x INT", "INSERT INTO t VALUES (1, 1, 'b', 1)", "INSERT INTO u VALUES (1)")
    results = t.pair.try_run(t.pair.pipeline(t.mapping))
    t.assert_equal("u")
    error = results["a.t"].error
    assert isinstance(error, PrerequisiteError)
    assert "1,017 columns" in error.hint
    assert "GRANT" not in error.hint
    t.pair.on_target("ALTER TABLE t DROP c0")
    t.run()
    t.assert_equal()
