"""Prepared XA transactions whose outcome the log has not told yet: their rows, as they are kept. Pure."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from ...plan.table_plan import PlannedColumn, TablePlan
from ...rows.pending_rows import PendingRows
from ...rows.writable_rows import Mutation
from ..ports import PreparedRows

# What the name of a transaction's rows begins with: they were few enough to be in memory, or were not. The first
# versions named them without it, in hexadecimal digits; such rows are read as those in parts, which fit any memory.
WHOLE, PARTS = "w", "p"
PAYLOAD_BYTES_MAX = 2**20
Recalled = tuple[TablePlan, PendingRows]


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

    def add(self, xid: str, token: str, plan: TablePlan, shaped: PendingRows) -> None:
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
        plan, whole = now, PendingRows()
        for payload in table().kept(mapping, token):
            plan, piece = unpacked(now, payload)
            whole.take(piece)
        return plan, whole

    def is_in_parts(self, xid: str) -> bool:
        return _lies_in_parts(self.tokens.get(xid, ""))

    def decided(self, xid: str) -> str:
        """It is no longer in doubt. The name of its rows where they lie in parts, else ''."""
        token = self.tokens.pop(xid, "")
        if token and self.fresh.pop(token, None) is None:
            self.moved = True
        return token if _lies_in_parts(token) else ""

    def save(self, mapping: str, table: PreparedRows) -> None:
        """Make the table say what `tokens` says, in the checkpoint's own transaction."""
        table.drop_all_but(mapping, [token for token in self.tokens.values() if token and token not in self.fresh])
        for token, (plan, shaped) in self.fresh.items():
            keep(table, mapping, token, plan, shaped)

    def saved(self) -> None:
        self.fresh.clear()
        self.moved = False


def _lies_in_parts(token: str) -> bool:
    return token != "" and not token.startswith(WHOLE)


def keep(table: PreparedRows, mapping: str, token: str, plan: TablePlan, shaped: PendingRows) -> None:
    """Store shaped rows."""
    for payload in payloads(plan, shaped):
        table.keep(mapping, token, payload)


def payloads(plan: TablePlan, shaped: PendingRows) -> Iterator[bytes]:
    """Shaped rows as bytes, in pieces of a bounded size (a row stays whole)."""
    counts = [shaped.rows_read, shaped.rows_upserted, shaped.rows_deleted, shaped.rows_filtered]
    columns = [c.target for c in plan.columns]
    piece: list[Mutation] = []
    size = 0
    for mutation in shaped.to_mutations():
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


def unpacked(plan: TablePlan, payload: bytes) -> tuple[TablePlan, PendingRows]:
    """Rows as they were shaped, and the plan for their columns."""
    columns, counts, mutations = json.loads(zlib.decompress(payload))
    rows: list[Mutation] = [(tuple(key), None if row is None else tuple(row)) for key, row in mutations]
    if columns != [c.target for c in plan.columns]:  # of every column; some have come or gone since
        plan = replace(plan, columns=tuple(PlannedColumn(name, name) for name in columns))
    return plan, PendingRows(rows, *counts)
