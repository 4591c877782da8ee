"""What newer servers do with their log: they encrypt it, give a large transaction a file of its own, and form groups."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import servers as server_programs
from pipelines import Pair, Route, pair, pair_of
from server_binaries import Installation, fetched_tool, find
from server_farm import Servers, private
from servers import FLAVOURS, Flavour, Server

CREATE = "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(40), b LONGBLOB)"


def changes(first: int) -> tuple[str, ...]:
    return (
        f"INSERT INTO t VALUES ({first}, 'new', NULL), ({first + 1}, 'changed', x'00'), ({first + 2}, 'gone', '')",
        f"UPDATE t SET v = CONCAT(v, '!') WHERE id = {first + 1}",
        f"DELETE FROM t WHERE id = {first + 2}",
    )


def follows(world: Pair, first: int = 1) -> None:
    """A copy, and changes by the log."""
    world.on_source(CREATE, *changes(first))
    world.run("t")
    world.on_source(*changes(first + 10), "FLUSH BINARY LOGS", *changes(first + 20))
    assert world.run("t")["a.t"].rows_snapshotted == 0
    world.assert_same("t")


# ---- encrypted logs ------------------------------------------------------------------------------------
def with_keyring(found: Installation, folder: Path) -> Installation:
    """MySQL loads its keyring by a file beside its program, so the program gets a name in a folder of the test's own."""
    (folder / "plugins").mkdir(parents=True)
    program = folder / found.binary.name
    program.symlink_to(found.binary)
    for plugin in found.binary.parent.parent.glob("lib/mysql/plugin/*"):
        (folder / "plugins" / plugin.name).symlink_to(plugin)
    if not (folder / "plugins/component_keyring_file.so").exists():
        pytest.skip("this MySQL has no keyring component")
    (folder / f"{program.name}.my").write_text(json.dumps({"components": "file://component_keyring_file"}))
    keyring = {"path": str(folder / "keyring"), "read_only": False}
    (folder / "plugins/component_keyring_file.cnf").write_text(json.dumps(keyring))
    command = tuple(str(program) if part == str(found.binary) else part for part in found.command)
    return replace(found, command=command)


def test_an_encrypted_log_of_mysql(servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """binlog_encryption=ON: the server sends what its files hold encrypted, decrypted."""
    with_key = with_keyring(find("mysql"), tmp_path / "program")
    options = {"binlog_encryption": "ON", "plugin_dir": str(tmp_path / "program/plugins")}
    source = private("mysql", tmp_path / "server", options)
    with monkeypatch.context() as patched:
        patched.setattr(server_programs, "find", lambda *_: with_key)
        source.start()
    try:
        assert source.execute("SHOW BINARY LOGS")[-1][2] == "Yes"
        follows(pair_of(source, servers.get("target", "mariadb")))
    finally:
        source.kill()


def key_plugins(version: str, suite: str) -> Path:
    """MariaDB's plugins, which the package of its server program lacks; fetched once into the folder of the servers."""
    return fetched_tool(f"mariadb-plugins-{version}", ["mariadb-server"], suite, kept="usr/lib/mysql/plugin")


@pytest.mark.soak
@pytest.mark.parametrize(("version", "suite"), [("10.11", "bookworm"), ("11.8", "trixie")])
def test_an_encrypted_log_of_mariadb(servers: Servers, tmp_path: Path, version: str, suite: str) -> None:
    """encrypt_binlog=ON: the file begins with a START_ENCRYPTION event, and the server sends the rest decrypted."""
    (tmp_path / "keys").write_text(f"1;{'ab' * 32}\n")
    options = {
        "plugin_dir": str(key_plugins(version, suite)),
        "plugin_load_add": "file_key_management",
        "file_key_management_filename": str(tmp_path / "keys"),
        "encrypt_binlog": "ON",
    }
    source = private("mariadb", tmp_path / "server", options, version=version)
    source.start()
    try:
        file = source.execute("SHOW BINARY LOGS")[-1][0]
        assert "Start_encryption" in {row[2] for row in source.execute(f"SHOW BINLOG EVENTS IN '{file}'")}
        follows(pair_of(source, servers.get("target", "mysql")))
    finally:
        source.kill()


# ---- large transactions --------------------------------------------------------------------------------
@pytest.mark.parametrize("target", FLAVOURS)
def test_a_large_transaction_in_a_file_of_its_own(servers: Servers, target: Flavour) -> None:
    """binlog_large_commit_threshold (MariaDB 11.7): the transaction's cache becomes the next file of the log. It arrives,
    between the transactions before and after it, and so do two of them in a row.
    """
    source = servers.get("source", "mariadb", version="11.8", binlog_large_commit_threshold="10485760")
    world = pair_of(source, servers.get("target", target))
    follows(world)
    files = len(world.on_source("SHOW BINARY LOGS"))
    large = "INSERT INTO t SELECT 1000 * {0} + seq, 'large', REPEAT(CHAR(seq), 1000000) FROM seq_1_to_12"
    world.on_source(*changes(100), large.format(1), large.format(2), *changes(200))
    world.on_source(
        "BEGIN", "DELETE FROM t WHERE id < 50", "UPDATE t SET b = REPEAT('u', 900000) WHERE v = 'large'", "COMMIT"
    )
    assert len(world.on_source("SHOW BINARY LOGS")) >= files + 3
    world.on_source(*changes(300))
    assert world.run("t")["a.t"].rows_snapshotted == 0
    world.assert_same("t", columns="id, v, SHA2(b, 256)")


# ---- what gives values their defaults --------------------------------------------------------------------
@pytest.mark.versions
@pytest.mark.parametrize("route", [Route("mariadb", True, "mysql"), Route("mariadb", True, "mariadb")], ids=str)
def test_sequences(servers: Servers, route: Route) -> None:
    """A sequence is a table to the log. What it does there stops nothing, and a value that comes from it arrives as any."""
    world = pair(servers, route)
    world.on_source(
        "CREATE SEQUENCE s START WITH 100 CACHE 2",
        "CREATE TABLE t (id INT PRIMARY KEY DEFAULT (NEXT VALUE FOR s), v INT)",
        "INSERT INTO t (v) VALUES (1), (2), (3)",
    )
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY, v INT)")
    world.run("t")
    world.on_source(
        "INSERT INTO t (v) VALUES (4), (5), (6), (7)",
        "SELECT SETVAL(s, 500)",
        "ALTER SEQUENCE s INCREMENT BY 10",
        "INSERT INTO t (v) VALUES (8), (9)",
        "ALTER TABLE t ALTER id DROP DEFAULT",
        "RENAME TABLE s TO s2",
        "DROP SEQUENCE s2",
        "INSERT INTO t VALUES (1, 10)",
    )
    world.run("t")
    world.assert_same("t")


def test_uuids_of_the_newest_mariadb(servers: Servers) -> None:
    """UUID_v7() as a default (MariaDB 11.7): the value that the row got is in its image."""
    world = pair_of(servers.get("source", "mariadb", version="11.8"), servers.get("target", "mysql"))
    world.on_source(
        "CREATE TABLE t (id UUID PRIMARY KEY DEFAULT UUID_v7(), v INT)", "INSERT INTO t (v) VALUES (1), (2)"
    )
    world.run("t")
    world.on_source("INSERT INTO t (v) VALUES (3), (4)", "UPDATE t SET v=v+1", "DELETE FROM t WHERE v=3")
    world.run("t")
    world.assert_same("t")
    assert len(world.target_rows("t")) == 3


# ---- groups ----------------------------------------------------------------------------------------------
@pytest.fixture
def member(tmp_path: Path) -> Iterator[Server]:
    """A group of one: its log is that of any member."""
    port = private("mysql", tmp_path / "port").port
    options = {
        "plugin_load_add": "group_replication.so",
        "performance_schema": "ON",
        "loose_group_replication_group_name": "3e11fa47-71ca-11e1-9e33-c80aa9429562",
        "loose_group_replication_local_address": f"127.0.0.1:{port}",
        "loose_group_replication_start_on_boot": "OFF",
        "loose_group_replication_bootstrap_group": "ON",
        "report_host": "127.0.0.1",
    }
    with private("mysql", tmp_path / "member", options) as server:
        server.execute("START GROUP_REPLICATION")
        yield server
        server.kill()


@pytest.mark.soak
@pytest.mark.parametrize("role", ["source", "target"])
def test_a_member_of_a_group(servers: Servers, member: Server, role: str) -> None:
    """Transactions of a group have its GTIDs, and those that tell of its members have no rows: all are passed."""
    other = servers.get("other", "mysql")
    world = pair_of(member, other) if role == "source" else pair_of(other, member)
    follows(world)
    member.execute("STOP GROUP_REPLICATION", "START GROUP_REPLICATION")
    world.on_source(*changes(100))
    assert world.run("t")["a.t"].rows_snapshotted == 0
    world.assert_same("t")
    if role == "source":
        assert "3e11fa47-71ca-11e1-9e33-c80aa9429562:" in world.checkpoint("a.t")["gtid_set"]
