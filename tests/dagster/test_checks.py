"""What the asset checks say of tables, from how their mappings are; no server is running here."""

import time
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest
from dagster_support import PASSWORD, offline, pipeline_of

from myrepetl_dagster import Checks, build_replication_defs
from myrepetl_dagster.checks import LAG, SCHEMA, evaluations, outage_evaluations, report
from myrepetl_dagster.core.model.checkpoint import Phase
from myrepetl_dagster.core.model.errors import (
    ConfigError,
    PositionLost,
    PrerequisiteError,
    ReplicationError,
    RowRejected,
    SchemaDrift,
)
from myrepetl_dagster.core.replication.result import MappingResult
from myrepetl_dagster.health import Health, Tables, health_of_result
from myrepetl_dagster.specs import PipelineSpecs
from myrepetl_dagster.translator import ReplicationTranslator

USERS = dg.AssetKey(["warehouse", "users"])
ORDERS = dg.AssetKey(["warehouse", "orders"])
MAPPING = {
    "eu.users": {"target_table": "warehouse.users", "primary_key": ["region", "id"], "column_mapping": {
        "id": "id", "region": {"value": "eu"}}},
    "us.users": {"target_table": "warehouse.users", "primary_key": ["region", "id"], "column_mapping": {
        "id": "id", "region": {"value": "us"}}},
    "us.orders": {"target_table": "warehouse.orders"},
}  # fmt: skip


@pytest.fixture
def tables() -> Tables:
    return PipelineSpecs(pipeline_of(MAPPING), ReplicationTranslator()).by_key


def good(mapping: str, lag_s: float = 0.5) -> Health:
    return Health(mapping, "replicating", lag_s, "binlog.000001:4", schema="")


def told(
    tables: Tables, *health: Health, checks: Checks | None = None
) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    found = evaluations(tables, {one.mapping: one for one in health}, checks or Checks())
    return {(one.asset_key.path[-1], one.check_name): one for one in found}


def number(evaluation: dg.AssetCheckEvaluation, name: str) -> Any:
    return evaluation.metadata[name].value


def test_a_table_in_step_passes_with_its_numbers(tables: Tables) -> None:
    """Both checks pass; the lag and its bound are numbers, so that Dagster plots them."""
    found = told(tables, good("us.orders"))

    assert set(found) == {("orders", LAG), ("orders", SCHEMA)}
    assert all(one.passed for one in found.values())
    lag = found["orders", LAG]
    assert (number(lag, "lag_s"), number(lag, "lag_s_max")) == (0.5, 60.0)
    assert number(lag, "position") == "binlog.000001:4"
    assert lag.description == "At most 0.5 s behind its source."


def test_the_worst_of_several_mappings_counts(tables: Tables) -> None:
    """Of two mappings into one table the later one decides, and is named."""
    lag = told(tables, good("eu.users", 1), good("us.users", 61.4))["users", LAG]

    assert not lag.passed
    assert lag.severity is dg.AssetCheckSeverity.ERROR
    assert number(lag, "lag_s") == 61.4
    assert lag.description == "us.users: 61 s behind its source, more than 60 s."


@pytest.mark.parametrize(
    ("health", "said", "severity"),
    [
        (Health("us.orders"), "Not copied yet.", "WARN"),
        (Health("us.orders", "copying", 900.0), "Is being copied (copying).", "WARN"),
        (Health("us.orders", "settling", 900.0), "Is being copied (settling).", "WARN"),
        (Health("us.orders", "replicating", None), "How far it is behind is not known.", "WARN"),
        (Health("us.orders", "replicating", 61.0, waits="another run works on it"), "another run works", "WARN"),
        (Health("us.orders", waits="half copied"), "Is not followed: half copied.", "WARN"),
        (Health("us.orders", "replicating", 1.0, error="no column note"), "Stays where it is: no column note", "ERROR"),
        (Health("us.orders", "copying", 1.0, error="no column note"), "Stays where it is: no column note", "ERROR"),
    ],
)
def test_a_table_that_is_not_in_step_fails_and_says_why(
    tables: Tables, health: Health, said: str, severity: str
) -> None:
    """A copy is a warning, since nothing is wrong; a mapping that stays where it is an error."""
    lag = told(tables, health)["orders", LAG]

    assert not lag.passed
    assert said in (lag.description or "")
    assert lag.severity.value == severity


def test_parameters_move_the_bound_and_leave_checks_out(tables: Tables) -> None:
    """`lag_s_max` is the bound; each check can be left out; a bound that cannot be is refused at once."""
    late = good("us.orders", 100)

    assert told(tables, late, checks=Checks(lag_s_max=100))["orders", LAG].passed
    assert not told(tables, late, checks=Checks(lag_s_max=99))["orders", LAG].passed
    assert set(told(tables, late, checks=Checks(lag_s_max=None))) == {("orders", SCHEMA)}
    assert set(told(tables, late, checks=Checks(schema_in_step=False))) == {("orders", LAG)}
    with pytest.raises(ConfigError, match=r"checks\.lag_s_max: 0 is not above 0"):
        Checks(lag_s_max=0)
    with pytest.raises(ConfigError, match=r"checks\.fresh_within: 5 s is less than a minute"):
        Checks(fresh_within=timedelta(seconds=5))


def test_nobody_has_looked_at_the_schema(tables: Tables) -> None:
    """Then nothing is said of it, neither good nor bad."""
    assert set(told(tables, Health("us.orders", "replicating", 1.0))) == {("orders", LAG)}


@pytest.mark.parametrize(
    ("error", "fails"),
    [
        (SchemaDrift("dw.orders has no column note"), True),
        (PrerequisiteError("dw.orders has no key"), True),
        (RowRejected("a row was refused"), False),
        (PositionLost("the log is gone"), False),
    ],
)
def test_a_runs_result_is_how_a_mapping_is(tables: Tables, error: ReplicationError, fails: bool) -> None:
    """An error of the tables fails `schema_in_step`; any other error only `lag`. The lag grows while nothing comes."""
    result = MappingResult(
        mapping="us.orders", phase=Phase.REPLICATING, position="binlog.000001:4", lag_s=1.0, error=error
    )

    found = told(tables, health_of_result(result))
    result.error = None
    later = health_of_result(result, since_s=70.0)

    assert not found["orders", LAG].passed
    assert error.message in (found["orders", LAG].description or "")
    assert (("orders", SCHEMA) in found) == fails
    assert later.lag_s == 71.0
    assert not told(tables, later)["orders", LAG].passed


def test_an_outage_says_the_reason_and_when_the_next_attempt_is(tables: Tables) -> None:
    """All tables of the source fail with it."""
    found = outage_evaluations(tables, "source 'us' (h:3306): connection refused [2003]", 12.4, Checks())

    assert [one.asset_key for one in found] == [USERS, ORDERS]
    assert not any(one.passed for one in found)
    text = "source 'us' (h:3306): connection refused [2003] The next attempt is in 12 s."
    assert {one.description for one in found} == {text}
    assert number(found[0], "next_attempt_s") == 12.4
    assert outage_evaluations(tables, "down", None, Checks())[0].description == "down"
    assert outage_evaluations(tables, "down", None, Checks(lag_s_max=None)) == []


# ---- what is stored ----
def stored(instance: dg.DagsterInstance) -> dg.AssetCheckEvaluation:
    record = instance.get_latest_asset_check_evaluation_record(dg.AssetCheckKey(ORDERS, LAG))
    assert record is not None
    assert record.evaluation is not None
    return record.evaluation


def test_only_news_is_stored(tables: Tables, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation that says what the last one has said is stored again after `refresh_s` only."""
    own = {ORDERS: tables[ORDERS]}

    def given(lag_s: float) -> int:
        found = evaluations(own, {"us.orders": good("us.orders", lag_s)}, Checks(schema_in_step=False))
        return len(report(instance, found, Checks()))

    assert [given(1), given(2), given(70), given(80), given(1)] == [1, 0, 1, 0, 1]
    assert stored(instance).passed
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s + 61)
    assert given(1) == 0
    assert given(70) == 1
    monkeypatch.setattr(time, "time", lambda: now_s + 700)
    assert given(1) == 1


def test_a_run_that_evaluates_after_the_button_is_heard(tables: Tables, instance: dg.DagsterInstance) -> None:
    """Dagster would keep what a run evaluates behind a later evaluation of another run; what `report` stores is the
    newest one, whoever has evaluated before.
    """
    key = dg.AssetCheckKey(ORDERS, LAG)
    fine, bad = (dg.AssetCheckEvaluation(asset_key=ORDERS, check_name=LAG, passed=passed) for passed in (True, False))

    @dg.op
    def follow(context: dg.OpExecutionContext) -> None:
        context.log_event(fine)  # type: ignore[arg-type]
        instance.report_runless_asset_event(bad)  # as the button's run does
        context.log_event(fine)  # type: ignore[arg-type]
        hidden = instance.get_latest_asset_check_evaluation_record(key)
        assert hidden is not None
        assert hidden.status.value == "FAILED"
        report(context.instance, [fine], Checks())
        assert stored(instance).passed

    @dg.job
    def job() -> None:
        follow()

    assert job.execute_in_process(instance=instance).success


# ---- definitions ----
def checks_of(defs: dg.Definitions) -> set[str]:
    graph = defs.resolve_asset_graph()
    return {f"{key.asset_key.path[-1]}.{key.name}" for key in graph.asset_check_keys}


def test_each_table_has_its_checks_and_a_freshness_policy() -> None:
    """By default; parameters take them away; a spec's own policy stays."""
    window = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=2))

    class Ours(ReplicationTranslator):
        def get_asset_spec(self, table: Any) -> dg.AssetSpec:
            spec = super().get_asset_spec(table)
            return spec.replace_attributes(freshness_policy=window) if table.name.table == "users" else spec

    def policies(defs: dg.Definitions) -> dict[str, Any]:
        return {
            s.key.path[-1]: s.freshness_policy for s in defs.resolve_all_asset_specs() if s.key.path[0] == "warehouse"
        }

    ours = build_replication_defs(pipeline_of(MAPPING), translator=Ours())
    none = build_replication_defs(
        pipeline_of(MAPPING), checks=Checks(lag_s_max=None, schema_in_step=False, fresh_within=None)
    )

    assert checks_of(offline(MAPPING)) == {"users.lag", "users.schema_in_step", "orders.lag", "orders.schema_in_step"}
    assert policies(ours) == {"users": window, "orders": dg.FreshnessPolicy.time_window(fail_window=timedelta(days=1))}
    assert checks_of(none) == set()
    assert policies(none) == {"users": None, "orders": None}


def test_without_monitoring_there_are_no_checks() -> None:
    """`monitoring.enabled: false` says that nobody wants to be told."""
    assert checks_of(offline(MAPPING, monitoring={"enabled": False})) == set()


def test_jobs_do_not_run_the_checks() -> None:
    """A run evaluates them by what it has done, and need not ask the servers again."""
    for name in ("replicate", "snapshot"):
        job = offline(MAPPING).resolve_job_def(name)
        assert [node.name for node in job.nodes] == ["replicate_eu__us"]


def test_no_check_shows_a_password(tables: Tables) -> None:
    """Neither a definition nor what is stored of an outage."""
    defs = offline(MAPPING)
    texts = [str(spec) for checks in defs.asset_checks or () for spec in checks.check_specs]

    assert texts
    assert not any(PASSWORD in text for text in texts)
