"""Every error that the core raises, each with a hint for the operator.

An error names what it is about (connection, table, key columns, position) and never holds a row
value or a secret. `mysql/errors.py` translates the driver's errors into these, by number; nothing else does.
"""

from __future__ import annotations

from collections.abc import Sequence


class ReplicationError(Exception):
    """The base of all errors of this package.

    Args:
        message: the failure and its place; never a row value or a secret.
        hint: the operator's next step.
        code: the error number of the server or the client library, if there is one.
    """

    retryable = False

    def __init__(self, message: str, *, hint: str = "", code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.operation = ""  # the work that was done on the connection, for logs
        self.unreached = ""  # the endpoint (its label) that could not be opened, or made ready
        self.mapping: str | None = None  # the mapping that alone is concerned; None: all are

    def __str__(self) -> str:
        code = f" [{self.code}]" if self.code is not None else ""
        text = f"{self.message}{code}"
        if not self.hint:
            return text
        return f"{text}{'.' if text[-1:].isalnum() else ''} Hint: {self.hint}"

    @property
    def text(self) -> str:
        """The error with the name of its mapping."""
        named = self.mapping is None or self.mapping in self.message
        return str(self) if named else f"mapping {self.mapping!r}: {self}"

    def text_of(self, mapping: str) -> str:
        """The error where the mapping's name stands before it anyway: many messages begin with it."""
        return str(self).removeprefix(f"mapping {mapping!r}: ")


class ConfigError(ReplicationError):
    """The pipeline file is wrong. Raised before any connection is opened.

    `problems` lists every problem as (path in the file, problem, hint).
    """

    def __init__(self, problems: list[tuple[str, str, str]]) -> None:
        self.problems = problems
        lines = [f"{path}: {what}" + (f" ({hint})" if hint else "") for path, what, hint in problems]
        super().__init__("\n".join(lines))


class RunFailed(ReplicationError):
    """Several errors ended a run, one of them for a source as a whole. `errors` lists them."""

    def __init__(self, errors: Sequence[ReplicationError]) -> None:
        super().__init__("\n".join(error.text for error in errors))
        self.errors = tuple(errors)
        self.retryable = any(error.retryable for error in errors)


class PrerequisiteError(ReplicationError):
    """A server or a table lacks what the pipeline needs. A new run cannot mend that."""


class UnreadableCheckpoint(PrerequisiteError):
    """A mapping's checkpoint is there and cannot be read: a later version stored it, or it is damaged."""

    def __init__(self, mapping: str, message: str, *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.mapping = mapping


class TransientError(ReplicationError):
    """A new start from the checkpoint may succeed."""

    retryable = True


class SourceLost(TransientError):
    """The connection to a source broke, or could not be opened."""


class TargetLost(TransientError):
    """The connection to a target broke, or could not be opened. The outcome of a COMMIT under way is unknown."""


class TargetBusy(TransientError):
    """The target cannot write at present: lock wait, deadlock, too many connections, disk full, read only."""


class PositionLost(ReplicationError):
    """The source's log does not hold the checkpoint's position: no longer, or it never did."""


class SchemaDrift(ReplicationError):
    """A source or target table lacks columns that the mapping needs."""


class UnsupportedEvent(ReplicationError):
    """The log holds a change that cannot be applied exactly. Nothing after it was applied."""

    def at(self, place: str) -> UnsupportedEvent:
        """The same error with its place in the log (`file:offset`)."""
        hint = self.hint or "Correct the setting, then run the `snapshot` job for the affected mappings."
        return UnsupportedEvent(f"after {place}: {self.message}; nothing after that place was applied", hint=hint)


class RowRejected(ReplicationError):
    """A transform failed on a row, or the target refused it. `column`: the one that the target's server named."""

    column = ""


class StaleRun(ReplicationError):
    """Another run has taken over a mapping's checkpoint. This run has committed nothing of it since."""

    def __init__(self, mapping: str) -> None:
        super().__init__(
            f"another run has taken over {mapping}; this run committed nothing of it since",
            hint="Nothing to do: the other run goes on from the same checkpoint. (If it was `myrepetl accept-code`,"
            " start a run.)",
        )
        self.mapping = mapping


class StaleStep(StaleRun):
    """Another try to copy the same range has taken it over."""

    def __init__(self, mapping: str, number: int) -> None:
        super().__init__(mapping)
        self.message = f"another step copies range {number} of {mapping}; this step committed nothing of it since"
        self.hint = "Nothing to do: the other step goes on from the same place."


class StopRequested(ReplicationError):
    """The run was told to end. The checkpoint is that of the last commit."""
