"""The real servers of a test session."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path

from servers import Flavour, Server

# A test's server need not outlive the machine, only its own death: it never waits for the disk. Nobody looks into
# performance_schema, which takes as much memory as everything else.
_HASTY: dict[Flavour, dict[str, str | None]] = {
    "mysql": {
        "innodb_flush_method": "nosync",
        # With a few dozen servers the system runs out of what native AIO needs of it (fs.aio-max-nr).
        "innodb_use_native_aio": "OFF",
        "performance_schema": "OFF",
    },
    "mariadb": {"loose_innodb_flush_method": "nosync", "loose_debug_no_sync": "ON"},  # ignored where unknown
}
# For a server that shall wait for the disk all the same: what lies between the log and the tables then shows.
SYNCING: dict[Flavour, dict[str, str | None]] = {
    "mysql": {"innodb_flush_method": "fsync"},
    "mariadb": {"loose_innodb_flush_method": "fsync", "loose_debug_no_sync": "OFF"},
}
# How many of the servers that few modules ask for go on running between two modules.
_ODD_MAX = 4


def private(
    flavour: Flavour,
    directory: Path,
    options: Mapping[str, str | None] | None = None,
    gtid: bool = True,
    version: str | None = None,
) -> Server:
    """A server for one test, which starts and ends it; options are the server's own, with underscores.

    `version`: "11.8" for a MariaDB of that version.
    """
    return Server(flavour, directory, {**_HASTY[flavour], **(options or {})}, gtid, version=version)


class Servers:
    """The session's servers: one for each role, flavour, version and set of options.

    `mariadb_version`: of each MariaDB that is asked for without a version; None: the machine's own.
    """

    def __init__(self, directory: Path) -> None:
        self.mariadb_version: str | None = None
        self._directory = directory
        self._numbers = itertools.count()
        self._servers: dict[tuple[object, ...], Server] = {}  # last: the one that was asked for last

    def get(
        self, role: str, flavour: Flavour, gtid: bool = True, version: str | None = None, **options: str | None
    ) -> Server:
        """A running server; options are the server's own, with underscores: binlog_row_image="MINIMAL".

        `version`: "11.8" for a MariaDB of that version; None: `mariadb_version`, or the machine's own.
        """
        version = version or (self.mariadb_version if flavour == "mariadb" else None)
        key = (role, flavour, gtid, version, *sorted(options.items()))
        server = self._servers.pop(key, None)
        if server is None:
            directory = self._directory / f"{next(self._numbers)}-{role}-{flavour}"
            server = private(flavour, directory, options, gtid, version)
        self._servers[key] = server
        server.start()  # Also when a test before this one killed it and failed.
        return server

    def rest(self) -> None:
        """Between two modules: end the servers of a role, a version or options of their own, but for the last few.

        Memory and disk would otherwise fill with servers that nobody asks for again. One that is asked for again is new.
        """
        odd = [key for key in self._servers if key[0] not in ("source", "target") or key[3] or len(key) > 4]
        for key in odd[:-_ODD_MAX]:
            server = self._servers.pop(key)
            server.kill()
            shutil.rmtree(server.directory, ignore_errors=True)

    def stop(self) -> None:
        """Kill them all: nobody reads their datadirs any more, and MySQL takes seconds to stop in order."""
        for server in self._servers.values():
            server.kill()
