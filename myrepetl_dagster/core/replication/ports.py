"""The ports of the core: the operations that replication needs from a source and from a target.

`source` and `target` implement them for real servers, and the simulator of the tests does so once more. Neither
imports this module: mypy compares them with it where `run` passes them on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from ..binlog.events import KnownTable, LogEvent
from ..concurrency.background import Waiting
from ..model.checkpoint import Checkpoint
from ..model.position import Position
from ..model.tables import Column, TableName
from ..plan.table_plan import TablePlan
from ..rows.literal_codegen import LiteralKey
from ..rows.writable_rows import WritableRows
from ..source.side_effects import SideEffect
from ..source.snapshot_reader import Chunk, RowLists


class Source(Protocol):
    """A server to read from."""

    def head(self) -> Position: ...
    @property
    def one_watermark(self) -> bool: ...
    def safe_watermark(self, tables: Sequence[TableName], earlier: Position | None = None) -> Position: ...
    def wait_visible(self, position: Position, tables: Sequence[TableName]) -> None: ...
    def layout(self, plan: TablePlan) -> tuple[Column, ...]: ...
    def chunked(self, plan: TablePlan) -> bool: ...
    def estimated_rows(self, plan: TablePlan) -> int | None: ...
    def read_chunk(self, plan: TablePlan, after: tuple[str, ...] | None, rows_max: int) -> Chunk: ...
    def read_all(self, plan: TablePlan, rows_max: int) -> Iterator[Chunk]: ...
    def read_keys(self, plan: TablePlan, key: Sequence[str], keys: Sequence[Sequence[str]]) -> RowLists: ...
    def read_log(
        self, start: Position, known: dict[TableName, KnownTable], *, follow: bool = False
    ) -> Generator[LogEvent, None, None]: ...
    def columns(self, name: TableName) -> tuple[Column, ...]: ...
    def check_position(self, position: Position) -> None: ...
    def side_effect(self, written: Collection[TableName], names: Collection[str]) -> SideEffect | None: ...
    def now_unix_s(self) -> float: ...
    def close(self) -> None: ...


class Target(Protocol):
    """A server to write to. Questions go through this port, writes through its apply connections."""

    def claim(self, mappings: Sequence[str]) -> Mapping[str, Checkpoint]:
        """Fence off every other run from these mappings, then read their checkpoints.

        Raises:
            StaleRun: another run has claimed one of them since this run did.
        """

    def is_empty(self, plan: TablePlan) -> bool:
        """Whether the target holds no row of this mapping."""

    def is_large(self, plan: TablePlan) -> bool:
        """Whether the table is so large that the server finds a few rows by their keys, and locks no other rows."""

    def exceeds_memory(self, plans: Sequence[TablePlan]) -> bool:
        """Whether the tables of these plans together are larger than the server's memory for tables."""

    def estimated_rows(self, plan: TablePlan) -> int | None:
        """About how many rows of this mapping the target holds; None: not known."""

    def takes_changes(self, plan: TablePlan, rows: int, *, begun: bool) -> bool:
        """Whether this number of rows of this plan is to be written as `RowChanges`.

        Args:
            begun: a transaction is open on `apply`, and they belong to it.
        """

    @property
    def takes_bulk(self) -> bool:
        """Whether rows may be written as `BulkRows`."""

    def keys_after(self, plan: TablePlan, after: LiteralKey | None, rows_max: int) -> list[LiteralKey]:
        """The target's next keys in its own order, as literals. Must not be called while `apply` is busy."""

    @property
    def apply(self) -> ApplyConnection:
        """The first apply connection."""

    def apply_connections(self, number: int) -> Sequence[ApplyConnection]:
        """Apply connections that the target keeps and closes; the same ones in each call."""

    def new_connections(self, number: int) -> Sequence[ApplyConnection]:
        """Apply connections that the caller closes."""


class ApplyConnection(Protocol):
    """A connection that writes: one transaction at a time, used by one thread at a time."""

    def begin(self, mappings: Iterable[str], *, exclusive: bool = True) -> None:
        """Begin a transaction, and lock these mappings' checkpoints for it: the fence.

        Args:
            exclusive: no other connection of this run writes these mappings at the same time.

        Raises:
            StaleRun: another run has claimed one of the mappings.
        """

    def begin_unfenced(self) -> None:
        """Begin a transaction without the fence, which `fence` takes later."""

    def fence(self, mappings: Iterable[str]) -> None:
        """Lock these mappings' checkpoints in the open transaction.

        Raises:
            StaleRun: another run has claimed one of the mappings.
        """

    def write(self, plan: TablePlan, rows: WritableRows) -> None:
        """Write rows in the open transaction.

        Raises:
            RowRejected: the target refused a row.
        """

    def clear(self, plan: TablePlan) -> None:
        """Delete every row of the mapping in the open transaction."""

    def prepared(self) -> PreparedRows:
        """The rows of XA transactions in doubt, in the open transaction."""

    def commit(self, stored: Sequence[Checkpoint]) -> None:
        """Store these checkpoints and commit them with the rows.

        Raises:
            TargetLost: the connection broke. The stored checkpoint tells whether the commit took effect.
        """

    def rollback(self) -> None:
        """Undo the open transaction."""

    def start(self, work: Callable[[], Waiting]) -> None:
        """Run this work in the background. Until `finish`, only the work may use the connection."""

    def finish(self) -> None:
        """Wait for the end of the work that was started, and raise its error."""

    @property
    def busy(self) -> bool:
        """Whether the work that was started still runs."""

    @property
    def operation_under_way(self) -> int | None:
        """A number that changes whenever an operation on the server begins or ends; None if none is under way."""

    def close(self) -> None:
        """Close the connection. Its open transaction is rolled back."""


class PreparedRows(Protocol):
    """The table of prepared rows, in a target's open transaction. A `token` names the rows of one XA transaction."""

    def keep(self, mapping: str, token: str, payload: bytes) -> None:
        """Add a part of a transaction's rows."""

    def kept(self, mapping: str, token: str) -> Iterator[bytes]:
        """The parts of a transaction's rows, in the order in which they were added."""

    def drop_all_but(self, mapping: str, tokens: Sequence[str]) -> None:
        """Delete a mapping's rows, except those of some transactions."""
