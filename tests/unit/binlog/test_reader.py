"""Reading events from bytes: framing, checksums, compression, GTIDs, and what stops the reader."""

from __future__ import annotations

import itertools
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from myrepetl_dagster.core.binlog.compression import events_of, inflated
from myrepetl_dagster.core.binlog.ddl.statement import Action
from myrepetl_dagster.core.binlog.event_types import STOPPING
from myrepetl_dagster.core.binlog.events import (
    Committed,
    KnownTable,
    LogAdvanced,
    LogEvent,
    RowsRead,
    TableChanged,
    XaBegun,
    XaDecided,
    XaPrepared,
)
from myrepetl_dagster.core.binlog.gtid_event import mariadb_gtid_event, tagged_gtid_event
from myrepetl_dagster.core.binlog.reader import LogReader
from myrepetl_dagster.core.model.errors import UnsupportedEvent
from myrepetl_dagster.core.model.gtid import GtidSet
from myrepetl_dagster.core.model.tables import Column, TableName

UUID = "65552d93-e875-11f1-99db-02fc00000001"
# A tagged GTID event of MySQL 9.7, and MariaDB GTID events of XA PREPARE and of XA COMMIT, without their headers.
TAGGED = bytes.fromhex(
    "02700000" "0002caaa5a4d02a103ea22c50365026d0304f10300000002" "0404" "0608626c7565" "0810" "0a14"
    "0c7f2b340455106106" "109904" "1283120b"
)  # fmt: skip
XA_PREPARED = bytes.fromhex("0700000000000000000000004c07000000010261ff0001ff")
XA_COMMITTED = bytes.fromhex("0800000000000000000000008d07000000010261ff00")
INNER = 2**20


def event(kind: int, body: bytes = b"", *, flags: int = 0, position: int = 0, checksum: bool = True) -> bytes:
    size = 19 + len(body) + 4 * checksum
    data = struct.pack("<IBIIIH", 1700000000, kind, 7, size, position, flags) + body
    return data + struct.pack("<I", zlib.crc32(data)) if checksum else data


def query(statement: str, schema: str = "shop") -> bytes:
    return struct.pack("<IIBHH", 1, 0, len(schema), 0, 0) + schema.encode() + b"\0" + statement.encode()


def format_description(checksums: bool) -> bytes:
    return event(15, b"\x04\0" + b"9.7.4".ljust(50, b"\0") + b"\0" * 44 + bytes([checksums]))


def reader() -> LogReader:
    return LogReader({TableName("shop", "users"): KnownTable(())}, "binlog.000007", 1234)


def read(one: LogReader, *events: bytes) -> list[LogEvent]:
    return list(itertools.chain.from_iterable(map(one.read, events)))


def payload(events: bytes, *, compression: int = 0, level: int = 3) -> bytes:
    data = zstandard.ZstdCompressor(level=level).compress(events) if compression == 0 else events
    fields = b"\x02\x01" + (b"\xfc\xff\x00" if compression > 250 else bytes([compression]))
    if compression > 250:
        fields = b"\x02\x03\xfc" + compression.to_bytes(2, "little")
    return fields + b"\x03\x05\xfd" + b"\0" * 4 + b"\x01\x05\xfd" + b"\0" * 4 + b"\x00" + data


# ---- framing ----
def test_corrupt_byte_stops() -> None:
    """One changed bit in an event that has a checksum stops the reader, with the place before the event."""
    good = event(16, b"\x01" + b"\0" * 7, position=1300)
    assert isinstance(read(reader(), good)[0], Committed)
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 0x10
        if at == 4:  # the type: another one may need no checksum
            continue
        with pytest.raises(UnsupportedEvent, match=r"after binlog\.000007:1234: .*checksum"):
            read(reader(), bytes(bad))


def test_each_file_says_whether_its_events_have_checksums() -> None:
    """A format description decides about the events after it, until the next one."""
    one = reader()
    xid = b"\x01" + b"\0" * 7
    read(one, format_description(False), event(16, xid, position=1300, checksum=False))
    read(one, format_description(True), event(16, xid, position=1400))
    with pytest.raises(UnsupportedEvent, match="checksum"):
        read(one, event(16, xid, position=1500, checksum=False))


@pytest.mark.parametrize("checksum", [True, False])
def test_rotation_that_the_dump_made_up(checksum: bool) -> None:
    """The first event of a dump names the file, with or without a checksum; a real rotation needs its checksum."""
    one = reader()
    made_up = event(4, struct.pack("<Q", 4) + b"binlog.000008", flags=0x20, checksum=checksum)
    assert read(one, made_up) == [LogAdvanced("binlog.000008", 4)]
    if not checksum:
        with pytest.raises(UnsupportedEvent, match="checksum"):
            read(reader(), event(4, struct.pack("<Q", 4) + b"binlog.000008", position=1300, checksum=False))


@pytest.mark.parametrize("kind", [27, 41])
def test_only_a_sign_of_life_says_that_there_is_no_more(kind: int) -> None:
    """Not the file that the dump begins with, nor a new one; within a transaction nothing is a place to be at."""
    one = reader()
    made_up = event(4, struct.pack("<Q", 4) + b"binlog.000008", flags=0x20)
    found = read(one, made_up, format_description(True), event(kind, b"binlog.000008", flags=0x20, position=200))
    assert [moved.at_end for moved in found if isinstance(moved, LogAdvanced)] == [False, False, True]
    assert read(one, event(2, query("BEGIN"), position=300), event(kind, b"binlog.000008", position=300)) == []


@pytest.mark.parametrize("kind", [0, 1, 6, 7, 12, 20, 22, 43, 100, 159, 173, 255])
def test_unknown_event_types_stop(kind: int) -> None:
    """An event type that is not known stops the reader, and the message has the type and the place."""
    with pytest.raises(UnsupportedEvent, match=rf"binlog\.000007:1234: an event of unknown type {kind}; nothing after"):
        read(reader(), event(kind, b"x" * 20))


@pytest.mark.parametrize("kind", [43, 100, 173, 255])
def test_unknown_events_that_may_be_ignored_are(kind: int) -> None:
    """The format's own flag says so, as on the padding of Amazon Aurora. Reading goes on behind the event."""
    one = reader()
    assert read(one, event(kind, b"\0" * 20, flags=0x80, position=1300)) == []
    assert one.offset_bytes == 1300


@pytest.mark.parametrize("kind", sorted(STOPPING))
def test_known_events_that_change_rows_are_not_ignored(kind: int) -> None:
    """Whatever their flags say: nobody could follow them."""
    with pytest.raises(UnsupportedEvent):
        read(reader(), event(kind, b"x" * 20, flags=0x80))


@pytest.mark.parametrize(("kind", "what"), [(17, "LOAD DATA"), (18, "LOAD DATA"), (26, "INCIDENT"), (172, "fragments")])
def test_known_event_types_that_stop(kind: int, what: str) -> None:
    """Events that change rows in a way that cannot be followed stop the reader by name."""
    with pytest.raises(UnsupportedEvent, match=what):
        read(reader(), event(kind, b"x" * 20))


@pytest.mark.parametrize("kind", [2, 19, 30, 31, 33, 38, 40, 42, 162, 165, 166])
def test_events_that_end_too_early_stop(kind: int) -> None:
    """An event cut short is refused, not half read."""
    with pytest.raises(UnsupportedEvent, match=r"binlog\.000007:1234"):
        read(reader(), event(kind, b"\x01\x02"))


# ---- compression ----
def test_payload_is_read_like_its_events() -> None:
    """A compressed transaction is the events in it, at the position of the event that holds it."""
    inner = event(2, query("BEGIN"), checksum=False) + event(16, b"\x09" + b"\0" * 7, checksum=False)
    for compression in (0, 255):
        one = reader()
        (committed,) = read(one, event(40, payload(inner, compression=compression), position=2000))
        assert isinstance(committed, Committed)
        assert committed.transaction.end_offset_bytes == 2000
        assert not one.in_transaction


def test_payload_in_bounded_memory() -> None:
    """Of 256 MiB in one compressed transaction, no more than a few events are in memory at a time."""
    count = 256

    def bodies() -> Iterator[bytes]:
        for _ in range(count):
            yield event(29, b"\0" * (INNER - 19), checksum=False)

    compressor = zstandard.ZstdCompressor().compressobj()
    data = b"".join(compressor.compress(body) for body in bodies()) + compressor.flush()
    body = memoryview(b"\x02\x01\x00\x00" + data)
    tracemalloc.start()
    try:
        assert sum(1 for one in events_of(body) if len(one) == INNER) == count
        assert tracemalloc.get_traced_memory()[1] < 8 * INNER
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=200), st.integers(0, 199))
def test_damaged_payload_stops(noise: bytes, at: int) -> None:
    """Whatever is in a payload, it is read or refused."""
    inner = event(2, query("BEGIN"), checksum=False)
    data = payload(inner)
    for damaged in (noise, data[:at], data[:at] + noise):
        try:
            assert b"".join(events_of(memoryview(damaged))) in (inner, b"")
        except UnsupportedEvent:
            pass


def test_unknown_compressions_stop() -> None:
    """A compression that is not known stops the reader, on either flavour."""
    with pytest.raises(UnsupportedEvent, match="unknown compression 7"):
        read(reader(), event(40, payload(b"x" * 40, compression=7)))
    with pytest.raises(UnsupportedEvent, match="unknown compression"):
        inflated(b"\x91\x05" + zlib.compress(b"hello"))


@given(st.binary(max_size=2000))
def test_inflated(data: bytes) -> None:
    """MariaDB's header: algorithm and size of the length, the length with the high byte first, the data."""
    size = max(1, (len(data).bit_length() + 7) // 8)
    head = bytes([0x80 | size]) + len(data).to_bytes(size, "big")
    assert inflated(head + zlib.compress(data)) == data
    with pytest.raises(UnsupportedEvent):
        inflated(head[:-1] + bytes([head[-1] ^ 1]) + zlib.compress(data))
    with pytest.raises(UnsupportedEvent):
        inflated(head + zlib.compress(data)[:-1])


# ---- transactions ----
def test_tagged_gtid() -> None:
    """The UUID, the tag, the number and the microseconds of the commit."""
    found = tagged_gtid_event(TAGGED)
    assert found.gtid == (f"{UUID}:blue", 1)
    assert int(found.committed_at_unix_s) == 1795572633


def test_xa_on_mysql() -> None:
    """XA START … XA PREPARE is a transaction that leaves its rows in doubt; XA COMMIT decides, under the same name; a
    transaction committed in one phase is one like any other.
    """
    xid = struct.pack("<BIII", 0, 7, 1, 2) + b"a\xff\x00"
    one = reader()
    began, prepared, decided = read(
        one,
        event(2, query("XA START X'61',X'ff00',7"), position=1300),
        event(2, query("XA END X'61',X'ff00',7"), position=1400),
        event(38, xid, position=1500),
        event(2, query("XA COMMIT X'61',X'FF00',7"), position=1600),
    )
    assert isinstance(began, XaBegun)
    assert isinstance(prepared, XaPrepared)
    assert isinstance(decided, XaDecided)
    assert prepared.xid == decided.xid == "X'61',X'ff00',7"
    assert (prepared.transaction.end_offset_bytes, decided.transaction.end_offset_bytes) == (1500, 1600)
    assert decided.committed
    assert not one.in_transaction
    (rolled_back,) = read(one, event(2, query("XA ROLLBACK X'61',X'',1"), position=1700))
    assert isinstance(rolled_back, XaDecided)
    assert not rolled_back.committed
    assert isinstance(read(one, event(38, b"\x01" + xid[1:], position=1800))[0], Committed)
    with pytest.raises(UnsupportedEvent, match="XA statement"):
        read(one, event(2, query("XA RECOVER"), position=1900))


def test_xa_on_mariadb() -> None:
    """MariaDB's GTID event says that the transaction will be prepared; the decision is a transaction of its own."""
    prepared, committed = (mariadb_gtid_event(body, 3, 0) for body in (XA_PREPARED, XA_COMMITTED))
    assert (prepared.may_prepare, prepared.begins, prepared.mariadb_gtid) == (True, True, "0-3-7")
    assert (committed.may_prepare, committed.begins) == (False, False)
    assert not prepared.idle


def test_statement_that_may_write_any_table_stops() -> None:
    """A data change in statement format stops the reader where its text does not tell what it writes."""
    for statement in ("CALL fill()", "UPDATE t SET a=own(1)", "INSERT INTO t VALUES (shop.f())", "DO 1"):
        with pytest.raises(UnsupportedEvent, match="statement format"):
            read(reader(), event(2, query(statement, "elsewhere"), position=1300))


def test_statement_that_writes_named_tables() -> None:
    """Elsewhere the tables are passed on, mapped or not, since they may have triggers."""
    found = read(reader(), event(2, query("UPDATE t SET a=1", "elsewhere"), position=1300))
    assert isinstance(found[0], TableChanged)
    assert [(c.action, str(c.table)) for c in found[0].changes] == [(Action.DML, "elsewhere.t")]


def test_gtid_set_for_the_dump_command() -> None:
    """A set without tags has the format that every server knows; one with tags has the newer one."""
    uuid = bytes.fromhex(UUID.replace("-", ""))
    plain = GtidSet.parse(f"{UUID}:1-5:7").encoded()
    assert plain == struct.pack("<Q", 1) + uuid + struct.pack("<QQQQQ", 2, 1, 6, 7, 8)
    tagged = GtidSet.parse(f"{UUID}:1-5:blue:3").encoded()
    expected = b"\x01\x02\x00\x00\x00\x00\x00\x01" + uuid + b"\x00" + struct.pack("<QQQ", 1, 1, 6)
    assert tagged == expected + uuid + b"\x08blue" + struct.pack("<QQQ", 1, 3, 4)


# ---- most events are like the one before ----
TABLES = [(1, "users"), (2, "users"), (1, "orders"), (2, "orders"), (3, "nobody's")]


def table_map_event(number: int, table: str, position: int) -> bytes:
    names = b"\x04shop\0" + bytes([len(table)]) + table.encode() + b"\0"
    return event(19, number.to_bytes(6, "little") + b"\1\0" + names + b"\x01\x03\x00\x00", position=position)


def rows_event(number: int, kind: int, flags: int, rows: int, position: int) -> bytes:
    head = number.to_bytes(6, "little") + bytes([flags, 0]) + (b"\2\0" if kind >= 30 else b"")
    bitmaps = b"\x01" + b"\xff" * (2 if kind in (24, 31) else 1)
    images = b"".join(b"\0" + struct.pack("<i", n) for n in range(rows * len(bitmaps[1:])))
    return event(kind, head + bitmaps + images, position=position)


def told(one: LogReader, batches: list[list[bytes]]) -> list[object]:
    """What happened, all that a reader knows after each batch, and the error that it stopped with."""
    found: list[object] = []
    for batch in batches:
        try:
            for piece in one.read_batch(list(batch)):
                for happened in piece:
                    if isinstance(happened, RowsRead):
                        rows = [(verb, data[start:end]) for verb, data, start, end in happened.images]
                        found.append(
                            (happened.table, repr(happened.table_map), happened.transaction, rows, happened.size_bytes)
                        )
                    else:
                        found.append(happened)
        except UnsupportedEvent as error:
            return [*found, str(error)]
        found.append((one.place, one.in_transaction))
    return found


STEPS = st.one_of(
    st.tuples(st.just("map"), st.sampled_from(TABLES)),
    st.tuples(st.just("rows"), st.integers(1, 2), st.sampled_from([23, 24, 25, 30, 31, 32]), st.integers(0, 1), st.integers(1, 2)),
    st.tuples(st.just("rows"), st.just(1), st.just(23), st.just(1), st.just(1)),
    st.tuples(st.sampled_from(["commit", "nothing", "alter", "damaged", "damaged map", "cut", "restart", "back", "unplaced"])),
)  # fmt: skip


@example([[("map", (1, "users")), ("rows", 1, 23, 1, 1), ("damaged",)]], True)
@example([[("map", (1, "users")), ("rows", 1, 23, 1, 1), ("damaged map",)]], True)
@example([[("map", (1, "users")), ("rows", 1, 23, 1, 1), ("back",), ("rows", 1, 23, 1, 1)]], True)
@example([[("unplaced",), ("map", (1, "users")), ("rows", 1, 23, 1, 1), ("rows", 1, 23, 1, 1), ("commit",)]], True)
@given(st.lists(st.lists(STEPS, max_size=12), max_size=4), st.booleans())
def test_what_is_taken_in_at_a_glance_is_what_it_says(steps: list[list[Any]], whole: bool) -> None:
    """Whatever follows whatever, in one batch or several: events that are like those before mean what they would alone,
    and whoever is not what it seems stops the reader at the same place. `unplaced`: without a position within the
    transaction, as MariaDB 11.8 writes them.
    """
    position, placed = 1234, True
    batches: list[list[bytes]] = [[table_map_event(1, "users", 0), table_map_event(2, "orders", 0)]]
    for part in steps:
        batches.append([])
        for step, *more in part:
            position += 50 if step != "back" else -150
            placed = placed and step != "unplaced"
            if step in ("back", "unplaced"):
                continue
            if step == "map":
                made = table_map_event(more[0][0], more[0][1], position * placed)
            elif step == "rows":
                made = rows_event(more[0], more[1], more[2], more[3], position * placed)
            elif step == "commit":
                placed = True
                made = event(16, b"\x01" + b"\0" * 7, position=position)
            elif step == "nothing":
                made = event(13, position=position)
            elif step == "alter":
                made = event(2, query("ALTER TABLE users ADD COLUMN x INT"), position=position)
            elif step == "damaged":
                made = rows_event(1, 23, 1, 1, position)[:-1] + b"!"
            elif step == "damaged map":
                made = table_map_event(1, "users", position)[:-1] + b"!"
            elif step == "cut":
                made = event(23, rows_event(1, 23, 1, 1, 0)[19:-6], position=position)
            else:
                made = format_description(True)
            batches[-1].append(made)
    if whole:
        batches = [[one for batch in batches for one in batch]]
    known = {TableName("shop", name): KnownTable((Column("id", "int"),)) for name in ("users", "orders")}
    quick, slow = LogReader(known, "binlog.000007", 1234), LogReader(known, "binlog.000007", 1234)
    slow._skip_similar = lambda events, happened: events.pop() if events else None  # type: ignore[method-assign]
    assert told(quick, batches) == told(slow, batches)
