"""`dagster job execute`, in a process of its own, on real servers."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from dagster_support import PASSWORD, ROOT, Pair, environment, write_with_variable

pytestmark = pytest.mark.long


def execute(env: dict[str, str], *arguments: str) -> tuple[int, str, float]:
    command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "myrepetl_dagster.definitions", *arguments]
    started_s = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
    )
    return done.returncode, done.stdout, time.monotonic() - started_s


def test_job_execute(mysql_pair: Pair) -> None:
    """One table, then all, then what has changed; then an error: the exit code and the text say so, no password."""
    env = environment(mysql_pair.directory / "home", write_with_variable(mysql_pair.directory, mysql_pair.data))
    one = mysql_pair.directory / "one.yaml"
    one.write_text("mappings: [shop.users]\n")

    first = execute(env, "-j", "replicate", "-c", str(one))
    only_users = mysql_pair.users(), mysql_pair.target.execute("SELECT COUNT(*) FROM dw.orders")[0][0]
    mysql_pair.source.execute("UPDATE shop.users SET name = 'Anna' WHERE id = 1")
    second = execute(env, "-j", "replicate")
    changed = mysql_pair.users(), mysql_pair.target.execute("SELECT COUNT(*) FROM dw.orders")[0][0]
    mysql_pair.source.execute("ALTER USER 'copier'@'%' IDENTIFIED BY 'other'")
    try:
        refused = execute(env, "-j", "replicate")
    finally:
        mysql_pair.source.execute(f"ALTER USER 'copier'@'%' IDENTIFIED BY '{PASSWORD}'")
    print(f"dagster job execute: {first[2]:.1f} s, {second[2]:.1f} s, refused {refused[2]:.1f} s")

    assert first[0] == 0, first[1]
    assert only_users == (["Ann", "Bob", "Cem"], 0)
    assert second[0] == 0, second[1]
    assert changed == (["Anna", "Bob", "Cem"], 2)
    assert refused[0] != 0
    assert "[1045] Hint: " in refused[1]
    assert PASSWORD not in first[1] + second[1] + refused[1]


@pytest.mark.parametrize("doing", ["following", "waiting for a lock"])
def test_sigterm_leaves_nothing_behind(mysql_pair: Pair, doing: str) -> None:
    """SIGTERM while it follows, or while a statement waits: no session is left on either server, nothing half done is
    kept, and the next run goes on from the checkpoint.
    """
    pair = mysql_pair
    env = environment(pair.directory / "home", write_with_variable(pair.directory, pair.data))
    following = pair.directory / "following.yaml"
    following.write_text("follow_s: 600\n")
    assert execute(env, "-j", "replicate")[0] == 0
    log = pair.directory / "execute.log"
    with contextlib.closing(pair.target.connect(autocommit=False)) as other, other.cursor() as cursor:
        if doing == "waiting for a lock":
            cursor.execute("SELECT id FROM dw.users WHERE id = 2 FOR UPDATE")
        command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "myrepetl_dagster.definitions"]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*command, "-j", "replicate", "-c", str(following)], cwd=ROOT, env=env, stdout=out, stderr=out
            )
        try:
            dumps = "SELECT 1 FROM information_schema.processlist WHERE user = 'copier' AND command LIKE 'Binlog Dump%'"
            wait_for(lambda: pair.source.execute(dumps), log)
            pair.source.execute("UPDATE shop.users SET name = CONCAT(name, '!')")
            if doing == "following":
                wait_for(lambda: pair.users() == ["Ann!", "Bob!", "Cem!"], log)
            else:
                waits = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
                wait_for(lambda: pair.target.execute(waits), log)
            before = pair.users()
            process.send_signal(signal.SIGTERM)
            status = process.wait(30)
        finally:
            process.kill()
            process.wait()
        wait_for(lambda: not sessions(pair), log)
        assert status != 0
        assert pair.users() == before

    assert execute(env, "-j", "replicate")[0] == 0
    assert pair.users() == ["Ann!", "Bob!", "Cem!"]


def sessions(pair: Pair) -> list[object]:
    """Ours, in the process lists of both servers."""
    ours = "SELECT id FROM information_schema.processlist WHERE user = 'copier'"
    return [*pair.source.execute(ours), *pair.target.execute(ours)]


def wait_for(condition: Callable[[], object], log: Path, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.15)  # asked more often than each 0.1 s, InnoDB shows what it showed before


def test_job_execute_without_a_pipeline_or_with_a_wrong_one(tmp_path: Path) -> None:
    """Both end with an exit code and with what to do."""
    wrong = tmp_path / "pipeline.yaml"
    wrong.write_text(f"sources: {{a: {{hots: h, password: {PASSWORD}}}}}\ntargets: {{}}\n")
    env = environment(tmp_path / "home", wrong)

    mistakes = execute(env, "-j", "replicate")
    del env["MYREPETL_CONFIG"]
    unset = execute(env, "-j", "replicate")

    assert mistakes[0] != 0
    assert "sources.a.hots: unknown key (did you mean 'host'?)" in mistakes[1]
    assert "targets: is empty" in mistakes[1]
    assert PASSWORD not in mistakes[1]
    assert unset[0] != 0
    assert "set MYREPETL_CONFIG to the path of the pipeline file" in unset[1]
