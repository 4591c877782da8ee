"""Executes a run of the core in a step, and stops it once Dagster's run is told to end."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

import dagster as dg

from .core.model.errors import StopRequested
from .run_log import core_log

if TYPE_CHECKING:
    from .core.replication.run import SourceRun

_ENDING = frozenset({dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE})
_LOOK_S = 1.0


def run_stoppable(context: dg.OpExecutionContext, run: "SourceRun") -> None:
    """Run to the end, or until Dagster's run is told to end.

    Raises:
        Failure: stopped on request.
    """
    from .core.replication.source_runs import run_all

    try:
        with core_log(context, run.pipeline.monitoring.log_level), _stopped_with(context, run):
            for _ in run_all([run]):
                pass
    except (dg.DagsterExecutionInterruptedError, StopRequested) as error:
        raise dg.Failure("stopped on request", allow_retries=False) from error


@contextmanager
def _stopped_with(context: dg.OpExecutionContext, run: "SourceRun") -> Iterator[None]:
    """Stop `run` once Dagster's run is to end. Celery tells a step that is under way nothing of that."""
    over = Event()

    def watch() -> None:
        while not over.wait(_LOOK_S):
            found = context.instance.get_run_by_id(context.run_id)
            if found is None or found.status in _ENDING:
                run.stop()
                return

    thread = Thread(target=watch, name="run's end", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(5)
