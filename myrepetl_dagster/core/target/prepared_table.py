"""The table of prepared rows: rows of XA transactions between their XA PREPARE and their XA COMMIT or ROLLBACK.

The log has told these rows, and nobody may see them yet. A run keeps them in memory as long as it can. When the
checkpoint moves past the prepare, the same transaction writes them to this table; when it moves past the decision, the
same transaction takes them out. The checkpoint itself says which transactions are in doubt and what their rows are
kept under. So rows that an abandoned copy has left in the table have no effect.
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


def create_table_sql(database: str) -> str:
    """The table's definition. InnoDB, since its rows and the checkpoint must commit together."""
    return f"""CREATE TABLE IF NOT EXISTS {quote_name(database)}.{TABLE} (
  part BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  mapping VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  token CHAR(32) CHARACTER SET ascii NOT NULL,
  payload LONGBLOB NOT NULL,
  KEY (mapping(100), token, part)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4"""


class PreparedTable:
    """The table, in a target's open transaction.

    Args:
        connection: the one on which the transaction is open.
    """

    def __init__(self, endpoint: Endpoint, connection: Connection[Any]) -> None:
        self._endpoint = endpoint
        self._connection = connection
        self._table = f"{quote_name(endpoint.database)}.{TABLE}".replace("%", "%%")  # PyMySQL formats it

    def _run(self, sql: str, args: Sequence[Any]) -> list[tuple[Any, ...]]:
        with translated(self._endpoint, "keeping prepared transactions"):
            return query(self._connection, sql, args)

    def keep(self, mapping: str, token: str, payload: bytes) -> None:
        """Add a part of a transaction's rows.

        Args:
            token: names the transaction's rows.
        """
        sql = f"INSERT INTO {self._table} (mapping, token, payload) VALUES (%s, %s, %s)"
        self._run(sql, (mapping, token, payload))

    def kept(self, mapping: str, token: str) -> Iterator[bytes]:
        """The parts of a transaction's rows, in the order in which they were added."""
        sql = f"SELECT part, payload FROM {self._table} WHERE mapping=%s AND token=%s AND part>%s ORDER BY part LIMIT 1"
        part = 0
        while found := self._run(sql, (mapping, token, part)):
            part = int(found[0][0])
            yield found[0][1]

    def drop_all_but(self, mapping: str, tokens: Sequence[str]) -> None:
        """Delete a mapping's rows, except those of some transactions."""
        sql = f"DELETE FROM {self._table} WHERE mapping=%s"
        if tokens:
            sql += f" AND token NOT IN ({', '.join(['%s'] * len(tokens))})"
        self._run(sql, (mapping, *tokens))
