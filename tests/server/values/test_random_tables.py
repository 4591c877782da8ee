"""Random tables, rows, changes, filters and transforms on real servers, compared by the servers' own bytes.

The seed is printed; MYREPETL_TEST_SEED sets another one, MYREPETL_TEST_EXAMPLES another number of examples.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from decode_log import MODE, kind_of
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pipelines import Route, pair
from server_farm import Servers
from type_matrix import COMMON, RAW, Typed, shown
from type_values import own_of

pytestmark = pytest.mark.versions

SEED = int(os.environ.get("MYREPETL_TEST_SEED", "20250101"))
EXAMPLES = int(os.environ.get("MYREPETL_TEST_EXAMPLES", "7"))
SOAK_EXAMPLES = int(os.environ.get("MYREPETL_TEST_EXAMPLES", "400"))
ROUTES = [
    Route("mysql", True, "mysql"),
    Route("mariadb", True, "mariadb"),
    Route("mysql", True, "mariadb"),
    Route("mariadb", True, "mysql"),
]
CHARSETS: list[Typed] = [
    (f"{kind} CHARACTER SET {name}", [*(f"_{name} x'{data}'" for data in raw), "''", "'a  '"])
    for name, raw in RAW.items()
    if name != "gb18030"
    for kind in ("VARCHAR(200)", "CHAR(150)", "TEXT")
]
KEYS: list[Typed] = [
    ("BIGINT", ["0", "-1", "9223372036854775807", "5"]),
    ("INT UNSIGNED", ["0", "1", "4294967295"]),
    ("VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", ["''", "'a'", "'A'", "'é'", "'it''s'", "'\\\\'"]),
    ("VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci", ["'a'", "'b'", "'Ä'", "'x'"]),
    ("VARBINARY(9)", ["''", "0x00", "0x0001", "0xFF27"]),
    ("BINARY(4)", ["''", "0x01", "0x0100FF", "0x20202020"]),
    ("DATETIME(3)", ["'0000-00-00'", "'2024-02-29 01:02:03.5'", "'9999-12-31'"]),
    ("DECIMAL(20,4)", ["0", "-1.5", "9999999999999999.9999"]),
    ("TIME(6)", ["'00:00:00'", "'-00:00:00.000001'", "'838:59:59'"]),
]
# What leaves out rows: SQL, and the same in a pipeline file.
FILTERS: list[tuple[str, dict[str, Any]]] = [
    ("TRUE", {}),
    ("TRUE", {}),
    ("u >= 12", {"u": {"gte": 12}}),
    (
        "u IS NOT NULL AND (id < 3 OR NOT u < 9)",
        {"u": {"not": None}, "or": [{"id": {"lt": 3}}, {"not": {"u": {"lt": 9}}}]},
    ),
]
TRANSFORMS = """
def plus(value):
    return None if value is None else value + 1000

def plus_of_row(value, row):
    return None if row["u"] is None else str(row["u"] + 1000)
"""


@dataclass(frozen=True)
class RandomTable:
    """`id` (a small number), the key's second column `k`, a column `u` that may be unique, and random ones."""

    create: str
    rows: tuple[str, ...]
    changes: tuple[str, ...]
    shown: str
    expected: str  # what is shown, of the source
    where: str  # which of its rows
    mapping: dict[str, Any]


def value_of(definition: str, values: Sequence[str]) -> st.SearchStrategy[str]:
    """An edge value, NULL, or any value of the type."""
    kind, size = kind_of(definition), definition.partition("(")[2].partition(")")[0]
    edges = st.sampled_from([*values, "NULL"])
    match kind:
        case "tinyint" | "smallint" | "mediumint" | "int" | "bigint":
            return edges | st.integers(-(2**63), 2**64 - 1).map(str) | st.integers(-200, 200).map(str)
        case "float" | "double":
            return edges | st.floats(allow_nan=False, allow_infinity=False).map(lambda x: f"'{x!r}'")
        case "decimal":
            return edges | st.decimals(allow_nan=False, allow_infinity=False, places=6).map(lambda x: f"'{x}'")
        case "varbinary" | "binary" | "blob" | "tinyblob" | "mediumblob" | "longblob":
            return edges | st.binary(max_size=20).map(lambda data: f"x'{data.hex()}'")
        case "datetime" | "date":
            return edges | st.datetimes().map(lambda moment: f"'{moment}'")
        case "time":
            # Not beyond MySQL's limit: MariaDB's has a fraction, which MySQL refuses.
            return edges | st.integers(-(10**9), 10**9).map(lambda n: f"SEC_TO_TIME({n / 1000})")
        case "bit":
            return edges | st.integers(0, 2 ** int(size or 1) - 1).map(str)
        case "varchar" | "char" | "text" | "longtext" if "utf8mb4" in definition:
            text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
            return edges | text.map(lambda one: f"_utf8mb4 x'{one.encode().hex()}'")
    return edges


@st.composite
def random_tables(draw: st.DrawFn, name: str, own: Sequence[Typed]) -> RandomTable:
    """A table with its rows and what is then done to them."""
    columns: list[Typed] = draw(st.lists(st.sampled_from([*COMMON, *CHARSETS, *own]), min_size=1, max_size=7))
    second: Typed = draw(st.sampled_from(KEYS))
    key = draw(st.sampled_from(["id", "id, k", "k, id"]))
    unique = draw(st.sampled_from(["", "", ", UNIQUE KEY (u)"]))
    definitions = [f"c{n} {d if d.endswith(' NULL') else d + ' NULL'}" for n, (d, _) in enumerate(columns)]
    create = (
        f"CREATE TABLE {name} (id INT NOT NULL, k {second[0]} NOT NULL, u INT, {', '.join(definitions)},"
        f" PRIMARY KEY ({key}){unique}) CHARACTER SET utf8mb4"
    )
    ids, small = st.integers(0, 12), st.integers(0, 30)
    keys = st.sampled_from(second[1])
    cells = [value_of(d, values) for d, values in columns]
    row = st.tuples(ids.map(str), keys, small.map(str) | st.just("NULL"), *cells).map(lambda r: f"({', '.join(r)})")
    rows = st.lists(row, min_size=1, max_size=8).map(", ".join)
    insert = st.sampled_from(["INSERT IGNORE INTO", "REPLACE INTO"])
    number = st.integers(0, len(columns) - 1)
    where = st.one_of(ids.map(lambda n: f"id = {n}"), ids.map(lambda n: f"id < {n}"), st.just("id % 2 = 0"))
    change = st.one_of(
        st.builds("{} {} VALUES {}".format, insert, st.just(name), rows),
        number.flatmap(lambda n: cells[n].map(lambda v: f"UPDATE IGNORE {name} SET c{n} = {v} WHERE ")).flatmap(
            lambda head: where.map(lambda condition: head + condition)
        ),
        st.builds(f"UPDATE IGNORE {name} SET id = id + {{}} WHERE {{}} ORDER BY id DESC".format, small, where),
        st.builds(f"UPDATE IGNORE {name} SET k = {{}} WHERE {{}}".format, keys, where),
        st.builds(f"UPDATE IGNORE {name} SET u = u + {{}} WHERE {{}} ORDER BY u DESC".format, small, where),
        st.builds(f"DELETE FROM {name} WHERE {{}}".format, where),
    )
    bytes_of = [shown(f"c{n}", definition) for n, (definition, _) in enumerate(columns)]
    names = ["id", "k", "u", *(f"c{n}" for n in range(len(columns)))]
    passing, condition = draw(st.sampled_from(FILTERS))
    mapping: dict[str, Any] = {"filter": condition} if condition else {}
    # Of some characters Python knows nothing, nor of bytes that are none: who asks for the whole row is told so.
    plain = all(one in COMMON for one in columns)
    plus = draw(st.sampled_from(["", "", "t.plus", "t.plus_of_row" if plain else "t.plus"]))
    if plus:
        key_columns = key.split(", ")
        mapping |= {"column_mapping": {one: one for one in names} | {"u": {"column": "u", "transform": plus}}}
        mapping |= {"primary_key": key_columns}
    return RandomTable(
        create,
        tuple(f"INSERT IGNORE INTO {name} VALUES {r}" for r in draw(st.lists(rows, max_size=3))),
        tuple(draw(st.lists(change, min_size=1, max_size=10))),
        ", ".join(["id", "HEX(CAST(k AS BINARY))", "u", *bytes_of]),
        ", ".join(["id", "HEX(CAST(k AS BINARY))", "u + 1000" if plus else "u", *bytes_of]),
        passing,
        mapping,
    )


def check(servers: Servers, route: Route, tables: Sequence[RandomTable], folder: Path, *, replays: bool) -> None:
    """Copies the tables, changes them, catches up; after each the target's bytes are the source's."""
    world = pair(servers, route)
    world.replays = replays
    names = [f"t{n}" for n in range(len(tables))]

    mapping = {
        f"a.{name}": {"target_table": f"b.{name}", **table.mapping} for name, table in zip(names, tables, strict=True)
    }
    pipeline = world.pipeline(mapping, base_dir=folder)

    def compare() -> None:
        world.run(pipeline)
        for name, table in zip(names, tables, strict=True):
            held = world.target_rows(name, table.shown)
            expected = world.source_rows(name, table.expected, table.where)
            if "mariadb" in (route.source, route.target):  # it neither prints nor reads a -0.0
                held, expected = (
                    [tuple(abs(v) if v == 0.0 else v for v in row) for row in r] for r in (held, expected)
                )
            assert repr(held) == repr(expected), table.create

    try:
        world.on_source(MODE, *(s for table in tables for s in (table.create, *table.rows)))
        compare()
        world.on_source(MODE, *(s for table in tables for s in table.changes))
        compare()
    finally:
        world.source.execute(f"DROP DATABASE `{world.source_schema}`")
        world.target.execute(f"DROP DATABASE `{world.target_schema}`")


def run(servers: Servers, route: Route, examples: int, folder: Path, *, replays: bool = False) -> None:
    (folder / "t.py").write_text(TRANSFORMS)
    own = own_of(route.source, servers.mariadb_version) if route.source == route.target else []
    print(f"MYREPETL_TEST_SEED={SEED}")

    @seed(SEED)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # to shrink takes many minutes
        suppress_health_check=list(HealthCheck),
    )
    @given(st.tuples(*(random_tables(f"t{n}", own) for n in range(4))))
    def property_(tables: tuple[RandomTable, ...]) -> None:
        check(servers, route, tables, folder, replays=replays)

    property_()


@pytest.mark.parametrize("route", ROUTES[:2], ids=str)
def test_random_tables(servers: Servers, route: Route, tmp_path: Path) -> None:
    """Four random tables at a time: copied, changed, caught up, equal byte for byte."""
    run(servers, route, EXAMPLES, tmp_path)


@pytest.mark.parametrize("route", [Route("mysql", True, "mysql"), Route("mariadb", True, "mariadb")], ids=str)
def test_random_tables_as_events(servers: Servers, route: Route, tmp_path: Path) -> None:
    """The same, by an account that may write rows as events: those of whole-numbered keys go so, others as statements."""
    run(servers, route, EXAMPLES, tmp_path, replays=True)


@pytest.mark.soak
@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_random_tables_soak(servers: Servers, route: Route, tmp_path: Path) -> None:
    """The same, with the full count and across flavours."""
    run(servers, route, SOAK_EXAMPLES, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("route", [Route("mysql", True, "mysql"), Route("mariadb", True, "mariadb")], ids=str)
def test_random_tables_as_events_soak(servers: Servers, route: Route, tmp_path: Path) -> None:
    """As events, with the full count."""
    run(servers, route, SOAK_EXAMPLES, tmp_path, replays=True)
