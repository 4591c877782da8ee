"""Names that need quotes: of tables, columns and schemas."""

from __future__ import annotations

import pytest
from pipelines import Pair, pair_of
from server_farm import Servers
from servers import Flavour

pytestmark = pytest.mark.versions_in_soak

NAMES = (
    "a b", "a.b", "1a", "select", "a`b", "a'b", 'a"b', "a%b", "a%sb", "a:b", "ünïcode_漢", "x" * 64, "a\\b", "a/b",
    "a;b", "a(5)", "{a}", "a-b", "#a", "--a", "`a", "a.",
)  # fmt: skip


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def executed(world: Pair, *statements: str) -> None:
    """On the source, without the driver's own use of %."""
    with world.source_session() as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture
def world(servers: Servers, flavour: Flavour) -> Pair:
    """From one flavour to the other."""
    target = servers.get("target", "mariadb" if flavour == "mysql" else "mysql")
    return pair_of(servers.get("source", flavour), target)


def test_tables_and_columns(world: Pair) -> None:
    """Each name is one of a table and of its key column: created, copied, followed, altered, copied again."""
    world.target.execute(f"GRANT ALTER ON {world.target_schema}.* TO 'writer'@'%'")
    mapping = {
        f"m{i}": {"source": "a", "target": "b", "source_table": quoted(name), "target_table": quoted(name)}
        for i, name in enumerate(NAMES)
    }
    for name in map(quoted, NAMES):
        executed(
            world,
            f"CREATE TABLE {name} ({name} INT PRIMARY KEY, v VARCHAR(20))",
            f"INSERT INTO {name} VALUES (1, 'a'), (2, 'b')",
        )
    world.run(mapping)
    for name in map(quoted, NAMES):
        executed(
            world,
            f"UPDATE {name} SET v='%s' WHERE {name}=1",
            f"ALTER TABLE {name} ADD COLUMN {quoted('new' + name[:20])} INT",
            f"DELETE FROM {name} WHERE {name}=2",
            f"INSERT INTO {name} VALUES (3, 'c', 4)",
        )
    for again in (False, True):
        world.run(mapping, copy_again=again)
        for name in map(quoted, NAMES):
            world.assert_same(name)


@pytest.mark.parametrize("schema", ["a-b", "v.1", "select", "a`b", "a%b", "漢"])
def test_schemas(world: Pair, schema: str) -> None:
    """A source's schema may need quotes, too."""
    name, own = f"{schema}{world.source_schema}", quoted(f"{schema}{world.source_schema}")
    executed(
        world,
        f"CREATE DATABASE {own}",
        f"GRANT SELECT, LOCK TABLES ON {own.replace('%', chr(92) + '%')}.* TO 'reader'@'%'",
        f"CREATE TABLE {own}.t (id INT PRIMARY KEY, v INT)",
        f"INSERT INTO {own}.t VALUES (1, 1)",
    )
    mapping = {"m": {"source": "a", "target": "b", "source_table": f"{quoted(name)}.t", "target_table": "t"}}
    world.run(mapping)
    executed(world, f"UPDATE {own}.t SET v=2", f"INSERT INTO {own}.t VALUES (2, 2)")
    world.run(mapping)
    assert world.target_rows("t") == [(1, 2), (2, 2)]
