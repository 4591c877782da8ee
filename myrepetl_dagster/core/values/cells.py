"""A value on its way from the text protocol: the server's text becomes a cell (`model/tables.py`). Pure."""

from __future__ import annotations

from collections.abc import Callable

from ..model.tables import Cell, Column
from .column_types import FLOAT_TYPES, INTEGER_TYPES, TEMPORAL_TYPES

# A snapshot reads an ENUM's error value as a text that is longer than any label can be.
LABEL_BYTES_MAX = 1020


def cell_from_text(column: Column) -> Callable[[bytes | None], Cell]:
    """A function from a field's bytes in the text protocol to the column's cell. None is NULL."""
    if column.type == "bit":
        return lambda data: None if data is None else int.from_bytes(data, "big")
    if column.type in INTEGER_TYPES:
        return lambda data: None if data is None else int(data)
    if column.type in FLOAT_TYPES:
        return lambda data: None if data is None else float(data)
    if column.type in TEMPORAL_TYPES or column.type == "decimal":
        return lambda data: None if data is None else data.decode("ascii")
    if column.type == "enum":
        return lambda data: 0 if data is not None and len(data) > LABEL_BYTES_MAX else data
    return lambda data: data
