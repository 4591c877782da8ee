"""Parts of the log that the servers compress, decompressed bit by bit. Pure.

MySQL packs a whole transaction into one event (`binlog_transaction_compression`), MariaDB each statement and
each rows event by itself (`log_bin_compress`).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import zstandard

from ..model.errors import UnsupportedEvent
from ..values.length_encoding import length_at
from .event_format import HEADER_BYTES

_SIZE_AT = 9  # where an event's header has the event's size
_READ_BYTES = 256 * 1024

# MySQL's payload header: fields of (type, length, value), numbers as in the protocol, up to the end mark.
_END, _SIZE, _COMPRESSION, _UNCOMPRESSED_SIZE = range(4)
_ZSTD, _UNCOMPRESSED = 0, 255


def events_of(body: memoryview) -> Iterator[bytes]:
    """The events inside a TRANSACTION_PAYLOAD event: header and body, without checksum.

    No more than one of them and `_READ_BYTES` of the next are decompressed at a time.

    Raises:
        UnsupportedEvent: an unknown compression, or damaged data.
    """
    try:
        compression, payload = _payload(body)
        if compression == _ZSTD:
            yield from _cut(_decompressed(payload))
        elif compression == _UNCOMPRESSED:
            yield from _cut(iter([payload]))
        else:
            raise UnsupportedEvent(
                f"a transaction with the unknown compression {compression}",
                hint="Set binlog_transaction_compression=OFF on the source.",
            )
    except (zstandard.ZstdError, IndexError, struct.error):
        raise UnsupportedEvent("a damaged compressed transaction") from None


def _payload(body: memoryview) -> tuple[int, memoryview]:
    at, compression = 0, _ZSTD
    while True:
        field, at = length_at(body, at)
        if field == _END:
            return compression, body[at:]
        length, at = length_at(body, at)
        if field == _COMPRESSION:
            compression, _ = length_at(body, at)
        at += length


def _decompressed(payload: memoryview) -> Iterator[memoryview]:
    with zstandard.ZstdDecompressor().stream_reader(payload, read_across_frames=True) as reader:
        while read := reader.read(_READ_BYTES):
            yield memoryview(read)


def _cut(decompressed: Iterator[memoryview]) -> Iterator[bytes]:
    unread = bytearray()
    for some in decompressed:
        unread += some
        at = 0
        while len(unread) - at >= HEADER_BYTES:
            (size,) = struct.unpack_from("<I", unread, at + _SIZE_AT)
            if size < HEADER_BYTES:
                raise UnsupportedEvent("a damaged compressed transaction")
            if len(unread) - at < size:
                break
            yield bytes(unread[at : at + size])
            at += size
        del unread[:at]
    if unread:
        raise UnsupportedEvent("a compressed transaction that ends too early")


def inflated(data: bytes | memoryview) -> bytes:
    """The plain bytes of what MariaDB compresses in an event: a byte for algorithm and length, the length, the data.

    Raises:
        UnsupportedEvent: an unknown compression, or damaged data.
    """
    if not data or not data[0] & 0x80 or data[0] & 0x70:
        raise UnsupportedEvent("an unknown compression", hint="Set log_bin_compress=OFF on the source.")
    start = 1 + (data[0] & 0x07)
    size = int.from_bytes(data[1:start], "big")
    try:
        whole = zlib.decompress(data[start:], bufsize=max(size, 1))
    except zlib.error:
        raise UnsupportedEvent("a damaged compressed event") from None
    if len(whole) != size:
        raise UnsupportedEvent("a compressed event of the wrong length")
    return whole
