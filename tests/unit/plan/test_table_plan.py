"""What a plan refuses and how it classes the target's unique keys; nothing here needs a server."""

from __future__ import annotations

from typing import Any

import pytest

from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.config.pipeline import TableMapping
from myrepetl_dagster.core.model.errors import PrerequisiteError, SchemaDrift
from myrepetl_dagster.core.model.tables import Column, Table, TableName
from myrepetl_dagster.core.plan.resolution import plan_table
from myrepetl_dagster.core.plan.table_plan import TablePlan, UniqueKeys
from myrepetl_dagster.core.values.key_safety import tells_all_apart

BIN, CI = "utf8mb4_0900_bin", "utf8mb4_0900_ai_ci"
_AT = {"host": "h", "user": "u", "database": "db"}


def mapping(**options: Any) -> TableMapping:
    """A mapping of all columns of a.t to b.t, and beside it one for each name in `others`."""
    return from_dict(
        {
            "sources": {"a": _AT},
            "targets": {"b": {**_AT, "host": "g"}},
            "mapping": {"a.t": {"target_table": "b.t", **options}},
        }
    ).mappings[0]


def column(name: str, kind: str = "int", nullable: bool = False, collation: str | None = None, **more: Any) -> Column:
    bare = kind.partition("(")[0].partition(" ")[0]
    charset = "utf8mb4" if collation else None
    return Column(name, bare, kind, nullable=nullable, charset=charset, collation=collation, **more)


def table(*columns: Column, key: tuple[str, ...] = ("id",), unique: tuple[tuple[str, ...], ...] = ()) -> Table:
    return Table(TableName("db", "t"), columns, key, unique)


ID, V = column("id"), column("v", nullable=True)


def plan(source: Table, target: Table, shared: list[TableMapping] | None = None, **options: Any) -> TablePlan:
    return plan_table(mapping(**options), source, target, shared or [])


def test_a_column_that_only_the_filter_names() -> None:
    """Where a column is missing that the filter asks for, the error says that it is the filter's."""
    with pytest.raises(SchemaDrift, match=r"db\.t has no column gone \(of the filter\) Hint: db\.t has: id\."):
        plan(table(ID), table(ID), filter={"gone": 1})


def test_every_column_under_its_own_name() -> None:
    """Without a column list each source column goes to the target's of that name, by the source's key."""
    made = plan(table(ID, V), table(ID, V))
    assert [(c.source, c.target) for c in made.columns] == [("id", "id"), ("v", "v")]
    assert (made.key, made.key_indexes, made.unique_keys) == (("id",), (0,), UniqueKeys.NONE)


def test_generated_columns_are_left_to_the_target() -> None:
    """A column that the target computes is not written."""
    made = plan(table(ID, V), table(ID, column("v", generated=True)))
    assert [c.target for c in made.columns] == ["id"]


@pytest.mark.parametrize(
    ("source", "target", "options", "error"),
    [
        (table(ID, V), table(ID, V, key=()), {}, PrerequisiteError),
        (table(ID, V), table(ID, V, key=("v",)), {}, PrerequisiteError),
        (table(ID, V), table(column("id", nullable=True), V, key=(), unique=(("id",),)), {}, PrerequisiteError),
        (table(ID, V), table(ID, V, key=(), unique=(("id(5)",),)), {}, PrerequisiteError),
        (table(ID, V, key=()), table(ID, V), {}, PrerequisiteError),
        (table(ID, V), table(ID), {"primary_key": "id", "column_mapping": {"id": "id", "v": "v"}}, SchemaDrift),
        (table(ID), table(ID, V), {"primary_key": "id", "column_mapping": {"id": "id", "v": "v"}}, SchemaDrift),
        (table(ID), table(ID), {"filter": {"gone": 1}}, SchemaDrift),
    ],
    ids=[
        "no key",
        "another key",
        "nullable key",
        "prefix key",
        "no source key",
        "target column",
        "source column",
        "filter",
    ],
)
def test_refused(source: Table, target: Table, options: Any, error: type[Exception]) -> None:
    """Columns that are not there, and keys by which rows cannot be told apart, are refused."""
    with pytest.raises(error):
        plan(source, target, **options)


@pytest.mark.parametrize(
    ("source", "target", "fine"),
    [
        ("int", "bigint", True), ("varchar(9)", "int", False), ("int", "varchar(20)", True), ("datetime(6)", "datetime(3)", False),
        ("datetime(3)", "datetime(6)", True), ("timestamp", "datetime", True), ("decimal(9,2)", "decimal(9,1)", False),
        ("decimal(9,2)", "int", False), ("bigint", "decimal(20,0)", True), ("float", "double", True), ("double", "float", False),
        ("date", "datetime", True), ("datetime", "date", False), ("time(3)", "time", False), ("double", "varchar(30)", False),
        ("int", "year", False), ("year", "int", True), ("varbinary(9)", "binary(9)", False), ("binary(4)", "binary(9)", True),
    ],
)  # fmt: skip
def test_types_of_a_key(source: str, target: str, fine: bool) -> None:
    """A key may go to a type that keeps all its values apart, and to no other."""
    ends = (table(column("id", source)), table(column("id", target)))
    if fine:
        assert plan(*ends).key == ("id",)
    else:
        with pytest.raises(PrerequisiteError, match="could become one"):
            plan(*ends)


@pytest.mark.parametrize(
    ("target", "source", "apart"),
    [
        (BIN, CI, True), ("utf8mb4_bin", "utf8mb4_general_ci", True), ("utf8mb4_bin", CI, False), (CI, BIN, False),
        ("utf8mb4_nopad_bin", BIN, True), ("utf8mb4_bin", "", False), ("utf8mb4_general_ci", "utf8mb4_unicode_ci", False),
    ],
)  # fmt: skip
def test_collations_of_a_key(target: str, source: str, apart: bool) -> None:
    """Only a collation that tells all strings apart serves for a source's other one, trailing spaces included."""
    assert tells_all_apart(target, source) is apart


def test_char_takes_no_key_whose_trailing_spaces_count() -> None:
    """'a' and 'a ' would be one CHAR; where the source takes them for one (PAD SPACE), CHAR serves."""
    padded = "utf8mb4_bin"
    plan(table(column("id", "varchar(9)", collation=padded)), table(column("id", "char(9)", collation=padded)))
    with pytest.raises(PrerequisiteError, match="could become one"):
        plan(table(column("id", "varchar(9)", collation=BIN)), table(column("id", "char(9)", collation=BIN)))


PAD = "utf8mb4_bin"


@pytest.mark.parametrize(
    ("source", "target", "fine"),
    [
        (("varchar(20)", BIN), ("varchar(3)", BIN), False), (("varchar(20)", BIN), ("varchar(20)", BIN), True),
        (("varchar(20)", BIN), ("varchar(30)", "utf8mb4_nopad_bin"), True), (("varchar(20)", PAD), ("varchar(3)", PAD), True),
        (("char(20)", BIN), ("varchar(3)", BIN), True), (("enum('a','b')", BIN), ("varchar(1)", BIN), True),
        (("varchar(20)", BIN), ("enum('a','b')", BIN), False), (("text", BIN), ("varchar(999)", BIN), False),
        (("text", BIN), ("text", BIN), True), (("varchar(100)", BIN), ("tinytext", BIN), False),
        (("varchar(60)", BIN), ("tinytext", BIN), True), (("tinytext", BIN), ("text", BIN), True),
        (("varbinary(9)", None), ("varbinary(3)", None), True), (("varbinary(9)", None), ("varchar(9)", BIN), True),
        (("varbinary(9)", None), ("varchar(3)", BIN), False), (("varbinary(9)", None), ("varchar(9)", PAD), False),
        (("varbinary(9)", None), ("char(9)", BIN), False), (("int", None), ("varchar(3)", BIN), True),
    ],
)  # fmt: skip
def test_a_key_is_refused_where_spaces_at_its_end_would_get_lost(
    source: tuple[str, str | None], target: tuple[str, str | None], fine: bool
) -> None:
    """A server cuts excess spaces off a text without an error: 'abc ' becomes 'abc' in a VARCHAR(3)."""
    theirs, ours = (table(column("id", kind, collation=collation)) for kind, collation in (source, target))
    if fine:
        assert plan(theirs, ours).key == ("id",)
    else:
        with pytest.raises(PrerequisiteError, match="could become one"):
            plan(theirs, ours)


def test_loose_collation_is_refused() -> None:
    """A key whose target collation takes more strings for equal is refused."""
    with pytest.raises(PrerequisiteError, match="collation"):
        plan(table(column("id", "varchar(9)", collation=BIN)), table(column("id", "varchar(9)", collation=CI)))


U = column("u", "varchar(9)", nullable=True, collation=BIN)


@pytest.mark.parametrize(
    ("source", "target", "kind"),
    [
        (table(ID, U, unique=(("u",),)), table(ID, U, unique=(("u",),)), UniqueKeys.MIRRORED),
        (table(ID, U), table(ID, U, unique=(("u",),)), UniqueKeys.FOREIGN),
        (
            table(ID, U, unique=(("u",),)),
            table(ID, column("u", "varchar(9)", collation=CI), unique=(("u",),)),
            UniqueKeys.FOREIGN,
        ),
        (table(ID, U, V, unique=(("u", "v"),)), table(ID, U, V, unique=(("u",),)), UniqueKeys.FOREIGN),
        (table(ID, U, V, unique=(("u",),)), table(ID, U, V, unique=(("u", "v"),)), UniqueKeys.MIRRORED),
        (table(ID, U, unique=(("u",),)), table(ID, U, unique=(("u(3)",),)), UniqueKeys.FOREIGN),
        (table(ID, U), table(ID, U, unique=(("(expression)",),)), UniqueKeys.FOREIGN),
        (table(ID, U, unique=(("u",),)), table(ID, U), UniqueKeys.NONE),
    ],
    ids=["same", "only target", "looser", "narrower", "wider", "prefix", "expression", "only source"],
)
def test_unique_keys(source: Table, target: Table, kind: UniqueKeys) -> None:
    """A target's further unique key is safe to work with only where the source's own makes the same promise."""
    assert plan(source, target).unique_keys is kind


def test_unique_keys_of_a_shared_table() -> None:
    """Where other mappings write to the table too, their rows count for its unique keys."""
    ends = (table(ID, U, unique=(("u",),)), table(ID, U, unique=(("u",),)))
    assert plan(*ends, shared=[mapping()]).unique_keys is UniqueKeys.FOREIGN


def test_a_number_that_only_the_target_fills() -> None:
    """An AUTO_INCREMENT key beside the mapping's key collides with nothing."""
    target = table(column("n", auto_increment=True), ID, V, key=("n",), unique=(("id",),))
    assert plan(table(ID, V), target).unique_keys is UniqueKeys.NONE


def test_fingerprint() -> None:
    """The fingerprint changes with whatever makes another target row of the same source row, and with nothing else."""
    ends = (table(ID, V), table(ID, V))
    same = plan(*ends).fingerprint
    assert plan(table(ID, V, column("new")), table(ID, V)).fingerprint == same
    assert plan(*ends, init_if_table_empty=True).fingerprint == same
    columns = {"id": "id", "v": "v"}
    others = [
        plan(*ends, filter={"v": 1}).fingerprint,
        plan(*ends, filter={"v": "1"}).fingerprint,
        plan(*ends, init_query="SELECT * FROM t").fingerprint,
        plan(*ends, primary_key="id", column_mapping=columns).fingerprint,
        plan(*ends, primary_key="id", column_mapping={"id": "id", "v": {"column": "v", "value": 1}}).fingerprint,
        plan(
            *ends, primary_key="id", column_mapping={"id": "id", "v": {"column": "v", "transform": "transform.trim"}}
        ).fingerprint,
    ]
    assert len({same, *others}) == len(others) + 1
