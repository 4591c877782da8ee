"""Run by the Python of another environment: the pipeline in MYREPETL_CONFIG, through what a user has of the package.

Prints one JSON object. It imports nothing of the tests.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import dagster as dg

import myrepetl_dagster
from myrepetl_dagster import build_replication_defs, build_replication_specs
from myrepetl_dagster.supported_dagster import OLDEST


def main() -> None:
    path = os.environ["MYREPETL_CONFIG"]
    defs = build_replication_defs(path, name="env")
    dg.Definitions.validate_loadable(defs)
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_job_def("env_replicate").execute_in_process(instance=instance, raise_on_error=False)
        logs = [entry.user_message for entry in instance.all_logs(result.run_id)]
        tick = [_tick(sensor, defs, instance) for sensor in defs.sensors or ()]
    found: dict[str, Any] = {
        "dagster": dg.__version__,
        "package": myrepetl_dagster.__file__,
        "oldest": OLDEST,
        "success": result.success,
        "materialized": sorted(
            event.step_materialization_data.materialization.asset_key.to_user_string()
            for event in result.get_asset_materialization_events()
        ),
        "specs": [spec.key.to_user_string() for spec in build_replication_specs(path)],
        "told": [line for line in logs if line.startswith("mapping shop.users: deleted")],
        "tick": tick,
    }
    sys.stderr.flush()
    print(f"\n{json.dumps(found)}", flush=True)


def _tick(sensor: Any, defs: dg.Definitions, instance: dg.DagsterInstance) -> str:
    with dg.build_sensor_context(instance=instance, definitions=defs) as context:
        return type(sensor.evaluate_tick(context)).__name__


if __name__ == "__main__":
    main()
