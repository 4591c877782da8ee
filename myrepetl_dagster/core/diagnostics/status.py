"""How every mapping stands, asked of both servers. Reads only; creates and claims nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

from ..config.pipeline import Endpoint, Pipeline, TableMapping
from ..model.checkpoint import Checkpoint
from ..model.errors import ReplicationError
from ..model.position import Position
from ..source.mysql_source import MySQLSource
from ..target.control import TargetControl
from .row_counts import RowCounter


@dataclass(slots=True)
class MappingStatus:
    """One mapping. `lag_s`: 0 at the source's head, else seconds since the last applied commit; None: unknown.

    `rows` are the mapping's rows in the target, None where there is no table, no connection, or no time to count them
    (`queries.py`).
    """

    mapping: str
    phase: str = "not started"
    position: str | None = None
    source_head: str | None = None
    lag_s: float | None = None
    rows: int | None = None
    last_error: str | None = None


@dataclass(slots=True)
class ConnectionStatus:
    name: str
    role: str
    connected: bool = True
    error: str | None = None


@dataclass(slots=True)
class Status:
    mappings: list[MappingStatus] = field(default_factory=list)
    connections: list[ConnectionStatus] = field(default_factory=list)

    @property
    def connected(self) -> bool:
        return all(connection.connected for connection in self.connections)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def status(pipeline: Pipeline, source: str | None = None, target: str | None = None) -> Status:
    """The status of all mappings, or of those of one source or target. A dead server is in the answer."""
    chosen = [m for m in pipeline.mappings if source in (None, m.source) and target in (None, m.target)]
    found = Status()
    heads: dict[str, tuple[Position, float]] = {}
    for name in _names(pipeline.sources, (m.source for m in chosen), source, target):
        connection = _connection(pipeline.sources[name])
        reader = MySQLSource(pipeline.sources[name], pipeline.limits)
        try:
            heads[name] = (reader.head(), reader.now_unix_s())
        except ReplicationError as error:
            connection.connected, connection.error = False, str(error)
        finally:
            reader.close()
        found.connections.append(connection)
    with closing(RowCounter()) as counter:
        for name in _names(pipeline.targets, (m.target for m in chosen), target, source):
            connection, mappings = _of_target(pipeline, name, [m for m in chosen if m.target == name], heads, counter)
            found.connections.append(connection)
            found.mappings += mappings
    order = [m.name for m in chosen]
    found.mappings.sort(key=lambda m: order.index(m.mapping))
    return found


def _names(known: Iterable[str], used: Iterable[str], asked: str | None, other: str | None) -> list[str]:
    if asked is not None:
        return [asked]
    wanted = set(used)
    return [name for name in known if name in wanted or other is None]


def _connection(endpoint: Endpoint) -> ConnectionStatus:
    return ConnectionStatus(endpoint.name, endpoint.role)


def _of_target(
    pipeline: Pipeline,
    name: str,
    mappings: Sequence[TableMapping],
    heads: Mapping[str, tuple[Position, float]],
    counter: RowCounter,
) -> tuple[ConnectionStatus, list[MappingStatus]]:
    connection = _connection(pipeline.targets[name])
    target = TargetControl(pipeline.targets[name], pipeline.limits)
    try:
        held = target.read_checkpoints([m.name for m in mappings])
        found = [_mapping_status(m, held.get(m.name), heads.get(m.source)) for m in mappings]
        for mapping, one in zip(mappings, found, strict=True):
            _count(mapping, one, target, counter)
    except ReplicationError as error:
        connection.connected, connection.error = False, str(error)
        found = [MappingStatus(m.name, phase="unknown") for m in mappings]
    finally:
        target.close()
    return connection, found


def _mapping_status(
    mapping: TableMapping, held: Checkpoint | None, head: tuple[Position, float] | None
) -> MappingStatus:
    status = MappingStatus(mapping.name)
    if head is not None:
        status.source_head = str(head[0])
    if held is None:
        return status
    status.phase = held.phase.value
    status.position = str(held.position)
    status.last_error = held.last_error or None
    if head is not None:
        status.lag_s = lag_s(held, *head)
    return status


def _count(mapping: TableMapping, status: MappingStatus, target: TargetControl, counter: RowCounter) -> None:
    """Count a mapping's rows; what goes wrong hides neither the rest nor the checkpoint."""
    try:
        status.rows = counter.count(target, mapping.target_name, mapping.fixed_key)
    except ReplicationError as error:
        status.last_error = status.last_error or str(error)


def lag_s(held: Checkpoint, head: Position, now_unix_s: float) -> float | None:
    """How far a checkpoint is behind its source's head, in seconds by the source's clock."""
    if held.position.server == head.server and held.position.covers(head):
        return 0.0
    if held.source_time_unix_s is None:
        return None
    return max(0.0, round(now_unix_s - held.source_time_unix_s, 3))
