"""YEAR(2), which only MariaDB has: it holds the years of a YEAR, and prints their last two digits.

The server compares it by the digits that it prints, or in an index by the year that it holds. That 0000 is another
year than 2000, and 1901 another than 2001, only the functions of dates say.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pipelines import Pair, Route, pair
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.model.errors import PrerequisiteError

pytestmark = pytest.mark.versions

YEARS = ["'0000'", "2000", "1901", "2001", "1950", "2050", "1969", "2069", "1970", "1999", "2155", "0", "1", "69", "70"]
ROWS = ", ".join(f"({n}, {year})" for n, year in enumerate([*YEARS, "NULL"]))
# As a YEAR prints it. To this function the year 0000 is 1900 in a YEAR(2), and 0 in a YEAR.
YEAR = "EXTRACT(YEAR FROM {0}) % 1900"
SHOWN = f"id, {YEAR.format('y')}"


@pytest.fixture(params=["mariadb", "mysql"])
def world(servers: Servers, request: pytest.FixtureRequest) -> Pair:
    """From MariaDB to each flavour."""
    target: Flavour = request.param
    return pair(servers, Route("mariadb", True, target))


def change(world: Pair, table: str = "t") -> None:
    """Each year is inserted, an after image, a before image, and another year's."""
    world.on_source(
        f"INSERT INTO {table} (id, y) SELECT id + 100, y FROM {table}",
        f"INSERT INTO {table} (id, y) SELECT id + 200, y FROM {table} WHERE id < 100",
        f"UPDATE {table} SET y = '0000' WHERE id = 201",
        f"UPDATE {table} SET y = 2000 WHERE id = 200",
        f"UPDATE {table} SET y = 1901 WHERE id = 203",
        f"UPDATE {table} SET y = 2001 WHERE id = 202",
        f"DELETE FROM {table} WHERE id BETWEEN 3 AND 8",
    )


def test_into_a_table_that_the_run_creates(world: Pair) -> None:
    """It is a YEAR(2) in MariaDB, and a YEAR in MySQL, with the year in four digits."""
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, y YEAR(2), z YEAR)", f"INSERT INTO t (id, y) VALUES {ROWS}")
    world.run("t")
    world.assert_same("t", columns=SHOWN)
    change(world)
    for again in (False, True):
        world.run("t", copy_again=again)
        world.assert_same("t", columns=SHOWN)
    if world.target.flavour == "mysql":
        held = world.target_rows("t", "y", "id IN (100, 101, 102, 103)")
        assert held == [(0,), (1901,), (2000,), (2001,)]
    else:
        world.assert_same("t")


@pytest.mark.parametrize("kind", ["YEAR(2)", "YEAR(4)", "INT", "VARCHAR(9)"])
def test_into_a_table_that_exists(world: Pair, kind: str) -> None:
    """The year is the same in each type that holds it; a text is that of the number."""
    if kind == "YEAR(2)" and world.target.flavour == "mysql":
        pytest.skip("MySQL has none")
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, y YEAR(2))", f"INSERT INTO t VALUES {ROWS}")
    world.on_target(f"CREATE TABLE t (id INT PRIMARY KEY, y {kind})")
    for again in (False, False, True):
        world.run("t", copy_again=again)
        held = world.target_rows("t", SHOWN if "YEAR" in kind else "id, y % 1900")
        assert [tuple(map(_number, row)) for row in held] == world.source_rows("t", SHOWN)
        change(world) if not again and len(held) < 20 else None


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def test_as_a_key(world: Pair) -> None:
    """1901 and 2001 are two keys, and so are 0000 and 2000; the table that the run creates has a YEAR as its key."""
    world.on_source(
        "CREATE TABLE t (y YEAR(2) NOT NULL, n INT, PRIMARY KEY (y))",
        "CREATE TABLE u (y YEAR(2) NOT NULL, id INT NOT NULL DEFAULT 5, n INT, PRIMARY KEY (y, id))",
        "INSERT INTO t VALUES ('0000', 1), (2000, 2), (1901, 3), (2001, 4), (1999, 5), (2099, 6), (2155, 7), (1955, 8)",
        "INSERT INTO u SELECT y, n % 2, n FROM t",
        "INSERT INTO u SELECT y, 10 + n % 2, n FROM t",
    )
    world.chunks_of(3)
    columns = f"{YEAR.format('y')}, n"
    world.run("t u")
    for table in ("t", "u"):
        world.assert_same(table, columns=columns)
        world.on_source(
            f"DELETE FROM {table} WHERE n IN (1, 3, 6)", f"UPDATE {table} SET n = n + 10 WHERE n IN (2, 4)",
            f"UPDATE {table} SET y = 1902 WHERE n = 5",
        )  # fmt: skip
    world.run("t u")
    for table in ("t", "u"):
        world.assert_same(table, columns=columns)
        world.on_source(
            "SET sql_log_bin = 0",
            f"DELETE FROM {table} WHERE n IN (7, 12)",
            f"INSERT INTO {table} (y, n) VALUES ('0000', 99), (2002, 98)",
        )
    for _ in range(2):
        world.run("t u", copy_again=True)
        for table in ("t", "u"):
            world.assert_same(table, columns=columns)


def test_as_a_unique_key(servers: Servers) -> None:
    """A copy that meets a row of another moment deletes that of the same year, and of no other century."""
    world = pair(servers, Route("mariadb", True, "mariadb"))
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, y YEAR(2), UNIQUE KEY (y))",
        "INSERT INTO t VALUES (1, '0000'), (2, 2000), (3, 1901), (4, 2001)",
    )
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY, y YEAR(2), UNIQUE KEY (y))")
    world.run("t")
    world.on_source(
        "UPDATE t SET y = NULL", "UPDATE t SET y = 2000 WHERE id = 1", "UPDATE t SET y = '0000' WHERE id = 2",
        "UPDATE t SET y = 2001 WHERE id = 3", "UPDATE t SET y = 1901 WHERE id = 4",
    )  # fmt: skip
    for again in (True, False):
        world.run("t", copy_again=again)
        world.assert_same("t", columns=SHOWN)


def test_filters_and_transforms_see_the_year(world: Pair, tmp_path: Path) -> None:
    """By the snapshot, in SQL and in Python, as by the log: four digits, and 0 for 0000."""
    (tmp_path / "t.py").write_text("def same(value):\n    return None if value is None else f'y{value}'\n")
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, y YEAR(2))", f"INSERT INTO t VALUES {ROWS}")
    columns = {"id": "id", "y": {"column": "y", "transform": "t.same"}}
    mapping: dict[str, Any] = {
        "some": {"source_table": "a.t", "target_table": "b.some", "filter": {"y": {"gte": 1950, "lte": 2001}}},
        "none": {"source_table": "a.t", "target_table": "b.none", "filter": {"y": {"eq": 0}}},
        "made": {"source_table": "a.t", "target_table": "b.made", "primary_key": "id", "column_mapping": columns},
    }
    world.on_target("CREATE TABLE made (id INT PRIMARY KEY, y VARCHAR(9))")
    pipeline = world.pipeline(mapping, base_dir=str(tmp_path))
    year = f"IF({YEAR.format('y')} = 0, 0, EXTRACT(YEAR FROM y))"
    for again in (False, False, True):
        world.run(pipeline, copy_again=again)
        world.assert_same("t", "some", SHOWN, f"{year} BETWEEN 1950 AND 2001")
        world.assert_same("t", "none", SHOWN, f"{year} = 0")
        assert world.target_rows("made") == world.source_rows("t", f"id, CONCAT('y', {year})")
        if not again and len(world.target_rows("made")) < 20:
            change(world)


def test_by_an_init_query(world: Pair) -> None:
    """A column of a table arrives as it is. One that the server computes or holds for a while may have lost its
    century: it is named, with what to select in its place.
    """
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, y YEAR(2))", f"INSERT INTO t VALUES {ROWS}")

    def mapping(query: str) -> dict[str, Any]:
        return {"a.t": {"target_table": "b.t", "init_query": query}}

    for query in ("SELECT DISTINCT id, y FROM t", "SELECT id, COALESCE(y) AS y FROM t", "SELECT * FROM t LIMIT 99"):
        error = world.error(mapping(query), copy_again=True)
        assert isinstance(error, PrerequisiteError)
        assert "y, a YEAR(2)" in str(error)
        year = error.hint.removeprefix("Select ").removesuffix(" AS `y` in its place.")
        exact = query.replace("COALESCE(y) AS y", "y").replace("*", "id, y").replace("id, y", f"id, {year} AS y")
        world.run(mapping(exact), copy_again=True)
        world.assert_same("t", columns=SHOWN)
    for query in ("SELECT id, y FROM t", "SELECT a.* FROM t a JOIN t b USING (id) WHERE b.id < 1000"):
        world.run(mapping(query), copy_again=True)
        world.assert_same("t", columns=SHOWN)
    change(world)
    world.run(mapping("SELECT id, y FROM t"), copy_again=True)
    world.assert_same("t", columns=SHOWN)


def test_what_a_target_cannot_tell_apart_is_refused(servers: Servers) -> None:
    """A YEAR(2) of the target as a key, from a YEAR, or for what is computed: the column is named, and what mends it."""
    world = pair(servers, Route("mariadb", True, "mariadb"))
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, y YEAR(2) NOT NULL, z YEAR, UNIQUE KEY (y))")
    world.on_target(
        "CREATE TABLE k (id INT, y YEAR(2) PRIMARY KEY)", "CREATE TABLE z (id INT PRIMARY KEY, z YEAR(2))",
        "CREATE TABLE f (id INT PRIMARY KEY, z YEAR(2))",
    )  # fmt: skip
    two = {"id": "id", "y": "y"}
    key = world.error({"a.t": {"target_table": "b.k", "primary_key": "y", "column_mapping": two}})
    assert "column y is year(2) in the target, and a key" in str(key)
    assert "MODIFY `y` YEAR(4) NOT NULL" in key.hint
    other = world.error({"a.t": {"target_table": "b.z", "primary_key": "id", "column_mapping": {"id": "id", "z": "z"}}})
    assert "column z is year(2) in the target and year(4) in the source" in str(other)
    fixed = {"id": "id", "z": {"column": "z", "value": 0}}
    value = world.error({"a.t": {"target_table": "b.f", "primary_key": "id", "column_mapping": fixed}})
    assert "column z is year(2) in the target, and the result of" in str(value)


def test_a_column_that_becomes_one(world: Pair) -> None:
    """A YEAR(2) that is added, becomes a YEAR, and a YEAR(2) again: the rows keep their years, by the log alone or by
    a new copy.
    """
    mapping = {"a.t": {"target_table": "b.t", "schema_policy": "evolve"}}
    world.target.execute(f"GRANT ALTER ON `{world.target_schema}`.* TO '{world.writer}'@'%'")
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1000)")
    world.run(mapping)
    world.on_source("ALTER TABLE t ADD COLUMN y YEAR(2)", f"INSERT INTO t VALUES {ROWS}")
    world.run(mapping)
    world.assert_same("t", columns=SHOWN)
    world.on_source("ALTER TABLE t ADD COLUMN z YEAR(2) NOT NULL DEFAULT '0000'")
    world.run(mapping)
    world.assert_same("t", columns=f"{SHOWN}, {YEAR.format('z')}")
    for kind in ("YEAR(4)", "YEAR(2)", "INT"):
        world.on_source(f"ALTER TABLE t MODIFY y {kind}", "INSERT INTO t (id, y) SELECT MAX(id) + 1, 1999 FROM t")
        world.run(mapping)
        shown = SHOWN if "YEAR" in kind else "id, y"
        world.assert_same("t", columns=shown)
