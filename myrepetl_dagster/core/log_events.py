"""What the log says happened, as `binlog.py` reads it and `catch_up.py` applies it. Pure values."""

from __future__ import annotations

from dataclasses import dataclass

from .ddl import TableChange
from .errors import SchemaDrift
from .maptypes import TableMap
from .model import Column, Row, TableName
from .position import Transaction


@dataclass(frozen=True, slots=True)
class Undescribed:
    """A table map that leaves out what nothing else tells. Only an error if somebody wants its rows."""

    name: TableName
    error: SchemaDrift


@dataclass(frozen=True, slots=True)
class RowsRead:
    """One rows event of a mapped table. Updates are (before, after), inserts (None, after), deletes (before, None)."""

    table: TableName
    table_map: TableMap | Undescribed
    changes: list[tuple[Row | None, Row | None]]
    transaction: Transaction  # so far: it ends at or after this event
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TableChanged:
    """One statement changed mapped tables as a whole."""

    changes: tuple[TableChange, ...]
    transaction: Transaction


@dataclass(frozen=True, slots=True)
class Committed:
    """The source transaction ended here; `transaction` is a position to resume from."""

    transaction: Transaction


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The source transaction ended here, and its rows never were."""

    transaction: Transaction


@dataclass(frozen=True, slots=True)
class XaBegun:
    """The transaction that begins here may end by being prepared."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The group ended here, but its rows are nobody's to see until `Decided`. `xid` as in XA statements."""

    xid: str
    transaction: Transaction


@dataclass(frozen=True, slots=True)
class Decided:
    """A transaction that was prepared earlier is committed now, or never was. A group of its own."""

    xid: str
    committed: bool
    transaction: Transaction


@dataclass(frozen=True, slots=True)
class Moved:
    """The log goes on at this place, outside any transaction: a new file, or a sign of life.

    `birth_unix_s`: when the file was begun, by the source's clock; 0 where this does not tell.
    """

    file: str
    offset_bytes: int
    birth_unix_s: int = 0


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing more has come from the source yet (only of a log that is followed)."""


LogEvent = RowsRead | TableChanged | Committed | RolledBack | XaBegun | Prepared | Decided | Moved | Idle


@dataclass(frozen=True, slots=True)
class KnownTable:
    """A wanted table's columns as they were where the stream starts, for table maps that do not describe their own.

    `altered`: they are of another moment, and only good for what no table map tells (that a BINARY(16) is
    a UUID).
    """

    columns: tuple[Column, ...]
    altered: bool = False
