"""Redis, Celery workers and Dagster's own processes, for tests of jobs that several processes execute."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_support import Pair, environment, write_with_variable
from debian_programs import free_port, program

# Two pipelines over the same tables, of which a test uses one at a time.
PLACES = """
import os
import dagster as dg
from dagster_celery import celery_executor
from myrepetl_dagster import build_replication_defs

path = os.environ["MYREPETL_CONFIG"]
defs = dg.Definitions.merge(
    build_replication_defs(path, name="local"),
    dg.Definitions(jobs=build_replication_defs(path, name="remote", executor_def=celery_executor).jobs,
                   resources=build_replication_defs(path, name="remote").resources),
)
"""


def wait_for(condition: Callable[[], Any], timeout_s: float, log: Path | None = None) -> float:
    """Wait until the condition holds; how long that took, in seconds."""
    started_s = time.monotonic()
    while not condition():
        if time.monotonic() - started_s > timeout_s:
            raise AssertionError(f"waited {timeout_s} s in vain\n" + (log.read_text()[-4000:] if log else ""))
        time.sleep(0.1)
    return time.monotonic() - started_s


@dataclass
class Redis:
    """A Redis server of Debian's, on a port of its own."""

    directory: Path
    port: int = field(default_factory=free_port)

    @property
    def execution(self) -> dict[str, Any]:
        """The executor's configuration in a run's."""
        url = f"redis://127.0.0.1:{self.port}"
        return {"config": {"broker": f"{url}/0", "backend": f"{url}/1"}}

    def __enter__(self) -> Redis:
        self.directory.mkdir(exist_ok=True)
        command = [*program("redis-server", "usr/bin/redis-server"), "--port", str(self.port), "--save", ""]
        with (self.directory / "redis.log").open("wb") as log:
            self._process = subprocess.Popen(command, cwd=self.directory, stdout=log, stderr=log)
        wait_for(self._answers, 20, self.directory / "redis.log")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        from redis import Redis as Client
        from redis.exceptions import ConnectionError

        try:
            with contextlib.closing(Client(port=self.port)) as client:
                return bool(client.ping())
        except ConnectionError:
            return False


@dataclass
class Place:
    """A Dagster instance with the jobs of `PLACES` on the servers of a pair.

    Args:
        storage: that of its dagster.yaml; empty: files.
    """

    pair: Pair
    storage: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        directory = self.pair.directory
        self.env = environment(directory / "home", write_with_variable(directory, self.pair.data))
        if self.storage:
            settings = directory / "home" / "dagster.yaml"
            settings.write_text(settings.read_text() + "\n" + json.dumps({"storage": self.storage})[1:-1] + "\n")
        self.file = directory / "places.py"
        self.file.write_text(PLACES)
        with dg.DagsterInstance.from_config(str(directory / "home")):
            pass  # processes that make the storage at the same time can fail

    # ---- `dagster job execute` ----
    def execute(self, job: str, config: Mapping[str, Any], timeout_s: float = 400) -> tuple[int, str]:
        """Run a job as a user of the command line does; the exit code, and what is printed."""
        path = self.pair.directory / f"run-{time.monotonic_ns()}.json"
        path.write_text(json.dumps(config))
        command = [sys.executable, "-m", "dagster", "job", "execute", "-f", str(self.file), "-j", job, "-c", str(path)]
        done = subprocess.run(
            command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout_s
        )
        return done.returncode, done.stdout

    def said(self) -> list[str]:
        """What the last run's events say."""
        with dg.DagsterInstance.from_config(self.env["DAGSTER_HOME"]) as instance:
            (run,) = instance.get_runs(limit=1)
            return [event.message for event in instance.all_logs(run.run_id)]

    # ---- Celery ----
    @contextlib.contextmanager
    def workers(self, redis: Redis, number: int) -> Iterator[None]:
        """So many workers, each of which executes one step at a time."""
        config = self.pair.directory / "celery.yaml"
        config.write_text(json.dumps({"execution": redis.execution}))
        processes = []
        try:
            for name in (f"w{n}" for n in range(number)):
                command = ["dagster-celery", "worker", "start", "-A", "dagster_celery.app", "-y", str(config)]
                processes.append(self._start([*command, "-n", name, "--", "-c", "1"], self.log_of(name)))
            for name in (f"w{n}" for n in range(number)):
                wait_for(partial(self._is_ready, name), 240, self.log_of(name))
            yield
        finally:
            for process in processes:
                end(process)

    def _start(self, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        scripts = Path(sys.executable).parent
        path = f"{scripts}{os.pathsep}{self.env['PATH']}"  # dagster-celery looks there for celery
        with log.open("wb") as out:
            return subprocess.Popen(
                [scripts / command[0], *command[1:]],
                env=self.env | {"PATH": path},
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def _is_ready(self, worker: str) -> bool:
        return b" ready." in self.log_of(worker).read_bytes()

    def log_of(self, worker: str) -> Path:
        return self.pair.directory / f"{worker}.log"

    # ---- the web server and the daemon ----
    @contextlib.contextmanager
    def ui(self) -> Iterator[Ui]:
        """`dagster dev` with the jobs."""
        found = Ui(free_port(), self.pair.directory / "dev.log")
        process = self._start(["dagster", "dev", "-f", str(self.file), "-p", str(found.port)], found.log)
        try:
            wait_for(found.loaded, 240, found.log)
            yield found
        finally:
            end(process, signal.SIGINT)

    def sessions(self) -> list[object]:
        """Ours, in the process lists of both servers."""
        ours = "SELECT id FROM information_schema.processlist WHERE user = 'copier'"
        return [*self.pair.source.execute(ours), *self.pair.target.execute(ours)]


@dataclass
class Ui:
    """A running `dagster dev`, asked as its pages ask it."""

    port: int
    log: Path

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/graphql", body, headers)
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def loaded(self) -> bool:
        query = "{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus } } } }"
        try:
            entries = self.ask(query)["workspaceOrError"]["locationEntries"]
        except OSError:
            return False
        self.location = entries[0]["name"]
        return all(entry["loadStatus"] == "LOADED" for entry in entries)

    def launch(self, job: str, config: Mapping[str, Any]) -> str:
        """Start a run; its id."""
        selector = {"repositoryLocationName": self.location, "repositoryName": "__repository__", "pipelineName": job}
        found = self.ask(
            """mutation ($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
            __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
            params={"selector": selector, "runConfigData": config, "mode": "default"},
        )["launchPipelineExecution"]
        assert found["__typename"] == "LaunchRunSuccess", found
        return str(found["run"]["runId"])

    def status(self, run_id: str) -> str:
        query = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
        return str(self.ask(query, id=run_id)["runOrError"]["status"])

    def has_status(self, run_id: str, status: str) -> bool:
        return self.status(run_id) == status

    def terminate(self, run_id: str) -> None:
        query = """mutation ($id: String!) { terminateRun(runId: $id, terminatePolicy: SAFE_TERMINATE) {
            __typename } }"""
        self.ask(query, id=run_id)


def end(process: subprocess.Popen[bytes], by: signal.Signals = signal.SIGTERM) -> None:
    """In order, if that is quick; then whatever of its session is left."""
    process.send_signal(by)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
