"""`myrepetl run`: the core's loop with progress on a terminal or in the log, and a clean stop on a signal."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType

from rich.live import Live
from rich.logging import RichHandler
from rich.text import Text

from ..core.config.pipeline import Pipeline
from ..core.model.checkpoint import Phase
from ..core.model.errors import ReplicationError
from ..core.replication.result import MappingResult, Progress
from ..core.replication.run import SourceRun
from .output import console, print_results, progress_table, rate, seconds

log = logging.getLogger("myrepetl")


class Stopped(BaseException):
    """A signal asked for the end. Not an Exception: nothing on its way up may take it for a failure of its own."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


def run(
    pipeline: Pipeline, names: Sequence[str] | None, *, copy_again: bool, follow_s: float = 0.0, debug: bool = False
) -> int:
    """Bring the mappings up to date, source by source; one that fails does not hold up the others."""
    terminal = sys.stderr.isatty()
    _log_to_stderr("DEBUG" if debug else pipeline.monitoring.log_level, terminal)
    show = Display(pipeline, terminal=terminal)
    results: dict[str, MappingResult] = {}
    try:
        with _stopping(), show:
            runs = []
            for source in pipeline.sources:
                chosen = [m for m in pipeline.mappings_of_source(source) if names is None or m.name in names]
                if chosen:
                    run = SourceRun(pipeline, chosen, show.progress, copy_again=copy_again, follow_s=follow_s)
                    results |= run.results
                    runs.append(run)
            if follow_s > 0 and len(runs) > 1:
                _run_side_by_side(runs, debug=debug)
            else:
                for run in runs:
                    _run_source(run, debug=debug)
    except Stopped as stop:
        print_results(results.values())
        note = f"stopped by {stop}; the next run goes on from the checkpoint"
        console(stderr=True).print(Text(note), soft_wrap=True)
        return 128 + stop.signum
    print_results(results.values())
    return 1 if any(result.error for result in results.values()) else 0


def _run_side_by_side(runs: Sequence[SourceRun], *, debug: bool) -> None:
    """Sources that are followed cannot wait for each other."""
    for run in runs:
        run.share_memory(len(runs))
    with ThreadPoolExecutor(len(runs), thread_name_prefix="source") as pool:
        futures = [pool.submit(_run_source, run, debug=debug) for run in runs]
        try:
            for future in futures:
                future.result()
        except Stopped:
            for run in runs:
                run.stop_following()
            raise


def _run_source(source_run: SourceRun, *, debug: bool) -> None:
    try:
        source_run.run()
    except ReplicationError as error:
        log.debug("where it came from", exc_info=debug)
        for result in source_run.results.values():
            result.error = result.error or error


@contextmanager
def _stopping() -> Iterator[None]:
    """SIGINT and SIGTERM end the run where it stands: connections are closed, the servers roll back."""

    def stop(signum: int, frame: FrameType | None) -> None:
        for one in before:  # once is enough: a second signal ends the process at once
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
    """Where the mappings stand: a live table on a terminal, else a log line every `monitoring.interval` seconds."""

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
