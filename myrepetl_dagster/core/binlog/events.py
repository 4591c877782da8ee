"""The log's account of what happened, as `reader.py` reads it and `catch_up.py` applies it. Pure values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import cast

from ..model.errors import SchemaDrift, UnsupportedEvent
from ..model.position import Transaction
from ..model.tables import Column, Row, TableName
from .ddl.statement import TableChange
from .map_columns import TableMap
from .partial_rows import PartialChange, PartialDecoder
from .row_images import Decoder


@dataclass(frozen=True, slots=True)
class Undescribed:
    """A table map that leaves out what nothing else tells. It is an error only if somebody wants the table's rows.

    `error`: a `SchemaDrift` if a description of the table as it is now may help, else an `UnsupportedEvent`.
    """

    name: TableName
    error: SchemaDrift | UnsupportedEvent


class Verb(IntEnum):
    """The kind of a rows event's images: new rows; each row before and after; rows that went."""

    INSERT = 0
    UPDATE = 1
    DELETE = 2


# One event: the kind of its images, its bytes, and where in them the images begin and end.
Images = tuple[Verb, bytes, int, int]
Change = tuple[Row | None, Row | None]  # of whole rows


@dataclass(slots=True)
class RowsRead:
    """Rows events of a mapped table that follow each other in one transaction.

    They stay the log's own bytes (`images`) until somebody needs the cells: of most row images nothing matters but the
    key and the length, since a later image follows. `offset_bytes`: where the first event begins, or earlier.
    """

    table: TableName
    table_map: TableMap | Undescribed
    decoded: Sequence[PartialChange] | None
    transaction: Transaction  # so far: it ends at or after these events
    size_bytes: int
    images: list[Images] = field(default_factory=list)
    decoder: Decoder | PartialDecoder | None = None
    offset_bytes: int = 0

    @property
    def place(self) -> str:
        return f"{self.transaction.file}:{self.offset_bytes}"

    @property
    def opened(self) -> TableMap | Undescribed:
        """The table's own map: another object whenever the server has opened the table anew."""
        table_map = self.table_map
        return table_map.whole or table_map if isinstance(table_map, TableMap) else table_map

    @property
    def changes(self) -> Sequence[Change]:
        """The changes, where the images hold whole rows.

        Raises:
            UnsupportedEvent: the images are not rows of the table.
        """
        return cast("Sequence[Change]", self.partial_changes)

    @property
    def partial_changes(self) -> Sequence[PartialChange]:
        """Updates are (before, after), inserts (None, after), deletes (before, None).

        Raises:
            UnsupportedEvent: the images are not rows of the table.
        """
        if self.decoded is None:
            assert self.decoder is not None
            try:
                self.decoded = [change for images in self.images for change in _changes(self.decoder, images)]
            except UnsupportedEvent as error:
                raise error.at(self.place) from None
        return self.decoded


def _changes(decoder: Decoder | PartialDecoder, images: Images) -> Sequence[PartialChange]:
    verb, data, start, end = images
    if verb is Verb.UPDATE:
        return decoder.updates(data, start, end)
    rows = decoder.inserts(data, start, end)
    return [(None, row) for row in rows] if verb is Verb.INSERT else [(row, None) for row in rows]


@dataclass(frozen=True, slots=True)
class TableChanged:
    """One statement changed mapped tables as a whole, or rows of any tables."""

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
class XaPrepared:
    """The XA transaction is prepared here. Nobody may see its rows until `XaDecided`. `xid`: as in XA statements."""

    xid: str
    transaction: Transaction


@dataclass(frozen=True, slots=True)
class XaDecided:
    """A transaction that was prepared earlier is committed now, or rolled back. The log has this as a transaction."""

    xid: str
    committed: bool
    transaction: Transaction


@dataclass(frozen=True, slots=True)
class LogAdvanced:
    """The log goes on at this place, outside any transaction: a new file, or a sign of life.

    `birth_unix_s`: when the file was begun, by the source's clock; 0 if this does not tell. `at_end`: it is a sign of
    life. A source gives one while it has no more to send, or while it skips what the reader has already.
    """

    file: str
    offset_bytes: int
    birth_unix_s: int = 0
    at_end: bool = False


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing more has come from the source yet (only of a log that is followed)."""


LogEvent = RowsRead | TableChanged | Committed | RolledBack | XaBegun | XaPrepared | XaDecided | LogAdvanced | Idle


@dataclass(frozen=True, slots=True)
class KnownTable:
    """A wanted table's columns where the stream starts, for table maps that do not describe theirs.

    `hashes_max`: so many columns may follow in the log that no list has: MariaDB's hashes of long unique keys.
    `altered`: the columns are of another moment. They are good for nothing but what no table map tells (that a
    BINARY(16) is a UUID).
    """

    columns: tuple[Column, ...]
    altered: bool = False
    hashes_max: int = 0
