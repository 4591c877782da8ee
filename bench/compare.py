"""Snapshot and catch-up beside the native tools, in the same run, as whole processes, in turns.

    python bench/compare.py [--flavour mysql] [--rows 1000000] [--changes 300000] [--rounds 3] [--table users …]

Prints a Markdown table: medians over the rounds, the spread, and the ratio to native. The native copy is
`mysqldump | mysql` and `mydumper` with `myloader` (2 threads; myloader leaves the target's binary log out unless
told not to, and the others write it, so it is measured both ways); the native catch-up is a replica with 4
appliers and crash-safe defaults. Ours is `myrepetl run`, less nothing; the cost of an empty run stands apart.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data import TABLES, create, create_fifty, write_hot_log, write_log
from tools import ROOT, Flavour, Measured, Server, cpu_s, measure, servers_dir, tools


@dataclass(frozen=True, slots=True)
class Caught:
    """One catch-up: changes; seconds of wall clock, of our client's CPU, of the writing server's CPU."""

    changes: int
    wall_s: float
    client_cpu_s: float
    server_cpu_s: float


class Bench:
    """A source, a target and a replica of one flavour."""

    def __init__(self, flavour: Flavour, folder: Path, rows: int) -> None:
        self.flavour = flavour
        self.folder = folder
        self.rows = rows
        options = {
            "innodb_buffer_pool_size": "512M",
            "max_allowed_packet": "64M",
            # Crash-safe, as servers are by default.
            "sync_binlog": "1",
            "innodb_flush_log_at_trx_commit": "1",
        }
        if flavour == "mysql":
            options["innodb_redo_log_capacity"] = "512M"
        self.source = Server(flavour, folder / "source", options)
        self.target = Server(flavour, folder / "target", options)
        self.replica = Server(flavour, folder / "replica", options)
        for server in (self.source, self.target, self.replica):
            server.start()
            server.execute("CREATE USER IF NOT EXISTS 'u'@'%' IDENTIFIED BY 'pw'", "GRANT ALL ON *.* TO 'u'@'%'")

    def close(self) -> None:
        for server in (self.source, self.target, self.replica):
            server.kill()

    # ---- commands ----
    def ours(self, tables: list[str], columns: dict[str, object] | None = None, **more: object) -> list[str]:
        """`myrepetl run` for these tables; `columns`: what a column of `users` is mapped to, where not just copied."""
        mapping: dict[str, object] = {f"a.{t}": {"target_table": f"b.{t}", **more} for t in tables}
        if columns is not None:
            all_columns = {c.split()[0]: c.split()[0] for c in TABLES["users"][0].split(", ")}
            mapped = {"column_mapping": {**all_columns, **columns}, "primary_key": "id", **more}
            mapping = {"a.users": {"target_table": "b.users", **mapped}}
        file = self.folder / "pipeline.json"
        (self.folder / "shout.py").write_text("def shout(value):\n    return value.upper() + '!'\n")
        connection = {"host": "127.0.0.1", "user": "u", "password": "pw", "ssl_disabled": True}
        file.write_text(
            json.dumps(
                {
                    "sources": {"a": {**connection, "port": self.source.port, "database": "shop"}},
                    "targets": {"b": {**connection, "port": self.target.port, "database": "dw"}},
                    "mapping": mapping,
                }
            )
        )
        return [sys.executable, "-m", "myrepetl_dagster.cli", "run", str(file)]

    def dump_and_load(self, tables: list[str]) -> str | None:
        found = tools(self.flavour)
        if found is None:
            return None
        dump, client = ("mysqldump", "mysql") if self.flavour == "mysql" else ("mariadb-dump", "mariadb")
        tail = "--set-gtid-purged=OFF" if self.flavour == "mysql" else ""
        return (
            f"{' '.join(found[dump])} --no-defaults -uroot -S {self.source.socket} --single-transaction {tail}"
            f" shop {' '.join(tables)} | {' '.join(found[client])} --no-defaults -uroot -S {self.target.socket} dw"
        )

    def mydumper(self, tables: list[str], load_options: str = "") -> str | None:
        found = tools("mydumper")
        if found is None:
            return None
        out = self.folder / "mydumper"
        shutil.rmtree(out, ignore_errors=True)
        wanted = ",".join(tables)  # with -B the names are without a schema
        dump = f"{' '.join(found['mydumper'])} -u root -S {self.source.socket} -t 2 -B shop -T {wanted} -o {out}"
        load = f"{' '.join(found['myloader'])} -u root -S {self.target.socket} -t 2 -d {out} -B dw -o {load_options}"
        plugins = next((servers_dir() / "tools/mydumper").glob("usr/lib/*/libmariadb3/plugin"))
        return f"export MARIADB_PLUGIN_DIR={plugins}; {dump} -r 100000 && {load}"

    def fresh_target(self) -> None:
        # Its log goes too: a hundred copies of a million rows fill a disk.
        reset = "RESET MASTER" if self.flavour == "mariadb" else "RESET BINARY LOGS AND GTIDS"
        self.target.execute("DROP DATABASE IF EXISTS dw", "CREATE DATABASE dw", reset)

    # ---- snapshot ----
    def snapshot(self, tables: list[str], rounds: int) -> dict[str, list[Measured]]:
        """Copies of these tables by each tool in turns."""
        commands: dict[str, Callable[[], str | list[str] | None]] = {
            "dump, load": lambda: self.dump_and_load(tables),
            "mydumper, myloader": lambda: self.mydumper(tables),
            "mydumper, myloader with binlog": lambda: self.mydumper(tables, "--enable-binlog"),
            "ours": lambda: self.ours(tables),
        }
        if tables == ["users"]:
            commands |= {
                "ours, built-in transforms, a filter": lambda: self.ours(
                    tables,
                    {
                        "name": {"column": "name", "transform": "transform.uppercase"},
                        "email": {"column": "email", "transform": "transform.trim"},
                    },
                    filter={"country": {"not": None}, "score": {"gte": 0}},
                ),
                "ours, a Python transform": lambda: self.ours(
                    tables, {"name": {"column": "name", "transform": "shout.shout"}}
                ),
            }
        found: dict[str, list[Measured]] = {}
        for _ in range(rounds):
            for name, command in commands.items():
                self.fresh_target()
                what = command()
                if what is None:
                    continue
                try:
                    run = measure(what, [self.source, self.target], {"PYTHONPATH": str(ROOT)})
                except RuntimeError as error:
                    print(f"{name}: {error}", file=sys.stderr)
                    continue
                found.setdefault(name, []).append(run)
                for table in tables:
                    self.check(table, name)
        return found

    def check(self, table: str, name: str) -> None:
        counts = [
            s.execute(f"SELECT COUNT(*) FROM {d}.{table}")[0][0]
            for s, d in ((self.source, "shop"), (self.target, "dw"))
        ]
        assert counts[0] == counts[1], f"{name}: {counts[0]} rows in the source, {counts[1]} in the target"

    # ---- catch-up ----
    def start_replica(self) -> None:
        """Make the replica one of the source, up to date, then stop it."""
        if self.flavour == "mysql":
            self.replica.execute(
                "SET GLOBAL replica_parallel_workers = 4",
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_USER='u', SOURCE_PASSWORD='pw',"
                f" SOURCE_PORT={self.source.port}, SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1",
            )
        else:
            self.replica.execute(
                "SET GLOBAL slave_parallel_threads = 4",
                "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_USER='u', MASTER_PASSWORD='pw',"
                f" MASTER_PORT={self.source.port}, MASTER_USE_GTID=slave_pos",
            )
        self.replicate_natively()

    def replicate_natively(self) -> float:
        """Start the replica, wait until it is where the source is, stop it: seconds."""
        mysql = self.flavour == "mysql"
        start_s = time.monotonic()
        if mysql:
            gtids = self.source.execute("SELECT @@global.gtid_executed")[0][0]
            self.replica.execute("START REPLICA", f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{gtids}', 600)")
        else:
            gtids = self.source.execute("SELECT @@global.gtid_binlog_pos")[0][0]
            self.replica.execute("START SLAVE", f"SELECT MASTER_GTID_WAIT('{gtids}', 600)")
        elapsed_s = time.monotonic() - start_s
        self.replica.execute("STOP REPLICA" if mysql else "STOP SLAVE")
        return elapsed_s

    def catch_up(self, write: Callable[[int], int], rounds: int) -> dict[str, list[Caught]]:
        """Both on the same log, and an empty run of ours."""
        found: dict[str, list[Caught]] = {"native replica": [], "ours": [], "empty run": []}
        env = {"PYTHONPATH": str(ROOT)}

        def natively(changes: int) -> None:
            before = cpu_s(self.replica)
            elapsed_s = self.replicate_natively()
            found["native replica"].append(Caught(changes, elapsed_s, 0.0, cpu_s(self.replica) - before))

        for number in range(rounds):
            changes = write(number)
            if number % 2 == 0:
                natively(changes)
            run = measure(self.ours(["users"]), [self.target], env)
            found["ours"].append(Caught(changes, run.wall_s, run.client_cpu_s, run.server_cpu_s))
            if number % 2:
                natively(changes)
            run = measure(self.ours(["users"]), [self.target], env)
            found["empty run"].append(Caught(0, run.wall_s, run.client_cpu_s, run.server_cpu_s))
            self.check("users", "catch-up")
        return found


# ---- output -----------------------------------------------------------------------------------------------
def spread(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f}–{max(values):,.0f})"


def print_snapshot(flavour: str, table: str, rows: int, found: dict[str, list[Measured]]) -> None:
    wall_s = {name: statistics.median(m.wall_s for m in runs) for name, runs in found.items()}
    natives = ("dump, load", "mydumper, myloader", "mydumper, myloader with binlog")
    for name, runs in found.items():
        rates = [rows / m.wall_s for m in runs]
        ratios = [f"{wall_s[native] / wall_s[name]:.2f}" if native in wall_s else "–" for native in natives]
        client_s, server_s = (
            statistics.median(v) for v in ([m.client_cpu_s for m in runs], [m.server_cpu_s for m in runs])
        )
        peak = max(m.peak_mib for m in runs)
        cells = [flavour, table, name, spread(rates), *ratios, f"{client_s:.1f}", f"{server_s:.1f}", f"{peak:.0f}"]
        print(f"| {' | '.join(cells)} |")


def print_catch_up(flavour: str, log: str, found: dict[str, list[Caught]]) -> None:
    empty, native, ours = found["empty run"], found["native replica"], found["ours"]
    empty_s = statistics.median(one.wall_s for one in empty)
    native_rates = [one.changes / one.wall_s for one in native]
    net = [one.changes / max(0.001, one.wall_s - empty_s) for one in ours]
    ratio = statistics.median(net) / statistics.median(native_rates)
    empty_client_s = statistics.median(one.client_cpu_s for one in empty)
    client_us, target_us, replica_us = (
        1e6 * statistics.median(values)
        for values in (
            [(one.client_cpu_s - empty_client_s) / one.changes for one in ours],
            [one.server_cpu_s / one.changes for one in ours],
            [one.server_cpu_s / one.changes for one in native],
        )
    )
    print(
        f"| {flavour} | {log} | {spread(native_rates)} | {spread(net)} | {ratio:.2f} | {empty_s:.2f}"
        f" | {replica_us:.1f} | {target_us:.1f} | {client_us:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flavour", nargs="+", default=["mysql", "mariadb"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--changes", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--table", nargs="+", default=[*TABLES, "fifty"])
    parser.add_argument("--no-catch-up", action="store_true")
    options = parser.parse_args()
    python, load = sys.version.split()[0], os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}, Python {python}, load {load:.1f}\n")
    print(
        "| server | table | copied by | rows/s: median (min–max) | of dump | of mydumper | of it with binlog |"
        " client CPU s | server CPU s | peak MiB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    catch_ups = []
    for flavour in options.flavour:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            bench = Bench(flavour, Path(folder), options.rows)
            try:
                for table in options.table:
                    rows = options.rows if table in ("users", "narrow", "fifty") else options.rows // 5
                    names = create_fifty(bench.source, rows) if table == "fifty" else [table]
                    if table != "fifty":
                        create(bench.source, table, rows)
                    print_snapshot(flavour, table, rows, bench.snapshot(names, options.rounds))
                if not options.no_catch_up and "users" in options.table:
                    bench.fresh_target()
                    measure(bench.ours(["users"]), [bench.source, bench.target], {"PYTHONPATH": str(ROOT)})
                    bench.start_replica()
                    mixed = partial(write_log, bench.source, options.changes, options.rows)
                    hot = partial(write_hot_log, bench.source, options.changes, 50)
                    single = partial(write_hot_log, bench.source, options.changes // 5, 1)
                    for log, write in (("mixed", mixed), ("hot rows", hot), ("hot rows, one by one", single)):
                        catch_ups.append((flavour, log, bench.catch_up(write, options.rounds)))
            finally:
                bench.close()
    print(
        "\n| server | log | native replica, changes/s | ours, less an empty run | of native | empty run s"
        " | CPU µs a change: replica | our target | our client |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for flavour, log, found in catch_ups:
        print_catch_up(flavour, log, found)


if __name__ == "__main__":
    main()
