"""Global settings of a server, which each session has at first, change nothing of what is read or written."""

from __future__ import annotations

import pytest
from pipelines import pair_of
from server_farm import Servers
from servers import Flavour

SETTINGS = ("sql_select_limit=1", "max_join_size=1", "sql_safe_updates=1", "sql_quote_show_create=0")


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("role", ["source", "target"])
def test_a_setting_that_cuts_or_refuses(servers: Servers, flavour: Flavour, role: str, setting: str) -> None:
    """A table without a key, read by one statement, arrives whole; so do one with a key, changes, and new copies."""
    other: Flavour = "mariadb" if flavour == "mysql" else "mysql"
    ends = {"source": servers.get("source", other), "target": servers.get("target", other)}
    ends[role] = servers.get(f"{role} with settings", flavour)
    world = pair_of(ends["source"], ends["target"])
    world.on_source(
        "CREATE TABLE plain (a INT, b INT)",
        "INSERT INTO plain VALUES (1, 1), (2, 2), (3, 3)",
        "CREATE TABLE keyed (a INT PRIMARY KEY, b VARCHAR(9), c INT UNIQUE)",
        "INSERT INTO keyed VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)",
    )
    mapping = {"a.plain": {"target_table": "b.plain", "primary_key": "a"}, "a.keyed": {"target_table": "b.keyed"}}
    name = setting.partition("=")[0]
    before = ends[role].execute(f"SELECT @@GLOBAL.{name}")[0][0]
    ends[role].execute(f"SET GLOBAL {setting}")
    try:
        world.run(mapping)
        world.on_source("SET sql_safe_updates=0", "UPDATE keyed SET c=c+10", "UPDATE plain SET b=b+1")
        world.run(mapping)
        world.on_source("SET sql_safe_updates=0, sql_log_bin=0", "DELETE FROM keyed WHERE a=2")
        world.run(mapping, copy_again=True)
    finally:
        ends[role].execute(f"SET GLOBAL {name}={before}")
    world.assert_same("plain")
    world.assert_same("keyed")
