"""What an edit of the pipeline file does to the rows that are there: the table in docs/how-to/reload.md."""

from __future__ import annotations

from typing import Any

import pytest
from pipelines import ROUTES, Pair, pair
from server_farm import Servers

from myrepetl_dagster.core.model.errors import PositionLost

BEFORE: dict[str, Any] = {
    "one": {"source_table": "a.t", "target_table": "b.t", "column_mapping": {"id": {"primary_key": True}, "n": "n"}}
}


@pytest.fixture
def copied(servers: Servers) -> Pair:
    """A table that was copied, and has changed at the source since."""
    made = pair(servers, ROUTES[0])
    made.on_source("CREATE TABLE t (id INT PRIMARY KEY, n INT, more INT)", "INSERT INTO t VALUES (1, 1, 1), (2, 2, 2)")
    made.run(made.pipeline(BEFORE))
    made.on_source("INSERT INTO t VALUES (3, 3, 3)")
    return made


def edited(**changes: Any) -> dict[str, Any]:
    return {"one": {**BEFORE["one"], **changes}}


def test_a_mapping_that_is_added_is_copied(copied: Pair) -> None:
    """The new table is copied whole, the other one goes on."""
    more = {"two": {"source_table": "a.t", "target_table": "b.u"}}
    results = copied.run(copied.pipeline(BEFORE | more))

    assert results["one"].rows_snapshotted == 0
    copied.assert_same("t", "u")


def test_a_mapping_that_is_put_back_goes_on(copied: Pair) -> None:
    """Without its mapping a table stays as it was; put back, it goes on from its checkpoint."""
    copied.run(copied.pipeline({"two": {"source_table": "a.t", "target_table": "b.u"}}))
    assert len(copied.target_rows("t")) == 2

    result = copied.run(copied.pipeline(BEFORE))["one"]

    assert (result.rows_snapshotted, result.changes_applied) == (0, 1)


def test_a_mapping_that_is_renamed_is_copied_again(copied: Pair) -> None:
    """Its checkpoint is kept under the old name."""
    assert copied.run(copied.pipeline({"other": BEFORE["one"]}))["other"].rows_snapshotted == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"filter": {"n": {"gt": 1}}},
        {"column_mapping": {"id": {"primary_key": True}, "n": {"column": "n", "transform": "transform.trim"}}},
        {"column_mapping": {"id": {"primary_key": True}, "more": "n"}},
        {"column_mapping": {"id": {"primary_key": True}, "x": {"column": "n", "value": 7}}},
        {"init_query": "SELECT id, n FROM t WHERE n > 1"},
        {"target_table": "b.another"},
    ],
    ids=["filter", "transform", "column", "static-value", "init_query", "target_table"],
)
def test_what_a_row_means_stops_until_a_new_copy(copied: Pair, changes: dict[str, Any]) -> None:
    """The next run writes nothing, and says to copy again. Taken back, it goes on; copied again, it is as the file says."""
    error = copied.error(copied.pipeline(edited(**changes)))
    assert "the `snapshot` job" in error.hint
    assert len(copied.target_rows("t")) == 2
    assert copied.run(copied.pipeline(BEFORE))["one"].rows_snapshotted == 0
    copied.run(copied.pipeline(edited(**changes)), copy_again=["one"])


def test_another_limit_changes_nothing(copied: Pair) -> None:
    """Settings that do not say what a row is take their new value."""
    assert copied.run(copied.pipeline(BEFORE, limits={"batch_rows_max": 1}))["one"].rows_snapshotted == 0


def test_another_server_that_lacks_the_transactions(servers: Servers, copied: Pair) -> None:
    """A host that is another server, without the transactions that the target has, stops with a lost position."""
    stranger = servers.get("source", "mysql", log_bin="other-bin")
    other = pair_on(copied, stranger)
    assert isinstance(other.error(other.pipeline(BEFORE)), PositionLost)


def pair_on(before: Pair, source: Any) -> Pair:
    from pipelines import reader_grants

    source.execute(f"CREATE DATABASE {before.source_schema}", *reader_grants(source, before.source_schema))
    made = Pair(source, before.target, before.source_schema, before.target_schema)
    made.on_source("CREATE TABLE t (id INT PRIMARY KEY, n INT, more INT)")
    return made
