"""Transforms: where a name is looked up, how a function is called, what is said when it cannot be."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from myrepetl_dagster.core.transforms.functions import Transform, TransformError, resolve


def call(transform: Transform, value: object = "v") -> Any:
    return transform.call(value, {"row": 1}, "db.t")


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "value", "result"),
    [
        ("uppercase", "aé", "AÉ"),
        ("lowercase", "AÉ", "aé"),
        ("trim", " a ", "a"),
        ("length", "abc", 3),
        ("length", 1234, 4),
        ("length", b"ab", 2),
        ("length", None, 0),
        ("uppercase", None, None),
        ("uppercase", 5, 5),
        ("trim", None, None),
    ],
)
def test_built_in(tmp_path: Path, name: str, value: object, result: object) -> None:
    """The built-in transforms need no file."""
    transform = resolve(f"transform.{name}", tmp_path)
    assert transform.builtin == name
    assert call(transform, value) == result


def test_file_wins_over_built_in(tmp_path: Path) -> None:
    """A function in transform.py is taken, not the built-in of that name."""
    write(tmp_path, "transform.py", "def uppercase(value): return 'mine'")
    transform = resolve("transform.uppercase", tmp_path)
    assert (call(transform), transform.builtin) == ("mine", None)


def test_built_in_where_the_file_lacks_it(tmp_path: Path) -> None:
    """A transform.py without `trim` leaves the built-in `trim` in place."""
    write(tmp_path, "transform.py", "def other(value): return value")
    assert call(resolve("transform.trim", tmp_path), " a ") == "a"


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ("v", ("v",)),
        ("v, row", ("v", {"row": 1})),
        ("v, row, table", ("v", {"row": 1}, "db.t")),
        ("v, row=None, table=None", ("v", {"row": 1}, "db.t")),
        ("v, row, table, more=7", ("v", {"row": 1}, "db.t", 7)),
        ("v, *, row_data", ("v", {"row": 1})),
        ("v, *, source_table, row_data=None", ("v", "db.t", {"row": 1})),
        ("v, row, *, source_table", ("v", {"row": 1}, "db.t")),
        ("v, *, unrelated=3", ("v", 3)),
    ],
)
def test_called_with_what_it_accepts(tmp_path: Path, signature: str, expected: tuple[object, ...]) -> None:
    """A function gets as many of value, row and table as it takes."""
    names = [part.partition("=")[0].strip() for part in signature.split(",") if part.strip() != "*"]
    path = write(tmp_path, "one.py", f"def f({signature}): return ({', '.join(names)},)")
    assert call(resolve(f"{path}:f", tmp_path)) == expected


def test_star_arguments_get_everything(tmp_path: Path) -> None:
    """`*args` gets all three by position, `**kwargs` the rest by name."""
    write(tmp_path, "many.py", "def a(*args): return args\ndef k(value, **named): return value, named")
    assert call(resolve("many.a", tmp_path)) == ("v", {"row": 1}, "db.t")
    assert call(resolve("many.k", tmp_path)) == ("v", {"row_data": {"row": 1}, "source_table": "db.t"})


def test_absolute_and_relative_paths(tmp_path: Path) -> None:
    """A file is named by its path, a relative one from beside the pipeline file."""
    path = write(tmp_path, "sub/own.py", "def f(value): return 'own'")
    assert call(resolve(f"{path}:f", Path("/"))) == "own"
    assert call(resolve("sub/own.py:f", tmp_path)) == "own"


def test_installed_module(tmp_path: Path) -> None:
    """A function may come from any importable module, with dots in its name."""
    assert call(resolve("os.path.basename", tmp_path), "/a/b") == "b"
    assert resolve("math.floor", tmp_path).call(1.5, {}, "") == 1


def test_dotted_file_beside(tmp_path: Path) -> None:
    """`pkg.mod.f` is pkg/mod.py beside the pipeline file, which can import its neighbours."""
    write(tmp_path, "pkg/__init__.py", "")
    write(tmp_path, "pkg/other.py", "WORD = 'neighbour'")
    write(tmp_path, "pkg/mod.py", "from pkg.other import WORD\ndef f(value): return WORD")
    assert call(resolve("pkg.mod.f", tmp_path)) == "neighbour"


def test_two_pipelines_with_equal_names(tmp_path: Path) -> None:
    """Two folders with a transform.py and a helper of the same name do not see each other's."""
    for word in ("one", "two"):
        write(tmp_path, f"{word}/shared_helper.py", f"WORD = {word!r}")
        write(tmp_path, f"{word}/transform.py", "from shared_helper import WORD\ndef f(value): return WORD")
    path_before = list(sys.path)

    words = [call(resolve("transform.f", tmp_path / word)) for word in ("one", "two", "one")]

    assert words == ["one", "two", "one"]
    assert sys.path == path_before
    assert "transform" not in sys.modules
    assert "shared_helper" not in sys.modules


def test_loaded_once_per_version(tmp_path: Path) -> None:
    """A file runs once, and again after an edit."""
    text = "from itertools import count\nRUNS = count()\ndef f(value): return next(RUNS)"
    path = write(tmp_path, "once.py", text)
    first, again = resolve("once.f", tmp_path), resolve("once.f", tmp_path)
    assert first.function is again.function

    write(tmp_path, "once.py", text.replace("next(RUNS)", "'edit....'"))
    os.utime(path, ns=(1, 1))
    edited = resolve("once.f", tmp_path)

    assert call(edited) == "edit...."
    assert edited.digest != first.digest


def test_dataclass_in_file(tmp_path: Path) -> None:
    """A file may define dataclasses, which look their own module up."""
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass A:\n    x: int\ndef f(value): return A(3).x"
    )
    write(tmp_path, "klass.py", text)
    assert call(resolve("klass.f", tmp_path)) == 3


@pytest.mark.parametrize(
    ("text", "spec", "said"),
    [
        (None, "nowhere.f", "no file"),
        (None, "gone.py:f", "no file"),
        (None, "transform.slugify", "built in: transform.uppercase"),
        (None, "noname", "module.function"),
        (None, "os.path.basenam", "did you mean 'basename'?"),
        ("def mask(value): ...", "own.msk", "did you mean 'mask'?"),
        ("f = 3", "own.f", "not a function but int"),
        ("def f(): ...", "own.f", "takes no value"),
        ("def f(a, b, c, d): ...", "own.f", "needs more: d"),
        ("def f(a, *, key): ...", "own.f", "needs more: key"),
        ("x = 1\nraise ValueError('hunter2')", "own.f", "ValueError at line 2"),
        ("def f(:", "own.f", "SyntaxError at line 1"),
        ("import not_there_at_all", "own.f", "ModuleNotFoundError (not_there_at_all)"),
        ("import sys; sys.exit(1)", "own.f", "SystemExit"),
    ],
)
def test_errors(tmp_path: Path, text: str | None, spec: str, said: str) -> None:
    """What cannot be found or loaded is named, without the text of the error."""
    if text is not None:
        write(tmp_path, "own.py", text)
    with pytest.raises(TransformError) as caught:
        resolve(spec, tmp_path)

    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_failed_file_is_loaded_again(tmp_path: Path) -> None:
    """A file that failed is read anew once it is mended."""
    write(tmp_path, "late.py", "import not_there_at_all")
    with pytest.raises(TransformError):
        resolve("late.f", tmp_path)
    write(tmp_path, "late.py", "def f(value): return 'mended'")
    assert call(resolve("late.f", tmp_path)) == "mended"
