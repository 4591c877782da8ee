"""Filters: the `filter` of a mapping as a small expression, evaluated as in SQL. Pure.

A filter looks at source columns. Its logic has three values: a comparison with NULL is UNKNOWN, `not` of UNKNOWN is
UNKNOWN, and a row passes only if the whole filter is TRUE. `{column: null}` means IS NULL, since "equal to NULL" could
never be TRUE. `comparison.py` compares two values.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal, cast

from ..model.errors import ConfigError
from .comparison import Convert, FilterTypeError, Operand, pair

__all__ = [
    "And",
    "Compare",
    "Expression",
    "FilterTypeError",
    "Not",
    "Or",
    "check_types",
    "columns",
    "compile_filter",
    "evaluate",
    "parse",
]

Operator = Literal["eq", "gt", "gte", "lt", "lte"]
Verdict = bool | None  # None is UNKNOWN
Problem = tuple[str, str, str]
Predicate = Callable[[Mapping[str, object]], Verdict]
Scalar = Callable[[object, str], object]  # (value, path) -> the value with its variable put in

_COMPARE: dict[str, Callable[[object, object], bool]] = {
    "eq": operator.eq,
    "gt": cast(Callable[[object, object], bool], operator.gt),
    "gte": cast(Callable[[object, object], bool], operator.ge),
    "lt": cast(Callable[[object, object], bool], operator.lt),
    "lte": cast(Callable[[object, object], bool], operator.le),
}
_OPERATORS = (*_COMPARE, "not", "and", "or")
_KNOWN = f"operators: {', '.join(_OPERATORS)}"
_INSTEAD = {
    "ne": '{"not": value}',
    "neq": '{"not": value}',
    "!=": '{"not": value}',
    "in": '{"or": [{"eq": a}, {"eq": b}]}',
    "between": '{"gte": a, "lte": b}',
    "is_null": "{column: null}",
}


@dataclass(frozen=True, slots=True)
class Compare:
    """`column op operand`; `eq` with operand None is IS NULL."""

    column: str
    op: Operator
    operand: Operand | None


@dataclass(frozen=True, slots=True)
class Not:
    condition: Expression


@dataclass(frozen=True, slots=True)
class And:
    conditions: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    conditions: tuple[Expression, ...]


Expression = Compare | Not | And | Or


# ---- for the other rooms ------------------------------------------------------------------------------
def _as_is(value: object, _path: str) -> object:
    return value


def parse(data: object, path: str = "filter", scalar: Scalar = _as_is) -> Expression | None:
    """The expression that `data` spells; None for an empty filter, which every row passes.

    Raises:
        ConfigError: with every problem of the filter; paths start with `path`.
    """
    parser = _Parser(scalar)
    expression = None if data is None or data == {} else parser.condition(data, path)
    if parser.problems:
        raise ConfigError(parser.problems)
    return expression


def columns(expression: Expression | None) -> frozenset[str]:
    """The source columns that the filter looks at."""
    return frozenset(compare.column for compare in _compares(expression))


def evaluate(expression: Expression, row: Mapping[str, object]) -> Verdict:
    """The filter's value for a row: True, False or None for UNKNOWN."""
    return _compile(expression)(row)


def compile_filter(expression: Expression | None) -> Callable[[Mapping[str, object]], bool]:
    """A predicate that is true only for rows that pass. Operands are converted once, not for each row."""
    if expression is None:
        return lambda _row: True
    verdict = _compile(expression)
    return lambda row: verdict(row) is True


def check_types(expression: Expression | None, samples: Mapping[str, object]) -> list[FilterTypeError]:
    """The errors of comparisons that would fail at the first row.

    Preflight knows the columns' types, so it can refuse such a filter before any row is read.

    Args:
        samples: for each column a value of its type.
    """
    found = []
    for compare in _compares(expression):
        try:
            evaluate(compare, samples)
        except FilterTypeError as error:
            found.append(error)
    return found


def _compares(expression: Expression | None) -> list[Compare]:
    match expression:
        case None:
            return []
        case Compare():
            return [expression]
        case Not(condition):
            return _compares(condition)
        case And(conditions) | Or(conditions):
            return [compare for condition in conditions for compare in _compares(condition)]


# ---- three-valued logic ----------------------------------------------------------------------------
def _compile(expression: Expression) -> Predicate:
    match expression:
        case Compare():
            return _compile_compare(expression)
        case Not(condition):
            inner = _compile(condition)
            return lambda row: None if (verdict := inner(row)) is None else not verdict
        case And(conditions):
            return _compile_all(conditions, decisive=False)
        case Or(conditions):
            return _compile_all(conditions, decisive=True)


def _compile_all(conditions: tuple[Expression, ...], *, decisive: bool) -> Predicate:
    """AND ends at the first FALSE, OR at the first TRUE. Otherwise one UNKNOWN makes the whole UNKNOWN."""
    parts = [_compile(condition) for condition in conditions]

    def verdict(row: Mapping[str, object]) -> Verdict:
        result: Verdict = not decisive
        for part in parts:
            one = part(row)
            if one is decisive:
                return decisive
            if one is None:
                result = None
        return result

    return verdict


def _compile_compare(compare: Compare) -> Predicate:
    column, operand, holds = compare.column, compare.operand, _COMPARE[compare.op]
    if operand is None:
        return lambda row: row[column] is None
    by_type: dict[type, tuple[Convert, object]] = {}

    def verdict(row: Mapping[str, object]) -> Verdict:
        value = row[column]
        if value is None:
            return None
        kind = type(value)
        if kind not in by_type:
            by_type[kind] = pair(value, operand, column)
        convert, other = by_type[kind]
        one = convert(value)
        if one is None:  # text that is no number, compared with a number
            return False if compare.op == "eq" else None
        return holds(one, other)

    return verdict


# ---- spelling --------------------------------------------------------------------------------------
class _Parser:
    """Makes an expression of the dicts in a pipeline file. It goes on after a problem, to find all of them."""

    def __init__(self, scalar: Scalar) -> None:
        self.problems: list[Problem] = []
        self._scalar = scalar

    def condition(self, data: object, path: str) -> Expression:
        """Each key is an operator or a column. All of them must hold."""
        if not isinstance(data, Mapping) or not data:
            return self._wrong(path, "must be an object with at least one condition")
        return _all([self._entry(str(key), value, f"{path}.{key}") for key, value in data.items()])

    def _entry(self, key: str, value: object, path: str) -> Expression:
        if key == "not":
            return Not(self.condition(value, path))
        if key in ("and", "or"):
            return self._several(key, value, path, self.condition)
        if key not in _COMPARE:
            return self._field(key, value, path)
        if not isinstance(value, Mapping) or not value:
            return self._wrong(path, f"must be an object of columns, as in {{{key!r}: {{column: value}}}}")
        compares = [self._compare(str(name), key, one, f"{path}.{name}") for name, one in value.items()]
        return _all(compares)

    def _several(self, key: str, value: object, path: str, one: Callable[[object, str], Expression]) -> Expression:
        if not isinstance(value, list) or not value:
            return self._wrong(path, "must be a list with at least one condition")
        parts = tuple(one(part, f"{path}[{index}]") for index, part in enumerate(value))
        return And(parts) if key == "and" else Or(parts)

    def _field(self, column: str, value: object, path: str) -> Expression:
        """The condition on one column: a value, or an object of operators that must all hold."""
        if not isinstance(value, Mapping) or _is_variable(value):
            return self._compare(column, "eq", value, path)
        if not value:
            return self._wrong(path, "must hold an operator", _KNOWN)
        return _all([self._applied(column, str(op), one, f"{path}.{op}") for op, one in value.items()])

    def _applied(self, column: str, op: str, value: object, path: str) -> Expression:
        if op in _COMPARE:
            return self._compare(column, op, value, path)
        if op == "not":
            return Not(self._field(column, value, path))
        if op in ("and", "or"):
            return self._several(op, value, path, lambda part, where: self._field(column, part, where))
        foreign = next((name for name in (op, column) if name in _INSTEAD), None)
        close = difflib.get_close_matches(op, _OPERATORS, n=1)
        hint = f"write {_INSTEAD[foreign]}" if foreign else f"did you mean {close[0]!r}?" if close else ""
        return self._wrong(path, f"unknown filter operator {op!r}", hint or _KNOWN)

    def _compare(self, column: str, op: str, value: object, path: str) -> Expression:
        operand = self._scalar(value, path)
        if operand is None and op != "eq":
            return self._wrong(path, "compares with null, which no row passes", "null goes with eq and not")
        if isinstance(operand, float) and not math.isfinite(operand):
            return self._wrong(path, "must be a finite number")
        if operand is not None and not isinstance(operand, int | float | Decimal | str | bytes | date):
            return self._wrong(path, "must be a single value", 'for several values: {"or": [{"eq": a}, {"eq": b}]}')
        return Compare(column, cast(Operator, op), operand)

    def _wrong(self, path: str, what: str, hint: str = "") -> Expression:
        self.problems.append((path, what, hint))
        return And(())


def _is_variable(value: Mapping[object, object]) -> bool:
    """`{"env": "NAME"}` in the place of a value stands for a variable: `env` is no operator."""
    return set(value) == {"env"}


def _all(parts: list[Expression]) -> Expression:
    return parts[0] if len(parts) == 1 else And(tuple(parts))
