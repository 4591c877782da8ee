"""The table of types in the docs."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table_names_tests_that_exist() -> None:
    """Each `file.test` in docs/types.md is a test of that file, and each type's row names one."""
    text = (ROOT / "docs" / "types.md").read_text()
    named = set(re.findall(r"(test_\w+)\.(test_\w+)", text))
    assert named
    for file, test in named:
        found = list(ROOT.glob(f"tests/**/{file}.py"))
        assert found, file
        assert f"def {test}(" in found[0].read_text(), f"{file}.{test}"
    notes = set(re.findall(r"^\[(\w)\]: ", text, re.MULTILINE))
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| Type")]
    assert len(rows) > 20
    for row in rows:
        used = set(re.findall(r"\[(\w)\]", row.split("|")[4]))
        assert used, row
        assert used <= notes, row
