"""Snapshot and catch-up beside the native tools, in the same run, as whole processes, in turns.

    python bench/compare.py [--flavour mysql] [--rows 1000000] [--changes 300000] [--rounds 3] [--table users …]
                            [--default-servers] [--no-catch-up]

Prints a Markdown table: medians over the rounds, the spread, and the ratio to native. The native copy is
`mysqldump | mysql` and `mydumper` with `myloader` (2 threads; myloader leaves the target's binary log out unless
told not to, and the others write it, so it is measured both ways); the native catch-up is a replica with 4
appliers and crash-safe defaults: on MariaDB as it is, which writes no binary log of its own, and with one
(`log_slave_updates`), as MySQL's and our target have it. Ours is `myrepetl run`, less nothing; the cost of an empty
run stands apart. The CPU of a catch-up's servers is that of our runs, less an empty run's. Peak memory is what all
processes of a command had resident at one moment (pages that they share count for each).

With `--default-servers` every server has its flavour's own defaults, but for what replication needs and for
crash-safety; else they have 512 MiB of buffer pool, and MySQL as much of redo log.
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
from rig import CRASH_SAFE, start
from tools import ROOT, Flavour, Measured, Server, cpu_s, measure, servers_dir, tools

NATIVE, WITH_BINLOG, OURS, EMPTY = "native replica", "native replica with binlog", "ours", "empty run"


@dataclass(frozen=True, slots=True)
class Caught:
    """One catch-up: changes; seconds of wall clock, of the CPU of our client, of the source, of the writing server."""

    changes: int
    wall_s: float
    client_cpu_s: float
    source_cpu_s: float
    server_cpu_s: float


class Bench:
    """A source, a target and the replicas of one flavour."""

    def __init__(self, flavour: Flavour, folder: Path, rows: int, *, default_servers: bool = False) -> None:
        self.flavour = flavour
        self.folder = folder
        self.rows = rows
        options = dict(CRASH_SAFE)
        if not default_servers:
            options |= {"innodb_buffer_pool_size": "512M", "max_allowed_packet": "64M"}
            if flavour == "mysql":
                options["innodb_redo_log_capacity"] = "512M"

        def server(name: str, **more: str) -> Server:
            return Server(flavour, folder / name, options | more, tuned=not default_servers)

        self.source = server("source")
        self.target = server("target")
        self.replicas = {NATIVE: server("replica")}
        if flavour == "mariadb":
            self.replicas[WITH_BINLOG] = server("logging-replica", log_slave_updates="1")
        start(self.servers)

    @property
    def servers(self) -> list[Server]:
        return [self.source, self.target, *self.replicas.values()]

    def close(self) -> None:
        for server in self.servers:
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

    def check(self, table: str, name: str, *copies: tuple[str, Server]) -> None:
        """As many rows in each copy (none named: the target's) as in the source."""
        rows = self.source.execute(f"SELECT COUNT(*) FROM shop.{table}")[0][0]
        for database, server in copies or [("dw", self.target)]:
            copied = server.execute(f"SELECT COUNT(*) FROM {database}.{table}")[0][0]
            assert copied == rows, f"{name}: {rows} rows in the source, {copied} in {server.directory.name}"

    # ---- catch-up ----
    def start_replicas(self) -> None:
        """Make the replicas those of the source, up to date, then stop them."""
        for replica in self.replicas.values():
            if self.flavour == "mysql":
                replica.execute(
                    "SET GLOBAL replica_parallel_workers = 4",
                    "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_USER='u', SOURCE_PASSWORD='pw',"
                    f" SOURCE_PORT={self.source.port}, SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1",
                )
            else:
                replica.execute(
                    "SET GLOBAL slave_parallel_threads = 4",
                    "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_USER='u', MASTER_PASSWORD='pw',"
                    f" MASTER_PORT={self.source.port}, MASTER_USE_GTID=slave_pos",
                )
            self.replicate_natively(replica)

    def replicate_natively(self, replica: Server) -> float:
        """Start the replica, wait until it is where the source is, stop it: seconds."""
        mysql = self.flavour == "mysql"
        start_s = time.monotonic()
        if mysql:
            gtids = self.source.execute("SELECT @@global.gtid_executed")[0][0]
            late = replica.execute("START REPLICA", f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{gtids}', 600)")[0][0]
        else:
            gtids = self.source.execute("SELECT @@global.gtid_binlog_pos")[0][0]
            late = replica.execute("START SLAVE", f"SELECT MASTER_GTID_WAIT('{gtids}', 600)")[0][0]
        elapsed_s = time.monotonic() - start_s
        replica.execute("STOP REPLICA" if mysql else "STOP SLAVE")
        assert not late, "the native replica did not catch up"
        return elapsed_s

    def catch_up(self, write: Callable[[int], int], rounds: int) -> dict[str, list[Caught]]:
        """All on the same logs, each round another one first, and an empty run of ours."""
        found: dict[str, list[Caught]] = {name: [] for name in (*self.replicas, OURS, EMPTY)}

        def natively(name: str, changes: int) -> Caught:
            replica = self.replicas[name]
            before = [cpu_s(self.source), cpu_s(replica)]
            elapsed_s = self.replicate_natively(replica)
            source, own = (cpu_s(s) - earlier for s, earlier in zip((self.source, replica), before, strict=True))
            return Caught(changes, elapsed_s, 0.0, source, own)

        def run(changes: int) -> Caught:
            run = measure(self.ours(["users"]), [self.source, self.target], {"PYTHONPATH": str(ROOT)})
            return Caught(changes, run.wall_s, run.client_cpu_s, *run.server_cpu_s)

        for number in range(rounds):
            changes = write(number)
            names = [*self.replicas, OURS]
            for name in names[number % len(names) :] + names[: number % len(names)]:
                found[name].append(run(changes) if name == OURS else natively(name, changes))
            found[EMPTY].append(run(0))
            self.check("users", "catch-up", ("dw", self.target), *(("shop", r) for r in self.replicas.values()))
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
        client_s, source_s, target_s = map(
            statistics.median, zip(*((m.client_cpu_s, *m.server_cpu_s) for m in runs), strict=True)
        )
        peak = max(m.peak_mib for m in runs)
        cpu = [f"{value:.1f}" for value in (client_s, source_s, target_s)]
        cells = [flavour, table, name, spread(rates), *ratios, *cpu, f"{peak:.0f}"]
        print(f"| {' | '.join(cells)} |")


def print_catch_up(flavour: str, log: str, found: dict[str, list[Caught]]) -> None:
    empty, ours = found[EMPTY], found[OURS]
    empty_s = statistics.median(one.wall_s for one in empty)
    net = [one.changes / max(0.001, one.wall_s - empty_s) for one in ours]
    rates, ratios, replica_us = [], [], []
    for name in (NATIVE, WITH_BINLOG):
        runs = found.get(name, [])  # MySQL's has one as it is
        native = [one.changes / one.wall_s for one in runs]
        rates.append(spread(native) if runs else "–")
        ratios.append(f"{statistics.median(net) / statistics.median(native):.2f}" if runs else "–")
        replica_us.append(f"{1e6 * statistics.median(o.server_cpu_s / o.changes for o in runs):.1f}" if runs else "–")
    ours_us = []
    for part in ("source_cpu_s", "server_cpu_s", "client_cpu_s"):
        empty_part_s = statistics.median(getattr(one, part) for one in empty)
        used_us = 1e6 * statistics.median((getattr(one, part) - empty_part_s) / one.changes for one in ours)
        ours_us.append(f"{used_us:.1f}")
    cells = [flavour, log, *rates, spread(net), *ratios, f"{empty_s:.2f}", *replica_us, *ours_us]
    print(f"| {' | '.join(cells)} |")


def logs(source: Server, changes: int, rows: int) -> dict[str, Callable[[int], int]]:
    """What to catch up with; those of single-row transactions, which take long to write, are shorter."""
    return {
        "mixed, updates by 50": partial(write_log, source, changes, rows),
        "mixed, updates one by one": partial(write_log, source, changes // 3, rows, update_rows=1),
        "hot rows": partial(write_hot_log, source, changes, 50),
        "hot rows, one by one": partial(write_hot_log, source, changes // 5, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flavour", nargs="+", default=["mysql", "mariadb"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--changes", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--table", nargs="+", default=[*TABLES, "fifty"])
    parser.add_argument("--no-catch-up", action="store_true")
    parser.add_argument("--default-servers", action="store_true")
    options = parser.parse_args()
    python, load = sys.version.split()[0], os.getloadavg()[0]
    settings = "default" if options.default_servers else "large"
    print(
        f"{os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}, Python {python}, load {load:.1f}, {settings} servers\n"
    )
    print(
        "| server | table | copied by | rows/s: median (min–max) | of dump | of mydumper | of it with binlog |"
        " client CPU s | source CPU s | target CPU s | peak MiB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    catch_ups = []
    for flavour in options.flavour:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            bench = Bench(flavour, Path(folder), options.rows, default_servers=options.default_servers)
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
                    bench.start_replicas()
                    for log, write in logs(bench.source, options.changes, options.rows).items():
                        catch_ups.append((flavour, log, bench.catch_up(write, options.rounds)))
            finally:
                bench.close()
    print(
        "\n| server | log | native replica, changes/s | with binlog | ours, less an empty run | of native"
        " | of it with binlog | empty run s | CPU µs a change: replica | with binlog | our source | our target"
        " | our client |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for flavour, log, found in catch_ups:
        print_catch_up(flavour, log, found)


if __name__ == "__main__":
    main()
