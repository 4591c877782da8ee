"""Follows a row through the core: which files its code is in, in which order.

* A *call* is the start of a function, a property or a generator that is written in a file of the core. To come back to
  the caller is no call, and neither is to resume a generator: a reader who follows the code is back on a line that is
  open already. Constructors that `dataclass` writes and functions that the core generates have no file, and are no
  calls either.
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

import myrepetl_dagster.core

CORE = Path(myrepetl_dagster.core.__file__).parent


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

    def up_to(self, room: str) -> Way:
        """The way without the calls that functions of this room make: it ends at the room's door."""
        kept: list[Call] = []
        inside: dict[int, int] = {}  # by thread: at which depth the room was called
        for call in self.calls:
            if call.depth > inside.get(call.thread, call.depth):
                continue
            inside.pop(call.thread, None)
            if call.file.startswith(f"{room}/"):
                inside[call.thread] = call.depth
            kept.append(call)
        return Way(tuple(kept))

    def _in_order(self) -> list[Call]:
        threads = list(dict.fromkeys(call.thread for call in self.calls))
        return sorted(self.calls, key=lambda call: threads.index(call.thread))

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

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        if event not in ("call", "return") or not frame.f_code.co_filename.startswith(f"{CORE}/"):
            return
        function = frame.f_code.co_qualname
        local = self._local.__dict__
        depth, within = local.setdefault("depth", 0), local.setdefault("within", 0)
        if event == "return":
            local["depth"] = depth - 1
            local["within"] = max(0, within - 1)
            return
        local["depth"] = depth + 1
        if within or function in self.inside:
            local["within"] = within + 1
        if frame.f_code.co_flags & inspect.CO_GENERATOR:
            if frame in self._started:
                return
            self._started.add(frame)
        if self.recording or local["within"] > 0:
            file = str(Path(frame.f_code.co_filename).relative_to(CORE))
            self.calls.append(Call(threading.get_ident(), file, function, depth))
