"""The only retry: bounded twice, jittered, reset by progress, and every attempt in the log."""

from __future__ import annotations

import importlib
import logging
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.config.pipeline import Pipeline
from myrepetl_dagster.core.model.errors import (
    ConfigError,
    PositionLost,
    PrerequisiteError,
    ReplicationError,
    RowRejected,
    RunFailed,
    SchemaDrift,
    SourceLost,
    StaleRun,
    TargetBusy,
    TargetLost,
    TransientError,
    UnsupportedEvent,
)
from myrepetl_dagster.core.model.limits import Limits
from myrepetl_dagster.core.replication.result import Retry
from myrepetl_dagster.core.replication.run import SourceRun, backoff_s
from myrepetl_dagster.core.replication.source_runs import runs

module = importlib.import_module("myrepetl_dagster.core.replication.run")  # `core.replicate` is also a function


class Clock:
    """Time that only passes while somebody sleeps or works."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept_s: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(SourceRun, "_pause", lambda _, wait_s: made.sleep(wait_s))
    return made


def pipeline(**limits: float) -> Pipeline:
    endpoint = {"host": "h", "user": "u", "password": "p", "database": "d"}
    return from_dict(
        {
            "sources": {"a": endpoint},
            "targets": {"b": {**endpoint, "database": "e"}},
            "mapping": {"a.t": {"target_table": "b.t"}},
            "limits": limits,
        }
    )


def two_targets() -> Pipeline:
    made = pipeline(attempts_max=12)
    other = replace(made.mappings[0], name="a.u", target="c")
    return replace(
        made, targets={**made.targets, "c": replace(made.targets["b"], name="c")}, mappings=(*made.mappings, other)
    )


def run_of(monkeypatch: pytest.MonkeyPatch, attempt: Callable[[SourceRun], None], **limits: float) -> SourceRun:
    made = pipeline(**limits)
    monkeypatch.setattr(SourceRun, "_attempt", attempt)
    return SourceRun(made, made.mappings)


def lost(_: SourceRun) -> None:
    error = SourceLost("source 'a': gone", code=2013)
    error.operation = "reading the log"
    raise error


# ---- bounds --------------------------------------------------------------------------------------------
def test_attempts_are_bounded(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """After attempts_max attempts in vain the last error is raised."""
    with pytest.raises(SourceLost):
        run_of(monkeypatch, lost, attempts_max=5).run()
    assert len(clock.slept_s) == 4


def test_a_run_that_gives_way_is_bounded_by_time_alone(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """A follower outlives a long outage: it counts no attempts, and gives up after retry_time_s_max."""
    made = pipeline(attempts_max=3, retry_time_s_max=600)
    monkeypatch.setattr(SourceRun, "_attempt", lost)
    with pytest.raises(SourceLost):
        SourceRun(made, made.mappings, gives_way=True).run()
    assert len(clock.slept_s) > 20
    assert 590 <= clock.now_s - 1000 <= 601


def test_time_is_bounded(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Attempts that take long are given up after retry_time_s_max, whatever their number."""

    def slow(run: SourceRun) -> None:
        clock.now_s += 40
        lost(run)

    with pytest.raises(SourceLost):
        run_of(monkeypatch, slow, attempts_max=1000, retry_time_s_max=100).run()
    assert clock.now_s - 1000 <= 100 + 40 + 40


def test_progress_resets_both_bounds(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """A run that commits something between its errors may have any number of them."""
    calls = 0

    def forward(run: SourceRun) -> None:
        nonlocal calls
        calls += 1
        clock.now_s += 60
        if calls == 40:
            return
        run._outcome.commits += 1
        lost(run)

    run_of(monkeypatch, forward, attempts_max=3, retry_time_s_max=100).run()
    assert calls == 40
    assert max(clock.slept_s) <= Limits().backoff_first_s  # each is a first attempt again


def unreached(code: int, label: str = "source 'a'") -> Callable[[SourceRun], None]:
    def fail(_: SourceRun) -> None:
        error = SourceLost("source 'a', connecting to h:3306: nobody", code=code)
        error.unreached = label
        raise error

    return fail


@pytest.mark.parametrize("seed", range(20))
def test_a_server_that_was_never_there_is_waited_for_a_minute(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, seed: int
) -> None:
    """Refused connections from the first attempt on: the server may be restarting. After a minute it is enough."""
    random.seed(seed)
    with pytest.raises(SourceLost):
        run_of(monkeypatch, unreached(2003)).run()
    assert sum(clock.slept_s) == pytest.approx(60)


def test_an_unknown_host_is_given_up_within_seconds(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """A name that nobody knows is a mistyped one, as long as the run has not been there before."""
    with pytest.raises(SourceLost):
        run_of(monkeypatch, unreached(2005)).run()
    assert sum(clock.slept_s) == pytest.approx(5)


@pytest.mark.parametrize("code", [2003, 2005])
def test_a_server_that_was_reached_once_is_waited_for_longer(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, code: int
) -> None:
    """Whoever has answered in this run will again: then host and port are right, and even the name server may rest."""
    run = run_of(monkeypatch, unreached(code), attempts_max=30)
    run._reached.add("source 'a'")
    with pytest.raises(SourceLost):
        run.run()
    assert sum(clock.slept_s) > 200


def test_the_others_go_on_without_a_target_that_is_down(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """After a minute in vain its mapping has failed; the others have the bounds of a new run before them."""
    made = two_targets()
    later_s: list[float] = []

    def attempt(run: SourceRun) -> None:
        if run.results["a.t"].error is None:
            unreached(2003, "target 'b'")(run)
        later_s.append(clock.now_s - 1000)
        if len(later_s) < 12:
            lost(run)

    monkeypatch.setattr(SourceRun, "_attempt", attempt)
    run = SourceRun(made, made.mappings)
    run.run()

    assert later_s[0] == pytest.approx(60)
    assert len(later_s) == 12
    assert run.error is not None
    assert {name: result.error for name, result in run.results.items()} == {"a.t": run.error, "a.u": None}


def test_the_first_failure_is_told_before_the_first_wait(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Who mistypes host or port reads it at once, with the number and for how long the run will try."""
    with caplog.at_level(logging.WARNING, "myrepetl"), pytest.raises(SourceLost):
        run_of(monkeypatch, unreached(2003)).run()
    assert "connecting to h:3306" in caplog.messages[0]
    assert "[2003]" in caplog.messages[0]
    assert "for 60 s at most" in caplog.messages[0]


def test_the_listener_hears_of_each_failed_attempt_before_its_wait(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """It gets the error, the attempt's number, the wait and how long the run goes on; the last error is raised."""
    heard: list[tuple[Retry, int]] = []
    made = pipeline(attempts_max=4)
    monkeypatch.setattr(SourceRun, "_attempt", lost)
    (run,) = runs(made, ["a.t"], on_retry=lambda retry: heard.append((retry, len(clock.slept_s))))
    with pytest.raises(SourceLost):
        run.run()
    assert [(retry.attempt, slept) for retry, slept in heard] == [(1, 0), (2, 1), (3, 2)]
    assert [retry.wait_s for retry, _ in heard] == clock.slept_s
    assert {(retry.source, retry.error.code) for retry, _ in heard} == {("a", 2013)}
    assert [retry.left_s for retry, _ in heard] == sorted((retry.left_s for retry, _ in heard), reverse=True)


def test_an_attempt_that_succeeds_ends_the_retries(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """The second attempt's success is the run's."""
    outcomes = [lost, lambda _: None]
    run_of(monkeypatch, lambda run: outcomes.pop(0)(run)).run()  # type: ignore[no-untyped-call]
    assert not outcomes
    assert len(clock.slept_s) == 1


@pytest.mark.parametrize("attempt", range(1, 60))
def test_backoff_is_capped_and_fully_jittered(attempt: int) -> None:
    """Any wait from nothing to the cap, which doubles from backoff_first_s up to backoff_max_s and stays there."""
    limits = Limits(backoff_first_s=0.2, backoff_max_s=30.0)
    whole = min(30.0, 0.2 * 2 ** (attempt - 1))

    assert backoff_s(limits, attempt, 0.0) == 0.0
    assert backoff_s(limits, attempt, 0.5) == pytest.approx(whole / 2)
    assert backoff_s(limits, attempt, 0.999999) < whole <= 30.0
    assert backoff_s(limits, 10**9, 0.5) == 15.0


def test_two_runs_do_not_retry_in_step(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Waits are random, so that many runs do not hit a server that comes back all at once."""
    waits = []
    for seed in (1, 2):
        random.seed(seed)
        with pytest.raises(SourceLost):
            run_of(monkeypatch, lost, attempts_max=6).run()
        waits.append(tuple(clock.slept_s))
        clock.slept_s.clear()
    assert waits[0] != waits[1]


# ---- what is retried -----------------------------------------------------------------------------------
RETRIED: tuple[type[ReplicationError], ...] = (SourceLost, TargetLost, TargetBusy, TransientError)
NOT_RETRIED: tuple[type[ReplicationError], ...] = (
    PrerequisiteError, PositionLost, SchemaDrift, UnsupportedEvent, RowRejected, StaleRun,
)  # fmt: skip


@pytest.mark.parametrize("kind", NOT_RETRIED)
def test_what_no_retry_mends_fails_at_once(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, kind: type[ReplicationError]
) -> None:
    """Errors of configuration, data, schema and position are raised by the first attempt."""

    def fail(_: SourceRun) -> None:
        raise kind("no")

    with pytest.raises(kind):
        run_of(monkeypatch, fail).run()
    assert not clock.slept_s
    assert not kind.retryable


@pytest.mark.parametrize("kind", RETRIED)
def test_what_passes_is_retried(monkeypatch: pytest.MonkeyPatch, clock: Clock, kind: type[ReplicationError]) -> None:
    """Lost connections and busy servers are tried again, and told to Dagster as retryable."""
    outcomes = [1]

    def fail_once(_: SourceRun) -> None:
        if outcomes:
            outcomes.pop()
            raise kind("for now")

    run_of(monkeypatch, fail_once).run()
    assert len(clock.slept_s) == 1
    assert kind.retryable


def test_every_error_says_whether_a_new_run_can_mend_it() -> None:
    """Only transient errors are retryable; no class is left out of these tests."""
    known = {*RETRIED, *NOT_RETRIED, ConfigError, RunFailed}  # the last is as its parts are
    assert _all_subclasses(ReplicationError) <= known


def _all_subclasses(kind: type[Any]) -> set[type[Any]]:
    found = {c for c in kind.__subclasses__() if c.__module__.endswith("core.errors")}
    return found.union(*(_all_subclasses(c) for c in found)) if found else set()


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interruption_is_never_retried(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, interruption: type[BaseException]
) -> None:
    """Ctrl-C and the end of the process go through."""

    def interrupted(_: SourceRun) -> None:
        raise interruption

    with pytest.raises(interruption):
        run_of(monkeypatch, interrupted).run()
    assert not clock.slept_s


# ---- the log -------------------------------------------------------------------------------------------
def test_every_attempt_is_logged_with_its_facts(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Operation, code, attempt and wait are fields of the record, not only words in it."""
    with caplog.at_level(logging.WARNING, "myrepetl"), pytest.raises(SourceLost):
        run_of(monkeypatch, lost, attempts_max=4).run()
    facts = [
        (r.__dict__["operation"], r.__dict__["code"], r.__dict__["attempt"], r.__dict__["wait_s"])
        for r in caplog.records
    ]

    assert [f[:3] for f in facts] == [("reading the log", 2013, n) for n in (1, 2, 3)]
    assert [f[3] for f in facts] == clock.slept_s
