"""The variables that each session sets: for which versions, and what a pipeline file may make of them."""

from __future__ import annotations

import pytest

from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.model.errors import ConfigError
from myrepetl_dagster.core.mysql.pinned_variables import PINNED, Pinned, isolation, set_sql

# A file's init_command may set these: they end a run, or change what the functions of an init_query mean.
FREE = {
    "sql_big_selects", "sql_safe_updates", "max_execution_time", "max_statement_time", "idle_transaction_timeout",
    "idle_readonly_transaction_timeout", "idle_write_transaction_timeout", "check_constraint_checks",
    "div_precision_increment", "default_week_format", "lc_time_names", "group_concat_max_len",
    "windowing_use_high_precision", "block_encryption_mode",
}  # fmt: skip


def test_a_statement_for_all_servers() -> None:
    """What a server may not know is in a comment that it executes by its flavour and version."""
    variables = (Pinned("a", "1"), Pinned("b", "2", 80003, None), Pinned("c", "3", None, 100101), Pinned("d", "4"))
    assert set_sql(variables) == "SET SESSION a=1, d=4 /*!80003 , b=2 */ /*M!100101 , c=3 */"


def test_mariadb_executes_no_comment_for_mysql() -> None:
    """MariaDB executes comments of MySQL 5.6 and earlier, so none of ours is one."""
    for one in (*PINNED, *isolation("SERIALIZABLE")):
        assert one.mysql is None or one.mysql == 0 or one.mysql >= 50700, one
        assert one.mariadb is None or one.mariadb == 0 or one.mariadb >= 100000, one


@pytest.mark.parametrize("name", sorted({one.name for one in (*PINNED, *isolation("SERIALIZABLE"))}))
def test_what_a_file_may_set(name: str) -> None:
    """A variable that exactness rests on is refused in an init_command."""
    server = {"host": "db", "user": "u", "password": "p", "database": "d", "init_command": f"SET {name}=0"}
    data = {
        "sources": {"a": server},
        "targets": {"b": {**server, "host": "c"}},
        "mapping": {"a.t": {"target_table": "b.t"}},
    }
    if name in FREE:
        assert name in from_dict(data, ".").sources["a"].session
    else:
        with pytest.raises(ConfigError, match=name):
            from_dict(data, ".")
