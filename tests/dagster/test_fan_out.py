"""The job that copies large tables by many steps: on each executor, with what it leaves in Dagster and on the servers."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster_support import Pair, materialized, run

from myrepetl_dagster import build_replication_defs
from myrepetl_dagster.core.config.load import load
from myrepetl_dagster.core.model.errors import ConfigError
from myrepetl_dagster.fan_out import JOB, copied_now

ROWS = 500


def many_users(pair: Pair) -> None:
    rows = ", ".join(f"('user {i}')" for i in range(ROWS - 3))
    pair.source.execute(f"INSERT INTO shop.users (name) VALUES {rows}")


def count(pair: Pair) -> int:
    return int(pair.target.execute("SELECT COUNT(*) FROM dw.users")[0][0])


def test_large_tables_fan_out_and_small_ones_do_not(pair: Pair, instance: dg.DagsterInstance) -> None:
    """One run copies a large table by a step for each range, a small one in the last step, and materializes both."""
    many_users(pair)
    result = run(pair.defs(), JOB, instance, run_config={"step_rows": 120})
    assert result.success
    steps = [event.step_key for event in result.get_step_success_events()]
    assert sum(key is not None and key.startswith("copy_range_shop[") for key in steps) == 5
    made = materialized(result)
    assert made["users"]["rows_snapshotted"] == ROWS
    assert made["users"]["dagster/row_count"] == ROWS
    assert made["orders"]["rows_snapshotted"] == 2
    assert count(pair) == ROWS


def test_steps_hand_each_other_keys_and_counts_only(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """No row's value is in what a step hands on."""
    many_users(mysql_pair)
    result = run(mysql_pair.defs(), JOB, instance, run_config={"step_rows": 250})
    handed = [result.output_for_node("begin_copies_shop", "parts"), result.output_for_node("copy_range_shop")]
    assert "user 1" not in str(handed)
    assert len(str(handed)) < 1000


def test_chosen_mappings_only(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """`mappings` names what is copied, by mapping or by target table."""
    result = run(mysql_pair.defs(), JOB, instance, run_config={"mappings": ["warehouse.orders"]})
    assert result.success
    assert list(materialized(result)) == ["orders"]


def test_sources_have_steps_of_their_own(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """Each source has its own chain of steps, so that an executor runs them side by side; an error stops one chain."""
    pair = mysql_pair
    gone = pair.endpoint(pair.source, "shop") | {"port": 1}
    pair.more["sources"] = {"gone": gone, "shop": pair.endpoint(pair.source, "shop")}
    pair.mapping["gone.orders"] = {"target_table": "warehouse.other"}
    pair.limits["first_contact_time_s_max"] = 1
    result = run(pair.defs(), JOB, instance)
    assert not result.success
    assert set(materialized(result)) == {"users", "orders"}
    failed = [event.step_key for event in result.get_step_failure_events()]
    assert failed == ["end_copies_gone"] or failed == ["begin_copies_gone"]


def test_an_executor_that_loses_steps_is_refused(mysql_pair: Pair) -> None:
    """dagster-dask is refused when the definitions are built, with the reason. It is known by its name."""

    @dg.executor(name="dask", requirements=dg.multiple_process_executor_requirements())
    def dask(_: dg.InitExecutorContext) -> dg.Executor:
        raise AssertionError("it is not made")

    with pytest.raises(ConfigError, match="leaves out the mapped steps of a run, and reports it as a success"):
        build_replication_defs(mysql_pair.write(), executor_def=dask)


def test_a_sensor_can_tell_which_tables_are_being_copied(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """Mappings of a run that is under way are named, and nothing is once it has ended."""
    defs = mysql_pair.defs()
    job = defs.resolve_job_def(JOB)
    mappings = list(load(mysql_pair.write()).mappings)
    assert copied_now(instance, JOB, mappings) == set()
    one = instance.create_run_for_job(job, run_config={"mappings": ["shop.users"]}, status=dg.DagsterRunStatus.STARTED)
    assert copied_now(instance, JOB, mappings) == {"shop.users"}
    instance.report_run_canceled(one)
    assert copied_now(instance, JOB, mappings) == set()
