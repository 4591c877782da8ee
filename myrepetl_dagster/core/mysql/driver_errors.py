"""What the driver's exceptions without a number mean for a replication. `error_codes.py` has those with one."""

from __future__ import annotations

import struct

from pymysql import err

from .error_codes import ErrorClass, ErrorCode

_A, _X = ErrorClass.AMBIGUOUS_COMMIT, ErrorClass.CONFIGURATION
_UNUSABLE = "the connection is unusable"
_DEFECT = "This is a defect of myrepetl_dagster or of PyMySQL: report it with the run's log."
_ENCRYPT = "Use TLS or a unix socket, or install the package `cryptography`."
_AUTHENTICATION = "The account's authentication plugin is not supported."

# Exceptions that the driver raises without a number: (exception class, part of its text, symbol, class, hint).
# The first row that fits counts. A broken connection shows in many ways. No new connection mends a wrong call.
_WITHOUT_NUMBER: tuple[tuple[type[BaseException], str, str, ErrorClass, str], ...] = (
    (UnicodeError, "", "text that is not in its character set", _X, _DEFECT),
    (RuntimeError, "cryptography", "the password cannot be sent safely", _X, _ENCRYPT),
    (err.InterfaceError, "", _UNUSABLE, _A, ""),
    (err.InternalError, "packet sequence", _UNUSABLE, _A, ""),
    (err.OperationalError, "", "the login failed", _X, _AUTHENTICATION),  # all others have numbers
    (err.Error, "already closed", _UNUSABLE, _A, ""),
    (OSError, "", _UNUSABLE, _A, ""),  # a closed socket, a broken pipe, a timeout, the end of TLS
    (EOFError, "", _UNUSABLE, _A, ""),
    (ValueError, "closed file", _UNUSABLE, _A, ""),
    (AttributeError, "'NoneType'", _UNUSABLE, _A, ""),  # the socket is None once it is closed
    (IndexError, "", _UNUSABLE, _A, ""),  # a packet that is too short, or not of this protocol
    (struct.error, "unpack", _UNUSABLE, _A, ""),
    (AssertionError, "result length", _UNUSABLE, _A, ""),
)


def classify_without_number(error: BaseException) -> ErrorCode:
    """The meaning of a driver's exception without a number. An unknown one is not retried."""
    text = str(error).lower()
    for kind, part, symbol, error_class, hint in _WITHOUT_NUMBER:
        if isinstance(error, kind) and part.lower() in text:
            return ErrorCode(0, symbol, error_class, hint)
    return ErrorCode(0, "the driver failed", ErrorClass.CONFIGURATION, _DEFECT)
