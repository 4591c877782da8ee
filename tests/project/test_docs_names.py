"""The files that the docs name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TREES = ("myrepetl_dagster", "tests", "bench", "scripts", "demo")
# The docs name a module of the core from here, from the package or from the core itself.
BASES = (ROOT, ROOT / "myrepetl_dagster", ROOT / "myrepetl_dagster" / "core", ROOT / "tests")
DOCS = [
    path
    for path in (ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "tests" / "README.md", *ROOT.glob("docs/**/*.md"))
    if path.exists()
]

_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_QUOTED = re.compile(r"`([^`\n]+)`")
# A path of ours begins with one of the trees, or is a Python file. An absolute one belongs to the reader's machine.
_PATH = re.compile(rf"(?<![\w/.$-])(?:(?:{'|'.join(TREES)})/[\w./*-]*|[\w./*-]+\.py)(?!\w)")


def paths_in(text: str) -> Iterator[str]:
    """The paths of the project that a text names in backticks."""
    for quoted in _QUOTED.findall(_FENCED.sub("", text)):
        for path in _PATH.findall(quoted):
            if not path.startswith("/"):
                yield path.rstrip(".")


def exists(path: str) -> bool:
    """Whether a file or folder has this path, or, if it is a bare name, whether a file has this name."""
    if "/" in path:
        return any(any(base.glob(path.rstrip("/"))) for base in BASES)
    return any(any((ROOT / tree).rglob(path)) for tree in TREES)


@pytest.mark.parametrize("doc", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_docs_name_files_that_exist(doc: Path) -> None:
    """Each path in backticks is a file or folder of the project."""
    missing = [path for path in paths_in(doc.read_text()) if not exists(path)]
    assert not missing, f"{doc.relative_to(ROOT)} names {', '.join(missing)}"


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("`myrepetl_dagster/core/model/nothing.py`", ["myrepetl_dagster/core/model/nothing.py"]),
        ("`tests/nothing/`, `python bench/nothing.py --rows 1`", ["tests/nothing/", "bench/nothing.py"]),
        ("`scripts/nothing`", ["scripts/nothing"]),
        ("`binlog/nothing.py`", ["binlog/nothing.py"]),
        ("`test_nothing.py`", ["test_nothing.py"]),
        ("`binlog/reader.py`, `core/binlog/reader.py`, `test_reader.py`, `tests/unit/`, `tests/*/test_bench.py`", []),
        ("`/dir/file.py:function`, `dagster/max_runtime`, tests/nothing.py", []),
        ("```bash\npython bench/nothing.py\n```", []),
    ],
)
def test_a_wrong_name_is_found(text: str, missing: list[str]) -> None:
    """Paths under each tree, modules of the core and bare test files are looked up; other names are left alone."""
    assert [path for path in paths_in(text) if not exists(path)] == missing
