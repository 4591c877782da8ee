"""Private MySQL and MariaDB servers for tests and measurements, without root and without the system's own.

with Server("mysql", Path("/tmp/somewhere")) as server:
    server.execute("SELECT VERSION()")

python scripts/servers.py fetch [mysql|mariadb|all]
python scripts/servers.py versions
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import queue
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pymysql
from server_binaries import (
    FIXED_AT_BIRTH,
    FLAVOURS,
    Flavour,
    Installation,
    ServerFailed,
    ServerUnavailable,
    as_root,
    find,
    new_datadir,
)

__all__ = ["FLAVOURS", "Flavour", "Server", "ServerFailed", "ServerUnavailable", "find"]

_Request = tuple[list[str], Path, "Future[subprocess.Popen[bytes]]"]


def _spawn_loop(requests: queue.SimpleQueue[_Request]) -> None:
    while True:
        command, log, future = requests.get()
        try:
            with log.open("ab") as out:
                # A session of its own: Ctrl-C must reach the test run, which then stops its servers in order.
                future.set_result(
                    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
                )
        except Exception as error:
            future.set_exception(error)


@functools.cache
def _spawner(pid: int) -> queue.SimpleQueue[_Request]:
    """The queue of the thread that starts servers; cached by process, as a thread does not survive a fork."""
    requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
    threading.Thread(target=_spawn_loop, args=(requests,), daemon=True, name=f"servers-{pid}").start()
    return requests


def _spawn(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process that the kernel kills when this Python dies, however it dies.

    The kernel's signal comes when the *thread* that started the child ends, so one thread that lives as long
    as Python starts them all. setpriv (util-linux) asks for it, as Python code between fork and exec can
    deadlock in a process with threads.
    """
    future: Future[subprocess.Popen[bytes]] = Future()
    _spawner(os.getpid()).put(([*_dies_with_us(), *command], log, future))
    return future.result()


def _dies_with_us() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def _free_port() -> int:
    """A free port below the kernel's range for outgoing connections.

    bind(0) takes from that range, where a stranger's connection can take the port while a killed server is
    down. Not from `random`: tests often seed it, and then each would get the same ports.
    """
    try:
        low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        low = 32768
    ports = range(15000, low) if low > 16000 else range(1)
    for _ in range(200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", secrets.choice(ports)))
            return int(probe.getsockname()[1])
    raise ServerFailed("no free port")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


_running: dict[int, Server] = {}
_socket_folders: list[tuple[int, Path]] = []


@atexit.register
def _clean_up() -> None:
    """At the end of Python; a forked child inherits this handler too, but owns nothing."""
    for server in list(_running.values()):
        if server.owner == os.getpid():
            server.kill()
    for owner, folder in _socket_folders:
        if owner == os.getpid():
            shutil.rmtree(folder, ignore_errors=True)


class Server:
    """A private server: its own datadir, port and socket; nothing of the system's is read or written."""

    host = "127.0.0.1"

    def __init__(
        self,
        flavour: Flavour,
        directory: Path,
        options: Mapping[str, str | None] | None = None,
        gtid: bool = True,
        tuned: bool = True,
        version: str | None = None,
    ) -> None:
        """`tuned`: with little memory, and with less care for a crash of the machine than by default.

        `version`: a MariaDB of that version ("11.8"); None: the machine's own.
        """
        self.flavour: Flavour = flavour
        self.version = version
        self.directory = directory.resolve()
        self.gtid = gtid
        self.tuned = tuned
        self.options = {name.replace("_", "-"): value for name, value in (options or {}).items()}
        self.owner = os.getpid()
        self.port = _free_port()
        # A socket's path has to stay below 108 bytes; a test's folder is often longer.
        self._sockets = Path(tempfile.mkdtemp(prefix="mr-", dir="/tmp"))
        _socket_folders.append((self.owner, self._sockets))
        self.socket = str(self._sockets / "sock")
        self.datadir = self.directory / "data"
        self.error_log = self.directory / "error.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, on first use with a fresh datadir, and wait until it answers."""
        if self.alive:
            return
        found = find(self.flavour, self.version)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._end_orphan()
        if not self.datadir.exists():
            self._new_datadir(found)
        for leftover in self._sockets.iterdir():  # A killed server leaves its socket and the lock on it.
            leftover.unlink()
        command = [*found.command, *as_root(), *_arguments(self._all_options())]
        self._process = _spawn(command, self.error_log)
        _running[id(self)] = self
        self._pid_file.write_text(f"{self._process.pid} {self.owner}")
        try:
            self.wait_ready()
        except BaseException:
            self.kill()
            raise

    def wait_ready(self, timeout: float = 90.0) -> None:
        """Wait until the server answers a query."""
        deadline = time.monotonic() + timeout
        while True:
            if not self.alive:
                raise ServerFailed(f"{self.flavour} ended: {self._end_of_log()}")
            try:
                with socket.socket(socket.AF_UNIX) as probe:  # PyMySQL leaves its socket open where this fails
                    probe.connect(self.socket)
                self.execute("SELECT 1")
                return
            except (OSError, pymysql.MySQLError) as error:
                if time.monotonic() > deadline:
                    raise ServerFailed(f"{self.flavour} does not answer ({error}): {self._end_of_log()}") from error
            time.sleep(0.05)

    def stop(self, timeout: float = 90.0) -> None:
        """Shut the server down in order (SIGTERM)."""
        if self.alive and self._process:
            self._process.terminate()
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired as error:
                self.kill()
                raise ServerFailed(f"{self.flavour} did not stop in {timeout} s: {self._end_of_log()}") from error
        self._forget()

    def kill(self) -> None:
        """Kill the server as a crash would (SIGKILL); its datadir stays."""
        if self.alive and self._process:
            self._process.kill()
            self._process.wait()
        self._forget()

    def restart(self) -> None:
        """Stop in order and start again, on the same port and datadir."""
        self.stop()
        self.start()

    @property
    def alive(self) -> bool:
        """Whether the process runs (not whether it answers)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process id while the server runs."""
        return self._process.pid if self._process and self.alive else None

    def connect(self, **kwargs: Any) -> pymysql.Connection[Any]:
        """Connect as root over the socket; `host` or `port` among the arguments makes it TCP."""
        arguments: dict[str, Any] = {
            "user": "root",
            "charset": "utf8mb4",
            "autocommit": True,
            "ssl_disabled": True,
        }
        if kwargs.keys() & {"host", "port"}:
            arguments |= {"host": self.host, "port": self.port}
        else:
            arguments["unix_socket"] = self.socket
        return pymysql.connect(**(arguments | kwargs))

    def execute(self, sql: str, *more: str) -> tuple[Any, ...]:
        """Run statements on one new connection as root; the rows of the last one."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            for statement in (sql, *more):
                cursor.execute(statement)
            return tuple(cursor.fetchall())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _pid_file(self) -> Path:
        return self.directory / "owner.pid"

    def _forget(self) -> None:
        _running.pop(id(self), None)
        self._pid_file.unlink(missing_ok=True)

    def _end_of_log(self) -> str:
        return self.error_log.read_text(errors="replace")[-3000:] if self.error_log.exists() else "no error log"

    def _end_orphan(self) -> None:
        """End a server that a dead Python left on this datadir; refuse one whose Python lives."""
        if not self._pid_file.exists():
            return
        pid, owner = map(int, self._pid_file.read_text().split())
        with contextlib.suppress(OSError):
            # The number may be a stranger's by now: only our datadir on its command line makes it ours.
            ours = f"--datadir={self.datadir}".encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if ours and _alive(owner):
                raise ServerFailed(f"{self.directory} is in use by process {pid}, started by {owner}")
            if ours:
                os.kill(pid, signal.SIGKILL)
                while _alive(pid):
                    time.sleep(0.01)

    def _new_datadir(self, found: Installation) -> None:
        fixed = {name: value for name, value in self.options.items() if name in FIXED_AT_BIRTH}
        partial = self.directory / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        new_datadir(found, partial, _arguments(fixed))
        partial.rename(self.datadir)

    @property
    def _temporary(self) -> Path:
        folder = self.directory / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _all_options(self) -> dict[str, str | None]:
        """What replication needs, for speed if tuned, then the caller's own."""
        options: dict[str, str | None] = {
            "datadir": str(self.datadir),
            "pid-file": str(self.datadir / "server.pid"),
            "tmpdir": str(self._temporary),  # a starting MariaDB clears its tmpdir of every server's files
            "socket": self.socket,
            "bind-address": self.host,
            "port": str(self.port),
            "server-id": str(self.port),  # As unique as the port is.
            "skip-name-resolve": None,
            "max-connections": "200",
            "log-bin": "binlog",
            "binlog-format": "ROW",
            "binlog-row-image": "FULL",
            "binlog-row-metadata": "FULL",
        }
        if self.tuned:
            options |= {
                # A crash of the server loses nothing with these two, only a crash of the machine does.
                "sync-binlog": "0",
                "innodb-flush-log-at-trx-commit": "2",
                "innodb-buffer-pool-size": "128M",
                "innodb-redo-log-capacity" if self.flavour == "mysql" else "innodb-log-file-size": "64M",
            }
        if self.tuned and self.flavour == "mysql":
            # Some twenty run at once, and by default each takes nearly a gigabyte after a while.
            options |= {
                "innodb-log-buffer-size": "8M",
                "table-open-cache": "400",
                "performance-schema-digests-size": "200",
                "performance-schema-events-statements-history-long-size": "100",
                "performance-schema-max-table-handles": "1000",
            }
        if self.flavour == "mysql":
            options |= {"mysqlx": "OFF", "secure-file-priv": ""}
            mode = "ON" if self.gtid else "OFF"  # Said either way: the server's default changed to ON.
            options |= {"gtid-mode": mode, "enforce-gtid-consistency": mode}
        return options | self.options


def _arguments(options: Mapping[str, str | None]) -> list[str]:
    return [f"--{name}" if value is None else f"--{name}={value}" for name, value in options.items()]


def main(arguments: Sequence[str]) -> int:
    """Fetch servers, or say which ones there are."""
    command, wanted = (*arguments, "all", "all")[:2] if arguments else ("help", "all")
    if command not in ("fetch", "versions") or wanted not in (*FLAVOURS, "all"):
        print(__doc__, file=sys.stderr)
        return 2
    missing = 0
    for flavour in FLAVOURS if wanted == "all" else (wanted,):
        try:
            found = find("mariadb" if flavour == "mariadb" else "mysql")
            print(f"{flavour} {found.version}: {found.binary if command == 'fetch' else found.banner}")
        except ServerUnavailable as error:
            print(f"{flavour}: {error}", file=sys.stderr)
            missing = 1
    return missing


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
