"""Whether a source has moved past the checkpoints in the targets: the quick question that a sensor asks.

Unlike `status` it counts no rows and waits for no slow server. Reads only; creates and claims nothing.

That the log has grown does not say that there is something to do: where the source is a target, too, our own
commits make it grow, and each run's last one would ask for the next run. So a short stretch of log is looked into.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace

from ..binlog.events import KnownTable, RowsRead, TableChanged, XaDecided
from ..config.pipeline import Endpoint, Pipeline, TableMapping
from ..model.checkpoint import Checkpoint, Phase
from ..model.errors import ReplicationError, TransientError
from ..model.limits import Limits
from ..model.position import Position, earliest
from ..source.mysql_source import MySQLSource
from ..target.control import TargetControl
from .status import lag_s

SCAN_BYTES_MAX = 2**20
_SERVERS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class PendingChanges:
    """One mapping. `due`: a run would find something to do. `lag_s` None: not known yet.

    `phase` and `position` are None before the mapping's first run.
    """

    mapping: TableMapping
    due: bool
    source_head: str
    phase: Phase | None = None
    position: str | None = None
    lag_s: float | None = None


def pending_changes(
    pipeline: Pipeline, mappings: Sequence[TableMapping], timeout_s: float = 3.0
) -> list[PendingChanges]:
    """How far each of the mappings is behind its source. No server is waited for longer than `timeout_s`.

    Raises:
        ReplicationError: a server is out of reach, or refuses us.
    """
    limits = replace(pipeline.limits, connect_timeout_s=timeout_s, control_timeout_s=timeout_s)

    def checkpoints(name: str) -> dict[str, Checkpoint]:
        names = [m.name for m in mappings if m.target == name]
        return _checkpoints(_quick(pipeline.targets[name], timeout_s), limits, names)

    def moved(name: str) -> list[PendingChanges]:
        source = MySQLSource(_quick(pipeline.sources[name], timeout_s), limits)
        try:
            return list(_of_source(source, [m for m in mappings if m.source == name], held))
        finally:
            source.close()

    held: dict[str, Checkpoint] = {}
    found: dict[str, PendingChanges] = {}
    with ThreadPoolExecutor(_SERVERS_AT_ONCE, thread_name_prefix="movement") as pool:  # most of it is waiting
        for told in pool.map(checkpoints, dict.fromkeys(m.target for m in mappings)):
            held |= told
        for ones in pool.map(moved, dict.fromkeys(m.source for m in mappings)):
            found |= {one.mapping.name: one for one in ones}
    return [found[m.name] for m in mappings]


def _quick(endpoint: Endpoint, timeout_s: float) -> Endpoint:
    connect_timeout_s = min(endpoint.connect_timeout_s or timeout_s, timeout_s)
    return replace(endpoint, connect_timeout_s=connect_timeout_s, read_timeout_s=timeout_s, write_timeout_s=timeout_s)


def _checkpoints(endpoint: Endpoint, limits: Limits, names: Sequence[str]) -> dict[str, Checkpoint]:
    target = TargetControl(endpoint, limits)
    try:
        return target.read_checkpoints(names)
    finally:
        target.close()


def _of_source(
    source: MySQLSource, mappings: Sequence[TableMapping], held: Mapping[str, Checkpoint]
) -> Iterator[PendingChanges]:
    head, now_unix_s = source.head(), source.now_unix_s()
    moved = {m.name: held[m.name].position for m in mappings if m.name in held and _is_short(held[m.name], head)}
    changed = _changed(source, [m for m in mappings if m.name in moved], moved)
    for mapping in mappings:
        checkpoint = held.get(mapping.name)
        if checkpoint is None:
            yield PendingChanges(mapping, True, str(head))
            continue
        due = mapping.name in changed if mapping.name in moved else not _reached(checkpoint, head)
        lag = lag_s(checkpoint, head, now_unix_s) if due else 0.0
        yield PendingChanges(mapping, due, str(head), checkpoint.phase, str(checkpoint.position), lag)


def _reached(held: Checkpoint, head: Position) -> bool:
    here = held.position
    return here.server == head.server and here.covers(head) and held.phase is Phase.REPLICATING


def _is_short(held: Checkpoint, head: Position) -> bool:
    """Whether between checkpoint and head there is some log, so little that looking into it takes no time."""
    here = held.position
    if here.server != head.server or here.file != head.file or held.phase is not Phase.REPLICATING:
        return False
    return not here.covers(head) and head.offset_bytes - here.offset_bytes <= SCAN_BYTES_MAX


def _changed(source: MySQLSource, mappings: Sequence[TableMapping], places: Mapping[str, Position]) -> set[str]:
    """The mappings with whose tables the log does anything after their places; all of them, where it cannot tell."""
    left = {m.name: m for m in mappings}
    if not left:
        return set()
    tables = {m.name: source.log_name(m.source_name) for m in mappings}
    known = {table: KnownTable(()) for table in tables.values()}
    try:
        with closing(source.read_log(earliest(list(places.values())), known)) as events:
            for event in events:
                if not isinstance(event, (RowsRead, TableChanged, XaDecided)):
                    continue
                for name in [n for n in left if not places[n].includes(event.transaction)]:
                    if not isinstance(event, RowsRead) or event.table == tables[name]:
                        del left[name]
                if not left:
                    break
    except TransientError:
        raise
    except ReplicationError:  # a run will say what it is
        left.clear()
    return set(places) - set(left)
