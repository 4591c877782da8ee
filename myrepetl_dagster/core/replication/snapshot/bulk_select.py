"""Reading a window's rows as parameters of a bulk execution, which a MariaDB target takes as they are. Pure.

In a result row a field is its length and its text. In a bulk execution a parameter is a zero byte ("a value follows"),
its length and its text. An empty field is one zero byte. So the bytes of a row of `SELECT '', a, '', b` are those of
its parameters, unless a value is NULL: then the parameters are put together here.
A column with a transform that takes only its own value is read before the others, as Python reads it. Its parameters
are the last ones of a row. `tests/server/snapshot/test_bulk.py` and `test_value_transforms_on_servers.py` compare the
outcome with that of the other ways.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...model.tables import Cell, Column
from ...plan.table_plan import PlannedColumn, TablePlan, UniqueKeys
from ...rows.bulk_encoder import UTF8
from ...rows.literal_codegen import LiteralKey
from ...rows.value_transforms import needs_own_value_only, read_columns, row_by_row, transformed
from ...source.relation import Relation, whole_value
from ...transforms.pushdown import condition_sql, transformed_sql, unsure_sql
from ...values.bulk_parameters import BLOB, DECIMAL, NULL_PARAMETER, TEXT, BulkRows, parameter
from ...values.column_types import (
    BYTE_TYPES,
    FLOAT_TYPES,
    INTEGER_TYPES,
    PRINTED_TYPES,
    TEMPORAL_TYPES,
    TEXT_TYPES,
    is_short_year,
)
from ...values.length_encoding import LENGTH_BYTES, NULL
from ...values.literals import any_literal
from ...values.python_values import from_python
from ...values.sql import for_short_year_sql, short_year_sql, sql_name
from .rendered_literals import float_text
from .window_select import CannotTake, TakenRows

_TEXTS = TEXT_TYPES - {"mediumtext", "longtext"}
_BYTES = BYTE_TYPES - {"mediumblob", "longblob"}
# Types whose values may pass through Python. Values of other types may be very long.
_FOR_PYTHON = INTEGER_TYPES | FLOAT_TYPES | TEMPORAL_TYPES | _TEXTS | _BYTES | PRINTED_TYPES.keys() | {"decimal"}
_BIGINT = 8  # the type of a parameter of 64 bits, as the others in `bulk_parameters.py`
_BIGINT_FORM = struct.Struct("<Bq")
# A row's mark, the first field of a SELECT that has one. It says what becomes of the row: it is written as it is, it
# is read again and written by Python, or the filter leaves it out.
_PLAIN, _UNRENDERABLE, _FILTERED = b"\x010", b"\x011", b"\x012"


@dataclass(frozen=True, slots=True)
class BulkSelect:
    """How a mapping is read as parameters (`window_select.WindowSelect`).

    The fields of a row are its mark (if `marked`), the values that pass through Python, and the parameters.

    Args:
        plan: the mapping's, with the columns in the order of the parameters; those that pass through Python are last.
        values: what stands in the statement's VALUES, a literal or `?`.
        types: the types of the parameters that do not pass through Python, as they are sent.
        in_python: makes a cell of each value that passes through Python.
    """

    select_sql: str
    key: Callable[[bytes], LiteralKey]
    plan: TablePlan
    values: tuple[str, ...]
    types: bytes
    marked: bool
    in_python: tuple[Callable[[bytes | None], Cell], ...]

    def take(self, packets: Sequence[bytes]) -> TakenRows:
        """As `WindowSelect.take`. The error of a transform does not name the row; `shaper.py` finds it."""
        unrenderable: list[bytes] = []
        filtered = 0
        if self.marked:
            marks = [packet[:2] for packet in packets]
            filtered = marks.count(_FILTERED)
            unrenderable = [packet for packet, mark in zip(packets, marks, strict=True) if mark == _UNRENDERABLE]
            plain = [packet[2:] for packet, mark in zip(packets, marks, strict=True) if mark == _PLAIN]
            assert len(plain) + len(unrenderable) + filtered == len(packets), "a row without a mark"
        else:
            plain = list(packets)
        return TakenRows(self.plan, self._bulk_rows(plain) if plain else None, filtered, unrenderable)

    def _bulk_rows(self, rows: Sequence[bytes]) -> BulkRows:
        if self.in_python:
            return self._through_python(rows)
        return BulkRows(self.values, self.types, self._parameters(rows))

    def _parameters(self, rows: Sequence[bytes]) -> list[bytes]:
        count = len(self.types) // 2
        # 0xFB is NULL, but a length or a value may hold this byte, too.
        return [_with_nulls(row, count) if b"\xfb" in row else row for row in rows]

    def _through_python(self, rows: Sequence[bytes]) -> BulkRows:
        columns, ends = read_columns(rows, 0, len(self.in_python))
        from_python = [_parameters_of_one_type(cells) for cells in row_by_row(self.in_python, columns)]
        types = self.types + bytes(byte for kind, _ in from_python for byte in (kind, 0))
        from_source = self._parameters([row[end:] for row, end in zip(rows, ends, strict=True)])
        joined = map(b"".join, zip(from_source, *(parameters for _, parameters in from_python), strict=True))
        return BulkRows(self.values, types, list(joined))


def bulk_select(plan: TablePlan, relation: Relation) -> BulkSelect | None:
    """How the plan's rows are read as parameters. None: they cannot be."""
    if plan.unique_keys is not UniqueKeys.NONE:
        return None
    by_name = {column.name: column for column in relation.layout}
    rendered = [planned for planned in plan.columns if planned.transform is None]
    through_python = [planned for planned in plan.columns if planned.transform is not None]
    python_columns = [by_name[planned.source] for planned in through_python if planned.source is not None]
    if not all(_for_python(*pair) for pair in zip(through_python, python_columns, strict=True)):
        return None
    values: list[str] = []
    types: list[int] = []
    fields: list[str] = []
    place: dict[str, int] = {}  # which field a column is, for columns that are read as they are
    unrenderable: list[str] = []  # conditions
    for planned in rendered:
        if planned.source is None:
            values.append(any_literal(from_python(planned.value)))
            continue
        column = by_name[planned.source]
        parameter_sql = _parameter_sql(plan, planned, column)
        if parameter_sql is None:
            return None
        kind, sql = parameter_sql
        values.append("?")
        types += [kind, 0]
        fields += ["''", sql]
        if sql == sql_name(column.name):
            place[column.name] = len(fields) - 1
        if column.type == "enum":  # no parameter can be its error value
            unrenderable.append(f"({sql_name(column.name)} + 0 = 0)")
    mark = _mark(plan, by_name, unrenderable)
    if mark is None or any(name not in place for name in relation.key):
        return None
    before_parameters = [*([mark] if mark else []), *map(whole_value, python_columns)]
    return BulkSelect(
        f"SELECT {', '.join(before_parameters + fields)} FROM {relation.from_sql}",
        relation.key_reader([place[name] + len(before_parameters) for name in relation.key]),
        replace(plan, columns=(*rendered, *through_python)) if through_python else plan,
        (*values, *("?" for _ in through_python)),
        bytes(types),
        marked=bool(mark),
        in_python=tuple(
            transformed(plan, *pair, from_python) for pair in zip(through_python, python_columns, strict=True)
        ),
    )


def _for_python(planned: PlannedColumn, column: Column) -> bool:
    """Whether the column's values can pass through Python here. What SQL can transform goes as tuples, in SQL."""
    assert planned.transform is not None
    in_python = column.type in _FOR_PYTHON and needs_own_value_only(planned)
    return in_python and transformed_sql(planned.transform, column) is None


def _parameters_of_one_type(cells: Sequence[Any]) -> tuple[int, list[bytes]]:
    """The parameters of a column's cells, and their type. They mean what the literals of `any_literal` mean.

    Raises:
        CannotTake: no one type holds all of the cells.
    """
    kinds = set(map(type, cells)) - {type(None)}
    try:
        if kinds <= {str}:
            return TEXT, [NULL_PARAMETER if cell is None else parameter(cell.encode()) for cell in cells]
        if kinds == {bytes}:
            return BLOB, [NULL_PARAMETER if cell is None else parameter(cell) for cell in cells]
        if kinds == {int}:
            return _BIGINT, [NULL_PARAMETER if cell is None else _BIGINT_FORM.pack(0, cell) for cell in cells]
    except (UnicodeEncodeError, struct.error):  # half of a character, or a number of more than 64 bits
        pass
    raise CannotTake


def _mark(plan: TablePlan, layout: dict[str, Column], unrenderable: Sequence[str]) -> str | None:
    """The mark's SQL. '': every row is written as it is. None: SQL cannot answer the filter.

    Args:
        unrenderable: conditions, one of which is true of a row that only Python can write.
    """
    written = f"IF({' OR '.join(unrenderable)}, '1', '0')" if unrenderable else "'0'"
    expression = plan.mapping.filter
    if expression is None:
        return written if unrenderable else ""
    passes = condition_sql(expression, layout)
    unsure = unsure_sql(expression, layout)
    return None if passes is None else f"IF({passes}, {written}, IF({unsure}, '1', '2'))"


def _parameter_sql(plan: TablePlan, planned: PlannedColumn, column: Column) -> tuple[int, str] | None:
    """A parameter's type, and the SQL of its text. None: a parameter cannot be this column's value."""
    name = sql_name(column.name)
    target = plan.target.column(planned.target)
    if column.type in INTEGER_TYPES or column.type == "decimal":
        number = name if column.type not in ("bit", "year") else f"{name} + 0"
        if is_short_year(column):
            number = short_year_sql(name)
        if target is not None and is_short_year(target):
            return TEXT, for_short_year_sql(number)
        return DECIMAL, number  # as text, 0 would be the year 2000
    if column.type in FLOAT_TYPES:
        if target is None or target.type not in FLOAT_TYPES:
            return None
        text = float_text(column)
        return TEXT, text if text == name else f"IF({name} IS NULL, NULL, {text})"
    if column.type in TEMPORAL_TYPES or column.type in PRINTED_TYPES:
        return TEXT, name
    if column.type in _BYTES:
        return BLOB, name
    if column.type == "enum" and (target is None or target.type != "enum"):
        return None
    if column.type in _TEXTS and column.charset in UTF8:
        return TEXT, name
    if column.type in _TEXTS and column.charset == "latin1":
        return TEXT, f"CONVERT({name} USING utf8mb4)"
    return None


def _with_nulls(row: bytes, count: int) -> bytes:
    """A row's parameters where a value may be NULL. NULL is a one in the place of a value's zero byte."""
    pieces: list[bytes] = []
    at = start = 0
    for _ in range(count):
        size = row[at + 1]
        if size < NULL:
            at += 2 + size
        elif size == NULL:
            pieces += [row[start:at], b"\1"]
            at += 2
            start = at
        else:
            head = 2 + LENGTH_BYTES[size]
            at += head + int.from_bytes(row[at + 2 : at + head], "little")
    assert at == len(row), "a row with other fields than those of the SELECT"
    return b"".join([*pieces, row[start:]])
