"""A `dagster dev` in processes of its own, and its face for a browser."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster_support import Pair


@dataclass
class Ui:
    """A running `dagster dev`."""

    pair: Pair
    port: int
    home: Path
    log: Path
    location: str = "myrepetl"

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql", body, {"Content-Type": "application/json"}
        )
        answer = self._answer(request, tries=1 if query.lstrip().startswith("mutation") else 5)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def _answer(self, request: urllib.request.Request, tries: int) -> Any:
        """The answer. A question is asked again: Dagster's web server, just started, may have an error of its own."""
        for left in reversed(range(tries)):
            try:
                with urllib.request.urlopen(request, timeout=30) as response:
                    return json.load(response)
            except (urllib.error.HTTPError, TimeoutError):
                if not left:
                    raise
                time.sleep(1)
        raise AssertionError("no try was left")

    def launch(self, job: str, *assets: str, tags: dict[str, str] | None = None, **config: Any) -> str:
        """Start a run as the UI does; the run's id."""
        params = {
            "selector": {
                **self.repository,
                "pipelineName": job,
                "assetSelection": [{"path": key.split("/")} for key in assets] or None,
            },
            "runConfigData": config,
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in (tags or {}).items()]},
            "mode": "default",
        }
        found = self.ask(
            """mutation ($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
            __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
            params=params,
        )["launchPipelineExecution"]
        assert found["__typename"] == "LaunchRunSuccess", found
        return str(found["run"]["runId"])

    def status(self, run_id: str) -> str:
        query = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
        return str(self.ask(query, id=run_id)["runOrError"]["status"])

    def ended(self, run_id: str, timeout_s: float = 30) -> str:
        ends = ("SUCCESS", "FAILURE", "CANCELED")
        wait_for(lambda: self.status(run_id) in ends, timeout_s, self.log)
        return self.status(run_id)

    def active(self, job: str | None = None) -> list[str]:
        """The runs that are under way, or wait to be."""
        query = """query ($job: String) { runsOrError(filter: {statuses: [QUEUED, STARTING, STARTED, CANCELING],
            pipelineName: $job}) { ... on Runs { results { runId } } } }"""
        return [one["runId"] for one in self.ask(query, job=job)["runsOrError"]["results"]]

    def terminate(self, run_id: str) -> None:
        query = """mutation ($id: String!) { terminateRun(runId: $id, terminatePolicy: SAFE_TERMINATE) {
            __typename } }"""
        self.ask(query, id=run_id)

    def follows(self) -> bool:
        """Whether a run reads the source's log."""
        sql = "SELECT 1 FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'"
        return bool(self.pair.source.execute(sql))

    @property
    def repository(self) -> dict[str, str]:
        return {"repositoryLocationName": self.location, "repositoryName": "__repository__"}

    def switch(self, sensor: str, on: bool) -> None:
        selector = {**self.repository, "sensorName": sensor}
        if on:
            query = """mutation ($s: SensorSelector!) { startSensor(sensorSelector: $s) {
                __typename ... on Sensor { sensorState { status } } } }"""
            assert self.ask(query, s=selector)["startSensor"]["__typename"] == "Sensor"
            return
        query = "query ($s: SensorSelector!) { sensorOrError(sensorSelector: $s) { ... on Sensor { id } } }"
        sensor_id = self.ask(query, s=selector)["sensorOrError"]["id"]
        self.ask("mutation ($id: String) { stopSensor(id: $id) { __typename } }", id=sensor_id)


def wait_for(condition: Callable[[], Any], timeout_s: float, log: Path | None = None) -> float:
    """Wait until the condition holds; how long that took, in seconds."""
    started_s = time.monotonic()
    while not condition():
        if time.monotonic() - started_s > timeout_s:
            raise AssertionError(f"waited {timeout_s} s in vain\n" + (log.read_text()[-4000:] if log else ""))
        time.sleep(0.1)
    return time.monotonic() - started_s


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def dagster_dev(ui: Ui, directory: Path, env: Mapping[str, str], *more: str) -> Iterator[None]:
    """Run `dagster dev` in a directory, with more arguments, until the end of the block."""
    command = [sys.executable, "-m", "dagster", "dev", *more, "-h", "127.0.0.1", "-p", str(ui.port)]
    with ui.log.open("wb") as log:
        # With the signal's usual meaning, which a shell takes from what it starts in the background.
        process = subprocess.Popen(
            command, cwd=directory, env=env, stdout=log, stderr=log, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
    try:
        took_s = wait_for(lambda: loaded(ui), 90, ui.log)
        print(f"dagster dev: loaded in {took_s:.1f} s")
        yield
    finally:
        stop(process)


def loaded(ui: Ui) -> bool:
    query = """{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus
        locationOrLoadError { __typename ... on PythonError { message } } } } } }"""
    try:
        entries = ui.ask(query)["workspaceOrError"]["locationEntries"]
    except OSError:
        return False
    if not all(entry["loadStatus"] == "LOADED" for entry in entries):
        return False
    assert [entry["name"] for entry in entries] == [ui.location]
    assert entries[0]["locationOrLoadError"]["__typename"] == "RepositoryLocation", entries
    return True


def stop(process: subprocess.Popen[bytes]) -> None:
    """In order, if that is quick; then whatever of its session is left."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
