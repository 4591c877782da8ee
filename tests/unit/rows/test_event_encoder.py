"""Row images as events for the target: what they do to a server that refuses what does not fit."""

from __future__ import annotations

import random
import struct
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from operator import itemgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myrepetl_dagster.core.binlog.events import Images, RowsRead, Verb
from myrepetl_dagster.core.binlog.map_columns import TableMap, layout_of
from myrepetl_dagster.core.binlog.row_images import compile_decoder
from myrepetl_dagster.core.binlog.rows_event import RowsHeader, parse_rows_header
from myrepetl_dagster.core.binlog.table_map import parse_table_map
from myrepetl_dagster.core.config.pipeline import ColumnMapping, TableMapping
from myrepetl_dagster.core.model.position import Transaction
from myrepetl_dagster.core.model.tables import Cell, Column, Table, TableName
from myrepetl_dagster.core.plan.resolution import plan_table
from myrepetl_dagster.core.plan.table_plan import TablePlan
from myrepetl_dagster.core.rows.event_encoder import RowChanges, binlog_sql, event_encoding
from myrepetl_dagster.core.rows.image_shaper import ImageShaper
from myrepetl_dagster.core.rows.pending_rows import LastImageByKey, PendingRows
from myrepetl_dagster.core.rows.shaper import Shaper

SOURCE, TARGET = TableName("shop", "people"), TableName("dwh", "leute")
COLUMNS = (
    Column("name", "varchar", "varchar(20)", charset="utf8mb4", collation="utf8mb4_bin"),
    Column("id", "int", "int", nullable=False),
    Column("part", "bigint", "bigint unsigned", nullable=False, unsigned=True),
    Column("kind", "enum", "enum('a','b')", charset="utf8mb4", collation="utf8mb4_bin", members=(b"a", b"b")),
)
KEY = ("id", "part")
# Types, metadata (80 bytes of text; an ENUM of one byte), who may be NULL.
RAW = b"\x04shop\0\x06people\0\x04\x0f\x03\x08\xfe\x04\x50\x00\xf7\x01\x09"
Names = dict[str, str]


def table_map() -> TableMap:
    _, bare = parse_table_map(struct.pack("<IHH", 7, 0, 1) + RAW)
    said = [
        replace(column, name=known.name, unsigned=known.unsigned, charset=known.charset, members=known.members or None)
        for column, known in zip(bare.columns, COLUMNS, strict=True)
    ]
    return replace(bare, columns=tuple(said))


def planned(
    target: tuple[Column, ...] = COLUMNS, renamed: Names | None = None, key: tuple[str, ...] = KEY
) -> TablePlan:
    columns = tuple(ColumnMapping(old, new) for old, new in renamed.items()) if renamed else None
    mapping = TableMapping("m", "m", "s", "shop", "people", "t", "dwh", "leute", key, columns, None)
    return plan_table(mapping, Table(SOURCE, COLUMNS, key), Table(TARGET, target, key), [])


Key = tuple[int, int]
Person = tuple[bytes | None, int, int, int | None]


def image(person: Person) -> bytes:
    name, number, part, kind = person
    data = bytes([(name is None) | (kind is None) << 3])
    data += b"" if name is None else bytes([len(name)]) + name
    return data + struct.pack("<iQ", number, part) + (b"" if kind is None else bytes([kind]))


class Server:
    """Rows by key, changed by events as strictly as a server does."""

    def __init__(self, key: tuple[str, ...] = KEY) -> None:
        self.rows: dict[tuple[Cell, ...], tuple[Cell, ...]] = {}
        self.key = slice(1, 1 + len(key))  # columns
        self.key_bitmap, self.key_bytes = (b"\x06", 13) if key == KEY else (b"\x02", 5)

    def run(self, encoded: bytes) -> None:
        events = b64decode(encoded, validate=True)
        found = []
        while events:
            size = int.from_bytes(events[9:13], "little")
            found.append((events[4], events[19:size]))
            events = events[size:]
        (map_type, map_body), *rows = found
        assert map_type == 19
        number, bare = parse_table_map(map_body)
        assert bare.name == TARGET
        described = replace(bare, columns=table_map().columns)
        ends = []
        for kind, body in rows:
            header = parse_rows_header(body, kind)
            assert (int.from_bytes(body[:6], "little"), header.width) == (number, 4)
            ends.append(bool(body[6] & 1))  # the flag that the statement ends with this event
            self.apply(described, {0: Verb.INSERT, 1: Verb.UPDATE, 2: Verb.DELETE}[(kind - 23) % 7], header, body)
        assert ends == [False] * (len(rows) - 1) + [True], "it ends with its last event, and not before"

    def apply(self, described: TableMap, verb: Verb, header: RowsHeader, body: bytes) -> None:
        whole = compile_decoder(described)
        key = compile_decoder(replace(described, columns=described.columns[self.key]))
        at = header.start
        if verb is Verb.INSERT:
            for row in whole.inserts(body, at, len(body)):
                assert row[self.key] not in self.rows, "a row that is there is inserted"
                self.rows[row[self.key]] = row
            return
        assert header.before == self.key_bitmap, "of a row that was only the key is told"
        if verb is Verb.DELETE:
            for row in key.inserts(body, at, len(body)):
                del self.rows[row]
            return
        while at < len(body):
            begin = at + self.key_bytes
            (found_key,) = key.inserts(body, at, begin)
            name = body[begin + 1] + 1 if not body[begin] & 1 else 0
            end = begin + 1 + name + 12 + (not body[begin] & 8)
            (row,) = whole.inserts(body, begin, end)
            assert found_key in self.rows, "a row that is not there is changed"
            assert row[self.key] == found_key
            self.rows[found_key] = row
            at = end


@st.composite
def logs(draw: st.DrawFn, key: tuple[str, ...]) -> list[list[Images]]:
    """Batches of transactions that could have happened, over few keys."""
    held: dict[Key, Person] = {}
    keys = st.tuples(st.integers(-2, 2), st.sampled_from([0, 2**64 - 1]) if key == KEY else st.just(7))
    batches = []
    for _ in range(draw(st.integers(1, 4))):
        events: list[Images] = []
        for _ in range(draw(st.integers(0, 8))):
            one = draw(keys)
            name, kind = draw(st.sampled_from([None, b"", b"it's", b"\0\xff"])), draw(st.sampled_from([None, 0, 1, 2]))
            row = (name, *one, kind)
            if one not in held:
                events.append(images_of(Verb.INSERT, row))
                held[one] = row
            elif draw(st.booleans()):
                events.append(images_of(Verb.DELETE, held.pop(one)))
            else:
                other = draw(keys)
                moved = row if other in held else (name, *other, kind)
                events.append(images_of(Verb.UPDATE, held.pop(one), moved))
                held[moved[1:3]] = moved
        batches.append(events)
    return batches


def images_of(verb: Verb, *people: Person) -> Images:
    data = b"head" + b"".join(map(image, people))
    return verb, data + b"tail", 4, len(data)


@pytest.mark.parametrize("mariadb", [False, True], ids=["mysql", "mariadb"])
@pytest.mark.parametrize("key", [KEY, ("id",)], ids=str)
@given(data=st.data(), cut=st.integers(0, 8))
def test_a_strict_server_ends_up_with_the_sources_rows(
    key: tuple[str, ...], mariadb: bool, data: st.DataObject, cut: int
) -> None:
    """For any log: batch by batch, nothing is inserted that is there, nothing changed or deleted that is not, and all
    rows are those of the source; also where a batch is put together of several transactions.
    """
    batches = data.draw(logs(key))
    plan, described, server = planned(key=key), table_map(), Server(key)
    shaper = Shaper(plan, layout_of(described))
    images = ImageShaper(shaper, described)
    decoder = compile_decoder(described)
    source: dict[tuple[Cell, ...], tuple[Cell, ...]] = {}
    for events in batches:
        batch = PendingRows()
        for part in (events[:cut], events[cut:]):
            one = PendingRows()
            if part:
                read = RowsRead(SOURCE, described, None, Transaction("binlog.1", 4), 9, part, decoder)
                images.shape(read, one)
                for before, after in read.changes:
                    if before is not None:
                        del source[before[server.key]]
                    if after is not None:
                        source[after[server.key]] = after
            batch.take(one)
        if not batch.last_images:
            continue
        changes = batch.by_key(None, as_changes=True)
        assert isinstance(changes, RowChanges)
        for events_of_statement in changes.events(TARGET, 2**20, mariadb=mariadb, written_unix_s=1):
            server.run(events_of_statement)
        assert server.rows == source
        batch.drop()


def test_events_are_cut_to_the_packet() -> None:
    """No statement is longer than max_allowed_packet where its rows can be parted, and no row is lost, whatever happens to
    it.
    """
    described = table_map()
    form = event_encoding(planned(), described)
    assert form is not None
    server = Server()
    held: LastImageByKey = {(n, 7): image((b"", n, 7, 1)) for n in range(0, 1000, 2)}
    first = form.changes(held, set(held))
    assert first is not None
    for one in first.events(TARGET, 2**20, mariadb=False, written_unix_s=1):
        server.run(one)
    row = {n: image((b"x" * 60, n, 7, 1)) for n in range(1000)}
    people: LastImageByKey = {(n, 7): None if (n, 7) in held and n % 3 else row[n] for n in row}
    changes = form.changes(people, people.keys() - held.keys())
    assert changes is not None
    statements = list(changes.events(TARGET, 4096, mariadb=False, written_unix_s=1))
    for one in statements:
        server.run(one)
    assert server.rows.keys() == {key for key, row in people.items() if row is not None}
    assert {row[0] for row in server.rows.values()} == {b"x" * 60}
    assert len(statements) > 20
    assert max(len(b"".join(binlog_sql(one))) for one in statements) < 4096


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("key", [("id", "part"), ("part", "id")], ids=str)
def test_rows_are_written_in_the_order_of_the_targets_primary_key(descending: bool, key: tuple[str, ...]) -> None:
    """Whatever happens to them: neighbours are written before the next ones, either way through the table."""
    described = table_map()
    form = event_encoding(planned(key=key), described)
    assert form is not None
    numbers = random.Random(7).sample(range(6000), 6000)
    last: LastImageByKey = {(n % 77, n): image((b"x", n % 77, n, 1)) if n % 3 else None for n in numbers}
    new_keys = {one for one, row in last.items() if row and one[1] % 2}  # type: ignore[operator, index]
    changes = form.changes(last, new_keys)
    assert changes is not None
    seen: list[list[tuple[int, int]]] = []
    for encoded in replace(changes, descending=descending).events(TARGET, 2**20, mariadb=False, written_unix_s=1):
        body = b64decode(encoded)
        seen.append(sorted((n % 77, n) for n in numbers if image((b"x", n % 77, n, 1))[-13:-1] in body))
    order = itemgetter(*(KEY.index(name) for name in key))
    places = {row: place for place, row in enumerate(sorted(last, key=order, reverse=descending))}  # type: ignore[arg-type]
    strides = [{places[row] // 1000 for row in rows} for rows in seen]
    assert all(len(stride) == 1 for stride in strides), "a statement is of one stretch of the table"
    assert [min(stride) for stride in strides] == sorted(min(stride) for stride in strides)
    assert sum(map(len, seen)) == len(last)


def changed(name: str, **how: object) -> tuple[Column, ...]:
    return tuple(replace(c, **how) if c.name == name else c for c in COLUMNS)  # type: ignore[arg-type]


MORE = Column("more", "int", "int")
UNLIKE: dict[str, Callable[[], TablePlan]] = {
    "another order": lambda: planned((COLUMNS[1], COLUMNS[0], *COLUMNS[2:])),
    "a column more": lambda: planned((*COLUMNS, MORE)),
    "a column less": lambda: planned(renamed={"id": "id", "part": "part", "name": "name"}),
    "another character set": lambda: planned(changed("name", charset="latin1")),
    "another length": lambda: planned(changed("name", column_type="varchar(30)")),
    "text that is bytes there": lambda: planned(changed("name", type="varbinary", charset=None)),
    "other labels": lambda: planned(changed("kind", members=(b"b", b"a"))),
    "an init_query": lambda: replace(planned(), mapping=replace(planned().mapping, init_query="SELECT 1")),
    "no NULL": lambda: planned(changed("name", nullable=False)),
    "no sign": lambda: planned(changed("id", unsigned=True)),
    "a generated column": lambda: planned(changed("name", generated=True)),
    "an invisible column": lambda: planned(changed("name", invisible=True)),
    "columns that changed places": lambda: planned(
        renamed={"part": "id", "id": "part", "name": "name", "kind": "kind"}
    ),
}


@pytest.mark.parametrize("plan", UNLIKE.values(), ids=list(UNLIKE))
def test_tables_that_are_not_alike_get_statements(plan: Callable[[], TablePlan]) -> None:
    """Whatever makes an image mean something else in the target's table: no events."""
    assert event_encoding(plan(), table_map()) is None


def test_renamed_columns_are_no_hindrance() -> None:
    """Events name no columns, so that a rename costs nothing."""
    names = {"name": "n", "id": "i", "part": "p", "kind": "k"}
    target = tuple(replace(c, name=names[c.name]) for c in COLUMNS)
    assert event_encoding(planned(target, names, ("i", "p")), table_map()) is not None
