"""Turns: named locks on a target that say which mappings a run works on, so that others wait or stay away.

A turn keeps nothing exact: the fence does that (`checkpoint_table.py`). It lives as long as the session that took it.
So a run that was killed leaves none behind, and nobody waits for one that is gone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import pymysql
from pymysql.connections import Connection

from ..mysql.connect import query

# A Galera cluster refuses such locks, and then every mapping counts as free.
_UNSUPPORTED = frozenset({1047, 1235})


def lock_name(database: str, mapping: str) -> str:
    """The name of a mapping's lock. Names are the server's, not a database's, and hold 64 characters at most."""
    return "myrepetl:" + hashlib.sha256(f"{database}\0{mapping}".encode()).hexdigest()[:48]


def take(connection: Connection[Any], database: str, mappings: Sequence[str], *, all_or_none: bool) -> list[str]:
    """Take the turns of these mappings that are free.

    Args:
        all_or_none: take none if one is not free. Two runs that each had some would wait for each other.

    Returns:
        The mappings whose turn another session has.
    """
    got = _ask(connection, "GET_LOCK(%s, 0)", database, mappings)
    others = [name for name, ours in got.items() if not ours]
    if others and all_or_none:
        _ask(connection, "RELEASE_LOCK(%s)", database, [name for name, ours in got.items() if ours])
    return others


def taken(connection: Connection[Any], database: str, mappings: Iterable[str]) -> set[str]:
    """The mappings whose turn some session has."""
    return {name for name, free in _ask(connection, "IS_FREE_LOCK(%s)", database, list(mappings)).items() if not free}


def _ask(connection: Connection[Any], call: str, database: str, mappings: Sequence[str]) -> dict[str, bool]:
    """The answer for each mapping; True for each where the server has no such locks."""
    if not mappings:
        return {}
    names = [lock_name(database, name) for name in mappings]
    try:
        row = query(connection, f"SELECT {', '.join([call] * len(names))}", names)[0]
    except pymysql.MySQLError as error:
        if error.args[0] not in _UNSUPPORTED:
            raise
        return dict.fromkeys(mappings, True)
    return dict(zip(mappings, (bool(int(value or 0)) for value in row), strict=True))
