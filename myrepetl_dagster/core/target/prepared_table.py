"""XA transactions between XA PREPARE and XA COMMIT: rows that the log has told and nobody may see yet.

What a mapping would have to do is kept beside its checkpoint: for as long as may be in memory, then in a table
of the target, written and taken out in the very transactions that move the checkpoint past the prepare and
past the decision. The checkpoint itself says which transactions are in doubt and where their rows lie, so
that what an abandoned copy left in the table counts for nothing.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from pymysql.connections import Connection

from ..config.pipeline import Endpoint
from ..mysql.connect import query
from ..mysql.errors import translated
from ..plan.table_plan import PlannedColumn, TablePlan
from ..rows.pending_rows import Mutation, Shaped
from ..values.sql import quote_name

TABLE = "_myrepetl_prepared"
# What the name of a transaction's rows begins with: they were few enough to be in memory, or were not.
WHOLE, PARTS = "w", "p"
PAYLOAD_BYTES_MAX = 2**20


class PreparedRows(Protocol):
    """The table of kept rows, inside the target's open transaction. `token` names one transaction's rows."""

    def keep(self, mapping: str, token: str, payload: bytes) -> None: ...
    def kept(self, mapping: str, token: str) -> Iterator[bytes]: ...
    def drop_all_but(self, mapping: str, tokens: Sequence[str]) -> None: ...


Recalled = tuple[TablePlan, Shaped]


@dataclass(slots=True)
class InDoubt:
    """One mapping's transactions in doubt, as of its place in the log.

    `tokens`: XA transaction to the name of its rows, '' where the mapping has none in it. `fresh`: rows that are
    not in the table yet. `in_parts`: of the transaction being read some rows are there already.
    """

    tokens: dict[str, str] = field(default_factory=dict)
    fresh: dict[str, Recalled] = field(default_factory=dict)
    in_parts: bool = False
    moved: bool = False  # the table has to change, or has, with the next checkpoint

    @property
    def unsaved(self) -> bool:
        return self.moved or bool(self.fresh)

    def add(self, xid: str, token: str, plan: TablePlan, shaped: Shaped) -> None:
        """The transaction being read is prepared."""
        if self.in_parts:
            self.tokens[xid] = PARTS + token
        elif shaped.rows_read:
            self.tokens[xid] = WHOLE + token
            self.fresh[WHOLE + token] = plan, shaped
        else:
            self.tokens[xid] = ""
        self.in_parts = False

    def recall(self, xid: str, mapping: str, table: Callable[[], PreparedRows], now: TablePlan) -> Recalled | None:
        """The rows of a transaction, unless they are too many to hold. `now`: the mapping's plan."""
        token = self.tokens.get(xid, "")
        if not token.startswith(WHOLE):
            return None
        if token in self.fresh:
            return self.fresh[token]
        plan, whole = now, Shaped()
        for payload in table().kept(mapping, token):
            plan, piece = unpacked(now, payload)
            whole.take(piece)
        return plan, whole

    def is_in_parts(self, xid: str) -> bool:
        return self.tokens.get(xid, "").startswith(PARTS)

    def decided(self, xid: str) -> str:
        """It is no longer in doubt. The name of its rows where they lie in parts, else ''."""
        token = self.tokens.pop(xid, "")
        if token and self.fresh.pop(token, None) is None:
            self.moved = True
        return token if token.startswith(PARTS) else ""

    def save(self, mapping: str, table: PreparedRows) -> None:
        """Make the table say what `tokens` says, in the checkpoint's own transaction."""
        table.drop_all_but(mapping, [token for token in self.tokens.values() if token and token not in self.fresh])
        for token, (plan, shaped) in self.fresh.items():
            keep(table, mapping, token, plan, shaped)

    def saved(self) -> None:
        self.fresh.clear()
        self.moved = False


def keep(table: PreparedRows, mapping: str, token: str, plan: TablePlan, shaped: Shaped) -> None:
    """Store shaped rows."""
    for payload in payloads(plan, shaped):
        table.keep(mapping, token, payload)


def payloads(plan: TablePlan, shaped: Shaped) -> Iterator[bytes]:
    """Shaped rows as bytes, in pieces of a bounded size (a row stays whole)."""
    counts = [shaped.rows_read, shaped.rows_upserted, shaped.rows_deleted, shaped.rows_filtered]
    columns = [c.target for c in plan.columns]
    piece: list[Mutation] = []
    size = 0
    for mutation in shaped.settle():
        key, row = mutation
        length = sum(map(len, key)) + sum(map(len, row or ()))
        if piece and size + length > PAYLOAD_BYTES_MAX:
            yield _packed(columns, [0, 0, 0, 0], piece)
            piece, size = [], 0
        piece.append(mutation)
        size += length
    yield _packed(columns, counts, piece)  # the counts once


def _packed(columns: list[str], counts: list[int], mutations: list[Mutation]) -> bytes:
    return zlib.compress(json.dumps([columns, counts, mutations]).encode(), 1)


def unpacked(plan: TablePlan, payload: bytes) -> tuple[TablePlan, Shaped]:
    """Rows as they were shaped, and the plan for their columns."""
    columns, counts, mutations = json.loads(zlib.decompress(payload))
    rows: list[Mutation] = [(tuple(key), None if row is None else tuple(row)) for key, row in mutations]
    if columns != [c.target for c in plan.columns]:  # of every column; some have come or gone since
        plan = replace(plan, columns=tuple(PlannedColumn(name, name) for name in columns))
    return plan, Shaped(rows, *counts)


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
