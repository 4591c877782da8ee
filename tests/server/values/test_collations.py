"""Rows that the source's collation tells apart stay apart in the target, also where a name means two collations."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import pytest
from pipelines import Pair, pair_of
from server_farm import Servers
from servers import Flavour, Server

from myrepetl_dagster.core.model.errors import PrerequisiteError
from myrepetl_dagster.core.values.collations import is_one_collation

GEORGIAN, GEORGIAN_CAPITALS = "თბილისი", "ᲗᲑᲘᲚᲘᲡᲘ"  # two texts to MySQL's utf8mb4_0900_ai_ci, one to MariaDB's
VERSIONS: list[tuple[Flavour, str | None]] = [
    ("mysql", None), ("mariadb", "10.5"), ("mariadb", "10.11"), ("mariadb", "11.8"),
]  # fmt: skip
_PAIRED = "abcdefghijlnostuzABCDHIJLNOSTZ ßæœøåäöđłıİĳ'-\u0301\u0308\u030a\u0327\u200d\u0e40\u0e01\u1100\u1161\u11a8"
# Their collations are those of utf8mb4 once more.
_WIDE = ("ucs2", "utf16", "utf16le", "utf32", "utf8mb3")
# How the answers of two servers are compared: the classes of texts that are equal, and whether 'a' equals 'a '.
_CLASSES = (
    "SELECT COUNT(*), CAST(SUM(CRC32(CONCAT_WS(',', least, many, members))) AS CHAR) FROM ("
    " SELECT MIN(n) AS least, COUNT(*) AS many, BIT_XOR(CRC32(n)) AS members FROM texts"
    " GROUP BY WEIGHT_STRING(own COLLATE {name})) AS classes"
)
_PADS = "SELECT CONVERT('a' USING {charset}) COLLATE {name} = CONVERT('a ' USING {charset}) COLLATE {name}"


def texts(*, every: bool) -> list[str]:
    """Characters of all scripts, and pairs of some: contractions, expansions, marks, spaces.

    `every`: most characters of the scripts that have letters; else a part of them.
    """
    step = 1 if every else 7
    codes = [*range(1, 0x600), *range(0x600, 0x3100, step), *range(0x3100, 0xD800, 101), *range(0xF900, 0xFFFD, 17)]
    codes += [*range(0x10000, 0x12000, 13 * step), *range(0x1D400, 0x1D800, 3 * step), 0x1F600, 0x20000]
    codes += [*range(0x07FD, 0x0800), *range(0x0870, 0x08A0), *range(0x1C80, 0x1CC0)]  # new in Unicode 10 to 14
    return [*map(chr, dict.fromkeys(codes)), *(a + b for a in _PAIRED for b in _PAIRED)]


def meanings(server: Server, *, every: bool) -> dict[str, tuple[Any, ...]]:
    """What each of a server's collations takes for equal, as figures that are equal where that is."""
    found: dict[str, tuple[Any, ...]] = {}
    with contextlib.closing(server.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE IF NOT EXISTS collations")
        cursor.execute("USE collations")
        cursor.execute("SET sql_mode=''")
        cursor.execute("SHOW COLLATION")
        names: dict[str, list[str]] = {}
        for name, charset, *_ in cursor.fetchall():  # MariaDB lists its newest ones without a character set
            if charset and charset != "binary" and (every or charset not in _WIDE or "croatian" in name):
                names.setdefault(charset, []).append(name)
        rows = [f"({n}, _utf8mb4 x'{text.encode().hex()}')" for n, text in enumerate(texts(every=every))]
        for charset, own in names.items():
            cursor.execute("DROP TABLE IF EXISTS given, texts")
            cursor.execute("CREATE TABLE given (n INT PRIMARY KEY, text VARCHAR(2) CHARACTER SET utf8mb4)")
            cursor.execute(f"INSERT INTO given VALUES {', '.join(rows)}")
            cursor.execute(
                f"CREATE TABLE texts (n INT PRIMARY KEY, own VARCHAR(2) CHARACTER SET {charset} NOT NULL) SELECT n,"
                f" CONVERT(text USING {charset}) AS own FROM given WHERE"
                f" BINARY CONVERT(CONVERT(text USING {charset}) USING utf8mb4) = BINARY text"
            )
            for name in own:
                cursor.execute(_CLASSES.format(name=name))
                classes = cursor.fetchall()[0]
                cursor.execute(_PADS.format(name=name, charset=charset))
                found[name] = (*classes, *cursor.fetchall()[0])
    return found


def compare(servers: Servers, *, every: bool) -> None:
    answers = {
        (flavour, version): meanings(servers.get("collations", flavour, version=version), every=every)
        for flavour, version in VERSIONS
    }
    compared = differing = 0
    for one, other in itertools.combinations(VERSIONS, 2):
        one_flavour = one[0] == other[0]
        for name in answers[one].keys() & answers[other].keys():
            same = answers[one][name] == answers[other][name]
            compared += 1
            differing += not same
            said = is_one_collation(name, name, one_flavour=one_flavour)
            assert same or not said, f"{name} differs between {one} and {other}"
    print(f"{compared} pairs of collations of one name compared by {len(texts(every=every))} texts, {differing} differ")
    assert compared > 300
    assert differing > 40


def test_collations_of_one_name(servers: Servers) -> None:
    """Asked of the servers: whoever has the name of another server's collation and takes other texts for equal is known
    to differ.
    """
    compare(servers, every=False)


@pytest.mark.soak
def test_collations_of_one_name_by_most_characters(servers: Servers) -> None:
    """The same by four times as many characters, and for every character set."""
    compare(servers, every=True)


def to_newest_mariadb(servers: Servers) -> Pair:
    return pair_of(servers.get("source", "mysql"), servers.get("target", "mariadb", version="11.8"))


def rows(world: Pair) -> tuple[set[str], set[str]]:
    """The names at the source and in the target."""
    ends = world.on_source("SELECT name FROM t"), world.on_target("SELECT name FROM t")
    return {name for (name,) in ends[0]}, {name for (name,) in ends[1]}


def test_a_key_whose_collation_means_something_else_at_the_target(servers: Servers) -> None:
    """MySQL to MariaDB 11.8: in the table that we create, the key's collation is a binary one. Rows that differ at the
    source are two, by both ways, and deleting one leaves the other. A column that is no key keeps its collation.
    """
    world = to_newest_mariadb(servers)
    world.on_source(
        "CREATE TABLE t (name VARCHAR(30) PRIMARY KEY, note VARCHAR(30)) COLLATE utf8mb4_0900_ai_ci",
        f"INSERT INTO t VALUES ('{GEORGIAN}', 'copied'), ('{GEORGIAN_CAPITALS}', 'copied')",
    )
    world.run("t")
    assert rows(world) == ({GEORGIAN, GEORGIAN_CAPITALS},) * 2
    world.on_source(f"DELETE FROM t WHERE name = '{GEORGIAN_CAPITALS}'", "INSERT INTO t VALUES ('ß', 'read')")
    world.run("t")
    assert rows(world) == ({GEORGIAN, "ß"},) * 2
    world.on_source(
        f"INSERT INTO t VALUES ('{GEORGIAN_CAPITALS}', 'read')", "UPDATE t SET name = 'SS' WHERE name = 'ß'"
    )
    world.run("t")
    assert rows(world) == ({GEORGIAN, GEORGIAN_CAPITALS, "SS"},) * 2
    described = "SELECT column_name, collation_name FROM information_schema.columns WHERE table_schema = '{}'"
    collations = dict(world.on_target(described.format(world.target_schema) + " AND table_name = 't'"))
    assert collations == {"name": "utf8mb4_0900_bin", "note": "utf8mb4_0900_ai_ci"}


def test_a_key_that_the_source_widens_stays_binary(servers: Servers) -> None:
    """With `evolve`: the target follows the type and not the name of the collation."""
    world = to_newest_mariadb(servers)
    world.target.execute(f"GRANT ALTER ON {world.target_schema}.* TO 'writer'@'%'")
    world.on_source(
        "CREATE TABLE t (name VARCHAR(10) PRIMARY KEY) COLLATE utf8mb4_0900_ai_ci",
        f"INSERT INTO t VALUES ('{GEORGIAN}')",
    )
    pipeline = world.pipeline({"a.t": {"target_table": "b.t", "schema_policy": "evolve"}})
    world.run(pipeline)
    world.on_source(
        "ALTER TABLE t MODIFY name VARCHAR(50)", f"INSERT INTO t VALUES ('{GEORGIAN_CAPITALS}'), (REPEAT('x', 50))"
    )
    world.run(pipeline)
    assert rows(world) == ({GEORGIAN, GEORGIAN_CAPITALS, "x" * 50},) * 2


@pytest.mark.parametrize("collation", ["utf8mb4_0900_ai_ci", "utf8mb4_croatian_ci", "utf8mb4_tr_0900_as_cs"])
def test_a_table_that_exists_with_a_collation_of_the_same_name(servers: Servers, collation: str) -> None:
    """It is refused before the first row, and the message names a collation that does."""
    world = to_newest_mariadb(servers)
    table = f"CREATE TABLE t (name VARCHAR(30) PRIMARY KEY) COLLATE {collation}"
    world.on_source(table, f"INSERT INTO t VALUES ('{GEORGIAN}'), ('{GEORGIAN_CAPITALS}')")
    world.on_target(table)
    (result,) = world.try_run("t").values()
    assert isinstance(result.error, PrerequisiteError)
    assert f"has collation {collation} in the target and one of the same name" in str(result.error)
    assert result.error.hint
    binary = "utf8mb4_nopad_bin" if "0900" in collation else "utf8mb4_bin"
    assert binary in result.error.hint
    world.on_target(f"ALTER TABLE t MODIFY name VARCHAR(30) COLLATE {binary}")
    world.run("t")
    world.on_source(f"DELETE FROM t WHERE name = '{GEORGIAN_CAPITALS}'")
    world.run("t")
    assert rows(world) == ({GEORGIAN},) * 2


def test_a_table_that_an_earlier_version_has_copied(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows may have become one by then. What the hint says brings them back: another collation alone would not."""
    world = to_newest_mariadb(servers)
    world.on_source("CREATE TABLE t (name VARCHAR(30) PRIMARY KEY) COLLATE utf8mb4_0900_ai_ci")
    world.on_target("CREATE TABLE t (name VARCHAR(30) PRIMARY KEY) COLLATE utf8mb4_0900_ai_ci")
    world.on_source(f"INSERT INTO t VALUES ('{GEORGIAN}'), ('{GEORGIAN_CAPITALS}')")
    with monkeypatch.context() as earlier:
        earlier.setattr("myrepetl_dagster.core.plan.resolution.require_kept_apart", lambda *_, **__: None)
        world.run("t")
    assert len(rows(world)[1]) == 1
    error = world.error("t")
    assert "utf8mb4_nopad_bin (MariaDB), then run the `snapshot` job" in error.hint
    world.on_target("ALTER TABLE t MODIFY name VARCHAR(30) COLLATE utf8mb4_nopad_bin")
    world.run("t", copy_again=["a.t"])
    assert rows(world) == ({GEORGIAN, GEORGIAN_CAPITALS},) * 2


def test_a_unique_key_of_the_target_with_a_collation_of_the_same_name(servers: Servers) -> None:
    """Beside the mapping's key: two rows that collide there stop the mapping. None overwrites another."""
    world = to_newest_mariadb(servers)
    table = "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(30) UNIQUE) COLLATE utf8mb4_0900_ai_ci"
    world.on_source(table, f"INSERT INTO t VALUES (1, '{GEORGIAN}')")
    world.on_target(table)
    world.run("t")
    world.on_source(f"INSERT INTO t VALUES (2, '{GEORGIAN_CAPITALS}')")
    (result,) = world.try_run("t").values()
    assert result.error is not None
    assert result.error.code == 1062
    assert world.on_target("SELECT id, name FROM t") == ((1, GEORGIAN),)


@pytest.mark.parametrize("collation", ["utf8mb4_0900_ai_ci", "utf8mb4_uca1400_ai_ci", "utf8mb4_croatian_ci"])
def test_from_the_newest_mariadb_to_mysql(servers: Servers, collation: str) -> None:
    """Keys in MariaDB's collations are told apart in MySQL as they were, by both ways."""
    world = pair_of(servers.get("source", "mariadb", version="11.8"), servers.get("target", "mysql"))
    names = ["a", "b", "a-b", GEORGIAN, "Œ", "Ö"]
    world.on_source(f"CREATE TABLE t (name VARCHAR(30) COLLATE {collation} PRIMARY KEY, v INT)")
    world.on_source(*(f"INSERT INTO t VALUES ('{name}', 0)" for name in names[:3]))
    world.run("t")
    world.on_source(*(f"INSERT INTO t VALUES ('{name}', 0)" for name in names[3:]), "DELETE FROM t WHERE name = 'b'")
    world.on_source("UPDATE t SET name = 'A', v = 1 WHERE name = 'a'")
    world.run("t")
    world.assert_same("t")
