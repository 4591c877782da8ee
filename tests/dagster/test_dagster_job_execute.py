"""`dagster job execute`, in a process of its own, on real servers."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from dagster_support import PASSWORD, ROOT, Pair, environment, write_with_variable


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
