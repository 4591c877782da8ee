"""How many rows a target table holds, counted in bounded time. Reads only."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pymysql.connections import Connection

from ..model.errors import ReplicationError, TransientError
from ..model.tables import TableName
from ..mysql.connect import close_quietly, connect, query
from ..mysql.errors import translated
from ..mysql.server import Server
from ..mysql.session import Use
from ..target.statements import fixed_where_sql
from ..values.sql import quote_name

COUNT_S_MAX = 1.0  # for one table
COUNTS_S_MAX = 3.0  # for all tables of one counter
_ANSWER_S = 1.0  # how much longer than the server's time limit we wait for its answer
_NO_SUCH_TABLE = frozenset({1049, 1146})


class RowCounter:
    """Counts rows of target tables in bounded time: up to a second for each, three in all.

    It has its own connections, so that a count that breaks one disturbs nothing else.
    """

    def __init__(self) -> None:
        self.left_s = COUNTS_S_MAX
        self._connections: dict[str, Connection[Any]] = {}  # by the target's label

    def count(self, target: Server, name: TableName, fixed: Mapping[str, Any]) -> int | None:
        """The number of rows of a table in which these columns have these values.

        None: there is no such table, counting takes too long, or the server does not answer.

        Raises:
            ReplicationError: the server refuses to count them.
        """
        count_s_max = min(COUNT_S_MAX, self.left_s)
        if count_s_max <= 0:
            return None
        began_s = time.monotonic()
        try:
            with translated(target.endpoint, f"counting {name}"):
                return self._count(target, name, fixed, count_s_max)
        except TransientError:
            close_quietly(self._connections.pop(target.endpoint.label, None))
            return None
        except ReplicationError as error:
            if error.code in _NO_SUCH_TABLE:
                return None
            raise
        finally:
            self.left_s -= time.monotonic() - began_s

    def close(self) -> None:
        while self._connections:
            close_quietly(self._connections.popitem()[1])

    def _count(self, target: Server, name: TableName, fixed: Mapping[str, Any], count_s_max: float) -> int:
        connection = self._connection(target, count_s_max + _ANSWER_S)
        where = fixed_where_sql(fixed).encode("latin-1").decode("utf-8", "surrogateescape")
        rows = f"COUNT(*) FROM {quote_name(name.schema)}.{quote_name(name.table)}{where}"
        milliseconds = max(1, int(count_s_max * 1000))
        if target.info.is_mariadb:
            sql = f"SET STATEMENT max_statement_time={milliseconds / 1000:.3f} FOR SELECT {rows}"
        else:
            sql = f"SELECT /*+ MAX_EXECUTION_TIME({milliseconds}) */ {rows}"
        return int(query(connection, sql)[0][0])

    def _connection(self, target: Server, wait_s: float) -> Connection[Any]:
        endpoint = target.endpoint
        if endpoint.label not in self._connections:
            connect_s = min(endpoint.connect_timeout_s or target.limits.connect_timeout_s, wait_s)
            quick = replace(endpoint, connect_timeout_s=connect_s)
            self._connections[endpoint.label] = connect(quick, Use.CONTROL, target.limits, target.info)
        connection = self._connections[endpoint.label]
        connection._read_timeout = wait_s
        return connection
