"""The three ways in which a window's rows are read and handed to the target, behind one protocol.

`bulk_select.py` reads rows as parameters of a bulk execution, `tuple_select.py` as SQL tuples, `python_select.py` as
values that Python converts. docs/paths.md says which mapping goes which way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...plan.table_plan import TablePlan
from ...rows.literal_codegen import LiteralKey
from ...rows.writable_rows import WritableRows


@dataclass(frozen=True, slots=True)
class TakenRows:
    """Rows of a window, ready to be written.

    Args:
        plan: the one by which the rows were made. Its columns may have another order than the mapping's.
        rows: those to write. None: there are none.
        rows_filtered: how many other rows the mapping's filter left out.
        unrenderable: packets of rows that the source could not render. Python has to read those rows again.
    """

    plan: TablePlan
    rows: WritableRows | None
    rows_filtered: int = 0
    unrenderable: Sequence[bytes] = ()


class WindowSelect(Protocol):
    """One way to read a mapping's rows. Each row of the result is one packet."""

    @property
    def select_sql(self) -> str:
        """The statement up to its WHERE, in the form of literals."""

    @property
    def key(self) -> Callable[[bytes], LiteralKey]:
        """Reads the key of a packet's row: the columns that the copy goes by, as literals."""

    def take(self, packets: Sequence[bytes]) -> TakenRows:
        """Make the rows of packets ready to be written.

        Raises:
            RowRejected: a transform or the filter failed.
            CannotTake: rows of this mapping cannot be taken in this way.
        """


class CannotTake(Exception):
    """The window, and the rest of its table, has to be read in another way."""
