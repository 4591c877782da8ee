"""Fixtures shared by all tests: real servers, started when a test first asks and stopped at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import FLAVOURS, Flavour, Server


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
            self._servers[key] = Server(flavour, directory, options, gtid)
        server = self._servers[key]
        server.start()  # Also when a test before this one killed it and failed.
        return server

    def stop(self) -> None:
        """Kill them all: nobody reads their datadirs any more, and MySQL takes seconds to stop in order."""
        for server in self._servers.values():
            server.kill()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The factory of real servers: `servers.get(role, flavour, gtid, **options)`."""
    factory = Servers(tmp_path_factory.mktemp("servers"))
    yield factory
    factory.stop()


@pytest.fixture(scope="session", params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    """Each test that asks for this runs once for MySQL and once for MariaDB."""
    return "mariadb" if request.param == "mariadb" else "mysql"


@pytest.fixture
def source_server(servers: Servers, flavour: Flavour) -> Server:
    """A running server to replicate from, shared by the session."""
    return servers.get("source", flavour)


@pytest.fixture
def target_server(servers: Servers, flavour: Flavour) -> Server:
    """A running server to replicate to, shared by the session."""
    return servers.get("target", flavour)
