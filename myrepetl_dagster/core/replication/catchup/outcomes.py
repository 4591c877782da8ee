"""Reasons for a catch-up to end before the head that are no errors. Everything before it is committed."""

from __future__ import annotations

from collections.abc import Sequence

from ...model.position import Transaction
from ...plan.decisions import Decision
from ..mapping_state import MappingState

Place = tuple[str, str, int]  # mapping, file, offset in bytes


class SchemaChanged(Exception):
    """The log has come to a change of a source table that the target has to follow first.

    Then the next attempt starts from there.
    """

    def __init__(self, place: Place, decision: Decision) -> None:
        super().__init__(f"{place}: {decision.answer}")
        self.place = place
        self.decision = decision


class CommittedUnseen(Exception):
    """An XA transaction is committed that was prepared before the copies of some mappings began.

    These mappings have to be copied again from here on.
    """

    def __init__(self, states: Sequence[MappingState], transaction: Transaction) -> None:
        super().__init__(f"{transaction.file}:{transaction.end_offset_bytes}")
        self.states = states
        self.transaction = transaction


class CopiesDue(Exception):
    """Mappings have to be copied, and the attempt leaves that to another run. Their first checkpoints are stored."""

    def __init__(self, mappings: Sequence[str]) -> None:
        super().__init__(", ".join(mappings))
        self.mappings = tuple(mappings)
