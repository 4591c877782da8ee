"""Dagster's runs and events on Postgres and on MySQL, as several machines need it, with the job of many steps."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import dagster as dg
import pytest
import storages
from dagster_support import Pair
from scale_out import Place
from servers import Server

pytestmark = pytest.mark.long


@pytest.mark.parametrize("kind", ["postgres", "mysql"])
def test_runs_and_events_are_kept_on_a_server(mysql_pair: Pair, kind: str) -> None:
    """Steps in several processes store their events on a database server; what they did is read back from it."""
    mysql_pair.source.execute("INSERT INTO shop.users (name) SELECT CONCAT('user ', id) FROM shop.orders")
    with _storage(kind, mysql_pair.target) as storage:
        place = Place(mysql_pair, storage)
        execution = {"config": {"multiprocess": {"max_concurrent": 2}}}
        code, text = place.execute("local_snapshot_parallel", {"step_rows": 4, "execution": execution})
        assert code == 0, text
        assert not list(mysql_pair.directory.glob("home/history/**/*.db")), "nothing is kept in files"
        with dg.DagsterInstance.from_config(place.env["DAGSTER_HOME"]) as instance:
            (run,) = instance.get_runs()
            event = instance.get_latest_materialization_event(dg.AssetKey(["warehouse", "users"]))
            assert run.status == dg.DagsterRunStatus.SUCCESS
            assert event is not None
            assert event.asset_materialization is not None
            assert event.asset_materialization.metadata["rows_snapshotted"].value == 6


def _storage(kind: str, server: Server) -> AbstractContextManager[dict[str, Any]]:
    return storages.postgres() if kind == "postgres" else storages.mysql(server)
