"""Automation conditions for assets downstream of replicated tables, where Dagster's own ask for too much or too little.

A run that follows its source materializes the tables that changed, and a quiet table seldom, for its freshness policy.
"""

from __future__ import annotations

from typing import Any

import dagster as dg


def eager_on_changes() -> dg.AutomationCondition[Any]:
    """`AutomationCondition.eager()`, for which only a new data version of a table counts, and each one does.

    It lets pass that a quiet table is materialized again for its freshness policy. A change that comes while the asset
    is being made asks for another run: `eager()` takes it for handled if it sees both at the same look.

    Examples:
        .. code-block:: python

            @dg.asset(deps=[dg.AssetKey(["warehouse", "orders"])], automation_condition=eager_on_changes())
            def report() -> None: ...
    """
    condition: Any = dg.AutomationCondition
    changed = condition.any_deps_updated().replace("newly_updated", condition.data_version_changed())
    news = condition.newly_missing() | changed
    handled = condition.newly_requested() | condition.newly_updated() | condition.initial_evaluation()
    made: dg.AutomationCondition[Any] = (
        condition.in_latest_time_window()
        & news.since(handled & ~news)
        & ~condition.any_deps_missing()
        & ~condition.any_deps_in_progress()
        & ~condition.in_progress()
    ).with_label("eager_on_changes")
    return made


def on_cron_in_step(cron_schedule: str, cron_timezone: str = "UTC") -> dg.AutomationCondition[Any]:
    """`AutomationCondition.on_cron(...)` that waits for no change of a quiet table.

    Since the tick, each upstream table has been materialized, or one of its checks has passed and none has failed. (An
    upstream asset without checks has to be materialized, as with `on_cron`.)

    Examples:
        .. code-block:: python

            @dg.asset(deps=[dg.AssetKey(["warehouse", "orders"])], automation_condition=on_cron_in_step("0 2 * * *"))
            def report() -> None: ...
    """
    condition: Any = dg.AutomationCondition  # whose types tell assets from checks more strictly than it does itself
    ticked = condition.cron_tick_passed(cron_schedule, cron_timezone)
    in_step = condition.any_checks_match(condition.check_passed() & condition.newly_updated().since(ticked))
    ready = (
        condition.newly_updated().since(ticked)
        | condition.will_be_requested()
        | (in_step & ~condition.any_checks_match(condition.check_failed()))
    )
    whole = condition.in_latest_time_window() & ticked.since_last_handled() & condition.all_deps_match(ready)
    made: dg.AutomationCondition[Any] = whole.with_label(f"on_cron_in_step({cron_schedule}, {cron_timezone})")
    return made
