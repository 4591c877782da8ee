"""Row images that stay bytes: the same outcome as row by row."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myrepetl_dagster.core.binlog.events import Images, RowsRead, Verb
from myrepetl_dagster.core.binlog.map_columns import MapColumn, TableMap, Type, layout_of
from myrepetl_dagster.core.binlog.row_images import compile_decoder
from myrepetl_dagster.core.config.pipeline import ColumnMapping, TableMapping
from myrepetl_dagster.core.model.errors import RowRejected, UnsupportedEvent
from myrepetl_dagster.core.model.position import Transaction
from myrepetl_dagster.core.model.tables import Column, Table, TableName
from myrepetl_dagster.core.plan.resolution import plan_table
from myrepetl_dagster.core.plan.table_plan import TablePlan
from myrepetl_dagster.core.rows.image_shaper import ImageShaper, only_last_images
from myrepetl_dagster.core.rows.pending_rows import PendingRows
from myrepetl_dagster.core.rows.shaper import Shaper
from myrepetl_dagster.core.rows.writable_rows import Rendered
from myrepetl_dagster.core.transforms import filters
from myrepetl_dagster.core.transforms.functions import Transform
from myrepetl_dagster.core.values.bulk_parameters import BulkRows

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


def planned(
    columns: tuple[ColumnMapping, ...] | None, key: tuple[str, ...], only: filters.Expression | None = None
) -> TablePlan:
    mapping = TableMapping("m", "m", "s", "shop", "people", "t", "dwh", "people", key, columns, only)
    names = {c.target for c in columns} if columns else {c.name for c in COLUMNS}
    target = tuple(
        c for c in (*COLUMNS, Column("origin", "varchar", nullable=False, charset="utf8mb4")) if c.name in names
    )
    return plan_table(mapping, Table(NAME, COLUMNS, ("id",)), Table(TableName("dwh", "people"), target, key), [])


PLANS = {
    "every column": planned(None, ("id",)),
    "a key of text": planned(None, ("name",)),
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


def transformed(note: Transform, **more: object) -> TablePlan:
    columns = (ColumnMapping("note", "note", note), ColumnMapping("id", "id"), ColumnMapping("kind", "kind"))
    return planned(columns, ("id",), **more)  # type: ignore[arg-type]


def shout(value: object) -> object:
    return value.upper() + "!" if isinstance(value, str) else value


def among(value: object, row: Mapping[str, object]) -> str:
    return f"{value} of {row['name']}, {row['kind']}"


def odd(value: object) -> object:
    """A number, bytes, half a character, or text."""
    return {"x": 7, "": b"\0'", "it's": "\ud800", None: 1.5}.get(value, value)  # type: ignore[call-overload]


ONLY = filters.parse({"and": [{"note": {"not": "x"}}, {"id": {"lt": 3}}]}, "filter", lambda value, path: value)
IN_PYTHON = {
    "a filter": planned(None, ("id",), ONLY),
    "a filter, a key of two columns": planned(None, ("id", "name"), ONLY),
    "a transform of the value": transformed(Transform("t.shout", shout, 1)),
    "a transform of the value, a filter": transformed(Transform("t.shout", shout, 1), only=ONLY),
    "a transform of the row": transformed(Transform("t.among", among, 2)),
    "a transform that makes anything": transformed(Transform("t.odd", odd, 1)),
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
    return RowsRead(NAME, TABLE_MAP, None, TRANSACTION, 100, list(images), compile_decoder(TABLE_MAP), 4)


EVENTS = st.lists(
    st.builds(lambda people: images_of(Verb.INSERT, *people), st.lists(PERSON, min_size=1, max_size=4))
    | st.builds(lambda people: images_of(Verb.DELETE, *people), st.lists(PERSON, min_size=1, max_size=4))
    | st.builds(
        lambda pairs: images_of(Verb.UPDATE, *(person for pair in pairs for person in pair)),
        st.lists(st.tuples(PERSON, PERSON), min_size=1, max_size=4),
    ),
    max_size=8,
)


@pytest.mark.parametrize("bulk", [False, True], ids=["text", "bulk"])
@pytest.mark.parametrize("plan", (PLANS | IN_PYTHON).values(), ids=list(PLANS | IN_PYTHON))
@given(transactions=st.lists(EVENTS, max_size=4))
def test_the_last_image_is_what_row_by_row_leaves(
    plan: TablePlan, bulk: bool, transactions: list[list[Images]]
) -> None:
    """For any sequence of changes, also over several transactions, through filters and transforms: the same last row of
    each key, the same counts, the same SQL text or parameters that mean it.
    """
    assert only_last_images(plan)
    shaper = Shaper(plan, layout_of(TABLE_MAP))
    images = ImageShaper(shaper, TABLE_MAP, bulk=bulk)
    late, early = PendingRows(), PendingRows()
    for events in transactions:
        one = PendingRows()
        if plan in IN_PYTHON.values():  # to which bytes that are no text are an error
            events = [(verb, data.replace(b"\xff", b"z"), start, end) for verb, data, start, end in events]
        if events:
            images.shape(event(*events), one)
            shaper.shape(event(*events).changes, early)
        late.take(one)

    late.check()
    rendered = images.written_out(late.last_images) if late.last_images else None
    expected = dict(early.mutations)
    assert dict(late.to_mutations()) == expected
    counts = [(s.rows_read, s.rows_upserted, s.rows_deleted, s.rows_filtered) for s in (late, early)]
    assert counts[0] == counts[1]
    rows = [row for row in expected.values() if row is not None]
    if isinstance(rendered, Rendered):
        if rendered.bulk is not None:
            made = [meaning(row, rendered.bulk) for row in rendered.bulk.rows]
            assert sorted(made) == sorted(rows)
            assert not rendered.tuples
            rows = []
        assert sorted(rendered.tuples) == sorted(f"({','.join(row)})" for row in rows)
        assert sorted(rendered.gone) == sorted(key for key, row in expected.items() if row is None)
        assert dict(rendered.mutations()) == expected
    else:
        assert dict(rendered or []) == expected
        closer = any("(0)" in row for row in rows) or plan is IN_PYTHON["a transform of the row"]
        assert not rows or closer, "only an ENUM's error value and whole rows take a closer look"


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


TEXT_PLANS = PLANS | {name: IN_PYTHON[name] for name in ("a transform of the value", "a filter")}


@pytest.mark.parametrize("plan", TEXT_PLANS.values(), ids=list(TEXT_PLANS))
@given(people=st.lists(PERSON, min_size=1, max_size=60))
def test_parameters_are_the_values_of_the_literals(plan: TablePlan, people: list[Person]) -> None:
    """For any rows, NULLs where they may be: what goes in bulk means what would go as text, and an ENUM's error value,
    which no parameter can be, makes all of them text.
    """
    shaper = Shaper(plan, layout_of(TABLE_MAP))
    if plan in IN_PYTHON.values():
        people = [(*person, note and note.replace(b"\xff", b"z")) for *person, note in people]  # type: ignore[misc]
    made = []
    for bulk in (False, True):
        shaped = PendingRows()
        images = ImageShaper(shaper, TABLE_MAP, bulk=bulk)
        images.shape(event(images_of(Verb.INSERT, *people)), shaped)
        made.append(images.written_out(shaped.last_images))
    text, rendered = made
    if not isinstance(text, Rendered) or not isinstance(rendered, Rendered):
        assert text == rendered
        return
    if not text.tuples:  # all filtered
        return
    assert rendered.bulk is not None
    assert not rendered.tuples
    assert not text.bulk
    assert (rendered.gone, dict(rendered.mutations())) == (text.gone, dict(text.mutations()))
    for row, (_, literals) in zip(rendered.bulk.rows, rendered.mutations(), strict=True):
        assert meaning(row, rendered.bulk) == literals


def meaning(row: bytes, bulk: BulkRows) -> tuple[str, ...]:
    """What a row of parameters writes, as literals."""
    values = iter(parameters(row, bulk.types))
    return tuple(written(next(values)) if place == "?" else place for place in bulk.values)


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
    with pytest.raises(UnsupportedEvent, match=r"after binlog\.000001:4: shop\.people: a rows event does not fit"):
        ImageShaper(shaper, TABLE_MAP).shape(event(images), PendingRows())
    with pytest.raises(UnsupportedEvent, match=r"after binlog\.000001:4: shop\.people: a rows event does not fit"):
        _ = event(images).changes


@pytest.mark.parametrize("verb", [Verb.INSERT, Verb.UPDATE])
def test_a_row_never_goes_on_in_the_next_event(verb: Verb) -> None:
    """Events that together hold whole rows, but not each by itself, stop the reader."""
    whole = image((b"ann", 1, 1, b"x")) + image((b"ann", 1, 2, b"y"))
    cut = len(whole) // 2 - (verb is Verb.INSERT)
    shaper = Shaper(PLANS["every column"], layout_of(TABLE_MAP))
    parts = [(verb, whole[:cut], 0, cut), (verb, whole[cut:], 0, len(whole) - cut)]
    with pytest.raises(UnsupportedEvent, match=r"after binlog\.000001:4: shop\.people: a rows event does not fit"):
        ImageShaper(shaper, TABLE_MAP).shape(event(*parts), PendingRows())


@pytest.mark.parametrize("bulk", [False, True], ids=["text", "bulk"])
@pytest.mark.parametrize("arity", [1, 2], ids=["value", "row"])
def test_a_transform_that_fails_names_its_row(bulk: bool, arity: int) -> None:
    """Wherever the rows are written out, the error names mapping, column and key, and no value; of a key's images only
    the last one is looked at.
    """

    def picky(value: object, row: object = None) -> object:
        if value == "bad":
            raise ValueError(value)
        return value

    def people(*notes: bytes) -> Images:
        return images_of(Verb.INSERT, *((b"ann", n, 1, note) for n, note in enumerate(notes, 1)))

    plan = transformed(Transform("t.picky", picky, arity))
    images = ImageShaper(Shaper(plan, layout_of(TABLE_MAP)), TABLE_MAP, bulk=bulk)
    shaped = PendingRows()
    images.shape(event(people(b"x", b"bad", b"y")), shaped)
    for write_out in (images.written_out, images.mutations):
        with pytest.raises(RowRejected) as raised:
            write_out(shaped.last_images)
        said = "mapping 'm': transform 't.picky' failed on column 'note' with ValueError, row with id=2"
        assert str(raised.value).startswith(said)
        assert "bad" not in str(raised.value)
        assert raised.value.mapping == "m"
    images.shape(event(people(b"x", b"good")), shaped)
    assert images.written_out(shaped.last_images)


def test_bytes_that_are_no_text_are_told_of_as_well() -> None:
    """A transform that asks for the whole row gets every column as Python has it; where that fails, the row is named."""
    plan = transformed(Transform("t.among", among, 2))
    images = ImageShaper(Shaper(plan, layout_of(TABLE_MAP)), TABLE_MAP)
    shaped = PendingRows()
    images.shape(event(images_of(Verb.INSERT, (b"ann", 1, 1, b"x"), (b"\xff", 2, 1, b"x"))), shaped)
    with pytest.raises(RowRejected, match=r"'t.among' failed on column 'note' with \w*Error, row with id=2"):
        images.written_out(shaped.last_images)


def test_what_a_transform_makes_goes_in_bulk_while_it_is_text() -> None:
    """Text and NULL go as parameters; once it has made anything else, all goes as literals."""
    plan = transformed(Transform("t.odd", odd, 1))
    images = ImageShaper(Shaper(plan, layout_of(TABLE_MAP)), TABLE_MAP, bulk=True)

    def made(note: bytes) -> Rendered:
        shaped = PendingRows()
        images.shape(event(images_of(Verb.INSERT, (b"ann", 1, 1, note))), shaped)
        rendered = images.written_out(shaped.last_images)
        assert isinstance(rendered, Rendered)
        return rendered

    assert made(b"back\\slash").bulk
    assert made(b"x").tuples == ["(7,1,_utf8mb4'a')"]
    assert made(b"back\\slash").tuples == ["(_utf8mb4'back\\\\slash',1,_utf8mb4'a')"]


def test_a_filter_that_cannot_read_a_value_names_the_row() -> None:
    """Bytes that are no text stop the mapping with the row's key, whichever way the row is read, and without the value."""
    shaper = Shaper(IN_PYTHON["a filter, a key of two columns"], layout_of(TABLE_MAP))
    read = event(images_of(Verb.INSERT, (b"ann", 1, 1, b"y"), (b"b\xffn", 2, 1, b"\xfe")))
    for shape in (ImageShaper(shaper, TABLE_MAP).shape, lambda one, into: shaper.shape(one.changes, into)):
        with pytest.raises(RowRejected) as raised:
            shape(read, PendingRows())
        said = r"mapping 'm': the filter failed with UnicodeDecodeError, row with id=2, name=b'b\xffn'"
        assert str(raised.value).startswith(said)
        assert "xfe" not in str(raised.value)
        assert raised.value.mapping == "m"


@pytest.mark.parametrize("bulk", [False, True], ids=["text", "bulk"])
def test_what_cannot_be_written_is_told_as_of_a_row(bulk: bool) -> None:
    """A number with more digits than Python prints is the transform's error, as row by row, and not the log's."""
    plan = transformed(Transform("t.long", lambda value: 10**5000, 1))
    images = ImageShaper(Shaper(plan, layout_of(TABLE_MAP)), TABLE_MAP, bulk=bulk)
    shaped = PendingRows()
    images.shape(event(images_of(Verb.INSERT, (b"ann", 1, 1, b"x"))), shaped)
    with pytest.raises(RowRejected, match=r"transform 't.long' failed on column 'note' with ValueError, row with id=1"):
        images.written_out(shaped.last_images)


def test_a_filter_of_another_type_names_the_column() -> None:
    """Where the log is from before a column became what the filter compares it with."""
    only = filters.parse({"id": {"gt": date(2020, 1, 1)}})
    shaper = Shaper(planned(None, ("id",), only), layout_of(TABLE_MAP))
    read = event(images_of(Verb.INSERT, (b"ann", 1, 1, b"y")))
    for shape in (ImageShaper(shaper, TABLE_MAP).shape, lambda one, into: shaper.shape(one.changes, into)):
        with pytest.raises(filters.FilterTypeError, match=r"'id'") as raised:
            shape(read, PendingRows())
        assert raised.value.mapping == "m"


def test_a_column_that_is_also_transformed_goes_as_text() -> None:
    """In bulk it would be the log's bytes, of which a transform can make nothing."""
    columns = (ColumnMapping("id", "id"), ColumnMapping("id", "note", Transform("t.str", str, 1)))
    shaper = Shaper(planned(columns, ("id",)), layout_of(TABLE_MAP))
    images = ImageShaper(shaper, TABLE_MAP, bulk=True)
    shaped = PendingRows()
    images.shape(event(images_of(Verb.INSERT, (b"ann", 5, 1, b"y"))), shaped)
    rendered = images.written_out(shaped.last_images)
    assert isinstance(rendered, Rendered)
    assert (rendered.bulk, rendered.tuples) == (None, ["(5,_utf8mb4'5')"])
