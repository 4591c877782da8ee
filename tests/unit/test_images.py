"""Row images that stay bytes: the same outcome as row by row."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myrepetl_dagster.core.errors import UnsupportedEvent
from myrepetl_dagster.core.images import ImageShaper, only_last_images
from myrepetl_dagster.core.layout import layout_of
from myrepetl_dagster.core.log_events import Images, RowsRead, Verb
from myrepetl_dagster.core.maptypes import MapColumn, TableMap, Type
from myrepetl_dagster.core.model import Column, Table, TableName
from myrepetl_dagster.core.pipeline import ColumnMapping, TableMapping
from myrepetl_dagster.core.plan import TablePlan, plan_table
from myrepetl_dagster.core.position import Transaction
from myrepetl_dagster.core.rowimage import compile_decoder
from myrepetl_dagster.core.shape import Shaper
from myrepetl_dagster.core.shaped import Rendered, Shaped

NAME = TableName("shop", "people")
COLUMNS = (
    Column("name", "varchar", "varchar(20)", nullable=False, charset="utf8mb4", collation="utf8mb4_bin"),
    Column("id", "int", "int", nullable=False),
    Column("kind", "enum", "enum('a','b')", charset="utf8mb4", collation="utf8mb4_bin"),
    Column("note", "varchar", "varchar(20)", charset="utf8mb4", collation="utf8mb4_bin"),
)
TABLE_MAP = TableMap(
    NAME,
    (
        MapColumn(Type.VARCHAR, 80, False, name="name", charset="utf8mb4"),
        MapColumn(Type.LONG, 0, False, unsigned=False, name="id"),
        MapColumn(Type.ENUM, 1, True, name="kind", charset="utf8mb4", members=(b"a", b"b")),
        MapColumn(Type.VARCHAR, 80, True, name="note", charset="utf8mb4"),
    ),
    b"",
)
TRANSACTION = Transaction("binlog.000001", 1000)
Person = tuple[bytes, int, int | None, bytes | None]

TEXTS = st.sampled_from([b"", b"x", b"it's", b"back\\slash", "é".encode(), b"%s %d %%", b"\0\xff"])
PERSON = st.tuples(
    st.sampled_from([b"ann", b"b'n"]), st.integers(1, 3), st.sampled_from([None, 0, 1, 2]), st.none() | TEXTS
)


def planned(columns: tuple[ColumnMapping, ...] | None, key: tuple[str, ...]) -> TablePlan:
    mapping = TableMapping("m", "m", "s", "shop", "people", "t", "dwh", "people", key, columns, None)
    names = {c.target for c in columns} if columns else {c.name for c in COLUMNS}
    target = tuple(
        c for c in (*COLUMNS, Column("origin", "varchar", nullable=False, charset="utf8mb4")) if c.name in names
    )
    return plan_table(mapping, Table(NAME, COLUMNS, ("id",)), Table(TableName("dwh", "people"), target, key), [])


PLANS = {
    "every column": planned(None, ("id",)),
    "two key columns in another order": planned(None, ("id", "name")),
    "a fixed value in the key, a column left out": planned(
        (
            ColumnMapping(None, "origin", value="s'1", has_value=True),
            ColumnMapping("kind", "kind"),
            ColumnMapping("id", "id"),
        ),
        ("origin", "id"),
    ),
}


def image(person: Person) -> bytes:
    name, number, kind, note = person
    nulls = (kind is None) << 2 | (note is None) << 3
    data = bytes([nulls, len(name)]) + name + struct.pack("<i", number)
    data += b"" if kind is None else bytes([kind])
    return data + (b"" if note is None else bytes([len(note)]) + note)


def images_of(verb: Verb, *people: Person) -> Images:
    data = b"head" + b"".join(map(image, people))
    return verb, data + b"tail", 4, len(data)


def event(*images: Images) -> RowsRead:
    return RowsRead(NAME, TABLE_MAP, None, TRANSACTION, 100, list(images), compile_decoder(TABLE_MAP), "binlog.7:4")


EVENTS = st.lists(
    st.builds(lambda people: images_of(Verb.INSERT, *people), st.lists(PERSON, min_size=1, max_size=4))
    | st.builds(lambda people: images_of(Verb.DELETE, *people), st.lists(PERSON, min_size=1, max_size=4))
    | st.builds(
        lambda pairs: images_of(Verb.UPDATE, *(person for pair in pairs for person in pair)),
        st.lists(st.tuples(PERSON, PERSON), min_size=1, max_size=4),
    ),
    max_size=8,
)


@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
@given(transactions=st.lists(EVENTS, max_size=4))
def test_the_last_image_is_what_row_by_row_leaves(plan: TablePlan, transactions: list[list[Images]]) -> None:
    """For any sequence of changes, also over several transactions: the same last row of each key, the same counts,
    the same SQL text.
    """
    assert only_last_images(plan)
    shaper = Shaper(plan, layout_of(TABLE_MAP))
    images = ImageShaper(shaper, TABLE_MAP)
    late, early = Shaped(), Shaped()
    for events in transactions:
        one = Shaped()
        if events:
            images.shape(event(*events), one)
            shaper.shape(event(*events).changes, early)
        late.take(one)

    late.check()
    rendered = images.written_out(late.last) if late.last else None
    expected = dict(early.mutations)
    assert dict(late.settle()) == expected
    counts = [(s.rows_read, s.rows_upserted, s.rows_deleted, s.rows_filtered) for s in (late, early)]
    assert counts[0] == counts[1]
    rows = [row for row in expected.values() if row is not None]
    if isinstance(rendered, Rendered):
        assert sorted(rendered.tuples) == sorted(f"({','.join(row)})" for row in rows)
        assert sorted(rendered.gone) == sorted(key for key, row in expected.items() if row is None)
        assert dict(rendered.mutations()) == expected
    else:
        assert dict(rendered or []) == expected
        assert not rows or any("(0)" in row for row in rows), "only an ENUM's error value takes a closer look"


def parameters(row: bytes, types: bytes) -> list[object]:
    """A row's bytes as the values that a MariaDB server takes them for."""
    found: list[object] = []
    at = 0
    for kind in types[::2]:
        at += 1
        if row[at - 1]:
            found.append(None)
        elif kind == 3:
            found.append(struct.unpack_from("<i", row, at)[0])
            at += 4
        else:
            size = row[at]
            found.append(row[at + 1 : at + 1 + size])
            at += 1 + size
    assert at == len(row)
    return found


@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
@given(people=st.lists(PERSON, min_size=1, max_size=60))
def test_parameters_are_the_values_of_the_literals(plan: TablePlan, people: list[Person]) -> None:
    """For any rows, NULLs where they may be: what goes in bulk means what would go as text, and an ENUM's error value,
    which no parameter can be, makes all of them text.
    """
    shaper = Shaper(plan, layout_of(TABLE_MAP))
    made = []
    for bulk in (False, True):
        shaped = Shaped()
        images = ImageShaper(shaper, TABLE_MAP, bulk=bulk)
        images.shape(event(images_of(Verb.INSERT, *people)), shaped)
        made.append(images.written_out(shaped.last))
    text, rendered = made
    if not isinstance(text, Rendered) or not isinstance(rendered, Rendered):
        assert text == rendered
        return
    assert rendered.bulk is not None
    assert not rendered.tuples
    assert not text.bulk
    assert (rendered.gone, dict(rendered.mutations())) == (text.gone, dict(text.mutations()))
    types = rendered.bulk.types
    for row, (_, literals) in zip(rendered.bulk.rows, rendered.mutations(), strict=True):
        assert literals is not None
        values = iter(parameters(row, types))
        for place, literal in zip(rendered.bulk.values, literals, strict=True):
            assert (literal if place != "?" else written(next(values))) == (place if place != "?" else literal)


def written(value: object) -> str:
    """A parameter as a literal: text of utf8mb4, or a number."""
    if not isinstance(value, bytes):
        return "NULL" if value is None else str(value)
    text = value.decode("latin-1").replace("\\", "\\\\").replace("'", "\\'")
    return f"_utf8mb4'{text}'"


@pytest.mark.parametrize(
    "images",
    [
        (Verb.INSERT, image((b"ann", 1, 1, b"x")), 0, 11),
        (Verb.INSERT, image((b"ann", 1, 1, b"x")) + b"\0", 0, 13),
        (Verb.UPDATE, image((b"ann", 1, 1, b"x")), 0, 12),
    ],
    ids=["cut", "a byte too many", "no after image"],
)
def test_images_that_do_not_fit_stop_at_their_place(images: Images) -> None:
    """Images that do not end where their event ends stop the reader, whoever reads them, and it says where."""
    plan = PLANS["every column"]
    shaper = Shaper(plan, layout_of(TABLE_MAP))
    with pytest.raises(UnsupportedEvent, match=r"after binlog\.7:4: shop\.people: a rows event does not fit"):
        ImageShaper(shaper, TABLE_MAP).shape(event(images), Shaped())
    with pytest.raises(UnsupportedEvent, match=r"after binlog\.7:4: shop\.people: a rows event does not fit"):
        _ = event(images).changes


@pytest.mark.parametrize("verb", [Verb.INSERT, Verb.UPDATE])
def test_a_row_never_goes_on_in_the_next_event(verb: Verb) -> None:
    """Events that together hold whole rows, but not each by itself, stop the reader."""
    whole = image((b"ann", 1, 1, b"x")) + image((b"ann", 1, 2, b"y"))
    cut = len(whole) // 2 - (verb is Verb.INSERT)
    shaper = Shaper(PLANS["every column"], layout_of(TABLE_MAP))
    parts = [(verb, whole[:cut], 0, cut), (verb, whole[cut:], 0, len(whole) - cut)]
    with pytest.raises(UnsupportedEvent, match=r"after binlog\.7:4: shop\.people: a rows event does not fit"):
        ImageShaper(shaper, TABLE_MAP).shape(event(*parts), Shaped())
