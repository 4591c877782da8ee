"""The replication core: usable, and tested, without Dagster.

    pipeline = load("pipeline.json")
    for result in replicate(pipeline):
        ...

Names are loaded when first used: checking a pipeline file needs no database driver.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config.load import from_dict, load
    from .config.pipeline import Pipeline, TableMapping
    from .diagnostics.status import Status, status
    from .model.errors import ReplicationError, RunFailed
    from .replication.result import MappingResult
    from .replication.run import SourceRun
    from .replication.source_runs import replicate, run_all, runs

_MODULES = {
    "MappingResult": "replication.result",
    "Pipeline": "config.pipeline",
    "ReplicationError": "model.errors",
    "RunFailed": "model.errors",
    "SourceRun": "replication.run",
    "Status": "diagnostics.status",
    "TableMapping": "config.pipeline",
    "from_dict": "config.load",
    "load": "config.load",
    "replicate": "replication.source_runs",
    "run_all": "replication.source_runs",
    "runs": "replication.source_runs",
    "status": "diagnostics.status",
}

__all__ = [
    "MappingResult",
    "Pipeline",
    "ReplicationError",
    "RunFailed",
    "SourceRun",
    "Status",
    "TableMapping",
    "from_dict",
    "load",
    "replicate",
    "run_all",
    "runs",
    "status",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
