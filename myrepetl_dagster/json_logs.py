"""Log records as JSON, a line each, with the run, source, mapping and position that they are about.

For `myrepetl run --log-format json`, and for Dagster's `python_logs` (docs/how-to/logs.md). Knows no Dagster.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from .core.replication.result import Progress

# What log records of the core carry beside their text (`extra=`). No field ever holds a row's value.
_FIELDS = (
    "run_id", "source", "target", "mapping", "phase", "stage", "position", "lag_s", "rows_done", "rows_estimated",
    "rows_per_s", "operation", "code", "attempt", "wait_s",
)  # fmt: skip


def log_fields(progress: Progress) -> dict[str, Any]:
    """What a log line about this progress carries."""
    return {
        "mapping": progress.mapping,
        "phase": progress.phase.value,
        "stage": progress.stage.value,
        "position": progress.position,
        "lag_s": progress.lag_s,
        "rows_done": progress.rows_done,
        "rows_estimated": progress.rows_estimated,
        "rows_per_s": round(progress.rows_per_s, 1),
    }


class JsonFormatter(logging.Formatter):
    """Formats each record as one line of JSON; fields that are not known are left out.

    Args:
        run_id: of the run that the process is. A record of Dagster has its own.
        sources: each mapping's source.
    """

    def __init__(self, run_id: str = "", sources: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._run_id = run_id
        self._sources = sources or {}
        self._positions: dict[str, str] = {}  # the last one known of each mapping

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _dagster_meta(record, "orig_message") or record.getMessage(),
        }
        fields = {name: getattr(record, name, None) for name in _FIELDS}
        fields["run_id"] = fields["run_id"] or self._run_id or _dagster_meta(record, "run_id")
        if (mapping := fields["mapping"]) is not None:
            fields["source"] = fields["source"] or self._sources.get(mapping)
            if fields["position"]:
                self._positions[mapping] = fields["position"]
            fields["position"] = fields["position"] or self._positions.get(mapping)
        line |= {name: value for name, value in fields.items() if value is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _dagster_meta(record: logging.LogRecord, name: str) -> str | None:
    """What Dagster adds to a record: its run's id, and the message without the names of the run and the step."""
    meta = getattr(record, "dagster_meta", None)
    value = meta.get(name) if isinstance(meta, Mapping) else None
    return value if isinstance(value, str) and value else None
