"""docs/monitoring: the alert rules and the dashboard are taken as they are by a real Prometheus that reads a real run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_support import ROOT, Rig, command
from server_binaries import fetched_tool
from server_farm import Servers
from servers import Flavour

MONITORING = ROOT / "docs" / "monitoring"
PATIENCE_S = 60.0

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def programs() -> Path:
    """The folder with `prometheus` and `promtool`, as the distribution has them."""
    return fetched_tool("prometheus", ["prometheus"], None, kept="usr/bin")


def free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


def wait_for(what: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    until_s = time.monotonic() + patience_s
    while True:
        with contextlib.suppress(OSError):
            if what():
                return
        assert time.monotonic() < until_s
        time.sleep(0.2)


class Prometheus:
    """A Prometheus that reads one run every second, with the alert rules of the docs."""

    def __init__(self, programs: Path, directory: Path, metrics_port: int) -> None:
        settings = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
        settings["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        settings["rule_files"] = [str(MONITORING / "alerts.yml")]
        (job,) = settings["scrape_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{metrics_port}"]}]
        (directory / "prometheus.yml").write_text(yaml.safe_dump(settings))
        self.port = free_port()
        self.log = (directory / "prometheus.log").open("wb")
        self.process = subprocess.Popen(
            [
                *(programs / "prometheus", f"--config.file={directory / 'prometheus.yml'}"),
                *(f"--storage.tsdb.path={directory / 'data'}", f"--web.listen-address=127.0.0.1:{self.port}"),
            ],
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.log.close()

    def ask(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        answer = json.loads(get(f"http://127.0.0.1:{self.port}/api/v1/{path}?{query}"))
        assert answer["status"] == "success"
        return answer["data"]

    def query(self, expression: str) -> list[Any]:
        return list(self.ask("query", query=expression)["result"])

    def rules(self) -> dict[str, dict[str, Any]]:
        return {rule["name"]: rule for group in self.ask("rules")["groups"] for rule in group["rules"]}


class Watched:
    """A run that follows its source, its pipeline, and the Prometheus that reads it."""

    def __init__(self, rig: Rig, run: subprocess.Popen[bytes], prometheus: Prometheus) -> None:
        self.rig, self.run, self.prometheus = rig, run, prometheus
        self.port: int = rig.config["metrics_port"]


@pytest.fixture
def watched(servers: Servers, flavour: Flavour, tmp_path: Path, programs: Path) -> Iterator[Watched]:
    rig = Rig(servers.get("source", flavour), servers.get("target", flavour), tmp_path)
    rig.config["metrics_port"] = free_port()
    with (tmp_path / "run.log").open("wb") as log:
        run = subprocess.Popen(
            command("run", rig.file(), "--follow-s", 600), stdout=log, stderr=log,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        prometheus = Prometheus(programs, tmp_path, rig.config["metrics_port"])
        try:
            yield Watched(rig, run, prometheus)
        finally:
            prometheus.close()
            run.send_signal(signal.SIGTERM)
            run.wait(30)


def dashboard_queries() -> list[str]:
    """The queries of every panel, with what Grafana puts in for its variables."""
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(queries) >= len(dashboard["panels"]) >= 10
    filled = [query.replace("$__rate_interval", "1m") for query in queries]
    return [re.sub(r"\$(source|mapping)\b", ".*", query) for query in filled]


def test_every_query_of_the_dashboard_returns_data(watched: Watched) -> None:
    """Over a run that follows its source: no panel is empty, none has a name that is not served."""
    prometheus = watched.prometheus
    wait_for(lambda: prometheus.query('myrepetl_stage{stage="following"} == 1'))
    watched.rig.source.execute(f"INSERT INTO {watched.rig.schema}.t VALUES (9, 'nine')")
    wait_for(lambda: prometheus.query('myrepetl_rows_total{operation="upserted"} == 1'))

    for query in dashboard_queries():
        assert "$" not in query
        wait_for(lambda query=query: prometheus.query(query))  # type: ignore[misc]


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    """Each panel has a title, a place of its own and a unit; each variable is used; no data source is fixed."""
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    text = json.dumps(dashboard)
    places: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        grid = panel["gridPos"]
        assert panel["title"]
        assert grid["x"] + grid["w"] <= 24
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not places & cells
        places |= cells
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for variable in dashboard["templating"]["list"]:
        assert f"${variable['name']}" in text or f"${{{variable['name']}}}" in text


def test_the_rules_are_evaluated_and_an_outage_raises_the_alert(watched: Watched) -> None:
    """Every rule is sound over real data and quiet while all is well; after the source's account is locked out, the alert
    on the connection is on its way.
    """
    prometheus, rig = watched.prometheus, watched.rig
    wait_for(lambda: prometheus.query('myrepetl_stage{stage="following"} == 1'))
    wait_for(lambda: all(rule["lastEvaluation"] > "2000" for rule in prometheus.rules().values()))
    quiet = prometheus.rules()

    rig.source.execute(f"ALTER USER {rig.reader}@'%' ACCOUNT LOCK")
    sessions = rig.source.execute(f"SELECT id FROM information_schema.processlist WHERE user = '{rig.reader}'")
    for (session,) in sessions:
        with contextlib.suppress(Exception):
            rig.source.execute(f"KILL {session}")

    expected = {rule["alert"] for rule in alert_rules()}
    assert set(quiet) == expected
    assert {rule["health"] for rule in quiet.values()} == {"ok"}
    assert {name: rule["state"] for name, rule in quiet.items() if name != "MyrepetlNotRunning"} == dict.fromkeys(
        expected - {"MyrepetlNotRunning"}, "inactive"
    )
    alerts = {"MyrepetlDisconnected", "MyrepetlMappingFailed", "MyrepetlNotRunning"}
    wait_for(lambda: any(prometheus.rules()[name]["state"] in ("pending", "firing") for name in alerts))


def alert_rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def promtool(programs: Path, *arguments: object, given: str = "") -> str:
    done = subprocess.run(
        [programs / "promtool", *map(str, arguments)], input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_promtool_accepts_the_files(programs: Path) -> None:
    """The rules, and a configuration that names them."""
    assert f"{len(alert_rules())} rules found" in promtool(programs, "check", "rules", MONITORING / "alerts.yml")
    assert "SUCCESS" in promtool(programs, "check", "config", MONITORING / "prometheus.yml")


def test_promtool_accepts_the_metrics(watched: Watched, programs: Path) -> None:
    """Names, units and texts are as Prometheus wants them: those of a run, and those that are printed once."""
    url = f"http://127.0.0.1:{watched.port}/metrics"
    wait_for(lambda: re.search(r'stage="following"[^}]*} 1', get(url)))

    assert promtool(programs, "check", "metrics", given=get(url)) == ""
    assert promtool(programs, "check", "metrics", given=watched.rig.run("metrics").stdout) == ""


def test_each_alert_comes_when_it_should(programs: Path, tmp_path: Path) -> None:
    """By Prometheus's own unit tests: series over an hour, the alert at its time, and none while all is well."""
    labels = 'source="shop",mapping="shop.t",target="dw.t"'
    series = {
        f"myrepetl_lag_seconds{{{labels}}}": "0+0x10 0+60x20",
        f"myrepetl_failed{{{labels}}}": "0x10 1x20",
        'myrepetl_connected{role="source",endpoint="shop"}': "1x10 0x20",
        'myrepetl_retries_total{source="shop",error="SourceLost"}': "0x10 0+2x20",
        f"myrepetl_reported_timestamp_seconds{{{labels}}}": "0+60x10 600x20",
        f"myrepetl_copy_rows{{{labels}}}": "0+1000x10 10000x40",
        f"myrepetl_copy_ratio{{{labels}}}": "0.5x50",
        'up{job="myrepetl"}': "1x10 0x20",
    }
    at = {"MyrepetlCopyStands": "45m"}
    names = [rule["alert"] for rule in alert_rules()]
    own = {
        "MyrepetlDisconnected": {"role": "source", "endpoint": "shop"},
        "MyrepetlRetrying": {"source": "shop", "error": "SourceLost"},
        "MyrepetlNotRunning": {"job": "myrepetl"},
    }
    expected = []
    for rule in alert_rules():
        having = own.get(rule["alert"], {"source": "shop", "mapping": "shop.t", "target": "dw.t"}) | rule["labels"]
        expected.append(
            {
                "eval_time": at.get(rule["alert"], "25m"),
                "alertname": rule["alert"],
                "exp_alerts": [{"exp_labels": having}],
            }
        )
    quiet = [{"eval_time": "9m", "alertname": name, "exp_alerts": []} for name in names]
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    checks = [{"interval": "1m", "input_series": inputs, "alert_rule_test": [*quiet, *expected]}]
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    for rule in rules["groups"][0]["rules"]:
        del rule["annotations"]  # promtool compares them word by word
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(rules))
    file = tmp_path / "alerts_test.yml"
    file.write_text(yaml.safe_dump({"rule_files": ["alerts.yml"], "evaluation_interval": "1m", "tests": checks}))

    assert "SUCCESS" in promtool(programs, "test", "rules", file)
