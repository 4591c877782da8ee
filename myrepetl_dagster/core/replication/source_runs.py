"""Runs of several sources, side by side, for the API, the command line and Dagster. One that fails stops no other."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from threading import Condition, Thread

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
        follow_s: keep applying the sources' changes for this many seconds from now.

    Raises:
        ReplicationError: a source or target as a whole is out of reach or unfit. It is raised after all sources have
            run. It is a `RunFailed` if there were other errors, too.
    """
    names = {m.name for m in pipeline.mappings} if mappings is None else set(mappings)
    chosen = runs(pipeline, names, on_progress, copy_again=names if copy_again else (), follow_s=follow_s)
    for _ in run_all(chosen):
        pass
    down = [run.error for run in chosen if run.error is not None]
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
    waits_for_turn: bool = False,
) -> list[SourceRun]:
    """A run for each source of these mappings, not started yet, in the pipeline's order.

    The other arguments are those of `SourceRun`.
    """
    chosen = [[m for m in pipeline.mappings_of_source(name) if m.name in mappings] for name in pipeline.sources]
    return [
        SourceRun(
            pipeline,
            own,
            on_progress,
            copy_again=copy_again,
            follow_s=follow_s,
            on_retry=on_retry,
            waits_for_turn=waits_for_turn,
        )
        for own in chosen
        if own
    ]


def run_all(runs: Sequence[SourceRun]) -> Iterator[SourceRun]:
    """Run them side by side; yields each one when it has ended.

    A run that fails as a whole keeps the error in its `error` and in its mappings' results; the others go on.
    If the caller stops early, or a signal's handler raises an error, all runs are stopped.
    """
    with SideBySide(runs) as together:
        yield from together.ended(runs)


class SideBySide:
    """Runs of several sources, each in a thread. Use as a context: an error from its block stops all runs.

    A signal's handler raises its error in the main thread. Python drops an error that is raised during an object's
    `__del__`, which each of PyMySQL's results has. So the driver must not run in the main thread, which only waits.
    """

    def __init__(self, runs: Sequence[SourceRun]) -> None:
        self._runs = runs
        self._changed = Condition()
        self._ended: dict[int, BaseException | None] = {}  # by the run's id(), in the order of their ends
        self._threads = [
            Thread(target=self._run, args=(run,), name=f"source {run.source_name}", daemon=True) for run in runs
        ]

    def start(self) -> None:
        """Start all runs."""
        for run, thread in zip(self._runs, self._threads, strict=True):
            run.share_memory(len(self._runs))
            thread.start()

    def ended(self, own: Sequence[SourceRun]) -> Iterator[SourceRun]:
        """Wait for some of the runs; yields each one when it has ended.

        Raises:
            BaseException: an error of a run that is none of replication; it has to stop all.
        """
        left = {id(run): run for run in own}
        while left:
            with self._changed:
                while not (done := [one for one in self._ended if one in left]):
                    self._changed.wait()
                errors = [self._ended[one] for one in done]
            for one, error in zip(done, errors, strict=True):
                if error is not None:
                    raise error
                yield left.pop(one)

    def stop(self) -> None:
        """End all runs at once, and wait a moment for their ends."""
        for run in self._runs:
            run.stop()
        self._join()

    def __enter__(self) -> SideBySide:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop() if kind is not None else self._join()

    def _join(self) -> None:
        until_s = time.monotonic() + _END_S
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, until_s - time.monotonic()))

    def _run(self, run: SourceRun) -> None:
        """Run, and note the end, with the error that has to stop all runs."""
        failure: BaseException | None = None
        try:
            try:
                run.run()
            except StopRequested:
                raise
            except ReplicationError as error:
                run.failed(error)
        except BaseException as error:
            failure = error
        with self._changed:
            self._ended[id(run)] = failure
            self._changed.notify_all()
