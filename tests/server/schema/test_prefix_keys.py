"""A primary key of the beginnings of columns: `PRIMARY KEY (url(5))`."""

from __future__ import annotations

import pytest
from pipelines import ROUTES, Interrupted, Pair, Route, call_at, interrupt, pair
from server_farm import Servers

pytestmark = pytest.mark.versions_in_soak

KINDS = {
    "text": "url TEXT COLLATE utf8mb4_bin NOT NULL",
    "any case": "url VARCHAR(2000) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL",
    "bytes": "url BLOB NOT NULL",
}
STEPS = (
    "INSERT INTO t (url, n, v) VALUES ('abcdeQ', 3, 1)",
    "UPDATE t SET v=9 WHERE url='fghijK'",
    "UPDATE t SET url='abcdeY' WHERE url='abcdeZ'",  # the same beginning
    "DELETE FROM t WHERE url='mnopqR'",
    "INSERT INTO t (url, n, v) VALUES ('mnopqX', 1, 7)",
    # two rows change places
    "UPDATE t SET url='-----1' WHERE url='fghijK'", "UPDATE t SET url='fghijN' WHERE url='abcdeY'",
    "UPDATE t SET url='abcdeM' WHERE url='-----1'",
    "REPLACE INTO t (url, n, v) VALUES ('abcdeW', 1, 2)",
    "INSERT INTO t (url, n, v) VALUES ('mnopq', 1, 8) ON DUPLICATE KEY UPDATE url='mnopqé', v=8",
)  # fmt: skip


def prepared(servers: Servers, route: Route, kind: str, key: str) -> Pair:
    world = pair(servers, route)
    world.on_source(
        f"CREATE TABLE t (n INT NOT NULL, {KINDS[kind]}, v INT, PRIMARY KEY ({key})) CHARACTER SET utf8mb4",
        "INSERT INTO t (url, n, v) VALUES ('abcdeZ', 1, 1), ('fghijK', 1, 2), ('mnopqR', 1, 3)",
    )
    return world


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_a_created_table_has_the_same_key(servers: Servers, route: Route, kind: str) -> None:
    """Rows that share a beginning one after the other are never two rows in the target, nor none: step by step, all at
    once, and copied again.
    """
    world = prepared(servers, route, kind, "url(5)" if kind != "bytes" else "n, url(5)")
    world.run("t")
    world.assert_same("t")
    assert "`url`(5)" in world.on_target("SHOW CREATE TABLE t")[0][1]
    steps = STEPS if kind == "bytes" else STEPS[1:]
    for step in steps[:5]:
        world.on_source(step)
        world.run("t")
        world.assert_same("t")
    world.on_source(*steps[5:])
    world.run("t")
    world.assert_same("t")
    world.on_source("SET sql_log_bin=0", "UPDATE t SET url=CONCAT(url, '!'), v=v+1", "DELETE FROM t LIMIT 1")
    world.run("t", copy_again=True)
    world.assert_same("t")


@pytest.mark.parametrize("key", ["url", "url(5)", "url(6)"])
def test_into_a_table_that_exists(servers: Servers, flavour: str, key: str) -> None:
    """A key of the whole column, or of as much of it or more, tells the same rows apart."""
    world = prepared(servers, ROUTES[0] if flavour == "mysql" else ROUTES[3], "any case", "url(5)")
    column = KINDS["any case"].replace("2000", "500")
    world.on_target(f"CREATE TABLE t (n INT, {column}, v INT, PRIMARY KEY ({key}))")
    world.run("t")
    world.on_source(*STEPS[1:])
    world.run("t")
    world.assert_same("t")


@pytest.mark.parametrize("route", ROUTES[:3], ids=str)
def test_a_source_that_changes_while_it_is_copied(servers: Servers, route: Route) -> None:
    """A row takes another's beginning between two reads of a copy: the log brings both to their places."""
    world = prepared(servers, route, "text", "url(5)")
    world.chunks_of(1)

    def change() -> None:
        world.on_source("DELETE FROM t WHERE url='abcdeZ'", "UPDATE t SET url='abcdeF' WHERE url='fghijK'")
        interrupt()

    with pytest.raises(Interrupted):
        world.run("t", call_at(2, change))
    world.run("t")
    world.assert_same("t")


def test_a_shorter_key_in_the_target_is_refused(servers: Servers, flavour: str) -> None:
    """A target that compares less than the source would take two of its rows for one."""
    world = prepared(servers, ROUTES[0] if flavour == "mysql" else ROUTES[3], "text", "url(5)")
    world.on_target(f"CREATE TABLE t (n INT, {KINDS['text']}, v INT, PRIMARY KEY (url(3)))")
    assert "has no unique key on (url)" in str(world.error("t"))
