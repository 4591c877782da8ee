"""Tells current rows of a system-versioned table from its history. Pure.

MariaDB logs history as rows of the table: a row that is changed is inserted again as it was, and one that is deleted is
updated, so that it ends now. A current row never ends. So history is what a filter leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..model.tables import Row

# The last moment of a TIMESTAMP stands for "never". Since 11.5 that is another one.
_NEVER = frozenset({"2038-01-19 03:14:07.999999", "2106-02-07 06:28:15.999999"})


def only_current(ends: Sequence[int], passes: Callable[[Row], bool] | None) -> Callable[[Row], bool] | None:
    """A filter that current rows pass which pass this one.

    Args:
        ends: where in a row it is said until when the row was current; none if the table has no history.
        passes: None: all rows pass.
    """
    if not ends:
        return passes
    return lambda row: all(row[at] in _NEVER for at in ends) and (passes is None or passes(row))
