"""Follows a row through the core: which files its code is in, in which order.

* A *call* is the start of a function, a property or a generator that is written in a file of the core. To come back to
  the caller is no call, and neither is to resume a generator: a reader who follows the code is back on a line that is
  open already. A comprehension belongs to the function that it is written in. Constructors that `dataclass` writes and
  functions that the core generates have no file, and are no calls either. Nor is what PyMySQL calls of its own accord.
* A *way* is a sequence of calls: those of the thread that began first, then those of the next thread.
* A *stay* is uninterrupted time in one file: a run of calls on the way that go into the same file. The reader opens a
  file for each stay.
* A *return* is a stay in a file that the way has left before.
* A *room* is a folder directly in the core.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

import pymysql

import myrepetl_dagster.core

CORE = Path(myrepetl_dagster.core.__file__).parent
DRIVER = Path(pymysql.__file__).parent
# From Python 3.12 on most of them are no functions of their own.
_COMPREHENSIONS = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})


@dataclass(frozen=True)
class Call:
    """One function that was called. `file`: as seen from the core; `depth`: calls of the core that led to it."""

    thread: int
    file: str
    function: str
    depth: int


@dataclass(frozen=True)
class Way:
    """The calls of one row or window: those of the thread that began first, then those of the next thread."""

    calls: tuple[Call, ...]

    @property
    def stays(self) -> list[str]:
        """The file of each stay."""
        return [file for file, _ in groupby(self._in_order(), key=lambda call: call.file)]

    @property
    def returns(self) -> int:
        stays = self.stays
        return len(stays) - len(set(stays))

    @property
    def rooms(self) -> list[str]:
        """Each room once, in the order in which they were first entered."""
        return list(dict.fromkeys(file.partition("/")[0] for file in self.stays))

    def up_to(self, room: str, *functions: str) -> Way:
        """The way without the calls that functions of this room make, or these: it ends at their door."""
        kept: list[Call] = []
        inside: dict[int, int] = {}  # by thread: at which depth the room was called
        for call in self.calls:
            if call.depth > inside.get(call.thread, call.depth):
                continue
            inside.pop(call.thread, None)
            if call.file.startswith(f"{room}/") or call.function in functions:
                inside[call.thread] = call.depth
            kept.append(call)
        return Way(tuple(kept))

    def within(self, *functions: str) -> Way:
        """The calls of these functions (`Class.method`), with all that they call."""
        kept: list[Call] = []
        inside: dict[int, int] = {}  # by thread: at which depth one of them was called
        for call in self.calls:
            if call.depth <= inside.get(call.thread, call.depth):
                inside.pop(call.thread, None)
                if call.function not in functions:
                    continue
                inside[call.thread] = call.depth
            kept.append(call)
        return Way(tuple(kept))

    def by_thread(self) -> list[Way]:
        """The way of each thread, that of the one that began first before the others."""
        threads = dict.fromkeys(call.thread for call in self.calls)
        return [Way(tuple(call for call in self.calls if call.thread == thread)) for thread in threads]

    def _in_order(self) -> list[Call]:
        return [call for way in self.by_thread() for call in way.calls]

    def __str__(self) -> str:
        lines = [f"{len(self.rooms)} rooms: {', '.join(self.rooms)}"]
        lines.append(f"{len(self.stays)} stays in {len(set(self.stays))} files, {self.returns} returns")
        seen: set[str] = set()
        for file, calls in groupby(self._in_order(), key=lambda call: call.file):
            functions = [("  " * call.depth) + call.function for call in calls]
            lines.append(f"{'again ' if file in seen else ''}{file}")
            lines += [f"    {function}" for function in functions]
            seen.add(file)
        return "\n".join(lines)


@dataclass
class Tracer:
    """Records calls in this thread, and in every thread that starts while the tracer is `installed`.

    Args:
        recording: whether all calls are recorded.
        inside: names of functions (`Class.method`) that are recorded in any case, with all that they call.
    """

    recording: bool = False
    inside: Collection[str] = ()
    calls: list[Call] = field(default_factory=list)
    _started: set[FrameType] = field(default_factory=set)  # generators
    _local: threading.local = field(default_factory=threading.local)

    @contextmanager
    def installed(self) -> Iterator[Tracer]:
        sys.setprofile(self._note)
        threading.setprofile(self._note)
        try:
            yield self
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Record for a while."""
        self.recording = True
        try:
            yield
        finally:
            self.recording = False

    @property
    def way(self) -> Way:
        """What was recorded so far."""
        return Way(tuple(self.calls))

    def take(self) -> Way:
        """What was recorded since this was called last."""
        way = self.way
        self.calls.clear()
        return way

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event not in ("call", "return") or code.co_name in _COMPREHENSIONS:
            return
        if not code.co_filename.startswith(f"{CORE}/") or (frame.f_back and _is_driver(frame.f_back)):
            return
        function = code.co_qualname
        local = self._local.__dict__
        depth, within = local.setdefault("depth", 0), local.setdefault("within", 0)
        if event == "return":
            local["depth"] = depth - 1
            local["within"] = max(0, within - 1)
            return
        local["depth"] = depth + 1
        if within or function in self.inside:
            local["within"] = within + 1
        if code.co_flags & inspect.CO_GENERATOR:
            if frame in self._started:
                return
            self._started.add(frame)
        if self.recording or local["within"] > 0:
            file = str(Path(code.co_filename).relative_to(CORE))
            self.calls.append(Call(threading.get_ident(), file, function, depth))


def _is_driver(frame: FrameType) -> bool:
    return Path(frame.f_code.co_filename).parent == DRIVER
