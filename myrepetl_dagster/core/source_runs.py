"""A run of a pipeline's sources, for the API, the command line and Dagster: none waits in vain for another one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from .config.pipeline import Pipeline
from .model.errors import ReplicationError, RunFailed
from .replication.result import MappingResult
from .replication.run import OnProgress, SourceRun


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
    """
    if len(runs) > 1 and any(run.follows for run in runs):
        yield from _side_by_side(runs)
    else:
        yield from map(_ended, runs)


def _side_by_side(runs: Sequence[SourceRun]) -> Iterator[SourceRun]:
    """Sources that are followed cannot wait for each other."""
    for run in runs:
        run.share_memory(len(runs))
    with ThreadPoolExecutor(len(runs), thread_name_prefix="source") as pool:
        try:
            for future in as_completed([pool.submit(_ended, run) for run in runs]):
                yield future.result()
        except BaseException:  # told to end: nobody else would end the threads
            for run in runs:
                run.stop_following()
            raise


def _ended(run: SourceRun) -> SourceRun:
    try:
        run.run()
    except ReplicationError as error:
        run.failed(error)
    return run
