"""Positions in a source's log, and the transactions that lie before and after them. Pure.

A MySQL source with GTIDs is followed by its GTID set, every other source by file and offset. The file and offset of
a source with GTIDs are for people and for the bound of one run; no run resumes from them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

from .gtid import GtidSet, with_mariadb_gtid


@lru_cache(maxsize=1024)
def file_number(file: str) -> int:
    """A log file's number. As text, binlog.1000000 would sort before binlog.999999."""
    digits = file.rpartition(".")[2]
    return int(digits) if digits.isdigit() else 0


@dataclass(frozen=True, slots=True)
class LogMark:
    """The last event of a transaction: by it a later run tells whether the log is still the same one.

    `offset_bytes` is where the event begins, `crc32` the checksum of its bytes. `gtid` and `originated_at_us` are known
    on MySQL with GTIDs only and are the same in every server's log; the latter is the time of the first commit, by the
    clock of the server on which it happened.
    """

    file: str
    offset_bytes: int
    crc32: int
    gtid: tuple[str, int] | None = None
    originated_at_us: int = 0


@dataclass(frozen=True, slots=True)
class Transaction:
    """The identity of a source transaction: the place where it ends, and its GTID if it has one.

    `gtid` is (uuid or uuid:tag, number) on MySQL; `mariadb_gtid` is `domain-server-sequence`.
    `committed_at_unix_s` is in seconds, by the source's clock. `mark` is None until the transaction has ended.
    """

    file: str
    end_offset_bytes: int
    gtid: tuple[str, int] | None = None
    mariadb_gtid: str = ""
    committed_at_unix_s: float = 0.0
    mark: LogMark | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Position:
    """The end of the last transaction that counts as read.

    `gtid_set` is None unless the source is MySQL with GTIDs; then it alone decides whether a transaction was read.
    `mariadb_gtid` holds the last GTID of each domain (`0-1-42,1-1-7`). `server` is the server whose file `file` is.
    `birth_unix_s` is the time at which the file was begun, 0 if unknown: after a RESET or a restore another file has
    the same name. `mark` is a transaction at or before this place, mostly the last one read; None if none is known.
    """

    file: str
    offset_bytes: int
    gtid_set: GtidSet | None = None
    mariadb_gtid: str = ""
    server: str = ""
    birth_unix_s: int = field(default=0, compare=False)
    mark: LogMark | None = field(default=None, compare=False)

    def __str__(self) -> str:
        gtids = f" {self.gtid_set}" if self.gtid_set else ""
        gtids += f" {self.mariadb_gtid}" if self.mariadb_gtid else ""
        return f"{self.file}:{self.offset_bytes}{gtids}"

    @property
    def text(self) -> str:
        """What counts of it, for people: the GTID set, or the file and offset."""
        if self.gtid_set is None:
            return str(self)
        return str(self.gtid_set) or "no GTID yet"

    @property
    def order(self) -> tuple[int, int]:
        return file_number(self.file), self.offset_bytes

    def includes(self, transaction: Transaction) -> bool:
        """Whether the transaction lies at or before this position."""
        if self.gtid_set is not None and transaction.gtid is not None:
            return self.gtid_set.contains(*transaction.gtid)
        return (file_number(transaction.file), transaction.end_offset_bytes) <= self.order

    def covers(self, other: Position) -> bool:
        """Whether every transaction that is read at `other` is read here, too."""
        if self.gtid_set is not None and other.gtid_set is not None:
            return other.gtid_set.issubset(self.gtid_set)
        return self.order >= other.order

    def after(self, transaction: Transaction) -> Position:
        """This position once the transaction is read as well."""
        file, offset_bytes = self.file, self.offset_bytes
        if (file_number(transaction.file), transaction.end_offset_bytes) > (file_number(file), offset_bytes):
            file, offset_bytes = transaction.file, transaction.end_offset_bytes
        gtid_set, mariadb_gtid = self.gtid_set, self.mariadb_gtid
        if gtid_set is not None and transaction.gtid is not None:
            gtid_set = gtid_set.with_gtid(*transaction.gtid)
        if own := transaction.mariadb_gtid:
            one_domain = "," not in mariadb_gtid and mariadb_gtid.partition("-")[0] == own.partition("-")[0]
            mariadb_gtid = own if one_domain else with_mariadb_gtid(mariadb_gtid, own)
        mark = transaction.mark or self.mark
        return Position(file, offset_bytes, gtid_set, mariadb_gtid, self.server, self.birth_unix_s, mark)


def earliest(positions: list[Position]) -> Position:
    """The position from which a stream misses no transaction after any of these positions (at least one)."""
    first = min(positions, key=lambda p: p.order)
    sets = [p.gtid_set for p in positions]
    if any(s is None for s in sets):
        return first
    common = sets[0]
    for other in sets[1:]:
        if common is not None and other is not None:
            common = common.intersection(other)
    return replace(first, gtid_set=common)
