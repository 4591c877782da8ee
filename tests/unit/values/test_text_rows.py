"""Rows of the text protocol (`test_protocol.py` reads their fields, too)."""

from __future__ import annotations

import pytest

from myrepetl_dagster.core.model.tables import Column
from myrepetl_dagster.core.values.text_rows import key_reader

ID = Column("id", "bigint", "bigint unsigned zerofill", unsigned=True)
NAME = Column("name", "varchar", "varchar(9)", charset="utf8mb4")
DAY = Column("day", "date", "date")
LONG = bytes(300)


@pytest.mark.parametrize("skipped", [[b"\xfb"], [b"\xfb", b"\xfc" + len(LONG).to_bytes(2, "little") + LONG], []])
def test_a_key_behind_other_fields(skipped: list[bytes]) -> None:
    """A key's columns are found behind NULLs and long fields, in any order, and become literals."""
    packet = b"".join([*skipped, b"\x08it's\xc3\xa9 \xfb", b"\x0a2024-02-29", b"\x0500042"])

    read = key_reader([ID, NAME, DAY], [2, 0, 1], len(skipped))

    assert read(packet) == ("42", "_utf8mb4'it\\'s\u00c3\u00a9 \u00fb'", "'2024-02-29'")
