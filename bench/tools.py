"""The native tools to compare with, fetched from Debian like the servers, and processes measured from outside."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from server_binaries import Flavour as Flavour  # noqa: E402
from server_binaries import servers_dir as servers_dir  # noqa: E402
from server_binaries import unpack  # noqa: E402
from servers import Server as Server  # noqa: E402

# name of the folder: (packages to try, programs that must be in it)
_PACKAGES = {
    "mysql": (("mysql-client-core", "default-mysql-client-core"), ("mysqldump", "mysql")),
    "mariadb": (("mariadb-client",), ("mariadb-dump", "mariadb")),  # -core has no mariadb-dump
    "mydumper": (("mydumper",), ("mydumper", "myloader")),
}
_SUITE = {"mysql": "sid", "mariadb": None, "mydumper": "sid"}


def tools(name: str) -> dict[str, list[str]] | None:
    """The programs of a package as commands, fetched once; None where they cannot be had."""
    packages, programs = _PACKAGES[name]
    folder = servers_dir() / "tools" / name
    if not all((folder / "usr/bin" / p).exists() for p in programs):
        partial = servers_dir() / "tools" / f"{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            unpack(packages, partial, _SUITE[name])
            shutil.rmtree(folder, ignore_errors=True)
            (partial / "root").rename(folder)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"{name}: not to be had ({error})", file=sys.stderr)
            return None
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    loader = next((p for lib in ("usr/lib", "lib") for p in folder.glob(f"{lib}/*/ld-linux*.so.*")), None)
    if loader is None or not all((folder / "usr/bin" / p).exists() for p in programs):
        return None
    libraries = ":".join(str(p) for p in (*folder.glob("usr/lib/*-linux-gnu*"), *folder.glob("lib/*-linux-gnu*")))
    return {p: [str(loader), "--library-path", libraries, str(folder / "usr/bin" / p)] for p in programs}


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of a command: seconds of wall clock, of the client's CPU, of both servers' CPU; peak MiB of the
    largest client process.
    """

    wall_s: float
    client_cpu_s: float
    server_cpu_s: float
    peak_mib: float


def cpu_s(server: Server) -> float:
    """CPU seconds that a server has used so far."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(command: str | Sequence[str], servers: Sequence[Server], env: dict[str, str] | None = None) -> Measured:
    """Run a command (a string: by bash, pipes and all) to its end.

    Raises:
        RuntimeError: it failed; with the end of what it printed.
    """
    before = sum(map(cpu_s, servers))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    start_s = time.monotonic()
    argv = ["bash", "-o", "pipefail", "-c", command] if isinstance(command, str) else list(command)
    probe = "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]);"
    probe += " print('PEAK', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); sys.exit(code)"
    done = subprocess.run(
        [sys.executable, "-c", probe, *argv], capture_output=True, text=True, env={**os.environ, **(env or {})}
    )
    wall_s = time.monotonic() - start_s
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    client = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    peak_kib = int(done.stderr.rpartition("PEAK ")[2].split()[0])
    return Measured(wall_s, client, sum(map(cpu_s, servers)) - before, peak_kib / 1024)
