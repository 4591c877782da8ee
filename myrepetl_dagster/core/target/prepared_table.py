"""XA transactions between XA PREPARE and XA COMMIT: rows that the log has told and nobody may see yet.

What a mapping would have to do is kept beside its checkpoint: for as long as may be in memory, then in a table
of the target, written and taken out in the very transactions that move the checkpoint past the prepare and
past the decision. The checkpoint itself says which transactions are in doubt and where their rows lie, so
that what an abandoned copy left in the table counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pymysql.connections import Connection

from ..config.pipeline import Endpoint
from ..mysql.connect import query
from ..mysql.errors import translated
from ..values.sql import quote_name

TABLE = "_myrepetl_prepared"


# ---- the table ----
def create_table_sql(database: str) -> str:
    return f"""CREATE TABLE IF NOT EXISTS {quote_name(database)}.{TABLE} (
  part BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  mapping VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  token CHAR(32) CHARACTER SET ascii NOT NULL,
  payload LONGBLOB NOT NULL,
  KEY (mapping, token, part)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4"""


class PreparedTable:
    """The table on a MySQL or MariaDB target. `connection` is the one with the open transaction."""

    def __init__(self, endpoint: Endpoint, connection: Connection[Any]) -> None:
        self._endpoint = endpoint
        self._connection = connection
        self._table = f"{quote_name(endpoint.database)}.{TABLE}".replace("%", "%%")

    def _run(self, sql: str, args: Sequence[Any]) -> list[tuple[Any, ...]]:
        with translated(self._endpoint, "keeping prepared transactions"):
            return query(self._connection, sql, args)

    def keep(self, mapping: str, token: str, payload: bytes) -> None:
        sql = f"INSERT INTO {self._table} (mapping, token, payload) VALUES (%s, %s, %s)"
        self._run(sql, (mapping, token, payload))

    def kept(self, mapping: str, token: str) -> Iterator[bytes]:
        """The payloads, in the order in which they were kept."""
        sql = f"SELECT part, payload FROM {self._table} WHERE mapping=%s AND token=%s AND part>%s ORDER BY part LIMIT 1"
        part = 0
        while found := self._run(sql, (mapping, token, part)):
            part = int(found[0][0])
            yield found[0][1]

    def drop_all_but(self, mapping: str, tokens: Sequence[str]) -> None:
        sql = f"DELETE FROM {self._table} WHERE mapping=%s"
        if tokens:
            sql += f" AND token NOT IN ({', '.join(['%s'] * len(tokens))})"
        self._run(sql, (mapping, *tokens))
