"""The function around the columns: one that reads any row, or one that reads rows with the same NULLs.

If the NULLs are known, so are the places of the columns, and everything between two columns of varying size is read at
once. `column_decoders.py` says how each column is read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .column_decoders import ENVIRONMENT, ColumnDecoder

# (data, position, end, append) -> position after the rows that were read.
RowFunction = Callable[[bytes, int, int, Callable[[Any], None]], int]

# Makes the source of a statement that appends something for a row. It gets for each column the expression of its cell
# ("None" if it is NULL or not wanted), whether that may still turn out to be None, and the names that the source may
# use.
RowEmitter = Callable[[Sequence[str], bool, dict[str, Any]], str]

# The more columns are read at once, the more often there is a NULL among them, and they are read one by one.
_SEGMENT_MAX = 6

_PREFIX_FORMS = {1: "B", 2: "H", 3: "HB", 4: "I"}


class _Writer:
    """Lines of a function body. `offset` is how far reading has come beyond the variable `p`."""

    def __init__(self, indent: str, environment: dict[str, Any]) -> None:
        self.indent = indent
        self.environment = environment
        self.lines: list[str] = []
        self.offset = 0
        self._forms = ""
        self._names: list[str] = []
        self._later: list[str] = []
        self._segment_offset = 0
        self._skipped = ""  # the size of a value to step over next
        self._skipped_with = 0  # how many other bytes there are to step over with it

    def line(self, text: str) -> None:
        self._step()
        self.lines.append(self.indent + text)

    def _step(self, further: int = 0) -> None:
        """Step over the skipped value, if there is one, and bytes behind it."""
        if self._skipped:
            self.lines.append(f"{self.indent}p += {self._skipped} + {self._skipped_with + further}")
            self._skipped = ""
            self.offset -= further

    def fixed(self, ordinal: int, decoder: ColumnDecoder, wanted: bool) -> None:
        if not wanted and not self._names:
            self.offset += decoder.size
            return
        self._open_segment()
        self.offset += decoder.size
        if not wanted:
            self._forms += f"{decoder.size}x"
            return
        self._forms += decoder.form
        # If there are two raw values, the form's second letter is the second one.
        self._names += [f"c{ordinal}", f"b{ordinal}"][: 2 if len(decoder.form.lstrip("0123456789")) == 2 else 1]
        self._later += [_named(line, ordinal) for line in decoder.lines]

    def varying(self, ordinal: int, decoder: ColumnDecoder, wanted: bool) -> None:
        if not wanted and not self._forms and decoder.prefix <= 2:
            self._step(self.offset)  # the bytes between two skipped values are added once
            low, high = _place(self.offset), _place(self.offset + 1)
            self._skipped = f"d[{low}]" if decoder.prefix == 1 else f"(d[{low}] | d[{high}] << 8)"
            self._skipped_with = self.offset + decoder.prefix
            self.offset = 0
            return
        if not self._forms and decoder.prefix == 1:
            self.line(f"n = d[{_place(self.offset)}]")
        elif not self._forms and decoder.prefix == 2:
            self.line(f"n = d[{_place(self.offset)}] | d[{_place(self.offset + 1)}] << 8")
        else:
            self._open_segment()
            self._forms += _PREFIX_FORMS[decoder.prefix]
            self._names += ["n", "m"] if decoder.prefix == 3 else ["n"]
            self.flush()
            if decoder.prefix == 3:
                self.line("n |= m << 16")
        self.offset += decoder.prefix
        if wanted:
            self.line(f"a = p + {self.offset}")
            self.line("p = a + n")
            self.line(f"c{ordinal} = d[a:p]")
        else:
            self._skipped, self._skipped_with = "n", self.offset
        self.offset = 0

    def flush(self) -> None:
        """Read the open segment of columns; turn its raw values into cells if that takes statements."""
        if self._names:
            unpack = f"u{len(self.environment)}"
            self.environment[unpack] = struct.Struct("<" + self._forms).unpack_from
            self.line(f"{', '.join(self._names)}, = {unpack}(d, {_place(self._segment_offset)})")
        for text in self._later:
            self.line(text)
        self._forms, self._names, self._later = "", [], []

    def advance(self) -> None:
        self.flush()
        self._step(self.offset)
        if self.offset:
            self.line(f"p += {self.offset}")
        self.offset = 0

    def _open_segment(self) -> None:
        if not self._forms:
            self._segment_offset = self.offset


def as_cells(cells: Sequence[str], uncertain: bool, names: dict[str, Any]) -> str:
    """The row as a tuple of cells."""
    return f"add(({', '.join(cells)},))"


def as_keys(ordinals: Sequence[int], others: Sequence[int]) -> RowEmitter:
    """One after the other: these cells of the row, where the row ends, and, if there are any, a tuple of other cells.

    One cell stands for itself: nothing else takes as long as a tuple.
    """

    def emit(cells: Sequence[str], uncertain: bool, names: dict[str, Any]) -> str:
        key, rest = ("(" + "".join(f"{cells[i]}, " for i in some) + ")" for some in (ordinals, others))
        key = cells[ordinals[0]] if len(ordinals) == 1 else key
        return f"add({key}); add(p)" + (f"; add({rest})" if others else "")

    return emit


def any_rows(decoders: Sequence[ColumnDecoder], wanted: Sequence[bool], emit: RowEmitter) -> RowFunction:
    """A function that reads one row, whatever its NULLs."""
    environment = _environment(decoders)
    size = (len(decoders) + 7) // 8
    lines = ["def read(d, p, end, add):", f" nulls = from_bytes(d[p:p + {size}], 'little')", f" p += {size}"]
    for segment in _segments(decoders):
        # The segment is read at once if it holds no NULL, else column by column.
        lines.append(f" if not nulls & {sum(1 << ordinal for ordinal in segment)}:")
        lines += _segment(segment, decoders, wanted, "  ", environment)
        lines.append(" else:")
        for ordinal in segment:
            null = f"c{ordinal} = None" if wanted[ordinal] else "pass"
            lines += [f"  if nulls & {1 << ordinal}: {null}", "  else:"]
            lines += _segment([ordinal], decoders, wanted, "   ", environment)
    cells = [f"c{ordinal}" if wanted[ordinal] else "None" for ordinal in range(len(decoders))]
    lines += [f" {emit(cells, True, environment)}", " return p"]
    return _compile(lines, environment)


def _segments(decoders: Sequence[ColumnDecoder]) -> Iterator[list[int]]:
    """Runs of columns that one `struct` call can read: fixed ones, up to one of varying size."""
    segment: list[int] = []
    for ordinal, decoder in enumerate(decoders):
        segment.append(ordinal)
        if decoder.prefix or len(segment) == _SEGMENT_MAX:
            yield segment
            segment = []
    if segment:
        yield segment


def _segment(
    segment: Sequence[int],
    decoders: Sequence[ColumnDecoder],
    wanted: Sequence[bool],
    indent: str,
    environment: dict[str, Any],
) -> list[str]:
    writer = _Writer(indent, environment)
    for ordinal in segment:
        _read(writer, ordinal, decoders[ordinal], wanted[ordinal])
    writer.advance()
    for ordinal in segment:
        if wanted[ordinal] and decoders[ordinal].cell != "$":
            writer.line(f"c{ordinal} = {_named(decoders[ordinal].cell, ordinal)}")
    return writer.lines


def same_rows(
    decoders: Sequence[ColumnDecoder], wanted: Sequence[bool], bitmap: bytes, emit: RowEmitter
) -> RowFunction:
    """A function that reads rows for as long as their NULLs are those of `bitmap`."""
    environment = _environment(decoders)
    size = len(bitmap)
    same = f"d[p] == {bitmap[0]}" if size == 1 else f"d[p:p + {size}] == {bitmap!r}"
    lines = ["def read(d, p, end, add):", f" while p < end and {same}:"]
    writer = _Writer("  ", environment)
    writer.offset = size
    cells: list[str] = []
    for ordinal, decoder in enumerate(decoders):
        null = bitmap[ordinal // 8] >> ordinal % 8 & 1
        cells.append("None" if null or not wanted[ordinal] else _named(decoder.cell, ordinal))
        if not null:
            _read(writer, ordinal, decoder, wanted[ordinal])
    writer.advance()
    lines += [*writer.lines, f"  {emit(cells, False, environment)}", " return p"]
    return _compile(lines, environment)


def _place(offset: int) -> str:
    return f"p + {offset}" if offset else "p"


def _read(writer: _Writer, ordinal: int, decoder: ColumnDecoder, wanted: bool) -> None:
    if decoder.prefix:
        writer.varying(ordinal, decoder, wanted)
    else:
        writer.fixed(ordinal, decoder, wanted)


def _named(text: str, ordinal: int) -> str:
    return text.replace("$b", f"b{ordinal}").replace("$", f"c{ordinal}")


def _environment(decoders: Sequence[ColumnDecoder]) -> dict[str, Any]:
    environment = dict(ENVIRONMENT)
    for ordinal, decoder in enumerate(decoders):
        environment |= {_named(name, ordinal): value for name, value in decoder.bound.items()}
    return environment


def _compile(lines: Sequence[str], environment: dict[str, Any]) -> RowFunction:
    # Nothing in the source comes from outside: types and numbers choose among our own templates. Names and labels of
    # the table are values in the environment.
    exec("\n".join(lines), environment)
    function: RowFunction = environment["read"]
    return function
