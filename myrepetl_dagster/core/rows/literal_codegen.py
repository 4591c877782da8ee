"""One generated function that writes a whole row as literals, without a call for each value. Pure.

It gives what `values.literal_of` gives, column by column (`tests/unit/rows/test_literal_codegen.py`). The form of a
literal is decided and explained there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..binlog.decoder_codegen import RowEmitter
from ..model.tables import Cell, Column, Row
from ..values.column_types import INTEGER_TYPES, TEMPORAL_TYPES
from ..values.literals import QUOTABLE_CHARSETS, literal_of


@dataclass(frozen=True, slots=True)
class Transformed:
    """What a transform makes of a cell: a cell without a column, or a literal."""

    cell_of: Callable[[Any], Cell]
    literal_of: Callable[[Any], str]


LiteralRow = tuple[str, ...]
LiteralKey = tuple[str, ...]
Writer = Callable[[Row], str]
# What a literal is made from: a source column's cell, the literal itself, or a function or a transform of a cell.
LiteralSource = Column | str | Callable[[Any], str] | Transformed


def row_writer(columns: Sequence[Column | Writer], indexes: Sequence[int]) -> Callable[[Row], LiteralRow]:
    """A function from a row to its literals.

    Args:
        columns: for each literal the source column, or a function of the whole row (transforms, fixed values).
        indexes: where in the row each column is; nothing reads it for a function.
    """
    names: dict[str, object] = {}
    literals = [_expression(i, column, at, names) for i, (column, at) in enumerate(zip(columns, indexes, strict=True))]
    code = f"def write(r):\n    return ({', '.join(literals)},)\n"
    exec(code, names)
    return names["write"]  # type: ignore[return-value]


def tuple_text(sources: Sequence[LiteralSource], ordinals: Sequence[int]) -> RowEmitter:
    """Source code that adds a row's SQL tuple, `(1,'a',NULL)`, for `decoder_codegen.py`.

    Args:
        sources: what each literal is made from.
        ordinals: where in the row each column is; nothing reads it for a literal.
    """

    def emit(cells: Sequence[str], uncertain: bool, names: dict[str, Any]) -> str:
        template: list[str] = []
        values: list[str] = []
        for number, (column, ordinal) in enumerate(zip(sources, ordinals, strict=True)):
            cell = cells[ordinal]
            if isinstance(column, str):
                form, value = "%s", repr(column)
            elif cell == "None" and isinstance(column, Column):
                form, value = "%s", "'NULL'"
            else:
                form, value = _template(number, column, cell, names)
                if uncertain and isinstance(column, Column):
                    form, value = "%s", f"('NULL' if {cell} is None else {form!r} % ({value},))"
            template.append(form)
            values.append(value)
        return f"add({'(' + ','.join(template) + ')'!r} % ({', '.join(values)},))"

    return emit


def _template(
    number: int, column: Column | Callable[[Any], str] | Transformed, cell: str, names: dict[str, Any]
) -> tuple[str, str]:
    """A literal as a template for `%` and the value in it. A cell of a column is not None here."""
    if isinstance(column, Transformed):
        names[f"write{number}"] = column.literal_of
        return "%s", f"write{number}({cell})"
    if isinstance(column, Column):
        if column.type in INTEGER_TYPES:
            return "%d", cell
        if column.type == "decimal":
            return "%s", cell
        if column.type in TEMPORAL_TYPES:
            return "'%s'", cell
        if column.type in ("text", "blob") and column.charset in QUOTABLE_CHARSETS:
            names["slashed"] = _slashed
            plain = f"x.decode('latin-1') if b\"'\" not in (x := {cell}) and b'\\\\' not in x else slashed(x)"
            return f"_{column.charset}'%s'", f"({plain})"
        column = literal_of(column)
    names[f"write{number}"] = column
    return "%s", f"write{number}({cell})"


def _expression(number: int, column: Column | Writer, at: int, names: dict[str, object]) -> str:
    if not isinstance(column, Column):
        names[f"f{number}"] = column
        return f"f{number}(r)"
    value = f"'NULL' if (c := r[{at}]) is None else "
    if column.type in INTEGER_TYPES:
        return f"({value}str(c))"
    if column.type == "decimal":
        return f"({value}c)"
    if column.type in TEMPORAL_TYPES:
        return f"({value}f\"'{{c}}'\")"
    charset = column.charset
    if column.type in ("text", "blob") and charset in QUOTABLE_CHARSETS:
        # The two replacements are rarely needed, and to look costs less than to replace.
        plain = f"f\"_{charset}'{{c.decode('latin-1')}}'\""
        names["escaped"] = _escaped
        return f"({value}{plain} if b\"'\" not in c and b'\\\\' not in c else escaped('_{charset}', c))"
    names[f"f{number}"] = literal_of(column)
    return f"f{number}(r[{at}])"


def _escaped(introducer: str, cell: bytes) -> str:
    return f"{introducer}'{_slashed(cell)}'"


def _slashed(cell: bytes) -> str:
    return cell.decode("latin-1").replace("\\", "\\\\").replace("'", "\\'")
