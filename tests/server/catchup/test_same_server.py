"""Source and target on one server, or each other's: our own commits are in the log that we read."""

from __future__ import annotations

import pytest
from pipelines import SOURCES, Pair, Route, pair_of
from server_farm import Servers

from myrepetl_dagster.core.config.pipeline import Pipeline
from myrepetl_dagster.core.diagnostics.pending_changes import SCAN_BYTES_MAX, pending_changes


@pytest.fixture(params=SOURCES, ids=lambda route: str(route).partition("-to-")[0])
def pair(request: pytest.FixtureRequest, servers: Servers) -> Pair:
    """Two schemas of one server; the first has a mapped table and one that nobody maps."""
    route: Route = request.param
    server = servers.get("source", route.source, route.gtid)
    made = pair_of(server, server)
    made.on_source("CREATE TABLE t (id INT PRIMARY KEY, v INT)", "INSERT INTO t VALUES (1, 1), (2, 2)")
    made.on_source("CREATE TABLE other (id INT AUTO_INCREMENT PRIMARY KEY, v LONGTEXT)")
    return made


def due(pipeline: Pipeline) -> list[str]:
    return [one.mapping.name for one in pending_changes(pipeline, pipeline.mappings) if one.due]


def test_a_run_is_asked_for_only_when_something_mapped_has_changed(pair: Pair) -> None:
    """The sensor's question: yes before the first run and after a change; no after a run, however often it is asked,
    although each run's own commits have moved the head of the log that it reads.
    """
    pipeline = pair.pipeline("t")
    assert due(pipeline) == ["a.t"]
    pair.run(pipeline)
    assert due(pipeline) == due(pipeline) == []

    for statement in ("UPDATE t SET v=v+1", "DELETE FROM t WHERE id=1", "ALTER TABLE t COMMENT 'x'", "TRUNCATE t"):
        pair.on_source(statement)
        assert due(pipeline) == ["a.t"], statement
        pair.run(pipeline)
        assert due(pipeline) == [], statement
    pair.assert_same("t")


def test_an_xa_transaction_is_asked_for_when_it_is_decided(pair: Pair) -> None:
    """Prepared rows are read, and their commit is another reason for a run."""
    pipeline = pair.pipeline("t")
    pair.run(pipeline)
    pair.on_source("XA START 'x'", "UPDATE t SET v=9 WHERE id=1", "XA END 'x'", "XA PREPARE 'x'")
    assert due(pipeline) == ["a.t"]
    pair.run(pipeline)
    assert due(pipeline) == []
    pair.on_source("XA COMMIT 'x'")
    assert due(pipeline) == ["a.t"]
    pair.run(pipeline)
    pair.assert_same("t")


def test_the_checkpoint_follows_a_log_that_holds_only_others_changes(pair: Pair) -> None:
    """After so many bytes, or in a new file, a run is asked for, so that the log can be purged behind it."""
    pipeline = pair.pipeline("t")
    pair.run(pipeline)
    pair.on_source("INSERT INTO other (v) VALUES ('short')")
    assert due(pipeline) == []
    pair.on_source(f"INSERT INTO other (v) VALUES (REPEAT('x', {SCAN_BYTES_MAX}))")
    assert due(pipeline) == ["a.t"]
    pair.run(pipeline)
    assert due(pipeline) == []
    pair.on_source("FLUSH BINARY LOGS")
    assert due(pipeline) == ["a.t"]


def test_only_the_mappings_that_have_something_to_do_are_named(pair: Pair) -> None:
    """Of two mappings of one source, the one whose table has changed."""
    pair.on_source("CREATE TABLE u (id INT PRIMARY KEY)")
    pipeline = pair.pipeline("t u")
    pair.run(pipeline)
    assert due(pipeline) == []
    pair.on_source("INSERT INTO u VALUES (1)")
    assert due(pipeline) == ["a.u"]
