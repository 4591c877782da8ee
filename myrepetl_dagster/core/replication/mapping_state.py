"""A mapping during an attempt: the state that copying and catch-up share. No I/O of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..model.checkpoint import Checkpoint, Phase
from ..model.errors import ReplicationError
from ..model.position import Position
from ..plan.table_plan import TablePlan
from .ports import Target


@dataclass(slots=True)
class MappingState:
    """A mapping's plan and target, its committed checkpoint, and the position up to which its log has been read.

    Attributes:
        rows_uncommitted: rows that were read of a transaction too large to hold, which is being written.
        follows: whether its source's log is read as the source writes.
    """

    plan: TablePlan
    target: Target
    checkpoint: Checkpoint
    position: Position
    rows_uncommitted: int = 0
    follows: bool = False
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.plan.name

    @property
    def settled(self) -> bool:
        """Whether the target equals the source at the checkpoint. It does not while a copy runs or settles."""
        return self.checkpoint.phase is Phase.REPLICATING


Report = Callable[[MappingState], None]


class named_mapping:
    """Adds the mapping's name to an error from the block, so that the other mappings can go on without this one."""

    def __init__(self, mapping: MappingState | TablePlan) -> None:
        self._name = mapping.name

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, ReplicationError) and error.mapping is None:
            error.mapping = self._name
