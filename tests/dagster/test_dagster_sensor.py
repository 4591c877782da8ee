"""When a sensor asks for a catch-up."""

from __future__ import annotations

import re
import time

import dagster as dg
import pytest
from dagster_support import PASSWORD, Pair, run

from myrepetl_dagster.core.model.errors import ReplicationError
from myrepetl_dagster.sensors import TAG, Asked, Failed, what_to_ask

USERS = dg.AssetKey(["warehouse", "users"])
ORDERS = dg.AssetKey(["warehouse", "orders"])
BOTH = frozenset({USERS, ORDERS})


def tick(defs: dg.Definitions, instance: dg.DagsterInstance) -> dg.RunRequest | str:
    """One evaluation: what is asked for, or why nothing is."""
    sensor = next(iter(defs.sensors or ()))
    assert isinstance(sensor, dg.SensorDefinition)
    with dg.build_sensor_context(instance=instance, definitions=defs) as context:
        found = sensor(context)
    if isinstance(found, dg.SkipReason):
        return found.skip_message or ""
    assert isinstance(found, dg.RunRequest)
    return found


def keys(asked: dg.RunRequest | str) -> list[str]:
    assert isinstance(asked, dg.RunRequest), asked
    return [key.path[-1] for key in asked.asset_selection or ()]


def obey(defs: dg.Definitions, asked: dg.RunRequest | str, instance: dg.DagsterInstance) -> bool:
    """Run what was asked for, as the daemon would."""
    assert isinstance(asked, dg.RunRequest), asked
    return run(defs, "replicate", instance, asset_selection=asked.asset_selection, tags=dict(asked.tags)).success


def test_it_asks_until_the_checkpoint_is_at_the_head(pair: Pair, instance: dg.DagsterInstance) -> None:
    """A new pipeline and tables that changed are asked for; once caught up the reason for doing nothing is given."""
    defs = pair.defs()
    first = tick(defs, instance)
    assert obey(defs, first, instance)
    quiet = tick(defs, instance)
    pair.source.execute("INSERT INTO shop.users (name) VALUES ('Dea')")
    moved = tick(defs, instance)
    assert obey(defs, moved, instance)

    assert keys(first) == ["orders", "users"]
    assert isinstance(first, dg.RunRequest)
    assert first.tags[TAG] == "shop"
    assert first.run_key is None
    assert isinstance(quiet, str)
    assert re.match(r"caught up, at shop (binlog\.|[0-9a-f-]{36}:)", quiet)
    assert keys(moved) == ["users"]  # orders has nothing to do
    assert pair.users() == ["Ann", "Bob", "Cem", "Dea"]
    assert isinstance(tick(defs, instance), str)


def test_a_new_log_file_is_caught_up_with(pair: Pair, instance: dg.DagsterInstance) -> None:
    """A rotated log moves the head without a change of any table; it is not asked for for ever."""
    defs = pair.defs()
    run(defs, "replicate", instance)
    pair.source.execute("FLUSH BINARY LOGS")

    ticks = [tick(defs, instance)]
    while not isinstance(ticks[-1], str) and len(ticks) < 4:  # MariaDB notes something more a moment later
        assert obey(defs, ticks[-1], instance)
        ticks.append(tick(defs, instance))

    assert isinstance(ticks[-1], str)


def test_a_look_is_quick(pair: Pair, instance: dg.DagsterInstance) -> None:
    """A tick is two connections and a few questions: its own work takes no time that matters."""
    defs = pair.defs()
    run(defs, "replicate", instance)
    took = []
    for _ in range(5):
        started_s = time.process_time()  # how long the servers take depends on what else they do
        tick(defs, instance)
        took.append(time.process_time() - started_s)

    print(f"sensor tick: {sorted(took)[2] * 1000:.0f} ms of work")
    assert sorted(took)[2] < 0.3


@pytest.mark.parametrize("job", ["replicate", "snapshot"])
def test_one_at_a_time(mysql_pair: Pair, instance: dg.DagsterInstance, job: str) -> None:
    """While a run works on one of the tables, or waits to, nothing is asked for, whoever has started it."""
    defs = mysql_pair.defs()
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


def test_runs_of_other_assets_do_not_count(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """A source is asked for while something else is under way."""

    @dg.asset
    def other() -> None: ...

    job = dg.Definitions(assets=[other]).resolve_implicit_global_asset_job_def()
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)

    assert keys(tick(mysql_pair.defs(), instance)) == ["orders", "users"]


def test_a_server_that_is_down_fails_the_tick(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """A red tick that names the server, within the time that a sensor has, and without the password."""
    defs = mysql_pair.defs()
    mysql_pair.source.kill()
    started_s = time.monotonic()

    with pytest.raises(ReplicationError, match="source 'shop'") as caught:
        tick(defs, instance)

    assert time.monotonic() - started_s < 4
    assert PASSWORD not in str(caught.value)


def test_a_table_that_fails_holds_up_no_other(pair: Pair, instance: dg.DagsterInstance) -> None:
    """After a failure the other tables are asked for alone, and the one that failed has to wait."""
    pair.target.execute("DROP TABLE dw.orders", "CREATE TABLE dw.orders (id INT PRIMARY KEY, amount INT)")
    defs = pair.defs()
    assert not obey(defs, tick(defs, instance), instance)
    nothing = tick(defs, instance)
    pair.source.execute("INSERT INTO shop.users (name) VALUES ('Dea')")
    healthy = tick(defs, instance)
    assert obey(defs, healthy, instance)

    assert isinstance(nothing, str)
    assert "the last run failed, the next is in" in nothing
    assert keys(healthy) == ["users"]
    assert pair.users() == ["Ann", "Bob", "Cem", "Dea"]


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
