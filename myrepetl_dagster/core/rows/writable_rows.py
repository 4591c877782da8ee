"""The kinds of rows that a target writes. The set is closed: the target knows one way to write each of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..values.bulk_parameters import BulkRows
from .event_encoder import RowChanges
from .pending_rows import Mutation, Rendered


@dataclass(frozen=True, slots=True)
class Mutations:
    """Upserts and deletes as literals, to be applied in this order where the plan says that rows may collide.

    Args:
        may_evict: a row of the target may be deleted if it holds a unique value of one of these rows. This is safe
            until a copy has settled: the log has an event that writes the deleted row again.
    """

    rows: Sequence[Mutation]
    may_evict: bool = False


@dataclass(frozen=True, slots=True)
class SqlTuples:
    """Rows to upsert, each as the SQL tuple that the source has rendered. No two of them collide."""

    tuples: Sequence[bytes | memoryview]


WritableRows = Mutations | Rendered | SqlTuples | BulkRows | RowChanges
