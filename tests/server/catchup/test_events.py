"""Every kind of event that a source may log: applied exactly, or a stop that names it and its place, before it."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from pipelines import ROUTES, SOURCES, Interrupted, Pair, Route, call_at, interrupt, pair, pair_of
from server_farm import Servers

from myrepetl_dagster.core.model.errors import SchemaDrift, UnsupportedEvent

pytestmark = pytest.mark.versions

MYSQL_GTID, MYSQL_FILE, MARIADB = SOURCES


@pytest.fixture(params=SOURCES, ids=str)
def world(request: pytest.FixtureRequest, servers: Servers) -> Pair:
    return pair(servers, request.param)


@pytest.fixture
def mysql(servers: Servers) -> Pair:
    return pair(servers, MYSQL_GTID)


@pytest.fixture
def mariadb(servers: Servers) -> Pair:
    return pair(servers, MARIADB)


@contextlib.contextmanager
def globally(world: Pair, **variables: Any) -> Iterator[None]:
    """Set global variables of the source for a while."""
    old = {name: world.on_source(f"SELECT @@global.{name}")[0][0] for name in variables}
    try:
        for name, value in variables.items():
            world.source.execute(f"SET GLOBAL {name}={value!r}")
        yield
    finally:
        for name, value in reversed(old.items()):
            world.source.execute(f"SET GLOBAL {name}={value!r}")


def table(world: Pair, name: str = "t") -> None:
    """A table of three rows, copied."""
    world.on_source(
        f"CREATE TABLE {name} (id INT PRIMARY KEY, v VARCHAR(100), b LONGBLOB)",
        f"INSERT INTO {name} VALUES (1,'one',NULL),(2,'two','bb'),(3,NULL,x'00ff27')",
    )
    world.run(name)
    world.assert_same(name)


def logged(world: Pair) -> set[str]:
    """The types of all events in the source's newest file."""
    file = world.on_source("SHOW BINARY LOGS")[-1][0]
    for _ in range(20):
        # MariaDB reads into an event that is just being written: error 1220, and gone a moment later.
        with (
            contextlib.suppress(pymysql.OperationalError),
            # As bytes: statements of other tests are in other character sets.
            world.source_session(use_unicode=False) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(f"SHOW BINLOG EVENTS IN '{file}'")
            return {str(row[2], "ascii") for row in cursor.fetchall()}
        time.sleep(0.1)
    pytest.fail("the log's events cannot be listed")


def stops(world: Pair, *names: str, mapping: str = "t", error: type[Exception] = UnsupportedEvent) -> str:
    """The run fails; the message holds the names and a place, the target is as it was. Returns the message."""
    before = world.target_rows("t")
    failed = world.error(mapping)
    assert isinstance(failed, error), failed
    for name in names:
        assert name in str(failed)
    assert "binlog.0" in str(failed)
    assert world.target_rows("t") == before
    return str(failed)


# ---- compression ----
BIG_DML = (
    "INSERT INTO t SELECT 1000 + a.i * 10 + b.i, REPEAT('x', 90), REPEAT(CONCAT(a.i, 'é\\'', b.i), 200) FROM"
    " (SELECT 0 i UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5) a,"
    " (SELECT 0 i UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5) b",
    "UPDATE t SET b = CONCAT(b, REPEAT('y', 3000)) WHERE id > 1010",
    "DELETE FROM t WHERE id > 1040",
)


def test_compressed_transactions(mysql: Pair) -> None:
    """binlog_transaction_compression=ON in a session: the transactions arrive, and so do the ones after it."""
    table(mysql)
    mysql.on_source("SET binlog_transaction_compression=ON", "BEGIN", *BIG_DML, "COMMIT", "DELETE FROM t WHERE id=1")
    assert "Transaction_payload" in logged(mysql)
    mysql.on_source("INSERT INTO t VALUES (4,'four',NULL)")
    assert mysql.run("t")["a.t"].changes_applied == 36 + 29 + 11 + 1 + 1
    mysql.assert_same("t")


def test_compressed_transaction_in_parts(mysql: Pair) -> None:
    """A compressed transaction of more rows than a batch holds arrives whole."""
    table(mysql)
    mysql.limits = {"batch_rows_max": 10}
    mysql.on_source("SET binlog_transaction_compression=ON", "BEGIN", *BIG_DML, "COMMIT")
    mysql.run("t")
    mysql.assert_same("t")


def test_compressed_events_of_mariadb(mariadb: Pair) -> None:
    """log_bin_compress=ON: compressed rows of all three kinds and compressed statements (here TRUNCATE) arrive."""
    table(mariadb)
    with globally(mariadb, log_bin_compress=1):
        mariadb.on_source(*BIG_DML)
        mariadb.run("t")
        mariadb.assert_same("t")
        mariadb.on_source(f"TRUNCATE TABLE t /* {'long ' * 200} */", "INSERT INTO t VALUES (9,'nine',NULL)")
    kinds = logged(mariadb)
    assert {"Write_rows_compressed_v1", "Update_rows_compressed_v1", "Delete_rows_compressed_v1"} <= kinds
    assert "Query_compressed" in kinds
    mariadb.run("t")
    mariadb.assert_same("t")


# ---- GTIDs ----
def test_tagged_gtids(mysql: Pair) -> None:
    """Transactions with tagged GTIDs arrive, their set is in the checkpoint, and the next run starts from it."""
    table(mysql)
    uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
    mysql.on_source(
        "SET gtid_next='AUTOMATIC:blue'",
        "INSERT INTO t VALUES (4,'four',NULL)",
        f"SET gtid_next='{uuid}:green_2:7'",
        "INSERT INTO t VALUES (5,'five',NULL)",
        "SET gtid_next='AUTOMATIC'",
        "INSERT INTO t VALUES (6,'six',NULL)",
    )
    assert mysql.run("t")["a.t"].changes_applied == 3
    mysql.assert_same("t")
    held = mysql.checkpoint("a.t")["gtid_set"]
    assert ":blue:" in held
    assert f"{uuid}:green_2:7" in held
    assert mysql.on_source(f"SELECT GTID_SUBSET(@@gtid_executed, '{held}')") == ((1,),)
    mysql.on_source("SET gtid_next='AUTOMATIC:blue'", "DELETE FROM t WHERE id=4")
    mysql.on_source("UPDATE t SET v='tagged before' WHERE id=1")
    assert mysql.run("t")["a.t"].changes_applied == 2
    mysql.assert_same("t")


def test_anonymous_gtids(servers: Servers) -> None:
    """gtid_mode=ON_PERMISSIVE: transactions with and without a GTID arrive, by file and offset."""
    world = pair(servers, MYSQL_FILE)
    table(world)
    steps = ["OFF_PERMISSIVE", "ON_PERMISSIVE"]
    try:
        for mode in steps:
            world.source.execute(f"SET GLOBAL gtid_mode={mode}")
        world.on_source("SET gtid_next='ANONYMOUS'", "INSERT INTO t VALUES (4,'four',NULL)")
        world.on_source("INSERT INTO t VALUES (5,'five',NULL)")
        assert world.run("t")["a.t"].changes_applied == 2
        world.assert_same("t")
    finally:
        for mode in ["OFF_PERMISSIVE", "OFF"]:
            world.source.execute(f"SET GLOBAL gtid_mode={mode}")


# ---- XA transactions ----
def prepare(world: Pair, xid: str, *statements: str) -> None:
    """An XA transaction in a session that ends after XA PREPARE."""
    with world.source_session() as session, session.cursor() as cursor:
        for statement in (f"XA START {xid}", *statements, f"XA END {xid}", f"XA PREPARE {xid}"):
            cursor.execute(statement)
        thread = session.thread_id()
    if world.source.flavour == "mariadb":
        wait_until_detached(world, thread)


def wait_until_detached(world: Pair, thread: int) -> None:
    """Until InnoDB holds no transaction for a session that has ended.

    An XA COMMIT that comes between the end of the session and this moment is answered with OK and logged by MariaDB
    10.11.19, but not carried out: the row stays as it was, and locked (shown by holding the server's thread at the entry
    of ha_close_connection). Its log and its tables are two then, and nobody who reads the log can know.
    """
    for _ in range(200):
        # The server shows what it gathered before if it was asked less than 0.1 s ago, and that may be too old.
        time.sleep(0.11)
        held = f"SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id={thread}"
        if world.on_source(held) == ((0,),):
            return
    raise AssertionError("the session that prepared still holds its transaction")


def decide(world: Pair, verb: str, xid: str) -> None:
    """XA COMMIT or ROLLBACK, once the server has noticed that the preparing session is gone."""
    deadline = threading.Event()
    for _ in range(200):
        try:
            world.on_source(f"XA {verb} {xid}")
            return
        except Exception as error:
            if "1397" not in repr(error):
                raise
            deadline.wait(0.01)
    raise AssertionError("the XA transaction is not to be had")


def kept(world: Pair) -> int:
    """How many pieces of prepared rows the target keeps."""
    if not world.on_target("SHOW TABLES LIKE '_myrepetl_prepared'"):
        return 0
    return int(world.on_target("SELECT COUNT(*) FROM _myrepetl_prepared")[0][0])


def test_xa_commit_in_a_later_run(world: Pair) -> None:
    """Rows of a prepared transaction are not to be seen in the target until XA COMMIT, though the checkpoint goes on;
    then they are all there, from another session and in another run.
    """
    table(world)
    before = world.target_rows("t")
    xid = f"'it''s {world.source_schema}',x'00ff',7"
    prepare(
        world,
        xid,
        "INSERT INTO t VALUES (4,'four',x'00ff')",
        "UPDATE t SET v='zwei' WHERE id=2",
        "DELETE FROM t WHERE id=3",
    )
    first = world.run("t")["a.t"]
    # MariaDB's head is a place alone.
    assert first.position.split()[0] == first.source_head.split()[0]
    assert world.target_rows("t") == before
    assert kept(world) == 1
    world.on_source("INSERT INTO t VALUES (5,'five',NULL)")
    world.run("t")
    assert [row[0] for row in world.target_rows("t")] == [1, 2, 3, 5]
    decide(world, "COMMIT", xid)
    assert world.run("t")["a.t"].changes_applied == 3
    world.assert_same("t")
    assert kept(world) == 0


def test_xa_rollback(world: Pair) -> None:
    """After XA ROLLBACK the rows never were, whether it came in the same run as the prepare or in a later one."""
    table(world)
    for number, runs_between in ((1, 0), (2, 1)):
        xid = f"'{world.source_schema}-{number}'"
        prepare(world, xid, "DELETE FROM t")
        for _ in range(runs_between):
            world.run("t")
        decide(world, "ROLLBACK", xid)
        world.run("t")
        world.assert_same("t")
        assert kept(world) == 0


def test_xa_prepared_and_decided_in_one_run(world: Pair) -> None:
    """Two transactions prepared one after the other and committed the other way round, and one in one phase; a name
    used again; a transaction that did nothing; all in one run.
    """
    table(world)
    a, b = f"'{world.source_schema}-a'", f"'{world.source_schema}-b'"
    prepare(world, a, "UPDATE t SET v='by a' WHERE id=1")
    prepare(world, b, "UPDATE t SET v='by b' WHERE id=2", "INSERT INTO t VALUES (4,'four',NULL)")
    world.on_source("INSERT INTO t VALUES (5,'five',NULL)")
    decide(world, "COMMIT", b)
    world.on_source("UPDATE t SET v='after b' WHERE id=2")
    decide(world, "COMMIT", a)
    if world.source.flavour == "mysql":  # MariaDB rolls it back by itself
        prepare(world, a)
        decide(world, "COMMIT", a)
    prepare(world, a, "DELETE FROM t WHERE id=1")
    decide(world, "COMMIT", a)
    world.on_source(f"XA START {a}", "UPDATE t SET v='one phase' WHERE id=3", f"XA END {a}", f"XA COMMIT {a} ONE PHASE")
    world.run("t")
    world.assert_same("t")
    assert kept(world) == 0


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK", "ONE PHASE"])
def test_xa_transaction_in_parts(world: Pair, end: str) -> None:
    """An XA transaction of more rows than a batch holds is kept in parts, not to be seen, and applied or dropped."""
    table(world)
    before = world.target_rows("t")
    world.limits = {"batch_rows_max": 10}
    xid = f"'{world.source_schema}'"
    if end == "ONE PHASE":
        world.on_source(f"XA START {xid}", *BIG_DML, f"XA END {xid}", f"XA COMMIT {xid} ONE PHASE")
    else:
        prepare(world, xid, *BIG_DML)
        world.run("t")
        assert world.target_rows("t") == before
        assert kept(world) > 1
        decide(world, end, xid)
    world.run("t")
    world.assert_same("t")
    if kept_now := kept(world):
        raise AssertionError(f"{kept_now} parts are left")


def test_xa_commit_interrupted(world: Pair) -> None:
    """A run that breaks after the prepare, and one that breaks at the commit, leave nothing lost and nothing twice."""
    table(world)
    world.limits = {"batch_rows_max": 1}
    xid = f"'{world.source_schema}'"
    prepare(world, xid, "INSERT INTO t VALUES (4,'four',NULL),(5,'five',NULL)")
    with pytest.raises(Interrupted):
        world.try_run("t", call_at(1, interrupt))
    decide(world, "COMMIT", xid)
    world.on_source("UPDATE t SET v='later' WHERE id=4")
    with pytest.raises(Interrupted):
        world.try_run("t", call_at(1, interrupt))
    world.run("t")
    world.assert_same("t")
    assert kept(world) == 0


@pytest.mark.parametrize("route", [MYSQL_GTID, MARIADB], ids=str)
def test_xa_prepared_before_the_copy(servers: Servers, route: Route, caplog: pytest.LogCaptureFixture) -> None:
    """A transaction that was in doubt while a table was copied makes it be copied again at its XA COMMIT: rows that it
    inserted, changed and deleted arrive. At XA ROLLBACK nothing happens.
    """
    world = pair(servers, route)
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(100))", "INSERT INTO t VALUES (1,'one'),(2,'two'),(3,'three')"
    )
    rolled, xid = f"'{world.source_schema}-r'", f"'{world.source_schema}-c'"
    prepare(world, rolled, "INSERT INTO t VALUES (9,'never')")
    prepare(
        world, xid, "INSERT INTO t VALUES (4,'four')", "UPDATE t SET v='zwei' WHERE id=2", "DELETE FROM t WHERE id=3"
    )
    world.run("t")
    world.assert_same("t")
    decide(world, "ROLLBACK", rolled)
    world.on_source("INSERT INTO t VALUES (5,'five')")
    assert world.run("t")["a.t"].rows_snapshotted == 0
    world.assert_same("t")
    decide(world, "COMMIT", xid)
    with caplog.at_level(logging.WARNING, "myrepetl"):
        assert world.run("t")["a.t"].rows_snapshotted == 4
    assert "XA transaction" in caplog.text
    world.assert_same("t")
    world.on_source("DELETE FROM t WHERE id=4")
    assert world.run("t")["a.t"].rows_snapshotted == 0
    world.assert_same("t")


def test_copy_without_gtids_waits_for_prepared_transactions(servers: Servers) -> None:
    """On MySQL without GTIDs a copy needs the table's read lock, which nobody gets while a transaction that wrote the
    table is in doubt: the run says so, and after XA COMMIT the copy is whole.
    """
    world = pair(servers, MYSQL_FILE)
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(100))", "INSERT INTO t VALUES (1,'one')")
    xid = f"'{world.source_schema}'"
    prepare(world, xid, "INSERT INTO t VALUES (2,'two')")
    world.limits = {"lock_wait_timeout_s": 1, "attempts_max": 1}
    assert world.error("t").code == 1205
    decide(world, "COMMIT", xid)
    world.run("t")
    world.assert_same("t")


@pytest.mark.parametrize("route", [MYSQL_GTID, MARIADB], ids=str)
def test_copy_while_some_transaction_is_always_in_doubt(servers: Servers, route: Route) -> None:
    """Where at every moment an XA transaction is in doubt, a copy still comes to its end, and the target equals the
    source once they are decided.
    """
    world = pair(servers, route)
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, v INT)", "INSERT INTO t VALUES (0,0),(1,0),(2,0),(3,0)")
    world.limits = {"chunk_rows_max": 1, "snapshot_slice_s": 0.01}
    done = threading.Event()

    def write() -> None:
        number = 0
        prepare(world, f"'{world.source_schema}-0'", "UPDATE t SET v=1 WHERE id=0")
        while not done.is_set():
            number += 1
            update = f"UPDATE t SET v={number} WHERE id={number % 4}"
            prepare(world, f"'{world.source_schema}-{number}'", update)
            decide(world, "COMMIT", f"'{world.source_schema}-{number - 1}'")
        decide(world, "COMMIT", f"'{world.source_schema}-{number}'")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        done.wait(0.1)
        for _ in range(3):
            world.run("t")
    finally:
        done.set()
        writer.join()
    world.run("t")
    world.assert_same("t")
    assert kept(world) == 0


@pytest.mark.parametrize("route", [MYSQL_GTID, MARIADB], ids=str)
def test_xa_name_used_again_around_a_new_copy(servers: Servers, route: Route) -> None:
    """Rows that were kept before a new copy count for nothing, even if a transaction of the same name is in doubt then:
    at its XA COMMIT the table is copied once more.
    """
    world = pair(servers, route)
    table(world)
    xid = f"'{world.source_schema}'"
    prepare(world, xid, "INSERT INTO t VALUES (4,'never',NULL)")
    world.run("t")
    assert kept(world) == 1
    decide(world, "ROLLBACK", xid)
    prepare(world, xid, "INSERT INTO t VALUES (5,'five',NULL)")
    world.run("t", copy_again=True)
    decide(world, "COMMIT", xid)
    world.run("t")
    world.assert_same("t")
    prepare(world, xid, "DELETE FROM t WHERE id=5")
    world.run("t")
    assert kept(world) == 1  # without what was left over


@pytest.mark.parametrize("route", [MYSQL_GTID, MARIADB], ids=str)
def test_xa_seen_by_some_mappings_only(servers: Servers, route: Route) -> None:
    """Of two mappings, one saw the transaction prepared and applies it, the other began later and is copied again."""
    world = pair(servers, route)
    table(world)
    world.on_source("CREATE TABLE u (id INT PRIMARY KEY)", "INSERT INTO u VALUES (1)")
    xid = f"'{world.source_schema}'"
    prepare(world, xid, "INSERT INTO t VALUES (4,'four',NULL)", "INSERT INTO u VALUES (2)")
    world.run("t")
    world.run("t u")
    decide(world, "COMMIT", xid)
    world.on_source("INSERT INTO u VALUES (3)", "UPDATE t SET v='later' WHERE id=4")
    results = world.run("t u")
    assert (results["a.t"].rows_snapshotted, results["a.u"].rows_snapshotted) == (0, 3)
    for name in ("t", "u"):
        world.assert_same(name)


# ---- statements that cannot be applied ----
def test_partial_row_image_of_another_table(world: Pair) -> None:
    """What sessions do to tables that nobody maps stops nothing: partial images, statements, unknown columns."""
    table(world)
    world.on_source(
        "CREATE TABLE other (id INT PRIMARY KEY, v INT)",
        "SET SESSION binlog_row_image=MINIMAL",
        "INSERT INTO other VALUES (1,1)",
        "UPDATE other SET v=2",
        "ALTER TABLE other ADD w INT FIRST",
        "DELETE FROM other",
    )
    world.on_source("DELETE FROM t WHERE id=1")
    world.run("t")
    world.assert_same("t")


def test_statement_format(world: Pair) -> None:
    """A statement-format change of a mapped table stops the run; one of another table without triggers does not."""
    table(world)
    other = world.source_schema + "x"
    world.source.execute(f"CREATE DATABASE {other}", f"CREATE TABLE {other}.z (id INT PRIMARY KEY)")
    world.source.execute(f"GRANT TRIGGER ON {other}.* TO 'reader'@'%'")
    statement = "SET SESSION binlog_format=STATEMENT"
    world.source.execute(f"USE {other}", statement, "INSERT INTO z VALUES (1)")
    world.on_source("INSERT INTO t VALUES (4,'four',NULL)")
    world.run("t")
    world.assert_same("t")
    world.on_source(statement, "UPDATE t SET v='x' WHERE id=1")
    stops(world, "statement format", "binlog_format")


def test_statement_format_names_a_mapped_table(world: Pair) -> None:
    """A statement-format change that runs in another schema but names a mapped table stops the run, too."""
    table(world)
    world.source.execute("SET SESSION binlog_format=STATEMENT", f"DELETE FROM {world.source_schema}.t WHERE id=1")
    stops(world, "statement format")


def test_load_data(world: Pair, tmp_path: Path) -> None:
    """LOAD DATA in row format arrives; in statement format it stops the run."""
    table(world)
    file = tmp_path / "rows.txt"
    file.write_text("4\tfour\t\\N\n5\tfünf\tx\n")
    load = f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE t CHARACTER SET utf8mb4"
    with globally(world, local_infile=1), world.source_session(local_infile=True) as session:
        session.query(load)
        world.run("t")
        world.assert_same("t")
        assert world.target_rows("t", "v", "id=5") == [("fünf",)]
        session.query("SET SESSION binlog_format=STATEMENT")
        session.query("DELETE FROM t WHERE 0")
        session.query(load.replace("TABLE t ", "TABLE t ").replace("INTO", "REPLACE INTO"))
    message = stops(world)
    assert "LOAD DATA" in message or "statement format" in message


def test_every_kind_of_statement(world: Pair) -> None:
    """INSERT … SELECT, REPLACE, INSERT … ON DUPLICATE KEY UPDATE, UPDATE and DELETE of several tables, INSERT IGNORE,
    multi-statement transactions with savepoints, and changes by triggers arrive.
    """
    table(world)
    world.on_source(
        "CREATE TABLE u (id INT PRIMARY KEY, v VARCHAR(100))",
        "INSERT INTO u VALUES (1,'u1'),(2,'u2'),(7,'u7')",
        "CREATE TABLE w (id INT PRIMARY KEY, v VARCHAR(100))",
        "CREATE TRIGGER tr AFTER DELETE ON u FOR EACH ROW INSERT INTO w VALUES (OLD.id, OLD.v)",
    )
    world.run("t u w")
    world.on_source(
        "INSERT INTO t SELECT id + 10, v, NULL FROM u",
        "REPLACE INTO t VALUES (1,'replaced',NULL),(20,'new',NULL)",
        "INSERT INTO t VALUES (2,'x',NULL),(21,'y',NULL) ON DUPLICATE KEY UPDATE v=CONCAT('odku ', t.v)",
        "INSERT IGNORE INTO t VALUES (1,'ignored',NULL),(22,'z',NULL)",
        "UPDATE t JOIN u ON t.id = u.id + 10 SET t.v='both', u.v=CONCAT(u.v,'!')",
        "UPDATE t SET id = id + 1000 WHERE id > 19",
        "DELETE t, u FROM t JOIN u ON t.id = u.id WHERE t.id = 1",
        "BEGIN", "INSERT INTO t VALUES (30,'kept',NULL)", "SAVEPOINT s", "DELETE FROM t WHERE id < 20",
        "ROLLBACK TO s", "UPDATE t SET v='kept, too' WHERE id=3", "COMMIT",
        "BEGIN", "DELETE FROM t", "ROLLBACK",
    )  # fmt: skip
    world.run("t u w")
    for name in ("t", "u", "w"):
        world.assert_same(name)
    assert len(world.target_rows("w")) == 1


def test_truncate(world: Pair) -> None:
    """TRUNCATE empties the mapping's rows, between the changes before and after it, in one run."""
    table(world)
    world.on_source("INSERT INTO t VALUES (4,'a',NULL)", "TRUNCATE t", "INSERT INTO t VALUES (1,'b',NULL),(5,'c',NULL)")
    world.run("t")
    world.assert_same("t")


def test_truncate_before_a_transaction_in_parts(world: Pair) -> None:
    """A TRUNCATE right before a transaction of more rows than a batch holds empties the table before it, not after."""
    table(world)
    world.limits = {"batch_rows_max": 10}
    world.on_source("TRUNCATE t", BIG_DML[0])
    world.run("t")
    world.assert_same("t")
    assert len(world.target_rows("t")) == 36


def test_create_table_select_and_drop_of_other_tables(world: Pair) -> None:
    """CREATE TABLE … SELECT, DROP, RENAME and temporary tables beside a mapped one change nothing for it; a table that
    came by CREATE … SELECT can be mapped after it.
    """
    table(world)
    world.on_source(
        "CREATE TABLE made AS SELECT * FROM t",
        "ALTER TABLE made ADD PRIMARY KEY (id)",
        "CREATE TEMPORARY TABLE tmp AS SELECT * FROM t",
        "INSERT INTO t SELECT id + 50, v, b FROM tmp",
        "DROP TEMPORARY TABLE tmp",
        "CREATE TABLE gone LIKE t",
        "RENAME TABLE gone TO goner",
        "DROP TABLE goner",
        "CREATE VIEW vw AS SELECT * FROM t",
        "ANALYZE TABLE t",
        "FLUSH TABLES t",
    )
    world.run("t made")
    world.on_source("DELETE FROM made WHERE id=1", "UPDATE t SET v='end'")
    world.run("t made")
    for name in ("t", "made"):
        world.assert_same(name)


def test_foreign_key_cascades(world: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """Rows that a foreign key deletes or changes arrive where the server logs them (MySQL since 9.6); where it does
    not, a warning names the mapping and the key.
    """
    world.on_source(
        "CREATE TABLE parent (id INT PRIMARY KEY) ENGINE=InnoDB",
        "CREATE TABLE t (id INT PRIMARY KEY, p INT, CONSTRAINT fk_of_t FOREIGN KEY (p) REFERENCES parent (id)"
        " ON DELETE CASCADE ON UPDATE CASCADE)",
        "INSERT INTO parent VALUES (1),(2),(3)",
        "INSERT INTO t VALUES (1,1),(2,1),(3,2),(4,3)",
    )
    with caplog.at_level(logging.WARNING, "myrepetl"):
        world.run("t")
    world.on_source("DELETE FROM parent WHERE id=1", "UPDATE parent SET id=20 WHERE id=2")
    world.run("t")
    if world.source.flavour == "mysql":
        assert "fk_of_t" not in caplog.text
        world.assert_same("t")
    else:
        assert "fk_of_t" in caplog.text
        assert "a.t" in caplog.text
        assert len(world.target_rows("t")) == 4  # what the warning is about


# ---- the log's own life ----
def test_rotation_and_flush(world: Pair) -> None:
    """Changes across several files, and empty files, arrive; the checkpoint stands in the newest file."""
    table(world)
    world.on_source("INSERT INTO t VALUES (4,'a',NULL)", "FLUSH BINARY LOGS", "UPDATE t SET v='b' WHERE id=4")
    world.on_source("FLUSH LOGS", "FLUSH LOGS", "DELETE FROM t WHERE id=1", "FLUSH LOGS")
    world.run("t")
    world.assert_same("t")
    assert world.checkpoint("a.t")["log_file"] == world.on_source("SHOW BINARY LOGS")[-1][0]
    world.on_source("INSERT INTO t VALUES (1,'again',NULL)")
    world.run("t")
    world.assert_same("t")


def test_checksums_change(world: Pair) -> None:
    """Files with and without checksums follow each other, whatever binlog_checksum is when they are read."""
    table(world)
    with globally(world, binlog_checksum="NONE"):
        world.on_source("INSERT INTO t VALUES (4,'no checksum',NULL)")
        world.run("t")
        world.assert_same("t")
        world.on_source("INSERT INTO t VALUES (5,'nor here',NULL)")
    world.on_source("UPDATE t SET v='with checksum' WHERE id=1")
    world.run("t")
    world.assert_same("t")
    world.on_source("DELETE FROM t WHERE id=2")
    with globally(world, binlog_checksum="NONE"):  # the change to read lies in a file with checksums
        world.on_source("DELETE FROM t WHERE id=3")
        world.run("t")
    world.assert_same("t")


@pytest.mark.parametrize(
    ("route", "metadata"),
    [(MYSQL_GTID, "MINIMAL"), (MYSQL_FILE, "MINIMAL"), (MARIADB, "MINIMAL"), (MARIADB, "NO_LOG")],
    ids=str,
)
def test_row_metadata_not_full(servers: Servers, route: Route, metadata: str) -> None:
    """Where the log does not describe its columns, rows arrive by the columns of the checkpoint: unsigned numbers,
    enums, sets and other character sets, too; after an ALTER the run stops, or copies again where it may.
    """
    world = pair(servers, route)
    world.target.execute(f"GRANT ALTER ON {world.target_schema}.* TO 'writer'@'%'")
    with globally(world, binlog_row_metadata=metadata):
        world.on_source(
            "CREATE TABLE t (id INT UNSIGNED PRIMARY KEY, e ENUM('x','y'), s SET('p','q'), c VARCHAR(9) CHARACTER SET latin1)",
            "INSERT INTO t VALUES (1,'x','p','é')",
        )
        world.run("t")
        world.on_source("INSERT INTO t VALUES (4294967295,'y','p,q','ü')", "UPDATE t SET e='y' WHERE id=1")
        world.run("t")
        world.assert_same("t")
        world.on_source("ALTER TABLE t ADD w INT", "INSERT INTO t VALUES (2,'x','p','é',5)")
        before = world.target_rows("t")
        error = world.error(world.pipeline({"a.t": {"target_table": "b.t", "schema_policy": "ignore"}}))
        assert isinstance(error, SchemaDrift)
        assert "binlog_row_metadata" in str(error)
        assert world.target_rows("t") == before
        assert world.run("t")["a.t"].rows_snapshotted == 3
        world.assert_same("t")


def test_rows_query_events(world: Pair) -> None:
    """The statements that a server logs beside the rows, as comments, are passed over."""
    table(world)
    flag = "binlog_annotate_row_events" if world.source.flavour == "mariadb" else "binlog_rows_query_log_events"
    world.on_source(f"SET SESSION {flag}=1", "UPDATE t SET v='annotated'", "INSERT INTO t VALUES (4,'a',NULL)")
    assert logged(world) & {"Rows_query", "Annotate_rows"}
    world.run("t")
    world.assert_same("t")


def test_rows_longer_than_a_packet(world: Pair) -> None:
    """A row of 17 MB, more than one packet of the protocol holds, arrives."""
    table(world)
    with globally(world, max_allowed_packet=64 * 2**20):
        target_limit = world.target.execute("SELECT @@global.max_allowed_packet")[0][0]
        world.target.execute(f"SET GLOBAL max_allowed_packet={64 * 2**20}")
        try:
            world.on_source(f"UPDATE t SET b=REPEAT(x'0027ff', {17 * 2**20 // 3}) WHERE id=1")
            world.run("t")
            world.assert_same("t", columns="id, v, SHA2(b, 256)")
        finally:
            world.target.execute(f"SET GLOBAL max_allowed_packet={target_limit}")
    world.source.execute("FLUSH BINARY LOGS")  # MariaDB lists no file with an event longer than its max_allowed_packet


def test_group_commit(world: Pair) -> None:
    """Transactions that many sessions commit at the same moment arrive, each once and in order."""
    table(world)
    option = "binlog_commit_wait" if world.source.flavour == "mariadb" else "binlog_group_commit_sync"
    delays = (
        {f"{option}_count": 6, f"{option}_usec": 20000}
        if world.source.flavour == "mariadb"
        else {f"{option}_delay": 5000}
    )

    def write(number: int) -> None:
        inserts = [f"INSERT INTO t VALUES ({number * 1000 + i},'{i}',NULL)" for i in range(10)]
        world.on_source(*inserts, f"UPDATE t SET v=CONCAT(v,'.{number}') WHERE id=1")

    with globally(world, **delays):
        writers = [threading.Thread(target=write, args=(number,)) for number in range(1, 7)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
    assert world.run("t")["a.t"].changes_applied == 66
    world.assert_same("t")


def test_two_phase_alter(mariadb: Pair) -> None:
    """binlog_alter_two_phase: an ALTER TABLE that is announced before it is done, or that fails, changes the target
    when it is done, or never.
    """
    if mariadb.source.version == "10.5":
        pytest.skip("since 10.8")
    mariadb.target.execute(f"GRANT ALTER ON {mariadb.target_schema}.* TO 'writer'@'%'")
    table(mariadb)
    mariadb.on_source(
        "SET SESSION binlog_alter_two_phase=1",
        "ALTER TABLE t ADD w INT DEFAULT 5",
        "INSERT INTO t VALUES (4,'a',NULL,6)",
    )
    with pytest.raises(Exception, match="Duplicate"):
        mariadb.on_source(
            "UPDATE t SET v='same'", "SET SESSION binlog_alter_two_phase=1", "ALTER TABLE t ADD UNIQUE (v)"
        )
    mariadb.on_source("INSERT INTO t VALUES (5,'same',NULL,7)")
    mariadb.run("t")
    mariadb.assert_same("t")


@pytest.mark.parametrize("route", [MYSQL_GTID, MARIADB], ids=str)
def test_restart_of_the_source(servers: Servers, route: Route) -> None:
    """After the source crashed and came back: table ids that now mean other tables, the DELETE that the server makes up
    for a MEMORY table, and an XA transaction prepared before and committed after it do no harm.
    """
    world = pair_of(servers.get("restarted", route.source), servers.get("target", route.target))
    world.on_source("CREATE TABLE mem (id INT PRIMARY KEY) ENGINE=MEMORY", "INSERT INTO mem VALUES (1)")
    table(world)
    table(world, "u")
    prepare(world, "'over the restart'", "INSERT INTO t VALUES (4,'xa',NULL)")
    world.on_source("UPDATE u SET v='before'")
    world.source.kill()
    world.source.start()
    world.on_source("SELECT * FROM mem", "UPDATE u SET v='after'", "UPDATE t SET v='after' WHERE id=1")
    world.run("t u")
    decide(world, "COMMIT", "'over the restart'")
    world.on_source("DELETE FROM u WHERE id=1")
    world.run("t u")
    for name in ("t", "u"):
        world.assert_same(name)


@pytest.mark.parametrize("route", [MYSQL_GTID, MARIADB], ids=str)
def test_mapped_memory_table_after_a_restart(servers: Servers, route: Route) -> None:
    """A mapped MEMORY table, empty after a restart of its server, is emptied in the target when the server logs it."""
    world = pair_of(servers.get("restarted", route.source), servers.get("target", route.target))
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=MEMORY", "INSERT INTO t VALUES (1),(2)")
    world.run("t")
    world.source.kill()
    world.source.start()
    assert world.on_source("SELECT * FROM t") == ()
    world.on_source("INSERT INTO t VALUES (3)")
    world.run("t")
    assert world.target_rows("t") == [(3,)]


def test_every_route_of_xa(servers: Servers) -> None:
    """What is prepared on one flavour is kept and applied on the other."""
    world = pair(servers, ROUTES[3])
    table(world)
    xid = f"'{world.source_schema}'"
    prepare(world, xid, "INSERT INTO t VALUES (4,'é',x'5c27')")
    world.run("t")
    decide(world, "COMMIT", xid)
    world.run("t")
    world.assert_same("t")
