"""What Dagster's daemon and its UI know while a run follows: conditions fire, checks turn red and green, tables are fresh."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import server_farm
from dagster_support import PASSWORD, Pair, environment, write_with_variable
from dagster_ui import Ui, dagster_dev, free_port, wait_for

from myrepetl_dagster.checks import LAG
from myrepetl_dagster.observations import latest_version

pytestmark = pytest.mark.long

USERS, ORDERS = (dg.AssetKey(["warehouse", name]) for name in ("users", "orders"))
LOCATION = Path(__file__).parents[1] / "support" / "watched_location.py"


@pytest.fixture(scope="module")
def ui(servers: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """`dagster dev` with a run that follows, until the module's tests are through. The source is the module's own."""
    directory = tmp_path_factory.mktemp("watch")
    source = server_farm.private("mysql", directory / "source")
    source.start()
    pair = Pair(source, servers.get("target", "mysql"), directory)
    pair.prepare()
    pair.limits = {"connect_timeout_s": 3}
    pair.more = {"replication": {"follow_s": 900}, "monitoring": {"interval": 2}}
    found = Ui(pair, free_port(), directory / "home", directory / "dev.log", "watched")
    env = environment(found.home, write_with_variable(directory, pair.data))
    workspace = f"load_from:\n- python_file:\n    relative_path: {LOCATION}\n    location_name: watched\n"
    (directory / "workspace.yaml").write_text(workspace)
    try:
        with dagster_dev(found, directory, env):
            found.switch("catch_up_shop", True)
            wait_for(lambda: found.follows() and found.active("follow_shop"), 120, found.log)
            with dg.DagsterInstance.from_config(str(found.home)) as instance:  # once: it is to grow old
                instance.report_runless_asset_event(dg.AssetMaterialization("only_observed"))
            yield found
    finally:
        source.stop()


@pytest.fixture
def instance(ui: Ui) -> Iterator[dg.DagsterInstance]:
    """The daemon's own storage."""
    with dg.DagsterInstance.from_config(str(ui.home)) as found:
        yield found


def made(instance: dg.DagsterInstance, name: str) -> float:
    """When an asset was materialized last, in seconds; 0: never."""
    event = instance.get_latest_materialization_event(dg.AssetKey(name.split("/")))
    return event.timestamp if event else 0.0


def lag(instance: dg.DagsterInstance, key: dg.AssetKey) -> dg.AssetCheckEvaluation | None:
    record = instance.get_latest_asset_check_evaluation_record(dg.AssetCheckKey(key, LAG))
    return record.evaluation if record else None


def passes(instance: dg.DagsterInstance) -> list[bool | None]:
    found = [lag(instance, key) for key in (USERS, ORDERS)]
    return [one.passed if one else None for one in found]


def nodes(ui: Ui, fields: str) -> dict[str, Any]:
    """What the UI shows of each asset."""
    query = "{ assetNodes { assetKey { path } " + fields + " } }"
    return {"/".join(one["assetKey"]["path"]): one for one in ui.ask(query)["assetNodes"]}


def test_conditions_fire_while_a_run_follows(ui: Ui, instance: dg.DagsterInstance) -> None:
    """Those of assets downstream: `eager_on_changes` after a row of one table, `on_cron_in_step` with the other table quiet,
    `eager` and `on_cron` as both change. All of it in one run that follows. The source table has a new version.
    """
    runs = ui.active("follow_shop")
    before = latest_version(instance, dg.AssetKey(["shop", "users"]))
    began_s = time.time()
    ui.pair.source.execute("INSERT INTO shop.users (name) VALUES ('Dea')")

    took_s = wait_for(lambda: made(instance, "eager_on_changes") > began_s, 240, ui.log)
    wait_for(lambda: made(instance, "on_cron_in_step") > began_s, 180, ui.log)
    changed_s = time.time()

    def both_change() -> bool:
        ui.pair.source.execute(
            "INSERT INTO shop.users (name) VALUES ('Eli')", "UPDATE shop.orders SET total = total + 1 WHERE id = 1"
        )
        time.sleep(5)
        return made(instance, "on_cron") > changed_s and made(instance, "eager") > changed_s

    wait_for(both_change, 240, ui.log)
    print(f"an eager asset was made {took_s:.1f} s after the row")
    assert ui.active("follow_shop") == runs
    assert latest_version(instance, dg.AssetKey(["shop", "users"])) not in (None, before)
    wait_for(lambda: passes(instance) == [True, True], 30, ui.log)


def test_tables_are_not_shown_as_outdated(ui: Ui, instance: dg.DagsterInstance) -> None:
    """Neither the tables that the run materializes nor their source tables, nor in the end what is made of them."""
    made_s = time.time()
    ui.pair.source.execute("INSERT INTO shop.users (name) VALUES ('Fay')")
    wait_for(lambda: made(instance, "warehouse/users") > made_s, 30, ui.log)

    def outdated() -> dict[str, Any]:
        found = nodes(ui, "staleStatus staleCauses { reason }")
        names = ("warehouse/users", "warehouse/orders", "shop/users", "shop/orders", "eager_on_changes")
        return {name: found[name] for name in names if found[name]["staleStatus"] != "FRESH"}

    wait_for(lambda: outdated().keys() <= {"eager_on_changes"}, 10, ui.log)  # an observation comes just before
    wait_for(lambda: not outdated(), 240, ui.log)


def test_an_outage_is_red_within_half_a_minute_and_green_after_it(ui: Ui, instance: dg.DagsterInstance) -> None:
    """The checks of all tables of the source fail, with the reason and the next attempt, and pass again by themselves; the
    run is the same one.
    """
    wait_for(lambda: passes(instance) == [True, True], 60, ui.log)
    runs = ui.active("follow_shop")
    ui.pair.source.kill()
    try:
        red_s = wait_for(lambda: passes(instance) == [False, False], 30, ui.log)
        down = lag(instance, USERS)
    finally:
        ui.pair.source.start()
    green_s = wait_for(lambda: passes(instance) == [True, True], 90, ui.log)

    print(f"red after {red_s:.1f} s, green {green_s:.1f} s after the source was back")
    assert down is not None
    assert "source 'shop'" in (down.description or "")
    assert "The next attempt is in" in (down.description or "")
    assert PASSWORD not in str(down)
    assert ui.active("follow_shop") == runs


def test_a_quiet_table_stays_fresh(ui: Ui, instance: dg.DagsterInstance) -> None:
    """Beyond the window of its freshness policy, while an asset that is only observed does not."""

    def state(name: str) -> str | None:
        found = nodes(ui, "freshnessStatusInfo { freshnessStatus }")[name]["freshnessStatusInfo"]
        return found["freshnessStatus"] if found else None

    def observed_fails() -> bool:
        instance.report_runless_asset_event(dg.AssetObservation("only_observed"))
        time.sleep(2)
        return state("only_observed") == "DEGRADED"

    wait_for(observed_fails, 180, ui.log)
    assert time.time() - made(instance, "only_observed") > 60
    assert state("warehouse/orders") == "HEALTHY"
