"""What catch-up has read for its mappings and not committed yet."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...binlog.events import Undescribed
from ...binlog.map_columns import TableMap
from ...model.position import Transaction
from ...plan.table_plan import TablePlan
from ...rows.pending_rows import PendingRows
from ...rows.shapers import RowsShaper
from ...rows.sorted_rows import LiteralOrder, literal_order
from ..mapping_state import MappingState
from .in_doubt import InDoubt


@dataclass(slots=True, eq=False)
class MappingWork:
    """What catch-up has to do for one mapping.

    Attributes:
        pending: rows of whole transactions, for the next commit.
        in_transaction: rows of the transaction that is being read.
        plan_of_rows: the plan for the columns that both have; the mapping's own is for the columns of today.
        literal_order: the order of that plan's keys as literals, if they have one.
        at_stream: whether all that is read is new to the mapping. Else its position is further on in the log.
        altered: whether the log has altered the source table.
        opened: the table map of the last rows. Another one says that the source has opened the table anew.
        shapers: by raw table map.
        in_doubt: the XA transactions that are prepared and not decided.
    """

    state: MappingState
    pending: PendingRows = field(default_factory=PendingRows)
    in_transaction: PendingRows = field(default_factory=PendingRows)
    plan_of_rows: TablePlan = field(init=False)
    literal_order: LiteralOrder | None = field(init=False)
    at_stream: bool = False
    altered: bool = False
    opened: TableMap | Undescribed | None = None
    shapers: dict[bytes, RowsShaper] = field(default_factory=dict)
    in_doubt: InDoubt = field(init=False)

    def __post_init__(self) -> None:
        self.use_plan(self.state.plan)
        self.in_doubt = InDoubt(dict(self.state.checkpoint.in_doubt))

    def use_plan(self, plan: TablePlan) -> None:
        """From here on the rows have this plan's columns."""
        self.plan_of_rows, self.literal_order = plan, literal_order(plan)

    def wants(self, transaction: Transaction) -> bool:
        """Whether a transaction is new to the mapping."""
        return self.at_stream or not self.state.position.includes(transaction)

    @property
    def has_changes(self) -> bool:
        """Whether the next commit has something to store for the mapping beside its position."""
        return not self.pending.is_empty or self.in_doubt.is_unsaved


@dataclass(slots=True)
class CurrentTransaction:
    """The transaction that is being read: the mappings that it has rows for, and how much of it is in memory.

    `xa_token`: the name under which its rows are stored, if it is an XA transaction.
    """

    touched: dict[str, MappingWork] = field(default_factory=dict)  # by mapping
    rows: int = 0
    bytes: int = 0
    xa_token: str = ""

    def rows_of(self, work: MappingWork) -> PendingRows:
        """The transaction's rows for the mapping, to add to."""
        self.touched[work.state.name] = work
        return work.in_transaction
