"""The header of a binlog event, and its checksum. Pure."""

from __future__ import annotations

import struct
import zlib

HEADER = struct.Struct("<IBIIIH")  # timestamp, type, server id, event size, next position, flags
HEADER_BYTES = HEADER.size
KIND_AT = 4
NEXT_POSITION, NEXT_POSITION_AT = struct.Struct("<I"), 13
ARTIFICIAL = 0x20  # flag of an event that the dump made up: it is in no file
CRC_RESIDUE = 0x2144DF1C  # of any bytes together with their own CRC32, lowest byte first
# Of a format description: in its body, and before its own checksum the kind of its file's (1: CRC32).
SERVER_VERSION, CHECKSUM_AT = slice(2, 52), -5


def event_offset_bytes(event: bytes) -> int:
    """Where an event begins in its file; -1 for one that the dump made up."""
    timestamp, _, _, size_bytes, next_position, flags = HEADER.unpack_from(event)
    if timestamp == 0 or flags & ARTIFICIAL or not next_position:
        return -1
    return int(next_position) - int(size_bytes)


def event_crc32(event: bytes, checksums: bool) -> int:
    """The checksum of an event's bytes: its own, where it has one."""
    return int.from_bytes(event[-4:], "little") if checksums else zlib.crc32(event)
