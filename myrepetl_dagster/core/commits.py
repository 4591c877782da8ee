"""The commits of one pass: in the log's order, each with its checkpoints, the next begun before the last is through.

A commit costs a target's answer to each statement and, at its end, the disk. So two transactions of one target may be
open at once, on two connections. The later one writes the rows that the earlier one does not write, waits for the
earlier one's commit, takes the fence, writes the rest, stores its checkpoints and commits. A reader of the target sees
the same states in the same order as if one had come after the other:

* Nothing is committed before its predecessor; if that fails, or is another run's, nothing that comes after it is.
* A row that both write has its later image: the later transaction writes it once the earlier one is committed. Should
  two keys turn out to be one row to the target ('a' and 'A'), whoever comes second waits for the row's lock; is that
  the earlier transaction, the later one does not see it end, gives way (`apply.PATIENCE_S`), and starts again after it.
* A delete that finds no row leaves no lock, and might miss one that the earlier transaction is about to insert. So all
  deletes of the later one come after the earlier one's commit, and where keys are not as distinct to the target as they
  are here, a batch with deletes waits as a whole.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .apply import Target
from .behind import Waiting
from .checkpoint import Checkpoint
from .errors import TargetBusy
from .mapping_state import MappingState, Work, blamed
from .plan import TablePlan, UniqueKeys
from .shape import Mutation, Rendered, Shaped

Part = Rendered | Sequence[Mutation] | None


@dataclass(slots=True)
class Piece:
    """What one mapping writes in a commit: all at once, or `early` and `late`, with the earlier commit's in between."""

    state: MappingState
    plan: TablePlan
    clear: bool
    whole: Part = None
    early: Part = None
    late: Part = None
    apart: bool = False
    written: Shaped | None = None  # what it writes, where only the last row of each key counts

    def write(self, lane: Target) -> None:
        """Write all of it."""
        with blamed(self.state):
            if self.clear:
                lane.clear(self.state.plan)
            for part in (self.whole, self.late, self.early):  # deletes are in `late`
                self.write_part(lane, part)

    def write_part(self, lane: Target, part: Part) -> None:
        """Write `early` or `late`."""
        with blamed(self.state):
            if isinstance(part, Rendered):
                lane.write_rendered(self.plan, part)
            elif part:
                lane.write(self.plan, part, exact=self.state.exact)


def piece_of(state: MappingState, work: Work, before: Commit | None = None) -> Piece:
    """What is to be written for a mapping.

    Args:
        before: the commit under way; with it the piece comes apart, where that can be.

    Raises:
        UnsupportedEvent: an image holds what no value of its column can be.
    """
    shaped = work.shaped
    shaped.check()
    piece = Piece(state, state.written, work.clear)
    by_key = not work.clear and piece.plan.unique_keys is UniqueKeys.NONE
    if by_key:
        piece.written = shaped
    if by_key and before is not None and (taken := before.written_for(state)) is not None:
        distinct = piece.plan.distinct_keys
        parts: tuple[Part, Part] | None = shaped.rendered_apart(taken, distinct_keys=distinct)
        if parts is None:
            parts = shaped.mutations_apart(taken, distinct_keys=distinct)
        if parts is not None:
            piece.early, piece.late = parts
            piece.apart = True
            return piece
    piece.whole = shaped.rendered() or shaped.settle()
    return piece


@dataclass(eq=False)
class Commit:
    """One transaction of a target, on one of its lanes."""

    lane: Target
    pieces: Sequence[Piece]
    stored: Sequence[Checkpoint]
    ended: threading.Event = field(default_factory=threading.Event)
    done: bool = False
    gave_way: bool = False

    @property
    def states(self) -> list[MappingState]:
        return [piece.state for piece in self.pieces]

    def written_for(self, state: MappingState) -> Shaped | None:
        """The rows that it writes for a mapping; None where it cannot be told by their keys."""
        piece = next((one for one in self.pieces if one.state is state), None)
        return Shaped() if piece is None else piece.written

    def after(self, before: Commit | None, *, begun: bool) -> Callable[[], Waiting]:
        """What does it, for `Target.start`.

        Args:
            before: what is under way and has to be committed first.
            begun: the transaction is open already.
        """

        def work() -> Waiting:
            try:
                if before is None:
                    self._alone(begun=begun)
                else:
                    yield from self._beside(before)
                self.done = True
            finally:
                self.ended.set()

        return work

    def _alone(self, *, begun: bool) -> None:
        if not begun:
            self.lane.begin([state.name for state in self.states])
        for piece in self.pieces:
            piece.write(self.lane)
            if piece.state.xa.unsaved:
                piece.state.xa.save(piece.state.name, self.lane.prepared())
        self.lane.commit(self.stored)

    def _beside(self, before: Commit) -> Waiting:
        lane = self.lane
        lane.begin_ahead()
        for piece in self.pieces:
            piece.write_part(lane, piece.early)
        while not (yield before.ended):
            if not self.gave_way:
                lane.rollback()
                self.gave_way = True
        if not before.done:
            raise TargetBusy("what came before it was not committed")
        if self.gave_way:
            self._alone(begun=False)
            return
        lane.fence([state.name for state in self.states])
        for piece in self.pieces:
            piece.write_part(lane, piece.late)
        lane.commit(self.stored)
