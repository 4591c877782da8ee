"""Turns values of the core into the metadata that Dagster shows for a replicated table or an error.

Pure: nothing here connects, and nothing here ever sees a password.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from .core.config.pipeline import ColumnMapping, TableMapping
from .core.model.errors import ReplicationError
from .core.model.tables import Column, Table
from .core.replication.result import Counts, Progress
from .core.transforms.filters import And, Compare, Expression, Not

if TYPE_CHECKING:
    from .core.replication.result import MappingResult

Metadata = dict[str, Any]

# Rows and changes since the table was last copied from the start. By it a run knows what earlier ones have reported.
APPLIED = "applied_total"


# ---- definitions -------------------------------------------------------------------------------------
def description(mappings: Sequence[TableMapping]) -> str:
    """A target table in words: markdown. Dagster's catalog shows it as it is and in one line, so it is sentences."""
    return "\n\n".join(_described(mapping) for mapping in mappings)


def _described(mapping: TableMapping) -> str:
    target, source = plain(str(mapping.target_name)), plain(str(mapping.source_name))
    # The catalog has room for forty characters, and names the target itself.
    lines = [f"From {source} on {plain(mapping.source)}, into {target} on {plain(mapping.target)}."]
    facts = {
        "Mapping": plain(mapping.name),
        "Key": ", ".join(plain(name) for name in mapping.primary_key) or "the source table's own",
        "Columns": _columns(mapping.columns),
        "Rows": f"where {plain(filter_text(mapping.filter))}" if mapping.filter else "all",
    }
    if mapping.init_if_table_empty:
        facts["First copy"] = "only where the target holds no rows"
    lines += [f"{name}: {text}." for name, text in facts.items()]
    if mapping.init_query:
        lines += ["First copy by:", f"```sql\n{mapping.init_query}\n```"]
    return "\n\n".join(lines)


def plain(text: str) -> str:
    """A text that is read as markdown and as it is: in backticks only if markdown would change it."""
    return f"`{text}`" if re.search(r"[*`<>\[\]\\#|~&]|(?<!\w)_|_(?!\w)", text) else text


def _columns(columns: tuple[ColumnMapping, ...] | None) -> str:
    if columns is None:
        return "every column of the source"
    return ", ".join(f"{plain(c.target)}{_origin(c)}" for c in columns)


def _origin(column: ColumnMapping) -> str:
    if column.has_value:
        return f" (always {column.value!r})"
    if column.transform is not None:
        return f" ({column.transform.spec} of {column.source})"
    return "" if column.source == column.target else f" (from {column.source})"


def filter_text(expression: Expression) -> str:
    """A filter in the style of SQL, for people."""
    match expression:
        case Compare(column, "eq", None):
            return f"{column} IS NULL"
        case Compare(column, op, operand):
            signs = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
            return f"{column} {signs[op]} {operand!r}"
        case Not(condition):
            return f"NOT ({filter_text(condition)})"
    word = " AND " if isinstance(expression, And) else " OR "
    return word.join(f"({filter_text(condition)})" for condition in expression.conditions)


def spec_metadata(mappings: Sequence[TableMapping]) -> Metadata:
    """The metadata of a target table that is known from the pipeline file."""
    first = mappings[0]
    found: Metadata = {
        "dagster/table_name": f"{first.target}.{first.target_name}",
        "mappings": ", ".join(m.name for m in mappings),
    }
    if first.columns is not None:
        keys = set(first.primary_key)
        columns = [dg.TableColumn(c.target, "", _origin(c).strip(" ()") or None, _unique(c.target, keys))
                   for c in first.columns]  # fmt: skip
        found["dagster/column_schema"] = dg.TableSchema(columns)
    return found


def _unique(name: str, keys: set[str]) -> dg.TableColumnConstraints:
    return dg.TableColumnConstraints(unique=keys == {name}, other=["key"] if name in keys else [])


# ---- materializations ----------------------------------------------------------------------------------
def result_metadata(results: Sequence[MappingResult]) -> Metadata:
    """The results of a run for a table. The counts of its mappings are summed."""
    found: Metadata = {
        "phase": ", ".join(sorted({r.phase.value for r in results if r.phase})),
        "position": _by_mapping({r.mapping: r.position for r in results}),
        **_numbers(results),
        "retries": max(r.retries for r in results),  # of the source: the same for all its mappings
        "reconnects": max(r.reconnects for r in results),
        "elapsed_s": float(round(max(r.elapsed_s for r in results), 3)),
        APPLIED: sum(r.applied_total for r in results),
    }
    lags = [r.lag_s for r in results if r.lag_s is not None]
    return found | ({"lag_s": float(max(lags))} if lags else {})


def _numbers(counts: Sequence[Counts]) -> dict[str, int]:
    """The sums of counts. Dagster plots a number under its name, as long as it keeps its type."""
    return {
        "rows_snapshotted": sum(c.rows_snapshotted for c in counts),
        "changes_applied": sum(c.changes_applied for c in counts),
        "rows_read": sum(c.rows_read for c in counts),
        "rows_upserted": sum(c.rows_upserted for c in counts),
        "rows_deleted": sum(c.rows_deleted + c.rows_swept for c in counts),
        "rows_filtered": sum(c.rows_filtered for c in counts),
        "bytes_read": sum(c.bytes_read for c in counts),
        "commits": sum(c.commits for c in counts),
    }


def follow_metadata(heard: Sequence[Progress]) -> Metadata:
    """The state of a table while its source is followed, from the last report of each of its mappings."""
    found: Metadata = {
        "phase": ", ".join(sorted({p.phase.value for p in heard})),
        "position": _by_mapping({p.mapping: p.position for p in heard}),
        **_numbers([p.counts for p in heard]),
        "rows_per_s": float(round(sum(p.rows_per_s for p in heard), 1)),
        "retries": max(p.retries for p in heard),
        "reconnects": max(p.reconnects for p in heard),
        APPLIED: sum(p.applied_total for p in heard),
    }
    lags = [p.lag_s for p in heard if p.lag_s is not None]
    return found | ({"lag_s": float(max(lags))} if lags else {})


def _by_mapping(texts: Mapping[str, str]) -> str:
    if len(texts) == 1:
        return next(iter(texts.values()))
    return "\n".join(f"{mapping}: {text}" for mapping, text in texts.items())


def table_schema(table: Table) -> dg.TableSchema:
    """The schema of a described table."""
    unique = {key[0] for key in (table.primary_key, *table.unique_keys) if len(key) == 1}
    return dg.TableSchema([_column(column, column.name in unique, table.primary_key) for column in table.columns])


def _column(column: Column, unique: bool, primary_key: tuple[str, ...]) -> dg.TableColumn:
    other = [word for word, holds in _properties(column, primary_key) if holds]
    return dg.TableColumn(
        column.name,
        column.column_type or column.type,
        constraints=dg.TableColumnConstraints(nullable=column.nullable, unique=unique, other=other),
    )


def _properties(column: Column, primary_key: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    yield "primary key", column.name in primary_key
    yield "auto_increment", column.auto_increment
    yield "generated", column.generated


def column_lineage(results: Sequence[MappingResult], source_keys: Mapping[str, dg.AssetKey]) -> dg.TableColumnLineage:
    """The source columns that each target column comes from. `source_keys`: by mapping."""
    deps: dict[str, list[dg.TableColumnDep]] = {}
    for result in results:
        for column in result.plan.columns if result.plan else ():
            if column.source is not None:
                dep = dg.TableColumnDep(source_keys[result.mapping], column.source)
                deps.setdefault(column.target, []).append(dep)
    return dg.TableColumnLineage(deps)


def result_text(result: MappingResult) -> str:
    lag = "" if result.lag_s is None else f", lag {result.lag_s:.1f} s"
    swept = f", {result.rows_swept:,} rows deleted that the source does not have" if result.rows_swept else ""
    return (
        f"{result.mapping}: {result.phase}, {result.rows_snapshotted:,} rows copied, {result.changes_applied:,} changes"
        f" applied, {result.rows_filtered:,} rows filtered{swept} in {result.elapsed_s:.1f} s{lag},"
        f" at {result.position}"
    )


def progress_metadata(progress: Progress) -> Metadata:
    """The progress of a mapping. What is not known is left out: a plot then has a gap, and no zero.

    `copy_rows_done`, `copy_rows_estimated`, `copy_percent` and `time_left_s` are those of the pass of a copy.
    """
    found: Metadata = {
        "phase": progress.phase.value,
        "stage": progress.stage.value,
        "position": progress.position,
        **_numbers([progress.counts]),
        "rows_per_s": float(round(progress.rows_per_s, 1)),
        "retries": progress.retries,
        "reconnects": progress.reconnects,
        "elapsed_s": float(round(progress.elapsed_s, 3)),
    }
    known: dict[str, int | float | None] = {
        "lag_s": None if progress.lag_s is None else float(progress.lag_s),
        "copy_rows_done": progress.rows_done,
        "copy_rows_estimated": progress.rows_estimated,
        "copy_percent": progress.percent,
        "time_left_s": None if progress.time_left_s is None else float(round(progress.time_left_s, 1)),
    }
    return found | {name: number for name, number in known.items() if number is not None}


def progress_text(progress: Progress) -> str:
    """The progress in a line."""
    return str(progress)


# ---- errors ----------------------------------------------------------------------------------------------
def failure(errors: Mapping[str, ReplicationError], positions: Mapping[str, str]) -> dg.Failure:
    """The failure of a run. Dagster may retry it if one of the errors is transient.

    Args:
        errors: by mapping. All mappings of a source that failed as a whole have the same error.
        positions: the last known position of each mapping's checkpoint.
    """
    different = list({id(error): error for error in errors.values()}.values())
    hints = dict.fromkeys(error.hint for error in different if error.hint)
    codes = dict.fromkeys(str(error.code) for error in different if error.code is not None)
    at = {name: positions[name] for name in errors if positions.get(name)}
    found: Metadata = {"failed": ", ".join(errors)}
    found |= {"hint": "\n".join(hints)} if hints else {}
    found |= {"code": ", ".join(codes)} if codes else {}
    found |= {"position": _by_mapping(at)} if at else {}
    text = "\n".join(error.text for error in different)
    return dg.Failure(text, found, allow_retries=any(error.retryable for error in different))
