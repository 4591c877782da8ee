"""What MariaDB 11.8 has added to the types, and a server of another version or flavour may lack."""

from __future__ import annotations

import datetime as dt

import pytest
from pipelines import pair_of
from server_farm import Servers
from servers import Flavour


def test_a_timestamp_that_mysql_cannot_hold(servers: Servers) -> None:
    """MariaDB has had TIMESTAMPs up to 2106 since 11.5, MySQL has them up to 2038: such a row stops its mapping, by both
    ways, and in a DATETIME it arrives.
    """
    world = pair_of(servers.get("source", "mariadb", version="11.8"), servers.get("target", "mysql"))
    world.on_source(*(f"CREATE TABLE {name} (id INT PRIMARY KEY, at TIMESTAMP NULL)" for name in ("t", "u", "v")))
    world.on_target("CREATE TABLE u (id INT PRIMARY KEY, at DATETIME)")
    late = "INSERT INTO {} VALUES (1, '2038-01-19 03:14:07'), (2, '2106-02-07 06:28:15')"
    world.on_source("SET time_zone='+00:00'", late.format("t"), late.format("u"))
    results = world.try_run("t u v")
    assert [name for name, result in results.items() if result.error] == ["a.t"]
    world.on_source("SET time_zone='+00:00'", late.format("v"))
    results = world.try_run("t u v")
    for name in ("a.t", "a.v"):
        error = results[name].error
        assert error is not None
        assert error.code == 1292
        assert "column 'at'" in str(error)
    assert results["a.u"].error is None
    held = dt.datetime(2038, 1, 19, 3, 14, 7), dt.datetime(2106, 2, 7, 6, 28, 15)
    assert world.target_rows("u") == [*enumerate(held, 1)]


@pytest.mark.parametrize("source", ["mysql", "mariadb"])
def test_vectors_between_mysql_and_the_newest_mariadb(servers: Servers, source: Flavour) -> None:
    """MariaDB 11.8 has the type as MySQL 9 does: the floats arrive in a column of that type, by both ways."""
    if source == "mysql":
        world = pair_of(servers.get("source", "mysql"), servers.get("target", "mariadb", version="11.8"))
    else:
        world = pair_of(servers.get("source", "mariadb", version="11.8"), servers.get("target", "mysql"))
    write = "STRING_TO_VECTOR" if source == "mysql" else "VEC_FromText"
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, v VECTOR(3))")
    world.on_source(f"INSERT INTO t VALUES (1, {write}('[1,-2.5,1e10]')), (2, NULL)")
    world.run("t")
    world.on_source(f"INSERT INTO t VALUES (3, {write}('[0.1,0,3]'))", f"UPDATE t SET v={write}('[7,8,9]') WHERE id=2")
    world.run("t")
    assert world.target_rows("t", "id, HEX(v)") == world.source_rows("t", "id, HEX(v)")
    kind = "SELECT data_type FROM information_schema.columns WHERE table_schema=DATABASE() AND column_name='v'"
    assert world.on_target(kind) == (("vector",),)
