"""Collations: the character set of each id (table maps hold ids), and which names mean two things. Pure.

One table serves both flavours: no id stands for different character sets on MySQL 9 and on MariaDB. A block of ids that
a flavour reserves for one character set is given whole, so that collations of later servers are known, too.
"""

from __future__ import annotations

import re

_IDS = """
armscii8 32 64; ascii 11 65; big5 1 84; binary 63; cp1250 26 34 44 66 99; cp1251 14 23 50-52;
cp1256 57 67; cp1257 29 58-59; cp850 4 80; cp852 40 81; cp866 36 68; cp932 95-96; dec8 3 69;
eucjpms 97-98; euckr 19 85; gb18030 248-250; gb2312 24 86; gbk 28 87; geostd8 92-93; greek 25 70;
hebrew 16 71; hp8 6 72; keybcs2 37 73; koi8r 7 74; koi8u 22 75; latin1 5 8 15 31 47-49 94;
latin2 2 9 21 27 77; latin5 30 78; latin7 20 41-42 79; macce 38 43; macroman 39 53; sjis 13 88;
swe7 10 82; tis620 18 89; ujis 12 91; ucs2 35 90 128-159 640-671 2560-2815;
utf16 54-55 101-124 672-703 2816-3071; utf16le 56 62; utf32 60-61 160-183 736-767 3072-3327;
utf8mb3 33 76 83 192-223 576-607 2048-2303; utf8mb4 45-46 224-247 255-323 608-639 2304-2559
"""


def _expand() -> dict[int, str]:
    charsets: dict[int, str] = {}
    for entry in _IDS.split(";"):
        name, *ranges = entry.split()
        for first, _, last in (item.partition("-") for item in ranges):
            charsets |= dict.fromkeys(range(int(first), int(last or first) + 1), name)
    return charsets


_CHARSETS = _expand()
# On MariaDB, the NO PAD variant of a collation has an id that is higher by this number.
_NOPAD = 1024


def charset_of(collation_id: int) -> str | None:
    """The character set of a collation; None for an id that neither flavour uses, as far as is known."""
    if _NOPAD < collation_id < 2 * _NOPAD:
        collation_id -= _NOPAD
    return _CHARSETS.get(collation_id)


# Names that MySQL and MariaDB both have, for collations that take other texts for equal: MariaDB 11.8 has MySQL's
# newest names as aliases of its own collations. All others are alike on both, and none differs between a flavour's
# versions: `tests/server/values/test_collations.py` asks the servers.
_TWO_MEANINGS = re.compile(r".*_0900_(?!bin$).*|.*_croatian_ci|tis620_thai_ci")


def is_one_collation(name: str | None, other: str | None, *, one_flavour: bool) -> bool:
    """Whether two columns compare texts alike.

    Args:
        name, other: the names of their collations.
        one_flavour: both columns are on MySQL, or both on MariaDB.
    """
    return name == other and (one_flavour or name is None or _TWO_MEANINGS.fullmatch(name) is None)


def of_one_meaning(names: frozenset[str]) -> frozenset[str]:
    """Those of the names that mean the same on MySQL and on MariaDB."""
    return frozenset(name for name in names if _TWO_MEANINGS.fullmatch(name) is None)
