"""A copy whose rows pass from the source's packets into a MariaDB target's bulk execution as they are. Pure.

In a result row each field is its length and its text; in a bulk execution each parameter is a zero byte ("a value
follows"), its length and its text. An empty field is one zero byte. So of `SELECT '', a, '', b` the bytes of a row are
those of its parameters, as long as no value is NULL; where one is, they are put together here.
`tests/server/test_bulk.py` compares the outcome with that of `render.py` and of Python for every type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .bulk_rows import BLOB, DECIMAL, TEXT, UTF8, BulkRows
from .model import Column
from .plan import PlannedColumn, TablePlan, UniqueKeys
from .pushdown import condition_sql, unsure_sql
from .render import float_text
from .values import FLOAT_TYPES, INTEGER_TYPES, TEMPORAL_TYPES, any_literal, from_python, sql_name
from .wire import LENGTH_BYTES, NULL

_TEXTS = frozenset({"char", "varchar", "tinytext", "text", "enum", "set"})
_BYTES = frozenset({"binary", "varbinary", "tinyblob", "blob"})
_PRINTED = frozenset({"uuid", "inet4", "inet6"})  # ASCII, as the server prints them
# A row's mark, before its parameters, where rows may differ in it: written as it is, read again and written by
# Python, left out by the filter.
_PLAIN, _ODD, _FILTERED = b"\x010", b"\x011", b"\x012"


@dataclass(frozen=True, slots=True)
class BulkSelect:
    """How a mapping is read so. `sql` is what is selected, `key_fields` say where the key is among a row's fields."""

    sql: str
    values: tuple[str, ...]
    types: bytes
    key_fields: tuple[int, ...]
    marked: bool

    def rows(self, packets: Sequence[bytes]) -> tuple[BulkRows, list[bytes], int]:
        """(the rows to write, packets of those that only Python can write, how many the filter leaves out)."""
        odd: list[bytes] = []
        filtered = 0
        if self.marked:
            marks = [packet[:2] for packet in packets]
            filtered = marks.count(_FILTERED)
            odd = [packet for packet, mark in zip(packets, marks, strict=True) if mark == _ODD]
            plain = [packet[2:] for packet, mark in zip(packets, marks, strict=True) if mark == _PLAIN]
            assert len(plain) + len(odd) + filtered == len(packets), "a row without a mark"
        else:
            plain = list(packets)
        count = len(self.types) // 2
        # 0xFB is NULL, but may be in a length or in a value, too.
        made = [_with_nulls(row, count) if b"\xfb" in row else row for row in plain]
        return BulkRows(self.values, self.types, made), odd, filtered


def bulk_select(plan: TablePlan, layout: Sequence[Column], key: Sequence[str]) -> BulkSelect | None:
    """How the plan's rows are read as parameters; None where they cannot be.

    Args:
        layout: the columns that the snapshot reads, by the names that the plan's columns have.
        key: the columns by which it goes through them.
    """
    if plan.unique_keys is not UniqueKeys.NONE:
        return None
    by_name = {column.name: column for column in layout}
    values: list[str] = []
    types: list[int] = []
    fields: list[str] = []
    place: dict[str, int] = {}  # of columns that are read as they are, among the fields
    odd: list[str] = []
    for planned in plan.columns:
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
            odd.append(f"({sql_name(column.name)} + 0 = 0)")
    if any(name not in place for name in key):
        return None
    mark = _mark(plan, by_name, odd)
    if mark is None:
        return None
    shift = 1 if mark else 0
    return BulkSelect(
        ", ".join([mark, *fields] if mark else fields),
        tuple(values),
        bytes(types),
        tuple(place[name] + shift for name in key),
        marked=bool(mark),
    )


def _mark(plan: TablePlan, layout: dict[str, Column], odd: Sequence[str]) -> str | None:
    """The field that tells what becomes of a row; '' where all become the same, None where Python has to look."""
    written = f"IF({' OR '.join(odd)}, '1', '0')" if odd else "'0'"
    expression = plan.mapping.filter
    if expression is None:
        return written if odd else ""
    passes = condition_sql(expression, layout)
    unsure = unsure_sql(expression, layout)
    return None if passes is None else f"IF({passes}, {written}, IF({unsure}, '1', '2'))"


def _field(plan: TablePlan, planned: PlannedColumn, column: Column) -> tuple[int, str] | None:
    """The parameter's type, and the SQL of its text."""
    if planned.transform is not None:
        return None
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
