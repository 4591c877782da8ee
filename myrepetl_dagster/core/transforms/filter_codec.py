"""A filter in the two forms that are kept: the text in a checkpoint's fingerprint, and JSON in an asset's code version.

Both go into digests that are compared with stored ones, so neither may change: another text would demand that every
filtered table is copied again. That is why the names in this file are written out, and no class or field decides them.
`tests/unit/config/test_fingerprints.py` compares them with what earlier versions stored.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from .comparison import Operand
from .filters import And, Compare, Expression, Not, Or


def fingerprint_text(expression: Expression | None) -> str:
    """The filter as a mapping's fingerprint counts it."""
    match expression:
        case None:
            return "None"
        case Compare(column, op, operand):
            return f"Compare(column={column!r}, op={op!r}, operand={operand!r})"
        case Not(condition):
            return f"Not(condition={fingerprint_text(condition)})"
        case And(conditions):
            return f"And(conditions={_tuple_text(conditions)})"
        case Or(conditions):
            return f"Or(conditions={_tuple_text(conditions)})"


def _tuple_text(conditions: tuple[Expression, ...]) -> str:
    texts = [fingerprint_text(condition) for condition in conditions]
    return f"({texts[0]},)" if len(texts) == 1 else f"({', '.join(texts)})"


def filter_to_json(expression: Expression | None) -> Any:
    """The filter as an asset's code version counts it."""
    match expression:
        case None:
            return None
        case Compare(column, op, operand):
            return {"": "Compare", "column": column, "op": op, "operand": value_to_json(operand)}
        case Not(condition):
            return {"": "Not", "condition": filter_to_json(condition)}
        case And(conditions):
            return {"": "And", "conditions": [filter_to_json(condition) for condition in conditions]}
        case Or(conditions):
            return {"": "Or", "conditions": [filter_to_json(condition) for condition in conditions]}


def value_to_json(value: Operand | None) -> Any:
    """A value of the pipeline file, with kinds told apart that JSON would mix: 1 and 1.0, a date and its text."""
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            return ["float", str(value)]
        case Decimal():
            return ["Decimal", str(value)]
        case bytes():
            return ["bytes", repr(value)]
        case datetime():
            return ["datetime", str(value)]
        case date():
            return ["date", str(value)]
