"""A disk with no space left (errno 28, from the kernel): nothing succeeds wrongly, and with room again the run goes on.

The small disk is a tmpfs, which only root can mount; without root these tests are skipped.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest
from faults.harness import LIMITS, OTHER, meanwhile
from pipelines import Pair, pair_of
from server_farm import Servers, private
from servers import Flavour, Server

# How the servers say it: 1114 where a table cannot grow; 3 (EE_WRITE) on MySQL and 1021 on MariaDB where a transaction's
# rows for the binary log do not fit into tmpdir.
FULL = frozenset({1114, 3, 1021})
# A server that has ended itself (MariaDB), or that waits in COMMIT for longer than we do.
GONE = frozenset({0, 2003, 2006, 2013})


@contextlib.contextmanager
def small_disk(at: Path, size_mib: int) -> Iterator[Path]:
    """A file system of this size, mounted there."""
    at.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=700", "tmpfs", str(at)], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@functools.cache
def can_mount() -> bool:
    if os.geteuid() != 0:
        return False
    probe = Path("/tmp") / f"mr-mount-{os.getpid()}"
    try:
        with small_disk(probe, 1):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        shutil.rmtree(probe, ignore_errors=True)


needs_mount = pytest.mark.skipif(not can_mount(), reason="a small disk takes root (mount -t tmpfs)")


def fill(disk: Path) -> None:
    """Use up every byte."""
    with (disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for block in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * block):
                    pass
    assert os.statvfs(disk).f_bavail == 0


def free(disk: Path) -> None:
    (disk / "filler").unlink()


@contextlib.contextmanager
def target_on(kind: str, flavour: Flavour, directory: Path) -> Iterator[tuple[Server, Path]]:
    """A server whose data, binary log or temporary files are on the small disk, and nothing else."""
    with small_disk(directory / "disk", {"data": 400, "binary log": 64, "temporary files": 32}[kind]) as disk:
        options = {
            "data": {"log_bin": str(directory / "binlog")},
            "binary log": {"log_bin": str(disk / "binlog")},
            "temporary files": {"tmpdir": str(disk)},
        }[kind]
        server = private(flavour, disk / "server" if kind == "data" else directory / "server", options)
        if kind == "data":
            server.options["tmpdir"] = str(directory)
        try:
            server.start()
            yield server, disk
        finally:
            server.kill()


def filled(servers: Servers, flavour: Flavour, target: Server) -> Pair:
    """A table of which large rows are still to come."""
    pair = pair_of(servers.get("faults", OTHER[flavour]), target)
    pair.limits = {**LIMITS, "retry_time_s_max": 150, "attempts_max": 1000}
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT)", "INSERT INTO t VALUES (0, 'small')")
    pair.run("t")
    pair.on_source(*[f"INSERT INTO t VALUES ({i}, REPEAT('x', 900000))" for i in range(1, 8)])
    return pair


def wait_for_space(servers: Servers, flavour: Flavour, kind: str, directory: Path, within_s: float = 60.0) -> list[int]:
    """Replicate into a full disk, and go on when it has room. The errors retried."""
    with target_on(kind, flavour, directory) as (target, disk):
        pair = filled(servers, flavour, target)

        def make_room() -> None:
            with contextlib.suppress(pymysql.MySQLError):  # where the server has ended itself
                assert pair.target_rows("t", "id") == [(0,)], "nothing can have been written"
            free(disk)
            target.start()

        seen = meanwhile(pair, "t", lambda: fill(disk), make_room, times=3, within_s=within_s)
        print(f"\n[faults] {kind} with no space left, {flavour} target: retried {dict(Counter(seen))}, then completed")
        pair.assert_same("t", columns="id, LENGTH(v), SHA2(v, 256)")
        return seen


@needs_mount
@pytest.mark.parametrize("kind", ["data", "temporary files"])
def test_a_target_with_a_full_disk_is_waited_for(servers: Servers, flavour: Flavour, kind: str, tmp_path: Path) -> None:
    """No space is retried and never a success; with room again the same run goes on, even where the server ended."""
    seen = wait_for_space(servers, flavour, kind, tmp_path)

    assert seen
    assert set(seen) <= FULL | GONE


@needs_mount
def test_a_table_that_finds_no_space_is_created_later(servers: Servers, flavour: Flavour, tmp_path: Path) -> None:
    """CREATE TABLE for a new mapping on a full disk is retried, too."""
    with target_on("data", flavour, tmp_path) as (target, disk):
        pair = filled(servers, flavour, target)
        pair.on_source("CREATE TABLE u (id INT PRIMARY KEY, v VARCHAR(10))", "INSERT INTO u VALUES (1, 'one')")

        def make_room() -> None:
            free(disk)
            target.start()

        seen = meanwhile(pair, "u", lambda: fill(disk), make_room, times=2)

        assert seen[0] == {"mysql": 3675, "mariadb": 3}[flavour]
        pair.assert_same("u")


@needs_mount
@pytest.mark.soak
def test_a_target_that_waits_in_commit_for_space_is_given_up_and_found_again(
    servers: Servers, flavour: Flavour, tmp_path: Path
) -> None:
    """No space for the binary log: COMMIT hangs, and looks for space once a minute. Our time-outs end the wait; the
    old session holds the fence for as long as its outcome is open; then the same run goes on from what it finds.
    """
    seen = wait_for_space(servers, flavour, "binary log", tmp_path, within_s=150)

    assert 1205 in seen, "nobody waited for the old session"
    assert set(seen) <= GONE | {1205}
