"""Whatever a run refuses before it reads a row, `test-connection` refuses too: in the same words, with the same remedy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from pipelines import Pair, Route, pair, pair_of
from server_farm import Servers
from servers import FLAVOURS, Flavour, Server

from myrepetl_dagster.core.config.pipeline import Pipeline
from myrepetl_dagster.core.diagnostics.connection_test import diagnose
from myrepetl_dagster.core.diagnostics.report import State
from myrepetl_dagster.core.model.errors import PrerequisiteError
from myrepetl_dagster.core.source_settings import SETTINGS, Need

JSON_TABLE = "CREATE TABLE t (id INT PRIMARY KEY, d JSON)"
WRONG = {
    "binlog_format": "MIXED",
    "binlog_order_commits": "OFF",
    "binlog_row_image": "MINIMAL",
    "binlog_row_value_options": "PARTIAL_JSON",
    "binlog_row_metadata": "MINIMAL",
}


def refused(pipeline: Pipeline) -> list[tuple[str, str]]:
    """Each failed check of any connection: its sentence and its remedy."""
    checks = [check for report in diagnose(pipeline) for check in report.checks]
    return [(check.found, check.mend) for check in checks if check.state is State.FAILED]


@contextlib.contextmanager
def setting(server: Server, name: str, value: str) -> Iterator[None]:
    old = server.execute(f"SELECT @@global.{name}")[0][0]
    server.execute(f"SET GLOBAL {name}={value!r}")
    try:
        yield
    finally:
        server.execute(f"SET GLOBAL {name}={old!r}")


@pytest.fixture(params=FLAVOURS)
def world(request: pytest.FixtureRequest, servers: Servers) -> Pair:
    return pair(servers, Route(request.param, True, request.param))


# ---- the source's settings -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name", [one.name for one in SETTINGS if one.name != "log_bin" and one.need is not Need.JSON_COLUMNS]
)
def test_a_setting_of_the_source(world: Pair, name: str) -> None:
    """A wrong setting that a run refuses is refused in the same words, one that it can do with is a warning, and what
    is printed mends either. A server without the variable is fine.
    """
    if not world.source.execute(f"SHOW VARIABLES LIKE '{name}'"):
        pytest.skip("this flavour has no such variable")
    world.on_source(JSON_TABLE)
    pipeline = world.pipeline("t")
    need = next(one.need for one in SETTINGS if one.name == name)

    with setting(world.source, name, WRONG[name]):
        if need is Need.SCHEMA_CHANGES:
            assert refused(pipeline) == []
            assert world.run(pipeline)
            return
        error = world.error(pipeline)
        assert isinstance(error, PrerequisiteError)
        assert (error.message, error.hint) in refused(pipeline)
        statement = error.hint.partition(";")[0]
        world.source.execute(statement)
        assert refused(pipeline) == []
    if world.source.flavour == "mysql":
        world.source.execute(f"RESET PERSIST {name}")


def test_a_source_without_a_log(servers: Servers, flavour: Flavour) -> None:
    """Without a binary log both say so."""
    world = pair_of(servers.get("source", flavour, False, skip_log_bin=None), servers.get("target", flavour))
    world.on_source(JSON_TABLE)

    error = world.error("t")

    assert (error.message, error.hint) in refused(world.pipeline("t"))


def test_a_replica_that_does_not_log_what_it_replicates(servers: Servers, flavour: Flavour) -> None:
    """A replica whose log lacks what it replicates would lose changes in silence: it is no source, even where the
    account may not ask for its replication (MariaDB).
    """
    options: dict[str, Any] = {"log_replica_updates": "OFF"} if flavour == "mysql" else {}
    world = pair_of(servers.get("source", flavour, True, **options), servers.get("target", flavour))
    world.on_source(JSON_TABLE)
    pipeline = world.pipeline("t")
    if flavour == "mysql":
        become = ["CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=1, SOURCE_USER='nobody'"]
        cease = ["RESET REPLICA ALL"]
    else:
        become = ["CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=1, MASTER_USER='nobody'", "START SLAVE"]
        cease = ["STOP SLAVE", "RESET SLAVE ALL"]
    world.source.execute(*become)
    try:
        error = world.error(pipeline)
        said = refused(pipeline)
    finally:
        world.source.execute(*cease)

    assert isinstance(error, PrerequisiteError)
    assert "what it replicates is not in its log" in error.message
    assert said == [(error.message, error.hint)]
    world.run(pipeline)
