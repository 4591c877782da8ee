"""What Dagster is told of tables that change while a run goes on, and what its conditions make of that."""

import time
from collections.abc import Sequence
from datetime import timedelta

import dagster as dg
import pytest
from dagster_support import log_events, pipeline_of

from myrepetl_dagster import Checks
from myrepetl_dagster.core.model.checkpoint import Phase
from myrepetl_dagster.core.replication.result import Counts, Progress, Stage
from myrepetl_dagster.health import Tables
from myrepetl_dagster.observations import DATA_VERSION, Event, TableEvents, latest_version
from myrepetl_dagster.specs import PipelineSpecs
from myrepetl_dagster.translator import ReplicationTranslator

MAPPING = {
    "eu.users": {"target_table": "warehouse.users", "primary_key": ["region", "id"], "column_mapping": {
        "id": "id", "region": {"value": "eu"}}},
    "us.users": {"target_table": "warehouse.users", "primary_key": ["region", "id"], "column_mapping": {
        "id": "id", "region": {"value": "us"}}},
    "us.orders": {"target_table": "warehouse.orders"},
    "us.paid": {"source_table": "us.orders", "target_table": "warehouse.paid", "filter": {"status": "paid"}},
}  # fmt: skip
START = {"eu.users": 1, "us.users": 1, "us.orders": 5, "us.paid": 2}


@pytest.fixture
def tables() -> Tables:
    return PipelineSpecs(pipeline_of(MAPPING), ReplicationTranslator()).by_key


def progress(mapping: str, applied: int, phase: Phase = Phase.REPLICATING, lag_s: float = 0.1) -> Progress:
    return Progress(
        mapping, phase, Stage.FOLLOWING, "binlog.000001:4", Counts(), 1.0, lag_s=lag_s, applied_total=applied
    )


def told(instance: dg.DagsterInstance, events: Sequence[Event]) -> list[str]:
    """Log the events; what they are, in words."""
    log_events(instance, events)
    return [
        f"{'made' if isinstance(e, dg.AssetMaterialization) else 'saw'} {e.asset_key.to_user_string()}" for e in events
    ]


def events_of(instance: dg.DagsterInstance, tables: Tables, interval_s: float = 0.0, **fields: object) -> TableEvents:
    return TableEvents(instance, tables, START, Checks(**fields), interval_s)  # type: ignore[arg-type]


@pytest.fixture
def known(tables: Tables, instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """An instance that has been told of all tables as they are at the start."""
    events = events_of(instance, tables)
    for name, applied in START.items():
        events(progress(name, applied))
    log_events(instance, events.due())
    return instance


def test_only_what_has_changed_is_told(tables: Tables, known: dg.DagsterInstance) -> None:
    """A table with new rows is materialized, its source table observed before; what moved on without is not."""
    events = events_of(known, tables)
    for name, applied in START.items():
        events(progress(name, applied))
    nothing = events.due()
    events(progress("us.users", 2))

    assert nothing == []
    assert told(known, events.due()) == ["saw us/users", "made warehouse/users"]
    assert events.due() == []
    assert latest_version(known, dg.AssetKey(["us", "users"])) == "2"


def test_tables_of_one_source_table_are_told_together(tables: Tables, known: dg.DagsterInstance) -> None:
    """A change that a filter leaves out of one table is new to the other; both stand for the source table as it is."""
    events = events_of(known, tables)
    events(progress("us.orders", 6))
    events(progress("us.paid", 2))
    found = events.due()

    assert told(known, found) == ["saw us/orders", "made warehouse/orders", "made warehouse/paid"]
    paid = known.get_latest_materialization_event(dg.AssetKey(["warehouse", "paid"]))
    assert paid is not None
    assert paid.asset_materialization is not None
    assert (paid.asset_materialization.tags or {})[DATA_VERSION] == "2"


def test_a_table_is_told_once_in_an_interval(tables: Tables, known: dg.DagsterInstance) -> None:
    """What comes in between is told after it, or at the end of the run."""
    events = events_of(known, tables, interval_s=3600)
    events(progress("us.users", 2))
    first = events.due()
    events._told_unix_s = {key: time.time() - 3601 for key in tables}
    second = events.due()
    events(progress("us.users", 3))

    assert first == []  # the start was told just now
    assert told(known, second) == ["saw us/users", "made warehouse/users"]
    assert events.due() == []
    assert told(known, events.due(at_once=True)) == ["saw us/users", "made warehouse/users"]


def test_what_a_killed_run_did_not_tell_the_next_one_does(tables: Tables, known: dg.DagsterInstance) -> None:
    """By the checkpoint's own counts: what was told before is not told again, although the run is a new one."""
    events = TableEvents(known, tables, START | {"us.users": 8}, Checks(), 30.0)
    for name, applied in (START | {"us.users": 8}).items():
        events(progress(name, applied))

    assert told(known, events.due(at_once=True)) == ["saw us/users", "made warehouse/users"]
    again = TableEvents(known, tables, START | {"us.users": 8}, Checks())
    again(progress("us.users", 8))
    assert again.due() == []


@pytest.mark.parametrize("phase", [Phase.COPYING, Phase.SETTLING])
def test_half_a_table_is_not_told(tables: Tables, known: dg.DagsterInstance, phase: Phase) -> None:
    """Nobody downstream should read a table that is being copied, unless all of its rows are there."""
    events = events_of(known, tables)
    events(progress("us.users", 900, phase))
    during = events.due()
    events(progress("us.users", 1000))

    assert during == []
    assert told(known, events.due()) == ["saw us/users", "made warehouse/users"]


def test_a_quiet_table_stays_fresh_while_it_is_in_step(tables: Tables, known: dg.DagsterInstance) -> None:
    """It is materialized again after half the window, with the versions it had; not if it is behind."""
    events = events_of(known, tables, fresh_within=timedelta(seconds=60))
    events._told_unix_s = {key: time.time() - 29 for key in tables}
    for name, applied in START.items():
        events(progress(name, applied, lag_s=61.0 if name == "us.paid" else 0.1))
    early = events.due()
    events._told_unix_s = {key: time.time() - 31 for key in tables}
    again = events.due()

    assert early == []
    assert told(known, again) == ["made warehouse/users", "made warehouse/orders"]
    assert [e.tags[DATA_VERSION] for e in again if e.tags] == ["eu.users=1 us.users=1", "5"]
    assert events.due() == []


def test_a_table_that_a_job_materializes_has_the_same_versions(tables: Tables, known: dg.DagsterInstance) -> None:
    """So that a run that follows does not tell of it once more."""
    key = dg.AssetKey(["warehouse", "users"])
    events = events_of(known, tables)
    tags, observations = events.of_result(key, {"us.users": 5})

    @dg.asset(key=key, deps=[dg.AssetKey(["us", "users"]), dg.AssetKey(["eu", "users"])], code_version="x")
    def users(context) -> dg.MaterializeResult[None]:  # type: ignore[no-untyped-def]
        for one in observations:
            context.log_event(one)
        return dg.MaterializeResult(tags=tags)

    assert dg.materialize([users], instance=known).success

    after = TableEvents(known, tables, START | {"us.users": 5}, Checks())
    after(progress("us.users", 5))
    assert after.due() == []
    assert latest_version(known, dg.AssetKey(["us", "users"])) == "5"


def test_older_news_do_not_follow_newer_ones(tables: Tables, known: dg.DagsterInstance) -> None:
    """A run that another one has taken over from is late with what it has heard. A table that is copied again in the same
    run has fewer rows and changes than before, and is told all the same.
    """
    earlier, later = events_of(known, tables), events_of(known, tables)
    earlier(progress("us.users", 5))
    later(progress("us.users", 6))
    log_events(known, later.due())
    late = [*earlier.due(at_once=True), *earlier.due(at_once=True)]
    later(progress("us.users", 1, Phase.COPYING))
    later(progress("us.users", 3))

    assert late == []
    assert told(known, later.due()) == ["saw us/users", "made warehouse/users"]


def test_long_versions_are_kept_short(instance: dg.DagsterInstance) -> None:
    """Of a table that many mappings write, a digest."""
    many = {
        f"eu.users_{n}": {"target_table": "warehouse.users", "primary_key": ["region", "id"], "column_mapping": {
            "id": "id", "region": {"value": f"eu{n}"}}} for n in range(20)
    }  # fmt: skip
    tables = PipelineSpecs(pipeline_of(many), ReplicationTranslator()).by_key
    events = TableEvents(instance, tables, {}, Checks())
    for name in many:
        events(progress(name, 2))
    made = [event for event in events.due() if isinstance(event, dg.AssetMaterialization)]

    assert len(made) == 1
    assert len((made[0].tags or {})[DATA_VERSION]) == 64
