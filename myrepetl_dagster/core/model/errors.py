"""Every error that the core raises, each with a hint for the operator.

An error names what it is about (connection, table, key columns, position) and never holds a row
value or a secret. `mysql/errors.py` translates the driver's errors into these, by number; nothing else does.
"""

from __future__ import annotations

from collections.abc import Sequence


class ReplicationError(Exception):
    """Root of every error of ours.

    Args:
        message: what happened and where; never a row value or a secret.
        hint: what the operator can do about it.
        code: the server's or the client library's error number, where there is one.
    """

    retryable = False

    def __init__(self, message: str, *, hint: str = "", code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.operation = ""  # what was being done on the connection, for logs
        self.unreached = ""  # the endpoint (its label) that could not be opened, or made ready
        self.mapping: str | None = None  # whose error it is, where it is not everybody's

    def __str__(self) -> str:
        code = f" [{self.code}]" if self.code is not None else ""
        hint = f" Hint: {self.hint}" if self.hint else ""
        return f"{self.message}{code}{hint}"

    @property
    def text(self) -> str:
        """The same, with the mapping that it is of."""
        named = self.mapping is None or self.mapping in self.message
        return str(self) if named else f"mapping {self.mapping!r}: {self}"


class ConfigError(ReplicationError):
    """The pipeline file is wrong; found before any connection is opened.

    `problems` lists all of them as (path in the file, what is wrong, hint).
    """

    def __init__(self, problems: list[tuple[str, str, str]]) -> None:
        self.problems = problems
        lines = [f"{path}: {what}" + (f" ({hint})" if hint else "") for path, what, hint in problems]
        super().__init__("\n".join(lines))


class RunFailed(ReplicationError):
    """Several things failed in a run, a source as a whole among them; `errors` has each of them."""

    def __init__(self, errors: Sequence[ReplicationError]) -> None:
        super().__init__("\n".join(error.text for error in errors))
        self.errors = tuple(errors)
        self.retryable = any(error.retryable for error in errors)


class PrerequisiteError(ReplicationError):
    """A server or a table is not fit for what the pipeline asks; a new run cannot mend it."""


class UnreadableCheckpoint(PrerequisiteError):
    """A mapping's checkpoint is there and cannot be read: a later version stored it, or it is damaged."""

    def __init__(self, mapping: str, message: str, *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.mapping = mapping


class TransientError(ReplicationError):
    """Starting again from the checkpoint may succeed."""

    retryable = True


class SourceLost(TransientError):
    """The connection to a source broke or could not be made."""


class TargetLost(TransientError):
    """The connection to a target broke; the outcome of a COMMIT under way is unknown."""


class TargetBusy(TransientError):
    """The target refused for now: lock wait, deadlock, too many connections, disk full, read only."""


class PositionLost(ReplicationError):
    """The source's log no longer holds, or never held, the checkpoint's position."""


class SchemaDrift(ReplicationError):
    """The columns of a source or target no longer match what the mapping needs."""


class UnsupportedEvent(ReplicationError):
    """The log holds something that cannot be applied exactly; nothing after it was applied."""

    def at(self, place: str) -> UnsupportedEvent:
        """The same, with where in the log it is (`file:offset`)."""
        hint = self.hint or "Correct the setting, then run the `snapshot` job for the affected mappings."
        return UnsupportedEvent(f"after {place}: {self.message}; nothing after that place was applied", hint=hint)


class RowRejected(ReplicationError):
    """A transform failed on a row, or the target refused it."""


class StaleRun(ReplicationError):
    """Another run has taken over the checkpoint; this run committed nothing since then."""


class StopRequested(ReplicationError):
    """The run was told to end; the checkpoint is where the last commit left it."""
