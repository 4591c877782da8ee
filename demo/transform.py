"""The transforms that pipeline.json names; they lie beside it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any


def address(value: str | None) -> str | None:
    """An e-mail address as it is compared: without spaces around it, in lower case."""
    return None if value is None else value.strip().lower()


def total(value: Decimal, row_data: dict[str, Any]) -> Decimal:
    """What a line of an order costs: the price, times another column of the row."""
    return value * int(row_data["quantity"])
