"""The SQL of a snapshot: conditions that go by key."""

from __future__ import annotations

import itertools
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myrepetl_dagster.core.model.tables import Column
from myrepetl_dagster.core.source.relation import Relation
from myrepetl_dagster.core.values.sql import keys_condition, keyset_condition, until_condition

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


@pytest.mark.parametrize("width", [1, 2, 3])
def test_until_condition(cursor: sqlite3.Cursor, width: int) -> None:
    """The condition picks exactly the keys up to a key, so that two ranges that meet have no row in common."""
    names = ("a", "b", "c")[:width]
    for until in GRID:
        key = [str(n) for n in until[:width]]
        cursor.execute(f"SELECT a, b, c FROM g WHERE {until_condition(names, key)}")
        assert sorted(cursor.fetchall()) == [row for row in GRID if row[:width] <= until[:width]]


def test_a_range_ends_at_its_last_key() -> None:
    """A relation with a last key is read up to it, from its beginning and from the middle."""
    relation = Relation((Column("a", "int"),), "`t`", ("a",), until=("9",))
    assert relation.after_sql(None, 5) == " WHERE ((`a` <= 9)) ORDER BY `a` LIMIT 5"
    assert relation.after_sql(("3",), 5) == " WHERE ((`a` > 3)) AND ((`a` <= 9)) ORDER BY `a` LIMIT 5"
    assert relation.dividing_sql(("3",), 7) == (
        "SELECT `a` FROM `t` WHERE ((`a` > 3)) AND ((`a` <= 9)) ORDER BY `a` LIMIT 1 OFFSET 6"
    )
