"""Native tools to compare and to test with, fetched from Debian like the servers; processes measured from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peak import watch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from server_binaries import Flavour as Flavour  # noqa: E402
from server_binaries import fetched_tool  # noqa: E402
from server_binaries import servers_dir as servers_dir  # noqa: E402
from servers import Server as Server  # noqa: E402

SAMPLED_EVERY_S = 0.05

# name of the folder: (packages to try, programs that must be in it)
_PACKAGES = {
    "mysql": (("mysql-client-core", "default-mysql-client-core"), ("mysqldump", "mysql")),
    "mariadb": (("mariadb-client",), ("mariadb-dump", "mariadb")),  # -core has no mariadb-dump
    "mydumper": (("mydumper",), ("mydumper", "myloader")),
    "percona-toolkit": (("percona-toolkit",), ("perl", "pt-table-checksum")),
}
_SUITE = {"mysql": "sid", "mariadb": None, "mydumper": "sid", "percona-toolkit": None}


def tools(name: str) -> dict[str, list[str]] | None:
    """The programs of a package as commands, fetched once; None where they cannot be had."""
    packages, programs = _PACKAGES[name]
    try:
        folder = fetched_tool(name, packages, _SUITE[name])
    except (OSError, subprocess.SubprocessError) as error:
        print(f"{name}: not to be had ({error})", file=sys.stderr)
        return None
    loader = next((p for lib in ("usr/lib", "lib") for p in folder.glob(f"{lib}/*/ld-linux*.so.*")), None)
    if loader is None or not all((folder / "usr/bin" / p).exists() for p in programs):
        return None
    libraries = ":".join(str(p) for p in (*folder.glob("usr/lib/*-linux-gnu*"), *folder.glob("lib/*-linux-gnu*")))
    return {p: [str(loader), "--library-path", libraries, str(folder / "usr/bin" / p)] for p in programs}


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of a command: seconds of wall clock, of the client's CPU, of each server's CPU; `peak_mib`: the most
    that all its processes had resident at one moment.
    """

    wall_s: float
    client_cpu_s: float
    server_cpu_s: tuple[float, ...]
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
    argv = ["bash", "-o", "pipefail", "-c", command] if isinstance(command, str) else command
    before = [cpu_s(server) for server in servers]
    run = watch(argv, env, SAMPLED_EVERY_S)
    used = tuple(cpu_s(server) - earlier for server, earlier in zip(servers, before, strict=True))
    # Of one process, a peak between two samples is known, too.
    return Measured(run.wall_s, run.cpu_s, used, max(run.sum_mib, run.largest_mib))
