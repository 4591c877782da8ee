"""The pipeline file as it was when its definitions were made: a run reads it anew, and may find another one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from .core.config.load import load
from .core.config.pipeline import Pipeline
from .core.model.errors import ConfigError

RELOAD = "reload the code location (in the UI: Deployment, Reload)"


@dataclass(frozen=True, slots=True)
class PipelineFile:
    """A file that was loaded, and what its bytes were."""

    path: Path
    digest: str

    @classmethod
    def of(cls, path: Path) -> PipelineFile:
        return cls(path, _digest(path))

    def problem(self, loaded: Pipeline) -> str | None:
        """Why a run of tables of `loaded` that is started now would fail; None: it would find these tables.

        Settings of the file may have changed all the same: a run takes the new ones.
        """
        if _digest(self.path) == self.digest:
            return None
        try:
            now = load(self.path)
        except ConfigError as error:
            return self._wrong(error)
        if _tables(now) == _tables(loaded):
            return None
        return f"{self.path.name} has changed since it was loaded: {RELOAD}"

    def fault(self) -> str | None:
        """Why any run that is started now would fail; None: the file is as it was, or can be loaded."""
        if _digest(self.path) == self.digest:
            return None
        try:
            load(self.path)
        except ConfigError as error:
            return self._wrong(error)
        return None

    def _wrong(self, error: ConfigError) -> str:
        first = str(error).partition("\n")[0]
        return f"{self.path.name} has changed since it was loaded, and is wrong: {first}"


def _digest(path: Path) -> str:
    """Of a file that is gone: empty."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _tables(pipeline: Pipeline) -> set[tuple[str, ...]]:
    """Which mappings there are, and of which tables: these make the assets."""
    return {(m.name, m.source, str(m.source_name), m.target, str(m.target_name)) for m in pipeline.mappings}
