"""Definitions in the log, read for what they do to tables and columns."""

from __future__ import annotations

import pytest

from myrepetl_dagster.core.binlog.ddl import statement as reading
from myrepetl_dagster.core.binlog.ddl import tokens
from myrepetl_dagster.core.binlog.ddl.alter_table import Clause, Effect
from myrepetl_dagster.core.binlog.ddl.statement import Action, TableChange
from myrepetl_dagster.core.binlog.ddl.tokens import Sql
from myrepetl_dagster.core.model.tables import TableName

T = TableName("s", "t")


def table_changes(statement: str, schema: str) -> list[TableChange]:
    ansi_quotes = tokens.ANSI_QUOTES if statement.startswith('ALTER TABLE "') else 0
    return reading.table_changes(Sql(statement.encode(), sql_mode=ansi_quotes, mariadb=True), schema)


def clauses(statement: str) -> list[Clause]:
    (change,) = table_changes(statement, "s")
    assert (change.action, change.table) == (Action.ALTER, T), change
    return list(change.clauses)


def effects(clause: str) -> list[tuple[str, ...]]:
    """Effects and names, without what definitions say."""
    found = clauses(f"ALTER TABLE t {clause}")
    return [tuple(p for p in (c.effect.name, c.column, c.new_name) if p) for c in found]


@pytest.mark.parametrize(
    ("clause", "expected"),
    [
        ("ADD COLUMN c INT", [("ADD", "c")]),
        ("ADD c INT FIRST, ADD COLUMN IF NOT EXISTS `d e` TEXT AFTER c", [("ADD", "c"), ("ADD", "d e")]),
        ("ADD (c INT, d DECIMAL(10,2), KEY (c, d))", [("ADD", "c"), ("ADD", "d"), ("NONE",)]),
        ("ADD id INT PRIMARY KEY", [("ADD", "id"), ("KEY", "id")]),
        ("ADD id SERIAL", [("ADD", "id"), ("KEY", "id")]),
        ("ADD c INT UNIQUE KEY", [("ADD", "c")]),
        ("ADD UNIQUE KEY u (c), ADD CONSTRAINT x CHECK (c > 0), ADD FULLTEXT (d)", [("NONE",)] * 3),
        ("ADD CONSTRAINT p PRIMARY KEY (c)", [("KEY", "c")]),
        ("ADD PRIMARY KEY USING BTREE (c(3), `d` DESC) COMMENT ')'", [("KEY", "c"), ("KEY", "d")]),
        ("DROP c, DROP COLUMN IF EXISTS `d``e`", [("DROP", "c"), ("DROP", "d`e")]),
        ("DROP PRIMARY KEY", [("KEY",)]),
        ("DROP INDEX `PRIMARY`", [("KEY",)]),
        ("DROP INDEX i, DROP CONSTRAINT c, DROP KEY primary_", [("INDEX", "i"), ("INDEX", "c"), ("INDEX", "primary_")]),
        ("DROP FOREIGN KEY f, DROP CHECK k", [("NONE",)] * 2),
        ("DROP CONSTRAINT IF EXISTS `primary`", [("KEY",)]),
        ("RENAME COLUMN a TO b, RENAME INDEX i TO j", [("RENAME", "a", "b"), ("NONE",)]),
        ("CHANGE a b INT", [("RENAME", "a", "b"), ("RETYPE", "b")]),
        ("CHANGE COLUMN a a INT NOT NULL", [("RETYPE", "a")]),
        ("CHANGE COLUMN IF EXISTS a b INT", [("REWRITE",)]),
        ("RENAME COLUMN a TO b, MODIFY b INT", [("RENAME", "a", "b"), ("RETYPE", "b"), ("REWRITE",)]),
        ("RENAME COLUMN a TO A, ADD b INT", [("RENAME", "a", "A"), ("ADD", "b")]),
        ("ADD a INT, RENAME COLUMN a TO b", [("RENAME", "a", "b"), ("ADD", "a")]),
        ("CONVERT TO CHARSET latin1, ADD b TEXT", [("CONVERT",), ("ADD", "b"), ("REWRITE",)]),
        ("CONVERT TO CHARSET DEFAULT", [("REWRITE",)]),
        ("ENGINE=BLACKHOLE", [("REWRITE",)]),
        ("COMMENT 'x' ENGINE = 'InnoDB' UNION=(u)", [("REWRITE",)]),
        ("ORDER BY a, modify DESC", [("NONE",)]),
        ("ADD vector INT, ADD VECTOR INDEX (a), ADD VECTOR v (a)", [("ADD", "vector"), ("NONE",), ("NONE",)]),
        ("ADD vector VARCHAR(9), ADD COLUMN vector", [("ADD", "vector"), ("ADD", "vector")]),
        ("ADD system INT, ADD period INT", [("ADD", "system"), ("ADD", "period")]),
        ("ADD PERIOD FOR p (a, b)", [("REWRITE",)]),
        ("ADD c INT PARTITION BY KEY (id)", [("ADD", "c")]),
        ("DROP c REMOVE PARTITIONING", [("DROP", "c")]),
        ("MODIFY a INT KEY", [("RETYPE", "a"), ("KEY", "a")]),
        ("MODIFY COLUMN a ENUM('x, y','DROP b') COMMENT ', DROP c'", [("RETYPE", "a")]),
        ("CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", [("CONVERT",)]),
        ("ALTER COLUMN a SET DEFAULT 4, ALTER INDEX i INVISIBLE", [("NONE",)] * 2),
        ("ENGINE=InnoDB, COMMENT='RENAME TO x', AUTO_INCREMENT 5, ALGORITHM=INPLACE, LOCK=NONE", [("NONE",)] * 5),
        ("PARTITION BY HASH (id) PARTITIONS 4", [("NONE",)]),
        ("ADD PARTITION (PARTITION p VALUES LESS THAN (5))", [("NONE",)]),
        ("REORGANIZE PARTITION p, q INTO (PARTITION r VALUES LESS THAN MAXVALUE)", [("NONE",)]),
        ("REMOVE PARTITIONING", [("NONE",)]),
        ("DROP PARTITION p, q", [("REWRITE",)]),
        ("TRUNCATE PARTITION ALL", [("REWRITE",)]),
        ("ADD SYSTEM VERSIONING", [("REWRITE",)]),
        ("IMPORT TABLESPACE", [("REWRITE",)]),
        ("SOMETHING NEW", [("REWRITE",)]),
        ("NOWAIT ADD c INT", [("ADD", "c")]),
    ],
)
def test_clauses(clause: str, expected: list[tuple[str, ...]]) -> None:
    """Each clause's effect on columns; what is not known counts as a change of rows."""
    assert effects(clause) == expected


@pytest.mark.parametrize(
    ("definition", "fill"),
    [
        ("INT", "NULL"),
        ("TEXT NULL", "NULL"),
        ("INT DEFAULT NULL COMMENT 'NOT NULL DEFAULT 5'", "NULL"),
        ("INT DEFAULT 5", "5"),
        ("INT NOT NULL DEFAULT -5 AFTER `default`", "-5"),
        ("DECIMAL(9,2) DEFAULT 1.50", "1.50"),
        ("VARCHAR(9) DEFAULT 'a b'", "'a b'"),
        ("ENUM('a','b') NOT NULL DEFAULT 'b'", "'b'"),
        ("DATE DEFAULT '2024-01-02'", "'2024-01-02'"),
        ("BOOL NOT NULL DEFAULT TRUE", "TRUE"),
        ("INT NOT NULL", "0"),
        ("VARCHAR(9) NOT NULL", "''"),
        ("TIMESTAMP", None),
        ("TIMESTAMP NULL", "NULL"),
        ("TIMESTAMP NULL DEFAULT '2024-01-02'", None),
        ("DATETIME(1) DEFAULT '2024-01-02 03:04:05.67'", None),
        ("DATETIME DEFAULT CURRENT_TIMESTAMP", None),
        ("INT DEFAULT (1 + 2)", None),
        ("INT DEFAULT 1e3", None),
        ("BIT(3) DEFAULT b'101'", None),
        ("VARCHAR(9) DEFAULT 'it''s'", None),
        ("VARCHAR(9) DEFAULT 'é'", None),
        ("VARCHAR(9) DEFAULT 5", None),
        ("INT AS (a + 1) STORED", None),
        ("INT AUTO_INCREMENT", None),
        ("DATE NOT NULL", None),
        ("ENUM('a','b') NOT NULL", None),
        ("JSON DEFAULT ('[]')", None),
        ("UUID", "NULL"),
    ],
)
def test_what_older_rows_hold(definition: str, fill: str | None) -> None:
    """The value of an added column in the rows before it, where the statement alone tells it."""
    (clause,) = clauses(f"ALTER TABLE t ADD c {definition}")
    assert clause.definition is not None
    assert clause.definition.fill == fill


@pytest.mark.parametrize(
    ("definition", "column_type", "charset"),
    [
        ("integer(11) unsigned", "int unsigned", None),
        ("NUMERIC(10, 2)", "decimal(10,2)", None),
        ("varchar(50) CHAR SET latin1", "varchar(50)", "latin1"),
        ("VARCHAR(50) COLLATE utf8_bin", "varchar(50)", "utf8mb3"),
        ("TEXT CHARSET utf8mb4", "text", "utf8mb4"),
        ("TEXT", "text", None),
        ("BLOB", "blob", "binary"),
        ("enum('a','it''s')", "enum('a','it''s')", None),
        (r"enum('a', 'it\'s')", "enum('a','it''s')", None),
        ("CHAR", "char(1)", None),
        ("datetime(6)", "datetime(6)", None),
        ("FLOAT(7,3)", "float(7,3)", None),
    ],
)
def test_types(definition: str, column_type: str, charset: str | None) -> None:
    """Types as information_schema spells them."""
    (clause,) = clauses(f"ALTER TABLE t MODIFY c {definition} NOT NULL")
    assert clause.definition is not None
    assert clause.definition.column is not None
    assert not clause.definition.nullable
    assert (clause.definition.column.column_type, clause.definition.column.charset) == (column_type, charset)


@pytest.mark.parametrize(
    "definition",
    [
        "TEXT(100)",
        "FLOAT(53)",
        "VARCHAR(9) BINARY",
        "NATIONAL CHAR(5)",
        "WHATEVER",
        r"enum('a\\b')",
        "DOUBLE PRECISION(7,3)",
        "VARCHAR(9) CHARACTER SET binary",
        "VARCHAR(9) COLLATE uca1400_ai_ci",
        "INT REFERENCES u (a)",
    ],
)
def test_types_that_are_not_understood(definition: str) -> None:
    """Where a type depends on more than its words, nothing is claimed."""
    (clause,) = clauses(f"ALTER TABLE t MODIFY c {definition}")
    assert clause.definition is not None
    assert clause.definition.column is None


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("ALTER TABLE t ADD c INT, RENAME TO u", [(Action.RENAME, "s.t", "s.u")]),
        ("ALTER TABLE t RENAME COLUMN a TO b, RENAME AS x.u", [(Action.RENAME, "s.t", "x.u")]),
        ("ALTER TABLE t RENAME = u", [(Action.RENAME, "s.t", "s.u")]),
        ("RENAME TABLE t TO o, _t_gho TO t", [(Action.RENAME, "s.t", "s.o"), (Action.RENAME, "s._t_gho", "s.t")]),
        ("ALTER TABLE o EXCHANGE PARTITION p WITH TABLE t", [(Action.ALTER, "s.o", ""), (Action.ALTER, "s.t", "")]),
        ("CREATE OR REPLACE TABLE t (id INT)", [(Action.DROP, "s.t", ""), (Action.CREATE, "s.t", "")]),
        ("DROP TABLE IF EXISTS `t`, x.`u`", [(Action.DROP, "s.t", ""), (Action.DROP, "x.u", "")]),
        ('ALTER TABLE "a""b" ADD c INT', [(Action.ALTER, 's.a"b', "")]),
        ("/* DROP TABLE x */ ALTER TABLE t -- x\n ADD c INT", [(Action.ALTER, "s.t", "")]),
        ("DROP TEMPORARY TABLE t", []),
    ],
)
def test_tables(statement: str, expected: list[tuple[Action, str, str]]) -> None:
    """Which tables a statement changes, and into what."""
    found = [(c.action, str(c.table), str(c.renamed_to or "")) for c in table_changes(statement, "s")]
    assert found == expected


def test_structural() -> None:
    """An index, a comment or a TRUNCATE leaves the columns what they were."""

    def structural(statement: str) -> bool:
        return any(change.structural for change in table_changes(statement, "s"))

    assert not structural("ALTER TABLE t ADD INDEX (a), COMMENT 'x'")
    assert not structural("TRUNCATE t")
    assert structural("ALTER TABLE t ADD INDEX (a), DROP b")
    assert structural("RENAME TABLE u TO t")
    assert TableChange(Action.DROP, T).structural


@pytest.mark.parametrize(
    ("definition", "nullable"),
    [
        ("INT", True),
        ("INT NULL", True),
        ("INT NOT NULL", False),
        ("INT AUTO_INCREMENT", False),
        ("TIMESTAMP", False),
        ("TIMESTAMP NULL", True),
        ("INT CHECK (1 > 0) NOT ENFORCED", True),
    ],
)
def test_nullable(definition: str, nullable: bool) -> None:
    """A column may be NOT NULL without saying so: then it is asked whether there are NULLs to lose."""
    (clause,) = clauses(f"ALTER TABLE t MODIFY c {definition}")
    assert clause.definition is not None
    assert clause.definition.nullable is nullable


def test_effects_are_told_apart() -> None:
    """CHANGE keeps the column's former name, and a character set its own."""
    renamed, retyped = clauses("ALTER TABLE t CHANGE a b INT")
    assert (renamed.column, renamed.new_name, retyped.old_name) == ("a", "b", "a")
    (converted,) = clauses("ALTER TABLE t CONVERT TO CHARSET 'latin1'")
    assert (converted.effect, converted.charset) == (Effect.CONVERT, "latin1")
