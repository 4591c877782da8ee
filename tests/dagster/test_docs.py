"""The pages that a user reads: their commands and snippets run as they stand, their links lead somewhere.

The Python of docs/builders.md is tested in test_dagster_builders.py, the recipes of docs/how-to in
test_dagster_alerts_and_logs.py and test_retention.py.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster_support import ROOT, offline
from dagster_ui import Ui, dagster_dev, free_port, wait_for
from servers import Server

import myrepetl_dagster
from myrepetl_dagster.cli.main import _parser
from myrepetl_dagster.core.config.load import from_dict

pytestmark = pytest.mark.long

DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, ROOT / "ARCHITECTURE.md", ROOT / "tests" / "README.md", *sorted(DOCS.rglob("*.md"))]
# In this order they go on from the tutorial's pipeline.
PAGES_THAT_GO_ON = ["add-a-table", "copy-again", "change-a-column", "reload", "fail-over"]
NOT_RUN = ("pip install", "make ")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page: language and text. In a list, a block is indented."""
    found = re.findall(r"^( *)```(\w+)\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [
        (language, "\n".join(line.removeprefix(indent) for line in text.splitlines()))
        for indent, language, text in found
        if not languages or language in languages
    ]


# ---- without a server -----------------------------------------------------------------------------------------
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    """Each link to a file of the project, and to a heading in it, has its end."""
    text = re.sub(r"`[^`\n]*`", "", re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE))
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        end = (page.parent / file).resolve() if file else page
        if end.parent == DOCS / "pictures" and not end.parent.exists():
            continue  # they come with the tests of the UI
        if not end.exists() or (anchor and anchor not in anchors(end)):
            broken.append(link)
    assert not broken


def test_the_reference_is_up_to_date() -> None:
    """docs/reference.md is what scripts/reference.py makes of the code: else run that."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "reference.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr or "run scripts/reference.py"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_are_those_that_there_are(page: Path) -> None:
    """Each `myrepetl` command of a page has arguments that the program takes, each job that is launched exists."""
    server = {"host": "nowhere.invalid", "user": "u", "database": "shop"}
    defs = offline({"shop.orders": {"target_table": "warehouse.orders"}}, sources={"shop": server})
    jobs = {job.name for job in defs.get_repository_def().get_all_jobs()}
    for _, text in blocks(page, "bash", "sh"):
        for line in text.splitlines():
            words = shlex.split(line, comments=True) if re.match(r"(myrepetl|dagster) ", line) else []
            if words[:1] == ["myrepetl"]:
                _parser().parse_args(words[1:])
            if "-j" in words:
                assert words[words.index("-j") + 1] in jobs, line


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_pipelines_load(page: Path, tmp_path: Path) -> None:
    """Each whole pipeline file on a page has no problem."""
    (tmp_path / "transform.py").write_text("def address(value):\n    return value\n")
    environ = dict.fromkeys(re.findall(r"\$\{(\w+)\}", page.read_text()), "1")
    for language, text in blocks(page, "json", "yaml"):
        found = json.loads(text) if language == "json" and text.count("\n") else yaml.safe_load(text)
        if isinstance(found, dict) and {"sources", "targets", "mapping"} <= found.keys():
            from_dict(found, tmp_path, environ)


@pytest.mark.parametrize(("page", "known"), [("README.md", ()), ("docs/dagster.md", myrepetl_dagster.__all__)])
def test_python_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str, known: Sequence[str]) -> None:
    """Each Python block makes definitions, with README's first pipeline file beside it.

    Those of docs/dagster.md leave out the imports: `known` are names of the package.
    """
    (_, text), *_ = blocks(README, "json")
    (tmp_path / "pipeline.json").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOP_PASSWORD", "a")
    monkeypatch.setenv("ETL_PASSWORD", "b")
    snippets = blocks(ROOT / page, "python")
    assert snippets
    for _, snippet in snippets:
        names: dict[str, Any] = {name: getattr(myrepetl_dagster, name) for name in known}
        names |= {"dg": dg, "timedelta": timedelta} if known else {}
        exec(compile(snippet, page, "exec", dont_inherit=True), names)
        defs = names["defs"] if "defs" in names else dg.Definitions(assets=[names["report"]])
        dg.Definitions.validate_loadable(defs)


def test_dagster_takes_readmes_dagster_yaml(tmp_path: Path) -> None:
    """Every setting of README's dagster.yaml is one that Dagster knows, and has the meaning that README says."""
    (settings,) = [text for _, text in blocks(README, "yaml") if "run_monitoring" in text]
    (tmp_path / "dagster.yaml").write_text(settings)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.max_concurrent_runs == -1
        assert instance.run_monitoring_enabled
        assert "myrepetl" in instance.managed_python_loggers


# ---- on servers ---------------------------------------------------------------------------------------------------
@dataclass
class Reader:
    """Somebody who types what the pages say: the blocks of a page, one after another, in one shell."""

    source: Server
    target: Server
    folder: Path
    env: dict[str, str]

    def read(self, page: Path) -> Iterator[str]:
        """Do what a page says. Yields what a reader starts in a terminal of its own."""
        for language, text in blocks(page, "bash", "sql"):
            if language == "sql":
                for statement in text.split(";\n"):
                    to_target = "analytics" in statement or "etl@" in statement
                    (self.target if to_target else self.source).execute(statement)
            elif text.startswith("dagster dev"):
                yield text
            elif not text.startswith(NOT_RUN):
                self.type(text)

    def type(self, text: str) -> None:
        """Run a block in the shell; what it leaves in the environment, and where it is, stays."""
        left = shlex.quote(self.env["LEFT"])
        script = f"set -eo pipefail\ncd {shlex.quote(str(self.folder))}\n{text}\npwd > {left}.pwd\nenv -0 > {left}"
        done = subprocess.run(["bash", "-c", script], env=self.env, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        variables = Path(self.env["LEFT"]).read_text().split("\0")
        self.env |= dict(one.split("=", 1) for one in variables if one)
        self.folder = Path(Path(f"{self.env['LEFT']}.pwd").read_text().strip())


@pytest.fixture(scope="module")
def reader(servers: Any, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """A reader with two servers of their own, and the package installed."""
    folder = tmp_path_factory.mktemp("reader")
    source, target = servers.get("source", "mysql"), servers.get("target", "mysql")
    for server in (source, target):
        server.execute(*(f"DROP DATABASE IF EXISTS {name}" for name in ("shop", "analytics")))
        server.execute(*(f"DROP USER IF EXISTS {name}@'%'" for name in ("repl", "etl")))
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("MYREPETL_", "DAGSTER_"))}
    env = keep | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "LEFT": str(folder / "left"),
        "SHOP_HOST": source.host, "SHOP_PORT": str(source.port), "REPL_PASSWORD": "choose-one",
        "ANALYTICS_HOST": target.host, "ANALYTICS_PORT": str(target.port), "ETL_PASSWORD": "choose-another",
    }  # fmt: skip
    return Reader(source, target, folder, env)


def test_the_tutorial_and_the_pages_that_go_on_from_it(reader: Reader) -> None:
    """Every command and statement of the tutorial does what it says, with Dagster at work, and then those of the pages."""
    with ExitStack() as terminals:
        for command in reader.read(DOCS / "tutorial.md"):
            log = reader.folder / "dev.log"
            ui = Ui(None, free_port(), Path(reader.env["DAGSTER_HOME"]), log, "definitions.py")  # type: ignore[arg-type]
            terminals.enter_context(dagster_dev(ui, reader.folder, reader.env, *shlex.split(command)[2:]))
        wait_for(lambda: ui.active("follow_shop"), 60, ui.log)
        reader.source.execute("INSERT INTO shop.orders (customer_id, status) VALUES (1, 'paid')")
        count = "SELECT COUNT(*) FROM analytics.orders"
        wait_for(lambda: reader.target.execute(count) == ((4,),), 60, ui.log)
        names = "SELECT full_name, email FROM analytics.customers ORDER BY id"
        assert reader.target.execute(names) == (("Ann", "ann@example.com"), ("Chloé", "chloe@example.com"))
        ui.switch("catch_up_shop", False)
        for run_id in ui.active():
            ui.terminate(run_id)
        wait_for(lambda: not ui.active(), 60, ui.log)

    for name in PAGES_THAT_GO_ON:
        assert not list(reader.read(DOCS / "how-to" / f"{name}.md"))

    assert reader.target.execute("SELECT COUNT(*) FROM analytics.paid_orders") == ((2,),)
    assert reader.target.execute("SELECT DISTINCT origin FROM analytics.customers") == (("shop",),)
