"""Statements that read otherwise than they look, and losses of a key: the target stays equal, or the mapping stops."""

from __future__ import annotations

import pytest
from schema_changes import CREATE, altering, columns_of
from server_farm import Servers
from servers import Flavour

pytestmark = pytest.mark.versions

ROWS = ("INSERT INTO t (id, a, b) VALUES (1, 1, 'one'), (2, 2, 'two'), (3, NULL, NULL)",)
BY_INDEX = "CREATE TABLE t (id INT NOT NULL, a INT, b VARCHAR(40), UNIQUE u (id), INDEX i (a))"
WITH_INDEX = "CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(40), INDEX i (a))"
LATER = ("INSERT INTO t (id, a) VALUES (1, 77), (9, 78)", "DELETE FROM t WHERE a=77")


@pytest.mark.parametrize(
    ("create", "statement", "only"),
    [
        (CREATE, "DROP INDEX `PRIMARY` ON t", ""),
        (CREATE, "ALTER TABLE t DROP CONSTRAINT `PRIMARY`", ""),
        (BY_INDEX, "DROP INDEX u ON t", ""),
        (BY_INDEX, "ALTER TABLE t DROP INDEX u", ""),
        (BY_INDEX, "ALTER TABLE t DROP KEY U", ""),
        (BY_INDEX, "ALTER TABLE t DROP CONSTRAINT u", ""),
        (BY_INDEX, "CREATE OR REPLACE INDEX u ON t (id)", "mariadb"),
    ],
)
def test_lost_keys_stop(servers: Servers, flavour: Flavour, create: str, statement: str, only: str) -> None:
    """Without the key that told its rows apart, a table's rows are not made one: the mapping stops where it was lost."""
    if only and only != flavour:
        pytest.skip(f"only {only}")
    t = altering(servers, flavour, create, ROWS)
    t.run()
    t.on_source("UPDATE t SET b='last' WHERE id=2", statement, *LATER)
    assert "has no primary key" in str(t.error())
    assert t.pair.target_rows("t", "*", "id IN (1, 2)") == [(1, 1, "one"), (2, 2, "last")]


@pytest.mark.parametrize(
    ("create", "statement", "again"),
    [
        (WITH_INDEX, "DROP INDEX i ON t", False),
        (WITH_INDEX, "ALTER TABLE t DROP INDEX i, ADD UNIQUE u (a, id)", False),
        (BY_INDEX, "ALTER TABLE t RENAME INDEX u TO v", False),
        (BY_INDEX, "ALTER TABLE t DROP INDEX u, ADD PRIMARY KEY (id)", True),
        (BY_INDEX, "DROP INDEX i ON t", True),  # nothing tells that it was not the key
    ],
)
def test_other_indexes(servers: Servers, flavour: Flavour, create: str, statement: str, again: bool) -> None:
    """A table with a primary key may lose any index; one with another key is copied again, as it may be that one."""
    t = altering(servers, flavour, create, ROWS)
    t.run()
    t.on_source(statement, "INSERT INTO t (id, a) VALUES (9, 78)", "DELETE FROM t WHERE id=1")
    assert t.copied(t.run()) == again
    t.assert_equal()


@pytest.mark.parametrize(
    ("sql_mode", "charset", "statement", "only"),
    [
        ("NO_BACKSLASH_ESCAPES", "utf8mb4", r"ALTER TABLE t COMMENT 'C:\', ADD c INT DEFAULT 5, COMMENT 'D:\'", ""),
        ("", "utf8mb4", r"ALTER TABLE t COMMENT 'it\', DROP a, COMMENT ', ADD c INT DEFAULT 5", ""),
        ("ANSI_QUOTES", "utf8mb4", """ALTER TABLE "t" COMMENT '"', ADD "c" INT DEFAULT 5 COMMENT '"'""", ""),
        ("", "utf8mb4", """ALTER TABLE t COMMENT "', DROP a, COMMENT '", ADD c INT DEFAULT 5""", ""),
        ("MSSQL", "utf8mb4", "ALTER TABLE [t] COMMENT '[', ADD [c] INT DEFAULT 5 COMMENT ']'", "mariadb"),
        ("ORACLE", "utf8mb4", """ALTER TABLE "t" ADD c INT""", "mariadb"),
        ("", "sjis", "ALTER TABLE t COMMENT '表', ADD c INT DEFAULT 5, COMMENT '能'", ""),
        ("", "gbk", "ALTER TABLE t COMMENT '誠', ADD c INT DEFAULT 5, COMMENT '誠'", ""),
        ("", "latin1", "ALTER TABLE\xa0t\xa0ADD\xa0c INT DEFAULT 5", ""),
        ("", "utf8mb4", "ALTER TABLE t ADD c INT DEFAULT 5 /*!99999 , DROP a */ /*!50000 , COMMENT 'x' */", ""),
        ("", "utf8mb4", "ALTER TABLE t COMMENT 'x' /*M!100000 , ADD c INT DEFAULT 5 */", "mariadb"),
        ("", "utf8mb4", "ALTER TABLE .t ADD c INT DEFAULT 5", "mariadb"),
        ("", "utf8mb4", "ALTER TABLE t --\x01 , DROP a\n ADD c INT DEFAULT 5", ""),
        ("", "utf8mb4", "ALTER TABLE t ADD c INT DEFAULT 5 PARTITION BY KEY (id) PARTITIONS 2", ""),
    ],
)
def test_sessions(servers: Servers, flavour: Flavour, sql_mode: str, charset: str, statement: str, only: str) -> None:
    """What a session's settings make of its text decides what a statement does: here it always adds a column `c`."""
    if only and only != flavour:
        pytest.skip(f"only {only}")
    t = altering(servers, flavour, CREATE, ROWS)
    t.run()
    with t.pair.source_session(charset=charset) as session, session.cursor() as cursor:
        cursor.execute(f"SET sql_mode='{sql_mode}'")
        cursor.execute(statement)
    t.on_source("INSERT INTO t (id, c) VALUES (9, 78)", "UPDATE t SET c=6 WHERE id=2")
    assert t.copied(t.run()) == (sql_mode == "ORACLE")  # whose types may have other meanings
    t.assert_equal()
    assert list(columns_of(t.pair)) == ["id", "a", "b", "c"]


@pytest.mark.parametrize(
    ("steps", "again"),
    [
        (("ALTER TABLE t ADD vector INT", "UPDATE t SET vector=5 WHERE id=1"), False),
        (("ALTER TABLE t ADD COLUMN vector INT", "UPDATE t SET vector=5 WHERE id=1"), False),
        (("ALTER TABLE t ADD COLUMN period INT, ADD versioning INT", "UPDATE t SET period=5 WHERE id=1"), False),
        (("ALTER TABLE t MODIFY A BIGINT", "UPDATE t SET a=5000000000 WHERE id=1"), False),
        (("ALTER TABLE t MODIFY ID BIGINT", "INSERT INTO t (id) VALUES (5000000000)"), False),
        (("ALTER TABLE t CHANGE a A INT", "UPDATE t SET a=50 WHERE id=1"), False),
        (("ALTER TABLE t ADD c VARCHAR(9) DEFAULT 'a' 'b'", "UPDATE t SET c='c' WHERE id=1"), False),
        (("ALTER TABLE t ADD c INT DEFAULT (1+2) NULL", "UPDATE t SET c=1 WHERE id=1"), True),
        (("ALTER TABLE t RENAME COLUMN a TO c, ADD a VARCHAR(9)", "UPDATE t SET a='x' WHERE id=1"), False),
        (("ALTER TABLE t ADD a VARCHAR(9), RENAME COLUMN a TO c", "UPDATE t SET a='x' WHERE id=1"), False),
    ],
)
def test_definitions(servers: Servers, flavour: Flavour, steps: tuple[str, ...], again: bool) -> None:
    """Words that may be names, letters of another case, and values of more than one word are read as the server does."""
    t = altering(servers, flavour, CREATE, ROWS)
    if " vector " in steps[0] and t.pair.source.version == "11.8":
        pytest.skip("vector is a reserved word there")
    t.run()
    t.on_source(*steps, "DELETE FROM t WHERE id=2")
    assert t.copied(t.run()) == again
    t.assert_equal()


def test_engine_that_keeps_no_rows(servers: Servers) -> None:
    """ENGINE=BLACKHOLE, which only MySQL has loaded, empties the table, and so the target."""
    t = altering(servers, "mysql", CREATE, ROWS)
    t.run()
    t.on_source("ALTER TABLE t COMMENT='x' ENGINE=BLACKHOLE")
    t.run()
    t.assert_equal()


def test_nulls_that_a_new_key_replaces(servers: Servers, flavour: Flavour) -> None:
    """Outside of strict mode the columns of a new primary key lose their NULLs: a mapping of another key copies again."""
    t = altering(servers, flavour, BY_INDEX, ROWS, primary_key="id")
    t.run()
    t.on_source("SET sql_mode=''", "ALTER TABLE t ADD PRIMARY KEY (id, b)", "INSERT INTO t VALUES (9, 9, 'nine')")
    assert t.copied(t.run())
    t.assert_equal()
