"""The code version of a target table: it changes with the mappings into the table, and with nothing else.

Dagster stores it with each materialization and shows an asset as outdated when it is another now. So the names in
this file are written out, and no class or field decides them. A setting that is added to mappings goes in only where
a mapping sets it, so that the tables of other mappings keep their code version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..transforms.filter_codec import filter_to_json, value_to_json
from ..transforms.functions import Transform
from .pipeline import ColumnMapping, TableMapping

# The rest of a pipeline does not count. Its place is taken by the settings that were the defaults when code versions
# were stored first.
_AROUND: dict[str, Any] = {
    "": "Pipeline",
    "sources": {},
    "targets": {},
    "metrics_port": None,
    "replication": {
        "": "Replication",
        "server_id": None,
        "log_file": None,
        "log_pos": 4,
        "resume_stream": True,
        "blocking": True,
        "only_events": None,
        "pause_replication_during_init": False,
        "follow_s": ["float", "0.0"],
    },
    "monitoring": {"": "Monitoring", "enabled": True, "interval_s": ["float", "30.0"], "log_level": "INFO"},
    "limits": {
        "": "Limits",
        "chunk_rows_max": 2_000,
        "batch_rows_max": 10_000,
        "batch_bytes_max": 8 * 2**20,
        "batch_interval_s_max": ["float", "5.0"],
        "joined_batches_max": 30,
        "joined_bytes_max": 112 * 2**20,
        "event_rows_min": 100,
        "snapshot_slice_s": ["float", "20.0"],
        "copy_window_rows": 50_000,
        "copy_writers_max": 3,
        "connect_timeout_s": ["float", "10.0"],
        "control_timeout_s": ["float", "60.0"],
        "snapshot_timeout_s": ["float", "600.0"],
        "read_ahead_bytes_max": 8 * 2**20,
        "stream_heartbeat_s": ["float", "5.0"],
        "stream_timeout_s": ["float", "30.0"],
        "apply_timeout_s": ["float", "300.0"],
        "lock_wait_timeout_s": ["float", "30.0"],
        "attempts_max": 12,
        "retry_time_s_max": ["float", "900.0"],
        "first_contact_time_s_max": ["float", "60.0"],
        "unknown_host_time_s_max": ["float", "5.0"],
        "backoff_first_s": ["float", "0.2"],
        "backoff_max_s": ["float", "30.0"],
    },
}


# The command that a refusal of changed code names.
ACCEPT_CODE = "myrepetl accept-code"


def code_version(mappings: Sequence[TableMapping]) -> str:
    """Changes with everything that the file says of these mappings, and with the text of their transforms.

    The same on every machine and in every process.
    """
    data = {**_AROUND, "mappings": [_mapping_to_json(mapping) for mapping in mappings]}
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def transform_code(mapping: TableMapping) -> dict[str, str]:
    """The hash of each of a mapping's transforms, by the name in the file. A checkpoint keeps it."""
    columns = mapping.columns or ()
    return {column.transform.spec: column.transform.code for column in columns if column.transform is not None}


def changed_code(known: Mapping[str, str] | None, code: Mapping[str, str]) -> list[str]:
    """The transforms whose code is another one than a checkpoint knows. Where it knows none, nothing has changed."""
    if known is None:  # of an earlier version
        return []
    return sorted(spec for spec in code.keys() | known.keys() if known.get(spec) not in (code.get(spec), ""))


def _mapping_to_json(mapping: TableMapping) -> dict[str, Any]:
    columns = mapping.columns
    return {
        "": "TableMapping",
        "name": mapping.name,
        "path": mapping.path,
        "source": mapping.source,
        "source_schema": mapping.source_schema,
        "source_table": mapping.source_table,
        "target": mapping.target,
        "target_schema": mapping.target_schema,
        "target_table": mapping.target_table,
        "primary_key": list(mapping.primary_key),
        "columns": None if columns is None else [_column_to_json(column) for column in columns],
        "filter": filter_to_json(mapping.filter),
        "init_query": mapping.init_query,
        "init_if_table_empty": mapping.init_if_table_empty,
        "pause_replication_during_init": mapping.pause_replication_during_init,
        "schema_policy": mapping.schema_policy,
        "on_position_lost": mapping.on_position_lost,
    }


def _column_to_json(column: ColumnMapping) -> dict[str, Any]:
    return {
        "": "ColumnMapping",
        "source": column.source,
        "target": column.target,
        "transform": _transform_to_json(column.transform) if column.transform else None,
        "value": value_to_json(column.value),
        "has_value": column.has_value,
        "primary_key": column.primary_key,
    }


def _transform_to_json(transform: Transform) -> list[str | None]:
    return [transform.spec, transform.builtin, transform.digest]
