"""Which tables a sensor asks for after runs have failed: healthy ones at once, the others after a wait that grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

TAG = "myrepetl/source"  # of each run that a sensor starts
RETRY_FIRST_S = 30.0
RETRY_MAX_S = 600.0
_FAILURES_MAX = 20

Keys = frozenset[dg.AssetKey]


@dataclass(frozen=True, slots=True)
class Failed:
    """A failed run of the sensor's. `ailing`: its tables that have not been materialized since."""

    ended_unix_s: float
    ailing: Keys


@dataclass(frozen=True, slots=True)
class Asked:
    keys: Keys
    wait_s: float = 0.0


def failures(instance: dg.DagsterInstance, group: str) -> list[Failed]:
    """The failed catch-ups of the last hour, newest first."""
    recent = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE],
        tags={TAG: group},
        updated_after=datetime.now(UTC) - timedelta(hours=1),
    )
    found = []
    for record in instance.get_run_records(recent, limit=_FAILURES_MAX):
        began_s = record.start_time or record.create_timestamp.timestamp()
        ailing = {k for k in record.dagster_run.asset_selection or () if not _made_since(instance, k, began_s)}
        found.append(Failed(record.end_time or began_s, frozenset(ailing)))
    return found


def _made_since(instance: dg.DagsterInstance, key: dg.AssetKey, unix_s: float) -> bool:
    event = instance.get_latest_materialization_event(key)
    return event is not None and event.timestamp >= unix_s


def what_to_ask(due: Keys, failed: Sequence[Failed], now_unix_s: float) -> Asked:
    """The tables to ask for: healthy ones at once, ailing ones after a wait that grows with each failure."""
    ailing = due & frozenset().union(*(f.ailing for f in failed))
    if not ailing:
        return Asked(due)
    own = [f for f in failed if f.ailing & ailing]
    wait_s = min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** (len(own) - 1))
    left_s = max(f.ended_unix_s for f in own) + wait_s - now_unix_s
    return Asked(due if left_s <= 0 else due - ailing, max(0.0, left_s))
