"""The real servers of a test session."""

from __future__ import annotations

from pathlib import Path

from servers import Flavour, Server


class Servers:
    """The session's servers: one for each role, flavour and set of options."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._servers: dict[tuple[object, ...], Server] = {}

    def get(self, role: str, flavour: Flavour, gtid: bool = True, **options: str | None) -> Server:
        """A running server; options are the server's own, with underscores: binlog_row_image="MINIMAL"."""
        key = (role, flavour, gtid, *sorted(options.items()))
        if key not in self._servers:
            directory = self._directory / f"{len(self._servers)}-{role}-{flavour}"
            # With a few dozen servers the system runs out of what native AIO needs of it (fs.aio-max-nr).
            aio = {"innodb_use_native_aio": "OFF"} if flavour == "mysql" else {}
            self._servers[key] = Server(flavour, directory, {**aio, **options}, gtid)
        server = self._servers[key]
        server.start()  # Also when a test before this one killed it and failed.
        return server

    def stop(self) -> None:
        """Kill them all: nobody reads their datadirs any more, and MySQL takes seconds to stop in order."""
        for server in self._servers.values():
            server.kill()
