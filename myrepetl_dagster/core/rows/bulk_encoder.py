"""Rows as the parameters of MariaDB's bulk execution: the log's bytes, most of them as they are. Pure.

A statement is prepared once and executed with many rows of binary values. Nothing is written out as text, and nothing
is parsed: to MariaDB a row costs less than half of what it costs as text. A parameter means what the value's literal
means (`values.literal_of`), column type by column type. Where that is not plain, the plan's rows go as text.

The format: https://mariadb.com/kb/en/com_stmt_bulk_execute/
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..binlog.column_decoders import ColumnDecoder
from ..binlog.decoder_codegen import RowEmitter
from ..binlog.map_columns import TableMap
from ..model.tables import Cell, Column
from ..values.bulk_parameters import _SHORT, _VALUE, BLOB, DECIMAL, NULL_PARAMETER, TEXT, parameter
from ..values.column_types import TEMPORAL_TYPES
from ..values.length_encoding import NULL
from ..values.text_codecs import decode_text
from .literal_codegen import LiteralSource, Transformed

_UNSIGNED = 0x80
# Integers whose parameters have the same bytes as the log: (parameter type, bytes).
_AS_THEY_ARE = {"tinyint": (1, 1), "smallint": (2, 2), "int": (3, 4), "bigint": (8, 8)}
# Other numbers: (parameter type, how it is packed).
_PACKED = {
    "mediumint": (3, struct.Struct("<i").pack),
    "year": (2, struct.Struct("<h").pack),
    "bit": (8, struct.Struct("<Q").pack),
    # As a double, like the literal: as text or DECIMAL a FLOAT would be another number.
    "float": (5, struct.Struct("<d").pack),
    "double": (5, struct.Struct("<d").pack),
}
# Text travels in the connection's character set, utf8mb4. Each of these is a subset of it.
UTF8 = frozenset({"utf8mb4", "utf8mb3", "ascii"})
_WITH_LENGTH = frozenset({"text", "blob", "json", "enum", "set"})


@dataclass(frozen=True, slots=True)
class BulkEncoding:
    """How rows of one table map become `BulkRows`.

    Attributes:
        values: for each target column "?", or the literal that all rows share.
        types: of the parameters, as the protocol has them.
        emit: the source of the code that makes a row's parameters.
        raw: by ordinal how columns are read whose bytes stay as they are.
    """

    values: tuple[str, ...]
    types: bytes
    emit: RowEmitter
    raw: dict[int, ColumnDecoder]


def bulk_encoding(
    sources: Sequence[LiteralSource],
    ordinals: Sequence[int],
    table_map: TableMap,
    on_enum_error: Callable[[], None],
    on_other_kind: Callable[[], None],
) -> BulkEncoding | None:
    """How a plan's rows become parameters; None if a value's literal is not plain enough.

    Args:
        sources: what each target column's literal is made from.
        ordinals: where in the row each column is; nothing reads it for a literal.
        on_enum_error: called for an ENUM's error value, which no parameter can be. The rows are of no use then.
        on_other_kind: the same if a transform makes something else than text.
    """
    types: list[int] = []
    values: list[str] = []
    raw: dict[int, ColumnDecoder] = {}
    parameters: list[tuple[int, Column | Transformed]] = []
    for source, ordinal in zip(sources, ordinals, strict=True):
        if isinstance(source, str):
            values.append(source)
            continue
        if isinstance(source, Transformed):
            values.append("?")
            types += [TEXT, 0]
            parameters.append((ordinal, source))
            continue
        kind = _parameter(source) if isinstance(source, Column) else None
        if kind is None:
            return None
        assert isinstance(source, Column)
        values.append("?")
        types += [kind, _UNSIGNED if source.unsigned or source.type == "bit" else 0]
        parameters.append((ordinal, source))
        if source.type in _AS_THEY_ARE:
            size = _AS_THEY_ARE[source.type][1]
            raw[ordinal] = ColumnDecoder(f"{size}s", size)
    of_transforms = {
        ordinal for source, ordinal in zip(sources, ordinals, strict=True) if isinstance(source, Transformed)
    }
    if of_transforms & raw.keys():
        return None  # a transform does not see the log's bytes

    def emit(cells: Sequence[str], uncertain: bool, names: dict[str, Any]) -> str:
        names |= {"SHORT": _SHORT, "long": parameter, "utf8": _utf8, "join": b"".join, "enum": label, "text": text}
        elements = [_source_of(i, column, cells[at], uncertain, names) for i, (at, column) in enumerate(parameters)]
        return f"add(join(({' '.join(element + ',' for element in elements)})))"

    def text(cell: Cell) -> bytes:
        if isinstance(cell, str):
            try:
                return parameter(cell.encode())
            except UnicodeEncodeError:  # half a character
                pass
        elif cell is None:
            return NULL_PARAMETER
        on_other_kind()
        return NULL_PARAMETER

    def label(cell: bytes | int) -> bytes:
        if isinstance(cell, int):
            on_enum_error()
            return NULL_PARAMETER
        return parameter(cell)

    return BulkEncoding(tuple(values), bytes(types), emit, raw) if parameters else None


def _parameter(column: Column) -> int | None:
    """The type of the column's parameter."""
    if column.type in _AS_THEY_ARE:
        return _AS_THEY_ARE[column.type][0]
    if column.type in _PACKED:
        return _PACKED[column.type][0]
    if column.type == "decimal":
        return DECIMAL
    if column.type in TEMPORAL_TYPES:
        return TEXT
    if column.type in _WITH_LENGTH:
        charset = column.charset or "binary"
        return TEXT if charset in UTF8 or charset == "latin1" else BLOB if charset == "binary" else None
    return None


def _source_of(number: int, column: Column | Transformed, cell: str, uncertain: bool, names: dict[str, Any]) -> str:
    """Source code of the elements that a column adds to a row."""
    if isinstance(column, Transformed):
        names[f"transformed{number}"] = column.cell_of
        return f"text(transformed{number}({cell}))"
    if cell == "None":
        return repr(NULL_PARAMETER)
    elements = _elements(column, cell if cell.isidentifier() else f"({cell})", names)
    if not uncertain:
        return ", ".join(elements)
    # In the function for any row the cell is a variable.
    return f"({NULL_PARAMETER!r} if {cell} is None else {' + '.join(f'({one})' for one in elements)})"


def _elements(column: Column, cell: str, names: dict[str, Any]) -> list[str]:
    if column.type in _AS_THEY_ARE:
        return [repr(_VALUE), cell]
    if column.type in _PACKED:
        names[f"pack_{column.type}"] = _PACKED[column.type][1]
        return [repr(_VALUE), f"pack_{column.type}({cell})"]
    if column.type == "enum":
        return [f"enum({cell})"] if column.charset != "latin1" else [f"enum({cell} and utf8({cell}))"]
    if column.type == "decimal" or column.type in TEMPORAL_TYPES:
        return [f"SHORT[len(x := {cell})]", "x.encode()"]
    if column.charset == "latin1":  # MariaDB's default; mostly ASCII
        return [f"(SHORT[len(x)] + x if len(x := {cell}) < {NULL} and x.isascii() else long(utf8(x)))"]
    return [f"(SHORT[len(x)] + x if len(x := {cell}) < {NULL} else long(x))"]


def _utf8(value: bytes) -> bytes:
    """latin1 as UTF-8, in which it travels. The server has the same characters for all 256 bytes."""
    return decode_text(value, "latin1").encode()
