"""The framing of binlog events: the header, the checksum and the position in the file. Pure."""

from __future__ import annotations

import struct
import zlib

from ..model.errors import UnsupportedEvent
from .event_types import HEARTBEATS, ROTATE

HEADER = struct.Struct("<IBIIIH")  # timestamp, type, server id, event size, next position, flags
HEADER_BYTES = HEADER.size
KIND_AT = 4
NEXT_POSITION = struct.Struct("<13xI").unpack_from
ARTIFICIAL = 0x20  # the flag of an event that the dump thread made up: no file holds it
_IGNORABLE = 0x80  # the flag of an event that a reader who does not know its type may pass over
CHECKSUM_BYTES = 4
CRC_RESIDUE = 0x2144DF1C  # the CRC32 of any bytes that end in their own CRC32, lowest byte first
# In a format description: the server's version, and the kind of checksums in its file (1: CRC32).
_SERVER_VERSION, _CHECKSUM_KIND_AT = slice(2, 52), -5


def event_offset_bytes(event: bytes) -> int:
    """Where an event begins in its file; -1 for one that the dump thread made up.

    The date says nothing: MariaDB 10.5 writes events without one to its file, the end of a transaction among them.
    """
    _, kind, _, size_bytes, next_position, flags = HEADER.unpack_from(event)
    if flags & ARTIFICIAL or not next_position or kind in HEARTBEATS:
        return -1
    return int(next_position) - int(size_bytes)


def is_ignorable(event: bytes) -> bool:
    """Whether its writer says that the event changes nothing for who does not know its type.

    Such is the padding in a log of Amazon Aurora (type 100). The flag: LOG_EVENT_IGNORABLE_F,
    https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication_binlog_event.html
    """
    return bool(HEADER.unpack_from(event)[5] & _IGNORABLE)


def event_crc32(event: bytes, checksums: bool) -> int:
    """The CRC32 of an event: the one that it ends in, if its file has checksums."""
    return int.from_bytes(event[-CHECKSUM_BYTES:], "little") if checksums else zlib.crc32(event)


def has_checksums(description: bytes) -> bool:
    """Whether the events after this format description end in a CRC32."""
    return description[_CHECKSUM_KIND_AT] == 1


def is_of_mariadb(description: bytes) -> bool:
    """Whether MariaDB wrote the file that begins with this format description."""
    return b"MariaDB" in description[HEADER_BYTES:][_SERVER_VERSION]


def end_of_body(event: bytes, kind: int, *, checksums: bool, artificial: bool) -> int:
    """Where the event's body ends.

    Args:
        checksums: whether the file has checksums. A format description has one in any case, but the dump thread
            changes its bytes and not the checksum.
        artificial: whether the dump thread made the event up.

    Raises:
        UnsupportedEvent: the event does not match its checksum.
    """
    if not checksums:
        return len(event)
    if zlib.crc32(event) == CRC_RESIDUE:
        return len(event) - CHECKSUM_BYTES
    if kind in HEARTBEATS or (kind == ROTATE and artificial):  # the dump thread gives these no checksum
        return len(event)
    raise UnsupportedEvent(f"an event (type {kind}) that does not match its checksum", hint="The log is damaged.")


def as_unsupported(error: Exception, kind: int, place: str) -> Exception:
    """The error of an event of this type, with the place up to which the log is read; other errors as they are."""
    if isinstance(error, UnsupportedEvent):
        return error.at(place)
    if isinstance(error, (IndexError, ValueError, struct.error)):
        hint = "Correct the setting, then run the `snapshot` job for the affected mappings."
        return UnsupportedEvent(f"after {place}: a malformed event of type {kind}", hint=hint)
    return error


def offset_after(offset_bytes: int, next_position: int, size_bytes: int) -> int:
    """The offset after an event of this size that began at `offset_bytes` or later.

    Raises:
        UnsupportedEvent: the header's position, which has 32 bits, cannot say it.
    """
    if next_position < offset_bytes and offset_bytes + size_bytes > 2**32:
        raise UnsupportedEvent("a position beyond 4 GiB; keep max_binlog_size and transactions below")
    return max(next_position, offset_bytes)
