"""All sources of a pipeline, for the API, the command line and Dagster alike: one that is down holds up no other."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from queue import SimpleQueue
from threading import Thread

from ..config.pipeline import Pipeline
from ..model.errors import ReplicationError, RunFailed, StopRequested
from .result import MappingResult
from .run import OnProgress, SourceRun

# How long a run that was stopped is waited for. One that is just connecting may take longer, and then ends by itself.
_END_S = 3.0


def replicate(
    pipeline: Pipeline,
    mappings: Iterable[str] | None = None,
    on_progress: OnProgress = lambda _: None,
    *,
    copy_again: bool = False,
    follow_s: float = 0.0,
) -> list[MappingResult]:
    """Bring every mapping (or those named) to where its source is at the start.

    A mapping that fails does not hold up the others: its error is in its result. Neither does a source.

    Args:
        copy_again: forget the mappings' checkpoints and copy their tables again, rows that the source no
            longer has deleted (the `snapshot` job).
        follow_s: keep applying what the sources write for so many seconds from now. Sources are then run
            side by side, each in a thread.

    Raises:
        ReplicationError: a source or target as a whole is out of reach or unfit; once all sources have been run.
            `RunFailed`, if that is not all that failed.
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
) -> list[SourceRun]:
    """A run for each source that these mappings have, in the pipeline's order, not begun yet.

    Args: those of `SourceRun`.
    """
    chosen = [[m for m in pipeline.mappings_of_source(name) if m.name in mappings] for name in pipeline.sources]
    return [SourceRun(pipeline, own, on_progress, copy_again=copy_again, follow_s=follow_s) for own in chosen if own]


def run_all(runs: Sequence[SourceRun]) -> Iterator[SourceRun]:
    """Run them, one after another, or side by side where they follow their sources; gives each when it has ended.

    The error of one that fails as a whole is its `error`, and that of its mappings; the others are run all the same.
    If the caller stops early, or a signal's handler raises something, all are stopped.
    """
    if any(run.follows for run in runs):  # sources that are followed cannot wait for each other
        yield from _side_by_side(runs)
    else:
        for run in runs:
            yield from _side_by_side([run])


def _side_by_side(runs: Sequence[SourceRun]) -> Iterator[SourceRun]:
    """Each in a thread. The caller's only waits, so that what a signal's handler raises there meets nothing of the
    driver's: Python drops what is raised while it finalizes an object, and each of PyMySQL's results has a `__del__`.
    """
    over: SimpleQueue[SourceRun | BaseException] = SimpleQueue()
    threads = [Thread(target=_run, args=(run, over), name=f"source {run.source_name}", daemon=True) for run in runs]
    try:
        for run, thread in zip(runs, threads, strict=True):
            run.share_memory(len(runs))
            thread.start()
        for _ in threads:
            one = over.get()
            if isinstance(one, BaseException):
                raise one
            yield one
    except BaseException:
        for run in runs:
            run.stop()
        raise
    finally:
        until_s = time.monotonic() + _END_S
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, until_s - time.monotonic()))


def _run(run: SourceRun, over: SimpleQueue[SourceRun | BaseException]) -> None:
    """Put the run there when it has ended; or what ends all of them."""
    try:
        try:
            run.run()
        except StopRequested:
            raise
        except ReplicationError as error:
            run.failed(error)
    except BaseException as error:
        over.put(error)
    else:
        over.put(run)
