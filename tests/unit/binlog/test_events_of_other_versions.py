"""Events of servers that no test runs on, written by hand from their documentation (docs/versions.md has the sources)."""

from __future__ import annotations

import struct

import pytest
from unit.binlog.test_reader import UUID, event, query, read, reader, rows_event, table_map_event

from myrepetl_dagster.core.binlog.events import Committed, KnownTable, LogAdvanced, RowsRead
from myrepetl_dagster.core.binlog.gtid_event import GtidEvent, gtid_event_of
from myrepetl_dagster.core.binlog.map_columns import TableMap, layout_of
from myrepetl_dagster.core.binlog.reader import LogReader
from myrepetl_dagster.core.binlog.table_map import overlay, parse_table_map
from myrepetl_dagster.core.model.errors import UnsupportedEvent
from myrepetl_dagster.core.model.tables import Column, TableName

GTID, ANONYMOUS = 33, 34
# The flags, the server's UUID and the number: all of it in MySQL 5.6.
OF_5_6 = b"\x01" + bytes.fromhex(UUID.replace("-", "")) + struct.pack("<q", 77)
# Since 5.7: what its parallel replicas look at.
OF_5_7 = OF_5_6 + struct.pack("<Bqq", 2, 4, 5)
COMMITTED_US, ORIGINATED_US = 1_700_000_000_123_456, 1_600_000_000_654_321


def of_8_0(originated: bool, server_version: int = 80_045) -> bytes:
    """Since 8.0: when it was committed, here and where it came from, its size, and the versions of both servers."""
    here = (COMMITTED_US | originated << 55).to_bytes(7, "little")
    there = ORIGINATED_US.to_bytes(7, "little") if originated else b""
    versions = struct.pack("<I", server_version | originated << 31) + (struct.pack("<I", 50_744) if originated else b"")
    return OF_5_7 + here + there + b"\xfc\x2c\x01" + versions


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (OF_5_6, GtidEvent(1.7e9, (UUID, 77))),
        (OF_5_7, GtidEvent(1.7e9, (UUID, 77))),
        (of_8_0(originated=False), GtidEvent(COMMITTED_US / 1e6, (UUID, 77), originated_at_us=COMMITTED_US)),
        (of_8_0(originated=True), GtidEvent(COMMITTED_US / 1e6, (UUID, 77), originated_at_us=ORIGINATED_US)),
        # whatever a later version may append
        (of_8_0(originated=False) + b"\x09" * 8, GtidEvent(COMMITTED_US / 1e6, (UUID, 77), originated_at_us=COMMITTED_US)),
    ],
    ids=["5.6", "5.7", "8.0", "8.0, a replica", "longer"],
)  # fmt: skip
def test_gtid_events_of_mysql(body: bytes, expected: GtidEvent) -> None:
    """Before 8.0 a transaction is dated by its event's second; later by its commit's microsecond. An anonymous one is dated
    alike, and has no name.
    """
    assert gtid_event_of(GTID, body, 7, 1_700_000_000) == expected
    unnamed = gtid_event_of(ANONYMOUS, body, 7, 1_700_000_000)
    assert unnamed.gtid is None
    assert unnamed.committed_at_unix_s == expected.committed_at_unix_s


@pytest.mark.parametrize(
    "event_of_the_group",
    [
        event(37, b"16480391:2".ljust(40, b"\0") + struct.pack("<QI", 9, 0), position=1400),
        event(36, b"\x24" + UUID.encode() + b"\0" * 30, position=1400),
    ],
    ids=["VIEW_CHANGE", "TRANSACTION_CONTEXT"],
)
def test_a_group_tells_of_itself(event_of_the_group: bytes) -> None:
    """A change of a replication group is a transaction without rows: the checkpoint passes it, GTID and all."""
    one = reader()
    (committed,) = read(
        one,
        event(GTID, OF_5_7, position=1300),
        event(2, query("BEGIN"), position=1350),
        event_of_the_group,
        event(2, query("COMMIT"), position=1500),
    )
    assert isinstance(committed, Committed)
    assert committed.transaction.gtid == (UUID, 77)
    assert committed.transaction.end_offset_bytes == 1500
    assert not one.in_transaction


def test_start_of_encryption() -> None:
    """MariaDB's note that its file is encrypted changes nothing: the server sends the events decrypted."""
    one = reader()
    assert read(one, event(164, b"\x01" + struct.pack("<I", 1) + b"nonce-nonce-", position=1300)) == []
    assert one.offset_bytes == 1300


def test_sign_of_life_of_mysql_8_0_26() -> None:
    """HEARTBEAT_V2: fields of a type and a length each, in place of the file's bare name."""
    body = b"\x01\x0dbinlog.000007" + b"\x02\x04\xfd\x00\x10\x00" + b"\x00"
    assert read(reader(), event(41, body, position=1234)) == [LogAdvanced("binlog.000007", 1234, at_end=True)]


@pytest.mark.parametrize("kind", [100, 101])
def test_events_of_aurora_within_a_transaction(kind: int) -> None:
    """What Aurora writes of its own into the log is flagged as ignorable, and passed over wherever it stands."""
    known = {TableName("shop", "users"): KnownTable((Column("id", "int"),))}
    one = LogReader(known, "binlog.000007", 1234)
    rows, committed = read(
        one,
        event(ANONYMOUS, OF_5_7, position=1300),
        event(2, query("BEGIN"), position=1350),
        table_map_event(1, "users", 1400),
        event(kind, b"\0" * 40, flags=0x80, position=1500),
        rows_event(1, 30, 1, 2, 1600),
        event(16, b"\x09" + b"\0" * 7, position=1700),
    )
    assert isinstance(rows, RowsRead)
    assert isinstance(committed, Committed)
    assert len(rows.images) == 1


@pytest.mark.parametrize("flags", [0, 0x80], ids=["plain", "ignorable"])
def test_fragments_of_rows_stop(flags: int) -> None:
    """MariaDB 12.3 cuts a large rows event in pieces (type 172). They hold rows, so they stop whatever their flags say."""
    body = struct.pack("<IIBQ", 2, 1, 1, 3 * 2**30) + b"\0" * 40
    with pytest.raises(UnsupportedEvent, match=r"binlog\.000007:1234: .*binlog_row_event_fragment_threshold"):
        read(reader(), event(172, body, flags=flags))


def test_a_table_map_of_mysql_5_7() -> None:
    """No optional metadata, and columns that are as old as their table: a DATETIME without fraction digits beside one of
    the newer kind. The table's description tells all the rest.
    """
    types = bytes([3, 12, 18, 7, 254, 15])
    names = b"\x04shop\0\x05users\0"
    metadata = b"\x00" + b"\xf7\x01" + b"\x0a\x00"
    body = (9).to_bytes(6, "little") + b"\1\0" + names + bytes([len(types)]) + types + bytes([len(metadata)]) + metadata
    _, table_map = parse_table_map(body + b"\x3e")
    assert not table_map.named or not table_map.complete
    described = (
        Column("id", "int", "int(10) unsigned", unsigned=True),
        Column("old", "datetime", "datetime"),
        Column("new", "datetime", "datetime"),
        Column("at", "timestamp", "timestamp"),
        Column("e", "enum", "enum('x','y')", charset="latin1"),
        Column("v", "varchar", "varchar(10)", charset="latin1"),
    )
    whole = overlay(table_map, described)
    assert isinstance(whole, TableMap)
    assert whole.complete
    assert [column.name for column in layout_of(whole)] == ["id", "old", "new", "at", "e", "v"]
    assert [column.gap for column in table_map.columns] == [
        "its signedness", "its fraction digits", "", "its fraction digits", "its character set", "its character set",
    ]  # fmt: skip
