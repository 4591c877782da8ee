"""Connections: how they fare, what each use sets, and that no peer, dead or mute, is waited for too long."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pymysql
import pytest
from faults.proxy import Proxy, Way
from pipelines import PASSWORD, Pair, pair_of
from server_farm import Servers
from servers import FLAVOURS, Flavour

from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.config.pipeline import Endpoint, Secret
from myrepetl_dagster.core.model.errors import PrerequisiteError, SourceLost, TargetLost, TransientError
from myrepetl_dagster.core.model.limits import Limits
from myrepetl_dagster.core.model.position import Position
from myrepetl_dagster.core.mysql import server as server_module
from myrepetl_dagster.core.mysql.connect import close_quietly, connect, query
from myrepetl_dagster.core.mysql.session import Use
from myrepetl_dagster.core.source.binlog_stream import LogStream
from myrepetl_dagster.core.source.mysql_source import MySQLSource
from myrepetl_dagster.core.target.mysql_target import MySQLTarget

LIMITS = Limits(connect_timeout_s=1.0, control_timeout_s=2.0, stream_heartbeat_s=0.3, stream_timeout_s=1.0)


@pytest.fixture
def pair(servers: Servers, flavour: Flavour) -> Pair:
    return pair_of(servers.get("source", flavour), servers.get("target", flavour))


def reader(pair: Pair, **more: Any) -> Endpoint:
    made = Endpoint(
        "a", "source", host=pair.source.host, port=pair.source.port, user="reader", password=Secret(PASSWORD),
        database=pair.source_schema, ssl_disabled=True,
    )  # fmt: skip
    return replace(made, **more)


def writer(pair: Pair, **more: Any) -> Endpoint:
    made = Endpoint(
        "b", "target", host=pair.target.host, port=pair.target.port, user="writer", password=Secret(PASSWORD),
        database=pair.target_schema, ssl_disabled=True,
    )  # fmt: skip
    return replace(made, **more)


@contextlib.contextmanager
def source(endpoint: Endpoint, limits: Limits = LIMITS) -> Iterator[MySQLSource]:
    made = MySQLSource(endpoint, limits)
    try:
        yield made
    finally:
        made.close()


# ---- how a connection fares ----------------------------------------------------------------------------
def test_a_status_before_the_first_use_opens_nothing(pair: Pair) -> None:
    """Asking for the status of a connection that was never used does not open it."""
    with source(reader(pair, port=1)) as a:  # nothing listens there: an attempt would fail
        status = a.get_connection_status()

        assert not a.is_connected()
        assert (status.name, status.role, status.configured) == ("a", "source", True)
        assert not status.exists
        assert not status.connected
        assert status.last_error is None
        assert status.uptime_s is None


def test_the_status_of_an_open_connection(pair: Pair, flavour: Flavour) -> None:
    """An open connection tells the server's flavour and version and how long it has been open."""
    with source(reader(pair)) as a:
        a.head()
        status = a.get_connection_status()

        assert a.is_connected()
        assert status.exists
        assert status.connected
        assert status.flavour == flavour
        assert status.server_version == pair.on_source("SELECT VERSION()")[0][0]
        assert status.uptime_s is not None
        assert 0 <= status.uptime_s < 60
        assert status.reconnects == 0


def test_a_killed_connection_shows_and_is_opened_anew(pair: Pair) -> None:
    """KILL makes is_connected false, the status keeps the error, and the next use counts as a reconnect."""
    with source(reader(pair)) as a:
        a.head()
        pair.on_source(f"KILL {a.control.thread_id()}")
        time.sleep(0.1)

        assert not a.is_connected()
        status = a.get_connection_status()
        assert not status.connected
        assert status.exists
        assert status.last_error_code in (1927, 2006, 2013, 4031)
        a.head()
        status = a.get_connection_status()
        assert status.connected
        assert status.reconnects == 1


def test_an_error_in_use_is_the_last_error(pair: Pair) -> None:
    """A statement that loses its connection leaves the code in the status."""
    with source(reader(pair)) as a:
        a.head()
        pair.on_source(f"KILL {a.control.thread_id()}")
        time.sleep(0.1)
        with pytest.raises(SourceLost) as caught:
            a.head()

        assert a.get_connection_status().last_error_code == caught.value.code


def test_a_refused_password_is_the_last_error(pair: Pair) -> None:
    """A wrong password is a configuration error with its number, in the status too, and not the password."""
    with source(reader(pair, password=Secret("hunter2-wrong"))) as a:
        with pytest.raises(PrerequisiteError) as caught:
            a.head()

        status = a.get_connection_status()
        assert caught.value.code == status.last_error_code == 1045
        assert not caught.value.retryable
        assert "hunter2" not in str(caught.value) + str(status.last_error)


def test_a_server_that_is_down_is_a_lost_connection(pair: Pair) -> None:
    """Where nothing listens the error is one that a later attempt may mend."""
    with source(reader(pair, port=1)) as a:
        with pytest.raises(SourceLost) as caught:
            a.head()

        assert caught.value.code == 2003
        assert caught.value.retryable


def test_an_unknown_host_is_told_from_a_dead_one(pair: Pair) -> None:
    """A host name that does not resolve has its own number."""
    with source(reader(pair, host="no-such-host.invalid")) as a, pytest.raises(SourceLost) as caught:
        a.head()
    assert caught.value.code == 2005


# ---- what each use sets --------------------------------------------------------------------------------
APPLY_MODE = {"STRICT_ALL_TABLES", "NO_AUTO_VALUE_ON_ZERO", "ALLOW_INVALID_DATES", "NO_ENGINE_SUBSTITUTION"}
EXPECTED: dict[Use, dict[str, Any]] = {
    Use.CONTROL: {"sql_mode": "NO_ENGINE_SUBSTITUTION", "time_zone": "+00:00", "autocommit": 1, "wait_timeout": 28800},
    Use.SNAPSHOT: {
        "sql_mode": "", "time_zone": "+00:00", "autocommit": 1, "wait_timeout": 28800,
        "net_write_timeout": 600, "net_read_timeout": 120, "character_set_results": None,
    },
    Use.STREAM: {"autocommit": 1, "time_zone": "+00:00", "net_write_timeout": 600, "net_read_timeout": 120},
    Use.APPLY: {
        "sql_mode": ",".join(sorted(APPLY_MODE)), "time_zone": "+00:00", "autocommit": 0, "foreign_key_checks": 0,
        "wait_timeout": 600, "innodb_lock_wait_timeout": 30, "lock_wait_timeout": 30, "character_set_results": None,
    },
}  # fmt: skip


@pytest.mark.parametrize("use", list(Use))
def test_parameters_of_each_use(pair: Pair, use: Use) -> None:
    """What the server itself says of a session of each use, whatever the server's own defaults are."""
    endpoint = writer(pair) if use is Use.APPLY else reader(pair)
    connection = connect(endpoint, use, Limits())
    try:
        expected = EXPECTED[use]
        row = query(connection, "SELECT " + ", ".join(f"@@session.{name}" for name in expected))[0]
        found = {name: _plain(name, value) for name, value in zip(expected, row, strict=True)}
        isolation = query(connection, f"SELECT @@session.{_isolation(pair)}, @@session.character_set_client")[0]

        assert found == expected
        level = "READ-COMMITTED" if use is Use.APPLY else "REPEATABLE-READ"  # no gap locks among our own writers
        assert [_text(value) for value in isolation] == [level, "utf8mb4"]
    finally:
        close_quietly(connection)


def _isolation(pair: Pair) -> str:
    return "tx_isolation" if pair.source.flavour == "mariadb" else "transaction_isolation"


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _plain(name: str, value: Any) -> Any:
    value = _text(value)
    if name == "sql_mode":
        return ",".join(sorted(str(value).split(","))) if value else ""
    return int(value) if isinstance(value, str) and value.isdigit() else value


def test_sessions_say_who_they_are(servers: Servers) -> None:
    """The process list of MySQL names the program and the use (performance_schema's connection attributes)."""
    server = servers.get("source", "mysql", performance_schema="ON")  # MariaDB's own default is OFF
    pair = pair_of(server, server)
    connection = connect(reader(pair), Use.SNAPSHOT, LIMITS)
    try:
        rows = pair.on_source(
            "SELECT attr_value FROM performance_schema.session_connect_attrs"
            f" WHERE processlist_id={connection.thread_id()} AND attr_name='program_name'"
        )
        assert rows == (("myrepetl_dagster snapshot",),)
    finally:
        close_quietly(connection)


# ---- peers that say nothing ----------------------------------------------------------------------------
@pytest.mark.parametrize("use", list(Use))
def test_a_mute_server_is_not_waited_for_longer_than_connect_timeout(pair: Pair, use: Use) -> None:
    """A peer that accepts the connection and says nothing is given up, for uses with long statements as well."""
    with Proxy(pair.source.host, pair.source.port) as proxy, proxy.stalled():
        began_s = time.monotonic()
        with pytest.raises(SourceLost) as caught:
            connect(reader(pair, port=proxy.port), use, LIMITS)

        assert time.monotonic() - began_s < 5
        assert caught.value.code in (2003, 2013)


def test_a_statement_that_stalls_ends_with_the_timeout_of_its_use(pair: Pair) -> None:
    """A network that hangs in the middle of a question is noticed within control_timeout_s."""
    with (
        Proxy(pair.source.host, pair.source.port) as proxy,
        source(reader(pair, port=proxy.port), replace(LIMITS, control_timeout_s=0.5)) as a,
    ):
        a.head()
        with proxy.stalled(Way.TO_CLIENT):
            began_s = time.monotonic()
            with pytest.raises(SourceLost) as caught:
                a.head()

            assert 0.4 < time.monotonic() - began_s < 4
            assert caught.value.code == 2013


# ---- the stream ----------------------------------------------------------------------------------------
@contextlib.contextmanager
def following(pair: Pair, port: int | None = None, limits: Limits = LIMITS) -> Iterator[Iterator[bytes]]:
    """An endless stream of events, from the log's present end."""
    endpoint = reader(pair, port=port or pair.source.port)
    with source(endpoint, limits) as a:
        start: Position = a.head()
        with LogStream(endpoint, a.info, limits, start, follow=True) as stream:
            yield (event for events in stream.events() for event in events)


def test_a_quiet_source_is_told_from_a_dead_one(pair: Pair) -> None:
    """Heartbeats keep a stream without events alive for longer than stream_timeout_s."""
    with following(pair) as events:
        next(events)
        began_s = time.monotonic()
        kinds = set()
        while time.monotonic() - began_s < 2 * LIMITS.stream_timeout_s:
            kinds.add(next(events)[4])

        assert kinds & {27, 41}, "no heartbeat came"


@pytest.mark.parametrize("fault", ["stalled", "half-open"])
def test_a_dead_peer_of_the_stream_is_noticed_in_time(pair: Pair, fault: str) -> None:
    """A stream whose peer vanished without a word ends within stream_timeout_s, as a lost source."""
    with Proxy(pair.source.host, pair.source.port) as proxy, following(pair, proxy.port) as events:
        next(events)
        silence = proxy.stalled() if fault == "stalled" else proxy.half_open(Way.TO_CLIENT)
        with silence:
            began_s = time.monotonic()
            with pytest.raises(SourceLost) as caught:
                while True:
                    next(events)

            assert time.monotonic() - began_s < LIMITS.stream_timeout_s + 2
            assert caught.value.code == 2013


def test_the_library_never_reconnects_a_stream_by_itself(pair: Pair) -> None:
    """A cut stream ends with an error; the server sees one dump and no second connection for it."""
    with Proxy(pair.source.host, pair.source.port) as proxy, following(pair, proxy.port) as events:
        next(events)
        accepted = proxy.accepted
        proxy.cut()
        with pytest.raises(SourceLost):
            while True:
                next(events)
        time.sleep(0.3)

        assert proxy.dumps == 1
        assert proxy.accepted == accepted


def test_a_closed_stream_leaves_the_process_list(pair: Pair) -> None:
    """The source forgets a stream that was left in the middle."""
    with following(pair) as events:
        next(events)
        assert dumps(pair) == 1
    deadline = time.monotonic() + 10
    while dumps(pair) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert dumps(pair) == 0


def dumps(pair: Pair) -> int:
    sql = f"SELECT COUNT(*) FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%' AND db='{pair.source_schema}'"
    return int(pair.on_source(sql)[0][0])


# ---- idleness ------------------------------------------------------------------------------------------
@pytest.fixture
def impatient(pair: Pair) -> Iterator[Pair]:
    """A pair whose servers cut every session that is idle for a second, unless the session says otherwise."""
    for server in (pair.source, pair.target):
        server.execute("SET GLOBAL wait_timeout=1")
    yield pair
    for server in (pair.source, pair.target):
        server.execute("SET GLOBAL wait_timeout=28800")


def test_a_short_wait_timeout_of_the_server_cuts_no_session(impatient: Pair) -> None:
    """Sessions that only read set their own wait_timeout: a long copy elsewhere does not cost the connection."""
    with source(reader(impatient)) as a:
        a.head()
        opened = a.control
        time.sleep(2.2)

        a.head()
        assert a.control is opened


def test_an_idle_control_connection_is_checked_before_its_next_use(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a firewall has cut meanwhile is opened anew where no state is lost with it."""
    monkeypatch.setattr(server_module, "PING_AFTER_IDLE_S", 0.05)
    with source(reader(pair)) as a:
        a.head()
        pair.on_source(f"KILL {a.control.thread_id()}")
        time.sleep(0.2)

        a.head()
        assert a.get_connection_status().reconnects == 1


def test_a_transaction_is_not_begun_on_a_connection_that_died_idle(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The apply connection is checked after idleness, before its transaction, and replaced."""
    monkeypatch.setattr("myrepetl_dagster.core.target.apply_session.PING_AFTER_IDLE_S", 0.05)
    target = MySQLTarget(writer(pair), LIMITS)
    try:
        target.control.create_checkpoint_table()
        target.claim(["m"])
        target.apply.begin(["m"])
        target.apply.rollback()
        pair.on_target(f"KILL {target.apply._session.connection.thread_id()}")
        time.sleep(0.2)

        target.apply.begin(["m"])
        target.apply.rollback()
    finally:
        target.close()


def test_a_transaction_that_died_is_lost_not_replaced(pair: Pair) -> None:
    """Within a transaction a dead connection is an error: half of its rows would be on another one."""
    target = MySQLTarget(writer(pair), LIMITS)
    try:
        target.control.create_checkpoint_table()
        target.claim(["m"])
        target.apply.begin(["m"])
        pair.on_target(f"KILL {target.apply._session.connection.thread_id()}")
        time.sleep(0.2)
        with pytest.raises(TargetLost):
            target.apply.commit([])
    finally:
        target.close()


def test_closing_twice_and_after_a_cut_is_quiet(pair: Pair) -> None:
    """close never masks the error that led to it."""
    with Proxy(pair.target.host, pair.target.port) as proxy:
        target = MySQLTarget(writer(pair, port=proxy.port), LIMITS)
        assert target.apply._session.connection.open
        assert target.control.info.flavour in FLAVOURS
        proxy.cut()
        target.close()
        target.close()


# ---- the first contact of a run ------------------------------------------------------------------------
def test_a_run_that_begins_while_its_source_restarts_waits_for_it(pair: Pair) -> None:
    """A refused connection at the very start is outlived, as one later is."""
    pair.on_source("CREATE TABLE early (id INT PRIMARY KEY)", "INSERT INTO early VALUES (1), (2)")
    with Proxy(pair.source.host, pair.source.port) as proxy:
        config = pair.config({"a.early": {"target_table": "b.early"}})
        config["sources"]["a"]["port"] = proxy.port
        proxy.refuse()
        back = threading.Timer(1.5, proxy.listen)
        back.start()
        pair.run(from_dict(config))
        back.join()
    pair.assert_same("early")


def test_a_mistyped_host_is_known_at_once_and_the_run_ends_within_seconds(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """The first line comes before any wait and names host, port and number."""
    config = pair.config({"a.t": {"target_table": "b.t"}})
    config["sources"]["a"]["host"] = "nowhere.invalid"
    config["limits"] = {"unknown_host_time_s_max": 1}
    started_s = time.monotonic()
    with caplog.at_level(logging.WARNING, "myrepetl"), pytest.raises(SourceLost):
        pair.run(from_dict(config))

    assert time.monotonic() - started_s < 16  # 1, and what the name server takes
    first = caplog.records[0]
    assert f"nowhere.invalid:{pair.source.port}" in first.getMessage()
    assert "[2005]" in first.getMessage()


def test_one_connection_is_not_shared_by_threads(pair: Pair) -> None:
    """What a second reader on one connection does to it ("Packet sequence number wrong") is a lost connection."""
    with source(reader(pair)) as a:
        a.head()
        a.control._next_seq_id = 77  # as another thread's statement would leave it
        with pytest.raises(TransientError) as caught, a.doing("asking"):
            query_out_of_order(a.control)
        assert caught.value.code is None
        assert "Packet sequence number wrong" in str(caught.value)


def query_out_of_order(connection: pymysql.Connection[Any]) -> None:
    connection._execute_command(3, "SELECT 1")
    connection._next_seq_id = 77
    connection._read_packet()
