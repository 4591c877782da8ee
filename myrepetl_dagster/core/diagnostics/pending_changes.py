"""Whether a source has moved past the checkpoints in the targets: the quick question that a sensor asks.

Unlike `status` it counts no rows and waits for no slow server. Reads only; creates and claims nothing.

That the log has grown does not say that there is something to do: where the source is a target, too, our own
commits make it grow, and each run's last one would ask for the next run. So a short stretch of log is looked into.
That also tells a mapping's lag: the age of the first transaction that the target lacks.
"""

from __future__ import annotations

import math
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
from ..replication.lag import lag_s
from ..source.mysql_source import MySQLSource
from ..target.control import TargetControl

SCAN_BYTES_MAX = 2**20
_SERVERS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class PendingChanges:
    """One mapping. `due`: a run would find something to do. `lag_s`: see `lag.py`; None: not known yet.

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
            return list(movements_of(source, [m for m in mappings if m.source == name], held))
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
        return target.read_checkpoints(names).readable  # one that cannot be read counts as due: a run says why
    finally:
        target.close()


def movements_of(
    source: MySQLSource, mappings: Sequence[TableMapping], held: Mapping[str, Checkpoint]
) -> Iterator[PendingChanges]:
    """How far the mappings of one source are behind it. `held`: their checkpoints, read before."""
    now_unix_s, head = source.now_unix_s(), source.head()
    behind = {m.name: held[m.name] for m in mappings if m.name in held and _is_behind(held[m.name], head)}
    looked = _short(source, behind, head)
    changed = _changed(source, [m for m in mappings if m.name in looked], looked)
    for mapping in mappings:
        checkpoint = held.get(mapping.name)
        if checkpoint is None:
            yield PendingChanges(mapping, True, str(head))
            continue
        missing = mapping.name in (changed if mapping.name in looked else behind)
        # A checkpoint that is behind goes on into a new file of the log in any case: the old one may be purged.
        left = mapping.name in behind and checkpoint.position.file != head.file
        due = missing or left or checkpoint.phase is not Phase.REPLICATING
        since = (changed.get(mapping.name) or checkpoint.source_time_unix_s) if missing else now_unix_s
        lag = lag_s(since, now_unix_s)
        yield PendingChanges(mapping, due, str(head), checkpoint.phase, str(checkpoint.position), lag)


def _is_behind(held: Checkpoint, head: Position) -> bool:
    return held.position.server != head.server or not held.position.covers(head)


def _short(source: MySQLSource, behind: Mapping[str, Checkpoint], head: Position) -> dict[str, Position]:
    """The positions with so little log up to the head that looking into it takes no time."""
    own = {name: one.position for name, one in behind.items() if one.phase is Phase.REPLICATING}
    own = {name: here for name, here in own.items() if here.server == head.server}
    sizes = source.log_sizes() if any(here.file != head.file for here in own.values()) else {}
    return {name: here for name, here in own.items() if _bytes_between(here, head, sizes) <= SCAN_BYTES_MAX}


def _bytes_between(here: Position, head: Position, sizes: Mapping[str, int]) -> float:
    """How much log lies between two positions. `sizes`: of the log's files in their order, if it is in several."""
    files = list(sizes)
    if here.file == head.file:
        return head.offset_bytes - here.offset_bytes
    if here.file not in sizes or head.file not in sizes:
        return math.inf
    whole = files[files.index(here.file) : files.index(head.file)]
    return sum(sizes[file] for file in whole) - here.offset_bytes + head.offset_bytes


def _changed(
    source: MySQLSource, mappings: Sequence[TableMapping], places: Mapping[str, Position]
) -> dict[str, float | None]:
    """The mappings with whose tables the log does anything after their places; all of them, where it cannot tell.

    With each the time at which that was committed, by the source's clock, if that is known.
    """
    left = {m.name: m for m in mappings}
    changed: dict[str, float | None] = {}
    if not left:
        return changed
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
                        changed[name] = event.transaction.committed_at_unix_s or None
                if not left:
                    break
    except TransientError:
        raise
    except ReplicationError:  # a run will say what it is
        changed |= dict.fromkeys(left)
    return changed
