"""Other versions of Dagster than the one that the tests run on, and the package as `pip` installs it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster_support import PASSWORD, ROOT, Pair, write_with_variable
from environments import UV, environment_with, run, wheel

from myrepetl_dagster.supported_dagster import OLDEST

pytestmark = pytest.mark.long

# Of what had a web server on 2026-12-01. `dg` was at 1.13.27 then; requirements.lock has that one, and the other tests.
NEWEST = "1.13.28"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel(tmp_path_factory.mktemp("wheel"))


def installed(version: str, built: Path, folder: Path) -> Path:
    """The Python of an environment of its own with the wheel, and with nothing of this folder."""
    base = environment_with(version)
    own = folder / "environment"
    run([UV, "venv", "--quiet", "--python", base, own])
    # The kept environment is shared by the workers, so that the wheel goes elsewhere.
    python = own / "bin" / "python"
    run([UV, "pip", "install", "--quiet", "--no-deps", "--python", python, built])
    (site,) = own.glob("lib/python3*/site-packages")
    (others,) = base.parent.parent.glob("lib/python3*/site-packages")
    (site / "others.pth").write_text(f"{others}\n")
    return python


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_a_pipeline_on_another_dagster(version: str, built: Path, mysql_pair: Pair) -> None:
    """The oldest supported Dagster, a year older than the newest, and the newest: the wheel's definitions load, the job
    copies, the core's lines are in the run's log, and the sensor's tick ends.
    """
    pair = mysql_pair
    pair.target.execute(
        "CREATE TABLE dw.users (id INT PRIMARY KEY, name VARCHAR(50))", "INSERT INTO dw.users VALUES (77, 'x')"
    )
    python = installed(version, built, pair.directory)
    script = ROOT / "tests" / "support" / "run_in_environment.py"

    output = run([python, "-I", script], MYREPETL_CONFIG=str(pair.write()), DAGSTER_HOME="")

    found = json.loads(next(line for line in output.splitlines() if line.startswith("{")))
    assert found["dagster"] == version
    assert str(pair.directory) in found["package"]
    assert found["success"]
    assert found["materialized"] == ["warehouse/orders", "warehouse/users"]
    assert sorted(found["specs"]) == found["materialized"]
    assert len(found["told"]) == 1
    assert found["tick"]
    assert pair.users() == ["Ann", "Bob", "Cem"]
    assert PASSWORD not in output


def test_the_wheel_in_an_environment_of_its_own(built: Path, mysql_pair: Pair) -> None:
    """Without this folder and its dagster.yaml: `definitions validate`, `job execute` and `dagster dev -m` work as they are."""
    pair = mysql_pair
    python = installed(NEWEST, built, pair.directory)
    home, elsewhere = pair.directory / "home", pair.directory / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    env = os.environ | {
        "DAGSTER_HOME": str(home),
        "MYREPETL_CONFIG": str(write_with_variable(pair.directory, pair.data)),
        "MYREPETL_TEST_PASSWORD": PASSWORD,
    }
    module = ["-m", "myrepetl_dagster.definitions"]
    dagster: list[str | Path] = [python, "-m", "dagster"]

    validated = run_there([*dagster, "definitions", "validate", *module], env, elsewhere)
    executed = run_there([*dagster, "job", "execute", *module, "-j", "replicate"], env, elsewhere)
    with dev([*map(str, dagster), "dev", *module], env, elsewhere) as port:
        locations = ask(port, "{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus } } } }")

    assert "All code locations passed validation" in validated
    assert pair.users() == ["Ann", "Bob", "Cem"]
    assert "shop.users: replicating, 3 rows copied" in executed
    assert PASSWORD not in validated + executed
    assert [e["loadStatus"] for e in locations["workspaceOrError"]["locationEntries"]] == ["LOADED"]


def run_there(command: list[str | Path], env: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        command, env=env, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@contextlib.contextmanager
def dev(command: list[str], env: dict[str, str], folder: Path) -> Iterator[int]:
    """A `dagster dev` whose code location is loaded; its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    log = folder / "dev.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "-h", "127.0.0.1", "-p", str(port)], env=env, cwd=folder, stdout=out, stderr=out,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
    try:
        until_s = time.monotonic() + 180
        while not loaded(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until_s, log.read_text()[-4000:]
            time.sleep(0.2)
        yield port
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def loaded(port: int) -> bool:
    try:
        found = ask(port, "{ workspaceOrError { ... on Workspace { locationEntries { loadStatus } } } }")
    except OSError:
        return False
    return bool(found["workspaceOrError"].get("locationEntries"))


def ask(port: int, query: str) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)["data"]
