"""The status of every mapping, from its source and its target. Reads only; creates and claims nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from ..config.pipeline import Endpoint, Pipeline, TableMapping
from ..model.checkpoint import Checkpoints
from ..model.errors import ReplicationError, UnreadableCheckpoint
from ..replication.result import percent_of, stage_of
from ..source.mysql_source import MySQLSource
from ..target.control import TargetControl
from .pending_changes import STATUS_SCAN_BYTES_MAX, PendingChanges, pending_in_source
from .row_counts import RowCounter


@dataclass(slots=True)
class MappingStatus:
    """One mapping. `lag_s`: see `lag.py`; None: not started, or unknown.

    `stopped`: it stays where it is, since its last run ended with `last_error`.
    `rows` are the mapping's rows in the target, None where there is no table, no connection, or no time to count them
    (`queries.py`). `stage` says what a run does, or would go on with; `rows_done`, `rows_estimated` and `percent` are
    those of the pass of a copy (`CopyState`). The other counts are the checkpoint's.
    """

    mapping: str
    phase: str = "not started"
    position: str | None = None
    source_head: str | None = None
    lag_s: float | None = None
    rows: int | None = None
    last_error: str | None = None
    stopped: bool = False
    stage: str | None = None
    rows_done: int | None = None
    rows_estimated: int | None = None
    percent: float | None = None
    rows_snapshotted: int = 0
    changes_applied: int = 0
    rows_deleted: int = 0
    rows_swept: int = 0
    rows_filtered: int = 0
    bytes_read: int = 0
    commits: int = 0


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


def status(
    pipeline: Pipeline, source: str | None = None, target: str | None = None, *, count_rows: bool = True
) -> Status:
    """The status of all mappings, or of those of one source or target. An unreachable server is part of the answer."""
    chosen = [m for m in pipeline.mappings if source in (None, m.source) and target in (None, m.target)]
    found = Status()
    checkpoints = Checkpoints()
    pending: dict[str, PendingChanges] = {}
    with ExitStack() as stack:
        counter = stack.enter_context(closing(RowCounter()))
        targets: list[tuple[ConnectionStatus, TargetControl]] = []
        for name in _names(pipeline.targets, (m.target for m in chosen), target, source):
            writer = TargetControl(pipeline.targets[name], pipeline.limits)
            stack.callback(writer.close)
            targets.append((_connection(pipeline.targets[name]), writer))
        for connection, writer in targets:  # before the sources, so that no lag is told too low
            with _noted(connection):
                names = [m.name for m in chosen if m.target == connection.name]
                checkpoints = checkpoints | writer.read_checkpoints(names)
        for name in _names(pipeline.sources, (m.source for m in chosen), source, target):
            connection = _connection(pipeline.sources[name])
            own = [m for m in chosen if m.source == name]
            with closing(MySQLSource(pipeline.sources[name], pipeline.limits)) as reader, _noted(connection):
                found_pending = pending_in_source(reader, own, checkpoints.readable, STATUS_SCAN_BYTES_MAX)
                pending |= {one.mapping.name: one for one in found_pending}
            found.connections.append(connection)
        for connection, writer in targets:  # last, since counting takes its time
            own = [m for m in chosen if m.target == connection.name]
            mappings = [MappingStatus(m.name, phase="unknown") for m in own]
            if connection.connected:
                with _noted(connection):
                    mappings = [_mapping_status(m, checkpoints, pending.get(m.name)) for m in own]
                    for mapping, status in zip(own, mappings, strict=True) if count_rows else ():
                        _count(mapping, status, writer, counter)
            found.mappings += mappings
            found.connections.append(connection)
    order = [m.name for m in chosen]
    found.mappings.sort(key=lambda m: order.index(m.mapping))
    return found


def _names(known: Iterable[str], used: Iterable[str], asked: str | None, other: str | None) -> list[str]:
    if asked is not None:
        return [asked]
    wanted = set(used)
    return [name for name in known if name in wanted or other is None]


@contextmanager
def _noted(connection: ConnectionStatus) -> Iterator[None]:
    """Note an error in the connection's status, and go on with the other servers."""
    try:
        yield
    except ReplicationError as error:
        connection.connected, connection.error = False, str(error)


def _connection(endpoint: Endpoint) -> ConnectionStatus:
    return ConnectionStatus(endpoint.name, endpoint.role)


def _mapping_status(mapping: TableMapping, checkpoints: Checkpoints, pending: PendingChanges | None) -> MappingStatus:
    status = MappingStatus(mapping.name)
    if pending is not None:
        status.source_head, status.lag_s = pending.source_head, pending.lag_s
    try:
        checkpoint = checkpoints.get(mapping.name)
    except UnreadableCheckpoint as error:
        status.phase, status.last_error, status.stopped = "unknown", str(error), True
        return status
    if checkpoint is None:
        return status
    status.phase = checkpoint.phase.value
    status.position = checkpoint.position.text
    status.stage = stage_of(checkpoint).value
    if (copy := checkpoint.copy) is not None:
        status.rows_done, status.rows_estimated = copy.rows_done, copy.rows_estimated
        status.percent = percent_of(copy.rows_done, copy.rows_estimated)
    for name in ("rows_snapshotted", "changes_applied", "rows_deleted", "rows_swept", "rows_filtered", "bytes_read"):
        setattr(status, name, getattr(checkpoint, name))
    status.commits = checkpoint.sequence
    status.last_error = checkpoint.last_error or None
    status.stopped = bool(checkpoint.last_error)
    return status


def _count(mapping: TableMapping, status: MappingStatus, target: TargetControl, counter: RowCounter) -> None:
    """Count a mapping's rows. An error becomes its `last_error`, unless the checkpoint has one."""
    try:
        status.rows = counter.count(target, mapping.target_name, mapping.fixed_key)
    except ReplicationError as error:
        status.last_error = status.last_error or str(error)
