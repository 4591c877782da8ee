"""`make demo`: two sources and a target on real servers, replicated by Dagster under a live writer, and compared.

python scripts/demo.py run    everything from the start, in .demo/; ends with exit code 1 where something differs
python scripts/demo.py ui     Dagster's UI on what `run` left in .demo/, with the writer at work
python scripts/demo.py servers    the servers alone, with rows and the writer, for docs/tutorial.md; in .demo-servers/
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from demo_data import EXPECTED, Writer, compare, fill
from pymysql.connections import Connection
from rich import box
from rich.console import Console
from rich.table import Table
from servers import Flavour, Server, ServerFailed, ServerUnavailable

from myrepetl_dagster.core import ReplicationError, load, status
from myrepetl_dagster.core.target.control import TargetControl

ROOT = Path(__file__).resolve().parent.parent
FILES = ROOT / "demo"
FOLDER = ".demo-servers" if sys.argv[1:] == ["servers"] else ".demo"
HOME = Path(os.environ.get("MYREPETL_DEMO_DIR") or ROOT / FOLDER).resolve()
PIPELINE = FILES / "pipeline.json"
FLAVOURS: dict[str, Flavour] = {"shop": "mysql", "crm": "mariadb", "analytics": "mysql"}
WRITE_S = 3.0  # how long the writer goes on alone between the runs

console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
Servers = dict[str, Server]


class DemoFailed(Exception):
    """Says what went wrong, and where to look."""


# ---- servers ----
@contextlib.contextmanager
def running() -> Iterator[Servers]:
    """The three servers of the demo; they end with this program, and their data stays."""
    # Each keeps its number when it is started again (by default it is its port's): MariaDB is known by it.
    servers = {
        name: Server(flavour, HOME / name, {"server_id": str(101 + number)})
        for number, (name, flavour) in enumerate(FLAVOURS.items())
    }
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Server.start, servers.values()))
        yield servers
    finally:
        for server in servers.values():
            server.stop()


def environment(servers: Servers) -> dict[str, str]:
    """What the pipeline file and Dagster read."""
    ports = {f"DEMO_{name.upper()}_PORT": str(server.port) for name, server in servers.items()}
    # HOME/dagster keeps the history, so that the UI shows the demo's runs.
    own = {"MYREPETL_CONFIG": str(PIPELINE), "DAGSTER_HOME": str(HOME / "dagster")}
    return {**os.environ, **ports, **own, "DEMO_PASSWORD": password()}


def password() -> str:
    """The one password of the demo's accounts, made up once."""
    file = HOME / "password"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(16))
    return file.read_text()


def prepare(servers: Servers) -> None:
    """Databases, tables, and accounts that may do no more than they must (README, section Grants)."""
    for name, server in servers.items():
        monitor = "BINLOG MONITOR" if server.flavour == "mariadb" else "REPLICATION CLIENT"
        accounts = {"etl": [f"SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER ON {name}.*"]}
        if name != "analytics":
            accounts = {"repl": [f"SELECT ON {name}.*", f"REPLICATION SLAVE, {monitor} ON *.*"]}
            accounts["app"] = [f"SELECT, INSERT, UPDATE, DELETE ON {name}.*"]
        statements = [f"CREATE DATABASE {name} CHARACTER SET utf8mb4", f"USE {name}"]
        script = "\n".join(line.split("--")[0] for line in (FILES / f"{name}.sql").read_text().splitlines())
        statements += [part for part in script.split(";") if part.strip()]
        for user, grants in accounts.items():
            statements.append(f"CREATE USER {user}@'%' IDENTIFIED BY '{password()}'")
            statements += [f"GRANT {grant} TO {user}@'%'" for grant in grants]
        server.execute(*statements)


def connect(servers: Servers, name: str, user: str) -> Connection[Any]:
    server = servers[name]
    return server.connect(unix_socket=server.socket, user=user, password=password(), database=name, autocommit=False)


@contextlib.contextmanager
def writing(servers: Servers) -> Iterator[Writer]:
    with connect(servers, "shop", "app") as shop, connect(servers, "crm", "app") as crm:
        writer = Writer(shop, crm)
        writer.start()
        try:
            yield writer
        finally:
            writer.stop()


# ---- runs ----
def replicate(servers: Servers, number: int) -> float:
    """The job `replicate`, as a user runs it; the seconds that it took."""
    command = [
        *(str(Path(sys.executable).with_name("dagster")), "job", "execute"),
        *("-m", "myrepetl_dagster.definitions", "-j", "replicate"),
    ]
    log, began_s = HOME / f"run-{number}.log", time.monotonic()
    with log.open("w") as out:
        done = subprocess.run(
            command, cwd=ROOT, env=environment(servers), stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False
        )
    if done.returncode:
        raise DemoFailed(f"run {number} failed; the end of {log}:\n{log.read_text()[-3000:]}")
    return time.monotonic() - began_s


def applied(servers: Servers) -> dict[str, tuple[int, int]]:
    """Rows snapshotted and changes applied by all runs so far, from the checkpoints in the target."""
    pipeline = load(PIPELINE, environment(servers))
    target = TargetControl(pipeline.targets["analytics"], pipeline.limits)
    try:
        held = target.read_checkpoints([mapping.name for mapping in pipeline.mappings])
    finally:
        target.close()
    return {name: (one.rows_snapshotted, one.changes_applied) for name, one in held.items()}


def say_done(number: int, what: str, servers: Servers, took_s: float) -> None:
    counts = applied(servers).values()
    copied, changes = sum(c[0] for c in counts), sum(c[1] for c in counts)
    console.print(f"run {number} ({what}): {took_s:.1f} s; so far {copied:,} rows copied, {changes:,} changes applied")


def report(servers: Servers) -> bool:
    """Print how every mapping stands; whether all are equal."""
    table = Table("mapping", "rows copied", "changes applied", "lag", "rows now", "compared", box=box.SIMPLE_HEAD)
    for column in table.columns[1:5]:
        column.justify = "right"
    lags = {m.mapping: m.lag_s for m in status(load(PIPELINE, environment(servers))).mappings}
    counts = applied(servers)
    equal = True
    with contextlib.ExitStack() as stack:
        sources = {name: stack.enter_context(connect(servers, name, "repl")) for name in ("shop", "crm")}
        target = stack.enter_context(connect(servers, "analytics", "etl"))
        for mapping in EXPECTED:
            rows, differing = compare(mapping, sources, target)
            equal = equal and differing == 0 and rows > 0
            copied, changes = counts.get(mapping, (0, 0))
            lag_s = lags.get(mapping)
            table.add_row(
                *(mapping, f"{copied:,}", f"{changes:,}", "unknown" if lag_s is None else f"{lag_s:.1f} s"),
                *(f"{rows:,}", "[green]equal[/]" if not differing else f"[bold red]{differing} rows differ[/]"),
            )
    console.print(table)
    return equal


def run() -> int:
    began_s = time.monotonic()
    shutil.rmtree(HOME, ignore_errors=True)
    (HOME / "dagster").mkdir(parents=True)
    shutil.copy(ROOT / "dagster.yaml", HOME / "dagster")
    console.print("starting three servers (the first time they are fetched: a minute or two)")
    with running() as servers:
        versions = [
            f"{name}: {server.flavour} {server.execute('SELECT VERSION()')[0][0]}" for name, server in servers.items()
        ]
        console.print("  ".join(versions))
        prepare(servers)
        with connect(servers, "shop", "app") as shop, connect(servers, "crm", "app") as crm:
            fill(shop, crm)
        with writing(servers) as writer:
            say_done(1, "copies, and catches up with the writer", servers, replicate(servers, 1))
            time.sleep(WRITE_S)
            say_done(2, "catches up; the writer goes on", servers, replicate(servers, 2))
        say_done(3, f"after the writer's {writer.transactions:,} transactions", servers, replicate(servers, 3))
        equal = report(servers)
    console.print(f"{time.monotonic() - began_s:.0f} s in all; the servers have ended, their data is in {HOME}")
    console.print("to see it in Dagster's UI, with servers and writer at work: [bold]make demo-ui[/]")
    if not equal:
        console.print("[bold red]the target is not what the sources say[/]")
    return 0 if equal else 1


def ui() -> int:
    if not (HOME / "dagster").exists():
        raise DemoFailed("there is nothing to show yet: run `make demo` first")
    port = os.environ.get("PORT", "3000")
    with running() as servers, writing(servers):
        console.print(f"open http://127.0.0.1:{port}: the writer is at work; materialize, or switch on a sensor")
        console.print("Ctrl-C ends it")
        command = [str(Path(sys.executable).with_name("dagster")), "dev", "-p", port]
        process = subprocess.Popen(command, cwd=ROOT, env=environment(servers))
        try:
            return process.wait()
        except KeyboardInterrupt:  # the terminal has told it as well
            return process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()


def serve() -> int:
    """Run servers with rows and a writer until Ctrl-C, and write down where they are, for a shell to read."""
    new = not (HOME / "shop").exists()
    HOME.mkdir(parents=True, exist_ok=True)
    console.print("starting three servers (the first time they are fetched: a minute or two)")
    with running() as servers:
        if new:
            prepare(servers)
            with connect(servers, "shop", "app") as shop, connect(servers, "crm", "app") as crm:
                fill(shop, crm)
        lines = [f"export {name.upper()}_HOST=127.0.0.1 {name.upper()}_PORT={s.port}" for name, s in servers.items()]
        lines += [f"export REPL_PASSWORD={password()} ETL_PASSWORD={password()}", ""]
        (HOME / "environment").write_text("\n".join(lines))
        with writing(servers):
            console.print(f"ready, with a writer at work. In another terminal: source {HOME / 'environment'}")
            console.print("Ctrl-C ends it; the data stays")
            while True:
                time.sleep(60)


def main(arguments: list[str]) -> int:
    if arguments not in (["run"], ["ui"], ["servers"]):
        print(__doc__, file=sys.stderr)
        return 2
    # As Ctrl-C does: the servers are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return {"run": run, "ui": ui, "servers": serve}[arguments[0]]()
    except KeyboardInterrupt:
        return 130
    except (DemoFailed, ServerFailed, ServerUnavailable, ReplicationError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
