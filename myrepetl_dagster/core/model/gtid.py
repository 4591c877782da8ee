"""Sets of global transaction ids (GTIDs): MySQL's, and the last ones of each domain on MariaDB. Pure."""

from __future__ import annotations

import bisect
import re
import struct
from dataclasses import dataclass
from uuid import UUID

# Half open, sorted, disjoint, and never adjacent.
Intervals = tuple[tuple[int, int], ...]
_UUID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
_TAG = re.compile(r"^[a-z_][a-z0-9_]{0,31}$")


def _merged(intervals: list[tuple[int, int]]) -> Intervals:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def _intersection(a: Intervals, b: Intervals) -> Intervals:
    found = [(max(s, t), min(e, f)) for s, e in a for t, f in b if max(s, t) < min(e, f)]
    return _merged(found)


@dataclass(frozen=True, slots=True)
class GtidSet:
    """A set of MySQL GTIDs. `members`: UUID, or `uuid:tag` for tagged GTIDs (since 8.3), to intervals of numbers."""

    members: dict[str, Intervals]

    @classmethod
    def parse(cls, text: str) -> GtidSet:
        """The set that a server prints, for example `uuid:1-5:8:blue:1-3,uuid2:7`.

        Raises:
            ValueError: the text is not a GTID set.
        """
        found: dict[str, list[tuple[int, int]]] = {}
        for part in "".join(text.split()).lower().split(","):
            if not part:
                continue
            uuid, *rest = part.split(":")
            if not _UUID.match(uuid):
                raise ValueError("not a GTID set")
            name = uuid
            for token in rest:
                if _TAG.match(token):
                    name = f"{uuid}:{token}"
                    continue
                first, _, last = token.partition("-")
                found.setdefault(name, []).append((int(first), int(last or first) + 1))
        return cls({name: _merged(intervals) for name, intervals in found.items()})

    def __str__(self) -> str:
        by_uuid: dict[str, list[str]] = {}
        for name in sorted(self.members):
            uuid, _, tag = name.partition(":")
            spans = [f"{s}" if e == s + 1 else f"{s}-{e - 1}" for s, e in self.members[name]]
            by_uuid.setdefault(uuid, []).extend(([tag] if tag else []) + spans)
        return ",".join(":".join([uuid, *parts]) for uuid, parts in by_uuid.items())

    def __hash__(self) -> int:
        return hash(str(self))

    @property
    def tagged(self) -> bool:
        """Whether any GTID of the set has a tag."""
        return any(":" in name for name in self.members)

    def encoded(self) -> bytes:
        """The set as the dump command takes it. With tags it has the format that servers know since 8.3."""
        tagged = self.tagged
        parts = [struct.pack("<Q", 1 << 56 | len(self.members) << 8 | 1 if tagged else len(self.members))]
        for name in sorted(self.members):
            uuid, _, tag = name.partition(":")
            parts.append(UUID(uuid).bytes)
            if tagged:
                parts.append(bytes([len(tag) << 1]) + tag.encode())
            parts.append(struct.pack("<Q", len(self.members[name])))
            parts += [struct.pack("<QQ", *interval) for interval in self.members[name]]
        return b"".join(parts)

    def contains(self, name: str, number: int) -> bool:
        intervals = self.members.get(name)
        if not intervals:
            return False
        at = bisect.bisect_right(intervals, (number, 2**63)) - 1
        return at >= 0 and intervals[at][0] <= number < intervals[at][1]

    def with_gtid(self, name: str, number: int) -> GtidSet:
        intervals = self.members.get(name, ())
        if intervals and intervals[-1][1] == number:  # the usual case, and the fast one
            grown = (*intervals[:-1], (intervals[-1][0], number + 1))
        else:
            grown = _merged([*intervals, (number, number + 1)])
        return GtidSet({**self.members, name: grown})

    def without(self, name: str, number: int) -> GtidSet:
        parts = [part for s, e in self.members.get(name, ()) for part in ((s, min(e, number)), (max(s, number + 1), e))]
        left = _merged([(s, e) for s, e in parts if s < e])
        others = {n: intervals for n, intervals in self.members.items() if n != name}
        return GtidSet({**others, name: left} if left else others)

    def issubset(self, other: GtidSet) -> bool:
        return all(_intersection(mine, other.members.get(name, ())) == mine for name, mine in self.members.items())

    def intersection(self, other: GtidSet) -> GtidSet:
        both = {n: _intersection(mine, other.members.get(n, ())) for n, mine in self.members.items()}
        return GtidSet({name: intervals for name, intervals in both.items() if intervals})

    def union(self, other: GtidSet) -> GtidSet:
        names = self.members.keys() | other.members.keys()
        return GtidSet({n: _merged([*self.members.get(n, ()), *other.members.get(n, ())]) for n in names})


def with_mariadb_gtid(gtids: str, gtid: str) -> str:
    """A MariaDB GTID position with this GTID as the last one of its domain; '' leaves it as it is."""
    if not gtid:
        return gtids
    by_domain = {int(g.split("-")[0]): g for g in gtids.split(",") if g}
    by_domain[int(gtid.split("-")[0])] = gtid
    return ",".join(by_domain[domain] for domain in sorted(by_domain))
