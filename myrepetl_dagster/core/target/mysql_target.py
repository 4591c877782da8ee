"""A target server: its control connection answers questions, its apply connections write."""

from __future__ import annotations

from collections.abc import Sequence

from ..config.pipeline import Endpoint
from ..model.checkpoint import Checkpoints
from ..model.limits import Limits
from ..mysql.connections import Connections
from ..plan.table_plan import TablePlan
from ..rows.literal_codegen import LiteralKey
from . import checkpoint_table, range_table
from .apply_connection import MySQLApplyConnection
from .control import Claims, TargetControl
from .event_replay import EventSupport


class MySQLTarget:
    """A MySQL or MariaDB server to write to. The second implementation of `ports.Target` is the simulator's.

    Args: those of `TargetControl`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        limits: Limits,
        claims: Claims | None = None,
        event_support: EventSupport | None = None,
        connections: Connections | None = None,
    ) -> None:
        self.control = TargetControl(endpoint, limits, claims, event_support, connections)
        self._apply: list[MySQLApplyConnection] = []

    # ---- what it is asked ----
    def claim(self, mappings: Sequence[str]) -> Checkpoints:
        """Fence off every other run from these mappings, then read their checkpoints.

        Raises:
            StaleRun: another run has claimed one of them since this run did.
        """
        return self.control.claim(mappings)

    def is_empty(self, plan: TablePlan) -> bool:
        """Whether the target holds no row of this mapping."""
        return self.control.is_empty(plan)

    def is_large(self, plan: TablePlan) -> bool:
        """Whether the server finds a few of the table's rows by their keys, without looking at (and locking) others."""
        return self.control.is_large(plan)

    def estimated_rows(self, plan: TablePlan) -> int | None:
        """About how many rows of this mapping the target holds; None: not known."""
        return self.control.estimated_rows(plan)

    def exceeds_memory(self, plans: Sequence[TablePlan]) -> bool:
        """Whether the plans' tables are together larger than the server's buffer pool."""
        return self.control.exceeds_memory(plans)

    def takes_changes(self, plan: TablePlan, rows: int, *, begun: bool) -> bool:
        """Whether so many rows of this plan are to be written as `RowChanges`.

        Args:
            begun: in the transaction that is open on `apply`.
        """
        return not (begun and not self.apply.takes_events) and self.control.takes_changes(plan, rows)

    @property
    def takes_bulk(self) -> bool:
        """Whether rows may be written as `BulkRows`."""
        return self.apply.takes_bulk

    def keys_after(self, plan: TablePlan, after: LiteralKey | None, rows_max: int) -> list[LiteralKey]:
        """The next keys that the target holds, in its own order, as literals."""
        return self.apply.keys_after(plan, after, rows_max)

    def holders(self, mappings: Sequence[str]) -> dict[str, str]:
        """The name on the fence of each mapping that some run has claimed."""
        with self.control.doing("reading the checkpoint"):
            return checkpoint_table.holders(self.control.control, self.control.endpoint.database, mappings)

    def create_range_table(self) -> None:
        """Create the table for the ranges of copies unless it is there."""
        sql = range_table.create_table_sql(self.control.endpoint.database)
        self.control.create_unless_there(range_table.TABLE, sql)

    # ---- the connections that write ----
    @property
    def apply(self) -> MySQLApplyConnection:
        """The first apply connection."""
        return self.apply_connections(1)[0]

    def apply_connections(self, number: int) -> Sequence[MySQLApplyConnection]:
        """The same ones each time; `close` closes them."""
        self._apply += self.new_connections(number - len(self._apply))
        return self._apply[:number]

    def new_connections(self, number: int) -> list[MySQLApplyConnection]:
        """Apply connections that the caller closes."""
        if number > 0:
            _ = self.control.info  # threads will need it, and must not ask for it
        return [MySQLApplyConnection(self.control) for _ in range(number)]

    def discard_transactions(self) -> None:
        """Drop the connections of open transactions; the server rolls them back."""
        for connection in self._apply:
            connection.discard()

    def close(self) -> None:
        """Close every connection; the server rolls back what was not committed."""
        for connection in self._apply:
            connection.close()
        self.control.close()
