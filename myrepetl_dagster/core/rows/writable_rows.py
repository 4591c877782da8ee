"""The kinds of rows that a target writes. The set is closed: the target knows one way to write each of them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..values.bulk_parameters import BulkRows
from .event_encoder import RowChanges
from .literal_codegen import LiteralKey, LiteralRow

# A key's literals, and the literals of all mapped columns, or None for a row that goes.
Mutation = tuple[LiteralKey, LiteralRow | None]
# Stands for the literal of a column that keeps its value. Then the mutation is an update: the row of that key is there,
# and gets the literals that there are, among them those of its new key.
KEPT = ""


@dataclass(frozen=True, slots=True)
class Mutations:
    """Upserts, deletes and updates as literals.

    They are applied in this order if there are updates among them, or if the plan says that rows may collide.

    Args:
        settling: the copy has not settled. A row of the target may be deleted if it holds a unique value of one of
            these rows: the log has an event that writes the deleted row again. A row that is to be updated may be
            missing if none is deleted so: the copy has read the table after the row went, and the log has that, too.
    """

    rows: Sequence[Mutation]
    settling: bool = False


@dataclass(frozen=True, slots=True)
class Rendered:
    """Rows of which no two can collide, ready to be sent.

    Args:
        gone: keys of rows that go.
        tuples: the SQL tuples of the rows that stay; none if they come in bulk.
        mutations: makes mutations of all of them, to tell which one the target refuses.
        bulk: the parameters of the rows that stay, for a target that takes rows in bulk.
    """

    gone: list[LiteralKey]
    tuples: list[str]
    mutations: Callable[[], list[Mutation]]
    bulk: BulkRows | None = None


@dataclass(frozen=True, slots=True)
class SqlTuples:
    """Rows to upsert, each as the SQL tuple that the source has rendered. No two of them collide."""

    tuples: Sequence[bytes | memoryview]


WritableRows = Mutations | Rendered | SqlTuples | BulkRows | RowChanges
