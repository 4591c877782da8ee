"""Changes of source tables that the log tells of: truncations are applied, definitions are followed or refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...binlog.ddl.statement import Action, TableChange
from ...binlog.events import KnownTable, RowsRead, TableChanged, Undescribed
from ...model.checkpoint_codec import columns_from_json
from ...model.errors import SchemaDrift, UnsupportedEvent
from ...model.position import Transaction
from ...model.tables import TableName
from ...plan.schema_change import Answer, Decision, concerned, decide
from ..mapping_state import named_mapping
from ..ports import Source
from .commit_queue import CommitQueue
from .outcomes import Place, SchemaChanged
from .unlogged_changes import UnloggedChanges
from .work import CurrentTransaction, MappingWork


class TableChanges:
    """Answers changes of the tables of one catch-up's mappings.

    Args:
        works: by source table the mappings of it.
        followed_changes: changes that the targets have followed already.
    """

    def __init__(
        self,
        source: Source,
        works: Mapping[TableName, Sequence[MappingWork]],
        queue: CommitQueue,
        unlogged: UnloggedChanges,
        followed_changes: frozenset[Place],
    ) -> None:
        self.source = source
        self.works = works
        self.queue = queue
        self.unlogged = unlogged
        self.followed_changes = followed_changes

    def known_tables(self) -> dict[TableName, KnownTable]:
        """Each table's columns where the log is read from: as the checkpoint of its earliest mapping has them."""
        known = {}
        for name, works in self.works.items():
            states = [work.state for work in works]
            first = min(states, key=lambda s: s.position.order).checkpoint
            altered = any(s.checkpoint.altered for s in states)
            now = states[0].plan.source.columns
            known[name] = KnownTable(now if altered else columns_from_json(first.source_columns_json), altered)
        return known

    def apply(self, event: TableChanged, current: CurrentTransaction) -> None:
        """Apply a statement that has changed tables.

        Raises:
            SchemaChanged: the target has to follow it first.
            SchemaDrift: the mapping does not allow it.
        """
        self.queue.land()
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
        if not any(change.structural for change in changes):
            return
        place = (state.name, transaction.file, transaction.end_offset_bytes)
        work.altered = True  # from here on only a full table map tells the columns
        if place in self.followed_changes:
            return
        known = columns_from_json(state.checkpoint.source_columns_json)
        columns = self.source.columns(state.plan.source.name)
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
