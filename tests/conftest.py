"""Fixtures shared by all tests: real servers, started when a test first asks and stopped at the end."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator

import hypothesis
import pytest
from server_farm import Servers
from servers import FLAVOURS, Flavour, Server

OTHER_VERSIONS = ("10.5", "11.8")  # of MariaDB, beside the machine's own (10.11 on Debian 12)

# No deadline for an example: on a busy machine it says nothing about the code.
hypothesis.settings.register_profile("ours", deadline=None)
hypothesis.settings.register_profile("fast", deadline=None, max_examples=25)  # of `make test-fast`
hypothesis.settings.load_profile("ours")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that is marked `versions` runs for each version of MariaDB in place of the machine's own."""
    marked = any(map(metafunc.definition.get_closest_marker, ("versions", "versions_in_soak")))
    if marked and "mariadb_version" in metafunc.fixturenames:
        ids = ["", *OTHER_VERSIONS]
        metafunc.parametrize("mariadb_version", [None, *OTHER_VERSIONS], ids=ids, indirect=True, scope="module")


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    """Marks the tests of another version of MariaDB in which there is no MariaDB, and those for the soak."""
    callspec = getattr(item, "callspec", None)
    if callspec and callspec.params.get("mariadb_version"):
        if "mariadb" not in item.name and "mariadb" not in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.no_mariadb)
        if item.get_closest_marker("versions_in_soak"):
            item.add_marker(pytest.mark.soak)


@pytest.hookimpl(trylast=True)  # after pytest-randomly
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Each worker is given the next so many tests, and begins with its share of the modules with long ones.

    For a long test that is begun last everybody waits.
    """
    items[:] = [item for item in items if not item.get_closest_marker("no_mariadb")]
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    long = [item for item in items if item.get_closest_marker("long")]
    others = iter([item for item in items if not item.get_closest_marker("long")])
    modules = list(dict.fromkeys(item.path for item in long))
    ordered: list[pytest.Item] = []
    for number in range(workers):
        share = [item for item in long if modules.index(item.path) % workers == number]
        ordered += [*share, *itertools.islice(others, max(0, len(items) // workers - len(share)))]
    items[:] = [*ordered, *others]


def pytest_collection_finish() -> None:
    """What is alive by now stays so: Python need not look through it each time that it collects garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The factory of real servers: `servers.get(role, flavour, gtid, **options)`."""
    factory = Servers(tmp_path_factory.mktemp("servers"))
    yield factory
    factory.stop()


@pytest.fixture(scope="module", autouse=True)
def mariadb_version(request: pytest.FixtureRequest, servers: Servers) -> Iterator[str | None]:
    """The version of every MariaDB that the test asks for without naming one; None: the machine's own."""
    servers.mariadb_version = getattr(request, "param", None)
    yield servers.mariadb_version
    servers.mariadb_version = None


@pytest.fixture(scope="module", autouse=True)
def servers_rest(servers: Servers) -> Iterator[None]:
    """Between two modules most of the odd servers are ended, since memory is finite."""
    yield
    servers.rest()


@pytest.fixture(scope="module", params=FLAVOURS)
def flavour(request: pytest.FixtureRequest, mariadb_version: str | None) -> Flavour:
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
