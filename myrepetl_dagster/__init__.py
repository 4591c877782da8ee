"""MySQL and MariaDB replication, orchestrated by Dagster.

`myrepetl_dagster.core` works without Dagster. The names here are the Dagster side. Each is imported at its first use,
so that the core and the command line start without Dagster.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .component import ReplicationComponent
    from .conditions import eager_on_changes, on_cron_in_step
    from .factory import build_replication_defs
    from .lineage import ReplicatedTable, SourceTable
    from .options import Checks
    from .resources import MySQLSourceResource, MySQLTargetResource, ReplicationResource
    from .specs import build_replication_specs, build_source_specs
    from .translator import ReplicationTranslator, default_asset_spec

__all__ = [
    "Checks",
    "MySQLSourceResource",
    "MySQLTargetResource",
    "ReplicatedTable",
    "ReplicationComponent",
    "ReplicationResource",
    "ReplicationTranslator",
    "SourceTable",
    "build_replication_defs",
    "build_replication_specs",
    "build_source_specs",
    "default_asset_spec",
    "eager_on_changes",
    "on_cron_in_step",
]

_MODULES = {
    "Checks": "options",
    "MySQLSourceResource": "resources",
    "MySQLTargetResource": "resources",
    "ReplicatedTable": "lineage",
    "ReplicationComponent": "component",
    "ReplicationResource": "resources",
    "ReplicationTranslator": "translator",
    "SourceTable": "lineage",
    "build_replication_defs": "factory",
    "build_replication_specs": "specs",
    "build_source_specs": "specs",
    "default_asset_spec": "translator",
    "eager_on_changes": "conditions",
    "on_cron_in_step": "conditions",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]  # `dg list components` looks here
