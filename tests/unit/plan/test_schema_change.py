"""What a change of a source table means for a mapping, by policy; and which types hold which."""

from __future__ import annotations

from typing import Any

import pytest

from myrepetl_dagster.core.binlog.ddl.statement import table_changes
from myrepetl_dagster.core.binlog.ddl.tokens import Sql
from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.model.errors import SchemaDrift
from myrepetl_dagster.core.model.tables import Column, Table, TableName
from myrepetl_dagster.core.plan.decisions import Answer
from myrepetl_dagster.core.plan.resolution import plan_table
from myrepetl_dagster.core.plan.schema_change import decide
from myrepetl_dagster.core.values.widening import as_bytes, widens


def column(name: str, column_type: str, charset: str | None = None, **more: Any) -> Column:
    kind = column_type.split("(")[0].split()[0]
    return Column(name, kind, column_type, "unsigned" in column_type, charset, **more)


BEFORE = (
    column("id", "int", nullable=False),
    column("a", "int"),
    column("b", "varchar(40)", "utf8mb4"),
    column("d", "decimal(10,2)"),
)


def answer(
    statement: str, now: tuple[Column, ...] = BEFORE, *, altered: bool = False, target: tuple[Column, ...] = BEFORE,
    **mapping: Any,
) -> Answer:  # fmt: skip
    server = {"host": "h", "user": "u", "password": "p", "database": "s"}
    data = {
        "sources": {"x": server},
        "targets": {"y": {**server, "host": "g"}},
        "mapping": {"x.t": {"target_table": "y.t", **mapping}},
    }
    name = TableName("s", "t")
    source = Table(name, BEFORE, ("id",), charset="utf8mb4")
    plan = plan_table(from_dict(data).mappings[0], source, Table(name, target, ("id",)), ())
    after = Table(name, now, ("id",), charset="utf8mb4")
    return decide(plan, table_changes(Sql(statement.encode()), "s"), BEFORE, after, "f:4", altered=altered).answer


def test_followed() -> None:
    """`evolve` changes the target where the table as it is now bears the statement out."""
    added = (*BEFORE, column("c", "int"))
    assert answer("ALTER TABLE t ADD c INT", added) is Answer.EVOLVE
    assert answer("ALTER TABLE t ADD c INT DEFAULT 5", added) is Answer.EVOLVE
    assert answer("ALTER TABLE t DROP b", BEFORE[:2]) is Answer.EVOLVE
    assert answer("ALTER TABLE t RENAME COLUMN b TO z") is Answer.EVOLVE
    wider = (BEFORE[0], column("a", "bigint"), *BEFORE[2:])
    assert answer("ALTER TABLE t MODIFY A BIGINT", (BEFORE[0], column("A", "bigint"))) is Answer.EVOLVE
    assert answer("ALTER TABLE t MODIFY a BIGINT", wider, altered=True) is Answer.EVOLVE
    assert answer("ALTER TABLE t ADD INDEX (a)") is Answer.GO_ON


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE t ADD c INT",  # is gone by now
        "ALTER TABLE t MODIFY a BIGINT",  # is an int again by now
        "ALTER TABLE t MODIFY d DECIMAL(10,1)",
        "ALTER TABLE t MODIFY b VARCHAR(20)",
        "ALTER TABLE t MODIFY b VARCHAR(40) CHARACTER SET latin1",
        "ALTER TABLE t CONVERT TO CHARACTER SET latin1",
        "ALTER TABLE t MODIFY b VARCHAR(40) BINARY",
        "ALTER TABLE t MODIFY a INT AS (id) STORED",
        "ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (id, a)",
        "ALTER TABLE t DROP PARTITION p",
        "ALTER IGNORE TABLE t ADD UNIQUE (a)",
        "RENAME TABLE t TO o, n TO t",
        "RENAME TABLE n TO t",
        "DROP TABLE t",  # there is one now
        "DROP DATABASE s",
        "RENAME TABLE t TO u",
        "ALTER TABLE t RENAME u",
        "CREATE OR REPLACE TABLE t (id INT)",
        "ALTER TABLE t DROP ID",
        "ALTER TABLE t MODIFY a VARCHAR(9)",
    ],
)
def test_copied_again(statement: str) -> None:
    """What changed rows without the log, or has been overtaken, is copied again."""
    assert answer(statement) is Answer.COPY_AGAIN


@pytest.mark.parametrize("policy", ["ignore", "fail"])
@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE t",
        "DROP DATABASE s",
        "RENAME TABLE t TO u",
        "ALTER TABLE t RENAME u",
        "ALTER TABLE t DROP ID",
        "ALTER TABLE t MODIFY a VARCHAR(9)",
        "CREATE OR REPLACE TABLE t (id INT)",
    ],
)
def test_stopped(statement: str, policy: str) -> None:
    """Only `evolve` goes on where the table, its key or the kind of its values went."""
    with pytest.raises(SchemaDrift):
        answer(statement, schema_policy=policy)


def test_fail() -> None:
    """`fail` stops at whatever is not an index or an option, a swap included."""
    assert answer("ALTER TABLE t ADD INDEX (a)", schema_policy="fail") is Answer.GO_ON
    for statement in ("ALTER TABLE t ADD c INT", "RENAME TABLE t TO o, n TO t", "ALTER TABLE t DROP PRIMARY KEY"):
        with pytest.raises(SchemaDrift):
            answer(statement, schema_policy="fail")


def test_explicit_mapping() -> None:
    """Columns that the mapping does not name are nobody's business."""
    named: dict[str, Any] = {"column_mapping": {"id": {"column": "id", "primary_key": True}, "a": {"column": "a"}}}
    for statement in ("ADD c INT", "DROP b", "RENAME COLUMN b TO c", "MODIFY b INT", "DROP PRIMARY KEY"):
        assert answer(f"ALTER TABLE t {statement}", **named) is Answer.GO_ON
    assert answer("ALTER TABLE t MODIFY a BIGINT", **named) is Answer.EVOLVE  # only NULLs are looked for
    for statement in ("DROP a", "RENAME COLUMN a TO c", "MODIFY a SMALLINT", "TRUNCATE PARTITION p"):
        with pytest.raises(SchemaDrift):
            answer(f"ALTER TABLE t {statement}", **named)


def test_explicit_mapping_into_other_letters() -> None:
    """A target column that differs in the letters' case alone is not taken for the source's."""
    target = (BEFORE[0], column("A", "int"))
    named: dict[str, Any] = {"column_mapping": {"id": {"column": "id", "primary_key": True}, "a": {"column": "A"}}}
    assert answer("ALTER TABLE t MODIFY a BIGINT", target=target, **named) is Answer.EVOLVE
    for statement in ("DROP a", "DROP A", "MODIFY a SMALLINT", "MODIFY A BIGINT"):
        with pytest.raises(SchemaDrift):
            answer(f"ALTER TABLE t {statement}", target=target, **named)


def test_text_of_bytes() -> None:
    """In a table whose character set is `binary`, a text column is one of bytes."""
    held = as_bytes(column("b", "varchar(40)"))
    assert (held.type, held.column_type, held.charset) == ("varbinary", "varbinary(40)", "binary")
    assert as_bytes(column("b", "mediumtext")).type == "mediumblob"
    assert as_bytes(column("b", "enum('char')", "latin1")) == column("b", "enum('char')", "binary")


def test_new_key_beside_the_mappings_own() -> None:
    """The NULLs of its columns become values, so they are looked for where the mapping has the column."""
    own: dict[str, Any] = {"primary_key": "id"}
    assert answer("ALTER TABLE t DROP PRIMARY KEY", **own) is Answer.GO_ON
    assert answer("ALTER TABLE t ADD PRIMARY KEY (id, a)", **own) is Answer.EVOLVE
    named: dict[str, Any] = {"column_mapping": {"id": {"column": "id", "primary_key": True}}}
    assert answer("ALTER TABLE t ADD PRIMARY KEY (a)", **named) is Answer.GO_ON


@pytest.mark.parametrize(
    ("before", "now", "holds"),
    [
        (("int", None), ("bigint", None), True),
        (("int unsigned", None), ("int", None), False),
        (("int unsigned", None), ("bigint", None), True),
        (("int", None), ("bigint unsigned", None), False),
        (("float", None), ("double", None), False),
        (("float", None), ("float(7,2)", None), False),
        (("decimal(10,2)", None), ("decimal(12,4)", None), True),
        (("decimal(10,2)", None), ("decimal(11,4)", None), False),
        (("decimal(10,0)", None), ("decimal", None), True),
        (("varchar(40)", "utf8mb4"), ("varchar(50)", "utf8mb4"), True),
        (("varchar(40)", "utf8mb4"), ("varchar(50)", "utf8mb3"), False),
        (("varchar(40)", "latin1"), ("varchar(40)", "utf8mb4"), True),
        (("varchar(40)", "utf8mb4"), ("char(40)", "utf8mb4"), False),
        (("char(40)", "utf8mb4"), ("varchar(40)", "utf8mb4"), True),
        (("varchar(100)", "utf8mb4"), ("tinytext", "utf8mb4"), False),
        (("varchar(100)", "latin1"), ("tinytext", "latin1"), True),
        (("text", "latin1"), ("text", "utf8mb4"), False),
        (("text", "latin1"), ("mediumtext", "utf8mb4"), True),
        (("tinytext", "utf8mb4"), ("varchar(255)", "utf8mb4"), True),
        (("text", "utf8mb4"), ("blob", "binary"), False),
        (("binary(4)", "binary"), ("binary(8)", "binary"), False),
        (("varbinary(4)", "binary"), ("blob", "binary"), True),
        (("enum('a','b')", "latin1"), ("enum('b','c','a')", "latin1"), True),
        (("enum('a','b')", "latin1"), ("enum('a')", "latin1"), False),
        (("enum('a')", "latin1"), ("varchar(9)", "latin1"), False),
        (("datetime", None), ("datetime(3)", None), True),
        (("datetime(3)", None), ("datetime", None), False),
        (("datetime", None), ("timestamp", None), False),
        (("bit(3)", None), ("bit(8)", None), True),
        (("year", None), ("year(4)", None), True),
        (("year(2)", None), ("year(4)", None), True),
        (("year(4)", None), ("year(2)", None), False),
        (("point", None), ("geometry", None), False),
    ],
)
def test_widens(before: tuple[str, str | None], now: tuple[str, str | None], holds: bool) -> None:
    """Which types hold every value of another, byte for byte."""
    assert widens(column("c", *before), column("c", *now)) is holds
