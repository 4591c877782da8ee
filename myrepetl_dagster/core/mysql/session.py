"""The variables that the session of each use sets: first those that exactness needs, then those of the pipeline file.

`session_settings.py` has checked the file's variables: none of them undoes one of ours. Knows SQL, but no driver.
"""

from __future__ import annotations

from enum import StrEnum

from ..config.pipeline import Endpoint
from ..model.limits import Limits


class Use(StrEnum):
    """What a connection is opened for."""

    CONTROL = "control"  # short questions: positions, columns, the checkpoint
    SNAPSHOT = "snapshot"  # chunks, as raw bytes in the columns' own character sets
    STREAM = "stream"  # the binlog
    APPLY = "apply"  # transactions on the target


# A target must store what the source holds. Strict, so that nothing is cut in silence; but zero and invalid dates are
# allowed, and 0 in an AUTO_INCREMENT column means 0 (as in mysqldump's output).
_APPLY_MODES = ("STRICT_ALL_TABLES", "NO_AUTO_VALUE_ON_ZERO", "ALLOW_INVALID_DATES", "NO_ENGINE_SUBSTITUTION")
_STRICT = {"STRICT_ALL_TABLES", "STRICT_TRANS_TABLES"}
_TRADITIONAL = ("NO_ZERO_IN_DATE", "NO_ZERO_DATE", "ERROR_FOR_DIVISION_BY_ZERO")  # what TRADITIONAL means beside strict
_LOCK_WAITS = ("innodb_lock_wait_timeout", "lock_wait_timeout")

# A server's own wait_timeout may be short. A session that only reads may idle for as long as a run works elsewhere. One
# with an open transaction may not: a run that hangs or is paused must not hold the fence for hours.
_IDLE_S = "28800"
# A generated invisible primary key is in the log's images, so it has to be in descriptions, too. MySQL from 8.0.30.
_GENERATED_KEYS = " /*!80030 , show_gipk_in_create_table_and_information_schema=ON */"
_NET = {"net_write_timeout": "600", "net_read_timeout": "120"}


def sql_mode(endpoint: Endpoint, use: Use) -> str:
    """The sql_mode of a session. The file's modes are for sessions that write rows or read an init_query."""
    match use:
        case Use.APPLY:
            return ",".join(dict.fromkeys((*_APPLY_MODES, *endpoint.sql_mode)))
        case Use.SNAPSHOT:
            return ",".join(endpoint.sql_mode)
    return ""


def lax_apply_mode(endpoint: Endpoint) -> str:
    """The sql_mode of an apply session, without its strict modes: an error of strict mode becomes a warning."""
    modes: list[str] = []
    for mode in sql_mode(endpoint, Use.APPLY).split(","):
        modes += _TRADITIONAL if mode == "TRADITIONAL" else () if mode in _STRICT else (mode,)
    return ",".join(modes)


def lock_wait_s(endpoint: Endpoint, limits: Limits, variable: str = "innodb_lock_wait_timeout") -> str:
    """How long a lock is waited for, as SQL: the file's own value, or the limit.

    If the file has a read_timeout, the server must give up before it: an error answer leaves the connection usable.
    """
    wait_s = limits.lock_wait_timeout_s
    if endpoint.read_timeout_s is not None:
        wait_s = min(wait_s, 0.8 * endpoint.read_timeout_s)
    return endpoint.session.get(variable, str(max(1, int(wait_s))))


def heartbeat_s(endpoint: Endpoint, limits: Limits) -> float:
    """How often a quiet source reports that it is there: several times within the read timeout."""
    return min(limits.stream_heartbeat_s, read_timeout_s(endpoint, Use.STREAM, limits) / 3)


def read_timeout_s(endpoint: Endpoint, use: Use, limits: Limits) -> float:
    """For how long a server may say nothing: the endpoint's read_timeout, or the limit of the use."""
    asked_s = endpoint.read_timeout_s
    match use:
        case Use.CONTROL:
            return asked_s or limits.control_timeout_s
        case Use.SNAPSHOT:
            return asked_s or limits.snapshot_timeout_s
        case Use.APPLY:
            return asked_s or limits.apply_timeout_s
        case Use.STREAM:  # several heartbeats: a peer that is silent for longer is dead, whatever the file allows
            return min(asked_s or limits.stream_timeout_s, limits.stream_timeout_s)


# A server's global settings are each session's at first. These would cut what is read, or refuse statements of ours.
_WHOLE = {"sql_select_limit": "18446744073709551615", "sql_big_selects": "1", "sql_safe_updates": "0"}
_WHOLE |= {"sql_quote_show_create": "1"}


def own_sql(endpoint: Endpoint, use: Use, limits: Limits) -> str:
    """The statement that sets the variables that the use needs."""
    variables = {"wait_timeout": _idle_s(endpoint, use, limits), **_WHOLE}
    if use is not Use.STREAM:
        variables |= {"sql_mode": f"'{sql_mode(endpoint, use)}'", "time_zone": "'+00:00'"}
    if use in (Use.SNAPSHOT, Use.STREAM):
        variables |= _NET
    if use in (Use.SNAPSHOT, Use.APPLY):
        variables["character_set_results"] = "NULL"
    if use is Use.APPLY:
        variables["foreign_key_checks"] = "0"
        variables |= {name: lock_wait_s(endpoint, limits, name) for name in _LOCK_WAITS}
    return _set(variables) + (_GENERATED_KEYS if use is Use.CONTROL else "")


def file_sql(endpoint: Endpoint) -> str | None:
    """The statement that sets the file's variables; None if there are none. `own_sql` sets wait_timeout."""
    variables = {name: value for name, value in endpoint.session.items() if name != "wait_timeout"}
    return _set(variables) if variables else None


def _idle_s(endpoint: Endpoint, use: Use, limits: Limits) -> str:
    asked_s = endpoint.session.get("wait_timeout")
    if use is not Use.APPLY:
        return asked_s or _IDLE_S
    ours_s = max(1, int(2 * limits.apply_timeout_s))
    return str(min(int(asked_s), ours_s) if asked_s else ours_s)


def _set(variables: dict[str, str]) -> str:
    return "SET SESSION " + ", ".join(f"{name}={value}" for name, value in variables.items())
