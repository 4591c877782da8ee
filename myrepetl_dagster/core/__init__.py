"""The replication core: usable, and tested, without Dagster.

pipeline = load("pipeline.json")
for result in replicate(pipeline):
    ...
"""

from .config import from_dict, load
from .errors import ReplicationError
from .pipeline import Pipeline, TableMapping
from .replicate import MappingResult, SourceRun, replicate
from .status import Status, status

__all__ = [
    "MappingResult",
    "Pipeline",
    "ReplicationError",
    "SourceRun",
    "Status",
    "TableMapping",
    "from_dict",
    "load",
    "replicate",
    "status",
]
