"""The text of a statement in the log, which is in the character set of the client that sent it. Pure."""

from __future__ import annotations

import struct

from .collations import charset_of
from .values import decode_text

# Status variables of a query event up to the one that names the character set, and their sizes in bytes.
_FLAGS, _SQL_MODE, _AUTO_INCREMENT, _CHARSET, _CATALOG = 0, 1, 3, 4, 6
_SIZES = {_FLAGS: 4, _SQL_MODE: 8, _AUTO_INCREMENT: 4}


def statement_text(status: bytes, text: bytes) -> str:
    """A statement as text; bytes that are none in its character set (of a string literal) are replaced.

    Args:
        status: the event's status variables.
    """
    charset = charset_of(_client_collation(status))
    try:
        return decode_text(text, charset or "utf8mb4")
    except (ValueError, LookupError):
        return text.decode("utf-8", "replace")


def _client_collation(status: bytes) -> int:
    at = 0
    while at < len(status):
        code = status[at]
        if code == _CHARSET and at + 3 <= len(status):
            return int(struct.unpack_from("<H", status, at + 1)[0])
        if code == _CATALOG and at + 1 < len(status):
            at += 2 + status[at + 1]
        elif code in _SIZES:
            at += 1 + _SIZES[code]
        else:
            break
    return 0
