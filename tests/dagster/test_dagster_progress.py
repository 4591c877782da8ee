"""What Dagster is told while a run works: numbers that can be plotted, and lines that a person believes."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
from dagster_support import Pair, run

from myrepetl_dagster import progress

COUNTS = {
    "rows_snapshotted", "changes_applied", "rows_read", "rows_upserted", "rows_deleted", "rows_filtered", "bytes_read",
    "commits", "retries", "reconnects",
}  # fmt: skip


@pytest.fixture
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that tells each commit."""
    monkeypatch.setattr(progress, "OBSERVE_INTERVAL_S_MIN", 0.0)
    monkeypatch.setattr(progress, "LOG_INTERVAL_S", 0.0)


def told(result: dg.ExecuteInProcessResult) -> list[dict[str, dg.MetadataValue[Any]]]:
    """The metadata of each observation and materialization of the run, in order."""
    found = []
    for event in result.all_events:
        if event.asset_key != dg.AssetKey(["warehouse", "users"]):
            continue  # the source table is observed, too
        if event.event_type is dg.DagsterEventType.ASSET_OBSERVATION:
            found.append(dict(event.asset_observation_data.asset_observation.metadata))
        elif event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION:
            found.append(dict(event.step_materialization_data.materialization.metadata))
    return found


@pytest.fixture
def grown(pair: Pair) -> Pair:
    pair.mapping = {"shop.users": {"target_table": "warehouse.users"}}
    pair.limits |= {"copy_window_rows": 100, "chunk_rows_max": 100}
    pair.more = {"monitoring": {"interval": 0.001}}
    names = ", ".join(f"('user {number}')" for number in range(1_000))
    pair.source.execute(f"INSERT INTO shop.users (name) VALUES {names}", "ANALYZE TABLE shop.users")
    return pair


@pytest.mark.usefixtures("talkative")
def test_every_number_keeps_its_type(grown: Pair, instance: dg.DagsterInstance) -> None:
    """Dagster plots a number over its events only as long as it is always whole, or always a float."""
    defs = grown.defs()
    events = told(run(defs, "replicate", instance))
    grown.target.execute("INSERT INTO dw.users VALUES (100000, 'stray')")
    events += told(run(defs, "snapshot", instance))
    grown.source.execute("DELETE FROM shop.users WHERE id < 10")
    events += told(run(defs, "replicate", instance))

    types: dict[str, set[type]] = {}
    for event in events:
        assert set(event) >= COUNTS | {"phase", "position", "elapsed_s"}
        for name, value in event.items():
            types.setdefault(name, set()).add(type(value))
    assert {name: found for name, found in types.items() if len(found) > 1} == {}
    assert {types[name].pop() for name in COUNTS} == {dg.IntMetadataValue}
    floats = {"lag_s", "rows_per_s", "elapsed_s", "copy_percent", "time_left_s"}
    assert {kind for name in floats & set(types) for kind in types[name]} == {dg.FloatMetadataValue}


@pytest.mark.usefixtures("talkative")
def test_the_runs_log_shows_both_passes_of_a_copy(
    grown: Pair, instance: dg.DagsterInstance, capfd: pytest.CaptureFixture[str]
) -> None:
    """How much is read of about how many, then how much is looked at, and what was deleted; percent grow below 100."""
    defs = grown.defs()
    run(defs, "replicate", instance)
    grown.target.execute("INSERT INTO dw.users VALUES (100000, 'stray')", "ANALYZE TABLE dw.users")
    result = run(defs, "snapshot", instance)

    lines = capfd.readouterr().err
    assert "shop.users: copying, " in lines
    assert "then it looks for rows to delete" in lines
    assert "shop.users: looking for rows to delete, " in lines
    stages: dict[str, list[float]] = {}
    for event in told(result):
        if "copy_percent" in event:
            stages.setdefault(str(event["stage"].value), []).append(event["copy_percent"].value)
    assert set(stages) == {"copying", "looking for rows to delete"}
    for percents in stages.values():
        assert percents == sorted(percents)
        assert percents[-1] < 100
    assert told(result)[-1]["rows_deleted"].value == 1
