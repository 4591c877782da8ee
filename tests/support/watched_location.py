"""A code location with assets downstream of replicated tables, for tests that run Dagster's daemon."""

import os
from datetime import timedelta
from typing import Any

import dagster as dg

from myrepetl_dagster import Checks, build_replication_defs, eager_on_changes, on_cron_in_step

USERS, ORDERS = (dg.AssetKey(["warehouse", name]) for name in ("users", "orders"))
WINDOW = timedelta(seconds=60)
EACH_MINUTE = "* * * * *"


def downstream(name: str, condition: Any) -> dg.AssetsDefinition:
    @dg.asset(name=name, deps=[USERS, ORDERS], automation_condition=condition)
    def made() -> None: ...

    return made


@dg.asset(freshness_policy=dg.FreshnessPolicy.time_window(fail_window=WINDOW))
def only_observed() -> None: ...


defs = dg.Definitions.merge(
    build_replication_defs(
        os.environ["MYREPETL_CONFIG"], checks=Checks(lag_s_max=30, fresh_within=WINDOW, refresh_s=15)
    ),
    dg.Definitions(
        assets=[
            downstream("eager", dg.AutomationCondition.eager()),
            downstream("eager_on_changes", eager_on_changes()),
            downstream("on_cron", dg.AutomationCondition.on_cron(EACH_MINUTE)),
            downstream("on_cron_in_step", on_cron_in_step(EACH_MINUTE)),
            only_observed,
        ],
        sensors=[
            dg.AutomationConditionSensorDefinition(
                "conditions", target=dg.AssetSelection.all(), default_status=dg.DefaultSensorStatus.RUNNING
            )
        ],
    ),
)
