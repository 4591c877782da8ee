"""Copying a table chunk by chunk. Each chunk is committed with the checkpoint from which the copy can be resumed.

The low watermark is stored before the first chunk is read. However often the copy is interrupted, the log is applied
from a place before all of its chunks. The last step of a copy, the sweep, deletes the rows that the target holds and
the source does not. Then the log is applied up to the high watermark, and the copy is exact.
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
from ...model.tables import Column
from ...plan.table_plan import TablePlan
from ...rows.literal_codegen import LiteralKey
from ...rows.pending_rows import PendingRows
from ...rows.shaper import Shaper
from ...rows.writable_rows import Mutation, Mutations
from ...source.snapshot_reader import Chunk
from ...values.column_types import TEMPORAL_TYPES, TEXT_TYPES, WHOLE_NUMBER_TYPES
from ..mapping_state import MappingState, Report, named_mapping
from ..ports import Source, Target

log = logging.getLogger("myrepetl")

_TEXT = TEXT_TYPES - {"set"}


def store(target: Target, stored: Sequence[tuple[MappingState, Checkpoint]]) -> None:
    """Commit the checkpoints of several mappings at once. A mapping that another run has claimed holds up no other.

    Raises:
        StaleRun: another run has claimed one of the mappings. Those before it are committed.
    """
    try:
        _store(target, stored)
    except StaleRun:
        for state, checkpoint in stored:
            with named_mapping(state):
                _store(target, [(state, checkpoint)])


def _store(target: Target, stored: Sequence[tuple[MappingState, Checkpoint]]) -> None:
    checkpoints = [checkpoint for _, checkpoint in stored]
    mappings = [checkpoint.mapping for checkpoint in checkpoints]
    connection = target.apply
    connection.begin(mappings)
    connection.commit(checkpoints)
    for state, checkpoint in stored:
        state.checkpoint = checkpoint


class Copy:
    """The copy of one mapping. It is done in slices, between which the log is applied to the other mappings."""

    def __init__(self, source: Source, state: MappingState, limits: Limits, report: Report) -> None:
        self.source = source
        self.state = state
        self.limits = limits
        self.report = report
        self.shaper = Shaper(state.plan, source.layout(state.plan))
        self._until_s: float | None = None
        self._rows_swept_before = state.checkpoint.rows_swept
        self._estimate()

    def _estimate(self) -> None:
        """Ask about how many rows there are, once for each copy. The next commit stores it."""
        copy = self.copy
        if copy.rows_estimated is None and not copy.sweeping:
            estimated = self.source.estimated_rows(self.state.plan)
            self.state.checkpoint = replace(self.state.checkpoint, copy=replace(copy, rows_estimated=estimated))

    def run(self, until_s: float | None) -> bool:
        """Copy to the end (True), or until `time.monotonic()` passes `until_s` (False).

        A copy that does not go by key cannot be resumed, so it ignores `until_s` while it reads.
        """
        state = self.state
        self._until_s = until_s
        with named_mapping(state):
            # A chunk is written over what the log brought, so it must not be older than that.
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
            chunk = self._read_chunk()
            copy = replace(self.copy, after_key=chunk.after_key)
            self._store(chunk, self.next_pass(copy) if chunk.last and copy.sweep else copy)
            if chunk.last:  # no yield: a slice that ended here would make the next one read in vain
                return
            yield

    def _read_chunk(self) -> Chunk:
        return self.source.read_chunk(self.state.plan, self.copy.after_key, self.limits.chunk_rows_max)

    def _whole(self) -> None:
        """Copy a table without a usable key by one statement. If this is interrupted, the next run starts it again."""
        if self.copy.rows_done:
            copy = replace(self.copy, rows_done=0)
            self.state.checkpoint = replace(self.state.checkpoint, copy=copy)
        for chunk in self.source.read_all(self.state.plan, self.limits.chunk_rows_max):
            self._store(chunk, self.copy)
        if self.copy.sweep:
            self._commit(replace(self.state.checkpoint, copy=self.next_pass(self.copy)))

    def next_pass(self, copy: CopyState) -> CopyState:
        """The state once all rows are read: rows that the source does not have are looked for."""
        estimated = self.state.target.estimated_rows(self.state.plan)
        return replace(copy, sweeping=True, rows_done=0, rows_estimated=estimated)

    def _store(self, chunk: Chunk, copy: CopyState) -> None:
        pending = PendingRows()
        self.shaper.shape(((None, row) for row in chunk.rows), pending)
        pending.check()
        checkpoint = replace(
            self.state.checkpoint,
            copy=copy if copy.sweeping else replace(copy, rows_done=copy.rows_done + len(chunk.rows)),
            bytes_read=self.state.checkpoint.bytes_read + chunk.bytes,
            rows_snapshotted=self.state.checkpoint.rows_snapshotted + pending.rows_upserted,
            rows_filtered=self.state.checkpoint.rows_filtered + pending.rows_filtered,
        )
        self._commit(checkpoint, pending.mutations)

    def _commit(self, checkpoint: Checkpoint, mutations: Sequence[Mutation] = ()) -> None:
        state = self.state
        connection = state.target.apply
        self._begin()
        if mutations:
            connection.write(self.shaper.plan, Mutations(mutations, settling=True))
        checkpoint = replace(checkpoint, sequence=checkpoint.sequence + 1, last_error="")
        self._end_transaction(checkpoint)
        state.checkpoint = checkpoint
        self.report(state)

    def _begin(self) -> None:
        """Begin a transaction on the first apply connection, behind the fence."""
        self.state.target.apply.begin([self.state.name])

    def _end_transaction(self, checkpoint: Checkpoint) -> None:
        """Store the checkpoint, and commit it with the rows."""
        self.state.target.apply.commit([checkpoint])

    # ---- rows that the source no longer has ----
    def _sweep(self) -> Iterator[None]:
        """Delete the rows that the target holds and the source does not.

        This is safe before the log is applied: if the source inserts such a row later, the log has it.
        """
        state = self.state
        while keys := state.target.keys_after(state.plan, self.copy.sweep_after, self.limits.chunk_rows_max):
            missing = self._missing_in_source(keys)
            copy = replace(self.copy, sweep_after=keys[-1], rows_done=self.copy.rows_done + len(keys))
            checkpoint = replace(state.checkpoint, copy=copy, rows_swept=state.checkpoint.rows_swept + len(missing))
            self._commit(checkpoint, [(key, None) for key in missing])
            yield

    def _missing_in_source(self, keys: Sequence[LiteralKey]) -> list[LiteralKey]:
        """Those of the target's keys that the source does not have. Fixed key columns are the mapping's own."""
        plan = self.state.plan
        source_of = {c.target: c.source for c in plan.columns}
        names = [source for name in plan.key if (source := source_of[name]) is not None]
        places = [i for i, name in enumerate(plan.key) if source_of[name] is not None]
        source_keys = [tuple(key[i] for i in places) for key in keys]
        present = set()
        with closing(self.source.read_keys(plan, names, source_keys)) as lists:
            for rows in lists:
                found = PendingRows()
                self.shaper.shape(((None, row) for row in rows), found)
                present |= {_as_compared(tuple(key[i] for i in places)) for key, _ in found.mutations}
        return [key for key, own in zip(keys, source_keys, strict=True) if _as_compared(own) not in present]

    def _end(self) -> None:
        """End the copy, all of which is read. Its high watermark is the log's present end."""
        if rows_swept := self.state.checkpoint.rows_swept - self._rows_swept_before:
            log.warning(
                "mapping %s: deleted %d rows of %s that the source does not have",
                self.state.name, rows_swept, self.state.plan.target.name, extra={"mapping": self.state.name},
            )  # fmt: skip
        self._commit(ended(self.state.checkpoint, self.source.head()))


def _as_compared(key: LiteralKey) -> LiteralKey:
    """The key, as a server compares it: 0.0 and -0.0 are one key, of which MariaDB stores the first only."""
    return tuple("0.0e0" if literal == "-0.0e0" else literal for literal in key)


class Copies:
    """The copies that are due. One slice does them one after the other."""

    def __init__(self, source: Source, limits: Limits, report: Report) -> None:
        self.source = source
        self.limits = limits
        self.report = report
        self.due: dict[str, Copy] = {}  # by mapping

    def add(self, state: MappingState) -> None:
        with named_mapping(state):
            self.due[state.name] = self._new_copy(state)

    def _new_copy(self, state: MappingState) -> Copy:
        return Copy(self.source, state, self.limits, self.report)

    def run_slice(self) -> None:
        """Copy for `snapshot_slice_s`, so that the other mappings do not fall behind.

        A mapping with `pause_replication_during_init` is copied to its end: the others have to wait.
        """
        slice_end_s = time.monotonic() + self.limits.snapshot_slice_s
        for copy in list(self.due.values()):
            if not self.run_one(copy, self.until_s(copy, slice_end_s)):
                return

    def until_s(self, copy: Copy, slice_end_s: float) -> float | None:
        """When a copy has to pause; None: it does not pause before its end."""
        return None if copy.state.plan.mapping.pause_replication_during_init else slice_end_s

    def run_one(self, copy: Copy, until_s: float | None) -> bool:
        """Continue one copy. False: the slice ends before the copy does."""
        if not copy.run(until_s):
            return False
        del self.due[copy.state.name]
        return True


def ended(checkpoint: Checkpoint, head: Position) -> Checkpoint:
    """The checkpoint of a copy whose rows are all written. None of them was read after the source was at `head`."""
    return replace(checkpoint, phase=Phase.SETTLING, copy=None, high_watermark=head)


def can_sweep(plan: TablePlan) -> bool:
    """Whether the target's keys can be read in order, and each be looked for in the source, which prints it alike."""
    target = plan.target
    if not any(set(key) == set(plan.key) for key in (target.primary_key, *target.unique_keys)):
        return False  # only the beginnings of the key's columns are indexed
    return all(
        c.source is None
        or (c.transform is None and _same_literals(plan.source.column(c.source), plan.target.column(c.target)))
        for c in plan.columns
        if c.target in plan.key
    )


def _same_literals(source: Column | None, target: Column | None) -> bool:
    if source is None or target is None:
        return False
    if source.type in WHOLE_NUMBER_TYPES:
        return target.type in WHOLE_NUMBER_TYPES
    if source.type in _TEXT:
        return target.type in _TEXT and source.charset == target.charset
    if source.type in TEMPORAL_TYPES or source.type == "decimal":
        return source.column_type == target.column_type
    return source.type == target.type and source.column_type == target.column_type
