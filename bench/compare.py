"""Snapshot and catch-up beside the native tools, in the same run, as whole processes, in turns.

    python bench/compare.py [--flavour mysql] [--rows 1000000] [--changes 300000] [--rounds 3] [--table users …]
                            [--large-pools] [--no-catch-up] [--no-snapshot] [--log …] [--mapping …]

Prints a Markdown table: medians over the rounds, the spread, and the ratio to native. The native copy is
`mysqldump | mysql` and `mydumper` with `myloader` (2 threads; myloader leaves the target's binary log out unless
told not to, and the others write it, so it is measured both ways); the native catch-up is a replica with 4
appliers and crash-safe defaults. MySQL's writes a binary log of its own, as our target does; MariaDB's writes none by
default, nor does a target with MariaDB's defaults, so there both are measured with and without. Ours is `myrepetl run`,
less nothing; the cost of an empty run stands apart. The CPU of a catch-up's servers is that of our runs, less an empty
run's; a native replica's is that of both servers. Peak memory is what all processes of a command had resident at one
moment (pages that they share count for each).

Every server has its flavour's own defaults, but for what replication needs and for crash-safety: those of the replica
that set the mark. With `--large-pools` they have 512 MiB of buffer pool, in which all tables are, and MySQL as much of
redo log.
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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data import TABLES, create, create_fifty, write_hot_log, write_log
from rig import CRASH_SAFE, start
from tools import ROOT, Flavour, Measured, Server, cpu_s, measure, servers_dir, tools

NATIVE, OURS, EMPTY = "native replica", "ours", "empty run"
# Whether the server that is written to has a binary log of its own.
LOGGED, UNLOGGED = "written", "none"


@dataclass(frozen=True, slots=True)
class Caught:
    """One catch-up: changes; seconds of wall clock, of the CPU of our client, of the source, of the writing server."""

    changes: int
    wall_s: float
    client_cpu_s: float
    source_cpu_s: float
    server_cpu_s: float


Way = tuple[str, str]  # who catches up; whether a binary log is written


@dataclass(frozen=True, slots=True)
class Mapped:
    """How our mapping of `users` (`columns`: those that are not just copied) or of any table is to be."""

    name: str
    columns: Mapping[str, object] | None = None
    filter: Mapping[str, object] | None = None
    limits: Mapping[str, int] | None = None


PLAIN = Mapped("plain")
SHAPED = [
    Mapped(
        "built-in transforms, a filter",
        {
            "name": {"column": "name", "transform": "transform.uppercase"},
            "email": {"column": "email", "transform": "transform.trim"},
        },
        {"country": {"not": None}, "score": {"gte": 0}},
    ),
    Mapped("a Python transform", {"name": {"column": "name", "transform": "shout.shout"}}),
]
# What an account gets that may not give events back to the target.
STATEMENTS = Mapped("plain, as statements", limits={"event_rows_min": 10**9})


class Bench:
    """A source, the targets and the replicas of one flavour; copies are made to the target with a binary log."""

    def __init__(self, flavour: Flavour, folder: Path, *, large_pools: bool = False) -> None:
        self.flavour = flavour
        self.folder = folder
        options: dict[str, str | None] = {**CRASH_SAFE}
        if large_pools:
            options |= {"innodb_buffer_pool_size": "512M", "max_allowed_packet": "64M"}
            if flavour == "mysql":
                options["innodb_redo_log_capacity"] = "512M"

        def server(name: str, more: Mapping[str, str | None] | None = None) -> Server:
            return Server(flavour, folder / name, {**options, **(more or {})}, tuned=large_pools)

        self.source = server("source")
        self.target = server("target")
        self.targets = {LOGGED: self.target}
        self.replicas = {LOGGED: server("replica", {"log_slave_updates": "1"} if flavour == "mariadb" else None)}
        if flavour == "mariadb":
            self.targets[UNLOGGED] = server("target-unlogged", {"skip-log-bin": None})
            self.replicas[UNLOGGED] = server("replica-unlogged", {"skip-log-bin": None})
        start(self.servers)

    @property
    def servers(self) -> list[Server]:
        return [self.source, *self.targets.values(), *self.replicas.values()]

    def close(self) -> None:
        for server in self.servers:
            server.kill()

    # ---- commands ----
    def ours(self, tables: list[str], mapped: Mapped = PLAIN, target: Server | None = None) -> list[str]:
        """`myrepetl run` for these tables."""
        more: dict[str, object] = {"filter": mapped.filter} if mapped.filter else {}
        if mapped.columns is not None:
            all_columns = {c.split()[0]: c.split()[0] for c in TABLES["users"][0].split(", ")}
            more |= {"column_mapping": {**all_columns, **mapped.columns}, "primary_key": "id"}
        file = self.folder / "pipeline.json"
        (self.folder / "shout.py").write_text("def shout(value):\n    return value.upper() + '!'\n")
        connection = {"host": "127.0.0.1", "user": "u", "password": "pw", "ssl_disabled": True}
        file.write_text(
            json.dumps(
                {
                    "sources": {"a": {**connection, "port": self.source.port, "database": "shop"}},
                    "targets": {"b": {**connection, "port": (target or self.target).port, "database": "dw"}},
                    "mapping": {f"a.{t}": {"target_table": f"b.{t}", **more} for t in tables},
                    "limits": mapped.limits or {},
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
        for binlog, target in self.targets.items():
            also = [reset] if binlog == LOGGED else []
            target.execute("DROP DATABASE IF EXISTS dw", "CREATE DATABASE dw", *also)

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
            commands |= {f"ours, {mapped.name}": partial(self.ours, tables, mapped) for mapped in SHAPED}
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

    def copy(self, tables: list[str], mapped: Mapped) -> None:
        """Make every target one that has these tables."""
        self.fresh_target()
        for target in self.targets.values():
            command = self.ours(tables, mapped, target)
            measure(command, [self.source, target], {"PYTHONPATH": str(ROOT)})

    def catch_up(
        self, tables: list[str], mapped: Mapped, write: Callable[[int], int], rounds: int
    ) -> dict[Way, list[Caught]]:
        """All on the same logs, each round another one first, and an empty run of ours."""
        found: dict[Way, list[Caught]] = {(n, binlog): [] for binlog in self.targets for n in (NATIVE, OURS, EMPTY)}

        def natively(binlog: str, changes: int) -> Caught:
            replica = self.replicas[binlog]
            before = [cpu_s(self.source), cpu_s(replica)]
            elapsed_s = self.replicate_natively(replica)
            source, own = (cpu_s(s) - earlier for s, earlier in zip((self.source, replica), before, strict=True))
            return Caught(changes, elapsed_s, 0.0, source, own)

        def run(binlog: str, changes: int) -> Caught:
            target = self.targets[binlog]
            command = self.ours(tables, mapped, target)
            run = measure(command, [self.source, target], {"PYTHONPATH": str(ROOT)})
            return Caught(changes, run.wall_s, run.client_cpu_s, *run.server_cpu_s)

        for number in range(rounds):
            changes = write(number)
            ways = [(name, binlog) for binlog in self.targets for name in (NATIVE, OURS)]
            for name, binlog in ways[number % len(ways) :] + ways[: number % len(ways)]:
                found[name, binlog].append((run if name == OURS else natively)(binlog, changes))
            for binlog in self.targets:
                found[EMPTY, binlog].append(run(binlog, 0))
            copies = [("dw", t) for t in self.targets.values()] + [("shop", r) for r in self.replicas.values()]
            for table in tables:
                self.check(table, "catch-up", *copies)
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


def print_catch_up(labels: Sequence[str], found: dict[Way, list[Caught]]) -> None:
    for binlog in [binlog for name, binlog in found if name == OURS]:
        native, ours, empty = (found[name, binlog] for name in (NATIVE, OURS, EMPTY))
        empty_s = statistics.median(one.wall_s for one in empty)
        net = [one.changes / max(0.001, one.wall_s - empty_s) for one in ours]
        theirs = [one.changes / one.wall_s for one in native]
        ratio = statistics.median(net) / statistics.median(theirs)
        cpu_us = [1e6 * statistics.median((one.source_cpu_s + one.server_cpu_s) / one.changes for one in native)]
        for part in ("source_cpu_s", "server_cpu_s", "client_cpu_s"):
            idle_s = statistics.median(getattr(one, part) for one in empty)
            cpu_us.append(1e6 * statistics.median((getattr(one, part) - idle_s) / one.changes for one in ours))
        used = [f"{us:.1f}" for us in cpu_us]
        cells = [*labels, binlog, spread(theirs), spread(net), f"{ratio:.2f}", f"{empty_s:.2f}", *used]
        print(f"| {' | '.join(cells)} |")


def logs(source: Server, changes: int, sizes: Mapping[str, int], mapped: Mapped) -> dict[str, Callable[[int], int]]:
    """What to catch up with; those of single-row transactions, which take long to write, are shorter."""
    mixed = "mixed, updates by 50"
    found: dict[str, Callable[[int], int]] = {mixed: partial(write_log, source, changes, sizes)}
    if mapped is PLAIN and list(sizes) == ["users"]:
        found |= {
            "mixed, updates one by one": partial(write_log, source, changes // 3, sizes, update_rows=1),
            "hot rows": partial(write_hot_log, source, changes, 50),
            "hot rows, one by one": partial(write_hot_log, source, changes // 5, 1),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flavour", nargs="+", default=["mysql", "mariadb"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--changes", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--table", nargs="+", default=[*TABLES, "fifty"])
    parser.add_argument("--log", nargs="+", help="of the catch-up's logs only these: 'hot rows' …")
    parser.add_argument("--mapping", nargs="+", help="of the catch-up's mappings only these: 'plain' …")
    parser.add_argument("--no-catch-up", action="store_true")
    parser.add_argument("--no-snapshot", action="store_true")
    parser.add_argument("--large-pools", action="store_true")
    options = parser.parse_args()
    python, load = sys.version.split()[0], os.getloadavg()[0]
    settings = "servers with large pools" if options.large_pools else "default servers"
    print(f"{os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}, Python {python}, load {load:.1f}, {settings}\n")
    print(
        "| server | table | copied by | rows/s: median (min–max) | of dump | of mydumper | of it with binlog |"
        " client CPU s | source CPU s | target CPU s | peak MiB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    catch_ups = []
    for flavour in options.flavour:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            bench = Bench(flavour, Path(folder), large_pools=options.large_pools)
            try:
                made: dict[str, dict[str, int]] = {}  # of what is named in the table: tables and their rows
                for table in options.table:
                    rows = options.rows if table in ("users", "narrow", "fifty") else options.rows // 5
                    if table == "fifty":
                        made[table] = create_fifty(bench.source, rows)
                    else:
                        create(bench.source, table, rows)
                        made[table] = {table: rows}
                    if not options.no_snapshot:
                        print_snapshot(flavour, table, rows, bench.snapshot(list(made[table]), options.rounds))
                if options.no_catch_up:
                    continue
                bench.start_replicas()
                for table, sizes in made.items():
                    for mapped in [PLAIN, *SHAPED, STATEMENTS] if table == "users" else [PLAIN]:
                        if options.mapping and mapped.name not in options.mapping:
                            continue
                        bench.copy(list(sizes), mapped)
                        for log, write in logs(bench.source, options.changes, sizes, mapped).items():
                            if options.log and log not in options.log:
                                continue
                            found = bench.catch_up(list(sizes), mapped, write, options.rounds)
                            catch_ups.append(([flavour, table, mapped.name, log], found))
            finally:
                bench.close()
    print(
        "\n| server | table | mapping | log | binlog of the target | native replica, changes/s | ours, less an empty"
        " run | of native | empty run s | CPU µs a change: native | our source | our target | our client |"
    )
    print(f"|{'---|' * 13}")
    for labels, found in catch_ups:
        print_catch_up(labels, found)


if __name__ == "__main__":
    main()
