"""The SQL of a snapshot: when a query is one table's, and conditions that go by key."""

from __future__ import annotations

import itertools
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myrepetl_dagster.core.model.tables import Column
from myrepetl_dagster.core.source.snapshot_reader import Relation, reads_one_table
from myrepetl_dagster.core.values.sql import keys_condition, keyset_condition


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM users",
        "select id, name from `users` where age > 3;",
        "SELECT u.* FROM shop.users AS u WHERE u.a = 'it''s FROM x JOIN y' ORDER BY u.id",
        "SELECT *\nFROM\n`my db`.`users` u\nWHERE u.x IN (1, 2)",
        "SELECT UPPER(name) AS name, id FROM users",
    ],
)
def test_queries_of_one_table(query: str) -> None:
    """A plain SELECT over the mapping's table can be read by its key."""
    assert reads_one_table(query, "users")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM users JOIN orders USING (id)", "SELECT * FROM users, orders", "SELECT * FROM others",
        "SELECT COUNT(*) FROM users", "SELECT id FROM users GROUP BY id", "SELECT DISTINCT id FROM users",
        "SELECT * FROM users LIMIT 5", "SELECT * FROM users UNION SELECT * FROM users", "SELECT * FROM (SELECT * FROM users) x",
        "WITH x AS (SELECT 1) SELECT * FROM users", "SELECT *, (SELECT 1) FROM users", "SELECT * FROM users -- and\n, orders",
        "SELECT * FROM users WHERE id IN (SELECT id FROM orders)", "SELECT ROW_NUMBER() OVER () FROM users", "TABLE users",
        "SELECT * FROM users PARTITION (p0)", "SELECT * FROM users FOR UPDATE",
    ],
)  # fmt: skip
def test_other_queries(query: str) -> None:
    """Whatever may join, group, limit or hide something is read in one go."""
    assert not reads_one_table(query, "users")


GRID = list(itertools.product(range(3), range(3), range(3)))


@pytest.fixture(scope="module")
def cursor() -> sqlite3.Cursor:
    made = sqlite3.connect(":memory:").cursor()
    made.execute("CREATE TABLE g (a INTEGER, b INTEGER, c INTEGER)")
    made.executemany("INSERT INTO g VALUES (?, ?, ?)", GRID)
    return made


@pytest.mark.parametrize("width", [1, 2, 3])
def test_keyset_condition(cursor: sqlite3.Cursor, width: int) -> None:
    """The condition picks exactly the keys after a key, in the order of all its columns."""
    names = ("a", "b", "c")[:width]
    for after in GRID:
        cursor.execute(f"SELECT a, b, c FROM g WHERE {keyset_condition(names, [str(n) for n in after[:width]])}")
        assert sorted(cursor.fetchall()) == [row for row in GRID if row[:width] > after[:width]]


@given(st.sets(st.sampled_from(GRID), min_size=1), st.sampled_from([1, 2, 3]))
def test_keys_condition(keys: set[tuple[int, int, int]], width: int) -> None:
    """The condition picks exactly the rows with one of the keys."""
    names = ("a", "b", "c")[:width]
    wanted = {key[:width] for key in keys}
    condition = keys_condition(names, [[str(n) for n in key] for key in sorted(wanted)])
    values = " UNION ALL ".join(f"SELECT {a} a, {b} b, {c} c" for a, b, c in GRID)
    found = sqlite3.connect(":memory:").execute(f"SELECT a, b, c FROM ({values}) WHERE {condition}").fetchall()
    assert sorted(found) == [row for row in GRID if row[:width] in wanted]


def test_select() -> None:
    """Columns are named one by one and quoted, and floats are asked for with all their digits."""
    relation = Relation((Column("a`b", "int"), Column("f", "float")), "`db`.`t`", ("a`b",))
    assert relation.select_sql == "SELECT `a``b`, `f` * 1e0 FROM `db`.`t`"
    assert relation.key_indexes == (0,)
