"""Session settings of a pipeline file: followed, or refused with the setting's name, the reason and a way out."""

from __future__ import annotations

from typing import Any

import pytest
from pipelines import ORIGINAL_DATABASE

from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.config.pipeline import Endpoint, Pipeline
from myrepetl_dagster.core.model.errors import ConfigError
from myrepetl_dagster.core.model.limits import Limits
from myrepetl_dagster.core.mysql.session import (
    Use,
    file_sql,
    heartbeat_s,
    lax_apply_mode,
    lock_wait_s,
    own_sql,
    read_timeout_s,
    sql_mode,
)


def pipeline(
    source: dict[str, Any] | None = None, target: dict[str, Any] | None = None, **database: Any
) -> dict[str, Any]:
    server = {"host": "db", "user": "u", "password": "p", "database": "d"}
    return {
        "sources": {"a": {**server, **(source or {})}},
        "targets": {"b": {**server, "host": "db2", **(target or {})}},
        "mapping": {"a.t": {"target_table": "b.t"}},
        "database": database,
    }


def read(*args: Any, **database: Any) -> Pipeline:
    return from_dict(pipeline(*args, **database), ".")


def problem(data: dict[str, Any]) -> tuple[str, str]:
    """Path, and all that is said about it, of the only problem."""
    with pytest.raises(ConfigError) as caught:
        from_dict(data, ".")
    ((path, what, hint),) = caught.value.problems
    assert hint
    return path, f"{what}; {hint}"


# ---- the original's spellings ----------------------------------------------------------------------------
@pytest.mark.parametrize("where", ["database", "endpoints"])
def test_a_file_that_spells_out_the_originals_defaults_loads(where: str) -> None:
    """What the original sets by itself may be written down, in `database` or at each endpoint, with one meaning."""
    found = read(**ORIGINAL_DATABASE) if where == "database" else read(ORIGINAL_DATABASE, ORIGINAL_DATABASE)
    source, target = found.sources["a"], found.targets["b"]

    assert target.sql_mode == ("TRADITIONAL",)
    assert source.sql_mode == ()
    assert source.session == {"wait_timeout": "28800", "interactive_timeout": "28800"}
    assert target.session == {**source.session, "autocommit": "1"}
    assert (source.read_timeout_s, target.write_timeout_s, target.connect_timeout_s) == (30.0, 30.0, 10.0)
    at = "database" if where == "database" else "sources.a"
    assert [w.partition(":")[0] for w in found.warnings] == [f"{at}.sql_mode"]


def test_the_originals_own_settings_give_no_warning_where_they_are_what_is_done() -> None:
    """autocommit false, utf8 and use_unicode are what happens anyway, and a source writes nothing to commit."""
    found = read({"autocommit": True}, {"autocommit": False}, charset="utf8", use_unicode=True)
    assert found.warnings == ()


def test_autocommit_on_a_target_is_followed() -> None:
    """As a key and in an init_command; off is what happens anyway."""
    for target in ({"autocommit": True}, {"init_command": "SET autocommit=1"}, {"init_command": "set autocommit = ON"}):
        found = read({}, target)
        assert (found.targets["b"].session, found.warnings) == ({"autocommit": "1"}, ())
    assert read({}, {"init_command": "SET autocommit=0"}).targets["b"].session == {}


def test_an_endpoints_own_setting_replaces_the_databases() -> None:
    """The `database` section holds defaults: it is looked at only where the endpoint says nothing."""
    found = read({"sql_mode": "ANSI_QUOTES"}, {"sql_mode": "STRICT_ALL_TABLES"}, sql_mode="ORACLE")
    assert found.sources["a"].sql_mode == ("ANSI_QUOTES",)
    assert found.targets["b"].sql_mode == ("STRICT_ALL_TABLES",)


# ---- refused ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"sql_mode": ""}, "strict mode"),
        ({"sql_mode": "NO_ENGINE_SUBSTITUTION"}, "add STRICT_TRANS_TABLES"),
        ({"sql_mode": "TRADITIONAL,ANSI_QUOTES"}, "ANSI_QUOTES changes how statements are read"),
        ({"sql_mode": "TRADITIONAL, pad_char_to_full_length"}, "PAD_CHAR_TO_FULL_LENGTH pads"),
        ({"sql_mode": "TRADITIONAL,NO_BACKSLASH_ESCAPES"}, "NO_BACKSLASH_ESCAPES makes"),
        ({"sql_mode": "TRADITIONAL,EMPTY_STRING_IS_NULL"}, "NULL of empty text"),
        ({"sql_mode": "TRADITIONAL,ORACLE"}, "ORACLE makes"),
        ({"sql_mode": "TRADITIONALLY"}, "did you mean 'TRADITIONAL'?"),
        ({"sql_mode": 4}, "must be text"),
        ({"use_unicode": False}, "bytes for text"),
        ({"charset": "latin1"}, "column's own character set"),
        ({"init_command": "SET sql_mode=''"}, "strict mode"),
        ({"init_command": "SET sql_mode=DEFAULT"}, "use the key sql_mode"),
        ({"init_command": "SET sql_mode='TRADITIONAL,ANSI'"}, "ANSI changes"),
        ({"init_command": "SET foreign_key_checks=1"}, "foreign_key_checks would make the target"),
        ({"init_command": "SET unique_checks=0"}, "unique_checks would let"),
        ({"init_command": "SET time_zone='Europe/Berlin'"}, "every connection is in UTC"),
        ({"init_command": "SET time_zone=SYSTEM"}, "every connection is in UTC"),
        ({"init_command": "SET wait_timeout=5, sql_select_limit=100"}, "sql_select_limit would cut"),
        ({"init_command": "SET max_sort_length=8"}, "max_sort_length"),
        ({"init_command": "SET character_set_results=latin1"}, "character_set_results would change text"),
        ({"init_command": "SET collation_connection=latin1_bin"}, "collation_connection would change text"),
        ({"init_command": "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED"}, "isolation"),
        ({"init_command": "SET transaction_isolation='READ-UNCOMMITTED'"}, "transaction_isolation"),
        ({"init_command": "SET system_versioning_asof='2020-01-01'"}, "another time"),
        ({"init_command": "SET completion_type=CHAIN"}, "completion_type"),
        ({"init_command": "SET GLOBAL wait_timeout=5"}, "every session"),
        ({"init_command": "SET @@global.wait_timeout=5"}, "every session"),
        ({"init_command": "SET PERSIST wait_timeout=5"}, "every session"),
        ({"init_command": "SET @x=5"}, "user variable"),
        ({"init_command": "SET NAMES latin1"}, "one SET"),
        ({"init_command": "SET NAMES utf8mb4 COLLATE utf8mb4_bin"}, "one SET"),
        ({"init_command": "SET wait_timeout=5; DROP TABLE t"}, "one SET"),
        ({"init_command": "SET wait_timeout=(SELECT 5)"}, "one SET"),
        ({"init_command": "SET wait_timeout=5,"}, "one SET"),
        ({"init_command": "SET"}, "one SET"),
        ({"init_command": "SELECT 1"}, "one SET"),
        ({"init_command": "CALL p()"}, "one SET"),
        ({"init_command": ["SET x=1"]}, "must be text"),
    ],
)
def test_what_would_lose_or_change_data_is_refused(setting: dict[str, Any], said: str) -> None:
    """The error names the key at a target as in `database`, says why, and what to do."""
    (key,) = setting
    path, told = problem(pipeline({}, setting))
    assert path == f"targets.b.{key}"
    assert said in told

    with pytest.raises(ConfigError) as caught:
        read(**setting)
    assert {path for path, _, _ in caught.value.problems} == {f"database.{key}"}


def test_wait_timeout_is_seconds() -> None:
    """It is compared with the bound of a transaction's session, so it must be a number."""
    with pytest.raises(ConfigError, match="whole number of seconds"):
        read(init_command="SET wait_timeout=DEFAULT")


@pytest.mark.parametrize("mode", ["PAD_CHAR_TO_FULL_LENGTH", "NO_BACKSLASH_ESCAPES", "EMPTY_STRING_IS_NULL", "ORACLE"])
def test_what_changes_the_values_read_is_refused_on_a_source(mode: str) -> None:
    """A snapshot must read what the log will bring."""
    path, told = problem(pipeline({"sql_mode": mode}))
    assert path == "sources.a.sql_mode"
    assert mode in told


# ---- followed --------------------------------------------------------------------------------------------
def test_a_targets_modes_are_added_to_the_ones_that_exactness_needs() -> None:
    """Each of them counts on the connection that writes rows, and only there."""
    target = read({}, {"sql_mode": "traditional, ONLY_FULL_GROUP_BY"}).targets["b"]

    assert sql_mode(target, Use.APPLY) == (
        "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION,TRADITIONAL,ONLY_FULL_GROUP_BY"
    )
    assert sql_mode(target, Use.CONTROL) == "NO_ENGINE_SUBSTITUTION"


def test_modes_without_strictness_keep_the_others() -> None:
    """What TRADITIONAL checks beside strictness is still checked where strictness has to pause."""
    modes = lax_apply_mode(Endpoint("b", "target", sql_mode=("TRADITIONAL", "STRICT_TRANS_TABLES"))).split(",")
    assert {"NO_ZERO_DATE", "NO_ZERO_IN_DATE", "NO_AUTO_VALUE_ON_ZERO"} <= set(modes)
    assert not [mode for mode in modes if "STRICT" in mode or mode == "TRADITIONAL"]


def test_a_sources_modes_count_where_its_init_query_is_read() -> None:
    """Modes that govern writing have nothing to govern there."""
    source = read({"sql_mode": "ANSI_QUOTES,STRICT_ALL_TABLES,PIPES_AS_CONCAT"}).sources["a"]
    assert sql_mode(source, Use.SNAPSHOT) == "ANSI_QUOTES,PIPES_AS_CONCAT"
    assert sql_mode(source, Use.CONTROL) == "NO_ENGINE_SUBSTITUTION"


@pytest.mark.parametrize(
    ("command", "set_"),
    [
        (
            "SET SESSION wait_timeout=100, interactive_timeout=200",
            {"wait_timeout": "100", "interactive_timeout": "200"},
        ),
        ("set @@session.net_read_timeout := 5 ;", {"net_read_timeout": "5"}),
        ("SET @@net_read_timeout=5, LOCAL net_write_timeout=6", {"net_read_timeout": "5", "net_write_timeout": "6"}),
        ("SET group_concat_max_len=1024*1024", {"group_concat_max_len": "1024*1024"}),
        ("SET optimizer_switch='mrr=on,mrr_cost_based=off'", {"optimizer_switch": "'mrr=on,mrr_cost_based=off'"}),
        ("SET sql_log_bin=0", {"sql_log_bin": "0"}),
        ("SET lc_time_names=de_DE", {"lc_time_names": "de_DE"}),
        (
            "SET time_zone='+00:00', unique_checks=1, foreign_key_checks=0, net_read_timeout=7",
            {"net_read_timeout": "7"},
        ),
        ("SET NAMES utf8mb4", {}),
        ("set names 'utf8'", {}),
    ],
)
def test_an_init_command_is_read_variable_by_variable(command: str, set_: dict[str, str]) -> None:
    """In every spelling of SET; what is so anyway needs no setting."""
    found = read(init_command=command)
    assert found.sources["a"].session == found.targets["b"].session == set_
    assert found.warnings == ()


def test_sql_mode_in_an_init_command_is_the_key_sql_mode() -> None:
    """The same modes are followed and refused."""
    target = read({}, {"init_command": "SET SESSION sql_mode='TRADITIONAL', net_read_timeout=5"}).targets["b"]
    assert target.sql_mode == ("TRADITIONAL",)
    assert target.session == {"net_read_timeout": "5"}


def test_wait_timeout_lets_no_transaction_hang_for_hours() -> None:
    """A shorter one counts everywhere; a longer one not on the session that holds transactions."""
    for asked, apply in (("28800", "600"), ("100", "100")):
        endpoint = Endpoint("b", "target", session={"wait_timeout": asked})
        assert f"wait_timeout={asked}" in own_sql(endpoint, Use.CONTROL, Limits())
        assert f"wait_timeout={apply}," in own_sql(endpoint, Use.APPLY, Limits())
        assert file_sql(endpoint) is None


# ---- time-outs -------------------------------------------------------------------------------------------
def test_read_timeout_counts_for_every_use() -> None:
    """Written down, it replaces the limit of each use; a stream is never waited for longer than its own limit."""
    limits = Limits()
    for seconds, stream_s in ((30.0, 30.0), (7.0, 7.0), (900.0, 30.0)):
        endpoint = Endpoint("a", "source", read_timeout_s=seconds)
        found = [read_timeout_s(endpoint, use, limits) for use in (Use.CONTROL, Use.SNAPSHOT, Use.APPLY, Use.STREAM)]
        assert found == [seconds, seconds, seconds, stream_s]
    without = Endpoint("a", "source")
    assert [read_timeout_s(without, use, limits) for use in Use] == [60.0, 600.0, 30.0, 300.0]


def test_a_short_read_timeout_leaves_room_for_heartbeats_and_lock_waits() -> None:
    """What is alive must have said so before it counts as dead, and a lock wait must end with an answer."""
    endpoint = Endpoint("a", "target", read_timeout_s=6.0)
    assert heartbeat_s(endpoint, Limits()) == 2.0
    assert lock_wait_s(endpoint, Limits()) == "4"
    assert heartbeat_s(Endpoint("a", "target"), Limits()) == 5.0
    assert lock_wait_s(Endpoint("a", "target"), Limits()) == "30"
    assert lock_wait_s(Endpoint("a", "target", session={"innodb_lock_wait_timeout": "3"}), Limits()) == "3"
