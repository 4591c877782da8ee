"""The servers that the other tests rely on: found or fetched, private, and gone with the test run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pymysql
import pytest
import server_binaries
from server_farm import Servers
from servers import Flavour, Server, ServerFailed, ServerUnavailable, find, main

SCRIPTS = Path(server_binaries.__file__).parent


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + textwrap.dedent(text))
    path.chmod(0o755)
    return path


def wrapper(path: Path, flavour: Flavour) -> Path:
    """A program at another path that is a real server of this flavour."""
    return script(path, f'shift; exec {shlex.join(find(flavour).command)} "$@"\n')  # --no-defaults comes first.


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and ") Z " not in stat.read_text()


def gone(pid: int, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def child(code: str, directory: Path) -> int:
    """Run code in a Python of its own that starts `server` and is then killed; the server's process id."""
    program = f"""
import os, signal, sys
from pathlib import Path
import servers
server = servers.Server("mariadb", Path(sys.argv[1]))
{textwrap.dedent(code)}
print(server.pid, server.socket, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", program, str(directory)]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert done.returncode == -9, done.stderr
    pid, socket = done.stdout.split()
    shutil.rmtree(Path(socket).parent)  # A killed Python cannot clean up after itself.
    return int(pid)


# --- a server at work


def test_writes_a_full_row_binlog(source_server: Server, flavour: Flavour) -> None:
    """A server answers and logs whole rows with their column names, as replication needs it."""
    (row,) = source_server.execute(
        "SELECT @@version, @@log_bin, @@binlog_format, @@binlog_row_image, @@binlog_row_metadata"
    )
    assert ("MariaDB" in row[0]) is (flavour == "mariadb")
    assert row[1:] == (1, "ROW", "FULL", "FULL")


def test_gtid_mode_can_be_chosen(servers: Servers) -> None:
    """MySQL writes GTIDs unless gtid=False, whatever its own default is."""
    assert servers.get("source", "mysql").execute("SELECT @@gtid_mode") == (("ON",),)
    assert servers.get("plain", "mysql", gtid=False).execute("SELECT @@gtid_mode") == (("OFF",),)


def test_survives_a_kill_and_a_restart(flavour: Flavour, tmp_path: Path) -> None:
    """Committed rows and the port outlive a SIGKILL and an orderly restart."""
    with Server(flavour, tmp_path) as server:
        server.execute("CREATE DATABASE d", "CREATE TABLE d.t (i INT PRIMARY KEY)", "INSERT INTO d.t VALUES (1)")
        port, pid = server.port, server.pid
        server.kill()
        assert not server.alive
        assert server.pid is None
        server.start()
        server.execute("INSERT INTO d.t VALUES (2)")
        server.restart()
        assert server.pid != pid
        assert server.execute("SELECT @@port") == ((port,),)
        assert server.execute("SELECT i FROM d.t ORDER BY i") == ((1,), (2,))
    with pytest.raises(pymysql.OperationalError):
        server.connect()


def test_servers_are_apart(source_server: Server, target_server: Server, flavour: Flavour) -> None:
    """Two servers of one flavour share neither port, datadir, socket, server id nor uuid."""
    uuid = "@@server_uuid" if flavour == "mysql" else "@@server_uid"
    query = f"SELECT @@port, @@datadir, @@socket, @@server_id, {uuid}"
    (one,), (other,) = source_server.execute(query), target_server.execute(query)
    assert not set(one) & set(other)


def test_serves_tcp_on_loopback_only(source_server: Server) -> None:
    """Other users connect to host and port, which no other machine can reach."""
    source_server.execute("CREATE USER IF NOT EXISTS u@'%' IDENTIFIED BY 'secret'", "GRANT ALL ON *.* TO u@'%'")
    arguments = {"host": source_server.host, "port": source_server.port, "user": "u", "password": "secret"}
    with pymysql.connect(**arguments) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT CURRENT_USER(), @@bind_address")
        assert cursor.fetchone() == ("u@%", "127.0.0.1")


def test_options_override_the_defaults(servers: Servers, flavour: Flavour) -> None:
    """A caller's option wins over the default, and one that is fixed at birth reaches the datadir."""
    server = servers.get("odd", flavour, binlog_row_image="MINIMAL", lower_case_table_names="1")
    query = "SELECT @@binlog_row_image, @@lower_case_table_names"
    assert server.execute(query) == (("MINIMAL", 1),)


def test_same_arguments_same_server(servers: Servers) -> None:
    """The factory starts a killed server again instead of making another."""
    server = servers.get("source", "mariadb")
    server.kill()
    assert servers.get("source", "mariadb") is server
    assert server.execute("SELECT 1") == ((1,),)


def test_failed_start_shows_the_error_log(flavour: Flavour, tmp_path: Path) -> None:
    """A server that refuses to start says why, and no process stays."""
    server = Server(flavour, tmp_path, {"no_such_option": "1"})
    with pytest.raises(ServerFailed, match="unknown variable 'no-such-option"):
        server.start()
    assert not server.alive


# --- its process


def test_dies_with_its_python(tmp_path: Path) -> None:
    """A server ends even when the Python that started it is killed."""
    assert gone(child("server.start()", tmp_path))


def test_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """A server started in a thread stays when that thread ends."""
    server = Server("mariadb", tmp_path)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(server.start).result()
    try:
        assert not gone(server.pid or 0, 1)
        assert server.execute("SELECT 1") == ((1,),)
    finally:
        server.kill()


def test_ends_an_orphan_on_its_datadir(tmp_path: Path) -> None:
    """Where the kernel did not end a dead Python's server, the next start on that datadir does."""
    orphan = child("servers._dies_with_us = lambda: []; server.start()", tmp_path)
    assert alive(orphan)
    with Server("mariadb", tmp_path) as server:
        assert gone(orphan, 0)
        assert server.execute("SELECT 1") == ((1,),)


def test_refuses_a_datadir_in_use(tmp_path: Path) -> None:
    """Two living servers never share a datadir."""
    with Server("mariadb", tmp_path) as first:
        with pytest.raises(ServerFailed, match=f"in use by process {first.pid}"):
            Server("mariadb", tmp_path).start()
        assert first.execute("SELECT 1") == ((1,),)


# --- finding and fetching


def test_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MYREPETL_MYSQLD is what gets started, before any other program."""
    path = wrapper(tmp_path / "bin" / "my-own", "mysql")
    monkeypatch.setenv("MYREPETL_MYSQLD", str(path))
    assert find("mysql").binary == path
    assert find("mariadb").binary != path


def test_environment_serves_the_flavour_that_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A MariaDB in MYREPETL_MYSQLD is used as MariaDB, not as MySQL."""
    path = wrapper(tmp_path / "bin" / "mysqld", "mariadb")
    monkeypatch.setenv("MYREPETL_MYSQLD", str(path))
    assert find("mariadb").binary == path
    assert find("mysql").binary != path


def test_bad_environment_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A MYREPETL_MYSQLD that does not run is refused instead of passed over."""
    monkeypatch.setenv("MYREPETL_MYSQLD", "/no/such/mysqld")
    with pytest.raises(ServerUnavailable, match="MYREPETL_MYSQLD=/no/such/mysqld"):
        find("mysql")


def test_mysqld_on_the_path_may_be_mariadb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mysqld on the PATH counts by what it says it is, not by its name."""
    path = wrapper(tmp_path / "mysqld", "mariadb")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert find("mysql").binary != path
    monkeypatch.setitem(server_binaries._PROGRAMS, "mariadb", ("mysqld",))
    assert find("mariadb").binary == path


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any server: an empty folder for fetched ones; the folder of programs found first."""
    for name in ("MYREPETL_MYSQLD", "MYREPETL_MARIADBD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(server_binaries, "_from_path", lambda flavour: None)
    monkeypatch.setenv("MYREPETL_SERVERS_DIR", str(tmp_path / "servers"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path


def test_unavailable_says_what_to_install(bare: Path, flavour: Flavour) -> None:
    """Without server and mirror the error names the package to install, and nothing half fetched stays."""
    script(bare / "bin" / "apt-get", "echo 'E: no mirror in reach' >&2; exit 100\n")
    package = f"apt-get install {flavour}-server-core"
    with pytest.raises(ServerUnavailable, match=f"(?s){package}.*no mirror in reach"):
        find(flavour)
    assert sorted(os.listdir(bare / "servers")) == [".gitignore", f"{flavour}.lock"]


def test_unavailable_without_apt(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system without apt-get the error says so."""
    monkeypatch.setenv("PATH", str(bare / "bin"))
    with pytest.raises(ServerUnavailable, match="apt-get"):
        find("mariadb")


FAKE_DPKG = """
    echo "$@" >> "$(dirname "$0")/unpacked"
    sleep 0.3
    mkdir -p "$3/usr/sbin" "$3/usr/lib/x86_64-linux-gnu" "$3/usr/share/mysql/english"
    touch "$3/usr/sbin/mysqld" "$3/usr/share/mysql/english/errmsg.sys"
    loader="$3/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    printf '#!/bin/sh\\necho mysqld  Ver 9.7.4 for Linux\\n' > "$loader"
    chmod +x "$loader"
"""
FAKE_APT = """
    for argument; do
        case "$argument" in -oDir::Cache=*) cache="${argument#*=}";; esac
    done
    touch "$cache/archives/server.deb"
"""


def test_fetched_once_by_many(bare: Path) -> None:
    """Of several that fetch at the same time one does, and the others use what it fetched."""
    script(bare / "bin" / "apt-get", FAKE_APT)
    script(bare / "bin" / "dpkg", FAKE_DPKG)
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: find("mysql"), range(4)))
    assert {installation.binary for installation in found} == {bare / "servers/mysql/usr/sbin/mysqld"}
    assert len((bare / "bin" / "unpacked").read_text().splitlines()) == 1


def test_command_line_lists_both(capsys: pytest.CaptureFixture[str]) -> None:
    """`servers.py versions` prints a version for each flavour."""
    assert main(["versions"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^mysql \d+\.\d+\.\d+: ", printed, re.MULTILINE)
    assert re.search(r"^mariadb \d+\.\d+\.\d+: .*MariaDB", printed, re.MULTILINE)


def test_command_line_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong call prints the usage and fails."""
    assert main(["fetch", "oracle"]) == 2
    assert "versions" in capsys.readouterr().err
