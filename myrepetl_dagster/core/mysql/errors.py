"""The driver's errors become ours, by their numbers (`error_codes.py`). Only this module translates them."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import pymysql

from ..config.pipeline import Endpoint
from ..model.errors import (
    PositionLost,
    PrerequisiteError,
    ReplicationError,
    RowRejected,
    SchemaDrift,
    SourceLost,
    TargetBusy,
    TargetLost,
)
from .driver_errors import classify_without_number
from .error_codes import ErrorClass, classify


@contextmanager
def translated(endpoint: Endpoint, doing: str = "") -> Iterator[None]:
    """Turn the driver's errors into ours.

    Args:
        doing: what is done, for the error's message.
    """
    try:
        yield
    except pymysql.MySQLError as error:
        ours = translate(error, endpoint, doing)
        ours.operation = doing
        # With `from error` the driver's text would be in every traceback, and it may quote the refused row.
        raise ours from None if _may_quote_values(ours, endpoint) else error
    except Exception as error:  # PyMySQL raises nearly anything; other errors pass as they are
        if not _from_driver(error):
            raise
        ours = translate(error, endpoint, doing)
        ours.operation = doing
        raise ours from error


def _from_driver(error: BaseException) -> bool:
    """Whether PyMySQL or a socket raised it: a closed file, a missing crypto library, a mistake in a call."""
    if isinstance(error, ReplicationError):
        return False
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return False
    file = traceback.tb_frame.f_code.co_filename
    return isinstance(error, (OSError, EOFError)) or "pymysql" in file or file.endswith(("socket.py", "ssl.py"))


# A server's text may quote values ("Duplicate entry '…'", "near '…'"). From the text about a refused row, only the
# column's name is kept: the one at the end, since a value before it may look like one. MariaDB may write `d`.`t`.`c`.
_COLUMN_IN_TEXT = re.compile(
    r"column (?:`(?:[^`]|``)+`\.)*`((?:[^`]|``)+)` at row \d+$"
    r"|.*(?:column|field) '(.+)'(?: at row \d+| cannot be null| doesn't have a default value)?\.?$",
    re.IGNORECASE | re.DOTALL,
)
_SYNTAX = frozenset({1064, 1149})
# Errors that only an sql_mode of the pipeline file raises: wrong dates, division by zero.
_BY_MODE = frozenset({1292, 1365, 1411})


def _may_quote_values(error: ReplicationError, endpoint: Endpoint) -> bool:
    return isinstance(error, RowRejected) or (error.code in _SYNTAX and endpoint.role == "target")


def translate(error: BaseException, endpoint: Endpoint, doing: str = "") -> ReplicationError:
    """One driver exception as one of ours."""
    where = f"{endpoint.role} {endpoint.name!r}" + (f", {doing}" if doing else "")
    lost = SourceLost if endpoint.role == "source" else TargetLost
    code, text = _code_and_text(error)
    if code == 0:
        # If the connection is broken, its state is unknown, and so is the outcome of the statement under way.
        numberless = classify_without_number(error)
        broken = numberless.error_class is ErrorClass.AMBIGUOUS_COMMIT
        # The text of an unknown error is left out: nobody knows what it quotes.
        said = f"{type(error).__name__}: {text}" if broken else type(error).__name__
        return (lost if broken else PrerequisiteError)(f"{where}: {numberless.symbol} ({said})", hint=numberless.hint)
    known = classify(code, text)
    where = f"{where}: {known.symbol}"
    match known.error_class:
        case ErrorClass.NEW_CONNECTION | ErrorClass.AMBIGUOUS_COMMIT | ErrorClass.FAILOVER:
            hint = known.hint
            if code == 2013 and "timed out" in text and endpoint.read_timeout_s is not None:
                hint = "Raise this connection's read_timeout where the server needs longer for an answer."
            return lost(f"{where}: {text}", hint=hint, code=code)
        case ErrorClass.TRANSIENT:
            kind = SourceLost if endpoint.role == "source" else TargetBusy
            return kind(f"{where}: {text}", hint=known.hint, code=code)
        case ErrorClass.POSITION_LOST:
            return PositionLost(f"{where}: {text}", hint=known.hint, code=code)
        case ErrorClass.DATA:
            found = _COLUMN_IN_TEXT.search(text)
            column = (found[1] or found[2]) if found else ""
            named = f" (column {column!r})" if column else ""
            hint = known.hint
            if code in _BY_MODE and endpoint.sql_mode and endpoint.role == "target":
                hint += " Or leave out of this target's sql_mode what refuses it (TRADITIONAL holds NO_ZERO_DATE)."
            rejected = RowRejected(f"{where}{named}", hint=hint, code=code)
            rejected.column = column
            return rejected
        case ErrorClass.SCHEMA:
            return SchemaDrift(f"{where}: {text}", hint=known.hint, code=code)
    said = "" if code in _SYNTAX and endpoint.role == "target" else f": {text}"
    return PrerequisiteError(f"{where}{said}", hint=known.hint, code=code)


def _code_and_text(error: BaseException) -> tuple[int, str]:
    """The error's number and text; 0 if it has no number.

    PyMySQL gives 2003 for everything that goes wrong while it connects, so the original exception is looked at first.
    """
    cause = getattr(error, "original_exception", error)
    if isinstance(cause, socket.gaierror):
        return 2005, str(cause)
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return 2026, str(cause)
    if isinstance(cause, OSError) and not isinstance(error, pymysql.MySQLError):
        return 0, str(cause)  # args[0] is an errno, not one of the numbers that the table knows
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    return code, str(error.args[1]) if len(error.args) > 1 else str(error)
