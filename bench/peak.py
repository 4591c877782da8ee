"""The memory of a command and of all the processes that it starts, sampled from outside while it runs."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


def watch(command: Sequence[str], env: Mapping[str, str] | None = None, interval_s: float = INTERVAL_S) -> Peak:
    """Run a command to its end, which is seen at once, whatever the interval.

    Raises:
        RuntimeError: it failed; with the end of what it printed.
    """
    with tempfile.TemporaryFile("w+") as out:
        start_s = time.monotonic()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **(env or {})}
        )
        sum_bytes = largest_kib = 0
        ended = select.poll()
        ended.register(pidfd := os.pidfd_open(process.pid), select.POLLIN)
        try:
            while True:
                pids = [process.pid, *_descendants(process.pid)]
                sum_bytes = max(sum_bytes, sum(map(_resident_bytes, pids)))
                largest_kib = max(largest_kib, *map(_high_water_kib, pids))
                if ended.poll(interval_s * 1000):
                    break
        finally:
            os.close(pidfd)
        wall_s = time.monotonic() - start_s
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        printed = out.read()
    if process.returncode:
        raise RuntimeError(f"exit {process.returncode}: {printed[-2000:]}")
    return Peak(wall_s, used.ru_utime + used.ru_stime, sum_bytes / 2**20, largest_kib / 1024, printed)


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    looked_at = [pid]
    while looked_at:
        looked_at = [child for parent in looked_at for child in _children(parent)]
        found += looked_at
    return found


def _children(pid: int) -> list[int]:
    """By the kernel's own lists, one of each thread: to look through all of /proc takes milliseconds."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:  # it ended
        return []
    return [int(child) for thread in threads for child in _read(f"/proc/{pid}/task/{thread}/children").split()]


def _resident_bytes(pid: int) -> int:
    fields = _read(f"/proc/{pid}/statm").split()
    return int(fields[1]) * _PAGE if fields else 0


def _high_water_kib(pid: int) -> int:
    fields = _read(f"/proc/{pid}/status").partition(b"VmHWM:")[2].split(maxsplit=1)
    return int(fields[0]) if fields else 0


def _read(path: str) -> bytes:
    """A file of /proc; nothing if the process has ended."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""
