"""Columns that the source computes: the created target gets their values, and no expression."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pipelines import Pair, Route, pair, pair_of
from server_farm import Servers
from servers import FLAVOURS, Flavour

from myrepetl_dagster.core.model.errors import SchemaDrift, UnsupportedEvent

PAIRS = [Route(source, True, target) for source in FLAVOURS for target in FLAVOURS]
COMMON = (
    "VARCHAR(60) AS (CONCAT(b, 'it''s', '\\\\', '%s', \"é\", '漢')) STORED",
    "VARCHAR(60) AS (CONCAT(b, _latin1 x'E9', _utf8mb4'y')) VIRTUAL",
    "VARCHAR(60) AS (JSON_UNQUOTE(JSON_EXTRACT(j, '$.a'))) STORED",
    "JSON AS (JSON_OBJECT('k', a, 'x', b)) VIRTUAL",
    "VARCHAR(60) AS (CONCAT(f)) STORED",
    "DECIMAL(20,6) AS (a / 7) STORED",
    "DATE AS (DATE(ts)) STORED",
    "INT AS (a) STORED UNIQUE",
    "INT AS (a + 1) STORED INVISIBLE",
    "VARCHAR(60) AS (CONCAT(g0, '-', g7)) VIRTUAL",
)
OWN: dict[Flavour, tuple[str, ...]] = {
    "mysql": (
        "VARCHAR(60) AS (j->>'$.a') VIRTUAL NOT NULL",
        "INT AS (a * 2) STORED NOT NULL",
        "VARCHAR(60) AS (REGEXP_REPLACE(b, '[a-f]', 'z')) STORED",
    ),
    "mariadb": (
        "CHAR(32) AS (MD5(b)) PERSISTENT",
        "VARCHAR(60) AS (JSON_VALUE(j, '$.a')) VIRTUAL",
        "VARCHAR(60) AS (CHR(65 + a MOD 20)) STORED",
    ),
}


@pytest.mark.parametrize("route", PAIRS, ids=str)
def test_any_expression(servers: Servers, route: Route) -> None:
    """Whatever a column is computed by, its values arrive by snapshot and by log, into either flavour, also where the
    writer's time zone is another one than ours.
    """
    world = pair(servers, route)
    columns = ", ".join(f"g{i} {g}" for i, g in enumerate((*COMMON, *OWN[route.source])))
    shown = ", ".join(["id", *(f"g{i}" for i in range(len(COMMON) + len(OWN[route.source])))])
    index = ", INDEX ((a + 1)), UNIQUE ((CONCAT(b, 'x')))" if route.source == "mysql" else ", INDEX (g1)"
    insert = "INSERT INTO t (id, a, b, j, f, ts) VALUES ({0}, {0}, 'b{0}', '{{\"a\": \"é{0}\"}}', 1.1e{0}, {1})"
    east = "SET time_zone='+10:00'"
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(20), j JSON, f FLOAT, ts TIMESTAMP NULL,"
        f" {columns}{index}) CHARACTER SET utf8mb4",
        east,
        *(insert.format(n, "'2020-01-01 05:00:00'") for n in range(1, 5)),
    )
    world.run("t")
    world.assert_same("t", columns=shown)
    for statement in (
        insert.format(5, "'2021-01-01 05:00:00'"),
        "UPDATE t SET b='changed' WHERE id=1",
        "UPDATE t SET id=20 WHERE id=2",
        f"{insert.format(3, 'NULL')} ON DUPLICATE KEY UPDATE a=30, ts='2022-01-01 01:00:00'",
        "REPLACE INTO t (id, a, b, j) VALUES (4, 40, 'r', '{\"a\": 1}')",
        "DELETE FROM t WHERE id=5",
        "UPDATE t SET a=a+100",
    ):
        world.on_source(east, statement)
        world.run("t")
        world.assert_same("t", columns=shown)
    world.run("t", copy_again=True)
    world.assert_same("t", columns=shown)


@pytest.mark.parametrize("key", ["g INT AS (a) STORED PRIMARY KEY", "g INT AS (a) VIRTUAL NOT NULL UNIQUE"])
@pytest.mark.parametrize("target", FLAVOURS)
def test_a_computed_key(servers: Servers, target: Flavour, key: str) -> None:
    """Rows are found by a key that the source computes (MySQL; MariaDB has none)."""
    world = pair(servers, Route("mysql", True, target))
    world.on_source(f"CREATE TABLE t (a INT NOT NULL, v INT, {key})", "INSERT INTO t (a, v) VALUES (1, 1), (2, 2)")
    world.run("t")
    world.assert_same("t")
    world.on_source("UPDATE t SET a=10 WHERE a=1", "DELETE FROM t WHERE a=2", "INSERT INTO t (a, v) VALUES (3, 3)")
    world.run("t")
    world.assert_same("t")


ALTERED = (
    "MODIFY b VARCHAR(20) CHARACTER SET utf8mb4",
    "CONVERT TO CHARACTER SET utf8mb4",
    "MODIFY n DECIMAL(8,4)",
    "MODIFY v VARCHAR(40) AS (CONCAT(n, 'x')) VIRTUAL",
)


def altered(servers: Servers, flavour: Flavour, alter: str, policy: str) -> tuple[Pair, dict[str, Any]]:
    world = pair(servers, Route(flavour, True, flavour))
    world.target.execute(f"GRANT ALTER ON {world.target_schema}.* TO 'writer'@'%'")
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, b VARCHAR(20) CHARACTER SET latin1, n DECIMAL(5,2), x INT,"
        " s VARCHAR(40) AS (HEX(b)) STORED, v VARCHAR(40) AS (CONCAT(n)) VIRTUAL)",
        "INSERT INTO t (id, b, n) VALUES (1, 'é', 1.5)",
    )
    mapping = {"a.t": {"target_table": "b.t", "schema_policy": policy}}
    world.run(mapping)
    world.on_source("UPDATE t SET n=2.5", f"ALTER TABLE t {alter}", "INSERT INTO t (id, b, n) VALUES (2, 'ö', 2)")
    return world, mapping


@pytest.mark.versions
@pytest.mark.parametrize("alter", ALTERED)
def test_an_alter_that_changes_what_is_computed(servers: Servers, flavour: Flavour, alter: str) -> None:
    """The log has no row for values that an ALTER TABLE makes the source compute anew: the table is copied again."""
    world, mapping = altered(servers, flavour, alter, "evolve")
    assert world.run(mapping)["a.t"].rows_snapshotted == 2
    world.assert_same("t")


@pytest.mark.versions
@pytest.mark.parametrize("alter", ALTERED)
def test_a_policy_that_does_not_copy_stops_there(servers: Servers, flavour: Flavour, alter: str) -> None:
    """Without `evolve` the mapping stops at such an ALTER TABLE, with the target as it was before it."""
    world, mapping = altered(servers, flavour, alter, "ignore")
    assert isinstance(world.error(mapping), SchemaDrift)
    assert world.target_rows("t", "id, s, v") == [(1, "E9", "2.50")]


@pytest.mark.versions
def test_an_alter_beside_it_is_followed(servers: Servers, flavour: Flavour) -> None:
    """A column that no expression names is widened without a copy."""
    world, mapping = altered(servers, flavour, "MODIFY x BIGINT", "evolve")
    assert world.run(mapping)["a.t"].rows_snapshotted == 0
    world.assert_same("t")


@pytest.mark.versions
def test_a_value_of_the_reading_session(servers: Servers, flavour: Flavour, caplog: pytest.LogCaptureFixture) -> None:
    """A VIRTUAL column that each session sees otherwise is named in a warning, and no other column is."""
    world = pair(servers, Route(flavour, True, flavour))
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, ts TIMESTAMP NULL, day DATE AS (DATE(ts)) VIRTUAL,"
        " kept DATE AS (DATE(ts)) STORED, plain VARCHAR(40) AS (CONCAT(id, 'now() `ts`')) VIRTUAL)"
    )
    world.run("t")
    warned = [record.getMessage() for record in caplog.records if "VIRTUAL" in record.getMessage()]
    assert len(warned) == 1
    assert "VIRTUAL column day of" in warned[0]


@pytest.mark.parametrize("kind", ["STORED", "VIRTUAL"])
def test_a_server_that_does_not_log_them(servers: Servers, kind: str) -> None:
    """MariaDB 11.8 leaves generated columns out of an UPDATE's images. A table that is created in MariaDB computes them
    itself, so they are equal by snapshot and by log.
    """
    world = pair_of(servers.get("source", "mariadb", version="11.8"), servers.get("target", "mariadb"))
    world.on_source(
        f"CREATE TABLE t (id INT PRIMARY KEY, a INT, g INT AS (a + 1) {kind},"
        f" h VARCHAR(60) CHARACTER SET latin1 AS (CONCAT(g, 'é', 'it''s')) {kind})"
    )
    world.on_source("INSERT INTO t (id, a) VALUES (1, 1), (2, 2), (3, 3)")
    world.run("t")
    world.assert_same("t")
    for statement in ("INSERT INTO t (id, a) VALUES (4, 2)", "UPDATE t SET a=a*10", "DELETE FROM t WHERE id=1"):
        world.on_source(statement)
        world.run("t")
        world.assert_same("t")


@pytest.mark.parametrize("kind", ["STORED", "VIRTUAL"])
def test_a_server_that_does_not_log_them_alters_them(servers: Servers, kind: str) -> None:
    """The target computes what the source does: another expression, one more, and none where it is ordinary by now."""
    world = pair_of(servers.get("source", "mariadb", version="11.8"), servers.get("target", "mariadb"))
    world.target.execute(f"GRANT ALTER ON `{world.target_schema}`.* TO 'writer'@'%'")
    world.on_source(f"CREATE TABLE t (id INT PRIMARY KEY, a INT, g INT AS (a + 1) {kind})")
    world.on_source("INSERT INTO t (id, a) VALUES (1, 1), (2, 2), (3, 3)")
    world.run("t")
    for change in (
        f"DROP COLUMN g, ADD COLUMN g INT AS (a + 100) {kind}",
        f"ADD COLUMN h INT AS (a * 2) {kind}",
        "MODIFY a BIGINT",
        f"DROP COLUMN h, DROP COLUMN g, ADD COLUMN b INT DEFAULT 4, ADD COLUMN g INT AS (b + 1) {kind}",
        f"ADD COLUMN i INT AS (g * 2) {kind}",
        "DROP COLUMN i, DROP COLUMN g, ADD COLUMN g INT",
    ):
        world.on_source("UPDATE t SET a=a+1 WHERE id=2", f"ALTER TABLE t {change}", "UPDATE t SET a=a+1 WHERE id=1")
        world.run("t")
        world.on_source("UPDATE t SET a=a+1 WHERE id=3")
        world.run("t")
        columns = ", ".join(name for (name,) in world.on_source(
            "SELECT column_name FROM information_schema.columns WHERE table_schema=DATABASE() ORDER BY ordinal_position"
        ))  # fmt: skip
        world.assert_same("t", columns=columns)


@pytest.mark.parametrize(
    ("alter", "computed"),
    [
        ("MODIFY g INT AS (a * 2) STORED", True),
        ("MODIFY g INT", False),
        ("DROP g, ADD g INT AS (a * 3) VIRTUAL", True),
        ("ADD h INT AS (a * 4) STORED", True),
        ("DROP g, ADD h VARCHAR(9) AS (CONCAT(a)) VIRTUAL", True),
    ],
)
def test_an_alter_of_what_the_target_computes(servers: Servers, alter: str, computed: bool) -> None:
    """Where the created table computes a column itself, it goes on doing so as the source's expression changes, and no
    longer than the source does: later updates arrive.
    """
    world = pair_of(servers.get("source", "mariadb", version="11.8"), servers.get("target", "mariadb"))
    world.target.execute(f"GRANT ALTER ON {world.target_schema}.* TO 'writer'@'%'")
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, a INT, g INT AS (a + 1) STORED)")
    world.on_source("INSERT INTO t (id, a) VALUES (1, 1), (2, 2)")
    world.run("t")
    world.on_source(f"ALTER TABLE t {alter}", "UPDATE t SET a=5 WHERE id=1")
    shown = "id, a, h" if " h " in alter else "id, a, g"
    for statement in ("INSERT INTO t (id, a) VALUES (3, 3)", "UPDATE t SET a=a*10", "DELETE FROM t WHERE id=1"):
        world.on_source(statement)
        world.run({"a.t": {"target_table": "b.t", "schema_policy": "evolve"}})
        world.assert_same("t", columns=shown)
    name = shown[-1]
    made = world.on_target("SHOW CREATE TABLE t")[0][1]
    assert (f"`{name}` " in made, "GENERATED" in made.partition(f"`{name}` ")[2].partition(",\n")[0]) == (
        True,
        computed,
    )


@pytest.mark.parametrize(
    ("target", "column"),
    [
        ("mysql", "INT AS (a + 1) STORED"),
        ("mariadb", "DATE AS (DATE(ts)) STORED"),
        ("mariadb", "DATE AS (DATE(ts)) VIRTUAL"),
        ("mariadb", "INT AS (DEFAULT(d) + a) VIRTUAL, d INT DEFAULT 7"),
    ],
)
def test_a_value_that_neither_the_log_nor_the_target_has(servers: Servers, target: Flavour, column: str) -> None:
    """From MariaDB 11.8 into MySQL, or where the value is the writing session's or a default: the mapping stops at the first update,
    and that mapping alone. The message names the column.
    """
    world = pair_of(servers.get("source", "mariadb", version="11.8"), servers.get("target", target))
    world.on_source(f"CREATE TABLE t (id INT PRIMARY KEY, a INT, ts TIMESTAMP NULL, g {column})")
    world.on_source("INSERT INTO t (id, a) VALUES (1, 1)", "CREATE TABLE u (id INT PRIMARY KEY, v INT)")
    world.run("t u")
    world.on_source("INSERT INTO t (id, a) VALUES (2, 2)")
    world.run("t u")
    world.assert_same("t")
    world.on_source("UPDATE t SET a=5 WHERE id=1", "INSERT INTO u VALUES (1, 1)")
    results = world.try_run("t u")
    error = results["a.t"].error
    assert isinstance(error, UnsupportedEvent)
    assert re.search(r"\bg\b", error.message)
    assert results["a.u"].error is None
    world.assert_same("u")
