"""Peak memory of whole runs: huge rows, huge transactions, big tables, long logs, many tables.

    python bench/memory.py [--flavour mysql mariadb] [--case empty huge-blob …] [--by run job] [--rows N …]

`run` is `myrepetl run`, `job` is `dagster job execute` of the job `replicate`; the sum of the resident memory of all
their processes is sampled every 20 ms. "Dagster's own" is a job of Dagster's with one asset that does nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from peak import Peak, watch
from rig import Rig, trivial_job
from tools import Flavour

LIMIT_MIB = 350
HUGE = 16 * 2**20

# name: (column, expression of a value of 16 MiB)
HUGE_VALUES = {
    "blob": ("LONGBLOB", f"REPEAT(RANDOM_BYTES(1024), {HUGE // 1024})"),
    "text": ("LONGTEXT", f"REPEAT('It''s \\\\ text, ', {HUGE // 14})"),
    "json": ("JSON", f"JSON_OBJECT('words', REPEAT('word \"quoted\", ', {HUGE // 18}))"),
    "integers": ("JSON", f"CONCAT('[', REPEAT('7,', {HUGE // 3}), '7]')"),
    "numbers": ("JSON", f"CONCAT('[', REPEAT('0.1234567890123456,', {HUGE // 19}), '1.5]')"),
}

IDENTITY = {"id": "id", "a": {"column": "a", "transform": "same.same"}}


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured: named steps, each of which leaves something for a run to do, and how much (rows)."""

    steps: Callable[[Rig], Iterator[tuple[str, int]]]


def empty(rig: Rig) -> Iterator[tuple[str, int]]:
    rig.source.execute("CREATE TABLE shop.t (id INT PRIMARY KEY)")
    rig.map("t")
    yield "copy of an empty table", 0
    yield "nothing to do", 0


def huge_rows(rig: Rig, kind: str) -> Iterator[tuple[str, int]]:
    rows = 3 if kind in ("integers", "numbers") else 8  # those take seconds each
    column, value = HUGE_VALUES[kind]
    rig.source.execute(f"CREATE TABLE shop.t (id INT PRIMARY KEY, n INT, v {column}) CHARACTER SET utf8mb4")
    _insert_each(rig, value, range(rows))
    rig.map("t")
    yield "copied", rows
    _insert_each(rig, value, range(rows, 2 * rows))
    yield "inserted", rows
    rig.source.execute(f"INSERT INTO shop.t SELECT id + 100, n, v FROM shop.t WHERE id < {rows}")
    yield "inserted in one transaction", rows
    rig.source.execute("UPDATE shop.t SET n = n + 1 WHERE id < 100")  # both images in one event
    yield "updated in one transaction", 2 * rows
    rig.source.execute("DELETE FROM shop.t")
    yield "deleted", 3 * rows


def huge_rows_in_python(rig: Rig, rows: int = 8) -> Iterator[tuple[str, int]]:
    """A transform, a unique key, and no key: the other ways of a copy."""
    column, value = HUGE_VALUES["text"]
    rig.source.execute(f"CREATE TABLE shop.t (id INT PRIMARY KEY, n INT, v {column}) CHARACTER SET utf8mb4")
    _insert_each(rig, value, range(rows))
    (rig.folder / "same.py").write_text("def same(value):\n    return value\n")
    rig.map("t", column_mapping={"id": "id", "n": {"column": "n", "transform": "same.same"}, "v": "v"})
    yield "copied with a transform", rows
    rig.source.execute("UPDATE shop.t SET n = n + 1")
    yield "updated, with a transform", rows
    columns = "u (id INT PRIMARY KEY, n INT UNIQUE, v LONGTEXT) CHARACTER SET utf8mb4"
    rig.source.execute(f"CREATE TABLE shop.{columns} SELECT id, id n, v FROM shop.t")
    rig.target.execute(f"CREATE TABLE dw.{columns}")
    rig.map("u")
    yield "copied into a table with a unique key", rows
    rig.map("u", init_query="SELECT id, MAX(n) n, MAX(v) v FROM u GROUP BY id")
    rig.target.execute("DELETE FROM dw._myrepetl_checkpoint")
    yield "copied by an init query, swept", rows


def _insert_each(rig: Rig, value: str, ids: range) -> None:
    for i in ids:
        rig.source.execute(f"INSERT INTO shop.t VALUES ({i}, {i}, {value})")


def compressed(rig: Rig, steps: Callable[[Rig], Iterator[tuple[str, int]]]) -> Iterator[tuple[str, int]]:
    """The same with a source that compresses its log."""
    setting = "binlog_transaction_compression" if rig.flavour == "mysql" else "log_bin_compress"
    rig.source.execute(f"SET GLOBAL {setting} = ON")
    yield from steps(rig)


def transaction_in_python(rig: Rig) -> Iterator[tuple[str, int]]:
    """With a transform and a filter."""
    yield from big_transaction(rig, column_mapping=IDENTITY | {"b": "b", "c": "c"}, filter={"id": {"gt": 0}})


def big_transaction(rig: Rig, rows: int = 2_000_000, **options: Any) -> Iterator[tuple[str, int]]:
    rig.create("narrow", 1000)
    (rig.folder / "same.py").write_text("def same(value):\n    return value\n")
    rig.map("narrow", **options)
    yield "copy of 1,000 rows", 1000
    rig.fill("narrow", 1000, rows)
    yield "inserted in one transaction", rows
    rig.source.execute("UPDATE shop.narrow SET a = a + 1")
    yield "updated in one transaction", rows + 1000
    rig.source.execute("DELETE FROM shop.narrow")
    yield "deleted in one transaction", rows + 1000


def table(rig: Rig, name: str, rows: int) -> Iterator[tuple[str, int]]:
    rig.create(name, rows)
    rig.map(name)
    yield f"copy of a {name} table", rows


def log(rig: Rig, changes: int, table: str = "users", way: str = "") -> Iterator[tuple[str, int]]:
    """`way`: how rows are written, where not as events."""
    rig.create(table, 20_000)
    columns = [row[0] for row in rig.source.execute(f"SHOW COLUMNS FROM shop.{table}")]
    options: dict[str, Any] = {}
    if way == "as statements":
        rig.limits["event_rows_min"] = 10**9
    elif way == "with a transform":
        (rig.folder / "same.py").write_text("def same(value):\n    return value\n")
        last = {columns[-1]: {"column": columns[-1], "transform": "same.same"}}
        options["column_mapping"] = {name: name for name in columns} | last
    rig.map(table, **options)
    yield "copy of 20,000 rows", 20_000
    yield f"log of many small transactions {way}".strip(), rig.write_log(changes, table)


def many_tables(rig: Rig, count: int = 200) -> Iterator[tuple[str, int]]:
    names = [f"t{i}" for i in range(count)]
    rig.source.execute(
        *(f"CREATE TABLE shop.{n} (id INT PRIMARY KEY AUTO_INCREMENT, a INT, v VARCHAR(40))" for n in names),
        *(f"INSERT INTO shop.{n} (a, v) VALUES {', '.join(['(1, REPEAT(2, 40))'] * 100)}" for n in names),
    )
    rig.map(*names)
    yield f"{count} tables copied", 100 * count
    yield f"{count} tables, nothing to do", 0
    with rig.source.connect(database="shop", autocommit=False) as connection, connection.cursor() as cursor:
        for round_ in range(50):
            for n in names:
                cursor.execute(f"INSERT INTO {n} (a, v) VALUES {', '.join([f'({round_}, 3)'] * 10)}")
                cursor.execute(f"UPDATE {n} SET a = a + 1 WHERE id <= 10")
                connection.commit()
    yield f"{count} tables changed in turns", 50 * count * 20


def cases(rows: list[int], changes: list[int]) -> dict[str, Case]:
    found = {"empty": Case(empty)}
    for kind in HUGE_VALUES:
        found[f"huge-{kind}"] = Case(partial(huge_rows, kind=kind))
    found["huge-python"] = Case(huge_rows_in_python)
    found["huge-compressed"] = Case(partial(compressed, steps=partial(huge_rows, kind="text")))
    found["transaction"] = Case(big_transaction)
    found["transaction-python"] = Case(transaction_in_python)
    found["transaction-compressed"] = Case(partial(compressed, steps=big_transaction))
    for number in rows:
        found[f"table-{number}"] = Case(partial(table, name="narrow", rows=number))
    found["wide"] = Case(partial(table, name="wide", rows=100_000))
    found["texts"] = Case(partial(table, name="texts", rows=100_000))
    for number in changes:
        found[f"log-{number}"] = Case(partial(log, changes=number))
        found[f"log-statements-{number}"] = Case(partial(log, changes=number, way="as statements"))
        for name in ("users", "wide"):
            found[f"log-{name}-python-{number}"] = Case(
                partial(log, changes=number, table=name, way="with a transform")
            )
    found["many-tables"] = Case(many_tables)
    return found


@contextmanager
def rig_of(flavour: Flavour, folder: str | None) -> Iterator[Rig]:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as made, closing(Rig(flavour, Path(made))) as rig:
        yield rig


def shown(flavour: str, by: str, case: str, step: str, rows: int, peak: Peak) -> str:
    over = " **over**" if by == "run" and peak.sum_mib > LIMIT_MIB else ""
    rate = f"{rows / peak.wall_s:,.0f}" if rows else "–"
    return (
        f"| {flavour} | {by} | {case} | {step} | {rows:,} | {peak.wall_s:.1f} | {rate} | {peak.cpu_s:.1f} |"
        f" {peak.sum_mib:.0f}{over} | {peak.largest_mib:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flavour", nargs="+", default=["mysql", "mariadb"])
    parser.add_argument("--by", nargs="+", default=["run", "job"], choices=["run", "job"])
    parser.add_argument("--case", nargs="+")
    parser.add_argument("--rows", nargs="*", type=int, default=[1_000_000, 5_000_000])
    parser.add_argument("--changes", nargs="*", type=int, default=[1_000_000])
    parser.add_argument("--folder", help="where the servers' data goes for the time of the run")
    options = parser.parse_args()
    found = cases(options.rows, options.changes)
    python, load = sys.version.split()[0], os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}, Python {python}, load {load:.1f}\n")
    print("| server | by | case | step | rows | s | rows/s | CPU s | peak MiB of all | largest process |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        if "job" in options.by:
            command, env = trivial_job(Path(folder))
            print(shown("–", "job", "Dagster's own", "an asset that does nothing", 0, watch(command, env)), flush=True)
    for flavour in options.flavour:
        for by in options.by:
            for name in options.case or found:
                try:
                    with rig_of(flavour, options.folder) as rig:
                        for step, rows in found[name].steps(rig):
                            print(shown(flavour, by, name, step, rows, watch(*rig.command(by))), flush=True)
                            rig.check()
                except (RuntimeError, AssertionError) as error:
                    print(f"{flavour}, {by}, {name}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
