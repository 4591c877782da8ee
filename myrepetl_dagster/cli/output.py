"""Tables and lists for people, on a terminal or in a file. Formats values of the core, and connects to nothing."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..core.diagnostics.report import ConnectionReport, State
from ..core.diagnostics.status import MappingStatus, Status
from ..core.replication.result import MappingResult, Progress, Stage, duration

_WIDE = 400  # columns of a table in a file, where it must not be cut
_BAR_WIDTH = 10
_STAGES = {Stage.SWEEPING: "finding deletes"}  # in a table, where there is little room
_STYLES = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "bold red", State.SKIPPED: "dim"}


@functools.cache
def console(*, stderr: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else _WIDE, highlight=False)


def table(*names: str, rows: Iterable[Iterable[object]], right: Iterable[str] = ()) -> Table:
    """A table of plain text. Cells are never taken for markup, since some hold texts of servers."""
    numbers = set(right)
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        made.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    return made


def print_report(report: ConnectionReport) -> None:
    """Print the checks of a connection, each failure with the command that mends it."""
    out = console()
    endpoint = report.endpoint
    out.print(Text(f"{endpoint.role} {endpoint.name} ({endpoint.address})", style="bold"), soft_wrap=True)
    width = max(len(check.name) for check in report.checks)
    for check in report.checks:
        line = Text("  ")
        line.append(f"{check.state.value:<8}", style=_STYLES[check.state])
        line.append(f"{check.name:<{width}}  {check.found}")
        out.print(line, soft_wrap=True)
        if check.mend:
            out.print(Text(f"{'':<10}{'':<{width}}  mend: {check.mend}", style="bold"), soft_wrap=True)


def print_status(status: Status) -> None:
    out = console()
    rows = [
        (
            *(m.mapping, _phase(m), m.position, m.source_head),
            *(seconds(m.lag_s), number(m.rows), m.last_error),
        )
        for m in status.mappings
    ]
    names = ("mapping", "phase", "position", "source head", "lag", "rows", "last error")
    out.print(table(*names, rows=rows, right=("lag", "rows")))
    connections = [(c.name, c.role, "connected" if c.connected else "down", c.error) for c in status.connections]
    out.print(table("connection", "role", "state", "error", rows=connections))


def _phase(mapping: MappingStatus) -> str:
    sweeping = mapping.stage == Stage.SWEEPING
    parts = [f"{mapping.phase} ({Stage.SWEEPING})" if sweeping else mapping.phase]
    parts += [f"{mapping.percent:.1f}%"] if mapping.percent is not None else []
    return ", ".join([*parts, "stopped"] if mapping.stopped else parts)


def progress_table(reports: Iterable[Progress]) -> Table:
    """The table that `run` shows while it runs."""
    reports = list(reports)
    names = ["mapping", "stage", "done", "rows", "rows/s", "left", "lag"]
    rows: list[list[object]] = [
        [
            *(p.mapping, _STAGES.get(p.stage, p.stage.value), _bar(p), _rows(p), number(round(p.rows_per_s))),
            *("" if p.time_left_s is None else duration(p.time_left_s), seconds(p.lag_s)),
        ]
        for p in reports
    ]
    if any(p.retries for p in reports):
        names.append("retries")
        for row, p in zip(rows, reports, strict=True):
            row.append(p.retries or "")
    return table(*names, rows=rows, right=names[3:])


def _bar(progress: Progress) -> str:
    """How much of the pass of a copy is done."""
    if progress.percent is None:
        return ""
    full = int(_BAR_WIDTH * progress.percent / 100)
    return f"{'━' * full}{'╌' * (_BAR_WIDTH - full)} {progress.percent:.1f}%"


def _rows(progress: Progress) -> str:
    """The rows of the pass of a copy, or those that the run has read."""
    if progress.rows_done is None:
        return number(progress.counts.rows_read + progress.rows_uncommitted)
    estimated = progress.rows_estimated
    return f"{progress.rows_done:,} of {'?' if estimated is None else f'~{_about(estimated)}'}"


def _about(rows: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if rows >= size:
            return f"{rows / size:.3g}{unit}"
    return str(rows)


def print_results(results: Iterable[MappingResult]) -> None:
    """Print the results of `run`, then each error in full."""
    results = list(results)
    rows = [
        (
            *(r.mapping, r.phase.value if r.phase else "", number(r.rows_snapshotted), number(r.changes_applied)),
            *(number(r.rows_filtered), "" if r.error else seconds(r.lag_s), seconds(r.elapsed_s)),
            "failed" if r.error else "ok",
        )
        for r in results
    ]
    names = ("mapping", "phase", "rows copied", "changes", "filtered", "lag", "time", "result")
    console().print(table(*names, rows=rows, right=names[2:7]))
    for r in results:
        if r.error is not None:
            code = f" [{r.error.code}]" if r.error.code is not None else ""
            said = f"{r.error.message}{code}".removeprefix(f"mapping {r.mapping!r}: ")
            console(stderr=True).print(Text(f"{r.mapping}: {said}", style="red"), soft_wrap=True)
            if r.error.hint:
                console(stderr=True).print(Text(f"  hint: {r.error.hint}"), soft_wrap=True)


def number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def seconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f} s"
