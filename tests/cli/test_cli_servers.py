"""`test-connection` and `status` on real servers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cli_support import PASSWORD, Rig
from server_farm import Servers
from servers import Flavour, Server


@pytest.fixture
def rig(source_server: Server, target_server: Server, tmp_path: Path) -> Rig:
    return Rig(source_server, target_server, tmp_path)


def not_ok(checks: dict[str, dict[str, str]]) -> dict[str, str]:
    return {name: check["state"] for name, check in checks.items() if check["state"] in ("warning", "failed")}


# ---- test-connection ----
def test_the_documented_grants_are_enough(rig: Rig) -> None:
    """On accounts with the README's grants every check passes, and nothing asks to be mended."""
    done = rig.run("test-connection")

    assert done.returncode == 0, done.stdout
    assert "mend:" not in done.stdout
    assert "source shop (localhost:" in done.stdout
    assert "target dw (localhost:" in done.stdout
    checks = rig.checks("shop")
    assert {
        "reachable",
        "credentials",
        "server",
        "tls",
        "clock",
        "role",
        "log_bin",
        "binlog_format",
        "gtid",
    } < checks.keys()
    assert {"retention", "grant REPLICATION SLAVE", "tables", "server_id"} < checks.keys()
    assert rig.source.flavour in checks["server"]["found"].lower()


def test_a_wrong_password_is_told_from_a_dead_server(rig: Rig) -> None:
    """The server is reachable, the account is what fails, and its password is not shown."""
    rig.config["sources"]["shop"]["password"] = PASSWORD[::-1]

    done = rig.run("test-connection")
    checks = rig.checks("shop")

    assert done.returncode == 1
    assert PASSWORD[::-1] not in done.stdout + done.stderr
    assert checks["reachable"]["state"] == "ok"
    assert checks["credentials"]["state"] == "failed"
    assert "IDENTIFIED BY" in checks["credentials"]["mend"]


def test_a_dead_server_does_not_hide_the_others(rig: Rig) -> None:
    """The connection that is down fails with a hint, the others are checked all the same."""
    rig.config["targets"]["dw"]["port"] = 1

    assert rig.run("test-connection").returncode == 1
    assert not not_ok(rig.checks("shop"))
    assert not_ok(rig.checks("dw")) == {"reachable": "failed"}
    assert rig.run("test-connection", "--source", "shop").returncode == 0


def test_what_is_printed_mends_missing_grants(rig: Rig) -> None:
    """An account that may only log in and read gets what it lacks by running what is printed, line by line."""
    rig.source.execute(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {rig.reader}@'%'")
    rig.source.execute(
        f"GRANT USAGE ON *.* TO {rig.reader}@'%'", f"GRANT EXECUTE ON {rig.schema}.* TO {rig.reader}@'%'"
    )
    rig.target.execute(f"REVOKE INSERT, UPDATE, CREATE, ALTER ON {rig.schema}_dw.* FROM {rig.writer}@'%'")
    assert rig.run("test-connection").returncode == 1

    for _ in range(4):  # one grant can be asked for only when another is there
        for name, server in (("shop", rig.source), ("dw", rig.target)):
            for check in rig.checks(name).values():
                if check["mend"]:
                    assert check["mend"].startswith("GRANT "), check
                    server.execute(check["mend"].partition(";")[0])

    done = rig.run("test-connection")
    assert done.returncode == 0, done.stdout
    assert rig.run("run").returncode == 0


def test_a_role_s_grants_count(rig: Rig) -> None:
    """What an account may do through an active role is not reported as missing."""
    role, user = f"{rig.writer}role", f"{rig.writer}@'%'"
    rig.target.execute(
        f"CREATE ROLE {role}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER ON {rig.schema}_dw.* TO {role}",
        f"GRANT {role} TO {user}",
        f"REVOKE ALL PRIVILEGES ON {rig.schema}_dw.* FROM {user}",
        f"SET DEFAULT ROLE {role} {'FOR' if rig.target.flavour == 'mariadb' else 'TO'} {user}",
    )

    assert not not_ok(rig.checks("dw"))


def test_logs_that_are_not_whole_are_named_with_the_statement_to_run(
    servers: Servers, flavour: Flavour, target_server: Server, tmp_path: Path
) -> None:
    """Each log setting is named with its value; what is printed mends the running server."""
    source = servers.get("source", flavour, binlog_row_image="MINIMAL", binlog_row_metadata="MINIMAL")
    rig = Rig(source, target_server, tmp_path)

    checks = rig.checks("shop")
    assert not_ok(checks) == {"binlog_row_image": "warning", "binlog_row_metadata": "warning"}

    for name in not_ok(checks):
        source.execute(checks[name]["mend"].partition(";")[0])
    assert not not_ok(rig.checks("shop"))
    source.execute("SET GLOBAL binlog_row_image=MINIMAL", "SET GLOBAL binlog_row_metadata=MINIMAL")


def test_a_server_without_a_log_fails(
    servers: Servers, flavour: Flavour, target_server: Server, tmp_path: Path
) -> None:
    """Without a binary log there is nothing to replicate: that one line fails, and says what to change."""
    rig = Rig(servers.get("source", flavour, False, skip_log_bin=None), target_server, tmp_path)

    done = rig.run("test-connection", "--source", "shop")

    assert done.returncode == 1
    assert "mend: Add log_bin" in done.stdout
    assert not_ok(rig.checks("shop")) == {"log_bin": "failed"}


def test_a_server_id_that_the_source_itself_has_is_a_clash(rig: Rig) -> None:
    """Two readers of one number would throw each other out for ever."""
    rig.config["sources"]["shop"]["server_id"] = int(rig.source.options.get("server-id") or rig.source.port)

    checks = rig.checks("shop")

    assert checks["server_id"]["state"] == "failed"
    assert "sources.shop.server_id" in checks["server_id"]["mend"]


def test_a_read_only_target_is_noticed(rig: Rig) -> None:
    """A target that takes no writes is probably a replica."""
    rig.target.execute("SET GLOBAL read_only=ON")
    try:
        checks = rig.checks("dw")
    finally:
        rig.target.execute("SET GLOBAL read_only=OFF")

    assert not_ok(checks) == {"role": "failed"}


def test_a_table_that_is_not_there_is_named(rig: Rig) -> None:
    """A misspelt table fails before a run does."""
    rig.config["mapping"]["shop.orders"] = {"target_table": "dw.orders"}

    checks = rig.checks("shop")

    assert not_ok(checks) == {"tables": "failed"}
    assert f"{rig.schema}.orders" in checks["tables"]["found"]


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ("CREATE TABLE {}_dw.t (id INT PRIMARY KEY)", "name"),
        ("CREATE TABLE {}_dw.t (id INT, name VARCHAR(20), KEY (id))", "no unique key on (id)"),
    ],
)
def test_a_target_table_that_a_run_would_refuse_fails(rig: Rig, table: str, found: str) -> None:
    """A mapping that cannot be planned fails before a run does, and says why."""
    rig.config["mapping"]["shop.t"] |= {"primary_key": "id", "column_mapping": {"id": "id", "name": "name"}}
    rig.target.execute(table.format(rig.schema))

    checks = rig.checks("dw")

    assert checks["mapping"]["state"] == "failed"
    assert found in checks["mapping"]["found"]


def test_rows_that_a_copy_would_delete_are_a_warning(rig: Rig) -> None:
    """A target that holds rows before its first copy is a warning: the copy deletes what the source lacks."""
    rig.target.execute(
        f"CREATE TABLE {rig.schema}_dw.t (id INT PRIMARY KEY, name VARCHAR(20))",
        f"INSERT INTO {rig.schema}_dw.t VALUES (900, 'archived')",
    )

    checks = rig.checks("dw")

    assert checks["mapping"]["state"] == "warning"
    assert "deletes" in checks["mapping"]["found"]


def test_the_json_is_what_the_lines_say(rig: Rig) -> None:
    """For machines: each connection with its checks, and the same exit code."""
    rig.config["targets"]["dw"]["port"] = 1

    done = rig.run("test-connection", "--json")

    found = {one["name"]: one for one in json.loads(done.stdout)["connections"]}
    assert done.returncode == 1
    assert (found["shop"]["role"], found["shop"]["ok"], found["dw"]["ok"]) == ("source", True, False)
    assert found["dw"]["checks"] == [found["dw"]["checks"][0]]
    assert set(found["dw"]["checks"][0]) == {"check", "state", "found", "mend"}


# ---- status ----
def test_status_before_and_after_a_run(rig: Rig) -> None:
    """The JSON has the documented keys; a mapping that no run has touched is not started."""
    before = json.loads(rig.run("status", "--json").stdout)
    assert rig.run("run").returncode == 0
    done = rig.run("status", "--json")
    after = json.loads(done.stdout)

    assert done.returncode == 0
    keys = {"mapping", "phase", "position", "source_head", "lag_s", "rows", "last_error", "stopped"}
    keys |= {"stage", "rows_done", "rows_estimated", "percent", "commits", "bytes_read"}
    keys |= {"rows_snapshotted", "changes_applied", "rows_deleted", "rows_swept", "rows_filtered"}
    assert [set(mapping) for mapping in after["mappings"]] == [keys]
    assert [set(one) for one in after["connections"]] == [{"name", "role", "connected", "error"}] * 2
    assert (before["mappings"][0]["phase"], before["mappings"][0]["position"]) == ("not started", None)
    assert (after["mappings"][0]["phase"], after["mappings"][0]["rows"]) == ("replicating", 3)
    assert after["mappings"][0]["lag_s"] == 0.0
    assert after["connections"][0] == {"name": "shop", "role": "source", "connected": True, "error": None}


def test_status_for_people_says_the_same(rig: Rig) -> None:
    """Phase, position, source head, lag, rows and last error of each mapping, in a table that nothing is cut from."""
    rig.run("run")

    done = rig.run("status")

    assert done.returncode == 0
    for text in ("mapping", "phase", "position", "source head", "lag", "rows", "last error"):
        assert text in done.stdout
    assert "shop.t" in done.stdout
    assert "replicating" in done.stdout
    assert re.search(r"binlog\.0|[0-9a-f-]{36}:", done.stdout)


def test_status_with_a_source_down_exits_with_1_and_shows_the_rest(rig: Rig) -> None:
    """What the target knows is still shown, with the head unknown and the error of the connection."""
    rig.run("run")
    rig.config["sources"]["shop"]["port"] = 1

    done = rig.run("status", "--json")
    found = json.loads(done.stdout)

    assert done.returncode == 1
    assert (found["mappings"][0]["rows"], found["mappings"][0]["source_head"]) == (3, None)
    assert [one["connected"] for one in found["connections"]] == [False, True]
    assert "2003" in found["connections"][0]["error"]
    assert "down" in rig.run("status").stdout


def test_status_of_a_table_that_cannot_be_counted_hides_nothing_else(rig: Rig) -> None:
    """A target table without the mapping's column is that mapping's error; the connection is not down."""
    columns = {"id": {"column": "id", "primary_key": True}}
    rig.target.execute(f"CREATE TABLE {rig.schema}_dw.u (id INT PRIMARY KEY)")
    rig.run("run")
    shared = {"source_table": "shop.t", "target_table": "dw.u"}
    for name in ("one", "two"):
        fixed = {"site": {"column": "site", "value": name}}
        rig.config["mapping"][name] = shared | {"column_mapping": columns | fixed}

    done = rig.run("status", "--json")
    found = json.loads(done.stdout)

    assert done.returncode == 0
    assert all(one["connected"] for one in found["connections"])
    t, one, two = found["mappings"]
    assert (t["phase"], t["rows"], t["last_error"]) == ("replicating", 3, None)
    for broken in (one, two):
        assert (broken["phase"], broken["rows"]) == ("not started", None)
        assert "site" in broken["last_error"]


def test_status_of_one_source(rig: Rig) -> None:
    """--source asks that source and what it feeds."""
    other = rig.config["sources"]["shop"] | {"port": 1}
    rig.config["sources"]["other"] = other
    rig.config["mapping"]["other.u"] = {"target_table": "dw.u"}

    done = rig.run("status", "--source", "shop", "--json")

    assert done.returncode == 0
    assert [mapping["mapping"] for mapping in json.loads(done.stdout)["mappings"]] == ["shop.t"]
