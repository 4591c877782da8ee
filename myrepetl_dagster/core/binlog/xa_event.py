"""XA transactions in the log: which one is prepared, and which one is committed or rolled back. Pure."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from functools import partial

from ..model.errors import UnsupportedEvent
from ..model.position import Transaction
from .events import Committed, LogEvent, XaDecided, XaPrepared

_DECISION = re.compile(r"XA (COMMIT|ROLLBACK) X'([0-9a-f]*)',X'([0-9a-f]*)',(\d+)\s*", re.IGNORECASE)
_PREPARE = struct.Struct("<BIII")  # one phase, format id, bytes of the branch and of the qualifier


# How a transaction ends.
Outcome = Callable[[Transaction], LogEvent]


def outcome_of_prepare(body: bytes) -> Outcome:
    """How the transaction of an XA_PREPARE event ends. XA COMMIT … ONE PHASE is a commit like any other."""
    one_phase, format_id, first, second = _PREPARE.unpack_from(body)
    if one_phase:
        return Committed
    branch = body[_PREPARE.size : _PREPARE.size + first + second]
    return partial(XaPrepared, _xid(branch[:first], branch[first:], format_id))


def outcome_of_decision(statement: str) -> Outcome:
    """How a transaction ends that consists of an XA statement.

    Raises:
        UnsupportedEvent: it is neither XA COMMIT nor XA ROLLBACK.
    """
    found = _DECISION.fullmatch(statement)
    if found is None:
        raise UnsupportedEvent("an XA statement that is not known")
    verb, first, second, format_id = found.groups()
    xid = _xid(bytes.fromhex(first), bytes.fromhex(second), int(format_id))
    return partial(XaDecided, xid, verb.upper() == "COMMIT")


def _xid(branch: bytes, qualifier: bytes, format_id: int) -> str:
    """An XA transaction's name, as the servers write it in statements."""
    return f"X'{branch.hex()}',X'{qualifier.hex()}',{format_id}"
