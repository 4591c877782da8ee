"""Copying a table: from the low watermark, chunk by chunk, each with the checkpoint that makes it resumable.

The low watermark is stored before the first chunk is read, so that however often the copy is interrupted, the
log is applied from a place before all of its chunks. Rows that the target holds and the source does not are
deleted at the end (`sweep`). Then the log is applied up to the high watermark, and the copy is exact.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

from ...model.checkpoint import Checkpoint, CopyState, Phase
from ...model.errors import StaleRun
from ...model.limits import Limits
from ...model.position import Position
from ...model.tables import Column, Row
from ...plan.table_plan import TablePlan
from ...rows.pending_rows import LiteralKey, PendingRows
from ...rows.shaper import Shaper
from ...rows.writable_rows import Mutations
from ...values.cells import INTEGER_TYPES, TEMPORAL_TYPES
from ..mapping_state import MappingState, Report, named_mapping
from ..ports import Source, Target

log = logging.getLogger("myrepetl")

_TEXT = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum"})


def store(target: Target, stored: Sequence[tuple[MappingState, Checkpoint]]) -> None:
    """Commit checkpoints of several mappings at once. One that another run has taken over holds up no other.

    Raises:
        StaleRun: of the first mapping that is another run's now; those before it are committed.
    """
    try:
        _store(target, stored)
    except StaleRun:
        for state, checkpoint in stored:
            with named_mapping(state):
                _store(target, [(state, checkpoint)])


def _store(target: Target, stored: Sequence[tuple[MappingState, Checkpoint]]) -> None:
    checkpoints = [checkpoint for _, checkpoint in stored]
    target.apply.begin([checkpoint.mapping for checkpoint in checkpoints])
    target.apply.commit(checkpoints)
    for state, checkpoint in stored:
        state.checkpoint = checkpoint


class Copy:
    """The copy of one mapping, done in slices."""

    def __init__(self, source: Source, state: MappingState, limits: Limits, report: Report) -> None:
        self.source = source
        self.state = state
        self.limits = limits
        self.report = report
        self.shaper = Shaper(state.plan, source.layout(state.plan))
        self.rows_swept = 0
        self._until_s: float | None = None

    def run(self, until_s: float | None) -> bool:
        """Copy until done (True) or, where the copy goes by key, until `time.monotonic()` passes `until_s`."""
        state = self.state
        self._until_s = until_s
        with named_mapping(state):
            # A chunk is written over whatever the log brought; so it must not be older than that.
            self.source.wait_visible(state.position, [state.plan.source.name])
            for _ in self._steps():
                if self._slice_over():
                    return False
            self._end()
        return True

    def _slice_over(self) -> bool:
        return self._until_s is not None and time.monotonic() >= self._until_s

    def _steps(self) -> Iterator[None]:
        copy = self.copy
        if not copy.sweeping and self.source.chunked(self.state.plan):
            yield from self._chunks()
        elif not copy.sweeping:
            self._whole()
        if copy.sweep:
            yield from self._sweep()

    @property
    def copy(self) -> CopyState:
        copy = self.state.checkpoint.copy
        assert copy is not None, "a mapping that copies has a copy state"
        return copy

    def _chunks(self) -> Iterator[None]:
        while True:
            chunk = self.source.read_chunk(self.state.plan, self.copy.after_key, self.limits.chunk_rows_max)
            sweeping = chunk.last and self.copy.sweep
            self._store(chunk.rows, replace(self.copy, after_key=chunk.after_key, sweeping=sweeping))
            if chunk.last:  # no step to come: a slice that ends here must not make the next one read in vain
                return
            yield

    def _whole(self) -> None:
        """No key to go by: one statement, one consistent read; interrupted, it starts again."""
        for rows in self.source.read_all(self.state.plan, self.limits.chunk_rows_max):
            self._store(rows, self.copy)
        if self.copy.sweep:
            self._store([], replace(self.copy, sweeping=True))

    def _store(self, rows: Sequence[Row], copy: CopyState) -> None:
        shaped = PendingRows()
        self.shaper.shape(((None, row) for row in rows), shaped)
        shaped.check()
        checkpoint = replace(
            self.state.checkpoint,
            copy=copy,
            rows_snapshotted=self.state.checkpoint.rows_snapshotted + shaped.rows_upserted,
            rows_filtered=self.state.checkpoint.rows_filtered + shaped.rows_filtered,
        )
        self._commit(checkpoint, shaped)

    def _commit(self, checkpoint: Checkpoint, shaped: PendingRows | None = None) -> None:
        state = self.state
        connection = state.target.apply
        connection.begin([state.name])
        if shaped is not None and shaped.mutations:
            connection.write(self.shaper.plan, Mutations(shaped.mutations, may_evict=True))
        checkpoint = replace(checkpoint, sequence=checkpoint.sequence + 1, last_error="")
        connection.commit([checkpoint])
        state.checkpoint = checkpoint
        self.report(state)

    # ---- rows that the source no longer has ----
    def _sweep(self) -> Iterator[None]:
        """Delete what the target holds and a look at the source does not find.

        Safe before the log is applied: a row that comes back later comes back by the log.
        """
        state = self.state
        while keys := state.target.keys_after(state.plan, self.copy.sweep_after, self.limits.chunk_rows_max):
            gone = self._gone(keys)
            self.rows_swept += len(gone)
            copy = replace(self.copy, sweep_after=keys[-1])
            shaped = PendingRows(mutations=[(key, None) for key in gone])
            self._commit(replace(state.checkpoint, copy=copy), shaped)
            yield

    def _gone(self, keys: Sequence[LiteralKey]) -> list[LiteralKey]:
        plan = self.state.plan
        by_target = {c.target: c.source for c in plan.columns}
        own = [(i, by_target[name]) for i, name in enumerate(plan.key) if by_target[name] is not None]
        names = [name for _, name in own if name is not None]
        asked = [tuple(key[i] for i, _ in own) for key in keys]
        present = set()
        with closing(self.source.read_keys(plan, names, asked)) as lists:
            for rows in lists:
                found = PendingRows()
                self.shaper.shape(((None, row) for row in rows), found)
                present |= {tuple(key[i] for i, _ in own) for key, _ in found.mutations}
        return [key for key, short in zip(keys, asked, strict=True) if short not in present]

    def _end(self) -> None:
        """All chunks are read: what they may have seen ends at the log's present end."""
        if self.rows_swept:
            log.warning(
                "mapping %s: deleted %d rows of %s that the source does not have",
                self.state.name, self.rows_swept, self.state.plan.target.name, extra={"mapping": self.state.name},
            )  # fmt: skip
        self._commit(ended(self.state.checkpoint, self.source.head()))


class Copies:
    """The copies that are due, done in slices, one after the other."""

    def __init__(self, source: Source, limits: Limits, report: Report) -> None:
        self.source = source
        self.limits = limits
        self.report = report
        self.due: dict[str, Copy] = {}  # by mapping

    def add(self, state: MappingState) -> None:
        with named_mapping(state):
            self.due[state.name] = self._made(state)

    def _made(self, state: MappingState) -> Copy:
        return Copy(self.source, state, self.limits, self.report)

    def run_slice(self) -> None:
        """Copy for a while, so that the other mappings do not fall behind; or to the end, if they are to wait."""
        slice_end_s = time.monotonic() + self.limits.snapshot_slice_s
        for copy in list(self.due.values()):
            if not self.run_alone(copy, self.until_s(copy, slice_end_s)):
                return

    def until_s(self, copy: Copy, slice_end_s: float) -> float | None:
        return None if copy.state.plan.mapping.pause_replication_during_init else slice_end_s

    def run_alone(self, copy: Copy, until_s: float | None) -> bool:
        """Copy one table on; False: the slice ends before the table."""
        if not copy.run(until_s):
            return False
        del self.due[copy.state.name]
        return True


def ended(checkpoint: Checkpoint, head: Position) -> Checkpoint:
    """A copy's checkpoint once all is read and written; what its rows have seen ends at `head`."""
    return replace(checkpoint, phase=Phase.SETTLING, copy=None, high_watermark=head)


def can_sweep(plan: TablePlan) -> bool:
    """Whether the key reads the same in source and target, so that a row of one can be looked for in the other."""
    return all(
        c.source is None
        or (c.transform is None and _same_literals(plan.source.column(c.source), plan.target.column(c.target)))
        for c in plan.columns
        if c.target in plan.key
    )


def _same_literals(source: Column | None, target: Column | None) -> bool:
    if source is None or target is None:
        return False
    whole = INTEGER_TYPES - {"bit", "year"}
    if source.type in whole:
        return target.type in whole
    if source.type in _TEXT:
        return target.type in _TEXT and source.charset == target.charset
    if source.type in TEMPORAL_TYPES or source.type == "decimal":
        return source.column_type == target.column_type
    return source.type == target.type and source.column_type == target.column_type
