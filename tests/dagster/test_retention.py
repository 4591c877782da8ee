"""The recipe of docs/how-to/retention.md: old runs are deleted, and tables keep what Dagster knows of them."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_support import ROOT, Pair, run

from myrepetl_dagster.observations import CODE_VERSION, DATA_VERSION

USERS = dg.AssetKey(["warehouse", "users"])


def test_old_runs_are_deleted(mysql_pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job deletes ended runs and their events, not those under way; a table is still shown as made, with versions."""
    mysql_pair.write()
    monkeypatch.chdir(mysql_pair.directory)
    text = (ROOT / "docs" / "how-to" / "retention.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
    found: dict[str, Any] = {"__name__": "recipe"}
    exec(compile(code, "retention.md", "exec", dont_inherit=True), found)
    defs = found["defs"]
    home = tmp_path / "home"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        assert run(defs, "replicate", instance).success
        under_way = instance.create_run_for_job(
            defs.resolve_job_def("replicate"), status=dg.DagsterRunStatus.STARTED
        ).run_id
        before = instance.get_latest_materialization_event(USERS)
        assert run(defs, "delete_old_runs_job", instance).output_for_node("delete_old_runs") == 0  # none is so old
        found["KEPT"] = timedelta(0)
        deleted = run(defs, "delete_old_runs_job", instance).output_for_node("delete_old_runs")

        left = {record.dagster_run.run_id for record in instance.get_run_records()}
        after = instance.get_latest_materialization_event(USERS)
        assert deleted == 2
        assert under_way in left
        assert len(left) == 2  # with the last run of the job itself
        assert before is not None
        assert after is not None
        assert after.asset_materialization is not None
        assert {DATA_VERSION, CODE_VERSION} <= set(after.asset_materialization.tags or {})
        assert run(defs, "replicate", instance, run_config={"mappings": ["shop.users"]}).success
