"""Programs of Debian's packages, fetched without root as the servers are, and run by their own loader."""

from __future__ import annotations

import socket
from pathlib import Path

from server_binaries import fetched_tool


def program(package: str, path: str) -> list[str]:
    """The command that runs a program of a package. `path`: where the package has it, as a pattern."""
    folder = fetched_tool(package, [package], None)
    (found, *_) = sorted(folder.glob(path))
    loader = next(p for lib in ("usr/lib", "lib") for p in folder.glob(f"{lib}/*/ld-linux*.so.*"))
    return [str(loader), "--library-path", libraries(folder), str(found)]


def libraries(folder: Path) -> str:
    found = (*folder.glob("usr/lib/*-linux-gnu*"), *folder.glob("lib/*-linux-gnu*"))
    return ":".join(str(path) for path in found)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
