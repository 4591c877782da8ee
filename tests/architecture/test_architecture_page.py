"""ARCHITECTURE.md: its picture of the rooms is that of the imports, and its tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "ARCHITECTURE.md").read_text()
CORE = "myrepetl_dagster.core"
# Modules of the room `replication` that its other modules and both of its inner rooms rest on.
SHARED = {
    "column_alterations",
    "conforming",
    "lag",
    "mapping_state",
    "ports",
    "result",
    "schema_evolution",
    "target_table",
}
TELEMETRY = {"metrics", "metric_families", "json_logs"}  # which both rims use
ARROW = re.compile(r"^\s*([\w.]+)(?:\[([^\]]+)\])? --> ([\w.]+)(?:\[([^\]]+)\])?$")


def picture() -> set[tuple[str, str]]:
    """The arrows of the picture of the rooms, by the rooms' names."""
    lines = PAGE.partition("```mermaid\n")[2].partition("```")[0].splitlines()[1:]
    names: dict[str, str] = {}
    arrows = []
    for line in lines:
        found = ARROW.match(line)
        assert found, f"not an arrow: {line}"
        for box, label in ((found[1], found[2]), (found[3], found[4])):
            names[box] = label or names.get(box, box)
        arrows.append((found[1], found[3]))
    return {(names[a], names[b]) for a, b in arrows}


def room_of(module: str) -> str | None:
    """The room of a module: a package of the core, `cli`, the Dagster rim, or what both rims use."""
    parts = module.split(".")
    if module.startswith(f"{CORE}."):
        inside = parts[2:]
        if inside[0] == "replication" and inside[-1] in SHARED:
            return "replication: ports and state"
        folders = inside if (ROOT / Path(*parts)).is_dir() else inside[:-1]
        return ".".join(folders) or None
    if module == CORE or len(parts) == 1:
        return None
    if parts[1] in TELEMETRY:
        return "metrics and logs"
    return "cli" if parts[1] == "cli" else "Dagster rim"


@pytest.fixture(scope="module")
def imports() -> set[tuple[str, str]]:
    """Which room imports from which."""
    graph = grimp.build_graph("myrepetl_dagster", cache_dir=None)
    found = set()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            pair = room_of(module), room_of(imported)
            if pair[0] != pair[1] and None not in pair:
                found.add((str(pair[0]), str(pair[1])))
    return found


def reached(arrows: set[tuple[str, str]], start: str) -> set[str]:
    """The rooms that arrows lead to, one after another."""
    seen: set[str] = set()
    left = [start]
    while left:
        here = left.pop()
        for after in {b for a, b in arrows if a == here} - seen:
            seen.add(after)
            left.append(after)
    return seen


def test_every_arrow_of_the_picture_is_an_import(imports: set[tuple[str, str]]) -> None:
    """No arrow stands for what the code does not do."""
    assert picture() - imports == set()


def test_every_import_is_in_the_picture(imports: set[tuple[str, str]]) -> None:
    """Each import from another room is an arrow, or lies along several; so no room is left out."""
    arrows = picture()

    missing = {(a, b) for a, b in imports if b not in reached(arrows, a)}

    assert missing == set()


def test_no_arrow_is_implied_by_others() -> None:
    """The picture shows each way once, so that it can be read."""
    arrows = picture()

    implied = {(a, b) for a, b in arrows if b in reached(arrows - {(a, b)}, a)}

    assert implied == set()


def test_the_page_names_what_there_is() -> None:
    """Each `room/module.py` and path of the page is a file or a folder."""
    named = set(re.findall(r"`((?:core|tests|docs|scripts|replication|binlog|values)/[\w/.]*)`", PAGE))

    assert len(named) > 20
    for name in sorted(named):
        places = [ROOT / name, ROOT / "myrepetl_dagster" / name, ROOT / "myrepetl_dagster" / "core" / name]
        assert any(place.exists() for place in places), name
