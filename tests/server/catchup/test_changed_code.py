"""The code of a transform is changed between two runs: rows with the old result and rows with the new one never mix."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pipelines import Pair, pair_of
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.cli.main import main
from myrepetl_dagster.core.config.pipeline import Pipeline
from myrepetl_dagster.core.diagnostics.status import status
from myrepetl_dagster.core.model.checkpoint import Phase
from myrepetl_dagster.core.model.errors import PrerequisiteError, StaleRun
from myrepetl_dagster.core.replication.run import SourceRun

CODE = """
MARK = "!"

def helper(value):
    return value + MARK

def up(value):
    return helper(value).upper()

def other(value):
    return value
"""
CHANGES = {
    "function": (".upper()", ".lower()"),
    "helper": ("value + MARK", "MARK + value"),
    "constant": ('MARK = "!"', 'MARK = "?"'),
}


class Transformed:
    """A mapping with a transform, and one without."""

    def __init__(self, pair: Pair, folder: Path) -> None:
        self.pair, self.folder = pair, folder
        self.edits = 0
        self.write(CODE)
        pair.on_source(
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9))", "INSERT INTO t VALUES (1,'a')",
            "CREATE TABLE u (id INT PRIMARY KEY)", "INSERT INTO u VALUES (1)",
        )  # fmt: skip

    def write(self, code: str) -> None:
        (self.folder / "code.py").write_text(code)
        self.edits += 1
        os.utime(self.folder / "code.py", (self.edits, self.edits))

    @property
    def mapping(self) -> dict[str, Any]:
        columns = {"id": {"column": "id", "primary_key": True}, "v": {"column": "v", "transform": "code.up"}}
        return {
            "m": {"source_table": "a.t", "target_table": "b.t", "column_mapping": columns},
            "a.u": {"target_table": "b.u"},
        }

    @property
    def pipeline(self) -> Pipeline:
        return self.pair.pipeline(self.mapping, base_dir=str(self.folder))

    def refused(self) -> PrerequisiteError:
        """Run, and insist that the mapping with the transform is refused, and only that one."""
        self.pair.on_source("INSERT INTO t SELECT MAX(id)+1, 'b' FROM t", "INSERT INTO u SELECT MAX(id)+1 FROM u")
        held = self.pair.target_rows("t")
        results = self.pair.try_run(self.pipeline)
        assert results["a.u"].error is None
        self.pair.assert_same("u")
        assert self.pair.target_rows("t") == held
        error = results["m"].error
        assert isinstance(error, PrerequisiteError)
        return error

    def cli(self, *arguments: str) -> int:
        path = self.folder / "pipeline.json"
        path.write_text(json.dumps(self.pair.config(self.mapping)))
        return main([*arguments, "--config", str(path)])


@pytest.fixture
def world(servers: Servers, flavour: Flavour, tmp_path: Path) -> Transformed:
    made = Transformed(pair_of(servers.get("source", flavour), servers.get("target", flavour)), tmp_path)
    made.pair.run(made.pipeline)
    assert made.pair.target_rows("t") == [(1, "A!")]
    return made


@pytest.mark.parametrize("change", CHANGES)
def test_changed_code_is_refused(world: Transformed, change: str) -> None:
    """That mapping alone stops, with both ways out; a new copy follows the new code."""
    world.write(CODE.replace(*CHANGES[change]))
    error = world.refused()
    assert "code.up" in error.message
    assert "myrepetl accept-code --mapping m" in error.hint
    results = world.pair.run(world.pipeline, copy_again=["m"])
    assert results["m"].phase is Phase.REPLICATING
    expected = {"function": ["a!", "b!"], "helper": ["!A", "!B"], "constant": ["A?", "B?"]}[change]
    assert world.pair.target_rows("t") == list(enumerate(expected, 1))
    world.pair.run(world.pipeline)


@pytest.mark.parametrize(
    "code", [CODE.replace("def up", "# a note\n\n\ndef up"), CODE.replace("return value\n", "return MARK\n")]
)
def test_what_makes_no_difference_goes_on(world: Transformed, code: str) -> None:
    """A comment, or another function of the file."""
    world.write(code)
    world.pair.on_source("INSERT INTO t VALUES (2,'b')")
    world.pair.run(world.pipeline)
    assert world.pair.target_rows("t") == [(1, "A!"), (2, "B!")]


def test_accepted_code_goes_on(world: Transformed, capsys: pytest.CaptureFixture[str]) -> None:
    """`myrepetl accept-code` stores the new hash without a copy, and says what it has accepted."""
    world.write(CODE.replace("helper(value).upper()", "str(helper(value)).upper()"))
    world.refused()
    assert world.cli("accept-code", "--mapping", "m") == 0
    assert "m: accepted the code of code.up" in capsys.readouterr().out
    world.pair.run(world.pipeline)
    assert world.pair.target_rows("t") == [(1, "A!"), (2, "B!")]
    assert world.cli("accept-code", "--mapping", "m") == 0
    assert "m: nothing has changed" in capsys.readouterr().out
    world.write(CODE.replace(*CHANGES["function"]))
    world.refused()


def test_accepting_hides_no_other_stop(world: Transformed) -> None:
    """`status` goes on showing what stops the mapping, whether there was something to accept or not."""
    world.pair.on_target("ALTER TABLE t MODIFY v VARCHAR(2)")
    world.pair.on_source("INSERT INTO t VALUES (2,'long')")
    world.pair.try_run(world.pipeline)
    for code in (CODE, CODE.replace("return helper(value).upper()", "return str(helper(value)).upper()")):
        world.write(code)
        assert world.cli("accept-code", "--mapping", "m") == 0
        (found,) = (one for one in status(world.pipeline).mappings if one.mapping == "m")
        assert found.stopped
        assert "ER_DATA_TOO_LONG" in str(found.last_error)
    world.write(CODE.replace(*CHANGES["helper"]))
    world.refused()
    assert world.cli("accept-code", "--mapping", "m") == 0
    assert not any(one.stopped for one in status(world.pipeline).mappings)


def test_a_run_that_follows(world: Transformed, capsys: pytest.CaptureFixture[str]) -> None:
    """It goes on with the code that it has, also if there is nothing to accept. Once other code is accepted it ends, and
    commits no row with the old result after that.
    """
    following = SourceRun(world.pipeline, [one for one in world.pipeline.mappings if one.name == "m"], follow_s=60)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(following.run)
        await_rows(world, "(2,'b')", [(1, "A!"), (2, "B!")])
        assert world.cli("accept-code", "--mapping", "m") == 0
        assert "nothing has changed" in capsys.readouterr().out
        await_rows(world, "(3,'c')", [(1, "A!"), (2, "B!"), (3, "C!")])
        world.write(CODE.replace(*CHANGES["helper"]))
        assert world.cli("accept-code", "--mapping", "m") == 0
        world.pair.on_source("INSERT INTO t VALUES (4,'d')")
        (result,) = running.result()
    assert isinstance(result.error, StaleRun)
    assert "accept-code" in result.error.hint
    world.pair.run(world.pipeline)
    assert world.pair.target_rows("t") == [(1, "A!"), (2, "B!"), (3, "C!"), (4, "!D")]


def await_rows(world: Transformed, row: str, expected: list[tuple[Any, ...]]) -> None:
    world.pair.on_source(f"INSERT INTO t VALUES {row}")
    end_s = time.monotonic() + 20
    while world.pair.target_rows("t") != expected:
        assert time.monotonic() < end_s
        time.sleep(0.05)


def test_mappings_that_share_a_function(servers: Servers, flavour: Flavour, tmp_path: Path) -> None:
    """Each is accepted by itself; a helper of the file counts for both of its functions."""
    pair = pair_of(servers.get("source", flavour), servers.get("target", flavour))
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9))", "INSERT INTO t VALUES (1,'a')")

    def world_of(code: str, edit: int) -> tuple[Pipeline, str]:
        (tmp_path / "code.py").write_text(code)
        os.utime(tmp_path / "code.py", (edit, edit))
        mapping: dict[str, Any] = {}
        for name, function in (("m1", "code.up"), ("m2", "code.up"), ("m3", "code.low"), ("m4", "code.alone")):
            columns = {"id": {"column": "id", "primary_key": True}, "v": {"column": "v", "transform": function}}
            mapping[name] = {"source_table": "a.t", "target_table": f"b.{name}", "column_mapping": columns}
        path = tmp_path / "pipeline.json"
        path.write_text(json.dumps(pair.config(mapping)))
        return pair.pipeline(mapping, base_dir=str(tmp_path)), str(path)

    code = CODE + "\ndef low(value):\n    return helper(value).lower()\n\ndef alone(value):\n    return value\n"
    pair.run(world_of(code, 1)[0])
    pipeline, path = world_of(code.replace(*CHANGES["helper"]), 2)
    pair.on_source("INSERT INTO t VALUES (2,'b')")
    assert main(["accept-code", "--mapping", "m1", "--config", path]) == 0
    results = pair.try_run(pipeline)
    assert [name for name in ("m1", "m2", "m3", "m4") if results[name].error is not None] == ["m2", "m3"]
    assert pair.target_rows("m1") == [(1, "A!"), (2, "!B")]
    assert pair.target_rows("m2") == [(1, "A!")]


def test_a_function_of_an_installed_module(
    servers: Servers, flavour: Flavour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of the module is other code, too. A checkpoint that did not know it goes on."""
    pair = pair_of(servers.get("source", flavour), servers.get("target", flavour))
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9))", "INSERT INTO t VALUES (1,'a')")
    name = f"w18_{pair.source_schema}_{flavour}"
    package = tmp_path / name
    package.mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    columns = {"id": {"column": "id", "primary_key": True}, "v": {"column": "v", "transform": f"{name}.up"}}
    mapping = {"a.t": {"target_table": "b.t", "column_mapping": columns}}

    def installed(result: str) -> Pipeline:
        (package / "__init__.py").write_text("from .inside import up\n")
        (package / "inside.py").write_text(f"def up(value):\n    return value + {result!r}\n")
        for module in (name, f"{name}.inside"):
            sys.modules.pop(module, None)
        shutil.rmtree(package / "__pycache__", ignore_errors=True)
        return pair.pipeline(mapping, base_dir=str(tmp_path / "elsewhere"))

    pair.run(installed("1"))
    pair.on_source("INSERT INTO t VALUES (2,'b')")
    error = pair.error(installed("2"))
    assert isinstance(error, PrerequisiteError)
    assert f"the code of {name}.up has changed" in error.message
    pair.run(installed("1"))
    pair.on_target(
        "UPDATE _myrepetl_checkpoint SET details=JSON_REPLACE(details, '$.code', JSON_OBJECT('" + name + ".up', ''))"
    )
    pair.on_source("INSERT INTO t VALUES (3,'c')")
    pair.run(installed("1"))
    assert pair.target_rows("t") == [(1, "a1"), (2, "b1"), (3, "c1")]
    assert isinstance(pair.error(installed("2")), PrerequisiteError)


def test_a_function_in_place_of_a_built_in_one(servers: Servers, flavour: Flavour, tmp_path: Path) -> None:
    """It has the same name in the pipeline file, and other code."""
    pair = pair_of(servers.get("source", flavour), servers.get("target", flavour))
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9))", "INSERT INTO t VALUES (1,'a')")
    columns = {"id": {"column": "id", "primary_key": True}, "v": {"column": "v", "transform": "transform.uppercase"}}
    mapping = {"a.t": {"target_table": "b.t", "column_mapping": columns}}
    pair.run(pair.pipeline(mapping, base_dir=str(tmp_path)))
    (tmp_path / "transform.py").write_text("def uppercase(value):\n    return value.upper() + '!'\n")
    error = pair.error(pair.pipeline(mapping, base_dir=str(tmp_path)))
    assert isinstance(error, PrerequisiteError)
    assert "the code of transform.uppercase" in error.message


def test_accepting_before_the_first_run(
    servers: Servers, flavour: Flavour, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is nothing to accept, and nothing is made in the target."""
    pair = pair_of(servers.get("source", flavour), servers.get("target", flavour))
    world = Transformed(pair, tmp_path)
    assert world.cli("accept-code", "--mapping", "m") == 0
    assert "not started" in capsys.readouterr().out
    assert pair.on_target("SHOW TABLES") == ()


def test_a_checkpoint_of_an_earlier_version_goes_on(world: Transformed) -> None:
    """It holds no hash: the next commit stores the one of the code that there is then, and from there on it counts."""
    world.pair.on_target("UPDATE _myrepetl_checkpoint SET details=JSON_REMOVE(details, '$.code')")
    world.pair.on_source("INSERT INTO t VALUES (2,'b')")
    world.pair.run(world.pipeline)
    assert "code.up" in json.loads(world.pair.checkpoint("m")["details"])["code"]
    world.write(CODE.replace(*CHANGES["helper"]))
    world.refused()


def test_a_copy_under_way_is_refused_too(world: Transformed) -> None:
    """The rows that it has copied have the old result."""
    world.pair.on_target("UPDATE _myrepetl_checkpoint SET phase='copying' WHERE mapping='m'")
    world.write(CODE.replace(*CHANGES["helper"]))
    world.refused()
