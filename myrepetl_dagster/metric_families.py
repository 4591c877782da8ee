"""The metrics that there are, by name, and how they follow from what is known of mappings and servers.

Imported by `metrics.py` only. The package prometheus-client is imported when metrics are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .core.replication.result import Counts, Stage

if TYPE_CHECKING:
    from prometheus_client.core import Metric

Endpoint = tuple[str, str]  # the role and the name

_LABELS = ("source", "mapping", "target")


@dataclass(frozen=True, slots=True)
class MappingNumbers:
    """What is known of one mapping; None: not known. `copy_ratio`: of the pass of a copy, 1 when there is none."""

    labels: tuple[str, str, str]
    stage: str | None
    lag_s: float | None
    counts: Counts
    rows_done: int | None
    rows_estimated: int | None
    copy_ratio: float | None
    failed: bool
    reconnects: int | None = None
    committed_at_unix_s: float | None = None


def families(
    mappings: Iterable[MappingNumbers],
    connected: Mapping[Endpoint, bool],
    retries: Mapping[tuple[str, str], int] | None,
) -> Iterator[Metric]:
    """The metrics of these mappings.

    Args:
        connected: whether each endpoint is.
        retries: by source and class of error; None: not known.
    """
    known = list(mappings)
    lag = _gauge("lag_seconds", "The target holds what the source had committed so many seconds ago.")
    rows = _counter("rows", "Rows by what was done with them.", "operation")
    read = _counter("read_bytes", "Bytes of rows that were read, in snapshots and in the log.")
    commits = _counter("commits", "Commits of the target.")
    reconnects = _counter("reconnects", "How often the mapping went on after attempts that failed.")
    stage = _gauge("stage", "1 for what the mapping is doing, 0 for what it is not.", "stage")
    ratio = _gauge("copy_ratio", "How much of the pass of a copy is done, by an estimate; 1 when there is no copy.")
    done = _gauge("copy_rows", "Rows of the pass of a copy that are done.")
    estimated = _gauge("copy_rows_estimated", "About how many rows the pass of a copy has.")
    failed = _gauge("failed", "1: the mapping has stopped with an error.")
    committed = _gauge("reported_timestamp_seconds", "When a run last told of the mapping.")
    for one in known:
        labels = list(one.labels)
        counts = one.counts
        operations = {
            "copied": counts.rows_snapshotted,
            "upserted": counts.changes_applied - counts.rows_deleted,
            "deleted": counts.rows_deleted,
            "swept": counts.rows_swept,
            "filtered": counts.rows_filtered,
        }
        for operation, number in operations.items():
            rows.add_metric([*labels, operation], number)
        for name in Stage:
            stage.add_metric([*labels, name.value], float(one.stage == name))
        read.add_metric(labels, counts.bytes_read)
        commits.add_metric(labels, counts.commits)
        failed.add_metric(labels, float(one.failed))
        for family, value in (
            (lag, one.lag_s),
            (ratio, one.copy_ratio),
            (done, one.rows_done),
            (estimated, one.rows_estimated),
            (reconnects, one.reconnects),
            (committed, one.committed_at_unix_s),
        ):
            if value is not None:
                family.add_metric(labels, value)
    yield from (lag, rows, read, commits, stage, ratio, done, estimated, failed, committed, reconnects)
    yield _connected(connected)
    if retries is not None:
        yield _retried(retries)


def _gauge(name: str, text: str, *more_labels: str) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(f"myrepetl_{name}", text, labels=[*_LABELS, *more_labels])


def _counter(name: str, text: str, *more_labels: str) -> Any:
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(f"myrepetl_{name}", text, labels=[*_LABELS, *more_labels])


def _connected(connected: Mapping[Endpoint, bool]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    text = "Whether the server can be used: 0 while a run waits to try again."
    family = GaugeMetricFamily("myrepetl_connected", text, labels=["role", "endpoint"])
    for one, is_connected in connected.items():
        family.add_metric(list(one), float(is_connected))
    return family


def _retried(retries: Mapping[tuple[str, str], int]) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    text = "Attempts that failed and were made again, by the class of the error."
    family = CounterMetricFamily("myrepetl_retries", text, labels=["source", "error"])
    for one, number in retries.items():
        family.add_metric(list(one), number)
    return family
