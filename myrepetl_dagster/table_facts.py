"""What a materialization says of the table itself, whoever wrote it: columns, their origin, and the number of rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from . import metadata
from .core.model.errors import ReplicationError
from .core.model.tables import Table, TableName
from .lineage import ReplicatedTable

if TYPE_CHECKING:
    from .core.diagnostics.row_counts import RowCounter
    from .core.mysql.server import Server
    from .core.replication.result import MappingResult

# A run that follows counts the rows of a table each time that it reports it, if that costs the target next to nothing.
CHEAP_S = 0.1


class TableFacts:
    """Asks targets for the facts of their tables. A server that cannot be asked leaves them out, with a warning.

    Args:
        asking: gives the server of a target, for short questions.
        warn: is told what could not be had.
        cheap: a table whose rows take long to count is counted once.
    """

    def __init__(
        self,
        asking: Callable[[str], AbstractContextManager[Server]],
        warn: Callable[[str], object],
        *,
        cheap: bool = False,
    ) -> None:
        self._asking = asking
        self._warn = warn
        self._cheap = cheap
        self._costly: set[tuple[str, TableName]] = set()
        self._counter: RowCounter | None = None

    def close(self) -> None:
        if self._counter is not None:
            self._counter.close()

    def of(self, table: ReplicatedTable, results: Sequence[MappingResult]) -> metadata.Metadata:
        """The facts as Dagster's metadata. `results`: of the table's mappings, with their plans."""
        found: metadata.Metadata = {"dagster/column_lineage": metadata.column_lineage(results, table.source_keys)}
        try:
            with self._asking(table.target) as server:
                described = server.describe(table.name)
                rows = self._rows(server, table, described)
        except ReplicationError as error:  # only metadata is missing, since the rows are committed
            self._warn(f"{table.target}.{table.name} could not be described: {error}")
            return found
        found |= {"dagster/column_schema": metadata.table_schema(described)} if described else {}
        return found | ({"dagster/row_count": rows} if rows is not None else {})

    def _rows(self, server: Server, table: ReplicatedTable, described: Table | None) -> int | None:
        from .core.diagnostics.row_counts import RowCounter

        if described is None or (table.target, table.name) in self._costly:
            return None
        if self._counter is None or self._cheap:  # its time for all tables is that of one report
            self.close()
            self._counter = RowCounter()
        began_s = time.monotonic()
        rows = self._counter.count(server, table.name, {})
        if self._cheap and time.monotonic() - began_s > CHEAP_S:
            self._costly.add((table.target, table.name))
        return rows
