"""The benchmark runs, small: so that it is there when it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from servers import Flavour

BENCH = Path(__file__).resolve().parent.parent / "bench"
COPIES = ["ours", "ours, built-in transforms, a filter", "ours, a Python transform"]
NATIVE = ["dump, load", "mydumper, myloader", "mydumper, myloader with binlog"]


def test_the_benchmark_prints_its_tables(flavour: Flavour, monkeypatch: pytest.MonkeyPatch) -> None:
    """One round with few rows: every way to copy has its line beside the native tools, and so has every log."""
    monkeypatch.syspath_prepend(str(BENCH))
    from tools import tools

    sizes = ["--rows", "3000", "--changes", "600", "--rounds", "1", "--table", "users", "fifty"]
    command = [sys.executable, str(BENCH / "compare.py"), "--flavour", flavour, *sizes]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    lines = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith(f"| {flavour} ")]
    assert {cells[1] for cells in lines} >= {"users", "fifty", "mixed", "hot rows"}
    copied = {cells[2] for cells in lines if cells[1] == "users"}
    assert copied >= set(COPIES)
    if None in (tools(flavour), tools("mydumper")):
        pytest.skip("the native tools cannot be fetched")
    assert copied == {*COPIES, *NATIVE}, done.stderr
