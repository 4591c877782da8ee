"""The three ways in which a window's rows are read and handed to the target, behind one protocol.

`bulk_select.py` reads the parameters of a bulk execution, `tuple_select.py` SQL tuples, `python_select.py` whole rows
that Python converts. docs/paths.md says which mapping goes which way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...plan.table_plan import TablePlan
from ...rows.pending_rows import LiteralKey
from ...rows.writable_rows import WritableRows


@dataclass(frozen=True, slots=True)
class TakenRows:
    """What became of some rows of a window.

    Args:
        plan: the one by which the rows were made.
        rows: those that the target gets; None where it gets none.
        rows_filtered: how many the mapping's filter leaves out.
        unrenderable: packets of rows that the source cannot render, so that Python has to read them again.
    """

    plan: TablePlan
    rows: WritableRows | None
    rows_filtered: int = 0
    unrenderable: Sequence[bytes] = ()


class WindowSelect(Protocol):
    """One way to read a mapping's rows.

    `select_sql` is the statement up to its WHERE, in the form of literals; a result row of it is a packet.
    """

    @property
    def select_sql(self) -> str: ...

    @property
    def key(self) -> Callable[[bytes], LiteralKey]:
        """Reads the key of a packet's row, as the source's literals."""

    def take(self, packets: Sequence[bytes]) -> TakenRows:
        """Make the packets' rows ready to be written.

        Raises:
            RowRejected: a transform or the filter failed.
            CannotTake: rows of this mapping cannot be taken in this way.
        """


class CannotTake(Exception):
    """The window has to be read again in another way; so has the rest of the table."""
