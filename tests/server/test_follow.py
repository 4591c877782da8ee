"""Follow mode: a run that goes on applying what the source writes."""

from __future__ import annotations

import threading
import time

import pymysql
import pytest
from server_farm import Servers
from servers import Flavour, Server

from myrepetl_dagster.core.config import from_dict
from myrepetl_dagster.core.pipeline import Pipeline
from myrepetl_dagster.core.replicate import MappingResult, SourceRun

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


def _await(target: Server, name: str, rows: int) -> float:
    """Seconds until the target holds so many rows."""
    start_s = time.monotonic()
    while time.monotonic() - start_s < PATIENCE_S:
        try:
            if target.execute(f"SELECT COUNT(*) FROM {name}.copy_of_t")[0][0] == rows:
                return time.monotonic() - start_s
        except pymysql.MySQLError:
            pass  # the table is still to be created
        time.sleep(0.02)
    pytest.fail(f"{rows} rows did not arrive")


def test_rows_arrive_while_the_run_follows(servers: Servers, flavour: Flavour) -> None:
    """What is committed at the source is in the target while the run still follows, the last row included."""
    source, target = servers.get("source", flavour), servers.get("target", flavour)
    name = f"follow_{flavour}"
    pipeline = _pipeline(source, target, name)
    source.execute(f"CREATE TABLE {name}.t (id INT PRIMARY KEY)", f"INSERT INTO {name}.t VALUES (1)")
    run = SourceRun(pipeline, pipeline.mappings, follow_s=120)
    results: list[MappingResult] = []
    thread = threading.Thread(target=lambda: results.extend(run.run()))
    thread.start()
    try:
        _await(target, name, 1)
        for row in (2, 3, 4):
            source.execute(f"INSERT INTO {name}.t VALUES ({row})")
            waited_s = _await(target, name, row)
            print(f"row {row} after {waited_s:.3f} s")
    finally:
        run.stop_following()
        thread.join(PATIENCE_S)

    assert not thread.is_alive()
    assert [result.error for result in results] == [None]
    assert results[0].changes_applied == 3


def test_a_change_of_the_source_table_is_followed_too(servers: Servers, flavour: Flavour) -> None:
    """A column added to the source while a run follows reaches the target, with the rows that use it."""
    source, target = servers.get("source", flavour), servers.get("target", flavour)
    name = f"follow_ddl_{flavour}"
    pipeline = _pipeline(source, target, name)
    source.execute(f"CREATE TABLE {name}.t (id INT PRIMARY KEY)", f"INSERT INTO {name}.t VALUES (1)")
    run = SourceRun(pipeline, pipeline.mappings, follow_s=120)
    thread = threading.Thread(target=run.run)
    thread.start()
    try:
        _await(target, name, 1)
        source.execute(f"ALTER TABLE {name}.t ADD COLUMN word VARCHAR(10)", f"INSERT INTO {name}.t VALUES (2, 'two')")
        _await(target, name, 2)
    finally:
        run.stop_following()
        thread.join(PATIENCE_S)

    assert target.execute(f"SELECT * FROM {name}.copy_of_t ORDER BY id") == ((1, None), (2, "two"))
