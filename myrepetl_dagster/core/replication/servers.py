"""The connections of one attempt: its source, and the targets of its mappings; and what outlives an attempt."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..config.pipeline import Pipeline, TableMapping
from ..model.checkpoint import Checkpoints
from ..model.errors import ReplicationError, StaleRun
from ..model.limits import Limits
from ..model.tables import Table, TableName
from ..mysql.connections import Connections
from ..plan.table_plan import TablePlan
from ..source.mysql_source import MySQLSource
from ..target.control import Claims, TargetControl
from ..target.event_replay import EventSupport
from ..target.mysql_target import MySQLTarget

log = logging.getLogger("myrepetl")

_TURN_INTERVAL_S = 1.0
# A run whose machine is gone may keep its turns until the server finds out, which takes hours. One that commits
# nothing for so long is not waited for; if it is alive after all, it commits nothing more (the fence).
TURN_PATIENCE_S = 300.0


@dataclass(slots=True)
class Servers:
    """The connections of one attempt."""

    source: MySQLSource
    targets: dict[str, MySQLTarget] = field(default_factory=dict)

    def close(self) -> None:
        self.source.close()
        for target in self.targets.values():
            target.close()

    def target_tables(self, mappings: Sequence[TableMapping]) -> dict[tuple[str, TableName], Table]:
        """The target tables of these mappings, by target and name; a table that does not exist is left out."""
        found: dict[tuple[str, TableName], Table] = {}
        for name, target in self.targets.items():
            tables = target.control.describe_all([m.target_name for m in mappings if m.target == name])
            found |= {(name, table): described for table, described in tables.items()}
        return found


@contextmanager
def opened(source: MySQLSource, reached: set[str]) -> Iterator[Servers]:
    """The connections of one attempt, closed at its end.

    Args:
        reached: gets the labels of the endpoints whose servers have answered.
    """
    servers = Servers(source)
    try:
        yield servers
    finally:
        used = (source, *(target.control for target in servers.targets.values()))
        reached |= {server.endpoint.label for server in used if server.reached}
        servers.close()


class RunTargets:
    """Opens the targets of a run's attempts, and keeps what an attempt leaves to the next one."""

    def __init__(self, pipeline: Pipeline, connections: Connections) -> None:
        self._pipeline = pipeline
        self._connections = connections
        self._claims: dict[str, Claims] = {}  # by target
        self._event_support: dict[str, EventSupport] = {}  # by target

    def open(self, servers: Servers, mappings: Sequence[TableMapping], limits: Limits) -> Checkpoints:
        """Connect to the mappings' targets, unless that is done, and create missing checkpoint tables.

        Returns:
            The mappings' checkpoints.
        """
        checkpoints = Checkpoints()
        for name in dict.fromkeys(m.target for m in mappings):
            target = servers.targets.get(name) or self._target(servers, name, limits)
            try:
                target.control.create_checkpoint_table()
                checkpoints |= target.control.read_checkpoints([m.name for m in mappings if m.target == name])
            except ReplicationError as error:
                error.unreached = target.control.endpoint.label
                raise
        return checkpoints

    def _target(self, servers: Servers, name: str, limits: Limits) -> MySQLTarget:
        claims = self._claims.setdefault(name, {})
        event_support = self._event_support.setdefault(name, EventSupport())
        event_support.forget_answers()
        target = MySQLTarget(self._pipeline.targets[name], limits, claims, event_support, self._connections)
        servers.targets[name] = target
        return target

    def know(self, mapping: TableMapping, run_ids: set[str]) -> None:
        """Let a mapping be taken over from those who hold it under these names on the fence."""
        self._claims.setdefault(mapping.target, {}).setdefault(mapping.name, set()).update(run_ids)

    def forget(self, mapping: TableMapping) -> None:
        """Claim this mapping anew, since another run has had it."""
        self._claims.get(mapping.target, {}).pop(mapping.name, None)

    def take_turns(
        self, servers: Servers, mappings: Sequence[TableMapping], pause: Callable[[float], None] | None
    ) -> None:
        """Take the mappings' turns.

        Args:
            pause: waits for so many seconds, until the runs that have a turn have ended. None: they are not waited for.
        """
        for name, target in servers.targets.items():
            own = [m.name for m in mappings if m.target == name]
            others = target.control.take_turns(own, all_or_none=pause is not None)
            if others and pause is not None:
                log.info("waiting, since another run works on %s", ", ".join(others))
                _wait(target.control, own, pause)


def taken_over(plans: Mapping[str, tuple[TablePlan, MySQLTarget]], error: StaleRun) -> list[str]:
    """The mappings that other runs have claimed from this one: all of them at once, since it is rarely one alone."""
    assert error.mapping is not None, "a stale run is one of a mapping"
    names = {error.mapping: None}
    for target in {id(target): target for _, target in plans.values()}.values():
        own = [name for name, (_, t) in plans.items() if t is target]
        names |= dict.fromkeys(target.control.claimed_by_others(own))
    log.warning("another run has taken over %s", ", ".join(names), extra={"mappings": list(names)})
    return list(names)


def _wait(control: TargetControl, mappings: Sequence[str], pause: Callable[[float], None]) -> None:
    seen: dict[str, int] = {}
    moved_at_s = time.monotonic()
    while others := control.take_turns(mappings, all_or_none=True):
        sequences = {name: one.sequence for name, one in control.read_checkpoints(others).readable.items()}
        if sequences != seen:
            seen, moved_at_s = sequences, time.monotonic()
        if time.monotonic() - moved_at_s > TURN_PATIENCE_S:
            text = "waited for %s for %.0f s in which nothing was committed; taking over"
            log.warning(text, ", ".join(others), TURN_PATIENCE_S)
            control.take_turns(mappings, all_or_none=False)
            return
        pause(_TURN_INTERVAL_S)
