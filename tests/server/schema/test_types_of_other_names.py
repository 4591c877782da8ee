"""Types that have another name at the target: a change of such a column is followed as that of any other one."""

from __future__ import annotations

import pytest
from pipelines import pair_of
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.model.errors import RowRejected

pytestmark = pytest.mark.versions_in_soak

UUID = "'123e4567-e89b-12d3-a456-426614174000'"
VALUES = {"JSON": "'[1, 2]'", "UUID": UUID, "INET4": "'10.0.0.1'", "INET6": "'::1'", "TEXT": "'[2]'", "BIGINT": "5"}
COLLECTION = "GEOMETRYCOLLECTION"
VALUES[COLLECTION] = "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1))')"
# From MySQL to MariaDB or the other way round: (type, what happens to the column `c`, its next value).
OF_MYSQL: list[tuple[str, tuple[str, ...], str]] = [
    ("JSON", ("DROP COLUMN c, ADD COLUMN c BIGINT",), "7"),
    ("JSON", ("DROP COLUMN c, ADD COLUMN c VARCHAR(20)",), "'x'"),
    ("JSON", ("DROP COLUMN c", "ADD COLUMN c TEXT"), "'x'"),
    ("JSON", ("DROP COLUMN c", "ADD COLUMN c JSON"), "'[3]'"),
    ("JSON", ("MODIFY c TEXT",), "'no document'"),
    ("JSON", ("MODIFY c LONGTEXT",), "'no document'"),
    ("JSON", ("MODIFY c LONGBLOB",), "'x'"),
    ("JSON NOT NULL", ("MODIFY c JSON NULL",), "NULL"),
    ("TEXT", ("MODIFY c JSON",), "'[1]'"),
    ("BIGINT", ("DROP COLUMN c, ADD COLUMN c JSON",), "'[1]'"),
    (COLLECTION, ("DROP COLUMN c, ADD COLUMN c INT",), "7"),
    (f"{COLLECTION} NOT NULL", (f"MODIFY c {COLLECTION} NULL",), "NULL"),
]
OF_MARIADB: list[tuple[str, tuple[str, ...], str]] = [
    ("UUID", ("DROP COLUMN c, ADD COLUMN c BIGINT",), "7"),
    ("UUID", ("MODIFY c VARCHAR(60)",), "'a text that is longer than any UUID is long'"),
    ("UUID NOT NULL", ("MODIFY c UUID NULL",), "NULL"),
    ("INET4", ("DROP COLUMN c, ADD COLUMN c INET6",), "'2001:db8::1'"),
    ("INET4", ("DROP COLUMN c", f"ADD COLUMN c UUID DEFAULT {UUID}"), "NULL"),
    ("INET6", ("MODIFY c BLOB",), "'x'"),
    ("TEXT", ("DROP COLUMN c, ADD COLUMN c UUID",), UUID),
    ("JSON", ("DROP COLUMN c, ADD COLUMN c INT",), "7"),
    (COLLECTION, ("DROP COLUMN c, ADD COLUMN c INT",), "7"),
    (f"{COLLECTION} NOT NULL", (f"MODIFY c {COLLECTION} NULL",), "NULL"),
]
CASES: list[tuple[Flavour, Flavour, str, tuple[str, ...], str]] = [
    *(("mysql", "mariadb", *case) for case in OF_MYSQL),
    *(("mariadb", "mysql", *case) for case in OF_MARIADB),
]


@pytest.mark.parametrize("way", ["while catching up", "between two runs", "by a table that takes its place"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}, {case[2]}, {', '.join(case[3])}")
def test_followed(servers: Servers, case: tuple[Flavour, Flavour, str, tuple[str, ...], str], way: str) -> None:
    """By the log or by a new copy: nobody has to correct the target's column."""
    source, target, kind, changes, value = case
    pair = pair_of(servers.get("source", source), servers.get("target", target))
    pair.target.execute(f"GRANT ALTER ON `{pair.target_schema}`.* TO 'writer'@'%'")
    first = VALUES[kind.removesuffix(" NOT NULL")]
    pair.on_source(f"CREATE TABLE t (id INT PRIMARY KEY, c {kind})", f"INSERT INTO t VALUES (1, {first})")
    pair.run("t")
    if way == "by a table that takes its place":
        pair.on_source("CREATE TABLE n LIKE t", *(f"ALTER TABLE n {change}" for change in changes))
        pair.on_source("INSERT INTO n VALUES (5, NULL)", "DROP TABLE t", "RENAME TABLE n TO t")
    else:
        pair.on_source(*(f"ALTER TABLE t {change}" for change in changes))
    if way == "between two runs":
        pair.run("t")
    pair.on_source(f"INSERT INTO t VALUES (2, {value})", "UPDATE t SET id=3 WHERE id=1")
    pair.run("t")
    shown = "HEX(c)" if COLLECTION in kind else "HEX(CAST(c AS CHAR))"
    pair.assert_same("t", columns=f"id, {shown}")


def test_what_somebody_chose_is_kept(servers: Servers) -> None:
    """A target's column of another kind than the source's had stops the mapping when the source's gets a third kind."""
    pair = pair_of(servers.get("source", "mysql"), servers.get("target", "mariadb"))
    pair.target.execute(f"GRANT ALTER ON `{pair.target_schema}`.* TO 'writer'@'%'")
    pair.on_target("CREATE TABLE t (id INT PRIMARY KEY, c LONGBLOB)")
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY, c JSON)", "INSERT INTO t VALUES (1, '[1]')")
    pair.run("t")
    pair.on_source("ALTER TABLE t DROP COLUMN c, ADD COLUMN c BIGINT")
    assert "column c is now bigint" in str(pair.error("t"))


def test_a_place_that_may_not_be_null(servers: Servers, flavour: Flavour) -> None:
    """MySQL has an error number of its own for geometries: that mapping alone stops, too."""
    pair = pair_of(servers.get("source", flavour), servers.get("target", "mysql"))
    pair.on_target("CREATE TABLE t (id INT PRIMARY KEY, c POINT NOT NULL)")
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY, c POINT)", "CREATE TABLE u (id INT PRIMARY KEY)")
    pair.run("t u")
    pair.on_source("INSERT INTO t VALUES (1, NULL)", "INSERT INTO u VALUES (1)")
    results = pair.try_run("t u")
    error = results["a.t"].error
    assert isinstance(error, RowRejected)
    assert "NOT NULL" in error.hint
    assert results["a.u"].error is None
    pair.assert_same("u")
    pair.on_target("ALTER TABLE t MODIFY c POINT")
    pair.run("t u")
    pair.assert_same("t")
