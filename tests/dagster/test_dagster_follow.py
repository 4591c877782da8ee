"""The job that follows: what it reports of its tables while it goes on, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import dagster as dg
import pytest
from dagster_support import PASSWORD, Pair, run

from myrepetl_dagster import follow, table_facts
from myrepetl_dagster.metadata import APPLIED

USERS = dg.AssetKey(["warehouse", "users"])
ORDERS = dg.AssetKey(["warehouse", "orders"])
FOLLOW = "follow_shop"


@pytest.fixture
def fast(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """Reports come each half second, and a run ends when its time is over."""
    pair.more = {"monitoring": {"interval": 0.5}}
    monkeypatch.setattr(follow, "OVERLAP_S", 0.0)
    monkeypatch.setattr(follow, "TICK_S", 0.1)
    monkeypatch.setattr(table_facts, "CHEAP_S", 60.0)  # the machine may be slow
    return pair


def config(follow_s: float) -> dict[str, Any]:
    return {"ops": {"follow_log_shop": {"config": {"follow_s": follow_s}}}}


def beside(instance: dg.DagsterInstance, defs: dg.Definitions, follow_s: float, work: Callable[[], None]) -> Any:
    """Run the follow job, and do some work beside it a little later."""
    errors: list[BaseException] = []

    def later() -> None:
        try:
            time.sleep(1.0)
            work()
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=later)
    thread.start()
    result = run(defs, FOLLOW, instance, run_config=config(follow_s))
    thread.join()
    assert not errors, errors
    return result


def made(instance: dg.DagsterInstance, key: dg.AssetKey) -> list[dg.AssetMaterialization]:
    """A table's materializations, oldest first."""
    records = instance.fetch_materializations(key, limit=1000).records
    return [record.asset_materialization for record in reversed(records) if record.asset_materialization]


def test_tables_that_change_are_materialized_while_it_goes_on(fast: Pair, instance: dg.DagsterInstance) -> None:
    """A table that changes is reported within a moment, and again when it changes again; a quiet one is not."""
    defs = fast.defs()
    run(defs, "replicate", instance)
    before = len(made(instance, USERS)), len(made(instance, ORDERS))
    seen: list[Any] = []

    def work() -> None:
        for name in ("Dea", "Eli"):
            fast.source.execute(f"INSERT INTO shop.users (name) VALUES ('{name}')")
            until_s = time.monotonic() + 20
            while len(made(instance, USERS)) <= before[0] + len(seen):
                assert time.monotonic() < until_s
                time.sleep(0.1)
            seen.append(made(instance, USERS)[-1].metadata[APPLIED].value)

    result = beside(instance, defs, 8.0, work)

    assert result.success
    assert seen == [4, 5]
    facts = made(instance, USERS)[-1].metadata
    assert facts["dagster/row_count"].value == 5
    assert {"dagster/column_schema", "dagster/column_lineage", "lag_s", "rows_upserted", "rows_per_s"} <= facts.keys()
    assert len(made(instance, USERS)) == before[0] + 2
    assert len(made(instance, ORDERS)) == before[1]
    assert fast.users() == ["Ann", "Bob", "Cem", "Dea", "Eli"]


def test_what_a_killed_run_did_not_report_is_reported_by_the_next(fast: Pair, instance: dg.DagsterInstance) -> None:
    """Rows that were committed without a materialization (the run was killed) get it from the next run."""
    defs = fast.defs()
    run(defs, "replicate", instance)
    before = len(made(instance, USERS))
    fast.source.execute("INSERT INTO shop.users (name) VALUES ('Dea')")
    from myrepetl_dagster.core import replicate
    from myrepetl_dagster.core.config.load import load

    replicate(load(fast.write()))  # a run that Dagster did not hear of
    assert len(made(instance, USERS)) == before
    assert run(defs, FOLLOW, instance, run_config=config(2.0)).success

    assert len(made(instance, USERS)) == before + 1


def test_a_run_of_a_person_beside_it_succeeds(fast: Pair, instance: dg.DagsterInstance) -> None:
    """A new copy of one table, by the same instance, while the source is followed: both succeed, and rows go on."""
    defs = fast.defs()
    run(defs, "replicate", instance)

    def work() -> None:
        assert run(defs, "snapshot", instance, run_config={"mappings": ["shop.users"]}).success
        fast.source.execute("INSERT INTO shop.users (name) VALUES ('Dea')")
        until_s = time.monotonic() + 20
        while "Dea" not in fast.users():
            assert time.monotonic() < until_s
            time.sleep(0.1)

    assert beside(instance, defs, 12.0, work).success


def test_a_source_that_is_gone_fails_the_run(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """After the core's own retries the run fails, with the reason and without a password."""
    mysql_pair.limits |= {"first_contact_time_s_max": 1}
    defs = mysql_pair.defs()
    run(defs, "replicate", instance)
    mysql_pair.source.kill()
    result = run(defs, FOLLOW, instance, run_config=config(60.0))

    failure = result.failure_data_for_node("follow_log_shop")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert "source 'shop'" in (failure.user_failure_data.description or "")
    assert PASSWORD not in str(failure)


def test_too_few_places_for_runs(tmp_path: Path) -> None:
    """Where Dagster executes fewer runs at a time than the sources need, the run says so, and what to set."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert follow.places(instance) == 10
        assert follow.too_few_places(instance, 4) == ""
        assert "max_concurrent_runs in dagster.yaml to 12 or more" in follow.too_few_places(instance, 5)
    with dg.DagsterInstance.ephemeral() as instance:
        assert follow.too_few_places(instance, 100) == ""


def test_a_mapping_that_is_not_there_is_refused(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """A misspelt name in an op's own configuration fails the run, with the names that there are."""
    result = run(mysql_pair.defs(), "replicate", instance, run_config={"mappings": ["shop.users"]})
    assert result.success
    config = {"ops": {"replicate_shop": {"config": {"mappings": ["shop.user"]}}}}
    wrong = (
        mysql_pair.defs()
        .resolve_implicit_global_asset_job_def()
        .execute_in_process(instance=instance, raise_on_error=False, run_config=config)
    )
    failure = wrong.failure_data_for_node("replicate_shop")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert "shop.user: not among those of shop: shop.users, shop.orders" in (
        failure.user_failure_data.description or ""
    )
