"""A real server's log, decoded, and the same rows as that server prints them: what the decode tests compare."""

from __future__ import annotations

import contextlib
import random
import struct
from collections.abc import Callable, Iterator
from typing import cast

from servers import Server

from myrepetl_dagster.core.binlog.partial_rows import PartialDecoder, partial_decoder
from myrepetl_dagster.core.binlog.row_images import Decoder, compile_decoder
from myrepetl_dagster.core.binlog.rows_event import INSERTS, UPDATES, parse_rows_header
from myrepetl_dagster.core.binlog.table_map import TableMap, parse_table_map
from myrepetl_dagster.core.model.tables import Cell, Row

COM_BINLOG_DUMP = 0x12
TABLE_MAP = 19
ROWS = {23, 24, 25, 30, 31, 32, 39}
Change = tuple[Row | None, Row | None]  # a cell that an image lacks is an `Absent`
MODE = "SET sql_mode='ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION', time_zone='+00:00'"


def decode_rows_event(body: bytes, event_type: int, decoder_for: Callable[[int], Decoder]) -> list[Change]:
    """(before, after) of each row of a rows event; `decoder_for` knows the decoder of a table id."""
    decoder: Decoder | PartialDecoder = (whole := decoder_for(int.from_bytes(body[:6], "little")))
    start = whole.start_of_rows(body, event_type)
    if start is None:
        header = parse_rows_header(body, event_type)
        decoder, start = partial_decoder(whole.table_map, event_type, header), header.start
    if event_type in UPDATES:
        return cast("list[Change]", decoder.updates(body, start, len(body)))
    rows = cast("list[Row]", decoder.inserts(body, start, len(body)))
    return [(None, row) for row in rows] if event_type in INSERTS else [(row, None) for row in rows]


class Log:
    """A server's log from where it stood when this was made; rows come decoded."""

    def __init__(self, server: Server, describe: Callable[[TableMap], TableMap] = lambda table: table) -> None:
        self.server = server
        self.describe = describe
        self.tables: list[TableMap] = []
        show = "SHOW BINARY LOG STATUS" if server.flavour == "mysql" else "SHOW MASTER STATUS"
        self.file, self.position = server.execute(show)[0][:2]

    def events(self) -> Iterator[tuple[int, bytes]]:
        """(type, bytes between header and checksum) of each event up to the end of the log."""
        with contextlib.closing(self.server.connect()) as connection:
            with connection.cursor() as cursor:
                cursor.execute("SET @master_binlog_checksum='CRC32', @source_binlog_checksum='CRC32'")
                cursor.execute("SET @mariadb_slave_capability=4")
            arguments = struct.pack("<IHI", self.position, 1, random.randrange(1 << 20, 1 << 31))
            connection._execute_command(COM_BINLOG_DUMP, arguments + self.file.encode())
            while not (packet := connection._read_packet()).is_eof_packet():
                data = packet.get_all_data()[1:]
                yield data[4], data[19:-4]

    def changes(self) -> list[Change]:
        decoders: dict[int, Decoder] = {}
        changes: list[Change] = []
        for kind, body in self.events():
            if kind == TABLE_MAP:
                table_id, table = parse_table_map(body, mariadb=self.server.flavour == "mariadb")
                table = self.describe(table)
                self.tables.append(table)
                decoders[table_id] = compile_decoder(table)
            elif kind in ROWS:
                changes += decode_rows_event(body, kind, decoders.__getitem__)
        return changes


def printed(server: Server, sql: str) -> list[tuple[bytes | None, ...]]:
    """The rows of a query as the server prints them, in each column's own character set."""
    connection = server.connect(conv={0: None}, use_unicode=False, database="types")
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("SET character_set_results=NULL, time_zone='+00:00'")
        cursor.execute(sql)
        return list(cursor.fetchall())


def cell_of(kind: str, text: bytes | None) -> Cell:
    """A printed value in the form that `model/tables.py` gives its type."""
    if text is None:
        return None
    if kind == "bit":
        return int.from_bytes(text, "big")
    if kind in ("tinyint", "smallint", "mediumint", "int", "bigint", "year"):
        return int(text)
    if kind == "enum" and len(text) > 1020:
        return 0
    if kind in ("float", "double"):
        return float(text)
    return text.decode("ascii") if kind in ("decimal", "date", "time", "datetime", "timestamp") else text


def same(left: Cell, right: Cell) -> bool:
    """Equal in type and value; 0.0 is not -0.0."""
    return type(left) is type(right) and repr(left) == repr(right)


def kind_of(definition: str) -> str:
    kind = definition.split("(")[0].split()[0].lower()
    return {"boolean": "tinyint"}.get(kind, kind)
