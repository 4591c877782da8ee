"""Rows per second of our row decoder beside mysql-replication's own `.rows`, on the same events of a real server.

    python bench/decoder.py [--rows 20000] [--batch 100] [--flavour mysql]

Only the decoding is timed: the events are in memory, the library has parsed its table maps, and our time
includes the generation of the decoder. Best of three rounds each, taken in turns.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from pymysqlreplication import BinLogStreamReader  # noqa: E402
from pymysqlreplication.event import BinLogEvent  # noqa: E402
from pymysqlreplication.row_event import TableMapEvent, WriteRowsEvent  # noqa: E402
from servers import FLAVOURS, Server  # noqa: E402

from myrepetl_dagster.core.binlog.row_images import Decoder, compile_decoder  # noqa: E402
from myrepetl_dagster.core.binlog.table_map import parse_table_map  # noqa: E402

ROUNDS = 3
HEADER_BYTES = 20  # the packet's status byte, then the event's header
CHECKSUM_BYTES = 4
WORDS = ("lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "adipiscing", "elit", "sed", "do", "eiusmod")


def text(words: int) -> str:
    return " ".join(random.choices(WORDS, k=words))


def maybe(value: object, nulls: float = 0.2) -> object:
    return None if random.random() < nulls else value


def moment() -> str:
    day = f"20{random.randrange(10, 30)}-{random.randrange(1, 13):02d}-{random.randrange(1, 29):02d}"
    return f"{day} {random.randrange(24):02d}:34:{random.randrange(60):02d}"


def narrow() -> tuple[object, ...]:
    return (random.randrange(1 << 31), random.randrange(10**10) / 100, moment(), text(2))


def wide() -> tuple[object, ...]:
    kinds: list[Callable[[], object]] = [
        lambda: random.randrange(-(1 << 31), 1 << 31),
        lambda: random.randrange(1 << 60),
        lambda: maybe(random.randrange(256)),
        lambda: random.randrange(10**10) / 100,
        lambda: maybe(moment(), 0.02),
        moment,
        lambda: text(1),
        lambda: maybe(text(2), 0.02),
        lambda: random.random(),
        lambda: random.choice(("new", "paid", "sent")),
    ]
    return tuple(kind() for _ in range(6) for kind in kinds)[:59]


def heavy() -> tuple[object, ...]:
    return (text(3), text(8), maybe(text(40)), text(150), maybe(text(1)), moment())


def document() -> tuple[object, ...]:
    value = {
        "id": random.randrange(1 << 40),
        "name": text(2),
        "tags": [text(1) for _ in range(random.randrange(5))],
        "price": random.randrange(10**6) / 100,
        "address": {
            "street": text(3),
            "zip": str(random.randrange(100000)),
            "geo": [random.randrange(-90 * 10**6, 90 * 10**6) / 10**6 for _ in range(2)],
        },
        "active": random.random() < 0.5,
        "note": None,
    }
    return (json.dumps(value), text(2))


WIDE_TYPES = ["INT", "BIGINT UNSIGNED", "TINYINT UNSIGNED", "DECIMAL(12,2)", "DATETIME", "TIMESTAMP NULL"]
WIDE_TYPES += ["VARCHAR(40)", "VARCHAR(300)", "DOUBLE", "ENUM('new','paid','sent')"]
TABLES: dict[str, tuple[str, Callable[[], tuple[object, ...]]]] = {
    "narrow": ("a INT, b DECIMAL(12,2), c DATETIME(3), d VARCHAR(60)", narrow),
    "wide": (", ".join(f"c{n} {WIDE_TYPES[n % 10]}" for n in range(59)), wide),
    "text": ("a VARCHAR(60), b VARCHAR(400), c TEXT, d MEDIUMTEXT, e CHAR(20), f TIMESTAMP NULL", heavy),
    "json": ("a JSON, b VARCHAR(60)", document),
}
TARGETS = {"narrow": 10, "wide": 10, "text": 10, "json": 5}


def fill(server: Server, name: str, rows: int, batch: int) -> tuple[str, int]:
    """Make and fill the table; where the log stood before the first row."""
    columns, make = TABLES[name]
    server.execute("CREATE DATABASE IF NOT EXISTS bench", f"DROP TABLE IF EXISTS bench.`{name}`")
    server.execute(f"CREATE TABLE bench.`{name}` (id BIGINT UNSIGNED PRIMARY KEY, {columns})")
    show = "SHOW BINARY LOG STATUS" if server.flavour == "mysql" else "SHOW MASTER STATUS"
    file, position = server.execute(show)[0][:2]
    connection = server.connect(database="bench")
    with connection.cursor() as cursor:
        for start in range(1, rows + 1, batch):
            chunk = [(start + n, *make()) for n in range(min(batch, rows + 1 - start))]
            marks = ",".join(["%s"] * len(chunk[0]))
            cursor.executemany(f"INSERT INTO `{name}` VALUES ({marks})", chunk)
    connection.close()
    return file, position


def stream(server: Server, file: str, position: int) -> list[BinLogEvent]:
    reader = BinLogStreamReader(
        connection_settings={"unix_socket": server.socket, "user": "root", "host": "localhost"},
        server_id=random.randrange(1 << 20, 1 << 31),
        log_file=file,
        log_pos=position,
        resume_stream=True,
        only_events=[WriteRowsEvent, TableMapEvent],
    )
    try:
        return list(reader)
    finally:
        reader.close()


def time_library(events: Sequence[BinLogEvent]) -> tuple[float, int]:
    rows = [event for event in events if isinstance(event, WriteRowsEvent)]
    begin = time.perf_counter()
    count = sum(len(event.rows) for event in rows)
    return time.perf_counter() - begin, count


def time_ours(events: Sequence[BinLogEvent]) -> tuple[float, int]:
    bodies = [(event.event_type, bytes(event.packet.packet._data[HEADER_BYTES:-CHECKSUM_BYTES])) for event in events]
    decoders: dict[int, Decoder] = {}
    known: dict[bytes, Decoder] = {}
    count = 0
    begin = time.perf_counter()
    for kind, body in bodies:
        if kind == 19:
            if body[8:] not in known:
                table_id, table = parse_table_map(body)
                known[body[8:]] = decoders[table_id] = compile_decoder(table)
        else:
            decoder = decoders[int.from_bytes(body[:6], "little")]
            start = decoder.start_of_rows(body, kind)
            assert start is not None, "the rows are whole"
            count += len(decoder.inserts(body, start, len(body)))
    return time.perf_counter() - begin, count


def measure(server: Server, name: str, rows: int, batch: int) -> tuple[float, float]:
    """(library's, our) best seconds for all rows of one table."""
    place = fill(server, name, rows, batch)
    library, ours = [], []
    for _ in range(ROUNDS):
        events = stream(server, *place)
        seconds, counted = time_ours(events)
        assert counted == rows
        ours.append(seconds)
        seconds, counted = time_library(events)
        assert counted == rows
        library.append(seconds)
    return min(library), min(ours)


def main(arguments: Sequence[str] | None = None) -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=100, help="rows of one INSERT")
    parser.add_argument("--flavour", choices=FLAVOURS, default="mysql")
    parser.add_argument("--table", choices=TABLES, action="append")
    options = parser.parse_args(arguments)
    random.seed(1)
    print(f"{'table':8} {'library rows/s':>15} {'ours rows/s':>12} {'ratio':>7} {'to reach':>9}")
    with tempfile.TemporaryDirectory() as folder, Server(options.flavour, Path(folder)) as server:
        for name in options.table or TABLES:
            library, ours = measure(server, name, options.rows, options.batch)
            speeds = f"{options.rows / library:15,.0f} {options.rows / ours:12,.0f}"
            print(f"{name:8} {speeds} {library / ours:7.1f} {TARGETS[name]:9}")


if __name__ == "__main__":
    main()
