"""Loads a pipeline file, with every check that needs no server.

All problems are found and raised together, each with its path in the file and a hint. The keys are those of the
original tool. A key that would lose data if it were followed is a problem, or a warning says what happens instead.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from ..model.errors import ConfigError
from ..model.limits import Limits
from . import file_format
from .endpoints import SERVER_ID_MAX, read_defaults, read_endpoints
from .mappings import Surroundings, read_mappings
from .pipeline import FOLLOW_S, ColumnMapping, Endpoint, Monitoring, Pipeline, Replication, Secret, TableMapping
from .section import Findings, Section, kind
from .shared_targets import separate_writers

__all__ = [
    "ColumnMapping",
    "Endpoint",
    "Monitoring",
    "Pipeline",
    "Replication",
    "Secret",
    "TableMapping",
    "from_dict",
    "load",
]

_ROW_EVENTS = ("WriteRowsEvent", "UpdateRowsEvent", "DeleteRowsEvent")
_LOG_POS_FIRST = 4  # where the first event of every binlog file begins
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def load(path: str | Path, environ: Mapping[str, str] | None = None) -> Pipeline:
    """The pipeline in a JSON or YAML file.

    Raises:
        ConfigError: with every problem of the file.
    """
    path = Path(path)
    data, doubled = file_format.read(path)
    findings = Findings(os.environ if environ is None else environ)
    for key in doubled:
        findings.problem(key, "stands twice in the file", "only one of them would count; rename or remove one")
    return _pipeline(data, path.resolve().parent, findings)


def from_dict(
    data: Mapping[str, object], base_dir: str | Path = ".", environ: Mapping[str, str] | None = None
) -> Pipeline:
    """The pipeline of a file's content. Relative paths and transforms are looked up in `base_dir`.

    Raises:
        ConfigError: with every problem.
    """
    return _pipeline(data, Path(base_dir).resolve(), Findings(os.environ if environ is None else environ))


def _pipeline(data: object, base_dir: Path, findings: Findings) -> Pipeline:
    if not isinstance(data, Mapping):
        raise ConfigError([("the file", f"must be an object, not {kind(data)}", "")])
    if "transformation_rules" in data:
        raise ConfigError([_FIRST_FORMAT])
    root = Section(file_format.substitute(dict(data), findings), "", findings)
    defaults = read_defaults(root)
    sources = read_endpoints(root, "source", defaults, base_dir)
    targets = read_endpoints(root, "target", defaults, base_dir)
    defaults.finish()
    replication = _replication(root.section("replication"), len(sources))
    around = Surroundings(sources, targets, base_dir, replication.pause_replication_during_init)
    mappings = separate_writers(read_mappings(root, around), targets, findings)
    monitoring, limits = _monitoring(root.section("monitoring")), _limits(root)
    metrics_port = root.integer("metrics_port", least=1, most=65_535)
    root.finish()
    if findings.problems:
        raise ConfigError(findings.problems)
    warnings = tuple(findings.warnings)
    return Pipeline(sources, targets, replication, mappings, monitoring, metrics_port, limits, base_dir, warnings)


_FIRST_FORMAT = (
    "transformation_rules",
    "is the format of the original's first sketch, which names no target server",
    "write sources, targets and mapping; see the pipeline reference",
)


def _replication(section: Section, sources: int) -> Replication:
    log_file = section.text("log_file")
    log_pos = section.integer("log_pos", least=_LOG_POS_FIRST) or _LOG_POS_FIRST
    if log_pos != _LOG_POS_FIRST and log_file is None:
        section.problem("log_pos", "means nothing without log_file", "give the file, or leave out both")
    if log_file is not None and sources > 1:
        section.findings.warn(section.at("log_file"), "is taken for the log of every source")
    if not section.flag("resume_stream", default=True):
        section.problem(
            "resume_stream",
            "false would start each run anew, and lose or repeat changes",
            "leave it out: a run continues from the checkpoint in the target; to read a table again, "
            "run the snapshot job for it",
        )
    section.flag("blocking", default=True)  # no effect: a run ends at the head of the log
    _check_only_events(section)
    follow_s = section.number("follow_s", zero=True)
    replication = Replication(
        server_id=section.integer("server_id", least=1, most=SERVER_ID_MAX),
        log_file=log_file,
        log_pos=log_pos,
        pause_replication_during_init=section.flag("pause_replication_during_init", default=False),
        follow_s=FOLLOW_S if follow_s is None else follow_s,
    )
    section.finish()
    return replication


def _check_only_events(section: Section) -> None:
    """`only_events` has no effect if it names every row event. Otherwise it would lose rows."""
    value = section.raw("only_events")
    if value is None:
        return
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        section.problem("only_events", "must be a list of names")
        return
    dropped = [name for name in _ROW_EVENTS if name not in value]
    if dropped:
        section.problem("only_events", f"would lose every {', '.join(dropped)}", "leave it out: all changes are read")


def _monitoring(section: Section) -> Monitoring:
    level = (section.text("log_level") or "INFO").upper()
    level = "WARNING" if level == "WARN" else level
    if level not in _LOG_LEVELS:
        section.problem("log_level", "is not one of the known values", f"known: {', '.join(_LOG_LEVELS)}")
    monitoring = Monitoring(
        enabled=section.flag("enabled", default=True),
        interval_s=section.number("interval") or 30.0,
        log_level=level,
    )
    section.finish()
    return monitoring


def _limits(root: Section) -> Limits:
    """The `limits` section. `init_batch_size`, at the top, is the original tool's name for the size of a chunk."""
    section = root.section("limits")
    given: dict[str, float] = {}
    chunk_rows_max = root.integer("init_batch_size", least=1)
    if chunk_rows_max is not None:
        given["chunk_rows_max"] = chunk_rows_max
    if root.number("init_batch_timeout") is not None:
        root.findings.warn("init_batch_timeout", "has no effect: a chunk is written as soon as it is read")
    for limit in fields(Limits):
        whole = isinstance(limit.default, int)
        value = section.integer(limit.name, least=1) if whole else section.number(limit.name)
        if value is not None:
            given[limit.name] = value
    section.finish()
    return Limits(**given)  # type: ignore[arg-type]
