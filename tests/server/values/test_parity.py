"""Every type by every path: snapshot through Python, snapshot rendered by the source, and the log's images."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from decode_log import MODE, kind_of
from key_matrix import key_differences, keyed_by_each_type
from pipelines import Pair, Route, pair
from server_farm import Servers
from servers import Flavour, Server
from type_matrix import GEOMETRIES, METADATA_LEVELS, Wide, fill, own_types, tables

from myrepetl_dagster.core.binlog.events import KnownTable, RowsRead
from myrepetl_dagster.core.binlog.map_columns import TableMap, layout_of
from myrepetl_dagster.core.model.errors import RowRejected
from myrepetl_dagster.core.model.limits import Limits
from myrepetl_dagster.core.model.tables import Column, Row, TableName
from myrepetl_dagster.core.plan.table_plan import TablePlan
from myrepetl_dagster.core.replication.snapshot import window_copy
from myrepetl_dagster.core.rows.writable_rows import SqlTuples, WritableRows
from myrepetl_dagster.core.source.mysql_source import MySQLSource
from myrepetl_dagster.core.source.relation import Relation
from myrepetl_dagster.core.source.snapshot_reader import read_chunk
from myrepetl_dagster.core.target.apply_connection import MySQLApplyConnection
from myrepetl_dagster.core.values.python_values import to_python
from myrepetl_dagster.core.values.text_codecs import decode_text

pytestmark = pytest.mark.versions

SAME = [Route("mysql", True, "mysql"), Route("mariadb", True, "mariadb")]
ACROSS = [Route("mysql", True, "mariadb"), Route("mariadb", True, "mysql")]


def mappings(wide: tuple[Wide, ...]) -> dict[str, Any]:
    """Each table twice: as the source renders its rows, and through Python, which the filter forces."""
    found: dict[str, Any] = {}
    for table in wide:
        found[f"{table.name}-sql"] = {"source_table": f"a.{table.name}", "target_table": f"b.{table.name}_sql"}
        found[f"{table.name}-python"] = {
            "source_table": f"a.{table.name}",
            "target_table": f"b.{table.name}_python",
            "filter": {"keep": {"eq": 1}},
        }
    return found


def differences(world: Pair, wide: tuple[Wide, ...]) -> list[str]:
    """Each value of a target table that is not the source's, by its type."""
    found = []
    for table in wide:
        held = {row[0]: row for row in world.on_source(f"SELECT {table.shown()} FROM {table.name}")}
        for suffix, where in (("sql", "TRUE"), ("python", "keep = 1")):
            expected = {key: row for key, row in held.items() if where == "TRUE" or row[1] == 1}
            got = {row[0]: row for row in world.on_target(f"SELECT {table.shown()} FROM {table.name}_{suffix}")}
            if got.keys() != expected.keys():
                found.append(f"{table.name}_{suffix}: rows {sorted(got.keys() ^ expected.keys())}")
            for key in got.keys() & expected.keys():
                for i, (one, other) in enumerate(zip(expected[key], got[key], strict=True)):
                    unsigned_zero = one == 0.0 and world.target.flavour == "mariadb"  # it stores no -0.0
                    if repr(one) != repr(other) and not (unsigned_zero and other == 0.0):
                        found.append(f"{table.name}_{suffix} {table.definition(i)} row {key}: {one} != {other}")
    return found


def change(source: Server, schema: str, wide: tuple[Wide, ...]) -> None:
    """Each row again: by an insert, an after image, a key change, a delete by a before image, and one that leaves."""
    statements = []
    for table in wide:
        names = ", ".join(["keep", *table.names])
        copied = f"INSERT INTO {table.name} (id, {names}) SELECT id + %s, {names} FROM {table.name} WHERE id < 1000"
        sets = ", ".join(f"t.{name} = s.{name}" for name in table.names)
        statements += [
            copied % 1000,
            f"INSERT INTO {table.name} (id) SELECT id + 2000 FROM {table.name} WHERE id < 1000",
            f"UPDATE {table.name} t JOIN {table.name} s ON t.id = s.id + 2000 SET {sets}",
            copied % 3000,
            f"UPDATE {table.name} SET id = id + 1000 WHERE id BETWEEN 3000 AND 3999",
            copied % 5000,
            copied % 6000,
        ]
    late = []
    for table in wide:
        late += [
            f"DELETE FROM {table.name} WHERE id BETWEEN 5000 AND 5999",
            f"UPDATE {table.name} SET keep = 0 WHERE id BETWEEN 6000 AND 6999",
        ]
    source.execute(f"USE `{schema}`", MODE, *statements, *late)


def prepare(servers: Servers, route: Route, **source_options: str) -> tuple[Pair, tuple[Wide, ...]]:
    world = pair(servers, route, **source_options)
    wide = tables(route.source, world.source, common=route.source != route.target)
    fill(world.source, world.source_schema, wide)
    return world, wide


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The mappings of which rows were written as the source rendered them."""
    names: set[str] = set()
    write = MySQLApplyConnection.write

    def spy(connection: MySQLApplyConnection, plan: TablePlan, rows: WritableRows) -> None:
        if isinstance(rows, SqlTuples):
            names.add(plan.name)
        write(connection, plan, rows)

    monkeypatch.setattr(MySQLApplyConnection, "write", spy)
    monkeypatch.setattr(window_copy, "bulk_select", lambda *_: None)  # that is `test_bulk.py`
    # The source could do their filter, too.
    in_sql = window_copy.tuple_select  # type: ignore[attr-defined]
    monkeypatch.setattr(
        window_copy, "tuple_select", lambda p, *a: None if p.name.endswith("-python") else in_sql(p, *a)
    )
    return names


@pytest.mark.parametrize("route", SAME, ids=str)
def test_every_type_by_every_path(servers: Servers, route: Route, rendered: set[str]) -> None:
    """Into tables that the run creates."""
    world, wide = prepare(servers, route)
    world.run(mappings(wide))
    assert rendered == {f"{table.name}-sql" for table in wide}
    assert differences(world, wide) == []
    change(world.source, world.source_schema, wide)
    world.run(mappings(wide))
    assert differences(world, wide) == []


# ---- canonical cells ----------------------------------------------------------------------------------
@dataclass(frozen=True)
class Images:
    """A table's rows without `id` and `keep`: as the snapshot reads them, and as the log's images hold them."""

    snapshot: list[Row]
    layout: tuple[Column, ...]  # of the snapshot
    log_layout: tuple[Column, ...]
    log: dict[str, list[Row]]  # by the kind of image


def images(world: Pair, table: Wide) -> Images:
    """Reads the table as a run does, then the log of an insert, an update and a delete of every row."""
    endpoint = world.pipeline(table.name).sources["a"]
    source = MySQLSource(endpoint, Limits())
    name = TableName(world.source_schema, table.name)
    described = source.describe(name)
    assert described is not None
    start = source.head()
    on = f"USE `{world.source_schema}`", MODE
    names = ", ".join(table.names)
    insert = f"INSERT INTO {table.name} (id, {names}) SELECT id + 1000, {names} FROM {table.name} ORDER BY id"
    update = f"UPDATE {table.name} SET id = id + 1000 WHERE id >= 1000 ORDER BY id"
    world.source.execute(*on, insert, update, f"DELETE FROM {table.name} WHERE id >= 1000 ORDER BY id")
    relation = Relation(described.columns, f"`{name.schema}`.`{name.table}`", ("id",))
    rows = read_chunk(source.snapshot_connection, relation, None, 10_000).rows
    events = [e for e in source.read_log(start, {name: KnownTable(described.columns)}) if isinstance(e, RowsRead)]
    source.close()
    changes = [change for event in events for change in event.changes]
    table_map = events[0].table_map
    assert isinstance(table_map, TableMap)
    found: dict[str, list[Row]] = {"insert": [], "update before": [], "update after": [], "delete": []}
    for before, after in changes:
        if before is not None:
            found["delete" if after is None else "update before"].append(before)
        if after is not None:
            found["insert" if before is None else "update after"].append(after)
    log = {kind: [row[2:] for row in sorted(of_kind, key=lambda row: str(row[0]))] for kind, of_kind in found.items()}
    snapshot = [row[2:] for row in sorted(rows, key=lambda row: str(1000 + int(str(row[0]))))]
    return Images(snapshot, described.columns[2:], layout_of(table_map)[2:], log)


@pytest.fixture(
    scope="module", params=[(route, level) for route in SAME for level in METADATA_LEVELS[route.source]], ids=str
)
def matrix(request: pytest.FixtureRequest, servers: Servers) -> list[tuple[Wide, Images]]:
    route, metadata = request.param
    world, wide = prepare(servers, route, binlog_row_metadata=metadata)
    return [(table, images(world, table)) for table in wide]


def test_canonical_cells(matrix: list[tuple[Wide, Images]]) -> None:
    """Snapshot, insert event, before image, after image and delete event hold the identical cell."""
    for table, read in matrix:
        assert len(read.snapshot) == table.rows
        for kind, rows in read.log.items():
            assert len(rows) == table.rows, kind
            for number, (expected, row) in enumerate(zip(read.snapshot, rows, strict=True)):
                for i, (one, other) in enumerate(zip(expected, row, strict=True)):
                    same = type(one) is type(other) and repr(one) == repr(other)
                    assert same, f"{table.definition(i + 2)}, row {number}: {one!r} != {other!r} ({kind})"


def test_a_transform_sees_one_value(matrix: list[tuple[Wide, Images]]) -> None:
    """Snapshot and log give a transform the same Python value, of the type that `python_values.py` names."""
    for table, read in matrix:
        for i, (definition, _) in enumerate(table.columns):
            allowed = python_types(definition)
            from_snapshot, from_log = to_python(read.layout[i]), to_python(read.log_layout[i])
            for cell in [row[i] for row in read.snapshot]:
                try:
                    seen = from_snapshot(cell)
                except ValueError:  # bytes that Python has no character for
                    with pytest.raises(ValueError, match=r"codec|character"):
                        from_log(cell)
                    continue
                also = from_log(cell)
                assert (type(seen), repr(seen)) == (type(also), repr(also)), definition
                assert type(seen) in allowed, f"{definition}: {seen!r}"


# What Python's codecs lack: NEC's and IBM's extensions, and the user-defined characters.
_WITHOUT_CODEC = {"eucjpms": 2047, "ujis": 1880}


@pytest.mark.parametrize("flavour", ["mysql", "mariadb"])
def test_text_is_what_the_server_reads(servers: Servers, flavour: Flavour) -> None:
    """Each character that a character set can hold becomes the `str` that the server's own conversion gives."""
    server = servers.get("source", flavour)
    every = [chr(n) for n in range(1, 0x10000) if not 0xD800 <= n < 0xE000 and n != 0xFFFD]
    values = ",".join(f"(_utf8mb4 x'{one.encode().hex()}')" for one in every)
    server.execute(
        "CREATE DATABASE IF NOT EXISTS types",
        "DROP TABLE IF EXISTS types.u",
        "CREATE TABLE types.u (u CHAR(1) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY)",
        f"INSERT INTO types.u VALUES {values}",
    )
    for name, *_ in server.execute("SHOW CHARACTER SET"):
        if name == "binary":
            continue
        bytes_of = f"CONVERT(u USING {name})"
        sql = f"SELECT CAST({bytes_of} AS BINARY), CONVERT({bytes_of} USING utf8mb4) FROM types.u"
        unknown = 0
        for data, text in server.execute(f"{sql} WHERE CONVERT({bytes_of} USING utf8mb4) = u COLLATE utf8mb4_bin"):
            try:
                assert decode_text(data, name) == text, (name, data)
            except ValueError:
                unknown += 1
        assert unknown == _WITHOUT_CODEC.get(name, 0), name


_SEEN: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint", "year", "bit"), (int,)),
    **dict.fromkeys(("float", "double"), (float,)),
    "decimal": (Decimal,),
    "date": (dt.date, str),
    "datetime": (dt.datetime, str),
    "timestamp": (dt.datetime, str),
    "time": (dt.timedelta,),
    **dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", *GEOMETRIES), (bytes,)),
}


def python_types(definition: str) -> tuple[type, ...]:
    if definition.endswith("CHARACTER SET binary"):
        return bytes, type(None)
    return (*_SEEN.get(kind_of(definition), (str,)), type(None))


# ---- other targets ------------------------------------------------------------------------------------
@pytest.mark.parametrize("route", ACROSS, ids=str)
def test_types_of_both_flavours_across(servers: Servers, route: Route) -> None:
    """From one flavour to the other, into tables that the run creates."""
    world, wide = prepare(servers, route)
    world.run(mappings(wide))
    assert differences(world, wide) == []
    change(world.source, world.source_schema, wide)
    world.run(mappings(wide))
    assert differences(world, wide) == []


@pytest.mark.parametrize("route", SAME, ids=str)
def test_into_tables_that_exist(servers: Servers, route: Route) -> None:
    """As the source defines them, word for word."""
    world, wide = prepare(servers, route)
    for table in wide:
        for suffix in ("sql", "python"):
            world.on_target("SET sql_mode=''", table.create(f"{table.name}_{suffix}"))
    change(world.source, world.source_schema, wide)
    world.run(mappings(wide))
    assert differences(world, wide) == []


@pytest.mark.parametrize("route", ACROSS, ids=str)
def test_types_of_one_flavour_into_the_other(servers: Servers, route: Route) -> None:
    """JSON into MariaDB's text; UUID, INET4, INET6 and compressed columns into what MySQL has for them."""
    world = pair(servers, route)
    wide = own_types(route.source, world.source)
    fill(world.source, world.source_schema, wide)
    world.run(mappings(wide))
    assert differences(world, wide) == []
    change(world.source, world.source_schema, wide)
    world.run(mappings(wide))
    assert differences(world, wide) == []


# ---- keys ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("route", SAME, ids=str)
def test_every_type_as_key(servers: Servers, route: Route) -> None:
    """Rows are found by their key in every type: updated, moved to another key, deleted."""
    world = pair(servers, route)
    keyed = keyed_by_each_type(route.source, world.source)
    world.on_source(*(statement for table in keyed for statement in table.statements))
    names = " ".join(table.name for table in keyed)
    world.run(names)
    world.on_source(*(statement for table in keyed for statement in table.changes))
    world.run(names)
    assert key_differences(world, keyed) == []


# ---- columns with a behaviour of their own --------------------------------------------------------------
SPECIAL: dict[str, tuple[str, ...]] = {
    "mysql": (
        "inv INT INVISIBLE DEFAULT 7",
        "dflt VARCHAR(40) DEFAULT (CONCAT('x', 'y'))",
        "updated TIMESTAMP(3) NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3)",
        "srid POINT NOT NULL SRID 4326 DEFAULT (ST_GeomFromText('POINT(1 2)', 4326))",
        "g_json INT AS (JSON_LENGTH(j)) STORED",
    ),
    "mariadb": (
        "inv INT INVISIBLE DEFAULT 7",
        "dflt VARCHAR(40) DEFAULT CONCAT('x', 'y')",
        "updated TIMESTAMP(3) NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3)",
        "srid POINT REF_SYSTEM_ID=4326 NOT NULL DEFAULT ST_GeomFromText('POINT(1 2)', 4326)",
        "g_json INT AS (JSON_LENGTH(j)) STORED",
    ),
}


@pytest.mark.parametrize(
    ("route", "created"),
    [*((route, True) for route in SAME + ACROSS), *((route, False) for route in SAME)],
    ids=lambda value: {True: "created", False: "existing"}.get(value, str(value)),
)
def test_columns_that_the_server_fills(servers: Servers, route: Route, created: bool) -> None:
    """A generated column of the target is computed there, never written; one of the source arrives with its values, as
    invisible and defaulted ones do. From MariaDB 11.8 into MySQL the mapping stops at the first update.
    """
    world = pair(servers, route)
    create = (
        "CREATE TABLE t (id INT PRIMARY KEY, a INT, j JSON, g_virtual INT AS (a * 2) VIRTUAL, first INT AS (a) STORED, "
        f"{', '.join(SPECIAL[route.source])}, b VARCHAR(20) DEFAULT 'it''s') CHARACTER SET utf8mb4"
    )
    world.on_source(create, "INSERT INTO t (id, a, j) VALUES (1, 10, '[1]'), (2, NULL, NULL)")
    world.on_source("INSERT INTO t (id, a, inv, dflt, b) VALUES (3, 5, NULL, NULL, NULL)")
    if not created:
        world.on_target(create)
    world.run("t")
    columns = "id, a, HEX(CAST(j AS CHAR)), g_virtual, first, g_json, inv, dflt, updated, HEX(srid), b"
    world.assert_same("t", columns=columns)
    world.on_source(
        "UPDATE t SET a = 11, inv = 8 WHERE id = 1",
        "INSERT INTO t (id, a, j) VALUES (4, 1, '[1, 2]')",
        "DELETE FROM t WHERE id = 2",
        "UPDATE t SET id = 30 WHERE id = 3",
    )
    if world.target.flavour == "mysql" and (world.source.version or "") >= "11":  # it logs none of them (docs/types.md)
        assert "without a generated column" in str(world.error("t"))
        return
    world.run("t")
    world.assert_same("t", columns=columns)


@pytest.mark.parametrize("route", SAME, ids=str)
def test_every_type_by_an_init_query(servers: Servers, route: Route) -> None:
    """A query's result says less of its columns than the table does; the values arrive the same."""
    world, wide = prepare(servers, route)
    for table in wide:
        for suffix in ("sql", "python"):
            world.on_target("SET sql_mode=''", table.create(f"{table.name}_{suffix}"))
    queried = mappings(wide)
    for mapping in queried.values():
        mapping["init_query"] = f"SELECT * FROM {mapping['source_table'].partition('.')[2]}"
    world.run(queried)
    assert differences(world, wide) == []


@pytest.mark.parametrize("route", [*SAME, *ACROSS], ids=str)
def test_text_beside_geometry_and_vector(servers: Servers, route: Route) -> None:
    """MariaDB's log counts a GEOMETRY among the text columns, MySQL's a VECTOR: each text keeps its own character set."""
    world = pair(servers, route)
    vector = "VECTOR(2)" if route.source == route.target == "mysql" else "BLOB"
    sets = ["sjis", "utf8mb4", "latin1", "ucs2", "cp1251"]
    columns = ", ".join(f"p{n} POINT, x{n} {vector}, c{n} CHAR(5) CHARACTER SET {name}" for n, name in enumerate(sets))
    names = ", ".join(f"c{n}" for n in range(len(sets)))
    insert = "INSERT INTO t (id, {}) VALUES ({}, 'a', 'é', 'é', 'é', 'ж')"
    world.on_source(f"CREATE TABLE t (id INT PRIMARY KEY, {columns}) CHARACTER SET latin2", insert.format(names, 1))
    world.run("t")
    world.on_source(insert.format(names, 2), "UPDATE t SET p0 = POINT(1, 2), c0 = 'ソ' WHERE id = 1")
    world.run("t")
    shown = ", ".join(f"HEX(CAST(c{n} AS BINARY)), HEX(p{n})" for n in range(len(sets)))
    world.assert_same("t", columns=f"id, {shown}")


@pytest.mark.parametrize("route", [*SAME, *ACROSS], ids=str)
def test_text_into_another_character_set(servers: Servers, route: Route) -> None:
    """The target converts text to its own column's character set; a character that it lacks is refused, not lost."""
    world = pair(servers, route)
    sets = {"sjis": "ソ表", "gbk": "漢字", "cp1251": "жук", "latin1": "é€", "ucs2": "Ω漢", "utf32": "Ω", "utf8mb4": "é"}
    columns = ", ".join(f"c{n} VARCHAR(20) CHARACTER SET {name}" for n, name in enumerate(sets))
    world.on_source(
        f"CREATE TABLE t (id INT PRIMARY KEY, {columns})",
        "INSERT INTO t VALUES (1, " + ", ".join(f"'{text}'" for text in sets.values()) + ")",
    )
    wide = ", ".join(f"c{n} VARCHAR(20) CHARACTER SET utf8mb4" for n in range(len(sets)))
    world.on_target(f"CREATE TABLE t (id INT PRIMARY KEY, {wide})")
    world.run("t")
    world.on_source("INSERT INTO t SELECT 2" + "".join(f", c{n}" for n in range(len(sets))) + " FROM t")
    world.run("t")
    assert {row[1:] for row in world.target_rows("t")} == {tuple(sets.values())}
    world.on_source(
        "CREATE TABLE n (id INT PRIMARY KEY, c VARCHAR(9) CHARACTER SET utf8mb4)", "INSERT INTO n VALUES (1, '漢')"
    )
    world.on_target("CREATE TABLE n (id INT PRIMARY KEY, c VARCHAR(9) CHARACTER SET latin1)")
    assert isinstance(world.error("n"), RowRejected)
    assert world.target_rows("n") == []


def test_a_point_on_earth_reads_with_its_axes_swapped_on_mariadb(servers: Servers) -> None:
    """SRID and WKB are the same bytes on both. MySQL reads latitude first in SRID 4326, MariaDB does not know that."""
    world = pair(servers, Route("mysql", True, "mariadb"))
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, p POINT NOT NULL SRID 4326)",
        "INSERT INTO t VALUES (1, ST_GeomFromText('POINT(52 13)', 4326))",
    )
    world.run("t")
    assert world.target_rows("t", "HEX(p)") == world.source_rows("t", "HEX(p)")
    assert world.source_rows("t", "ST_AsText(p)") == [("POINT(52 13)",)]
    assert world.target_rows("t", "ST_AsText(p)") == [("POINT(13 52)",)]
