"""What the log says of XA transactions: which one is prepared, and which is committed or rolled back. Pure."""

from __future__ import annotations

import re
import struct

from ..model.errors import UnsupportedEvent

_DECISION = re.compile(r"XA (COMMIT|ROLLBACK) X'([0-9a-f]*)',X'([0-9a-f]*)',(\d+)\s*", re.IGNORECASE)
_PREPARE = struct.Struct("<BIII")  # one phase, format id, bytes of the branch and of the qualifier


def prepared_xid(body: bytes) -> str | None:
    """The transaction that an XA_PREPARE event prepares; None for XA COMMIT … ONE PHASE, a commit like any other."""
    one_phase, format_id, first, second = _PREPARE.unpack_from(body)
    if one_phase:
        return None
    branch = body[_PREPARE.size : _PREPARE.size + first + second]
    return _xid(branch[:first], branch[first:], format_id)


def decided_xid(statement: str) -> tuple[str, bool]:
    """The transaction that a statement decides, and whether it commits it.

    Raises:
        UnsupportedEvent: it is neither XA COMMIT nor XA ROLLBACK.
    """
    found = _DECISION.fullmatch(statement)
    if found is None:
        raise UnsupportedEvent("an XA statement that is not known")
    verb, first, second, format_id = found.groups()
    return _xid(bytes.fromhex(first), bytes.fromhex(second), int(format_id)), verb.upper() == "COMMIT"


def _xid(branch: bytes, qualifier: bytes, format_id: int) -> str:
    """An XA transaction's name, as the servers write it in statements."""
    return f"X'{branch.hex()}',X'{qualifier.hex()}',{format_id}"
