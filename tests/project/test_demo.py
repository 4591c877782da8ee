"""What a newcomer runs first: `make demo` and `make setup`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]


def test_the_demo_ends_with_everything_equal(tmp_path: Path) -> None:
    """Two sources, a live writer, three runs through Dagster: every mapping is equal, within two minutes."""
    began_s = time.monotonic()

    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "demo.py", "run"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "MYREPETL_DEMO_DIR": str(tmp_path / "demo"), "PYTHONPATH": str(ROOT)},
    )

    assert done.returncode == 0, done.stdout + done.stderr
    mappings = json.loads((ROOT / "demo" / "pipeline.json").read_text())["mapping"]
    for name in mappings:
        line = next(line for line in done.stdout.splitlines() if line.strip().startswith(name))
        assert line.split()[-1] == "equal"
    assert "make demo-ui" in done.stdout
    assert time.monotonic() - began_s < 120


def test_servers_to_play_with(tmp_path: Path) -> None:
    """`make demo-servers` says when they are ready, and writes for a shell where they are; a signal ends them."""
    process = subprocess.Popen(
        [sys.executable, ROOT / "scripts" / "demo.py", "servers"],
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "MYREPETL_DEMO_DIR": str(tmp_path / "demo"),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        },
    )
    try:
        assert process.stdout is not None
        assert any("a writer at work" in line for line in process.stdout)
        pipeline = {
            "sources": {"shop": {"host": "${SHOP_HOST}", "port": "${SHOP_PORT}", "user": "repl", "database": "shop",
                                 "password": "${REPL_PASSWORD}"}},
            "targets": {"analytics": {"host": "${ANALYTICS_HOST}", "port": "${ANALYTICS_PORT}", "user": "etl",
                                      "password": "${ETL_PASSWORD}", "database": "analytics"}},
            "mapping": {"shop.orders": {"target_table": "analytics.orders"}},
        }  # fmt: skip
        (tmp_path / "pipeline.json").write_text(json.dumps(pipeline))
        command = f". demo/environment && {sys.executable} -m myrepetl_dagster.cli test-connection pipeline.json"
        tested = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert tested.returncode == 0, tested.stdout + tested.stderr
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 143


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project with nothing to install but itself, set up by our script; pip's part is written down only."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup.py", tmp_path / "scripts")
    (tmp_path / "requirements.lock").write_text("")
    (tmp_path / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "nothing"\nversion = "1"\n[tool.setuptools]\npackages = []\n'
    )
    return tmp_path


def setup(checkout: Path) -> subprocess.CompletedProcess[str]:
    program = (
        "import sys; sys.path.insert(0, 'scripts'); import setup; real = setup._pip\n"
        # The project needs setuptools from the lock; whether pip builds it is not the question here.
        "setup._pip = lambda *a: print('pip', *a) if '-e' in a else real(*a)\n"
        "setup.setup()"
    )
    return subprocess.run([sys.executable, "-c", program], cwd=checkout, capture_output=True, text=True, timeout=120)


def test_setup_does_nothing_twice(checkout: Path) -> None:
    """Later calls find everything done, in less than a second (of three, the quickest)."""
    first = setup(checkout)
    assert "ready" in first.stdout, first.stderr
    took_s = []
    for _ in range(3):
        began_s = time.monotonic()
        later = setup(checkout)
        took_s.append(time.monotonic() - began_s)
        assert (later.stdout, later.returncode) == ("", 0)

    assert min(took_s) < 1
    assert (checkout / ".venv" / "bin" / "pip").exists()


def test_setup_follows_the_lock_and_mends_what_was_interrupted(checkout: Path) -> None:
    """A changed lock or an unfinished setup makes the environment anew; a changed project is only installed."""
    setup(checkout)
    leftover = checkout / ".venv" / "leftover"

    leftover.touch()
    with (checkout / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    assert "requirements.lock" not in setup(checkout).stdout
    assert leftover.exists()

    with (checkout / "requirements.lock").open("a") as file:
        file.write("# changed\n")
    assert "requirements.lock" in setup(checkout).stdout
    assert not leftover.exists()

    leftover.touch()
    (checkout / ".venv" / "ready").unlink()
    assert "requirements.lock" in setup(checkout).stdout
    assert not leftover.exists()
