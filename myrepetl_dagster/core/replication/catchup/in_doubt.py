"""XA transactions that are prepared and not decided yet: their rows, and how they are stored. Pure."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from ...plan.table_plan import PlannedColumn, TablePlan
from ...rows.pending_rows import PendingRows
from ...rows.writable_rows import KEPT, Mutation
from ..ports import PreparedRows

# How the name begins under which a transaction's rows are stored: WHOLE if they were few enough to be in memory, else
# PARTS. The first versions named them without it, in hexadecimal digits; those are read as PARTS, which fit any memory.
WHOLE, PARTS = "w", "p"
PAYLOAD_BYTES_MAX = 2**20
PlannedRows = tuple[TablePlan, PendingRows]


@dataclass(slots=True)
class InDoubt:
    """One mapping's transactions in doubt, as of its position in the log.

    Attributes:
        tokens: by XA transaction the name of its rows, '' if the mapping has none in it.
        unsaved_rows: by name rows that are not in the table of prepared rows yet.
        partly_stored: whether some rows of the transaction that is being read are in the table already.
        table_changes: whether the table has changed, or has to, with the next checkpoint.
    """

    tokens: dict[str, str] = field(default_factory=dict)
    unsaved_rows: dict[str, PlannedRows] = field(default_factory=dict)
    partly_stored: bool = False
    table_changes: bool = False

    @property
    def is_unsaved(self) -> bool:
        """Whether the next commit has to `save`."""
        return self.table_changes or bool(self.unsaved_rows)

    def add(self, xid: str, token: str, plan: TablePlan, rows: PendingRows) -> None:
        """The transaction that is being read is prepared."""
        if self.partly_stored:
            self.tokens[xid] = PARTS + token
        elif rows.rows_read:
            self.tokens[xid] = WHOLE + token
            self.unsaved_rows[WHOLE + token] = plan, rows
        else:
            self.tokens[xid] = ""
        self.partly_stored = False

    def recall(self, xid: str, mapping: str, table: Callable[[], PreparedRows], now: TablePlan) -> PlannedRows | None:
        """The rows of a transaction, unless they are too many for the memory. `now`: the mapping's plan."""
        token = self.tokens.get(xid, "")
        if not token.startswith(WHOLE):
            return None
        if token in self.unsaved_rows:
            return self.unsaved_rows[token]
        plan, rows = now, PendingRows()
        for payload in table().kept(mapping, token):
            plan, some = unpacked(now, payload)
            rows.take(some)
        return plan, rows

    def is_in_parts(self, xid: str) -> bool:
        return _names_parts(self.tokens.get(xid, ""))

    def decided(self, xid: str) -> str:
        """A transaction is no longer in doubt. Returns the name of its rows if they are stored in parts, else ''."""
        token = self.tokens.pop(xid, "")
        if token and self.unsaved_rows.pop(token, None) is None:
            self.table_changes = True
        return token if _names_parts(token) else ""

    def save(self, mapping: str, table: PreparedRows) -> None:
        """Make the table say what `tokens` says, in the checkpoint's own transaction."""
        saved = [token for token in self.tokens.values() if token and token not in self.unsaved_rows]
        table.drop_all_but(mapping, saved)
        for token, (plan, rows) in self.unsaved_rows.items():
            keep(table, mapping, token, plan, rows)

    def saved(self) -> None:
        self.unsaved_rows.clear()
        self.table_changes = False


def _names_parts(token: str) -> bool:
    return token != "" and not token.startswith(WHOLE)


def keep(table: PreparedRows, mapping: str, token: str, plan: TablePlan, rows: PendingRows) -> None:
    """Store shaped rows in the table of prepared rows."""
    for payload in payloads(plan, rows):
        table.keep(mapping, token, payload)


def payloads(plan: TablePlan, rows: PendingRows) -> Iterator[bytes]:
    """Shaped rows as payloads of a bounded size; a row is never divided."""
    counts = [rows.rows_read, rows.rows_upserted, rows.rows_deleted, rows.rows_filtered]
    columns = [c.target for c in plan.columns]
    some: list[Mutation] = []
    size_bytes = 0
    for mutation in rows.to_mutations():
        key, row = mutation
        row_bytes = sum(map(len, key)) + sum(map(len, row or ()))
        if some and size_bytes + row_bytes > PAYLOAD_BYTES_MAX:
            yield _packed(columns, [0, 0, 0, 0], some)
            some, size_bytes = [], 0
        some.append(mutation)
        size_bytes += row_bytes
    yield _packed(columns, counts, some)  # the counts once


def _packed(columns: list[str], counts: list[int], mutations: list[Mutation]) -> bytes:
    return zlib.compress(json.dumps([columns, counts, mutations]).encode(), 1)


def unpacked(plan: TablePlan, payload: bytes) -> PlannedRows:
    """Rows as they were shaped, and the plan for their columns."""
    columns, counts, mutations = json.loads(zlib.decompress(payload))
    rows: list[Mutation] = [(tuple(key), None if row is None else tuple(row)) for key, row in mutations]
    if columns != [c.target for c in plan.columns]:  # a mapping of every column, of which some have come or gone since
        plan = replace(plan, columns=tuple(PlannedColumn(name, name) for name in columns))
    pending = PendingRows(rows, *counts)
    pending.has_updates = any(row is not None and KEPT in row for _, row in rows)
    return plan, pending
