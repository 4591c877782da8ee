"""MySQL and MariaDB replication, orchestrated by Dagster.

`myrepetl_dagster.core` works without Dagster; what is named here is the Dagster side. It is imported when it
is first asked for, so that the core and the command line start without it.
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

_HOME = {
    "MySQLSourceResource": "resources",
    "MySQLTargetResource": "resources",
    "ReplicatedTable": "lineage",
    "build_replication_defs": "factory",
    "default_asset_spec": "lineage",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
