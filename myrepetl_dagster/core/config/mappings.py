"""The `mapping` section: which table is replicated into which, in all the spellings of the original tool's files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import cast

from ..model.errors import ConfigError
from ..transforms import filters, functions
from .pipeline import ColumnMapping, Endpoint, OnPositionLost, SchemaPolicy, StaticValue, TableMapping
from .section import Section, Unresolved, closest, kind
from .table_names import TableRef, read_source, read_target

_QUERY = re.compile(r"(?:\s|/\*.*?\*/|--[ \t][^\n]*\n|#[^\n]*\n|\()*(select|with|table|values)\b", re.I | re.S)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The rest of the file, as far as mappings refer to it or take defaults from it."""

    sources: Mapping[str, Endpoint]
    targets: Mapping[str, Endpoint]
    base_dir: Path
    pause_replication_during_init: bool


def read_mappings(root: Section, around: Surroundings) -> list[TableMapping]:
    """The mappings that have a source and a target table. Every problem is in the findings."""
    mapping = root.section("mapping")
    root.missing("mapping", "name at least one table")
    queries = root.section("init_queries")
    read = []
    for name, data in mapping.data.items():
        section = Section({} if data is None else data, mapping.at(name), root.findings)
        one = _mapping(name, section, queries.text(name), around)
        section.finish()
        if one is not None:
            read.append(one)
    for name in queries.data:
        if name not in mapping.data:
            queries.problem(name, "is not the key of a mapping", closest(name, mapping.data))
    return read


def _mapping(name: str, section: Section, query: str | None, around: Surroundings) -> TableMapping | None:
    source = read_source(name, section, around.sources)
    target = read_target(section, around.targets)
    columns = _columns(section, around.base_dir)
    key = _primary_key(section, columns)
    settings = TableMapping(
        name=name,
        path=section.path,
        source=source.endpoint if source else "",
        source_schema=source.schema if source else "",
        source_table=source.table if source else "",
        target=target.endpoint if target else "",
        target_schema=target.schema if target else "",
        target_table=target.table if target else "",
        primary_key=key,
        columns=columns,
        filter=_filter(section),
        init_query=_init_query(section, query),
        init_if_table_empty=section.flag("init_if_table_empty", default=False),
        pause_replication_during_init=section.flag(
            "pause_replication_during_init", default=around.pause_replication_during_init
        ),
        schema_policy=cast(SchemaPolicy, _schema_policy(section, columns)),
        on_position_lost=cast(OnPositionLost, section.choice("on_position_lost", "fail", "resnapshot") or "fail"),
    )
    _check_loop(source, target, section, around)
    return settings if source and target else None


def _check_loop(source: TableRef | None, target: TableRef | None, section: Section, around: Surroundings) -> None:
    if source is None or target is None or (source.schema, source.table) != (target.schema, target.table):
        return
    if around.sources[source.endpoint].address == around.targets[target.endpoint].address:
        section.problem("target_table", "is the source table itself", "its own writes would come back for ever")


def _schema_policy(section: Section, columns: tuple[ColumnMapping, ...] | None) -> str:
    """By default a mapping without a column list follows the source's columns; one with a list ignores the others."""
    chosen = section.choice("schema_policy", "evolve", "ignore", "fail")
    return chosen or ("evolve" if columns is None else "ignore")


def _filter(section: Section) -> filters.Expression | None:
    def scalar(value: object, path: str) -> object:
        found = section.findings.scalar(value, path)
        return "" if isinstance(found, Unresolved) else found  # reported already

    try:
        return filters.parse(section.raw("filter"), section.at("filter"), scalar)
    except ConfigError as error:
        section.findings.problems.extend(error.problems)
        return None


def _init_query(section: Section, elsewhere: str | None) -> str | None:
    """The query, from the mapping or from `init_queries` at the top; None for the whole table."""
    query = section.text("init_query")
    if query and elsewhere and query != elsewhere:
        section.problem("init_query", "differs from the one in init_queries", "keep one of them")
    query = query or elsewhere
    if query is None:
        return None
    query = query.strip().rstrip(";").rstrip()
    if not _QUERY.match(query):
        section.problem("init_query", "must be a SELECT", "it is read on the source and may change nothing")
    return query


# ---- columns ---------------------------------------------------------------------------------------
def _columns(section: Section, base_dir: Path) -> tuple[ColumnMapping, ...] | None:
    """The columns, from `column_mapping` or `columns`, its short name; None if neither is given."""
    both = [key for key in ("column_mapping", "columns") if section.has(key)]
    if len(both) == 2:
        section.problem("columns", "means the same as column_mapping", "keep one of them")
    if not both:
        return None
    table = section.section(both[0])
    if not table.data and isinstance(section.raw(both[0]), Mapping):
        section.problem(both[0], "is empty", "leave it out to replicate every column")
    columns = [_column(name, value, table, base_dir) for name, value in table.data.items()]
    taken: dict[str, str] = {}
    for column, name in zip(columns, table.data, strict=True):
        # In any letter case, as servers compare column names.
        first = taken.setdefault(column.target.lower(), name)
        if first != name:
            table.problem(name, f"writes the same target column as {first}")
    return tuple(columns)


def _column(source: str, data: object, table: Section, base_dir: Path) -> ColumnMapping:
    data = table.findings.scalar(data, table.at(source))
    if data is None or isinstance(data, str | Unresolved):
        return ColumnMapping(source, data if isinstance(data, str) and data else source)
    section = Section(data, table.at(source), table.findings)
    target = section.text("column") or source
    spec, value = section.text("transform"), _static(section)
    primary_key = section.flag("primary_key", default=False)
    section.finish()
    if value is not None and spec is not None:
        section.problem("value", "stands beside a transform", "a static value is not transformed; keep one of them")
    if value is not None:
        return ColumnMapping(None, target, value=value, has_value=True, primary_key=primary_key)
    transform = _transform(spec, section, base_dir) if spec else None
    return ColumnMapping(source, target, transform, primary_key=primary_key)


def _static(section: Section) -> StaticValue:
    """The static value. As in the original tool, null counts as not given."""
    value = section.findings.scalar(section.raw("value"), section.at("value"))
    if value is None or isinstance(value, str | int | float):
        return int(value) if isinstance(value, bool) else value
    if isinstance(value, datetime):
        return value.isoformat(" ")
    if isinstance(value, date):
        return value.isoformat()
    if not isinstance(value, Unresolved):
        section.problem("value", f"must be a single value, not {kind(value)}")
    return None


def _transform(spec: str, section: Section, base_dir: Path) -> functions.Transform | None:
    try:
        return functions.resolve(spec, base_dir)
    except functions.TransformError as error:
        section.problem("transform", error.message, error.hint)
        return None


# ---- primary key -----------------------------------------------------------------------------------
def _primary_key(section: Section, columns: tuple[ColumnMapping, ...] | None) -> tuple[str, ...]:
    """Target column names: those in `primary_key`, then those flagged `primary_key`.

    A name in `primary_key` is that of a target column, or of a source column if no target column has it.
    """
    names = _key_names(section)
    if columns is None:
        return tuple(names)
    named = [_key_column(name, columns, section) for name in names]
    flagged = [column.target for column in columns if column.primary_key]
    if not named and not flagged:
        section.missing("primary_key", "name the columns that tell the target's rows apart")
    if named and not set(flagged) <= set(named) and not set(named) <= set(flagged):
        section.findings.warn(section.at("primary_key"), "is taken together with the columns flagged primary_key")
    return tuple(dict.fromkeys([*named, *flagged]))


def _key_names(section: Section) -> list[str]:
    value = section.raw("primary_key")
    if not isinstance(value, list):
        name = section.text("primary_key")
        return [name] if name else []
    names = [section.findings.scalar(one, section.at("primary_key")) for one in value]
    if not names or not all(isinstance(name, str | Unresolved) and name for name in names):
        section.problem("primary_key", "must be a column's name or a list of them")
    if len(set(map(str, names))) < len(names):
        section.problem("primary_key", "names a column twice")
    return [name for name in names if isinstance(name, str) and name]


def _key_column(name: str, columns: tuple[ColumnMapping, ...], section: Section) -> str:
    for column in columns:
        if column.target == name:
            return name
    for column in columns:
        if column.source == name:
            return column.target
    targets = [column.target for column in columns]
    section.problem("primary_key", f"names {name!r}, which is no column of the mapping", closest(name, targets))
    return name
