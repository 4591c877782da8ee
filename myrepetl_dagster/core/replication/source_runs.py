"""Runs of several sources, for the API, the command line and Dagster. One that fails does not stop the others."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from queue import SimpleQueue
from threading import Thread

from ..config.pipeline import Pipeline
from ..model.errors import ReplicationError, RunFailed, StopRequested
from .result import MappingResult
from .run import SourceRun
from .run_results import OnProgress, OnRetry

# How long we wait for stopped runs to end. A run that is just connecting may take longer, and then ends by itself.
_END_S = 3.0


def replicate(
    pipeline: Pipeline,
    mappings: Iterable[str] | None = None,
    on_progress: OnProgress = lambda _: None,
    *,
    copy_again: bool = False,
    follow_s: float = 0.0,
) -> list[MappingResult]:
    """Bring every mapping, or the named ones, up to its source.

    A mapping or a source that fails does not stop the others. A mapping's error is in its result.

    Args:
        copy_again: ignore the mappings' checkpoints and copy their tables again. Rows that the source no longer has
            are deleted. This is the `snapshot` job.
        follow_s: keep applying the sources' changes for this many seconds from now. The sources then run side by
            side, each in a thread.

    Raises:
        ReplicationError: a source or target as a whole is out of reach or unfit. It is raised after all sources have
            run. It is a `RunFailed` if there were other errors, too.
    """
    names = {m.name for m in pipeline.mappings} if mappings is None else set(mappings)
    chosen = runs(pipeline, names, on_progress, copy_again=names if copy_again else (), follow_s=follow_s)
    down = [run.error for run in run_all(chosen) if run.error is not None]
    results = [result for run in chosen for result in run.results.values()]
    if down:
        errors = {id(error): error for error in (*down, *(result.error for result in results)) if error is not None}
        raise down[0] if len(errors) == 1 else RunFailed(list(errors.values()))
    return results


def runs(
    pipeline: Pipeline,
    mappings: Collection[str],
    on_progress: OnProgress = lambda _: None,
    *,
    copy_again: Collection[str] = (),
    follow_s: float = 0.0,
    on_retry: OnRetry = lambda _: None,
) -> list[SourceRun]:
    """A run for each source of these mappings, not started yet, in the pipeline's order.

    The other arguments are those of `SourceRun`.
    """
    chosen = [[m for m in pipeline.mappings_of_source(name) if m.name in mappings] for name in pipeline.sources]
    return [
        SourceRun(pipeline, own, on_progress, copy_again=copy_again, follow_s=follow_s, on_retry=on_retry)
        for own in chosen
        if own
    ]


def run_all(runs: Sequence[SourceRun]) -> Iterator[SourceRun]:
    """Run them one after another, or side by side if they follow their sources; yields each one when it has ended.

    A run that fails as a whole keeps the error in its `error` and in its mappings' results; the others go on.
    If the caller stops early, or a signal's handler raises an error, all runs are stopped.
    """
    if any(run.follows for run in runs):  # one that follows its source would keep the next one waiting
        yield from _side_by_side(runs)
    else:
        for run in runs:
            yield from _side_by_side([run])


def _side_by_side(runs: Sequence[SourceRun]) -> Iterator[SourceRun]:
    """Run each one in a thread, while the caller's thread only waits.

    A signal's handler raises its error in the main thread. Python drops an error that is raised during an object's
    `__del__`, which each of PyMySQL's results has. So the driver must not run in the main thread.
    """
    ended: SimpleQueue[SourceRun | BaseException] = SimpleQueue()
    threads = [Thread(target=_run, args=(run, ended), name=f"source {run.source_name}", daemon=True) for run in runs]
    try:
        for run, thread in zip(runs, threads, strict=True):
            run.share_memory(len(runs))
            thread.start()
        for _ in threads:
            run_or_error = ended.get()
            if isinstance(run_or_error, BaseException):
                raise run_or_error
            yield run_or_error
    except BaseException:
        for run in runs:
            run.stop()
        raise
    finally:
        until_s = time.monotonic() + _END_S
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, until_s - time.monotonic()))


def _run(run: SourceRun, ended: SimpleQueue[SourceRun | BaseException]) -> None:
    """Put the run into the queue at its end, or the error that has to stop all runs."""
    try:
        try:
            run.run()
        except StopRequested:
            raise
        except ReplicationError as error:
            run.failed(error)
    except BaseException as error:
        ended.put(error)
    else:
        ended.put(run)
