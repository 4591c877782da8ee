"""Reading a window's rows as SQL tuples that the source renders. Pure.

A tuple is the text `(1,'a',NULL)` of a row, exactly as `shaper.py` and `row_writer.py` would write it. A column with a
transform that takes only its own value is read beside the tuple, as Python reads it. Its literal is put at the tuple's
end, so the plan by which tuples are written has these columns last.
`tests/server/snapshot/test_rendered_literals.py` and `test_value_transforms_on_servers.py` compare the outcome with
that of Python alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import compress

from ...model.tables import Column
from ...plan.table_plan import PlannedColumn, TablePlan, UniqueKeys
from ...rows.literal_codegen import LiteralKey
from ...rows.value_transforms import needs_own_value_only, read_columns, row_by_row, transformed
from ...rows.writable_rows import SqlTuples
from ...source.relation import Relation, whole_value
from ...transforms.pushdown import condition_sql, unsure_sql
from ...values.cells import cell_from_text
from ...values.literals import any_literal, literal_for, literal_of
from ...values.python_values import from_python
from ...values.sql import sql_name
from ...values.text_rows import views_at
from .rendered_literals import column_sql
from .window_select import TakenRows

LiteralWriter = Callable[[bytes | None], bytes]  # makes a literal of a field as the server sent it

_FILTERED = b""  # stands in the place of the tuple of a row that the filter leaves out


@dataclass(frozen=True, slots=True)
class TupleSelect:
    """How a mapping is read as tuples (`window_select.WindowSelect`).

    The fields of a row are the values that pass through Python, the tuple and the key.

    Args:
        plan: the mapping's, with the columns in the order of the tuples; those that pass through Python are last.
        in_python: makes the literal of each value that passes through Python.
    """

    select_sql: str
    key: Callable[[bytes], LiteralKey]
    plan: TablePlan
    in_python: tuple[LiteralWriter, ...]

    def take(self, packets: Sequence[bytes]) -> TakenRows:
        """As `WindowSelect.take`. The error of a transform does not name the row; `shaper.py` finds it."""
        columns: list[list[bytes | None]] = []
        starts = [0] * len(packets)
        if self.in_python:
            columns, starts = read_columns(packets, 0, len(self.in_python))
        found = views_at(packets, starts)
        rows: list[bytes | memoryview] = list(filter(None, found))
        if rows and self.in_python:
            # No transform is called for a row that has no tuple.
            literals = row_by_row(self.in_python, [compress(values, found) for values in columns])
            ends = literals[0] if len(literals) == 1 else map(b",".join, zip(*literals, strict=True))
            rows = [b"".join((row, end, b")")) for row, end in zip(rows, ends, strict=True)]
        filtered, unrenderable = 0, []
        if len(rows) < len(found):
            filtered = found.count(_FILTERED)
            unrenderable = [packet for packet, row in zip(packets, found, strict=True) if row is None]
        return TakenRows(self.plan, SqlTuples(rows) if rows else None, filtered, unrenderable)


def tuple_select(plan: TablePlan, relation: Relation) -> TupleSelect | None:
    """How the plan's rows are read as tuples. None: Python is needed for whole rows.

    The tuple is NULL for a row that the source cannot render: it is longer than the source's max_allowed_packet, or
    it holds a value that only Python can write.
    """
    if plan.unique_keys is not UniqueKeys.NONE:
        return None
    by_name = {column.name: column for column in relation.layout}
    rendered: list[PlannedColumn] = []
    literals_sql: list[str] = []
    through_python: list[PlannedColumn] = []
    for planned in plan.columns:
        literal_sql = column_sql(plan, planned, by_name)
        if literal_sql is not None:
            rendered.append(planned)
            literals_sql.append(literal_sql)
        elif needs_own_value_only(planned):
            through_python.append(planned)
        else:
            return None
    row = _guarded(plan, _tuple_sql(literals_sql, whole=not through_python), by_name)
    if row is None:
        return None
    python_columns = [by_name[planned.source] for planned in through_python if planned.source is not None]
    selected = [*map(whole_value, python_columns), row, *map(sql_name, relation.key)]
    return TupleSelect(
        f"SELECT {', '.join(selected)} FROM {relation.from_sql}",
        relation.key_reader(range(len(relation.key)), skip=len(python_columns) + 1),
        replace(plan, columns=(*rendered, *through_python)) if through_python else plan,
        tuple(_literal_writer(plan, *pair) for pair in zip(through_python, python_columns, strict=True)),
    )


def _tuple_sql(literals_sql: Sequence[str], *, whole: bool) -> str:
    """The SQL of a tuple's text. If literals of Python follow, it ends where the first of them begins.

    Args:
        whole: no literal of Python follows.
    """
    # CONCAT_WS would leave out a part that is NULL. A part is NULL if it is longer than the source's
    # max_allowed_packet, and then the whole tuple has to be NULL, so that the row is read again.
    if whole:
        return "CONCAT('(', " + ", ',', ".join(literals_sql) + ", ')')"
    return "CONCAT('('" + "".join(f", {part}, ','" for part in literals_sql) + ")"


def _guarded(plan: TablePlan, row: str, layout: dict[str, Column]) -> str | None:
    """The SQL of the tuple, or of '' for a row that the filter leaves out. None: SQL cannot answer the filter."""
    expression = plan.mapping.filter
    if expression is None:
        return row
    passes = condition_sql(expression, layout)
    unsure = unsure_sql(expression, layout)
    return None if passes is None else f"IF({passes}, {row}, IF({unsure}, NULL, ''))"


def _literal_writer(plan: TablePlan, planned: PlannedColumn, column: Column) -> LiteralWriter:
    if planned.transform is None:
        cell_of = cell_from_text(column)
        write = literal_for(column, plan.target.column(planned.target)) or literal_of(column)
        return lambda data: write(cell_of(data)).encode("latin-1")
    return transformed(plan, planned, column, _literal_of_result)


def _literal_of_result(value: object) -> bytes:
    if type(value) is str and "'" not in value and "\\" not in value:  # the same literal as below, sooner
        return b"_utf8mb4'%b'" % value.encode("utf-8", "surrogatepass")
    return any_literal(from_python(value)).encode("latin-1")
