"""`myrepetl run` on real servers."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from cli_support import PASSWORD, ROOT, Rig, command
from server_farm import Servers
from servers import Server


@pytest.fixture
def rig(source_server: Server, target_server: Server, tmp_path: Path) -> Rig:
    return Rig(source_server, target_server, tmp_path)


def rows(server: Server, schema: str) -> tuple[object, ...]:
    return server.execute(f"SELECT * FROM {schema}.t ORDER BY id")


def test_run_copies_then_catches_up(rig: Rig) -> None:
    """The first run copies, the second applies what changed; both end with a table and 0."""
    first = rig.run("run")
    rig.source.execute(f"INSERT INTO {rig.schema}.t VALUES (4, 'four')", f"DELETE FROM {rig.schema}.t WHERE id=1")
    second = rig.run("run")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "mapping shop.t: catching up, 3 rows copied, 0 changes applied" in first.stderr
    assert re.search(r"catching up, 3 rows copied, .*, lag \d+\.\d s, at (binlog\.|[0-9a-f-]{36}:)", first.stderr)
    assert "rows copied" in first.stdout
    assert rows(rig.target, f"{rig.schema}_dw") == rows(rig.source, rig.schema)


def test_snapshot_copies_again_and_deletes_what_the_source_lacks(rig: Rig) -> None:
    """A target that somebody has spoilt is mended."""
    rig.run("run")
    rig.target.execute(f"UPDATE {rig.schema}_dw.t SET name='spoilt'", f"INSERT INTO {rig.schema}_dw.t VALUES (9, 'x')")

    done = rig.run("run", "--snapshot", "--mapping", "shop.t")

    assert done.returncode == 0, done.stderr
    assert rows(rig.target, f"{rig.schema}_dw") == rows(rig.source, rig.schema)


def test_a_mapping_that_fails_does_not_hold_up_the_others(rig: Rig) -> None:
    """Its error is printed in full with a hint, the exit code is 1, and the other mapping is done."""
    rig.config["mapping"]["shop.missing"] = {"target_table": "dw.missing"}

    done = rig.run("run")

    assert done.returncode == 1
    assert "shop.missing: source 'shop' has no table" in done.stderr
    assert "mapping 'shop.missing'" not in done.stderr  # the name once
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr
    assert rows(rig.target, f"{rig.schema}_dw") == rows(rig.source, rig.schema)


# (the source table, what the mapping says beside its target, what stands in the error)
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "long row": (f"id INT PRIMARY KEY, {', '.join(f'c{i} BINARY(250)' for i in range(40))}", {}, "[1118]"),
    "long key": ("id VARCHAR(700) CHARACTER SET utf8mb4 PRIMARY KEY", {}, "[1071]"),
    "no function": (
        "id INT PRIMARY KEY",
        {"init_query": "SELECT id, nowhere_at_all(id) AS v FROM odd"},
        "nowhere_at_all",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_table_that_cannot_be_made_is_named(servers: Servers, tmp_path: Path, case: str) -> None:
    """The server's number, the table and what to do are printed, without a traceback; the other mapping is done."""
    columns, more, said = REFUSED[case]
    target = servers.get("target", "mysql", innodb_page_size="8192") if case == "long key" else None
    rig = Rig(servers.get("source", "mysql"), target or servers.get("target", "mysql"), tmp_path)
    with contextlib.closing(rig.source.connect(database=rig.schema)) as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION innodb_strict_mode=0")
        cursor.execute(f"CREATE TABLE odd ({columns})")
    rig.config["mapping"]["shop.odd"] = {"target_table": "dw.odd", **more}

    done = rig.run("run")

    assert done.returncode == 1
    assert said in done.stderr
    assert "mapping shop.odd: " in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr
    assert rows(rig.target, f"{rig.schema}_dw") == rows(rig.source, rig.schema)


def test_a_source_that_is_down_does_not_hold_up_the_others(rig: Rig) -> None:
    """After its bounded retries the next source is replicated all the same."""
    rig.config["sources"] = {"dead": rig.config["sources"]["shop"] | {"port": 1}, **rig.config["sources"]}
    rig.config["mapping"]["dead.u"] = {"target_table": "dw.u"}
    rig.config["limits"] = {"attempts_max": 2}

    done = rig.run("run")

    assert done.returncode == 1
    assert "dead.u: source 'dead'" in done.stderr
    assert "[2003]" in done.stderr
    assert rows(rig.target, f"{rig.schema}_dw") == rows(rig.source, rig.schema)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_cleanly(rig: Rig, signum: signal.Signals) -> None:
    """128 + signal, no traceback, no connection left on either server; the next run goes on from the checkpoint."""
    many = ", ".join(f"({number}, 'x')" for number in range(10, 1_010))
    rig.source.execute(f"INSERT INTO {rig.schema}.t VALUES {many}")
    slowly = "SELECT id, name FROM t WHERE SLEEP(0.002 + 0 * id) = 0"
    rig.config["mapping"]["shop.t"]["init_query"] = slowly
    process = subprocess.Popen(
        command("run", rig.file()), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    wait_for(lambda: reading(rig))

    process.send_signal(signum)
    out, err = process.communicate(timeout=30)

    assert process.returncode == 128 + signum, err
    assert "Traceback" not in err
    assert "the next run goes on from the checkpoint" in err
    assert "shop.t" in out
    wait_for(lambda: connections(rig) == 0)
    assert rig.run("run").returncode == 0
    assert rows(rig.target, f"{rig.schema}_dw") == rows(rig.source, rig.schema)


def test_a_signal_ends_sources_that_are_followed_side_by_side(
    rig: Rig, source_server: Server, target_server: Server
) -> None:
    """One is being copied, for a minute, and the other one is followed: both end at once, no connection is left, and the
    next run goes on from the checkpoints.
    """
    other = Rig(source_server, target_server, rig.directory)
    rig.source.execute(
        f"INSERT INTO {rig.schema}.t VALUES " + ", ".join(f"({number}, 'x')" for number in range(10, 70))
    )
    rig.config["mapping"]["shop.t"]["init_query"] = "SELECT id, name FROM t WHERE SLEEP(1 + 0 * id) = 0"
    rig.config["sources"]["crm"] = other.config["sources"]["shop"]
    rig.config["targets"]["lake"] = other.config["targets"]["dw"]
    rig.config["mapping"]["crm.t"] = {"target_table": "lake.t"}
    process = subprocess.Popen(
        command("run", "--follow-s", 600, rig.file()), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    wait_for(lambda: connections(rig, "info LIKE '%SLEEP(1%'") and connections(other, "command LIKE 'Binlog Dump%'"))
    other.source.execute(f"INSERT INTO {other.schema}.t VALUES (4, 'four')")
    wait_for(lambda: rows(other.target, f"{other.schema}_dw") == rows(other.source, other.schema))

    told_s = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    took_s = time.monotonic() - told_s
    print(f"ended after {took_s:.1f} s")

    assert process.returncode == 128 + signal.SIGTERM, err
    assert took_s < 5
    assert "the next run goes on from the checkpoint" in err
    assert "failed" not in out
    wait_for(lambda: connections(rig) == connections(other) == 0, 3)
    del rig.config["mapping"]["shop.t"]["init_query"]
    assert rig.run("run", "--snapshot", "--mapping", "shop.t").returncode == 0  # it was made with the init_query
    for one in (rig, other):
        assert rows(one.target, f"{one.schema}_dw") == rows(one.source, one.schema)


def test_progress_is_drawn_on_a_terminal(rig: Rig) -> None:
    """On a terminal there is a table that changes in place, and no log line for each commit."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        command("run", rig.file()), stdin=slave, stdout=slave, stderr=slave,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(slave)
    shown = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:  # Linux says EIO when the other end is closed
            break
        if not data:
            break
        shown += data
    os.close(master)

    assert process.wait(30) == 0
    assert b"rows/s" in shown
    assert b"lag" in shown
    assert b"INFO mapping" not in shown
    assert PASSWORD.encode() not in shown


def reading(rig: Rig) -> bool:
    running = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '%SLEEP(0.002%' AND user='{}'"
    return bool(rig.source.execute(running.format(rig.reader))[0][0])


def connections(rig: Rig, condition: str = "TRUE") -> int:
    sql = "SELECT COUNT(*) FROM information_schema.processlist WHERE user='{}' AND " + condition
    return sum(
        int(server.execute(sql.format(user))[0][0])
        for server, user in ((rig.source, rig.reader), (rig.target, rig.writer))
    )


def wait_for(condition: object, timeout_s: float = 30.0) -> None:
    assert callable(condition)
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.02)
