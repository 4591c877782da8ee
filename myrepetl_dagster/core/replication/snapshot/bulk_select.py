"""A copy whose rows pass from the source's packets into a MariaDB target's bulk execution as they are. Pure.

In a result row each field is its length and its text; in a bulk execution each parameter is a zero byte ("a value
follows"), its length and its text. An empty field is one zero byte. So of `SELECT '', a, '', b` the bytes of a row are
those of its parameters, as long as no value is NULL; where one is, they are put together here.
Columns with a transform that looks at its own value only are read before the others, as Python reads them, and their
parameters are a row's last. `tests/server/snapshot/test_bulk.py` and `test_value_transforms_on_servers.py` compare the
outcome with that of `rendered_literals.py` and of Python.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...model.tables import Cell, Column
from ...plan.table_plan import PlannedColumn, TablePlan, UniqueKeys
from ...rows.bulk_encoder import UTF8
from ...rows.pending_rows import LiteralKey
from ...rows.value_transforms import passes_alone, read_columns, row_by_row, transformed
from ...source.relation import Relation, whole_value
from ...transforms.pushdown import condition_sql, transformed_sql, unsure_sql
from ...values.bulk_parameters import BLOB, DECIMAL, NULL_PARAMETER, TEXT, BulkRows, parameter
from ...values.cells import FLOAT_TYPES, INTEGER_TYPES, TEMPORAL_TYPES, from_python
from ...values.length_encoding import LENGTH_BYTES, NULL
from ...values.literals import any_literal
from ...values.sql import sql_name
from .rendered_literals import float_text
from .window_select import CannotTake, TakenRows

_TEXTS = frozenset({"char", "varchar", "tinytext", "text", "enum", "set"})
_BYTES = frozenset({"binary", "varbinary", "tinyblob", "blob"})
_PRINTED = frozenset({"uuid", "inet4", "inet6"})  # ASCII, as the server prints them
# Of these Python gets the values; the others may be very long.
_FOR_PYTHON = INTEGER_TYPES | FLOAT_TYPES | TEMPORAL_TYPES | _TEXTS | _BYTES | _PRINTED | {"decimal"}
_BIGINT = 8
_BIGINT_FORM = struct.Struct("<Bq")
# A row's mark, before its parameters, where rows may differ in it: written as it is, read again and written by
# Python, left out by the filter.
_PLAIN, _UNRENDERABLE, _FILTERED = b"\x010", b"\x011", b"\x012"


@dataclass(frozen=True, slots=True)
class BulkSelect:
    """How a mapping is read as parameters (`window_select.WindowSelect`).

    Of a row's fields first is its mark, if it is marked, then those that pass through Python, whose parameters are the
    last ones. `plan` has the columns in the order of the parameters.
    """

    select_sql: str
    key: Callable[[bytes], LiteralKey]
    plan: TablePlan
    values: tuple[str, ...]
    types: bytes
    marked: bool
    in_python: tuple[Callable[[bytes | None], Cell], ...]

    def take(self, packets: Sequence[bytes]) -> TakenRows:
        """As `WindowSelect.take`. A transform's error does not say on which row: `shaper.py` can tell."""
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
        # 0xFB is NULL, but may be in a length or in a value, too.
        return [_with_nulls(row, count) if b"\xfb" in row else row for row in rows]

    def _through_python(self, rows: Sequence[bytes]) -> BulkRows:
        columns, ends = read_columns(rows, 0, len(self.in_python))
        last = [_alike(cells) for cells in row_by_row(self.in_python, columns)]
        types = self.types + bytes(byte for kind, _ in last for byte in (kind, 0))
        own = self._parameters([row[end:] for row, end in zip(rows, ends, strict=True)])
        made = list(map(b"".join, zip(own, *(parameters for _, parameters in last), strict=True)))
        return BulkRows(self.values, types, made)


def bulk_select(plan: TablePlan, relation: Relation) -> BulkSelect | None:
    """How the plan's rows are read as parameters; None where they cannot be."""
    if plan.unique_keys is not UniqueKeys.NONE:
        return None
    by_name = {column.name: column for column in relation.layout}
    values: list[str] = []
    types: list[int] = []
    fields: list[str] = []
    last: list[PlannedColumn] = []
    columns: list[PlannedColumn] = []
    place: dict[str, int] = {}  # of columns that are read as they are, among the fields
    unrenderable: list[str] = []  # conditions
    for planned in plan.columns:
        if planned.transform is not None:
            last.append(planned)
            continue
        columns.append(planned)
        if planned.source is None:
            values.append(any_literal(from_python(planned.value)))
            continue
        column = by_name[planned.source]
        found = _field(plan, planned, column)
        if found is None:
            return None
        kind, sql = found
        values.append("?")
        types += [kind, 0]
        fields += ["''", sql]
        if sql == sql_name(column.name):
            place[column.name] = len(fields) - 1
        if column.type == "enum":  # its error value, which no parameter can be
            unrenderable.append(f"({sql_name(column.name)} + 0 = 0)")
    if any(name not in place for name in relation.key):
        return None
    read = [by_name[planned.source] for planned in last if planned.source is not None]
    mark = _mark(plan, by_name, unrenderable)
    if mark is None or not all(_for_python(*pair) for pair in zip(last, read, strict=True)):
        return None
    first = [*([mark] if mark else []), *map(whole_value, read)]
    return BulkSelect(
        f"SELECT {', '.join(first + fields)} FROM {relation.from_sql}",
        relation.key_reader([place[name] + len(first) for name in relation.key]),
        replace(plan, columns=(*columns, *last)) if last else plan,
        (*values, *("?" for _ in last)),
        bytes(types),
        marked=bool(mark),
        in_python=tuple(transformed(plan, *pair, from_python) for pair in zip(last, read, strict=True)),
    )


def _for_python(planned: PlannedColumn, column: Column) -> bool:
    """Whether the column's values pass through Python; what the source can transform, it does as text."""
    assert planned.transform is not None
    return column.type in _FOR_PYTHON and passes_alone(planned) and transformed_sql(planned.transform, column) is None


def _alike(cells: Sequence[Any]) -> tuple[int, list[bytes]]:
    """A column's parameters and their type, where they mean what the literals of `values.any_literal` mean."""
    kinds = set(map(type, cells)) - {type(None)}
    try:
        if kinds <= {str}:
            return TEXT, [NULL_PARAMETER if cell is None else parameter(cell.encode()) for cell in cells]
        if kinds == {bytes}:
            return BLOB, [NULL_PARAMETER if cell is None else parameter(cell) for cell in cells]
        if kinds == {int}:
            return _BIGINT, [NULL_PARAMETER if cell is None else _BIGINT_FORM.pack(0, cell) for cell in cells]
    except (UnicodeEncodeError, struct.error):  # half a character, a number of more than 64 bits
        pass
    raise CannotTake


def _mark(plan: TablePlan, layout: dict[str, Column], unrenderable: Sequence[str]) -> str | None:
    """The field that tells what becomes of a row; '' where all become the same, None where Python has to look."""
    written = f"IF({' OR '.join(unrenderable)}, '1', '0')" if unrenderable else "'0'"
    expression = plan.mapping.filter
    if expression is None:
        return written if unrenderable else ""
    passes = condition_sql(expression, layout)
    unsure = unsure_sql(expression, layout)
    return None if passes is None else f"IF({passes}, {written}, IF({unsure}, '1', '2'))"


def _field(plan: TablePlan, planned: PlannedColumn, column: Column) -> tuple[int, str] | None:
    """The parameter's type, and the SQL of its text."""
    name = sql_name(column.name)
    target = plan.target.column(planned.target)
    if column.type in ("bit", "year"):
        return DECIMAL, f"{name} + 0"
    if column.type in INTEGER_TYPES or column.type == "decimal":  # a number: as text, 0 would be the year 2000
        return DECIMAL, name
    if column.type in FLOAT_TYPES:
        if target is None or target.type not in FLOAT_TYPES:
            return None
        text = float_text(column)
        return TEXT, text if text == name else f"IF({name} IS NULL, NULL, {text})"
    if column.type in TEMPORAL_TYPES or column.type in _PRINTED:
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
    """A row's parameters, where a value may be NULL: the mark for it stands where a value's zero byte would."""
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
    assert at == len(row), "a row of other fields than were asked for"
    return b"".join([*pieces, row[start:]])
