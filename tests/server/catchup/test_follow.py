"""Follow mode: a run that goes on applying what the source writes."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pymysql
import pytest
from server_farm import Servers
from servers import Flavour, Server

from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.config.pipeline import Pipeline
from myrepetl_dagster.core.model.errors import StopRequested
from myrepetl_dagster.core.replication.run import SourceRun
from myrepetl_dagster.core.source.binlog_stream import LogStream
from myrepetl_dagster.core.source.mysql_source import MySQLSource

PATIENCE_S = 20.0


def _pipeline(source: Server, target: Server, name: str) -> Pipeline:
    for server in (source, target):
        server.execute(
            f"CREATE DATABASE {name}",
            "CREATE USER IF NOT EXISTS 'follower'@'%' IDENTIFIED BY 'pw'",
            "GRANT ALL ON *.* TO 'follower'@'%'",
        )
    connection = {"host": source.host, "user": "follower", "password": "pw", "database": name}
    return from_dict(
        {
            "sources": {"a": {**connection, "port": source.port}},
            "targets": {"b": {**connection, "port": target.port, "host": target.host}},
            "mapping": {"a.t": {"target_table": "b.copy_of_t"}},
        }
    )


def _await(target: Server, name: str, rows: int, table: str = "copy_of_t") -> float:
    """Seconds until the target holds so many rows."""
    start_s = time.monotonic()
    while time.monotonic() - start_s < PATIENCE_S:
        try:
            if target.execute(f"SELECT COUNT(*) FROM {name}.{table}")[0][0] == rows:
                return time.monotonic() - start_s
        except pymysql.MySQLError:
            pass  # the table is still to be created
        time.sleep(0.02)
    pytest.fail(f"{rows} rows did not arrive")


@contextlib.contextmanager
def _following(pipeline: Pipeline, *, apart: bool = False) -> Iterator[list[SourceRun]]:
    """One run for all mappings, or one for each, until the block ends."""
    mappings = [[mapping] for mapping in pipeline.mappings] if apart else [pipeline.mappings]
    runs = [SourceRun(pipeline, own, follow_s=120) for own in mappings]
    with ThreadPoolExecutor(len(runs)) as pool:
        ended = [pool.submit(run.run) for run in runs]
        try:
            yield runs
        finally:
            for run in runs:
                run.stop()
    assert [type(one.exception()) for one in ended] == [StopRequested] * len(runs)


def test_rows_arrive_while_the_run_follows(servers: Servers, flavour: Flavour) -> None:
    """What is committed at the source is in the target while the run still follows, the last row included."""
    source, target = servers.get("source", flavour), servers.get("target", flavour)
    name = f"follow_{flavour}"
    pipeline = _pipeline(source, target, name)
    source.execute(f"CREATE TABLE {name}.t (id INT PRIMARY KEY)", f"INSERT INTO {name}.t VALUES (1)")
    with _following(pipeline) as (run,):
        _await(target, name, 1)
        for row in (2, 3, 4):
            source.execute(f"INSERT INTO {name}.t VALUES ({row})")
            waited_s = _await(target, name, row)
            print(f"row {row} after {waited_s:.3f} s")

    assert run.results["a.t"].error is None
    assert run.results["a.t"].changes_applied == 3


def test_a_change_of_the_source_table_is_followed_too(servers: Servers, flavour: Flavour) -> None:
    """A column added to the source while a run follows reaches the target, with the rows that use it."""
    source, target = servers.get("source", flavour), servers.get("target", flavour)
    name = f"follow_ddl_{flavour}"
    pipeline = _pipeline(source, target, name)
    source.execute(f"CREATE TABLE {name}.t (id INT PRIMARY KEY)", f"INSERT INTO {name}.t VALUES (1)")
    with _following(pipeline):
        _await(target, name, 1)
        source.execute(f"ALTER TABLE {name}.t ADD COLUMN word VARCHAR(10)", f"INSERT INTO {name}.t VALUES (2, 'two')")
        _await(target, name, 2)

    assert target.execute(f"SELECT * FROM {name}.copy_of_t ORDER BY id") == ((1, None), (2, "two"))


def test_two_runs_of_one_source_with_one_server_id(
    servers: Servers, flavour: Flavour, caplog: pytest.LogCaptureFixture
) -> None:
    """Runs for different mappings follow one source side by side under one configured number: neither is thrown out,
    and a stream that a killed run has left behind at the server is in nobody's way.
    """
    source, target = servers.get("source", flavour), servers.get("target", flavour)
    name = f"follow_two_{flavour}"
    one = _pipeline(source, target, name)
    endpoint = replace(one.sources["a"], server_id=88001)
    other = replace(one.mappings[0], name="a.u", source_table="u", target_table="copy_of_u")
    pipeline = replace(one, sources={"a": endpoint}, mappings=(*one.mappings, other))
    source.execute(f"CREATE TABLE {name}.t (id INT PRIMARY KEY)", f"CREATE TABLE {name}.u (id INT PRIMARY KEY)")
    with contextlib.ExitStack() as stack:
        left = MySQLSource(endpoint, pipeline.limits)
        stack.callback(left.close)
        stack.enter_context(LogStream(endpoint, left.info, pipeline.limits, left.head(), 88001, follow=True))
        runs = stack.enter_context(_following(pipeline, apart=True))
        for row in range(1, 6):
            source.execute(f"INSERT INTO {name}.t VALUES ({row})", f"INSERT INTO {name}.u VALUES ({row})")
            _await(target, name, row)
            _await(target, name, row, "copy_of_u")
    assert [result.error for run in runs for result in run.results.values()] == [None, None]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]  # no attempt failed
