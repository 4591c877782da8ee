"""Row images that lack columns: what they tell is applied exactly, and what they do not tell stops one mapping alone."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipelines import Pair, call_at, pair_of
from server_farm import Servers
from servers import FLAVOURS, Flavour

from myrepetl_dagster.core.model.errors import ReplicationError, RowRejected, UnsupportedEvent

pytestmark = pytest.mark.versions_in_soak

SEED = int(os.environ.get("MYREPETL_SEED", random.randrange(10**6)))
COLUMNS = (
    "id INT PRIMARY KEY, v INT NOT NULL DEFAULT 3, w VARCHAR(20) CHARACTER SET latin1 DEFAULT 'none', b TEXT,"
    " ts TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),"
    " at DATETIME NULL, e ENUM('one','two') NULL, x VARBINARY(9) NULL"
)
PAIRS: list[tuple[Flavour, Flavour]] = [(source, target) for source in FLAVOURS for target in FLAVOURS]


@pytest.fixture(params=PAIRS, ids="-to-".join)
def world(request: pytest.FixtureRequest, servers: Servers) -> Pair:
    source, target = request.param
    return pair_of(servers.get("source", source), servers.get("target", target))


def with_image(image: str, *statements: str) -> tuple[str, ...]:
    return (f"SET SESSION binlog_row_image={image}", *statements)


def row(number: int, rng: random.Random) -> str:
    values = (number, rng.randrange(9), *(f"'{rng.choice('abcd')}'" for _ in range(2)))
    rest = rng.choice(("NULL", "'2020-01-02 03:04:05'")), rng.choice(("NULL", "'one'", "'two'")), "x'00ff'"
    return f"({', '.join(map(str, values))}, '2021-01-01', {', '.join(rest)})"


def changes(rng: random.Random, count: int, *, key_changes: bool, blobs: bool = True) -> Iterator[str]:
    """Changes that partial images tell exactly."""
    settings = [
        "v=v+1", "w='ä'", "w=NULL", "at=NULL", "at='2022-02-02 02:02:02'", "e='two'", "e=NULL", "x=NULL", "x=x'00'",
        "ts=ts", "ts='2020-05-05 05:05:05.123'", "v=v",
    ]  # fmt: skip
    if blobs:
        settings += ["b='changed'", "b=NULL", "b=REPEAT('long', 500)"]
    for _ in range(count):
        number = rng.randrange(1, 40)
        roll = rng.random()
        if roll < 0.2:
            columns = "id, v, w, b, ts, at, e, x"
            yield f"INSERT IGNORE INTO t ({columns}) VALUES {row(number, rng)}"
        elif roll < 0.3:
            yield f"DELETE FROM t WHERE id={number}"
        elif roll < 0.4 and key_changes:
            yield f"UPDATE IGNORE t SET id={rng.randrange(1, 40)}, v=v+1 WHERE id={number}"
        elif roll < 0.5:
            yield f"UPDATE t SET {rng.choice(settings)} WHERE id % 4 = {number % 4}"
        else:
            chosen = rng.sample(settings, rng.randint(1, 3))
            yield f"UPDATE t SET {', '.join({one.split('=')[0]: one for one in chosen}.values())} WHERE id={number}"


def fill(world: Pair, rng: random.Random, rows: int = 30, columns: str = COLUMNS) -> None:
    world.on_source(
        f"CREATE TABLE t ({columns})", "CREATE TABLE u (id INT PRIMARY KEY, v INT)", "INSERT INTO u VALUES (1,1)"
    )
    world.on_source("INSERT INTO t VALUES " + ", ".join(row(number, rng) for number in range(1, rows + 1)))


@pytest.mark.parametrize("image", ["MINIMAL", "NOBLOB"])
def test_random_changes(world: Pair, image: str) -> None:
    """Whatever a session without whole images updates, inserts and deletes arrives, mixed with whole images."""
    rng = random.Random(f"{SEED} {image}")
    of_mysql = world.source.flavour == "mysql"
    fill(
        world, rng, columns=COLUMNS if of_mysql or image == "MINIMAL" else COLUMNS.replace("b TEXT", "b VARCHAR(3000)")
    )
    world.run("t u")
    count = 0
    for number in range(6):
        statements = list(changes(rng, 60, key_changes=of_mysql or image == "NOBLOB"))
        world.on_source(*with_image(image if number % 3 else "FULL", *statements))
        count += len(statements)
        if number % 2:
            world.run("t u")
            world.assert_same("t")
    print(f"seed {SEED}: {count} statements")


# ---- what the images do not tell -----------------------------------------------------------------------------
TABLES = (
    "CREATE TABLE t (id INT PRIMARY KEY, k INT NOT NULL UNIQUE, v INT DEFAULT 3, w VARCHAR(20) DEFAULT 'none', b TEXT)",
    "INSERT INTO t VALUES (1,1,1,'a','one'),(2,2,2,'b','two'),(3,3,3,'c','three')",
    "CREATE TABLE u (id INT PRIMARY KEY, v INT)",
    "INSERT INTO u VALUES (1,1)",
)
WHOLE: dict[str, Any] = {"target_table": "b.t"}


def explicit(**more: Any) -> dict[str, Any]:
    return {**WHOLE, "primary_key": "id", "column_mapping": {name: name for name in ("id", "v", "w")}, **more}


def stops_alone(world: Pair, mapping: dict[str, Any], *statements: str, **more: Any) -> ReplicationError:
    """After these statements the mapping stops, with its place, and `u` goes on. A new copy mends it."""
    both = world.pipeline({"a.t": mapping, "a.u": {"target_table": "b.u"}}, **more)
    world.run(both)
    columns = ", ".join(mapping.get("column_mapping", {"*": 0}))
    held = world.target_rows("t", columns)
    world.on_source(*statements, "SET SESSION binlog_row_image=FULL", "UPDATE u SET v=v+1", "UPDATE t SET v=v+1")
    for _ in range(2):
        results = world.try_run(both)
        assert results["a.u"].error is None
        world.assert_same("u")
        error = results["a.t"].error
        assert isinstance(error, UnsupportedEvent)
        assert error.mapping == "a.t"
        assert "after " in str(error)
        assert "binlog.0" in str(error)
        assert "`snapshot` job" in error.hint
        assert world.target_rows("t", columns) == held
        world.on_source("UPDATE u SET v=v+1")
    world.run(both, copy_again=["a.t"])
    world.on_source("UPDATE t SET v=v+1")
    world.run(both)
    if not mapping.get("filter") and "column_mapping" not in mapping:
        world.assert_same("t")
    assert isinstance(error, UnsupportedEvent)
    return error


def test_an_insert_that_leaves_columns_to_their_defaults(world: Pair) -> None:
    """A default is the source's at that time, and no image holds it."""
    world.on_source(*TABLES)
    error = stops_alone(world, WHOLE, *with_image("MINIMAL", "INSERT INTO t (id, k) VALUES (9, 9)"))
    assert "missing: v, w, b" in str(error)


def test_columns_that_are_not_mapped(world: Pair) -> None:
    """They may be left out of any image."""
    world.on_source(*TABLES)
    mapping = {"a.t": explicit(target_table="b.some")}
    world.run(mapping)
    world.on_source(*with_image("MINIMAL", "INSERT INTO t (id, k, v, w) VALUES (10, 10, 1, NULL)"))
    world.run(mapping)
    world.assert_same("t", "some", "id, v, w")


def test_a_filter_that_the_images_do_not_answer(world: Pair) -> None:
    """A filter on a column that the image before an update lacks."""
    world.on_source(*TABLES)
    error = stops_alone(world, {**WHOLE, "filter": {"v": {"gte": 2}}}, *with_image("MINIMAL", "UPDATE t SET w='x'"))
    assert "missing: v" in str(error)


def test_a_filter_on_the_key(world: Pair) -> None:
    """The image before a change answers it."""
    world.on_source(*TABLES)
    mapping = {"a.t": {"target_table": "b.some", "filter": {"id": {"gte": 2}}}}
    world.run(mapping)
    changes = "UPDATE t SET w='y'", "DELETE FROM t WHERE id<3", "UPDATE t SET v=7"
    world.on_source(*with_image("MINIMAL", *changes))
    results = world.run(mapping)
    assert (results["a.t"].changes_applied, results["a.t"].rows_filtered) == (4, 2)
    assert world.target_rows("some") == world.source_rows("t", where="id >= 2")


def test_a_key_that_the_images_lack(world: Pair) -> None:
    """A mapping whose key is not the source's primary key stops."""
    world.on_source(*TABLES)
    world.on_target("CREATE TABLE t (k INT PRIMARY KEY, v INT, w VARCHAR(20))")
    mapping = {**WHOLE, "primary_key": "k", "column_mapping": {name: name for name in ("k", "v", "w")}}
    error = stops_alone(world, mapping, *with_image("MINIMAL", "UPDATE t SET w='x' WHERE id=2"))
    assert "missing: k" in str(error)


OWN = """
def of_value(v): return None if v is None else v * 2
def of_row(v, row): return f"{v}{row['w']}"
"""


def test_a_transform_of_the_value(world: Pair, tmp_path: Path) -> None:
    """It is applied to what has changed."""
    (tmp_path / "own.py").write_text(OWN)
    world.on_source(*TABLES)
    columns = {"id": "id", "v": {"column": "v", "transform": "own.of_value"}, "w": "w"}
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY, v INT, w VARCHAR(20))")
    pipeline = world.pipeline({"a.t": explicit(column_mapping=columns)}, base_dir=tmp_path)
    world.run(pipeline)
    updates = [f"UPDATE t SET {change}" for change in ("w='x' WHERE id=2", "v=NULL WHERE id=1", "v=21 WHERE id=3")]
    world.on_source(*with_image("MINIMAL", *updates))
    world.run(pipeline)
    assert world.target_rows("t") == [(1, None, "a"), (2, 4, "x"), (3, 42, "c")]


def test_a_transform_that_looks_at_the_row(world: Pair, tmp_path: Path) -> None:
    """It may look at what the images lack."""
    (tmp_path / "own.py").write_text(OWN)
    world.on_source(*TABLES)
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20), w VARCHAR(20))")
    columns = {"id": "id", "v": {"column": "v", "transform": "own.of_row"}, "w": "w"}
    update = with_image("MINIMAL", "UPDATE t SET v=5 WHERE id=2")
    stops_alone(world, explicit(column_mapping=columns), *update, base_dir=tmp_path)


def test_replace_and_insert_on_duplicate_key(world: Pair) -> None:
    """MySQL logs all that a REPLACE sets. MariaDB leaves out what it sets to defaults, and that stops."""
    world.on_source(*TABLES, "ALTER TABLE t DROP INDEX k")
    replace = with_image("MINIMAL", "REPLACE INTO t (id, k, v) VALUES (2, 2, 9)")
    upsert = "INSERT INTO t (id, k, v) VALUES (3, 3, 8) ON DUPLICATE KEY UPDATE v=VALUES(v)"
    if world.source.flavour == "mysql":
        world.run("t")
        world.on_source(*replace, upsert)
        world.run("t")
        world.assert_same("t")
    else:
        error = stops_alone(world, WHOLE, *replace)
        assert "REPLACE" in str(error)
        assert "missing: w, b" in str(error)
        noblob = "SET SESSION binlog_row_image=NOBLOB", "REPLACE INTO t (id, k, v) VALUES (1, 1, 9)"
        assert "missing: b" in str(stops_alone(world, WHOLE, *noblob))


@pytest.mark.parametrize("own_key", [False, True])
def test_a_replace_before_its_key_is_renamed(world: Pair, own_key: bool) -> None:
    """The log's names count, not those that the table has by now: what stops a MariaDB stops it there, too."""
    world.on_source(
        "CREATE TABLE t (k VARCHAR(9) CHARACTER SET ascii PRIMARY KEY, w INT NOT NULL, v INT)",
        "INSERT INTO t VALUES ('a',1,1)",
    )
    world.on_source("CREATE TABLE u (id INT PRIMARY KEY, v INT)", "INSERT INTO u VALUES (1,1)")
    world.on_target("CREATE TABLE t (k VARCHAR(9) CHARACTER SET ascii PRIMARY KEY, w INT NOT NULL UNIQUE, v INT)")
    world.target.execute(f"GRANT ALTER ON `{world.target_schema}`.* TO 'writer'@'%'")
    whole = {"a.t": WHOLE | ({"primary_key": "w"} if own_key else {}), "a.u": {"target_table": "b.u"}}
    world.run(whole)
    world.on_source(
        *with_image("MINIMAL", "REPLACE INTO t (k, w) VALUES ('a', 1)"), "ALTER TABLE t RENAME COLUMN k TO kk",
        "UPDATE u SET v=2",
    )  # fmt: skip
    results = world.try_run(whole)
    world.assert_same("u")
    if world.source.flavour == "mysql" and not own_key:
        world.assert_same("t")
    else:
        error = results["a.t"].error
        assert isinstance(error, ReplicationError), "the target has kept a value that the source has lost"


# ---- the target's row ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("image", ["MINIMAL", "NOBLOB"])
@pytest.mark.parametrize("slice_s", [0.001, 1000.0])
def test_changes_while_a_table_is_copied(world: Pair, image: str, slice_s: float) -> None:
    """Rows that the copy has not read yet, or has read without what was deleted since, are no missing rows."""
    rng = random.Random(f"{SEED} {image} {slice_s}")
    of_mysql = world.source.flavour == "mysql"
    fill(
        world, rng, columns=COLUMNS if of_mysql or image == "MINIMAL" else COLUMNS.replace("b TEXT", "b VARCHAR(3000)")
    )
    world.chunks_of(3)
    world.limits |= {"snapshot_slice_s": slice_s}
    for _ in range(3):
        batches = [list(changes(rng, 8, key_changes=False)) for _ in range(30)]
        done = iter(batches)

        def change(_: object, done: Iterator[list[str]] = done) -> None:
            if statements := next(done, None):
                world.on_source(*with_image(image, *statements))

        world.run("t u", on_progress=change, copy_again=["a.t"])
        world.run("t u")
        world.assert_same("t")
    print(f"seed {SEED}")


def test_a_row_that_the_target_lacks(world: Pair) -> None:
    """Somebody has deleted it there: an update of some columns cannot bring it back, and says which row is missing."""
    world.on_source(*TABLES)
    world.run("t u")
    world.on_target("DELETE FROM t WHERE id=2")
    world.on_source(*with_image("MINIMAL", "UPDATE t SET v=5", "UPDATE u SET v=v+1"))
    results = world.try_run("t u")
    error = results["a.t"].error
    assert isinstance(error, RowRejected)
    assert "key id=2" in str(error)
    assert "snapshot" in error.hint
    world.assert_same("u")
    world.run("t u", copy_again=["a.t"])
    world.assert_same("t")


def test_another_key_while_the_copy_settles(world: Pair) -> None:
    """Part of a row gets another key: the copy may have read it at neither place, so the mapping stops."""
    if world.source.flavour == "mariadb":
        pytest.skip("no image of MariaDB tells a change of the key from a REPLACE")
    world.on_source(*TABLES)
    world.chunks_of(1)
    move = lambda: world.on_source(*with_image("MINIMAL", "UPDATE t SET id=9, v=8 WHERE id=3"))  # noqa: E731
    results = world.try_run("t", on_progress=call_at(2, move))
    error = results["a.t"].error
    assert isinstance(error, RowRejected)
    assert "key id=3" in str(error)
    world.run("t", copy_again=["a.t"])
    world.assert_same("t")
    world.on_source(*with_image("MINIMAL", "UPDATE t SET id=1000-id ORDER BY id DESC", "UPDATE t SET v=9"))
    world.run("t")
    world.assert_same("t")


def test_the_targets_own_changes(world: Pair) -> None:
    """A column that an update leaves as it is stays so, even if the target's changes by itself."""
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, v INT, at DATETIME, ts TIMESTAMP(3) NULL)")
    world.on_source("INSERT INTO t VALUES (1,1,'2020-01-01','2020-01-01'),(2,1,NULL,NULL)")
    world.on_source("SET sql_mode=''", "INSERT INTO t VALUES (3,1,'0000-00-00','0000-00-00'),(4,1,'2021-00-31',NULL)")
    itself = "NULL DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP"
    world.on_target(f"CREATE TABLE t (id INT PRIMARY KEY, v INT, at DATETIME {itself}, ts TIMESTAMP(3) {itself}(3))")
    world.run("t")
    world.on_source(*with_image("MINIMAL", "UPDATE t SET v=2", "UPDATE t SET v=3, at='2021-01-01' WHERE id=2"))
    world.run("t")
    world.assert_same("t")


def test_unique_values_that_rows_exchange(world: Pair) -> None:
    """The updates are written in the log's order."""
    world.on_source(*TABLES)
    world.run("t")
    swap = "UPDATE t SET k=99 WHERE id=1", "UPDATE t SET k=1 WHERE id=2", "UPDATE t SET k=2 WHERE id=1"
    if world.source.flavour == "mariadb":
        world.on_source(*with_image("MINIMAL", *swap))
        assert "REPLACE" in str(world.error("t"))
        return
    world.on_source(*with_image("MINIMAL", *swap, "UPDATE t SET v=5 WHERE id=3"))
    world.run("t")
    world.assert_same("t")


def test_large_and_prepared_transactions(world: Pair) -> None:
    """Updates of some columns are written in parts where a transaction is too large, and kept where it is in doubt."""
    rng = random.Random(SEED)
    fill(world, rng)
    world.limits |= {"batch_rows_max": 7}
    world.run("t u")
    some = list(changes(rng, 40, key_changes=False))
    world.on_source(*with_image("MINIMAL", "BEGIN", *some, "COMMIT"))
    world.run("t u")
    world.assert_same("t")
    for rows_max in (7, 1000):
        world.limits |= {"batch_rows_max": rows_max}
        xid = f"'{world.source_schema}{rows_max}'"
        some = list(changes(rng, 30, key_changes=False))
        with world.source_session() as connection, connection.cursor() as cursor:
            for sql in with_image("MINIMAL", f"XA START {xid}", *some, f"XA END {xid}", f"XA PREPARE {xid}"):
                cursor.execute(sql)
        world.run("t u")
        world.on_source(f"XA COMMIT {xid}", *with_image("MINIMAL", "UPDATE t SET v=v+1"))
        world.run("t u")
        world.assert_same("t")


# ---- all of a server's images --------------------------------------------------------------------------------
@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("image", ["MINIMAL", "NOBLOB"])
def test_a_server_that_never_logs_whole_rows(servers: Servers, flavour: Flavour, image: str) -> None:
    """What it logs is applied, from the copy on; a mapping that always needs more is refused before that."""
    world = pair_of(servers.get("source", flavour, binlog_row_image=image), servers.get("target", flavour))
    rng = random.Random(f"{SEED} {image}")
    fill(world, rng, columns=COLUMNS if image == "MINIMAL" else COLUMNS.replace("b TEXT", "b VARCHAR(3000)"))
    world.run("t u")
    for _ in range(3):
        world.on_source(*changes(rng, 60, key_changes=flavour == "mysql" or image == "NOBLOB"))
        world.run("t u")
        world.assert_same("t")
    filtered = {"a.t": {"target_table": "b.t2", "filter": {"v": {"gte": 2}}}}
    if image == "MINIMAL":
        error = world.error(filtered)
        assert "binlog_row_image=MINIMAL" in str(error)
        assert "its filter looks at v" in str(error)


# ---- images that are whole once they are put together ---------------------------------------------------------
@pytest.mark.parametrize("target", FLAVOURS)
def test_what_only_one_of_two_images_holds(servers: Servers, target: Flavour) -> None:
    """With FULL_NODUP the image before an update holds what the one after it lacks: filters, transforms, other keys."""
    world = pair_of(servers.get("source", "mariadb", version="11.8"), servers.get("target", target))
    rng = random.Random(SEED)
    fill(world, rng)
    mapping = {
        "a.t": {"target_table": "b.t", "filter": {"or": [{"v": {"gte": 4}}, {"b": {"eq": "changed"}}]}},
        "a.u": {"target_table": "b.u"},
    }
    world.run(mapping)
    world.source.execute("SET GLOBAL binlog_row_image=FULL_NODUP")
    try:
        for _ in range(3):
            world.on_source(*changes(rng, 60, key_changes=True), "REPLACE INTO t (id, v) VALUES (5, 9)")
            world.run(mapping)
            assert world.target_rows("t") == world.source_rows("t", where="v >= 4 OR b = 'changed'")
    finally:
        world.source.execute("SET GLOBAL binlog_row_image=FULL")


@pytest.mark.parametrize("target", FLAVOURS)
@pytest.mark.parametrize("image", ["FULL", "NOBLOB", "MINIMAL"])
def test_changed_parts_of_documents(servers: Servers, target: Flavour, image: str) -> None:
    """PARTIAL_JSON: the document before the change becomes the one after it. If no image holds it, the mapping stops."""
    world = pair_of(servers.get("source", "mysql"), servers.get("target", target))
    documents = """(1, 1, '{"a": [1, 2.50, "long long long long long long long"]}'), (2, 2, '[]'), (3, 3, NULL)"""
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, j JSON)", f"INSERT INTO t VALUES {documents}", *TABLES[2:]
    )
    world.run("t u")
    changes = (
        "UPDATE t SET j=JSON_SET(j, '$.a[1]', 7, '$.b', CAST(1.50 AS DECIMAL(5,2))), v=v+1 WHERE id=1",
        "UPDATE t SET j=JSON_ARRAY_APPEND(j, '$', 'x')",
        "UPDATE t SET id=9, j=JSON_REMOVE(j, '$[0].b') WHERE id=1",
        "INSERT INTO t VALUES (4, 4, '{}')",
        "UPDATE t SET v=8",
        "DELETE FROM t WHERE id=2",
    )
    session = "SET SESSION binlog_row_value_options=PARTIAL_JSON"
    world.on_source(session, *with_image(image, *changes))
    if image == "MINIMAL":
        error = world.error("t u")
        assert isinstance(error, UnsupportedEvent)
        assert "JSON" in str(error)
        world.run("t u", copy_again=["a.t"])
        world.on_source(session, *with_image(image, "UPDATE t SET v=9", "UPDATE t SET j='[1]' WHERE id=4"))
    world.run("t u")
    assert world.target_rows("t", "id, v, CAST(j AS CHAR)") == world.source_rows("t", "id, v, CAST(j AS CHAR)")


# ---- generated columns that MariaDB 11.8 leaves out ------------------------------------------------------------
GENERATED = "id INT PRIMARY KEY, v INT, gv INT AS (v + 1) VIRTUAL, w TEXT, gs INT AS (v * 2) STORED"


@pytest.mark.parametrize("target", FLAVOURS)
@pytest.mark.parametrize("image", ["FULL", "MINIMAL", "FULL_NODUP"])
def test_generated_columns(servers: Servers, target: Flavour, image: str) -> None:
    """A target that computes them does so whether the images hold them or not."""
    world = pair_of(servers.get("source", "mariadb", version="11.8"), servers.get("target", target))
    world.on_target(f"CREATE TABLE t ({GENERATED})")
    world.on_source(f"CREATE TABLE t ({GENERATED})", "INSERT INTO t (id, v, w) VALUES (1,1,'a'),(2,2,'b')", *TABLES[2:])
    world.run("t u")
    for _ in range(2):
        world.on_source(
            *with_image(image, "UPDATE t SET v=v+1", "INSERT INTO t (id, v, w) VALUES (3,3,NULL)", "DELETE FROM t WHERE id=2"),
            *("UPDATE t SET w='c' WHERE id=3", "INSERT INTO t (id, v, w) VALUES (2,NULL,'d')", "UPDATE t SET id=id+10 ORDER BY id DESC"),
        )  # fmt: skip
        if image == "MINIMAL":  # a change of the key may be a REPLACE
            assert "REPLACE" in str(world.error("t u"))
            world.run("t u", copy_again=["a.t"])
        world.run("t u")
        world.assert_same("t")
        world.assert_same("u")


def test_a_generated_column_as_an_ordinary_one(servers: Servers, flavour: Flavour) -> None:
    """The log does not hold what the target's column should become: the mapping stops, others go on."""
    world = pair_of(servers.get("source", "mariadb", version="11.8"), servers.get("target", flavour))
    world.on_source(f"CREATE TABLE t ({GENERATED})", "INSERT INTO t (id, v, w) VALUES (1,1,'a'),(2,2,'b')", *TABLES[2:])
    columns = {name: name for name in ("id", "gv")}
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY, gv INT)")
    mapping = {"a.t": explicit(column_mapping=columns), "a.u": {"target_table": "b.u"}}
    world.run(mapping)
    world.on_source("INSERT INTO t (id, v) VALUES (3, 3)", "DELETE FROM t WHERE id=2")
    world.run(mapping)
    world.assert_same("t", columns="id, gv")
    world.on_source("UPDATE t SET v=5 WHERE id=1", "UPDATE u SET v=5")
    error = world.try_run(mapping)["a.t"].error
    assert isinstance(error, UnsupportedEvent)
    assert "missing: gv" in str(error)
    assert "binlog_row_image" not in error.hint
    world.assert_same("u")


@pytest.mark.parametrize("later", ["RENAME COLUMN g TO h", "MODIFY g INT"])
@pytest.mark.parametrize("policy", ["evolve", "ignore"])
def test_a_generated_column_that_is_another_one_by_now(
    servers: Servers, flavour: Flavour, policy: str, later: str
) -> None:
    """What the log says of the columns counts, not what they are when it is read."""
    world = pair_of(servers.get("source", "mariadb", version="11.8"), servers.get("target", flavour))
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, v INT, g INT AS (v + 1) STORED)")
    world.on_source("INSERT INTO t (id, v) VALUES (1,1),(2,2)")
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY, v INT, g INT)")
    mapping = {"a.t": {"target_table": "b.t", "schema_policy": policy}}
    world.run(mapping)
    world.on_source("UPDATE t SET v=5 WHERE id=1", f"ALTER TABLE t {later}")
    error = world.error(mapping)
    assert isinstance(error, UnsupportedEvent)
    assert "missing: g" in str(error)
    assert world.target_rows("t") == [(1, 1, 2), (2, 2, 3)]


def test_a_generated_column_that_is_renamed_twice(servers: Servers, flavour: Flavour) -> None:
    """A name that the table had only in between may be a generated column's."""
    world = pair_of(servers.get("source", "mariadb", version="11.8"), servers.get("target", flavour))
    world.target.execute(f"GRANT ALTER ON `{world.target_schema}`.* TO 'writer'@'%'")
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, v INT, g INT AS (v + 1) STORED)")
    world.on_source("INSERT INTO t (id, v) VALUES (1,1),(2,2)")
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY, v INT, g INT)")
    world.run("t")
    world.on_source(
        "ALTER TABLE t RENAME COLUMN g TO h", "UPDATE t SET v=5 WHERE id=1", "ALTER TABLE t RENAME COLUMN h TO i"
    )
    error = world.error("t")
    assert isinstance(error, UnsupportedEvent)
    assert "missing: h" in str(error)
    assert world.target_rows("t") == [(1, 1, 2), (2, 2, 3)]
