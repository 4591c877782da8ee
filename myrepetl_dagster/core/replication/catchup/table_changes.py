"""Changes of source tables that the log tells of: truncations are applied, definitions are followed or refused."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...binlog.ddl.statement import Action, TableChange, concerned
from ...binlog.events import KnownTable, RowsRead, TableChanged, Undescribed
from ...model.checkpoint_codec import columns_from_json
from ...model.errors import SchemaDrift, UnsupportedEvent
from ...model.position import Transaction
from ...model.tables import Column, TableName
from ...plan.decisions import Answer, Decision, goes_away
from ...plan.schema_change import decide
from ...plan.table_plan import TablePlan
from ..lag import SourceClock
from ..mapping_state import named_mapping
from ..ports import Source
from .commit_queue import CommitQueue
from .outcomes import Place, SchemaChanged
from .statement_writes import StatementWrites
from .unlogged_changes import UnloggedChanges
from .work import CurrentTransaction, MappingWork

MADE_AGAIN_S = 5.0  # how long after its DROP a table is waited for


class TableChanges:
    """Answers changes of the tables of one catch-up's mappings.

    Args:
        works: by source table the mappings of it.
        clock: the source's.
        followed_changes: changes that the targets have followed already.
    """

    def __init__(
        self,
        source: Source,
        works: Mapping[TableName, Sequence[MappingWork]],
        queue: CommitQueue,
        unlogged: UnloggedChanges,
        clock: SourceClock,
        followed_changes: frozenset[Place],
    ) -> None:
        self.source = source
        self.works = works
        self.queue = queue
        self.unlogged = unlogged
        self.clock = clock
        self.statement_writes = StatementWrites(source, works, clock)
        self.followed_changes = followed_changes

    def known_tables(self) -> dict[TableName, KnownTable]:
        """Each table's columns where the log is read from: as the checkpoint of its earliest mapping has them."""
        known = {}
        for name, works in self.works.items():
            states = [work.state for work in works]
            first = min(states, key=lambda s: s.position.order).checkpoint
            altered = any(s.checkpoint.altered for s in states)
            source = states[0].plan.source
            columns = source.columns if altered else columns_from_json(first.source_columns_json)
            known[name] = KnownTable(columns, altered, len(source.unique_keys) if source.mariadb else 0)
        return known

    def apply(self, event: TableChanged, current: CurrentTransaction) -> None:
        """Apply a statement that has changed tables.

        Raises:
            SchemaChanged: the target has to follow it first.
            SchemaDrift: the mapping does not allow it.
            UnsupportedEvent: it has changed rows of a mapping's table.
        """
        self.queue.land()
        self.statement_writes.judge(event)
        for table, works in self.works.items():
            changes = concerned(event.changes, table)
            for work in works if changes else ():
                if work.wants(event.transaction):
                    with named_mapping(work.state):
                        self._apply(work, changes, event.transaction, current)

    def _apply(
        self, work: MappingWork, changes: list[TableChange], transaction: Transaction, current: CurrentTransaction
    ) -> None:
        state = work.state
        if all(change.action is Action.TRUNCATE for change in changes):
            current.rows_of(work).truncate()
            return
        if not any(change.matters for change in changes):
            return
        place = (state.name, transaction.file, transaction.end_offset_bytes)
        if any(change.structural for change in changes):
            work.altered = True  # from here on only a full table map tells the columns
        if place in self.followed_changes:
            return
        known = columns_from_json(state.checkpoint.source_columns_json)
        columns = self._columns_now(state.plan, changes, transaction)
        now = replace(state.plan.source, columns=columns) if columns else None
        where = f"{transaction.file}:{transaction.end_offset_bytes}"
        try:
            decision = decide(state.plan, changes, known, now, where, altered=state.checkpoint.altered)
        except SchemaDrift:
            self.queue.commit(everyone=True)  # everything before it is applied, whatever becomes of the mapping
            raise
        if decision.answer is not Answer.GO_ON:
            self.queue.commit(everyone=True)
            raise SchemaChanged(place, decision)

    def _columns_now(
        self, plan: TablePlan, changes: Sequence[TableChange], transaction: Transaction
    ) -> tuple[Column, ...]:
        """The source table's columns now; () if there is no such table.

        A dump that is being restored drops a table and makes it again a moment later. So one that was dropped just now
        is waited for.
        """
        name = plan.source.name
        columns = self.source.columns(name)
        if plan.mapping.schema_policy == "evolve" and goes_away(changes, name):
            until_unix_s = transaction.committed_at_unix_s + MADE_AGAIN_S
            while not columns and self.clock.now_unix_s() < until_unix_s:
                time.sleep(MADE_AGAIN_S / 50)
                columns = self.source.columns(name)
        return columns

    def look_at_table(self, work: MappingWork, event: RowsRead) -> None:
        """Refuse rows whose columns are not known. A new copy has the rows, if there may be one.

        Raises:
            SchemaChanged: the mapping is copied again.
            SchemaDrift, UnsupportedEvent: it may not be, or a copy would not help.
        """
        state, table_map = work.state, event.table_map
        error = table_map.error if isinstance(table_map, Undescribed) else self.unlogged.found(work, event)
        if error is None:
            return
        if not self.queue.begun_targets:
            self.queue.commit(everyone=True)
        with named_mapping(state):
            if state.plan.mapping.schema_policy != "evolve" or isinstance(error, UnsupportedEvent):
                raise error
        place = (state.name, event.transaction.file, event.transaction.end_offset_bytes)
        raise SchemaChanged(place, Decision(Answer.COPY_AGAIN))
