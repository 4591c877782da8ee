"""A mapping during a run: what is planned, committed, and read but not yet committed. No I/O of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..model.checkpoint import Checkpoint, Phase
from ..model.errors import ReplicationError
from ..model.position import Position, Transaction
from ..plan.schema_change import Decision
from ..plan.table_plan import TablePlan
from ..rows.image_shaper import ImageShaper
from ..rows.pending_rows import PendingRows
from ..rows.shaper import Shaper
from .catchup.in_doubt import InDoubt
from .ports import Target


@dataclass(slots=True)
class Work:
    """What has been read for one mapping and is not yet committed. `clear`: the table was truncated first."""

    shaped: PendingRows = field(default_factory=PendingRows)
    clear: bool = False

    @property
    def touched(self) -> bool:
        return self.clear or self.shaped.rows_read > 0

    def truncate(self) -> None:
        self.shaped.drop()
        self.clear = True

    def take(self, other: Work) -> None:
        """Add a finished transaction's work."""
        if other.clear:
            self.truncate()
        self.shaped.take(other.shaped)


@dataclass(slots=True)
class MappingState:
    """A mapping during a run: its plan, its target, its checkpoint as committed, and where it is by now."""

    plan: TablePlan
    target: Target
    checkpoint: Checkpoint
    position: Position
    written: TablePlan = field(init=False)  # the plan of the rows at hand: columns come and go
    altered: bool = False
    joined: bool = False  # its position is the stream's
    done: Work = field(default_factory=Work)  # of whole transactions
    current: Work = field(default_factory=Work)  # of the transaction being read
    shapers: dict[bytes, tuple[Shaper, ImageShaper | None]] = field(default_factory=dict)  # by raw table map
    xa: InDoubt = field(init=False)

    def __post_init__(self) -> None:
        self.written = self.plan
        self.xa = InDoubt(dict(self.checkpoint.in_doubt))

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def exact(self) -> bool:
        return self.checkpoint.phase is Phase.REPLICATING


@dataclass(slots=True)
class CurrentTransaction:
    """The transaction being read: what it has touched, and how much of it is held.

    `xa_token`: what its rows are kept under, if it is an XA transaction.
    """

    touched: dict[str, MappingState] = field(default_factory=dict)
    rows: int = 0
    bytes: int = 0
    xa_token: str = ""

    def work_of(self, state: MappingState) -> Work:
        """What it means for the mapping, to add to."""
        self.touched[state.name] = state
        return state.current

    def end(self) -> None:
        self.touched.clear()
        self.rows = self.bytes = 0
        self.xa_token = ""


Report = Callable[[MappingState], None]
Place = tuple[str, str, int]  # mapping, file, offset in bytes


class SchemaChanged(Exception):
    """The log has come to a change of a source table that the target has to follow first.

    Not an error: everything before it is committed, and the pass starts again from there.
    """

    def __init__(self, place: Place, decision: Decision) -> None:
        super().__init__(f"{place}: {decision.answer}")
        self.place = place
        self.decision = decision


class CommittedUnseen(Exception):
    """An XA transaction was committed that some mappings never saw prepared: it was in doubt when their copies began.

    Not an error: everything before it is committed, and these mappings have to be copied again from it on.
    """

    def __init__(self, states: Sequence[MappingState], transaction: Transaction) -> None:
        super().__init__(f"{transaction.file}:{transaction.end_offset_bytes}")
        self.states = states
        self.transaction = transaction


class named_mapping:
    """Names the mapping on an error that passes, so that the others can go on without it."""

    def __init__(self, whose: MappingState | TablePlan) -> None:
        self._name = whose.name

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, ReplicationError) and error.mapping is None:
            error.mapping = self._name
