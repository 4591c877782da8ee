"""Reading a window's rows as values, which Python filters, transforms and writes as literals. Pure.

This way takes every row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...rows.literal_codegen import LiteralKey
from ...rows.pending_rows import PendingRows
from ...rows.shaper import Shaper
from ...rows.writable_rows import Mutations
from ...source.relation import Relation
from ...values.cells import cell_from_text
from ...values.text_rows import fields
from .window_select import TakenRows


class PythonSelect:
    """Reads all columns of a relation (`window_select.WindowSelect`)."""

    def __init__(self, relation: Relation, shaper: Shaper) -> None:
        self.select_sql = relation.select_sql
        self.key: Callable[[bytes], LiteralKey] = relation.key_reader(relation.key_indexes)
        self._convert = [cell_from_text(column) for column in relation.layout]
        self._shaper = shaper

    def take(self, packets: Sequence[bytes]) -> TakenRows:
        """As `WindowSelect.take`. The error of a transform or of the filter names the row."""
        convert = self._convert
        rows = (tuple([f(v) for f, v in zip(convert, fields(packet), strict=True)]) for packet in packets)
        pending = PendingRows()
        self._shaper.shape(((None, row) for row in rows), pending)
        pending.check()
        written = Mutations(pending.mutations, settling=True) if pending.mutations else None
        return TakenRows(self._shaper.plan, written, pending.rows_filtered)
