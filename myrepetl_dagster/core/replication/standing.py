"""What a follower can do with each mapping now: go on with it, leave it to the run that works on it, or neither.

Reads checkpoints and turns only; creates and claims nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum

from ..config.code_version import transform_code
from ..config.pipeline import Pipeline, TableMapping
from ..model.checkpoint import NOT_COPIED, Checkpoint, Phase
from ..model.errors import UnreadableCheckpoint
from ..target.control import TargetControl

# A mapping that lags behind its source's others by more is caught up by a run of its own: a follower would have to
# read the log once more from there, and the others would wait.
BEHIND_S_MAX = 60.0
_TARGETS_AT_ONCE = 16


class Standing(StrEnum):
    """READY: a follower can go on with it. AT_WORK: a run works on it. DUE: it needs a run of its own first."""

    READY = "ready"
    AT_WORK = "at work"
    DUE = "due"


@dataclass(frozen=True, slots=True)
class MappingStanding:
    """`reason`: why the mapping is not ready, for people. `checkpoint`: None if there is none, or none to be read."""

    mapping: TableMapping
    standing: Standing
    reason: str = ""
    checkpoint: Checkpoint | None = None


def standings(
    pipeline: Pipeline, mappings: Sequence[TableMapping], timeout_s: float = 3.0
) -> dict[str, MappingStanding]:
    """The standing of each mapping, by name. No question to a target takes longer than `timeout_s` seconds.

    Raises:
        ReplicationError: a target is out of reach, or refuses us.
    """

    def asked(target: str) -> list[MappingStanding]:
        return _of_target(pipeline, target, [m for m in mappings if m.target == target], timeout_s)

    with ThreadPoolExecutor(_TARGETS_AT_ONCE, thread_name_prefix="standing") as pool:
        found = [one for own in pool.map(asked, dict.fromkeys(m.target for m in mappings)) for one in own]
    newest = _newest(found)
    return {one.mapping.name: _not_too_far_behind(one, newest) for one in found}


def _of_target(
    pipeline: Pipeline, target: str, mappings: Sequence[TableMapping], timeout_s: float
) -> list[MappingStanding]:
    endpoint = pipeline.targets[target]
    quick = replace(
        endpoint,
        connect_timeout_s=min(endpoint.connect_timeout_s or timeout_s, timeout_s),
        read_timeout_s=timeout_s,
        write_timeout_s=timeout_s,
    )
    limits = replace(pipeline.limits, connect_timeout_s=timeout_s, control_timeout_s=timeout_s)
    names = [m.name for m in mappings]
    with closing(TargetControl(quick, limits)) as control:
        taken = control.turns_taken(names)
        checkpoints = control.read_checkpoints(names)  # after the turns: a run that has ended since has committed
    found = []
    for mapping in mappings:
        try:
            checkpoint = checkpoints.get(mapping.name)
        except UnreadableCheckpoint as error:
            found.append(MappingStanding(mapping, Standing.DUE, str(error)))
            continue
        standing, reason = _standing(mapping, checkpoint)
        if mapping.name in taken:
            standing, reason = Standing.AT_WORK, "another run works on it"
        found.append(MappingStanding(mapping, standing, reason, checkpoint))
    return found


def _standing(mapping: TableMapping, checkpoint: Checkpoint | None) -> tuple[Standing, str]:
    if checkpoint is None:
        return Standing.DUE, NOT_COPIED
    if checkpoint.last_error:
        return Standing.DUE, checkpoint.last_error
    if checkpoint.phase is Phase.COPYING:
        return Standing.DUE, "half copied"
    if checkpoint.code is not None and checkpoint.code != transform_code(mapping):
        return Standing.DUE, "the code of its transforms is not what its rows were made with"
    return Standing.READY, ""


def _newest(found: Iterable[MappingStanding]) -> dict[str, float]:
    """The time up to which the furthest mapping of each source is complete, in seconds by the source's clock."""
    newest: dict[str, float] = {}
    for one in found:
        if one.checkpoint is not None and one.checkpoint.source_time_unix_s is not None:
            source = one.mapping.source
            newest[source] = max(newest.get(source, 0.0), one.checkpoint.source_time_unix_s)
    return newest


def _not_too_far_behind(one: MappingStanding, newest: dict[str, float]) -> MappingStanding:
    if one.standing is not Standing.READY or one.checkpoint is None:
        return one
    behind_s = newest.get(one.mapping.source, 0.0) - (one.checkpoint.source_time_unix_s or 0.0)
    if behind_s <= BEHIND_S_MAX:
        return one
    return replace(one, standing=Standing.DUE, reason=f"{behind_s:.0f} s behind the source's other tables")
