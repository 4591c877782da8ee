"""Data changes in statement format: passed over if they write unmapped tables only, else a reason to stop.

The log then holds no rows. Nor does it hold what triggers of the written table did, so those are asked for.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from ...binlog.ddl.statement import Action
from ...binlog.events import TableChanged
from ...model.errors import UnsupportedEvent
from ...model.tables import TableName
from ...source.side_effects import SideEffect
from ..lag import SourceClock
from ..mapping_state import named_mapping
from ..ports import Source
from .work import MappingWork

log = logging.getLogger("myrepetl")

# The log's times are whole seconds on MariaDB, and those of the beginning of a statement.
_TIMES_DIFFER_S = 2.0
_Asked = tuple[frozenset[TableName], frozenset[str]]


class StatementWrites:
    """Judges the data changes in statement format of one catch-up.

    Args:
        works: by source table the mappings of it.
    """

    def __init__(self, source: Source, works: Mapping[TableName, Sequence[MappingWork]], clock: SourceClock) -> None:
        self.source = source
        self.works = works
        self.clock = clock
        self.passed_over: Counter[TableName] = Counter()
        self._answers: dict[_Asked, tuple[float, SideEffect | None]] = {}

    def judge(self, event: TableChanged) -> None:
        """Pass over a statement that has changed rows of unmapped tables only.

        Raises:
            UnsupportedEvent: it has changed rows of a mapping's table (then the error names the mapping), or it may
                have changed those of any table.
        """
        changes = [change for change in event.changes if change.action is Action.DML]
        wanting = [work for works in self.works.values() for work in works if work.wants(event.transaction)]
        if not changes or not wanting:
            return
        written = frozenset(change.table for change in changes)
        mapped = [work for work in wanting if work.state.plan.source.name in written]
        place = f"{event.transaction.file}:{event.transaction.end_offset_bytes}"
        what = f"a data change in statement format of {', '.join(map(str, sorted(written)))} (binlog_format is not ROW)"
        effect = self._side_effect((written, changes[0].names), event.transaction.committed_at_unix_s)
        if effect is not None:
            what = f"{what}, which may have changed any table: {effect.reason}"
            raise UnsupportedEvent(what, hint="" if mapped else effect.hint).at(place)
        for work in mapped:
            with named_mapping(work.state):
                raise UnsupportedEvent(what).at(place)
        self.passed_over.update(written)

    def _side_effect(self, asked: _Asked, committed_at_unix_s: float) -> SideEffect | None:
        """The source's answer. One that was given before the statement ran does not count."""
        asked_at_unix_s, effect = self._answers.get(asked, (0.0, None))
        if not committed_at_unix_s or asked_at_unix_s < committed_at_unix_s + _TIMES_DIFFER_S:
            asked_at_unix_s = self.clock.now_unix_s()
            effect = self.source.side_effect(*asked)
            self._answers[asked] = asked_at_unix_s, effect
        return effect

    def report(self) -> None:
        """Say what was passed over so far."""
        for table, number in sorted(self.passed_over.items()):
            log.info("passed over %d changes in statement format of %s, which no mapping replicates", number, table)
        self.passed_over.clear()
