"""Fixtures for the tests of the Dagster side."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_support import Pair
from servers import Flavour, Server

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Dagster leaves an event loop's sockets open in each run."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))


@pytest.fixture(autouse=True)
def collect_dagsters_sockets() -> Iterator[None]:
    """So that they are not found, and held against it, in a test of something else."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def pair(source_server: Server, target_server: Server, tmp_path: Path) -> Pair:
    """Servers of the flavour that the test runs for, with small tables `users` and `orders`."""
    found = Pair(source_server, target_server, tmp_path)
    found.prepare()
    return found


@pytest.fixture
def mysql_pair(servers: Any, tmp_path: Path) -> Pair:
    """The same on MySQL only, for what does not depend on the flavour."""
    flavour: Flavour = "mysql"
    found = Pair(servers.get("source", flavour), servers.get("target", flavour), tmp_path)
    found.prepare()
    return found


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found
