"""How many questions a tick and an empty run ask: each is a round trip to a server that may be far away."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pymysql
import pytest
from pipelines import SOURCES, Pair, Route, pair
from server_farm import Servers

from myrepetl_dagster.core.diagnostics.pending_changes import pending_changes

TABLES = [f"t{n}" for n in range(6)]


@pytest.fixture(params=SOURCES, ids=str)
def caught_up(servers: Servers, request: pytest.FixtureRequest) -> Pair:
    route: Route = request.param
    made = pair(servers, route)
    made.on_source(*(f"CREATE TABLE {name} (id INT PRIMARY KEY, v INT)" for name in TABLES))
    made.run(" ".join(TABLES))
    return made


@contextlib.contextmanager
def questions() -> Iterator[list[str]]:
    """What is asked by statements of any connection, but for the settings of its session."""
    asked: list[str] = []
    query = pymysql.connections.Connection.query

    def noted(self: object, sql: str | bytes, unbuffered: bool = False) -> int:
        text = sql.decode("latin-1") if isinstance(sql, (bytes, bytearray)) else sql
        if not text.startswith(("SET ", "ROLLBACK", "COMMIT")):
            asked.append(text)
        return int(query(self, sql, unbuffered))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pymysql.connections.Connection, "query", noted)
        yield asked


def test_a_tick_asks_the_same_few_questions_for_any_number_of_tables(caught_up: Pair) -> None:
    """The sensor's question costs each server a handful of statements, not some for each table."""
    counts = []
    for tables in (TABLES[:1], TABLES):
        pipeline = caught_up.pipeline(" ".join(tables))
        with questions() as asked:
            found = pending_changes(pipeline, pipeline.mappings)
        assert [one.due for one in found] == [False] * len(tables)
        counts.append(len(asked))

    assert counts[0] == counts[1] <= 6


def test_an_empty_run_asks_little_for_each_table(caught_up: Pair) -> None:
    """What a table more costs a run that finds nothing to do is bounded: of what kind it is, its foreign keys, its place
    in the log. Columns, keys and checkpoints are asked for all tables at once.
    """
    counts = []
    for tables in (TABLES[:1], TABLES):
        caught_up.run(" ".join(tables))  # what one table more costs the first time does not count
        with questions() as asked:
            caught_up.run(" ".join(tables))
        counts.append(len(asked))

    assert (counts[1] - counts[0]) / (len(TABLES) - 1) <= 5
