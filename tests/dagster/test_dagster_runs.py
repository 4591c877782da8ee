"""Runs on real servers, in this process."""

from __future__ import annotations

import re
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pymysql
import pytest
from dagster_support import PASSWORD, RETRY_FAST, Pair, materialized, run
from servers import Server

from myrepetl_dagster import MySQLSourceResource, MySQLTargetResource, build_replication_defs
from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.model.errors import PrerequisiteError, ReplicationError

USERS = dg.AssetKey(["warehouse", "users"])
ORDERS = dg.AssetKey(["warehouse", "orders"])


def events(result: dg.ExecuteInProcessResult, kind: dg.DagsterEventType) -> list[dg.DagsterEvent]:
    return [event for event in result.all_events if event.event_type == kind]


def failure_of(result: dg.ExecuteInProcessResult, node: str = "replicate_shop") -> Any:
    """What the op's last `Failure` said."""
    return result.failure_data_for_node(node).user_failure_data  # type: ignore[union-attr]


def test_a_run_copies_and_the_next_one_catches_up(pair: Pair, instance: dg.DagsterInstance) -> None:
    """`replicate` brings both tables over, then what has changed since; the numbers are in the metadata."""
    defs = pair.defs()
    first = materialized(run(defs, "replicate", instance))
    pair.source.execute(
        "INSERT INTO shop.users (name) VALUES ('Dea')",
        "DELETE FROM shop.users WHERE name = 'Bob'",
        "UPDATE shop.orders SET status = 'open' WHERE id = 1",
    )
    second = materialized(run(defs, "replicate", instance))

    assert pair.users() == ["Ann", "Cem", "Dea"]
    assert pair.target.execute("SELECT id, amount, status FROM dw.orders") == ((3, Decimal("3.50"), "paid"),)
    assert first["users"]["rows_snapshotted"] == 3
    assert first["users"]["dagster/row_count"] == 3
    assert first["orders"]["rows_filtered"] == 1
    assert second["users"]["changes_applied"] == 2
    assert second["users"]["rows_snapshotted"] == 0
    assert second["orders"]["dagster/row_count"] == 1
    for found in (*first.values(), *second.values()):
        assert found["phase"] == "replicating"
        assert isinstance(found["lag_s"], float)
        assert 0.0 <= found["lag_s"] < 60.0
        assert re.match(r"binlog\.|[0-9a-f-]{36}:", found["position"])
        assert found["elapsed_s"] > 0
    for server in (pair.source, pair.target):
        assert not server.execute("SELECT id FROM information_schema.processlist WHERE user = 'copier'")


def test_the_real_columns_are_shown(pair: Pair, instance: dg.DagsterInstance) -> None:
    """A materialization shows the table as it is in the target, and where its columns come from."""
    orders = materialized(run(pair.defs(), "replicate", instance))["orders"]

    columns = {c.name: c for c in orders["dagster/column_schema"].columns}
    lineage = orders["dagster/column_lineage"].deps_by_column
    assert list(columns) == ["id", "amount", "status", "note"]
    assert columns["amount"].type == "decimal(10,2)"
    assert columns["id"].constraints.unique
    assert columns["id"].constraints.other == ["primary key"]
    assert [(d.asset_key.to_user_string(), d.column_name) for d in lineage["amount"]] == [("shop/orders", "total")]
    assert "note" not in lineage


@pytest.mark.parametrize(
    "how",
    [
        {"asset_selection": [USERS]},
        {"run_config": {"mappings": ["shop.users"]}},
        {"run_config": {"mappings": ["warehouse.users"]}},
    ],
    ids=["asset selection", "mapping", "target table"],
)
def test_one_table(mysql_pair: Pair, instance: dg.DagsterInstance, how: dict[str, Any]) -> None:
    """A run can be confined to one table, by its asset, its mapping or its name in the target."""
    result = run(mysql_pair.defs(), "replicate", instance, **how)

    assert result.success
    assert list(materialized(result)) == ["users"]
    assert mysql_pair.target.execute("SELECT COUNT(*) FROM dw.orders") == ((0,),)


def test_snapshot_copies_the_selected_table_again(pair: Pair, instance: dg.DagsterInstance) -> None:
    """`snapshot` puts a table right that was changed behind our back, and leaves the others as they are."""
    defs = pair.defs()
    run(defs, "replicate", instance)
    pair.target.execute("DELETE FROM dw.users WHERE id = 1", "INSERT INTO dw.users VALUES (99, 'Eve')")
    pair.target.execute("UPDATE dw.orders SET amount = 0")

    found = materialized(run(defs, "snapshot", instance, run_config={"mappings": ["shop.users"]}))

    assert pair.users() == ["Ann", "Bob", "Cem"]
    assert found["users"]["rows_snapshotted"] == 3
    assert pair.target.execute("SELECT DISTINCT amount FROM dw.orders") == ((0,),)


def test_a_failing_mapping_hides_no_other(pair: Pair, instance: dg.DagsterInstance) -> None:
    """The good table is materialized, the run fails with the bad one's name and hint, and is not tried again."""
    pair.target.execute("DROP TABLE dw.orders", "CREATE TABLE dw.orders (id INT PRIMARY KEY, amount INT)")

    result = run(pair.defs(), "replicate", instance)
    failure = failure_of(result)

    assert not result.success
    assert list(materialized(result)) == ["users"]
    assert pair.users() == ["Ann", "Bob", "Cem"]
    assert "'shop.orders': dw.orders has no column status" in failure.description
    assert failure.metadata["failed"].value == "shop.orders"
    assert str(failure.metadata["hint"].value).startswith("dw.orders has: id, amount. Add it by ALTER TABLE")
    assert not events(result, dg.DagsterEventType.STEP_RESTARTED)


def test_a_query_that_the_server_cannot_run_is_named(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """An init_query with a function that the server lacks: the run fails with the mapping, the number and a hint."""
    pair = mysql_pair
    pair.mapping["shop.users"]["init_query"] = "SELECT id, nowhere_at_all(name) AS name FROM users"

    failure = failure_of(run(pair.defs(), "replicate", instance))

    assert failure.metadata["failed"].value == "shop.users"
    assert "[1305]" in failure.description
    assert "init_query" in failure.metadata["hint"].value


def test_a_target_table_that_is_gone_is_not_made_anew(pair: Pair, instance: dg.DagsterInstance) -> None:
    """An empty new table would lack what was copied before: the run fails, and `snapshot` is the way back."""
    defs = pair.defs()
    run(defs, "replicate", instance)
    pair.target.execute("DROP TABLE dw.users")

    failure = failure_of(run(defs, "replicate", instance))
    run(defs, "snapshot", instance, run_config={"mappings": ["shop.users"]})

    assert "no table dw.users any more" in failure.description
    assert "`snapshot` job" in failure.metadata["hint"].value
    assert pair.users() == ["Ann", "Bob", "Cem"]


def test_a_dead_server_is_tried_again_within_bounds(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """Nothing listens: the core's attempts, then Dagster's, then the run fails and names the server."""
    defs = mysql_pair.defs()
    mysql_pair.target.kill()
    started_s = time.monotonic()

    result = run(defs, "replicate", instance)

    assert time.monotonic() - started_s < 10
    assert not result.success
    assert len(events(result, dg.DagsterEventType.STEP_RESTARTED)) == RETRY_FAST.max_retries
    assert "target 'warehouse'" in failure_of(result).description
    assert failure_of(result).metadata["failed"].value == "shop.users, shop.orders"


def test_a_refused_password_is_not_tried_again(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """No retry cures error 1045; the hint says what to look at, and nobody says the password."""
    mysql_pair.source.execute("ALTER USER 'copier'@'%' IDENTIFIED BY 'other'")
    try:
        result = run(mysql_pair.defs(), "replicate", instance)
    finally:
        mysql_pair.source.execute(f"ALTER USER 'copier'@'%' IDENTIFIED BY '{PASSWORD}'")

    assert not events(result, dg.DagsterEventType.STEP_RESTARTED)
    assert failure_of(result).metadata["code"].value == "1045"
    assert "password" in failure_of(result).metadata["hint"].value
    assert PASSWORD not in str(result.all_events)


def test_what_a_retry_finds_done_is_not_copied_again(
    mysql_pair: Pair, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot run that Dagster tries again copies only what the first attempt had not copied."""
    from myrepetl_dagster.core.model.errors import TargetLost
    from myrepetl_dagster.core.replication import source_runs
    from myrepetl_dagster.core.replication.run import SourceRun

    class Unlucky(SourceRun):
        attempts = 0

        def run(self) -> Any:
            results = super().run()
            Unlucky.attempts += 1
            if Unlucky.attempts == 1:
                self.results["shop.orders"].error = TargetLost("target 'warehouse': gone for a moment")
            return results

    monkeypatch.setattr(source_runs, "SourceRun", Unlucky)
    result = run(mysql_pair.defs(), "snapshot", instance)

    assert result.success
    assert materialized(result)["users"]["rows_snapshotted"] == 0  # the second time
    assert materialized(result)["orders"]["rows_snapshotted"] == 2


def test_a_long_run_reports_on_its_way(
    mysql_pair: Pair,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Lines in the run's log and observations of the asset tell how far a copy is and its lag, not for each commit."""
    from myrepetl_dagster import progress

    mysql_pair.limits["chunk_rows_max"] = 1
    short = run(mysql_pair.defs(), "replicate", instance)
    monkeypatch.setattr(progress, "LOG_INTERVAL_S", 0)
    monkeypatch.setattr(progress, "OBSERVE_INTERVAL_S_MIN", 0)
    data = mysql_pair.data | {"monitoring": {"interval": 0.001}}
    long = run(build_replication_defs(from_dict(data)), "snapshot", instance)
    quiet = run(build_replication_defs(from_dict(data | {"monitoring": {"enabled": False}})), "snapshot", instance)

    # The source tables are observed at the end, since their versions have changed.
    observed, of_short, of_quiet = (
        [event for event in one.get_asset_observation_events() if event.asset_key in (USERS, ORDERS)]
        for one in (long, short, quiet)
    )
    assert not of_short
    assert not of_quiet
    assert {event.asset_key for event in observed} == {USERS, ORDERS}
    metadata = observed[0].asset_observation_data.asset_observation.metadata
    assert {"phase", "position", "rows_snapshotted", "changes_applied", "rows_filtered", "elapsed_s"} <= set(metadata)
    assert 0.0 <= cast(float, metadata["lag_s"].value) < 60.0
    assert re.search(
        r"shop\.users: .* rows copied, .*, lag \d+\.\d s, at (binlog\.|[0-9a-f-]{36}:)", capfd.readouterr().err
    )


def test_a_run_says_which_setting_it_does_not_follow(
    mysql_pair: Pair, instance: dg.DagsterInstance, capfd: pytest.CaptureFixture[str]
) -> None:
    """The warnings of the pipeline file are in the run's log."""
    defs = build_replication_defs(from_dict(mysql_pair.data | {"database": {"sql_mode": "TRADITIONAL"}}))
    assert run(defs, "replicate", instance).success

    assert "database.sql_mode: " in capfd.readouterr().err


@pytest.fixture
def two_sources(servers: Any, tmp_path: Path) -> tuple[Pair, Server]:
    """Sources `eu` and `us` with a table each, which go into one table of the target; and the second one's server."""
    pair = Pair(servers.get("source", "mysql"), servers.get("target", "mariadb"), tmp_path)
    other = Pair(servers.get("source", "mariadb"), pair.target, tmp_path)
    other.prepare()
    pair.prepare()
    pair.target.execute(
        "CREATE TABLE dw.people (region VARCHAR(5), id INT, name VARCHAR(50), PRIMARY KEY (region, id))"
    )
    columns = {"id": "id", "name": "name"}
    pair.more = {
        "sources": {"eu": pair.endpoint(pair.source, "shop"), "us": pair.endpoint(other.source, "shop")},
        "mapping": {
            f"{region}.users": {
                "target_table": "warehouse.people",
                "primary_key": ["region", "id"],
                "column_mapping": columns | {"region": {"value": region}},
            }
            for region in ("eu", "us")
        },
    }
    return pair, other.source


def test_two_sources_into_one_table(two_sources: tuple[Pair, Server], instance: dg.DagsterInstance) -> None:
    """Both sources' rows are in the one table, which is materialized once, when both are through."""
    pair, _ = two_sources
    found = run(build_replication_defs(from_dict(pair.data)), "replicate", instance)

    assert pair.target.execute("SELECT region, COUNT(*) FROM dw.people GROUP BY region") == (("eu", 3), ("us", 3))
    assert [e.asset_key.to_user_string() for e in found.get_asset_materialization_events() if e.asset_key] == [
        "warehouse/people"
    ]
    assert materialized(found)["people"]["rows_snapshotted"] == 6
    assert materialized(found)["people"]["position"].startswith("eu.users: ")


@pytest.mark.parametrize("down", ["eu", "us"])
def test_a_source_that_is_down_keeps_no_other_from_being_replicated(
    two_sources: tuple[Pair, Server], instance: dg.DagsterInstance, down: str
) -> None:
    """The other source's rows are in the table; the table is not materialized, and the run fails with the source that
    is down.
    """
    pair, _ = two_sources
    pair.more["sources"][down]["port"] = 1
    found = run(build_replication_defs(from_dict(pair.data), retry_policy=RETRY_FAST), "replicate", instance)
    failure = failure_of(found, "replicate_eu__us")

    up = "us" if down == "eu" else "eu"
    assert pair.target.execute("SELECT region, COUNT(*) FROM dw.people GROUP BY region") == ((up, 3),)
    assert not found.get_asset_materialization_events()
    assert f"source '{down}'" in failure.description
    assert failure.metadata["failed"].value == f"{down}.users"


def test_two_sources_are_followed_side_by_side(
    two_sources: tuple[Pair, Server], instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a run follows, what either source writes arrives, and is observed."""
    from myrepetl_dagster import progress

    monkeypatch.setattr(progress, "OBSERVE_INTERVAL_S_MIN", 0)
    pair, other = two_sources
    pair.more["monitoring"] = {"interval": 0.001}

    def write() -> None:
        for number in range(10, 20):
            for server in (pair.source, other):
                server.execute(f"INSERT INTO shop.users VALUES ({number}, 'n')")
            time.sleep(0.1)

    writer = threading.Timer(1.0, write)
    writer.start()
    found = run(build_replication_defs(from_dict(pair.data)), "replicate", instance, run_config={"follow_s": 6.0})
    writer.join()

    assert found.success
    assert pair.target.execute("SELECT region, COUNT(*) FROM dw.people GROUP BY region") == (("eu", 13), ("us", 13))
    assert materialized(found)["people"]["changes_applied"] == 20
    assert len(found.get_asset_observation_events()) > 2


def test_an_asset_downstream_reads_the_target(pair: Pair, instance: dg.DagsterInstance) -> None:
    """`target.dataframe` gives a table or a query to the assets that come after."""
    seen: dict[str, Any] = {}

    @dg.asset(deps=[ORDERS])
    def revenue(target_warehouse: MySQLTargetResource) -> None:
        seen["table"] = target_warehouse.dataframe("orders")
        seen["query"] = target_warehouse.dataframe("SELECT name FROM users WHERE id > %s ORDER BY id", [1])

    defs = dg.Definitions.merge(
        pair.defs(), dg.Definitions(assets=[revenue], jobs=[dg.define_asset_job("everything", selection="*")])
    )
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance)

    assert result.success
    assert list(seen["table"].columns) == ["id", "amount", "status", "note"]
    assert seen["table"]["amount"].sum() == Decimal("5.00")
    assert list(seen["query"]["name"]) == ["Bob", "Cem"]


def test_resources_open_nothing_before_they_are_asked(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """A run that does not use a server does not notice that it is down; one that does, says which."""

    @dg.op
    def idle(shop: MySQLSourceResource, warehouse: MySQLTargetResource) -> None: ...

    @dg.op
    def ask(shop: MySQLSourceResource) -> None:
        with pytest.raises(ReplicationError, match="source 'shop'"):
            shop.dataframe("users")

    @dg.job
    def work() -> None:
        idle()
        ask()

    path = str(mysql_pair.write())
    mysql_pair.source.kill()
    resources = {
        "shop": MySQLSourceResource(pipeline_file=path, name="shop"),
        "warehouse": MySQLTargetResource(pipeline_file=path, name="warehouse"),
    }

    assert work.execute_in_process(instance=instance, resources=resources).success


def test_a_resource_replaces_a_broken_connection(pair: Pair) -> None:
    """After an error the next question goes over a new connection: an op that is tried again gets the same object."""
    resource = MySQLSourceResource(pipeline_file=str(pair.write()), name="shop")

    assert resource.describe("users") is not None
    with resource.asking() as server:
        connection = server.control
        pair.source.execute(f"KILL {connection.thread_id()}")
    with pytest.raises(ReplicationError):
        resource.describe("users")
    assert not connection.open
    assert resource.describe("users") is not None
    with resource.asking() as server:
        connection = server.control
    resource.teardown_after_execution(dg.build_init_resource_context())

    assert not connection.open


def test_a_resource_describes_tables(pair: Pair) -> None:
    """Columns and keys of a table of the endpoint's own database, or of another one; None for one that is not there."""
    resource = MySQLSourceResource(pipeline_file=str(pair.write()), name="shop")
    users = resource.describe("users")
    schema = pair.data["sources"]["shop"]["database"]

    assert users is not None
    assert users.primary_key == ("id",)
    assert users == resource.describe(f"{schema}.users")
    assert resource.describe("no_such_table") is None


def test_a_resource_hands_out_a_connection_to_read_with(pair: Pair) -> None:
    """It is closed at the end, also after an error of the driver's, which passes as it is; and nothing is written."""
    resource = MySQLSourceResource(pipeline_file=str(pair.write()), name="shop")
    with resource.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@session.time_zone, COUNT(*) FROM users")
        ((zone, rows),) = cursor.fetchall()

    assert (zone, rows) == ("+00:00", 3)
    assert not connection.open
    with pytest.raises(pymysql.MySQLError, match="1792"), resource.connection() as connection:
        connection.cursor().execute("DELETE FROM users")
    assert not connection.open
    with pytest.raises(PrerequisiteError, match="would write"):
        resource.dataframe("DELETE FROM users")
    assert len(resource.dataframe("users")) == 3


def test_a_resource_of_a_pipeline_made_in_code(pair: Pair, instance: dg.DagsterInstance) -> None:
    """Without a file the definitions work as well, and the pipeline is not configuration."""
    defs = build_replication_defs(from_dict(pair.data))

    assert run(defs, "replicate", instance).success
    assert PASSWORD not in str(defs.resources)


def test_no_password_where_dagster_writes(pair: Pair) -> None:
    """After a good and a failed run neither the instance's files nor the events hold the password."""
    with dg.DagsterInstance.local_temp(overrides={"telemetry": {"enabled": False}}) as instance:
        assert run(pair.defs(), "replicate", instance).success
        pair.target.execute("DROP TABLE dw.orders")
        assert not run(pair.defs(), "replicate", instance).success

        files = [path for path in Path(instance.root_directory).rglob("*") if path.is_file()]
        assert len(files) > 3
        assert not [path for path in files if PASSWORD.encode() in path.read_bytes()]


def test_changed_code_of_a_transform_leaves_the_table_outdated(pair: Pair, instance: dg.DagsterInstance) -> None:
    """The code version is another one, and no run materializes the table with it before a new copy."""
    pair.mapping["shop.users"] |= {
        "primary_key": "id",
        "column_mapping": {"id": "id", "name": {"column": "name", "transform": "code.named"}},
    }
    code = pair.directory / "code.py"
    code.write_text("def named(value):\n    return value.upper()\n")
    materialized(run(pair.defs(), "replicate", instance))
    code.write_text("def named(value):\n    return value.lower() + '!'\n")

    def outdated(defs: dg.Definitions) -> bool:
        specs = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
        event = instance.get_latest_materialization_event(USERS)
        assert event is not None
        tags = event.asset_materialization.tags if event.asset_materialization else None
        return (tags or {})["dagster/code_version"] != specs[USERS].code_version

    defs = pair.defs()
    assert outdated(defs)
    assert "users" not in materialized(run(defs, "replicate", instance))
    assert outdated(defs)
    assert pair.users() == ["ANN", "BOB", "CEM"]
    run(defs, "snapshot", instance)
    assert pair.users() == ["ann!", "bob!", "cem!"]
    assert not outdated(defs)
