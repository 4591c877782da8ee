"""What our reader says of a statement about tables is what the server did: random statements, compared with real tables.

A statement's text is read as its server read it: with its sql_mode, its client's character set, its flavour's comments.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from random import Random

import pymysql
import pytest
from random_statements import Grammar, Session
from server_farm import Servers
from servers import Flavour, Server
from statement_oracle import Oracle, Tables, differences, filled, predicted

from myrepetl_dagster.core.binlog.ddl.alter_table import Effect
from myrepetl_dagster.core.binlog.ddl.statement import Action, TableChange

SEED = int(os.environ.get("MYREPETL_SEED", "20261201"))
STATEMENTS = 1500
SOAK_STATEMENTS = 30_000
STATEMENTS_PER_WORLD = 12
SHOWN_MAX = 10


class Run:
    """Runs random statements on a server, and collects where the reader is wrong.

    `counts`: of statements that were run, that the server refused, that the reader refused to read, and after which it
    takes any row for changed although none was.
    """

    def __init__(self, server: Server, seed: int) -> None:
        self.random = Random(seed)
        self.server = server
        self.oracle = Oracle(self.server)
        words = [row[0] for row in self.oracle.ask("SELECT word FROM information_schema.keywords ORDER BY word")]
        self.grammar = Grammar(self.random, server.flavour, words)
        self.session = self.server.connect(charset="latin1")
        self.before: Tables = {}
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []

    def close(self) -> None:
        with contextlib.suppress(pymysql.MySQLError):
            self.oracle.ask("DROP DATABASE IF EXISTS d")
            self.oracle.ask("DROP DATABASE IF EXISTS e")
        self.oracle.close()
        self.session.close()

    def execute(self, text: str) -> None:
        with self.session.cursor() as cursor:
            cursor.execute(text.encode("latin-1"))

    def statement(self, number: int) -> None:
        """Run one statement and compare. One that fails may have changed something all the same; then it is logged."""
        if number % STATEMENTS_PER_WORLD == 0:
            self.new_world()
        session = self.new_session()
        text = self.grammar.statement()
        try:
            self.execute(text)
            self.counts["run"] += 1
            logged = self.oracle.logged()
        except pymysql.MySQLError:
            self.counts["refused"] += 1
            logged = self.oracle.logged()
            if not logged:
                return
        before, after = self.before, self.oracle.tables()
        self.before = after
        changes = [change for found, _ in logged for change in found]
        if any(change.action is Action.UNREAD for change in changes):
            self.counts["unread"] += 1
            return
        alters = not text.startswith("RENAME")
        left = [c.table for c in changes if c.renamed_to and alters and not c.table.table.isalnum()]
        found = list(differences(predicted(before, changes, alters=alters), after, left))
        for change in changes if not found else ():
            found += filled(self.oracle, change, before, after)
        if found:
            statements = [sql for _, sql in logged]
            self.faults.append("\n  ".join([repr(session), repr(text), repr(statements), *map(repr, changes), *found]))
        self.counts["cautious without need"] += before == after and any(map(takes_all, changes))

    def new_session(self) -> Session:
        """Now and then other settings, by which the server reads the next statements."""
        if self.random.random() < 0.3:
            session = self.grammar.session = self.grammar.new_session()
            self.execute(
                f"SET sql_mode='{session.sql_mode}', character_set_client={session.charset},"
                f" explicit_defaults_for_timestamp={int(session.timestamps_explicit)}"
            )
        return self.grammar.session

    def new_world(self) -> None:
        """New schemas with three tables and a few rows."""
        self.session.close()  # and its temporary tables
        self.session = self.server.connect(charset="latin1")
        self.grammar.session = Session()
        self.execute("SET sql_mode='', character_set_client=utf8mb4")
        for schema in ("d", "e"):
            self.execute(f"DROP DATABASE IF EXISTS {schema}")
            self.execute(f"CREATE DATABASE {schema} CHARACTER SET {self.random.choice(['utf8mb4', 'latin1'])}")
        self.execute("USE d")
        tables = self.grammar.tables = self.grammar.new_tables()
        first, second, third = (self.quoted(n) for n in (tables.plain, tables.partitioned, tables.twin))
        a, b, c, e = (self.quoted(n) for n in tables.columns)
        index = self.quoted(tables.indexes[0])
        key = self.random.choice(["PRIMARY KEY (id)", "PRIMARY KEY (id)", "UNIQUE ux (id)", f"PRIMARY KEY (id, {a})"])
        self.execute(
            f"CREATE TABLE {first} (id INT NOT NULL, {a} INT NOT NULL, {b} VARCHAR(20), {c} BIGINT, {e} TEXT,"
            f" {key}, INDEX {index} ({c}), CONSTRAINT ck CHECK (id > -99))"
        )
        self.execute(f"INSERT INTO {first} VALUES (1,5,'one',7,'x'), (2,6,NULL,NULL,'y'), (3,6,'three',9,NULL)")
        parts = ", ".join(f"PARTITION p{n} VALUES LESS THAN ({n + 1}0)" for n in range(3))
        self.execute(f"CREATE TABLE {second} (id INT PRIMARY KEY, v INT) PARTITION BY RANGE (id) ({parts})")
        self.execute(f"CREATE TABLE {third} (id INT PRIMARY KEY, v INT)")
        self.execute(f"INSERT INTO {second} VALUES (1,1), (2,2), (11,3), (21,4)")
        self.execute(f"INSERT INTO {third} VALUES (3,9), (4,9)")
        self.before = self.oracle.tables()
        self.oracle.logged()

    @staticmethod
    def quoted(name: str) -> str:
        return "`" + name.replace("`", "``").encode().decode("latin-1") + "`"


def takes_all(change: TableChange) -> bool:
    return any(clause.effect is Effect.REWRITE for clause in change.clauses)


def check(server: Server, statements: int, seed: int) -> None:
    print(f"MYREPETL_SEED={seed}")
    run = Run(server, seed)
    try:
        for number in range(statements):
            run.statement(number)
    finally:
        run.close()
    print(f"{statements} statements: {dict(run.counts)}")
    assert not run.faults, f"{len(run.faults)} faults: " + "\n".join(run.faults[:SHOWN_MAX])
    assert run.counts["run"] > statements / 4
    assert run.counts["unread"] < statements / 200
    assert run.counts["cautious without need"] < run.counts["run"] / 20


def test_random_statements(servers: Servers, flavour: Flavour) -> None:
    """Every table that a statement changes is named, with its columns, its key and whether its rows change."""
    check(servers.get("source", flavour), STATEMENTS, SEED)


@pytest.mark.parametrize("version", ["10.5", "11.8"])
def test_random_statements_of_other_versions(servers: Servers, version: str) -> None:
    """Older and newer servers have other keywords and clauses; what is read is right on them, too."""
    check(servers.get("source", "mariadb", version=version), int(os.environ.get("N", "300")), SEED + 2)


@pytest.mark.soak
def test_random_statements_soak(servers: Servers, flavour: Flavour) -> None:
    """The same, with the full count."""
    check(servers.get("source", flavour), SOAK_STATEMENTS, SEED + 1)
