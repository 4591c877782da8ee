"""`myrepetl run`: the core's loop with progress on a terminal or in the log, and a clean stop on a signal."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from rich.live import Live
from rich.logging import RichHandler
from rich.text import Text

from ..core.config.pipeline import Pipeline
from ..core.model.checkpoint import Phase
from ..core.replication.result import Progress
from ..core.replication.source_runs import run_all, runs
from .output import console, print_results, progress_table, rate, seconds

log = logging.getLogger("myrepetl")


class Stopped(BaseException):
    """A signal asked for the end. It is no Exception, so that no handler on its way takes it for an ordinary error."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


def run(
    pipeline: Pipeline, names: Sequence[str] | None, *, copy_again: bool, follow_s: float = 0.0, debug: bool = False
) -> int:
    """Bring the mappings up to date. A mapping or a source that fails does not stop the others."""
    terminal = sys.stderr.isatty()
    _log_to_stderr("DEBUG" if debug else pipeline.monitoring.log_level, terminal)
    show = Display(pipeline, terminal=terminal)
    names = [m.name for m in pipeline.mappings] if names is None else names
    chosen = runs(pipeline, names, show.progress, copy_again=names if copy_again else (), follow_s=follow_s)
    results = [result for run in chosen for result in run.results.values()]
    try:
        with _stopping(), show:
            for run in run_all(chosen):
                if debug and run.error is not None:
                    log.debug("where it came from", exc_info=run.error)
    except Stopped as stop:
        print_results(results)
        note = f"stopped by {stop}; the next run goes on from the checkpoint"
        console(stderr=True).print(Text(note), soft_wrap=True)
        return 128 + stop.signum
    print_results(results)
    return 1 if any(result.error for result in results) else 0


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


def _log_to_stderr(level: str, terminal: bool) -> None:
    handler: logging.Handler = logging.StreamHandler()
    if terminal:  # lines and the live table share the screen
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
        self._logged: dict[str, tuple[Phase, float]] = {}
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
        phase, logged_s = self._logged.get(report.mapping, (None, 0.0))
        now_s = time.monotonic()
        if report.phase is not phase or now_s - logged_s >= self._monitoring.interval_s:
            self._logged[report.mapping] = (report.phase, now_s)
            log.info(
                "mapping %s: %s, %d rows copied, %d changes applied, %s a second, lag %s, at %s",
                report.mapping, report.phase.value, report.rows_snapshotted, report.changes_applied,
                rate(report) or "0", seconds(report.lag_s) or "unknown", report.position,
                extra={
                    "mapping": report.mapping, "phase": report.phase.value, "position": report.position,
                    "lag_s": report.lag_s,
                },
            )  # fmt: skip

    def _rows(self) -> list[Progress]:
        return list(self._latest.values())
