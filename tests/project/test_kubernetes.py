"""The values file for Kubernetes is what Dagster's chart and Dagster itself take."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster_k8s import K8sRunLauncher
from dagster_k8s.job import UserDefinedDagsterK8sConfig

ROOT = Path(__file__).resolve().parents[2]
CHART = os.environ.get("MYREPETL_DAGSTER_CHART", "")
VALUES = yaml.safe_load((ROOT / "docs/kubernetes/values.yaml").read_text())


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: f"_{match[1].lower()}", name)


def in_snake_case(value: Any) -> Any:
    if isinstance(value, dict):
        return {snake(name): in_snake_case(one) for name, one in value.items()}
    return [in_snake_case(one) for one in value] if isinstance(value, list) else value


@pytest.mark.skipif(not CHART, reason="MYREPETL_DAGSTER_CHART names no folder with Dagster's chart")
def test_the_charts_schema_takes_the_values() -> None:
    """With a copy of the chart at hand, its own schema finds nothing wrong.

    No package registry has the chart, so a test run without network access to GitHub cannot fetch it.
    """
    jsonschema = pytest.importorskip("jsonschema")
    chart = Path(CHART)
    merged = _merged(yaml.safe_load((chart / "values.yaml").read_text()), VALUES)
    jsonschema.validate(merged, json.loads((chart / "values.schema.json").read_text()))


def _merged(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {name: _merged(below.get(name), value) for name, value in above.items()}


def test_dagsters_run_launcher_takes_the_values() -> None:
    """The launcher's part is a valid configuration of dagster-k8s's K8sRunLauncher."""
    launcher = VALUES["runLauncher"]
    assert launcher["type"] == "K8sRunLauncher"
    given = dict(launcher["config"]["k8sRunLauncher"])
    of_runs = in_snake_case(given.pop("runK8sConfig"))
    config = in_snake_case(given) | {"instance_config_map": "i", "service_account_name": "s", "run_k8s_config": of_runs}
    outcome = process_config(resolve_to_config_type(K8sRunLauncher.config_type()), config)  # type: ignore[no-untyped-call]
    assert outcome.success, outcome.errors
    UserDefinedDagsterK8sConfig.from_dict(of_runs)  # type: ignore[no-untyped-call]


def test_dagster_itself_takes_the_daemons_values(tmp_path: Path) -> None:
    """What the chart makes of the values in dagster.yaml, the coordinator, monitoring and retention, loads."""
    import dagster as dg

    daemon = VALUES["dagsterDaemon"]
    coordinator = in_snake_case(daemon["runCoordinator"]["config"]["queuedRunCoordinator"])
    sensors = VALUES["retention"]["sensor"]["purgeAfterDays"]
    settings = {
        "run_coordinator": {
            "module": "dagster.core.run_coordinator",
            "class": daemon["runCoordinator"]["type"],
            "config": coordinator,
        },
        "run_monitoring": in_snake_case(daemon["runMonitoring"]),
        "retention": {"sensor": {"purge_after_days": sensors}},
    }
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.run_monitoring_enabled


def test_the_code_server_loads_what_the_package_has() -> None:
    """The module, the variables and the executor that the values name are there."""
    from myrepetl_dagster import definitions
    from myrepetl_dagster.executors import executor_named

    (deployment,) = VALUES["dagster-user-deployments"]["deployments"]
    env = {one["name"]: one["value"] for one in deployment["env"]}
    assert deployment["dagsterApiGrpcArgs"] == ["-m", definitions.__name__]
    assert set(env) == {definitions.VARIABLE, definitions.EXECUTOR}
    assert executor_named(env[definitions.EXECUTOR]).name == "k8s"
    mounts = {mount["name"]: mount["mountPath"] for mount in deployment["volumeMounts"]}
    assert env[definitions.VARIABLE].startswith(mounts["pipeline"])
    assert [volume["name"] for volume in deployment["volumes"]] == list(mounts)
