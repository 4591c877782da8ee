"""`myrepetl run`: the core's loop with progress on a terminal or in the log, and a clean stop on a signal."""

from __future__ import annotations

import logging
import signal
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from types import FrameType
from typing import Literal

from rich.live import Live
from rich.logging import RichHandler
from rich.text import Text

from ..core.config.pipeline import Pipeline
from ..core.replication.result import MappingResult, Progress, Stage
from ..core.replication.source_runs import run_all, runs
from ..json_logs import JsonFormatter, log_fields
from ..metrics import Exporter, exporter
from .output import console, print_results, progress_table

log = logging.getLogger("myrepetl")

LogFormat = Literal["text", "json"]


class Stopped(BaseException):
    """A signal asked for the end. It is no Exception, so that no handler on its way takes it for an ordinary error."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


def run(
    pipeline: Pipeline,
    names: Sequence[str] | None,
    *,
    copy_again: bool,
    follow_s: float = 0.0,
    debug: bool = False,
    log_format: LogFormat = "text",
) -> int:
    """Bring the mappings up to date. A mapping or a source that fails does not stop the others."""
    terminal = sys.stderr.isatty() and log_format == "text"
    as_json = None
    if log_format == "json":
        as_json = JsonFormatter(uuid.uuid4().hex, {m.name: m.source for m in pipeline.mappings})
    _log_to_stderr("DEBUG" if debug else pipeline.monitoring.log_level, terminal, as_json)
    show = Display(pipeline, terminal=terminal)
    metrics = exporter(pipeline) if follow_s > 0 else Exporter(pipeline)

    def progress(report: Progress) -> None:
        show.progress(report)
        metrics.progress(report)

    names = [m.name for m in pipeline.mappings] if names is None else names
    again = names if copy_again else ()
    chosen = runs(pipeline, names, progress, copy_again=again, follow_s=follow_s, on_retry=metrics.retry)
    results = [result for run in chosen for result in run.results.values()]
    print_all = _log_results if log_format == "json" else print_results
    for run in chosen:
        metrics.watch(run.results)
    try:
        with _stopping(), show, closing(metrics):
            for run in run_all(chosen):
                if debug and run.error is not None:
                    log.debug("where it came from", exc_info=run.error)
    except Stopped as stop:
        print_all(results)
        note = f"stopped by {stop}; the next run goes on from the checkpoint"
        if log_format == "json":
            log.warning(note)
        else:
            console(stderr=True).print(Text(note), soft_wrap=True)
        return 128 + stop.signum
    print_all(results)
    return 1 if any(result.error for result in results) else 0


def _log_results(results: Iterable[MappingResult]) -> None:
    """Each mapping's result as a line of the log."""
    for r in results:
        fields = {"mapping": r.mapping, "phase": r.phase, "position": r.position or None, "lag_s": r.lag_s}
        if r.error is not None:
            log.error("mapping %s: failed, %s", r.mapping, r.error, extra=fields | {"code": r.error.code})
        else:
            counts = f"{r.rows_snapshotted:,} rows copied, {r.changes_applied:,} changes applied"
            log.info("mapping %s: done, %s", r.mapping, counts, extra=fields)


@contextmanager
def _stopping() -> Iterator[None]:
    """SIGINT and SIGTERM end the run at once: connections are closed, and the servers roll back."""

    def stop(signum: int, frame: FrameType | None) -> None:
        for one in before:  # a second signal ends the process at once
            signal.signal(one, signal.SIG_DFL)
        raise Stopped(signum)

    before = {one: signal.signal(one, stop) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _log_to_stderr(level: str, terminal: bool, formatter: logging.Formatter | None) -> None:
    handler: logging.Handler = logging.StreamHandler()
    if formatter is not None:
        handler.setFormatter(formatter)
    elif terminal:  # lines and the live table share the screen
        handler = RichHandler(console=console(stderr=True), show_path=False)
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    log.setLevel(level)


class Display:
    """Shows the progress: a live table on a terminal, else a log line every `monitoring.interval` seconds."""

    def __init__(self, pipeline: Pipeline, *, terminal: bool) -> None:
        self._monitoring = pipeline.monitoring
        self._latest: dict[str, Progress] = {}
        self._logged: dict[str, tuple[Stage, float]] = {}
        self._live = None
        if terminal and self._monitoring.enabled:
            self._live = Live(
                console=console(stderr=True), transient=True, get_renderable=lambda: progress_table(self._rows())
            )

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def progress(self, report: Progress) -> None:
        """Called after every commit."""
        self._latest[report.mapping] = report
        if self._live is not None or not self._monitoring.enabled:
            return
        stage, logged_s = self._logged.get(report.mapping, (None, 0.0))
        now_s = time.monotonic()
        if report.stage is not stage or now_s - logged_s >= self._monitoring.interval_s:
            self._logged[report.mapping] = (report.stage, now_s)
            log.info("mapping %s", report, extra=log_fields(report))

    def _rows(self) -> list[Progress]:
        return list(self._latest.values())
