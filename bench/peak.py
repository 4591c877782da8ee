"""The memory of a command and of all the processes that it starts, sampled from outside while it runs."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

INTERVAL_S = 0.02
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Peak:
    """`sum_mib`: the most that all processes had resident at one moment; pages that they share count for each.

    `largest_mib`: the kernel's own high-water mark (VmHWM) of the largest of them, which hardly a sample can miss.
    """

    wall_s: float
    cpu_s: float
    sum_mib: float
    largest_mib: float
    printed: str


def watch(command: Sequence[str], env: Mapping[str, str] | None = None) -> Peak:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed; with the end of what it printed.
    """
    with tempfile.TemporaryFile("w+") as out:
        start_s = time.monotonic()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **(env or {})}
        )
        sum_bytes = largest_kib = count = 0
        pids = [process.pid]
        while True:
            if count % 5 == 0:
                pids = [process.pid, *_descendants(process.pid)]
            count += 1
            sum_bytes = max(sum_bytes, sum(map(_resident_bytes, pids)))
            largest_kib = max(largest_kib, *map(_high_water_kib, pids), 0)
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                break
            time.sleep(INTERVAL_S)
        wall_s = time.monotonic() - start_s
        out.seek(0)
        printed = out.read()
    if process.returncode:
        raise RuntimeError(f"exit {process.returncode}: {printed[-2000:]}")
    return Peak(wall_s, used.ru_utime + used.ru_stime, sum_bytes / 2**20, largest_kib / 1024, printed)


def _descendants(pid: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                parents[int(entry)] = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
    found: list[int] = []
    looked_at = {pid}
    while looked_at:
        looked_at = {child for child, parent in parents.items() if parent in looked_at}
        found += looked_at
    return found


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _high_water_kib(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError, ValueError):
        return 0
