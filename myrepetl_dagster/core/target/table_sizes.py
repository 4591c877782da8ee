"""How large a target's tables are, and how much of them the server keeps in memory, as it estimates it."""

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
# The other optimizer, which a server may have switched on, explains in no table.
_PLAIN_OPTIMIZER = "/*+ SET_VAR(optimizer_switch='hypergraph_optimizer=off') */ "


def estimated_rows(control: Connection[Any], plan: TablePlan, *, mariadb: bool) -> int:
    """How many rows the plan's table has, as the server estimates it."""
    output_format, hint = ("", "") if mariadb else ("FORMAT=TRADITIONAL", _PLAIN_OPTIMIZER)
    sql = f"EXPLAIN {output_format} SELECT {hint}1 FROM {table_sql(plan)}"
    (explained,) = query(control, sql.encode("latin-1").decode("utf-8", "surrogateescape"))
    rows = explained[-2] if mariadb else explained[-3]  # `Extra` follows, and on MySQL `filtered` before it
    return int(rows or 0)


def table_bytes(control: Connection[Any], name: TableName, *, cached: bool) -> int:
    """How many bytes a table takes with its indexes, as the server last counted its pages; 0 if it is not there.

    Args:
        cached: the server may answer with numbers that are up to a day old, unless told not to (MySQL from 8.0 on).
    """
    if cached:
        query(control, "SET SESSION information_schema_stats_expiry=0")
    return sum(int(size_bytes or 0) for (size_bytes,) in query(control, _TABLE_BYTES, (name.schema, name.table)))


def buffer_pool_bytes(control: Connection[Any]) -> int:
    """The size of the memory in which InnoDB keeps pages of its tables."""
    ((size_bytes,),) = query(control, "SELECT @@GLOBAL.innodb_buffer_pool_size")
    return int(size_bytes)
