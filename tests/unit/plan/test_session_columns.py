"""VIRTUAL columns whose value depends on who reads them are found in the table's definition."""

from __future__ import annotations

import pytest

from myrepetl_dagster.core.model.tables import Column, Table, TableName
from myrepetl_dagster.core.plan.session_columns import session_columns

TABLE = Table(TableName("s", "t"), (Column("id", "int"), Column("t`s", "timestamp"), Column("now", "varchar")))


@pytest.mark.parametrize(
    ("expression", "kind", "varies"),
    [
        ("current_timestamp()", "VIRTUAL", True),
        ("timestampdiff(YEAR,`d`,NOW(6))", "VIRTUAL", True),
        ("date_format(`d`,_utf8mb4'%M')", "VIRTUAL", True),
        ("cast(`t``s` as date)", "VIRTUAL", True),
        ("@@session.sql_mode", "VIRTUAL", True),
        ("cast(`t``s` as date)", "STORED", False),
        ("`now` + 1", "VIRTUAL", False),
        ("concat(`d`,'it\\'s now()',_utf8mb4'a''b uuid()')", "VIRTUAL", False),
        ("truncate(`id`,2)", "VIRTUAL", False),
    ],
)
def test_what_varies(expression: str, kind: str, varies: bool) -> None:
    """Functions of the moment, of chance, of the session, and a TIMESTAMP; not what only looks like one."""
    definition = (
        "CREATE TABLE `t` (\n  `id` int NOT NULL,\n"
        f"  `g``x` varchar(60) COLLATE utf8mb4_bin GENERATED ALWAYS AS ({expression}) {kind} COMMENT 'x',\n"
        "  PRIMARY KEY (`id`)\n) ENGINE=InnoDB"
    )
    assert session_columns(definition, TABLE) == (["g`x"] if varies else [])
