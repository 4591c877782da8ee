"""Passes the core's progress on to Dagster, at intervals, since each report is a row in Dagster's storage."""

from __future__ import annotations

import time
from collections.abc import Mapping

import dagster as dg

from . import metadata
from .core.config.pipeline import Monitoring
from .core.replication.result import Progress
from .json_logs import log_fields
from .resources import Context

LOG_INTERVAL_S = 5.0
OBSERVE_INTERVAL_S_MIN = 15.0


class ProgressReport:
    """Writes lines into the run's log, and observations of the assets while they are being made.

    Args:
        keys: each mapping's asset.
        monitoring: the pipeline file's section; its `interval` is the least time between observations of an asset.
    """

    def __init__(self, context: Context, keys: Mapping[str, dg.AssetKey], monitoring: Monitoring) -> None:
        self._context = context
        self._keys = keys
        self._enabled = monitoring.enabled
        self._observe_interval_s = max(OBSERVE_INTERVAL_S_MIN, monitoring.interval_s)
        self._logged_s = time.monotonic()
        self._observed_s = dict.fromkeys(keys, self._logged_s)

    def __call__(self, progress: Progress) -> None:
        if not self._enabled:
            return
        now_s = time.monotonic()
        if now_s - self._logged_s >= LOG_INTERVAL_S:
            self._logged_s = now_s
            self._context.log.info(metadata.progress_text(progress), extra=log_fields(progress))
        if now_s - self._observed_s[progress.mapping] >= self._observe_interval_s:
            self._observed_s[progress.mapping] = now_s
            key = self._keys[progress.mapping]
            self._context.log_event(dg.AssetObservation(key, metadata=metadata.progress_metadata(progress)))
