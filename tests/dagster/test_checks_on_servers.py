"""What the user's buttons say of real tables: Execute of a check, Observe of a source table."""

import time
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest
from dagster_support import PASSWORD, Pair, run

from myrepetl_dagster import Checks
from myrepetl_dagster.checks import LAG, SCHEMA
from myrepetl_dagster.core.model.errors import ReplicationError
from myrepetl_dagster.observations import latest_version, quiet_tables

USERS = dg.AssetKey(["warehouse", "users"])
ORDERS = dg.AssetKey(["warehouse", "orders"])


def executed(defs: dg.Definitions, instance: dg.DagsterInstance, *keys: dg.AssetCheckKey) -> dict[str, Any]:
    """What the checks say, as `table.check`; without keys, all of them."""
    chosen = dg.AssetSelection.checks(*keys) if keys else dg.AssetSelection.all_asset_checks()
    with_job = dg.Definitions.merge(defs, dg.Definitions(jobs=[dg.define_asset_job("execute", selection=chosen)]))
    result = with_job.resolve_job_def("execute").execute_in_process(instance=instance, raise_on_error=False)
    assert result.success
    return {f"{one.asset_key.path[-1]}.{one.check_name}": one for one in result.get_asset_check_evaluations()}


def test_tables_in_step_pass(pair: Pair, instance: dg.DagsterInstance) -> None:
    """After a run all checks pass, also that of the table that does not change while the other does."""
    defs = pair.defs()
    before = executed(defs, instance)
    run(defs, "replicate", instance)
    time.sleep(1.5)
    pair.source.execute("INSERT INTO shop.users (name) VALUES ('Dea')")
    run(defs, "replicate", instance, asset_selection=[USERS])

    after = executed(defs, instance)

    assert before["users.lag"].description == "Not copied yet."
    assert before["users.schema_in_step"].passed  # a run would create the table
    assert set(after) == {"users.lag", "users.schema_in_step", "orders.lag", "orders.schema_in_step"}
    assert [name for name, one in after.items() if not one.passed] == []
    assert after["orders.lag"].metadata["lag_s"].value < 1.5  # its checkpoint is older


def test_a_table_that_is_behind_fails_alone(pair: Pair, instance: dg.DagsterInstance) -> None:
    """By the age of the first change that it lacks; the other table has nothing to catch up with."""
    defs = pair.defs(checks=Checks(lag_s_max=1.0))
    run(defs, "replicate", instance)
    pair.source.execute("INSERT INTO shop.users (name) VALUES ('Dea')")
    time.sleep(2.5)

    found = executed(defs, instance)

    assert {name for name, one in found.items() if not one.passed} == {"users.lag"}
    assert "behind its source, more than 1 s" in (found["users.lag"].description or "")


def test_a_column_that_the_target_lacks(pair: Pair, instance: dg.DagsterInstance) -> None:
    """`schema_in_step` names it, before a run fails for it; nothing is wrong with the lag."""
    defs = pair.defs()
    run(defs, "replicate", instance)
    pair.target.execute("ALTER TABLE dw.orders DROP COLUMN amount")

    found = executed(defs, instance)

    assert {name for name, one in found.items() if not one.passed} == {"orders.schema_in_step"}
    assert "amount" in (found["orders.schema_in_step"].description or "")


def test_a_mapping_that_a_run_has_stopped(pair: Pair, instance: dg.DagsterInstance) -> None:
    """Both checks of its table fail with the run's reason."""
    defs = pair.defs()
    run(defs, "replicate", instance)
    pair.target.execute("ALTER TABLE dw.orders DROP COLUMN amount")
    pair.source.execute("INSERT INTO shop.orders (total, status) VALUES (4.5, 'paid')")
    assert not run(defs, "replicate", instance).success

    found = executed(defs, instance)

    assert {name for name, one in found.items() if not one.passed} == {"orders.lag", "orders.schema_in_step"}
    assert "Stays where it is" in (found["orders.lag"].description or "")


def test_a_server_that_is_down(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """The run of the checks succeeds, each check fails with the server's name and no password."""
    defs = mysql_pair.defs()
    run(defs, "replicate", instance)
    mysql_pair.source.kill()

    found = executed(defs, instance)

    assert not any(one.passed for one in found.values())
    assert all("source 'shop'" in (one.description or "") for one in found.values())
    assert PASSWORD not in str(found)


def test_deselected_checks_are_left_out(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """Only what was asked for is evaluated."""
    defs = mysql_pair.defs()
    run(defs, "replicate", instance)

    assert set(executed(defs, instance, dg.AssetCheckKey(USERS, LAG))) == {"users.lag"}
    assert set(executed(defs, instance, dg.AssetCheckKey(ORDERS, SCHEMA))) == {"orders.schema_in_step"}


# ---- Observe ----
def observe(defs: dg.Definitions, instance: dg.DagsterInstance, *keys: str) -> dict[str, str | None]:
    """Press Observe for these source tables; their versions then."""
    paths = [dg.AssetKey(["shop", key]) for key in keys]
    job = defs.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(instance=instance, asset_selection=paths, raise_on_error=False)
    assert result.success
    return {key: latest_version(instance, dg.AssetKey(["shop", key])) for key in ("users", "orders")}


def test_a_source_table_has_a_new_version_when_it_has_changed(pair: Pair, instance: dg.DagsterInstance) -> None:
    """Not when another table has, nor when nothing has; and a run gives it the version that shows no more changes."""
    defs = pair.defs()
    run(defs, "replicate", instance)
    first = observe(defs, instance, "users", "orders")
    pair.source.execute("INSERT INTO shop.users (name) VALUES ('Dea')")
    changed = observe(defs, instance, "users", "orders")
    run(defs, "replicate", instance)
    caught_up = observe(defs, instance, "users", "orders")

    assert first["users"] == "3"
    assert first["orders"] == changed["orders"] == caught_up["orders"] == "2"
    assert changed["users"] is not None
    assert changed["users"].startswith("3, more up to ")
    assert caught_up["users"] == "4"
    assert observe(defs, instance, "users") == caught_up


def test_observing_a_server_that_is_down_fails_with_its_name(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """Nothing new is observed then, and no password is shown."""
    defs = mysql_pair.defs()
    run(defs, "replicate", instance)
    mysql_pair.source.kill()

    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey(["shop", "users"])], raise_on_error=False
    )

    assert not result.success
    failed: Any = result.failure_data_for_node("observe_shop")
    assert "source 'shop'" in failed.user_failure_data.description
    assert PASSWORD not in str(failed)
    assert latest_version(instance, dg.AssetKey(["shop", "users"])) == "3"  # what the run has told


# ---- the sensor, without a run that follows ----
def tick(defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
    sensor = next(iter(defs.sensors or ()))
    assert isinstance(sensor, dg.SensorDefinition)
    with dg.build_sensor_context(instance=instance, definitions=defs) as context:
        sensor(context)


def stored(instance: dg.DagsterInstance, key: dg.AssetKey) -> dg.AssetCheckEvaluation:
    record = instance.get_latest_asset_check_evaluation_record(dg.AssetCheckKey(key, LAG))
    assert record is not None
    assert record.evaluation is not None
    return record.evaluation


def test_a_sensor_tells_of_an_outage_and_of_its_end(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """Each look of the sensor evaluates `lag`; a server that is down fails it, with the reason."""
    mysql_pair.more = {"replication": {"follow_s": 0}}
    defs = mysql_pair.defs()
    run(defs, "replicate", instance)
    mysql_pair.source.kill()
    with pytest.raises(ReplicationError):
        tick(defs, instance)
    down = [stored(instance, key) for key in (USERS, ORDERS)]
    mysql_pair.source.start()
    tick(defs, instance)

    assert [one.passed for one in down] == [False, False]
    assert "source 'shop'" in (down[0].description or "")
    assert PASSWORD not in str(down)
    assert stored(instance, USERS).passed


def test_a_sensor_keeps_quiet_tables_fresh(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """A table that is in step is materialized again, as it was, when half of its window has passed; one that is behind
    is not.
    """
    mysql_pair.more = {"replication": {"follow_s": 0}}
    defs = mysql_pair.defs(checks=Checks(fresh_within=timedelta(seconds=60)))
    run(defs, "replicate", instance)

    def made(key: dg.AssetKey) -> list[Any]:
        return [record.asset_materialization for record in instance.fetch_materializations(key, limit=10).records]

    tick(defs, instance)
    soon = len(made(ORDERS))
    mysql_pair.source.execute("INSERT INTO shop.users (name) VALUES ('Dea')")
    old = quiet_tables(instance, {USERS, ORDERS}, Checks(fresh_within=timedelta(seconds=60)))
    with pytest.MonkeyPatch.context() as patch:
        now_s = time.time()
        patch.setattr(time, "time", lambda: now_s + 31)
        tick(defs, instance)

    assert (soon, old) == (1, [])
    assert len(made(USERS)) == 1
    assert len(made(ORDERS)) == 2
    assert made(ORDERS)[0].tags == made(ORDERS)[1].tags
