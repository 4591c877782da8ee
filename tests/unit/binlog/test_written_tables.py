"""Which tables a data change in statement format writes, and where its text does not tell."""

from __future__ import annotations

import pytest

from myrepetl_dagster.core.binlog.ddl.statement import TableChange
from myrepetl_dagster.core.binlog.ddl.statement import table_changes as changes_of
from myrepetl_dagster.core.binlog.ddl.tokens import Sql


def table_changes(statement: str, schema: str) -> list[TableChange]:
    return changes_of(Sql(statement.encode()), schema)


CHECKSUM = (
    "REPLACE INTO `percona`.`checksums` (db, tbl, chunk, chunk_index, lower_boundary, upper_boundary, this_cnt, this_crc)"
    " SELECT 'shop', 'big', '1', 'PRIMARY', '0', '1999', COUNT(*) AS cnt, COALESCE(LOWER(CONV(BIT_XOR(CAST(CRC32("
    "CONCAT_WS('#', `id`, convert(`w` using utf8mb4), CONCAT(ISNULL(`w`)))) AS UNSIGNED)), 10, 16)), 0) AS crc FROM"
    " `shop`.`big` FORCE INDEX(`PRIMARY`) WHERE ((`id` >= '0')) AND ((`id` <= '1999')) /*checksum chunk*/"
)


@pytest.mark.parametrize(
    ("statement", "tables"),
    [
        (CHECKSUM, ["percona.checksums"]),
        ("UPDATE `percona`.`checksums` SET chunk_time = '0.1', master_crc = '0' WHERE db = 'd'", ["percona.checksums"]),
        ("DELETE FROM `percona`.`checksums` WHERE db = 'shop' AND tbl = 't'", ["percona.checksums"]),
        ("INSERT IGNORE t (a, b) VALUES (1, ROUND(2.5)), (3, 4) ON DUPLICATE KEY UPDATE a=VALUES(a)", ["db.t"]),
        ("INSERT INTO t SELECT * FROM (SELECT 1) AS x", ["db.t"]),
        ("INSERT INTO t SET a='f(1)'", ["db.t"]),
        ("REPLACE LOW_PRIORITY x.`a``b` VALUES ()", ["x.a`b"]),
        ("UPDATE t AS x, other.u JOIN w ON w.id=COALESCE(x.a, x.b) SET x.a=1, w.b=2", ["db.t", "db.w", "other.u"]),
        ("UPDATE IGNORE t LEFT JOIN (SELECT id FROM z) AS y USING (id) SET t.a=1", ["db.t"]),
        ("DELETE x FROM t AS x JOIN u USING (id) WHERE u.a IN (1, 2)", ["db.t", "db.u"]),
        ("DELETE FROM t, u USING t JOIN u ON t.id=u.id", ["db.t", "db.u"]),
        ("DELETE QUICK FROM x.t ORDER BY id LIMIT 5", ["x.t"]),
        ("WITH x AS (SELECT 1 AS a) UPDATE t, x SET t.a=x.a", ["db.t"]),
        ("WITH x AS (SELECT 1 AS a) DELETE FROM t WHERE a IN (SELECT a FROM x)", ["db.t"]),
        ("SET STATEMENT max_statement_time=1 FOR INSERT INTO t VALUES (1)", ["db.t"]),
    ],
)
def test_written(statement: str, tables: list[str]) -> None:
    """Each table that is written is found, and more only where an alias could stand for one."""
    assert [str(change.table) for change in table_changes(statement, "db")] == tables


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t VALUES (f(1))",
        "INSERT INTO t VALUES (`f` (1))",
        "INSERT INTO t VALUES (x.count(1))",
        "INSERT INTO t SELECT /*!50000 f() */ 1",
        "INSERT INTO t VALUES ('\\', f(), '')",
        "UPDATE (t JOIN u) SET a=1",
        "UPDATE t JOIN (u, w) SET a=1",
        "DELETE FROM t WHERE a=f()",
        "WITH x AS (SELECT f()) UPDATE t, x SET t.a=1",
        "WITH x AS (SELECT 1) SELECT f() FROM x",
        "LOAD DATA INFILE 'x' INTO TABLE t",
        "CALL p()",
        "SELECT f()",
        "DO f()",
        "INSERT",
        "DELETE",
        "UPDATE",
        "WITH",
    ],
)
def test_any_table(statement: str) -> None:
    """What may call a stored function, or is not understood, may write any table."""
    (change,) = table_changes(statement, "db")
    assert change.table.table == ""
