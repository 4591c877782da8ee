"""What automation conditions of downstream assets make of a run that follows: the events are logged by an op."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster_support import log_events

from myrepetl_dagster import eager_on_changes, on_cron_in_step

# Dagster's own way to evaluate conditions in a test warns of a parameter that it uses itself.
pytestmark = pytest.mark.filterwarnings("ignore:Parameter .include_sources.")

BUSY, QUIET = (dg.AssetKey(["warehouse", name]) for name in ("busy", "quiet"))
NOW = datetime.now(UTC)
TICK = NOW.replace(second=0, microsecond=0)
CRON = f"{NOW.minute} {NOW.hour} * * *"  # has ticked in this minute


@dg.multi_asset(specs=[dg.AssetSpec(BUSY), dg.AssetSpec(QUIET)], can_subset=True)
def replicate(context) -> Iterator[dg.MaterializeResult[None]]:  # type: ignore[no-untyped-def]
    for key in context.selected_asset_keys:
        yield dg.MaterializeResult(asset_key=key)


@dg.multi_asset_check(specs=[dg.AssetCheckSpec("lag", asset=key) for key in (BUSY, QUIET)], can_subset=True)
def check() -> Iterator[dg.AssetCheckResult]:
    yield from ()


def downstream(name: str, condition: Any) -> dg.AssetsDefinition:
    @dg.asset(name=name, deps=[BUSY, QUIET], automation_condition=condition)
    def made() -> None: ...

    return made


CONDITIONS = {
    "eager": dg.AutomationCondition.eager(),
    "eager_on_changes": eager_on_changes(),
    "on_cron": dg.AutomationCondition.on_cron(CRON),
    "on_cron_in_step": on_cron_in_step(CRON),
}
DEFS = dg.Definitions(
    assets=[replicate, *(downstream(name, condition) for name, condition in CONDITIONS.items())], asset_checks=[check]
)


@dataclass
class Daemon:
    """Evaluates the conditions as Dagster's daemon does, at times that are told."""

    instance: dg.DagsterInstance
    cursor: Any = None
    before_s: int = 40

    def fires(self, *, ticked: bool = False) -> set[str]:
        """The assets that are asked for. Before `ticked` it is the minute before the cron tick."""
        self.before_s -= 1
        at = datetime.now(UTC) if ticked else TICK - timedelta(seconds=self.before_s)
        result = dg.evaluate_automation_conditions(DEFS, self.instance, evaluation_time=at, cursor=self.cursor)
        self.cursor = result.cursor
        return {name for name in CONDITIONS if result.get_num_requested(dg.AssetKey(name))}

    def made(self, key: dg.AssetKey, version: str) -> None:
        log_events(self.instance, [dg.AssetMaterialization(key, tags={"dagster/data_version": version})])

    def checked(self, key: dg.AssetKey, passed: bool) -> None:
        one = dg.AssetCheckEvaluation(asset_key=key, check_name="lag", passed=passed)
        self.instance.report_runless_asset_event(one)


@pytest.fixture
def daemon(instance: dg.DagsterInstance) -> Daemon:
    """One in whose instance everything has been made, and nothing is asked for."""
    found = Daemon(instance)
    found.made(BUSY, "1")
    found.made(QUIET, "1")
    job = DEFS.resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey(name) for name in CONDITIONS]).success
    for _ in range(2):
        found.fires()
    return found


def test_eager_hears_of_a_table_in_the_middle_of_a_run(daemon: Daemon) -> None:
    """A materialization that an op logs is enough; an observation of a target table is not."""
    log_events(daemon.instance, [dg.AssetObservation(BUSY, tags={"dagster/data_version": "2"})])
    observed = daemon.fires()
    daemon.made(BUSY, "2")

    assert observed == set()
    assert daemon.fires() == {"eager", "eager_on_changes"}
    assert daemon.fires() == set()


def test_eager_on_changes_lets_a_quiet_table_pass(daemon: Daemon) -> None:
    """`eager` asks for a run although the table is the same; `eager_on_changes` goes by the version."""
    daemon.made(QUIET, "1")

    assert daemon.fires() == {"eager"}


def test_a_change_while_the_asset_is_made_asks_for_another_run(daemon: Daemon) -> None:
    """`eager` takes it for handled if it sees the change and the asset's own materialization at once. The next look of
    `eager_on_changes` asks for one more run, and then for no more.
    """
    daemon.made(BUSY, "2")
    first = daemon.fires()
    log_events(daemon.instance, [dg.AssetMaterialization(name) for name in ("eager", "eager_on_changes")])
    daemon.made(BUSY, "3")
    second = daemon.fires()
    log_events(daemon.instance, [dg.AssetMaterialization("eager_on_changes")])

    assert first == {"eager", "eager_on_changes"}
    assert second == {"eager_on_changes"}
    assert daemon.fires() == set()


def test_on_cron_waits_for_every_table(daemon: Daemon) -> None:
    """So a quiet one holds it up until it is materialized. `on_cron_in_step` comes no later than that, and not before
    the table's check has passed.
    """
    ticked = daemon.fires(ticked=True)
    daemon.made(BUSY, "2")
    busy = daemon.fires(ticked=True) - {"eager", "eager_on_changes"}
    daemon.checked(QUIET, passed=False)
    behind = daemon.fires(ticked=True)
    daemon.checked(QUIET, passed=True)
    # In some runs Dagster takes the passed check for news at once, in others only with the next materialization.
    in_step = daemon.fires(ticked=True)
    daemon.made(QUIET, "1")
    made = daemon.fires(ticked=True) - {"eager"}

    assert (ticked, busy, behind) == (set(), set(), set())
    assert in_step <= {"on_cron_in_step"}
    assert in_step | made == {"on_cron", "on_cron_in_step"}
