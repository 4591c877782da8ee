"""Fixtures shared by all tests: real servers, started when a test first asks and stopped at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from server_farm import Servers
from servers import FLAVOURS, Flavour, Server


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
