"""Prometheus metrics: served while a run follows its sources (`metrics_port`), or printed once (`myrepetl metrics`).

Labels name sources, mappings and targets; no label and no number ever comes from a row. What a run tells is kept as it
is, and becomes numbers when Prometheus asks. Needs the extra `metrics`; knows no Dagster.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING

from .core.config.pipeline import Pipeline, TableMapping
from .core.model.errors import PrerequisiteError, SourceLost, TargetBusy, TargetLost, TransientError
from .core.replication.result import Counts, MappingResult, Progress, Retry
from .metric_families import Endpoint, MappingNumbers, families

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

    from .core.diagnostics.status import MappingStatus, Status

log = logging.getLogger("myrepetl")

_RETRIED: tuple[type[TransientError], ...] = (SourceLost, TargetLost, TargetBusy)  # counted from 0 on, for rates
_PORT_MAX = 65_535
_TAKEN_WAIT_S = 1.0  # between attempts at a port that another run still has


# ---- while a run goes on ----
def exporter(pipeline: Pipeline, source: str | None = None) -> Exporter:
    """Serve metrics at the pipeline's `metrics_port` until `close`; nothing is served if it has none.

    A port that is taken is a warning. It is tried again until it is free, since a run that takes over from another one
    begins before that has ended.

    Args:
        source: the only source of the run. Each source then has a port of its own: `metrics_port` and its place among
            the file's sources, so that runs of several sources can go on side by side. None: the run has them all.

    Raises:
        PrerequisiteError: there is a `metrics_port`, and the extra `metrics` is not installed.
    """
    port = pipeline.metrics_port
    if port is None:
        return Exporter(pipeline, source)
    if source is not None:
        port += list(pipeline.sources).index(source)
    made = Exporter(pipeline, source)
    made.serve(port)
    return made


class Exporter:
    """What a run has told last, as Prometheus metrics. Each method may be called from any thread."""

    def __init__(self, pipeline: Pipeline, source: str | None = None) -> None:
        self._mappings = {m.name: m for m in pipeline.mappings if source in (None, m.source)}
        endpoints = [("source", m.source) for m in self._mappings.values()]
        endpoints += [("target", m.target) for m in self._mappings.values()]
        self._endpoints: list[Endpoint] = list(dict.fromkeys(endpoints))
        labels = {e.label: (e.role, e.name) for e in (*pipeline.sources.values(), *pipeline.targets.values())}
        self._endpoint_by_label = {label: one for label, one in labels.items() if one in self._endpoints}
        self._latest: dict[str, tuple[Progress, float, float]] = {}  # with the monotonic and the wall clock's time
        self._results: list[Mapping[str, MappingResult]] = []
        names = dict.fromkeys(m.source for m in self._mappings.values())
        self._retries: Counter[tuple[str, str]] = Counter({(n, kind.__name__): 0 for n in names for kind in _RETRIED})
        self._down: set[Endpoint] = set()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    # ---- what a run tells ----
    def progress(self, progress: Progress) -> None:
        """Note a mapping's progress: the listener of a run (`on_progress`)."""
        self._latest[progress.mapping] = progress, time.monotonic(), time.time()
        if self._down:
            mapping = self._mappings[progress.mapping]
            self._down.difference_update([("source", mapping.source), ("target", mapping.target)])

    def retry(self, retry: Retry) -> None:
        """Note a failed attempt: the other listener of a run (`on_retry`)."""
        self._retries[retry.source, type(retry.error).__name__] += 1
        if (unreached := self._endpoint_by_label.get(retry.error.unreached)) is not None:
            self._down.add(unreached)
        elif isinstance(retry.error, SourceLost):
            self._down.add(("source", retry.source))
        elif isinstance(retry.error, TargetLost):
            named = self._mappings.get(retry.error.mapping or "")
            own = [named] if named else [m for m in self._mappings.values() if m.source == retry.source]
            self._down.update([("target", m.target) for m in own])

    def watch(self, results: Mapping[str, MappingResult]) -> None:
        """Look at the errors of these results (`SourceRun.results`) whenever somebody asks for the metrics.

        Of several results of a mapping the last one counts.
        """
        self._results.append(results)

    def close(self) -> None:
        """Serve no more. The port is free when this returns."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    # ---- what Prometheus asks ----
    def serve(self, port: int) -> None:
        """Serve metrics at a port, in the background."""
        client = _client()
        if port > _PORT_MAX:
            log.warning("metrics_port: no metrics are served, since there is no port %d", port)
            return
        registry = client.CollectorRegistry()
        registry.register(self)
        self._thread = threading.Thread(target=self._serve, args=(client, port, registry), name="metrics", daemon=True)
        self._thread.start()

    def _serve(self, client: ModuleType, port: int, registry: CollectorRegistry) -> None:
        warned = False
        while True:
            try:
                server, thread = client.start_http_server(port, registry=registry)
                break
            except OSError as error:
                if not warned:
                    log.warning(
                        "metrics_port %d: %s, so no metrics are served until it is free. Does another run have it?",
                        port, error.strerror or error,
                    )  # fmt: skip
                    warned = True
            if self._closed.wait(_TAKEN_WAIT_S):
                return
        log.info("metrics are served at port %d", port)
        self._closed.wait()
        server.shutdown()
        server.server_close()
        thread.join()

    def collect(self) -> Iterator[Metric]:
        """The metrics now."""
        down = set(self._down)
        yield from families(self._numbers(), {one: one not in down for one in self._endpoints}, dict(self._retries))

    def _numbers(self) -> Iterator[MappingNumbers]:
        errors = {name: result.error for results in self._results for name, result in results.items()}
        now_s = time.monotonic()
        for name, (progress, told_at_s, told_at_unix_s) in list(self._latest.items()):
            percent = progress.percent
            ratio = None if percent is None else percent / 100
            yield MappingNumbers(
                labels=_labels_of(self._mappings[name]),
                stage=progress.stage.value,
                # Nothing is known of the time since then: the target may lack what was committed in it.
                lag_s=None if progress.lag_s is None else progress.lag_s + now_s - told_at_s,
                counts=progress.counts,
                rows_done=progress.rows_done,
                rows_estimated=progress.rows_estimated,
                copy_ratio=1.0 if progress.rows_done is None else ratio,
                failed=errors.get(name) is not None,
                reconnects=progress.reconnects,
                committed_at_unix_s=told_at_unix_s,
            )


def _labels_of(mapping: TableMapping) -> tuple[str, str, str]:
    return mapping.source, mapping.name, f"{mapping.target}.{mapping.target_table}"


# ---- once ----
def metrics_text(pipeline: Pipeline, status: Status) -> str:
    """A status in Prometheus's text format. Counts are those of the checkpoints; attempts of runs are not known.

    Raises:
        PrerequisiteError: the extra `metrics` is not installed.
    """
    client = _client()
    mappings = {m.name: m for m in pipeline.mappings}
    numbers = [_of_status(_labels_of(mappings[one.mapping]), one) for one in status.mappings]
    connected = {(one.role, one.name): one.connected for one in status.connections}

    class Once:
        def collect(self) -> Iterable[Metric]:
            return families(numbers, connected, None)

    registry = client.CollectorRegistry()
    registry.register(Once())
    text: bytes = client.generate_latest(registry)
    return text.decode()


def _of_status(labels: tuple[str, str, str], status: MappingStatus) -> MappingNumbers:
    counts = Counts(
        status.rows_snapshotted,
        status.changes_applied,
        status.rows_deleted,
        status.rows_swept,
        status.rows_filtered,
        status.bytes_read,
        status.commits,
    )
    copied = 1.0 if status.stage is not None and status.rows_done is None else None
    return MappingNumbers(
        labels=labels,
        stage=status.stage,
        lag_s=status.lag_s,
        counts=counts,
        rows_done=status.rows_done,
        rows_estimated=status.rows_estimated,
        copy_ratio=copied if status.percent is None else status.percent / 100,
        failed=status.stopped,
    )


def _client() -> ModuleType:
    try:
        import prometheus_client
    except ImportError:
        raise PrerequisiteError(
            "metrics need the package prometheus-client, which is not installed",
            hint="Run pip install 'myrepetl-dagster[metrics]', or take metrics_port out of the pipeline file.",
        ) from None
    return prometheus_client
