"""Copying one range of a table, while other processes copy the table's other ranges.

A range is read and written as a whole table is (`window_copy.py`). Only its progress is stored elsewhere: in a row of
its own (`range_table.py`), in the transaction that also stores the checkpoint of a whole table's copy. Transactions of
all ranges share the lock that is the fence, under the one name that the copy was begun with.

The ranges are read at different times. That is as exact as one copy: the low watermark is older than all of them, and
the log is applied from there once all of them are written.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

from ...model.checkpoint import Checkpoint, CopyState
from ...model.copy_range import CopyRange, Key
from ...model.errors import PrerequisiteError
from ...model.limits import Limits
from ...plan.table_plan import TablePlan, UniqueKeys
from ...source.mysql_source import MySQLSource
from ...source.relation import Relation
from ...source.snapshot_reader import Chunk, read_chunk
from ...target.checkpoint_table import SHORT_NAME_MAX
from ...target.mysql_target import MySQLTarget
from ..mapping_state import MappingState, Report, named_mapping
from .window_copy import WindowCopies, WindowCopy

_KEY_BYTES = 2**16


def can_divide(source: MySQLSource, plan: TablePlan) -> bool:
    """Whether ranges of the table can be copied side by side."""
    collides = plan.unique_keys is not UniqueKeys.NONE  # then rows have to be written in the order of the log
    own = plan.mapping.init_query is None and not collides and len(plan.name) <= SHORT_NAME_MAX
    return own and bool(source.relation(plan).key)


def dividing_keys(source: MySQLSource, plan: TablePlan, rows: int) -> list[Key]:
    """Every so many rows a key, as SQL literals; none for a table with fewer rows.

    The source walks along its index, which takes a small part of the time in which the rows are copied. So the ranges
    are even whatever the keys are, and no statistics are needed.
    """
    relation = source.relation(plan)
    read_key = relation.key_reader(range(len(relation.key)))
    keys: list[Key] = []
    while True:
        sql = relation.dividing_sql(keys[-1] if keys else None, rows)
        with closing(source.read_packets(f"dividing {plan.source.name}", sql, _KEY_BYTES)) as lists:
            packets = [packet for found in lists for packet in found]
        if not packets:
            return keys
        keys.append(read_key(packets[0]))


def put_ranges(target: MySQLTarget, mapping: str, ranges: Sequence[CopyRange]) -> None:
    """Store the ranges of a copy that has begun, behind the fence."""
    connection = target.apply
    target.create_range_table()
    connection.begin([mapping])
    connection.ranges().put(mapping, ranges)
    connection.commit([])


class RangeCopies(WindowCopies):
    """The copy of a single range.

    Args:
        number: the range's.
        taken: called with the range as it is stored, before it is gone on with.
    """

    def __init__(self, source: MySQLSource, limits: Limits, report: Report, number: int) -> None:
        super().__init__(source, limits, report)
        self._number = number
        self._owner = uuid.uuid4().hex
        self.range: CopyRange

    def take(self, state: MappingState) -> None:
        """Take the range over from an earlier try, and add its copy unless it is done.

        Raises:
            PrerequisiteError: the target holds no such range.
        """
        connection = _target(state).apply
        with named_mapping(state):
            connection.begin([state.name], exclusive=False)
            found = connection.ranges().take(state.name, self._number, self._owner)
            connection.commit([])
            if found is None:
                raise PrerequisiteError(
                    f"mapping {state.name!r}: the target holds no range {self._number} of its copy",
                    hint="Launch the job anew.",
                )
        self.range = found
        if not found.done:
            self.add(_of_range(state, found))

    def _new_copy(self, state: MappingState) -> RangeCopy:
        return RangeCopy(self, state)

    def _store(self, stored: Sequence[tuple[MappingState, Checkpoint]]) -> None:
        for state, checkpoint in stored:
            _target(state).apply.begin([state.name], exclusive=False)
            self.commit(state, checkpoint)
            state.checkpoint = checkpoint

    def commit(self, state: MappingState, checkpoint: Checkpoint) -> None:
        """Store the range's progress in the open transaction, and commit it.

        Args:
            checkpoint: the range's state, as if it were a table of its own.
        """
        copy = checkpoint.copy
        reached = replace(
            self.range,
            reached=self.range.reached if copy is None else copy.after_key,
            rows_snapshotted=checkpoint.rows_snapshotted,
            rows_filtered=checkpoint.rows_filtered,
            bytes_read=checkpoint.bytes_read,
            done=copy is None,
        )
        connection = _target(state).apply
        connection.ranges().write(reached, self._owner)
        connection.commit([])
        self.range = reached


class RangeCopy(WindowCopy):
    """The copy of a range: its table ends at the range's last key."""

    def __init__(self, copies: RangeCopies, state: MappingState) -> None:
        self._copies = copies
        super().__init__(copies.server, state, copies.limits, copies.report)

    def _relation(self) -> Relation:
        return replace(super()._relation(), until=self._copies.range.until)

    def _read_chunk(self) -> Chunk:
        with self.server.doing(self._operation):
            connection, after = self.server.snapshot_connection, self.copy.after_key
            return read_chunk(connection, self.relation, after, self.limits.chunk_rows_max)

    def _begin(self) -> None:
        self.state.target.apply.begin([self.state.name], exclusive=False)

    def _end_transaction(self, checkpoint: Checkpoint) -> None:
        self._copies.commit(self.state, checkpoint)


def _of_range(state: MappingState, found: CopyRange) -> MappingState:
    """The range's state, as if it were a table of its own that is copied and not swept."""
    checkpoint = replace(
        state.checkpoint,
        copy=CopyState(after_key=found.reached or found.after, rows_done=found.rows_snapshotted + found.rows_filtered),
        rows_snapshotted=found.rows_snapshotted,
        rows_filtered=found.rows_filtered,
        bytes_read=found.bytes_read,
    )
    return MappingState(state.plan, state.target, checkpoint, state.position)


def _target(state: MappingState) -> MySQLTarget:
    assert isinstance(state.target, MySQLTarget)
    return state.target
