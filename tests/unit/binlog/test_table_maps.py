"""The table maps of a stream: which of them are one, and which tell that a table was opened anew."""

from __future__ import annotations

import struct

from myrepetl_dagster.core.binlog.events import KnownTable
from myrepetl_dagster.core.binlog.table_maps import RowsFound, TableMaps
from myrepetl_dagster.core.model.tables import Column, TableName

WRITE_ROWS = 30


def maps() -> TableMaps:
    return TableMaps({TableName(schema, "t"): KnownTable((Column("id", "int", "int"),)) for schema in ("a", "b")})


def announced(one: TableMaps, number: int, schema: bytes = b"a") -> None:
    """A table of one INT column."""
    one.announce(
        number.to_bytes(6, "little") + b"\1\0" + bytes([len(schema)]) + schema + b"\0" + b"\1t\0" + b"\1\3\0\0",
        "binlog.1:4",
    )


def found(one: TableMaps, number: int) -> RowsFound:
    """A row of the table with this id."""
    data = number.to_bytes(6, "little") + b"\1\0" + b"\2\0" + b"\1\1" + b"\0" + struct.pack("<i", 7)
    rows = one.rows(WRITE_ROWS, data, 0, len(data))
    assert rows is not None
    return rows


def test_a_table_id_keeps_its_table_map() -> None:
    """However often it is announced, and whichever tables come in between."""
    one = maps()
    announced(one, 1)
    first = found(one, 1).table_map
    announced(one, 2, b"b")
    announced(one, 1)
    assert found(one, 1).table_map is first


def test_another_table_id_has_a_table_map_of_its_own() -> None:
    """An equal one that is another object: the source has opened the table anew. Its decoder is the same."""
    one = maps()
    announced(one, 1)
    first = found(one, 1)
    announced(one, 9)
    second = found(one, 9)
    assert first.table_map == second.table_map
    assert first.table_map is not second.table_map
    assert first.decoder is second.decoder
    one.forget_ids()  # the source was started again, and numbers its tables anew
    announced(one, 9)
    assert found(one, 9).table_map is not second.table_map


def test_a_log_that_names_no_columns_says_so() -> None:
    """Also after a description has named them."""
    one = maps()
    announced(one, 1)
    table_map = found(one, 1).table_map
    assert table_map.columns[0].name == "id"  # type: ignore[union-attr]
    assert not table_map.named  # type: ignore[union-attr]


def test_names_in_the_letters_of_the_statement_that_made_the_table() -> None:
    """As a log has them under lower_case_table_names=2, which no server takes on a file system that tells letters apart:
    the table is known by its name in lower case.
    """
    one = TableMaps({TableName("shop", "t"): KnownTable((Column("id", "int", "int"),))}, names_without_case=True)
    announced(one, 1, b"Shop")
    assert found(one, 1).table_map is not None
    one = TableMaps({TableName("shop", "t"): KnownTable((Column("id", "int", "int"),))})
    announced(one, 1, b"Shop")
    data = (1).to_bytes(6, "little") + b"\1\0" + b"\2\0" + b"\1\1" + b"\0" + struct.pack("<i", 7)
    assert one.rows(WRITE_ROWS, data, 0, len(data)) is None
