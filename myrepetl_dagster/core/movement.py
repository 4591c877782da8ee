"""Whether a source has moved past the checkpoints in the targets: the quick question that a sensor asks.

Unlike `status` it counts no rows and waits for no slow server. Reads only; creates and claims nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .apply import MySQLTarget
from .checkpoint import Checkpoint
from .model import Limits, Phase
from .pipeline import Endpoint, Pipeline, TableMapping
from .position import Position
from .source import MySQLSource
from .status import lag_s


@dataclass(frozen=True, slots=True)
class Movement:
    """One mapping. `due`: a run would find something to do. `lag_s` None: not known yet.

    `phase` and `position` are None before the mapping's first run.
    """

    mapping: TableMapping
    due: bool
    source_head: str
    phase: Phase | None = None
    position: str | None = None
    lag_s: float | None = None


def movements(pipeline: Pipeline, mappings: Sequence[TableMapping], timeout_s: float = 3.0) -> list[Movement]:
    """How far each of the mappings is behind its source. No server is waited for longer than `timeout_s`.

    Raises:
        ReplicationError: a server is out of reach, or refuses us.
    """
    limits = replace(pipeline.limits, connect_timeout_s=timeout_s, control_timeout_s=timeout_s)
    heads: dict[str, tuple[Position, float]] = {}
    held: dict[str, Checkpoint] = {}
    for source in dict.fromkeys(m.source for m in mappings):
        heads[source] = _head(_quick(pipeline.sources[source], timeout_s), limits)
    for target in dict.fromkeys(m.target for m in mappings):
        names = [m.name for m in mappings if m.target == target]
        held |= _checkpoints(_quick(pipeline.targets[target], timeout_s), limits, names)
    return [_movement(m, held.get(m.name), *heads[m.source]) for m in mappings]


def _quick(endpoint: Endpoint, timeout_s: float) -> Endpoint:
    connect_timeout_s = min(endpoint.connect_timeout_s or timeout_s, timeout_s)
    return replace(endpoint, connect_timeout_s=connect_timeout_s, read_timeout_s=timeout_s, write_timeout_s=timeout_s)


def _head(endpoint: Endpoint, limits: Limits) -> tuple[Position, float]:
    source = MySQLSource(endpoint, limits)
    try:
        return source.head(), source.now_unix_s()
    finally:
        source.close()


def _checkpoints(endpoint: Endpoint, limits: Limits, names: Sequence[str]) -> dict[str, Checkpoint]:
    target = MySQLTarget(endpoint, limits)
    try:
        return target.read_checkpoints(names)
    finally:
        target.close()


def _movement(mapping: TableMapping, held: Checkpoint | None, head: Position, now_unix_s: float) -> Movement:
    if held is None:
        return Movement(mapping, True, str(head))
    reached = held.position.server == head.server and held.position.covers(head)
    due = not reached or held.phase is not Phase.REPLICATING
    return Movement(mapping, due, str(head), held.phase, str(held.position), lag_s(held, head, now_unix_s))
