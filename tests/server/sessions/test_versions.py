"""Servers of a version that a test asks for by name."""

from __future__ import annotations

import pytest
from pipelines import pair_of
from server_farm import Servers

VERSIONS = ("10.5", "10.11", "11.8")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_table_is_copied_and_followed_between_servers_of_a_version(servers: Servers, version: str) -> None:
    """Each version of MariaDB that tests ask for is fetched, starts, says that it is that version, and replicates."""
    source, target = (servers.get(role, "mariadb", version=version) for role in ("source", "target"))
    assert source.execute("SELECT VERSION()")[0][0].startswith(f"{version}.")
    world = pair_of(source, target)
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(30))", "INSERT INTO t VALUES (1, 'copied')")
    world.run("t")
    world.on_source("INSERT INTO t VALUES (2, 'read')", "UPDATE t SET name = 'changed' WHERE id = 1")
    world.run("t")
    world.assert_same("t")
