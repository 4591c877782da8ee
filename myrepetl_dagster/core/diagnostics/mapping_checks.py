"""The checks of a target's mappings: whether a run could start on each of them. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing

from ..config.pipeline import Pipeline, TableMapping
from ..model.checkpoint import Checkpoint, Checkpoints
from ..model.errors import ReplicationError, TransientError
from .dry_run import DryRun, DryRunSource, DryRunTarget, Outlook
from .report import ConnectionReport, State


def mapping_checks(report: ConnectionReport, pipeline: Pipeline, target: DryRunTarget) -> None:
    """Add a line for each mapping that a run would refuse, or whose copy would delete rows."""
    mappings = pipeline.mappings_of_target(report.endpoint.name)
    checkpoints = target.control.read_checkpoints([m.name for m in mappings])
    good = 0
    for source in dict.fromkeys(m.source for m in mappings):
        own = [m for m in mappings if m.source == source]
        for outlook in _outlooks(report, pipeline, target, own, checkpoints):
            _add(report, outlook)
            good += outlook.error is None
    report.add("mappings", State.OK, f"{good} of {len(mappings)} can be planned")


def outlooks(pipeline: Pipeline, mappings: Sequence[TableMapping]) -> dict[str, Outlook]:
    """How a run would start on each of these mappings, by name.

    Raises:
        ReplicationError: a server is out of reach, or refuses us.
    """
    found: dict[str, Outlook] = {}
    with ExitStack() as stack:
        targets: dict[str, DryRunTarget] = {}
        for name in dict.fromkeys(m.target for m in mappings):
            targets[name] = DryRunTarget(pipeline.targets[name], pipeline.limits)
            stack.callback(targets[name].close)
        for name in dict.fromkeys(m.source for m in mappings):
            own = [m for m in mappings if m.source == name]
            checkpoints = Checkpoints()
            for target in dict.fromkeys(m.target for m in own):
                names = [m.name for m in own if m.target == target]
                checkpoints |= targets[target].control.read_checkpoints(names)
            with closing(DryRunSource(pipeline.sources[name], pipeline.limits)) as source:
                seen = DryRun(pipeline, source, {m.target: targets[m.target] for m in own}).look(own, checkpoints)
            found |= {one.mapping.name: one for one in seen}
    return found


def _outlooks(
    report: ConnectionReport,
    pipeline: Pipeline,
    target: DryRunTarget,
    mappings: Sequence[TableMapping],
    checkpoints: Mapping[str, Checkpoint],
) -> Sequence[Outlook]:
    name = mappings[0].source
    source = DryRunSource(pipeline.sources[name], pipeline.limits)
    try:
        return DryRun(pipeline, source, {report.endpoint.name: target}).look(mappings, checkpoints)
    except ReplicationError as error:  # the source's own report says how to mend it
        state = State.SKIPPED if isinstance(error, TransientError) else State.FAILED
        found = f"{len(mappings)} could not be looked at (--source {name} says why): {error.message}"
        report.add("mapping", state, found)
        return []
    finally:
        source.close()


def _add(report: ConnectionReport, outlook: Outlook) -> None:
    mapping, error = outlook.mapping, outlook.error
    for warning in outlook.warnings:
        report.add("mapping", State.WARNING, f"{mapping.name}: {warning}")
    if outlook.deletes:
        report.add(
            "mapping",
            State.WARNING,
            f"{mapping.name}: {mapping.target_name} holds rows; the copy deletes those that the source does not have",
            "-- set init_if_table_empty: true to take the table as it is, or move those rows elsewhere",
        )
    if isinstance(error, TransientError):
        report.add("mapping", State.SKIPPED, f"{mapping.name}: could not be looked at: {error.message}")
    elif error is not None:
        named = repr(mapping.name) in error.message
        report.add("mapping", State.FAILED, error.message if named else f"{mapping.name}: {error.message}", error.hint)
