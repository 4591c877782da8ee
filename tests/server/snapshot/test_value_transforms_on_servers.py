"""Transforms that look at their own column only, beside columns that the source renders: what arrives is the same as if
whole rows had passed through Python.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pipelines import ROUTES, Interrupted, Pair, Route, call_at, interrupt, pair
from server_farm import Servers

from myrepetl_dagster.core.model.errors import RowRejected
from myrepetl_dagster.core.plan.table_plan import TablePlan
from myrepetl_dagster.core.replication.snapshot import window_copy
from myrepetl_dagster.core.rows.writable_rows import SqlTuples, WritableRows
from myrepetl_dagster.core.target.apply_connection import MySQLApplyConnection
from myrepetl_dagster.core.values.bulk_parameters import BulkRows

TUPLES, PARAMETERS = "as tuples", "as parameters"

# Column: (its type, values for it). JSON and the longest texts are never parameters.
COLUMNS: dict[str, tuple[str, list[str]]] = {
    "i": ("INT", ["-1", "0", "2147483647", "NULL"]),
    "big": ("BIGINT UNSIGNED", ["18446744073709551615", "0", "NULL"]),
    "zero": ("INT(6) UNSIGNED ZEROFILL", ["7", "NULL"]),
    "y": ("YEAR", ["2024", "0", "NULL"]),
    "b": ("BIT(12)", ["b'101'", "4095", "0", "NULL"]),
    "n": ("DECIMAL(20,3)", ["-1.500", "12345678901234567.125", "0", "NULL"]),
    "nz": ("DECIMAL(9,2) ZEROFILL", ["1.5", "NULL"]),
    "f": ("FLOAT", ["0.1", "-0.0", "1.234567e-30", "NULL"]),
    "d": ("DOUBLE", ["-1.2345678901234567e-100", "0.1", "1e15", "NULL"]),
    "v": (
        "VARCHAR(40) CHARACTER SET utf8mb4",
        ["'it''s'", "'a\\\\b'", "'é😀'", "'\\0'", "''", "REPEAT('x', 40)", "NULL"],
    ),
    "l": ("VARCHAR(300) CHARACTER SET latin1", ["'é€'", "x'81'", "REPEAT('é', 251)", "''", "NULL"]),
    "k": ("VARCHAR(9) CHARACTER SET koi8r", ["'жук'", "NULL"]),
    "u": ("VARCHAR(9) CHARACTER SET utf16", ["'a😀'", "NULL"]),
    "t": ("TEXT CHARACTER SET utf8mb4", ["REPEAT('é', 9000)", "'),('", "NULL"]),
    "da": ("DATE", ["'2024-02-29'", "'0000-00-00'", "'2021-02-31'", "NULL"]),
    "dt": ("DATETIME(3)", ["'2024-02-29 08:00:00.5'", "'0000-00-00 00:00:00'", "NULL"]),
    "ts": ("TIMESTAMP(6) NULL", ["'2024-01-31 23:59:59.000001'", "NULL"]),
    "ti": ("TIME(2)", ["'-838:59:58.99'", "'00:00:00'", "NULL"]),
    "bi": ("BINARY(3)", ["'a'", "x'00FF27'", "NULL"]),
    "vb": ("VARBINARY(300)", ["''", "x'FBFC275C00'", "REPEAT(x'FB', 300)", "NULL"]),
    "e": ("ENUM('a','é','')", ["'é'", "''", "0", "NULL"]),
    "s": ("SET('a','é')", ["'a,é'", "''", "NULL"]),
    "j": ("JSON", ['\'{"a": [1.5, "\\\'é"]}\'', "NULL"]),
    "lt": ("LONGTEXT CHARACTER SET utf8mb4", ["REPEAT('a''', 70000)", "NULL"]),
}
NEVER_PARAMETERS = ("j", "lt")

# Function: what it makes of a value that is not NULL.
RESULTS = {
    "quoted": "f\"it's \\\\ é😀 {value}'\"",
    "empty": "''",
    "long": "'é' * 300 * value",
    "sometimes": "'x' if value % 2 else None",
    "whole": "value - 5",
    "flag": "value > 3",
    "amount": "decimal.Decimal(value) / 8",
    "day": "datetime.date(2024, 2, value)",
    "moment": "datetime.datetime(2024, 2, value, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))",
    "clock": "datetime.time(value, 2, 3, 4)",
    "span": "datetime.timedelta(hours=-value, microseconds=5)",
    "data": "bytes([0, 39, 92, 251, 255, value])",
    "array": "bytearray([value])",
    "entries": "[value, 'é', None]",
    "table": "{'a': value}",
    "labels": "{'b', 'a', value}",
}
NOT_PARAMETERS = {
    "fraction": "value / 10",
    "huge": "10 ** 18 * value * 9",
    "mixed": "value if value % 2 else str(value)",
    "text": "type('Text', (str,), {})(value)",
    "some_bytes": "b'x' if value % 2 else 'x'",
}
FUNCTIONS = "import datetime, decimal\n" + "".join(
    f"def {name}(value):\n    return None if value is None else {made}\n"
    for name, made in (RESULTS | NOT_PARAMETERS).items()
)
FUNCTIONS += """
def shown(value): return repr(value)
def same(value): return value
def named(*, value, source_table): return f'{source_table}:{value}'
def where(value, row_data): return f"{value}/{row_data['n']}"
def key(value): return value * 10
def loud(value): return None if value is None else value.upper() + '!'
def picky(value):
    if value == 'secret': raise ValueError(value)
    if value == 'odd': return object()
    if value == 'vast': return 10 ** 5000
    return value
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "f.py").write_text(FUNCTIONS)
    return tmp_path


@pytest.fixture(params=ROUTES, ids=str)
def world(request: pytest.FixtureRequest, servers: Servers) -> Pair:
    return pair(servers, request.param)


@pytest.fixture(params=[TUPLES, PARAMETERS])
def form(request: pytest.FixtureRequest, world: Pair, monkeypatch: pytest.MonkeyPatch) -> str:
    """What rows are written as."""
    if request.param == PARAMETERS and world.target.flavour != "mariadb":
        pytest.skip("only MariaDB takes parameters in bulk")
    if request.param == TUPLES:
        monkeypatch.setattr(window_copy, "bulk_select", lambda *_: None)
    return str(request.param)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many rows were written as the source rendered them, by their form."""
    counts = {TUPLES: 0, PARAMETERS: 0}
    write = MySQLApplyConnection.write

    def spy(connection: MySQLApplyConnection, plan: TablePlan, rows: WritableRows) -> None:
        write(connection, plan, rows)
        if isinstance(rows, SqlTuples):
            counts[TUPLES] += len(rows.tuples)
        elif isinstance(rows, BulkRows):
            counts[PARAMETERS] += len(rows.rows)

    monkeypatch.setattr(MySQLApplyConnection, "write", spy)
    return counts


def in_python(world: Pair, monkeypatch: pytest.MonkeyPatch, mapping: dict[str, Any], base: Path) -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(window_copy, "tuple_select", lambda *_: None)
        patch.setattr(window_copy, "bulk_select", lambda *_: None)
        return world.try_run(world.pipeline(mapping, base_dir=base))


def both(
    world: Pair, monkeypatch: pytest.MonkeyPatch, mapping: dict[str, Any], columns: str, base: Path
) -> list[tuple[Any, ...]]:
    """Copies by columns and through Python, compares the bytes, and gives them."""
    world.on_target(
        "SET sql_mode=''", f"CREATE TABLE `sql` ({columns}) CHARACTER SET utf8mb4", "CREATE TABLE `python` LIKE `sql`"
    )
    names = [column.split()[0] for column in columns.split(", ") if not column.startswith("PRIMARY")]
    read = ", ".join(f"HEX(CAST({name} AS BINARY))" for name in names)
    (by_column,) = world.run(world.pipeline({"m": {**mapping, "target_table": "b.sql"}}, base_dir=base)).values()
    (by_row,) = in_python(world, monkeypatch, {"p": {**mapping, "target_table": "b.python"}}, base).values()
    assert by_row.error is None
    assert (by_column.rows_snapshotted, by_column.rows_filtered) == (by_row.rows_snapshotted, by_row.rows_filtered)
    rows = world.target_rows("`sql`", read)
    assert rows == world.target_rows("`python`", read)
    return rows


def through(function: str, column: str) -> dict[str, str]:
    return {"column": column, "transform": f"f.{function}"}


def mapped(columns: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"source_table": "a.t", "primary_key": "id", "column_mapping": {"id": "id", **columns}, **more}


def test_what_a_transform_sees(
    world: Pair, form: str, monkeypatch: pytest.MonkeyPatch, written: dict[str, int], base: Path
) -> None:
    """Of a column of each type, a transform sees the very value that it sees of a whole row."""
    names = [name for name in COLUMNS if form == TUPLES or name not in NEVER_PARAMETERS]
    count = max(len(values) for _, values in COLUMNS.values())
    rows = [[str(n), *(COLUMNS[name][1][n % len(COLUMNS[name][1])] for name in names)] for n in range(count)]
    world.on_source(
        "SET sql_mode='ALLOW_INVALID_DATES'",
        f"CREATE TABLE t (id INT PRIMARY KEY, {', '.join(f'`{n}` {COLUMNS[n][0]}' for n in names)}) CHARACTER SET utf8mb4",
        f"INSERT IGNORE INTO t VALUES {', '.join('(' + ', '.join(row) + ')' for row in rows)}",
    )
    targets = ", ".join(["id INT PRIMARY KEY", *(f"`{name}` LONGTEXT" for name in names)])

    held = both(world, monkeypatch, mapped({name: through("shown", name) for name in names}), targets, base)

    assert written[form] == len(held) == count
    assert {bytes.fromhex(text).decode()[:5] for row in held for text in row[1:]} > {"None", "datet", "Decim", "b'a\\x"}


def test_what_becomes_of_a_result(
    world: Pair, form: str, monkeypatch: pytest.MonkeyPatch, written: dict[str, int], base: Path
) -> None:
    """A result of each Python type arrives as it does from a whole row, NULLs among others."""
    results = RESULTS if form == PARAMETERS else RESULTS | NOT_PARAMETERS
    names = [*results, "named"]
    numbers = [*range(1, 9), "NULL"]
    world.on_source(
        f"CREATE TABLE t (id INT PRIMARY KEY, {', '.join(f'`{name}` INT' for name in names)})",
        *(f"INSERT INTO t VALUES ({n}{f', {one}' * len(names)})" for n, one in enumerate(numbers)),
    )
    binary = ("data", "array", "some_bytes")
    targets = ["id INT PRIMARY KEY", *(f"`{n}` {'BLOB' if n in binary else 'TEXT'}" for n in names)]

    held = both(world, monkeypatch, mapped({n: through(n, n) for n in names}), ", ".join(targets), base)

    assert written[form] == len(held) == len(numbers)


@pytest.mark.parametrize("form", [PARAMETERS], indirect=True)
def test_a_parameter_means_what_its_literal_means(
    world: Pair, form: str, monkeypatch: pytest.MonkeyPatch, written: dict[str, int], base: Path
) -> None:
    """Numbers and texts come into columns of every type alike, whether as parameters or as literals."""
    kinds = [
        "TINYINT",
        "BIGINT",
        "DECIMAL(30,3)",
        "FLOAT",
        "DOUBLE",
        "BIT(40)",
        "YEAR",
        "DATE",
        "DATETIME",
        "TIME",
        "CHAR(40)",
    ]
    kinds += [
        "VARCHAR(40)",
        "VARCHAR(40) CHARACTER SET latin1",
        "TEXT",
        "VARBINARY(40)",
        "BINARY(40)",
        "BLOB",
        "ENUM('7','5','99')",
    ]
    kinds += ["SET('a','5')", "JSON"]
    fitting = {
        number: [kind for kind in kinds if _takes(world, kind, number)]
        for number in ("5", "99", "20240229", "-3", "9007199254740993")
    }
    assert all(len(some) > 5 for some in fitting.values())
    for number, some in fitting.items():
        places = {f"c{n}": kind for n, kind in enumerate(some)} | {f"d{n}": kind for n, kind in enumerate(some)}
        columns = ", ".join([f"{place} {'BIGINT' if place[0] == 'c' else 'VARCHAR(40)'}" for place in places])
        world.on_source(
            "DROP TABLE IF EXISTS t",
            f"CREATE TABLE t (id INT PRIMARY KEY, {columns})",
            f"INSERT INTO t VALUES (1{f', {number}' * len(places)}), (2{', NULL' * len(places)})",
        )
        world.on_target("DROP TABLE IF EXISTS `sql`, `python`, _myrepetl_checkpoint")
        targets = ", ".join(
            ["id INT PRIMARY KEY", *(f"{place} {kind.replace(', ', ',')}" for place, kind in places.items())]
        )
        written[form] = 0

        both(world, monkeypatch, mapped({place: through("same", place) for place in places}), targets, base)

        assert written[form] == 2, number


def _takes(world: Pair, kind: str, number: str) -> bool:
    world.on_target("DROP TABLE IF EXISTS fits", f"CREATE TABLE fits (a {kind})")
    try:
        world.on_target("SET sql_mode='TRADITIONAL'", f"INSERT INTO fits VALUES ({number}), ('{number}')")
    except Exception:
        return False
    return True


@pytest.mark.parametrize("name", NOT_PARAMETERS)
@pytest.mark.parametrize("form", [PARAMETERS], indirect=True)
def test_results_that_are_no_parameters(
    name: str, world: Pair, form: str, monkeypatch: pytest.MonkeyPatch, written: dict[str, int], base: Path
) -> None:
    """Where a column's results are not of one plain type, in the first window or a later one, rows go as tuples."""
    world.chunks_of(6)
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, n INT)",
        f"INSERT INTO t VALUES {', '.join(f'({n}, {n if n > 14 else 1})' for n in range(20))}",
    )
    both(world, monkeypatch, mapped({"n": through(name, "n")}), "id INT PRIMARY KEY, n VARBINARY(99)", base)

    assert written[TUPLES] >= 6
    assert bool(written[PARAMETERS]) is (name not in ("fraction", "text"))


def test_two_columns_with_a_filter(
    world: Pair, form: str, monkeypatch: pytest.MonkeyPatch, written: dict[str, int], base: Path
) -> None:
    """Two transforms, of one source column, beside fixed values, renamed columns and an ENUM's error value; what the
    filter leaves out is counted, and no transform sees it.
    """
    world.on_source(
        "SET sql_mode=''",
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9), w VARCHAR(9), e ENUM('a'), n INT) CHARACTER SET utf8mb4",
        "INSERT INTO t VALUES (1, 'a', 'it''s', 'a', 1), (2, NULL, 'x', 'a', 1), (3, 'secret', 'x', 'a', 2)",
        "INSERT INTO t VALUES (4, 'é', NULL, 0, 1), (5, 'z', 'z', NULL, 1), (6, 'secret', 'x', 'a', NULL)",
    )
    columns = {
        "v": through("picky", "p"),
        "n": "number",
        "fixed": {"column": "fixed", "value": "it's"},
        "w": through("loud", "shouted"),
        "e": "e",
    }
    targets = "id INT PRIMARY KEY, p TEXT, number INT, fixed TEXT, shouted TEXT, e ENUM('a')"

    held = both(world, monkeypatch, mapped(columns, filter={"n": 1}), targets, base)

    assert len(held) == 4
    assert written[form] == 3
    expected = [
        (1, "a", 1, "it's", "IT'S!"),
        (2, None, 1, "it's", "X!"),
        (4, "é", 1, "it's", None),
        (5, "z", 1, "it's", "Z!"),
    ]
    assert world.target_rows("`sql`", "id, p, number, fixed, shouted") == expected
    assert world.target_rows("`sql`", "id, e + 0") == [(1, 1), (2, 1), (4, 0), (5, None)]


def test_a_transform_in_the_key(
    world: Pair, form: str, monkeypatch: pytest.MonkeyPatch, written: dict[str, int], base: Path
) -> None:
    """A key that a transform makes is found again when its row changes."""
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9))", "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    mapping = mapped({"id": through("key", "id"), "v": through("loud", "v")})
    both(world, monkeypatch, mapping, "id INT PRIMARY KEY, v TEXT", base)
    assert written == {TUPLES: 2, PARAMETERS: 0}, "by parameters the key has to be read as it is"

    world.on_source("UPDATE t SET v = 'c' WHERE id = 2", "DELETE FROM t WHERE id = 1")
    world.run(world.pipeline({"m": {**mapping, "target_table": "b.sql"}}, base_dir=base))

    assert world.target_rows("`sql`") == [(20, "C!")]


@pytest.mark.parametrize(("value", "kind"), [("secret", "ValueError"), ("odd", "TypeError"), ("vast", "ValueError")])
def test_a_transform_that_fails(
    value: str, kind: str, world: Pair, form: str, monkeypatch: pytest.MonkeyPatch, base: Path
) -> None:
    """The error is that of a whole row: mapping, transform, column and key, and no value; also in a later window."""
    world.chunks_of(4)
    rows = ", ".join(f"({n}, '{value if n == 7 else 'mine'}', 'private')" for n in range(12))
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9), w VARCHAR(9))", f"INSERT INTO t VALUES {rows}")
    world.on_target("CREATE TABLE `out` (id INT PRIMARY KEY, v TEXT, w TEXT)")
    mapping = {"m": mapped({"v": through("picky", "v"), "w": "w"}, target_table="b.out")}

    error = world.error(world.pipeline(mapping, base_dir=base))

    assert isinstance(error, RowRejected)
    said = f"mapping 'm': transform 'f.picky' failed on column 'v' with {kind}, row with id=7"
    assert error.message == said
    assert not any(word in str(error) for word in (value, "mine", "private"))
    assert world.target_rows("`out`", "id") == [(n,) for n in range(4)]
    (again,) = in_python(world, monkeypatch, mapping, base).values()
    assert str(again.error) == str(error)


def test_interrupted_and_resumed(world: Pair, form: str, written: dict[str, int], base: Path) -> None:
    """A copy in windows that is interrupted and resumed has every row once, with changes in between."""
    world.chunks_of(7)
    rows = ", ".join(f"({n}, 'v{n}', {n % 3})" for n in range(100))
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9), n INT)", f"INSERT INTO t VALUES {rows}")
    world.on_target("CREATE TABLE `out` (id INT PRIMARY KEY, v TEXT, n INT)")
    mapping = {"m": mapped({"v": through("loud", "v"), "n": "n"}, target_table="b.out", filter={"n": {"lt": 2}})}
    interruptions = 0
    while True:
        try:
            world.run(world.pipeline(mapping, base_dir=base), call_at(5, interrupt))
            break
        except Interrupted:
            interruptions += 1
            world.on_source(f"UPDATE t SET v = 'w' WHERE id = {interruptions * 10}")

    assert interruptions >= 2
    assert written[form] > 60
    assert world.checkpoint("m")["rows_snapshotted"] == 67
    assert world.target_rows("`out`") == world.source_rows("t", "id, CONCAT(UPPER(v), '!'), n", "n < 2")


def test_a_transform_that_needs_the_row(world: Pair, form: str, written: dict[str, int], base: Path) -> None:
    """It gets the whole row, and so do the mapping's other transforms."""
    world.on_source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9), n INT)", "INSERT INTO t VALUES (1, 'a', 2)")
    world.on_target("CREATE TABLE `out` (id INT PRIMARY KEY, v TEXT, n INT)")
    mapping = {"m": mapped({"v": through("where", "v"), "n": through("key", "n")}, target_table="b.out")}

    world.run(world.pipeline(mapping, base_dir=base))

    assert world.target_rows("`out`") == [(1, "a/2", 20)]
    assert not any(written.values())


@pytest.mark.parametrize("route", [ROUTES[0], ROUTES[3]], ids=str)
def test_rows_longer_than_max_allowed_packet(
    servers: Servers, route: Route, written: dict[str, int], base: Path
) -> None:
    """What the source cannot render goes through Python as a whole; megabytes beside or in the transformed column stay
    as they are.
    """
    world = pair(servers, route, max_allowed_packet="2M")
    world.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT, a LONGTEXT, n INT) CHARACTER SET utf8mb4",
        "INSERT INTO t VALUES (1, 'v', REPEAT('''', 1500000), 1), (2, REPEAT('é''', 500000), REPEAT('y', 1500000), 2)",
        "INSERT INTO t VALUES (3, REPEAT('x', 1500000), NULL, NULL), (4, NULL, 'a', 4)",
    )
    world.on_target("CREATE TABLE `out` (id INT PRIMARY KEY, v LONGTEXT, a LONGTEXT, n INT) CHARACTER SET utf8mb4")
    mapping = {"m": mapped({"v": through("same", "v"), "a": "a", "n": "n"}, target_table="b.out")}

    world.run(world.pipeline(mapping, base_dir=base))

    columns = "id, LENGTH(v), CRC32(v), LENGTH(a), CRC32(a), n"
    world.assert_same("t", "`out`", columns=columns)
    assert written == {TUPLES: 3, PARAMETERS: 0}
