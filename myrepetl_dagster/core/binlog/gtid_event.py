"""The event before a transaction: which server committed it, under which GTID, and when. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from ..model.errors import UnsupportedEvent
from .event_types import GTID, MARIADB_GTID, TAGGED_GTID

# MariaDB's flags: the transaction is one statement; XA transactions; what follows for a two-phase ALTER TABLE.
_STANDALONE, _COMMIT_ID, _PREPARED_XA, _COMPLETED_XA = 0x01, 0x02, 0x40, 0x80
_MORE_ENGINES, _START_ALTER, _ROLLBACK_ALTER = 0x01, 0x02, 0x08

# Fields of MySQL's tagged GTID event, in `mysql::serialization`'s numbering.
_UUID, _NUMBER, _TAG, _COMMITTED_AT, _ORIGINATED_AT, _LAST_KNOWN = 1, 2, 3, 6, 7, 11


@dataclass(frozen=True, slots=True)
class GtidEvent:
    """What the log says of a transaction before its first event.

    Attributes:
        begins: whether an event of its own ends the transaction. (On MySQL a BEGIN says so, which follows.)
        may_prepare: an XA transaction up to its XA PREPARE.
        idle: the statement changes nothing yet, or never did (the phases of a two-phase ALTER TABLE).
        originated_at_us: when the first server committed it; 0 if the log does not say.
    """

    committed_at_unix_s: float
    gtid: tuple[str, int] | None = None
    mariadb_gtid: str = ""
    begins: bool = False
    may_prepare: bool = False
    idle: bool = False
    originated_at_us: int = 0


@lru_cache(maxsize=256)
def _uuid(data: bytes) -> str:
    return str(UUID(bytes=data))


def gtid_event_of(kind: int, body: bytes, server_id: int, timestamp: int) -> GtidEvent:
    """The GTID event of this type, of either flavour.

    Raises:
        UnsupportedEvent: it is of a later format.
    """
    if kind == MARIADB_GTID:
        return mariadb_gtid_event(body, server_id, timestamp)
    if kind == TAGGED_GTID:
        return tagged_gtid_event(body)
    return mysql_gtid_event(body, kind == GTID, timestamp)


def mysql_gtid_event(body: bytes, named: bool, timestamp: int) -> GtidEvent:
    """A GTID or ANONYMOUS_GTID event. Since 8.0 it tells the microseconds of the commit at this server."""
    gtid = (_uuid(body[1:17]), int.from_bytes(body[17:25], "little")) if named else None
    if len(body) < 49 or body[25] != 2:
        return GtidEvent(float(timestamp), gtid)
    here = int.from_bytes(body[42:49], "little")
    originated = int.from_bytes(body[49:56], "little") if here >> 55 else here
    return GtidEvent((here & (2**55 - 1)) / 1e6, gtid, originated_at_us=originated)


def tagged_gtid_event(body: bytes) -> GtidEvent:
    """A tagged GTID event (since 8.3).

    Raises:
        UnsupportedEvent: it is of a later format.
    """
    try:
        version, at = _varlen(body, 0)
        _, at = _varlen(body, at)  # the message's size
        last_needed, at = _varlen(body, at)
        if version != 1 or last_needed > _LAST_KNOWN:
            raise UnsupportedEvent("a tagged GTID in a later format")
        uuid, number, tag, micros, originated = b"", 0, "", 0, 0
        while at < len(body):
            field, at = _varlen(body, at)
            if field == _UUID:
                numbers = []
                for _ in range(16):
                    one, at = _varlen(body, at)
                    numbers.append(one)
                uuid = bytes(numbers)
            elif field == _TAG:
                length, at = _varlen(body, at)
                tag, at = body[at : at + length].decode(), at + length
            else:
                value, at = _varlen(body, at)
                if field == _NUMBER:
                    number = value >> 1  # signed: the sign is the lowest bit
                elif field == _COMMITTED_AT:
                    micros = originated = value
                elif field == _ORIGINATED_AT:  # only where it is another time
                    originated = value
                elif field > _ORIGINATED_AT:
                    break
    except (IndexError, ValueError):
        raise UnsupportedEvent("a malformed tagged GTID") from None
    if not (uuid and tag and number > 0):
        raise UnsupportedEvent("a malformed tagged GTID")
    return GtidEvent(micros / 1e6, (f"{UUID(bytes=uuid)}:{tag}", number), originated_at_us=originated)


def _varlen(data: bytes, at: int) -> tuple[int, int]:
    """An integer of `mysql::serialization`, and where it ends.

    As many low bits of the first byte are set as bytes follow. Behind a clear bit come the bits of the number.
    """
    first = data[at]
    size = (~first & (first + 1)).bit_length()  # 1 + the number of set low bits
    end = at + size
    if end > len(data):
        raise IndexError("a number beyond the end")
    if size == 9:
        return int.from_bytes(data[at + 1 : end], "little"), end
    return int.from_bytes(data[at:end], "little") >> size, end


def mariadb_gtid_event(body: bytes, server_id: int, timestamp: int) -> GtidEvent:
    """MariaDB's GTID event."""
    sequence, domain, flags = struct.unpack_from("<QIB", body)
    return GtidEvent(
        float(timestamp),
        mariadb_gtid=f"{domain}-{server_id}-{sequence}",
        begins=not flags & _STANDALONE,
        may_prepare=bool(flags & _PREPARED_XA),
        idle=bool(_extra_flags(body, flags) & (_START_ALTER | _ROLLBACK_ALTER)),
    )


def _extra_flags(body: bytes, flags: int) -> int:
    at = 13
    if flags & _COMMIT_ID:
        at += 8
    if flags & (_PREPARED_XA | _COMPLETED_XA) and at + 6 <= len(body):
        at += 6 + body[at + 4] + body[at + 5]
    return body[at] if at < len(body) else 0
