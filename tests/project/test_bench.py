"""The benchmark runs, small: so that it is there when it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from servers import Flavour

pytestmark = pytest.mark.long

BENCH = Path(__file__).resolve().parents[2] / "bench"
COPIES = ["ours", "ours, built-in transforms, a filter", "ours, a Python transform"]
NATIVE = ["dump, load", "mydumper, myloader", "mydumper, myloader with binlog"]


LOGS = ["mixed, updates by 50", "mixed, updates one by one", "hot rows", "hot rows, one by one"]
MAPPINGS = ["built-in transforms, a filter", "a Python transform", "plain, as statements"]


def _run(script: str, flavour: Flavour, *options: str) -> list[list[dict[str, str]]]:
    """The tables that a script prints for a flavour: of each line the cells by the names of their columns."""
    command = [sys.executable, str(BENCH / script), "--flavour", flavour, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    found: list[list[dict[str, str]]] = []
    names: list[str] = []
    for line in done.stdout.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| server "):
            names = cells
            found.append([])
        elif line.startswith(f"| {flavour} "):
            found[-1].append(dict(zip(names, cells, strict=True)))
    return found


def test_the_benchmark_prints_its_tables(flavour: Flavour, monkeypatch: pytest.MonkeyPatch) -> None:
    """One round with few rows: every way to copy has its line beside the native tools, and so has every log."""
    monkeypatch.syspath_prepend(str(BENCH))
    from tools import tools

    sizes = ["--rows", "3000", "--changes", "600", "--rounds", "1", "--table", "users", "fifty", "--large-pools"]
    copies, caught = _run("compare.py", flavour, *sizes)
    assert {line["table"] for line in copies} == {"users", "fifty"}
    binlogs = ["written"] if flavour == "mysql" else ["written", "none"]
    logs = [("users", "plain", log) for log in LOGS]
    logs += [(table, mapping, LOGS[0]) for table, mapping in [*(("users", m) for m in MAPPINGS), ("fifty", "plain")]]
    names = ("table", "mapping", "log", "binlog of the target")
    assert [tuple(line[n] for n in names) for line in caught] == [(*log, b) for log in logs for b in binlogs]
    assert all(float(line["peak MiB"]) > 20 for line in copies if line["copied by"] in COPIES)
    copied = {line["copied by"] for line in copies if line["table"] == "users"}
    assert copied >= set(COPIES)
    if None in (tools(flavour), tools("mydumper")):
        pytest.skip("the native tools cannot be fetched")
    assert copied == {*COPIES, *NATIVE}


def test_servers_with_their_own_defaults_are_compared_too(flavour: Flavour) -> None:
    """They replicate as well."""
    sizes = ["--rows", "1000", "--rounds", "1", "--table", "users", "--no-catch-up"]
    copies, _ = _run("compare.py", flavour, *sizes)
    assert {line["copied by"] for line in copies} >= set(COPIES)


def test_the_latency_of_a_steady_pace(flavour: Flavour) -> None:
    """Every row has its time from source to target."""
    (lines,) = _run("latency.py", flavour, "--rate", "100", "--seconds", "2", "--writers", "2")
    for line in lines:
        assert 0 < float(line["median ms"]) <= float(line["99th percentile"]) <= float(line["most"])
    assert float(lines[-1]["made"]) <= 100


def test_the_peak_of_all_processes_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that run side by side count together, the end is seen at once, and a failure is told."""
    monkeypatch.syspath_prepend(str(BENCH))
    from peak import watch

    child = "import time; held = bytearray(60 << 20); time.sleep(1)"
    program = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}]); {child}; p.wait()"
    found = watch([sys.executable, "-c", program], interval_s=0.05)
    assert found.sum_mib > 120
    assert 60 < found.largest_mib < 120
    assert watch([sys.executable, "-c", "print('done')"], interval_s=60).wall_s < 30
    with pytest.raises(RuntimeError, match=r"exit 3"):
        watch([sys.executable, "-c", "raise SystemExit(3)"])


def test_the_benchmark_of_workers(flavour: Flavour) -> None:
    """One round with few rows: a line for each number of processes."""
    (table,) = _run("workers.py", flavour, "--rows", "2000", "--ranges", "2", "--rounds", "1", "--workers", "1", "2")
    assert [line["workers"] for line in table] == ["1", "2"]
