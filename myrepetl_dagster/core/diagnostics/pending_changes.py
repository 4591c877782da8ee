"""Whether a run would find changes to apply: the quick question of a sensor.

Unlike `status` it counts no rows and waits for no slow server. Reads only; creates and claims nothing.

A longer log alone is no reason for a run. If the source is a target as well, our own commits make its log grow, and
the last commit of each run would ask for the next run. So a short stretch of log is searched for changes of the mapped
tables. The age of the first one that the target lacks is the mapping's lag.
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

SCAN_BYTES_MAX = 2**20  # by a sensor, each few seconds
STATUS_SCAN_BYTES_MAX = 64 * 2**20  # for a person: 0.1 s for each 30 MiB, where the network is as fast
_SERVERS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class PendingChanges:
    """One mapping. `due`: a run would find something to do. `lag_s`: see `lag.py`; None: not known yet.

    `phase` and `position` are None before the mapping's first run. `missing`: the target lacks changes of the table, or
    may lack some. `applied_total`, `last_error`: see `Checkpoint`.
    """

    mapping: TableMapping
    due: bool
    source_head: str
    phase: Phase | None = None
    position: str | None = None
    lag_s: float | None = None
    missing: bool = True
    applied_total: int = 0
    last_error: str = ""


def pending_changes(
    pipeline: Pipeline, mappings: Sequence[TableMapping], timeout_s: float = 3.0
) -> list[PendingChanges]:
    """The pending changes of each mapping. No question to a server takes longer than `timeout_s`.

    Raises:
        ReplicationError: a server is out of reach, or refuses us.
    """
    limits = replace(pipeline.limits, connect_timeout_s=timeout_s, control_timeout_s=timeout_s)

    def checkpoints(name: str) -> dict[str, Checkpoint]:
        names = [m.name for m in mappings if m.target == name]
        return _checkpoints(_quick(pipeline.targets[name], timeout_s), limits, names)

    def pending(name: str) -> list[PendingChanges]:
        source = MySQLSource(_quick(pipeline.sources[name], timeout_s), limits)
        try:
            return list(pending_in_source(source, [m for m in mappings if m.source == name], stored))
        finally:
            source.close()

    stored: dict[str, Checkpoint] = {}
    found: dict[str, PendingChanges] = {}
    with ThreadPoolExecutor(_SERVERS_AT_ONCE, thread_name_prefix="pending") as pool:  # most of the time is waiting
        for of_target in pool.map(checkpoints, dict.fromkeys(m.target for m in mappings)):
            stored |= of_target
        for of_source in pool.map(pending, dict.fromkeys(m.source for m in mappings)):
            found |= {one.mapping.name: one for one in of_source}
    return [found[m.name] for m in mappings]


def applied_totals(pipeline: Pipeline, mappings: Sequence[TableMapping], timeout_s: float = 3.0) -> dict[str, int]:
    """The `applied_total` of each mapping that has a readable checkpoint, by name.

    Raises:
        ReplicationError: a target is out of reach, or refuses us.
    """
    limits = replace(pipeline.limits, connect_timeout_s=timeout_s, control_timeout_s=timeout_s)
    found: dict[str, int] = {}
    for target in dict.fromkeys(m.target for m in mappings):
        names = [m.name for m in mappings if m.target == target]
        stored = _checkpoints(_quick(pipeline.targets[target], timeout_s), limits, names)
        found |= {name: one.applied_total for name, one in stored.items()}
    return found


def _quick(endpoint: Endpoint, timeout_s: float) -> Endpoint:
    connect_timeout_s = min(endpoint.connect_timeout_s or timeout_s, timeout_s)
    return replace(endpoint, connect_timeout_s=connect_timeout_s, read_timeout_s=timeout_s, write_timeout_s=timeout_s)


def _checkpoints(endpoint: Endpoint, limits: Limits, names: Sequence[str]) -> dict[str, Checkpoint]:
    target = TargetControl(endpoint, limits)
    try:
        return target.read_checkpoints(names).readable  # without an unreadable one the mapping is due; a run says why
    finally:
        target.close()


def pending_in_source(
    source: MySQLSource,
    mappings: Sequence[TableMapping],
    checkpoints: Mapping[str, Checkpoint],
    scan_bytes_max: int = SCAN_BYTES_MAX,
) -> Iterator[PendingChanges]:
    """The pending changes of each mapping of one source.

    Args:
        checkpoints: by mapping. They were read before, so no lag is too low.
        scan_bytes_max: as much log as is searched for changes. Behind more of it a mapping counts as behind.
    """
    now_unix_s, head = source.now_unix_s(), source.head()
    known = {m.name: checkpoints[m.name] for m in mappings if m.name in checkpoints}
    before_head = {name: checkpoint for name, checkpoint in known.items() if _is_before(checkpoint.position, head)}
    searched = _near(source, before_head, head, scan_bytes_max)
    changed = _changed(source, [m for m in mappings if m.name in searched], searched)
    for mapping in mappings:
        checkpoint = known.get(mapping.name)
        if checkpoint is None:
            yield PendingChanges(mapping, True, str(head))
            continue
        missing = mapping.name in (changed if mapping.name in searched else before_head)
        # A checkpoint in an older file of the log has to move on in any case, since that file may be purged.
        in_old_file = mapping.name in before_head and checkpoint.position.file != head.file
        due = missing or in_old_file or checkpoint.phase is not Phase.REPLICATING
        since = (changed.get(mapping.name) or checkpoint.source_time_unix_s) if missing else now_unix_s
        lag = lag_s(since, now_unix_s)
        yield PendingChanges(
            mapping,
            due,
            head.text,
            checkpoint.phase,
            checkpoint.position.text,
            lag,
            missing,
            checkpoint.applied_total,
            checkpoint.last_error,
        )


def _is_before(position: Position, head: Position) -> bool:
    return position.server != head.server or not position.covers(head)


def _near(
    source: MySQLSource, checkpoints: Mapping[str, Checkpoint], head: Position, bytes_max: int
) -> dict[str, Position]:
    """The positions so near to the head that the log from there on is searched in no time."""
    own = {name: one.position for name, one in checkpoints.items() if one.phase is Phase.REPLICATING}
    own = {name: here for name, here in own.items() if here.server == head.server}
    sizes = source.log_sizes() if any(here.file != head.file for here in own.values()) else {}
    return {name: here for name, here in own.items() if _bytes_between(here, head, sizes) <= bytes_max}


def _bytes_between(here: Position, head: Position, sizes: Mapping[str, int]) -> float:
    """The bytes of log between two positions. `sizes`: the log's files in their order, needed if it spans several."""
    files = list(sizes)
    if here.file == head.file:
        return head.offset_bytes - here.offset_bytes
    if here.file not in sizes or head.file not in sizes:
        return math.inf
    whole = files[files.index(here.file) : files.index(head.file)]
    return sum(sizes[file] for file in whole) - here.offset_bytes + head.offset_bytes


def _changed(
    source: MySQLSource, mappings: Sequence[TableMapping], positions: Mapping[str, Position]
) -> dict[str, float | None]:
    """The mappings whose tables change in the log after their positions; all of them if the log cannot be read.

    The value is the source's time at which the first change was committed, if known.
    """
    left = {m.name: m for m in mappings}
    changed: dict[str, float | None] = {}
    if not left:
        return changed
    tables = {m.name: source.log_name(m.source_name) for m in mappings}
    known = {table: KnownTable(()) for table in tables.values()}
    try:
        with closing(source.read_log(earliest(list(positions.values())), known)) as events:
            for event in events:
                if not isinstance(event, (RowsRead, TableChanged, XaDecided)):
                    continue
                for name in [n for n in left if not positions[n].includes(event.transaction)]:
                    if not isinstance(event, RowsRead) or event.table == tables[name]:
                        del left[name]
                        changed[name] = event.transaction.committed_at_unix_s or None
                if not left:
                    break
    except TransientError:
        raise
    except ReplicationError:  # a run will report the error
        changed |= dict.fromkeys(left)
    return changed
