"""Starts the sources of all ops of a run side by side, where Dagster executes its ops one after another in one process.

The first op starts them, and each op then waits for its own. Else a long copy of one source would hold up the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .core.config.pipeline import Pipeline
from .core.replication.result import Progress
from .core.replication.run import SourceRun
from .core.replication.source_runs import SideBySide, runs

if TYPE_CHECKING:
    from .assets import ReplicationConfig
    from .progress import ProgressReport


@dataclass(slots=True)
class _Started:
    """The runs that the first op of a Dagster run has started, by op. `report`: of the op that is executed now."""

    together: SideBySide
    by_op: dict[str, list[SourceRun]]
    report: ProgressReport


_started: dict[str, _Started] = {}  # by Dagster's run


def runs_of_op(
    run_id: str,
    pipeline: Pipeline,
    op_name: str,
    mappings: Mapping[str, Collection[str]],
    config: ReplicationConfig,
    copy_again: Collection[str],
    report: ProgressReport,
) -> Iterator[SourceRun]:
    """Run the sources of an op, or take over its runs that an earlier op has started; yields each when it has ended.

    If the caller stops early, or is interrupted, the runs of all ops are stopped.

    Args:
        mappings: of each op of Dagster's run that is executed in this process.
        copy_again: the op's own mappings to copy again.
    """
    started = _started.get(run_id)
    if started is None:
        started = _started[run_id] = _start(pipeline, op_name, mappings, config, copy_again, report)
    elif op_name not in started.by_op:  # Dagster tries it again, while others still run
        alone = {op_name: mappings[op_name]}
        started = _start(pipeline, op_name, alone, config, copy_again, report)
    started.report = report
    own = started.by_op.pop(op_name)
    try:
        yield from started.together.ended(own)
    except BaseException:
        started.together.stop()
        started.by_op.clear()
        raise
    finally:
        if not started.by_op and _started.get(run_id) is started:
            del _started[run_id]


def _start(
    pipeline: Pipeline,
    op_name: str,
    mappings: Mapping[str, Collection[str]],
    config: ReplicationConfig,
    copy_again: Collection[str],
    report: ProgressReport,
) -> _Started:
    def heard(progress: Progress) -> None:
        started.report(progress)

    by_op = {}
    for op, names in mappings.items():
        again = copy_again if op == op_name else names if config.copy_again else ()
        by_op[op] = runs(pipeline, names, heard, copy_again=again, follow_s=config.follow_s, waits_for_turn=True)
    started = _Started(SideBySide([run for own in by_op.values() for run in own]), by_op, report)
    started.together.start()
    return started
