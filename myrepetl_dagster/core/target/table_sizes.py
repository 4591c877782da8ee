"""What a target tells of its tables' sizes, and of what it keeps of them in memory."""

from __future__ import annotations

from typing import Any

from pymysql.connections import Connection

from ..model.tables import TableName
from ..mysql.connect import query
from ..plan.table_plan import TablePlan
from .statements import table_sql

_TABLE_BYTES = (
    "SELECT data_length + index_length FROM information_schema.tables WHERE table_schema = %s AND table_name = %s"
)


def rows_about(control: Connection[Any], plan: TablePlan, *, mariadb: bool) -> int:
    """How many rows the server takes the plan's table to have."""
    form = "" if mariadb else "FORMAT=TRADITIONAL"
    sql = f"EXPLAIN {form} SELECT 1 FROM {table_sql(plan)}"
    (told,) = query(control, sql.encode("latin-1").decode("utf-8", "surrogateescape"))
    return int(told[-2 if mariadb else -3] or 0)  # before what else there is to say


def table_bytes(control: Connection[Any], name: TableName, *, cached: bool) -> int:
    """How much a table takes with its indexes, as the server last counted its pages; 0 where it is not there.

    Args:
        cached: the server would tell what it told up to a day ago (MySQL from 8.0 on).
    """
    if cached:
        query(control, "SET SESSION information_schema_stats_expiry=0")
    return sum(int(size or 0) for (size,) in query(control, _TABLE_BYTES, (name.schema, name.table)))


def buffer_pool_bytes(control: Connection[Any]) -> int:
    """How much of its tables InnoDB keeps in memory."""
    ((size,),) = query(control, "SELECT @@GLOBAL.innodb_buffer_pool_size")
    return int(size)
