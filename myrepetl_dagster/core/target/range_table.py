"""The table of copy ranges: how far each part of a table is copied that several processes copy side by side.

Each part has a row, which is written in the transaction of the part's own rows. The checkpoint of the mapping is the
fence as ever: each of these transactions locks it, shared, so that the parts don't wait for each other. `owner` is the
fence between two tries to copy the same part. Rows that an abandoned copy has left have no effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymysql.connections import Connection

from ..config.pipeline import Endpoint
from ..model.copy_range import STORED_COLUMNS, CopyRange, from_row, to_row
from ..model.errors import StaleStep
from ..mysql.connect import query
from ..mysql.errors import translated
from ..values.sql import quote_name
from .checkpoint_table import SHORT_NAME_MAX

TABLE = "_myrepetl_copy_range"
_WRITTEN = ("done", "rows_snapshotted", "rows_filtered", "bytes_read", "details")


def create_table_sql(database: str) -> str:
    """The table's definition. InnoDB, since its rows and the data must commit together."""
    return f"""CREATE TABLE IF NOT EXISTS {quote_name(database)}.{TABLE} (
  mapping VARCHAR({SHORT_NAME_MAX}) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  number INT UNSIGNED NOT NULL,
  owner CHAR(32) CHARACTER SET ascii NOT NULL DEFAULT '',
  done TINYINT NOT NULL DEFAULT 0,
  rows_snapshotted BIGINT UNSIGNED NOT NULL DEFAULT 0,
  rows_filtered BIGINT UNSIGNED NOT NULL DEFAULT 0,
  bytes_read BIGINT UNSIGNED NOT NULL DEFAULT 0,
  details LONGTEXT NOT NULL,
  PRIMARY KEY (mapping, number)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4"""


class RangeTable:
    """The table, in a target's open transaction, behind the fence of the mapping that it is asked about.

    Args:
        connection: the one on which the transaction is open.
    """

    def __init__(self, endpoint: Endpoint, connection: Connection[Any]) -> None:
        self._endpoint = endpoint
        self._connection = connection
        self._table = f"{quote_name(endpoint.database)}.{TABLE}".replace("%", "%%")  # PyMySQL formats it

    def _run(self, sql: str, args: Sequence[Any]) -> list[tuple[Any, ...]]:
        with translated(self._endpoint, "keeping the ranges of a copy"):
            return query(self._connection, sql, args)

    def put(self, mapping: str, ranges: Sequence[CopyRange]) -> None:
        """Store these ranges in place of those that the mapping has."""
        self.drop(mapping)
        columns = ", ".join(STORED_COLUMNS)
        marks = ", ".join(["%s"] * len(STORED_COLUMNS))
        for row in map(to_row, ranges):
            sql = f"INSERT INTO {self._table} ({columns}) VALUES ({marks})"
            self._run(sql, [row[column] for column in STORED_COLUMNS])

    def drop(self, mapping: str) -> None:
        """Delete the mapping's ranges."""
        self._run(f"DELETE FROM {self._table} WHERE mapping=%s", [mapping])

    def all(self, mapping: str) -> list[CopyRange]:
        """The mapping's ranges in key order."""
        return self._read("mapping=%s ORDER BY number", [mapping])

    def take(self, mapping: str, number: int, owner: str) -> CopyRange | None:
        """Make `owner` the only one that may write on the range from now on. None: there is no such range."""
        place = [mapping, number]
        self._run(f"UPDATE {self._table} SET owner=%s WHERE mapping=%s AND number=%s", [owner, *place])
        return next(iter(self._read("mapping=%s AND number=%s", place)), None)

    def write(self, copy_range: CopyRange, owner: str) -> None:
        """Store how far the range is copied.

        Raises:
            StaleStep: another try has taken the range.
        """
        place = [copy_range.mapping, copy_range.number, owner]
        where = "WHERE mapping=%s AND number=%s AND owner=%s"
        if not self._run(f"SELECT 1 FROM {self._table} {where} FOR UPDATE", place):
            raise StaleStep(copy_range.mapping, copy_range.number)
        row = to_row(copy_range)
        values = ", ".join(f"{column}=%s" for column in _WRITTEN)
        self._run(f"UPDATE {self._table} SET {values} {where}", [*(row[column] for column in _WRITTEN), *place])

    def _read(self, where: str, args: Sequence[Any]) -> list[CopyRange]:
        rows = self._run(f"SELECT {', '.join(STORED_COLUMNS)} FROM {self._table} WHERE {where}", args)
        return [from_row(dict(zip(STORED_COLUMNS, map(_text, row), strict=True))) for row in rows]


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
