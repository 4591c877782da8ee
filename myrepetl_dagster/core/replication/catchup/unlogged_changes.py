"""Notices that a source table has other columns than the log accounts for, before its rows are taken for other rows.

A session with sql_log_bin=0, or a replica that serves as the source, can alter a table without a word in its log.
Whatever alters a table makes the server open it anew, and so gives it another id in the log. Each new id is a reason to
look: at the names in the table map, or, if it has none, at the table's columns on the source. They may also differ
because of a statement that the log holds further on. So before anything is refused, the log is searched for one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from itertools import zip_longest

from ...binlog.ddl.statement import concerned
from ...binlog.events import KnownTable, RowsRead, TableChanged
from ...binlog.map_columns import TableMap
from ...binlog.missing_metadata import is_type_of
from ...model.checkpoint_codec import columns_from_json
from ...model.errors import SchemaDrift
from ...model.position import Position, Transaction
from ...model.tables import Column, TableName
from ...plan.decisions import follows
from ...plan.table_plan import TablePlan
from ...values.widening import widens
from ..ports import Source
from .log_cursor import LogCursor
from .work import MappingWork

log = logging.getLogger("myrepetl")

_SHOWN_MAX = 4
_HINT = (
    "Run the `snapshot` job for this mapping, which copies the table again. With schema_policy: evolve that is done"
    " without asking."
)


class UnloggedChanges:
    """Looks at the tables of one catch-up.

    Args:
        described_at: what lies in the log up to here was written before the plans' tables were described. None: not
            known.
    """

    def __init__(self, source: Source, cursor: LogCursor, described_at: Position | None) -> None:
        self.source = source
        self.cursor = cursor
        self.described_at = described_at
        self._asked: dict[TableName, tuple[Position, tuple[Column, ...]]] = {}
        self._logged: set[TableName] = set()  # the log holds their change further on

    def found(self, work: MappingWork, event: RowsRead) -> SchemaDrift | None:
        """The error for rows that might be taken for what they are not. To be asked once for each table id."""
        state, table_map = work.state, event.opened
        # After a change that is logged, nothing but a table map with names tells the columns, and it tells them alone.
        if work.altered or state.checkpoint.altered or not isinstance(table_map, TableMap):
            return None
        known = columns_from_json(state.checkpoint.source_columns_json)
        if not known:
            return None
        if table_map.named:
            differing = _by_name(
                state.plan, known, table_map, self._unlisted(state.plan, known, table_map, event.transaction)
            )
        else:
            differing = _by_place(known, self._now(state.plan, event.transaction))
        if any(c.generated for c in known):  # the log has no expressions
            differing += _by_expression(state.plan, known, self._now(state.plan, event.transaction))
        if not differing or self._is_logged(event.table):
            return None
        if len(differing) > _SHOWN_MAX:
            differing[_SHOWN_MAX:] = ["…"]
        where = f"{event.transaction.file}:{event.transaction.end_offset_bytes}"
        error = SchemaDrift(
            f"mapping {state.name!r}: the columns of {event.table} are not those that were copied, and the log holds no"
            f" statement that changed them. Noticed at {where}: {'; '.join(differing)}",
            hint=_HINT,
        )
        if state.plan.mapping.schema_policy == "evolve":
            log.warning("%s", error.message, extra={"mapping": state.name})
        return error

    def _unlisted(
        self, plan: TablePlan, known: Sequence[Column], table_map: TableMap, transaction: Transaction
    ) -> frozenset[str]:
        """Columns of the table map that no list of columns has, such as MariaDB's hash of a unique TEXT."""
        names = {column.name or "" for column in table_map.columns} - {column.name for column in known}
        if not names:
            return frozenset()
        return frozenset(names.difference(column.name for column in self._now(plan, transaction)))

    def _now(self, plan: TablePlan, transaction: Transaction) -> tuple[Column, ...]:
        """The table's columns as they were when the transaction was written, or later."""
        name = plan.source.name
        if self.described_at is not None and self.described_at.includes(transaction):
            return plan.source.columns
        at, columns = self._asked.get(name, (None, ()))
        if at is None or not at.includes(transaction):
            at, columns = self.source.head(), self.source.columns(name)
            self._asked[name] = at, columns
        return columns

    def _is_logged(self, name: TableName) -> bool:
        """Whether the rest of the log holds a change of the table's columns."""
        if name not in self._logged and is_altered_after(self.source, self.cursor.position, name):
            self._logged.add(name)
        return name in self._logged


def is_altered_after(source: Source, position: Position, name: TableName) -> bool:
    """Whether the log holds a statement that alters the table, between a position and its end."""
    known = {name: KnownTable((), altered=True)}
    with closing(source.read_log(position, known)) as events:
        return any(
            isinstance(event, TableChanged) and any(c.structural for c in concerned(event.changes, name))
            for event in events
        )


def _by_place(known: Sequence[Column], now: Sequence[Column]) -> list[str]:
    """What differs, if the log tells columns by their place alone."""
    pairs = enumerate(zip_longest(known, now), 1)
    return [
        f"column {number} was {_shown(before)}, is {_shown(after)}"
        for number, (before, after) in pairs
        if before is None or after is None or not _is_read_alike(before, after)
    ]


def _is_read_alike(before: Column, now: Column) -> bool:
    """Whether the log has the same bytes for a value of either column, and the change has changed no value."""
    return (
        (before.name, before.type, before.unsigned, before.charset, before.members, before.generated)
        == (now.name, now.type, now.unsigned, now.charset, now.members, now.generated)
        and widens(before, now)
        and (now.nullable or not before.nullable)
    )


def _by_name(plan: TablePlan, known: Sequence[Column], table_map: TableMap, unlisted: frozenset[str]) -> list[str]:
    """What differs, if the log names its columns. Another order may stand for names that were exchanged."""
    before = {c.name: c for c in known}
    now = {c.name or "": c for c in table_map.columns if c.name not in unlisted}
    added, gone = [name for name in now if name not in before], [name for name in before if name not in now]
    differing = []
    if (added and gone) or (added and follows(plan)):
        differing.append(f"{', '.join(added)} came, {', '.join(gone) or 'nothing'} went")
    places = [[name for name in names if name in before and name in now] for names in (before, now)]
    if places[0] != places[1]:
        differing.append(f"the order was {', '.join(places[0])}, is {', '.join(places[1])}")
    for name in places[0]:
        needed = plan.every_column or name in plan.needed_source_columns
        if needed and not is_type_of(now[name], before[name]):
            differing.append(f"{_shown(before[name])} has another type")
    return differing


def _by_expression(plan: TablePlan, known: Sequence[Column], now: Sequence[Column]) -> list[str]:
    """The generated columns of which the source computes other values than those that the target has."""
    before = {c.name: c.generation_expression for c in known if c.generated}
    written = {c.source for c in plan.columns}
    held = set(plan.target.column_names) if follows(plan) else set()
    return [
        f"{_shown(c)} is computed otherwise"
        for c in now
        if c.name in written | held
        and c.generated
        and c.generation_expression != before.get(c.name, c.generation_expression)
    ]


def _shown(column: Column | None) -> str:
    return f"`{column.name}` {column.column_type}" if column else "not there"
