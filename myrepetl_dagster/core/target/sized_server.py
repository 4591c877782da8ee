"""A server that knows the sizes of its tables and of its memory, as far as a run decides by them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pymysql.connections import Connection

from ..config.pipeline import Endpoint
from ..model.limits import Limits
from ..model.tables import TableName
from ..mysql.connections import Connections
from ..mysql.server import Server
from ..plan.table_plan import TablePlan
from . import table_sizes

# In a table of so many rows a server finds 500 keys by the index and locks no other row. (MySQL does so from 3,000 rows
# on, MariaDB from 10,000; their counts of rows are estimates.)
_LARGE_ROWS = 100_000


class SizedServer(Server):
    """Answers questions about sizes, each asked only once, since they change slowly."""

    def __init__(self, endpoint: Endpoint, limits: Limits, connections: Connections | None = None) -> None:
        super().__init__(endpoint, limits, connections)
        self._sizes: dict[str, int] = {}

    def is_large(self, plan: TablePlan) -> bool:
        """Whether the server finds a few of the table's rows by their keys, without looking at (and locking) others."""
        name, mariadb = plan.target.name, self.info.is_mariadb
        rows = self._size(f"rows of {name}", lambda control: table_sizes.estimated_rows(control, plan, mariadb=mariadb))
        return rows >= _LARGE_ROWS

    def estimated_rows(self, plan: TablePlan) -> int | None:
        """About how many rows of this mapping the target holds; None: not known, since others write the table, too."""
        if plan.mapping.fixed_key:
            return None
        self.wake()
        with self.doing(f"estimating the rows of {plan.target.name}"):
            return table_sizes.estimated_rows(self.control, plan, mariadb=self.info.is_mariadb)

    def exceeds_memory(self, plans: Sequence[TablePlan]) -> bool:
        """Whether the plans' tables are together larger than the server's buffer pool."""
        names = {plan.target.name for plan in plans}
        return sum(self.table_bytes(name) for name in names) > self.buffer_pool_bytes

    def table_bytes(self, name: TableName) -> int:
        """About how much of the disk the table takes, with its indexes."""
        cached = not self.info.is_mariadb and self.info.version >= (8, 0, 0)
        return self._size(f"bytes of {name}", lambda control: table_sizes.table_bytes(control, name, cached=cached))

    @property
    def buffer_pool_bytes(self) -> int:
        """How much of its tables the server keeps in memory."""
        return self._size("bytes of its buffer pool", table_sizes.buffer_pool_bytes)

    def _size(self, what: str, ask: Callable[[Connection[Any]], int]) -> int:
        """The answer to a question about sizes. It is asked only once, since sizes change slowly."""
        if what not in self._sizes:
            self.wake()
            with self.doing(f"asking for the {what}"):
                self._sizes[what] = ask(self.control)
        return self._sizes[what]
