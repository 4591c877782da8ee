"""For the tests of the Dagster side: a pipeline on two real servers, and what Dagster makes of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from servers import Server

from myrepetl_dagster import build_replication_defs
from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.config.pipeline import Pipeline

PASSWORD = "Geheim-4711-xyzzy"  # looked for wherever Dagster writes something
LIMITS = {"attempts_max": 2, "backoff_first_s": 0.01, "connect_timeout_s": 2}
RETRY_FAST = dg.RetryPolicy(max_retries=1, delay=0.05)


@dataclass
class Pair:
    """A source `shop` and a target `warehouse`, emptied for each test."""

    source: Server
    target: Server
    directory: Path
    limits: dict[str, Any] = field(default_factory=lambda: dict(LIMITS))
    mapping: dict[str, Any] = field(
        default_factory=lambda: {
            "shop.users": {"target_table": "warehouse.users"},
            "shop.orders": {
                "target_table": "warehouse.orders",
                "primary_key": "id",
                "filter": {"status": "paid"},
                "column_mapping": {"id": "id", "total": "amount", "status": "status"},
            },
        }
    )

    more: dict[str, Any] = field(default_factory=dict)  # sections of the pipeline in place of these

    def prepare(self) -> None:
        for server, schema in ((self.source, "shop"), (self.target, "dw")):
            server.execute(
                f"DROP DATABASE IF EXISTS {schema}",
                f"CREATE DATABASE {schema}",
                f"CREATE USER IF NOT EXISTS 'copier'@'%' IDENTIFIED BY '{PASSWORD}'",
                "GRANT ALL ON *.* TO 'copier'@'%'",
            )
        self.source.execute(
            "CREATE TABLE shop.users (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(50) NOT NULL)",
            "CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT, total DECIMAL(10,2), status VARCHAR(10))",
            "INSERT INTO shop.users (name) VALUES ('Ann'), ('Bob'), ('Cem')",
            "INSERT INTO shop.orders (total, status) VALUES (1.50, 'paid'), (2.50, 'open'), (3.50, 'paid')",
        )
        self.target.execute(
            "CREATE TABLE dw.orders (id INT PRIMARY KEY, amount DECIMAL(10,2), status VARCHAR(10), note TEXT)"
        )

    def endpoint(self, server: Server, database: str) -> dict[str, Any]:
        return {"host": server.host, "port": server.port, "user": "copier", "password": PASSWORD, "database": database}

    @property
    def data(self) -> dict[str, Any]:
        return {
            "sources": {"shop": self.endpoint(self.source, "shop")},
            "targets": {"warehouse": self.endpoint(self.target, "dw")},
            "mapping": self.mapping,
            "limits": self.limits,
            **self.more,
        }

    def write(self, name: str = "pipeline.json") -> Path:
        path = self.directory / name
        path.write_text(json.dumps(self.data))
        return path

    def defs(self, **options: Any) -> dg.Definitions:
        return build_replication_defs(self.write(), retry_policy=RETRY_FAST, **options)

    def users(self) -> list[str]:
        """The names that have arrived in the target."""
        return [row[0] for row in self.target.execute("SELECT name FROM dw.users ORDER BY id")]


def run(defs: dg.Definitions, job: str, instance: dg.DagsterInstance, **options: Any) -> dg.ExecuteInProcessResult:
    """Run a job in this process; a failure is in the result."""
    return defs.resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False, **options)


def materialized(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """The metadata of what a run has materialized, by the table's name."""
    found = {}
    for event in result.get_asset_materialization_events():
        data = event.step_materialization_data.materialization
        assert data.asset_key is not None
        found[data.asset_key.path[-1]] = {name: value.value for name, value in data.metadata.items()}
    return found


def pipeline_of(mapping: dict[str, Any], **sections: Any) -> Pipeline:
    """A pipeline whose servers do not exist."""
    server = {"host": "nowhere.invalid", "user": "u", "password": PASSWORD}
    data = {
        "sources": {name: server | {"database": name} for name in ("eu", "us", "crm")},
        "targets": {"warehouse": server | {"database": "dw"}},
        "mapping": mapping,
    }
    return from_dict(data | sections)


def log_events(instance: dg.DagsterInstance, events: Sequence[dg.AssetMaterialization | dg.AssetObservation]) -> None:
    """Log events in the middle of an op, as a run that follows does."""

    @dg.op
    def follow(context) -> None:  # type: ignore[no-untyped-def]
        for event in events:
            context.log_event(event)

    @dg.job
    def job() -> None:
        follow()

    assert job.execute_in_process(instance=instance).success


def offline(mapping: dict[str, Any], **sections: Any) -> dg.Definitions:
    """Its definitions."""
    return build_replication_defs(pipeline_of(mapping, **sections))


ROOT = Path(__file__).parents[2]


def environment(home: Path, pipeline: Path) -> dict[str, str]:
    """For processes that use the repository's dagster.yaml, with a storage of their own."""
    home.mkdir(exist_ok=True)
    shutil.copy(ROOT / "dagster.yaml", home)
    return os.environ | {
        "DAGSTER_HOME": str(home),
        "MYREPETL_CONFIG": str(pipeline),
        "MYREPETL_TEST_PASSWORD": PASSWORD,
        "PYTHONUNBUFFERED": "1",
    }


def write_with_variable(directory: Path, data: dict[str, Any]) -> Path:
    """The pipeline as a file in which the password is an environment variable."""
    path = directory / "pipeline.json"
    path.write_text(json.dumps(data).replace(PASSWORD, "${MYREPETL_TEST_PASSWORD}"))
    return path
