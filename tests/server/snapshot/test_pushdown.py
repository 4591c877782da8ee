"""Filters and built-in transforms that the source evaluates, beside the same rows through Python.

The seed is printed; MYREPETL_TEST_SEED sets another one, MYREPETL_TEST_EXAMPLES another number of examples.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pipelines import ROUTES, Pair, Route, pair
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.plan.table_plan import TablePlan
from myrepetl_dagster.core.replication.snapshot import window_copy
from myrepetl_dagster.core.replication.snapshot.tuple_select import TupleSelect, tuple_select
from myrepetl_dagster.core.rows.writable_rows import SqlTuples, WritableRows
from myrepetl_dagster.core.target.apply_connection import MySQLApplyConnection

SEED = int(os.environ.get("MYREPETL_TEST_SEED", "20250101"))
EXAMPLES = int(os.environ.get("MYREPETL_TEST_EXAMPLES", "8"))
FILTERS_EACH = 6  # pipelines over the rows of one example: what is slow is to write them

Values = st.SearchStrategy[Any]
_TEXTS = st.one_of(
    st.sampled_from(["", " ", "a", "A", "a ", " a", "\ta", "ab", "é", "É", "e\u0301", "ß", "ı", "İ", "i", "\u00a0x", "x\u3000"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6),
    st.text("aA zZ\t'\\\"%_\x1c\x85", max_size=6),
)  # fmt: skip
_LATIN = st.one_of(
    st.sampled_from(["", "a", "A ", "€", "é", "ÿ", "Ž", "\u00a0x"]), st.text("aé€ÿŽ 'z\\\u0081", max_size=5)
)
_DATES = st.sampled_from(
    ["0000-00-00", "2020-00-00", "2021-02-31", "0000-01-01", "1000-01-01", "2024-01-31", "2024-02-29", "9999-12-31"]
)
_TIMES = st.sampled_from(["00:00:00", "08:00:00", "23:59:59", "08:00:00.5", "08:00:00.123456", "00:00:00.000001"])
_MOMENTS = st.builds("{} {}".format, _DATES, _TIMES)
_STAMPS = st.builds("{} {}".format, st.sampled_from(["2024-01-31", "2024-02-29", "2001-09-09"]), _TIMES)
_NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 127, -128, 255, 99, 2024, 1999, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**64 - 1, 2**64]),
    st.sampled_from([0.1, -0.1, 1.5, 0.30000000000000004, 1e15, 16777217, 16777216.0, -0.0, 1e300, 5e-324]),
    st.integers(-300, 300),
    st.decimals(-1000, 1000, places=3, allow_nan=False).map(str),
)
# column: (its type, values for it, operands for it)
COLUMNS: dict[str, tuple[str, Values, Values]] = {
    "tiny": ("TINYINT", _NUMBERS, _NUMBERS),
    "big": ("BIGINT", _NUMBERS, _NUMBERS),
    "ubig": ("BIGINT UNSIGNED ZEROFILL", _NUMBERS, _NUMBERS),
    "y": ("YEAR", st.sampled_from([0, 1901, 1999, 2024, 2155, 70]), _NUMBERS),
    "b": ("BIT(64)", st.integers(0, 2**64 - 1), _NUMBERS),
    "dec": ("DECIMAL(20,3)", _NUMBERS, _NUMBERS),
    "decwide": ("DECIMAL(65,30)", _NUMBERS, _NUMBERS),
    "f": ("FLOAT", _NUMBERS, _NUMBERS),
    "d": ("DOUBLE", _NUMBERS, _NUMBERS),
    "dd": ("DOUBLE(10,3)", _NUMBERS, _NUMBERS),
    "v": ("VARCHAR(40) CHARACTER SET utf8mb4", _TEXTS, _TEXTS),
    "turkish": ("VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_turkish_ci", _TEXTS, _TEXTS),
    "c": ("CHAR(40) CHARACTER SET utf8mb4", _TEXTS, _TEXTS),
    "t": ("TEXT CHARACTER SET utf8mb3", _LATIN, _TEXTS),
    "l": ("VARCHAR(40) CHARACTER SET latin1", _LATIN, st.one_of(_LATIN, _TEXTS)),
    "asc": ("VARCHAR(40) CHARACTER SET ascii", st.text("aAbz '\t", max_size=5), _TEXTS),
    "koi": ("VARCHAR(40) CHARACTER SET koi8r", st.text("aAжЖ", max_size=5), st.text("aAжЖ", max_size=3)),
    "e": ("ENUM('b','a','É')", st.sampled_from(["a", "b", "É", ""]), st.sampled_from(["a", "A", "É", "", "b "])),
    "s": ("SET('b','a','É')", st.sampled_from(["", "b", "b,a", "É"]), st.sampled_from(["", "b", "b,a", "a,b"])),
    "vb": ("VARBINARY(9)", st.sampled_from(["", "a", "a ", "é", "\t"]), st.sampled_from(["", "a", "a ", "é", "b"])),
    "bi": ("BINARY(3)", st.sampled_from(["", "a", "a  ", "é"]), st.sampled_from(["", "a", "a  ", "a\0\0", "é\0"])),
    "date": ("DATE", _DATES, st.one_of(_DATES, _MOMENTS)),
    "notnull": ("DATE NOT NULL", _DATES, _DATES),
    "dt": ("DATETIME", _MOMENTS, st.one_of(_DATES, _MOMENTS)),
    "dt3": ("DATETIME(3)", _MOMENTS, st.one_of(_DATES, _MOMENTS)),
    "ts": ("TIMESTAMP(6) NULL", _STAMPS, st.one_of(_DATES, _MOMENTS)),
    "ti": ("TIME(3)", _TIMES, _TIMES),
}
_CAN_FAIL = {"0000-00-00", "2020-00-00", "2021-02-31", "0000-01-01"}  # as an operand: no date to Python
FLOATS = ("f", "d", "dd")
OPERATORS = ["eq", "gt", "gte", "lt", "lte"]
TRANSFORMS = [None, "transform.uppercase", "transform.lowercase", "transform.trim", "transform.length"]


def compares() -> Values:
    def one(name: str) -> Values:
        operands = COLUMNS[name][2].filter(lambda value: str(value)[:10] not in _CAN_FAIL)
        ops = st.sampled_from(OPERATORS)
        return st.one_of(
            st.builds(lambda op, value: {name: {op: value}}, ops, operands),
            st.just({name: None}),
            st.builds(lambda a, b: {name: {"or": [{"eq": a}, {"not": {"gt": b}}]}}, operands, operands),
        )

    return st.sampled_from(sorted(COLUMNS)).flatmap(one)


FILTERS = st.recursive(
    compares(),
    lambda inner: st.one_of(
        inner.map(lambda one: {"not": one}),
        st.lists(inner, min_size=1, max_size=3).map(lambda several: {"and": several}),
        st.lists(inner, min_size=1, max_size=3).map(lambda several: {"or": several}),
    ),
    max_leaves=4,
)


@st.composite
def rows(draw: st.DrawFn) -> list[str]:
    made = []
    for number in range(draw(st.integers(1, 8))):
        cells = []
        for definition, values, _ in COLUMNS.values():
            value = draw(values) if "NOT NULL" in definition else draw(st.one_of(st.none(), values))
            cells.append(sql(value))
        made.append(f"({number}, {', '.join(cells)})")
    return made


def sql(value: object) -> str:
    if value is None or isinstance(value, int | float):
        return "NULL" if value is None else repr(value)
    return f"CONVERT(x'{str(value).encode().hex()}' USING utf8mb4)"


TRANSFORMED = ("v", "turkish", "c", "t", "l", "asc")  # the others' transforms are left to Python
MAPPED = st.fixed_dictionaries(
    {name: st.sampled_from(TRANSFORMS if name in TRANSFORMED else [None]) for name in COLUMNS}
)
INIT_QUERIES = [None, None, "SELECT * FROM t", "SELECT t.* FROM t WHERE id <> 3 OR id IS NULL"]
PIPELINES = st.lists(st.tuples(FILTERS, MAPPED, st.sampled_from(INIT_QUERIES)), min_size=FILTERS_EACH, max_size=FILTERS_EACH)  # fmt: skip


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each copy, whether it was pushed into the SELECT."""
    found: list[bool] = []

    def spy(*args: Any) -> TupleSelect | None:
        select = tuple_select(*args)
        found.append(select is not None)
        return select

    monkeypatch.setattr(window_copy, "tuple_select", spy)
    return found


def shown(name: str) -> str:
    return f"`{name}` * 1e0" if name in FLOATS else f"HEX(CAST(`{name}` AS BINARY))"


def copied(world: Pair, mapping: dict[str, Any], target: str) -> tuple[list[Any], int]:
    """The target's bytes, and the number of rows counted as filtered."""
    world.on_target("DELETE FROM shaped", "DELETE FROM _myrepetl_checkpoint WHERE mapping LIKE 'm-%'")
    result = world.run({f"m-{target}": {**mapping, "target_table": "b.shaped"}})[f"m-{target}"]
    held = world.target_rows("shaped", ", ".join(["id", *map(shown, COLUMNS)]))
    assert result.rows_snapshotted == len(held)
    return held, result.rows_filtered


@pytest.mark.parametrize("route", ROUTES[:4], ids=str)
def test_random_filters_and_transforms(
    servers: Servers, route: Route, monkeypatch: pytest.MonkeyPatch, pushed: list[bool]
) -> None:
    """Random rows by random filters and transforms, table or init_query: the source's result is Python's."""
    world = pair(servers, route)
    columns = ", ".join(f"`{name}` {definition}" for name, (definition, *_) in COLUMNS.items())
    wide = dict.fromkeys(TRANSFORMED, "TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
    targets = ", ".join(f"`{name}` {wide.get(name, definition)}" for name, (definition, *_) in COLUMNS.items())
    world.on_source(f"CREATE TABLE t (id INT PRIMARY KEY, {columns}) CHARACTER SET utf8mb4")
    world.on_target(f"CREATE TABLE shaped (id INT PRIMARY KEY, {targets}) CHARACTER SET utf8mb4")
    world.run({"first": {"source_table": "a.t", "target_table": "b.first", "column_mapping": {"id": "id"}, "primary_key": "id"}})  # fmt: skip

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(rows(), PIPELINES)
    def check(inserted: list[str], pipelines: list[Any]) -> None:
        world.on_source(
            "SET sql_mode='ALLOW_INVALID_DATES'",
            "DELETE FROM t",
            *(f"INSERT IGNORE INTO t VALUES {row}" for row in inserted),
        )
        for condition, transforms, query in pipelines:
            mapped = {
                name: {"column": name, **({"transform": transform} if transform else {})}
                for name, transform in transforms.items()
            }
            mapping = {
                "source_table": "a.t",
                "primary_key": "id",
                "column_mapping": {"id": "id", **mapped},
                "filter": condition,
                **({"init_query": query} if query else {}),
            }
            held = copied(world, mapping, "sql")
            with monkeypatch.context() as patch:
                patch.setattr(window_copy, "tuple_select", lambda *_: None)
                expected = copied(world, mapping, "python")
            differences = [
                (name, *values)
                for row, other in zip(held[0], expected[0], strict=False)
                for name, *values in zip(["id", *COLUMNS], row, other, strict=True)
                if values[0] != values[1]
            ]
            assert not differences, (differences, transforms, query)
            assert held == expected, (condition, query)

    check()
    assert sum(pushed) > len(pushed) / 2, "most are to be pushed, so that the comparison says something"


def test_only_the_rows_that_sql_cannot_do_go_through_python(
    servers: Servers, flavour: Flavour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a column in upper case, the source does the ASCII; the filter counts what it leaves out."""
    world = pair(servers, Route(flavour, True, flavour))
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9), n INT) CHARACTER SET utf8mb4",
        "INSERT INTO t VALUES (1, 'a', 1), (2, 'straße', 1), (3, NULL, 1), (4, 'b', NULL), (5, 'ÿ', 2), (6, 'it''s', 1)",
    )
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9)) CHARACTER SET utf8mb4")
    counts: list[int] = []
    write = MySQLApplyConnection.write

    def spy(connection: MySQLApplyConnection, plan: TablePlan, rows: WritableRows) -> None:
        write(connection, plan, rows)
        if isinstance(rows, SqlTuples):
            counts.append(len(rows.tuples))

    monkeypatch.setattr(MySQLApplyConnection, "write", spy)
    columns = {"id": {"column": "id", "primary_key": True}, "v": {"column": "v", "transform": "transform.uppercase"}}
    mapping = {"source_table": "a.t", "target_table": "b.t", "column_mapping": columns, "filter": {"n": 1}}
    result = world.run({"m": mapping})["m"]
    assert sorted(world.target_rows("t")) == [(1, "A"), (2, "STRASSE"), (3, None), (6, "IT'S")]
    assert (result.rows_snapshotted, result.rows_filtered) == (4, 2)
    assert counts == [3]


def test_many_rows_that_sql_cannot_do(servers: Servers, flavour: Flavour, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the source can render too few rows, the table goes through Python, and nothing is lost or counted twice."""
    monkeypatch.setattr(window_copy, "UNRENDERABLE_ROWS_MAX", 3)
    world = pair(servers, Route(flavour, True, flavour))
    world.limits["copy_window_rows"] = 10
    rows = ", ".join(f"({n}, '{'ж' if n > 20 else 'z'}{n}', {n % 3})" for n in range(45))
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9), n INT) CHARACTER SET utf8mb4", f"INSERT INTO t VALUES {rows}"
    )
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9)) CHARACTER SET utf8mb4")
    columns = {"id": {"column": "id", "primary_key": True}, "v": {"column": "v", "transform": "transform.uppercase"}}
    mapping = {"source_table": "a.t", "target_table": "b.t", "column_mapping": columns, "filter": {"n": {"gt": 0}}}
    result = world.run({"m": mapping})["m"]
    assert world.target_rows("t") == world.source_rows("t", "id, UPPER(v)", "n > 0")
    assert (result.rows_snapshotted, result.rows_filtered) == (30, 15)


def test_a_text_longer_than_max_allowed_packet(servers: Servers, flavour: Flavour) -> None:
    """MariaDB casts it to NULL: neither its filter nor its transform may take that for its value."""
    world = pair(servers, Route(flavour, True, flavour), max_allowed_packet="2M")
    try:
        world.source.execute("SET GLOBAL max_allowed_packet = 67108864")
        world.on_source(
            "CREATE TABLE t (id INT PRIMARY KEY, a LONGTEXT CHARACTER SET utf8mb4, b LONGTEXT CHARACTER SET latin1)",
            "INSERT INTO t VALUES (1, REPEAT('a ', 1500000), REPEAT('b', 3000000)), (2, 'b', 'b'), (3, 'a', NULL)",
        )
        world.source.execute("SET GLOBAL max_allowed_packet = 2097152")
        world.on_target("CREATE TABLE t (id INT PRIMARY KEY, a LONGTEXT, b LONGTEXT) CHARACTER SET utf8mb4")
        for function in ("uppercase", "trim"):
            columns = {
                "id": {"column": "id", "primary_key": True},
                "a": {"column": "a", "transform": f"transform.{function}"},
                "b": "b",
            }
            mapping = {"source_table": "a.t", "target_table": "b.t", "column_mapping": columns}
            world.run({f"m-{function}": {**mapping, "filter": {"or": [{"b": {"gt": "bb"}}, {"a": {"lt": "aa"}}]}}})
            sizes = world.target_rows("t", "id, LENGTH(a), LENGTH(b)")
            assert sizes == [(1, 3_000_000 - (function == "trim"), 3_000_000), (3, 1, None)]
    finally:
        world.source.execute("SET GLOBAL max_allowed_packet = 2097152")
