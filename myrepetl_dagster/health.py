"""The health of mappings, by which the asset checks judge. A run knows it of its own; else the servers are asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import dagster as dg

from .core.config.pipeline import Pipeline, TableMapping
from .core.model.errors import (
    PrerequisiteError,
    ReplicationError,
    SchemaDrift,
    TransientError,
    UnreadableCheckpoint,
)
from .lineage import ReplicatedTable

if TYPE_CHECKING:
    from .core.diagnostics.pending_changes import PendingChanges
    from .core.diagnostics.status import Status
    from .core.replication.result import MappingResult

Tables = Mapping[dg.AssetKey, ReplicatedTable]


@dataclass(frozen=True, slots=True)
class Health:
    """How a mapping is now. `phase`: empty before its first run. `lag_s`: None if it is not known.

    `error`: why it does not go on. `waits`: why it is not followed at present, though nothing is wrong. `schema`: why
    its tables do not fit; empty: they do; None: nobody has looked.
    """

    mapping: str
    phase: str = ""
    lag_s: float | None = None
    position: str = ""
    error: str = ""
    waits: str = ""
    schema: str | None = None


def health_of_result(result: MappingResult, since_s: float = 0.0) -> Health:
    """The health of a mapping in a run. `since_s`: how long ago its last commit was."""
    error = result.error
    schema = str(error) if is_of_schema(error) else "" if error is None and result.plan is not None else None
    return Health(
        result.mapping,
        result.phase.value if result.phase else "",
        None if result.lag_s is None else result.lag_s + since_s,
        result.position,
        str(error) if error is not None else "",
        schema=schema,
    )


def health_of_pending(pending: PendingChanges) -> Health:
    """The health of a mapping by a quick look at its servers."""
    return Health(
        pending.mapping.name,
        pending.phase.value if pending.phase else "",
        pending.lag_s,
        pending.position or "",
        error=pending.last_error,
    )


def is_of_schema(error: ReplicationError | None) -> bool:
    """Whether an error says that a mapping's tables do not fit."""
    return isinstance(error, SchemaDrift | PrerequisiteError) and not isinstance(error, UnreadableCheckpoint)


def look(pipeline: Pipeline, tables: Tables, *, schema: bool = True) -> dict[str, Health]:
    """The health of the tables' mappings, by the servers. One that is out of reach is part of the answer."""
    # Imported here, since a process that only loads definitions needs no driver.
    from .core.diagnostics.status import status

    mappings = [m for table in tables.values() for m in table.mappings]
    found: dict[str, Health] = {}
    for source in dict.fromkeys(m.source for m in mappings):
        own = [m for m in mappings if m.source == source]
        found |= health_of_status(status(pipeline, source=source, count_rows=False), own)
    return _with_schema(pipeline, mappings, found) if schema else found


def health_of_status(status: Status, mappings: Sequence[TableMapping]) -> dict[str, Health]:
    """The health of these mappings, by name."""
    down = {(one.role, one.name): one.error or "" for one in status.connections if not one.connected}
    by_name = {one.mapping: one for one in status.mappings}
    found = {}
    for mapping in mappings:
        one = by_name[mapping.name]
        error = down.get(("source", mapping.source)) or down.get(("target", mapping.target))
        phase = "" if one.phase in ("not started", "unknown") else one.phase
        stopped = one.last_error or "" if one.stopped else ""
        found[one.mapping] = Health(one.mapping, phase, one.lag_s, one.position or "", error or stopped)
    return found


def _with_schema(pipeline: Pipeline, mappings: Sequence[TableMapping], found: dict[str, Health]) -> dict[str, Health]:
    from .core.diagnostics.mapping_checks import outlooks

    for source in dict.fromkeys(m.source for m in mappings):
        own = [m for m in mappings if m.source == source]
        try:
            seen = outlooks(pipeline, own)
        except ReplicationError as error:
            found |= {m.name: replace(found[m.name], schema=f"Could not be looked at: {error}") for m in own}
            continue
        for name, outlook in seen.items():
            found[name] = replace(found[name], schema=_schema(outlook.error))
    return found


def _schema(error: ReplicationError | None) -> str:
    if isinstance(error, TransientError):
        return f"Could not be looked at: {error}"
    return str(error) if is_of_schema(error) else ""
