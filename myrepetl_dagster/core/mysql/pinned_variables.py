"""The session variables that each session of ours sets, so that a server's global settings do not reach into it.

Not among them is what an account without privileges may not set. `tests/server/sessions/test_global_settings.py` tries
each session variable of a server, and shows which ones do not matter or end a run with their name.

Pure: SQL, but no connection.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_ALL = 0
_MARIADB = 100000  # every version of MariaDB


@dataclass(frozen=True, slots=True)
class Pinned:
    """A variable and its value as SQL.

    `mysql`, `mariadb`: the first version that has it, in the form of executable comments: 80003 is 8.0.3. None: no
    version has it.
    """

    name: str
    value: str
    mysql: int | None = _ALL
    mariadb: int | None = _ALL


_MOST = "4294967295"
PINNED = (
    # ---- which rows a statement finds, and how many of them ----
    Pinned("sql_select_limit", "18446744073709551615"),  # the first rows would come, and no sign of more
    Pinned("sql_auto_is_null", "0"),  # `IS NULL` would find the row that was inserted last
    Pinned("system_versioning_asof", "DEFAULT", None, 100304),  # rows of another time would be read
    Pinned("show_gipk_in_create_table_and_information_schema", "1", 80030, None),  # the log has the hidden column, too
    Pinned("max_recursive_iterations", _MOST, None, 100202),  # cuts an init_query's result, with a warning
    Pinned("max_sort_length", "1024"),  # text is sorted and grouped by so many bytes
    # ---- whether it is allowed to ----
    Pinned("sql_big_selects", "1"),  # what is read is as large as it is
    Pinned("sql_safe_updates", "0"),  # deletions of many rows have a condition that is no key
    Pinned("max_execution_time", "0", 50708, None),  # the connection's time-outs are the bound, and they are retried
    Pinned("max_statement_time", "0", None, 100101),
    Pinned("idle_transaction_timeout", "0", None, 100300),  # wait_timeout is the bound
    Pinned("idle_readonly_transaction_timeout", "0", None, 100300),
    Pinned("idle_write_transaction_timeout", "0", None, 100300),
    # ---- what a transaction is ----
    Pinned("completion_type", "0"),  # a COMMIT would begin another transaction or end the session
    # ---- what is checked ----
    Pinned("unique_checks", "1"),  # InnoDB could store two rows with one unique value
    Pinned("check_constraint_checks", "1", None, 100201),  # the target's own constraints hold
    # ---- what a definition means, and how a server prints one ----
    Pinned("explicit_defaults_for_timestamp", "1", 50700, 100804),  # else a TIMESTAMP changes with each update
    Pinned("sql_if_exists", "0", None, 100502),  # a failed ALTER would be a success
    Pinned("sql_quote_show_create", "1"),
    # ---- what we read out of errors and warnings ----
    Pinned("lc_messages", "'en_US'"),  # some errors are told apart by their text
    Pinned("max_error_count", "1024", None, _MARIADB),  # warnings of a row that is written without strict mode
    # ---- what an init_query's functions mean ----
    Pinned("old_mode", "'UTF8_IS_UTF8MB3'", None, 100600),
    Pinned("div_precision_increment", "4"),
    Pinned("default_week_format", "0"),
    Pinned("lc_time_names", "'en_US'"),
    Pinned("group_concat_max_len", "1073741824"),  # longer results are cut, with a warning
    Pinned("windowing_use_high_precision", "1", 80002, None),
    Pinned("block_encryption_mode", "'aes-128-ecb'", 50700, 110200),
    Pinned("default_regex_flags", "''", None, 100011),
    # SET NAMES takes the collation from the server's settings.
    Pinned("collation_connection", "utf8mb4_0900_ai_ci", 80001, None),
    Pinned("collation_connection", "utf8mb4_general_ci", None, _MARIADB),
)


def isolation(level: str) -> tuple[Pinned, ...]:
    """The isolation level of a session's transactions."""
    return (
        Pinned("transaction_isolation", f"'{level}'", 50720, None),
        Pinned("tx_isolation", f"'{level}'", None, _MARIADB),
    )


def set_sql(variables: Iterable[Pinned]) -> str:
    """One statement that sets those of the variables that the server has.

    The server itself leaves out the others: it executes a comment by its flavour and version.
    """
    everywhere, somewhere = [], []
    for one in variables:
        if one.mysql == one.mariadb == _ALL:
            everywhere.append(f"{one.name}={one.value}")
        if one.mysql:
            somewhere.append(f"/*!{one.mysql} , {one.name}={one.value} */")
        if one.mariadb:
            somewhere.append(f"/*M!{one.mariadb} , {one.name}={one.value} */")
    return f"SET SESSION {', '.join(everywhere)} {' '.join(somewhere)}"
