"""The report of a connection's checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ..config.pipeline import Endpoint
from ..model.errors import ReplicationError
from ..mysql.error_codes import ACCESS_DENIED
from ..mysql.errors import translated


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"  # could not be checked, which is no failure by itself


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name, its outcome, what was found, and the command that mends it."""

    name: str
    state: State
    found: str
    mend: str = ""


@dataclass(slots=True)
class ConnectionReport:
    endpoint: Endpoint
    checks: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return all(check.state is not State.FAILED for check in self.checks)

    def failed(self, name: str) -> bool:
        return any(check.name == name and check.state is State.FAILED for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        endpoint = self.endpoint
        checks = [
            {"check": c.name, "state": c.state.value, "found": c.found, "mend": c.mend or None} for c in self.checks
        ]
        return {
            "name": endpoint.name, "role": endpoint.role, "address": endpoint.address, "ok": self.ok, "checks": checks,
        }  # fmt: skip

    def add(self, name: str, state: State, found: str, mend: str = "") -> None:
        self.checks.append(Check(name, state, found, mend if state in (State.FAILED, State.WARNING) else ""))

    def attempt(self, name: str, look: Callable[[], None], grant: str = "") -> bool:
        """Run a check that adds its own lines. An error becomes a failed line; `grant` is its mend after a refusal.

        Returns:
            Whether the check ended without an error.
        """
        try:
            with translated(self.endpoint):
                look()
        except ReplicationError as error:
            self.add(name, State.FAILED, error.message, (grant if error.code in ACCESS_DENIED else "") or error.hint)
            return False
        return True
