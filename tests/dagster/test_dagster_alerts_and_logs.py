"""The recipes of docs/how-to: alerts by Slack and e-mail that load and fire, and logs as JSON."""

from __future__ import annotations

import email
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster_support import PASSWORD, ROOT, Pair, environment, write_with_variable
from server_binaries import servers_dir

HOW_TO = ROOT / "docs" / "how-to"
SLACK = ("dagster-slack", "slack-sdk")

# The newest dagster-slack may be for the Dagster before this one.
pytestmark = pytest.mark.filterwarnings("ignore:Found version mismatch")


def snippets(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (HOW_TO / page).read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def slack_packages() -> Path:
    """Dagster's package for Slack, which follows each release of Dagster, and so cannot be pinned beside it."""
    folder = servers_dir() / "tools" / "dagster-slack"
    if not folder.exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", f"{folder}.partial", *SLACK]
        subprocess.run(command, check=True)
        Path(f"{folder}.partial").rename(folder)
    return folder


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch, slack_packages: Path, pair: Pair) -> dict[str, Any]:
    """What each recipe defines, by its number, with the pipeline file in the present folder."""
    monkeypatch.chdir(pair.write().parent)
    monkeypatch.syspath_prepend(str(slack_packages))
    monkeypatch.setenv("SLACK_TOKEN", "xoxb-not-one")
    monkeypatch.setenv("MAIL_PASSWORD", "none")
    found = {}
    for name, code in zip(("slack", "mail"), snippets("alerts.md", "python"), strict=True):
        found[name] = {"__name__": name}
        exec(compile(code, f"{name} recipe", "exec"), found[name])
    return found


def failed_run(defs: dg.Definitions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    result = defs.resolve_job_def("replicate").execute_in_process(instance=instance, raise_on_error=False)
    assert not result.success
    return result


def context_of(result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance, name: str) -> Any:
    (event,) = [e for e in result.all_events if e.event_type is dg.DagsterEventType.RUN_FAILURE]
    return dg.build_run_status_sensor_context(
        sensor_name=name, dagster_event=event, dagster_instance=instance, dagster_run=result.dagster_run
    ).for_run_failure()


@pytest.mark.parametrize("name", ["slack", "mail"])
def test_a_recipe_loads_beside_the_pipeline(recipes: dict[str, Any], name: str) -> None:
    """As it stands on the page: the sensor is among the definitions and on by default."""
    defs: dg.Definitions = recipes[name]["defs"]
    dg.Definitions.validate_loadable(defs)
    sensor = recipes[name][name]
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert defs.resolve_job_def("replicate")


def test_the_message_says_what_happened_and_no_secret(
    recipes: dict[str, Any], pair: Pair, instance: dg.DagsterInstance
) -> None:
    """The table, the server's words and the hint, of a run that has really failed."""
    pair.source.execute("DROP TABLE shop.orders")
    result = failed_run(recipes["slack"]["defs"], instance)

    text = recipes["slack"]["message"](context_of(result, instance, "slack"))

    assert text.startswith("replicate failed:\n")
    assert "shop.orders" in text
    assert "Hint: " in text
    assert PASSWORD not in text


def test_slack_is_sent_the_message(
    recipes: dict[str, Any], pair: Pair, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    """The sensor posts it to the channel. Slack's server is a fake: there is none to be had without an account."""
    slack_sdk = importlib.import_module("slack_sdk")
    posted: list[dict[str, Any]] = []
    monkeypatch.setattr(slack_sdk.WebClient, "chat_postMessage", lambda _, **given: posted.append(given))
    pair.source.execute("DROP TABLE shop.orders")
    result = failed_run(recipes["slack"]["defs"], instance)

    recipes["slack"]["slack"](context_of(result, instance, "slack"))

    assert posted[0]["channel"] == "#data-alerts"
    assert "shop.orders" in json.dumps(posted[0])


def test_mail_is_sent(
    recipes: dict[str, Any], pair: Pair, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    """One mail to the team with the run in it. The mail server is a fake: it would need a certificate of its own."""
    import smtplib

    sent: list[Any] = []

    class Server:
        def __init__(self, *_: Any, **__: Any) -> None: ...
        def __enter__(self) -> Server:
            return self

        def __exit__(self, *_: object) -> None: ...
        def login(self, *_: Any) -> None: ...
        def sendmail(self, *given: Any) -> None:
            sent.append(given)

    monkeypatch.setattr(smtplib, "SMTP_SSL", Server)
    pair.source.execute("DROP TABLE shop.orders")
    result = failed_run(recipes["mail"]["defs"], instance)

    recipes["mail"]["mail"](context_of(result, instance, "mail"))

    (_, to, text) = sent[0]
    assert to == ["data-team@example.com"]
    mail = email.message_from_string(text if isinstance(text, str) else text.decode())
    assert result.dagster_run.job_name in str(mail)
    assert PASSWORD not in str(mail)


def test_logs_of_a_dagster_run_are_json(mysql_pair: Pair) -> None:
    """With the page's settings: the core's lines have Dagster's run id, the source or mapping, and the position."""
    env = environment(mysql_pair.directory / "home", write_with_variable(mysql_pair.directory, mysql_pair.data))
    (recipe,) = snippets("logs.md", "yaml")
    settings = Path(env["DAGSTER_HOME"]) / "dagster.yaml"
    settings.write_text(yaml.safe_dump(yaml.safe_load(settings.read_text()) | yaml.safe_load(recipe)))
    mysql_pair.target.execute(
        "CREATE TABLE dw.users (id INT PRIMARY KEY, name VARCHAR(50))", "INSERT INTO dw.users VALUES (9, 'x')"
    )

    done = subprocess.run(
        [sys.executable, "-m", "dagster", "job", "execute", "-m", "myrepetl_dagster.definitions", "-j", "replicate"],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (done.stdout + done.stderr).splitlines() if line.startswith('{"time"')]
    (swept,) = [line for line in lines if "deleted 1 rows of" in line["message"]]
    assert (swept["mapping"], swept["level"], swept["logger"]) == ("shop.users", "WARNING", "myrepetl")
    assert re.fullmatch(r"[0-9a-f-]{36}", swept["run_id"])
    assert {line["run_id"] for line in lines if "run_id" in line} == {swept["run_id"]}
    assert PASSWORD not in json.dumps(lines)
    assert os.environ.get("DAGSTER_HOME") is None or env["DAGSTER_HOME"] != os.environ["DAGSTER_HOME"]
