"""A dry run: what it expects of the tables that a run makes, what it leaves behind, and what it warns of."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
import pytest
from pipelines import PASSWORD, TARGET_GRANTS, Pair, Route, pair, pair_of
from server_farm import Servers
from servers import Flavour, Server
from type_matrix import tables

from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.config.pipeline import Pipeline
from myrepetl_dagster.core.diagnostics.connection_test import diagnose
from myrepetl_dagster.core.diagnostics.dry_run import DryRun, DryRunSource, DryRunTarget, Outlook
from myrepetl_dagster.core.diagnostics.report import Check, State
from myrepetl_dagster.core.model.tables import Column, Table, TableName
from myrepetl_dagster.core.mysql import server_info
from myrepetl_dagster.core.mysql.connect import query
from myrepetl_dagster.core.replication.result import MappingResult
from myrepetl_dagster.core.target.control import TargetControl

ACROSS = [Route("mysql", True, "mysql"), Route("mysql", True, "mariadb"), Route("mariadb", True, "mysql"),
          Route("mariadb", True, "mariadb")]  # fmt: skip


def dry_run(pipeline: Pipeline) -> tuple[dict[str, Outlook], dict[str, Table]]:
    """What a run would say of each mapping, and the target tables that it would leave."""
    source = DryRunSource(pipeline.sources["a"], pipeline.limits)
    target = DryRunTarget(pipeline.targets["b"], pipeline.limits)
    try:
        checkpoints = target.control.read_checkpoints([m.name for m in pipeline.mappings])
        found = DryRun(pipeline, source, {"b": target}).look(pipeline.mappings, checkpoints)
        made = target.control.describe_all([m.target_name for m in pipeline.mappings])
        return {one.mapping.name: one for one in found}, {name.table: table for name, table in made.items()}
    finally:
        source.close()
        target.close()


def described(world: Pair, names: list[str]) -> dict[str, Table]:
    target = TargetControl(world.pipeline(names[0]).targets["b"], world.pipeline(names[0]).limits)
    try:
        found = target.describe_all([TableName(world.target_schema, name) for name in names])
        return {name.table: table for name, table in found.items()}
    finally:
        target.close()


def differences(expected: dict[str, Table], held: dict[str, Table]) -> list[object]:
    """Whatever of the tables is not as expected, of what a plan looks at."""
    assert expected.keys() == held.keys()
    found: list[object] = []
    for name, table in expected.items():
        if (table.primary_key, table.unique_keys) != (held[name].primary_key, held[name].unique_keys):
            found.append((name, table.primary_key, held[name].primary_key))
        pairs = zip(table.columns, held[name].columns, strict=True)
        found += [(name, one, other) for one, other in pairs if planned(one) != planned(other)]
    return found


def planned(column: Column) -> object:
    """What a plan looks at: not how wide whole numbers are shown."""
    definition = re.sub(r"(int|year)\(\d+\)", r"\1", column.column_type)
    return replace(column, column_type=definition, generation_expression="", members=(), srid=None)


@pytest.mark.parametrize("route", ACROSS, ids=str)
def test_the_tables_that_a_run_would_create(servers: Servers, route: Route) -> None:
    """A dry run goes on with the table of any type that a run then creates."""
    world = pair(servers, route)
    wide = tables(route.source, world.source, common=route.source != route.target)
    world.on_source("SET sql_mode=''", *(table.create(table.name) for table in wide))
    names = [table.name for table in wide]

    outlooks, expected = dry_run(world.pipeline(" ".join(names)))

    assert {name: one.error for name, one in outlooks.items() if one.error} == {}
    assert world.on_target("SHOW TABLES") == ()
    world.run(" ".join(names))
    assert differences(expected, described(world, names)) == []


KEYS = [
    "VARCHAR(9) CHARACTER SET latin1", "VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "CHAR(3)", "DATETIME(3)",
    "DECIMAL(9,2)", "VARBINARY(9)", "ENUM('a','b')", "BIT(9)", "YEAR", "DOUBLE", "TIMESTAMP(6)", "BINARY(4)",
]  # fmt: skip
OWN_KEYS = {
    "mysql": ["VARCHAR(9) COLLATE utf8mb4_0900_ai_ci", "VARCHAR(9) COLLATE utf8mb4_ja_0900_as_cs"],
    "mariadb": [
        "UUID", "INET6", "INET4", "VARCHAR(9) CHARACTER SET latin1 COLLATE latin1_swedish_nopad_ci",
        "VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_ai_ci",
        "VARCHAR(9) CHARACTER SET utf8mb3 COLLATE utf8mb3_general_nopad_ci",
    ],
}  # fmt: skip


@pytest.mark.parametrize("route", ACROSS, ids=str)
def test_keys_of_tables_that_are_still_to_be_created(servers: Servers, route: Route) -> None:
    """A table by a key of any type: a run refuses what it has created exactly where a dry run refuses it before."""
    world = pair(servers, route)
    keys = [*KEYS, *OWN_KEYS[route.source]]
    names = [f"k{n}" for n in range(len(keys))]
    world.on_source(
        *(f"CREATE TABLE {name} (k {key} PRIMARY KEY, v INT)" for name, key in zip(names, keys, strict=True))
    )
    pipeline = world.pipeline(" ".join(names))

    said, expected = dry_run(pipeline)
    results = world.try_run(pipeline)

    def errors(found: Mapping[str, Outlook | MappingResult]) -> dict[str, str]:
        return {name: str(one.error) for name, one in found.items() if one.error is not None}

    assert errors(said) == errors(results)
    assert differences(expected, described(world, names)) == []
    assert not {keys[int(name[3:])] for name in errors(said)} & {"UUID", "INET6", "INET4"}
    assert errors(dry_run(pipeline)[0]) == errors(said)


# ---- what a run would change ---------------------------------------------------------------------------------
def lines(pipeline: Pipeline, state: State) -> list[tuple[str, str]]:
    checks = [check for report in diagnose(pipeline) for check in report.checks if check.state is state]
    return [(check.found, check.mend) for check in checks]


@pytest.mark.parametrize("may_alter", [False, True])
@pytest.mark.parametrize("route", ACROSS, ids=str)
def test_a_target_that_has_to_follow_first(servers: Servers, route: Route, may_alter: bool) -> None:
    """A target table that lacks columns of the source's is left as it is; without ALTER the run's remedy is given, and
    with it the dry run goes on with the table that the run makes of it.
    """
    world = pair(servers, route)
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT NOT NULL, w VARCHAR(20) CHARACTER SET latin1, x DATETIME(3))"
    )
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY, V INT NOT NULL)")
    if may_alter:
        world.target.execute(f"GRANT ALTER ON {world.target_schema}.* TO writer@'%'")
    pipeline = world.pipeline("t")

    said, expected = dry_run(pipeline)
    failed = lines(pipeline, State.FAILED)
    before = described(world, ["t"])
    error = world.try_run(pipeline)["a.t"].error

    assert before["t"].column_names == ("id", "V")
    if may_alter:
        assert said["a.t"].error is error is None
        assert failed == []
        assert differences(expected, described(world, ["t"])) == []
        return
    assert error is not None
    [(found, mend)] = failed
    assert mend == error.hint
    assert found.partition(": the target has")[2] == error.message.partition(": the target has")[2] != ""


def test_two_mappings_into_a_table_that_is_still_to_be_created(servers: Servers, flavour: Flavour) -> None:
    """The second mapping finds the table that the first one would create."""
    world = pair(servers, Route(flavour, True, flavour))
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY)", "CREATE TABLE u (id INT PRIMARY KEY, v INT)")
    mapping: dict[str, Any] = {
        f"a.{name}": {
            "target_table": "b.both",
            "column_mapping": {
                "id": {"column": "id", "primary_key": True},
                "site": {"column": "site", "value": name, "primary_key": True},
            },
        }
        for name in ("t", "u")
    }

    said, expected = dry_run(world.pipeline(mapping))

    assert [one.error for one in said.values()] == [None, None]
    assert world.on_target("SHOW TABLES") == ()
    world.run(mapping)
    assert expected.keys() == {"both"}
    mapping["a.u"]["column_mapping"]["v"] = "v"
    said = dry_run(world.pipeline(mapping))[0]
    results = world.try_run(mapping)
    assert said["a.t"].error is results["a.t"].error is None
    assert str(said["a.u"].error) == str(results["a.u"].error)
    assert results["a.u"].error is not None


def test_what_a_run_warns_of(servers: Servers, flavour: Flavour) -> None:
    """Changes that the log does not hold, rows that a copy deletes, and a table that is copied again are warnings."""
    world = pair(servers, Route(flavour, True, flavour))
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY)",
        "CREATE TABLE child (id INT PRIMARY KEY, p INT, CONSTRAINT fk FOREIGN KEY (p) REFERENCES t (id) ON DELETE"
        " CASCADE)",
    )
    world.run("t")
    world.on_target(
        "CREATE TABLE child (id INT PRIMARY KEY, p INT)", "INSERT INTO child VALUES (1, 1)",
        "UPDATE _myrepetl_checkpoint SET log_file='gone.000001', mariadb_gtid=NULL, gtid_set=IF(gtid_set IS NULL, NULL,"
        " 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee:1-9')",
    )  # fmt: skip
    mapping = {f"a.{name}": {"target_table": f"b.{name}", "on_position_lost": "resnapshot"} for name in ("t", "child")}
    pipeline = world.pipeline(mapping)

    said = [found for found, _ in lines(pipeline, State.WARNING) if found.startswith("a.")]

    assert lines(pipeline, State.FAILED) == []
    assert [text for text in said if text.startswith("a.t: will be copied again: source 'a': the log cannot be read")]
    assert [text for text in said if text.startswith("a.child: ") and "deletes those" in text]
    unlogged = [text for text in said if text.startswith("a.child: rows of ") and "`fk`" in text]
    assert bool(unlogged) == (flavour == "mariadb")  # MySQL logs them since 9.6
    world.run(mapping)


def test_the_sessions_of_a_dry_run_take_no_writes(servers: Servers, flavour: Flavour) -> None:
    """Whatever a dry run's code does by mistake, the target's server refuses: rows, tables, and the checkpoint."""
    world = pair(servers, Route(flavour, True, flavour))
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY)")
    world.run("t")
    pipeline = world.pipeline("t")
    target = DryRunTarget(pipeline.targets["b"], pipeline.limits)
    try:
        for statement in ("INSERT INTO t VALUES (1)", "CREATE TABLE u (id INT)", "DELETE FROM _myrepetl_checkpoint"):
            for connection in (target.control.control, target.apply._session.connection):
                with pytest.raises(pymysql.MySQLError, match="READ ONLY"):
                    query(connection, statement)
        target.control.close()
        with pytest.raises(pymysql.MySQLError, match="READ ONLY"):
            query(target.control.control, "INSERT INTO t VALUES (1)")
    finally:
        target.close()
    world.assert_same("t")
    world.run("t")


def test_nobody_waits_for_a_dry_run(servers: Servers) -> None:
    """Where a run has to lock the tables for a moment (MySQL without GTIDs), a dry run does not, nor waits for others."""
    world = pair(servers, Route("mysql", False, "mysql"))
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY)")
    world.limits["lock_wait_timeout_s"] = 60.0
    with world.source_session(autocommit=False) as writing, writing.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (1)")
        began_s = time.monotonic()
        assert lines(world.pipeline("t"), State.FAILED) == []
        assert time.monotonic() - began_s < 20
    world.run("t")


def test_a_source_that_cannot_be_asked(servers: Servers, flavour: Flavour) -> None:
    """Mappings that nobody could look at are not ok: of a source without its grants they fail, of one that is down they
    are skipped, as the source's own report is the one that fails.
    """
    world = pair(servers, Route(flavour, True, flavour))
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY)")
    config = world.config({"a.t": {"target_table": "b.t"}})
    config["sources"]["a"]["user"] = poor = f"poor{world.source_schema}"
    world.source.execute(
        f"CREATE USER {poor} IDENTIFIED BY '{PASSWORD}'", f"GRANT SELECT ON {world.source_schema}.* TO {poor}"
    )

    def of_the_mapping() -> Check:
        [report] = diagnose(from_dict(config), target="b")
        return next(check for check in report.checks if check.name == "mapping")

    refused = of_the_mapping()
    config["sources"]["a"]["port"] = 1
    down = of_the_mapping()

    assert refused.state is State.FAILED
    assert "--source a" in refused.found
    assert "denied" in refused.found
    assert down.state is State.SKIPPED


# ---- targets that take no writes -----------------------------------------------------------------------------
@pytest.mark.parametrize("privileged", [False, True])
def test_a_target_with_read_only(servers: Servers, flavour: Flavour, privileged: bool) -> None:
    """read_only is refused in the server's own words, and is nothing to an account that may write in spite of it."""
    world = pair(servers, Route(flavour, True, flavour))
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    world.limits["attempts_max"] = 1
    config = world.config({"a.t": {"target_table": "b.t"}})
    if privileged:
        config["targets"]["b"]["user"] = account = f"keeper{world.target_schema}"
        more = "CONNECTION_ADMIN" if flavour == "mysql" else "READ_ONLY ADMIN"
        world.target.execute(
            f"CREATE USER {account} IDENTIFIED BY '{PASSWORD}'", f"GRANT {more} ON *.* TO {account}",
            f"GRANT {TARGET_GRANTS} ON {world.target_schema}.* TO {account}",
        )  # fmt: skip
    pipeline = from_dict(config)
    world.target.execute("SET GLOBAL read_only=1")
    try:
        failed = lines(pipeline, State.FAILED)
        if privileged:
            assert failed == []
            world.run(pipeline)
            return
        error = world.error(pipeline)
        [(found, mend)] = failed
        assert found.rpartition(": ")[2] == error.message.rpartition(": ")[2]
        assert "--read-only" in found
        world.target.execute(mend.partition(";")[0])
        assert world.target.execute("SELECT @@global.read_only")[0][0] == (flavour == "mysql")
    finally:
        world.target.execute("SET GLOBAL read_only=0")
    assert lines(pipeline, State.FAILED) == []


def test_a_target_whose_sessions_are_read_only(servers: Servers, flavour: Flavour) -> None:
    """A default of read-only transactions ends a run at its first statement."""
    world = pair(servers, Route(flavour, True, flavour))
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY)")
    world.limits["attempts_max"] = 1
    pipeline = world.pipeline("t")
    name = "transaction_read_only" if flavour == "mysql" else "tx_read_only"
    world.target.execute(f"SET GLOBAL {name}=1")
    try:
        error = world.error(pipeline)
        [(found, mend)] = lines(pipeline, State.FAILED)
        world.target.execute(mend.partition(";")[0])
        assert lines(pipeline, State.FAILED) == []
    finally:
        world.target.execute(f"SET GLOBAL {name}=0")
    assert error.code == 1792
    assert name in found


def test_a_target_with_innodb_read_only(servers: Servers, flavour: Flavour, tmp_path: Path) -> None:
    """A server whose storage engine takes no writes fails before a run is told so, before its first run and later."""
    source = servers.get("source", flavour)
    options = {"innodb_use_native_aio": "OFF"} if flavour == "mysql" else {}
    with Server(flavour, tmp_path / "server", options) as target:
        first, later = pair_of(source, target), pair_of(source, target)
        for world in (first, later):
            world.on_source("CREATE TABLE t (id INT PRIMARY KEY)")
            world.limits["attempts_max"] = 1
        later.run("t")
    with Server(flavour, tmp_path / "server", {**options, "innodb_read_only": "ON"}) as target:
        for world in (first, later):
            world.target = target
            [(found, mend)] = lines(world.pipeline("t"), State.FAILED)
            error = world.error("t")
            assert "innodb_read_only" in found
            assert "innodb_read_only" in mend
            assert error.retryable, error
            assert "read only" in str(error)


def test_a_version_that_no_test_runs_on(
    servers: Servers, flavour: Flavour, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`test-connection` warns of it, on both sides, and names the page that says what is known. Runs say nothing."""
    world = pair_of(servers.get("source", flavour), servers.get("target", flavour))
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY)")
    pipeline = world.pipeline("t")
    before = lines(pipeline, State.WARNING)
    monkeypatch.setitem(server_info.TESTED_VERSIONS, flavour, ((1, 2),))
    warned = [line for line in lines(pipeline, State.WARNING) if line not in before]
    assert len(warned) == 2
    for found, mend in warned:
        assert "not among the tested versions (1.2)" in found
        assert "docs/versions.md" in mend
    world.run(pipeline)
    assert "version" not in caplog.text
