"""MySQL and MariaDB replication, orchestrated by Dagster.

`myrepetl_dagster.core` works without Dagster. The names here are the Dagster side. Each is imported at its first use,
so that the core and the command line start without Dagster.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .factory import build_replication_defs
    from .lineage import ReplicatedTable, SourceTable
    from .resources import MySQLSourceResource, MySQLTargetResource
    from .translator import ReplicationTranslator, default_asset_spec

__all__ = [
    "MySQLSourceResource",
    "MySQLTargetResource",
    "ReplicatedTable",
    "ReplicationTranslator",
    "SourceTable",
    "build_replication_defs",
    "default_asset_spec",
]

_MODULES = {
    "MySQLSourceResource": "resources",
    "MySQLTargetResource": "resources",
    "ReplicatedTable": "lineage",
    "ReplicationTranslator": "translator",
    "SourceTable": "lineage",
    "build_replication_defs": "factory",
    "default_asset_spec": "translator",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
