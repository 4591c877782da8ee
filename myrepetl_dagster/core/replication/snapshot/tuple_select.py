"""A copy whose rows the source renders as SQL tuples, but for the columns whose values pass through Python. Pure.

A tuple is the text `(1,'a',NULL)` of a row, exactly what `shaper.py` and `row_writer.py` would write for it. Where a
column has a transform that looks at its own value only, that value is read beside the tuple, as Python reads it, and
its literal is put at the tuple's end: the plan by which tuples are written has these columns last.
`tests/server/snapshot/test_rendered_literals.py` and `test_value_transforms_on_servers.py` compare the outcome with
that of Python alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import compress

from ...model.tables import Column
from ...plan.table_plan import PlannedColumn, TablePlan, UniqueKeys
from ...rows.pending_rows import LiteralKey
from ...rows.value_transforms import passes_alone, read_columns, row_by_row, transformed
from ...rows.writable_rows import SqlTuples
from ...source.relation import Relation, whole_value
from ...transforms.pushdown import condition_sql, unsure_sql
from ...values.cells import cell_from_text, from_python
from ...values.literals import any_literal, literal_for, literal_of
from ...values.sql import sql_name
from ...values.text_rows import views_at
from .rendered_literals import column_sql
from .window_select import TakenRows

Literal = Callable[[bytes | None], bytes]  # of a field, as the server sent it

_FILTERED = b""  # what stands in the place of a tuple where the filter leaves the row out


@dataclass(frozen=True, slots=True)
class TupleSelect:
    """How a mapping is read as tuples (`window_select.WindowSelect`).

    A row's fields are those of its last columns, the tuple, and the key. `plan` has the columns in the order of the
    tuples, `in_python` makes the literals of its last ones.
    """

    select_sql: str
    key: Callable[[bytes], LiteralKey]
    plan: TablePlan
    in_python: tuple[Literal, ...]

    def take(self, packets: Sequence[bytes]) -> TakenRows:
        """As `WindowSelect.take`. A transform's error does not say on which row: `shaper.py` can tell."""
        columns: list[list[bytes | None]] = []
        starts = [0] * len(packets)
        if self.in_python:
            columns, starts = read_columns(packets, 0, len(self.in_python))
        found = views_at(packets, starts)
        rows: list[bytes | memoryview] = list(filter(None, found))
        if rows and self.in_python:
            # Nothing is called for a row that has no tuple.
            literals = row_by_row(self.in_python, [compress(values, found) for values in columns])
            ends = literals[0] if len(literals) == 1 else map(b",".join, zip(*literals, strict=True))
            rows = [b"".join((row, end, b")")) for row, end in zip(rows, ends, strict=True)]
        filtered, unrenderable = 0, []
        if len(rows) < len(found):
            filtered = found.count(_FILTERED)
            unrenderable = [packet for packet, row in zip(packets, found, strict=True) if row is None]
        return TakenRows(self.plan, SqlTuples(rows) if rows else None, filtered, unrenderable)


def tuple_select(plan: TablePlan, relation: Relation) -> TupleSelect | None:
    """How the plan's rows are read as tuples; None where Python is needed for whole rows.

    A tuple is NULL for a row that the source cannot render: one that is longer than its max_allowed_packet, or that
    holds what only Python can write.
    """
    if plan.unique_keys is not UniqueKeys.NONE:
        return None
    by_name = {column.name: column for column in relation.layout}
    in_sql: list[PlannedColumn] = []
    parts: list[str] = []
    last: list[PlannedColumn] = []
    for planned in plan.columns:
        part = column_sql(plan, planned, by_name)
        if part is not None:
            in_sql.append(planned)
            parts.append(part)
        elif passes_alone(planned):
            last.append(planned)
        else:
            return None
    row = _guarded(plan, _tuple_sql(parts, whole=not last), by_name)
    if row is None:
        return None
    read = [by_name[planned.source] for planned in last if planned.source is not None]
    selected = [*map(whole_value, read), row, *map(sql_name, relation.key)]
    return TupleSelect(
        f"SELECT {', '.join(selected)} FROM {relation.from_sql}",
        relation.key_reader(range(len(relation.key)), skip=len(read) + 1),
        replace(plan, columns=(*in_sql, *last)) if last else plan,
        tuple(_literal(plan, planned, column) for planned, column in zip(last, read, strict=True)),
    )


def _tuple_sql(parts: Sequence[str], *, whole: bool) -> str:
    """The tuple's text; if it is not whole, up to where the next literal begins."""
    # Not CONCAT_WS: what is longer than the source's max_allowed_packet becomes NULL, and has to make the whole
    # row NULL, which is noticed, and not to be left out or taken for a NULL of the row's.
    if whole:
        return "CONCAT('(', " + ", ',', ".join(parts) + ", ')')"
    return "CONCAT('('" + "".join(f", {part}, ','" for part in parts) + ")"


def _guarded(plan: TablePlan, row: str, layout: dict[str, Column]) -> str | None:
    """The tuple where the filter lets the row pass; None where Python has to look."""
    expression = plan.mapping.filter
    if expression is None:
        return row
    passes = condition_sql(expression, layout)
    unsure = unsure_sql(expression, layout)
    return None if passes is None else f"IF({passes}, {row}, IF({unsure}, NULL, ''))"


def _literal(plan: TablePlan, planned: PlannedColumn, column: Column) -> Literal:
    if planned.transform is None:
        cell_of = cell_from_text(column)
        write = literal_for(column, plan.target.column(planned.target)) or literal_of(column)
        return lambda data: write(cell_of(data)).encode("latin-1")
    return transformed(plan, planned, column, _literal_of_result)


def _literal_of_result(value: object) -> bytes:
    if type(value) is str and "'" not in value and "\\" not in value:  # what comes out below, at once
        return b"_utf8mb4'%b'" % value.encode("utf-8", "surrogatepass")
    return any_literal(from_python(value)).encode("latin-1")
