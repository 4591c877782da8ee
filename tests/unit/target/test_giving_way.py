"""When a transaction gives way to its predecessor (`commits.py`)."""

from __future__ import annotations

from contextlib import AbstractContextManager

import pytest

from myrepetl_dagster.core.config.pipeline import Endpoint
from myrepetl_dagster.core.model.limits import Limits
from myrepetl_dagster.core.replication.catchup.commits import Commit
from myrepetl_dagster.core.target.apply_connection import MySQLApplyConnection
from myrepetl_dagster.core.target.control import TargetControl


class Connection(MySQLApplyConnection):
    """An apply connection without a server."""

    def __init__(self) -> None:
        super().__init__(TargetControl(Endpoint("b", "target"), Limits()))
        self.done: list[str] = []

    def begin_unfenced(self) -> None:
        self.done.append("begin")

    def rollback(self) -> None:
        self.done.append("roll back")

    def doing(self, what: str) -> AbstractContextManager[None]:
        return self._session.doing(what)


class Two:
    """A commit, one that comes after it, and how that one waits."""

    def __init__(self) -> None:
        self.first, self.second = Connection(), Connection()
        self.earlier, self.later = Commit(self.first, [], []), Commit(self.second, [], [])
        self._waiting = self.later._overlap([self.earlier])
        assert next(self._waiting) is self.earlier.ended

    def patience_is_over(self) -> None:
        self._waiting.send(False)


@pytest.fixture
def two() -> Two:
    return Two()


def test_an_operation_that_lasts_is_taken_for_a_lock(two: Two) -> None:
    """Under way when the patience began and when it was over: the later one is rolled back, once."""
    with two.first.doing("writing"):
        two.patience_is_over()
        assert not two.later.gave_way
        two.patience_is_over()
        assert two.later.gave_way
        two.patience_is_over()
    assert two.second.done == ["begin", "roll back"]


def test_an_operation_that_has_just_begun_is_none(two: Two) -> None:
    """One that made its rows all the while, and is asking each time that it is looked at, gets on."""
    for _ in range(5):
        with two.first.doing("writing"):
            two.patience_is_over()
    assert not two.later.gave_way


def test_one_that_asks_nothing_waits_for_no_lock(two: Two) -> None:
    """However long it makes its rows."""
    for _ in range(5):
        two.patience_is_over()
    assert not two.later.gave_way


def test_one_that_is_committing_waits_for_no_lock_of_a_later_one(two: Two) -> None:
    """All its rows are written: the disk may take its time."""
    with two.first.doing("committing"):
        two.earlier.rows_written = True
        for _ in range(5):
            two.patience_is_over()
    assert not two.later.gave_way
