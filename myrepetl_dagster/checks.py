"""The asset checks of replicated tables: `lag` and `schema_in_step`.

One evaluation serves everybody who knows how the mappings are: a run while it follows, a sensor, and the user's button,
which asks the servers. `report` stores evaluations that belong to no run. Dagster keeps one evaluation of a check for
each run: a run that evaluates again changes its own old one, which then stays behind a later one of the button.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from .core.config.pipeline import Pipeline
from .core.model.checkpoint import Phase
from .health import Health, Tables, look
from .lineage import AssetSpecOf, SourceGroup
from .options import Checks, Options

LAG = "lag"
SCHEMA = "schema_in_step"
FAILED_REFRESH_S = 60.0  # between two evaluations that fail for different reasons


# ---- evaluations: pure -----------------------------------------------------------------------------------
def evaluations(tables: Tables, health: Mapping[str, Health], checks: Checks) -> list[dg.AssetCheckEvaluation]:
    """What the checks of these tables say. Of several mappings into a table the worst one counts.

    Args:
        tables: by asset key.
        health: by mapping. A table without any is left out.
    """
    found = []
    for key, table in tables.items():
        own = [health[m.name] for m in table.mappings if m.name in health]
        if own and checks.lag_s_max is not None:
            found.append(_lag(key, own, checks.lag_s_max))
        if checks.schema_in_step and own and not all(one.schema is None for one in own):
            found.append(_schema(key, own))
    return found


def outage_evaluations(
    tables: Tables, error: str, next_attempt_s: float | None, checks: Checks
) -> list[dg.AssetCheckEvaluation]:
    """What the checks say while a server is down: the reason, and when the run tries again, if one does."""
    if checks.lag_s_max is None:
        return []
    again = "" if next_attempt_s is None else f" The next attempt is in {next_attempt_s:.0f} s."
    found: dict[str, Any] = {"error": error, "lag_s_max": float(checks.lag_s_max)}
    found |= {} if next_attempt_s is None else {"next_attempt_s": round(float(next_attempt_s), 1)}
    return [_evaluation(key, LAG, [error + again], found) for key in tables]


def _lag(key: dg.AssetKey, health: Sequence[Health], lag_s_max: float) -> dg.AssetCheckEvaluation:
    lags = [one.lag_s for one in health if one.lag_s is not None]
    problems = [(one.mapping, *problem) for one in health if (problem := _behind(one, lag_s_max))]
    texts = [_named(mapping, text, len(health) > 1) for mapping, text, _ in problems]
    found: dict[str, Any] = {"lag_s_max": float(lag_s_max)}
    found |= {"lag_s": float(max(lags))} if lags else {}
    found["phase"] = ", ".join(sorted({one.phase or "not started" for one in health}))
    found["position"] = "\n".join(_named(one.mapping, one.position, len(health) > 1) for one in health if one.position)
    good = f"At most {max(lags):.1f} s behind its source." if lags else ""
    return _evaluation(key, LAG, texts, found, good, warns=not any(wrong for _, _, wrong in problems))


def _behind(one: Health, lag_s_max: float) -> tuple[str, bool] | None:
    """Why a mapping is behind, and whether something is wrong; None: it is not behind."""
    if one.error:
        return f"Stays where it is: {one.error}", True
    waits = f"Is not followed: {one.waits}." if one.waits else ""
    if not one.phase:
        return waits or "Not copied yet.", False
    if one.phase != Phase.REPLICATING:
        return f"Is being copied ({one.phase}).", False
    if one.lag_s is None:
        return "How far it is behind is not known.", False
    if one.lag_s > lag_s_max:
        return f"{one.lag_s:.0f} s behind its source, more than {lag_s_max:g} s. {waits}".strip(), not waits
    return None


def _schema(key: dg.AssetKey, health: Sequence[Health]) -> dg.AssetCheckEvaluation:
    texts = [_named(one.mapping, one.schema, len(health) > 1) for one in health if one.schema]
    return _evaluation(key, SCHEMA, texts, {}, "The target has every mapped column, and the types fit.")


def _named(mapping: str, text: str, several: bool) -> str:
    return f"{mapping}: {text}" if several and mapping not in text else text


def _evaluation(
    key: dg.AssetKey, name: str, problems: Sequence[str], found: dict[str, Any], good: str = "", *, warns: bool = False
) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=name,
        passed=not problems,
        metadata=found,
        severity=dg.AssetCheckSeverity.WARN if problems and warns else dg.AssetCheckSeverity.ERROR,
        description="\n".join(problems) or good,
    )


# ---- what is stored ----------------------------------------------------------------------------------------
def report(
    instance: dg.DagsterInstance, evaluations: Iterable[dg.AssetCheckEvaluation], checks: Checks
) -> list[dg.AssetCheckEvaluation]:
    """Store the evaluations that tell something new, or whose last one is `refresh_s` old.

    Each is a row in Dagster's storage, so that not each look at a table is stored.

    Returns:
        Those that were stored.
    """
    stored = [one for one in evaluations if _is_news(instance, one, checks)]
    for one in stored:
        instance.report_runless_asset_event(one)
    return stored


def _is_news(instance: dg.DagsterInstance, one: dg.AssetCheckEvaluation, checks: Checks) -> bool:
    latest = instance.get_latest_asset_check_evaluation_record(one.asset_check_key)
    last = latest.evaluation if latest is not None and latest.event is not None else None
    if latest is None or not isinstance(last, dg.AssetCheckEvaluation):  # none, or one is under way
        return True
    if (last.passed, last.severity) != (one.passed, one.severity):
        return True
    age_s = time.time() - latest.create_timestamp
    changed = not one.passed and last.description != one.description
    return age_s >= (min(FAILED_REFRESH_S, checks.refresh_s) if changed else checks.refresh_s)


# ---- definitions -----------------------------------------------------------------------------------------
def check_specs(tables: Tables, checks: Checks) -> list[dg.AssetCheckSpec]:
    """The specs of the tables' checks."""
    texts = {
        LAG: f"At most {checks.lag_s_max or 0:g} s behind the source. A quiet table has the lag of its source.",
        SCHEMA: "The target has every mapped column, and the types fit: a run would not be refused for the tables.",
    }
    on = {LAG: checks.lag_s_max is not None, SCHEMA: checks.schema_in_step}
    return [dg.AssetCheckSpec(n, asset=key, description=texts[n]) for key in tables for n in on if on[n]]


def build_checks(
    groups: Sequence[SourceGroup], asset_spec: AssetSpecOf, pipeline: Pipeline, options: Options
) -> list[dg.AssetChecksDefinition]:
    """The checks that a user can execute: one op for each source group, which asks the servers."""
    if not pipeline.monitoring.enabled:
        return []
    all_tables = [(group, {asset_spec(table).key: table for table in group.tables}) for group in groups]
    return [_build(group, own, pipeline, options) for group, own in all_tables if check_specs(own, options.checks)]


def _build(group: SourceGroup, tables: Tables, pipeline: Pipeline, options: Options) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=group.named("check"),
        specs=check_specs(tables, options.checks),
        can_subset=True,
        op_tags=dict(options.op_tags) or None,
        description=f"Looks how far the tables of {' and '.join(group.sources)} are, and changes nothing.",
    )
    def check_group(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        wanted = context.selected_asset_check_keys
        chosen = {key: table for key, table in tables.items() if any(one.asset_key == key for one in wanted)}
        schema = any(one.name == SCHEMA for one in wanted)
        for one in evaluations(chosen, look(pipeline, chosen, schema=schema), options.checks):
            if one.asset_check_key in wanted:
                yield dg.AssetCheckResult(
                    passed=one.passed,
                    asset_key=one.asset_key,
                    check_name=one.check_name,
                    metadata=one.metadata,
                    severity=one.severity,
                    description=one.description,
                )

    return check_group
