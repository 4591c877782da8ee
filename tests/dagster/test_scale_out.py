"""The job of many steps in one process, in several, and on Celery with a real Redis: the same job, by configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from dagster_support import Pair
from scale_out import Place, Redis, wait_for

pytestmark = pytest.mark.long

ROWS = 400


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with Redis(tmp_path_factory.mktemp("redis")) as found:
        yield found


@pytest.fixture
def place(mysql_pair: Pair) -> Place:
    """A table of 400 users, which the jobs copy."""
    rows = ", ".join(f"('user {i}')" for i in range(ROWS - 3))
    mysql_pair.source.execute(f"INSERT INTO shop.users (name) VALUES {rows}")
    return Place(mysql_pair)


def copied(place: Place) -> int:
    return int(place.pair.target.execute("SELECT COUNT(*) FROM dw.users")[0][0])


LOCAL: dict[str, dict[str, Any]] = {
    "in process": {"config": {"in_process": {}}},
    "multiprocess": {"config": {"multiprocess": {"max_concurrent": 2}}},
}


@pytest.mark.parametrize("execution", LOCAL)
def test_in_one_process_and_in_several(place: Place, execution: str) -> None:
    """`execution` in the run's configuration decides; the steps and the rows are the same."""
    code, text = place.execute("local_snapshot_parallel", {"step_rows": 150, "execution": LOCAL[execution]})
    assert code == 0, text
    for number in (1, 2, 3):
        assert f"range {number} of 3: 1" in text, text
    several = any("multiprocess executor: parent process" in said for said in place.said())
    assert several == (execution == "multiprocess")
    assert copied(place) == ROWS
    assert not place.sessions()


def test_on_celery_with_two_workers(place: Place, redis: Redis) -> None:
    """Two workers that take their steps from a real Redis copy the table; both have work."""
    with place.workers(redis, 2):
        code, text = place.execute("remote_snapshot_parallel", {"step_rows": 70, "execution": redis.execution})
        logs = [place.log_of(name).read_text() for name in ("w0", "w1")]
    assert code == 0, text
    assert copied(place) == ROWS
    assert all("succeeded in" in log for log in logs), logs
    assert not place.sessions()


def test_without_a_broker_a_run_fails_with_one_line(place: Place, redis: Redis, tmp_path: Path) -> None:
    """A run whose broker is not there ends in seconds, and says where the broker was looked for."""
    nobody = Redis(tmp_path)
    code, text = place.execute("remote_snapshot_parallel", {"execution": nobody.execution}, timeout_s=200)
    assert code != 0
    assert f"Celery's broker redis://127.0.0.1:{nobody.port}/0 is out of reach" in text
    assert "Start it, or correct `broker`" in text


def test_without_a_worker_a_run_fails_with_one_line(place: Place, redis: Redis) -> None:
    """A run that nobody would execute ends in seconds, and says which queue nobody listens to."""
    code, text = place.execute("remote_snapshot_parallel", {"execution": redis.execution}, timeout_s=200)
    assert code != 0
    assert "no Celery worker takes steps from the queue 'dagster'" in text


@contextlib.contextmanager
def held_up(place: Place) -> Iterator[None]:
    """A row of the target is locked, so that a step has to wait."""
    with contextlib.closing(place.pair.target.connect(autocommit=False)) as other, other.cursor() as cursor:
        cursor.execute("SELECT id FROM dw.users WHERE id = 200 FOR UPDATE")
        yield


def waits(place: Place) -> bool:
    sql = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    return bool(place.pair.target.execute(sql))


def test_terminate_ends_a_run_on_each_executor(place: Place, redis: Redis) -> None:
    """Terminate in the UI while a step waits for a lock: the run is canceled, and no session is left on a server. The
    next run copies the table.
    """
    assert place.execute("local_snapshot_parallel", {})[0] == 0
    jobs = [("local_snapshot_parallel", LOCAL[name]) for name in LOCAL]
    jobs.append(("remote_snapshot_parallel", redis.execution))
    with place.workers(redis, 2), place.ui() as ui:
        for job, execution in jobs:
            with held_up(place):
                run_id = ui.launch(job, {"step_rows": 150, "execution": execution})
                wait_for(lambda: waits(place), 240, ui.log)
                ui.terminate(run_id)
                took_s = wait_for(partial(ui.has_status, run_id, "CANCELED"), 30, ui.log)
                gone_s = wait_for(lambda: not place.sessions(), 30, ui.log)
                print(f"{job}, {execution}: canceled after {took_s:.1f} s, sessions gone after {gone_s:.1f} s more")
        run_id = ui.launch("remote_snapshot_parallel", {"step_rows": 150, "execution": redis.execution})
        wait_for(lambda: ui.status(run_id) in ("SUCCESS", "FAILURE"), 240, ui.log)
        assert ui.status(run_id) == "SUCCESS"
    assert copied(place) == ROWS
