"""Refuses a Dagster that is too old, in one line, before a name that it lacks is asked for."""

from __future__ import annotations

import re
from importlib.metadata import version

OLDEST = "1.12.3"  # the same in pyproject.toml; tests/dagster/test_dagster_versions.py runs on it


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def require_dagster(found: str) -> None:
    """Refuse a version of Dagster that lacks what this package uses.

    Raises:
        ImportError: `found` is older than `OLDEST`.
    """
    if _numbers(found) < _numbers(OLDEST):
        raise ImportError(
            f"myrepetl_dagster needs Dagster {OLDEST} or newer, and Dagster {found} is installed: "
            "run `pip install --upgrade dagster dagster-webserver`"
        )


require_dagster(version("dagster"))
