"""SQL with which the source renders its values as literals, exactly as `literals.py` writes them. Pure.

`tests/server/snapshot/test_rendered_literals.py` compares the two for every type.
"""

from __future__ import annotations

from ...model.tables import Column
from ...plan.table_plan import PlannedColumn, TablePlan
from ...transforms.pushdown import THROUGH_UTF8, transformed_sql
from ...values.column_types import (
    BYTE_TYPES,
    FLOAT_TYPES,
    GEOMETRY_TYPES,
    INTEGER_TYPES,
    PRINTED_TYPES,
    TEMPORAL_TYPES,
    is_short_year,
)
from ...values.literals import any_literal
from ...values.python_values import from_python
from ...values.sql import for_short_year_sql, short_year_sql, sql_name

_AS_HEX = BYTE_TYPES | GEOMETRY_TYPES | {"vector"}
# Numbers that JSON may print in another way, as in `json_literals.py`. The search is bounded, since the server gives up
# one that takes long.
_SUSPECT = "[.][0-9]+0([^0-9eE]|$)|[.]000|[0-9.]{15}"
_SEARCHED_BYTES_MAX = 4000


def column_sql(plan: TablePlan, planned: PlannedColumn, layout: dict[str, Column]) -> str | None:
    """The SQL of a column's literal, itself in the form of literals. None: every value has to pass through Python.

    The SQL gives NULL for a value that only Python can write.

    Args:
        layout: the columns that the snapshot reads, by the names that the plan's columns have.
    """
    if planned.source is None:
        return _text(any_literal(from_python(planned.value)))
    column = layout[planned.source]
    if planned.transform is not None:
        return transformed_sql(planned.transform, column)
    name = sql_name(column.name)
    target = plan.target.column(planned.target)
    same_type = target is not None and target.type == column.type
    if column.type in INTEGER_TYPES or column.type == "decimal":
        number = short_year_sql(name) if is_short_year(column) else f"{name} + 0" if column.type == "bit" else name
        if target is not None and is_short_year(target):
            return f"IFNULL(CONCAT('''', {for_short_year_sql(number)}, ''''), 'NULL')"
        return f"IFNULL({number}, 'NULL')"
    if column.type in FLOAT_TYPES and (target is None or target.type not in FLOAT_TYPES):
        return None  # the target would get the number as JSON prints it, and not as a server does
    if column.type in FLOAT_TYPES:  # in quotes: without them -0 would be an integer, which has no sign
        return f"IF({name} IS NULL, 'NULL', CONCAT('''', {float_text(column)}, ''''))"
    if column.type in TEMPORAL_TYPES:
        return f"IFNULL(CONCAT('''', {name}, ''''), 'NULL')"
    if column.type in _AS_HEX or (column.charset == "binary" and column.type != "enum"):
        # Not IFNULL: a text that is too long for the source becomes NULL, which is not the value NULL.
        return f"IF({name} IS NULL, 'NULL', CONCAT('_binary x''', HEX({name}), ''''))"
    if column.type == "json":
        text = f"CAST({name} AS CHAR)"
        quoted = f"CONVERT(QUOTE({text}) USING utf8mb4)"
        # Whether the text reads back as another document (`json_literals.py`). That costs more than all the rest.
        changed = f"CAST(CAST(CAST({text} AS JSON) AS CHAR) AS BINARY) <> CAST({text} AS BINARY)"
        suspect = f"(LENGTH({text}) > {_SEARCHED_BYTES_MAX} OR {text} REGEXP '{_SUSPECT}')"
        return f"IF({suspect} AND {changed}, NULL, {quoted})" if same_type else quoted
    if column.type in PRINTED_TYPES:
        return f"CONVERT(QUOTE(CAST({name} AS CHAR)) USING utf8mb4)"
    if column.charset == "latin1":  # the column's own bytes: neither server has to convert them
        quoted = f"IF({name} IS NULL, 'NULL', CONCAT('_latin1', CONVERT(QUOTE({name}) USING binary)))"
    elif column.charset in THROUGH_UTF8:
        # USING: columns of different collations cannot be joined as they are.
        quoted = f"CONVERT(QUOTE({name}) USING utf8mb4)"
    else:
        quoted = f"IFNULL(CONCAT('_{column.charset} x''', HEX({name}), ''''), 'NULL')"
    if column.type == "enum":
        return f"IF({name} + 0 = 0, {'NULL' if same_type else _text(_text(''))}, {quoted})"
    return quoted


def float_text(column: Column) -> str:
    """The SQL of a float's text with all its digits.

    A server prints six digits of a FLOAT and rounds a DOUBLE(M,D). MySQL cuts an expression's text after 22 characters.
    """
    name = sql_name(column.name)
    definition = column.column_type.lower()
    if definition.startswith("double") and "(" not in definition and "zerofill" not in definition:
        return name
    return f"TRIM(TRAILING ']' FROM TRIM(LEADING '[' FROM JSON_ARRAY({name} * 1e0)))"


def _text(literal: str) -> str:
    """A literal as the content of a SQL text."""
    return "'" + literal.replace("\\", "\\\\").replace("'", "''") + "'"
