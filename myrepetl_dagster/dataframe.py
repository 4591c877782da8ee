"""Columns of a server as a pandas DataFrame, no value changed. `docs/builders.md` has the dtype of each type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas

from .core.model.tables import Column
from .core.values.column_types import DATETIME_TYPES, FLOAT_TYPES, INTEGER_TYPES


def dataframe(columns: Sequence[tuple[Column, list[Any]]]) -> pandas.DataFrame:
    """The columns, each with its values as Python objects, as a DataFrame."""
    frame = pandas.DataFrame({i: _series(column, values) for i, (column, values) in enumerate(columns)})
    # Afterwards, since two columns of a query may have one name.
    frame.columns = pandas.Index([column.name for column, _ in columns], dtype=object)
    return frame


def _series(column: Column, values: list[Any]) -> pandas.Series[Any]:
    if column.type in INTEGER_TYPES or column.type == "bit":  # with NULLs, pandas' own choice would be float64
        whole = pandas.array(values, dtype="UInt64" if column.unsigned or column.type == "bit" else "Int64")
        return pandas.Series(whole)
    if column.type in FLOAT_TYPES:
        return pandas.Series(values, dtype="float64")
    # Microseconds reach from year 1 to 9999; nanoseconds, pandas' older choice, to 2262.
    if column.type in DATETIME_TYPES and not any(isinstance(value, str) for value in values):
        return pandas.Series(values, dtype="datetime64[us]")
    if column.type == "time":
        return pandas.Series(values, dtype="timedelta64[us]")
    return pandas.Series(values, dtype=object)
