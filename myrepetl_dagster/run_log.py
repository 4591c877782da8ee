"""What the core logs while an op runs (retries, changes of tables, deleted rows), in the run's own log.

Dagster captures loggers only where its instance is told to (`python_logs` in dagster.yaml). Here it works on any
instance, and no line comes twice where the instance captures our logger already.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from .resources import Context

LOGGER = "myrepetl"


class _ToRunLog(logging.Handler):
    """Hands each record on to a run's log. The core logs from several threads, as `context.log` allows."""

    def __init__(self, run_log: dg.DagsterLogManager) -> None:
        super().__init__()
        self._run_log = run_log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._run_log.log(record.levelno, record.getMessage(), exc_info=record.exc_info)
        except Exception:  # as every handler: a line that cannot be written ends no replication
            self.handleError(record)


@contextmanager
def core_log(context: Context, level: str = "INFO") -> Iterator[None]:
    """While inside, what the core logs is in the log of the op's run. First it says what the instance lacks.

    One op at a time in a process: with two, each run's log has the lines of both.

    Args:
        level: the least level, `monitoring.log_level` of the pipeline file.
    """
    for note in instance_notes(context.instance):
        context.log.info(note)
    if {LOGGER, "root"} & set(context.instance.managed_python_loggers):
        yield
        return
    logger, handler = logging.getLogger(LOGGER), _ToRunLog(context.log)
    level_before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level_before)


def instance_notes(instance: dg.DagsterInstance) -> list[str]:
    """What this instance lacks for unattended replication, each in one line; nothing of an instance without a disk."""
    if instance.is_ephemeral or instance.run_monitoring_enabled:
        return []
    return [
        "run_monitoring is off in dagster.yaml: a run whose machine dies stays 'started', and the sensor waits for it. "
        "README, 'Your dagster.yaml', has the lines that mend it"
    ]
