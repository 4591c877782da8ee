"""When a sensor asks for a run, with and without one that follows."""

from __future__ import annotations

import re
import time

import dagster as dg
import pytest
from dagster_support import PASSWORD, Pair, run

from myrepetl_dagster.after_failures import TAG, Asked, Failed, what_to_ask
from myrepetl_dagster.core.model.errors import ReplicationError

USERS = dg.AssetKey(["warehouse", "users"])
ORDERS = dg.AssetKey(["warehouse", "orders"])
BOTH = frozenset({USERS, ORDERS})
WITHOUT = {"replication": {"follow_s": 0}}
FOLLOW = "follow_shop"
CATCH_UP = "catch_up_shop"


@pytest.fixture
def quiet(pair: Pair) -> Pair:
    """A pipeline that no run follows."""
    pair.more = WITHOUT
    return pair


@pytest.fixture
def quiet_mysql(mysql_pair: Pair) -> Pair:
    mysql_pair.more = WITHOUT
    return mysql_pair


def look(defs: dg.Definitions, instance: dg.DagsterInstance) -> list[dg.RunRequest] | str:
    """One evaluation: what is asked for, or why nothing is."""
    sensor = next(iter(defs.sensors or ()))
    assert isinstance(sensor, dg.SensorDefinition)
    with dg.build_sensor_context(instance=instance, definitions=defs) as context:
        found = sensor(context)
    if isinstance(found, dg.SkipReason):
        return found.skip_message or ""
    assert isinstance(found, dg.SensorResult)
    return list(found.run_requests or ())


def tick(defs: dg.Definitions, instance: dg.DagsterInstance) -> dg.RunRequest | str:
    """The same where one run is asked for at most."""
    found = look(defs, instance)
    if isinstance(found, str):
        return found
    (request,) = found
    return request


def keys(asked: dg.RunRequest | str) -> list[str]:
    assert isinstance(asked, dg.RunRequest), asked
    assert not asked.asset_selection or asked.asset_check_keys == []  # None would be all checks of the tables
    return [key.path[-1] for key in asked.asset_selection or ()]


def obey(defs: dg.Definitions, asked: dg.RunRequest | str, instance: dg.DagsterInstance) -> bool:
    """Run what was asked for, as the daemon would."""
    assert isinstance(asked, dg.RunRequest), asked
    assert asked.job_name
    return run(defs, asked.job_name, instance, asset_selection=asked.asset_selection, tags=dict(asked.tags)).success


def test_it_asks_until_the_checkpoint_is_at_the_head(quiet: Pair, instance: dg.DagsterInstance) -> None:
    """A new pipeline and tables that changed are asked for; once caught up the reason for doing nothing is given."""
    defs = quiet.defs()
    first = tick(defs, instance)
    assert obey(defs, first, instance)
    nothing = tick(defs, instance)
    quiet.source.execute("INSERT INTO shop.users (name) VALUES ('Dea')")
    moved = tick(defs, instance)
    assert obey(defs, moved, instance)

    assert keys(first) == ["orders", "users"]
    assert isinstance(first, dg.RunRequest)
    assert first.tags[TAG] == "shop"
    assert first.run_key is None
    assert isinstance(nothing, str)
    assert re.match(r"caught up, at shop (binlog\.|[0-9a-f-]{36}:)", nothing)
    assert keys(moved) == ["users"]  # orders has nothing to do
    assert quiet.users() == ["Ann", "Bob", "Cem", "Dea"]
    assert isinstance(tick(defs, instance), str)


def test_a_new_log_file_is_caught_up_with(quiet: Pair, instance: dg.DagsterInstance) -> None:
    """A rotated log moves the head without a change of any table; it is not asked for for ever."""
    defs = quiet.defs()
    run(defs, "replicate", instance)
    quiet.source.execute("FLUSH BINARY LOGS")

    ticks = [tick(defs, instance)]
    while not isinstance(ticks[-1], str) and len(ticks) < 4:  # MariaDB notes something more a moment later
        assert obey(defs, ticks[-1], instance)
        ticks.append(tick(defs, instance))

    assert isinstance(ticks[-1], str)


def test_a_look_is_quick(quiet: Pair, instance: dg.DagsterInstance) -> None:
    """A tick is two connections and a few questions: its own work takes no time that matters."""
    defs = quiet.defs()
    run(defs, "replicate", instance)
    took = []
    for _ in range(5):
        started_s = time.process_time()  # how long the servers take depends on what else they do
        tick(defs, instance)
        took.append(time.process_time() - started_s)

    print(f"sensor tick: {sorted(took)[2] * 1000:.0f} ms of work")
    assert sorted(took)[2] < 0.3


@pytest.mark.parametrize("job", ["replicate", "snapshot"])
def test_one_at_a_time(quiet_mysql: Pair, instance: dg.DagsterInstance, job: str) -> None:
    """While a run works on one of the tables, or waits to, nothing is asked for, whoever has started it."""
    defs = quiet_mysql.defs()
    found = defs.resolve_job_def(job)
    active = instance.create_run_for_job(found, status=dg.DagsterRunStatus.STARTED)
    whole = tick(defs, instance)
    instance.delete_run(active.run_id)
    selected = found.get_subset(asset_selection={USERS})
    active = instance.create_run_for_job(
        selected, status=dg.DagsterRunStatus.STARTED, asset_selection=frozenset({USERS})
    )
    one_table = tick(defs, instance)
    instance.delete_run(active.run_id)

    assert "is under way" in str(whole)
    assert "is under way" in str(one_table)
    assert keys(tick(defs, instance)) == ["orders", "users"]


def test_runs_of_other_assets_do_not_count(quiet_mysql: Pair, instance: dg.DagsterInstance) -> None:
    """A source is asked for while something else is under way."""

    @dg.asset
    def other() -> None: ...

    job = dg.Definitions(assets=[other]).resolve_implicit_global_asset_job_def()
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)

    assert keys(tick(quiet_mysql.defs(), instance)) == ["orders", "users"]


def test_a_server_that_is_down_fails_the_tick(quiet_mysql: Pair, instance: dg.DagsterInstance) -> None:
    """A red tick that names the server, within the time that a sensor has, and without the password."""
    defs = quiet_mysql.defs()
    quiet_mysql.source.kill()
    started_s = time.monotonic()

    with pytest.raises(ReplicationError, match="source 'shop'") as caught:
        tick(defs, instance)

    assert time.monotonic() - started_s < 4
    assert PASSWORD not in str(caught.value)


def test_a_table_that_fails_holds_up_no_other(quiet: Pair, instance: dg.DagsterInstance) -> None:
    """After a failure the other tables are asked for alone, and the one that failed has to wait."""
    quiet.target.execute("DROP TABLE dw.orders", "CREATE TABLE dw.orders (id INT PRIMARY KEY, amount INT)")
    defs = quiet.defs()
    assert not obey(defs, tick(defs, instance), instance)
    nothing = tick(defs, instance)
    quiet.source.execute("INSERT INTO shop.users (name) VALUES ('Dea')")
    healthy = tick(defs, instance)
    assert obey(defs, healthy, instance)

    assert isinstance(nothing, str)
    assert "the last run failed, the next is in" in nothing
    assert keys(healthy) == ["users"]
    assert quiet.users() == ["Ann", "Bob", "Cem", "Dea"]


@pytest.mark.parametrize(
    ("due", "failed", "expected"),
    [
        ({USERS}, [], Asked(frozenset({USERS}))),
        (BOTH, [Failed(970, frozenset({USERS}))], Asked(BOTH)),
        (BOTH, [Failed(980, frozenset({USERS}))], Asked(frozenset({ORDERS}), 10)),
        ({USERS}, [Failed(980, frozenset({USERS})), Failed(900, frozenset({USERS}))], Asked(frozenset(), 40)),
        ({USERS}, [Failed(1000 - n, frozenset({USERS})) for n in range(9)], Asked(frozenset(), 600)),
        ({ORDERS}, [Failed(999, frozenset({USERS}))], Asked(frozenset({ORDERS}))),
        ({USERS}, [Failed(999, frozenset())], Asked(frozenset({USERS}))),
    ],
    ids=["no failure", "waited enough", "others first", "waits longer", "at most", "another's", "mended since"],
)
def test_what_is_asked_after_failures(due: set[dg.AssetKey], failed: list[Failed], expected: Asked) -> None:
    """30 s after the first failure, twice as long after each further one, 10 minutes at most."""
    assert what_to_ask(frozenset(due), failed, 1000) == expected


# ---- with a run that follows -----------------------------------------------------------------------------
def started(defs: dg.Definitions, job: str, instance: dg.DagsterInstance, seconds_ago: float = 0.0) -> str:
    """A run that seems to be under way since then."""
    one = instance.create_run_for_job(defs.resolve_job_def(job), status=dg.DagsterRunStatus.STARTING)
    _start(instance, one, time.time() - seconds_ago)
    return one.run_id


def _start(instance: dg.DagsterInstance, one: dg.DagsterRun, unix_s: float) -> None:
    """Dagster notes a run's start by the time of an event."""
    from dagster._core.events import DagsterEvent, DagsterEventType
    from dagster._core.events.log import EventLogEntry

    event = DagsterEvent(event_type_value=DagsterEventType.RUN_START.value, job_name=one.job_name)
    instance.handle_new_event(EventLogEntry(None, 20, "", one.run_id, unix_s, None, one.job_name, event))  # type: ignore[no-untyped-call]


def names(asked: list[dg.RunRequest] | str) -> list[str]:
    assert isinstance(asked, list), asked
    return sorted(one.job_name or "" for one in asked)


def test_it_copies_first_and_then_follows(pair: Pair, instance: dg.DagsterInstance) -> None:
    """New tables get a run of their own; what is copied is followed; while a run follows, nothing more is asked for."""
    defs = pair.defs()
    first = tick(defs, instance)
    assert keys(first) == ["orders", "users"]
    assert isinstance(first, dg.RunRequest)
    assert first.job_name == CATCH_UP
    assert obey(defs, first, instance)
    assert names(look(defs, instance)) == [FOLLOW]
    follower = started(defs, FOLLOW, instance)
    said = look(defs, instance)

    assert isinstance(said, str)
    assert said.startswith(f"run {follower.partition('-')[0]} follows 2 of 2 tables")


def test_it_replaces_the_run_that_follows(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """When the run's time is over, one successor is asked for; not another one while that is there or on its way."""
    mysql_pair.more = {"replication": {"follow_s": 100}}
    defs = mysql_pair.defs()
    run(defs, "replicate", instance)
    started(defs, FOLLOW, instance, seconds_ago=99)
    young = look(defs, instance)
    started(defs, FOLLOW, instance, seconds_ago=101)
    old = look(defs, instance)
    started(defs, FOLLOW, instance)
    replaced = look(defs, instance)

    assert isinstance(young, str)
    assert names(old) == [FOLLOW]
    assert isinstance(replaced, str)


def test_it_replaces_a_run_of_an_older_pipeline_file(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """Once the code location is reloaded with an edited file, the run that follows with the older one is replaced."""
    defs = mysql_pair.defs()
    run(defs, "replicate", instance)
    (asked,) = [one for one in look(defs, instance) if isinstance(one, dg.RunRequest)]
    follower = started(defs, FOLLOW, instance)
    instance.add_run_tags(follower, dict(asked.tags))
    same = look(defs, instance)
    mysql_pair.mapping["shop.orders"]["filter"] = {"status": "open"}
    edited = look(mysql_pair.defs(), instance)

    assert isinstance(same, str)
    assert FOLLOW in names(edited)


def test_a_table_that_fails_gets_runs_of_its_own(pair: Pair, instance: dg.DagsterInstance) -> None:
    """It is tried again, later and later, with its reason in the tick; the run that follows goes on without it."""
    pair.target.execute("DROP TABLE dw.orders", "CREATE TABLE dw.orders (id INT PRIMARY KEY, amount INT)")
    defs = pair.defs()
    assert not obey(defs, tick(defs, instance), instance)
    assert names(look(defs, instance)) == [FOLLOW]
    started(defs, FOLLOW, instance)
    said = look(defs, instance)

    assert isinstance(said, str)
    assert "follows 1 of 2 tables" in said
    assert "shop.orders: not copied yet (the last run failed, the next is in" in said


def test_tables_that_many_steps_copy_are_left_to_them(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """Between the steps of `snapshot_parallel` nobody holds a turn; the sensor asks for no run that would take over."""
    defs = mysql_pair.defs()
    job = defs.resolve_job_def("snapshot_parallel")
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, run_config={"mappings": ["shop.users"]})
    assert keys(tick(defs, instance)) == ["orders"]


def test_a_run_that_follows_and_fails_is_started_again(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """At once after it went well for minutes, and after a wait that grows if it got nowhere."""
    defs = mysql_pair.defs()
    run(defs, "replicate", instance)
    long = started(defs, FOLLOW, instance, seconds_ago=1000)
    failed(instance, long)
    after_long = look(defs, instance)
    for _ in range(3):
        failed(instance, started(defs, FOLLOW, instance, seconds_ago=1))
    after_short = look(defs, instance)

    assert names(after_long) == [FOLLOW]
    assert isinstance(after_short, str)
    assert "the run that followed has failed, the next is in" in after_short


def failed(instance: dg.DagsterInstance, run_id: str) -> None:
    one = instance.get_run_by_id(run_id)
    assert one is not None
    instance.report_run_failed(one)


def test_a_target_that_is_down_stops_no_sensor(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """While a run follows, the tick says what is wrong; without one a run is asked for, which fails with the reason."""
    defs = mysql_pair.defs()
    run(defs, "replicate", instance)
    mysql_pair.target.kill()
    without = look(defs, instance)
    started(defs, FOLLOW, instance)
    said = look(defs, instance)

    assert names(without) == [FOLLOW]
    assert isinstance(said, str)
    assert "is under way; target 'warehouse'" in said
    assert PASSWORD not in said
