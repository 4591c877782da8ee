"""Changes that do not wait: while a table is copied, under writes, by tools that swap tables, in runs that die."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import pymysql
import pytest
from pipelines import Interrupted, call_at, interrupt
from schema_changes import CREATE, Altering, altering, columns_of
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.model.errors import SchemaDrift
from myrepetl_dagster.core.replication.attempt import Attempt
from myrepetl_dagster.core.target.control import TargetControl

pytestmark = pytest.mark.versions_in_soak

HUNDRED = "INSERT INTO t (id, a, b) VALUES " + ", ".join(f"({n}, {n}, 'row {n}')" for n in range(1, 101))

DURING = [
    ("ALTER TABLE t ADD c INT", "UPDATE t SET c=id WHERE id % 3 = 0"),
    ("ALTER TABLE t ADD c INT NOT NULL DEFAULT 6", "UPDATE t SET c=id WHERE id % 3 = 0"),
    ("ALTER TABLE t ADD c DATETIME DEFAULT NOW()", "DELETE FROM t WHERE id % 3 = 0"),
    ("ALTER TABLE t DROP COLUMN b", "UPDATE t SET a=-id WHERE id % 3 = 0"),
    ("ALTER TABLE t RENAME COLUMN b TO z", "UPDATE t SET z='new' WHERE id % 3 = 0"),
    ("ALTER TABLE t RENAME COLUMN id TO key_", "UPDATE t SET b='new', key_=key_+1000 WHERE key_ % 3 = 0"),
    (
        "ALTER TABLE t MODIFY a BIGINT, MODIFY b TEXT",
        "UPDATE t SET a=id+5000000000, b=REPEAT('x', 500) WHERE id % 3 = 0",
    ),
    ("ALTER TABLE t MODIFY b VARCHAR(50) NOT NULL, MODIFY a SMALLINT", "UPDATE t SET a=-1 WHERE id % 3 = 0"),
    ("ALTER TABLE t DROP COLUMN b, ADD COLUMN b VARCHAR(40) FIRST", "UPDATE t SET b='new' WHERE id % 3 = 0"),
    (
        "CREATE TABLE n LIKE t; ALTER TABLE n ADD c INT DEFAULT 4; INSERT INTO n (id, a, b) SELECT * FROM t;"
        " RENAME TABLE t TO o, n TO t",
        "DELETE FROM t WHERE id % 3 = 0",
    ),
    ("TRUNCATE TABLE t", "INSERT INTO t VALUES (5, 5, 'new')"),
]


@pytest.mark.parametrize("at", [2, 6])
@pytest.mark.parametrize(("change", "then"), DURING, ids=[change[:60] for change, _ in DURING])
def test_while_copying(servers: Servers, flavour: Flavour, change: str, then: str, at: int) -> None:
    """A table that changes between two chunks of its copy arrives as it is in the end."""
    t = altering(servers, flavour, CREATE, (HUNDRED,))
    if "RENAME COLUMN id" not in change:  # in the middle of a copy that stops the mapping, see below
        t.pair.chunks_of(25)
    t.run(call_at(at, lambda: t.on_source("UPDATE t SET a=a+1", *change.split("; "), then)))
    t.on_source("DELETE FROM t LIMIT 1")
    t.run()
    t.assert_equal()


RESUMED = [(change, then) for change, then in DURING[:9] if "RENAME COLUMN id" not in change]


@pytest.mark.parametrize(("change", "then"), RESUMED, ids=[change[:60] for change, _ in RESUMED])
def test_copy_resumed_after_a_change(servers: Servers, flavour: Flavour, change: str, then: str) -> None:
    """So does one whose copy was interrupted, altered, and resumed by another run."""
    t = altering(servers, flavour, CREATE, (HUNDRED,))
    t.pair.chunks_of(25)
    with pytest.raises(Interrupted):
        t.run(call_at(2, interrupt))
    t.on_source("UPDATE t SET a=a+1", *change.split("; "), then)
    t.run()
    t.on_source("DELETE FROM t LIMIT 1")
    t.run()
    t.assert_equal()


def test_copy_resumed_after_its_key_was_renamed(servers: Servers, flavour: Flavour) -> None:
    """Where it is the key that was renamed, the target's key gets its new name, and the table is copied anew."""
    t = altering(servers, flavour, CREATE, (HUNDRED,))
    t.pair.chunks_of(25)
    with pytest.raises(Interrupted):
        t.run(call_at(2, interrupt))
    t.on_source("ALTER TABLE t RENAME COLUMN id TO key_", "UPDATE t SET b='new' WHERE key_ % 3 = 0")
    t.run()
    t.assert_equal()


def test_dropped_while_copying(servers: Servers, flavour: Flavour) -> None:
    """A table that goes away between two chunks stops the mapping."""
    t = altering(servers, flavour, CREATE, (HUNDRED,))
    t.pair.chunks_of(25)
    results = t.pair.try_run(t.pair.pipeline(t.mapping), call_at(2, lambda: t.on_source("DROP TABLE t")))
    assert isinstance(results["a.t"].error, SchemaDrift), results["a.t"].error


CHANGES = [
    "ALTER TABLE t ADD c INT",
    "ALTER TABLE t ADD c INT NOT NULL DEFAULT 6",
    "ALTER TABLE t DROP COLUMN b",
    "ALTER TABLE t RENAME COLUMN a TO z",
    "ALTER TABLE t RENAME COLUMN id TO key_",
    "ALTER TABLE t MODIFY a BIGINT, MODIFY b VARCHAR(5)",
    "ALTER TABLE t CHANGE a z BIGINT, ADD a VARCHAR(9), DROP b",
    "RENAME TABLE t TO o, n TO t",
]


@pytest.mark.parametrize("after_definitions", [1, 2])
@pytest.mark.parametrize("change", CHANGES)
def test_interrupted(
    servers: Servers, flavour: Flavour, change: str, after_definitions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that dies after it has altered the target, before its next checkpoint, is taken up where it was."""
    t = altering(servers, flavour, CREATE, ("INSERT INTO t VALUES (1, 1, '1'), (2, 2, '2'), (3, 3, NULL)",))
    t.on_source("CREATE TABLE n (id INT PRIMARY KEY, a BIGINT, c INT, d INT)", "INSERT INTO n VALUES (2, 3, 4, 5)")
    t.run()
    t.on_source("UPDATE t SET a=9 WHERE id=1", change, "DELETE FROM t LIMIT 1")
    done = 0
    define = TargetControl.define

    def dying(self: TargetControl, sql: str, what: str) -> None:
        nonlocal done
        define(self, sql, what)
        done += sql.startswith("ALTER")
        if done == after_definitions:
            raise Interrupted

    monkeypatch.setattr(TargetControl, "define", dying)
    with contextlib.suppress(Interrupted):
        t.run()
    monkeypatch.setattr(TargetControl, "define", define)
    t.on_source("UPDATE t SET " + ("z" if "z" in change else "a") + "=8")
    t.run()
    t.assert_equal()


def test_interrupted_before_the_new_copy(servers: Servers, flavour: Flavour, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that dies between the decision to copy again and the copy decides the same again."""
    t = altering(servers, flavour, CREATE, ("INSERT INTO t VALUES (1, 1, '1'), (2, 2, '2')",))
    t.run()
    t.on_source("ALTER TABLE t ADD c DATETIME DEFAULT CURRENT_TIMESTAMP", "UPDATE t SET a=5 WHERE id=2")
    with monkeypatch.context() as patch:
        patch.setattr(Attempt, "_first_checkpoint", lambda *_: interrupt())
        with pytest.raises(Interrupted):
            t.run()
    assert t.copied(t.run())
    t.assert_equal()


# ---- tools that change a table by way of another ---------------------------------------------------------------
@contextlib.contextmanager
def writers(t: Altering, count: int = 2) -> Iterator[None]:
    """Sessions that insert, update and delete rows of t all the time."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def write(number: int) -> None:
        with t.pair.source_session() as connection, connection.cursor() as cursor:
            n = 0
            while not stop.is_set():
                n += 1
                row = number * 100_000 + n
                for sql in (
                    f"INSERT INTO t (id, a, b) VALUES ({row}, {n}, 'w')",
                    f"UPDATE t SET a=a+1 WHERE id IN ({n % 100}, {row - 3})",
                    f"UPDATE t SET id={row + 50_000} WHERE id={row - 5}",
                    f"DELETE FROM t WHERE id={row - 2}",
                ):
                    try:
                        cursor.execute(sql)
                    except pymysql.MySQLError as error:
                        if error.args[0] not in (1213, 1205, 1062):  # deadlocks with the migration's own copy
                            failures.append(error)
                            return
                time.sleep(0.002)

    threads = [threading.Thread(target=write, args=(i + 1,)) for i in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures, failures


def pt_osc(t: Altering, alter: str) -> None:
    """As pt-online-schema-change does it: triggers keep the new table equal while it is filled, then a swap."""
    t.on_source(
        "CREATE TABLE _t_new LIKE t",
        f"ALTER TABLE _t_new {alter}",
        "CREATE TRIGGER d AFTER DELETE ON t FOR EACH ROW DELETE IGNORE FROM _t_new WHERE id <=> OLD.id",
        "CREATE TRIGGER u AFTER UPDATE ON t FOR EACH ROW BEGIN DELETE IGNORE FROM _t_new WHERE NOT (OLD.id <=> NEW.id)"
        " AND _t_new.id <=> OLD.id; REPLACE INTO _t_new (id, a, b) VALUES (NEW.id, NEW.a, NEW.b); END",
        "CREATE TRIGGER i AFTER INSERT ON t FOR EACH ROW REPLACE INTO _t_new (id, a, b) VALUES (NEW.id, NEW.a, NEW.b)",
    )
    for low in range(0, 200_000, 50_000):
        insert = "INSERT IGNORE INTO _t_new (id, a, b) SELECT id, a, b FROM t"
        t.on_source(f"{insert} WHERE id >= {low} AND id < {low + 50_000} LOCK IN SHARE MODE")
    t.on_source("RENAME TABLE t TO _t_old, _t_new TO t", "DROP TABLE _t_old")


def gh_ost(t: Altering, alter: str) -> None:
    """As gh-ost does it: the ghost is filled from the table and from its log, and swapped in under a lock."""
    t.on_source(
        "CREATE /* gh-ost */ TABLE _t_gho LIKE t",
        f"ALTER /* gh-ost */ TABLE _t_gho {alter}",
        "INSERT /* gh-ost */ IGNORE INTO _t_gho (id, a, b) SELECT id, a, b FROM t WHERE id < 50 LOCK IN SHARE MODE",
    )
    with t.pair.source_session() as connection, connection.cursor() as cursor:
        for sql in (
            "LOCK TABLES t WRITE, _t_gho WRITE",
            "REPLACE INTO _t_gho (id, a, b) SELECT id, a, b FROM t",
            "DELETE _t_gho FROM _t_gho LEFT JOIN t ON t.id = _t_gho.id WHERE t.id IS NULL",
        ):
            cursor.execute(sql)
        if t.pair.source.flavour == "mariadb":  # it renames no locked tables
            cursor.execute("UNLOCK TABLES")
        cursor.execute("RENAME /* gh-ost */ TABLE `t` TO `_t_del`, `_t_gho` TO `t`")
        cursor.execute("UNLOCK TABLES")
    t.on_source("DROP TABLE _t_del")


@pytest.mark.parametrize(
    "alter",
    [
        "ADD c INT NOT NULL DEFAULT 7, ADD d DATETIME DEFAULT CURRENT_TIMESTAMP",
        "MODIFY a BIGINT, DROP INDEX i, MODIFY b VARCHAR(300) NOT NULL",
    ],
)
@pytest.mark.parametrize("tool", [pt_osc, gh_ost])
def test_online_schema_change(
    servers: Servers, flavour: Flavour, tool: Callable[[Altering, str], None], alter: str
) -> None:
    """A table that gh-ost or pt-osc swaps under concurrent writes arrives equal, values of new columns included."""
    create = "CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(40), INDEX i (a))"
    t = altering(servers, flavour, create, (HUNDRED,))
    t.pair.limits = {"chunk_rows_max": 100}
    t.run()
    with writers(t):
        time.sleep(0.1)
        change = threading.Thread(target=tool, args=(t, alter))
        change.start()
        while change.is_alive():
            t.run()
        change.join()
        t.run()
    if "BIGINT" in alter:
        t.on_source("INSERT INTO t VALUES (1999999, 5000000000, REPEAT('y', 300))")
    t.run()
    t.assert_equal()
    assert "MODIFY" in alter or {"c", "d"} <= set(columns_of(t.pair))


def test_swap_to_another_kind_of_value(servers: Servers, flavour: Flavour) -> None:
    """A swapped-in table whose numbers have become text gives the target's column that type: '007' arrives as such."""
    t = altering(servers, flavour, CREATE, (HUNDRED,))
    t.run()
    t.on_source(
        "CREATE TABLE n (id INT PRIMARY KEY, a VARCHAR(20), b VARCHAR(40))",
        "INSERT INTO n VALUES (1, '007', 'x')",
        "RENAME TABLE t TO o, n TO t",
    )
    t.run()
    t.assert_equal()


def test_under_writes(servers: Servers, flavour: Flavour) -> None:
    """Columns come, change and go while rows are written and runs go on: equal when both have come to rest."""
    t = altering(servers, flavour, CREATE, (HUNDRED,))
    t.run()
    with writers(t):
        for change in (
            "ADD c INT DEFAULT 4",
            "MODIFY a BIGINT",
            "ADD d VARCHAR(20) FIRST, ALGORITHM=INSTANT",
            "RENAME COLUMN c TO e",
            "DROP COLUMN d",
            "ADD INDEX (a)",
            "ADD d VARCHAR(30)",
            "MODIFY b TEXT",
        ):
            altered = threading.Thread(target=t.on_source, args=(f"ALTER TABLE t {change}",))
            altered.start()
            t.run()
            altered.join()
        t.run()
    t.run()
    t.assert_equal()


def test_target_name_with_quotes(servers: Servers, flavour: Flavour) -> None:
    """Tables and columns with every kind of character in their names are altered and followed."""
    name = "t`\"'% é"
    quoted = "`" + name.replace("`", "``") + "`"
    t = altering(servers, flavour, CREATE)
    t.pair.on_source(f"CREATE TABLE {quoted} (id INT PRIMARY KEY, `x y` INT)", f"INSERT INTO {quoted} VALUES (1, 1)")
    t.mapping = {"a.t": {"source_table": f"a.{name}", "target_table": f"b.{name}"}}
    t.run()
    t.pair.source.execute(
        f"ALTER TABLE `{t.pair.source_schema}` . {quoted} ADD `c,``;%s` INT DEFAULT 3, RENAME COLUMN `x y` TO `z'(`",
        f"UPDATE `{t.pair.source_schema}`.{quoted} SET `c,``;%s`=4",
    )
    t.run()
    t.assert_equal(name)


def test_client_of_another_character_set(servers: Servers, flavour: Flavour) -> None:
    """A statement is in its client's character set; the table that it names is recognised all the same."""
    t = altering(servers, flavour)
    t.mapping = {"a.t": {"source_table": "a.té", "target_table": "b.té"}}
    with t.pair.source_session(charset="latin1") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE `té` (id INT PRIMARY KEY)")
        cursor.execute("INSERT INTO `té` VALUES (1)")
        t.run()
        cursor.execute("ALTER TABLE `té` ADD `ü` INT DEFAULT 3")
        cursor.execute("INSERT INTO `té` VALUES (2, 4)")
    assert not t.copied(t.run())
    t.assert_equal("té")
