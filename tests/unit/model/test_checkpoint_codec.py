"""Checkpoints as targets store them: every form that there has been is read, and the form of today is fixed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from myrepetl_dagster.core.model.checkpoint import Checkpoint, Checkpoints, CopyState, Phase
from myrepetl_dagster.core.model.checkpoint_codec import (
    STORED_COLUMNS,
    VERSION,
    columns_from_json,
    columns_to_json,
    from_row,
    to_row,
)
from myrepetl_dagster.core.model.errors import UnreadableCheckpoint
from myrepetl_dagster.core.model.gtid import GtidSet
from myrepetl_dagster.core.model.position import LogMark, Position
from myrepetl_dagster.core.model.tables import Column

DATA = Path(__file__).parents[2] / "data" / "checkpoints"
BUILDS = ("853116d", "d7c1b5d", "859892e", "bf3523e")
Row = dict[str, Any]
GOLDEN: dict[str, Row] = {
    f"{build} {entry['source']} {entry['case']}": entry
    for build in BUILDS
    for entry in json.loads((DATA / f"{build}.json").read_text())
}
STORED = {name: entry for name, entry in GOLDEN.items() if entry["means"] is not None}
LATEST = {name: entry for name, entry in STORED.items() if name.startswith("bf3523e")}
UUID = "a4ad0093-ed7a-11f1-b745-02fc00000001"


def golden_row(case: str = "bf3523e mysql-gtid replicating", **details: Any) -> Row:
    row: Row = dict(GOLDEN[case]["row"])
    return row | {"details": json.dumps(json.loads(row["details"]) | details)}


# ---- reading every form -------------------------------------------------------------------------------
def _position(data: Row | None) -> Position | None:
    if data is None:
        return None
    mark = data.get("mark")
    return Position(
        data["file"],
        data["offset_bytes"],
        None if data["gtid_set"] in (None, "None") else GtidSet.parse(data["gtid_set"]),
        data["mariadb_gtid"],
        data["server"],
        data.get("birth_unix_s", 0),
        None if mark is None else LogMark(**{**mark, "gtid": mark["gtid"] and tuple(mark["gtid"])}),
    )


def _meant(entry: Row) -> Checkpoint:
    """The checkpoint that the version which stored the row read from it."""
    means = entry["means"]
    position = _position(means["position"])
    assert position is not None
    copy = means["copy"]
    if copy:  # rows that are done were not stored; what was copied is nearly that
        copy = copy | {"rows_done": 0 if copy["sweeping"] else means["rows_snapshotted"]}
    return Checkpoint(
        means["mapping"],
        Phase(means["phase"]),
        position,
        copy and CopyState(**copy | {name: copy[name] and tuple(copy[name]) for name in ("after_key", "sweep_after")}),
        _position(means["high_watermark"]),
        means["rows_snapshotted"],
        means["changes_applied"],
        means["rows_filtered"],
        means["source_time_unix_s"],
        entry["row"]["source_columns"],
        means["altered"],
        means.get("in_doubt", {}),
        means["fingerprint"],
        means["sequence"],
        means["last_error"],
        tuple(means.get("key", ())),
    )


@pytest.mark.parametrize("name", STORED)
def test_a_row_of_an_earlier_version_means_what_it_meant(name: str) -> None:
    """Every part, down to what comparisons of positions leave out: the log file's birth and the mark."""
    found, meant = from_row(GOLDEN[name]["row"]), _meant(GOLDEN[name])

    assert found == meant
    assert found is not None
    assert (found.position.birth_unix_s, found.position.mark) == (meant.position.birth_unix_s, meant.position.mark)


@pytest.mark.parametrize("name", [name for name, entry in STORED.items() if "columns" in entry])
def test_source_columns_of_an_earlier_version_mean_what_they_meant(name: str) -> None:
    """The decoder fills in from them what a log leaves out, and schema changes are judged by them."""
    expected = [
        Column(**{**column, "members": tuple(bytes.fromhex(member) for member in column["members"])})
        for column in GOLDEN[name]["columns"]
    ]
    assert list(columns_from_json(GOLDEN[name]["row"]["source_columns"])) == expected


def test_the_goldens_hold_every_case() -> None:
    """Each version has its rows of every phase; a test over no data would show nothing."""
    cases = {name.split(" ", 2)[0]: set[str]() for name in GOLDEN}
    for name, entry in GOLDEN.items():
        cases[name.split(" ", 1)[0]].add(entry["case"])
    for build in BUILDS:
        assert {"copying half", "copying sweeping", "settling", "replicating", "altered"} <= cases[build]
        assert "in doubt" in cases[build] or build == "853116d"


def test_a_mapping_that_was_only_claimed_has_no_checkpoint() -> None:
    """The row is there for the fence."""
    assert from_row(GOLDEN["bf3523e mysql-gtid claimed"]["row"]) is None


# ---- writing the form of today ------------------------------------------------------------------------
@pytest.mark.parametrize("name", LATEST)
def test_the_form_of_today_is_the_last_one_and_states_its_version(name: str) -> None:
    """Key by key, in the same order: a version that does not know the key `version` still reads the row."""
    row = GOLDEN[name]["row"]
    checkpoint = from_row(row)
    assert checkpoint is not None

    stored = to_row(checkpoint)

    expected = {"version": VERSION} | json.loads(row["details"])
    if copy := checkpoint.copy:
        expected["copy"] |= {"rows_done": copy.rows_done, "rows_estimated": None}
    expected["counts"] = {"rows_deleted": 0, "rows_swept": 0, "bytes_read": 0}
    assert stored["details"] == json.dumps(expected)
    assert {c: stored[c] for c in STORED_COLUMNS if c != "details"} == {
        c: row[c] for c in STORED_COLUMNS if c != "details"
    }


def test_columns_are_stored_as_they_were() -> None:
    """To the byte: the text is stored again with every commit, and compared by nobody."""
    text = GOLDEN["bf3523e mariadb replicating"]["row"]["source_columns"]
    assert columns_to_json(columns_from_json(text)) == text


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("copy", [None, CopyState(), CopyState(("1", "_utf8mb4'ü'"), True, True, ("2",), 9, 8)])
@pytest.mark.parametrize("mark", [None, LogMark("f.1", 4, 2**32 - 1, (f"{UUID}:tag", 9), 7), LogMark("f.1", 4, 0)])
def test_what_is_stored_comes_back(phase: Phase, copy: CopyState | None, mark: LogMark | None) -> None:
    """Whatever the phase, the state of the copy and the mark."""
    position = Position("f.2", 99, GtidSet.parse(f"{UUID}:1-3"), "0-1-2", UUID, 1_700_000_000, mark)
    checkpoint = Checkpoint(
        "ä.t", phase, position, copy, Position("f.3", 5), 1, 2, 3, 4.5, "[]", True, {"x": "w1"}, "abc", 7, "no",
        ("id", "ü"), None, 2, 5, 2**40,
    )  # fmt: skip

    found = from_row(to_row(checkpoint))

    assert found == checkpoint
    assert found is not None
    assert found.position.mark == mark


# ---- refusing -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("version", [VERSION + 1, 99, "2", None, 1.5])
def test_an_unknown_version_is_refused_by_name(version: object) -> None:
    """The error names the mapping and both versions, and says what helps."""
    with pytest.raises(UnreadableCheckpoint) as caught:
        from_row(golden_row(version=version))

    assert caught.value.mapping == "a.orders"
    assert f"the format {version!r}" in str(caught.value)
    assert f"1 to {VERSION}" in str(caught.value)
    assert "`snapshot` job" in caught.value.hint


DAMAGED: dict[str, Row] = {
    "details cut off": {"details": '{"copy": nul'},
    "details no object": {"details": "[]"},
    "a phase of another version": {"phase": "waiting"},
    "no GTID set": {"gtid_set": "nonsense"},
    "no source columns": {"source_columns": "[{}]"},
    "a mark without a place": {"details": '{"mark": {"file": "f"}}'},
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_checkpoint_is_refused_by_name(case: str) -> None:
    """It is neither taken for none, which would copy the table over, nor a crash of the whole run."""
    with pytest.raises(UnreadableCheckpoint, match=r"'a.orders'.* damaged") as caught:
        from_row(golden_row() | DAMAGED[case])
    assert caught.value.mapping == "a.orders"


def test_an_unreadable_checkpoint_stops_only_who_asks_for_it() -> None:
    """The others' are given; the unreadable one counts as there."""
    good = from_row(golden_row())
    assert good is not None
    bad = UnreadableCheckpoint("bad", "cannot be read", hint="copy again")

    held = Checkpoints({"good": good}) | Checkpoints({}, {"bad": bad})

    assert held["good"] == held.get("good") == good
    assert held.get("none") is None
    assert set(held) == {"good", "bad"}
    assert "bad" in held
    assert "none" not in held
    for ask in (held.__getitem__, held.get):
        with pytest.raises(UnreadableCheckpoint):
            ask("bad")


def test_the_code_of_transforms() -> None:
    """It is stored where there are transforms, and unknown in a row of an earlier version."""
    checkpoint = from_row(golden_row())
    assert checkpoint is not None
    assert checkpoint.code is None
    assert from_row(to_row(replace(checkpoint, code={"a.b": "12"}))) == replace(checkpoint, code={"a.b": "12"})
    assert to_row(replace(checkpoint, code={})) == to_row(checkpoint)
