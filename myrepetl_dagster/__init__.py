"""MySQL and MariaDB replication, orchestrated by Dagster.

`myrepetl_dagster.core` works without Dagster. The names here are the Dagster side. Each is imported at its first use,
so that the core and the command line start without Dagster.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .factory import build_replication_defs
    from .lineage import ReplicatedTable, default_asset_spec
    from .resources import MySQLSourceResource, MySQLTargetResource

__all__ = [
    "MySQLSourceResource",
    "MySQLTargetResource",
    "ReplicatedTable",
    "build_replication_defs",
    "default_asset_spec",
]

_MODULES = {
    "MySQLSourceResource": "resources",
    "MySQLTargetResource": "resources",
    "ReplicatedTable": "lineage",
    "build_replication_defs": "factory",
    "default_asset_spec": "lineage",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
