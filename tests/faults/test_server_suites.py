"""Thousands of statements that nobody here wrote: the servers' own tests as a load.

MYREPETL_SUITE_FILES=all runs every file, a number so many of them; the sample is drawn with MYREPETL_SEED.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import time
from collections import Counter
from typing import Any

import pymysql
import pytest
from pipelines import Pair, pair_of
from server_farm import Servers
from server_suites import SuiteFile, read, suite_files
from servers import Flavour

pytestmark = [pytest.mark.soak, pytest.mark.long]

SEED = int(os.environ.get("MYREPETL_SEED", "1"))
FILES = os.environ.get("MYREPETL_SUITE_FILES", "25")
STATEMENT_S_MAX = 10
ROUTES: list[tuple[Flavour, str | None, Flavour, str | None]] = [  # source and target, and the versions of MariaDB
    ("mariadb", None, "mariadb", None), ("mariadb", None, "mysql", None), ("mysql", None, "mysql", None),
    ("mysql", None, "mariadb", None), ("mariadb", "11.8", "mariadb", "11.8"), ("mariadb", "11.8", "mariadb", None),
]  # fmt: skip


class Load:
    """Runs files on a source, one schema each, and compares what arrives; `counts` is what is printed."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.differences: list[str] = []
        self.aborts: list[str] = []

    def run(self, world: Pair, file: SuiteFile) -> None:
        self.counts["files"] += 1
        self.counts["left out"] += sum(file.left_out.values())
        parts = len(file.statements) // 3, 2 * len(file.statements) // 3, len(file.statements)
        connection = self._session(world)
        for number, statement in enumerate(file.statements, 1):
            self.counts["statements"] += 1
            try:
                with connection.cursor() as cursor:
                    cursor.execute(statement.encode("utf-8", "surrogateescape"))
                    while cursor.nextset():
                        pass
            except (pymysql.MySQLError, ValueError):  # or an answer that PyMySQL cannot read
                self.counts["refused by the server"] += 1
            if not connection.open:  # a statement that took too long
                connection = self._session(world)
            if number in parts:
                connection.close()  # its locks: we would wait for them, and they for us
                connection = self._session(world)
                self._replicate(world, file.name)
        connection.close()

    def _session(self, world: Pair) -> pymysql.Connection[Any]:
        connection = world.source.connect(database=world.source_schema, read_timeout=STATEMENT_S_MAX, charset="latin1")
        with connection.cursor() as cursor:
            cursor.execute("SET lock_wait_timeout=2, innodb_lock_wait_timeout=2")
        return connection

    def _replicate(self, world: Pair, name: str) -> None:
        tables = self._tables(world)
        if not tables:
            return
        mapping = {f"a.{table}": {"target_table": f"b.{table}", "schema_policy": "evolve"} for table in tables}
        try:
            results = world.try_run(mapping)
        except Exception as error:  # whatever it is: one table must not stop the others
            self._say(self.aborts, f"{name}: {type(error).__name__}: {error}")
            return
        for table in tables:
            stop = results[f"a.{table}"].error
            if stop is not None:
                reason = f"{type(stop).__name__}: {_normal(str(stop))}"
                if not self.refusals[reason]:
                    print(f"  stopped: {name}.{table}: {type(stop).__name__}: {stop}", flush=True)
                self.refusals[reason] += 1
                self.counts["tables stopped"] += 1
            else:
                self._compare(world, name, table)

    def _tables(self, world: Pair) -> list[str]:
        """The base tables with a primary key."""
        rows = world.source.execute(
            "SELECT DISTINCT t.table_name FROM information_schema.tables t JOIN information_schema.statistics k "
            "USING (table_schema, table_name) WHERE t.table_type='BASE TABLE' AND k.index_name='PRIMARY' "
            f"AND t.table_schema='{world.source_schema}' AND t.table_name REGEXP '^[A-Za-z0-9_]+$' "
            "ORDER BY t.table_name"
        )
        return [table for (table,) in rows]

    def _compare(self, world: Pair, name: str, table: str) -> None:
        columns = [
            row[0]
            for row in world.source.execute(
                "SELECT column_name FROM information_schema.columns "
                f"WHERE table_schema='{world.source_schema}' AND table_name='{table}' ORDER BY ordinal_position"
            )
        ]
        shown = ", ".join(f"SHA2(CAST(`{column}` AS BINARY), 256)" for column in columns)
        try:
            expected = world.source_rows(f"`{table}`", shown)
        except pymysql.MySQLError:  # the source cannot read it any more
            self.counts["not compared"] += 1
            return
        try:
            held = world.target_rows(f"`{table}`", shown)
        except pymysql.MySQLError as error:
            self._say(self.differences, f"{name}.{table}: {error}")
            return
        self.counts["tables compared"] += 1
        self.counts["cells compared"] += len(expected) * len(columns)
        if expected != held:
            differing = [c for n, c in enumerate(columns) if [r[n] for r in expected] != [r[n] for r in held]]
            self._say(self.differences, f"{name}.{table}: {len(expected)} rows, {len(held)} held; {differing}")
        else:
            self.counts["tables equal"] += 1

    def _say(self, kind: list[str], line: str) -> None:
        kind.append(line)
        print("  FAULT?", line, flush=True)


def _normal(message: str) -> str:
    """A message without the names and numbers of the one table."""
    return re.sub(r"\d+", "N", re.sub(r"'[^']*'|`[^`]*`|\b(?:a|b|src\d+|dst\d+)\.\w+", "X", message))[:160]


@pytest.mark.parametrize(("source", "version", "target", "target_version"), ROUTES, ids=lambda part: part or "")
def test_the_servers_own_tests(
    servers: Servers, source: Flavour, version: str | None, target: Flavour, target_version: str | None
) -> None:
    """Tables that the servers' own tests make arrive equal or are refused, and no table stops the others."""
    paths = suite_files(source, version)
    if FILES != "all":
        paths = sorted(random.Random(SEED).sample(paths, min(int(FILES), len(paths))))
    load, began = Load(), time.monotonic()
    for path in paths:
        world = pair_of(
            servers.get("source", source, version=version), servers.get("target", target, version=target_version)
        )
        world.target.execute(f"GRANT ALTER ON `{world.target_schema}`.* TO '{world.writer}'@'%'")
        try:
            load.run(world, read(path))
        finally:
            with contextlib.suppress(pymysql.MySQLError):  # some tests leave files in the folder of their schema
                world.source.execute(f"DROP DATABASE `{world.source_schema}`")
            world.target.execute(f"DROP DATABASE `{world.target_schema}`")
        print(path.stem, round(time.monotonic() - began), dict(load.counts), flush=True)
    print(f"MYREPETL_SEED={SEED}", dict(load.counts))
    for reason, count in load.refusals.most_common():
        print(f"  {count} stopped: {reason}")
    assert not load.aborts
    assert not load.differences
