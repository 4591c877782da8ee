"""Help for tests that run whole pipelines between real servers, as accounts with the least grants that do."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pymysql
from server_farm import Servers
from servers import Flavour, Server

from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.config.pipeline import Pipeline
from myrepetl_dagster.core.model.checkpoint import Phase
from myrepetl_dagster.core.model.errors import ReplicationError
from myrepetl_dagster.core.replication.result import MappingResult, Progress
from myrepetl_dagster.core.replication.source_runs import replicate

PASSWORD = "least"
_numbers = itertools.count(1)


# What files of the original MyRepETL spell out of its own connection defaults.
ORIGINAL_DATABASE: dict[str, Any] = {
    "connect_timeout": 10,
    "read_timeout": 30,
    "write_timeout": 30,
    "autocommit": True,
    "charset": "utf8mb4",
    "use_unicode": True,
    "sql_mode": "TRADITIONAL",
    "init_command": "SET SESSION wait_timeout=28800, interactive_timeout=28800",
}


@dataclass(frozen=True)
class Route:
    """From which kind of server to which."""

    source: Flavour
    gtid: bool
    target: Flavour

    def __str__(self) -> str:
        kind = "" if self.source == "mariadb" else "-gtid" if self.gtid else "-file"
        return f"{self.source}{kind}-to-{self.target}"


ROUTES = (
    Route("mysql", True, "mysql"),
    Route("mysql", False, "mariadb"),
    Route("mariadb", True, "mysql"),
    Route("mariadb", True, "mariadb"),
    Route("mysql", True, "mariadb"),
)
SOURCES = ROUTES[:3]  # every kind of source once
# Beside SELECT on what is read. MariaDB 10.5 split REPLICATION CLIENT; BINLOG MONITOR is its new name.
SOURCE_GRANTS: dict[Flavour, str] = {
    "mysql": "REPLICATION SLAVE, REPLICATION CLIENT",
    "mariadb": "REPLICATION SLAVE, BINLOG MONITOR",
}
TARGET_GRANTS = "SELECT, INSERT, UPDATE, DELETE, CREATE"
# What it takes beside them to write rows as events; TRIGGER to see that there are none.
REPLAY_GRANTS: dict[Flavour, str] = {"mysql": "REPLICATION_APPLIER", "mariadb": "BINLOG REPLAY"}
# Every pipeline of a test run writes rows as events where it can: MYREPETL_TEST_REPLAY=1 pytest …
REPLAY = os.environ.get("MYREPETL_TEST_REPLAY") == "1"


@dataclass
class Pair:
    """A schema on a source and one on a target, both empty at first, and how to replicate between them.

    `replays`: the account on the target may write rows as events, and does so from the first row on.
    """

    source: Server
    target: Server
    source_schema: str
    target_schema: str
    limits: dict[str, float] = field(default_factory=dict)
    replication: dict[str, Any] = field(default_factory=dict)
    replays: bool = REPLAY

    @property
    def writer(self) -> str:
        return "replayer" if self.replays and not REPLAY else "writer"

    @property
    def gtid(self) -> bool:
        return self.source.gtid

    def chunks_of(self, rows: int) -> None:
        """Copy with a commit after so many rows."""
        self.limits |= {"chunk_rows_max": rows, "copy_window_rows": rows}

    # ---- SQL as root ----
    def on_source(self, *statements: str) -> tuple[Any, ...]:
        return _execute(self.source, self.source_schema, statements)

    def on_target(self, *statements: str) -> tuple[Any, ...]:
        return _execute(self.target, self.target_schema, statements)

    def source_session(self, **kwargs: Any) -> contextlib.closing[pymysql.Connection[Any]]:
        return contextlib.closing(self.source.connect(database=self.source_schema, **kwargs))

    def target_session(self, **kwargs: Any) -> contextlib.closing[pymysql.Connection[Any]]:
        return contextlib.closing(self.target.connect(database=self.target_schema, **kwargs))

    # ---- pipelines ----
    def config(self, mapping: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {
            "sources": {"a": _endpoint(self.source, "reader", self.source_schema)},
            "targets": {"b": _endpoint(self.target, self.writer, self.target_schema)},
            "mapping": mapping,
            "limits": {**({"event_rows_min": 1} if self.replays else {}), **self.limits},
            "replication": self.replication,
            **more,
        }

    def pipeline(self, mapping: dict[str, Any] | str, **more: Any) -> Pipeline:
        """A pipeline; a bare table name means all of its columns to a table of the same name."""
        if isinstance(mapping, str):
            mapping = {f"a.{name}": {"target_table": f"b.{name}"} for name in mapping.split()}
        base_dir = more.pop("base_dir", ".")
        return from_dict(self.config(mapping, **more), base_dir)

    def run(
        self,
        pipeline: Pipeline | dict[str, Any] | str,
        on_progress: Callable[[Progress], None] = lambda _: None,
        **more: Any,
    ) -> dict[str, MappingResult]:
        """Replicate and insist on success of every mapping."""
        results = self.try_run(pipeline, on_progress, **more)
        for result in results.values():
            assert result.error is None, result.error
            assert result.phase is Phase.REPLICATING
        return results

    def try_run(
        self,
        pipeline: Pipeline | dict[str, Any] | str,
        on_progress: Callable[[Progress], None] = lambda _: None,
        **more: Any,
    ) -> dict[str, MappingResult]:
        if not isinstance(pipeline, Pipeline):
            pipeline = self.pipeline(pipeline)
        return {r.mapping: r for r in replicate(pipeline, on_progress=on_progress, **more)}

    def error(self, pipeline: Pipeline | dict[str, Any] | str, **more: Any) -> ReplicationError:
        """Replicate and insist on an error, of a mapping or of the run."""
        try:
            results = self.try_run(pipeline, **more)
        except ReplicationError as error:
            return error
        errors = [result.error for result in results.values() if result.error is not None]
        assert errors, "the run should have failed"
        return errors[0]

    # ---- comparing ----
    def source_rows(self, table: str, columns: str = "*", where: str = "TRUE") -> list[tuple[Any, ...]]:
        return _sorted(self.on_source(f"SELECT {columns} FROM {table} WHERE {where}"))

    def target_rows(self, table: str, columns: str = "*", where: str = "TRUE") -> list[tuple[Any, ...]]:
        return _sorted(self.on_target(f"SELECT {columns} FROM {table} WHERE {where}"))

    def assert_same(self, table: str, target_table: str = "", columns: str = "*", where: str = "TRUE") -> None:
        """The rows of source and target, as the servers print them."""
        held = self.target_rows(target_table or table, columns)
        assert held == self.source_rows(table, columns, where)

    def checkpoint(self, mapping: str) -> dict[str, Any]:
        with self.target_session(cursorclass=pymysql.cursors.DictCursor) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT * FROM _myrepetl_checkpoint WHERE mapping=%s", (mapping,))
            row = cursor.fetchone()
            assert isinstance(row, dict)
            return row


def pair(servers: Servers, route: Route, **source_options: str | None) -> Pair:
    """Fresh schemas and accounts for a route; options make it another source server."""
    source = servers.get("source", route.source, route.gtid, **source_options)
    return pair_of(source, servers.get("target", route.target))


def pair_of(source: Server, target: Server) -> Pair:
    number = next(_numbers)
    made = Pair(source, target, f"src{number}", f"dst{number}")
    source.execute(*_schema(made.source_schema), *reader_grants(source, made.source_schema))
    target.execute(*_schema(made.target_schema), *_writer(target, made.target_schema))
    return made


def _schema(name: str) -> list[str]:
    return [f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4"]


def reader_grants(server: Server, schema: str) -> list[str]:
    user = f"CREATE USER IF NOT EXISTS 'reader'@'%' IDENTIFIED BY '{PASSWORD}'"
    rights = "SELECT, LOCK TABLES" if server.flavour == "mysql" and not server.gtid else "SELECT"
    return [
        user,
        f"GRANT {SOURCE_GRANTS[server.flavour]} ON *.* TO 'reader'@'%'",
        f"GRANT {rights} ON `{schema}`.* TO 'reader'@'%'",
    ]


def _writer(server: Server, schema: str) -> list[str]:
    replayer = "writer" if REPLAY else "replayer"
    return [
        f"CREATE USER IF NOT EXISTS 'writer'@'%' IDENTIFIED BY '{PASSWORD}'",
        f"GRANT {TARGET_GRANTS} ON `{schema}`.* TO 'writer'@'%'",
        f"CREATE USER IF NOT EXISTS 'replayer'@'%' IDENTIFIED BY '{PASSWORD}'",
        f"GRANT {TARGET_GRANTS}, TRIGGER ON `{schema}`.* TO '{replayer}'@'%'",
        f"GRANT {REPLAY_GRANTS[server.flavour]} ON *.* TO '{replayer}'@'%'",
    ]


def _endpoint(server: Server, user: str, schema: str) -> dict[str, Any]:
    return {
        "host": server.host,
        "port": server.port,
        "user": user,
        "password": PASSWORD,
        "database": schema,
        "ssl_disabled": True,
    }


def _execute(server: Server, schema: str, statements: tuple[str, ...]) -> tuple[Any, ...]:
    with contextlib.closing(server.connect(database=schema)) as connection, connection.cursor() as cursor:
        cursor.execute("SET time_zone='+00:00'")
        for statement in statements:
            cursor.execute(statement)
        return tuple(cursor.fetchall())


def _sorted(rows: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    return sorted(rows, key=repr)


def call_at(progress_number: int, action: Callable[[], object]) -> Callable[[Progress], None]:
    """An on_progress that does something after the n-th commit."""
    reports: Iterator[int] = itertools.count(1)

    def on_progress(progress: Progress) -> None:
        # While a transaction is open, it holds the fence: what the action does might wait for it.
        if not progress.rows_uncommitted and next(reports) == progress_number:
            action()

    return on_progress


class Interrupted(Exception):
    """Raised from on_progress, to stop a run where a kill would."""


def interrupt() -> None:
    raise Interrupted
