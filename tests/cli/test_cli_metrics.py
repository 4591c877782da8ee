"""`metrics_port`, `myrepetl metrics` and `--log-format json`, on real servers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_support import PASSWORD, ROOT, Rig, command, myrepetl
from prometheus_client.parser import text_string_to_metric_families
from servers import Server

from myrepetl_dagster.core.config.load import load
from myrepetl_dagster.core.model.errors import PrerequisiteError, SourceLost, TargetBusy, TargetLost
from myrepetl_dagster.core.replication.result import MappingResult, Retry
from myrepetl_dagster.metrics import Exporter, exporter

PATIENCE_S = 30.0
SECRET_VALUE = "not-for-your-eyes"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def rig(source_server: Server, target_server: Server, tmp_path: Path) -> Rig:
    made = Rig(source_server, target_server, tmp_path)
    made.config["metrics_port"] = free_port()
    made.source.execute(f"INSERT INTO {made.schema}.t VALUES (7, 'seven')")
    return made


def free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: Callable[[], bool]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < until_s
        time.sleep(0.1)


def scraped(port: int) -> str:
    """The text that is served; '' if there is none."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return str(answer.read().decode())
    return ""


def samples(text: str) -> Samples:
    assert SECRET_VALUE not in text
    assert PASSWORD not in text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float | None:
    """The sum of the samples of this name that have these labels."""
    own = [number for (one, having), number in found.items() if one == name and set(labels.items()) <= having]
    return sum(own) if own else None


@contextlib.contextmanager
def following(rig: Rig, *more: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command("run", rig.file(), "--follow-s", 300, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.said = process.communicate(timeout=30)  # type: ignore[attr-defined]


def test_a_run_that_follows_serves_its_numbers(rig: Rig) -> None:
    """Rows by operation, stage, lag, connections: what was done is what is told, with the labels and nothing of rows."""
    rig.config["mapping"]["shop.t"]["filter"] = {"id": {"lt": 100}}
    port = rig.config["metrics_port"]
    table = f"{rig.schema}.t"
    with following(rig) as process:
        wait_for(lambda: value(samples(scraped(port)), "myrepetl_stage", stage="following") == 1)
        rig.source.execute(
            f"INSERT INTO {table} VALUES (8, '{SECRET_VALUE}'), (9, 'x'), (500, 'y')",
            f"UPDATE {table} SET name = 'z' WHERE id = 9",
            f"DELETE FROM {table} WHERE id IN (1, 2)",
        )
        wait_for(lambda: value(samples(scraped(port)), "myrepetl_rows_total", operation="deleted") == 2)
        text = scraped(port)
    found = samples(text)

    labels = {"source": "shop", "mapping": "shop.t", "target": "dw.t"}
    rows = {
        name: value(found, "myrepetl_rows_total", operation=name, **labels)
        for name in ("copied", "upserted", "deleted", "swept", "filtered")
    }
    assert rows == {"copied": 4, "upserted": 3, "deleted": 2, "swept": 0, "filtered": 1}
    lag_s = value(found, "myrepetl_lag_seconds", **labels)
    assert lag_s is not None
    assert 0 <= lag_s < PATIENCE_S
    assert value(found, "myrepetl_read_bytes_total", **labels)
    assert value(found, "myrepetl_commits_total", **labels)
    assert value(found, "myrepetl_copy_ratio", **labels) == 1
    assert value(found, "myrepetl_failed", **labels) == 0
    assert value(found, "myrepetl_connected", role="source", endpoint="shop") == 1
    assert value(found, "myrepetl_connected", role="target", endpoint="dw") == 1
    assert value(found, "myrepetl_retries_total", source="shop", error="SourceLost") == 0
    assert f"metrics are served at port {port}" in process.said[1]  # type: ignore[attr-defined]


def test_a_copy_shows_how_far_it_is(rig: Rig) -> None:
    """While it goes on the ratio lies between 0 and 1, with the rows that are done and their estimated number."""
    thousand = ", ".join(f"({number}, 'x')" for number in range(1_000, 2_000))
    table = f"{rig.schema}.t"
    rig.source.execute(f"INSERT INTO {table} VALUES {thousand}", f"ANALYZE TABLE {table}")
    rig.config["limits"] = {"copy_window_rows": 100, "chunk_rows_max": 100}
    rig.config["mapping"]["shop.t"]["init_query"] = "SELECT id, name FROM t WHERE SLEEP(0.003 + 0 * id) = 0"
    port = rig.config["metrics_port"]
    seen: list[tuple[float | None, float | None]] = []

    def look() -> bool:
        found = samples(scraped(port))
        seen.append((value(found, "myrepetl_copy_rows"), value(found, "myrepetl_copy_ratio")))
        return value(found, "myrepetl_stage", stage="following") == 1

    with following(rig):
        wait_for(look)

    done = [rows for rows, _ in seen if rows is not None]
    assert len(done) >= 3
    assert done == sorted(done)
    assert {ratio for rows, ratio in seen if rows is not None} == {None}  # nobody estimates an init query
    assert seen[-1] == (None, 1)


def test_a_broken_connection_is_counted_by_its_class(rig: Rig) -> None:
    """A session that is killed on the source: one retry of that class, one reconnect, and connected again."""
    port = rig.config["metrics_port"]
    with following(rig):
        wait_for(lambda: value(samples(scraped(port)), "myrepetl_stage", stage="following") == 1)
        ids = rig.source.execute(f"SELECT id FROM information_schema.processlist WHERE user = '{rig.reader}'")
        for (session,) in ids:
            with contextlib.suppress(Exception):
                rig.source.execute(f"KILL {session}")
        rig.source.execute(f"INSERT INTO {rig.schema}.t VALUES (9, 'x')")
        wait_for(lambda: value(samples(scraped(port)), "myrepetl_reconnects_total") == 1)
        found = samples(scraped(port))

    assert (value(found, "myrepetl_retries_total", source="shop", error="SourceLost") or 0) >= 1
    assert value(found, "myrepetl_connected", role="source", endpoint="shop") == 1


def test_a_port_that_is_taken_is_a_warning(rig: Rig) -> None:
    """The run goes on all the same, and serves its metrics once the port is free: a run that takes over needs that."""
    port = rig.config["metrics_port"]
    with contextlib.closing(socket.socket()) as other:
        other.bind(("0.0.0.0", port))
        other.listen()
        with following(rig) as process:
            copied = f"SELECT COUNT(*) FROM {rig.schema}_dw.t"
            wait_for(lambda: tables(rig) == 1 and rig.target.execute(copied)[0][0] == 4)
            other.close()
            wait_for(lambda: value(samples(scraped(port)), "myrepetl_commits_total") is not None)

    said = process.said[1]  # type: ignore[attr-defined]
    assert process.returncode == 128 + signal.SIGTERM
    assert f"WARNING metrics_port {port}: Address already in use, so no metrics are served until it is free" in said
    assert said.count("so no metrics are served") == 1
    assert "Traceback" not in said


def tables(rig: Rig) -> int:
    query = (
        f"SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '{rig.schema}_dw' AND table_name = 't'"
    )
    return int(rig.target.execute(query)[0][0])


@pytest.fixture
def without_the_package(tmp_path: Path) -> str:
    """A PYTHONPATH on which the extra `metrics` is not installed."""
    folder = tmp_path / "without"
    folder.mkdir()
    (folder / "prometheus_client.py").write_text("raise ImportError('not here')\n")
    return f"{folder}{os.pathsep}{ROOT}"


@pytest.mark.parametrize("arguments", [("run", "--follow-s", "1"), ("metrics",)], ids=lambda given: given[0])
def test_without_the_extra_one_line_says_what_to_install(
    rig: Rig, without_the_package: str, arguments: tuple[str, ...]
) -> None:
    """Exit code 1, the command, no traceback; and nothing was begun."""
    done = myrepetl(*arguments, "--config", rig.file(), PYTHONPATH=without_the_package)

    assert done.returncode == 1
    assert "prometheus-client, which is not installed" in done.stderr
    assert "pip install 'myrepetl-dagster[metrics]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert tables(rig) == 0


def test_without_metrics_port_nobody_needs_the_extra(rig: Rig, without_the_package: str) -> None:
    """Nor for a run that ends at the head, which serves no metrics."""
    runs: list[tuple[object, ...]] = [("run", "--config", rig.file())]
    del rig.config["metrics_port"]
    runs.append(("run", "--follow-s", "1", "--config", rig.file()))
    for arguments in runs:
        assert myrepetl(*arguments, PYTHONPATH=without_the_package).returncode == 0


def test_metrics_once(rig: Rig) -> None:
    """The counts since the first copy began, the lag, and whether each server can be reached: then the exit code is 0, too."""
    before = samples(rig.run("metrics").stdout)
    rig.run("run")
    rig.source.execute(f"DELETE FROM {rig.schema}.t WHERE id = 1")
    rig.run("run")
    after = samples(rig.run("metrics").stdout)
    rig.config["sources"]["shop"]["port"] = 1
    down = rig.run("metrics")

    assert value(before, "myrepetl_lag_seconds") is None
    assert value(after, "myrepetl_rows_total", operation="copied") == 4
    assert value(after, "myrepetl_rows_total", operation="deleted", mapping="shop.t") == 1
    assert value(after, "myrepetl_lag_seconds") == 0
    assert value(after, "myrepetl_stage", stage="catching up") == 1
    assert value(after, "myrepetl_connected", role="source") == 1
    assert down.returncode == 0
    assert value(samples(down.stdout), "myrepetl_connected", role="source") == 0
    assert value(samples(down.stdout), "myrepetl_connected", role="target") == 1


# ---- the exporter by itself ----
def retry(error: Any) -> Retry:
    return Retry("shop", error, 1, 0.1, 10.0)


def test_each_kind_of_error_says_which_server_is_away(rig: Rig) -> None:
    """A lost source or target is not connected until the mapping goes on; a busy one is."""
    rig.config["metrics_port"] = None
    made = Exporter(load(rig.file()))

    def connected() -> dict[str, float]:
        (family,) = (one for one in made.collect() if one.name == "myrepetl_connected")
        return {sample.labels["role"]: sample.value for sample in family.samples}

    made.retry(retry(TargetBusy("lock wait")))
    assert connected() == {"source": 1, "target": 1}
    made.retry(retry(SourceLost("gone")))
    assert connected() == {"source": 0, "target": 1}
    made.retry(retry(TargetLost("gone")))
    assert connected() == {"source": 0, "target": 0}
    counted = {
        (sample.labels["error"], sample.value)
        for family in made.collect()
        if family.name == "myrepetl_retries"
        for sample in family.samples
    }
    assert counted == {("SourceLost", 1), ("TargetLost", 1), ("TargetBusy", 1)}


def test_each_source_has_a_port_of_its_own(rig: Rig) -> None:
    """Where each source has a run of its own, as in Dagster: the port and the source's place in the file."""
    rig.config["sources"] = {"first": rig.config["sources"]["shop"], **rig.config["sources"]}
    rig.config["mapping"]["first.t"] = {"target_table": "dw.other"}
    pipeline = load(rig.file())
    port = rig.config["metrics_port"]
    made = [exporter(pipeline, source) for source in ("first", "shop")]
    try:
        for number, source in enumerate(("first", "shop")):
            wait_for(lambda number=number: bool(scraped(port + number)))  # type: ignore[misc]
            found = samples(scraped(port + number))
            assert value(found, "myrepetl_connected", endpoint=source) == 1
            assert value(found, "myrepetl_retries_total", source="shop") == (0 if source == "shop" else None)
    finally:
        for one in made:
            one.close()
    assert [scraped(port), scraped(port + 1)] == ["", ""]


def test_a_mapping_that_has_failed_is_told(rig: Rig) -> None:
    """As soon as the run has noted its error, and of its later runs the last one counts."""
    from myrepetl_dagster.core.model.checkpoint import Checkpoint, Phase
    from myrepetl_dagster.core.model.position import Position
    from myrepetl_dagster.core.replication.result import Counts, Progress, Stage, stage_of

    rig.config["metrics_port"] = None
    made = Exporter(load(rig.file()))
    checkpoint = Checkpoint("shop.t", Phase.REPLICATING, Position("f.1", 4))
    stage: Stage = stage_of(checkpoint)
    made.progress(Progress("shop.t", checkpoint.phase, stage, "f.1:4", Counts(), 1.0))
    first, second = {"shop.t": MappingResult(mapping="shop.t")}, {"shop.t": MappingResult(mapping="shop.t")}

    def failed() -> float:
        return next(s.value for family in made.collect() if family.name == "myrepetl_failed" for s in family.samples)

    made.watch(first)
    assert failed() == 0
    first["shop.t"].error = PrerequisiteError("no")
    assert failed() == 1
    made.watch(second)
    assert failed() == 0


# ---- JSON logs ----
def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_line_of_the_log_is_json(rig: Rig) -> None:
    """With the run's id, and where it is about a mapping, its source and position; also for one that fails."""
    rig.config["mapping"]["shop.missing"] = {"target_table": "dw.missing"}
    rig.config["monitoring"] = {"interval": 0.001}

    done = rig.run("run", "--log-format", "json")

    lines = lines_of(done.stderr)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len({line["run_id"] for line in lines}) == 1
    assert {"time", "level", "logger", "message"} <= set.intersection(*(set(line) for line in lines))
    own = [line for line in lines if line.get("mapping") == "shop.t"]
    assert {line["source"] for line in own} == {"shop"}
    assert all(re.match(r"binlog\.|[0-9a-f-]{36}:|no GTID", line["position"]) for line in own)
    assert {"stage", "phase", "lag_s", "rows_per_s"} <= set(own[0])
    failed = [line for line in lines if line["level"] == "ERROR" and line.get("mapping") == "shop.missing"]
    assert failed
    assert all("has no table" in line["message"] for line in failed)


def test_a_retry_is_a_line_of_json_with_its_numbers(rig: Rig) -> None:
    """The attempt, the wait, the error's number: what an alert on logs goes by."""
    rig.config["sources"]["shop"]["port"] = 1
    rig.config["limits"] = {"attempts_max": 2, "backoff_first_s": 0.01}

    lines = lines_of(rig.run("run", "--log-format", "json").stderr)

    (retried,) = [line for line in lines if line["level"] == "WARNING"]
    assert (retried["source"], retried["attempt"], retried["code"]) == ("shop", 1, 2003)
    assert retried["wait_s"] >= 0
    assert lines[-1]["level"] == "ERROR"
