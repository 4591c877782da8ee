"""Whether a log is the one of the checkpoint: by the bytes of events, without a server."""

from __future__ import annotations

import struct
import zlib

import pytest

from myrepetl_dagster.core.binlog.event_types import FORMAT_DESCRIPTION, QUERY, ROTATE, XID
from myrepetl_dagster.core.model.checkpoint import Checkpoint, Phase
from myrepetl_dagster.core.model.checkpoint_codec import from_row, to_row
from myrepetl_dagster.core.model.gtid import GtidSet
from myrepetl_dagster.core.model.position import LogMark, Position
from myrepetl_dagster.core.source.log_identity import beginning, is_same

FILE, BIRTH_S = "binlog.000001", 1_700_000_000
UUID = "11111111-2222-3333-4444-555555555555"


def event(kind: int, begins: int, body: bytes, second: int = BIRTH_S) -> bytes:
    """An event with its checksum; `begins` 0: made up by the dump."""
    size = 19 + len(body) + 4
    head = struct.pack("<IBIIIH", second, kind, 1, size, begins + size if begins else 0, 0)
    return head + body + struct.pack("<I", zlib.crc32(head + body))


def format_description(begins: int = 4, second: int = BIRTH_S) -> bytes:
    return event(FORMAT_DESCRIPTION, begins, b"\x04\x00" + b"8.4.0".ljust(50, b"\0") + bytes(45) + b"\x01", second)


def statement(begins: int, text: bytes) -> bytes:
    return event(QUERY, begins, struct.pack("<IIBHH", 1, 0, 0, 0, 0) + b"\0" + text)


BEGUN = format_description()
BEGIN = statement(4 + len(BEGUN), b"BEGIN")
COMMIT_AT = 4 + len(BEGUN) + len(BEGIN)


def commit(number: int) -> bytes:
    return event(XID, COMMIT_AT, struct.pack("<Q", number))


def the_mark(log: list[bytes]) -> LogMark:
    birth_unix_s, mark = beginning(log, FILE, 10**6)
    assert birth_unix_s == BIRTH_S
    assert mark is not None
    return mark


LOG = [BEGUN, BEGIN, commit(7)]
MARK = the_mark(LOG)
FROM_THE_MARK = [event(ROTATE, 0, struct.pack("<Q", COMMIT_AT) + FILE.encode(), 0), format_description(0), commit(7)]


def test_the_first_transaction_is_a_files_mark() -> None:
    """Its last event's place and checksum; none that lies beyond what counts as read, and none in an empty file."""
    assert (MARK.file, MARK.offset_bytes) == (FILE, COMMIT_AT)
    assert beginning(LOG, FILE, COMMIT_AT) == (BIRTH_S, None)
    assert beginning(LOG[:2], FILE, 10**6) == (BIRTH_S, None)


@pytest.mark.parametrize(
    ("events", "same"),
    [
        (FROM_THE_MARK, True),
        (LOG, True),
        ([*FROM_THE_MARK[:2], commit(8)], False),  # another transaction of the same size in the same second
        ([format_description(0, BIRTH_S + 1), commit(7)], False),
        ([format_description(0)], False),  # the file ends before it
        ([format_description(0), statement(COMMIT_AT + 5, b"BEGIN")], False),
        ([], False),
    ],
    ids=["from the mark", "from the start", "another event", "another second", "shorter", "no event there", "nothing"],
)
def test_a_file_is_known_by_its_second_and_its_mark(events: list[bytes], same: bool) -> None:
    """Both have to be as they were."""
    assert is_same(events, FILE, BIRTH_S, MARK) is same


def test_a_file_without_a_mark_is_known_by_its_second_alone() -> None:
    """So it is for checkpoints from before there were marks; and without either nothing can be told."""
    assert is_same(LOG, FILE, BIRTH_S, None)
    assert not is_same([format_description(4, BIRTH_S + 1)], FILE, BIRTH_S, None)
    assert is_same(LOG, FILE, 0, MARK)


@pytest.mark.parametrize("mark", [None, MARK, LogMark(FILE, 9, 2**32 - 1, (f"{UUID}:tag", 3), 1_700_000_000_000_001)])
def test_a_mark_is_stored_with_its_checkpoint(mark: LogMark | None) -> None:
    """And comes back as it was."""
    position = Position(FILE, 99, GtidSet.parse(f"{UUID}:1-3"), birth_unix_s=BIRTH_S, mark=mark)
    row = to_row(Checkpoint("m", Phase.SETTLING, position, high_watermark=position))
    stored = from_row(row)
    assert stored is not None
    assert stored.position.mark == mark
    assert stored.high_watermark == position


def test_a_set_without_one_of_its_gtids() -> None:
    """One number less, at either end or in between; the others stay."""
    held = GtidSet.parse(f"{UUID}:1-3:7")
    assert str(held.without(UUID, 3)) == f"{UUID}:1-2:7"
    assert str(held.without(UUID, 2)) == f"{UUID}:1:3:7"
    assert str(held.without(UUID, 7)) == f"{UUID}:1-3"
    assert held.without(UUID, 9) == held
    assert str(GtidSet.parse(f"{UUID}:5").without(UUID, 5)) == ""
