"""What a run that follows tells Dagster, by what it hears; no server is running here."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import dagster as dg
import pytest
from dagster_support import pipeline_of

from myrepetl_dagster import Checks, watch
from myrepetl_dagster.checks import LAG, SCHEMA
from myrepetl_dagster.core.model.checkpoint import Phase
from myrepetl_dagster.core.model.errors import ReplicationError, RowRejected, SchemaDrift, SourceLost
from myrepetl_dagster.core.replication.result import Counts, Progress, Retry, Stage
from myrepetl_dagster.specs import PipelineSpecs
from myrepetl_dagster.translator import ReplicationTranslator
from myrepetl_dagster.watch import Watch

MAPPING = {
    "us.users": {"target_table": "warehouse.users"},
    "us.orders": {"target_table": "warehouse.orders"},
}
USERS, ORDERS = (dg.AssetKey(["warehouse", name]) for name in ("users", "orders"))


@dataclass
class Followed:
    """A `Follower` that follows both tables, unless a test says otherwise."""

    following: set[str] = field(default_factory=lambda: set(MAPPING))
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, ReplicationError] = field(default_factory=dict)
    stopped: dict[str, str] = field(default_factory=dict)


@dataclass
class Op:
    """An op's context that keeps what is logged."""

    instance: dg.DagsterInstance
    logged: list[Any] = field(default_factory=list)

    @property
    def run(self) -> dg.DagsterRun:
        return dg.DagsterRun("follow_us")

    def log_event(self, event: Any) -> None:
        if isinstance(event, dg.AssetCheckEvaluation):
            self.instance.report_runless_asset_event(event)
        else:
            self.logged.append(event)


@dataclass
class World:
    op: Op
    watch: Watch
    followed: Followed = field(default_factory=Followed)

    def hear(self, mapping: str, applied: int, lag_s: float = 0.1) -> None:
        self.watch.heard(
            Progress(
                mapping,
                Phase.REPLICATING,
                Stage.FOLLOWING,
                "binlog.000001:4",
                Counts(),
                1.0,
                lag_s=lag_s,
                applied_total=applied,
            )
        )

    def look(self) -> None:
        self.watch._evaluated_s = 0.0  # the interval has passed
        self.watch.look(self.followed)

    def said(self, key: dg.AssetKey, check: str = LAG) -> dg.AssetCheckEvaluation | None:
        record = self.op.instance.get_latest_asset_check_evaluation_record(dg.AssetCheckKey(key, check))
        return record.evaluation if record else None

    def green(self) -> bool:
        """Whether no table is behind."""
        return all(cast(Any, self.said(key)).passed for key in (USERS, ORDERS))

    def texts(self) -> list[str | None]:
        return [one.description if (one := self.said(key)) else None for key in (USERS, ORDERS)]


def world_of(instance: dg.DagsterInstance, **sections: Any) -> World:
    tables = PipelineSpecs(pipeline_of(MAPPING, **sections), ReplicationTranslator()).by_key
    op, pipeline = Op(instance), pipeline_of(MAPPING, **sections)
    context = cast(dg.OpExecutionContext, op)
    return World(op, Watch(context, pipeline, tables, Checks(), {"us.users": 1, "us.orders": 1}, 0.0))


@pytest.fixture
def world(instance: dg.DagsterInstance) -> World:
    found = world_of(instance)
    found.hear("us.users", 1)
    found.hear("us.orders", 1)
    found.look()
    found.op.logged.clear()
    return found


def retry(wait_s: float) -> Retry:
    return Retry("us", SourceLost("source 'us' (h:3306): connection refused"), 2, wait_s, 900.0)


def names(events: Sequence[Any]) -> list[str]:
    return [f"{type(event).__name__} {event.asset_key.to_user_string()}" for event in events]


def test_changes_are_logged_and_checks_pass(world: World) -> None:
    """A table that changed is materialized at the next look, and both checks of both tables are evaluated."""
    world.hear("us.users", 2)
    world.look()

    assert names(world.op.logged) == ["AssetObservation us/users", "AssetMaterialization warehouse/users"]
    assert world.green()
    assert world.said(USERS, SCHEMA) is not None
    assert cast(Any, world.said(USERS, SCHEMA)).passed


def test_an_outage_is_told_after_a_while_and_its_end_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is restarted makes nothing red. The first commit after an outage makes it green."""
    world.watch.retry(retry(0.5))
    world.look()
    soon = world.green()
    monkeypatch.setattr(watch, "OUTAGE_S", 0.0)
    world.watch.retry(retry(14.0))
    world.look()
    down = world.texts()
    world.hear("us.orders", 1)
    world.look()

    assert soon
    assert down == ["source 'us' (h:3306): connection refused The next attempt is in 14 s."] * 2
    assert cast(Any, world.said(ORDERS)).passed


def test_lag_grows_while_nothing_is_heard(world: World) -> None:
    """By the clock of the run: a target that takes no more is seen without any report."""
    world.watch._heard = {name: (one, at_s - 61.0) for name, (one, at_s) in world.watch._heard.items()}
    world.look()

    assert world.texts() == ["61 s behind its source, more than 60 s."] * 2


def test_a_mapping_that_failed_is_an_error_and_one_that_waits_a_warning(world: World) -> None:
    """One that failed in this run, one that an earlier run has stopped, one that another run works on."""

    def severity(**fields: Any) -> tuple[str, bool]:
        world.followed = Followed(following={"us.orders"}, **fields)
        world.look()
        found = cast(Any, world.said(USERS))
        return found.severity.value, found.passed

    gone = {"us.users": "another run works on it"}
    world.watch._heard.pop("us.users")
    assert severity(left_out=gone) == ("WARN", False)
    assert severity(left_out=gone, stopped={"us.users": "a row was refused"}) == ("ERROR", False)
    assert severity(left_out=gone, failed={"us.users": RowRejected("a row was refused")}) == ("ERROR", False)
    assert cast(Any, world.said(USERS)).description == "Stays where it is: a row was refused"
    assert cast(Any, world.said(USERS, SCHEMA)).passed  # as it was
    assert severity(left_out=gone, failed={"us.users": SchemaDrift("no column note")}) == ("ERROR", False)
    assert not cast(Any, world.said(USERS, SCHEMA)).passed
    assert cast(Any, world.said(ORDERS)).passed


def test_a_table_that_another_run_has_for_a_moment_stays_green(world: World) -> None:
    """While it is not behind by more than the bound."""
    world.followed = Followed(following={"us.orders"}, left_out={"us.users": "another run works on it"})
    world.look()

    assert world.green()


def test_nothing_is_stored_each_second(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two intervals the checks are evaluated only if something has happened."""
    asked: list[Any] = []
    monkeypatch.setattr(watch, "report", lambda *found: asked.append(found))
    for _ in range(3):
        world.watch.look(world.followed)
    world.followed.failed = {"us.users": RowRejected("a row was refused")}
    world.watch.look(world.followed)

    assert len(asked) == 1


def test_without_monitoring_only_changes_are_told(instance: dg.DagsterInstance) -> None:
    """`monitoring.enabled: false` leaves out the checks; conditions downstream hear of rows all the same."""
    world = world_of(instance, monitoring={"enabled": False})
    world.hear("us.users", 2)
    world.look()

    assert "AssetMaterialization warehouse/users" in names(world.op.logged)
    assert world.said(USERS) is None


def test_the_end_tells_the_last_changes(instance: dg.DagsterInstance) -> None:
    """Also within the interval, so that a run that is ended loses none."""
    world = world_of(instance)
    world.watch._events._interval_s = 3600.0
    world.hear("us.users", 2)
    world.look()
    world.hear("us.users", 3)
    world.look()
    before = names(world.op.logged)
    world.watch.end(world.followed)

    assert before.count("AssetMaterialization warehouse/users") == 1
    assert names(world.op.logged).count("AssetMaterialization warehouse/users") == 2
