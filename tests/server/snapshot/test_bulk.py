"""Rows that a MariaDB target takes as the parameters of its bulk execution (`bulk_encoder.py`)."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import closing

import pytest
from decode_log import kind_of
from pipelines import Pair, Route, pair, pair_of
from server_farm import Servers
from type_matrix import change_in_every_way, differences, fill, packed, tables

from myrepetl_dagster.core.binlog.events import KnownTable, RowsRead
from myrepetl_dagster.core.model.errors import RowRejected
from myrepetl_dagster.core.model.tables import TableName
from myrepetl_dagster.core.mysql import bulk_connection
from myrepetl_dagster.core.mysql.bulk_connection import BulkConnection
from myrepetl_dagster.core.source.mysql_source import MySQLSource
from myrepetl_dagster.core.target.control import TargetControl
from myrepetl_dagster.core.values.bulk_parameters import BulkRows

ROUTES = [Route("mariadb", True, "mariadb"), Route("mysql", True, "mariadb")]
AS_TEXT = {"geometry", "point", "linestring", "polygon", "vector", "multipoint", "multilinestring", "multipolygon"}
AS_TEXT |= {"geometrycollection", "geomcollection"}
LONG = {"mediumtext", "longtext", "mediumblob", "longblob", "json"}  # copied as text, as rows may be very long


@pytest.fixture(autouse=True)
def no_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as events (`test_event_replay.py`), whatever the account may do."""
    monkeypatch.setattr(TargetControl, "takes_changes", lambda *_, **__: False)


@pytest.fixture
def in_bulk(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Rows that were written in bulk, by table."""
    written: Counter[str] = Counter()
    bulk = BulkConnection.bulk

    def spy(self: BulkConnection, sql: bytes, rows: BulkRows, start: int, end: int) -> None:
        bulk(self, sql, rows, start, end)
        written[sql.split(b"`")[3].decode()] += end - start

    monkeypatch.setattr(BulkConnection, "bulk", spy)
    return written


@pytest.fixture(params=ROUTES, ids=str)
def world(request: pytest.FixtureRequest, servers: Servers) -> Pair:
    return pair(servers, request.param)


def fit(definition: str) -> bool:
    charset = re.search(r"CHARACTER SET (\w+)", definition, re.IGNORECASE)
    known = charset is None or charset[1] in ("utf8mb4", "utf8mb3", "latin1", "ascii")
    return known and kind_of(definition) not in AS_TEXT and definition != "YEAR(2)"


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_type_in_bulk(servers: Servers, route: Route, in_bulk: Counter[str]) -> None:
    """Each value of each type that goes in bulk arrives as it does as text: byte for byte, NULLs and all, whether it is
    inserted, updated or moved to another key.
    """
    world = pair(servers, route)
    matrix = tables(route.source, world.source, common=route.source != route.target)
    columns = [t for table in matrix if table.name.startswith("plain") for t in table.columns if fit(t[0])]
    short = tuple(packed("short", [t for t in columns if kind_of(t[0]) not in LONG]))
    wide = (*short, *packed("long", [t for t in columns if kind_of(t[0]) in LONG]))
    fill(world.source, world.source_schema, wide)
    names = " ".join(table.name for table in wide)
    world.run(names)
    assert set(in_bulk) == {table.name for table in short}, "not every table was copied in bulk"
    assert differences(world, wide) == []
    in_bulk.clear()
    change_in_every_way(world, wide)
    world.run(names)

    assert set(in_bulk) == {table.name for table in wide}, "not every table's rows went in bulk"
    assert len(short) > 1
    assert differences(world, wide) == []


def test_all_of_latin1(world: Pair, in_bulk: Counter[str]) -> None:
    """Each byte of latin1 arrives, in a column of latin1 and in one of utf8mb4."""
    every = "".join(f"{n:02x}" for n in range(256))
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(300), b ENUM('é','x')) CHARACTER SET latin1")
    world.on_target(
        "CREATE TABLE u (id INT PRIMARY KEY, a VARCHAR(300), b ENUM('é','x')) CHARACTER SET utf8mb4",
    )
    mapping = {name: {"source_table": "a.t", "target_table": f"b.{name}"} for name in ("t", "u")}
    world.run(mapping)
    world.on_source(f"INSERT INTO t VALUES (1, x'{every}', 'é'), (2, 'plain', 'x'), (3, NULL, NULL), (4, '', 'é')")
    world.run(mapping)

    assert in_bulk == {"t": 4, "u": 4}
    read = "SELECT id, HEX(CONVERT(a USING utf8mb4)), HEX(CONVERT(b USING utf8mb4)) FROM {} ORDER BY id"
    assert world.on_source(read.format("t")) == world.on_target(read.format("t")) == world.on_target(read.format("u"))


def test_lengths_at_the_borders(world: Pair, in_bulk: Counter[str]) -> None:
    """Values of 250, 251, 65,535, 65,536 bytes and longer, text and bytes, and integers at their ends."""
    world.on_source(
        "CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, a LONGTEXT, b LONGBLOB, c MEDIUMINT, d TINYINT UNSIGNED, e YEAR)"
    )
    world.run("t")
    sizes = [0, 1, 250, 251, 252, 255, 256, 65535, 65536, 300_000]
    world.on_source(
        *(f"INSERT INTO t VALUES ({n}, REPEAT('x', {n}), REPEAT(x'fb', {n}), -8388608, 255, 0)" for n in sizes),
        "INSERT INTO t VALUES (18446744073709551615, NULL, NULL, 8388607, 0, 2155)",
    )
    world.run("t")
    assert in_bulk["t"] == len(sizes) + 1
    world.assert_same("t", columns="id, SHA2(a, 256), SHA2(b, 256), c, d, e")


def test_a_long_row_goes_as_text(world: Pair, in_bulk: Counter[str]) -> None:
    """What is sent in pieces as text is not put together for a bulk; rows beside it are."""
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, a LONGTEXT)")
    world.run("t")
    world.on_source("INSERT INTO t VALUES (1, 'y'), (2, REPEAT('x', 3000000)), (3, 'z')")
    world.run("t")
    assert in_bulk == {"t": 2}
    world.assert_same("t", columns="id, SHA2(a, 256)")


def test_static_values_beside_parameters(world: Pair, in_bulk: Counter[str]) -> None:
    """A mapping's own values stand in the statement, whatever they contain."""
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(9))")
    columns = {"id": "id", "a": "b?", "s": {"column": "s", "value": "it's ? %s \\"}, "n": {"column": "n", "value": 7}}
    mapping = {"t": {"source_table": "a.t", "target_table": "b.t", "primary_key": "id", "column_mapping": columns}}
    world.run(mapping)
    world.on_source("INSERT INTO t VALUES (1, 'x'), (2, NULL)")
    world.run(mapping)
    assert in_bulk == {"t": 2}
    assert world.target_rows("t") == [(1, "x", "it's ? %s \\", 7), (2, None, "it's ? %s \\", 7)]


def _row(n: int) -> str:
    text = ("NULL", f"REPEAT(0xc3bb, {n})", "''", "'x'")[n % 4]
    label = ("NULL", 1, 2, 0 if n % 15 == 3 else 1)[n % 4]
    double, single = ("NULL", -0.0, 1e300)[n % 3], ("0.1", "NULL")[n % 2]
    return f"INSERT INTO t VALUES (x'fb{n % 7:02x}', {n}, {text}, {label}, {double}, {single}, {n % 5})"


def test_a_copy_in_windows(world: Pair, in_bulk: Counter[str]) -> None:
    """Copied in bulk, window by window: NULLs anywhere, an ENUM's error value, rows that the filter leaves out and is
    to count, lengths in which a byte looks like NULL.
    """
    world.on_source(
        "SET sql_mode=''",
        "CREATE TABLE t (a BINARY(2), id BIGINT, b VARCHAR(600), c ENUM('x','y'), d DOUBLE, f FLOAT, keep INT, PRIMARY KEY"
        " (a, id)) CHARACTER SET utf8mb4",
        *map(_row, range(250)),
    )
    world.chunks_of(20)
    mapping = {
        "m": {"source_table": "a.t", "target_table": "b.t", "filter": {"keep": {"not": {"eq": 4}}}},
    }
    result = world.run(mapping)["m"]

    assert (result.rows_snapshotted, result.rows_filtered) == (200, 50)
    unrenderable = world.on_source("SELECT COUNT(*) FROM t WHERE c + 0 = 0 AND keep <> 4")[0][0]
    assert unrenderable > 0
    assert in_bulk["t"] == 200 - unrenderable
    world.assert_same(
        "t", columns="HEX(a), id, b, c + 0, d + 0 = d, CAST(d AS CHAR) + 0, f * 1e0, keep", where="keep <> 4"
    )


def test_a_key_that_is_converted_is_copied_as_text(world: Pair, in_bulk: Counter[str]) -> None:
    """By a latin1 key, whose text is not what a parameter would be, the copy goes as tuples."""
    world.on_source(
        "CREATE TABLE t (id VARCHAR(9) CHARACTER SET latin1 PRIMARY KEY, a INT)",
        *(f"INSERT INTO t VALUES (CONCAT('é', {n}), {n})" for n in range(30)),
    )
    world.chunks_of(7)
    world.run("t")
    assert not in_bulk
    world.assert_same("t")


def test_a_refused_row_is_named_and_nothing_stays(world: Pair, in_bulk: Counter[str]) -> None:
    """Of a batch in bulk with a row that the target refuses nothing is kept; the error has its key and no value."""
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, a INT)")
    world.run("t")
    world.on_target("ALTER TABLE t ADD CHECK (a < 5000)")
    numbers = ", ".join(f"({n}, {n if n != 777 else 31337})" for n in range(1, 2000))
    world.on_source(f"INSERT INTO t VALUES {numbers}")
    error = world.error("t")
    assert isinstance(error, RowRejected)
    assert "key id=777" in str(error)
    assert "31337" not in str(error)
    assert world.target_rows("t") == []
    world.on_source("UPDATE t SET a = 1 WHERE id = 777")
    world.run("t")
    world.assert_same("t")
    assert in_bulk["t"] == 1999


def test_the_targets_own_log_has_every_row(servers: Servers, in_bulk: Counter[str]) -> None:
    """Rows in bulk are in the target's binary log like any others, so that its own replicas have them."""
    world = pair(servers, ROUTES[0])
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(200))")
    world.run("t")
    back = pair_of(world.target, world.target)  # the target as a source
    world.target.execute(f"GRANT SELECT ON {world.target_schema}.* TO 'reader'@'%'")
    table = TableName(world.target_schema, "t")
    pipeline = back.pipeline("t")
    source = MySQLSource(pipeline.sources["a"], pipeline.limits)
    try:
        start = source.head()
        known = {table: KnownTable(source.columns(table))}
        rows = ", ".join(f"({n}, REPEAT('é', {n % 90}))" for n in range(3000))
        world.on_source(f"INSERT INTO t VALUES {rows}", "UPDATE t SET a = 'changed' WHERE id % 7 = 0")
        world.run("t")
        with closing(source.read_log(start, known)) as events:
            logged = [change for e in events if isinstance(e, RowsRead) for change in e.changes]
    finally:
        source.close()
    assert in_bulk["t"] == 3000
    assert sorted(after[0] for _, after in logged if after) == list(range(3000))  # type: ignore[type-var]


def test_more_tables_than_a_connection_prepares(
    world: Pair, in_bulk: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Statements that are prepared are closed when there are too many, and prepared anew."""
    monkeypatch.setattr(bulk_connection, "_STATEMENTS_MAX", 2)
    names = [f"t{n}" for n in range(5)]
    world.on_source(*(f"CREATE TABLE {name} (id INT PRIMARY KEY, a INT)" for name in names))
    world.run(" ".join(names))
    for n in range(3):
        world.on_source(*(f"INSERT INTO {name} VALUES ({n}, {n})" for name in names))
        world.run(" ".join(names))
    assert in_bulk == dict.fromkeys(names, 3)
    for name in names:
        world.assert_same(name)


def test_a_table_that_changes_under_a_prepared_statement(world: Pair, in_bulk: Counter[str]) -> None:
    """A column more, within one run: the rows before and after it arrive."""
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, a INT)", "INSERT INTO t VALUES (1, 1)")
    mapping = {"t": {"source_table": "a.t", "target_table": "b.t", "schema_policy": "evolve"}}
    world.target.execute(f"GRANT ALTER ON {world.target_schema}.* TO 'writer'@'%'")
    world.run(mapping)
    world.on_source(
        "INSERT INTO t VALUES (2, 2)", "ALTER TABLE t ADD b VARCHAR(9)", "INSERT INTO t VALUES (3, 3, 'x')",
        "ALTER TABLE t DROP a", "INSERT INTO t VALUES (4, 'y')",
    )  # fmt: skip
    world.run(mapping)
    assert in_bulk["t"] == 4  # one of them copied
    assert world.target_rows("t", "id, b") == [(1, None), (2, None), (3, "x"), (4, "y")]


def test_a_server_that_does_not_offer_it(world: Pair, in_bulk: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the greeting has no such capability (a proxy), rows go as text."""
    monkeypatch.setattr(bulk_connection, "_offers_bulk", lambda greeting: False)
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(9))")
    world.run("t")
    world.on_source("INSERT INTO t VALUES (1, 'x')")
    world.run("t")
    assert not in_bulk
    world.assert_same("t")


def test_a_mysql_server_is_not_asked(servers: Servers, in_bulk: Counter[str]) -> None:
    """MySQL has nothing of the kind."""
    world = pair(servers, Route("mysql", True, "mysql"))
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY)")
    world.run("t")
    world.on_source("INSERT INTO t VALUES (1)")
    world.run("t")
    assert not in_bulk
    world.assert_same("t")


def test_a_small_max_allowed_packet(servers: Servers, in_bulk: Counter[str]) -> None:
    """Executions stay below what the target takes."""
    world = pair(servers, ROUTES[0])
    world.target.execute("SET GLOBAL max_allowed_packet = 65536")
    try:
        world.on_source("CREATE TABLE t (id INT PRIMARY KEY, a TEXT)")
        world.run("t")
        world.on_source(*(f"INSERT INTO t VALUES ({n}, REPEAT('x', 30000))" for n in range(40)))
        world.run("t")
    finally:
        world.target.execute("SET GLOBAL max_allowed_packet = DEFAULT")
    assert in_bulk["t"] == 40
    world.assert_same("t", columns="id, SHA2(a, 256)")


TRIGGERS = (
    "BEFORE INSERT ON t FOR EACH ROW INSERT INTO seen VALUES (NEW.id)",
    "AFTER INSERT ON t FOR EACH ROW INSERT INTO seen VALUES (NEW.id)",
    "AFTER UPDATE ON t FOR EACH ROW INSERT INTO seen VALUES (NEW.id)",
    "AFTER DELETE ON t FOR EACH ROW INSERT INTO seen VALUES (OLD.id)",
)


@pytest.mark.versions
@pytest.mark.parametrize("trigger", TRIGGERS)
def test_triggers_that_write(world: Pair, trigger: str) -> None:
    """Rows arrive whole where the target's triggers write other tables, and each trigger sees its own row, by both ways.
    (In bulk MariaDB lost rows before 10.5.26.)
    """
    world.target.execute("SET GLOBAL log_bin_trust_function_creators = 1")
    values = ",".join(f"({n}, {n})" for n in range(200))
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, a INT)", f"INSERT INTO t VALUES {values}")
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY, a INT)", "CREATE TABLE seen (id INT)")
    world.on_target(f"CREATE TRIGGER one {trigger}")
    world.run("t")
    world.assert_same("t")
    world.on_source(
        "INSERT INTO t VALUES (1000, 1), (1001, 2), (1002, 3)",
        "UPDATE t SET a = a + 1 WHERE id < 50",
        "DELETE FROM t WHERE id BETWEEN 40 AND 60",
        "UPDATE t SET id = id + 5000 WHERE id < 10",
    )
    world.run("t")
    world.assert_same("t")
    seen = {row[0] for row in world.on_target("SELECT id FROM seen")}
    if "INSERT ON" in trigger:
        assert seen >= {*range(200), 1000, 1001, 1002, *range(5000, 5010)}
    elif "UPDATE" in trigger:
        assert seen >= {*range(10, 40)}
    else:
        assert seen >= {*range(10), *range(40, 61)}
