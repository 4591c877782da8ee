"""A cluster of two MariaDB servers (Galera), made from Debian's packages and run without root."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from server_binaries import fetched_tool
from server_farm import private
from servers import Server

_SUITE = "bookworm"  # its galera-4 is built for its MariaDB 10.11
# A node that joins asks another one for its data. Here it has a copy already, and lacks the last changes alone, which the
# servers exchange by themselves. What is left for the script is to say so.
_TRANSFER = """#!/bin/sh
while [ $# -gt 0 ]; do
  case $1 in --role) role=$2 ;; --gtid) gtid=$2 ;; esac
  shift
done
state=$(dirname "$0")/state
if [ "$role" = joiner ]; then
  rm -f "$state"
  echo "ready 127.0.0.1"
  while [ ! -s "$state" ]; do sleep 0.05; done
  cat "$state"
else
  echo "$gtid" > "$state"
  echo "done $gtid"
fi
"""


def provider() -> Path:
    """Galera's library, fetched once into the folder of the servers."""
    return fetched_tool("galera", ["galera-4"], _SUITE) / "usr/lib/galera/libgalera_smm.so"


def _ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _options(name: str, address: str, ports: list[int]) -> dict[str, str | None]:
    listen, receive = ports
    return {
        "wsrep_on": "ON",
        "wsrep_provider": str(provider()),
        "wsrep_cluster_address": address,
        "wsrep_node_name": name,
        "wsrep_node_address": "127.0.0.1",
        "wsrep_sst_method": "copied",
        "wsrep_provider_options": f"base_port={listen};gmcast.listen_addr=tcp://127.0.0.1:{listen};"
        f"ist.recv_addr=127.0.0.1:{receive};pc.ignore_sb=true",
        "log_slave_updates": "ON",
        "innodb_autoinc_lock_mode": "2",
    }


def _wait_synced(server: Server, size: int) -> None:
    deadline = time.monotonic() + 60
    wanted = {"wsrep_local_state_comment": "Synced", "wsrep_cluster_size": str(size)}
    while time.monotonic() < deadline:
        if wanted.items() <= dict(server.execute("SHOW GLOBAL STATUS LIKE 'wsrep%'")).items():
            return
        time.sleep(0.1)
    raise AssertionError(f"the node does not join: {server.error_log}")


@contextlib.contextmanager
def cluster(directory: Path, **options: str | None) -> Iterator[tuple[Server, Server]]:
    """Two nodes that hold the same, each of which may be written; options are of both."""
    scripts = directory / "scripts"
    scripts.mkdir(parents=True)
    (scripts / "wsrep_sst_copied").write_text(_TRANSFER)
    (scripts / "wsrep_sst_copied").chmod(0o755)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{scripts}:{path}"  # where a server looks for its scripts
    ports = _ports(4)
    first = private("mariadb", directory / "first", _options("first", "gcomm://", ports[:2]) | options, version="10.11")
    joins = _options("second", f"gcomm://127.0.0.1:{ports[0]}", ports[2:])
    second = private("mariadb", directory / "second", joins | options, version="10.11")
    try:
        first.start()
        _wait_synced(first, 1)
        first.stop()  # In order: what a copy of its data holds is then written beside it.
        second.directory.mkdir()
        shutil.copytree(first.datadir, second.datadir)
        for log in second.datadir.glob("binlog.*"):
            log.unlink()
        first.start()
        second.start()
        for node in (first, second):
            _wait_synced(node, 2)
        yield first, second
    finally:
        first.kill()
        second.kill()
        os.environ["PATH"] = path
