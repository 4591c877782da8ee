"""A run goes on from the checkpoint that an earlier version stored, and refuses one that a later version stored.

The rows of earlier versions are those in `tests/data/checkpoints/`, with the places of this test's own log put in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pipelines import SOURCES, Interrupted, Pair, interrupt, pair
from server_farm import Servers

from myrepetl_dagster.core.diagnostics.connection_test import diagnose
from myrepetl_dagster.core.diagnostics.pending_changes import pending_changes
from myrepetl_dagster.core.diagnostics.report import State
from myrepetl_dagster.core.diagnostics.status import status
from myrepetl_dagster.core.model.errors import UnreadableCheckpoint

DATA = Path(__file__).parents[2] / "data" / "checkpoints"
BUILDS = ("853116d", "d7c1b5d", "859892e", "bf3523e")
WITH_XA = ("d7c1b5d", "859892e")  # of those, the versions that named kept transactions as no later one does
TABLE = "CREATE TABLE t (id INT PRIMARY KEY, v INT)"
ROWS = 10


@pytest.fixture(params=SOURCES, ids=str)
def world(request: pytest.FixtureRequest, servers: Servers) -> Pair:
    made = pair(servers, request.param)
    made.chunks_of(4)
    made.on_source(TABLE, f"INSERT INTO t VALUES {', '.join(f'({n},{n})' for n in range(ROWS))}")
    return made


def golden(build: str, case: str) -> dict[str, Any]:
    """The row that a version stored in such a case."""
    entries = json.loads((DATA / f"{build}.json").read_text())
    row: dict[str, Any] = next(e["row"] for e in entries if e["case"] == case and e["source"] == "mysql-gtid")
    return row


def store_as(world: Pair, build: str, case: str) -> None:
    """Put the row of an earlier version in the place of the checkpoint, with this log's places and this table's key."""
    now, row = world.checkpoint("a.t"), golden(build, case)
    assert row["phase"] == now["phase"]
    stored, details = json.loads(now["details"]), json.loads(row["details"])
    assert details.keys() < stored.keys()
    row |= {column: now[column] for column in row.keys() & now.keys() - {"details", "phase", "updated_at"}}
    row["details"] = json.dumps(_put_in(details, stored))
    del row["updated_at"]
    columns = list(row)
    with world.target_session(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM _myrepetl_checkpoint WHERE mapping='a.t'")
        marks = ", ".join(["%s"] * len(columns))
        cursor.execute(
            f"INSERT INTO _myrepetl_checkpoint ({', '.join(columns)}) VALUES ({marks})", [row[c] for c in columns]
        )


def _put_in(details: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    """The keys of `details`, no other ones, with the values of `stored`."""
    return {
        key: _put_in(value, stored[key])
        if key in ("copy", "high_watermark", "mark") and value and stored[key]
        else stored[key]
        for key, value in details.items()
    }


def interrupted_in(world: Pair, phase: str) -> int:
    """Run until a commit leaves this phase, changing a row beside each commit; gives the rows copied so far."""

    def change_and_interrupt(_: object) -> None:
        world.on_source("UPDATE t SET v=v+1")
        interrupt()

    for _ in range(20):
        with pytest.raises(Interrupted):
            world.run("t", on_progress=change_and_interrupt)
        if world.checkpoint("a.t")["phase"] == phase:
            return int(world.checkpoint("a.t")["rows_snapshotted"])
    raise AssertionError(f"no commit in phase {phase}")


@pytest.mark.parametrize("build", BUILDS)
def test_a_run_goes_on_from_what_an_earlier_version_stored(world: Pair, build: str) -> None:
    """No row is copied again, the changes since are applied, and the next commit stores the form of today."""
    world.run("t")
    store_as(world, build, "replicating")
    world.on_source("INSERT INTO t VALUES (99,99)", "UPDATE t SET v=0 WHERE id=1", "DELETE FROM t WHERE id=2")

    result = world.run("t")["a.t"]

    assert (result.rows_snapshotted, result.changes_applied) == (0, 3)
    world.assert_same("t")
    assert json.loads(world.checkpoint("a.t")["details"])["version"] == 2


@pytest.mark.parametrize("build", BUILDS)
def test_a_copy_goes_on_where_an_earlier_version_left_it(world: Pair, build: str) -> None:
    """After the last key that is copied, with the changes since the copy began."""
    copied = interrupted_in(world, "copying")
    store_as(world, build, "copying half")

    result = world.run("t")["a.t"]

    assert 0 < copied < ROWS
    if build == "853116d":  # did not store by which key it copied
        assert result.rows_snapshotted >= ROWS - copied
    else:
        assert result.rows_snapshotted == ROWS - copied
    world.assert_same("t")


@pytest.mark.parametrize("build", BUILDS)
def test_a_copy_settles_that_an_earlier_version_ended(world: Pair, build: str) -> None:
    """From the low to the high watermark, without reading a row again."""
    interrupted_in(world, "settling")
    store_as(world, build, "settling")

    assert world.run("t")["a.t"].rows_snapshotted == 0
    world.assert_same("t")


@pytest.mark.parametrize("build", ["d7c1b5d", "859892e", "bf3523e"])
def test_a_transaction_in_doubt_that_an_earlier_version_kept_is_applied(world: Pair, build: str) -> None:
    """Its rows lie in the target under the name that the version gave them, and are there after XA COMMIT."""
    world.run("t")
    xid = f"'kept {world.source_schema}'"
    changes = ("INSERT INTO t VALUES (50,50),(51,51)", "DELETE FROM t WHERE id=3")
    with world.source_session(autocommit=True) as session, session.cursor() as cursor:
        for statement in (f"XA START {xid}", *changes, f"XA END {xid}", f"XA PREPARE {xid}"):
            cursor.execute(statement)
        world.run("t")
        store_as(world, build, "in doubt")
        if build in WITH_XA:
            _name_as_before(world)
        cursor.execute(f"XA COMMIT {xid}")

    result = world.run("t")["a.t"]

    assert result.changes_applied == 3
    world.assert_same("t")
    assert world.on_target("SELECT COUNT(*) FROM _myrepetl_prepared") == ((0,),)


def _name_as_before(world: Pair) -> None:
    """The name of kept rows was 32 hexadecimal digits before its first character said how they are kept."""
    details = json.loads(world.checkpoint("a.t")["details"])
    ((xid, token),) = details["in_doubt"].items()
    name = "c" + token[1:]
    details["in_doubt"] = {xid: name}
    with world.target_session(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE _myrepetl_checkpoint SET details=%s WHERE mapping='a.t'", (json.dumps(details),))
        assert cursor.execute("UPDATE _myrepetl_prepared SET token=%s WHERE token=%s", (name, token)) == 1


# ---- a later version's --------------------------------------------------------------------------------
def store_later_version(world: Pair) -> None:
    details = json.loads(world.checkpoint("a.t")["details"]) | {"version": 99, "copy": "of a later version"}
    with world.target_session(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE _myrepetl_checkpoint SET details=%s WHERE mapping='a.t'", (json.dumps(details),))


def test_a_later_versions_checkpoint_stops_its_mapping_alone(world: Pair) -> None:
    """The error names it and what to do, its target and its checkpoint stay as they are, and the others go on."""
    world.on_source("CREATE TABLE u LIKE t", "INSERT INTO u VALUES (1,1)")
    world.run("t u")
    store_later_version(world)
    held, before = world.target_rows("t"), world.checkpoint("a.t")
    world.on_source("UPDATE t SET v=0", "UPDATE u SET v=2")

    results = world.try_run("t u")

    error = results["a.t"].error
    assert isinstance(error, UnreadableCheckpoint)
    assert "mapping 'a.t'" in str(error)
    assert "format 99" in str(error)
    assert "`snapshot` job" in error.hint
    assert world.target_rows("t") == held
    now = world.checkpoint("a.t")
    assert {k: now[k] for k in ("details", "log_file", "log_offset_bytes", "phase")} == {
        k: before[k] for k in ("details", "log_file", "log_offset_bytes", "phase")
    }
    assert results["a.u"].error is None
    world.assert_same("u")


def test_a_later_versions_checkpoint_shows_in_status_and_makes_a_run_due(world: Pair) -> None:
    """`status` says of this mapping alone that it is unknown and why, `test-connection` says why, and the sensor starts
    a run, which says so too.
    """
    world.on_source("CREATE TABLE u LIKE t")
    world.run("t u")
    store_later_version(world)
    pipeline = world.pipeline("t u")

    shown = {one.mapping: one for one in status(pipeline).mappings}
    due = {one.mapping.name: one.due for one in pending_changes(pipeline, pipeline.mappings)}

    failed = [check for report in diagnose(pipeline) for check in report.checks if check.state is State.FAILED]

    assert ["format 99" in check.found for check in failed] == [True]
    assert shown["a.t"].phase == "unknown"
    assert "format 99" in (shown["a.t"].last_error or "")
    assert shown["a.u"].phase == "replicating"
    assert due["a.t"]


def test_the_snapshot_job_copies_over_a_later_versions_checkpoint(world: Pair) -> None:
    """It is what the error advises."""
    world.run("t")
    store_later_version(world)
    world.on_source("UPDATE t SET v=0")

    assert world.run("t", copy_again=True)["a.t"].rows_snapshotted == ROWS
    world.assert_same("t")
    assert json.loads(world.checkpoint("a.t")["details"])["version"] == 2
